"""Marks of the series of one page: by how much each rose since it last counted, and whose page it is.

Servers, their latency histograms and gateways count by these marks. Pure.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

from exporter.readings import SeriesColumns
from exporter.units import (
    LARGEST_COUNT,
    NANOSECONDS_PER_DAY,
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_MINUTE,
    NANOSECONDS_PER_SECOND,
    Instant,
    Nanoseconds,
)

CONFIRMED_AFTER_READS: Final = 3
"""Good reads in a row that an unexpected page takes to be believed. Fewer are bad reads."""

CONFIRMED_AFTER: Final[Nanoseconds] = NANOSECONDS_PER_MINUTE
"""How long these reads take at least where the page has no start: another replica answers sooner."""

RISE_MIN: Final = 100_000
"""Tokens up to which a rise between two reads is expected of any server."""

RISE_RATIO: Final = 10
"""How many times the largest rise of the last hour a rise may be."""

SEVERAL_FOR: Final[Nanoseconds] = NANOSECONDS_PER_DAY
"""How long nothing is counted from a URL at which several processes answer."""

FORMER_MAX: Final = 16
"""Identities of earlier processes that are kept for one page."""

CLOCK_SKEW_MAX: Final[Nanoseconds] = NANOSECONDS_PER_MINUTE
"""How far the clock of a server's host may be off this one's."""

START_RESOLUTION: Final[Nanoseconds] = NANOSECONDS_PER_SECOND
"""How much too early a page may say that its process began: the kernel tells its boot in whole seconds."""

MARKS_MAX: Final = 20_000
"""Marks of one page: as many as a page may have series. Those of series that left it first are dropped."""

MARK_AGE_MAX: Final[Nanoseconds] = NANOSECONDS_PER_DAY
"""How long the mark of a series that left the page is kept."""

MOST_PER_SECOND: Final = 100_000_000
"""Tokens a second of one endpoint above which a counter is implausible. A judgment, not a measurement:
a hundred times what a rack of 72 GPUs is meant to serve, cached prompts included."""

ALLOWANCE_MIN: Final[Nanoseconds] = NANOSECONDS_PER_MINUTE
"""Shortest time between two reads that a limit is computed for: the wall clock may have been set back."""

Series = int
"""The digest of a series' name and labels."""

NO_COLUMNS: Final = SeriesColumns({})


@dataclass(frozen=True, slots=True)
class MarkedPage:
    """One good page: the values of its series, and what it says of its process."""

    values: Mapping[Series, float]
    tokens: Collection[Series]
    """The series that count tokens."""
    created: Mapping[Series, Instant] = field(default_factory=dict)
    """When series began, where the page has it."""
    unrequested: Collection[Series] = ()
    """Series that only set their mark: what they counted was not asked for."""
    identity: str = ""
    """Identity of the process by the page itself, empty where it has none."""
    started: Instant | None = None
    """When that process started, if the page says so."""
    listener: str = ""
    """Identity of the process that listens, empty if unknown. It may be a proxy."""
    listener_started: Instant | None = None
    foreign: bool = False
    """The page is of another engine than the last one: what it counted is not this server's."""
    counted_elsewhere: bool = False
    """Another address answered with this process before, and counted it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Marks beside the current ones: of a restarted process, of another replica, or of bad reads."""

    since: Instant = 0
    values: SeriesColumns = NO_COLUMNS
    """Those of its last page."""
    first: SeriesColumns = NO_COLUMNS
    """Those of its first page."""
    identity: str = ""
    risen: bool = False
    """It is above the current marks, by more than this server ever counts between two reads."""
    reads: int = 0


