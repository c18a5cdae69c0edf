"""Clients that are slow, greedy, malformed or many: each with its bound, over real sockets."""

import itertools
import select
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from exporter.clock import SystemClock
from exporter.web.limits import WebLimits
from exporter.web.listener import Listener, Waiting
from tests.exporter_threads import ended, running
from tests.kit.clock import noon
from tests.kit.units import MILLISECOND

Serve = Callable[..., Any]

QUICK = WebLimits(request=200 * MILLISECOND, idle=200 * MILLISECOND, admission=5000 * MILLISECOND)
GET = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /-/reload HTTP/1.1\r\nHost: x\r\n"
CLOSING = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def status(answer: bytes) -> int:
    """The status of the first answer."""
    return int(answer.split(b" ", 2)[1])


def healthy(client: socket.socket) -> bytes:
    """One answer to GET, from a connection that stays open."""
    client.sendall(GET)
    answer = b""
    while not answer.endswith(b"healthy\n"):
        chunk = client.recv(65536)
        assert chunk, answer
        answer += chunk
    return answer


def flood(client: socket.socket) -> None:
    """Ask for the page again and again, and read none of it."""
    while True:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)


def test_a_connection_is_kept_for_the_next_request(serve: Serve) -> None:
    """A scraper connects once."""
    with serve(None).connect() as client:
        for _ in range(3):
            answer = healthy(client)

            assert b"\r\nConnection: keep-alive\r\n" in answer
            assert b"\r\nContent-Length: 8\r\n" in answer


def test_requests_may_be_sent_ahead(serve: Serve) -> None:
    """Two requests in one packet get two answers, in order."""
    assert serve(None).say(GET + CLOSING).count(b"healthy\n") == 2


