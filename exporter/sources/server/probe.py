"""Server probe: the JSON pages of a server, apart from its metrics.

A read of llama.cpp's `/metrics` resets the timer of `--sleep-idle-seconds` and wakes a sleeping server, which
loads its model; `/props` and `/v1/models` do neither (ggml-org/llama.cpp #20227, seen with build b10434).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from exporter.engines import Engine, Way
from exporter.readings import SEQUENCES_MAX, ReadFailedError, label
from exporter.sources.server.page_reader import ServerInfo
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, Nanoseconds

JSON_BYTES_MAX: Final = 1 << 20
"""Largest JSON page; a chat template has tens of kilobytes."""


class ServerProbe:
    """Caches the answers of one server. `fetch` gets a path's body, or raises `ReadFailedError`.

    A missing model is requested again, since the server may be loading it; a missing version is not.
    """

    def __init__(self, fetch: Callable[[str], bytes]) -> None:
        self._fetch = fetch
        self._of: tuple[str, str] | None = None
        self._known = ServerInfo()

    def forget(self) -> None:
        """Empty the cache: another server may answer next."""
        self._of = None

    def info(self, engine: Engine, identity: str) -> ServerInfo:
        """Model and version of the process `identity`, requested where they are not cached."""
        same = self._of == (engine.name, identity)
        if not same:
            self._known = ServerInfo()
        self._of = engine.name, identity
        for question in engine.questions:
            model = question.model if not self._known.model else ()
            version = question.version if not self._known.version and not same else ()
            if model or version:
                try:
                    body = self._fetch(question.path)
                except ReadFailedError:
                    body = b""
                self._known = ServerInfo(
                    self._known.model or text(body, model), self._known.version or text(body, version)
                )
        return self._known


def text(body: bytes, way: Way) -> str:
    """The text at the end of a way into a JSON document; empty if there is none."""
    if not way:
        return ""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    for step in way:
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        else:
            value = value[step] if isinstance(value, list) and step < len(value) else None
    return label(value) if isinstance(value, str) else ""


FIRST_PAUSE: Final = 10 * NANOSECONDS_PER_SECOND
LONGEST_PAUSE: Final = 4 * NANOSECONDS_PER_HOUR
"""Pauses between reads of an idle server, doubled each time."""


@dataclass(frozen=True, slots=True)
class LlamaCppProps:
    """Fields of `/props`.

    `sleeping` is `None` for builds that cannot sleep. `router` is true for a router without a model in the
    request. `slots` is the number of requests that it runs at once, 0 if unknown.
    """

    sleeping: bool | None = None
    router: bool = False
    model: str = ""
    build: str = ""
    slots: int = 0


def props(body: bytes) -> LlamaCppProps | None:
    """Parse `/props`; `None` if this is no llama.cpp's."""
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
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


def _text(value: object) -> str:
    return label(value) if isinstance(value, str) else ""


class IdleBackoff:
    """When to read a server that may fall asleep by itself.

    It is read after ticks in which its GPU was busy, once more when that falls idle, and while it was active
    at the last read, so that the tokens of its last request count. Whether it ever sleeps is unknown, so an
    idle one is read ever less often, until a pause is long enough for it to fall asleep. After its first
    sleep only work makes it due: a busy GPU, or a wake-up by another client.
    """

    def __init__(self) -> None:
        self._active = True
        self._was_busy = False
        self._sleeping = False
        self._slept = False
        self._last: Nanoseconds = 0
        self._pause: Nanoseconds = FIRST_PAUSE

    def sees(self, *, sleeping: bool) -> None:
        """Note whether the server sleeps."""
        if self._sleeping and not sleeping:
            self._active = True
        self._sleeping = sleeping
        self._slept = self._slept or sleeping

    def due(self, now: Nanoseconds, *, busy: bool) -> bool:
        """Whether to read now. `busy`: its GPU was busy in the last tick, or that is not known."""
        worked = busy or self._was_busy or self._active
        self._was_busy = busy
        if worked:
            self._pause = FIRST_PAUSE
        elif self._slept or now - self._last < self._pause:
            return False
        else:
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self._last = now
        return True

    def was(self, *, active: bool) -> None:
        """Note a read: whether the server did anything since the one before, or is about to.

        A read that was due and failed counts as active, so that it stays due.
        """
        self._active = active
