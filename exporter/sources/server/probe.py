"""Pages of a server other than its metrics: its model, its version, and whether a llama.cpp sleeps.

`ServerProbe` requests these pages. `SleepWatch` decides by them when the metrics of a llama.cpp are read: a
read of `/metrics` resets the timer of `--sleep-idle-seconds` and wakes a sleeping server, which loads its
model. `/props` and `/v1/models` do neither (ggml-org/llama.cpp #20227, seen with build b10434).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from exporter.engines import Engine, Way
from exporter.engines.llamacpp import LLAMACPP
from exporter.readings import SEQUENCES_MAX, FailureReason, ReadFailedError, ServerReading, label
from exporter.sources.server.endpoint import NO_ANSWER
from exporter.sources.server.page_reader import ServerInfo
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, Nanoseconds

FIRST_PAUSE: Final = 10 * NANOSECONDS_PER_SECOND
LONGEST_PAUSE: Final = 4 * NANOSECONDS_PER_HOUR
"""Pauses between reads of an idle server, doubled each time."""


@dataclass(frozen=True, slots=True)
class LlamaCppProps:
    """Fields of `/props`."""

    sleeping: bool | None = None
    """Whether the server sleeps; `None` for builds that cannot sleep."""
    router: bool = False
    """Whether the server is a router, and the request names no model."""
    model: str = ""
    build: str = ""
    slots: int = 0
    """Number of requests that the server runs at once, 0 if unknown."""


def parsed_props(body: bytes) -> LlamaCppProps | None:
    """The fields of `/props`; `None` if the page is no llama.cpp's."""
    document = _json(body)
    if not isinstance(document, dict):
        return None
    if not {"model_alias", "build_info", "total_slots"} & document.keys():
        return None
    sleeping, slots = document.get("is_sleeping"), document.get("total_slots")
    return LlamaCppProps(
        sleeping=sleeping if isinstance(sleeping, bool) else None,
        router=document.get("role") == "router",
        model=_text(document.get("model_alias")),
        build=_text(document.get("build_info")),
        slots=slots if type(slots) is int and 0 < slots <= SEQUENCES_MAX else 0,
    )


def text_at(body: bytes, way: Way) -> str:
    """The text at the end of a way into a JSON document, as a label's value; empty if there is none."""
    value = _json(body)
    for step in way:
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        else:
            value = value[step] if isinstance(value, list) and step < len(value) else None
    return _text(value)


def _json(body: bytes) -> Any:
    """The value of a JSON document; `None` if the body is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _text(value: object) -> str:
    return label(value) if isinstance(value, str) else ""


class _ServerProcess(NamedTuple):
    """A process whose metrics page was read."""

    engine: str
    identity: str
    """The identity of the process by its metrics page, empty if unknown."""


class ServerProbe:
    """Requests what the metrics of a server lack, by its other pages, and caches the answers of one process.

    A missing model is requested again with each read, since the server may be loading it. A missing version
    is requested once.

    Args:
        fetch: gets the body of a path from the root without a slash, or raises `ReadFailedError`.
        subject: the server's name in errors.
    """

    def __init__(self, fetch: Callable[[str], bytes], subject: str) -> None:
        self._fetch = fetch
        self._subject = subject
        self._process: _ServerProcess | None = None
        """The process of the cached answers; `None` where another server may answer next."""
        self._info = ServerInfo()
        """The cached answers, `/props` not among them."""
        self.props: LlamaCppProps | None = None
        """The last `/props`; `None` where the server has none."""

    @property
    def props_are_due(self) -> bool:
        """Whether `/props` may have changed: the build can sleep, or another server may answer."""
        can_sleep = self.props is not None and self.props.sleeping is not None
        return can_sleep or self._process is None

    def read_props(self) -> None:
        """Request `/props`.

        Raises:
            ReadFailedError: the server does not answer; `router`, it is one, and no model is named.
        """
        try:
            body = self._fetch("props")
        except ReadFailedError as failure:
            if failure.reason in NO_ANSWER:
                raise
            self.props = None  # no such page, or a model that is not loaded: the metrics have the reason
            return
        self.props = parsed_props(body)
        if self.props is not None and self.props.router:
            remedy = "configure an endpoint for each model, with ?model=NAME"
            raise ReadFailedError(FailureReason.ROUTER, f"{self._subject}: a llama.cpp router: {remedy}")

    def forget_process(self) -> None:
        """Note that another server may answer next, with other `/props`, model and version."""
        self._process = None

    def info(self, engine: Engine, identity: str) -> ServerInfo:
        """Model and version of the process `identity`: by llama.cpp's `/props`, else cached or requested.

        Raises:
            ReadFailedError: as `read_props`, of a llama.cpp that took another process's place unnoticed.
        """
        before = self._process
        process = _ServerProcess(engine.name, identity)
        is_new = process != before
        if is_new:
            self._process = process
            self._info = ServerInfo()
        if engine is not LLAMACPP:
            return self._requested_info(engine, is_new=is_new)
        if is_new and before is not None:  # no read failed in between, by which `/props` had become due
            self.read_props()
        if self.props is None:
            return self._requested_info(engine, is_new=is_new)
        model = self.props.model
        if not model:
            model = self._requested_info(engine, is_new=is_new).model
        return ServerInfo(model, version=self.props.build, slots=self.props.slots)

    def _requested_info(self, engine: Engine, *, is_new: bool) -> ServerInfo:
        """Model and version by the pages that the engine's description names."""
        for query in engine.metadata_queries:
            asks_model = bool(query.model) and not self._info.model
            asks_version = bool(query.version) and not self._info.version and is_new
            if not (asks_model or asks_version):
                continue
            try:
                body = self._fetch(query.path)
            except ReadFailedError:
                continue
            if asks_model:
                self._info = self._info._replace(model=text_at(body, query.model))
            if asks_version:
                self._info = self._info._replace(version=text_at(body, query.version))
        return self._info


