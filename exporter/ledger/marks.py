"""State of the cost model as one text per scope.

A scope is one GPU, one endpoint or one server. Unchanged scopes are not written again, and one that cannot be
read does not affect the others.
Missing fields take their defaults and unknown ones are ignored, so that releases may differ.
"""

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Final, TypeVar

from exporter.cost.counters import MARKS_MAX
from exporter.cost.inventory import UNSEEN
from exporter.cost.money import WHOLE
from exporter.cost.state import (
    Carry,
    CounterMarks,
    DivisionState,
    EndpointState,
    GatewayState,
    GpuState,
    ModelState,
    ServerState,
    State,
)
from exporter.readings import (
    DividedBy,
    Division,
    Gpu,
    Holder,
    PodOwnership,
    Role,
    SeriesColumns,
    ServerKey,
    endpoint_id,
    masked,
)

T = TypeVar("T")


def optional_field(read: Callable[[object], T], value: object) -> T | None:
    """A value that may be null."""
    return None if value is None else read(value)


def integer_field(value: object) -> int:
    """A whole number."""
    if type(value) is not int:
        raise TypeError(f"{value!r} is no integer")
    return value


def number_field(value: object) -> float:
    """A finite number."""
    if type(value) not in {int, float} or not math.isfinite(value):  # type: ignore[arg-type]
        raise TypeError(f"{value!r} is no number")
    return float(value)  # type: ignore[arg-type]


def text_field(value: object) -> str:
    """Text."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def array_field(value: object) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no array")
    return value


def mapping_field(value: object) -> dict[str, Any]:
    """A mapping."""
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is no object")
    return value


def division_record(division: Division) -> dict[str, object]:
    """Record of a server's division."""
    return {
        "by": division.by,
        "gateway": division.gateway,
        "models": division.models,
        "deployments": division.deployments,
    }


def division_of(value: object) -> Division:
    """The division of a record."""
    record = mapping_field(value)
    return Division(
        _by(record["by"]),
        endpoint_id(text_field(record["gateway"])),
        tuple(text_field(pattern) for pattern in array_field(record.get("models", []))),
        tuple(text_field(deployment) for deployment in array_field(record.get("deployments", []))),
    )


def trail_record(state: DivisionState) -> dict[str, object]:
    """Record of the sums that divide one model."""
    if not (state.trailing or state.pending):
        return {}
    return {"trailing": dict(state.trailing), "pending": dict(state.pending), "since": state.since}


def trail_of(record: Mapping[str, Any]) -> DivisionState:
    """The sums of a record."""
    return DivisionState(
        trailing=_sums(record.get("trailing", {})),
        pending=_sums(record.get("pending", {})),
        since=integer_field(record.get("since", 0)),
    )


def _sums(value: object) -> dict[str, float]:
    return {name: number_field(weight) for name, weight in mapping_field(value).items()}


def _by(value: object) -> DividedBy:
    match value:
        case "team" | "adapter":
            return value
    raise TypeError(f"{value!r} is nothing to divide by")


COLUMNS_CHARACTERS_MAX: Final = 48 * MARKS_MAX
"""Longest text of columns: each mark is 16 bytes twice, 43 characters of base64; and the frame."""

Record = dict[str, object]


def columns_record(marks: CounterMarks) -> Record | None:
    """The row of marks in columns; `None` for marks by name."""
    if not (isinstance(marks.values, SeriesColumns) and isinstance(marks.gone, SeriesColumns)):
        return None
    return {"values": _base64(marks.values), "gone": _base64(marks.gone)}


def columns_digest(text: str) -> str:
    """Digest by which the record of a page refers to the text of its columns.

    Columns are a row of their own, since they may hold thousands of marks; it is written only if one changed.
    A release without such rows leaves an old row next to a newer record: the digest then differs.
    """
    return blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


def endpoint_record(state: EndpointState, columns: str | None) -> Record:
    """Record of an endpoint's marks. `columns` is the text of their row, if they have one."""
    record: Record = {
        "key": [state.key.namespace, state.key.server],
        "watched_since": state.watched_since,
        "read": state.read,
        "identity": state.identity,
        "falls": state.falls,
        **_marks_record(state.marks, columns),
        "answered": state.answered,
        "youngest": state.youngest,
    }
    if columns is not None:
        # A release without columns would count from zero: this makes it set marks only.
        record |= {"read": False, "watched_since": state.answered, "since": state.watched_since}
    return record


