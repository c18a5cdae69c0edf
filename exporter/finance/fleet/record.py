"""The month of a fleet, added up from the months of its hosts. Pure.

FleetError
    ConflictingCopiesError
    MixedZonesError
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo

from exporter.cost.money import add, add_all
from exporter.finance.render import instant_text
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import HistorySums, MonthRecord
from exporter.readings import UNCOUNTED, TokenKind
from exporter.report import MonthKey
from exporter.reports.rounding import CENT, dollars_text
from exporter.tariff.period import Period
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, Instant, Nanoseconds, Picodollars

if TYPE_CHECKING:
    from exporter.finance.fleet.forks import Fork

Origin = Literal["ledger", "statement", "prometheus"]
"""What a host's month was read from, the most exact first."""

_RANKS: Final[Mapping[Origin, int]] = {"ledger": 0, "statement": 1, "prometheus": 2}

SILENT_AFTER: Final[Nanoseconds] = NANOSECONDS_PER_HOUR
"""Time without a commit after which a host counts as silent in a month that goes on."""

LATE_CHARGES: Final = "a price came, and the daemon is still charging them: ask again after its next ticks"

UNMETERED_FROM: Final[Nanoseconds] = 60 * NANOSECONDS_PER_SECOND
"""Time without ticks from which it is reported: the tick in progress is always missing."""

FindingKind = Literal[
    "silent",
    "unmetered",
    "uncounted",
    "unpriced",
    "unobserved",
    "waiting",
    "overlap",
    "replaced",
    "relabeled",
    "downsampled",
    "zone",
    "fork",
    "copy",
    "difference",
    "unreadable",
    "truncated",
    "unread",
    "ended",
]
"""What may be missing of a host's month, or doubtful in it.

silent: the host stopped reporting before the month's end, for `duration` of the month. Without `instant`
nothing tells when.
unmetered: no tick covers `duration` of the time in which the host reported.
uncounted: for `duration` the number or the price of the host's GPUs was not known.
unpriced: `duration` is GPU time without a price.
unobserved: `duration` was metered after the fact: the daemon or the host was down.
waiting: an adjustment of `amount` waits for the daemon.
overlap: for `duration`, another ledger metered the same GPU.
replaced: a later ledger meters its GPUs.
relabeled: the host had several names.
downsampled: of some hours Thanos has no scraped samples, only those that it made.
zone: its month is of another time zone.
fork: another file of the same ledger went on, too; `amount` and `duration` are of GPU time that only it has.
copy: another copy of the same ledger counts, `amount` is the total of this one.
difference: another source counts. This one differs from it by `amount`.
unreadable: the file cannot be read and was skipped.
truncated: the address has no sample of the first `duration` of the month, in which a host was metered.
unread: the file is of no known form and was not read.
ended: the host ended at a known instant, `duration` after its last tick; `amount` is that time's cost.
"""


class FleetError(Exception):
    """The months of hosts cannot be added up; the message has the remedy."""


class ConflictingCopiesError(FleetError):
    """Two copies of one ledger differ, and neither is later."""


class MixedZonesError(FleetError):
    """Months of different time zones."""


BY_THE_CLOUD: Final = "notice of its cloud"
"""Reason of an end."""


class HostName(NamedTuple):
    """Labels by which monitoring knows a host; empty where unknown."""

    cluster: str = ""
    instance: str = ""
    node: str = ""


class KnownEnd(NamedTuple):
    """When a host ended for good, and by whose word."""

    instant: Instant
    reason: str


