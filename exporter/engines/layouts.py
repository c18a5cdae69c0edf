"""Pages of one server, of which each differs from the one before in values only, read without a search.

A server's page has the same lines for hours. The wanted ones are then read in the rows that they had before.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from operator import itemgetter
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

UNSEARCHED_MAX: Final = 60
"""Pages in a row that are read by their rows alone, ten minutes at 10 s; the next one is searched."""

_NUMBERS: Final = re.compile(rb"[-+.0-9A-Za-z]{1,64}+(?:\n[-+.0-9A-Za-z]{1,64}+)*+")
_TYPE: Final = b"# TYPE "


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

    __slots__ = ("_rows", "_series", "_wanted", "derived", "indices", "names")

    def __init__(self, wanted: WantedSeries, series: Iterable[Series]) -> None:
        self._wanted = wanted
        self._series = tuple(series)
        self._rows: _Rows | int | None = 0
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
        for (name, rest), series in zip(lines, self._series, strict=True):
            raw, _, number = rest.rpartition(b" ")
            if memory.known(name, raw) is not series:
                return None
            numbers.append(number)
        return _values(numbers)

    def of_page(self, page: bytes, wanted: WantedSeries) -> Values | None:
        """The values of a page that has its lines in the rows of the page before; `None` if it may not."""
        if not isinstance(self._rows, _Rows) or wanted is not self._wanted:
            return None
        return self._rows.values(page)

    def note_rows(self, page: bytes) -> None:
        """Note the rows of a page of this layout, if the page before had as many.

        The pages of some servers have a row more each time: their rows would be of no use.
        """
        if self._rows is None:
            return
        if isinstance(self._rows, _Rows):
            self._rows.unsearched = 0
            if self._rows.values(page) is not None:
                return
        rows = page.split(b"\n")
        if self._rows != len(rows):
            self._rows = len(rows)
        elif _grouped(rows):
            self._rows = _Rows(rows, tuple(self._wanted.rows(page)))
        else:
            self._rows = None

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


class _Rows:
    """The rows of the wanted lines, on a page whose lines all follow the type of their family.

    The next page is read in these rows alone, which takes half the time of a search for names. It must have
    as many rows, the same types in the same ones, and each wanted line in its own. Another wanted line in the
    row of an unwanted one that went, or a family in just its rows, waits for a page that is searched: the
    first one that differs in anything else, and the first after `UNSEARCHED_MAX`. Its tokens are late.
    """

    __slots__ = ("_begins", "_count", "_pick", "_types", "unsearched")

    def __init__(self, rows: Sequence[bytes], wanted: Sequence[int]) -> None:
        self._begins = tuple([rows[row][: rows[row].rindex(b" ") + 1] for row in wanted])
        self._pick = itemgetter(*wanted, *[row for row, line in enumerate(rows) if line.startswith(_TYPE)])
        # A hash takes no memory, and no server can make another one alike: it is of this process alone.
        self._types = hash(self._pick(rows)[len(wanted) :])
        self._count = len(rows)
        self.unsearched = 0

    def values(self, page: bytes) -> Values | None:
        """The values of a page; `None` if it differs in more than values, or is to be searched."""
        self.unsearched += 1
        if self.unsearched > UNSEARCHED_MAX:
            return None
        rows = page.split(b"\n")
        if len(rows) != self._count:
            return None
        picked, begins = self._pick(rows), self._begins
        if not all(map(bytes.startswith, picked, begins)) or hash(picked[len(begins) :]) != self._types:
            return None
        return _values([line[len(begin) :] for line, begin in zip(picked, begins, strict=False)])


def _grouped(rows: Iterable[bytes]) -> bool:
    """Whether each line follows the type of a family, by whose name it begins."""
    family = b"\n"  # no line begins so
    for row in rows:
        if row.startswith(_TYPE):
            family = row[len(_TYPE) :].partition(b" ")[0] or b"\n"
        elif row and not row.startswith((family, b"#")):
            return False
    return True


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
        names = "\n".join([name for name, _ in self.lines]).encode()
        return blake2b(names + b"\n".join([rest for _, rest in self.lines])).digest()


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
        layout.note_rows(page)
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
        for name, rest in lines:
            series = self._memory.known(name, rest.rpartition(b" ")[0])
            if series is None or series.key in chosen:
                return None
            chosen[series.key] = series
        return PageLayout(wanted, chosen.values())
