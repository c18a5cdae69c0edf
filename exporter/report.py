"""Immutable report of one tick, from which every page is rendered.

The ledger fills `CommittedTotals` from the last commit; the sampler fills the rest from the tick.
Money is in picodollars here; renderers convert it.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import NamedTuple

from exporter.advice import Saving
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import CostOwner, LatencyPart, OwnerPhase
from exporter.cost.projection import Projection, RecentUsage
from exporter.cost.quotients import Basis, QuotientKind
from exporter.cost.service_level import Measure, ShareBounds
from exporter.cost.state import State
from exporter.frozen import dataclass
from exporter.readings import (
    Gpu,
    GpuReading,
    LatencyBasis,
    LoadReading,
    Objective,
    ServerKey,
    ServerReading,
    TokenKind,
    UnreadServer,
)
from exporter.tariff.hosted import HostedPrice
from exporter.tariff.rate import Provenance
from exporter.units import Instant, Millijoules, Nanoseconds, Picodollars


class ServerOwner(NamedTuple):
    """A cost owner without its model. Components are posted to it."""

    product: str
    team: str
    namespace: str
    server: str


class MonthKey(NamedTuple):
    """One cell of month to date. `month` is like 2026-11."""

    product: str
    team: str
    price_basis: str
    month: str


@dataclass(frozen=True, slots=True)
class Window:
    """Sums of one cost owner over the last 60 whole minutes, by the time that money covers."""

    money: Mapping[str, Picodollars] = field(default_factory=dict)
    """By phase."""
    tokens: Mapping[TokenKind, int] = field(default_factory=dict)
    unpriced: Nanoseconds = 0
    """Its GPU time without a price in these minutes: its money is not the whole cost."""
    latencies: Mapping[tuple[Objective, LatencyBasis, LatencyPart], int] = field(default_factory=dict)
    """Observed latencies of its server's model, where it is the server's own owner."""


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour: its start, its money by phase, and its metered time."""

    start: Instant
    money: Mapping[str, Picodollars] = field(default_factory=dict)
    covered: Nanoseconds = 0


@dataclass(frozen=True, slots=True)
class RecentHistory:
    """History that the page draws, by the time that money covers, without adjustments.

    `hours` are the 24 whole ones before now and the current one, oldest first. `tokens` and `components` are
    their sums. `mix` are the components of each server in the last two hours, in which the last 60 minutes
    lie. `before` is the cost of each whole hour of the last month, up to the one before this: `None` of an
    hour that nothing was posted to.
    """

    hours: tuple[Hour, ...] = ()
    tokens: Mapping[tuple[CostOwner, TokenKind], int] = field(default_factory=dict)
    components: Mapping[str, Picodollars] = field(default_factory=dict)
    mix: Mapping[tuple[ServerKey, str], Picodollars] = field(default_factory=dict)
    before: tuple[Picodollars | None, ...] = ()


