"""Parser of protocol buffers without generated code: strings, messages and integers, by number.

The encoding is https://protobuf.dev/programming-guides/encoding/.
Unwanted numbers, and fields of other wire types, are skipped: newer senders have them.
"""

from collections.abc import Iterator
from typing import Final

from exporter.readings import FailureReason, ReadFailedError

FIELDS_MAX: Final = 1 << 20
"""Fields read of one message, nested ones too: about a second. 1.5 MB of small pods have an eighth."""

VARINT_BYTES_MAX: Final = 10
TAG_BYTES_MAX: Final = 5

VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
FIXED32: Final = 5


class Message:
    """Bytes of one message, walked part by part. All parts together have at most `fields` fields."""

    def __init__(self, data: bytes, fields: int = FIELDS_MAX) -> None:
        self._data = data
        self._left = fields

    def fields(self, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int]]:
        """The number of each string or nested message between two offsets, and its own two offsets.

        Raises:
            ReadFailedError: `malformed`; `too_large`, more fields than are looked at.
        """
        return self._walked(LENGTH, start, end)

    def integers(self, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
        """The number of each integer or truth value between two offsets, and its value without a sign.

        Raises:
            ReadFailedError: as `fields`.
        """
        return ((number, value) for number, value, _ in self._walked(VARINT, start, end))

    def _walked(self, wanted: int, start: int, end: int | None) -> Iterator[tuple[int, int, int]]:
        """The fields of one wire type; of an integer its value in place of its first offset."""
        data = self._data
        stop = len(data) if end is None else end
        at = start
        while at < stop:
            self._left -= 1
            if self._left < 0:
                raise ReadFailedError(FailureReason.TOO_LARGE, "more fields than a kubelet has to tell")
            tag = data[at]
            if tag < 0x80:
                at += 1
            else:
                tag, at = self._varint(at, min(stop, at + TAG_BYTES_MAX))
            number, wire = tag >> 3, tag & 7
            if number == 0:
                raise _malformed("a field without a number", at)
            if wire == LENGTH:
                if at < stop and (length := data[at]) < 0x80:  # nearly all: a call for each would be felt
                    at += 1
                else:
                    length, at = self._varint(at, stop)
                if length > stop - at:
                    raise _malformed("a field that ends after its message", at)
                if wanted == LENGTH:
                    yield number, at, at + length
                at += length
            elif wire == VARINT:
                value, at = self._varint(at, stop)
                if wanted == VARINT:
                    yield number, value, at
            elif wire in (FIXED64, FIXED32):
                at += 8 if wire == FIXED64 else 4
                if at > stop:
                    raise _malformed("a number that ends after its message", at)
            else:
                raise _malformed(f"wire type {wire}", at)

    def text(self, start: int, end: int) -> str:
        """The string between two offsets.

        Raises:
            ReadFailedError: `malformed`, it is not UTF-8.
        """
        try:
            return self._data[start:end].decode()
        except UnicodeDecodeError as error:
            raise _malformed("a string that is not UTF-8", start) from error

    def _varint(self, at: int, stop: int) -> tuple[int, int]:
        """A number of variable length, and where it ends."""
        data = self._data
        value = shift = 0
        for offset in range(at, min(stop, at + VARINT_BYTES_MAX)):
            byte = data[offset]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, offset + 1
            shift += 7
        raise _malformed("a number without an end", at)


def _malformed(what: str, at: int) -> ReadFailedError:
    return ReadFailedError(FailureReason.MALFORMED, f"{what}, at byte {at}")