@dataclass(frozen=True, slots=True)
class HostMonth:
    """One month of one ledger, or another period of it, and where it comes from.

    `record` is without `sums` in a header. `location` is a file or an address, without credentials.
    `zone` is the time zone of its days, which this machine knows. `names` are the host's labels, the latest
    last. `gpus` are the first and the last day of each GPU, numbers like 20261130, by UUID.
    `first` and `last` are the first and the last instant for which the ledger is known.
    `commits` counts commits of the ledger, 0 where unknown. `short_name` is one for people, without labels.
    `apportioned`: rows finer than product, team and price basis are scaled and not exact.
    `covered` is the time in which the host reported, where the record has no sums.
    `resolution` is the time between samples that Thanos made of those it has no more; 0 for scraped ones.
    `complete_from` is set where an address lacks the month's beginning: hosts that ended before are unknown.
    `path` is where the ledger's file can be opened, which for one of an archive is a temporary one.
    `rate` is the cost of a nanosecond of its last hour, `None` where only that of its whole time is known.
    `charges_late`: its daemon is charging unpriced time whose price came. `end` is the one of a statement,
    or of the cloud's notice.
    `forks` are what other files of the ledger have beyond this one: their money and time are in `record`.
    """

    record: MonthRecord
    origin: Origin
    location: str
    zone: str
    names: tuple[HostName, ...] = ()
    first: Instant | None = None
    last: Instant | None = None
    commits: int = 0
    apportioned: bool = False
    covered: Nanoseconds = 0
    resolution: Nanoseconds = 0
    complete_from: Instant | None = None
    short_name: str = ""
    gpus: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    path: Path | None = None
    rate: Fraction | None = None
    charges_late: bool = False
    end: KnownEnd | None = None
    forks: "tuple[Fork, ...]" = ()

    @property
    def name(self) -> str:
        """The host's name for people: its node, else its instance, else a short name or the location."""
        latest = self.names[-1] if self.names else HostName()
        return latest.node or latest.instance or self.short_name or self.location

    @property
    def total(self) -> Picodollars:
        """All money of the month."""
        return sum(self.record.cells.values())

    @property
    def has_month(self) -> bool:
        """Whether the ledger has anything of the month."""
        return self.record.month in self.record.months


OwnerTokens = Mapping[tuple[str, str], Mapping[TokenKind, int]]
"""Tokens by product and team."""


@dataclass(frozen=True, slots=True)
class HostSummary:
    """A host in the fleet's month. `host` has its cells and adjustments, and no sums.

    `covered` is wall time of ticks and gaps, without the `uncounted` time of a GPU host whose GPUs were not
    known by number or price; `unobserved` is the part of it that nobody watched. `gpu_time` is the GPU time
    that is owed, `unpriced` the GPU time that waits for a price. `unpriced_by_owner` is that by product and
    team; `None` without finer sums. `tokens_by_owner` are tokens so; `None` where they are apportioned too.
    """

    host: HostMonth
    covered: Nanoseconds = 0
    uncounted: Nanoseconds = 0
    unobserved: Nanoseconds = 0
    gpu_time: Nanoseconds = 0
    unpriced: Nanoseconds = 0
    unpriced_by_owner: Mapping[tuple[str, str], Nanoseconds] | None = None
    tokens_by_owner: OwnerTokens | None = None

    @property
    def ledger(self) -> str:
        """Id of its ledger."""
        return self.host.record.ledger

    @property
    def total(self) -> Picodollars:
        """All money of the month."""
        return self.host.total


@dataclass(frozen=True, slots=True)
class HostFinding:
    """Something that is missing of a host's month, or doubtful in it. `kind` says what the values mean."""

    kind: FindingKind
    ledger: str
    name: str
    location: str
    duration: Nanoseconds = 0
    amount: Picodollars = 0
    instant: Instant | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class FleetMonth:
    """A month of all hosts, each ledger once.

    `record` is the sum of the hosts' records: its ledger is empty, and its `covered` is host time.
    `hosts` are those with anything of the month, by name. `without` counts ledgers that have nothing of it.
    `zone` is the time zone of most hosts, or of most ledgers if none has anything of the month.
    """

    record: MonthRecord
    zone: ZoneInfo
    hosts: tuple[HostSummary, ...]
    findings: tuple[HostFinding, ...]
    without: int = 0

    @property
    def total(self) -> Picodollars:
        """All money of the month."""
        return sum(self.record.cells.values())

    @property
    def apportioned(self) -> int:
        """How many hosts have finer rows that are scaled."""
        return sum(summary.host.apportioned for summary in self.hosts)


Load = Callable[[HostMonth], HostMonth]
"""Reads the whole month that a header is of."""