def endpoint_of(record: Mapping[str, Any], columns: Mapping[str, str]) -> EndpointState:
    """The endpoint of a record. `columns` are the texts of rows of columns, by their digest."""
    marks = _marks(record, columns)
    in_columns = marks is not None and "columns" in record
    return EndpointState(
        key=_server_key(record["key"]),
        watched_since=integer_field(record["since" if in_columns else "watched_since"]),
        read=in_columns or record.get("read", False) is True,
        identity=text_field(record.get("identity", "")),
        falls=integer_field(record.get("falls", 0)),
        marks=marks or CounterMarks(),
        answered=integer_field(record.get("answered", 0)),
        youngest=integer_field(record.get("youngest", 0)),
    )


def gateway_record(state: GatewayState, columns: str | None) -> Record:
    """Record of a gateway's marks. An earlier release takes differences from the sums by client."""
    marks = _marks_record(state.marks, columns)
    return {
        "read": state.read,
        "identity": state.identity,
        "falls": state.falls,
        "marks": [(*client, *values) for client, values in state.counts.items()],
        "answered": state.answered,
        "series": marks.pop("marks"),
        **marks,
    }


def gateway_of(record: Mapping[str, Any], columns: Mapping[str, str]) -> GatewayState:
    """The gateway of a record. One of an earlier release has no marks by series: the next read sets them."""
    counts: dict[tuple[str, str, str], tuple[float, float]] = {}
    for row in array_field(record.get("marks", [])):
        model, deployment, team, prompt, generation = array_field(row)
        counts[text_field(model), text_field(deployment), text_field(team)] = (
            number_field(prompt),
            number_field(generation),
        )
    marks = _marks({**record, "marks": record["series"]}, columns) if "series" in record else None
    return GatewayState(
        read=marks is not None and record.get("read", False) is True,
        identity=text_field(record.get("identity", "")),
        falls=integer_field(record.get("falls", 0)),
        marks=marks or CounterMarks(),
        answered=integer_field(record.get("answered", 0)),
        counts=counts,
    )


def _marks_record(marks: CounterMarks, columns: str | None) -> Record:
    record: Record = {"dropped": True} if marks.dropped else {}
    if columns is not None:
        return {"marks": {}, "columns": columns_digest(columns), **record}
    if marks.gone:
        record["gone"] = marks.gone
    return {"marks": marks.values, **record}


def _marks(record: Mapping[str, Any], columns: Mapping[str, str]) -> CounterMarks | None:
    """The marks; `None` if their columns are missing."""
    dropped = record.get("dropped", False) is True
    if "columns" not in record:
        return CounterMarks(_numbers(record.get("marks", {})), _numbers(record.get("gone", {})), dropped)
    text = columns.get(text_field(record["columns"]))
    if text is None:
        return None
    if len(text) > COLUMNS_CHARACTERS_MAX:
        raise ValueError(f"columns of {len(text)} characters")
    row = mapping_field(json.loads(text))
    return CounterMarks(_columns(row["values"]), _columns(row["gone"]), dropped)


def _numbers(value: object) -> dict[str, float]:
    return {series: number_field(mark) for series, mark in mapping_field(value).items()}


def _columns(value: object) -> SeriesColumns:
    columns = SeriesColumns.from_bytes(b64decode(text_field(value), validate=True))
    if not all(math.isfinite(mark) and mark >= 0 for mark in columns.by_digest().values()):
        raise ValueError("a mark in columns is no count")
    return columns


def _base64(columns: SeriesColumns) -> str:
    return b64encode(columns.to_bytes()).decode("ascii")


def _server_key(pair: object) -> ServerKey:
    namespace, server = array_field(pair)
    return ServerKey(text_field(namespace), text_field(server))


Scope = tuple[str, str]
"""Subject of a text: `gpu` and its UUID, `unseen` and a model, `endpoint` or `gateway` and its URL,
`columns` and both of these, `server` or `owner` and its key; `clock` and `inventory` alone."""

CLOCK: Final = ("clock", "")

INVENTORY: Final = ("inventory", "")

