"""Columns of raw series, for pages of thousands: 20 bytes for each, where objects take 300.

Such a page is rare, with a series for each tenant or user. A digest stands for the name of a series.
"""

import re
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import chain, islice, repeat
from typing import Final, Literal, TypeVar, overload

from exporter.readings.serving import CounterReading, Quantity
from exporter.units import Instant

CROWDED: Final = 1000
"""Series that are kept by name; more are kept in columns, by digest."""

SeriesKind = tuple[str, Quantity, Literal[1, -1]]
"""What a series counts: a model, a quantity, and whether it adds to it."""

DIGEST_BYTES: Final = 8

_DIGEST: Final = re.compile(rf"#[0-9a-f]{{{2 * DIGEST_BYTES}}}")
"""A digest in place of a name; no name of a page begins with #."""


def digest(series: str) -> int:
    """Digest of the name of a series; a digest in place of a name is its own."""
    if _DIGEST.fullmatch(series):
        return int(series[1:], 16)
    hashed = blake2b(series.encode("utf-8", "replace"), digest_size=DIGEST_BYTES)
    return int.from_bytes(hashed.digest(), "big")


class SeriesColumns:
    """Numbers by the digest of a series, each in 16 bytes."""

    __slots__ = ("_numbers", "_values")

    def __init__(self, values: Mapping[int, float]) -> None:
        self._numbers = array("Q", values)
        self._values = array("d", values.values())

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
        return cls(dict(zip(_little_endian(numbers), _little_endian(values), strict=True)))

    def to_bytes(self) -> bytes:
        """Both columns, one after the other."""
        return bytes(_little_endian(self._numbers).tobytes() + _little_endian(self._values).tobytes())

    def by_digest(self) -> dict[int, float]:
        """All of them."""
        return dict(zip(self._numbers, self._values, strict=True))

    def __len__(self) -> int:
        return len(self._numbers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SeriesColumns):
            return NotImplemented
        return self._numbers == other._numbers and self._values == other._values

    def __hash__(self) -> int:
        return hash(self.to_bytes())


class CounterColumns(Sequence[CounterReading]):
    """The counters of a page of thousands; each is made on access.

    Code that goes through all of them reads the columns. `kinds` are the kinds of series, `kind` the index
    of each series in it. `created` is empty, or has for each series when it began, -1 where that is not
    known.
    """

    __slots__ = ("created", "kind", "kinds", "numbers", "values")

    def __init__(self, counters: Iterable[CounterReading]) -> None:
        kinds: dict[SeriesKind, int] = {}
        self.numbers, self.values, self.kind = array("Q"), array("d"), array("I")
        created: dict[int, Instant] = {}
        for one in counters:
            number = digest(one.series)
            self.numbers.append(number)
            self.values.append(one.value)
            if one.created is not None:
                created[number] = one.created
            self.kind.append(kinds.setdefault((one.model, one.quantity, one.sign), len(kinds)))
        self.kinds = tuple(kinds)
        self.created = array("q")
        if created:
            self.created = array("q", (created.get(number, -1) for number in self.numbers))

    def __iter__(self) -> Iterator[CounterReading]:
        return map(self._reading, self.numbers, self.values, self.kind, self.created or repeat(-1))

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> CounterReading: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[CounterReading]: ...

    def __getitem__(self, index: int | slice) -> CounterReading | Sequence[CounterReading]:
        if isinstance(index, slice):
            return tuple(self)[index]
        created = self.created[index] if self.created else -1
        return self._reading(self.numbers[index], self.values[index], self.kind[index], created)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CounterColumns):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def _reading(self, number: int, value: float, kind: int, created: int) -> CounterReading:
        model, quantity, sign = self.kinds[kind]
        series = f"#{number:0{2 * DIGEST_BYTES}x}"
        return CounterReading(series, model, quantity, value, sign, None if created < 0 else created)


def counter_readings(counters: Iterable[CounterReading]) -> Sequence[CounterReading]:
    """The counters of one page: a tuple, or columns for thousands."""
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
