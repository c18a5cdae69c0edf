"""State of the cost model as rows of text, one by scope, and the state from such rows.

A scope is the subject of a row. A row is the kind of its scope, the key of its scope, and a text:

    gpu   GPU-1f0a   {"gpu":["GPU-1f0a","H100"],"index":0,"energy_mark":123}

`_KINDS`, at the end, says how the texts of each kind are written and read. The kinds are:

    kind        subject of a text                         key
    gpu         slot of a GPU that NVML listed            UUID of the GPU
    endpoint    marks of an endpoint's page               URL
    gateway     marks and counts of a gateway's page      URL
    server      trailing sums of a server's models        namespace and name, in JSON
    owner       product and team of a server              namespace and name, in JSON
    unseen      GPUs of a model that NVML never listed    GPU model
    clock       clocks of the last tick                   empty
    inventory   slots as a whole                          empty

Unchanged scopes are not written again, and one that cannot be read does not affect the others.
The names in a text are those of the fields in `cost.state`. Fields at their defaults are left out and unknown
ones are ignored, so that releases may differ.
"""

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from ipaddress import ip_address
from typing import Any, ClassVar, Final, Generic, NamedTuple, TypeVar

import msgspec

from exporter.cost.money import WHOLE
from exporter.cost.page_marks import MARKS_MAX, PageMarks
from exporter.cost.state import MEMORY_ONLY, EndpointState, GatewayState, GpuState, ServerState, State
from exporter.readings import UNSEEN, Gpu, Peer, PodOwnership, SeriesColumns, ServerKey, masked

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")

Record = dict[str, Any]
"""Fields by name: of a state, of a part of it, or of a decoded text."""

Check = Callable[[object], None]
"""Raises one of `_UNREADABLE` for a damaged part of a decoded text."""


class MarkScope(NamedTuple):
    """Subject of a text."""

    kind: str
    """One of `KINDS`."""
    key: str
    """The key of the scope in its row."""


COLUMNS_CHARACTERS_MAX: Final = 22 * MARKS_MAX
"""Longest text of the marks of a page: each is 16 bytes, 21.4 characters of base64."""

_UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What a text raises that no release wrote."""


def texts(state: State) -> dict[MarkScope, str]:
    """Texts of the state's scopes, in the order in which these came. A start reads them in this order."""
    return {
        MarkScope(name, key): _encode(record)
        for name, kind in _KINDS.items()
        for key, record in kind.records(state).items()
    }


def state_of(rows: Iterable[tuple[str, str, str]]) -> tuple[State, tuple[str, ...]]:
    """The state from rows of (kind, key, text), and a sentence for each part that was dropped."""
    fields_of_state: Record = {}
    dropped: list[str] = []
    for name, key, text in rows:
        kind = _KINDS.get(name)
        if kind is None:  # of a later release
            continue
        subject = f"{name} {masked(key) if kind.has_urls else key}".rstrip()
        try:
            sound = _sound(msgspec.json.decode(text), kind.dispensable)
            dropped += [_dropped(f"{part} of {subject}", error) for part, error in sound.damaged.items()]
            kind.take(fields_of_state, key, sound.decoded)
        except _UNREADABLE as error:
            dropped.append(_dropped(subject, error))
    return State(**fields_of_state), tuple(dropped)


def _dropped(subject: str, error: Exception) -> str:
    """The sentence about a part that cannot be read."""
    return f"what was remembered of {subject} cannot be read and was dropped: {error}"


class _SoundText(NamedTuple):
    """A decoded text without its damaged dispensable fields."""

    decoded: object
    """The text with all its other fields, which are not checked yet."""
    damaged: Mapping[str, Exception]
    """Why each field was left out."""


def _sound(decoded: object, dispensable: Mapping[str, Check]) -> _SoundText:
    """Leave out the fields of a text that their checks refuse."""
    if not isinstance(decoded, dict):  # damaged as a whole, as its kind will find
        return _SoundText(decoded, {})
    damaged: dict[str, Exception] = {}
    for name, check in dispensable.items():
        try:
            if name in decoded:
                check(decoded[name])
        except _UNREADABLE as error:
            damaged[name] = error
    return _SoundText({name: part for name, part in decoded.items() if name not in damaged}, damaged)


# Encoding: what a text is written from.


def _json_form(value: object) -> object:
    """What to encode in place of a value that JSON has no form for."""
    match value:
        case SeriesColumns():
            return b64encode(value.to_bytes()).decode("ascii")
        case Mapping():  # a view that cannot be written to
            return dict(value)
        case _:  # a part of the state
            return _record(value)


# Not msgspec, which reads these texts: it would write the fields at their defaults too.
_encode: Final = json.JSONEncoder(
    separators=(",", ":"),
    check_circular=False,  # records have no cycles: looking for them is a tenth of the time
    default=_json_form,
).encode