@dataclass(frozen=True, slots=True)
class PageMarks:
    """The last good values of one page's series, and the processes that wrote it."""

    read: bool = False
    """Whether a page has set marks."""
    answered: Instant = 0
    """Wall time of the last page that counted."""
    values: SeriesColumns = NO_COLUMNS
    """Those of that page, and of series that went from it at most a day before."""
    gone: SeriesColumns = NO_COLUMNS
    """Since when the latter are missing."""
    dropped: bool = False
    """Whether marks of this process were dropped at the limit."""
    identity: str = ""
    """Identity of the process by its page."""
    started: Instant | None = None
    youngest: Instant = 0
    """The latest start of a process that answered; 0 if none is known."""
    former: tuple[str, ...] = ()
    """Identities of the processes before, last ones last."""
    listener: str = ""
    largest: float = 0.0
    """The largest rise of tokens between two reads of the last hour."""
    largest_at: Instant = 0
    candidate: Candidate | None = None
    replaced: SeriesColumns = NO_COLUMNS
    """The marks before the last restart of a process without a start, until a page reaches them."""
    returned_at: Instant = 0
    """When the current marks last came back after a candidate; 0: never."""
    several_until: Instant = 0
    """Until when nothing is counted, since several processes answer; 0: one does."""
    clock_step: Nanoseconds = 0
    """By how much the wall clock was stepped since the last page that counted."""

    def answers_of_several(self, wall: Instant) -> bool:
        """Whether several processes are known to answer at this URL."""
        return 0 <= self.several_until - wall - 1 < SEVERAL_FOR

    def stepped(self, step: Nanoseconds) -> "PageMarks":
        """The marks after the wall clock was stepped: their instants move with it."""
        if not step:
            return self
        candidate = self.candidate
        return replace(
            self,
            answered=self.answered and self.answered + step,
            largest_at=self.largest_at and self.largest_at + step,
            returned_at=self.returned_at and self.returned_at + step,
            several_until=self.several_until and self.several_until + step,
            candidate=None if candidate is None else replace(candidate, since=candidate.since + step),
            clock_step=self.clock_step + step,
        )

    def advance(self, page: MarkedPage, wall: Instant, since: Instant | None = None) -> "PageTick":
        """Take in one good page.

        The first one only sets marks, unless its process was seen to start: after `since`, when this page was
        first asked for. A page of the current process counts its rises since the last one that counted.
        Another start is a restart: everything counts from zero. But a process that already ran when another
        one answered is a replica behind the same address, and only sets marks. An identity that comes back
        after another one, as no restart does, shows that several processes answer. What another address
        counted of a process is not counted again.

        A page that is below the current marks, or above them by more than this server ever counts, or that
        reaches marks that were taken for those of an ended process, is a candidate's, and counts nothing yet.
        So is one of another process of which it is not sure that it began since. Once it has answered alone
        for three reads, of a minute where the page has no start, it is believed: series below their marks
        began at zero. That is so at once where another process listens. Where the current marks come back
        before, they go on; twice within an hour, several processes answer. Then nothing is counted for a day.
        """
        if self.several_until:
            until = min(self.several_until, wall + SEVERAL_FOR)
            if wall < until:
                return PageTick(replace(self, several_until=until), several=1)
            return PageMarks().advance(page, wall)
        if not self.read:
            began = page.listener_started if page.started is None else page.started
            is_new = began is not None and since is not None and since <= began <= wall + CLOCK_SKEW_MAX
            is_new = is_new and not page.counted_elsewhere
            none = PageMarks(answered=wall if since is None else since)
            return self._counted(page, _compare(none, page, wall, baseline=not is_new), wall)
        same = bool(page.identity) and self._is_of_current_process(page)
        other = bool(self.identity and page.identity) and not same
        if other and page.identity in self.former:
            return _several(wall)
        without = PageMarks(answered=self.answered)
        if page.counted_elsewhere and not same:
            return self._counted(page, _compare(without, page, wall, baseline=True), wall, several=1)
        if page.started is not None and not same:
            if self.answered - START_RESOLUTION <= page.started <= wall + CLOCK_SKEW_MAX:
                return self._counted(page, _compare(without, page, wall), wall, restarted=True)
            if other and self._ran_already(page.started, wall):
                return self._counted(page, _compare(without, page, wall, baseline=True), wall, several=1)
        compared = _compare(without if other else self, page, wall)
        largest = self.largest if wall - self.largest_at <= NANOSECONDS_PER_HOUR else 0.0
        risen = compared.rise > max(RISE_MIN, RISE_RATIO * largest) or _reaches(page, self.replaced)
        fell = other or compared.below
        if fell or (risen and not same):
            candidate = self._next_candidate(page, wall, risen=not fell)
            alone_for = wall - candidate.since
            waited = candidate.reads >= CONFIRMED_AFTER_READS and (same or alone_for >= CONFIRMED_AFTER)
            another_listens = bool(self.listener and page.listener) and self.listener != page.listener
            if not waited and not (fell and not same and another_listens):
                returned_at = self.returned_at
                if not same and self._candidate_turned_back(candidate, page):
                    if self._returned_lately(wall):
                        return _several(wall)
                    returned_at = wall
                return PageTick(replace(self, candidate=candidate, returned_at=returned_at))
            is_unsure = compared.below and not (other or same or another_listens)
            replaced = self.values if is_unsure else NO_COLUMNS
            return self._counted(page, compared, wall, restarted=fell, replaced=replaced)
        returned_at = self.returned_at
        if self.candidate is not None and not (same and self.candidate.identity in {"", page.identity}):
            if self._returned_lately(wall) or self.candidate.identity:
                return _several(wall)
            returned_at = wall
        return self._counted(page, compared, wall, returned_at=returned_at)

    def _is_of_current_process(self, page: MarkedPage) -> bool:
        """Whether a page with an identity is of the process that the marks are of.

        Some engines compute their start anew for each page: it moves with the clock.
        """
        if page.identity == self.identity or not self.clock_step:
            return page.identity == self.identity
        if page.started is None or self.started is None:
            return False
        return abs(page.started - self.started - self.clock_step) <= NANOSECONDS_PER_SECOND

    def _ran_already(self, started: Instant, wall: Instant) -> bool:
        """Whether a process that started then ran when another one answered, and so is no restart of it.

        Times from before the clock was set back are not used.
        """
        if self.answered <= wall and started < self.answered - CLOCK_SKEW_MAX:
            return True
        return self.youngest <= wall and started <= self.youngest

    def _returned_lately(self, wall: Instant) -> bool:
        """Whether marks came back within the last hour."""
        return self.returned_at > 0 and wall - self.returned_at <= NANOSECONDS_PER_HOUR

    def _candidate_turned_back(self, candidate: Candidate, page: MarkedPage) -> bool:
        """Whether a page fell below the candidate before, and not to zero: two others take turns."""
        before = self.candidate
        if before is None or candidate.reads > 1 or before.risen != candidate.risen:
            return False
        return before.identity == candidate.identity and _reaches(page, before.first)

    def _next_candidate(self, page: MarkedPage, wall: Instant, *, risen: bool) -> Candidate:
        """The candidate after a page of its kind: the one before, unless that is another process."""
        before = self.candidate
        goes_on = (
            before is not None
            and (before.identity, before.risen) == (page.identity, risen)
            and all(page.values.get(name, mark) >= mark for name, mark in before.values.by_digest().items())
        )
        since = min(before.since, wall) if before is not None and goes_on else wall
        reads = before.reads + 1 if before is not None and goes_on else 1
        values = SeriesColumns(page.values)
        first = before.first if before is not None and goes_on else values
        return Candidate(since, values, first, page.identity, risen, reads)

    def _counted(
        self,
        page: MarkedPage,
        compared: "PageTick",
        wall: Instant,
        *,
        restarted: bool = False,
        several: int = 0,
        replaced: SeriesColumns | None = None,
        returned_at: Instant | None = None,
    ) -> "PageTick":
        """The tick of a page that counts, or sets marks."""
        of_another = bool(page.identity and self.identity) and not self._is_of_current_process(page)
        former = (*self.former, self.identity)[-FORMER_MAX:] if of_another else self.former
        is_largest = compared.rise >= self.largest or wall - self.largest_at > NANOSECONDS_PER_HOUR
        after = PageMarks(
            read=True,
            answered=wall,
            values=compared.marks.values,
            gone=compared.marks.gone,
            dropped=compared.marks.dropped,
            identity=page.identity or self.identity,
            started=page.started if page.identity else self.started,
            youngest=max(self.youngest, page.started or 0),
            former=former,
            listener=page.listener or self.listener,
            largest=compared.rise if is_largest else self.largest,
            largest_at=wall if is_largest else self.largest_at,
            replaced=self.replaced if replaced is None else replaced,
            returned_at=self.returned_at if returned_at is None else returned_at,
        )
        return replace(compared, marks=after, restarted=restarted, several=several)


