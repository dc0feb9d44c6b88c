"""A model's chat template, rendered as `transformers` renders it.

    template = load_template(Path("Qwen3-8B"))          # its folder, or a .jinja file
    text = template.render(messages, tools, add_generation_prompt=True)

Templates are programs of strangers: they run in Jinja's sandbox, and what they refuse is an ExportError.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apollo_tui.errors import ExportError
from apollo_tui.filter.export.chat_messages import ChatMessage
from apollo_tui.filter.tokenizer import INSTALL

if TYPE_CHECKING:
    import jinja2

SPECIAL_TOKENS = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
"""What templates may name besides messages and tools."""

_DICT_ATTRIBUTES = frozenset(dir(dict))


class _Remembered:
    """What a function made of an object, for as long as it is given the very same one: a stable row
    renders its messages hundreds of times. Nothing changes them meanwhile, the sandbox sees to it."""

    LARGEST = 20_000  # objects

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make
        self._made: dict[int, tuple[Any, Any]] = {}

    def __call__(self, given: Any) -> Any:
        known = self._made.get(id(given))
        if known is None or known[0] is not given:
            if len(self._made) >= self.LARGEST:
                self._made.clear()
            known = self._made[id(given)] = (given, self._make(given))
        return known[1]


class JinjaTemplate:
    """A chat template of a model, or its pair of one with tools and one without."""

    def __init__(
        self, source: str, name: str, special: Mapping[str, str], with_tools: str | None = None
    ) -> None:
        """`name` is what errors call it. Raises ExportError when it is no template."""
        self._name = name
        self._special = dict(special)
        self._both_names = _Remembered(_both_names)
        self._without_tools = _compile(source, name)
        self._with_tools = self._without_tools if with_tools is None else _compile(with_tools, name)

    def render(
        self,
        messages: Sequence[ChatMessage],
        tools: Sequence[dict[str, Any]],
        *,
        add_generation_prompt: bool,
    ) -> str:
        """The text of a conversation; see `stability.Template`."""
        compiled = self._with_tools if tools else self._without_tools
        try:
            return compiled.render(
                {
                    **self._special,
                    "messages": [self._both_names(message) for message in messages],
                    "tools": list(tools) or None,
                    "documents": None,
                    "add_generation_prompt": add_generation_prompt,
                }
            )
        except Exception as error:  # a template may fail in any way a program can
            words = str(error) or type(error).__name__
            raise ExportError(
                f"the chat template {self._name} refuses a conversation of {len(messages)} messages: {words}"
            ) from None


def _both_names(message: ChatMessage) -> ChatMessage:
    """`transformers` gives templates the thinking under two names: gpt-oss reads the other one."""
    thinking = message.get("reasoning_content")
    return message if thinking is None else {"thinking": thinking, **message}


# --- finding it --------------------------------------------------------------------------------


def load_template(path: Path, tokenizer: Path | None = None) -> JinjaTemplate:
    """The chat template of a model's folder (`chat_template.jinja`, else the one in
    `tokenizer_config.json`), or of a .jinja file.

    The special tokens that it names are those of the folder `tokenizer`, else of the template's own
    folder. Raises ExportError when there is no template, it cannot be read, or a library is missing.
    """
    folder = path if path.is_dir() else path.parent
    if path.is_dir():
        templates, name = _templates_in(path)
    elif path.is_file():
        templates, name = {"default": _text_of(path)}, str(path)
    else:
        raise ExportError(f"no chat template {path}: give a model's folder or a .jinja file")
    source = templates.get("default", templates.get("tool_use"))
    if source is None:
        raise ExportError(
            f"{name} holds the chat templates {', '.join(sorted(templates)) or '(none)'}, "
            "but neither default nor tool_use"
        )
    special = _special_tokens(tokenizer if tokenizer is not None else folder)
    return JinjaTemplate(source, name, special, templates.get("tool_use"))


def _templates_in(folder: Path) -> tuple[dict[str, str], str]:
    """The templates of a model's folder by name, and where they were found."""
    alone = folder / "chat_template.jinja"
    config = folder / "tokenizer_config.json"
    if alone.is_file():
        more = sorted((folder / "additional_chat_templates").glob("*.jinja"))
        return {
            "default": _text_of(alone),
            **{path.stem: _text_of(path) for path in more},
        }, str(alone)
    defined = _object_in(config).get("chat_template")
    if isinstance(defined, str):
        return {"default": defined}, str(config)
    if isinstance(defined, list) and all(_is_named(one) for one in defined):
        return {one["name"]: one["template"] for one in defined}, str(config)
    if defined is None:
        raise ExportError(
            f"no chat template in {folder}: it has neither chat_template.jinja "
            "nor a chat_template in tokenizer_config.json"
        )
    raise ExportError(
        f"{config} has a chat_template that is neither a text nor a list of named ones"
    )


