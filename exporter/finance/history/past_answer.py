"""The answer: facts of hosts by month, lines of them by owner or host, and what they rest on."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final, Literal, NamedTuple, TypeVar, get_args

from exporter.advice.kinds import advice
from exporter.advice.saving import Advice, SavingsPolicy
from exporter.cost.money import add
from exporter.cost.postings import BUSY_PHASES
from exporter.cost.projection import project
from exporter.finance.facts import Fact, Measure, measured, sums_by
from exporter.finance.history.absences import Absence, Exporter, absences, exporters
from exporter.finance.history.kube_state import NodeKey
from exporter.finance.history.past_host import USAGE_HOURS, GpuListing, PastHost
from exporter.finance.history.reckoning import Reckoning, was_read_whole
from exporter.ledger.contents import recent_usage
from exporter.ledger.host_usage import host_usage
from exporter.tariff.calendar import month_of
from exporter.units import NANOSECONDS_PER_HOUR, Instant, Nanoseconds, Picodollars

FEWEST_TOKENS: Final = 1000
"""Fewer tokens have no price, as for the daemon's prices."""

UNREAD_MOST: Final = 0.05
"""A larger part of the tokens would be missing than the largest error that is stated."""

REPORTS_STILL: Final[Nanoseconds] = 2 * NANOSECONDS_PER_HOUR
"""A host that was seen so long before the end is judged and projected."""

By = Literal["server", "product", "team", "model", "host"]
BYS: Final[tuple[By, ...]] = get_args(By)

COLUMNS: Final[Mapping[By, tuple[str, ...]]] = {
    "server": ("namespace", "server"),
    "product": ("product",),
    "team": ("team",),
    "model": ("model",),
    "host": ("cluster", "host"),
}

ERRORS: Final = ((60, 0.02), (600, 0.05))
"""Seconds between samples, and the largest error of a month's dollars that was measured there."""

_MEASURES: Final[frozenset[Measure]] = frozenset(
    {"money of owners", "GPU time", "unpriced time", "tokens", "GPU time of token servers", "unread time"}
)
_OWNER_MEASURES: Final = _MEASURES | {"unmet tokens"}
_HOST_MEASURES: Final = _MEASURES | {"unmet tokens of hosts", "host time", "sampled time", "projected money"}
"""Measures of lines of hosts and of everything: all money of a host is of all its tokens."""

Labels = tuple[str, ...]
K = TypeVar("K", bound=Hashable)


class MonthFact(NamedTuple):
    """A fact of one month of a host."""

    host: NodeKey
    month: str
    fact: Fact

    def labels(self, by: By) -> Labels:
        """The labels of the line that it adds to."""
        return tuple(self.host) if by == "host" else self.fact.key(COLUMNS[by])


@dataclass(slots=True)
class Line:
    """Sums of an owner, a host or everything, in a month or in all of them."""

    gpu_time: Nanoseconds = 0
    busy: Nanoseconds = 0
    idle: Nanoseconds = 0
    unobserved: Nanoseconds = 0
    unpriced: Nanoseconds = 0
    amount: Picodollars = 0
    tokens: dict[str, int] = field(default_factory=dict)
    """Tokens by their kind."""
    unmet_tokens: int = 0
    """Tokens that no GPU time meets: whose GPU, or which host, is not known."""
    token_server_time: Nanoseconds = 0
    """GPU time of servers whose pages count tokens."""
    unread: Nanoseconds = 0
    """GPU time of servers whose pages count tokens, while none of their pages was scraped."""
    span: Nanoseconds = 0
    """Time of hosts; 0 of anything else."""
    sampled: Nanoseconds = 0
    """Time of hosts that has samples."""
    projected: Picodollars | None = None
    """The end of a month that goes on."""

    def add(self, fact: Fact) -> None:
        """Add a fact."""
        match fact.measure:
            case "money of owners":
                self.amount += fact.value
            case "GPU time":
                self.gpu_time += fact.value
                self.busy += fact.value if fact.phase in BUSY_PHASES else 0
                self.idle += fact.value if fact.phase == "idle" else 0
                self.unobserved += fact.value if fact.phase == "unobserved" else 0
            case "unpriced time":
                self.unpriced += fact.value
            case "tokens":
                add(self.tokens, fact.kind or "", fact.value)
            case "unmet tokens" | "unmet tokens of hosts":
                self.unmet_tokens += fact.value
            case "GPU time of token servers":
                self.token_server_time += fact.value
            case "unread time":
                self.unread += fact.value
            case "host time":
                self.span += fact.value
            case "sampled time":
                self.sampled += fact.value
            case "projected money":
                self.projected = (self.projected or 0) + fact.value

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
        if self.money is None or self.unpriced or self.unmet_tokens or count < FEWEST_TOKENS:
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


class UnlistedGpu(NamedTuple):
    """A GPU that a host is charged for without samples."""

    host: NodeKey
    listing: GpuListing


@dataclass(frozen=True, slots=True)
class HistorySource:
    """What was asked, and of which server."""

    address: str
    since: Instant
    until: Instant
    requests: int
    """Queries that were sent to the server."""
    parallel: int
    """Queries that were sent at once, at most."""


