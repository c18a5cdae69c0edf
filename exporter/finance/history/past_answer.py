"""The answer: months of hosts, servers, owners and models, with what they rest on."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Final, Literal, get_args

from exporter.advice.kinds import advice
from exporter.advice.saving import Advice, SavingsPolicy
from exporter.config import Config
from exporter.cost.money import add, add_all
from exporter.cost.postings import BUSY_PHASES, CostOwner
from exporter.cost.projection import project
from exporter.cost.state import State
from exporter.finance.history.kube_state import NodeKey
from exporter.finance.history.lacks import Absence, Exporter, absences, exporters
from exporter.finance.history.reckoning import (
    USAGE_HOURS,
    PastHost,
    Reckoning,
    scrape_seconds,
    was_read_whole,
)
from exporter.finance.history.survey import Survey
from exporter.ledger.contents import recent_usage
from exporter.ledger.history import HistorySums, PeakMemory
from exporter.ledger.host_usage import host_usage
from exporter.readings import Gpu, TokenKind
from exporter.tariff.calendar import month_of
from exporter.units import NANOSECONDS_PER_HOUR, Instant, Nanoseconds, Picodollars

FEWEST_TOKENS: Final = 1000
"""As for the daemon's prices: below it there is none."""

UNREAD_MOST: Final = 0.05
"""A larger part of the tokens would be missing than the largest error that is stated."""

REPORTS_STILL: Final[Nanoseconds] = 2 * NANOSECONDS_PER_HOUR
"""A host that was seen so long before the end is judged and projected."""

By = Literal["server", "product", "team", "model", "host"]
BYS: Final[tuple[By, ...]] = get_args(By)

ERRORS: Final = ((60, 0.02), (600, 0.05))
"""Seconds between samples, and the largest error of a month's dollars that was measured there."""

Labels = tuple[str, ...]


@dataclass(slots=True)
class Line:
    """One month, or all of them, of one owner, host, or everything."""

    gpu_time: Nanoseconds = 0
    busy: Nanoseconds = 0
    idle: Nanoseconds = 0
    unobserved: Nanoseconds = 0
    unpriced: Nanoseconds = 0
    amount: Picodollars = 0
    tokens: dict[TokenKind, int] = field(default_factory=dict)
    tokens_without_gpu: int = 0
    """Tokens that no GPU time meets: whose GPU, or which host, is not known."""
    token_server_time: Nanoseconds = 0
    """GPU time of servers whose pages count tokens."""
    unread: Nanoseconds = 0
    """The part of it in which none was scraped."""
    sampled: Nanoseconds = 0
    """The part of `span` with samples."""
    span: Nanoseconds = 0
    """Time of a host; 0 of anything else."""
    projected: Picodollars | None = None
    """The end of a month that goes on."""

    @property
    def money(self) -> Picodollars | None:
        """What it cost, as far as it has a price; `None` where none of its GPU time has one."""
        return None if self.unpriced >= self.gpu_time else self.amount

    @property
    def dollars_per_million(self) -> float | None:
        """Cost per million tokens; `None` where a part of the time has no price, or of the tokens no time.

        Nor is there one where pages were not scraped for more than `UNREAD_MOST` of the time.
        """
        count = sum(self.tokens.values())
        if self.money is None or self.unpriced or self.tokens_without_gpu or count < FEWEST_TOKENS:
            return None
        if self.unread > UNREAD_MOST * self.token_server_time:
            return None
        return self.money / 10**6 / count

    @property
    def coverage(self) -> float | None:
        """The part of its hours with samples: of a host's hours, else of its GPU-hours."""
        if self.span:
            return self.sampled / self.span
        return (self.gpu_time - self.unobserved) / self.gpu_time if self.gpu_time else None

    def add(self, other: "Line") -> None:
        """Add another month, or another thing."""
        self.gpu_time += other.gpu_time
        self.busy += other.busy
        self.idle += other.idle
        self.unobserved += other.unobserved
        self.unpriced += other.unpriced
        self.amount += other.amount
        self.tokens_without_gpu += other.tokens_without_gpu
        self.token_server_time += other.token_server_time
        self.unread += other.unread
        self.sampled += other.sampled
        self.span += other.span
        add_all(self.tokens, other.tokens)
        if other.projected is not None:
            self.projected = (self.projected or 0) + other.projected


