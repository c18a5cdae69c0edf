"""When to read a llama.cpp that may fall asleep.

A read of its `/metrics` resets the timer of `--sleep-idle-seconds` and wakes a sleeping server, which loads
its model; `/props` and `/v1/models` do neither (ggml-org/llama.cpp #20227, seen with build b10434).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from exporter.readings import SEQUENCES_MAX, FailureReason, ReadFailedError, ServerReading, label
from exporter.sources.server.fetch import NO_ANSWER
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, Nanoseconds

FIRST_PAUSE: Final = 10 * NANOSECONDS_PER_SECOND
LONGEST_PAUSE: Final = 4 * NANOSECONDS_PER_HOUR
"""Pauses between reads of an idle server, doubled each time."""


@dataclass(frozen=True, slots=True)
class LlamaCppProps:
    """Fields of `/props`."""

    sleeping: bool | None = None
    """Whether it sleeps, `None` for builds that cannot."""
    router: bool = False
    """Whether it is a router, without a model in the request."""
    model: str = ""
    build: str = ""
    slots: int = 0
    """Number of requests that it runs at once, 0 if unknown."""


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


class SleepWatch:
    """Whether a server sleeps, and its reading while its metrics are not read."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        """Its name in errors."""
        self._idle = IdleBackoff()
        self.props: LlamaCppProps | None = None
        """Its last `/props`; `None` where it has none."""

    @property
    def may_sleep(self) -> bool:
        """Whether it is of a build that can sleep."""
        return self.props is not None and self.props.sleeping is not None

    def look(self, fetch: Callable[[str], bytes]) -> None:
        """Read `/props`.

        Raises:
            ReadFailedError: the server does not answer; `router`, it is one, and no model is named.
        """
        try:
            body = fetch("props")
        except ReadFailedError as failure:
            if failure.reason in NO_ANSWER:
                raise
            self.props = None  # no such page, or a model that is not loaded: the metrics have the reason
            return
        self.props = props(body)
        if self.props is not None and self.props.router:
            remedy = "configure an endpoint for each model, with ?model=NAME"
            raise ReadFailedError(FailureReason.ROUTER, f"{self._subject}: a llama.cpp router: {remedy}")

    def idle_reading(
        self, last: ServerReading | None, now: Nanoseconds, busy: Callable[[], bool]
    ) -> ServerReading | None:
        """The reading of one that sleeps or may fall asleep, by its last one; `None`: read its metrics.

        Raises:
            ReadFailedError: `asleep`, it sleeps and was never read.
        """
        if self.props is None or self.props.sleeping is None:
            return None
        self._idle.sees(sleeping=self.props.sleeping)
        if not self.props.sleeping:
            is_due = self._idle.due(now, busy=busy())
            return None if is_due or last is None else replace(last, loads=())
        if last is None:
            raise ReadFailedError(
                FailureReason.ASLEEP, f"{self._subject}: asleep since before it was first read"
            )
        loads = (replace(load, running=0.0, waiting=0.0, kv_cache=None) for load in last.loads)
        return replace(last, loads=tuple(loads))

    def note(self, reading: ServerReading, last: ServerReading | None) -> None:
        """Note whether it was active before a reading of its metrics, by the one before that."""
        if self.props is not None:
            is_moved = last is None or last.counters != reading.counters
            is_loaded = any(load.running or load.waiting for load in reading.loads)
            self._idle.was(active=is_moved or is_loaded)

    def note_failure(self) -> None:
        """Note a read that failed: it stays due."""
        self._idle.was(active=True)
