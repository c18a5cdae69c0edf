"""Requests of a line: as each source writes them, and what is none."""

import json
from typing import Any

import pytest

from exporter.finance.requests.forms import LoggedRequest, Skipped, SpanLink, entries

END = 1_793_527_200_500_000_000
"""2026-11-01T10:00:00.5Z."""

LITELLM: dict[str, Any] = {
    "id": "chatcmpl-7",
    "trace_id": "t-1",
    "call_type": "acompletion",
    "status": "success",
    "total_tokens": 120,
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "startTime": 1_793_527_199.0,
    "endTime": 1_793_527_200.5,
    "model": "hosted_vllm/llama-8b",
    "model_group": "chat",
    "cache_hit": None,
    "metadata": {"usage_object": {"prompt_tokens_details": {"cached_tokens": 64}}},
}
"""A StandardLoggingPayload, shortened."""

ENVOY: dict[str, Any] = {
    "gen_ai.provider.name": "default/tars/route/aigw-run/rule/0/ref/0",
    "gen_ai.request.model": "chat",
    "gen_ai.response.model": "llama-8b",
    "gen_ai.request.model_override": None,
    "gen_ai.usage.input_tokens": 15,
    "gen_ai.usage.output_tokens": 7.0,
    "start_time": "2026-11-01T09:59:58.974Z",
    "duration": 1526,
    "response_code": 200,
    "x-request-id": "83b63da3-45a9-4196-98b8-1a7f697d6d8d",
}
"""The line of its documentation, shortened, with a response model."""


NO_COUNT = "no whole number up to 1000000000"
TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")


def span(*, parent: str = "", end: object = str(END), **attributes: object) -> dict[str, Any]:
    """A span as the collector writes it; text is a string value, a dictionary any other."""
    named = {
        "operation": "gen_ai.operation.name",
        "asked": "gen_ai.request.model",
        "answered": "gen_ai.response.model",
        "prompt": "gen_ai.usage.input_tokens",
        "cached": "gen_ai.usage.cache_read.input_tokens",
        "answer": "gen_ai.usage.output_tokens",
        "old_prompt": "gen_ai.usage.prompt_tokens",
        "old_answer": "gen_ai.usage.completion_tokens",
        "id": "gen_ai.response.id",
    }
    listed = [
        {"key": named[key], "value": value if isinstance(value, dict) else {"stringValue": value}}
        for key, value in attributes.items()
    ]
    return {
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": "eee19b7ec3c1b174",
        "parentSpanId": parent,
        "name": "chat",
        "startTimeUnixNano": str(END - 10**9),
        "endTimeUnixNano": end,
        "attributes": [{"key": "server.address", "value": {"stringValue": "vllm"}}, *listed],
    }


def integer(value: object) -> dict[str, object]:
    return {"intValue": value}


def otlp(*spans: dict[str, Any]) -> dict[str, Any]:
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": list(spans)}]}]}


SPAN = span(
    operation="chat", asked="chat", answered="llama-8b", prompt=integer("100"), cached=integer("64"),
    answer=integer(20), id="chatcmpl-7",
)  # fmt: skip
LINK = SpanLink("5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174", "")


def test_a_span_of_a_request() -> None:
    """64-bit integers are text in OTLP's JSON; a number is read too. Its parent is told beside."""
    assert list(entries(otlp(SPAN))) == [
        LINK,
        LoggedRequest(END, ("llama-8b", "chat"), 100, 64, 20, "chatcmpl-7", LINK.trace, LINK.span),
    ]


def test_attributes_of_before() -> None:
    """Names that the registry lists as deprecated; what is not told of cached tokens is unknown."""
    _, request = entries(otlp(span(asked="m", old_prompt=integer("9"), old_answer=integer("1"))))
    assert isinstance(request, LoggedRequest)
    assert (request.input, request.cached, request.output) == (9, None, 1)


def test_a_payload_of_litellm() -> None:
    """The model without its provider's prefix may be the server's name."""
    names = ("hosted_vllm/llama-8b", "llama-8b", "chat")
    assert list(entries(LITELLM)) == [LoggedRequest(END, names, 100, 64, 20, "chatcmpl-7")]


def test_a_spend_log_of_litellm() -> None:
    """Times and metadata are text, in UTC; `cache_hit` too."""
    row = {name: value for name, value in LITELLM.items() if name != "id"}
    row |= {"request_id": "chatcmpl-7", "endTime": "2026-11-01T10:00:00.500000", "cache_hit": "False"}
    row["metadata"] = json.dumps(LITELLM["metadata"])
    assert list(entries(row)) == list(entries(LITELLM))
    assert list(entries({**row, "endTime": "2026-11-01T11:00:00.500+01:00"})) == list(entries(LITELLM))