SCOPES: Final = ("gpu", "endpoint", "gateway", "columns", "server", "owner", "clock", "unseen", "inventory")
"""Scopes of this release. Those of a later one are neither read nor written."""

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
    """Texts of the state's scopes, in the order in which these came."""
    scopes = {("gpu", uuid): _text(_gpu_record(gpu)) for uuid, gpu in state.gpus.items()}
    for url, endpoint in state.endpoints.items():
        columns = _add_columns(scopes, f"endpoint {url}", endpoint.marks)
        scopes["endpoint", url] = _text(endpoint_record(endpoint, columns))
    for url, gateway in state.gateways.items():
        columns = _add_columns(scopes, f"gateway {url}", gateway.marks)
        scopes["gateway", url] = _text(gateway_record(gateway, columns))
    scopes |= {("server", _text(_key(key))): _text(_server_record(s)) for key, s in state.servers.items()}
    scopes |= {("owner", _text(_key(key))): _text(list(owned[1:])) for key, owned in state.owners.items()}
    scopes |= {("unseen", model): _text(_gpu_record(gpu)) for model, gpu in state.unseen.items()}
    if state.elapsed is not None:
        scopes[CLOCK] = _text(_clock_record(state))
    if state.gpus or state.replaced or state.retired:
        scopes[INVENTORY] = _text(_inventory_record(state))
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
    rows = list(rows)
    columns = {columns_digest(text): text for scope, _key, text in rows if scope == "columns"}
    for scope, key, text in rows:
        if scope not in SCOPES or scope == "columns":
            continue
        try:
            if scope == "owner":
                owned = _owned(json.loads(key), json.loads(text))
                owners[owned.key] = owned
                continue
            record = mapping_field(json.loads(text))
            if scope == "gpu":
                gpus[key] = _gpu(record)
            elif scope == "endpoint":
                endpoints[endpoint_id(key)] = endpoint_of(record, columns)
            elif scope == "gateway":
                gateways[endpoint_id(key)] = gateway_of(record, columns)
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
    )
    return state, tuple(dropped)


def settled(state: State) -> State:
    """The state without rounding carries, as it is read back from its texts."""
    gpus = {uuid: replace(gpu, rounding={}) for uuid, gpu in state.gpus.items()}
    unseen = {model: replace(gpu, rounding={}) for model, gpu in state.unseen.items()}
    servers = {
        key: replace(server, models={name: _settled(model) for name, model in server.models.items()})
        for key, server in state.servers.items()
    }
    return replace(state, gpus=gpus, unseen=unseen, servers=servers)


def _settled(model: ModelState) -> ModelState:
    if not model.division.rounding:
        return model
    return replace(model, division=replace(model.division, rounding={}))


def _add_columns(scopes: dict[Scope, str], key: str, marks: CounterMarks) -> str | None:
    """Add marks in columns as their own scope. Returns their text; `None` for marks by name."""
    record = columns_record(marks)
    if record is None:
        return None
    scopes["columns", key] = _text(record)
    return scopes["columns", key]


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
        elapsed=integer_field(record["elapsed"]),
        awake=optional_field(integer_field, record.get("awake")),
        boot=text_field(record.get("boot", "")),
        uncharged=integer_field(record.get("uncharged", 0)),
    )


def _inventory_record(state: State) -> dict[str, object]:
    return {"listed_in": state.listed_in, "replaced": state.replaced, "retired": state.retired}


def _inventory(record: Mapping[str, Any]) -> State:
    return State(
        listed_in=text_field(record.get("listed_in", "")),
        replaced=_count(record.get("replaced", 0)),
        retired=tuple(text_field(uuid) for uuid in array_field(record.get("retired", []))),
    )


def _count(value: object, least: int = 0) -> int:
    count = integer_field(value)
    if count < least:
        raise ValueError(f"a count of {count}")
    return count


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
        # Apart from the holders: an earlier release reads four values of each of those.
        "held": [(holder.instance, holder.sm_ratio, holder.memory_bytes) for holder in state.holders],
        "slices": None if state.slices is None else dict(state.slices),
        "pci_bus_id": state.pci_bus_id,
        "boots_missed": state.boots_missed,
        "predecessor": state.predecessor,
        "replaced_at": state.replaced_at,
        "priced_as": state.priced_as,
        "count": state.count,
    }


