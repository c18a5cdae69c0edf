"""What each gateway's counts moved by since its last good read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from exporter.cost.deltas import FALLS_OF_A_RESTART, PageSeries
from exporter.cost.state import Asker, GatewayState, Marks
from exporter.readings import GatewayCount, GatewayCounter, GatewayReading
from exporter.units import LARGEST_COUNT, Instant

ASKERS_MAX: Final = 2000
"""Askers that are remembered of one gateway: twice what one page tells. Beyond it, those of the last page."""

Counts = dict[Asker, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class GatewayTick:
    """One good read of a gateway: what moved. `first`: it set marks only, and nothing is known of before.

    `implausible` series moved by more than any gateway counts, and were left out.
    """

    moved: tuple[GatewayCount, ...]
    first: bool = False
    implausible: int = 0


def advance(
    before: Mapping[str, GatewayState], readings: Iterable[GatewayReading], wall: Instant
) -> tuple[dict[str, GatewayState], dict[str, GatewayTick]]:
    """Advance the marks of every gateway that is configured.

    As `deltas.endpoint` has it, series by series before anything is added: a failed read leaves the marks,
    another identity is a restart and counts from zero, and so does a series whose fall lasts three reads;
    while one is younger, the page is suspect. A gateway not read before sets marks only.

    Returns:
        The marks, and the ticks of the gateways whose page counted, by URL.
    """
    states: dict[str, GatewayState] = {}
    ticks: dict[str, GatewayTick] = {}
    for reading in readings:
        known = before.get(reading.url, GatewayState())
        states[reading.url] = known
        if not reading.up:
            continue
        restarted = known.identity and reading.identity and known.identity != reading.identity
        page = PageSeries(Marks() if restarted else known.marks, reading.counters)
        if page.fell and known.falls + 1 < FALLS_OF_A_RESTART:
            states[reading.url] = replace(known, falls=known.falls + 1)
            continue
        found = page.compare(known.answered, wall, baseline=not known.read)
        counts = _sums(
            (counter, counter.value) for counter in reading.counters if counter.value <= LARGEST_COUNT
        )
        every = {**known.counts, **counts}
        states[reading.url] = GatewayState(
            read=True,
            identity=reading.identity or known.identity,
            marks=found.marks,
            answered=wall,
            counts=counts if len(every) > ASKERS_MAX else every,
        )
        moved = _sums(
            (counter, delta)
            for name, counter in zip(page.names, reading.counters, strict=True)
            if (delta := found.deltas.get(name))
        )
        rows = tuple(GatewayCount(*asker, *tokens) for asker, tokens in moved.items())
        ticks[reading.url] = GatewayTick(rows, first=not known.read, implausible=found.implausible)
    return states, ticks


def _sums(counters: Iterable[tuple[GatewayCounter, float]]) -> Counts:
    """Prompts and generated tokens by asker."""
    sums: Counts = {}
    for counter, value in counters:
        asker = counter.model, counter.deployment, counter.team
        prompt, generation = sums.get(asker, (0.0, 0.0))
        if counter.quantity == "prompt":
            sums[asker] = prompt + value, generation
        else:
            sums[asker] = prompt, generation + value
    return sums
