"""Raw series by the thousand, kept in columns: 20 bytes for each where objects take 300.

A page of thousands of series is rare and may be honest: one for each tenant or user. There a series goes by
a digest of its name.
"""

import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import chain, islice
from typing import Final, Literal, TypeVar, overload

from exporter.readings.serving import CounterReading, Quantity

CROWDED: Final = 1000
"""Series that are kept by name; more of them are kept in columns, by digest."""

DIGEST_BYTES: Final = 8
DIGEST_CHARACTERS: Final = 1 + 2 * DIGEST_BYTES


def is_digest(series: str) -> bool:
    """Whether this is a digest, and no name as a page has it."""
    return series[:1] == "#" and len(series) == DIGEST_CHARACTERS


def digest(series: str) -> str:
    """What a series goes by among thousands; a digest is its own."""
    if is_digest(series):
        return series
    return f"#{blake2b(series.encode('utf-8', 'replace'), digest_size=DIGEST_BYTES).hexdigest()}"


def _number(series: str) -> int:
    return int(digest(series)[1:], 16)


def _digest_of(number: int) -> str:
    return f"#{number:016x}"


class SeriesColumns(Mapping[str, float]):
    """Numbers by the digest of a series. A look-up goes through all of them: `unpacked` serves many."""

    __slots__ = ("_numbers", "_values")

    def __init__(self, numbers: "array[int]", values: "array[float]") -> None:
        self._numbers = numbers
        self._values = values

    @classmethod
    def of(cls, values: Mapping[str, float]) -> "SeriesColumns":
        """The same numbers in columns."""
        return cls(array("Q", map(_number, values)), array("d", values.values()))

    @classmethod
    def from_bytes(cls, columns: bytes) -> "SeriesColumns":
        """Columns as `to_bytes` wrote them.

        Raises:
            ValueError: these bytes are no columns.
        """
        half, rest = divmod(len(columns), 2)
        if rest or half % DIGEST_BYTES:
            raise ValueError(f"{len(columns)} bytes are no columns of series")
        numbers, values = array("Q", columns[:half]), array("d", columns[half:])
        return cls(_little_endian(numbers), _little_endian(values))

    def to_bytes(self) -> bytes:
        """Both columns, one after the other."""
        return _little_endian(self._numbers).tobytes() + _little_endian(self._values).tobytes()

    def __getitem__(self, series: str) -> float:
        try:
            return self._values[self._numbers.index(_number(series))]
        except ValueError:
            raise KeyError(series) from None

    def __iter__(self) -> Iterator[str]:
        return map(_digest_of, self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SeriesColumns):
            return NotImplemented
        return self._numbers == other._numbers and self._values == other._values

    __hash__ = None  # type: ignore[assignment]

    def unpacked(self) -> dict[str, float]:
        """All of them, by digest."""
        return dict(zip(self, self._values, strict=True))


class CounterColumns(Sequence[CounterReading]):
    """The counters of a page of thousands; each is made when it is asked for."""

    __slots__ = ("_created", "_kind", "_kinds", "_numbers", "_values")

    def __init__(self, counters: Iterable[CounterReading]) -> None:
        kinds: dict[tuple[str, Quantity, Literal[1, -1]], int] = {}
        self._numbers, self._values, self._created = array("Q"), array("d"), array("q")
        self._kind = array("L")
        for one in counters:
            self._numbers.append(_number(one.series))
            self._values.append(one.value)
            self._created.append(-1 if one.created is None else one.created)
            self._kind.append(kinds.setdefault((one.model, one.quantity, one.sign), len(kinds)))
        self._kinds = tuple(kinds)

    def __iter__(self) -> Iterator[CounterReading]:
        return map(self._reading, self._numbers, self._values, self._kind, self._created)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> CounterReading: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[CounterReading]: ...

    def __getitem__(self, index: int | slice) -> CounterReading | Sequence[CounterReading]:
        if isinstance(index, slice):
            return tuple(self)[index]
        return self._reading(
            self._numbers[index], self._values[index], self._kind[index], self._created[index]
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CounterColumns):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def _reading(self, number: int, value: float, kind: int, created: int) -> CounterReading:
        model, quantity, sign = self._kinds[kind]
        return CounterReading(
            _digest_of(number), model, quantity, value, sign, None if created < 0 else created
        )


def counter_readings(counters: Iterable[CounterReading]) -> Sequence[CounterReading]:
    """The counters of one page: a few as they are, thousands in columns."""
    rest = iter(counters)
    few = tuple(islice(rest, CROWDED))
    more = next(rest, None)
    return few if more is None else CounterColumns(chain(few, (more,), rest))


_Column = TypeVar("_Column", "array[int]", "array[float]")


def _little_endian(column: _Column) -> _Column:
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return column