def combine(
    hosts: Iterable[HostMonth],
    now: Instant,
    *,
    mixed_zones: bool = False,
    load: Load | None = None,
    unreadable: Sequence[HostFinding] = (),
) -> FleetMonth:
    """Add up one month of many hosts. Copies of one ledger count once.

    Of several copies the one with the latest commit counts. A ledger counts before a statement, and that
    before Prometheus.

    Args:
        hosts: at least one; all of the same month. With `load` they may be headers.
        now: the end of what can be known of a month that goes on.
        mixed_zones: add up months of different time zones, and name the hosts.
        load: reads the month of a header once it is chosen, so that one whole month at a time is in memory.
        unreadable: findings on what could not be read.

    Raises:
        ConflictingCopiesError: two copies of one ledger differ, and neither is later.
        MixedZonesError: the time zones differ.
    """
    every = list(hosts)
    month = every[0].record.month
    present = [host for host in every if host.has_month]
    chosen, findings = _choose(present)
    zone = _zone(chosen, findings, mixed_zones=mixed_zones) if present else _zone(every, [], mixed_zones=True)
    merged = _Merged()
    summaries = [merged.add(load(host) if load is not None else host) for host in chosen]
    summaries.sort(key=lambda each: (each.host.name, each.ledger))
    findings += [each for summary in summaries for each in _missing(summary, now)]
    findings += _shared_gpus(summaries)
    findings += _truncated(present)
    findings += unreadable
    findings.sort(key=finding_order)
    return FleetMonth(
        record=merged.record(month, {name for host in every for name in host.record.months}),
        zone=zone,
        hosts=tuple(summaries),
        findings=tuple(findings),
        without=len({host.record.ledger for host in every} - {host.record.ledger for host in present}),
    )


_KINDS: Final[Sequence[FindingKind]] = get_args(FindingKind)


def finding_order(finding: HostFinding) -> tuple[int, str, str, str, Picodollars]:
    """Sorts findings by kind, then by host."""
    return _KINDS.index(finding.kind), finding.name, finding.ledger, finding.location, finding.amount


def _choose(hosts: Sequence[HostMonth]) -> tuple[list[HostMonth], list[HostFinding]]:
    """One month of each ledger, and findings on the others."""
    ordered = sorted(hosts, key=preference)
    chosen: dict[str, HostMonth] = {}
    findings: list[HostFinding] = []
    for host in ordered:
        best = chosen.setdefault(host.record.ledger, host)
        if host is best:
            continue
        if host.origin != best.origin or (host.origin == "prometheus" and _commit(host) != _commit(best)):
            difference = host.total - best.total
            if abs(difference) >= CENT:
                findings.append(finding_of("difference", host, amount=difference, text=best.location))
            continue
        fork = next((each for each in best.forks if each.location == host.location), None)
        if fork is not None:
            findings.append(
                finding_of(
                    "fork",
                    host,
                    amount=fork.amount,
                    duration=fork.gpu_time,
                    instant=fork.parted,
                    text=best.location,
                )
            )
            continue
        if not best.forks and _commit(host) == _commit(best) and _differ(host, best):
            raise _conflict(best, host)
        findings.append(
            finding_of("copy", host, amount=host.total, instant=host.record.last_commit, text=best.location)
        )
    return list(chosen.values()), findings


def _differ(one: HostMonth, other: HostMonth) -> bool:
    if one.origin == "prometheus":  # which has rounded floats
        return abs(one.total - other.total) >= CENT
    return one.record.cells != other.record.cells


def _commit(host: HostMonth) -> tuple[Instant, int]:
    return host.record.last_commit or 0, host.commits


def preference(host: HostMonth) -> tuple[int, int, int, str]:
    """Sorts the copy that counts first, whatever the order in which copies are read."""
    instant, commits = _commit(host)
    return _RANKS[host.origin], -instant, -commits, host.location


def _conflict(one: HostMonth, other: HostMonth) -> ConflictingCopiesError:
    record = one.record
    commit = "never" if record.last_commit is None else instant_text(record.last_commit)
    return ConflictingCopiesError(
        f"{one.location} and {other.location} are ledger {record.ledger} at one commit ({commit}), "
        f"with {dollars_text(one.total)} and {dollars_text(other.total)} dollars of {record.month}: "
        "remove the wrong one"
    )


def _zone(hosts: Sequence[HostMonth], findings: list[HostFinding], *, mixed_zones: bool) -> ZoneInfo:
    """The time zone of most hosts. Adds a finding on each host of another one."""
    by_zone: dict[str, list[str]] = {}
    for host in hosts:
        by_zone.setdefault(host.zone, []).append(host.name)
    ordered = sorted(by_zone, key=lambda zone: (-len(by_zone[zone]), zone))
    if len(ordered) > 1 and not mixed_zones:
        listed = ", ".join(f"{zone} ({names_text(by_zone[zone])})" for zone in ordered)
        raise MixedZonesError(
            f"the months of these hosts are of different time zones: {listed}; "
            "--mixed-zones adds them all the same"
        )
    findings += [finding_of("zone", host, text=host.zone) for host in hosts if host.zone != ordered[0]]
    return ZoneInfo(ordered[0] if ordered else "UTC")


NAMES_LISTED: Final = 10