@dataclass(frozen=True, slots=True)
class CommittedTotals:
    """Totals of the last commit, and the health of the ledger.

    `persistent` is false for a ledger in memory. `writable` is false while commits fail: then totals stand
    still. `fleeting`: the ledger is on a pod's emptyDir, which ends with the pod.
    `moved_aside` is the name of the earlier file if this process had to start from zero, else empty.
    `displaced` is the name of the ledger's file since another one took its place, else empty.
    `unread`: the ledger is in memory, and the file at its path cannot be read.
    `residual` is accrued minus posted; anything but 0 is a bug.
    `begun` is the time of the first commit, `None` if unknown.
    `uncharged` is the time of gaps that were too long to be charged.
    `usage` is the use of GPUs by product in the last 24 hours, for the projection.
    `metered_since` is the start of the first metered time, `None` before.
    """

    ledger: str
    persistent: bool
    writable: bool
    last_commit: Instant | None
    residual: Picodollars
    cost: Mapping[OwnerPhase, Picodollars] = field(default_factory=dict)
    gpu_time: Mapping[OwnerPhase, Nanoseconds] = field(default_factory=dict)
    server_cost: Mapping[tuple[ServerOwner, str], Picodollars] = field(default_factory=dict)
    gpu_cost: Mapping[tuple[Gpu, str], Picodollars] = field(default_factory=dict)
    tokens: Mapping[tuple[CostOwner, TokenKind], int] = field(default_factory=dict)
    requests: Mapping[CostOwner, int] = field(default_factory=dict)
    preemptions: Mapping[CostOwner, int] = field(default_factory=dict)
    latencies: Mapping[tuple[CostOwner, Objective, LatencyBasis, LatencyPart], int] = field(
        default_factory=dict
    )
    energy: Mapping[Gpu, Millijoules] = field(default_factory=dict)
    unpriced: Mapping[Gpu, Nanoseconds] = field(default_factory=dict)
    uncharged: Nanoseconds = 0
    begun: Instant | None = None
    fleeting: bool = False
    moved_aside: str = ""
    displaced: str = ""
    unread: bool = False
    equivalents: Mapping[tuple[CostOwner, str], Picodollars] = field(default_factory=dict)
    """By cost owner and hosted offer."""
    last_token: Mapping[CostOwner, Instant] = field(default_factory=dict)
    months: Mapping[MonthKey, Picodollars] = field(default_factory=dict)
    window: Mapping[CostOwner, Window] = field(default_factory=dict)
    usage: RecentUsage = field(default_factory=RecentUsage)
    metered_since: Instant | None = None
    history: RecentHistory = RecentHistory()
    replaced: int = 0
    """UUIDs that took the slot of another GPU."""


@dataclass(frozen=True, slots=True)
class ComponentPrice:
    """Current hourly price of one GPU and component, and its provenance.

    `count` is how many GPUs of that UUID there are: above 1 for those that NVML never listed.
    """

    gpu: Gpu
    component: str
    dollars_per_hour: float
    provenance: Provenance
    count: int = 1


@dataclass(frozen=True, slots=True)
class GpuRow:
    """One GPU of the inventory. `reading` is NVML's reading of this tick, `None` without one.

    `count` is above 1 for several GPUs that NVML never listed. `predecessor` is the UUID whose slot it took
    at `replaced_at`, empty for none.
    """

    gpu: Gpu
    index: int
    up: bool
    priced: bool
    reading: GpuReading | None
    idle_ratio: float | None = None
    """Idle part of this tick; `None` if it was not observed."""
    count: int = 1
    predecessor: str = ""
    replaced_at: Instant = 0


class ShareRow(NamedTuple):
    """Share of a GPU that a server holds, and the method of sharing (`whole`, `configured`, `equal`, ...)."""

    key: ServerKey
    uuid: str
    share_ratio: float
    method: str


@dataclass(frozen=True, slots=True)
class SplitRow:
    """Method that split a model's busy cost in this tick, and its prefill share."""

    owner: CostOwner
    method: str
    prefill_ratio: float | None


@dataclass(frozen=True, slots=True)
class LoadRow:
    """Requests of one cost owner at the last read: the endpoints of its server are added up."""

    owner: CostOwner
    load: LoadReading


@dataclass(frozen=True, slots=True)
class Quotient:
    """Dollars per million tokens of one cost owner over the window."""

    owner: CostOwner
    kind: QuotientKind
    basis: Basis
    dollars_per_million_tokens: float


@dataclass(frozen=True, slots=True)
class MetRow:
    """Share of one owner's observed latencies in the window that met an objective, or all of them."""

    owner: CostOwner
    measure: Measure
    basis: LatencyBasis
    ratio: ShareBounds


@dataclass(frozen=True, slots=True)
class MetCostRow:
    """Dollars per million tokens within all objectives over the window; `None` where there may be none."""

    owner: CostOwner
    lower: float | None
    upper: float | None


@dataclass(frozen=True, slots=True)
class SourceRow:
    """Health of one source since the daemon started. `errors` counts by reason.

    `problem` says why it is down. It may contain a server's answer, and be long.
    """

    source: str
    up: bool
    read_duration: Nanoseconds
    last_success: Instant | None
    errors: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class HostSavings:
    """Findings of this host's last whole hours, the largest first; muted ones are left out.

    `hours` are those that there were up to `end`, at most the days of a review.
    """

    end: Instant
    hours: int
    findings: tuple[Saving, ...] = ()


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """One monthly budget; `configured` is false of the default one."""

    name: str
    product: str
    dollars: float
    configured: bool = True


