"""Immutable report of one tick, from which every page is rendered.

The ledger fills `CommittedTotals` from the last commit; the sampler fills the rest from the tick.
Money is in picodollars here; renderers convert it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from exporter import readings
from exporter.advice.saving import Saving
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import CostOwner, LatencyPart, OwnerPhase
from exporter.cost.projection import Projection, RecentUsage
from exporter.cost.quotients import Basis, QuotientKind
from exporter.cost.service_level import Measure, ShareBounds
from exporter.cost.state import State
from exporter.tariff.hosted import HostedPrice
from exporter.tariff.rate import Provenance
from exporter.units import Instant, Millijoules, Nanoseconds, Picodollars


class ServerOwner(NamedTuple):
    """A cost owner without its model. Components are posted to it."""

    product: str
    team: str
    namespace: str
    server: str


class ServerComponent(NamedTuple):
    """A component of a server's money."""

    owner: ServerOwner
    component: str


class OwnerLatency(NamedTuple):
    """Observed latencies of one owner: those on one side of an objective, or all."""

    owner: CostOwner
    objective: readings.Objective
    basis: readings.LatencyBasis
    part: LatencyPart


class MonthKey(NamedTuple):
    """One cell of month to date."""

    product: str
    team: str
    price_basis: str
    month: str
    """Like 2026-11."""


@dataclass(frozen=True, slots=True)
class Window:
    """Sums of one cost owner over the last 60 whole minutes, by the time that money covers."""

    money: Mapping[str, Picodollars] = field(default_factory=dict)
    """By phase."""
    tokens: Mapping[readings.TokenKind, int] = field(default_factory=dict)
    unpriced: Nanoseconds = 0
    """Its GPU time without a price in these minutes: its money is not the whole cost."""
    latencies: Mapping[tuple[readings.Objective, readings.LatencyBasis, LatencyPart], int] = field(
        default_factory=dict
    )
    """Observed latencies of its server's model, where it is the server's own owner."""


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour: its start, its money by phase, and its metered time."""

    start: Instant
    money: Mapping[str, Picodollars] = field(default_factory=dict)
    covered: Nanoseconds = 0


@dataclass(frozen=True, slots=True)
class RecentHistory:
    """History that the page draws, by the time that money covers, without adjustments."""

    hours: tuple[Hour, ...] = ()
    """The last 24 hours of the clock, the current one included, oldest first."""
    tokens: Mapping[tuple[CostOwner, readings.TokenKind], int] = field(default_factory=dict)
    """Sums of the hours."""
    components: Mapping[str, Picodollars] = field(default_factory=dict)
    """Sums of the hours."""
    mix: Mapping[tuple[readings.ServerKey, str], Picodollars] = field(default_factory=dict)
    """Components of each server in the last two hours, in which the last 60 minutes lie."""
    before: tuple[Picodollars | None, ...] = ()
    """Cost of each whole hour of the last month, up to the one before this; `None` for an hour without a
    posting."""


@dataclass(frozen=True, slots=True)
class CommittedTotals:
    """Totals of the last commit, and the health of the ledger."""

    ledger: str
    persistent: bool
    """False for a ledger in memory."""
    writable: bool
    """False while commits fail: totals then stand still."""
    last_commit: Instant | None
    """Wall time of the last commit."""
    residual: Picodollars
    """Accrued minus posted; anything but 0 is a bug."""
    cost: Mapping[OwnerPhase, Picodollars] = field(default_factory=dict)
    """All phases of each owner, from its first tick, at 0."""
    gpu_time: Mapping[OwnerPhase, Nanoseconds] = field(default_factory=dict)
    """All phases of each owner, as in `cost`."""
    server_cost: Mapping[ServerComponent, Picodollars] = field(default_factory=dict)
    gpu_cost: Mapping[tuple[readings.Gpu, str], Picodollars] = field(default_factory=dict)
    tokens: Mapping[tuple[CostOwner, readings.TokenKind], int] = field(default_factory=dict)
    requests: Mapping[CostOwner, int] = field(default_factory=dict)
    preemptions: Mapping[CostOwner, int] = field(default_factory=dict)
    latencies: Mapping[OwnerLatency, int] = field(default_factory=dict)
    energy: Mapping[readings.Gpu, Millijoules] = field(default_factory=dict)
    unpriced: Mapping[readings.Gpu, Nanoseconds] = field(default_factory=dict)
    uncharged: Nanoseconds = 0
    """Time of gaps that were too long to be charged."""
    begun: Instant | None = None
    """Time of the first commit; `None` if unknown."""
    fleeting: bool = False
    """Whether the ledger is on a pod's emptyDir, which ends with the pod."""
    moved_aside: str = ""
    """Name of the earlier file if this process had to start from zero, else empty."""
    displaced: str = ""
    """Name of the ledger's file since another one took its place, else empty."""
    unread: bool = False
    """Whether the ledger is in memory, and the file at its path cannot be read."""
    equivalents: Mapping[tuple[CostOwner, str], Picodollars] = field(default_factory=dict)
    """By cost owner and hosted offer."""
    last_token: Mapping[CostOwner, Instant] = field(default_factory=dict)
    months: Mapping[MonthKey, Picodollars] = field(default_factory=dict)
    window: Mapping[CostOwner, Window] = field(default_factory=dict)
    usage: RecentUsage = field(default_factory=RecentUsage)
    """Use of GPUs by product in the last 24 hours, for the projection."""
    metered_since: Instant | None = None
    """Start of the first metered time; `None` before."""
    history: RecentHistory = RecentHistory()
    replaced: int = 0
    """UUIDs that took the slot of another GPU."""


