"""What each gateway's counts moved by since its last good read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from exporter.cost.deltas import FALLS_OF_A_RESTART
from exporter.cost.state import Asker, GatewayState
from exporter.readings import GatewayCount, GatewayReading
from exporter.units import LARGEST_COUNT

MARKS_MAX: Final = 2000
"""Marks that are remembered of one gateway: twice what one page tells. Beyond it, those of the last page."""

Counts = Mapping[Asker, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class GatewayTick:
    """One good read of a gateway: what moved. `first`: it set marks only, and nothing is known of before."""

    moved: tuple[GatewayCount, ...]
    first: bool = False


def advance(
    before: Mapping[str, GatewayState], readings: Iterable[GatewayReading]
) -> tuple[dict[str, GatewayState], dict[str, GatewayTick]]:
    """Advance the marks of every gateway that is configured.

    As `deltas.endpoint` has it: a failed read leaves the marks, another identity is a restart and counts from
    zero, and so does a count whose fall lasts three reads; while one is younger, the page is suspect. A
    gateway not read before sets marks only.

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
        told = {
            (count.model, count.deployment, count.team): (count.prompt, count.generation)
            for count in reading.counts
            if max(count.prompt, count.generation) <= LARGEST_COUNT
        }
        marks = known.marks
        if known.identity and reading.identity and known.identity != reading.identity:
            marks = {}
        fell = {who for who, values in told.items() if _fell(values, marks.get(who, (0.0, 0.0)))}
        if fell and known.falls + 1 < FALLS_OF_A_RESTART:
            states[reading.url] = replace(known, falls=known.falls + 1)
            continue
        marks = {who: mark for who, mark in marks.items() if who not in fell}
        kept = {**marks, **told}
        states[reading.url] = GatewayState(
            read=True,
            identity=reading.identity or known.identity,
            marks=told if len(kept) > MARKS_MAX else kept,
        )
        moved = tuple(_since(told, marks)) if known.read else ()
        ticks[reading.url] = GatewayTick(moved, first=not known.read)
    return states, ticks


def _fell(values: tuple[float, float], mark: tuple[float, float]) -> bool:
    return values[0] < mark[0] or values[1] < mark[1]


def _since(told: Counts, marks: Counts) -> Iterable[GatewayCount]:
    for who, (prompt, generation) in told.items():
        before = marks.get(who, (0.0, 0.0))
        if (prompt, generation) != before:
            yield GatewayCount(*who, prompt - before[0], generation - before[1])
