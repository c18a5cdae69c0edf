"""What is remembered of gateways and of what they divide, as JSON, and back."""

from collections.abc import Mapping
from typing import Any

from exporter.cost.state import DivisionState, GatewayState
from exporter.ledger.fields import array, integer, mapping, number, word
from exporter.readings import DividedBy, Division, endpoint_id


def gateway_record(state: GatewayState) -> dict[str, object]:
    """One gateway's marks."""
    return {
        "read": state.read,
        "identity": state.identity,
        "falls": state.falls,
        "marks": [(*asker, *values) for asker, values in state.marks.items()],
    }


def gateway_of(record: Mapping[str, Any]) -> GatewayState:
    """As they were."""
    marks: dict[tuple[str, str, str], tuple[float, float]] = {}
    for row in array(record.get("marks", [])):
        model, deployment, team, prompt, generation = array(row)
        marks[word(model), word(deployment), word(team)] = number(prompt), number(generation)
    return GatewayState(
        read=record.get("read", False) is True,
        identity=word(record.get("identity", "")),
        falls=integer(record.get("falls", 0)),
        marks=marks,
    )


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