@dataclass(frozen=True, slots=True)
class UnlistedGpu:
    """A GPU that a host is charged for without samples: since when, for how long, and what for."""

    host: NodeKey
    gpu: Gpu
    since: Instant
    time: Nanoseconds
    amount: Picodollars


Lines = Mapping[Labels, Mapping[str, Line]]
"""Months by name of each thing."""


@dataclass(frozen=True, slots=True)
class PastAnswer:
    """What is printed. `complete` are the months that were read whole.

    `unlisted` are GPUs that are charged without samples for an hour or more.
    `lines` are by what they are of. `scrape_seconds` are those of the median host. `requests` were sent to
    the server, at most `parallel` at once. `downsampled`: some hours have no samples as they were scraped.
    """

    address: str
    since: Instant
    until: Instant
    zone: str
    hosts: Sequence[PastHost]
    lines: Mapping[By, Lines]
    months: Mapping[str, Line]
    complete: frozenset[str]
    exporters: Sequence[Exporter]
    absences: Sequence[Absence]
    advice: Advice
    requests: int
    parallel: int
    downsampled: bool = False
    unlisted: Sequence[UnlistedGpu] = ()

    @property
    def total(self) -> Line:
        """All months."""
        return summed(self.months.values())

    @property
    def scrape_seconds(self) -> int | None:
        """Seconds between two samples of the median host."""
        known = [seconds for host in self.hosts if (seconds := scrape_seconds(host)) is not None]
        return round(median(known)) if known else None

    @property
    def error(self) -> float | None:
        """The largest error that was measured at this resolution, with the part of GPUs that were not seen.

        `None` where none was measured.
        """
        seconds = None if self.downsampled else self.scrape_seconds
        measured = next((error for most, error in ERRORS if seconds is not None and seconds <= most), None)
        amount = self.total.amount
        if measured is None or not amount:
            return measured
        return measured + sum(each.amount for each in self.unlisted) / amount


def summed(lines: Iterable[Line]) -> Line:
    """The sum of lines."""
    total = Line()
    for line in lines:
        total.add(line)
    return total


def answer(
    survey: Survey,
    reckoning: Reckoning,
    config: Config,
    since: Instant,
    until: Instant,
    address: str,
    requests: int,
    parallel: int,
) -> PastAnswer:
    """Sum up what was reckoned."""
    hosts = [host for _, host in sorted(reckoning.hosts.items()) if host.months]
    lines: dict[By, dict[Labels, dict[str, Line]]] = {by: {} for by in BYS}
    months: dict[str, Line] = {}
    current = month_of(until - 1, config.timezone).name
    for host in hosts:
        for month, sums in sorted(host.months.items()):
            free = not any(sums.sums.held.values())
            for owner, line in _by_owner(host, month):
                # All money of a host is of all its tokens, whichever server's they are.
                whole = replace(line, tokens_without_gpu=sum(line.tokens.values()) if free else 0)
                for by in BYS:
                    labels = _LABELS[by](host, owner)
                    of_thing = lines[by].setdefault(labels, {}).setdefault(month, Line())
                    of_thing.add(whole if by == "host" else line)
                months.setdefault(month, Line()).add(whole)
            for line in (
                lines["host"].setdefault(_LABELS["host"](host, None), {}).setdefault(month, Line()),
                months.setdefault(month, Line()),
            ):
                line.sampled += sums.sampled
                line.span += sums.span
                if month == current and (projected := _projected(host, month, until)) is not None:
                    line.projected = (line.projected or 0) + projected
    data_begin = min((host.first for host in hosts if host.first is not None), default=until)
    complete = frozenset(
        month for month in months if was_read_whole(month, config.timezone, since, until, data_begin)
    )
    return PastAnswer(
        address=address,
        since=since,
        until=until,
        zone=config.timezone.key,
        hosts=hosts,
        lines=lines,
        months=dict(sorted(months.items())),
        complete=complete,
        exporters=tuple(exporters(survey, reckoning)),
        absences=tuple(absences(survey, reckoning, since, data_begin)),
        advice=_advice(hosts, config, until),
        requests=requests,
        parallel=parallel,
        downsampled=bool(reckoning.downsampled),
        unlisted=tuple(
            UnlistedGpu(host.key, listing.gpu, listing.until, listing.time, listing.amount)
            for host in hosts
            for _, listing in sorted(host.slots.listings.items())
            if listing.time >= NANOSECONDS_PER_HOUR
        ),
    )


