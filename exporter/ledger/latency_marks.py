"""Marks of an endpoint's histograms in the ledger's texts."""

import math

from exporter.cost.state import LatencyMark, LatencyState
from exporter.ledger.json_values import array, count, integer, mapping, number, optional, string
from exporter.readings import OBJECTIVES, Objective


def latency_record(state: LatencyState) -> dict[str, object]:
    """Record of the marks of histograms. An infinite bound is `None`: JSON has no such number."""
    return {
        "since": state.since,
        "read": state.read,
        "identity": state.identity,
        "falls": state.falls,
        "answered": state.answered,
        "dropped": state.dropped,
        "objectives": state.objectives,
        "marks": {
            series: (
                None if math.isinf(mark.floor) else mark.floor,
                None if math.isinf(mark.ceiling) else mark.ceiling,
                mark.lower,
                mark.upper,
                mark.total,
                mark.gone,
            )
            for series, mark in state.marks.items()
        },
    }


def latency_of(value: object) -> LatencyState:
    """Histograms of a record. One that cannot be read is none: the next read only sets marks."""
    try:
        record = mapping(value)
        return LatencyState(
            since=integer(record["since"]),
            read=record["read"] is True,
            identity=string(record["identity"]),
            falls=count(record["falls"]),
            answered=integer(record["answered"]),
            dropped=record["dropped"] is True,
            objectives=_objectives(record.get("objectives", [])),
            marks={series: _latency_mark(mark) for series, mark in mapping(record["marks"]).items()},
        )
    except (ValueError, KeyError, TypeError):
        return LatencyState()


def _objectives(value: object) -> tuple[Objective, ...]:
    """Objectives of a record; without them the next read only sets marks."""
    names = array(value)
    return tuple(each for each in OBJECTIVES if each in names)


def _latency_mark(value: object) -> LatencyMark:
    floor, ceiling, lower, upper, total, gone = array(value)
    return LatencyMark(
        -math.inf if floor is None else number(floor),
        math.inf if ceiling is None else number(ceiling),
        number(lower),
        number(upper),
        number(total),
        optional(integer, gone),
    )
