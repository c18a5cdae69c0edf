"""`status` asks a daemon, and reads the ledger where none answers."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from exporter.cli import main
from exporter.cli.show_status import StatusOptions, shown_status
from exporter.reports.host_status import cut
from tests.cli.test_explain import NOW, config, ledger
from tests.kit.clock import clock_at
from tests.reports.test_host_status import answer

__all__ = ["config", "ledger"]

CLOSED = "http://127.0.0.1:1"
"""tcpmux: nothing listens there."""


class Daemon(BaseHTTPRequestHandler):
    """Answers `/cost.json`, and 404 elsewhere."""

    body = answer()

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/cost.json" else 404)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def address() -> Iterator[str]:
    """A daemon that answers."""
    server = HTTPServer(("127.0.0.1", 0), Daemon)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_daemon_answers(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Spend, month, GPUs, servers and sources in one answer, also for programs."""
    assert main(["status", f"--from={address}"]) == 0
    assert capsys.readouterr().out.startswith(f"gpu-7, 2026-11-25T12:00:00Z\ndaemon        {address}\n")
    assert main(["status", f"--from={address}", "--json"]) == 0

    printed = json.loads(capsys.readouterr().out)
    assert printed["origin"] == "daemon"
    assert printed["budget_dollars"] == 27000.0
    assert printed["gpus"] == [
        {
            "gpu_model": "NVIDIA H100 80GB HBM3",
            "gpus": 8,
            "up": 7,
            "priced": 8,
            "dollars_per_hour": 20.0,
        }
    ]


def test_the_ledger_stands_in(config: Path, ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Twelve dollars this month and six in the last hour; what is now is not known."""
    config.write_text(
        f"discovery: {{cloud: off}}\nledger: {{path: {ledger}}}\n"
        "budgets: [{name: fleet, dollars_per_month: 48}]\n"
    )
    assert shown_status(StatusOptions(config, None, None, as_json=False), clock_at(NOW), CLOSED) == 0

    printed = capsys.readouterr()
    origin = f"ledger        {ledger}"
    assert printed.err.startswith(f"note: {CLOSED}: no daemon answers: ")
    assert printed.err.endswith("; reading the ledger\n")
    assert printed.out == (
        f"this host, 2026-11-01T12:15:30Z, stale\n{cut(origin, 80)}\n"
        "last hour     $6.00\n"
        "2026-11       $12.00 of $48.00 [#####...............] 25%\n"
        "\n"
        "GPUs          none\n"
        "\n"
        "server                   model               GPUs  last hour  busy  $/M tokens\n"
        "llm/chat-8b              llama-8b               \N{EN DASH}       6.00     \N{EN DASH}"
        "           \N{EN DASH}\n"
        "\n"
        "sources       not known: no daemon answers\n"
    )


def test_a_named_ledger_is_read_and_no_daemon_asked(
    config: Path, ledger: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--ledger.path` chooses, though a daemon answers."""
    assert shown_status(StatusOptions(config, ledger, None, as_json=True), clock_at(NOW), address) == 0

    printed = json.loads(capsys.readouterr().out)
    assert (printed["origin"], printed["month_dollars"], printed["sources"]) == ("ledger", 12.0, None)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{}", "is not that of this release: Object missing required field `host`"),
        (b"", "is not that of this release: Input data was truncated"),
    ],
)
def test_something_else_answers(
    body: bytes,
    problem: str,
    address: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An address that is named is asked alone: the error says what it answered."""
    monkeypatch.setattr(Daemon, "body", body)
    assert main(["status", f"--from={address}"]) == 1

    assert capsys.readouterr().err == f"{address}: the answer of /cost.json {problem}\n"


def test_a_folder_is_no_address(capsys: pytest.CaptureFixture[str]) -> None:
    """Only a daemon has a status of now."""
    with pytest.raises(SystemExit):
        main(["status", "--from=/srv"])

    assert "'/srv' is no address: write http(s)://HOST:PORT" in capsys.readouterr().err


def test_an_address_without_its_scheme_is_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    """The daemon speaks plain HTTP unless it is configured otherwise."""
    with pytest.raises(SystemExit):
        main(["status", "--from=gpu-7:9844"])

    assert capsys.readouterr().err.endswith("'gpu-7:9844' is no address: write http://gpu-7:9844\n")
