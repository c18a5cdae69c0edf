"""Pages of one server, of which each differs from the one before in values only, read without a search.

A server's page has the same lines for hours. The wanted ones are then read near their offsets before.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Final

from exporter.engines.exposition import (
    REMEMBERED_MAX,
    Page,
    Sample,
    Series,
    SeriesCache,
    WantedLine,
    WantedSeries,
    read_lines,
)
from exporter.frozen import dataclass
from exporter.hashes import blake2b

Values = tuple[float, ...]
"""The values of a page's wanted lines, in their order."""

UNSEARCHED_MAX: Final = 30
"""Pages in a row that are read by their offsets alone, five minutes at 10 s; the next one is searched."""

NEAR: Final = 32
"""Bytes by which all lines between two wanted ones may grow or shrink, as digits make them.

Fewer where a wanted line may be as short: a new one is to be seen at once."""

_NUMBERS: Final = re.compile(rb"[-+.0-9A-Za-z]{1,64}+(?:\n[-+.0-9A-Za-z]{1,64}+)*+")


@dataclass(frozen=True, slots=True)
class PageOfLayout(Page):
    """A page without a fault, by its layout and values. Samples are made when they are looked at."""

    layout: "PageLayout" = field(kw_only=True, compare=False)
    values: Values = field(kw_only=True, compare=False)

    def values_of(self, name: str) -> list[float]:
        """The values of the series of a name."""
        return [self.values[index] for index in self.layout.indices[name]]


class PageLayout:
    """The lines of a page without a fault, up to their values: those of a server's next page are the same.

    `names` are those of the lines, and `indices` the lines of each. `derived` is kept by who reads the page,
    for as long as the layout lasts.
    """

    __slots__ = ("_offsets", "_series", "_wanted", "derived", "indices", "names")

    def __init__(self, wanted: WantedSeries, series: Iterable[Series]) -> None:
        self._wanted = wanted
        self._series = tuple(series)
        self._offsets: _Offsets | None = None
        self.indices: Final[dict[str, list[int]]] = {}
        for index, one in enumerate(self._series):
            self.indices.setdefault(one.name, []).append(index)
        self.names: Final = frozenset(self.indices)
        self.derived: object = None

    def of_lines(self, lines: Sequence[WantedLine], memory: SeriesCache) -> Values | None:
        """The values of these lines; `None` if one of them is not as before, or not a number."""
        if len(lines) != len(self._series):
            return None
        numbers: list[bytes] = []
        for (name, rest, _), series in zip(lines, self._series, strict=True):
            raw, _, number = rest.rpartition(b" ")
            if memory.known(name, raw) is not series:
                return None
            numbers.append(number)
        return _values(numbers)

    def of_page(self, page: bytes, wanted: WantedSeries) -> Values | None:
        """The values of a page that has its lines where the page before had them; `None` if it may not."""
        if self._offsets is None or wanted is not self._wanted:
            return None
        return self._offsets.values(page)

    def note_offsets(self, page: bytes, lines: Sequence[WantedLine]) -> None:
        """Note where the lines are on a page of this layout that was searched."""
        # A line of a name has a space, a digit and its end besides.
        near = min([NEAR, *[len(name) + 2 for name in self._wanted.names]])
        self._offsets = _Offsets.of(page, [start for _, _, start in lines], near)

    def page(self, values: Values) -> PageOfLayout:
        """The page of these values."""
        samples = _LayoutSamples(self._series, self.indices, values)
        return PageOfLayout(samples, self.names, layout=self, values=values)


class _LayoutSamples(Mapping[str, tuple[Sample, ...]]):
    """The samples of a page of a layout, each made when it is looked at: of most pages the values suffice."""

    __slots__ = ("_indices", "_series", "_values")

    def __init__(
        self, series: Sequence[Series], indices: Mapping[str, Sequence[int]], values: Values
    ) -> None:
        self._series, self._indices, self._values = series, indices, values

    def __getitem__(self, name: str) -> tuple[Sample, ...]:
        return tuple([Sample(self._series[at], self._values[at]) for at in self._indices[name]])

    def __iter__(self) -> Iterator[str]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __repr__(self) -> str:
        return repr(dict(self))


