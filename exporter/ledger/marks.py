"""State of the cost model as one text per scope. A text follows the types of the state's fields.

A scope is one GPU, one endpoint or one server. Unchanged scopes are not written again, and one that cannot be
read does not affect the others.
Fields at their defaults are left out and unknown ones are ignored, so that releases may differ.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from ipaddress import ip_address
from typing import Any, Final, NamedTuple, TypeVar

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


class MarkScope(NamedTuple):
    """Subject of a text."""

    kind: str
    """One of `SCOPES`."""
    key: str
    """The UUID, model, URL or server that the text is of; empty for `clock` and `inventory`."""


_CLOCK_FIELDS: Final = ("elapsed", "awake", "boot", "uncharged")
_INVENTORY_FIELDS: Final = ("listed_in", "replaced", "retired", "former")

COLUMNS_CHARACTERS_MAX: Final = 22 * MARKS_MAX
"""Longest text of the marks of a page: each is 16 bytes, 21.4 characters of base64."""

_NOT_KEPT: Final = frozenset({"rounding"})
"""Fields of the state that end with the process."""


def texts(state: State) -> dict[MarkScope, str]:
    """Texts of the state's scopes, in the order in which these came. A start reads them in this order."""
    return {
        MarkScope(name, key): _encode(record)
        for name, kind in _KINDS.items()
        for key, record in kind.records(state).items()
    }


def state_of(rows: Iterable[tuple[str, str, str]]) -> tuple[State, tuple[str, ...]]:
    """The state from rows of (kind, key, text), and a sentence for each part that was dropped."""
    parts = _Parts()
    for name, key, text in rows:
        kind = _KINDS.get(name)
        if kind is None:
            continue
        try:
            kind.take(parts, key, msgspec.json.decode(text))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            parts.note_dropped(f"{name} {masked(key) if kind.has_urls else key}", error)
    return parts.state(), tuple(parts.dropped)


def _json_form(value: object) -> object:
    """What to encode in place of a value that JSON has no form for."""
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


# Not msgspec's, which reads these texts: it would write the fields at their defaults too.
_encode: Final = json.JSONEncoder(
    separators=(",", ":"),
    check_circular=False,  # records have no cycles: looking for them is a tenth of the time
    default=_json_form,
).encode


def _record(value: Any, names: Collection[str] | None = None) -> Record:
    """The fields of a record that are not at their defaults: all, or those of these names."""
    record: Record = {}
    for name, default in _defaults(value.__class__).items():
        part = getattr(value, name)
        if part != default and (names is None or name in names):
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


class _Count(NamedTuple):
    """Tokens of a consumer of a gateway, as a text has them."""

    model: str
    deployment: str
    team: str
    prompt: float
    generation: float


@dataclass(slots=True)
class _Parts:
    """What the texts that were read so far have of a state.

    Each `take` method takes one text: the key of its scope, and the text decoded from JSON. A text that no
    release wrote raises a `msgspec.MsgspecError` or a `ValueError`, and its scope is not taken.
    """

    gpus: dict[str, GpuState] = field(default_factory=dict)
    unseen: dict[str, GpuState] = field(default_factory=dict)
    endpoints: dict[str, EndpointState] = field(default_factory=dict)
    gateways: dict[str, GatewayState] = field(default_factory=dict)
    servers: dict[ServerKey, ServerState] = field(default_factory=dict)
    owners: dict[ServerKey, PodOwnership] = field(default_factory=dict)
    fields_of_state: Record = field(default_factory=dict)
    """Fields of the clock and of the inventory, by their names in `State`."""
    dropped: list[str] = field(default_factory=list)
    """A sentence for each part that was dropped."""

    def state(self) -> State:
        """The state of these parts."""
        return State(
            gpus=self.gpus,
            endpoints=self.endpoints,
            gateways=self.gateways,
            servers=self.servers,
            owners=self.owners,
            unseen=self.unseen,
            **self.fields_of_state,
        )

    def note_dropped(self, subject: str, error: Exception) -> None:
        """Add a sentence about a part that cannot be read."""
        self.dropped.append(f"what was remembered of {subject} cannot be read and was dropped: {error}")

    def take_gpu(self, uuid: str, decoded: object) -> None:
        """A GPU that NVML listed."""
        self.gpus[uuid] = _gpu(decoded)

    def take_unseen(self, model: str, decoded: object) -> None:
        """GPUs of a model that NVML never listed: no text makes one of them a GPU that was."""
        self.unseen[model] = replace(_gpu(decoded), gpu=Gpu(UNSEEN, model), index=-1, up=False)

    def take_endpoint(self, url: str, decoded: object) -> None:
        """An endpoint. Its peer, or what was requested of it, may be damaged: that costs no count."""
        record = _built(Record, decoded)
        for name, check in (("peer", _check_peer), ("requested", _check_requested)):
            if name not in record:
                continue
            try:
                check(record[name])
            except (msgspec.MsgspecError, ValueError) as error:
                del record[name]
                self.note_dropped(f"{name} of endpoint {masked(url)}", error)
        endpoint = _built(EndpointState, record)
        _check_candidate(endpoint.marks)
        self.endpoints[url] = endpoint

    def take_gateway(self, url: str, decoded: object) -> None:
        """A gateway, whose counts are rows in a text."""
        record = _built(Record, decoded)
        counts = {
            (row.model, row.deployment, row.team): (row.prompt, row.generation)
            for row in _built(list[_Count], record.get("counts", []))
        }
        rest = {name: value for name, value in record.items() if name != "counts"}
        gateway = _built(GatewayState, rest)
        _check_candidate(gateway.marks)
        self.gateways[url] = replace(gateway, counts=counts)

    def take_server(self, key: str, decoded: object) -> None:
        """A server, by its key in JSON."""
        server = _built(ServerKey, msgspec.json.decode(key))
        self.servers[server] = _built(ServerState, decoded)

    def take_owner(self, _key: str, decoded: object) -> None:
        """The product and team of a server, whose key is in the text too."""
        owned = _built(PodOwnership, decoded)
        self.owners[owned.key] = owned

    def take_clock(self, _key: str, decoded: object) -> None:
        """The time of the last tick."""
        self.fields_of_state |= _fields(decoded, _CLOCK_FIELDS)

    def take_inventory(self, _key: str, decoded: object) -> None:
        """What is remembered of slots as a whole."""
        self.fields_of_state |= _fields(decoded, _INVENTORY_FIELDS)


