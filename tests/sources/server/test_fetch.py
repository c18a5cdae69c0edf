"""Endpoints that misbehave, on real sockets: bounded in bytes, in time and in trust."""

import socket
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from exporter.clock import SystemClock
from exporter.readings import ReadFailedError
from exporter.sources.http_client import Deadline, HttpClientProtocol, HttpRequest, HttpResponse, authority
from exporter.sources.server import ServerSource

Serve = Callable[..., int]
Real = Callable[..., ServerSource]

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def failure_of(source: ServerSource) -> ReadFailedError:
    with pytest.raises(ReadFailedError) as failure:
        source.read()
    return failure.value


def sends(*pieces: bytes) -> Callable[[socket.socket, threading.Event], None]:
    def script(connection: socket.socket, _stop: threading.Event) -> None:
        for piece in pieces:
            connection.sendall(piece)

    return script


def drips(start: bytes, drop: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """Send a piece every 20 ms until the reader hangs up or the test ends."""

    def script(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(start)
        while not stop.wait(0.02):
            connection.sendall(drop)

    return script


def records(
    requests: list[bytes], script: Callable[[socket.socket, threading.Event], None]
) -> Callable[[socket.socket, threading.Event], None]:
    """Note what was asked, then go on with a script; for a server that does not wait itself."""

    def listen(connection: socket.socket, stop: threading.Event) -> None:
        requests.append(b"")
        while not requests[-1].endswith(b"\r\n\r\n") and (received := connection.recv(65536)):
            requests[-1] += received
        script(connection, stop)

    return listen


def hangs(connection: socket.socket, stop: threading.Event) -> None:
    """Say nothing until the reader hangs up."""
    while not stop.is_set() and connection.recv(1):
        pass


def test_a_page_is_read_from_a_socket(serve: Serve, real: Real, vllm_page: bytes) -> None:
    """With a length, and without one until the server hangs up."""
    length = b"Content-Length: %d\r\n\r\n" % len(vllm_page)
    assert len(real(serve(sends(OK, length, vllm_page))).read().counters) == 2
    assert len(real(serve(sends(OK, b"\r\n", vllm_page))).read().counters) == 2


def test_each_read_is_a_connection_of_its_own(serve: Serve, real: Real, vllm_page: bytes) -> None:
    """Servers close idle connections before the next tick, and a race with that would fail reads."""
    connections = []

    def script(connection: socket.socket, stop: threading.Event) -> None:
        connections.append(connection)
        sends(OK, b"Content-Length: %d\r\n\r\n" % len(vllm_page), vllm_page)(connection, stop)

    source = real(serve(script))
    assert [source.read().up, source.read().up] == [True, True]
    assert len(connections) == 3  # once more for the version


def test_a_refused_connection_is_told(real: Real) -> None:
    """Nobody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert failure_of(real(port)).reason == "connection"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(hangs, id="hang"),
        pytest.param(drips(OK, b"X-Header: more\r\n"), id="headers"),
        pytest.param(drips(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"), id="chunks"),
        pytest.param(drips(OK + b"Content-Length: 1000000\r\n\r\n", b"x"), id="body"),
    ],
)
def test_one_deadline_bounds_the_whole_read(serve: Serve, real: Real, script: Any) -> None:
    """A byte now and then keeps no read alive, neither in the headers nor in the body."""
    assert failure_of(real(serve(script), timeout=0.3)).reason == "timeout"


def test_an_endless_body_is_cut_at_the_limit(serve: Serve, real: Real) -> None:
    """Whatever length it claims."""
    script = sends(OK, b"Content-Length: 100000000\r\n\r\n", b"x" * 5000)
    assert failure_of(real(serve(script), body_bytes=4096)).reason == "too_large"


def test_a_body_of_exactly_the_limit_is_read(serve: Serve, real: Real, vllm_page: bytes) -> None:
    """The bound is on what is larger."""
    script = sends(OK, b"\r\n", vllm_page)
    assert real(serve(script), body_bytes=len(vllm_page)).read().up
    assert failure_of(real(serve(script), body_bytes=len(vllm_page) - 1)).reason == "too_large"


def test_a_redirect_is_not_followed(serve: Serve, real: Real, vllm_page: bytes) -> None:
    """An endpoint must not send the meter, and its token, elsewhere."""
    connections = []

    def target(connection: socket.socket, stop: threading.Event) -> None:
        connections.append(connection)
        sends(OK, b"\r\n", vllm_page)(connection, stop)

    location = b"Location: http://127.0.0.1:%d/metrics\r\n\r\n" % serve(target)
    failure = failure_of(real(serve(sends(b"HTTP/1.1 302 Found\r\n", location))))
    assert (failure.reason, connections) == ("redirect", [])


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (b"401 Unauthorized", "unauthorized"),
        (b"403 Forbidden", "unauthorized"),
        (b"404 Not Found", "not_found"),
        (b"501 Not Implemented", "metrics_off"),
        (b"503 Service Unavailable", "http_status"),
    ],
)
def test_another_status_is_told(serve: Serve, real: Real, status: bytes, reason: str) -> None:
    """The message names it; the body is not read."""
    failure = failure_of(real(serve(sends(b"HTTP/1.1 " + status + b"\r\n\r\n", b"x" * 5000))))
    assert failure.reason == reason
    assert status[:3].decode() in str(failure)


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x00\x02",
        OK + b"Content-Length: many\r\n\r\n",
        OK + b"X: " + b"y" * 200_000,
        OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        OK + b"Content-Length: 1\r\nTransfer-Encoding: gzip\r\n\r\nx",
        OK + CHUNKED + b"x\r\n",
        OK + CHUNKED + b"-1\r\nx\r\n",
        OK + CHUNKED + b"1;" + b"y" * 200_000,
        OK + CHUNKED + b"1\r\nx\r\n0\r\nX: " + b"y" * 200_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
    ],
)
def test_what_is_not_http_is_a_failed_connection(serve: Serve, real: Real, garbage: bytes) -> None:
    """Or no connection at all. What is no body has a bound, wherever it comes."""
    assert failure_of(real(serve(sends(garbage)))).reason == "connection"


def test_a_short_body_is_a_failed_connection(serve: Serve, real: Real, vllm_page: bytes) -> None:
    """Half of a page is not a page."""
    assert (
        failure_of(real(serve(sends(OK, b"Content-Length: 99999\r\n\r\n", vllm_page)))).reason == "connection"
    )


def test_cookies_are_not_kept(serve: Serve, real: Real, vllm_page: bytes) -> None:
    """All ports of this host would share them, and no bound would hold them."""
    requests: list[bytes] = []
    script = records(requests, sends(OK, b"Set-Cookie: a=b; Path=/\r\n\r\n", vllm_page))
    source = real(serve(script, waits=False))
    assert [source.read().up, source.read().up] == [True, True]
    assert len(requests) == 3  # once more for the version
    assert b"cookie" not in b"".join(requests).lower()


@pytest.mark.parametrize(
    ("method", "path", "line", "length"),
    [
        ("GET", "/metrics?model=a%2Fb", b"GET /metrics?model=a%2Fb", []),
        ("GET", "", b"GET /", []),
        ("PUT", "/latest/api/token", b"PUT /latest/api/token", [b"Content-Length: 0"]),
    ],
)
def test_a_request_says_whom_it_asks_for_what(
    serve: Serve, real_client: HttpClientProtocol, method: str, path: str, line: bytes, length: list[bytes]
) -> None:
    """Nothing else than its own headers, whichever client sends it; no port where it is HTTP's own."""
    requests: list[bytes] = []
    port = serve(records(requests, sends(b"HTTP/1.1 204 No Content\r\n\r\n")), waits=False)
    headers = {"Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close", "User-Agent": "us"}
    request = HttpRequest(f"http://LocalHost:{port}{path}", headers, "chat", method)
    assert real_client.request(request, Deadline(SystemClock(), 3.0), 0) == HttpResponse(204, b"", {})
    request_line, *lines = requests[0].removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert request_line == line + b" HTTP/1.1"
    assert sorted(lines) == sorted(
        [
            b"Host: localhost:%d" % port,
            *(f"{name}: {value}".encode() for name, value in headers.items()),
            *length,
        ]
    )


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://10.0.0.1/metrics", "10.0.0.1"),
        ("http://10.0.0.1:80/metrics", "10.0.0.1"),
        ("http://[FD00::1]:8000/metrics", "[fd00::1]:8000"),
    ],
)
def test_the_port_is_told_where_it_is_not_that_of_http(url: str, host: str) -> None:
    """As RFC 9110 writes an authority; an IPv6 address has its brackets."""
    assert authority(urlsplit(url)) == host