@dataclass(frozen=True, slots=True)
class ConfigRow:
    """The configuration in force. `web_last_reload_success` is `None` without a web configuration."""

    hash: str
    last_reload_success: bool
    last_reload: Instant
    web_last_reload_success: bool | None = None


@dataclass(frozen=True, slots=True)
class StandardSample:
    """One sample of a standard family."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


@dataclass(frozen=True, slots=True)
class StandardFamily:
    """One metric family of the daemon's own process, named by the client library of Prometheus."""

    name: str
    """Name of the family; a counter's is without `_total`."""
    type: str
    help: str
    samples: tuple[StandardSample, ...]


@dataclass(frozen=True, slots=True)
class Build:
    """Which exporter this is."""

    version: str
    revision: str
    python: str


@dataclass(frozen=True, slots=True)
class TickBasis:
    """Policy and cost state of the tick. With the totals they are enough for an explanation.

    A tick passes them on unchanged: it spends nothing on explanations that are not requested.
    """

    policy: CostPolicy
    state: State


@dataclass(frozen=True, slots=True)
class Report:
    """Report of one tick.

    `elapsed` is the tick's boot time: a report older than three intervals serves its counters only.
    `totals` is `None` until money may be served.
    `rates` are current dollars per hour by cost owner, `first_price_rates` those by product and team at the
    first prices of the configuration. `month_ends`, `metered_since` and `projected` are by month.
    `run_rate` is dollars a month, `None` with no priced GPU.
    `expected_gpus` are owed, `None` where their number is not known; `visible_gpus` are listed, `None` while
    the driver is silent.
    """

    elapsed: Nanoseconds
    wall: Instant
    interval: Nanoseconds
    build: Build
    config: ConfigRow
    totals: CommittedTotals | None
    process: tuple[StandardFamily, ...] = ()
    """Standard families of the daemon's own process."""
    rates: Mapping[CostOwner, float] = field(default_factory=dict)
    prices: tuple[ComponentPrice, ...] = ()
    quotients: tuple[Quotient, ...] = ()
    met: tuple[MetRow, ...] = ()
    met_costs: tuple[MetCostRow, ...] = ()
    month_ends: Mapping[str, Instant] = field(default_factory=dict)
    metered_since: Mapping[str, Instant] = field(default_factory=dict)
    projected: Mapping[tuple[str, str], float] = field(default_factory=dict)
    projection: Projection | None = None
    """Derivation of `projected`."""
    first_price_rates: Mapping[tuple[str, str], float] = field(default_factory=dict)
    run_rate: float | None = None
    budgets: tuple[BudgetRow, ...] = ()
    headroom: Mapping[CostOwner, float] = field(default_factory=dict)
    """Busy dollars per hour of the load that each owner's servers could add."""
    savings: HostSavings | None = None
    """Savings of the last review; `None` before a day of history, and of a ledger in memory."""
    load_rates: Mapping[CostOwner, float] = field(default_factory=dict)
    """Dollars per hour of the load that is in use."""
    fleet_overheads: Mapping[str, float] = field(default_factory=dict)
    gpus: tuple[GpuRow, ...] = ()
    servers: tuple[ServerReading, ...] = ()
    unread: tuple[UnreadServer, ...] = ()
    loads: tuple[LoadRow, ...] = ()
    shares: tuple[ShareRow, ...] = ()
    splits: tuple[SplitRow, ...] = ()
    sources: tuple[SourceRow, ...] = ()
    exposition_errors: tuple[tuple[str, int], ...] = ()
    """Samples left out of earlier pages since the start, by reason."""
    web_refused: tuple[tuple[str, int], ...] = ()
    """HTTP requests refused since the start, by reason."""
    hosted: tuple[HostedPrice, ...] = ()
    """Hosted offers of the current comparison."""
    basis: TickBasis | None = None
    price_list_date: Instant | None = None
    """Date of the newest list of instance prices in use; `None` if that file cannot be read."""
    expected_gpus: int | None = None
    visible_gpus: int | None = None
