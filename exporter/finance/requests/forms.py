"""Requests in the lines that traces and gateways log. Pure.

Three forms, told apart by their fields:

- OTLP JSON, one `TracesData` a line (opentelemetry.io/docs/specs/otel/protocol/file-exporter), as the
  collector's file exporter writes it. Attributes are those of open-telemetry/semantic-conventions-genai,
  model/gen-ai/registry.yaml at 002c8a6: `gen_ai.usage.input_tokens` includes cached tokens.
- LiteLLM 1.106: its `StandardLoggingPayload` (BerriAI/litellm, litellm/types/utils.py), as a callback writes
  it, and its spend logs (`SpendLogsPayload`, litellm/proxy/_types.py), whose times are text.
- Envoy AI Gateway's access log in JSON, with the fields of its documentation and of
  examples/access-log/basic.yaml (envoyproxy/ai-gateway v1.1.0). `%DURATION%` is in milliseconds.
  A field of cached tokens is taken by its name in OTLP.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from exporter.units import NANOSECONDS_PER_MICROSECOND, NANOSECONDS_PER_SECOND, Instant

TOKENS_MAX: Final = 10**9
"""More tokens than any request has."""

NAME_CHARACTERS: Final = 256
"""Longer names and ids are cut."""

_YEAR_2000: Final[Instant] = 946_684_800 * NANOSECONDS_PER_SECOND
_YEAR_2100: Final[Instant] = 4_102_444_800 * NANOSECONDS_PER_SECOND
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

INFERENCE: Final = frozenset({"", "chat", "text_completion", "generate_content", "embeddings"})
"""Values of `gen_ai.operation.name` that are one request to a model, and spans without any.

`invoke_agent` and its like repeat the usage of the spans below them.
"""

Reason = Literal["unreadable", "unknown", "tokenless", "gateway cache", "other span"]


class LoggedRequest(NamedTuple):
    """One request to a model."""

    end: Instant
    """The instant at which its tokens count."""
    names: tuple[str, ...]
    """Names of the model, the one nearest to the server first."""
    input: int
    """All tokens of the prompt."""
    cached: int | None
    """Tokens of the prompt from a prefix cache; `None` where the log does not tell."""
    output: int
    id: str = ""
    trace: str = ""
    span: str = ""


class SpanLink(NamedTuple):
    """A span and its parent, of a request or of anything else."""

    trace: str
    span: str
    parent: str


class Skipped(NamedTuple):
    """A part of a line that is no request."""

    reason: Reason
    detail: str = ""
    """What is wrong with the part."""


Entry = LoggedRequest | SpanLink | Skipped


class _BadValueError(ValueError):
    """A field has no value that can be read; the message is for people."""


def entries(document: object) -> Iterator[Entry]:
    """The requests and spans of one line's JSON value. What is none is told with its reason."""
    if not isinstance(document, dict):
        yield Skipped("unknown")
    elif "resourceSpans" in document:
        for resource in _objects(document["resourceSpans"]):
            for scope in _objects(resource.get("scopeSpans")):
                for span in _objects(scope.get("spans")):
                    trace, own = _text(span.get("traceId")), _text(span.get("spanId"))
                    if trace and own:
                        yield SpanLink(trace, own, _text(span.get("parentSpanId")))
                    yield _checked(_span, span)
    elif "endTime" in document and "prompt_tokens" in document:
        yield _checked(_litellm, document)
    elif "gen_ai.usage.input_tokens" in document or "gen_ai.usage.output_tokens" in document:
        yield _checked(_envoy, document)
    else:
        yield Skipped("unknown")


def _checked(read: Callable[[Mapping[str, Any]], Entry], fields: Mapping[str, Any]) -> Entry:
    try:
        return read(fields)
    except _BadValueError as error:
        return Skipped("unreadable", str(error))


def _object(value: object) -> Mapping[str, Any]:
    """A JSON object; empty for any other value."""
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[Mapping[str, Any]]:
    """The objects of a JSON array; none for any other value."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _span(span: Mapping[str, Any]) -> Entry:
    attributes: dict[str, object] = {}
    for attribute in _objects(span.get("attributes")):
        key, value = attribute.get("key"), attribute.get("value")
        if isinstance(key, str) and key.startswith("gen_ai.") and isinstance(value, dict):
            number = _integer(value.get("intValue"))
            attributes[key] = value.get("stringValue", value.get("doubleValue")) if number is None else number
    if _text(attributes.get("gen_ai.operation.name")) not in INFERENCE:
        return Skipped("other span")
    # The names of v1.26 and before, which the registry lists as deprecated, are still written.
    given = [
        attributes.get(f"gen_ai.usage.{name}", attributes.get(f"gen_ai.usage.{before}"))
        for name, before in (("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens"))
    ]
    if given == [None, None]:
        return Skipped("other span" if not attributes else "tokenless")
    end = _integer(span.get("endTimeUnixNano"))
    if not isinstance(end, int) or isinstance(end, bool):
        raise _BadValueError("no endTimeUnixNano")
    return _request(
        end=end,
        names=[attributes.get("gen_ai.response.model"), attributes.get("gen_ai.request.model")],
        tokens=given,
        cached=attributes.get("gen_ai.usage.cache_read.input_tokens"),
        response_id=attributes.get("gen_ai.response.id"),
        span=span,
    )


def _integer(value: object) -> object:
    """A 64-bit integer, which is text in the JSON of protocol buffers; any other value as it is."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        return int(value)
    return value


