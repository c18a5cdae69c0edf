"""Slow servers cost the others nothing, and are read again all the same."""

import contextlib
import gc
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from exporter.clock import SystemClock
from exporter.readings import FailureReason, ReadFailedError, ServerKey
from exporter.sources import gather
from exporter.sources.gather import BACKOFF_MAX, BACKOFF_MIN, SLOW_READ, SLOW_WORKERS, Gatherer
from exporter.sources.http_client import HttpClientProtocol
from exporter.sources.server import ServerSource, Target, shared_client
from exporter.units import NANOSECONDS_PER_SECOND as SECOND
from exporter.units import Nanoseconds
from tests.kit.clock import WaitingClock
from tests.sources.test_gather import Scripted, raising

PAGE = b"""HTTP/1.1 200 OK\r\n\r
process_start_time_seconds 1.5e9
vllm:generation_tokens_total{model_name="m"} 7
"""
TIMEOUT_SECONDS = 0.1


@dataclass(eq=False)
class SlowSource(Scripted):
    """A source that may be slow."""

    may_be_slow: bool = True


@dataclass(eq=False)
class TimedSource(SlowSource):
    """Takes as long as it is told to, by the clock."""

    clock: WaitingClock | None = None
    takes: Nanoseconds = 3 * SECOND

    def read(self) -> object:
        assert self.clock is not None
        self.clock.now += self.takes
        return super().read()


@pytest.fixture
def clock() -> WaitingClock:
    return WaitingClock()


@pytest.fixture
def gatherer(clock: WaitingClock) -> Iterator[Gatherer]:
    made = Gatherer(clock, 10 * SECOND)
    yield made
    made.close()


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes every connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def good() -> Iterator[int]:
    """A port that answers each connection with a page."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(4096)
                        connection.sendall(PAGE)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def source(name: str, port: int, client: HttpClientProtocol) -> ServerSource:
    return ServerSource(
        Target(ServerKey("", name), f"http://127.0.0.1:{port}/{name}", "vllm"),
        client,
        SystemClock(),
        timeout=TIMEOUT_SECONDS,
    )


@pytest.mark.parametrize("silents", [16, 64])
def test_a_good_page_after_silent_ones_is_read_in_turn_and_then_always(
    silents: int, silent: int, good: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within as many rounds as it takes to try each silent one once; from then on none of them delays it."""
    monkeypatch.setattr(gather, "SLOW_READ", round(TIMEOUT_SECONDS * SECOND) // 2)
    client = shared_client()
    sources = [*(source(f"s{number}", silent, client) for number in range(silents))]
    sources.append(source("good", good, client))
    gatherer = Gatherer(SystemClock(), round(TIMEOUT_SECONDS * SECOND))
    own = Scripted("nvml", lambda: "read")
    rounds = 0
    while True:  # bounded by the test's own time-out
        rounds += 1
        answers = gatherer([own, *sources])
        assert answers[0].reading == "read"
        if answers[-1].health.up:
            break
    # At least as many begin in a round, and two rounds pass until the place of one is free again.
    assert rounds <= 2 * (silents // SLOW_WORKERS + 2)
    for _ in range(10):
        answers = gatherer([own, *sources])
        assert [answers[0].health.up, answers[-1].health.up] == [True, True]
        assert {answer.health.up for answer in answers[1:-1]} == {False}
    gatherer.close()
    client.close()


def test_slow_ones_never_take_every_thread(gatherer: Gatherer) -> None:
    """As many hang as can; what is no stranger, and a stranger known to be quick, is read beside them."""
    release = threading.Event()
    hung = [SlowSource(f"hung-{number}", lambda: release.wait(30)) for number in range(40)]
    quick, own = SlowSource("quick", lambda: "read"), Scripted("nvml", lambda: "read")
    gatherer.deadline = SECOND // 20
    gatherer([quick])
    for _ in range(3):
        first, *others, last = gatherer([own, *hung, quick])
        assert (first.reading, last.reading) == ("read", "read")
        assert {answer.health.reason for answer in others} == {"busy", "queued"}
    assert sum(one.reads for one in hung) == SLOW_WORKERS
    release.set()


def test_one_that_fails_slowly_is_asked_ever_more_rarely(gatherer: Gatherer, clock: WaitingClock) -> None:
    """Again at once, then after pauses of 5, 10, 20, 30 and 30 seconds; what was wrong with it stands."""
    slow = TimedSource(
        "slow", raising(ReadFailedError(FailureReason.TIMEOUT, "no whole answer")), clock=clock
    )
    pauses: list[int] = []
    for _ in range(7):
        since, reads = clock.now, slow.reads
        while True:
            (answer,) = gatherer([slow])
            if slow.reads > reads:
                break
            assert (answer.health.reason, answer.problem) == ("backoff", "no whole answer")
            assert answer.health.duration == 3 * SECOND
            clock.now += SECOND
        pauses.append((clock.now - slow.takes - since) // SECOND)
    assert pauses == [0, 0, 5, 10, 20, 30, 30]
    assert (BACKOFF_MIN, BACKOFF_MAX) == (5 * SECOND, 30 * SECOND)


def test_one_that_recovers_is_read_each_time_again(gatherer: Gatherer, clock: WaitingClock) -> None:
    """A quick answer ends its pauses; a slow one that is right has none."""
    server = TimedSource(
        "server", raising(ReadFailedError(FailureReason.TIMEOUT, "no whole answer")), clock=clock
    )
    for _ in range(3):
        gatherer([server])
    clock.now += BACKOFF_MAX
    server.act = lambda: "read"
    for takes in (SLOW_READ, 0, 0):
        server.takes = takes
        assert gatherer([server])[0].reading == "read"


def test_one_that_refuses_at_once_is_asked_each_time(gatherer: Gatherer, clock: WaitingClock) -> None:
    """It costs nobody anything, and may be there again at any moment."""
    gone = SlowSource("gone", raising(ReadFailedError(FailureReason.CONNECTION, "refused")))
    for _ in range(5):
        gatherer([gone])
        clock.now += 1
    assert gone.reads == 5


def test_what_a_read_says_after_its_tick_is_told_in_the_next(gatherer: Gatherer) -> None:
    """A server that is slower than the interval is read all the same; nobody asks it twice at once."""
    release, ended = threading.Event(), threading.Event()

    def late() -> object:
        assert release.wait(10)
        ended.set()
        return "late"

    server = SlowSource("server", late)
    gatherer.deadline = SECOND // 50
    assert gatherer([server])[0].health.reason == "busy"
    release.set()
    assert ended.wait(10)
    readings = [""]
    while not readings[-1]:  # its thread has yet to put it down
        readings.append(str(gatherer([server])[0].reading or ""))
    assert readings[-1] == "late"
    assert server.reads <= 2


def test_who_is_gone_is_remembered_no_more(gatherer: Gatherer) -> None:
    """A server that is no longer read leaves nothing behind."""
    gatherer([SlowSource("once", raising(ReadFailedError(FailureReason.CONNECTION, "refused")))])
    gatherer([])
    gc.collect()  # its failure holds it, by its trace
    assert len(gatherer._histories) == 0
