"""State of the cost model as one text per scope. A text follows the types of the state's fields.

A scope is one GPU, one endpoint or one server. Unchanged scopes are not written again, and one that cannot be
read does not affect the others.
Fields at their defaults are left out and unknown ones are ignored, so that releases may differ.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, fields, replace
from functools import cache
from ipaddress import ip_address
from typing import Any, Final, TypeVar

import msgspec

from exporter.cost.money import WHOLE
from exporter.cost.page_marks import MARKS_MAX, PageMarks
from exporter.cost.state import (
    EndpointState,
    GatewayState,
    GpuState,
    ServerState,
    State,
)
from exporter.readings import UNSEEN, Gpu, Peer, PodOwnership, SeriesColumns, ServerKey, masked

T = TypeVar("T")

Record = dict[str, Any]

Scope = tuple[str, str]
"""Subject of a text: `gpu` and its UUID, `unseen` and a model, `endpoint` or `gateway` and its URL,
`server` or `owner` and its key; `clock` and `inventory` alone."""

CLOCK: Final = ("clock", "")
_CLOCK_FIELDS: Final = ("elapsed", "awake", "boot", "uncharged")

INVENTORY: Final = ("inventory", "")
_INVENTORY_FIELDS: Final = ("listed_in", "replaced", "retired", "former")

SCOPES: Final = ("gpu", "endpoint", "gateway", "server", "owner", "clock", "unseen", "inventory")
"""Scopes of this release. Those of a later one are neither read nor written."""

COLUMNS_CHARACTERS_MAX: Final = 22 * MARKS_MAX
"""Longest text of the marks of a page: each is 16 bytes, 21.4 characters of base64."""

_NOT_KEPT: Final = frozenset({"rounding"})
"""Fields of the state that end with the process."""


def texts(state: State) -> dict[Scope, str]:
    """Texts of the state's scopes, in the order in which these came."""
    scopes: dict[Scope, object] = {("gpu", uuid): gpu for uuid, gpu in state.gpus.items()}
    scopes |= {("endpoint", url): endpoint for url, endpoint in state.endpoints.items()}
    scopes |= {("gateway", url): gateway for url, gateway in state.gateways.items()}
    scopes |= {("server", _encode(key)): server for key, server in state.servers.items()}
    scopes |= {("owner", _encode(key)): owned for key, owned in state.owners.items()}
    scopes |= {("unseen", model): gpu for model, gpu in state.unseen.items()}
    if state.elapsed is not None:
        scopes[CLOCK] = _record(state, _CLOCK_FIELDS)
    if state.gpus or state.replaced or state.retired or state.former:
        scopes[INVENTORY] = _record(state, _INVENTORY_FIELDS)
    return {scope: _encode(part) for scope, part in scopes.items()}


def _json_form(value: object) -> object:
    """The form of a value that JSON has none for."""
    match value:
        case SeriesColumns():
            return b64encode(value.to_bytes()).decode("ascii")
        case Mapping():
            return dict(value)
        case GatewayState():
            counts = [(*consumer, *values) for consumer, values in value.counts.items()]
            return _record(value) | {"counts": counts}
        case _:
            return _record(value)


_encode: Final = json.JSONEncoder(
    separators=(",", ":"),
    check_circular=False,  # records have no cycles: looking for them is a tenth of the time
    default=_json_form,
).encode


def _record(value: Any, names: Collection[str] = ()) -> Record:
    """The fields of a record that are not at their defaults: all, or those of these names."""
    record: Record = {}
    for name, default in _defaults(value.__class__).items():
        part = getattr(value, name)
        if part != default and (not names or name in names):
            record[name] = part
    return record


@cache
def _defaults(kind: type[Any]) -> Mapping[str, object]:
    """Fields of a type that are kept, and their defaults, `MISSING` without one."""
    return {
        item.name: item.default if item.default_factory is MISSING else item.default_factory()
        for item in fields(kind)
        if item.name not in _NOT_KEPT
    }