def _record(value: Any) -> Record:
    """The fields of a part of the state that are not at their defaults."""
    defaults = _defaults(value.__class__)
    parts = {name: getattr(value, name) for name in defaults}
    return {name: part for name, part in parts.items() if part != defaults[name]}


@cache
def _defaults(record_type: type[Any]) -> Mapping[str, object]:
    """Fields of a type that are stored, and their defaults.

    The default of a field without one is `MISSING`, which equals no value: such a field is in each text.
    """
    return {
        item.name: item.default if item.default_factory is MISSING else item.default_factory()
        for item in fields(record_type)
        if item.metadata != MEMORY_ONLY
    }


# Decoding: checks of what msgspec made of a text. They raise a `ValueError` that says what is wrong.


def _built(record_type: type[T], value: object) -> T:
    """A value of a type, from the lists, mappings, texts and numbers of a decoded text.

    Raises:
        msgspec.ValidationError: it is none; the message has the type, and the place in the text.
    """
    return msgspec.convert(value, record_type, dec_hook=_decoded_columns)


def _refuse_negative(name: str, count: int) -> None:
    """Refuse a negative count, by its name."""
    if count < 0:
        raise ValueError(f"{name} is a count of {count}")


def _decoded_columns(_type: type[Any], value: object) -> SeriesColumns:
    """Marks of a text. Of the types of the state, this one alone is unknown to msgspec."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")  # noqa: TRY004 - msgspec adds the place to these
    if len(value) > COLUMNS_CHARACTERS_MAX:
        raise ValueError(f"marks of {len(value)} characters")
    columns = SeriesColumns.from_bytes(b64decode(value, validate=True))
    if not all(math.isfinite(mark) and mark >= 0 for mark in columns.by_digest().values()):
        raise ValueError("a mark is no count")
    return columns


def _check_candidate(marks: PageMarks) -> None:
    """Check the marks of a server that may have taken the place of the one that was read."""
    if marks.candidate is not None:
        _refuse_negative("reads", marks.candidate.reads)


# Kinds of scopes: what their texts are made of, and what is made of these.


class _RowKeys(NamedTuple, Generic[K]):
    """How the keys of a mapping of the state are written in rows."""

    read: Callable[[str], K]
    """The key in the mapping, from the key of a row."""
    write: Callable[[K], str]
    """The key of a row, from the key in the mapping."""


@dataclass(frozen=True, slots=True)
class _Entries(Generic[K, V]):
    """A kind whose scopes are the entries of one mapping of the state."""

    mapping: str
    """The field of `State` that has the mapping."""
    keys: _RowKeys[K]
    """How its keys are written in rows."""
    read: Callable[[K, object], V]
    """The value of an entry, from its key and its decoded text. It raises one of `_UNREADABLE`."""
    write: Callable[[V], object] = lambda value: value
    """What the text of a value is encoded from: the value, unless JSON has no form for a part of it."""
    has_urls: bool = False
    """Whether keys are URLs: their queries may have secrets, which no sentence shows."""
    dispensable: Mapping[str, Check] = field(default_factory=dict)
    """Fields whose damage costs no count, with their checks: a text is read without them."""

    def records(self, state: State) -> Mapping[str, object]:
        """What the texts of a state are encoded from, by the keys of their rows."""
        entries: Mapping[K, V] = getattr(state, self.mapping)
        return {self.keys.write(key): self.write(value) for key, value in entries.items()}

    def take(self, fields_of_state: Record, row_key: str, decoded: object) -> None:
        """Add an entry to the mapping among the fields of a state. A damaged text adds none."""
        key = self.keys.read(row_key)
        value = self.read(key, decoded)
        entries: dict[K, V] = fields_of_state.setdefault(self.mapping, {})
        entries[key] = value


@dataclass(frozen=True, slots=True)
class _Fields:
    """A kind with one scope, whose key is empty: single fields of the state."""

    names: tuple[str, ...]
    """Names of the fields in `State`."""
    counts: tuple[str, ...]
    """The fields that are never negative."""
    is_known: Callable[[State], bool]
    """Whether a state has anything to write of the fields."""
    has_urls: ClassVar[bool] = False
    dispensable: ClassVar[Mapping[str, Check]] = {}

    def records(self, state: State) -> Mapping[str, object]:
        """What the text of a state is encoded from, by its empty key."""
        if not self.is_known(state):
            return {}
        return {"": {name: part for name, part in _record(state).items() if name in self.names}}

    def take(self, fields_of_state: Record, _row_key: str, decoded: object) -> None:
        """Add these fields to those of a state. A damaged text adds none."""
        record = _built(Record, decoded)
        given = {name: record[name] for name in self.names if name in record}
        state = _built(State, given)  # msgspec checks the types of the fields
        values = {name: getattr(state, name) for name in given}
        for name in self.counts:
            if values.get(name) is not None:
                _refuse_negative(name, values[name])
        fields_of_state.update(values)


def _checked_slot(decoded: object) -> GpuState:
    """A slot of GPUs, whose numbers are checked beyond their types."""
    slot = _built(GpuState, decoded)
    for carry in slot.carries.values():
        if not 0 <= carry.numerator < carry.period:
            raise ValueError(f"a carry of {carry.numerator}/{carry.period}")
    slices = list(slot.slices.values()) if slot.slices is not None else []
    if any(part < 0 for part in slices) or sum(slices) > WHOLE:
        raise ValueError(f"instances of {sum(slices)} parts of {WHOLE}")
    if slot.count < 1:
        raise ValueError(f"a count of {slot.count}")
    _refuse_negative("boots_missed", slot.boots_missed)
    return slot


def _gpu(uuid: str, decoded: object) -> GpuState:
    """A slot of a GPU that NVML listed. Two slots of one GPU would charge it twice."""
    slot = _checked_slot(decoded)
    if slot.gpu.uuid != uuid:
        raise ValueError(f"a slot of {slot.gpu.uuid}")
    return slot


def _unseen_gpu(model: str, decoded: object) -> GpuState:
    """GPUs of a model that NVML never listed. No text makes one of them a GPU that NVML listed."""
    return replace(_checked_slot(decoded), gpu=Gpu(UNSEEN, model), index=-1, up=False)


def _endpoint(_url: str, decoded: object) -> EndpointState:
    """Marks of an endpoint. Its dispensable fields are checked before."""
    endpoint = _built(EndpointState, decoded)
    for page_marks in (endpoint.marks, endpoint.own):
        if page_marks is not None:
            _check_candidate(page_marks)
    return endpoint


def _check_peer(value: object) -> None:
    """Check the address that answered for an endpoint, `None` without one."""
    if value is not None:
        peer = _built(Peer, value)
        ip_address(peer.host)
        _refuse_negative("port", peer.port)


def _check_requested(value: object) -> None:
    """Check since when an endpoint's histograms are asked for."""
    _built(dict[str, int | None], value)


