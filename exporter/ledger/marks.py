"""What the cost model remembers, as text per scope, and back.

A scope is one GPU, one endpoint or one server: what did not change is not written again, and a scope that
cannot be read costs nobody else's marks.
Fields that are missing take their defaults and unknown ones are ignored, so that releases may differ.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from exporter.cost.money import WHOLE
from exporter.cost.state import (
    Carry,
    EndpointState,
    GatewayState,
    GpuState,
    ModelState,
    ServerState,
    State,
)
from exporter.ledger.division_marks import (
    division_of,
    division_record,
    gateway_of,
    gateway_record,
    trail_of,
    trail_record,
)
from exporter.ledger.fields import array, integer, mapping, maybe, number, word
from exporter.readings import Gpu, Holder, Owned, Role, ServerKey, endpoint_id, masked

Scope = tuple[str, str]
"""What a text is about: `gpu` and its UUID, `endpoint` or `gateway` and its URL, `server` or `owner` and its
key; `clock` alone."""

CLOCK: Final = ("clock", "")

SCOPES: Final = ("gpu", "endpoint", "gateway", "server", "owner", "clock")
"""The scopes that this release knows; those of a later one are neither read nor written."""

_MODEL_NUMBERS: Final = (
    "prefill_seconds",
    "decode_seconds",
    "prefill_request_seconds",
    "decode_request_seconds",
    "running_sum",
    "running_time",
    "weighted_prefill",
    "weighted_decode",
)


def texts(state: State) -> dict[Scope, str]:
    """The state's scopes, in the order in which they came; what has none is not in them."""
    found = {("gpu", uuid): _text(_gpu_record(gpu)) for uuid, gpu in state.gpus.items()}
    found |= {("endpoint", url): _text(_endpoint_record(seen)) for url, seen in state.endpoints.items()}
    found |= {("gateway", url): _text(gateway_record(seen)) for url, seen in state.gateways.items()}
    found |= {("server", _text(_key(key))): _text(_server_record(s)) for key, s in state.servers.items()}
    found |= {("owner", _text(_key(key))): _text(list(owned[1:])) for key, owned in state.owners.items()}
    if state.elapsed is not None:
        found[CLOCK] = _text(_clock_record(state))
    return found


def state(rows: Iterable[tuple[str, str, str]]) -> tuple[State, tuple[str, ...]]:
    """The state from rows of (scope, key, text), and a sentence about each row that was dropped."""
    gpus: dict[str, GpuState] = {}
    endpoints: dict[str, EndpointState] = {}
    gateways: dict[str, GatewayState] = {}
    servers: dict[ServerKey, ServerState] = {}
    owners: dict[ServerKey, Owned] = {}
    clock = State()
    dropped = []
    for scope, key, text in rows:
        if scope not in SCOPES:
            continue
        try:
            if scope == "owner":
                owned = _owned(json.loads(key), json.loads(text))
                owners[owned.key] = owned
                continue
            record = mapping(json.loads(text))
            if scope == "gpu":
                gpus[key] = _gpu(record)
            elif scope == "endpoint":
                endpoints[endpoint_id(key)] = _endpoint(record)
            elif scope == "gateway":
                gateways[endpoint_id(key)] = gateway_of(record)
            elif scope == "clock":
                clock = _clock(record)
            else:
                servers[_server_key(json.loads(key))] = _server(record)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            shown = masked(key) if scope in {"endpoint", "gateway"} else key
            dropped.append(f"what was remembered of {scope} {shown} cannot be read and was dropped: {why}")
    told = replace(clock, gpus=gpus, endpoints=endpoints, gateways=gateways, servers=servers, owners=owners)
    return told, tuple(dropped)


def settled(state: State) -> State:
    """The state without what rounding owes anybody, as it comes back from its texts."""
    gpus = {uuid: replace(gpu, owed={}) for uuid, gpu in state.gpus.items()}
    servers = {
        key: replace(server, models={name: _settled(model) for name, model in server.models.items()})
        for key, server in state.servers.items()
    }
    return replace(state, gpus=gpus, servers=servers)


def _settled(model: ModelState) -> ModelState:
    if not model.division.owed:
        return model
    return replace(model, division=replace(model.division, owed={}))


def _text(record: object) -> str:
    return json.dumps(record, separators=(",", ":"))


def _key(key: ServerKey) -> list[str]:
    return [key.namespace, key.server]


def _clock_record(state: State) -> dict[str, object]:
    return {
        "elapsed": state.elapsed,
        "awake": state.awake,
        "boot": state.boot,
        "uncharged": state.uncharged,
    }


def _clock(record: Mapping[str, Any]) -> State:
    return State(
        elapsed=integer(record["elapsed"]),
        awake=maybe(integer, record.get("awake")),
        boot=word(record.get("boot", "")),
        uncharged=integer(record.get("uncharged", 0)),
    )


