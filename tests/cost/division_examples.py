"""Worked examples of a server that a gateway divides, run through the model."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Final

from exporter.cost.policy import OwnershipRule
from tests.cost.checked_meter import CheckedMeter
from tests.cost.gateway_readings import BY_TEAM, CounterPair, Divided, gateway_reading, served
from tests.cost.readings import BATCH, CHAT, allocate, cost_policy, h100, page, rent
from tests.kit.units import DOLLAR, HOUR


def hour(teams: dict[str, CounterPair]) -> Divided:
    """An hour at 4 dollars, in which 1,000,000 prompt and 300,000 generated tokens were served."""
    owner = OwnershipRule("chat", "platform")
    host = Divided(CheckedMeter(cost_policy(rent(4), ownership=(owner,), gap_after=2 * HOUR)))
    host.tick(served(prompt=0, generation=0), gateway_reading())
    host.tick(served(prompt=1_000_000, generation=300_000), gateway_reading(teams), seconds=3600)
    return host


BOTH: Final = {"Search": (500_000.0, 100_000.0), "Support": (200_000.0, 50_000.0)}


def gateway_teams() -> list[float]:
    """Search, Support and the owner."""
    host = hour(BOTH)
    return [host.dollars(team=team) / DOLLAR for team in ("Search", "Support", "platform")]


def gateway_tokens() -> list[float]:
    """What Search had generated."""
    return [hour(BOTH).tokens["Search", "llama", "generation"]]


def gateway_elsewhere() -> list[float]:
    """Search and Support; the owner has none."""
    host = hour({"Search": (1_200_000.0, 0.0), "Support": (800_000.0, 0.0)})
    assert host.dollars(team="platform") == 0
    return [host.dollars(team=team) / DOLLAR for team in ("Search", "Support")]


def gateway_several() -> list[float]:
    """What Search pays on two servers together, and the owner of the first."""
    owner = OwnershipRule("", "platform", server="chat")
    meter = CheckedMeter(cost_policy(rent(4), ownership=(owner,), gap_after=2 * HOUR))
    holders = (*allocate(CHAT, 0), *allocate(BATCH, 1))
    for first, second, counted, duration in ((0, 0, {}, 0), (1e6, 6e5, {"Search": (8e5, 0.0)}, HOUR)):
        servers = [replace(page(CHAT, prompt=first), division=BY_TEAM)]
        servers.append(replace(page(BATCH, prompt=second), division=BY_TEAM))
        meter.pass_by(duration, [h100(0), h100(1)], servers, holders, gateways=(gateway_reading(counted),))
    return [meter.dollars(team=team) / DOLLAR for team in ("Search", "platform")]


DIVISION_EXAMPLES: Final[dict[str, Callable[[], list[float] | list[Fraction]]]] = {
    "gateway-teams": gateway_teams,
    "gateway-tokens": gateway_tokens,
    "gateway-elsewhere": gateway_elsewhere,
    "gateway-several": gateway_several,
}
"""By the name that the page gives them."""
