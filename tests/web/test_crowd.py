"""Clients by the hundred that are slow on purpose: probes and scrapes are answered all the same."""

import select
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from exporter.clock import SystemClock
from exporter.web.limits import WebLimits
from exporter.web.listener import Listener, network
from tests.kit.units import SECOND
from tests.nightly import daily
from tests.web.slow_clients import KINDS, Crowd, answered_within, descriptors

Serve = Callable[..., Any]

SECONDS = 60
"""Beside other tests. Within a second is what the end-to-end tests ask of a daemon, beside nothing."""


@pytest.fixture(autouse=True)
def _room() -> Iterator[None]:
    with descriptors(2048):
        yield


@pytest.mark.parametrize("size", daily((140, 200), {140}))
@pytest.mark.parametrize("kind", KINDS)
def test_a_crowd_keeps_nobody_out(
    kind: str, size: int, serve: Serve, make_report: Callable[..., Any]
) -> None:
    """More than there are places, each opened again when it is cut: 99 of 100 are answered."""
    site = serve(make_report(elapsed=SystemClock().elapsed()), clock=SystemClock())
    with Crowd(kind, size, site.server.port) as crowd:
        sent, answered = 0, 0
        while sent < 100 or crowd.rounds < 3:
            answered += answered_within(SECONDS, site.server.port, 10)
            sent += 10

    assert crowd.opened > WebLimits().connections
    assert answered >= 0.99 * sent


def test_who_holds_most_gives_way_first(serve: Serve) -> None:
    """One address with many connections closes its own, not the older one of another."""
    site = serve(None, clock=SystemClock(), limits=WebLimits(connections=4))
    scraper = socket.create_connection(("127.0.0.1", site.server.port), 10)
    head = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"
    scraper.sendall(head)
    assert scraper.recv(65536).endswith(b"healthy\n")
    many = [
        socket.create_connection(("127.0.0.1", site.server.port), 10, source_address=("127.0.0.2", 0))
        for _ in range(20)
    ]
    try:
        closed: set[socket.socket] = set()
        while len(closed) < 17:  # which three are left is a matter of threads
            readable, _, _ = select.select(set(many) - closed, [], [], 10)
            assert [client.recv(1) for client in readable] == [b""] * len(readable) != []
            closed |= set(readable)
        scraper.sendall(head)
        assert scraper.recv(65536).endswith(b"healthy\n")
    finally:
        for client in (scraper, *many):
            client.close()


def test_who_never_said_a_word_gives_way_first(serve: Serve) -> None:
    """A client that asked and waits keeps its place, though it is the oldest."""
    clock = SystemClock()
    site = serve(None, clock=clock, limits=WebLimits(connections=3))
    begun = [socket.create_connection(("127.0.0.1", site.server.port), 10) for _ in range(2)]
    for client in begun:
        client.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n")
    silent = socket.create_connection(("127.0.0.1", site.server.port), 10)
    try:
        while (
            len(connections_of(site.server._listener)) < 3
            or clock.elapsed() - _accepted_at(site) < SECOND // 20
        ):
            pass
        assert site.say(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").endswith(
            b"healthy\n"
        )
        assert silent.recv(1) == b""
        for client in begun:
            client.sendall(b"Connection: close\r\n\r\n")
            assert b"".join(iter(lambda client=client: client.recv(4096), b"")).endswith(b"healthy\n")
    finally:
        for client in (silent, *begun):
            client.close()


def _accepted_at(site: Any) -> int:
    return max(connection.accepted_at for connection in connections_of(site.server._listener))


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
    ],
)
def test_the_network_of_a_client(peer: str, expected: str) -> None:
    """IPv6 gives one host a whole /64; an IPv4 client of an IPv6 socket is an IPv4 client."""
    assert network(peer) == expected


def test_a_request_that_is_sent_ahead_waits_for_its_reader(
    serve: Serve, make_report: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that sends a hundred requests and reads nothing gets one response made, not a hundred."""
    site = serve(
        make_report(),
        clock=SystemClock(),
        limits=WebLimits(request=SECOND // 2, send_bytes=4096),
    )
    answered: list[str] = []
    route = site.server.respond

    def counted(request: Any) -> Any:
        answered.append(request.path)
        return route(request)

    monkeypatch.setattr(site.server, "respond", counted)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect(("127.0.0.1", site.server.port))
        client.settimeout(10)
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        while not answered or connections_of(site.server._listener):
            pass
    assert len(answered) == 1


def connections_of(listener: Listener | None) -> list[Any]:
    assert listener is not None
    with listener._lock:
        return list(listener._connections)