class _Offsets:
    """Where the wanted lines of a page begin, for the next pages with the same lines.

    These are read near their offsets alone, in a third of the time of a search for names. Each wanted line
    must be as before, up to its value, and what is between two of them about as long. Another wanted line in
    place of an unwanted one waits for a page that is searched: the first one that differs in anything else,
    and the first after `UNSEARCHED_MAX`. Its tokens are late.
    """

    __slots__ = ("_near", "_offsets", "_rest", "_unsearched")

    def __init__(self, offsets: Iterable[tuple[int, bytes]], rest: int, near: int) -> None:
        self._offsets = tuple([(at, begin, len(begin)) for at, begin in offsets])
        self._rest = rest
        self._near = near
        self._unsearched = 0

    @classmethod
    def of(cls, page: bytes, starts: Sequence[int], near: int) -> "_Offsets | None":
        """The offsets of the lines that start there; `None` where one has no end of line on both sides."""
        if not starts or not starts[0] or not page.endswith(b"\n"):
            return None
        # From the end of the line before to the number: no other line has that.
        ends = [page.rindex(b" ", start, page.find(b"\n", start)) + 1 for start in starts]
        offsets = [(start - 1, page[start - 1 : end]) for start, end in zip(starts, ends, strict=True)]
        return cls(offsets, len(page) - starts[-1], near)

    def values(self, page: bytes) -> Values | None:
        """The values of a page; `None` if it differs in more than values, or is to be searched."""
        self._unsearched += 1
        if self._unsearched > UNSEARCHED_MAX or not page.endswith(b"\n"):
            return None
        find, numbers, near = page.find, [], self._near
        shift = start = 0
        for offset, begin, length in self._offsets:
            first = offset + shift - near
            start = find(begin, max(0, first), first + length + 2 * near)
            if start < 0:
                return None
            shift = start - offset  # the values before it grew or shrank by some digits
            number = start + length
            numbers.append(page[number : find(b"\n", number)])
        if abs(len(page) - 1 - start - self._rest) > near:
            return None
        return _values(numbers)


def _values(numbers: Sequence[bytes]) -> Values | None:
    """The values of the texts of numbers; `None` if one of them is no number."""
    if not _NUMBERS.fullmatch(b"\n".join(numbers)):
        return None
    try:
        return tuple(map(float, numbers))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class SelectedLines:
    """The wanted lines of a page, before they are read: by its layout and values, if it has one."""

    lines: tuple[WantedLine, ...]
    layout: PageLayout | None
    values: Values

    def content(self) -> object:
        """What is equal only for pages in a row that say the same: layout and values, else a digest."""
        if self.layout is not None:
            return self.layout, self.values
        names = "\n".join([name for name, _, _ in self.lines]).encode()
        return blake2b(names + b"\n".join([rest for _, rest, _ in self.lines])).digest()


class PageSequence:
    """The pages of one server, one after another. Each is selected, and then read or left."""

    def __init__(self, memory: SeriesCache) -> None:
        self._memory = memory
        self.layout: PageLayout | None = None

    def select(self, page: bytes, wanted: WantedSeries) -> SelectedLines:
        """The wanted lines of the next page."""
        layout = self.layout
        if layout is not None and (values := layout.of_page(page, wanted)) is not None:
            return SelectedLines((), layout, values)
        lines = tuple(wanted.lines(page))
        values = None if layout is None else layout.of_lines(lines, self._memory)
        if values is None:
            layout = self.layout = self._layout(lines, wanted)
            values = None if layout is None else layout.of_lines(lines, self._memory)
        if layout is None or values is None:
            self.layout = None
            return SelectedLines(lines, None, ())
        layout.note_offsets(page, lines)
        return SelectedLines((), layout, values)

    def read(self, selected: SelectedLines) -> Page:
        """Read what was selected last."""
        if selected.layout is None:
            return read_lines(selected.lines, self._memory)
        return selected.layout.page(selected.values)

    def _layout(self, lines: Sequence[WantedLine], wanted: WantedSeries) -> PageLayout | None:
        """The layout of lines that are each a series of the cache and a number, none of them twice."""
        if len(lines) > REMEMBERED_MAX:
            return None
        chosen: dict[str, Series] = {}
        for name, rest, _ in lines:
            series = self._memory.known(name, rest.rpartition(b" ")[0])
            if series is None or series.key in chosen:
                return None
            chosen[series.key] = series
        return PageLayout(wanted, chosen.values())
