"""State of the cost model as one text per scope.

A scope is one GPU, one endpoint or one server. Unchanged scopes are not written again, and one that cannot be
read does not affect the others.
Missing fields take their defaults and unknown ones are ignored, so that releases may differ.
"""

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from ipaddress import ip_address
from operator import attrgetter
from typing import Any, Final, TypeVar

from exporter.cost.money import WHOLE
from exporter.cost.page_marks import MARKS_MAX, Candidate, PageMarks
from exporter.cost.state import (
    Carry,
    DivisionState,
    EndpointState,
    GatewayState,
    GpuState,
    ModelState,
    ServerState,
    State,
)
from exporter.ledger.json_values import (
    array,
    count,
    integer,
    mapping,
    number,
    numbers,
    optional,
    string,
)
from exporter.ledger.recent_texts import RecentTexts, text_of
from exporter.readings import (
    UNSEEN,
    DividedBy,
    Division,
    Gpu,
    Holder,
    Peer,
    PodOwnership,
    Role,
    SeriesColumns,
    ServerKey,
    endpoint_id,
    masked,
)

T = TypeVar("T")

Record = dict[str, object]

Scope = tuple[str, str]
"""Subject of a text: `gpu` and its UUID, `unseen` and a model, `endpoint` or `gateway` and its URL,
`server` or `owner` and its key; `clock` and `inventory` alone."""

CLOCK: Final = ("clock", "")

INVENTORY: Final = ("inventory", "")

SCOPES: Final = ("gpu", "endpoint", "gateway", "server", "owner", "clock", "unseen", "inventory")
"""Scopes of this release. Those of a later one are neither read nor written."""

COLUMNS_CHARACTERS_MAX: Final = 22 * MARKS_MAX
"""Longest text of the marks of a page: each is 16 bytes, 21.4 characters of base64."""


def texts(state: State, recent: RecentTexts | None = None) -> dict[Scope, str]:
    """Texts of the state's scopes, in the order in which these came.

    Args:
        state: the state.
        recent: made the texts of the states before; by default there were none.
    """
    recent_texts = (recent or RecentTexts()).of({uuid: gpu.recent for uuid, gpu in state.gpus.items()})
    scopes = {
        ("gpu", uuid): _gpu_text(gpu, recent_text)
        for (uuid, gpu), recent_text in zip(state.gpus.items(), recent_texts, strict=True)
    }
    for url, endpoint in state.endpoints.items():
        scopes["endpoint", url] = _json(_endpoint_record(endpoint))
    for url, gateway in state.gateways.items():
        scopes["gateway", url] = _json(_gateway_record(gateway))
    scopes |= {("server", _key_text(key)): _json(_server_record(s)) for key, s in state.servers.items()}
    scopes |= {("owner", _key_text(key)): _json(list(owned[1:])) for key, owned in state.owners.items()}
    scopes |= {("unseen", model): _gpu_text(gpu, text_of(gpu.recent)) for model, gpu in state.unseen.items()}
    if state.elapsed is not None:
        scopes[CLOCK] = _json(_clock_record(state))
    if state.gpus or state.replaced or state.retired or state.former:
        scopes[INVENTORY] = _json(_inventory_record(state))
    return scopes


def state_of(rows: Iterable[tuple[str, str, str]]) -> tuple[State, tuple[str, ...]]:
    """The state from rows of (scope, key, text), and a sentence about each row that was dropped."""
    gpus: dict[str, GpuState] = {}
    unseen: dict[str, GpuState] = {}
    endpoints: dict[str, EndpointState] = {}
    gateways: dict[str, GatewayState] = {}
    servers: dict[ServerKey, ServerState] = {}
    owners: dict[ServerKey, PodOwnership] = {}
    clock, inventory = State(), State()
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
                gateways[endpoint_id(key)] = _gateway(record)
            elif scope == "unseen":
                unseen[key] = replace(_gpu(record), gpu=Gpu(UNSEEN, key), index=-1, up=False)
            elif scope == "clock":
                clock = _clock(record)
            elif scope == "inventory":
                inventory = _inventory(record)
            else:
                servers[_server_key(json.loads(key))] = _server(record)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            shown = masked(key) if scope in {"endpoint", "gateway"} else key
            dropped.append(f"what was remembered of {scope} {shown} cannot be read and was dropped: {why}")
    state = replace(
        clock,
        gpus=gpus,
        endpoints=endpoints,
        gateways=gateways,
        servers=servers,
        owners=owners,
        unseen=unseen,
        listed_in=inventory.listed_in,
        replaced=inventory.replaced,
        retired=inventory.retired,
        former=inventory.former,
    )
    return state, tuple(dropped)


