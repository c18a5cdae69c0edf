"""Requests of quick reads are sent before the first response is read, and none is lost or read twice."""

import contextlib
import gc
import socket
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from exporter.clock import SystemClock
from exporter.readings import ReadFailedError, ServerKey
from exporter.sources import gather
from exporter.sources.gather import WORKERS, Gatherer
from exporter.sources.http_client import HEADERS, Deadline, HttpClient, HttpRequest
from exporter.sources.server import ServerSource, shared_client
from exporter.sources.server.fetch import Fetcher
from exporter.threads import start
from exporter.units import NANOSECONDS_PER_SECOND as SECOND
from tests.clocks import ManualClock
from tests.sources.test_gather import LONG, SHORT, Scripted

PAGE = b"""HTTP/1.1 200 OK\r\n\r
process_start_time_seconds 1.5e9
vllm:generation_tokens_total{model_name="m"} 7
"""


@dataclass(eq=False)
class SendingSource(Scripted):
    """Notes in `steps` what is done to it; `sends` is whether a request can be sent ahead."""

    steps: list[str] = field(default_factory=list)
    sends: Callable[[], bool] = lambda: True
    may_be_slow: bool = False

    def send(self) -> bool:
        self.steps.append(f"send {self.name}")
        return self.sends()

    def withdraw(self) -> None:
        self.steps.append(f"withdraw {self.name}")

    def read(self) -> object:
        self.steps.append(f"read {self.name}")
        return super().read()


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other one joins in."""
    monkeypatch.setattr(gather, "JOIN_PAUSE", LONG)


@pytest.mark.usefixtures("one_thread")
def test_all_requests_are_sent_before_a_response_is_read() -> None:
    """One that cannot be sent ahead is read in its turn; answers stand in the order of the sources."""
    steps: list[str] = []
    sources = [
        SendingSource("a", lambda: 1, steps=steps),
        SendingSource("b", lambda: 2, steps=steps, sends=lambda: False),
        SendingSource("c", lambda: 3, steps=steps),
    ]
    gatherer = Gatherer(SystemClock(), LONG)
    for _ in range(2):
        steps.clear()
        assert [answer.reading for answer in gatherer(sources)] == [1, 2, 3]
        assert steps == ["send a", "send b", "read b", "send c", "read a", "read c"]
    gatherer.close()


@pytest.mark.usefixtures("one_thread")
def test_so_many_are_sent_ahead_at_most() -> None:
    """A host may have hundreds of servers: each open connection holds a page of the kernel's memory."""
    steps: list[str] = []
    sources = [SendingSource(str(number), lambda: 1, steps=steps) for number in range(3 * WORKERS)]
    gatherer = Gatherer(SystemClock(), LONG)
    assert all(answer.health.up for answer in gatherer(sources))
    gatherer.close()
    ahead = [0]
    for step in steps:
        ahead.append(ahead[-1] + (1 if step.startswith("send") else -1))
    assert (max(ahead), ahead[-1]) == (WORKERS, 0)


def test_what_may_be_slow_is_not_sent_ahead_until_a_read_was_quick() -> None:
    """It would wait for a thread with a connection open."""
    source = SendingSource("new", lambda: 1, may_be_slow=True)
    gatherer = Gatherer(SystemClock(), LONG)
    gatherer([source])
    assert source.steps == ["read new"]
    gatherer([source])
    assert source.steps == ["read new", "send new", "read new"]
    gatherer.close()


