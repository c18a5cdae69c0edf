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
from exporter.finance.render import few, instant_text
from exporter.ledger.history import HistorySums, MonthRecord
from exporter.readings import UNCOUNTED
from exporter.report import MonthKey
from exporter.reports.rounding import CENT, dollars_text
from exporter.tariff.period import Period
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, Instant, Nanoseconds, Picodollars

if TYPE_CHECKING:
    from exporter.finance.fleet.forks import Fork

Origin = Literal["ledger", "statement", "prometheus"]
"""What a host's month was read from, the most exact first."""

_ORIGINS: Final[Sequence[Origin]] = get_args(Origin)

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
"""What may be missing of a host's month, or doubtful in it; `missing.py` says what it means."""


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
    """One month of one ledger, or another period of it, and where it comes from."""

    record: MonthRecord
    """Without `sums` in a header."""
    origin: Origin
    location: str
    """A file or an address, without credentials."""
    zone: str
    """The time zone of its days, which this machine knows."""
    names: tuple[HostName, ...] = ()
    """The host's labels, the latest last."""
    first: Instant | None = None
    """The first instant for which the ledger is known."""
    last: Instant | None = None
    """The last one."""
    commits: int = 0
    """Commits of the ledger, 0 where unknown."""
    apportioned: bool = False
    """Rows finer than product, team and price basis are scaled and not exact."""
    covered: Nanoseconds = 0
    """The time in which the host reported, where the record has no sums."""
    resolution: Nanoseconds = 0
    """Time between samples that Thanos made of those it has no more; 0 for scraped ones."""
    complete_from: Instant | None = None
    """Set where an address lacks the month's beginning: hosts that ended before are unknown."""
    short_name: str = ""
    """For people, without labels."""
    gpus: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """The first and the last day of each GPU, numbers like 20261130, by UUID."""
    path: Path | None = None
    """Where the ledger's file can be opened, which for one of an archive is a temporary one."""
    rate: Fraction | None = None
    """Cost of a nanosecond of its last hour, `None` where only that of its whole time is known."""
    charges_late: bool = False
    """Its daemon is charging unpriced time whose price came."""
    end: KnownEnd | None = None
    """The one of a statement, or of the cloud's notice."""
    forks: "tuple[Fork, ...]" = ()
    """What other files of the ledger have beyond this one: their money and time are in `record`."""

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


OwnerKey = tuple[str, str]
"""A product and a team."""


@dataclass(frozen=True, slots=True)
class HostSummary:
    """A host in the fleet's month."""

    host: HostMonth
    """With its cells and adjustments, and no sums."""
    covered: Nanoseconds = 0
    """Wall time of ticks and gaps, without `uncounted`."""
    uncounted: Nanoseconds = 0
    """Time of a GPU host whose GPUs were not known by number or price."""
    unobserved: Nanoseconds = 0
    """The part of `covered` that nobody watched."""
    gpu_time: Nanoseconds = 0
    """Chargeable GPU time."""
    unpriced_by_owner: Mapping[OwnerKey, Nanoseconds] | None = None
    """Unpriced GPU time by owner; `None` without finer sums."""
    tokens: Mapping[OwnerKey, Mapping[str, int]] | None = None
    """Tokens by owner and kind; `None` without finer sums that are exact."""

    @classmethod
    def from_month(cls, host: HostMonth) -> "HostSummary":
        """The summary of a whole month."""
        known = host.record.sums is not None
        sums = host.record.sums or HistorySums()
        uncounted = sums.uncounted()
        passed = sum(sums.gpu_held.values())
        covered = max(0, (sum(sums.covered.values()) if known else host.covered) - uncounted)
        unpriced: dict[OwnerKey, Nanoseconds] = {}
        for (gpu, owner), time in sums.still_unpriced().items():
            if gpu != UNCOUNTED:  # that is time of a host
                add(unpriced, owner[:2], time)
        tokens: dict[OwnerKey, dict[str, int]] = {}
        for (owner, kind), count in sums.tokens.items():
            add(tokens.setdefault(owner[:2], {}), kind, count)
        return cls(
            host=replace(host, record=replace(host.record, sums=None, days={})),
            covered=covered,
            uncounted=uncounted,
            unobserved=covered * sums.unobserved() // passed if passed else 0,
            gpu_time=sum(sums.held.values()),
            unpriced_by_owner=unpriced if known else None,
            tokens=tokens if known and not host.apportioned else None,
        )

    @property
    def unpriced(self) -> Nanoseconds:
        """Unpriced GPU time."""
        return sum((self.unpriced_by_owner or {}).values())

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
    """Something that is missing of a host's month, or doubtful in it."""

    kind: FindingKind
    """What it is; it says of what time, money and instant the other values are."""
    ledger: str
    """Id of the host's ledger; empty of a file that is none."""
    name: str
    """The host's name for people."""
    location: str
    """The file or address that the month was read from."""
    duration: Nanoseconds = 0
    """Time that is missing or doubtful."""
    amount: Picodollars = 0
    """Money that is missing or doubtful."""
    instant: Instant | None = None
    """When it began, or the last instant that is known."""
    text: str = ""
    """Another host or file, a reason, or labels."""