def without_rounding(state: State) -> State:
    """The state without rounding carries, as it is read back from its texts."""
    gpus = {uuid: replace(gpu, rounding={}) for uuid, gpu in state.gpus.items()}
    unseen = {model: replace(gpu, rounding={}) for model, gpu in state.unseen.items()}
    servers = {
        key: replace(
            server, models={name: _model_without_rounding(model) for name, model in server.models.items()}
        )
        for key, server in state.servers.items()
    }
    return replace(state, gpus=gpus, unseen=unseen, servers=servers)


def _model_without_rounding(model: ModelState) -> ModelState:
    if not model.division.rounding:
        return model
    return replace(model, division=replace(model.division, rounding={}))


_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False)
"""Records have no cycles: looking for them is a tenth of the time."""


def _json(record: object) -> str:
    return _ENCODER.encode(record)


def _written(**fields: object) -> Record:
    """The fields that are not zero, false or empty, of those of which that is the default.

    A tick writes the record of each GPU and server, and most of these have little but defaults.
    """
    return {name: value for name, value in fields.items() if value}


def _key(key: ServerKey) -> list[str]:
    return [key.namespace, key.server]


@lru_cache(maxsize=1024)
def _key_text(key: ServerKey) -> str:
    return _json(_key(key))


def _clock_record(state: State) -> Record:
    return {
        "elapsed": state.elapsed,
        "awake": state.awake,
        "boot": state.boot,
        "uncharged": state.uncharged,
    }


def _clock(record: Mapping[str, Any]) -> State:
    return State(
        elapsed=integer(record["elapsed"]),
        awake=optional(integer, record.get("awake")),
        boot=string(record.get("boot", "")),
        uncharged=integer(record.get("uncharged", 0)),
    )


def _inventory_record(state: State) -> Record:
    record: Record = {"listed_in": state.listed_in, "replaced": state.replaced, "retired": state.retired}
    return {**record, "former": dict(state.former)} if state.former else record


def _inventory(record: Mapping[str, Any]) -> State:
    return State(
        listed_in=string(record.get("listed_in", "")),
        replaced=count(record.get("replaced", 0)),
        retired=tuple(string(uuid) for uuid in array(record.get("retired", []))),
        former={uuid: _gpu_identity(gpu) for uuid, gpu in mapping(record.get("former", {})).items()},
    )


def _gpu_text(state: GpuState, recent: str) -> str:
    # Quotes inside the values before it are escaped: the first such name is the record's own.
    return _json(_gpu_record(state)).replace('"recent":[]', f'"recent":{recent}', 1)


def _gpu_record(state: GpuState) -> Record:
    """Record of a GPU without its `recent` ticks."""
    record: Record = {
        "uuid": state.gpu.uuid,
        "gpu_model": state.gpu.gpu_model,
        "index": state.index,
        "up": state.up,
        "energy_mark": state.energy_mark,
        "idle_watts": state.idle_watts,
        "recent": (),
        "carries": {name: (carry.numerator, carry.period) for name, carry in state.carries.items()},
        "holders": [(*_key(holder.key), holder.uuid, holder.share_ratio) for holder in state.holders],
        "pci_bus_id": state.pci_bus_id,
        "memory_bytes": state.memory_bytes,
    }
    # Apart from the holders: an earlier release reads four values of each of those.
    measured = [(holder.instance, holder.sm_ratio, holder.memory_bytes) for holder in state.holders]
    if any(values != _UNMEASURED for values in measured):
        record["held"] = measured
    if state.slices is not None:
        record["slices"] = dict(state.slices)
    if state.count != 1:
        record["count"] = state.count
    return record | _written(
        energy_age=state.energy_age,
        falls=state.falls,
        power_carry=state.power_carry,
        boots_missed=state.boots_missed,
        predecessor=state.predecessor,
        replaced_at=state.replaced_at,
        priced_as=state.priced_as,
    )


_UNMEASURED: Final = ("", None, None)
"""What is measured of most holders."""


def _gpu(record: Mapping[str, Any]) -> GpuState:
    return GpuState(
        gpu=Gpu(string(record["uuid"]), string(record["gpu_model"])),
        index=integer(record["index"]),
        up=record.get("up", True) is True,
        energy_mark=optional(integer, record.get("energy_mark")),
        energy_age=integer(record.get("energy_age", 0)),
        falls=integer(record.get("falls", 0)),
        power_carry=integer(record.get("power_carry", 0)),
        idle_watts=optional(number, record.get("idle_watts")),
        recent=tuple((integer(length), integer(used)) for length, used in array(record.get("recent", []))),
        carries={name: _carry(carry) for name, carry in mapping(record.get("carries", {})).items()},
        holders=tuple(_holders(record)),
        slices=optional(_slices, record.get("slices")),
        pci_bus_id=string(record.get("pci_bus_id", "")),
        boots_missed=count(record.get("boots_missed", 0)),
        predecessor=string(record.get("predecessor", "")),
        replaced_at=integer(record.get("replaced_at", 0)),
        priced_as=optional(_gpu_identity, record.get("priced_as")),
        count=count(record.get("count", 1), 1),
        memory_bytes=optional(integer, record.get("memory_bytes")),
    )