def _is_named(one: object) -> bool:
    return (
        isinstance(one, dict)
        and isinstance(one.get("name"), str)
        and isinstance(one.get("template"), str)
    )


def _special_tokens(folder: Path) -> dict[str, str]:
    """The special tokens that a model's folder defines, by name."""
    config = {
        **_object_in(folder / "special_tokens_map.json"),
        **_object_in(folder / "tokenizer_config.json"),
    }
    found = {}
    for name in SPECIAL_TOKENS:
        token = config.get(name)
        text = token.get("content") if isinstance(token, dict) else token
        if isinstance(text, str):
            found[name] = text
    return found


def _object_in(path: Path) -> dict[str, Any]:
    """The JSON object in a file, {} when there is no such file."""
    if not path.is_file():
        return {}
    try:
        defined = json.loads(_text_of(path))
    except ValueError as error:
        raise ExportError(f"{path} is not JSON: {error}") from None
    if not isinstance(defined, dict):
        raise ExportError(f"{path} holds no JSON object")
    return defined


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"cannot read {path}: {error}") from None


# --- Jinja, as transformers sets it up ---------------------------------------------------------


def _compile(source: str, name: str) -> jinja2.Template:
    try:
        import jinja2
    except ImportError:
        raise ExportError(f"chat templates need the jinja2 library: {INSTALL}") from None
    try:
        return _environment().from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise ExportError(f"{name}, line {error.lineno} of the template: {error}") from None


@cache
def _environment() -> jinja2.Environment:
    """The environment of `transformers.utils.chat_template_utils`: same filters, globals and tags."""
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Sandbox(ImmutableSandboxedEnvironment):
        """The same sandbox, asked less often: a stable row renders its messages hundreds of times.
        Whether an attribute is safe depends on the object's type and the name alone."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self._safe: dict[tuple[type, str], bool] = {}

        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            key = (type(obj), attr)
            if key not in self._safe:
                self._safe[key] = super().is_safe_attribute(obj, attr, value)
            return self._safe[key]

        def getattr(self, obj: Any, attribute: str) -> Any:
            if type(obj) is dict and attribute not in _DICT_ATTRIBUTES:
                if attribute in obj:
                    return obj[attribute]
                return self.undefined(obj=obj, name=attribute)
            return super().getattr(obj, attribute)

    class Generation(Extension):
        """`{% generation %}`: marks what the model says; the text inside is rendered as it is."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment = Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _remembering_to_json()
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = _strftime_of(datetime.now())
    return environment


def _remembering_to_json() -> Callable[..., str]:
    plain = _Remembered(_to_json)

    def to_json(value: Any, *options: Any, **named: Any) -> str:
        if type(value) is dict and not options and not named:
            return str(plain(value))
        return _to_json(value, *options, **named)

    return to_json


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _strftime_of(now: datetime) -> Callable[[str], str]:
    """One time for a whole export: a prompt must not change because the clock went on."""
    return now.strftime