def names_text(names: Sequence[str]) -> str:
    """How many they are, and the first of them."""
    listed = sorted(names)
    more = f" and {len(listed) - NAMES_LISTED} more" if len(listed) > NAMES_LISTED else ""
    return f"{len(listed)}: {', '.join(listed[:NAMES_LISTED])}{more}"


class _Merged:
    """Sums over hosts."""

    def __init__(self) -> None:
        self._cells: dict[MonthKey, Picodollars] = {}
        self._sums: HistorySums | None = None
        self._days: dict[int, HistorySums] = {}
        self._adjustments: list[tuple[str, Adjustment]] = []
        self._last_commit: Instant | None = None
        self._undated = 0
        self._undivided = 0

    def add(self, host: HostMonth) -> HostSummary:
        """Add a month. Returns what stays of it."""
        record = host.record
        add_all(self._cells, record.cells)
        for day, sums in record.days.items():
            self._days.setdefault(day, HistorySums()).add(sums)
        if record.sums is not None:
            self._sums = self._sums or HistorySums()
            self._sums.add(record.sums)
        adjustments = tuple(replace(each, ledger=record.ledger) for each in record.adjustments)
        self._adjustments += [(host.name, each) for each in adjustments]
        self._undated += record.undated
        self._undivided += host.total - record.adjusted if record.sums is None else 0
        if record.last_commit is not None:
            self._last_commit = max(record.last_commit, self._last_commit or 0)
        return _summary(replace(host, record=replace(record, adjustments=adjustments)))

    def record(self, month: str, months: Iterable[str]) -> MonthRecord:
        """The sum."""
        ordered = sorted(self._adjustments, key=lambda each: (each[0], each[1].ledger, each[1].number))
        return MonthRecord(
            ledger="",
            last_commit=self._last_commit,
            month=month,
            months=tuple(sorted(months)),
            cells=self._cells,
            sums=self._sums,
            adjustments=tuple(each for _name, each in ordered),
            days=self._days,
            undated=self._undated,
            undivided=self._undivided,
        )


def _summary(host: HostMonth) -> HostSummary:
    sums = host.record.sums or HistorySums()
    by_owner = unpriced_by_owner(host)
    uncounted = sums.uncounted()
    passed = sum(sums.gpu_held.values())
    wall = sum(sums.covered.values()) if host.record.sums is not None else host.covered
    covered = max(0, wall - uncounted)
    return HostSummary(
        host=replace(host, record=replace(host.record, sums=None, days={})),
        covered=covered,
        uncounted=uncounted,
        unobserved=covered * sums.unobserved() // passed if passed else 0,
        gpu_time=sum(sums.held.values()),
        unpriced=sum((by_owner or {}).values()),
        unpriced_by_owner=by_owner,
        tokens_by_owner=tokens_by_owner(host),
    )


def unpriced_by_owner(host: HostMonth) -> dict[tuple[str, str], Nanoseconds] | None:
    """GPU time that waits for a price, by product and team; `None` without finer sums."""
    if host.record.sums is None:
        return None
    durations: dict[tuple[str, str], Nanoseconds] = {}
    for (gpu, owner), duration in host.record.sums.waiting().items():
        if gpu != UNCOUNTED:
            add(durations, (owner.product, owner.team), duration)
    return durations


def tokens_by_owner(host: HostMonth) -> OwnerTokens | None:
    """Tokens by product and team; `None` without finer sums that are exact."""
    if host.record.sums is None or host.apportioned:
        return None
    tokens: dict[tuple[str, str], dict[TokenKind, int]] = {}
    for (owner, kind), count in host.record.sums.tokens.items():
        add(tokens.setdefault((owner.product, owner.team), {}), kind, count)
    return tokens


