"""State of the cost model as rows of text, one by scope, and the state from such rows.

A scope is one GPU, one endpoint or one server, the clock or the inventory. A row is its kind, key and text:

    gpu   GPU-1f0a   {"gpu":["GPU-1f0a","H100"],"index":0,"energy_mark":123}

Unchanged scopes are not written again, and one that cannot be read does not affect the others.
The names in a text are those of the fields in `cost.state`. Fields at their defaults are left out and unknown
ones are ignored, so that releases may differ.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from ipaddress import ip_address
from typing import Any, ClassVar, Final, NamedTuple, TypeVar

import msgspec

from exporter.cost.money import WHOLE
from exporter.cost.page_marks import MARKS_MAX, PageMarks
from exporter.cost.state import EndpointState, GatewayState, GpuState, ServerState, State
from exporter.readings import UNSEEN, Gpu, Peer, PodOwnership, SeriesColumns, ServerKey, masked

T = TypeVar("T")

Record = dict[str, Any]
"""Fields by name: of a state, of a part of it, or of a decoded text."""


class MarkScope(NamedTuple):
    """Subject of a text."""

    kind: str
    """One of `KINDS`."""
    key: str
    """The UUID, model, URL or server that the text is of; empty for `clock` and `inventory`."""


COLUMNS_CHARACTERS_MAX: Final = 22 * MARKS_MAX
"""Longest text of the marks of a page: each is 16 bytes, 21.4 characters of base64."""

_NOT_KEPT: Final = frozenset({"rounding"})
"""Fields of the state that end with the process."""

_UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What a text raises that no release wrote."""


def texts(state: State) -> dict[MarkScope, str]:
    """Texts of the state's scopes, in the order in which these came. A start reads them in this order."""
    return {
        MarkScope(kind, key): _encode(record)
        for kind, form in _FORMS.items()
        for key, record in form.records(state).items()
    }


def state_of(rows: Iterable[tuple[str, str, str]]) -> tuple[State, tuple[str, ...]]:
    """The state from rows of (kind, key, text), and a sentence for each part that was dropped."""
    fields_of_state: Record = {}
    dropped: list[str] = []
    for kind, key, text in rows:
        form = _FORMS.get(kind)
        if form is None:  # of a later release
            continue
        subject = f"{kind} {masked(key) if form.has_urls else key}".rstrip()
        try:
            decoded = msgspec.json.decode(text)
            for name, error in _damaged_fields(decoded, _DISPENSABLE.get(kind, {})).items():
                dropped.append(_dropped(f"{name} of {subject}", error))
                del decoded[name]
            form.take(fields_of_state, key, decoded)
        except _UNREADABLE as error:
            dropped.append(_dropped(subject, error))
    return State(**fields_of_state), tuple(dropped)


def _dropped(subject: str, error: Exception) -> str:
    """The sentence about a part that cannot be read."""
    return f"what was remembered of {subject} cannot be read and was dropped: {error}"