@dataclass(frozen=True, slots=True)
class PageTick:
    """One page after one good read."""

    marks: PageMarks
    """The marks after it."""
    deltas: Mapping[Series, float] | None = None
    """Increases of the series that counted, `None` where the page waits or several processes answer."""
    restarted: bool = False
    """Whether its process was restarted."""
    implausible: int = 0
    """Series that rose by more than any server counts; they are left out."""
    several: int = 0
    """1 where another process answers beside the one before."""
    below: bool = False
    """Whether a series of the last good page is below its mark."""
    rise: float = 0.0
    """Tokens by which all series rose together."""


def _several(wall: Instant) -> PageTick:
    return PageTick(PageMarks(several_until=wall + SEVERAL_FOR), several=1)


def _reaches(page: MarkedPage, marks: SeriesColumns) -> bool:
    """Whether a page has these marks or more; false without marks."""
    return len(marks) > 0 and all(
        page.values.get(name, -1) >= mark for name, mark in marks.by_digest().items()
    )


def _compare(marks: PageMarks, page: MarkedPage, wall: Instant, *, baseline: bool = False) -> PageTick:
    """Compare a page with marks. `baseline`: it only sets them.

    A series without a mark began at zero since then: engines create series late. Once marks were dropped it
    may be one of those, unless the page has a later start for it.
    A series below its mark began at zero again, and so did one that began after it had gone: a gateway
    lets go of what nobody used for a while.
    """
    before, gone = marks.values.by_digest(), marks.gone.by_digest()
    values = {name: value for name, value in page.values.items() if 0 <= value <= LARGEST_COUNT}
    deltas: dict[Series, float] = {}
    below = False
    for name, value in () if baseline else values.items():
        mark, created = before.get(name), page.created.get(name, -1)
        fell = mark is not None and value < mark
        below = below or (fell and name not in gone)
        only_sets_mark = mark is None and (page.foreign or marks.dropped) and created <= marks.answered
        if only_sets_mark or name in page.unrequested:
            continue
        recreated = name in gone and created > gone[name]
        deltas[name] = value if mark is None or fell or recreated else value - mark
    most = MOST_PER_SECOND * max(wall - marks.answered, ALLOWANCE_MIN) / NANOSECONDS_PER_SECOND
    implausible = {name for name, delta in deltas.items() if delta > most}
    deltas = {name: delta for name, delta in deltas.items() if name not in implausible}
    if sum(deltas.values()) > most:
        implausible.update(deltas)
        deltas = {}
    after = values | {name: before[name] for name in implausible if name in before}
    left = {name: min(gone.get(name, wall), wall) for name in before if name not in values}
    # The clock may have been set back since one went.
    recent = [name for name, went in left.items() if wall - went <= MARK_AGE_MAX]
    recent.sort(key=left.__getitem__, reverse=True)
    room = max(0, MARKS_MAX - len(after))
    remaining = recent[:room]
    limited = dict(islice(after.items(), MARKS_MAX))
    marks_after = replace(
        marks,
        values=SeriesColumns(limited | {name: before[name] for name in remaining}),
        gone=SeriesColumns({name: left[name] for name in remaining}),
        dropped=marks.dropped or len(recent) > room or len(after) > MARKS_MAX,
    )
    return PageTick(
        marks_after,
        deltas,
        implausible=len(implausible),
        below=below,
        rise=sum(deltas.get(name, 0.0) for name in page.tokens),
    )