def test_a_request_whose_response_nobody_came_to_read_is_withdrawn_and_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The only thread waits for another server: its response would be of the tick before."""
    threads: list[threading.Thread] = []

    def start_one(work: Callable[[], None], name: str) -> None:
        if not threads:
            threads.append(start(work, name))

    monkeypatch.setattr(gather, "start", start_one)
    release = threading.Event()
    hung = SendingSource("hung", lambda: release.wait(30))
    fine = SendingSource("fine", lambda: 1)
    gatherer = Gatherer(SystemClock(), 10 * SHORT)

    answers = gatherer([hung, fine])
    assert [answer.health.reason for answer in answers] == ["busy", "busy"]
    assert fine.steps == ["send fine"]
    (answer,) = gatherer([fine])
    assert fine.steps == ["send fine", "withdraw fine"]
    release.set()
    while not answer.health.up:  # bounded by the test's own time-out
        (answer,) = gatherer([fine])
    assert answer.reading == 1
    assert fine.steps[-2:] == ["send fine", "read fine"]
    gatherer.close()


@pytest.mark.parametrize("index", [0, WORKERS - 1])
@pytest.mark.parametrize("hangs_in", ["send", "read"])
def test_a_response_is_read_whichever_servers_hang_after_its_request(hangs_in: str, index: int) -> None:
    """Fewer than the threads are before it: those that hang after they sent it leave one that reads it."""
    release = threading.Event()
    steps: list[str] = []

    def hang() -> bool:
        return release.wait(30)

    sources = [
        SendingSource(str(number), hang, steps=steps, sends=hang if hangs_in == "send" else lambda: False)
        for number in range(2 * WORKERS)
    ]
    sources[WORKERS - 2].sends = lambda: True
    sources.insert(index, SendingSource("fine", lambda: 1, steps=steps))
    gatherer = Gatherer(SystemClock(), 20 * SHORT)
    answers = gatherer(sources)
    release.set()
    gatherer.close()
    assert answers[index].reading == 1
    assert steps.index("send fine") < steps.index("read fine")


def test_a_slip_in_sending_fails_its_own_reading_only() -> None:
    """As one in reading does."""

    def slip() -> bool:
        raise KeyError("x")

    gatherer = Gatherer(SystemClock(), LONG)
    for _ in range(2):
        broken, fine = gatherer(
            [SendingSource("slip", lambda: 1, sends=slip), SendingSource("fine", lambda: 2)]
        )
        assert (broken.problem, fine.reading) == ("slip: KeyError: 'x'", 2)
    gatherer.close()


@pytest.mark.usefixtures("one_thread")
def test_the_duration_of_a_read_leaves_out_its_wait_for_others() -> None:
    """Sending took 1 s and 2 s, the first response 30 s, the second one 40 s."""
    clock = ManualClock()

    def taking(duration: int) -> Callable[[], bool]:
        def act() -> bool:
            clock.now += duration * SECOND
            return True

        return act

    gatherer = Gatherer(clock, 10_000 * SECOND)
    answers = gatherer(
        [SendingSource("a", taking(30), sends=taking(1)), SendingSource("b", taking(40), sends=taking(2))]
    )
    assert [answer.health.duration / SECOND for answer in answers] == [31, 42]
    gatherer.close()


def fetcher(url: str, clock: ManualClock | SystemClock, timeout: float = 3.0) -> Fetcher:
    return Fetcher(shared_client(), url, clock, timeout, None, None)


def test_time_between_sending_and_reading_does_not_count() -> None:
    """Whatever the others take: the response is there. The timeout bounds what this read takes itself."""
    clock = ManualClock()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/metrics"
        made = fetcher(url, clock)
        assert made.send(url)
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(PAGE)
        clock.now += 60 * SECOND
        made.begin_read()
        assert made.get(url, 1000).body.startswith(b"process")
        clock.now += 4 * SECOND
        with pytest.raises(ReadFailedError, match="no whole answer within 3 s"):
            made.get(url, 1000)


def test_a_request_that_could_not_be_sent_fails_the_read() -> None:
    """Sending raises nothing: the failure is that of the read, once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/metrics"
    made = fetcher(url, SystemClock())
    assert made.send(url)
    made.begin_read()
    with pytest.raises(ReadFailedError, match="Connection refused") as failure:
        made.get(url, 1000)
    assert failure.value.reason == "connection"


def test_a_request_that_could_not_be_sent_leaves_no_cycle() -> None:
    """The trace of its failure has the frames that raise it: none of them keeps the failure."""
    made = fetcher("http://127.0.0.1:1/metrics", SystemClock())
    gc.disable()
    try:
        assert made.send("http://127.0.0.1:1/metrics")
        made.begin_read()
        with contextlib.suppress(ReadFailedError):
            made.get("http://127.0.0.1:1/metrics", 1000)
        reference = weakref.ref(made)
        del made
        assert reference() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("end", [Fetcher.withdraw, Fetcher.close], ids=lambda each: each.__name__)
def test_a_request_that_is_not_read_is_closed(end: Callable[[Fetcher], None]) -> None:
    """The server sees its end, and the next read sends another one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/metrics"
        made = fetcher(url, SystemClock())
        assert made.send(url)
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(5)
            assert connection.recv(65536).startswith(b"GET /metrics ")
            end(made)
            assert connection.recv(65536) == b""


def test_a_second_request_closes_the_first() -> None:
    """A read that is begun again."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/metrics"
        made = fetcher(url, SystemClock())
        assert made.send(url)
        assert made.send(url)
        first, _ = listener.accept()
        second, _ = listener.accept()
        with first, second:
            first.settimeout(5)
            first.recv(65536)
            assert first.recv(65536) == b""
            second.sendall(PAGE)
            second.shutdown(socket.SHUT_WR)
            made.begin_read()
            assert made.get(url, 1000).status == 200


def test_https_requests_are_not_sent_ahead() -> None:
    """Their client keeps its own connections."""
    assert not fetcher("https://127.0.0.1:1/metrics", SystemClock()).send("https://127.0.0.1:1/metrics")


def test_only_a_server_that_is_known_is_sent_a_request_ahead() -> None:
    """A new one may be a sleeping llama.cpp, as may any after a failure: its properties come first."""
    requests: list[bytes] = []
    status = [b"200 OK"]
    ended = threading.Event()

    def serve(listener: socket.socket) -> None:
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                requests.append(connection.recv(65536).split(b" ")[1])
                connection.sendall(PAGE.replace(b"200 OK", status[0]))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/metrics"
        source = ServerSource(ServerKey("", "chat"), url, shared_client(), SystemClock())
        assert not source.send()
        source.read()
        requests.clear()
        assert source.send()
        assert source.read().counters
        assert requests == [b"/metrics"]
        status[0] = b"500 Oops"
        assert source.send()
        with pytest.raises(ReadFailedError, match="HTTP status 500"):
            source.read()
        assert not source.send()
        source.close()
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_pause_of_a_deadline_moves_its_end() -> None:
    """One second before, two after."""
    clock = ManualClock()
    deadline = Deadline(clock, 3.0)
    clock.now += SECOND
    deadline.pause()
    clock.now += 100 * SECOND
    deadline.resume()
    assert deadline.left() == 2.0


def test_the_client_sends_plain_requests_only() -> None:
    """`HttpsClient` speaks TLS."""
    with pytest.raises(ReadFailedError, match="is not asked without TLS"):
        HttpClient().send(HttpRequest("https://x/", HEADERS, "x"), Deadline(SystemClock(), 1))
