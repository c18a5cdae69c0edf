"""The immutable answer of one tick: what is rendered, and nothing else is.

The ledger fills `CommittedTotals` from what it has committed; the sampler fills the rest from the tick.
Money stays in picodollars here; rows convert it on the way out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from exporter.cost.policy import CostPolicy
from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.cost.projection import Projection, RecentUsage
from exporter.cost.quotients import Basis, TokenKind
from exporter.cost.state import State
from exporter.readings import Gpu, GpuReading, Kind, LoadReading, ServerKey, ServerReading, UnreadServer
from exporter.tariff.hosted import HostedPrice
from exporter.tariff.rate import Provenance
from exporter.units import Instant, Millijoules, Nanoseconds, Picodollars


class ServerOwner(NamedTuple):
    """A party without its model: who a component is posted to."""

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
    """Sums of one party over the last 60 whole minutes, by the time that money covers."""

    money: Mapping[str, Picodollars] = field(default_factory=dict)
    """By phase."""
    tokens: Mapping[Kind, int] = field(default_factory=dict)
    unpriced: Nanoseconds = 0
    """GPU time that it held in them and that waits for a price: its money is not all that it cost."""


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour: when it began, its money by phase, and how much of it was metered."""

    start: Instant
    money: Mapping[str, Picodollars] = field(default_factory=dict)
    covered: Nanoseconds = 0


@dataclass(frozen=True, slots=True)
class RecentHistory:
    """The course of things until now: the history that the page draws, by the time that money covers.

    `hours` are the 24 whole ones before now and the running one, oldest first; `tokens` and `components` are
    of all of them together, `mix` are the components of each server in the last two, in which the last 60
    minutes lie. `before` is what each whole hour came to that the month may have, up to the one before this.
    Adjustments are in none of it.
    """

    hours: tuple[Hour, ...] = ()
    tokens: Mapping[tuple[CostOwner, Kind], int] = field(default_factory=dict)
    components: Mapping[str, Picodollars] = field(default_factory=dict)
    mix: Mapping[tuple[ServerKey, str], Picodollars] = field(default_factory=dict)
    before: tuple[Picodollars, ...] = ()


@dataclass(frozen=True, slots=True)
class CommittedTotals:
    """What the ledger has committed, and the ledger's own health.

    `persistent` is false for books in memory. `writable` is false while commits fail:
    totals then stand still. `fleeting`: they are on a pod's emptyDir, which ends with the pod.
    `moved_aside` is what the file before them is called since this process began them anew, else empty.
    `displaced` is what their file is called since another one took its place, else empty.
    `unread`: they are in memory, and at their path is a file that cannot be read.
    `residual` is accrued minus posted; anything but 0 is a bug.
    `begun` is when a file was first written, `None` where that is not known.
    `uncharged` is time whose gap was too long to be charged.
    `usage` is who used which GPU in the last 24 hours, for the projection.
    `metered_since` is when the first time that they have was metered, `None` before any was.
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
    tokens: Mapping[tuple[CostOwner, Kind], int] = field(default_factory=dict)
    requests: Mapping[CostOwner, int] = field(default_factory=dict)
    energy: Mapping[Gpu, Millijoules] = field(default_factory=dict)
    unpriced: Mapping[Gpu, Nanoseconds] = field(default_factory=dict)
    uncharged: Nanoseconds = 0
    begun: Instant | None = None
    fleeting: bool = False
    moved_aside: str = ""
    displaced: str = ""
    unread: bool = False
    equivalents: Mapping[tuple[CostOwner, str], Picodollars] = field(default_factory=dict)
    """By party and hosted offer."""
    last_token: Mapping[CostOwner, Instant] = field(default_factory=dict)
    months: Mapping[MonthKey, Picodollars] = field(default_factory=dict)
    window: Mapping[CostOwner, Window] = field(default_factory=dict)
    usage: RecentUsage = field(default_factory=RecentUsage)
    metered_since: Instant | None = None
    course: RecentHistory = RecentHistory()
    replaced: int = 0
    """UUIDs that took the slot of another."""


@dataclass(frozen=True, slots=True)
class ComponentPrice:
    """What an hour of one GPU costs now under one component, and where that comes from.

    `count` is how many GPUs of that UUID there are: above 1 for those that NVML never listed.
    """

    gpu: Gpu
    component: str
    dollars_per_hour: float
    provenance: Provenance
    count: int = 1


@dataclass(frozen=True, slots=True)
class GpuRow:
    """One GPU of the inventory. `reading` is what NVML said this tick, `None` if nothing.

    `count` is above 1 for several GPUs that NVML never listed. `predecessor` is the UUID whose slot it took
    at `replaced_at`, empty for none.
    """

    gpu: Gpu
    index: int
    up: bool
    priced: bool
    reading: GpuReading | None
    idle_ratio: float | None = None
    """The part of this tick in which it rested; `None` where that was not observed."""
    count: int = 1
    predecessor: str = ""
    replaced_at: Instant = 0


@dataclass(frozen=True, slots=True)
class ShareRow:
    """Who holds which part of which GPU, and by what it is shared (`whole`, `configured`, `equal`, ...)."""

    key: ServerKey
    uuid: str
    share_ratio: float
    method: str


@dataclass(frozen=True, slots=True)
class SplitRow:
    """Which method split a model's busy money in this tick, and the prefill share it gave."""

    owner: CostOwner
    method: str
    prefill_ratio: float | None


