"""Decoder of protocol buffers into structs whose fields are annotated with their numbers.

    class ContainerDevices(msgspec.Struct):
        resource_name: Annotated[str, 1] = ""
        device_ids: Annotated[list[str], 2] = []

A field is a string, a truth value, an integer without a sign, a time, a struct, a list of these, or a mapping
of strings. Fields of other numbers or wire types are skipped: newer senders have them.
The encoding is https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from types import NoneType
from typing import Annotated, Any, Final, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from exporter.readings import FailureReason, ReadFailedError

FIELDS_MAX: Final = 1 << 20
"""Fields read of one reply, nested ones too: about a second. 1.5 MB of small pods have an eighth."""

VARINT_BYTES_MAX: Final = 10
TAG_BYTES_MAX: Final = 5

VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
FIXED32: Final = 5
FIXED_BYTES: Final = {FIXED64: 8, FIXED32: 4}

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

M = TypeVar("M", bound=msgspec.Struct)


class _Entry(msgspec.Struct):
    """One entry of a mapping."""

    key: Annotated[str, 1] = ""
    value: Annotated[str, 2] = ""


class _Time(msgspec.Struct):
    """A `google.protobuf.Timestamp`, without its nanoseconds."""

    seconds: Annotated[int, 1] = 0


@dataclass(frozen=True, slots=True)
class _Field:
    """How one field of a struct is decoded."""

    name: str
    container: type | None
    """`list` or `dict`, `None` for a single value."""
    type: type
    """Type of the value, or of each value in the container."""
    is_integer: bool
    """Whether its values are sent as integers: truth values are, too."""


@cache
def _fields(message: type[msgspec.Struct]) -> Mapping[int, _Field]:
    """The numbered fields of a struct, by number."""
    fields = {}
    for name, hint in get_type_hints(message, include_extras=True).items():
        if get_origin(hint) is not Annotated:
            continue
        annotated, number = get_args(hint)
        types = [part for part in get_args(annotated) if part is not NoneType]
        is_optional = NoneType in get_args(annotated)
        value_type = types[0] if is_optional else annotated
        container = get_origin(value_type)
        if container is dict:
            value_type = _Entry
        elif container is list:
            (value_type,) = get_args(value_type)
        is_integer = value_type in (bool, int)
        fields[number] = _Field(name=name, container=container, type=value_type, is_integer=is_integer)
    return fields


class _Part(NamedTuple):
    """One field of a serialized message."""

    number: int
    """The number of the field in its message."""
    content: int | slice
    """The value of an integer; the span of a string or nested message in the reply."""


def messages(reply: bytes, message: type[M]) -> Iterator[M]:
    """The messages of field 1 of a reply, one at a time.

    Raises:
        ReadFailedError: `malformed`; `too_large`, more fields than are looked at.
    """
    decoder = _Decoder(reply)
    for part in decoder.parts(slice(0, len(reply))):
        if part.number == 1 and isinstance(part.content, slice):
            yield decoder.message(message, part.content)


class _Decoder:
    """Decodes one reply, of which at most `FIELDS_MAX` fields are read."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._fields_left = FIELDS_MAX

    def message(self, message: type[M], span: slice) -> M:
        """The message in a span of the reply."""
        fields = _fields(message)
        values: dict[str, Any] = {}
        for part in self.parts(span):
            field = fields.get(part.number)
            if field is None or field.is_integer != isinstance(part.content, int):
                continue
            value = self._value(field.type, part.content)
            if field.container is list:
                values.setdefault(field.name, []).append(value)
            elif field.container is dict:
                values.setdefault(field.name, {})[value.key] = value.value
            else:
                values[field.name] = value
        return message(**values)

    def _value(self, type_: type, content: int | slice) -> Any:
        if isinstance(content, int):
            return type_(content)
        try:
            if type_ is str:
                return self._data[content].decode()
            if type_ is datetime:
                return EPOCH + timedelta(seconds=self.message(_Time, content).seconds)
        except UnicodeDecodeError as error:
            raise _malformed("a string that is not UTF-8", content.start) from error
        except OverflowError as error:  # below zero too, which is a large number without its sign
            raise _malformed("a time that no calendar has", content.start) from error
        return self.message(type_, content)

    def parts(self, span: slice) -> Iterator[_Part]:
        """The strings, nested messages and integers in a span of the reply."""
        at, end = span.start, span.stop
        while at < end:
            self._fields_left -= 1
            if self._fields_left < 0:
                raise ReadFailedError(FailureReason.TOO_LARGE, f"more than {FIELDS_MAX} fields")
            tag, at = self._varint(at, min(end, at + TAG_BYTES_MAX))
            number, wire = tag >> 3, tag & 7
            if number == 0:
                raise _malformed("a field without a number", at)
            if wire == LENGTH:
                length, at = self._varint(at, end)
                if length > end - at:
                    raise _malformed("a field that ends after its message", at)
                yield _Part(number, slice(at, at + length))
                at += length
            elif wire == VARINT:
                value, at = self._varint(at, end)
                yield _Part(number, value)
            elif wire in FIXED_BYTES:
                at += FIXED_BYTES[wire]
                if at > end:
                    raise _malformed("a number that ends after its message", at)
            else:
                raise _malformed(f"wire type {wire}", at)

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """A number of variable length, and the offset of its end."""
        value = shift = 0
        for offset in range(at, min(end, at + VARINT_BYTES_MAX)):
            byte = self._data[offset]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, offset + 1
            shift += 7
        raise _malformed("a number without an end", at)


def _malformed(what: str, at: int) -> ReadFailedError:
    return ReadFailedError(FailureReason.MALFORMED, f"{what}, at byte {at}")
