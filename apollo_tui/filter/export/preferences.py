"""`preferences`: pairs of replies to one prompt, `{"prompt": […], "chosen": [assistant], "rejected":
[assistant], "tools": […], "meta": {…}}`. They come from

- rewrites: what a person made of a reply, over what the model had said. Thinking is left out of both: it
  led to the old reply and never trains;
- retries: a regenerated reply over those it replaced. The hint it was given is in neither prompt;
- forks: where two rollouts of one origin part after the same prompt, the reply of the better scored one.

That two prompts are the same is told by their texts' hashes, never assumed. What gives no pair is counted.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from apollo_tui.filter.export import Row
from apollo_tui.filter.export.chat_messages import ChatMessage
from apollo_tui.filter.export.source import FilteredRollout
from apollo_tui.filter.mask import TurnMask
from apollo_tui.filter.samples import Sample
from apollo_tui.filter.verdicts import FIRM_RULES, standing_mark
from apollo_tui.log.read import History
from apollo_tui.log.trajectory import Segment, Step


@dataclass(frozen=True, slots=True)
class _Asked:
    """A step of a segment, and what tells the prompt that it was sent from every other."""

    step: Step
    segment: Segment
    digest: bytes

    @property
    def prompt(self) -> Sample:
        """What the segment had sent by then."""
        segment = self.segment
        until = segment.steps.index(self.step) + 1
        return Sample(
            "",
            segment.number,
            segment.system_ref,
            segment.tools_ref,
            tuple(ref for step in segment.steps[:until] for ref in step.sent),
            (),
        )


@dataclass
class _Branch:
    """What other rollouts of one origin need to know of this one: every prompt of its active path."""

    rollout: FilteredRollout
    asked: dict[bytes, _Asked] = field(default_factory=dict)


class Preferences:
    name = "preferences"

    def __init__(self) -> None:
        self._known: Mapping[str, str] | None = None
        self._told: dict[str, list[_Branch]] = {}  # the rollouts so far, by their origin

    def rows(self, rollout: FilteredRollout) -> Iterator[Row]:
        pairs = _Pairs(rollout)
        yield from pairs.from_rewrites()
        yield from pairs.from_retries()
        origin = self._origins(rollout).get(rollout.rollout)
        if origin is None:
            return
        siblings = self._told.setdefault(origin, [])
        for other in siblings:
            yield from pairs.from_fork(other)
        siblings.append(pairs.branch)

    def _origins(self, rollout: FilteredRollout) -> Mapping[str, str]:
        if self._known is None:
            exported = [one for one in rollout.run.rollouts if one not in rollout.run.gated]
            self._known = origins(rollout.history, exported)
        return self._known


def origins(history: History, exported: Iterable[str]) -> dict[str, str]:
    """Of these rollouts those that have a relative among them, each with the rollout that they all
    were forked from."""
    parents = {row.id: row.parent for row in history.rollouts()}
    found = {rollout: _origin(rollout, parents) for rollout in exported}
    sizes = Counter(found.values())
    return {rollout: origin for rollout, origin in found.items() if sizes[origin] > 1}


def _origin(rollout: str, parents: Mapping[str, str | None]) -> str:
    seen = {rollout}
    while (parent := parents.get(rollout)) is not None and parent not in seen:
        seen.add(parent)
        rollout = parent
    return rollout


class _Pairs:
    """The pairs that one rollout gives, alone and beside another."""

    def __init__(self, rollout: FilteredRollout) -> None:
        self.rollout = rollout
        self.marks = rollout.marks()

    @cached_property
    def asked(self) -> dict[int, _Asked]:
        """Every step that is compared with another, by number, with the prompt it was sent."""
        wanted = {
            number
            for step in self.rollout.steps.values()
            for number in (step.number, step.replaces)
            if number is not None and (step.replaces is not None or step.rewritten_from is not None)
        }
        return {one.step.number: one for one in self._walk() if one.step.number in wanted}

    @cached_property
    def branch(self) -> _Branch:
        asked = {one.digest: one for one in self._walk() if not one.step.superseded}
        return _Branch(self.rollout, asked)

    def _walk(self) -> Iterator[_Asked]:
        """Each step, in the order of the log."""
        for segment in self.rollout.trajectory.segments:
            digest = hashlib.sha256(f"{segment.system_ref} {segment.tools_ref}".encode())
            for step in segment.steps:
                digest.update("".join(f" {ref}" for ref in step.sent).encode())
                yield _Asked(step, segment, digest.copy().digest())

    # --- within one rollout --------------------------------------------------------------------

    def from_rewrites(self) -> Iterator[Row]:
        for step in self.rollout.steps.values():
            if step.rewritten_from is None or self._tell_why_not(step):
                continue
            chosen, rejected = (
                _without_thinking(message)
                for message in self.rollout.chat_messages((step.message_ref, step.rewritten_from))
            )
            if chosen == rejected:
                self.rollout.left_out("rewrites that change nothing but thinking")
                continue
            yield self._row("rewrite", self.asked[step.number], chosen, rejected, step.number)

    def from_retries(self) -> Iterator[Row]:
        for step in self.rollout.steps.values():
            if step.replaces is None or self._tell_why_not(step):
                continue
            for replaced in self._replaced(step):
                yield from self._retry(step, replaced)

    def _retry(self, step: Step, replaced: Step) -> Iterator[Row]:
        better, worse = self.asked[step.number], self.asked[replaced.number]
        if better.digest != worse.digest:
            self.rollout.left_out("retries whose prompt was another")
        elif self._accepted(replaced):
            self.rollout.left_out("retries of a reply that a person accepted")
        elif step.message_ref == replaced.message_ref:
            self.rollout.left_out("retries that said the same")
        else:
            refs = (step.message_ref, replaced.message_ref)
            chosen, rejected = self.rollout.chat_messages(refs)
            yield self._row("retry", better, chosen, rejected, replaced.number)

    def _replaced(self, step: Step) -> Iterator[Step]:
        """The replies that a step replaced, and those that they had replaced before."""
        steps, seen = self.rollout.steps, {step.number}
        number = step.replaces
        while number is not None and number not in seen and number in steps:
            seen.add(number)
            yield steps[number]
            number = steps[number].replaces

    # --- beside another rollout ----------------------------------------------------------------

    def from_fork(self, other: _Branch) -> Iterator[Row]:
        """At most one pair: where the two first replied differently to the same prompt."""
        mine, others = self.rollout.trajectory.score, other.rollout.trajectory.score
        if mine is None or others is None:
            self.rollout.left_out("forks without a score")
            return
        if mine == others:
            self.rollout.left_out("forks with equal scores")
            return
        asked = next((one for one in self._walk() if _differs(one, other)), None)
        if asked is None:
            self.rollout.left_out("forks that never replied differently to one prompt")
            return
        better, chosen = self, asked
        worse, rejected = _Pairs(other.rollout), other.asked[asked.digest]
        if mine < others:
            better, chosen, worse, rejected = worse, rejected, better, chosen
        why = better._why_not(chosen.step)
        if why:
            self._tell(why)
        elif worse._accepted(rejected.step):
            self.rollout.left_out("forks of a reply that a person accepted")
        else:
            yield better._over_a_fork(chosen, worse.rollout, rejected.step)

    def _over_a_fork(self, asked: _Asked, worse: FilteredRollout, rejected: Step) -> Row:
        refs = (asked.step.message_ref, rejected.message_ref)
        said, replied = self.rollout.chat_messages(refs)
        row = self._row("fork", asked, said, replied, rejected.number)
        row["meta"]["rejected"] = {
            "rollout": worse.rollout,
            "name": worse.name,
            "score": worse.trajectory.score,
            "step": rejected.number,
        }
        return row

    # --- a pair --------------------------------------------------------------------------------

    def _row(
        self,
        source: str,
        asked: _Asked,
        chosen: ChatMessage,
        rejected: ChatMessage,
        rejected_step: int,
    ) -> Row:
        step, prompt = asked.step, asked.prompt
        chat = self.rollout.chat(prompt)
        trained = TurnMask(len(prompt.messages), step.number, (True,) * len(step.actions), True)
        meta = self.rollout.meta(prompt.segment, [trained])
        rejected_at = {"rollout": self.rollout.rollout, "step": rejected_step}
        return {
            "prompt": chat.messages,
            "chosen": [chosen],
            "rejected": [rejected],
            "tools": chat.tools,
            "meta": meta | {"source": source, "rejected": rejected_at},
        }

    def _tell_why_not(self, chosen: Step) -> bool:
        """Whether a reply can't be the better one of a pair; then it is counted why."""
        why = self._why_not(chosen)
        if why:
            self._tell(why)
        return bool(why)

    def _tell(self, why: str) -> None:
        self.rollout.left_out(f"pairs whose better reply {why}")

    def _why_not(self, chosen: Step) -> str:
        if chosen.superseded:
            return "was replaced or rewound itself"
        if not chosen.actions:
            return "has no action"
        for action in chosen.actions:
            key = (action.step, action.ordinal)
            mark = standing_mark(self.marks.get(key, ()))
            if mark is not None and mark.mark == "reject":
                return "a person rejected"
            if self.rollout.reviewed_only and (mark is None or mark.mark == "unsure"):
                return "no person has looked at" if mark is None else "a person put aside as unsure"
            verdict = self.rollout.verdicts.of(*key)
            # That a person or a hint stands behind a reply makes it no worse than the other one.
            if not verdict.keep and verdict.rule not in FIRM_RULES:
                return f"is masked ({verdict.rule or verdict.by})"
        return ""

    def _accepted(self, step: Step) -> bool:
        standing = (
            standing_mark(self.marks.get((step.number, one.ordinal), ())) for one in step.actions
        )
        return any(mark is not None and mark.mark == "accept" for mark in standing)


def _differs(asked: _Asked, other: _Branch) -> bool:
    """Whether another rollout was sent the same prompt and replied to it differently."""
    there = other.asked.get(asked.digest)
    return (
        there is not None
        and not asked.step.superseded
        and there.step.message_ref != asked.step.message_ref
    )


def _without_thinking(message: ChatMessage) -> ChatMessage:
    return {name: value for name, value in message.items() if name != "reasoning_content"}
