"""Which characters of a row train: the parts of a reply, found where the template shows them.

A reply is its prose (thinking and text), its calls, and what ends the turn. Prose trains only when all
of the reply's actions are kept, a call when its action is, and the end of the turn with the last one.
Templates do not say where these parts stand, so a reply with masked actions is rendered with none, one,
two … of its calls: what the next call adds is that call. Two neighbours may begin alike (`<tool_call>`
and `<|im_end|>`), and then the comparison comes out late by what they share; the end of the turn is
therefore found first, as what follows a mark put after the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from apollo_tui.errors import ExportError
from apollo_tui.filter.export.chat_messages import ChatMessage
from apollo_tui.filter.mask import TurnMask
from apollo_tui.filter.stability import Template, Tools, task_before

PARTS_UNKNOWN = "the template does not tell their kept calls from the masked ones"

_MARK = "endofthetextofthisreply"


@dataclass(frozen=True, slots=True)
class Span:
    """Characters [begin:end) of a row's rendering."""

    begin: int
    end: int


def trained_spans(
    template: Template,
    messages: Sequence[ChatMessage],
    tools: Tools,
    reply: Span,
    text: str,
    position: int,
    masked: TurnMask,
) -> list[Span] | None:
    """What trains of the reply at `position` in `messages`, which the row's rendering `text` shows at
    `reply`. None when some of it trains, but the template does not tell where that stands."""
    if not masked.trains:
        return []
    if masked.whole:
        return [reply]
    starts = _call_starts(template, messages, tools, position, text[reply.begin : reply.end])
    if starts is None or len(starts) != len(masked.actions):
        return None
    bounds = [reply.begin, *(reply.begin + start for start in starts), reply.end]
    parts = zip(bounds[:-1], bounds[1:], (masked.prose, *masked.actions), strict=True)
    return _joined(Span(begin, end) for begin, end, trains in parts if trains and begin < end)


def _joined(spans: Iterator[Span]) -> list[Span]:
    joined: list[Span] = []
    for span in spans:
        if joined and joined[-1].end == span.begin:
            joined[-1] = Span(joined[-1].begin, span.end)
        else:
            joined.append(span)
    return joined


def _call_starts(
    template: Template,
    messages: Sequence[ChatMessage],
    tools: Tools,
    position: int,
    said: str,
) -> list[int] | None:
    """Where in `said`, which is how a row shows the reply, each of its calls begins."""
    reply = messages[position]
    for before in (task_before(messages, position), messages[:position]):
        try:
            shown = _Answers(
                template, before, tools, template.render(before, tools, add_generation_prompt=True)
            )
            starts = _starts(shown, reply, said)
        except (
            ExportError
        ):  # the template wants more of a conversation, or no reply without its calls
            continue
        if starts is not None:
            return starts
    return None


def _starts(shown: _Answers, reply: ChatMessage, said: str) -> list[int] | None:
    calls = reply.get("tool_calls", [])
    bare = {key: value for key, value in reply.items() if key != "tool_calls"}
    marked = shown.text({**bare, "content": bare["content"] + _MARK})
    ending = marked[marked.rfind(_MARK) + len(_MARK) :] if _MARK in marked else ""
    fewer = shown.text(bare)
    starts: list[int] = []
    for count in range(1, len(calls) + 1):
        more = shown.text({**bare, "tool_calls": calls[:count]})
        start = _shared(fewer, more)
        if ending and fewer.endswith(ending):
            start = min(start, len(fewer) - len(ending))
        if not more.endswith(fewer[start:]) or start < max(starts, default=0):
            return None  # it adds the call and changes something else as well
        starts.append(start)
        fewer = more
    whole = fewer.rstrip()
    if not starts or not whole.endswith(said) or not _prose_stands_before(starts[0], whole, reply):
        return None
    left_out = len(whole) - len(said)  # an empty thinking, see `stability`
    return [max(0, start - left_out) for start in starts]


def _shared(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _prose_stands_before(start: int, whole: str, reply: ChatMessage) -> bool:
    """Whether what the template shows of thinking and text is before the first call: some show them
    only with calls, and then they would seem to be part of it."""
    said = (str(reply.get(name, "")).strip() for name in ("reasoning_content", "content"))
    return all(one in whole[:start] for one in said if one in whole)


@dataclass(frozen=True, slots=True)
class _Answers:
    """Renders replies to one conversation, each without the prompt it answers."""

    template: Template
    before: Sequence[ChatMessage]
    tools: Tools
    prompt: str

    def text(self, reply: ChatMessage) -> str:
        """Raises ExportError when the template refuses the reply, or does not show it after its prompt."""
        text = self.template.render([*self.before, reply], self.tools, add_generation_prompt=False)
        if not text.startswith(self.prompt):
            raise ExportError("the template does not show a reply after its prompt")
        return text[len(self.prompt) :]