@pytest.mark.parametrize(
    "request_line", [b"GET /-/healthy HTTP/1.0", b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close"]
)
def test_who_wants_to_close_is_closed(request_line: bytes, serve: Serve) -> None:
    """HTTP/1.0, and `Connection: close`."""
    answer = serve(None).say(request_line + b"\r\n\r\n")

    assert status(answer) == 200
    assert b"\r\nConnection: close\r\n" in answer


def test_an_idle_connection_is_closed(serve: Serve) -> None:
    """Who sends nothing is let go, without a word."""
    site = serve(None, clock=SystemClock(), limits=QUICK)

    assert site.say(b"") == b""
    with site.connect() as client:
        healthy(client)
        assert client.recv(1) == b""


def test_a_request_that_does_not_end_is_cut_off(serve: Serve) -> None:
    """A head that stops in the middle is answered 408."""
    site = serve(None, clock=SystemClock(), limits=QUICK)

    assert status(site.say(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n")) == 408
    assert status(site.say(b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")) == 408
    assert site.reloads == 0


def test_a_byte_now_and_then_does_not_hold_a_connection(serve: Serve) -> None:
    """The bound is for the whole request: a client that always sends a little is cut off all the same."""
    site = serve(None, clock=SystemClock(), limits=QUICK)
    stop = threading.Event()
    with site.connect() as client:
        client.sendall(b"GET /-/healthy HTTP/1.1\r\nX: ")

        def drip() -> None:
            while not stop.wait(0.02):
                try:
                    client.sendall(b"x")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            assert status(client.recv(65536)) == 408
        finally:
            stop.set()
            thread.join(10)


def test_a_client_that_does_not_read_is_cut_off(serve: Serve, make_report: Callable[..., Any]) -> None:
    """Answers that nobody takes fill the socket; the thread is not held by it."""
    site = serve(make_report(), clock=SystemClock(), limits=QUICK)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        client.connect(("127.0.0.1", site.server.port))
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            flood(client)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"a" * 20_000, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 5_000 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 150 + b"\r\n", 431),
        (b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 8193\r\n\r\n", 413),
        (b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 413),
        (b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0x1\r\n\r\n", 400),
        (POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na", 400),
        (POST + b"Content-Length: 2\r\nContent-Length: 1\r\n\r\na", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Content-Length : 1\r\n\r\na", 400),
        (POST + b" folded\r\n\r\n", 400),
        (POST + b"no colon\r\n\r\n", 400),
        (POST + b"X: a\rb\r\n\r\n", 400),
        (POST + b"X: a\0b\r\n\r\n", 400),
        (POST + b": no name\r\n\r\n", 400),
        (b"POST /-/reload HTTP/1.1\r\n\r\n", 400),
        (POST + b"Host: x\r\n\r\n", 400),
        (b"POST /-/reload HTTP/1.1\r\nHost: x/y\r\n\r\n", 400),
        (b"POST /-/reload HTTP/1.1\r\nHost: x y\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET / HTTP/x\r\n\r\n", 400),
        (b"GET / HTTP/1.1 more\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 \x00 \n\r\n\r\n", 400),
    ],
    ids=["line", "no line", "header", "headers", "count", "body", "huge body", "negative", "hex", "twice",
         "lengths", "chunked", "both", "space before the colon", "folded", "no colon", "bare CR", "NUL",
         "no name", "no host", "two hosts", "path in host", "space in host",
         "version", "no version", "words", "word", "tls"],
)  # fmt: skip
def test_what_is_too_much_or_malformed_is_refused(sent: bytes, expected: int, serve: Serve) -> None:
    """Each is answered, closed, and nothing is reloaded by it."""
    site = serve(None)
    answer = site.say(sent)

    assert status(answer) == expected
    assert b"\r\nConnection: close\r\n" in answer
    assert site.reloads == 0
    assert status(site.say(CLOSING)) == 200


def test_a_small_body_is_read_and_dropped(serve: Serve) -> None:
    """Curl may send one, with or without asking first."""
    site = serve(None)
    head = b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"

    assert status(site.say(head + b"\r\n{}" + CLOSING)) == 200
    site.clock.now += 10**9
    assert site.say(head + b"Expect: 100-continue\r\n\r\n{}" + CLOSING).startswith(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"
    )
    assert site.reloads == 2


def test_an_empty_line_before_a_request_is_skipped(serve: Serve) -> None:
    """RFC 9112 section 2.2: old clients send one after a body."""
    assert status(serve(None).say(b"\r\n" + CLOSING)) == 200


def test_a_client_that_leaves_is_no_error(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Half a request, and nothing at all: closed without a log line."""
    caplog.set_level("WARNING")
    site = serve(None)
    for sent in (b"", b"GET", b"GET / HTTP/1.1\r\nHost"):
        with site.connect() as client:
            client.sendall(sent)
    assert status(site.say(CLOSING)) == 200
    site.server.close()

    assert caplog.records == []


def test_a_hundred_scrapers_at_once(serve: Serve, make_report: Callable[..., Any]) -> None:
    """All get the same page."""
    site = serve(make_report())
    answers: list[tuple[int, bytes]] = []
    together = threading.Barrier(100)

    def scrape() -> None:
        together.wait(30)
        code, _, body = site.request("GET", "/metrics", Accept_Encoding="gzip")
        answers.append((code, body))

    threads = [threading.Thread(target=scrape) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(answers) == 100
    assert len(set(answers)) == 1
    assert answers[0][0] == 200


def test_idle_connections_do_not_keep_a_scraper_out(serve: Serve) -> None:
    """When all places are taken, one of the idle connections is closed for the new one, and only one."""
    site = serve(None, limits=WebLimits(connections=3))
    idle = [site.connect() for _ in range(3)]
    try:
        for client in idle:
            healthy(client)
        assert status(site.say(CLOSING)) == 200
        closed, _, _ = select.select(idle, [], [], 10)
        assert [client.recv(1) for client in closed] == [b""]
        for client in set(idle) - set(closed):
            healthy(client)
    finally:
        for client in idle:
            client.close()


def test_when_all_places_are_busy_a_new_client_is_told(serve: Serve) -> None:
    """Requests that are being answered are not cut for new ones: those are told to come again."""
    site = serve(None, limits=WebLimits(connections=1, admission=10 * MILLISECOND))
    reloading, go = threading.Event(), threading.Event()

    def slow() -> None:
        reloading.set()
        go.wait(30)

    site.reload = slow
    site.server._reload = slow
    with site.connect() as busy:
        busy.sendall(b"POST /-/reload HTTP/1.1\r\nHost: x\r\n\r\n")
        assert reloading.wait(10)
        with site.connect() as client:
            answer = client.recv(65536)
        go.set()

        assert status(answer) == 503
        assert b"\r\nRetry-After: 1\r\n" in answer
        assert status(busy.recv(65536)) == 200


def test_threads_end_with_their_connections(serve: Serve) -> None:
    """A thousand clients later there are no more threads than before."""
    site = serve(None)
    for _ in range(50):
        site.say(CLOSING)
    site.server.close()

    assert ended("web-client")
    assert ended("web")


def test_a_connection_whose_close_fails_gives_its_place_back(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """close(2) may report an error after it has let go of the descriptor."""
    caplog.set_level("DEBUG")
    site = serve(None, limits=WebLimits(connections=1))
    close = socket.socket.close

    def failing(closed: socket.socket) -> None:
        close(closed)
        if threading.current_thread().name == "web-client":
            raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "close", failing)
        for _ in range(3):
            assert status(site.say(CLOSING)) == 200
        site.server.close()
        assert ended("web-client")

    assert {vars(record)["problem"] for record in caplog.records if record.msg == "connection failed"} == {
        "[Errno 5] Input/output error"
    }


def ends_after(go: threading.Event) -> Callable[[Callable[[], None], str], threading.Thread]:
    """Starts threads that have done their work and end later."""

    def start(work: Callable[[], None], name: str) -> threading.Thread:
        def late() -> None:
            work()
            go.wait(30)

        thread = threading.Thread(target=late, name=name, daemon=True)
        thread.start()
        return thread

    return start


def test_stopping_waits_for_the_acceptor_thread(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interpreter and tests find no thread of a closed server, however slowly that thread ends."""
    go = threading.Event()
    monkeypatch.setattr("exporter.web.listener.start", ends_after(go))
    site = serve(None)
    threading.Timer(0.2, go.set).start()
    site.server.close()

    assert not running("web")


def test_stopping_does_not_wait_for_ever(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """An acceptor thread that hangs is left behind: it is a daemon thread."""
    go = threading.Event()
    monkeypatch.setattr("exporter.web.listener.start", ends_after(go))
    monkeypatch.setattr("exporter.web.listener._CLOSE_SECONDS", 0.05)
    site = serve(None)
    site.server.close()

    assert running("web") == 1
    go.set()
    assert ended("web")


def test_a_place_that_the_stop_frees_is_not_given_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that waits for it is refused: nothing would cut that one later."""
    served: list[str] = []
    is_full = threading.Event()

    def serve_until_cut(stream: socket.socket, peer: str, waiting: Waiting) -> None:
        served.append(peer)
        with waiting:
            pass
        stream.recv(1)

    def no_connection_gives_way(_listener: Listener, _served: object) -> None:
        is_full.set()

    monkeypatch.setattr("exporter.web.listener._CLOSE_SECONDS", 0.05)
    monkeypatch.setattr(Listener, "_first_to_give_way", no_connection_gives_way)
    limits = WebLimits(connections=1, admission=500 * MILLISECOND)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        listener = Listener(listening, serve_until_cut, SystemClock(), limits)
        listener.start()
        with socket.create_connection(address), socket.create_connection(address) as second:
            second.settimeout(30)
            assert is_full.wait(30)
            listener.close()
            assert status(second.recv(65536)) == 503
    assert ended("web")
    assert served == ["127.0.0.1"]


def no_thread(*_: object) -> None:
    raise RuntimeError("can't start new thread")


def not_accepted(caplog: pytest.LogCaptureFixture) -> list[object]:
    """The problem of each record; a connection that is not accepted is all that is logged."""
    assert set(caplog.messages) == {"connection not accepted"}
    return [vars(record)["problem"] for record in caplog.records]


def test_a_thread_that_cannot_start_costs_its_connection_only(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At the container's limit of tasks clients are told to come again, at once; it is logged once."""
    caplog.set_level("WARNING")
    site = serve(None, limits=WebLimits(connections=1))
    with monkeypatch.context() as patch:
        patch.setattr("exporter.threads.start", no_thread)
        for _ in range(3):
            with site.connect() as client:
                assert status(client.recv(65536)) == 503
                assert client.recv(1) == b""
    assert status(site.say(CLOSING)) == 200
    assert not_accepted(caplog) == ["can't start new thread"]


def refuse_accepts(monkeypatch: pytest.MonkeyPatch, failures: Iterable[Exception]) -> None:
    """Let accept(2) fail in this way, once for each failure."""
    accept = socket.socket.accept
    left = iter(failures)

    def scarce(listening: socket.socket) -> Any:
        for failure in left:
            raise failure
        return accept(listening)

    monkeypatch.setattr(socket.socket, "accept", scarce)


def test_trouble_is_logged_once_a_minute(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However many clients it strikes, and whatever strikes in between; other trouble is logged at once."""
    caplog.set_level("WARNING")
    site = serve(None)
    refuse_accepts(monkeypatch, [MemoryError(), OSError(24, "Too many open files")] * 3)
    assert status(site.say(CLOSING)) == 200  # the acceptor was already waiting in accept(2)
    assert status(site.say(CLOSING)) == 200
    assert not_accepted(caplog) == ["MemoryError", "[Errno 24] Too many open files"]


def test_trouble_of_many_kinds_is_logged_eight_times_a_minute(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A hundred problems, each another one, and again a minute later."""
    caplog.set_level("WARNING")
    site = serve(None, clock=noon())  # to wait moves this clock by 0.1 s
    many = [OSError(number, "strange") for number in range(1000, 1100)]
    refuse_accepts(monkeypatch, [*many, *[MemoryError()] * 510, *many])
    assert status(site.say(CLOSING)) == 200  # the acceptor was already waiting in accept(2)
    assert status(site.say(CLOSING)) == 200
    first_eight = [f"[Errno {number}] strange" for number in range(1000, 1008)]
    # The first eight are a minute old at 60.1 s: one failure of memory is logged, and then seven more.
    assert not_accepted(caplog) == [*first_eight, "MemoryError", *first_eight[:7]]


def test_a_full_file_table_is_waited_out(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """accept(2) fails while descriptors are out; the server tries again and does not spin."""
    site = serve(None)
    waits: list[int] = []
    failures = [OSError(24, "Too many open files")] * 2
    accept = socket.socket.accept

    def scarce(listening: socket.socket) -> Any:
        if failures:
            raise failures.pop()
        return accept(listening)

    def wait(stop: threading.Event, duration: int) -> bool:
        waits.append(duration)
        return stop.is_set()

    monkeypatch.setattr(socket.socket, "accept", scarce)
    monkeypatch.setattr(site.clock, "wait", wait)
    assert status(site.say(CLOSING)) == 200  # the acceptor was already waiting in accept(2) for this one
    assert status(site.say(CLOSING)) == 200

    assert waits == [100 * MILLISECOND] * 2


def test_trouble_that_goes_on_is_logged_again(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten failures a second for 130 seconds: at the start, and after each minute."""
    caplog.set_level("WARNING")
    site = serve(None, clock=noon())  # to wait moves this clock
    refuse_accepts(monkeypatch, itertools.repeat(MemoryError(), 1300))
    assert status(site.say(CLOSING)) == 200  # the acceptor was already waiting in accept(2)
    assert status(site.say(CLOSING)) == 200
    assert not_accepted(caplog) == ["MemoryError"] * 3