@dataclass(frozen=True, slots=True)
class ComponentPrice:
    """Current hourly price of one GPU and component, and its provenance."""

    gpu: readings.Gpu
    component: str
    dollars_per_hour: float
    provenance: Provenance
    count: int = 1
    """Number of GPUs of that UUID: above 1 for those that NVML never listed."""


@dataclass(frozen=True, slots=True)
class GpuRow:
    """One GPU of the inventory."""

    gpu: readings.Gpu
    index: int
    up: bool
    priced: bool
    reading: readings.GpuReading | None
    """NVML's reading of this tick; `None` without one."""
    idle_ratio: float | None = None
    """Idle part of this tick; `None` if it was not observed."""
    count: int = 1
    """Above 1 for several GPUs that NVML never listed."""
    predecessor: str = ""
    """UUID of the GPU whose slot it took; empty for none."""
    replaced_at: Instant = 0
    """When it took that slot."""


class ShareRow(NamedTuple):
    """Share of a GPU that a server holds."""

    key: readings.ServerKey
    uuid: str
    share_ratio: float
    method: str
    """Method of sharing: `whole`, `configured`, `equal`, ..."""


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
    load: readings.LoadReading


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
    basis: readings.LatencyBasis
    ratio: ShareBounds


@dataclass(frozen=True, slots=True)
class MetCostRow:
    """Dollars per million tokens within all objectives over the window; `None` where there may be none."""

    owner: CostOwner
    lower: float | None
    upper: float | None


@dataclass(frozen=True, slots=True)
class SourceRow:
    """Health of one source since the daemon started."""

    source: str
    up: bool
    read_duration: Nanoseconds
    last_success: Instant | None
    errors: Mapping[str, int] = field(default_factory=dict)
    """Failures by reason."""
    problem: str = ""
    """Why it is down. It may contain a server's answer, and be long."""


@dataclass(frozen=True, slots=True)
class HostSavings:
    """Findings of this host's last whole hours, the largest first; muted ones are left out."""

    end: Instant
    hours: int
    """Number of hours up to `end`, at most the days of a review."""
    findings: tuple[Saving, ...] = ()


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """One monthly budget."""

    name: str
    product: str
    dollars: float
    configured: bool = True
    """False for the default budget."""


@dataclass(frozen=True, slots=True)
class ConfigRow:
    """The configuration in force."""

    hash: str
    last_reload_success: bool
    last_reload: Instant
    web_last_reload_success: bool | None = None
    """`None` without a web configuration."""


class StandardFamily(Protocol):
    """One metric family of the daemon's own process, as the client library of Prometheus has read it."""

    name: str
    """Name of the family; a counter's is without `_total`."""
    type: str
    documentation: str


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
    """Report of one tick."""

    elapsed: Nanoseconds
    """The tick's boot time: a report older than three intervals serves its counters only."""
    wall: Instant
    interval: Nanoseconds
    build: Build
    config: ConfigRow
    totals: CommittedTotals | None
    """`None` until money may be served."""
    process: tuple[StandardFamily, ...] = ()
    """Standard families of the daemon's own process."""
    rates: Mapping[CostOwner, float] = field(default_factory=dict)
    """Current dollars per hour by cost owner."""
    prices: tuple[ComponentPrice, ...] = ()
    quotients: tuple[Quotient, ...] = ()
    met: tuple[MetRow, ...] = ()
    met_costs: tuple[MetCostRow, ...] = ()
    month_ends: Mapping[str, Instant] = field(default_factory=dict)
    """By month."""
    metered_since: Mapping[str, Instant] = field(default_factory=dict)
    """By month."""
    projected: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Dollars at the end of each month."""
    projection: Projection | None = None
    """Derivation of `projected`."""
    first_price_rates: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Dollars per hour by product and team at the first prices of the configuration."""
    run_rate: float | None = None
    """Dollars a month; `None` with no priced GPU."""
    budgets: tuple[BudgetRow, ...] = ()
    headroom: Mapping[CostOwner, float] = field(default_factory=dict)
    """Busy dollars per hour of the load that each owner's servers could add."""
    savings: HostSavings | None = None
    """Savings of the last review; `None` before a day of history, and of a ledger in memory."""
    load_rates: Mapping[CostOwner, float] = field(default_factory=dict)
    """Dollars per hour of the load that is in use."""
    fleet_overheads: Mapping[str, float] = field(default_factory=dict)
    gpus: tuple[GpuRow, ...] = ()
    servers: tuple[readings.ServerReading, ...] = ()
    unread: tuple[readings.UnreadServer, ...] = ()
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
    """GPUs that are charged; `None` where their number is not known."""
    visible_gpus: int | None = None
    """GPUs that are listed; `None` while the driver is silent."""
