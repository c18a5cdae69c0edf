"""Marks of the series of one page: by how much each rose since it last counted, and whose page it is.

Servers, their latency histograms and gateways count by these marks. Pure.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import islice
from typing import Final, NamedTuple

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
    """Values of all its series."""
    tokens: Collection[Series]
    """The series that count tokens."""
    created: Mapping[Series, Instant] = field(default_factory=dict)
    """When series began, where the page has it."""
    unrequested: Collection[Series] = ()
    """Series that only set their mark: what they counted was not asked for."""
    identity: str = ""
    """Identity of the process by the page itself, empty where it has none."""
    started: Instant | None = None
    """When its process started, if the page says so."""
    listener: str = ""
    """Identity of the process that listens, empty if unknown. It may be a proxy."""
    listener_started: Instant | None = None
    """When the process that listens started, if that is known."""
    foreign: bool = False
    """Whether the page is of another engine than the last one: what it counted is not this server's."""
    counted_elsewhere: bool = False
    """Whether another address answered with this process before, and counted it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Marks beside the current ones: of a restarted process, of another replica, or of bad reads."""

    since: Instant = 0
    """Wall time of its first page."""
    values: SeriesColumns = NO_COLUMNS
    """Values of the series of its last page."""
    first: SeriesColumns = NO_COLUMNS
    """Values of the series of its first page."""
    identity: str = ""
    """Identity of its process by the page, empty where it has none."""
    risen: bool = False
    """Whether it is above the current marks, by more than this server ever counts between two reads."""
    reads: int = 0
    """Good reads of the candidate in a row."""


def listen_apart(listener: str, other: str) -> bool:
    """Whether two listeners are known, and are two processes."""
    return bool(listener and other) and listener != other


