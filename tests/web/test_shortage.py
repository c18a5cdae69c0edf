"""Memory that runs out at any line of the web server: the client of that moment may be told to come again."""

import _thread
import contextlib
import select
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest

from exporter.clock import SystemClock
from exporter.web import listener
from exporter.web.listener import Listener, WebLimits
from tests.living import gone
from tests.shortage import Line, Shortage

# Where a connection's close is what there was no memory for, its end is.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

Serve = Callable[..., Any]

SECOND = 10**9
LIMITS = WebLimits(connections=1, place=20 * SECOND)
"""One place: if it leaks, nobody is answered any more."""
ASK = b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
ANSWERS = (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE, None)
"""What whoever is struck may be told, if anything."""


def scarce(monkeypatch: pytest.MonkeyPatch, method: str, shortage: Shortage) -> None:
    """Have memory run out in the thread that runs a method of the listener's."""
    whole = getattr(Listener, method)

    def watched(self: Listener, *told: Any) -> None:
        shortage.watch()
        whole(self, *told)

    monkeypatch.setattr(Listener, method, watched)


def answer(site: Any, path: bytes = b"/metrics") -> int | None:
    """The status of one answer; `None` where the connection was closed instead."""
    try:
        said = site.say(ASK % path)
    except ConnectionError:
        return None
    return status(said)


def status(said: bytes) -> int | None:
    """Of an answer; `None` for none."""
    return int(said.split(b" ", 2)[1]) if said else None


def lines(
    serve: Serve, report: Any, monkeypatch: pytest.MonkeyPatch, method: str, path: bytes
) -> tuple[Line, ...]:
    """All that are run for one client. What ran out at its end nobody waits for long."""
    monkeypatch.setattr(listener, "_FAREWELL_SECONDS", 0.1)
    shortage = Shortage()
    with monkeypatch.context() as patch:
        scarce(patch, method, shortage)
        site = serve(report, clock=SystemClock(), limits=LIMITS)
        assert answer(site, path) == HTTPStatus.OK
        site.server.close()
    assert gone("web")
    assert gone("web-client")
    found = tuple(sorted(shortage.lines))
    assert len(found) > 10
    return found


def test_an_acceptor_without_memory_answers_the_next_client(
    serve: Serve, make_report: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whatever line it ran out. Where it ended the acceptor itself, the next tick brings it back."""
    for line in lines(serve, make_report(), monkeypatch, "_accept", b"/-/healthy"):
        shortage = Shortage(line)
        with monkeypatch.context() as patch:
            scarce(patch, "_accept", shortage)
            site = serve(make_report(), clock=SystemClock(), limits=LIMITS)
            with site.connect() as client:
                client.sendall(ASK % b"/-/healthy")
                while not select.select([client], [], [], 0.05)[0]:  # bounded by the test's own time-out
                    site.server.prepare()
                with contextlib.suppress(ConnectionError):
                    assert status(client.recv(65536)) in ANSWERS
        assert [answer(site, b"/-/healthy") for _ in range(3)] == [HTTPStatus.OK] * 3, line
        site.server.close()


@pytest.mark.parametrize("path", [b"/metrics", b"/-/healthy"])
def test_a_connection_without_memory_costs_itself_only(
    serve: Serve, make_report: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, path: bytes
) -> None:
    """It is answered whole, told to come again, or closed, at once; its place is free again."""
    for line in lines(serve, make_report(), monkeypatch, "_run", path):
        shortage = Shortage(line)
        site = serve(make_report(), clock=SystemClock(), limits=LIMITS)
        with monkeypatch.context() as patch:
            scarce(patch, "_run", shortage)
            first = answer(site, path)
            assert shortage.has_struck(30), line
        assert first in ANSWERS, line
        assert answer(site, path) == HTTPStatus.OK, line
        site.server.close()


def test_a_thread_that_ends_before_it_begins_holds_no_place(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system had a thread and no memory for it: nobody waits for it to tell that it runs."""
    site = serve(None, clock=SystemClock(), limits=LIMITS)
    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", lambda *_: 0)
        with site.connect() as client:
            assert client.recv(1) == b""
    assert answer(site, b"/-/healthy") == HTTPStatus.OK


def test_trouble_is_told_once_a_minute(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However many clients it strikes; another trouble is told at once."""
    caplog.set_level("WARNING")
    site = serve(None)
    accept = socket.socket.accept
    failures: list[Exception] = [MemoryError(), OSError(24, "Too many open files")] + [MemoryError()] * 3

    def scarce(listening: socket.socket) -> Any:
        if failures:
            raise failures.pop()
        return accept(listening)

    monkeypatch.setattr(socket.socket, "accept", scarce)
    assert answer(site, b"/-/healthy") == HTTPStatus.OK  # the acceptor was already waiting in accept(2)
    assert answer(site, b"/-/healthy") == HTTPStatus.OK
    assert caplog.messages == [
        "cannot accept a connection: MemoryError",
        "cannot accept a connection: [Errno 24] Too many open files",
        "cannot accept a connection: MemoryError",
    ]