def _missing(summary: HostSummary, now: Instant) -> Iterator[HostFinding]:
    """Findings on one host."""
    host = summary.host
    start, end = bounds(host)
    if host.last is not None and now > start:
        over = now >= end
        end = end if over else now
        if host.last < (end if over else end - SILENT_AFTER):
            yield finding_of("silent", host, duration=end - max(host.last, start), instant=host.last)
        for fork in host.forks:
            if fork.goes_on and fork.last is not None and fork.last < (end if over else end - SILENT_AFTER):
                yield replace(
                    finding_of("silent", host, duration=end - max(fork.last, start), instant=fork.last),
                    name=fork.name,
                    location=fork.location,
                )
        if host.first is not None:
            metered = summary.covered + summary.uncounted
            metered -= sum(fork.covered for fork in host.forks if fork.own_machine)
            unmetered = min(host.last, end) - max(host.first, start) - metered
            if unmetered >= UNMETERED_FROM:
                yield finding_of("unmetered", host, duration=unmetered)
    elif host.last is None and host.origin == "prometheus":
        yield finding_of("silent", host)
    if summary.uncounted:
        yield finding_of("uncounted", host, duration=summary.uncounted)
    if summary.unpriced:
        yield finding_of(
            "unpriced", host, duration=summary.unpriced, text=LATE_CHARGES if host.charges_late else ""
        )
    if summary.unobserved >= UNMETERED_FROM:
        yield finding_of("unobserved", host, duration=summary.unobserved)
    for each in host.record.adjustments:
        if each.posted is None:
            yield finding_of("waiting", host, amount=each.amount, text=f"{each.number}: {each.reason}")
    if len(host.names) > 1:
        labels = ", ".join("/".join(filter(None, name)) for name in host.names)
        yield finding_of("relabeled", host, text=labels)
    if host.resolution:
        seconds = host.resolution // NANOSECONDS_PER_SECOND
        yield finding_of("downsampled", host, text=f"one sample each {seconds} s in some hours")


def _truncated(hosts: Iterable[HostMonth]) -> Iterator[HostFinding]:
    """A finding on each address that lacks the month's beginning."""
    by_location = {host.location: host for host in hosts}
    for location, host in by_location.items():
        if host.complete_from is not None:
            duration = host.complete_from - bounds(host)[0]
            yield HostFinding("truncated", "", location, location, duration, instant=host.complete_from)


def bounds(host: HostMonth) -> tuple[Instant, Instant]:
    """The first instant of a host's month, and the first after it."""
    return Period.named(host.record.month).bounds(ZoneInfo(host.zone))


def _shared_gpus(summaries: Sequence[HostSummary]) -> Iterator[HostFinding]:
    """Findings on ledgers that meter GPUs of another one, after it or at the same time."""
    holders: dict[str, list[HostMonth]] = {}
    for summary in summaries:
        for gpu in summary.host.gpus:
            holders.setdefault(gpu, []).append(summary.host)
    overlaps: dict[tuple[str, str], Nanoseconds] = {}
    hosts = {summary.ledger: summary.host for summary in summaries}
    for gpu, sharing in holders.items():
        # A host with a new ledger each day shares its GPUs with all before: one neighbor each is enough.
        earlier, *rest = sorted(
            sharing, key=lambda host: (host.gpus[gpu], host.first or 0, host.record.ledger)
        )
        for later in rest:
            pair = earlier.record.ledger, later.record.ledger
            overlaps[pair] = max(overlaps.get(pair, 0), overlap_of(earlier, later, gpu))
            earlier = max(earlier, later, key=lambda host: (host.gpus[gpu][1], host.last or 0))
    for (one, other), overlap in overlaps.items():
        host, text = hosts[one], hosts[other].name
        if overlap >= UNMETERED_FROM:
            yield finding_of("overlap", host, duration=overlap, text=text)
        else:
            yield finding_of("replaced", host, instant=host.last, text=text)


def overlap_of(one: HostMonth, other: HostMonth, gpu: str) -> Nanoseconds:
    """Time in which two ledgers may both have metered a GPU.

    On a day on which one ends with a GPU and another begins, the GPU was moved or its ledger replaced.
    """
    start, end = bounds(one)
    starts = [host.first for host in (one, other) if host.first is not None]
    ends = [host.last for host in (one, other) if host.last is not None]
    overlap = max(0, min([*ends, end]) - max([*starts, start]))
    first = max(one.gpus[gpu][0], other.gpus[gpu][0])
    last = min(one.gpus[gpu][1], other.gpus[gpu][1])
    within_a_day = one.gpus[gpu] == other.gpus[gpu] and first == last
    if first < last or within_a_day:
        days = Period.between(date_of(first), date_of(last)).bounds(ZoneInfo(one.zone))
        return min(overlap, days[1] - days[0])
    return 0


def date_of(number: int) -> date:
    """A day from its number, 20261130."""
    return date(number // 10_000, number // 100 % 100, number % 100)


def finding_of(
    kind: FindingKind,
    host: HostMonth,
    *,
    duration: Nanoseconds = 0,
    amount: Picodollars = 0,
    instant: Instant | None = None,
    text: str = "",
) -> HostFinding:
    """A finding on a host; `HostFinding` says what the values are."""
    return HostFinding(kind, host.record.ledger, host.name, host.location, duration, amount, instant, text)