class _Kind(NamedTuple):
    """Scopes of one kind, or the only one of its kind, whose key is empty."""

    records: Callable[[State], Mapping[str, object]]
    """What the texts of a state are made of, by the keys of their scopes."""
    take: Callable[[_Parts, str, object], None]
    """Takes the text of a scope."""
    has_urls: bool = False
    """Whether keys are URLs, whose passwords no sentence shows."""


def _by_text(records: Mapping[ServerKey, object]) -> Mapping[str, object]:
    """Records of servers by the texts of their keys."""
    return {_encode(key): record for key, record in records.items()}


def _clock(state: State) -> Mapping[str, object]:
    """The time of the last tick, if there was one."""
    return {"": _record(state, _CLOCK_FIELDS)} if state.elapsed is not None else {}


def _inventory(state: State) -> Mapping[str, object]:
    """What is remembered of slots as a whole, on a host that has or had GPUs."""
    has_slots = bool(state.gpus or state.replaced or state.retired or state.former)
    return {"": _record(state, _INVENTORY_FIELDS)} if has_slots else {}


_KINDS: Final[Mapping[str, _Kind]] = {
    "gpu": _Kind(lambda state: state.gpus, _Parts.take_gpu),
    "endpoint": _Kind(lambda state: state.endpoints, _Parts.take_endpoint, has_urls=True),
    "gateway": _Kind(lambda state: state.gateways, _Parts.take_gateway, has_urls=True),
    "server": _Kind(lambda state: _by_text(state.servers), _Parts.take_server),
    "owner": _Kind(lambda state: _by_text(state.owners), _Parts.take_owner),
    "unseen": _Kind(lambda state: state.unseen, _Parts.take_unseen),
    "clock": _Kind(_clock, _Parts.take_clock),
    "inventory": _Kind(_inventory, _Parts.take_inventory),
}

SCOPES: Final = tuple(_KINDS)
"""Kinds of scopes of this release. Those of a later one are neither read nor written."""


def _built(kind: type[T], value: object) -> T:
    """A value of a type, from that of a text.

    Raises:
        msgspec.ValidationError: it is none; the message has the type, and the place in the text.
    """
    return msgspec.convert(value, kind, dec_hook=_columns)


def _fields(decoded: object, names: Collection[str]) -> Record:
    """The fields of these names that a text has. They are checked as those of a state of nothing else."""
    record = _built(Record, decoded)
    state = _built(State, {name: record[name] for name in names if name in record})
    _check_counts(replaced=state.replaced)
    return _record(state)


def _gpu(decoded: object) -> GpuState:
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
    _check_counts(boots_missed=gpu.boots_missed)
    return gpu


def _check_peer(value: object) -> None:
    """Check the address that answered for an endpoint, `None` without one."""
    if value is not None:
        peer = _built(Peer, value)
        ip_address(peer.host)
        _check_counts(port=peer.port)


def _check_requested(value: object) -> None:
    """Check since when an endpoint's histograms are asked for."""
    _built(dict[str, int | None], value)


def _check_candidate(marks: PageMarks) -> None:
    """Check the marks of a server that may have taken the place of the one that was read."""
    if marks.candidate is not None:
        _check_counts(reads=marks.candidate.reads)


def _check_counts(**counts: int) -> None:
    """Refuse a negative count, by its name."""
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