@dataclass(frozen=True, slots=True)
class PageMarks:
    """The last good values of one page's series, and the processes that wrote it."""

    read: bool = False
    """Whether a page has set marks."""
    answered: Instant = 0
    """Wall time of the last page that counted."""
    values: SeriesColumns = NO_COLUMNS
    """Values of the series of the last page that counted, and of series that left at most a day before."""
    gone: SeriesColumns = NO_COLUMNS
    """The instants since which series are missing that are not on the last page that counted."""
    dropped: bool = False
    """Whether marks of this process were dropped at the limit."""
    identity: str = ""
    """Identity of the process by its page."""
    started: Instant | None = None
    """When the process started, if its page says so."""
    youngest: Instant | None = None
    """The latest start of a process that answered; `None` if none is known."""
    former: tuple[str, ...] = ()
    """Identities of the processes before, last ones last."""
    listener: str = ""
    """Identity of the process that listens, empty if unknown."""
    largest: float = 0.0
    """The largest rise of tokens between two reads of the last hour: by it a sudden one is known."""
    largest_at: Instant | None = None
    """Wall time of the largest rise; `None` before the first."""
    candidate: Candidate | None = None
    """Marks of the pages since the last one that counted, which these marks do not explain."""
    replaced: SeriesColumns = NO_COLUMNS
    """The marks before the last restart of a process without a start, until a page reaches them."""
    returned_at: Instant | None = None
    """When the current marks last came back after a candidate; `None`: never."""
    several_until: Instant | None = None
    """Until when nothing is counted, since several processes answer; `None`: one does."""
    clock_step: Nanoseconds = 0
    """By how much the wall clock was stepped since the last page that counted."""

    def answers_of_several(self, wall: Instant) -> bool:
        """Whether several processes are known to answer at this URL."""
        return self.several_until is not None and wall < self.several_until <= wall + SEVERAL_FOR

    def has_counted(self, identity: str, listener: str) -> bool:
        """Whether this URL counted the process of a page. Two that listen apart are two processes."""
        return identity in (self.identity, *self.former) and not listen_apart(self.listener, listener)

    def stepped(self, step: Nanoseconds) -> "PageMarks":
        """The marks after the wall clock was stepped: their instants move with it."""
        if not step:
            return self
        candidate = self.candidate
        return replace(
            self,
            answered=self.answered + step if self.read else self.answered,
            gone=SeriesColumns({name: left + step for name, left in self.gone.by_digest().items()}),
            youngest=_moved(self.youngest, step),
            largest_at=_moved(self.largest_at, step),
            returned_at=_moved(self.returned_at, step),
            several_until=_moved(self.several_until, step),
            candidate=None if candidate is None else replace(candidate, since=candidate.since + step),
            clock_step=self.clock_step + step,
        )

    def advance(self, page: MarkedPage, wall: Instant, since: Instant | None = None) -> "PageTick":
        """Take in one good page: judge whose it is, and count of it what this `PageVerdict` says.

        `since` is when the page was first asked for. What another address counted of a process is not
        counted again.
        """
        if self.several_until is not None and wall < self.several_until:
            # The clock may have been set back since several processes answered.
            until = min(self.several_until, wall + SEVERAL_FOR)
            return PageTick(replace(self, several_until=until), several=1)
        if self.several_until is not None:
            return PageMarks().advance(page, wall)
        by_process = self._judge_process(page, wall, since)
        compared = self._compare(page, by_process, wall, since)
        candidate: Candidate | None = None
        verdict = by_process
        if by_process in {PageVerdict.CURRENT, PageVerdict.UNKNOWN}:
            candidate = self._next_candidate(page, compared, wall)
            verdict = self._judge_counters(page, candidate, wall)
        accepted = self._accepted(page, compared, wall)
        match verdict:
            case PageVerdict.SEVERAL:
                return PageTick(PageMarks(several_until=wall + SEVERAL_FOR), several=1)
            case PageVerdict.DOUBTFUL:
                return PageTick(replace(self, candidate=candidate))
            case PageVerdict.TURNED_BACK:
                return PageTick(replace(self, candidate=candidate, returned_at=wall))
            case PageVerdict.FIRST | PageVerdict.STARTED | PageVerdict.CURRENT:
                return PageTick(accepted, compared)
            case PageVerdict.REPLICA:
                return PageTick(accepted, compared, several=1)
            case PageVerdict.RETURNED:
                return PageTick(replace(accepted, returned_at=wall), compared)
            case PageVerdict.ROSE:
                return PageTick(replace(accepted, replaced=NO_COLUMNS), compared)
            case PageVerdict.RESTARTED:
                return PageTick(accepted, compared, restarted=True)
            case PageVerdict.REPLACED:
                return PageTick(replace(accepted, replaced=NO_COLUMNS), compared, restarted=True)
            case PageVerdict.FELL:
                return PageTick(replace(accepted, replaced=self.values), compared, restarted=True)
            case PageVerdict.UNKNOWN:  # never: the counters judge such a page
                raise AssertionError("the counters decide where the process is unknown")

    def _judge_process(self, page: MarkedPage, wall: Instant, since: Instant | None) -> "PageVerdict":
        """Whose a page is by the identity and the start of its process."""
        if not self.read:
            began = page.listener_started if page.started is None else page.started
            is_new = began is not None and since is not None and since <= began <= wall + CLOCK_SKEW_MAX
            return PageVerdict.STARTED if is_new and not page.counted_elsewhere else PageVerdict.FIRST
        if self._is_of_current_process(page):
            return PageVerdict.CURRENT
        is_another = self._is_of_another_process(page)
        if is_another and page.identity in self.former:
            return PageVerdict.SEVERAL
        if page.counted_elsewhere:
            return PageVerdict.REPLICA
        if page.started is not None:
            if self.answered - START_RESOLUTION <= page.started <= wall + CLOCK_SKEW_MAX:
                return PageVerdict.RESTARTED
            if is_another and self._ran_already(page.started, wall):
                return PageVerdict.REPLICA
        return PageVerdict.UNKNOWN if is_another else PageVerdict.CURRENT

    def _judge_counters(self, page: MarkedPage, candidate: Candidate | None, wall: Instant) -> "PageVerdict":
        """Whose a page is by its counters: the candidate's, if there is one."""
        same = self._is_of_current_process(page)
        before = self.candidate
        if candidate is None:
            if before is None or (same and before.identity in {"", page.identity}):
                return PageVerdict.CURRENT
            turns = bool(before.identity) or self._returned_lately(wall)
            return PageVerdict.SEVERAL if turns else PageVerdict.RETURNED
        another_listens = listen_apart(self.listener, page.listener)
        is_replaced_at_once = another_listens and not same and not candidate.risen
        read_often = candidate.reads >= CONFIRMED_AFTER_READS
        read_for_long = same or wall - candidate.since >= CONFIRMED_AFTER
        if is_replaced_at_once or (read_often and read_for_long):
            if candidate.risen:
                return PageVerdict.ROSE
            is_certain = same or another_listens or self._is_of_another_process(page)
            return PageVerdict.REPLACED if is_certain else PageVerdict.FELL
        if same or not self._candidate_turned_back(candidate, page):
            return PageVerdict.DOUBTFUL
        return PageVerdict.SEVERAL if self._returned_lately(wall) else PageVerdict.TURNED_BACK

    def _is_of_current_process(self, page: MarkedPage) -> bool:
        """Whether the identity of a page is that of the process that the marks are of.

        Some engines compute their start anew for each page: it moves with the clock.
        """
        if not page.identity:
            return False
        if page.identity == self.identity or not self.clock_step:
            return page.identity == self.identity
        if page.started is None or self.started is None:
            return False
        return abs(page.started - self.started - self.clock_step) <= NANOSECONDS_PER_SECOND

    def _is_of_another_process(self, page: MarkedPage) -> bool:
        """Whether both identities are known, and the page is not of the current process."""
        return bool(self.identity and page.identity) and not self._is_of_current_process(page)

    def _ran_already(self, started: Instant, wall: Instant) -> bool:
        """Whether a process that started then ran when another one answered, and so is no restart of it.

        A start by the clock before it was stepped does not tell, nor do times that are ahead of the clock.
        """
        if self.clock_step:
            return False
        if self.answered <= wall and started < self.answered - CLOCK_SKEW_MAX:
            return True
        return self.youngest is not None and started <= self.youngest <= wall

    def _returned_lately(self, wall: Instant) -> bool:
        """Whether marks came back within the last hour."""
        return self.returned_at is not None and wall - self.returned_at <= NANOSECONDS_PER_HOUR

    def _candidate_turned_back(self, candidate: Candidate, page: MarkedPage) -> bool:
        """Whether a page fell below the candidate before, and not to zero: two others take turns."""
        before = self.candidate
        if before is None or candidate.reads > 1 or before.risen != candidate.risen:
            return False
        return before.identity == candidate.identity and _reaches(page, before.first)

    def _next_candidate(
        self, page: MarkedPage, compared: "PageComparison", wall: Instant
    ) -> Candidate | None:
        """The candidate after a page that the marks do not explain; `None` where they do.

        It is the candidate before, unless that is another process.
        """
        fell = compared.below or self._is_of_another_process(page)
        # The marks explain a rise that this server may have, unless it leads to marks of a process before.
        expected: float = RISE_MIN
        if self.largest_at is not None and wall - self.largest_at <= NANOSECONDS_PER_HOUR:
            expected = max(RISE_MIN, RISE_RATIO * self.largest)
        rose_suddenly = compared.rise > expected or _reaches(page, self.replaced)
        if not fell and (self._is_of_current_process(page) or not rose_suddenly):
            return None
        risen = not fell
        values = SeriesColumns(page.values)
        before = self.candidate
        if before is not None and before.identity == page.identity and before.risen == risen:
            marks = before.values.by_digest()
            if all(page.values.get(name, mark) >= mark for name, mark in marks.items()):
                return replace(before, since=min(before.since, wall), values=values, reads=before.reads + 1)
        return Candidate(
            since=wall, values=values, first=values, identity=page.identity, risen=risen, reads=1
        )

    def _accepted(self, page: MarkedPage, compared: "PageComparison", wall: Instant) -> "PageMarks":
        """The marks after a page that counts, or that only sets marks: no candidate waits after it."""
        former = self.former
        if self._is_of_another_process(page):
            former = (*former, self.identity)[-FORMER_MAX:]
        youngest = self.youngest
        if page.started is not None:
            youngest = page.started if youngest is None else max(youngest, page.started)
        is_old = self.largest_at is None or wall - self.largest_at > NANOSECONDS_PER_HOUR
        is_largest = is_old or compared.rise >= self.largest
        return replace(
            self,
            read=True,
            answered=wall,
            values=compared.values,
            gone=compared.gone,
            dropped=compared.dropped,
            identity=page.identity or self.identity,
            started=page.started if page.identity else self.started,
            youngest=youngest,
            former=former,
            listener=page.listener or self.listener,
            largest=compared.rise if is_largest else self.largest,
            largest_at=wall if is_largest else self.largest_at,
            candidate=None,
            several_until=None,
            clock_step=0,
        )

    def _compare(
        self, page: MarkedPage, by_process: "PageVerdict", wall: Instant, since: Instant | None
    ) -> "PageComparison":
        """What a page counts beyond these marks, or from zero where it is of another process.

        No series counts where the process may have run before, or was counted elsewhere.
        """
        marks = self
        if by_process is not PageVerdict.CURRENT:
            first_asked = wall if since is None else since
            marks = PageMarks(answered=self.answered if self.read else first_asked)
        values = {name: value for name, value in page.values.items() if 0 <= value <= LARGEST_COUNT}
        only_sets_marks = by_process in {PageVerdict.FIRST, PageVerdict.REPLICA}
        measured = {} if only_sets_marks else values
        before = marks.values.by_digest()
        gone = marks.gone.by_digest()
        below = any(value < before.get(name, 0) for name, value in measured.items() if name not in gone)
        deltas = marks._deltas(page, measured)
        limit = MOST_PER_SECOND * max(wall - marks.answered, ALLOWANCE_MIN) / NANOSECONDS_PER_SECOND
        counted = {name: delta for name, delta in deltas.items() if delta <= limit}
        if sum(counted.values()) > limit:
            counted = {}
        implausible = deltas.keys() - counted.keys()
        after = values | {name: before[name] for name in implausible if name in before}
        # The clock may have been set back since a series left.
        left = {name: min(gone.get(name, wall), wall) for name in before if name not in values}
        recent = [name for name, went in left.items() if wall - went <= MARK_AGE_MAX]
        youngest_first = sorted(recent, key=left.__getitem__, reverse=True)
        room = max(0, MARKS_MAX - len(after))
        remaining = youngest_first[:room]
        limited = dict(islice(after.items(), MARKS_MAX))
        return PageComparison(
            values=SeriesColumns(limited | {name: before[name] for name in remaining}),
            gone=SeriesColumns({name: left[name] for name in remaining}),
            dropped=marks.dropped or len(recent) > room or len(after) > MARKS_MAX,
            deltas=counted,
            below=below,
            rise=sum(counted.get(name, 0.0) for name in page.tokens),
            implausible=len(implausible),
        )

    def _deltas(self, page: MarkedPage, values: Mapping[Series, float]) -> dict[Series, float]:
        """By how much each series rose.

        | series | delta |
        |---|---|
        | with a mark, above it | what is beyond the mark |
        | below its mark | all: it began at zero again |
        | that had left, and began after that | all: a gateway lets go of what nobody used for a while |
        | without a mark | all: engines create series late |
        | without a mark, once marks were dropped, unless it began since | none: it may be one of those |
        """
        before = self.values.by_digest()
        gone = self.gone.by_digest()
        deltas: dict[Series, float] = {}
        for name, value in values.items():
            if name in page.unrequested:
                continue
            created = page.created.get(name, -1)
            mark = before.get(name)
            if mark is None:
                may_have_counted = page.foreign or self.dropped
                if not may_have_counted or created > self.answered:
                    deltas[name] = value
                continue
            began_anew = name in gone and created > gone[name]
            deltas[name] = value if value < mark or began_anew else value - mark
        return deltas