@dataclass(frozen=True, slots=True)
class LoadRow:
    """Requests of one party at the last read."""

    owner: CostOwner
    load: LoadReading


@dataclass(frozen=True, slots=True)
class Quotient:
    """Dollars per million tokens of one party over the window."""

    owner: CostOwner
    kind: TokenKind
    basis: Basis
    dollars_per_million_tokens: float


@dataclass(frozen=True, slots=True)
class SourceRow:
    """Health of one source since the daemon started. `errors` counts by reason.

    `problem` is why it is down, for people; it may hold what a server said, and be long.
    """

    source: str
    up: bool
    read_duration: Nanoseconds
    last_success: Instant | None
    errors: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""


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
class ProcessRow:
    """The daemon's own footprint, sampled at the tick."""

    resident_memory_bytes: int
    cpu_seconds: float
    started: Instant


@dataclass(frozen=True, slots=True)
class Build:
    """Which exporter this is."""

    version: str
    revision: str
    python: str


@dataclass(frozen=True, slots=True)
class TickBasis:
    """What the tick went by: terms and what the cost model remembers. Explanations follow from it and books.

    Handed on as it is, so that a tick costs nothing for explanations that nobody asks for.
    """

    terms: CostPolicy
    state: State


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that one tick can tell.

    `elapsed` is the tick's boot time: a report older than three intervals serves its counters only.
    `books` is `None` until money may be served.
    `rates` are dollars per hour now by party, `first_price_rates` the same by product and team at the first
    prices of the configuration. `month_ends`, `metered_since` and `projected` are of this host, by month.
    `run_rate` is dollars a month, `None` with no priced GPU.
    `expected_gpus` should be listed and `visible_gpus` are, `None` while the driver is silent.
    """

    elapsed: Nanoseconds
    wall: Instant
    interval: Nanoseconds
    build: Build
    config: ConfigRow
    books: CommittedTotals | None
    process: ProcessRow | None = None
    rates: Mapping[CostOwner, float] = field(default_factory=dict)
    prices: tuple[ComponentPrice, ...] = ()
    quotients: tuple[Quotient, ...] = ()
    month_ends: Mapping[str, Instant] = field(default_factory=dict)
    metered_since: Mapping[str, Instant] = field(default_factory=dict)
    projected: Mapping[tuple[str, str], float] = field(default_factory=dict)
    projection: Projection | None = None
    """How `projected` comes about."""
    first_price_rates: Mapping[tuple[str, str], float] = field(default_factory=dict)
    run_rate: float | None = None
    budgets: tuple[BudgetRow, ...] = ()
    fleet_overheads: Mapping[str, float] = field(default_factory=dict)
    gpus: tuple[GpuRow, ...] = ()
    servers: tuple[ServerReading, ...] = ()
    unread: tuple[UnreadServer, ...] = ()
    loads: tuple[LoadRow, ...] = ()
    shares: tuple[ShareRow, ...] = ()
    splits: tuple[SplitRow, ...] = ()
    sources: tuple[SourceRow, ...] = ()
    exposition_errors: tuple[tuple[str, int], ...] = ()
    """What was left out of earlier pages since the start, by reason."""
    web_refused: tuple[tuple[str, int], ...] = ()
    """HTTP requests that were refused since the start, by reason."""
    hosted: tuple[HostedPrice, ...] = ()
    """The hosted offers that are compared with now."""
    grounds: TickBasis | None = None
    price_list_date: Instant | None = None
    """Of the newest list of instance prices in use; `None` where that file cannot be read."""
    expected_gpus: int | None = None
    visible_gpus: int | None = None