def _damaged_fields(decoded: object, checks: Mapping[str, Callable[[object], None]]) -> dict[str, Exception]:
    """The fields of a text that their checks refuse, and why."""
    damaged: dict[str, Exception] = {}
    record = decoded if isinstance(decoded, dict) else {}
    for name, check in checks.items():
        try:
            if name in record:
                check(record[name])
        except _UNREADABLE as error:
            damaged[name] = error
    return damaged


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
    """Fields of a type that are kept, and their defaults: `MISSING`, which no value equals, without one."""
    return {
        item.name: item.default if item.default_factory is MISSING else item.default_factory()
        for item in fields(record_type)
        if item.name not in _NOT_KEPT
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
    if not all(0 <= mark < float("inf") for mark in columns.by_digest().values()):
        raise ValueError("a mark is no count")
    return columns


def _check_candidate(marks: PageMarks) -> None:
    """Check the marks of a server that may have taken the place of the one that was read."""
    if marks.candidate is not None:
        _refuse_negative("reads", marks.candidate.reads)


# Kinds of scopes: of each what is written, if that is not the record in the state, and how it is read.


@dataclass(frozen=True, slots=True)
class _Entries:
    """Scopes that are the entries of one mapping of the state. The key of an entry is that of its scope."""

    mapping: str
    """The field of `State` that has the mapping."""
    read: Callable[[Any, object], object]
    """The value of an entry, from its key and its decoded text."""
    write: Callable[[Any], object] = lambda value: value
    """What the text of a value is encoded from."""
    key_text: Callable[[Any], str] = str
    """The key of a scope, from that of the entry."""
    key_of: Callable[[str], Any] = str
    """The key of an entry, from that of the scope."""
    has_urls: bool = False
    """Whether keys are URLs, whose passwords no sentence shows."""

    def records(self, state: State) -> Mapping[str, object]:
        """What the texts of a state are encoded from, by the keys of their scopes."""
        entries = getattr(state, self.mapping)
        return {self.key_text(key): self.write(value) for key, value in entries.items()}

    def take(self, fields_of_state: Record, scope_key: str, decoded: object) -> None:
        """Add an entry to the mapping among the fields of a state. A text that is damaged adds none."""
        key = self.key_of(scope_key)
        value = self.read(key, decoded)
        fields_of_state.setdefault(self.mapping, {})[key] = value


@dataclass(frozen=True, slots=True)
class _Fields:
    """The only scope of its kind, whose key is empty: single fields of the state."""

    names: tuple[str, ...]
    """Names of the fields in `State`."""
    counts: tuple[str, ...]
    """Those that are never negative."""
    is_known: Callable[[State], bool]
    """Whether a state has anything to write of them."""
    has_urls: ClassVar[bool] = False

    def records(self, state: State) -> Mapping[str, object]:
        """What the text of a state is encoded from, by its empty key."""
        if not self.is_known(state):
            return {}
        return {"": {name: part for name, part in _record(state).items() if name in self.names}}

    def take(self, fields_of_state: Record, _scope_key: str, decoded: object) -> None:
        """Add these fields to those of a state. They are checked by building a state of them alone."""
        record = _built(Record, decoded)
        state = _built(State, {name: record[name] for name in self.names if name in record})
        for name in self.counts:
            _refuse_negative(name, getattr(state, name) or 0)
        fields_of_state.update(_record(state))


def _gpu(_uuid: str, decoded: object) -> GpuState:
    """A slot of a GPU, whose numbers are checked beyond their types."""
    gpu = _built(GpuState, decoded)
    for carry in gpu.carries.values():
        if not 0 <= carry.numerator < carry.period:
            raise ValueError(f"a carry of {carry.numerator}/{carry.period}")
    slices = list(gpu.slices.values()) if gpu.slices is not None else []
    if any(part < 0 for part in slices) or sum(slices) > WHOLE:
        raise ValueError(f"instances of {sum(slices)} parts of {WHOLE}")
    if gpu.count < 1:
        raise ValueError(f"a count of {gpu.count}")
    _refuse_negative("boots_missed", gpu.boots_missed)
    return gpu


def _unseen_gpu(model: str, decoded: object) -> GpuState:
    """GPUs of a model that NVML never listed: no text makes one of them a GPU that was."""
    return replace(_gpu(UNSEEN, decoded), gpu=Gpu(UNSEEN, model), index=-1, up=False)


def _endpoint(_url: str, decoded: object) -> EndpointState:
    """An endpoint, whose peer and requests are checked before (`_DISPENSABLE`)."""
    endpoint = _built(EndpointState, decoded)
    _check_candidate(endpoint.marks)
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
    rows = [_Count(*consumer, *counts) for consumer, counts in gateway.counts.items()]
    return _record(gateway) | {"counts": rows}


def _gateway(_url: str, decoded: object) -> GatewayState:
    """A gateway, whose counts are rows in its text."""
    record = _built(Record, decoded)
    rows = _built(list[_Count], record.pop("counts", []))
    gateway = _built(GatewayState, record)
    _check_candidate(gateway.marks)
    counts = {(row.model, row.deployment, row.team): (row.prompt, row.generation) for row in rows}
    return replace(gateway, counts=counts)


def _server_key(scope_key: str) -> ServerKey:
    """The key of a server, from its text in JSON."""
    return _built(ServerKey, msgspec.json.decode(scope_key))


def _server(_key: ServerKey, decoded: object) -> ServerState:
    return _built(ServerState, decoded)


def _ownership(key: ServerKey, decoded: object) -> PodOwnership:
    """The product and team of a server, whose key is in the text too."""
    return _built(PodOwnership, decoded)._replace(key=key)


_FORMS: Final[Mapping[str, _Entries | _Fields]] = {
    "gpu": _Entries("gpus", _gpu),
    "endpoint": _Entries("endpoints", _endpoint, has_urls=True),
    "gateway": _Entries("gateways", _gateway, write=_gateway_record, has_urls=True),
    "server": _Entries("servers", _server, key_text=_encode, key_of=_server_key),
    "owner": _Entries("owners", _ownership, key_text=_encode, key_of=_server_key),
    "unseen": _Entries("unseen", _unseen_gpu),
    "clock": _Fields(
        names=("elapsed", "awake", "boot", "uncharged"),
        counts=("elapsed", "awake", "uncharged"),
        is_known=lambda state: state.elapsed is not None,
    ),
    "inventory": _Fields(
        names=("listed_in", "replaced", "retired", "former"),
        counts=("replaced",),
        is_known=lambda state: bool(state.gpus or state.replaced or state.retired or state.former),
    ),
}
"""How the scopes of each kind are written and read."""

KINDS: Final = tuple(_FORMS)
"""Kinds of scopes of this release. Those of a later one are neither read nor written."""

_DISPENSABLE: Final[Mapping[str, Mapping[str, Callable[[object], None]]]] = {
    "endpoint": {"peer": _check_peer, "requested": _check_requested}
}
"""By kind the fields whose damage costs no count, with their checks: a text is read without them."""
