"""Every setting of `config.toml`: its type, its default, what it means.

The descriptions are what `config init` writes beside each setting.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Occasion = Literal["question", "stuck", "failed", "finished", "disk", "api"]


def check_base_url(url: str) -> str:
    """The address of an API without a slash at its end; ValueError says what is wrong with it."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or re.search(r"\s", url):
        raise ValueError('must be an address like "http://127.0.0.1:8000/v1"')
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must be a plain address; keys are set with: apollo-tui auth set")
    return url.rstrip("/")


def _check_duration(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d*[mhdw]|forever", text):
        raise ValueError('must be a number and m, h, d or w, like "30d", or "forever"')
    return text


def _check_model_name(name: str) -> str:
    if not re.fullmatch(r"[\w.-]+", name) or name == "same":
        raise ValueError('must be letters, digits, ".", "-" or "_", and not "same"')
    return name


def check_host(pattern: str) -> str:
    """A pattern of hosts in lower case; ValueError for what is none."""
    host = pattern.strip().lower()
    named = (
        r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*(:\d{1,5})?"
    )
    if not re.fullmatch(rf"{named}|\[[0-9a-f:.]+\](:\d{{1,5}})?", host) or len(host) > 260:
        raise ValueError('must be a host like "arxiv.org", "*.arxiv.org" or "127.0.0.1:8000"')
    return host


BaseUrl = Annotated[str, AfterValidator(check_base_url)]
Duration = Annotated[str, AfterValidator(_check_duration)]
ModelName = Annotated[str, AfterValidator(_check_model_name)]
HostPattern = Annotated[str, AfterValidator(check_host)]
Count = Annotated[int, Field(gt=0)]
Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Settings(BaseModel):
    """A table of settings: frozen, strict, and it refuses names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Price(Settings):
    """What a model costs: by tokens, or by the hour for a rented machine."""

    input: Dollars | None = Field(None, description="$ per million tokens of the prompt")
    cached: Dollars | None = Field(
        None, description="$ per million of them read from the cache; unset: as input"
    )
    cache_written: Dollars | None = Field(
        None, description="$ per million of them written to the cache; unset: as input"
    )
    output: Dollars | None = Field(None, description="$ per million tokens of the reply")
    per_hour: Dollars | None = Field(
        None, description="$ per hour of calling, shared by the calls that run at the same time"
    )

    @model_validator(mode="after")
    def _one_way(self) -> Price:
        by_tokens = self.input is not None and self.output is not None
        if by_tokens == (self.per_hour is not None):
            raise ValueError("must have either input and output, or per_hour")
        return self


class ModelSettings(Settings):
    """One model behind one API."""

    api: Literal["openai", "anthropic"] = Field(
        description="openai (chat completions) or anthropic (messages)", examples=["openai"]
    )
    model: str = Field(min_length=1, description="its name there", examples=["glm-4.5"])
    base_url: BaseUrl | None = Field(
        None,
        description="where the API answers; unset: the official address",
        examples=["http://127.0.0.1:8000/v1"],
    )
    context: Count = Field(131_072, description="its window, in tokens")
    max_tokens: Count | None = Field(
        None,
        description="the longest reply, in tokens; unset: 16000 (anthropic), the server's (openai)",
        examples=[16_000],
    )
    concurrency: Count | None = Field(
        None,
        description="calls at the same time, shared by all rollouts; unset: no limit",
        examples=[8],
    )
    price: Price | None = Field(
        None,
        description="$ per million tokens, or { per_hour = 1.9 }; unset: a known one's, else ?",
        examples=[{"input": 0.6, "cached": 0.11, "output": 2.2}],
    )
    sampling: dict[str, Any] = Field(
        default_factory=dict,
        description="sampling parameters of every request",
        examples=[{"temperature": 1.0}],
    )
    extra_body: dict[str, Any] = Field(
        default_factory=dict,
        description="further fields of every request",
        examples=[{"thinking": {"type": "enabled"}}],
    )


class Roles(Settings):
    summary: str = Field("same", description='writes summaries; "same": the rollout\'s own model')
    judge: str | None = Field(None, description="judges actions", examples=["glm"])
    ask: str | None = Field(None, description="answers questions about rollouts", examples=["glm"])


class Notify(Settings):
    command: str | None = Field(
        None,
        description="any program; fields as arguments, never through a shell",
        examples=["ntfy publish runs {reason}"],
    )
    on: Annotated[tuple[Occasion, ...], Field(strict=False)] = Field(
        get_args(Occasion), description="what to tell"
    )


class Guards(Settings):
    pause_if: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        (), description="when to pause a rollout", examples=[["stuck 30m", "usd 20", "nan"]]
    )


class Retention(Settings):
    keep_workspaces: Duration = Field(
        "30d", description="how long the workspaces of ended rollouts stay"
    )
    disk_warn: float = Field(0.85, gt=0, le=1, description="tell when the disk is this full")
    disk_pause: float = Field(0.95, gt=0, le=1, description="pause rollouts when it is this full")

    @model_validator(mode="after")
    def _warns_first(self) -> Retention:
        if self.disk_warn > self.disk_pause:
            raise ValueError("must have disk_warn at or below disk_pause")
        return self


class SandboxSettings(Settings):
    image: str | None = Field(
        None, description="Docker image where a task names none", examples=["python:3.12-slim"]
    )
    memory_gb: float = Field(4.0, gt=0, description="memory of one sandbox, in GiB")
    processes: Count = Field(512, description="processes of one sandbox")
    exclude: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        (),
        description="names of files and folders in workspaces whose changes are not told",
        examples=[["wandb", "*.ckpt"]],
    )


class WebSettings(Settings):
    """What the web tools may do. A task turns them on, with network or with web_hosts."""

    search: Literal["serper", "bing"] | None = Field(
        None,
        description="whom web_search asks; its key: apollo-tui auth set serper",
        examples=["serper"],
    )
    search_url: BaseUrl | None = Field(
        None,
        description="where it answers; unset: the official address",
        examples=["https://google.serper.dev"],
    )
    region: str = Field("us", pattern=r"^[a-z]{2}$", description="country of the results")
    language: str = Field("en", pattern=r"^[a-z]{2}$", description="language of the results")
    cache_hours: float = Field(
        24.0, ge=0, allow_inf_nan=False, description="how long a search is answered from the disk"
    )
    seconds: float = Field(
        30.0, gt=0, le=600, description="the longest a page may take, and again its conversion"
    )
    size_mb: float = Field(4.0, gt=0, le=64, description="MiB of a page that are read")
    redirects: int = Field(5, ge=0, le=20, description="redirects that are followed")
    private_hosts: Annotated[tuple[HostPattern, ...], Field(strict=False)] = Field(
        (),
        description="hosts of private networks that may be read; others never are",
        examples=[["docs.intranet:8080"]],
    )


def _check_code(code: str) -> str:
    if not re.fullmatch(r"[\w.-]{1,40}", code):
        raise ValueError('must be one word of letters, digits, ".", "-" or "_"')
    return code


ReasonCode = Annotated[str, AfterValidator(_check_code)]


class Review(Settings):
    tokenizer: str | None = Field(
        None,
        min_length=1,
        description="folder with a tokenizer.json to count with; unset: Review counts actions",
        examples=["/models/glm-4.5"],
    )
    hide_judge: bool = Field(True, description="show the judge's word only after you have decided")
    codes: Annotated[tuple[ReasonCode, ...], Field(strict=False)] = Field(
        (),
        description="your own reason codes; each can stand before a note",
        examples=[["impatient", "reward-hack"]],
    )


class Config(Settings):
    """All settings of a home."""

    annotator: str | None = Field(
        None, min_length=1, description="who marks and advises; --as overrides", examples=["ana"]
    )
    models: dict[ModelName, ModelSettings] = Field(
        default_factory=dict,
        description="a model you can name: apollo-tui run … --model glm",
        examples=["glm"],
    )
    roles: Roles = Field(
        default_factory=Roles,
        description="which model does the side work; unset: that feature says so",
    )
    sandbox: SandboxSettings = Field(
        default_factory=SandboxSettings, description="where actions run"
    )
    web: WebSettings = Field(
        default_factory=WebSettings,
        description="web_search and web_browse; on where a task has network or web_hosts",
    )
    review: Review = Field(default_factory=Review, description="the screen where you mark")
    notify: Notify = Field(
        default_factory=Notify, description="the core tells you when nobody looks"
    )
    guards: Guards = Field(
        default_factory=Guards, description="rules you set; the only things that act by themselves"
    )
    retention: Retention = Field(
        default_factory=Retention,
        description="what gc removes; never marks or the log unless told",
    )


def table_in(annotation: Any) -> type[Settings] | None:
    """The table that a field holds, itself or by name."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, Settings):
            return kind
    return None