@dataclass(frozen=True, slots=True)
class FleetMonth:
    """A month of all hosts, each ledger once."""

    record: MonthRecord
    """The sum of the hosts' records: its ledger is empty, and its `covered` is host time."""
    zone: ZoneInfo
    """The time zone of most hosts, or of most ledgers if none has anything of the month."""
    hosts: tuple[HostSummary, ...]
    """Those with anything of the month, by name."""
    findings: tuple[HostFinding, ...]
    without: int = 0
    """How many ledgers have nothing of the month."""

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
    # Hosts without anything of the month may differ in their zones: they add nothing.
    zone = _zone(chosen, mixed_zones=mixed_zones) if chosen else _zone(every, mixed_zones=True)
    findings += [finding_of("zone", host, text=host.zone) for host in chosen if host.zone != zone.key]
    cells: dict[MonthKey, Picodollars] = {}
    days: dict[int, HistorySums] = {}
    sums: HistorySums | None = None
    undated = undivided = 0
    summaries: list[HostSummary] = []
    for header in chosen:
        host = load(header) if load is not None else header
        record = host.record
        add_all(cells, record.cells)
        for day, of_day in record.days.items():
            days.setdefault(day, HistorySums()).add(of_day)
        if record.sums is not None:
            sums = sums or HistorySums()
            sums.add(record.sums)
        undated += record.undated
        undivided += host.total - record.adjusted if record.sums is None else 0
        adjustments = tuple(replace(each, ledger=record.ledger) for each in record.adjustments)
        summaries.append(
            HostSummary.from_month(replace(host, record=replace(record, adjustments=adjustments)))
        )
    summaries.sort(key=lambda each: (each.host.name, each.ledger))
    findings += [each for summary in summaries for each in _missing(summary, now)]
    findings += _shared_gpus(summaries)
    by_location = {host.location: host for host in present}
    findings += [
        HostFinding(
            kind="truncated",
            ledger="",
            name=location,
            location=location,
            duration=host.complete_from - bounds(host)[0],
            instant=host.complete_from,
        )
        for location, host in by_location.items()
        if host.complete_from is not None
    ]
    findings += unreadable
    findings.sort(key=finding_order)
    commits = [each.host.record.last_commit for each in summaries]
    return FleetMonth(
        record=MonthRecord(
            ledger="",
            last_commit=max((commit for commit in commits if commit is not None), default=None),
            month=month,
            months=tuple(sorted({name for host in every for name in host.record.months})),
            cells=cells,
            sums=sums,
            adjustments=tuple(
                each
                for summary in summaries
                for each in sorted(summary.host.record.adjustments, key=lambda each: each.number)
            ),
            days=days,
            undated=undated,
            undivided=undivided,
        ),
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
        differ = host.record.cells != best.record.cells
        if host.origin == "prometheus":  # which has rounded floats
            differ = abs(host.total - best.total) >= CENT
        if not best.forks and _commit(host) == _commit(best) and differ:
            last = best.record.last_commit
            commit = "never" if last is None else instant_text(last)
            raise ConflictingCopiesError(
                f"{best.location} and {host.location} are ledger {host.record.ledger} at one commit "
                f"({commit}), with {dollars_text(best.total)} and {dollars_text(host.total)} dollars of "
                f"{host.record.month}: remove the wrong one"
            )
        findings.append(
            finding_of("copy", host, amount=host.total, instant=host.record.last_commit, text=best.location)
        )
    return list(chosen.values()), findings


def _commit(host: HostMonth) -> tuple[Instant, int]:
    return host.record.last_commit or 0, host.commits


def preference(host: HostMonth) -> tuple[int, int, int, str]:
    """Sorts the copy that counts first, whatever the order in which copies are read."""
    instant, commits = _commit(host)
    return _ORIGINS.index(host.origin), -instant, -commits, host.location


def _zone(hosts: Sequence[HostMonth], *, mixed_zones: bool) -> ZoneInfo:
    """The time zone of most hosts."""
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
    return ZoneInfo(ordered[0])


NAMES_LISTED: Final = 10


def names_text(names: Sequence[str]) -> str:
    """How many they are, and the first of them."""
    return f"{len(names)}: {few(sorted(names), NAMES_LISTED)}"


def _missing(summary: HostSummary, now: Instant) -> Iterator[HostFinding]:
    """Findings on one host."""
    host = summary.host
    start, end = bounds(host)
    if host.last is not None and now > start:
        goes_on = now < end
        end = min(now, end)
        silent_before = end - SILENT_AFTER if goes_on else end
        if host.last < silent_before:
            yield finding_of("silent", host, duration=end - max(host.last, start), instant=host.last)
        for fork in host.forks:
            if fork.goes_on and fork.last is not None and fork.last < silent_before:
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
