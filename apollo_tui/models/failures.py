"""What an API's refusals, outages and broken streams mean, as errors a person can read."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from apollo_tui.errors import (
    ContextTooLong,
    KeyMissing,
    ModelError,
    ModelUnavailable,
    ReplyBroken,
)

_TOO_LONG = re.compile(
    r"context_length_exceeded|maximum context length|exceeds? .{0,40}context|context limit"
    r"|prompt is too long|prompt too long|prompt exceeds|longer than the (maximum )?model"
    r"|exceed_context_size|exceeded model token limit|maximum number of tokens allowed"
    r"|tokens. \+ .max_new_tokens. must be|input is too long|range of input length",
    re.IGNORECASE,
)
"""How OpenAI, Anthropic, vLLM, SGLang, llama.cpp, TGI, GLM, Kimi and Qwen say it."""

_STATUS_OF = {
    "invalid_request_error": 400,
    "BadRequestError": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "api_error": 500,
    "server_error": 500,
    "InternalServerError": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The HTTP status that an error inside a stream would have had."""


@dataclass(frozen=True)
class Caller:
    """Who asked whom; what messages need to say where and what to do."""

    name: str
    base_url: str
    key_name: str
    key: str

    @property
    def api(self) -> str:
        return f"{self.name} at {self.base_url}" if self.base_url not in self.name else self.name


def failure(
    caller: Caller, status: int, body: object, headers: Mapping[str, str] | None = None
) -> ModelError:
    """The error that an HTTP status with this body means."""
    said = _said(body, caller.key)
    because = f" ({status}): {said}" if said else f" ({status})"
    if status == 401 or (status == 403 and not said):
        wants = "wants a key" if caller.key == "none" else "refused the key"
        return KeyMissing(f"{caller.api} {wants} ({status}); {set_key_line(caller.key_name)}")
    if status == 403:
        return KeyMissing(f"{caller.api} does not allow this key{because}")
    if status == 413 or (status in (400, 422) and _TOO_LONG.search(f"{said} {body}")):
        return ContextTooLong(f"the prompt does not fit the window of {caller.api}{because}")
    if unavailable := _unavailable(caller, status, because):
        return ModelUnavailable(unavailable, retry_after=_retry_after(headers or {}))
    if status < 400:
        return ModelError(f"{caller.api} answered{because or status}; correct the base URL")
    return ModelError(f"{caller.api} refused the request{because}")


def failure_in_stream(caller: Caller, body: object) -> ModelError:
    """The error that an error event in the middle of a reply means."""
    for kind in (_find(body, "code"), _find(body, "type"), _find(body, "status_code")):
        if isinstance(kind, int) and 400 <= kind < 600:
            return failure(caller, kind, body)
        if isinstance(kind, str) and (status := _STATUS_OF.get(kind)):
            return failure(caller, status, body)
    return ReplyBroken(
        f"the reply of {caller.api} ended with an error: {_said(body, caller.key) or 'no reason'}"
    )


def unanswered(caller: Caller) -> ModelError:
    return ModelUnavailable(f"{caller.api} did not answer in time")


def disconnected(caller: Caller, error: BaseException, begun: bool) -> ModelError:
    """A connection that failed, or broke after a part of the reply had come (`begun`)."""
    why = _without(connection_reason(error), caller.key)
    if begun:
        return ReplyBroken(f"the connection to {caller.api} broke in the middle of a reply: {why}")
    return nobody_answers(caller.base_url, why)


def nobody_answers(base_url: str, why: str) -> ModelError:
    return ModelUnavailable(
        f"nobody answers at {base_url} ({why}); start the server or correct the base URL"
    )


def connection_reason(error: BaseException) -> str:
    """The system's own words for what became of a connection, in lower case."""
    said = str(error) or type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        said = str(cause) or said
        if isinstance(cause, OSError) and cause.errno is not None:
            said = os.strerror(cause.errno) if cause.errno > 0 else str(cause.strerror)
            break
        cause = cause.__cause__ or cause.__context__
    # Where a name has several addresses, asyncio joins their errors into one text.
    if several := re.search(r"\[Errno (\d+)\]", said):
        said = os.strerror(int(several[1]))
    return said.lower()


def set_key_line(key_name: str) -> str:
    return f"set one with: apollo-tui auth set {key_name}"


def _unavailable(caller: Caller, status: int, because: str) -> str:
    match status:
        case 402:
            return f"{caller.api} wants to be paid{because}"
        case 404:
            return f"{caller.api} was not found; correct the model's name or base URL{because}"
        case 429:
            return f"{caller.api} limits the rate of requests{because}"
        case 529:
            return f"{caller.api} is overloaded{because}"
        case 408 | 409 | 425:
            return f"{caller.api} could not answer now{because}"
        case _ if status >= 500:
            return f"{caller.api} failed{because}"
    return ""


def _said(body: object, key: str) -> str:
    """The API's own message, on one line, without the key."""
    said = _find(body, "message") or _find(body, "detail") or body
    if isinstance(said, dict) and isinstance(said.get("error"), str):
        said = said["error"]
    if not said:
        return ""
    text = " ".join(_without(str(said), key).split())
    return text if len(text) <= 300 else f"{text[:299]}…"


def _find(body: object, name: str) -> Any:
    """A field of the error object, whether it is wrapped in {"error": …} or not."""
    if not isinstance(body, Mapping):
        return None
    inner = body.get("error")
    if isinstance(inner, Mapping) and inner.get(name) is not None:
        return inner[name]
    return body.get(name)


def _without(text: str, key: str) -> str:
    return text.replace(key, "…") if len(key) > 6 else text


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from a number or an HTTP date; None when there is neither."""
    with_unit = ((headers.get("retry-after-ms"), 1000), (headers.get("retry-after"), 1))
    for value, unit in with_unit:
        if not value:
            continue
        try:
            seconds = float(value) / unit
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - time.time()
            except ValueError:
                continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None
