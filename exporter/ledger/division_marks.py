"""What is remembered of what gateways divide, as JSON, and back."""

from collections.abc import Mapping
from typing import Any

from exporter.cost.state import DivisionState
from exporter.ledger.fields import array, integer, mapping, number, word
from exporter.readings import DividedBy, Division, endpoint_id


def division_record(division: Division) -> dict[str, object]:
    """What a server is divided by."""
    return {
        "by": division.by,
        "gateway": division.gateway,
        "models": division.models,
        "deployments": division.deployments,
    }


def division_of(value: object) -> Division:
    """As it was."""
    record = mapping(value)
    return Division(
        _by(record["by"]),
        endpoint_id(word(record["gateway"])),
        tuple(word(pattern) for pattern in array(record.get("models", []))),
        tuple(word(deployment) for deployment in array(record.get("deployments", []))),
    )


def trail_record(state: DivisionState) -> dict[str, object]:
    """The sums that divide one model."""
    if not (state.trailing or state.pending):
        return {}
    return {"trailing": dict(state.trailing), "pending": dict(state.pending), "since": state.since}


def trail_of(record: Mapping[str, Any]) -> DivisionState:
    """As they were."""
    return DivisionState(
        trailing=_sums(record.get("trailing", {})),
        pending=_sums(record.get("pending", {})),
        since=integer(record.get("since", 0)),
    )


def _sums(value: object) -> dict[str, float]:
    return {name: number(weight) for name, weight in mapping(value).items()}


def _by(value: object) -> DividedBy:
    match value:
        case "team" | "adapter":
            return value
    raise TypeError(f"{value!r} is nothing to divide by")
