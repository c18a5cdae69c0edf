"""A second cost model, in rationals and without care for speed: the amount that each owner is charged.

It follows the written contract and shares no arithmetic with the code. Time-based components only.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

from exporter.cost.postings import GpuUse, OwnerPhase, Postings, UnpricedTime
from tests.cost.host_strategies import NETWORK, RENT, RENT_LATER, STAFF, STORAGE, HostEvent, HostTimeline
from tests.cost.readings import moment
from tests.kit.units import HOUR, SECOND

MONTHS = {
    "2026-11": (moment("2026-11-01T00:00:00+00:00"), 720),
    "2026-12": (moment("2026-12-01T00:00:00+00:00"), 744),
}
YEAR = 8766
HALF_LIFE = 900


def hourly(timeline: HostTimeline, number: int, at: int) -> dict[str, Fraction]:
    """Dollars per hour of a GPU by component at an instant, time-based."""
    hours = 744 if at >= MONTHS["2026-12"][0] else 720
    rates = {
        "network": Fraction(NETWORK) / timeline.gpus,
        "storage": Fraction(STORAGE) / hours,
        "staff": Fraction(STAFF) / YEAR / timeline.gpus,
    }
    if number == 0:
        # 280,000 x 1.15 - 28,000 = 294,000 dollars over 3 years for 8; support 28,000 a year for 8
        rates["amortization"] = Fraction(294_000, 3 * YEAR * 8)
        rates["support"] = Fraction(28_000, YEAR * 8)
    else:
        rates["rent"] = Fraction(RENT if at < timeline.dated else RENT_LATER)
    return rates


def accrued(timeline: HostTimeline, number: int, start: int, end: int) -> dict[str, Fraction]:
    """Picodollars that a GPU accrues by component."""
    cuts = sorted({start, end, *(cut for cut in (timeline.dated, MONTHS["2026-12"][0]) if start < cut < end)})
    total: defaultdict[str, Fraction] = defaultdict(Fraction)
    for since, until in pairwise(cuts):
        for component, rate in hourly(timeline, number, since).items():
            total[component] += rate * 10**12 * (until - since) / HOUR
    return dict(total)


def shares(timeline: HostTimeline, number: int) -> dict[str, Fraction]:
    """Parts of a GPU by server."""
    ratios = {h.key.server: h.share_ratio for h in timeline.holders if h.uuid == f"GPU-{number}"}
    if not ratios:
        return {"unallocated": Fraction(1)}
    if len(ratios) == 1:
        return dict.fromkeys(ratios, Fraction(1))
    expected = sum((Fraction(str(ratio)) for ratio in ratios.values() if ratio is not None), Fraction(0))
    others = [name for name, ratio in ratios.items() if ratio is None]
    parts = {
        name: Fraction(str(ratio)) if ratio is not None else max(Fraction(0), 1 - expected) / len(others)
        for name, ratio in ratios.items()
    }
    whole = sum(parts.values())
    return {name: part / whole if whole else Fraction(1, len(parts)) for name, part in parts.items()}


class ExactModel:
    """Walks a story and says what each (GPU, component, server, phase) is due, in picodollars."""

    def __init__(self, timeline: HostTimeline) -> None:
        self.timeline = timeline
        self.due: defaultdict[tuple[str, str, str, str], Fraction] = defaultdict(Fraction)
        self.seconds: defaultdict[tuple[str, str, str], Fraction] = defaultdict(Fraction)
        self.past: dict[str, list[tuple[int, Fraction, Fraction]]] = defaultdict(list)
        self.lost: defaultdict[int, bool] = defaultdict(bool)
        now = timeline.start
        for event in timeline.events:
            now += event.duration
            self._tick(event, now - event.duration, now)

    def _tick(self, event: HostEvent, start: int, end: int) -> None:
        for number, counts in event.servers.items():
            if counts is not None:
                weights = Fraction(counts[0]) + Fraction(counts[1], 10), Fraction(3 * counts[2])
                self.past[f"s{number}"].append((end, *weights))
        for number in range(self.timeline.gpus):
            if not event.silent:
                self.lost[number] = event.gpus[number] is None
            money = accrued(self.timeline, number, start, end)
            for server, part in shares(self.timeline, number).items():
                for phase, share in self._phases(event, number, server, end):
                    self.seconds[f"GPU-{number}", server, phase] += part * share * (end - start)
                    for component, amount in money.items():
                        self.due[f"GPU-{number}", component, server, phase] += amount * part * share

    def _phases(self, event: HostEvent, number: int, server: str, end: int) -> Iterator[tuple[str, Fraction]]:
        busy = self._busy(event, number, server)
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

    def _busy(self, event: HostEvent, number: int, server: str) -> Fraction | None:
        if event.duration > 60 * SECOND:
            return None
        sample = event.gpus[number]
        if self.lost[number]:
            return Fraction(0)
        if not event.silent:
            moved = any(self._moved(event, name) for name in shares(self.timeline, number))
            if sample[0] is not None and (sample[0] > 0 or not moved):
                return Fraction(str(sample[0]))
        counts = self._counts(event, server)
        return None if counts is None else Fraction(int(counts[3] > 0))

    def _counts(self, event: HostEvent, server: str) -> Any:
        return None if server == "unallocated" else event.servers.get(int(server[1:]))

    def _moved(self, event: HostEvent, server: str) -> bool:
        counts = self._counts(event, server)
        return counts is not None and any(counts[:3])

    def _prefill(self, server: str, end: int) -> Fraction | None:
        past = self.past.get(server, [])
        if past and past[-1][0] == end and past[-1][1] + past[-1][2] > 0:
            return past[-1][1] / (past[-1][1] + past[-1][2])
        trail = [Fraction(2.0 ** (-(end - at) / SECOND / HALF_LIFE)) for at, _, _ in past]
        prefill = sum((age * row[1] for age, row in zip(trail, past, strict=True)), Fraction(0))
        decode = sum((age * row[2] for age, row in zip(trail, past, strict=True)), Fraction(0))
        return prefill / (prefill + decode) if prefill + decode else None


def by_hour(ticks: Iterable[Postings]) -> list[UnpricedTime]:
    """What these ticks left without a price: one stretch for each GPU and hour of a day."""
    times: dict[tuple[str, str, int], UnpricedTime] = {}
    for postings in ticks:
        for segment in postings.segments:
            for unpriced in segment.unpriced:
                key = (unpriced.gpu.uuid, unpriced.day, unpriced.start // HOUR)
                before = times.get(key)
                times[key] = unpriced if before is None else joined(before, unpriced)
    return list(times.values())


def joined(one: UnpricedTime, other: UnpricedTime) -> UnpricedTime:
    """Two stretches as one."""
    usage: dict[OwnerPhase, GpuUse] = dict(one.usage)
    for owner_phase, used in other.usage.items():
        had = usage.get(owner_phase, GpuUse(0, 0, 0))
        usage[owner_phase] = GpuUse(had.time + used.time, had.up + used.up, had.energy + used.energy)
    return replace(one, start=min(one.start, other.start), end=max(one.end, other.end), usage=usage)