def test_headers_that_come_twice_are_one(serve: Serve, real_client: HttpClientProtocol) -> None:
    """Joined as RFC 9110 joins them, under names in lower case."""
    port = serve(
        sends(b"HTTP/1.1 404 Not Found\r\nServer: a\r\nVia: 1\r\nVIA: 2\r\nContent-Length: 0\r\n\r\n")
    )
    request = HttpRequest(f"http://127.0.0.1:{port}/", {"Connection": "close"}, "chat")
    answer = real_client.request(request, Deadline(SystemClock(), 3.0), 0)
    assert answer == HttpResponse(404, b"", {"server": "a", "via": "1, 2", "content-length": "0"})


def test_what_comes_before_an_answer_is_passed_over(serve: Serve, real: Real, vllm_page: bytes) -> None:
    """Early hints, and the empty promise to go on."""
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    assert real(serve(sends(early, OK, b"\r\n", vllm_page))).read().up


@pytest.mark.parametrize("rest", [b"", b"garbage", b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nmore"])
def test_a_body_ends_where_it_says(serve: Serve, real_client: HttpClientProtocol, rest: bytes) -> None:
    """In pieces that no packet respects; a field after it is no header, and what follows is ignored."""
    body = b"4\r\nabcd\r\n2;note\r\nef\r\n0\r\nServer: trailer\r\n\r\n"
    sent = OK + b"Server: a\r\n" + CHUNKED + body + rest
    port = serve(sends(*(sent[at : at + 7] for at in range(0, len(sent), 7))))
    request = HttpRequest(f"http://127.0.0.1:{port}/", {"Connection": "close"}, "chat")
    answer = real_client.request(request, Deadline(SystemClock(), 3.0), 6)
    assert (answer.body, answer.headers["server"]) == (b"abcdef", "a")


@pytest.mark.parametrize("value", ["a\nb", "a\r\nHost: b", "\x00", "\u20ac"])
def test_a_header_cannot_end_its_line(real_client: HttpClientProtocol, value: str) -> None:
    """Nothing is sent: the value came from a file."""
    request = HttpRequest("http://127.0.0.1:1/", {"X": value}, "chat")
    with pytest.raises(ReadFailedError):
        real_client.request(request, Deadline(SystemClock(), 3.0), 0)


def test_a_failed_read_is_followed_by_a_good_one(serve: Serve, real: Real, vllm_page: bytes) -> None:
    """Nothing of the failure stays."""
    answers = [sends(b"garbage"), sends(OK, b"\r\n", vllm_page), sends(OK, b"\r\n{}")]

    def script(connection: socket.socket, stop: threading.Event) -> None:
        answers.pop(0)(connection, stop)

    source = real(serve(script))
    assert failure_of(source).reason == "connection"
    assert source.read().up
