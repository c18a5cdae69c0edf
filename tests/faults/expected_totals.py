"""What the books of a host under faults must hold, reckoned from what was done to it and from nothing else.

No fault here stops the clock of a bill: the host is up all along, so each GPU costs its price from the first
tick to the last. Tokens are what the servers' pages told at reads that the daemon remembers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor
from typing import Final

from tests.faults.fault_plan import GPUS, SERVERS
from tests.faults.vllm_server import COUNTERS
from tests.kit.units import HOUR, SECOND

PICODOLLARS: Final = 10**12

RENT: Final = {**dict.fromkeys(range(4), Fraction("3.60")), **dict.fromkeys((4, 5), Fraction("2.99"))}
"""Dollars an hour of the rented GPUs, by number."""

AMORTIZATION: Final = Fraction(25_000) / (4 * 8766)
"""Dollars an hour of the two that are owned: 25,000 dollars in four years."""

JOULE: Final = Fraction("0.12") * Fraction("1.35") / 3_600_000
"""Dollars of a joule at 0.12 a kilowatt-hour and a PUE of 1.35."""

WATTS: Final = {6: 300, 7: 450}
"""What the owned ones draw."""

ALLOCATED: Final = {0: (0, 1), 1: (2,), 2: (3, 4), 3: (6,)}
"""GPUs of each server; 5 and 7 are nobody's."""

UTILIZATION: Final = {0: 100, 1: 37, 2: 50, 3: 12, 4: 81, 5: 0, 6: 62, 7: 0}
"""In percent."""


@dataclass
class Counted:
    """Tokens and requests that the daemon knows of: by server, process of it and quantity."""

    known: dict[tuple[int, int, str], int] = field(default_factory=dict)

    def copy(self) -> "Counted":
        return Counted(dict(self.known))

    def read(self, server: int, started: int, counters: Mapping[str, int]) -> None:
        """A page that was read."""
        for quantity, value in counters.items():
            self.known[server, started, quantity] = value

    def total(self, server: int, quantity: str) -> int:
        return sum(value for (who, _, what), value in self.known.items() if (who, what) == (server, quantity))


@dataclass
class ExpectedCounts:
    """What is known now, and what a killed daemon would know."""

    now: Counted = field(default_factory=Counted)
    committed: Counted = field(default_factory=Counted)
    watched: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(GPUS), 0))
    """Nanoseconds in which each GPU told how busy it was, for all that is known."""

    def idle(self, elapsed: int) -> dict[int | None, tuple[int, int]]:
        """Least and most nanoseconds that the GPUs of each server were idle; `None` is who held none."""
        bounds: dict[int | None, tuple[int, int]] = {}
        for gpu, watched in self.watched.items():
            holder = next((server for server, gpus in ALLOCATED.items() if gpu in gpus), None)
            least, most = bounds.get(holder, (0, 0))
            idle = watched * (100 - UTILIZATION[gpu]) // 100
            bounds[holder] = least + idle, most + idle + elapsed - watched
        return bounds

    def commits(self) -> None:
        self.committed = self.now.copy()

    def killed(self) -> None:
        self.now = self.committed.copy()


def money(elapsed: int) -> dict[tuple[int, str], int]:
    """Picodollars by GPU and component after so many nanoseconds."""
    hours = Fraction(elapsed, HOUR)
    costs = {(gpu, "rent"): price * hours for gpu, price in RENT.items()}
    for gpu, watts in WATTS.items():
        costs[gpu, "amortization"] = AMORTIZATION * hours
        costs[gpu, "energy"] = watts * Fraction(elapsed, SECOND) * JOULE
    return {key: floor(dollars * PICODOLLARS) for key, dollars in costs.items()}


def by_server(costs: Mapping[tuple[int, str], int]) -> dict[int | None, int]:
    """Picodollars by server; `None` is what nobody held."""
    holder = {gpu: server for server, gpus in ALLOCATED.items() for gpu in gpus}
    sums: dict[int | None, int] = {}
    for (gpu, _), picodollars in costs.items():
        server = holder.get(gpu)
        sums[server] = sums.get(server, 0) + picodollars
    return sums


def tokens(counted: Counted) -> dict[tuple[int, str], int]:
    """All quantities of all servers."""
    return {
        (server, quantity): counted.total(server, quantity)
        for server in range(SERVERS)
        for quantity in COUNTERS
    }


assert set(RENT) | set(WATTS) == set(range(GPUS))