class _Count(NamedTuple):
    """Tokens of a consumer of a gateway, as a text has them."""

    model: str
    deployment: str
    team: str
    prompt: float
    generation: float


def _gateway_record(gateway: GatewayState) -> Record:
    """The fields of a gateway. Its counts are rows: JSON has no mapping whose keys are tuples."""
    rows = [
        _Count(model=model, deployment=deployment, team=team, prompt=prompt, generation=generation)
        for (model, deployment, team), (prompt, generation) in gateway.counts.items()
    ]
    return {**_record(gateway), "counts": rows}


def _gateway(_url: str, decoded: object) -> GatewayState:
    """A gateway, whose counts are rows in its text."""
    record = _built(Record, decoded)
    rows = _built(list[_Count], record.pop("counts", []))
    gateway = _built(GatewayState, record)
    _check_candidate(gateway.marks)
    counts = {(row.model, row.deployment, row.team): (row.prompt, row.generation) for row in rows}
    return replace(gateway, counts=counts)


def _server_key(row_key: str) -> ServerKey:
    """The key of a server, from its JSON in a row."""
    return _built(ServerKey, msgspec.json.decode(row_key))


def _server(_key: ServerKey, decoded: object) -> ServerState:
    """The trailing sums of a server's models."""
    return _built(ServerState, decoded)


def _ownership(key: ServerKey, decoded: object) -> PodOwnership:
    """The product and team of a server. The key of the row replaces the key in the text."""
    return _built(PodOwnership, decoded)._replace(key=key)


_PLAIN: Final = _RowKeys(read=str, write=str)
"""Keys that rows have as they are: UUIDs, URLs and GPU models."""

_SERVER: Final = _RowKeys[ServerKey](read=_server_key, write=_encode)
"""Keys of servers, which rows have in JSON."""

_KINDS: Final[Mapping[str, _Entries[Any, Any] | _Fields]] = {
    "gpu": _Entries("gpus", _PLAIN, read=_gpu),
    "endpoint": _Entries(
        "endpoints",
        _PLAIN,
        read=_endpoint,
        has_urls=True,
        dispensable={"peer": _check_peer, "requested": _check_requested},
    ),
    "gateway": _Entries("gateways", _PLAIN, read=_gateway, write=_gateway_record, has_urls=True),
    "server": _Entries("servers", _SERVER, read=_server),
    "owner": _Entries("owners", _SERVER, read=_ownership),
    "unseen": _Entries("unseen", _PLAIN, read=_unseen_gpu),
    "clock": _Fields(
        names=("elapsed", "awake", "boot", "uncharged"),
        counts=("elapsed", "awake", "uncharged"),
        is_known=lambda state: state.elapsed is not None,
    ),
    "inventory": _Fields(
        names=("listed_in", "replaced", "retired", "former"),
        counts=("replaced",),
        is_known=lambda state: bool(
            state.listed_in or state.gpus or state.replaced or state.retired or state.former
        ),
    ),
}
"""The kinds of scopes, in the order in which a start reads them."""

KINDS: Final = tuple(_KINDS)
"""Kinds of scopes of this release. Those of a later one are neither read nor written."""