def state_of(rows: Iterable[tuple[str, str, str]]) -> tuple[State, tuple[str, ...]]:
    """The state from rows of (scope, key, text), and a sentence about each part that was dropped."""
    gpus: dict[str, GpuState] = {}
    unseen: dict[str, GpuState] = {}
    endpoints: dict[str, EndpointState] = {}
    gateways: dict[str, GatewayState] = {}
    servers: dict[ServerKey, ServerState] = {}
    owners: dict[ServerKey, PodOwnership] = {}
    whole: Record = {}
    dropped: list[str] = []
    for scope, key, text in rows:
        if scope not in SCOPES:
            continue
        shown = masked(key) if scope in {"endpoint", "gateway"} else key
        try:
            decoded = msgspec.json.decode(text)
            if scope == "owner":
                owned = _built(PodOwnership, decoded)
                owners[owned.key] = owned
                continue
            record = _built(Record, decoded)
            match scope:
                case "gpu":
                    gpus[key] = _gpu(record)
                case "endpoint":
                    for name, why in _drop_damaged_parts(record):
                        dropped.append(_sentence(f"{name} of {scope} {shown}", why))
                    endpoint = _built(EndpointState, record)
                    _check_candidate(endpoint.marks)
                    endpoints[key] = endpoint
                case "gateway":
                    gateways[key] = _gateway(record)
                case "server":
                    server = _built(ServerKey, msgspec.json.decode(key))
                    servers[server] = _built(ServerState, record)
                case "unseen":
                    unseen[key] = replace(_gpu(record), gpu=Gpu(UNSEEN, key), index=-1, up=False)
                case "clock":
                    whole |= _fields(record, _CLOCK_FIELDS)
                case _:
                    whole |= _fields(record, _INVENTORY_FIELDS)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            dropped.append(_sentence(f"{scope} {shown}", error))
    state = State(
        gpus=gpus,
        endpoints=endpoints,
        gateways=gateways,
        servers=servers,
        owners=owners,
        unseen=unseen,
        **whole,
    )
    return state, tuple(dropped)


def _sentence(subject: str, error: Exception) -> str:
    return f"what was remembered of {subject} cannot be read and was dropped: {error}"


def _built(kind: type[T], value: object) -> T:
    """A value of a type, from that of a text.

    Raises:
        msgspec.ValidationError: it is none; the message has the type, and the place in the text.
    """
    return msgspec.convert(value, kind, dec_hook=_columns)


def _fields(record: Record, names: Collection[str]) -> Record:
    """Values of the state's fields of these names, where the record has them."""
    part = _record(_built(State, {name: record[name] for name in names if name in record}))
    _check_counts(replaced=part.get("replaced", 0))
    return part


def _gpu(record: Record) -> GpuState:
    gpu = _built(GpuState, record)
    for carry in gpu.carries.values():
        if not 0 <= carry.numerator < carry.period:
            raise ValueError(f"a carry of {carry.numerator}/{carry.period}")
    parts = (gpu.slices or {}).values()
    if any(part < 0 for part in parts) or sum(parts) > WHOLE:
        raise ValueError(f"instances of {sum(parts)} parts of {WHOLE}")
    if gpu.count < 1:
        raise ValueError(f"a count of {gpu.count}")
    _check_counts(boots_missed=gpu.boots_missed)
    return gpu


def _gateway(record: Record) -> GatewayState:
    rows = _built(list[tuple[str, str, str, float, float]], record.pop("counts", []))
    counts = {
        (model, deployment, team): (prompt, generation)
        for model, deployment, team, prompt, generation in rows
    }
    gateway = _built(GatewayState, record)
    _check_candidate(gateway.marks)
    return replace(gateway, counts=counts)


def _drop_damaged_parts(record: Record) -> list[tuple[str, Exception]]:
    """Drop the parts of an endpoint whose damage costs no count, and say which and why."""
    damaged: list[tuple[str, Exception]] = []
    for name, kind in (("peer", Peer | None), ("requested", dict[str, int | None])):
        try:
            part = _built(kind, record[name]) if name in record else None  # type: ignore[arg-type]
            if isinstance(part, Peer):
                ip_address(part.host)
                _check_counts(port=part.port)
        except (msgspec.MsgspecError, ValueError) as error:
            damaged.append((name, error))
            del record[name]
    return damaged


def _check_candidate(marks: PageMarks) -> None:
    if marks.candidate is not None:
        _check_counts(reads=marks.candidate.reads)


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 0:
            raise ValueError(f"{name} is a count of {count}")


def _columns(_kind: type[Any], value: object) -> SeriesColumns:
    """Marks of a text. Of the types of the state, this one alone is unknown to msgspec."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")  # noqa: TRY004 - msgspec adds the place to these
    if len(value) > COLUMNS_CHARACTERS_MAX:
        raise ValueError(f"marks of {len(value)} characters")
    columns = SeriesColumns.from_bytes(b64decode(value, validate=True))
    if not all(0 <= mark < float("inf") for mark in columns.by_digest().values()):
        raise ValueError("a mark is no count")
    return columns
