"""Parser of protocol buffers without generated code: a description of the wanted fields, by number.

The encoding is https://protobuf.dev/programming-guides/encoding/.
Unwanted numbers, and fields of other wire types, are skipped: newer senders have them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from exporter.readings import FailureReason, ReadFailedError

FIELDS_MAX: Final = 1 << 20
"""Fields read of one message, nested ones too: about a second. 1.5 MB of small pods have an eighth."""

VARINT_BYTES_MAX: Final = 10
TAG_BYTES_MAX: Final = 5

VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
FIXED32: Final = 5
FIXED_BYTES: Final = {FIXED64: 8, FIXED32: 4}

Fields: TypeAlias = "Mapping[int, Field]"
"""The wanted fields of a message, by number."""


@dataclass(frozen=True, slots=True)
class Field:
    """One wanted field of a message."""

    name: str
    """Its key in the parsed message."""
    type: Literal["text", "integer"] | Fields = "text"
    """A string, an integer without a sign or truth value, or a nested message."""
    repeated: bool = False
    """Whether its values are listed; else the last one counts."""
    convert: Callable[[Any], Any] | None = None
    """Changes each value."""


class Part(NamedTuple):
    """One field of a serialized message."""

    number: int
    wire: int
    start: int
    """Of its content; the value of an integer itself."""
    end: int


class Message:
    """Bytes of one message, parsed part by part. All parts together have at most `FIELDS_MAX` fields."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = FIELDS_MAX

    def parse(self, fields: Fields, start: int = 0, end: int | None = None) -> dict[str, Any]:
        """The wanted fields between two offsets; absent ones have no key.

        Raises:
            ReadFailedError: `malformed`; `too_large`, more fields than are looked at.
        """
        parsed: dict[str, Any] = {}
        for part in self.parts(start, end):
            field = fields.get(part.number)
            if field is None or part.wire != (VARINT if field.type == "integer" else LENGTH):
                continue
            value: Any = part.start
            if field.type == "text":
                value = self._text(part.start, part.end)
            elif field.type != "integer":
                value = self.parse(field.type, part.start, part.end)
            if field.convert is not None:
                value = field.convert(value)
            if field.repeated:
                parsed.setdefault(field.name, []).append(value)
            else:
                parsed[field.name] = value
        return parsed

    def parts(self, start: int = 0, end: int | None = None) -> Iterator[Part]:
        """The strings, nested messages and integers between two offsets.

        Raises:
            ReadFailedError: as `parse`.
        """
        stop = len(self._data) if end is None else end
        at = start
        while at < stop:
            self._left -= 1
            if self._left < 0:
                raise ReadFailedError(FailureReason.TOO_LARGE, "more fields than a kubelet has to tell")
            tag, at = self._varint(at, min(stop, at + TAG_BYTES_MAX))
            number, wire = tag >> 3, tag & 7
            if number == 0:
                raise _malformed("a field without a number", at)
            if wire == LENGTH:
                length, at = self._varint(at, stop)
                if length > stop - at:
                    raise _malformed("a field that ends after its message", at)
                yield Part(number, wire, at, at + length)
                at += length
            elif wire == VARINT:
                value, at = self._varint(at, stop)
                yield Part(number, wire, value, at)
            elif wire in FIXED_BYTES:
                at += FIXED_BYTES[wire]
                if at > stop:
                    raise _malformed("a number that ends after its message", at)
            else:
                raise _malformed(f"wire type {wire}", at)

    def _text(self, start: int, end: int) -> str:
        try:
            return self._data[start:end].decode()
        except UnicodeDecodeError as error:
            raise _malformed("a string that is not UTF-8", start) from error

    def _varint(self, at: int, stop: int) -> tuple[int, int]:
        """A number of variable length, and where it ends."""
        value = shift = 0
        for offset in range(at, min(stop, at + VARINT_BYTES_MAX)):
            byte = self._data[offset]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, offset + 1
            shift += 7
        raise _malformed("a number without an end", at)


def _malformed(what: str, at: int) -> ReadFailedError:
    return ReadFailedError(FailureReason.MALFORMED, f"{what}, at byte {at}")
