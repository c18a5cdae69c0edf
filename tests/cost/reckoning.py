"""The cost model told a second time, in rationals and without care for speed: what each party is due.

It follows the written contract and shares no arithmetic with the code. Time-based components only.
"""

from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

from tests.cost.bench import HOUR, SECOND, moment
from tests.cost.worlds import NETWORK, RENT, RENT_LATER, STAFF, STORAGE, Happening, World

MONTHS = {
    "2026-11": (moment("2026-11-01T00:00:00+00:00"), 720),
    "2026-12": (moment("2026-12-01T00:00:00+00:00"), 744),
}
YEAR = 8766
HALF_LIFE = 900


def hourly(world: World, number: int, at: int) -> dict[str, Fraction]:
    """Dollars per hour of a GPU by component at an instant, time-based."""
    hours = 744 if at >= MONTHS["2026-12"][0] else 720
    reported = {
        "network": Fraction(NETWORK) / world.gpus,
        "storage": Fraction(STORAGE) / hours,
        "staff": Fraction(STAFF) / YEAR / world.gpus,
    }
    if number == 0:
        # 280,000 x 1.15 - 28,000 = 294,000 dollars over 3 years for 8; support 28,000 a year for 8
        reported["amortization"] = Fraction(294_000, 3 * YEAR * 8)
        reported["support"] = Fraction(28_000, YEAR * 8)
    else:
        reported["rent"] = Fraction(RENT if at < world.dated else RENT_LATER)
    return reported


def accrued(world: World, number: int, start: int, end: int) -> dict[str, Fraction]:
    """Picodollars that a GPU accrues by component."""
    cuts = sorted({start, end, *(cut for cut in (world.dated, MONTHS["2026-12"][0]) if start < cut < end)})
    total: defaultdict[str, Fraction] = defaultdict(Fraction)
    for since, until in pairwise(cuts):
        for component, rate in hourly(world, number, since).items():
            total[component] += rate * 10**12 * (until - since) / HOUR
    return dict(total)


def held(world: World, number: int) -> dict[str, Fraction]:
    """Parts of a GPU by server."""
    reported = {h.key.server: h.share_ratio for h in world.holders if h.uuid == f"GPU-{number}"}
    if not reported:
        return {"unallocated": Fraction(1)}
    if len(reported) == 1:
        return dict.fromkeys(reported, Fraction(1))
    expected = sum((Fraction(str(ratio)) for ratio in reported.values() if ratio is not None), Fraction(0))
    others = [name for name, ratio in reported.items() if ratio is None]
    parts = {
        name: Fraction(str(ratio)) if ratio is not None else max(Fraction(0), 1 - expected) / len(others)
        for name, ratio in reported.items()
    }
    whole = sum(parts.values())
    return {name: part / whole if whole else Fraction(1, len(parts)) for name, part in parts.items()}


class Reckoning:
    """Walks a story and says what each (GPU, component, server, phase) is due, in picodollars."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.due: defaultdict[tuple[str, str, str, str], Fraction] = defaultdict(Fraction)
        self.seconds: defaultdict[tuple[str, str, str], Fraction] = defaultdict(Fraction)
        self.past: dict[str, list[tuple[int, Fraction, Fraction]]] = defaultdict(list)
        self.lost: defaultdict[int, bool] = defaultdict(bool)
        now = world.start
        for happens in world.story:
            now += happens.duration
            self._tick(happens, now - happens.duration, now)

    def _tick(self, happens: Happening, start: int, end: int) -> None:
        for number, reported in happens.servers.items():
            if reported is not None:
                weights = Fraction(reported[0]) + Fraction(reported[1], 10), Fraction(3 * reported[2])
                self.past[f"s{number}"].append((end, *weights))
        for number in range(self.world.gpus):
            if not happens.silent:
                self.lost[number] = happens.gpus[number] is None
            money = accrued(self.world, number, start, end)
            for server, part in held(self.world, number).items():
                for phase, share in self._phases(happens, number, server, end):
                    self.seconds[f"GPU-{number}", server, phase] += part * share * (end - start)
                    for component, amount in money.items():
                        self.due[f"GPU-{number}", component, server, phase] += amount * part * share

    def _phases(
        self, happens: Happening, number: int, server: str, end: int
    ) -> Iterator[tuple[str, Fraction]]:
        busy = self._busy(happens, number, server)
        if busy is None:
            yield "unobserved", Fraction(1)
            return
        yield "idle", 1 - busy
        prefill = self._prefill(server, end)
        if prefill is None:
            yield "other", busy
        else:
            yield "prefill", busy * prefill
            yield "decode", busy * (1 - prefill)

    def _busy(self, happens: Happening, number: int, server: str) -> Fraction | None:
        if happens.duration > 60 * SECOND:
            return None
        reported = happens.gpus[number]
        if self.lost[number]:
            return Fraction(0)
        if not happens.silent:
            moved = any(self._moved(happens, name) for name in held(self.world, number))
            if reported[0] is not None and (reported[0] > 0 or not moved):
                return Fraction(str(reported[0]))
        requested = self._told(happens, server)
        return None if requested is None else Fraction(int(requested[3] > 0))

    def _told(self, happens: Happening, server: str) -> Any:
        return None if server == "unallocated" else happens.servers.get(int(server[1:]))

    def _moved(self, happens: Happening, server: str) -> bool:
        reported = self._told(happens, server)
        return reported is not None and any(reported[:3])

    def _prefill(self, server: str, end: int) -> Fraction | None:
        past = self.past.get(server, [])
        if past and past[-1][0] == end and past[-1][1] + past[-1][2] > 0:
            return past[-1][1] / (past[-1][1] + past[-1][2])
        trail = [Fraction(2.0 ** (-(end - at) / SECOND / HALF_LIFE)) for at, _, _ in past]
        prefill = sum((age * row[1] for age, row in zip(trail, past, strict=True)), Fraction(0))
        decode = sum((age * row[2] for age, row in zip(trail, past, strict=True)), Fraction(0))
        return prefill / (prefill + decode) if prefill + decode else None