class PageVerdict(Enum):
    """Whose a good page is, and so what counts of it.

    A page that the marks do not explain is a candidate's: it is below them, or above them by more than this
    server ever counts, or it reaches marks that were taken for those of an ended process, or its process is
    another one that may have run before. Where the marks come back before the candidate is believed, they go
    on; twice within an hour, several processes answer.
    """

    FIRST = "first"
    """The first page of an address, whose process may have run before: it only sets marks."""
    STARTED = "started"
    """The first page of an address, whose process began after it was first asked for: all counts."""
    CURRENT = "current"
    """The page of the current process: what its series rose by counts."""
    UNKNOWN = "unknown"
    """The page of another process, of which it is not known when it began: the counters tell."""
    RESTARTED = "restarted"
    """The page of a process that began after the last page that counted: all counts."""
    REPLICA = "replica"
    """The page of a process that ran when another one answered, or that counts elsewhere: it sets marks."""
    DOUBTFUL = "doubtful"
    """The page of a candidate, which is not believed before three reads, of a minute where the page has no
    start: nothing counts yet."""
    TURNED_BACK = "turned back"
    """The page of a candidate, after that of another one which was higher: two may take turns."""
    REPLACED = "replaced"
    """The page of a candidate that is believed, or of which another process listens.

    Series below their marks began at zero. A series that has passed its mark again counts what is beyond the
    mark: without a start nothing tells when it passed it.
    """
    FELL = "fell"
    """The page of a candidate that is believed by its counters alone: the marks before it are kept, in case
    they come back."""
    ROSE = "rose"
    """The page of a candidate above the marks that is believed: what its series rose by counts."""
    RETURNED = "returned"
    """The page of the marks after that of a candidate: what its series rose by counts."""
    SEVERAL = "several"
    """The page of processes that take turns, as no restart does: nothing counts for a day."""


