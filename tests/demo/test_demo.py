"""The demo opens when there is something to see: its first live tick."""

import signal
import socket
from collections.abc import Iterator

import pytest

from exporter.cli import demo as module
from exporter.cli import status
from exporter.exposition.server import WebServer
from exporter.sampler.sampler import Sampler


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """The demo takes the signals of the process; they are given back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_who_asks_early_waits_and_gets_the_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While the month is replayed nobody is answered; then everybody is, with figures."""
    ports: list[int] = []
    clients: list[socket.socket] = []
    answers: list[bytes] = []

    class Recorded(WebServer):
        def bind(self) -> None:
            super().bind()
            ports.append(self.port)

    def replayed(_: object) -> None:
        client = socket.create_connection(("127.0.0.1", ports[0]), timeout=30)
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        clients.append(client)

    def run(_: Sampler, stop: object) -> None:
        del stop
        with clients[0] as client:
            while chunk := client.recv(65536):
                answers.append(chunk)

    monkeypatch.setattr(module, "WebServer", Recorded)
    monkeypatch.setattr(module, "replay", replayed)
    monkeypatch.setattr(Sampler, "run", run)

    assert module.demo("127.0.0.1:0") == status.OK
    page = b"".join(answers)
    assert page.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"first tick has not been taken" not in page
    assert b"<dt>Now</dt>" in page
    assert f"http://127.0.0.1:{ports[0]}/metrics" in capsys.readouterr().out


def test_a_port_that_is_taken_is_told_before_the_month_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a month that cannot be shown."""
    monkeypatch.setattr(module, "replay", lambda _: pytest.fail("replayed for nobody"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert module.demo(f"127.0.0.1:{taken.getsockname()[1]}") == status.FAILED