def _gpu_record(state: GpuState) -> dict[str, object]:
    return {
        "uuid": state.gpu.uuid,
        "gpu_model": state.gpu.gpu_model,
        "index": state.index,
        "up": state.up,
        "energy_mark": state.energy_mark,
        "energy_age": state.energy_age,
        "falls": state.falls,
        "power_carry": state.power_carry,
        "idle_watts": state.idle_watts,
        "recent": state.recent,
        "carries": {name: (carry.numerator, carry.period) for name, carry in state.carries.items()},
        "holders": [(*_key(holder.key), holder.uuid, holder.share_ratio) for holder in state.holders],
        # Beside the holders, one by one: an earlier release takes those for four values each.
        "held": [(holder.instance, holder.sm_ratio, holder.memory_bytes) for holder in state.holders],
        "slices": None if state.slices is None else dict(state.slices),
    }


def _gpu(record: Mapping[str, Any]) -> GpuState:
    return GpuState(
        gpu=Gpu(word(record["uuid"]), word(record["gpu_model"])),
        index=integer(record["index"]),
        up=record.get("up", True) is True,
        energy_mark=maybe(integer, record.get("energy_mark")),
        energy_age=integer(record.get("energy_age", 0)),
        falls=integer(record.get("falls", 0)),
        power_carry=integer(record.get("power_carry", 0)),
        idle_watts=maybe(number, record.get("idle_watts")),
        recent=tuple((integer(length), integer(used)) for length, used in array(record.get("recent", []))),
        carries={name: _carry(carry) for name, carry in mapping(record.get("carries", {})).items()},
        holders=tuple(_holders(record)),
        slices=maybe(_slices, record.get("slices")),
    )


def _holders(record: Mapping[str, Any]) -> Iterator[Holder]:
    holders = array(record.get("holders", []))
    held = array(record.get("held", [("", None, None)] * len(holders)))
    for (namespace, server, uuid, share), (instance, ratio, memory) in zip(holders, held, strict=True):
        yield Holder(
            _server_key([namespace, server]),
            word(uuid),
            maybe(number, share),
            word(instance),
            maybe(number, ratio),
            maybe(integer, memory),
        )


def _slices(parts: object) -> dict[str, int]:
    found = {uuid: integer(part) for uuid, part in mapping(parts).items()}
    if any(part < 0 for part in found.values()) or sum(found.values()) > WHOLE:
        raise ValueError(f"instances of {sum(found.values())} parts of {WHOLE}")
    return found


def _carry(pair: object) -> Carry:
    numerator, period = map(integer, array(pair))
    if not 0 <= numerator < period:
        raise ValueError(f"a carry of {numerator}/{period}")
    return Carry(numerator, period)


def _endpoint_record(state: EndpointState) -> dict[str, object]:
    return {
        "key": _key(state.key),
        "watched_since": state.watched_since,
        "read": state.read,
        "identity": state.identity,
        "falls": state.falls,
        "marks": dict(state.marks),
        "answered": state.answered,
        "youngest": state.youngest,
    }


def _endpoint(record: Mapping[str, Any]) -> EndpointState:
    return EndpointState(
        key=_server_key(record["key"]),
        watched_since=integer(record["watched_since"]),
        read=record.get("read", False) is True,
        identity=word(record.get("identity", "")),
        falls=integer(record.get("falls", 0)),
        marks={series: number(mark) for series, mark in mapping(record.get("marks", {})).items()},
        answered=integer(record.get("answered", 0)),
        youngest=integer(record.get("youngest", 0)),
    )


def _server_record(state: ServerState) -> dict[str, object]:
    return {
        "models": {model: _model_record(told) for model, told in state.models.items()},
        "served": state.served,
        "partial": state.partial,
        "role": state.role,
        "division": None if state.division is None else division_record(state.division),
    }


def _server(record: Mapping[str, Any]) -> ServerState:
    models = mapping(record.get("models", {}))
    return ServerState(
        {model: _model(mapping(told)) for model, told in models.items()},
        tuple(word(model) for model in array(record.get("served", []))),
        record.get("partial", False) is True,
        _role(record.get("role", "")),
        maybe(division_of, record.get("division")),
    )


def _model_record(state: ModelState) -> dict[str, object]:
    numbers: dict[str, object] = {name: getattr(state, name) for name in _MODEL_NUMBERS}
    since = {"since_finished": state.since_finished, "since_computed": state.since_computed}
    return {**numbers, **since, "debt": dict(state.debt), "division": trail_record(state.division)}


def _model(record: Mapping[str, Any]) -> ModelState:
    return ModelState(
        **{name: number(record.get(name, 0.0)) for name in _MODEL_NUMBERS},
        since_finished=maybe(integer, record.get("since_finished")),
        since_computed=maybe(integer, record.get("since_computed")),
        debt={kind: integer(count) for kind, count in mapping(record.get("debt", {})).items()},
        division=trail_of(mapping(record.get("division", {}))),
    )


def _server_key(pair: object) -> ServerKey:
    namespace, server = array(pair)
    return ServerKey(word(namespace), word(server))


def _owned(key: object, pair: object) -> Owned:
    product, team = array(pair)
    return Owned(_server_key(key), word(product), word(team))


def _role(value: object) -> Role:
    match value:
        case "" | "prefill" | "decode":
            return value
    raise TypeError(f"{value!r} is no role")