class SleepWatch:
    """When to read the metrics of a llama.cpp that may fall asleep, and its reading in between.

    The server is due after ticks in which its GPU was busy, once more when that GPU falls idle, and while the
    last read showed activity: so the tokens of its last request count. Whether it ever sleeps is unknown. An
    idle server is read ever less often, until a pause is long enough for it to fall asleep. After its first
    sleep only work makes it due: a busy GPU, or a wake-up by another client.

    Args:
        subject: the server's name in errors.
    """

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._active = True
        """Whether the server was active at its last read, or woke since, or its last read failed."""
        self._was_busy = False
        """Whether its GPU was busy when `_is_due` was last called."""
        self._sleeping = False
        """Whether it slept when its `/props` were last read."""
        self._slept = False
        """Whether it has ever slept."""
        self._last_due: Nanoseconds = 0
        self._pause: Nanoseconds = FIRST_PAUSE
        """The least time from `_last_due` to the next read while it is idle."""

    def reading_at_rest(
        self,
        props: LlamaCppProps | None,
        last: ServerReading | None,
        *,
        now: Nanoseconds,
        busy: Callable[[], bool],
    ) -> ServerReading | None:
        """The reading of a server that sleeps or may fall asleep, by its last one; `None`: read its metrics.

        `busy`: whether its GPU was busy in the last tick, true while that is unknown.

        Raises:
            ReadFailedError: `asleep`, it sleeps and was never read.
        """
        if props is None or props.sleeping is None:
            return None
        if self._sleeping and not props.sleeping:
            self._active = True
        self._sleeping = props.sleeping
        self._slept = self._slept or props.sleeping
        if not props.sleeping:
            is_due = self._is_due(now, busy=busy())
            return None if is_due or last is None else replace(last, loads=())
        if last is None:
            raise ReadFailedError(
                FailureReason.ASLEEP, f"{self._subject}: asleep since before it was first read"
            )
        loads = (replace(load, running=0.0, waiting=0.0, kv_cache=None) for load in last.loads)
        return replace(last, loads=tuple(loads))

    def _is_due(self, now: Nanoseconds, *, busy: bool) -> bool:
        """Whether to read now, from which the next pause counts."""
        worked = busy or self._was_busy or self._active
        self._was_busy = busy
        if worked:
            self._pause = FIRST_PAUSE
        elif self._slept or now - self._last_due < self._pause:
            return False
        else:
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self._last_due = now
        return True

    def note_read(self, reading: ServerReading, last: ServerReading | None) -> None:
        """Note whether the server was active before a reading of its metrics, by the reading before that."""
        is_moved = last is None or last.counters != reading.counters
        is_loaded = any(load.running or load.waiting for load in reading.loads)
        self._active = is_moved or is_loaded

    def note_failure(self) -> None:
        """Note a read that failed: the server stays due."""
        self._active = True
