"""What gateways say of who asked for tokens, and what the configuration has it divide."""

from dataclasses import dataclass
from typing import Literal

from exporter.units import Instant

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