def _litellm(fields: Mapping[str, Any]) -> Entry:
    # LiteLLM's own response cache answered: no server did. The spend logs have it as text.
    if str(fields.get("cache_hit")).lower() == "true":
        return Skipped("gateway cache")
    model = _text(fields.get("model"))
    end = fields["endTime"]
    if isinstance(end, str):
        instant = _text_time(end, "endTime")
    elif isinstance(end, int | float) and not isinstance(end, bool) and 0 <= end < 2**40:
        instant = round(end * NANOSECONDS_PER_SECOND)
    else:
        raise _BadValueError("no endTime")
    return _request(
        end=instant,
        names=[model, model.partition("/")[2], fields.get("model_group")],  # hosted_vllm/llama-8b
        tokens=[fields["prompt_tokens"], fields.get("completion_tokens")],
        cached=_litellm_cached(fields),
        response_id=fields.get("id", fields.get("request_id")),
    )


def _litellm_cached(fields: Mapping[str, Any]) -> object:
    """Cached tokens of the engine's own usage, which LiteLLM keeps as it came."""
    metadata = fields.get("metadata")
    if isinstance(metadata, str):
        try:
            metadata = json.loads(metadata)
        except (ValueError, RecursionError):
            metadata = None
    usages = _object(metadata).get("usage_object"), _object(fields.get("response")).get("usage")
    for usage in usages:
        cached: object = _object(_object(usage).get("prompt_tokens_details")).get("cached_tokens")
        if cached is not None:
            return cached
    return None


def _envoy(fields: Mapping[str, Any]) -> Entry:
    tokens = [fields.get("gen_ai.usage.input_tokens"), fields.get("gen_ai.usage.output_tokens")]
    if tokens == [None, None]:
        return Skipped("tokenless")
    duration = _count(fields.get("duration"), "duration")
    start = _text_time(fields.get("start_time"), "start_time")
    names = ("response.model", "request.model_override", "request.model")
    return _request(
        end=start + duration * 1000 * NANOSECONDS_PER_MICROSECOND,
        names=[fields.get(f"gen_ai.{name}") for name in names],
        tokens=tokens,
        cached=fields.get("gen_ai.usage.cache_read.input_tokens"),
        response_id=fields.get("x-request-id"),
    )


def _request(
    *,
    end: Instant,
    names: list[object],
    tokens: list[object],
    cached: object,
    response_id: object,
    span: Mapping[str, Any] = MappingProxyType({}),
) -> Entry:
    """A request with checked values. `tokens` are those of the prompt and of the answer."""
    prompt, answer = (
        0 if value is None else _count(value, what)
        for value, what in zip(tokens, ("tokens of the prompt", "tokens of the answer"), strict=True)
    )
    if not prompt + answer:
        return Skipped("tokenless")
    from_cache = None if cached is None else _count(cached, "cached tokens")
    if from_cache is not None and from_cache > prompt:
        raise _BadValueError(f"{from_cache} cached tokens of {prompt}")
    known = tuple(dict.fromkeys(name for name in map(_text, names) if name))
    if not known:
        raise _BadValueError("no model")
    if not _YEAR_2000 <= end < _YEAR_2100:
        raise _BadValueError("an end before 2000 or after 2099")
    return LoggedRequest(
        end=end,
        names=known,
        input=prompt,
        cached=from_cache,
        output=answer,
        id=_text(response_id),
        trace=_text(span.get("traceId")),
        span=_text(span.get("spanId")),
    )


def _text(value: object) -> str:
    """A name or id in one line; empty for what is none. Envoy writes `-` for what it does not know."""
    if not isinstance(value, str) or value == "-":
        return ""
    text = value[:NAME_CHARACTERS]
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def _count(value: object, what: str) -> int:
    """A whole number; Envoy's are floats inside."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= TOKENS_MAX:
        raise _BadValueError(f"{what}: no whole number up to {TOKENS_MAX}")
    return value


def _text_time(value: object, what: str) -> Instant:
    """A time in ISO 8601, in UTC where it has no zone, as LiteLLM's database keeps it."""
    try:
        instant = datetime.fromisoformat(value if isinstance(value, str) else "")
        past = (instant if instant.tzinfo else instant.replace(tzinfo=UTC)) - _EPOCH
    except (ValueError, OverflowError):
        raise _BadValueError(f"no {what}") from None
    return past // timedelta(microseconds=1) * NANOSECONDS_PER_MICROSECOND