@pytest.mark.parametrize("metadata", [None, "{", {"usage_object": None}, {"usage_object": {}}, []])
def test_cached_tokens_that_litellm_does_not_tell(metadata: object) -> None:
    """Unknown, not none; the response may have them."""
    usage = {"prompt_tokens_details": {"cached_tokens": 32}}
    unknown, known = (
        next(entries({**LITELLM, "metadata": metadata, "response": response}))
        for response in (None, {"usage": usage})
    )
    assert isinstance(unknown, LoggedRequest)
    assert isinstance(known, LoggedRequest)
    assert (unknown.cached, known.cached) == (None, 32)


def test_a_line_of_envoy() -> None:
    """It ended a duration after its start."""
    identity = "83b63da3-45a9-4196-98b8-1a7f697d6d8d"
    assert list(entries(ENVOY)) == [LoggedRequest(END, ("llama-8b", "chat"), 15, None, 7, identity)]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ([], Skipped("unknown")),
        ("text", Skipped("unknown")),
        ({"msg": "started"}, Skipped("unknown")),
        (ENVOY | dict.fromkeys(TOKENS), Skipped("tokenless")),
        ({**LITELLM, "prompt_tokens": 0, "completion_tokens": 0}, Skipped("tokenless")),
        ({**LITELLM, "cache_hit": True}, Skipped("gateway cache")),
        ({**LITELLM, "cache_hit": "True"}, Skipped("gateway cache")),
        ({**LITELLM, "prompt_tokens": -1}, f"tokens of the prompt: {NO_COUNT}"),
        ({**LITELLM, "prompt_tokens": True}, f"tokens of the prompt: {NO_COUNT}"),
        ({**LITELLM, "prompt_tokens": 1.5}, f"tokens of the prompt: {NO_COUNT}"),
        ({**LITELLM, "completion_tokens": 10**9 + 1}, f"tokens of the answer: {NO_COUNT}"),
        ({**LITELLM, "completion_tokens": float("nan")}, f"tokens of the answer: {NO_COUNT}"),
        ({**LITELLM, "prompt_tokens": 63}, "64 cached tokens of 63"),
        ({**LITELLM, "endTime": None}, "no endTime"),
        ({**LITELLM, "endTime": float("inf")}, "no endTime"),
        ({**LITELLM, "endTime": "yesterday"}, "no endTime"),
        ({**LITELLM, "endTime": 5}, "an end before 2000 or after 2099"),
        ({**LITELLM, "model": "", "model_group": None}, "no model"),
        ({**ENVOY, "duration": None}, f"duration: {NO_COUNT}"),
        ({**ENVOY, "start_time": 17}, "no start_time"),
    ],
)  # fmt: skip
def test_what_is_no_request(document: object, expected: Skipped | str) -> None:
    """Each with its reason, and never dropped in silence."""
    wanted = Skipped("unreadable", expected) if isinstance(expected, str) else expected
    assert list(entries(document)) == [wanted]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (span(operation="invoke_agent", prompt=integer("5")), Skipped("other span")),
        (span(), Skipped("other span")),
        (span(operation="chat", asked="m"), Skipped("tokenless")),
        (span(asked="m", prompt=integer("x")), f"tokens of the prompt: {NO_COUNT}"),
        (span(asked="m", prompt=integer("1" * 30)), f"tokens of the prompt: {NO_COUNT}"),
        (span(asked="m", prompt="5"), f"tokens of the prompt: {NO_COUNT}"),
        (span(asked="m", prompt=integer("5"), end=None), "no endTimeUnixNano"),
        (span(asked="m", prompt=integer("5"), end="9" * 20), "an end before 2000 or after 2099"),
        (span(prompt=integer("5")), "no model"),
    ],
)
def test_what_is_no_span_of_a_request(given: dict[str, Any], expected: Skipped | str) -> None:
    """A bad span leaves the others of its line."""
    wanted = Skipped("unreadable", expected) if isinstance(expected, str) else expected
    assert list(entries(otlp(given, SPAN)))[:2] == [LINK, wanted]
    assert len(list(entries(otlp(given, SPAN)))) == 4


@pytest.mark.parametrize("broken", [None, 5, [None], [{"scopeSpans": 5}], [{"scopeSpans": [{"spans": "x"}]}]])
def test_otlp_of_other_shapes(broken: object) -> None:
    """Nothing is in them."""
    assert list(entries({"resourceSpans": broken})) == []


def test_names_are_one_line_and_bounded() -> None:
    """A model of a thousand characters, and one with line ends, escapes and half a character."""
    request = next(entries({**LITELLM, "model": "m" * 1000, "model_group": "a\nb\x1b[0m\ud800"}))
    assert isinstance(request, LoggedRequest)
    assert request.names == ("m" * 256, "a?b?[0m?")
