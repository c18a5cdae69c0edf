"""Law 6 against a real llama.cpp: watching it neither keeps it awake nor wakes it (llama.cpp #20227)."""

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from exporter.readings import ServerKey, ServerReading
from exporter.sources.server import ServerSource, Target, shared_client
from exporter.units import Instant, Nanoseconds, nanoseconds
from tests.e2e.daemon import ROOT
from tests.e2e.llama import LETTERS, binary

IDLE_SECONDS = 1
TICK_SECONDS = 0.25
"""Of the server's time. The reader is told that ten seconds have passed."""


class Ticks:
    """A clock that passes ten seconds a tick."""

    def __init__(self) -> None:
        self.now: Nanoseconds = 0

    def elapsed(self) -> Nanoseconds:
        return self.now

    def wall(self) -> Instant:
        return self.now

    def wait(self, stop: threading.Event, duration: Nanoseconds) -> bool:
        self.now += duration
        return stop.wait(TICK_SECONDS)


def within(seconds: float, true: Callable[[], bool]) -> bool:
    """Whether something becomes true in time."""
    pause = threading.Event()
    return any(true() or pause.wait(TICK_SECONDS) for _ in range(int(seconds / TICK_SECONDS)))


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server that falls asleep after an idle second."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        *(str(binary()), "-m", str(ROOT / "tests/e2e/tiny.gguf"), "-a", "tiny", "--metrics"),
        *("--host", "127.0.0.1", "--port", str(port), "-c", "2048", "-np", "2", "-ngl", "0", "-t", "1"),
        *("--sleep-idle-seconds", str(IDLE_SECONDS)),
    ]

    def healthy() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health").is_success
        except httpx.TransportError:
            return False

    with (
        (tmp_path / "llama.log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as server,
    ):
        try:
            assert within(30, healthy)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


def test_a_watched_server_falls_asleep_and_is_not_woken(address: str) -> None:
    """It is read every tick all the while, with an idle GPU; what it did when it woke is read then."""
    clock, stop = Ticks(), threading.Event()

    def asleep() -> bool:
        return httpx.get(f"{address}/props").json()["is_sleeping"] is True

    def tokens(reading: ServerReading) -> dict[str, float]:
        return {c.quantity: c.value for c in reading.counters if "seconds" not in c.quantity}

    def complete() -> None:
        body = {"prompt": "hello world", "max_tokens": 20, "ignore_eos": True, "grammar": LETTERS}
        httpx.post(f"{address}/v1/completions", json=body).raise_for_status()

    source = ServerSource(
        Target(ServerKey("", "chat"), f"{address}/metrics"), shared_client(), clock, busy=lambda: False
    )

    def tick() -> ServerReading:
        clock.wait(stop, nanoseconds(10))
        return source.read()

    complete()
    first = tick()
    assert tokens(first)["generation"] == 20
    assert within(30, lambda: tick().up and asleep())

    for _ in range(8):
        assert tokens(tick()) == tokens(first)
    assert asleep()

    complete()
    woken = tick()
    assert tokens(woken)["generation"] == 40
    assert (woken.identity, woken.models) == (first.identity, ("tiny",))