@dataclass(frozen=True, slots=True)
class PageTick:
    """One page after one good read."""

    marks: PageMarks
    """The marks after it."""
    compared: "PageComparison | None" = None
    """What of it counts, `None` where the page waits or several processes answer."""
    restarted: bool = False
    """Whether its process was restarted."""
    several: int = 0
    """1 where another process answers beside the one before."""


class PageComparison(NamedTuple):
    """One page against marks."""

    values: SeriesColumns
    """The marks of its series after it, and of series that left it at most a day before."""
    gone: SeriesColumns
    """The instants since which series are missing."""
    dropped: bool
    """Whether marks of the process were dropped at the limit, now or before."""
    deltas: Mapping[Series, float]
    """Increases of its series."""
    below: bool
    """Whether a series of the last good page is below its mark."""
    rise: float
    """Tokens by which all its series rose together."""
    implausible: int
    """Series that rose by more than any server counts; `deltas` leaves them out."""


def _reaches(page: MarkedPage, marks: SeriesColumns) -> bool:
    """Whether a page has these marks or more; false without marks."""
    return len(marks) > 0 and all(
        page.values.get(name, -1) >= mark for name, mark in marks.by_digest().items()
    )


def _moved(instant: Instant | None, step: Nanoseconds) -> Instant | None:
    """An instant by a clock that was stepped."""
    return None if instant is None else instant + step