def _gpu_identity(pair: object) -> Gpu:
    uuid, gpu_model = array(pair)
    return Gpu(string(uuid), string(gpu_model))


def _holders(record: Mapping[str, Any]) -> Iterator[Holder]:
    holders = array(record.get("holders", []))
    measured = array(record.get("held", [_UNMEASURED] * len(holders)))
    for (namespace, server, uuid, share), (instance, ratio, memory) in zip(holders, measured, strict=True):
        yield Holder(
            _server_key([namespace, server]),
            string(uuid),
            optional(number, share),
            string(instance),
            optional(number, ratio),
            optional(integer, memory),
        )


def _slices(parts: object) -> dict[str, int]:
    slices = {uuid: integer(part) for uuid, part in mapping(parts).items()}
    if any(part < 0 for part in slices.values()) or sum(slices.values()) > WHOLE:
        raise ValueError(f"instances of {sum(slices.values())} parts of {WHOLE}")
    return slices


def _carry(pair: object) -> Carry:
    numerator, period = map(integer, array(pair))
    if not 0 <= numerator < period:
        raise ValueError(f"a carry of {numerator}/{period}")
    return Carry(numerator, period)


def _server_record(state: ServerState) -> Record:
    plain = "served", "partial", "role", "principal", "absent_since"
    return _written(
        models={name: _model_record(model) for name, model in state.models.items()},
        division=None if state.division is None else _division_record(state.division),
        **{name: getattr(state, name) for name in plain},
    )


def _server(record: Mapping[str, Any]) -> ServerState:
    return ServerState(
        {name: _model(mapping(model)) for name, model in mapping(record.get("models", {})).items()},
        tuple(string(model) for model in array(record.get("served", []))),
        record.get("partial", False) is True,
        _role(record.get("role", "")),
        optional(_division, record.get("division")),
        string(record.get("principal", "")),
        optional(integer, record.get("absent_since")),
    )


def _model_record(state: ModelState) -> Record:
    record: Record = {
        name: total for name, total in zip(_MODEL_NUMBERS, _numbers_of(state), strict=True) if total
    }
    if state.since_finished is not None:
        record["since_finished"] = state.since_finished
    if state.since_computed is not None:
        record["since_computed"] = state.since_computed
    if state.pending_subtraction:
        record["debt"] = dict(state.pending_subtraction)
    if state.division.trailing or state.division.pending:
        record["division"] = _trail_record(state.division)
    return record


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
_numbers_of: Final = attrgetter(*_MODEL_NUMBERS)


def _model(record: Mapping[str, Any]) -> ModelState:
    return ModelState(
        **{name: number(record.get(name, 0.0)) for name in _MODEL_NUMBERS},
        since_finished=optional(integer, record.get("since_finished")),
        since_computed=optional(integer, record.get("since_computed")),
        pending_subtraction={kind: integer(count) for kind, count in mapping(record.get("debt", {})).items()},
        division=_trail(mapping(record.get("division", {}))),
    )


def _division_record(division: Division) -> Record:
    """Record of a server's division."""
    return {
        "by": division.by,
        "gateway": division.gateway,
        "models": division.models,
        "deployments": division.deployments,
        **({"cached": True} if division.cached else {}),
    }


def _division(value: object) -> Division:
    """The division of a record."""
    record = mapping(value)
    return Division(
        _by(record["by"]),
        endpoint_id(string(record["gateway"])),
        tuple(string(pattern) for pattern in array(record.get("models", []))),
        tuple(string(deployment) for deployment in array(record.get("deployments", []))),
        record.get("cached", False) is True,
    )


def _by(value: object) -> DividedBy:
    match value:
        case "team" | "adapter":
            return value
    raise TypeError(f"{value!r} is nothing to divide by")


def _trail_record(state: DivisionState) -> Record:
    """Record of the sums that divide one model."""
    return {"trailing": dict(state.trailing), "pending": dict(state.pending), "since": state.since}


def _trail(record: Mapping[str, Any]) -> DivisionState:
    """The sums of a record."""
    return DivisionState(
        trailing=numbers(record.get("trailing", {})),
        pending=numbers(record.get("pending", {})),
        since=integer(record.get("since", 0)),
    )


def _owned(key: object, pair: object) -> PodOwnership:
    product, team = array(pair)
    return PodOwnership(_server_key(key), string(product), string(team))


def _role(value: object) -> Role:
    match value:
        case "" | "prefill" | "decode":
            return value
    raise TypeError(f"{value!r} is no role")


