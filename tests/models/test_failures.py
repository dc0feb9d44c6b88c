"""Bodies of refusals as servers really word them."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from apollo_tui.errors import ContextTooLong, ModelError, ModelUnavailable
from apollo_tui.models.failures import Caller, failure

CALLER = Caller("glm", "http://127.0.0.1:8000/v1", "glm", "sk-very-secret")


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 128000 tokens. However, your messages resulted in "
        "130000 tokens.",  # OpenAI, vLLM, DeepSeek
        "prompt is too long: 210000 tokens > 200000 maximum",  # Anthropic
        "input length and `max_tokens` exceed context limit: 190000 + 16000 > 200000",
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
        "The input (5000 tokens) is longer than the model's context length (4096 tokens).",  # SGLang
        "Requested token count exceeds the model's maximum context length of 4096 tokens.",
        "the request exceeds the available context size. try increasing the context size",
        "Invalid request: Your request exceeded model token limit: 131072",  # Kimi
        "Prompt exceeds max length",  # GLM
    ],
)
def test_a_prompt_that_is_too_long(message: str) -> None:
    for body in ({"error": {"message": message}}, {"message": message}, message):
        assert type(failure(CALLER, 400, body)) is ContextTooLong


def test_the_code_alone_says_it_too() -> None:
    body = {"error": {"message": "Too much.", "code": "context_length_exceeded"}}
    assert type(failure(CALLER, 400, body)) is ContextTooLong


@pytest.mark.parametrize(
    "message",
    ["temperature: may only be 1", "max_tokens must be positive", "Invalid 'tools[0]': schema"],
)
def test_other_mistakes_are_told_in_the_apis_words(message: str) -> None:
    error = failure(CALLER, 400, {"error": {"message": message}})
    assert type(error) is ModelError
    assert error.line == (f"glm at http://127.0.0.1:8000/v1 refused the request (400): {message}")


def test_retry_after_as_seconds_milliseconds_and_date() -> None:
    def wait(**headers: str) -> float | None:
        dashed = {name.replace("_", "-"): value for name, value in headers.items()}
        error = failure(CALLER, 429, {}, dashed)
        assert isinstance(error, ModelUnavailable)
        return error.retry_after

    assert wait(retry_after="2.5") == 2.5
    assert wait(retry_after_ms="1500", retry_after="9") == 1.5
    assert wait(retry_after="soon") is None
    assert wait(retry_after="nan") is None
    assert wait(retry_after="-4") == 0
    assert wait() is None
    in_a_minute = wait(retry_after=formatdate(time.time() + 60, usegmt=True))
    assert in_a_minute == pytest.approx(60, abs=3)


def test_long_messages_are_cut_and_keys_taken_out() -> None:
    error = failure(CALLER, 500, {"error": {"message": "sk-very-secret " + "x" * 2000}})
    assert "secret" not in error.line
    assert len(error.line) < 400


def test_a_body_that_is_no_json() -> None:
    error = failure(CALLER, 502, "<html>\n<h1>Bad Gateway</h1>\n</html>")
    assert isinstance(error, ModelUnavailable)
    assert "Bad Gateway" in error.line