def _gpu(record: Mapping[str, Any]) -> GpuState:
    return GpuState(
        gpu=Gpu(text_field(record["uuid"]), text_field(record["gpu_model"])),
        index=integer_field(record["index"]),
        up=record.get("up", True) is True,
        energy_mark=optional_field(integer_field, record.get("energy_mark")),
        energy_age=integer_field(record.get("energy_age", 0)),
        falls=integer_field(record.get("falls", 0)),
        power_carry=integer_field(record.get("power_carry", 0)),
        idle_watts=optional_field(number_field, record.get("idle_watts")),
        recent=tuple(
            (integer_field(length), integer_field(used))
            for length, used in array_field(record.get("recent", []))
        ),
        carries={name: _carry(carry) for name, carry in mapping_field(record.get("carries", {})).items()},
        holders=tuple(_holders(record)),
        slices=optional_field(_slices, record.get("slices")),
        pci_bus_id=text_field(record.get("pci_bus_id", "")),
        boots_missed=_count(record.get("boots_missed", 0)),
        predecessor=text_field(record.get("predecessor", "")),
        replaced_at=integer_field(record.get("replaced_at", 0)),
        priced_as=optional_field(_identity, record.get("priced_as")),
        count=_count(record.get("count", 1), 1),
    )


def _identity(pair: object) -> Gpu:
    uuid, gpu_model = array_field(pair)
    return Gpu(text_field(uuid), text_field(gpu_model))


def _holders(record: Mapping[str, Any]) -> Iterator[Holder]:
    holders = array_field(record.get("holders", []))
    gpu_uses = array_field(record.get("held", [("", None, None)] * len(holders)))
    for (namespace, server, uuid, share), (instance, ratio, memory) in zip(holders, gpu_uses, strict=True):
        yield Holder(
            _server_key([namespace, server]),
            text_field(uuid),
            optional_field(number_field, share),
            text_field(instance),
            optional_field(number_field, ratio),
            optional_field(integer_field, memory),
        )


def _slices(parts: object) -> dict[str, int]:
    slices = {uuid: integer_field(part) for uuid, part in mapping_field(parts).items()}
    if any(part < 0 for part in slices.values()) or sum(slices.values()) > WHOLE:
        raise ValueError(f"instances of {sum(slices.values())} parts of {WHOLE}")
    return slices


def _carry(pair: object) -> Carry:
    numerator, period = map(integer_field, array_field(pair))
    if not 0 <= numerator < period:
        raise ValueError(f"a carry of {numerator}/{period}")
    return Carry(numerator, period)


def _server_record(state: ServerState) -> dict[str, object]:
    return {
        "models": {name: _model_record(model) for name, model in state.models.items()},
        "served": state.served,
        "partial": state.partial,
        "role": state.role,
        "division": None if state.division is None else division_record(state.division),
    }


def _server(record: Mapping[str, Any]) -> ServerState:
    models = mapping_field(record.get("models", {}))
    return ServerState(
        {name: _model(mapping_field(model)) for name, model in models.items()},
        tuple(text_field(model) for model in array_field(record.get("served", []))),
        record.get("partial", False) is True,
        _role(record.get("role", "")),
        optional_field(division_of, record.get("division")),
    )


def _model_record(state: ModelState) -> dict[str, object]:
    numbers: dict[str, object] = {name: getattr(state, name) for name in _MODEL_NUMBERS}
    since = {"since_finished": state.since_finished, "since_computed": state.since_computed}
    return {
        **numbers,
        **since,
        "debt": dict(state.pending_subtraction),
        "division": trail_record(state.division),
    }


def _model(record: Mapping[str, Any]) -> ModelState:
    return ModelState(
        **{name: number_field(record.get(name, 0.0)) for name in _MODEL_NUMBERS},
        since_finished=optional_field(integer_field, record.get("since_finished")),
        since_computed=optional_field(integer_field, record.get("since_computed")),
        pending_subtraction={
            kind: integer_field(count) for kind, count in mapping_field(record.get("debt", {})).items()
        },
        division=trail_of(mapping_field(record.get("division", {}))),
    )


def _owned(key: object, pair: object) -> PodOwnership:
    product, team = array_field(pair)
    return PodOwnership(_server_key(key), text_field(product), text_field(team))


def _role(value: object) -> Role:
    match value:
        case "" | "prefill" | "decode":
            return value
    raise TypeError(f"{value!r} is no role")
