"""Readings of inference servers and gateways, and the GPUs that servers hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from exporter.units import Instant

Kind = Literal["prompt", "cached_prompt", "generation"]
KINDS: Final[tuple[Kind, ...]] = ("prompt", "cached_prompt", "generation")

Quantity = Literal[
    "prompt",
    "cached_prompt",
    "generation",
    "requests",
    "prefill_seconds",
    "decode_seconds",
    "decode_request_seconds",
]
"""What a server's counter counts.

`decode_request_seconds` are those of requests: they overlap (all running requests tick at once) and are
divided by the mean batch. `decode_seconds` are the engine's own GPU seconds, which do not overlap.
`prefill_seconds` are of the kind of the decode seconds that the same endpoint tells of the same model.
"""

OTHER_MODELS: Final = "other"
"""The model name of models beyond a limit."""

Role = Literal["", "prefill", "decode"]
"""What a server does of a disaggregated pair; empty for one that does both."""


DividedBy = Literal["team", "adapter"]
"""What a gateway tells apart: teams that ask, or the LoRA adapters that they ask for."""


@dataclass(frozen=True, slots=True)
class Division:
    """By whose counts the money and tokens of a server are divided.

    `gateway` is the URL of its page. `models` are patterns of what the gateway calls what the server serves,
    beside the names that the server itself tells; by adapter, those of the adapters. `deployments` are the
    ids of those that lead to the server, empty where all do.
    """

    by: DividedBy
    gateway: str
    models: tuple[str, ...] = ()
    deployments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CounterReading:
    """One raw series of a server's page, with what it counts.

    `series` names the series within its server; deltas are taken per series, then summed.
    `sign` is -1 where an engine counts something inside another counter that must be taken out of it
    (cached tokens inside the prompt counter).
    `created` is when the series began, where the page tells.
    """

    series: str
    model: str
    quantity: Quantity
    value: float
    sign: Literal[1, -1] = 1
    created: Instant | None = None


@dataclass(frozen=True, slots=True)
class LoadReading:
    """Requests of one model at the moment of the read.

    `batches` is in how many batches those run: one for each engine behind the endpoint that has any (a
    data-parallel rank, a replica on a shared page).
    """

    model: str
    running: float | None = None
    waiting: float | None = None
    batches: int = 1


class ServerKey(NamedTuple):
    """A server as the operator thinks of it; its replicas on one host share the key."""

    namespace: str
    server: str


@dataclass(frozen=True, slots=True)
class ServerReading:
    """One endpoint of a server in one tick.

    `up` is false when it did not answer: the counters are then empty and nothing is known.
    `identity` changes when the process behind the endpoint is another one; empty where nothing tells.
    `started` is when that process started, where it can be told; `absent_at` is a moment at which it was
    looked for and was not there.
    `models` are the models it serves, loaded or not.
    `role` is its part of a disaggregated pair. `spans_hosts`: other hosts compute for it, too.
    `world_size` is on how many GPUs its engine says that it runs, on all hosts together (TP x PP x DP).
    `division`: a gateway tells for whom it worked.
    """

    key: ServerKey
    url: str
    up: bool
    engine: str = ""
    engine_version: str = ""
    pod: str = ""
    identity: str = ""
    started: Instant | None = None
    absent_at: Instant | None = None
    counters: Sequence[CounterReading] = ()
    loads: tuple[LoadReading, ...] = ()
    models: tuple[str, ...] = ()
    role: Role = ""
    spans_hosts: bool = False
    world_size: int | None = None
    division: Division | None = None


@dataclass(frozen=True, slots=True)
class Holder:
    """One server holding one GPU, or one MIG instance of it where `instance` names one (`MIG-...`).

    `share_ratio` is its configured part, `None` where none is configured.
    `sm_ratio` and `memory_bytes`: what its processes together were seen to use, `None` where nothing tells.
    """

    key: ServerKey
    uuid: str
    share_ratio: float | None = None
    instance: str = ""
    sm_ratio: float | None = None
    memory_bytes: int | None = None


class PodOwnership(NamedTuple):
    """Who pays for a server as the server's own labels say; empty strings where they do not."""

    key: ServerKey
    product: str = ""
    team: str = ""


@dataclass(frozen=True, slots=True)
class GatewayCounter:
    """One raw series of a gateway's page: tokens that it ever counted, for whom; empty words: not told.

    A model, deployment and team may have many, one for each key and user. `created` is when the series began,
    where the page tells.
    """

    series: str
    model: str
    deployment: str
    team: str
    quantity: Literal["prompt", "generation"]
    value: float
    created: Instant | None = None


@dataclass(frozen=True, slots=True)
class GatewayCount:
    """Tokens that a gateway counted for one model, deployment and team; empty words: not told.

    Prompts are counted whole, cached or not: what of them was cached only the engine knows.
    """

    model: str
    deployment: str
    team: str
    prompt: float
    generation: float


@dataclass(frozen=True, slots=True)
class GatewayReading:
    """One page of a gateway. `up` is false when it could not be read: nothing is known then.

    `title` is what people call such a gateway. `identity` changes with the process behind the page; empty
    where nothing tells.
    """

    url: str
    up: bool
    title: str = ""
    identity: str = ""
    started: Instant | None = None
    counters: tuple[GatewayCounter, ...] = ()