@dataclass(frozen=True, slots=True)
class PastAnswer:
    """What is printed."""

    source: HistorySource
    zone: str
    hosts: Sequence[PastHost]
    facts: Sequence[MonthFact]
    complete: frozenset[str]
    """Months that were read whole."""
    exporters: Sequence[Exporter]
    absences: Sequence[Absence]
    advice: Advice
    downsampled: bool
    """Some hours have no samples as they were scraped."""
    unlisted: Sequence[UnlistedGpu]
    """GPUs that are charged without samples for an hour or more."""

    def lines(self, by: By | None, key: Callable[[MonthFact], K]) -> dict[K, Line]:
        """Sums by a key in the view of owners or of hosts; `None` is the view of everything."""
        measures = _HOST_MEASURES if by in ("host", None) else _OWNER_MEASURES
        lines: dict[K, Line] = {}
        for each in self.facts:
            if each.fact.measure in measures:
                lines.setdefault(key(each), Line()).add(each.fact)
        return lines

    def months(self) -> dict[str, Line]:
        """Everything by month."""
        return dict(sorted(self.lines(None, lambda each: each.month).items()))

    def total(self) -> Line:
        """All months."""
        return self.lines(None, lambda _each: None).get(None, Line())

    def by_month(self, by: By) -> dict[Labels, dict[str, Line]]:
        """Months of each thing, the dearest thing first."""
        totals = self.lines(by, lambda each: each.labels(by))
        months: dict[Labels, dict[str, Line]] = {
            labels: {} for labels in sorted(totals, key=lambda labels: (-totals[labels].amount, labels))
        }
        lines = self.lines(by, lambda each: (each.labels(by), each.month))
        for (labels, month), line in sorted(lines.items()):
            months[labels][month] = line
        return months

    def dearest(self, by: By, count: int) -> dict[str, Line]:
        """All months of the dearest things by name, and of all others in one line."""

        def name(each: MonthFact) -> str:
            return "/".join(filter(None, each.labels(by))) or "(unknown)"

        lines = self.lines(by, name)
        ranked = sorted(lines, key=lambda name: (-lines[name].amount, name))
        listed = ranked[:count]
        if len(ranked) > count:
            others = f"{len(ranked) - count} others"
            lines = self.lines(by, lambda each: name(each) if name(each) in listed else others)
            listed.append(others)
        return {shown: lines[shown] for shown in listed}

    @property
    def scrape_seconds(self) -> int | None:
        """Seconds between two samples of the median host."""
        known = [host.scrape_seconds for host in self.hosts if host.scrape_seconds is not None]
        return round(median(known)) if known else None

    @property
    def error(self) -> float | None:
        """The largest error that was measured at this resolution, with the part of GPUs that were not seen.

        `None` where none was measured.
        """
        seconds = None if self.downsampled else self.scrape_seconds
        measured_error = next(
            (error for most, error in ERRORS if seconds is not None and seconds <= most), None
        )
        amount = self.total().amount
        if measured_error is None or not amount:
            return measured_error
        return measured_error + sum(gpu.listing.amount for gpu in self.unlisted) / amount


def answer(reckoning: Reckoning, source: HistorySource) -> PastAnswer:
    """Sum up what was reckoned."""
    config, until = reckoning.config, source.until
    zone = config.timezone
    hosts = [host for _, host in sorted(reckoning.hosts.items()) if host.months]
    data_begin = min((host.first for host in hosts if host.first is not None), default=until)
    facts = tuple(each for host in hosts for each in _month_facts(host, until))
    usages = [
        host_usage(host, "/".join(filter(None, host.key)), until, USAGE_HOURS, host.policy.tariff)
        for host in hosts
        if host.gpus
    ]
    policy = SavingsPolicy(until, zone, config.hours_per_month, config.compare, config.ignored_savings)
    return PastAnswer(
        source=source,
        zone=zone.key,
        hosts=hosts,
        facts=facts,
        complete=frozenset(
            month
            for month in {each.month for each in facts}
            if was_read_whole(month, zone, source.since, until, data_begin)
        ),
        exporters=tuple(exporters(reckoning)),
        absences=tuple(absences(reckoning, source.since, data_begin)),
        advice=advice(usages, policy),
        downsampled=bool(reckoning.downsampled),
        unlisted=tuple(
            UnlistedGpu(host.key, listing)
            for host in hosts
            for _, listing in sorted(host.slots.listings.items())
            if listing.time >= NANOSECONDS_PER_HOUR
        ),
    )


def _month_facts(host: PastHost, until: Instant) -> Iterator[MonthFact]:
    """The facts of a host by month, with the end of the month that goes on."""
    current = month_of(until - 1, host.policy.zone).name
    for month in sorted(host.months):
        facts = host.facts(month)
        holders = {fact.owner.key for fact in measured(facts, "GPU time") if fact.value}
        for fact in facts:
            yield MonthFact(host.key, month, fact)
            if fact.measure == "tokens" and fact.owner.key not in holders:
                yield MonthFact(host.key, month, fact._replace(measure="unmet tokens"))
            if fact.measure == "tokens" and not holders:
                yield MonthFact(host.key, month, fact._replace(measure="unmet tokens of hosts"))
        if month != current:
            continue
        to_date = sums_by(measured(facts, "money of owners"), lambda fact: fact.product or "")
        # A host that is gone has spent what it will.
        projected: Picodollars | None = sum(to_date.values())
        if until - host.last <= REPORTS_STILL and host.outcomes:
            usage = recent_usage(host.recent, until - 1)
            projection = project(host.outcomes, usage, to_date, until - 1, host.policy)
            projected = None if projection is None else sum(projection.totals().values())
        if projected is not None:
            yield MonthFact(host.key, month, Fact("projected money", projected))