_LABELS: Final[Mapping[By, Callable[[PastHost, CostOwner | None], Labels]]] = {
    "server": lambda _host, owner: (owner.namespace, owner.server) if owner else (),
    "product": lambda _host, owner: (owner.product,) if owner else (),
    "team": lambda _host, owner: (owner.team,) if owner else (),
    "model": lambda _host, owner: (owner.model,) if owner else (),
    "host": lambda host, _owner: (host.key.cluster, host.key.host),
}

COLUMNS: Final[Mapping[By, Labels]] = {
    "server": ("namespace", "server"),
    "product": ("product",),
    "team": ("team",),
    "model": ("model",),
    "host": ("cluster", "host"),
}


def _by_owner(host: PastHost, month: str) -> Iterator[tuple[CostOwner, Line]]:
    sums = host.months[month].sums
    lines: dict[CostOwner, Line] = {}

    def line(owner: CostOwner) -> Line:
        return lines.setdefault(owner, Line())

    for (owner, phase), time in sums.held.items():
        each = line(owner)
        each.gpu_time += time
        if phase in BUSY_PHASES:
            each.busy += time
        elif phase == "idle":
            each.idle += time
        else:
            each.unobserved += time
    for (owner, _), amount in sums.cost.items():
        line(owner).amount += amount
    for (_, owner), time in sums.unpriced.items():
        line(owner).unpriced += time
    for owner, time in host.months[month].token_server_time.items():
        line(owner).token_server_time += time
        line(owner).unread += host.months[month].unread[owner]
    served = {(owner.namespace, owner.server) for (owner, _), time in sums.held.items() if time}
    for (owner, kind), count in sums.tokens.items():
        add(line(owner).tokens, kind, count)
        line(owner).tokens_without_gpu += 0 if (owner.namespace, owner.server) in served else count
    yield from lines.items()


def _projected(host: PastHost, month: str, until: Instant) -> Picodollars | None:
    """A host's month at its end, by the tariff; a host that is gone has spent what it will."""
    to_date: dict[str, Picodollars] = {}
    for (owner, _), amount in host.months[month].sums.cost.items():
        add(to_date, owner.product, amount)
    if until - host.last > REPORTS_STILL or not host.outcomes:
        return sum(to_date.values())
    usage = recent_usage(host.recent, until - 1)
    projection = project(host.outcomes, usage, to_date, until - 1, host.policy)
    return None if projection is None else sum(projection.totals().values())


class _PastHours:
    """The last hours of a host, as `host_usage` reads them from a ledger."""

    def __init__(self, host: PastHost) -> None:
        self._host = host

    def hours(self, first: int, last: int, _families: Collection[str]) -> Mapping[int, HistorySums]:
        """GPU time and tokens by hour since 1970."""
        return {number: sums for number, sums in self._host.usage if first <= number <= last}

    def memory(self, _first: int, _last: int) -> PeakMemory:
        """None: means of an hour are no peaks."""
        return {}

    def state(self) -> State:
        """State after the last hour."""
        return self._host.state


def _advice(hosts: Iterable[PastHost], config: Config, until: Instant) -> Advice:
    usages = [
        host_usage(_PastHours(host), "/".join(filter(None, host.key)), until, USAGE_HOURS, host.policy.tariff)
        for host in hosts
        if host.gpus
    ]
    policy = SavingsPolicy(
        until, config.timezone, config.hours_per_month, config.compare, config.ignored_savings
    )
    return advice(usages, policy)
