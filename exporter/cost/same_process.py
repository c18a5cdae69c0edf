"""Pages of one process at two addresses, as behind a proxy that passes its page on. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from exporter.cost.counters import SAME_START, page_values
from exporter.cost.page_marks import Series, listen_apart
from exporter.readings import Quantity, ServerReading

SECONDS: Final[frozenset[Quantity]] = frozenset(
    {"prefill_seconds", "decode_seconds", "decode_request_seconds"}
)
"""Sums of seconds, which two processes that served alike do not have in common."""


class _StartSlot(NamedTuple):
    """What pages of one process have in common."""

    engine: str
    identity: str
    """Identity of the process; empty where its start is known."""
    number: int
    """Start of the process in units of `SAME_START`; 0 where it is unknown."""


def alike_pairs(readings: Iterable[ServerReading]) -> Iterator[tuple[ServerReading, ServerReading]]:
    """The pairs of pages of one engine whose processes started together, or have no start, in order."""
    by_start: dict[_StartSlot, list[ServerReading]] = {}
    for reading in readings:
        started = reading.started
        identity = reading.identity if started is None else ""
        number = 0 if started is None else started // SAME_START
        # Two starts that are equal but for `SAME_START` have a slot in common.
        slots = [_StartSlot(reading.engine, identity, slot) for slot in (number - 1, number)]
        for other in {other.url: other for slot in slots for other in by_start.get(slot, ())}.values():
            yield other, reading
        for slot in slots:
            by_start.setdefault(slot, []).append(reading)


def is_one_process(
    one: ServerReading, other: ServerReading, before: Mapping[str, Mapping[Series, float]]
) -> bool | None:
    """Whether two pages of a tick are of one process; `None` while one of them counted nothing.

    Their starts are equal, and so are the names of their series. All counts agree: each pair differs by no
    more than one of them moved since the last tick, of which `before` has the values by URL. One sum of
    seconds that is not 0 is among them. Two processes that were found to hold GPUs are never one.
    """
    if one.started is None or other.started is None:
        together = one.started == other.started and one.identity == other.identity
    else:
        together = abs(one.started - other.started) <= SAME_START
    if one.engine != other.engine or listen_apart(one.listener, other.listener) or not together:
        return False
    values = page_values(one)
    others = page_values(other)
    if values.keys() != others.keys():
        return False
    if not any(values.values()) or not any(others.values()):
        return None
    moved = _moved(one, values, before)
    others_moved = _moved(other, others, before)
    agree = all(
        abs(value - others[name]) <= max(moved[name], others_moved[name]) for name, value in values.items()
    )
    seconds = [counter.value for counter in one.counters if counter.quantity in SECONDS]
    return agree and any(seconds)


def _moved(
    reading: ServerReading, values: Mapping[Series, float], before: Mapping[str, Mapping[Series, float]]
) -> dict[Series, float]:
    """How far each series of a page moved since the last tick; 0 where that is unknown."""
    marks = before.get(reading.url, {})
    return {name: max(0.0, value - marks.get(name, value)) for name, value in values.items()}
