"""Readings of inference servers and gateways, and the GPUs that servers hold."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from exporter.units import Instant

TokenKind = Literal["prompt", "cached_prompt", "generation"]
KINDS: Final[tuple[TokenKind, ...]] = ("prompt", "cached_prompt", "generation")

Quantity = Literal[
    "prompt",
    "cached_prompt",
    "generation",
    "requests",
    "preemptions",
    "prefill_seconds",
    "decode_seconds",
    "decode_request_seconds",
]
"""What a counter of a server counts.

`preemptions` are requests that were stopped for lack of KV cache, and computed again.
`decode_request_seconds` are those of requests: they overlap (all running requests tick at once) and are
divided by the mean batch. `decode_seconds` are the engine's own GPU seconds, which do not overlap.
`prefill_seconds` are of the kind of the decode seconds of the same endpoint and model.
"""

OTHER_MODELS: Final = "other"
"""The model name of models beyond a limit."""

Role = Literal["", "prefill", "decode"]
"""Part of a disaggregated pair; empty for a server that does both."""


ROLE_REMEDY: Final = (
    "Tokens of a disaggregated pair are on both pages: set `role: prefill` or `role: decode` in `servers`."
)
"""What to do about a server whose role is in doubt."""


class RoleClaim(NamedTuple):
    """A role that a server has by a source, such as its command line or a label of its pod."""

    role: Role
    source: str


DividedBy = Literal["team", "adapter"]
"""Labels of a gateway that divide a server: teams of clients, or LoRA adapters."""


@dataclass(frozen=True, slots=True)
class Division:
    """Division of a server's cost and tokens by the counts of a gateway."""

    by: DividedBy
    gateway: str
    """URL of its page."""
    models: tuple[str, ...] = ()
    """Patterns of the gateway's names for the server's models, in addition to the server's own names; by
    adapter, of the adapters."""
    deployments: tuple[str, ...] = ()
    """Ids of the deployments that lead to the server; empty if all do."""
    cached: bool = False
    """Whether the gateway counts cached prompts, so that they weigh less on both sides."""


_PRODUCT: Final = "\x1f"  # no label has it


def tenant_name(team: str, product: str = "") -> str:
    """The name of a tenant in a gateway's counts: its team, and its product if that is not the server's."""
    return f"{team}{_PRODUCT}{product}" if product else team


def team_and_product(tenant: str) -> tuple[str, str]:
    """The team of a tenant's name, and its product, empty for the server's."""
    team, _, product = tenant.partition(_PRODUCT)
    return team, product


@dataclass(frozen=True, slots=True)
class CounterReading:
    """One raw series of a server's page, with what it counts."""

    series: str
    """Name of the series within its server; deltas are taken per series, then summed."""
    model: str
    quantity: Quantity
    value: float
    sign: Literal[1, -1] = 1
    """-1 where an engine counts something inside another counter that must be taken out of it (cached tokens
    inside the prompt counter)."""
    created: Instant | None = None
    """When the series began, if the page has it."""


class Occupancy(NamedTuple):
    """Part of a capacity in use, both in one unit. A plain ratio has a capacity of one for each engine."""

    used: float
    capacity: float


@dataclass(frozen=True, slots=True)
class LoadReading:
    """Requests of one model at the moment of the read, and the limits that they run against."""

    model: str
    running: float | None = None
    waiting: float | None = None
    batches: int = 1
    """Number of batches that they run in: one for each engine behind the endpoint that has any (a
    data-parallel rank, a replica on a shared page)."""
    max_running: float | None = None
    """Largest number of requests that these engines run at once; `None` if unknown."""
    kv_cache: Occupancy | None = None


SEQUENCES_MAX: Final = 65_536
"""Largest plausible number of sequences at once; a larger one lifts the limit."""


class SequenceLimit(NamedTuple):
    """The largest number of sequences that run at once, by a server's command line or its own information."""

    sequences: int
    shared: bool = False
    """Whether all engines of the server share it; otherwise each has it."""


Objective = Literal["first_token", "per_token"]
"""What a service level bounds: the time to a request's first token, or the time of each token after it."""
OBJECTIVES: Final[tuple[Objective, ...]] = ("first_token", "per_token")

LatencyBasis = Literal["requests", "tokens"]
"""What one observation of a latency histogram is: a request (its mean per token), or a token."""


@dataclass(frozen=True, slots=True)
class ServiceLevel:
    """The service level of a server."""

    first_token_seconds: float | None = None
    per_token_seconds: float | None = None
    target_ratio: float = 0.99
    """Part of requests that should meet each objective."""

    def seconds(self) -> dict[Objective, float]:
        """The objectives that are set."""
        each: dict[Objective, float | None] = {
            "first_token": self.first_token_seconds,
            "per_token": self.per_token_seconds,
        }
        return {objective: seconds for objective, seconds in each.items() if seconds is not None}