def _server_key(pair: object) -> ServerKey:
    namespace, server = array(pair)
    return ServerKey(string(namespace), string(server))


def _endpoint_record(state: EndpointState) -> Record:
    record: Record = {
        "key": _key(state.key),
        "watched_since": state.watched_since,
        "marks": _page_record(state.marks),
    }
    peer = None if state.peer is None else list(state.peer)
    if state.own is not None:
        record["own"] = _page_record(state.own)
    return record | _written(
        requested=dict(state.requested), engine=state.engine, peer=peer, counted_at=state.counted_at
    )


def _endpoint(record: Mapping[str, Any]) -> EndpointState:
    requested = mapping(record.get("requested", {}))
    return EndpointState(
        key=_server_key(record["key"]),
        watched_since=integer(record["watched_since"]),
        marks=_page(record["marks"]),
        requested={objective: integer(since) for objective, since in requested.items()},
        engine=string(record.get("engine", "")),
        peer=optional(_peer, record.get("peer")),
        counted_at=string(record.get("counted_at", "")),
        own=optional(_page, record.get("own")),
    )


def _peer(value: object) -> Peer:
    host, port, local = array(value)
    return Peer(str(ip_address(string(host))), count(port), local is True)


def _gateway_record(state: GatewayState) -> Record:
    counts = [(*consumer, *values) for consumer, values in state.counts.items()]
    return {"marks": _page_record(state.marks), **_written(counts=counts, selection=state.selection)}


def _gateway(record: Mapping[str, Any]) -> GatewayState:
    counts: dict[tuple[str, str, str], tuple[float, float]] = {}
    for row in array(record.get("counts", [])):
        model, deployment, team, prompt, generation = array(row)
        counts[string(model), string(deployment), string(team)] = (
            number(prompt),
            number(generation),
        )
    return GatewayState(_page(record["marks"]), counts, string(record.get("selection", "")))


def _page_record(marks: PageMarks) -> Record:
    """Record of the marks of one page. Each mark takes 16 bytes, 22 in base64."""
    candidate = marks.candidate
    return _written(
        read=marks.read,
        answered=marks.answered,
        values=_base64(marks.values),
        gone=_base64(marks.gone),
        dropped=marks.dropped,
        identity=marks.identity,
        started=marks.started,
        youngest=marks.youngest,
        former=marks.former,
        listener=marks.listener,
        largest=marks.largest,
        largest_at=marks.largest_at,
        candidate=None if candidate is None else _candidate_record(candidate),
        replaced=_base64(marks.replaced),
        returned_at=marks.returned_at,
        several_until=marks.several_until,
        clock_step=marks.clock_step,
    )


def _page(value: object) -> PageMarks:
    record = mapping(value)
    return PageMarks(
        read=record.get("read", False) is True,
        answered=integer(record.get("answered", 0)),
        values=_columns(record.get("values", "")),
        gone=_columns(record.get("gone", "")),
        dropped=record.get("dropped", False) is True,
        identity=string(record.get("identity", "")),
        started=optional(integer, record.get("started")),
        youngest=integer(record.get("youngest", 0)),
        former=tuple(string(identity) for identity in array(record.get("former", []))),
        listener=string(record.get("listener", "")),
        largest=number(record.get("largest", 0.0)),
        largest_at=integer(record.get("largest_at", 0)),
        candidate=optional(_candidate, record.get("candidate")),
        replaced=_columns(record.get("replaced", "")),
        returned_at=integer(record.get("returned_at", 0)),
        several_until=integer(record.get("several_until", 0)),
        clock_step=integer(record.get("clock_step", 0)),
    )


def _candidate_record(candidate: Candidate) -> Record:
    return _written(
        since=candidate.since,
        values=_base64(candidate.values),
        first=_base64(candidate.first),
        identity=candidate.identity,
        risen=candidate.risen,
        reads=candidate.reads,
    )


def _candidate(value: object) -> Candidate:
    record = mapping(value)
    return Candidate(
        since=integer(record.get("since", 0)),
        values=_columns(record.get("values", "")),
        first=_columns(record.get("first", "")),
        identity=string(record.get("identity", "")),
        risen=record.get("risen", False) is True,
        reads=count(record.get("reads", 0)),
    )


def _columns(value: object) -> SeriesColumns:
    text = string(value)
    if len(text) > COLUMNS_CHARACTERS_MAX:
        raise ValueError(f"marks of {len(text)} characters")
    columns = SeriesColumns.from_bytes(b64decode(text, validate=True))
    if not all(math.isfinite(mark) and mark >= 0 for mark in columns.by_digest().values()):
        raise ValueError("a mark is no count")
    return columns


def _base64(columns: SeriesColumns) -> str:
    return b64encode(columns.to_bytes()).decode("ascii")