@dataclass(frozen=True, slots=True)
class LatencyReading:
    """One raw latency histogram of a server's page, as far as its objective needs it."""

    series: str
    """Its name and labels without `le`."""
    model: str
    objective: Objective
    basis: LatencyBasis
    floor: float
    """Largest bucket bound up to the objective; infinite where there is none."""
    ceiling: float
    """Smallest bucket bound from the objective on; infinite where there is none."""
    lower: float
    """Observations up to the floor since the process began."""
    upper: float
    """Observations up to the ceiling since the process began."""
    total: float
    """All observations since the process began."""


class ServerKey(NamedTuple):
    """A server as the operator names it; its replicas on one host share the key."""

    namespace: str
    server: str

    @property
    def name(self) -> str:
        """NAMESPACE/NAME, or the name alone without a namespace."""
        return f"{self.namespace}/{self.server}" if self.namespace else self.server


class Peer(NamedTuple):
    """The address that a connection reached."""

    host: str
    port: int
    local: bool
    """Whether it is one of this host, in this network."""


@dataclass(frozen=True, slots=True)
class ServerReading:
    """One endpoint of a server in one tick."""

    key: ServerKey
    url: str
    up: bool
    """False when it did not answer: the counters are then empty."""
    engine: str = ""
    engine_version: str = ""
    pod: str = ""
    identity: str = ""
    """Changes with the process that writes the page, by the page itself; empty without one."""
    started: Instant | None = None
    """When that process started, if the page says so."""
    listener: str = ""
    """Changes with the process that listens, which may be a proxy; empty if unknown."""
    listener_started: Instant | None = None
    """When the process that listens started; `None` if unknown."""
    absent_at: Instant | None = None
    """A moment at which that process did not exist yet."""
    counters: Sequence[CounterReading] = ()
    loads: tuple[LoadReading, ...] = ()
    models: tuple[str, ...] = ()
    """The models that it serves, loaded or not."""
    role: Role = ""
    """Its part of a disaggregated pair."""
    spans_hosts: bool = False
    """Whether other hosts compute for it, too."""
    world_size: int | None = None
    """Number of its GPUs on all hosts together (TP x PP x DP), by its command line."""
    division: Division | None = None
    """How a gateway divides it."""
    slo: ServiceLevel | None = None
    latencies: tuple[LatencyReading, ...] | None = None
    """Histograms of its service level; `None` where they were not read."""
    counted_at: str | None = None
    """URL of the endpoint that counts its tokens in its place, empty where another engine's page repeats
    them, `None` where it counts itself; one with another is not up."""
    peer: Peer | None = field(default=None, compare=False)
    """The address that answered; `None` if unknown."""
    role_doubt: str = ""
    """Why it has no role although it may be part of a pair, as a clause; empty for none."""


@dataclass(frozen=True, slots=True)
class Holder:
    """One server holding one GPU, or one MIG instance of it."""

    key: ServerKey
    uuid: str
    share_ratio: float | None = None
    """Its configured share; `None` without one."""
    instance: str = ""
    """UUID of the MIG instance (`MIG-...`); empty for a whole GPU."""
    sm_ratio: float | None = None
    """Use by its processes together; `None` if unknown."""
    memory_bytes: int | None = None
    """Use by its processes together; `None` if unknown."""


class PodOwnership(NamedTuple):
    """Product and team of a server by the labels of its pod; empty strings without them."""

    key: ServerKey
    product: str = ""
    team: str = ""


@dataclass(frozen=True, slots=True)
class GatewayCounter:
    """One raw series of a gateway's page: tokens by model, deployment and team, empty where unlabeled.

    A model, deployment and team may have many series, one for each key and user.
    """

    series: str
    model: str
    deployment: str
    team: str
    """A tenant's name (`tenant_name`)."""
    quantity: TokenKind
    value: float
    created: Instant | None = None
    """When the series began, if the page has it."""


@dataclass(frozen=True, slots=True)
class GatewayCount:
    """Tokens that a gateway counted for one model, deployment and team, empty where unlabeled."""

    model: str
    deployment: str
    team: str
    prompt: float
    """Prompt tokens, cached ones included."""
    generation: float
    cached: float = 0.0
    """Cached prompt tokens, where the gateway counts them."""


@dataclass(frozen=True, slots=True)
class GatewayReading:
    """One page of a gateway."""

    url: str
    up: bool
    """False when it could not be read: nothing is known then."""
    title: str = ""
    """Its name for people."""
    identity: str = ""
    """Changes with the process behind the page; empty if unknown."""
    started: Instant | None = None
    counters: tuple[GatewayCounter, ...] = ()
    selection: str = ""
    """The configured counters; empty for built-in ones."""
    absent: tuple[str, ...] = ()
    """Configured counters without a series."""
    unlisted: tuple[str, ...] = ()
    """Some of the page's tenants that no configured tenant matches."""
    unlisted_count: int = 0
    """Number of all such tenants."""
