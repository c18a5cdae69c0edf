"""`report month --from=ADDRESS`: how far the reading is, a bar on a terminal and lines elsewhere."""

import http.server
import io
import json
import threading
from collections.abc import Iterator
from typing import ClassVar

import httpx
import pytest

from exporter.cli import terminal
from exporter.cli.fleet_source import FleetSource
from exporter.cli.report import MonthOptions, report_month
from tests.cli.test_terminal import Screen
from tests.finance.prometheus.test_month import ENDS, NOVEMBER, NOW, OCTOBER, Server, cell, names
from tests.kit.clock import clock_at
from tests.kit.units import SECOND


class Handler(http.server.BaseHTTPRequestHandler):
    """A Prometheus that holds one host of a whole month."""

    server_of: ClassVar = Server(
        {
            "inference:month_to_date_dollars:posting_hourly": [(cell("live"), {NOW - 600: "100.25"})],
            "inference:ledger_seen_timestamp_seconds": [
                (names("live", "n1:9844"), {at: f"{at - 5}" for at in range(OCTOBER + 60, NOVEMBER, 1800)}),
            ],
            "inference:month_end_timestamp_seconds_hourly": [
                ({"cluster": "east", "month": "2026-08"}, {OCTOBER + 600: f"{OCTOBER - 30 * 24 * 3600}"})
            ],
            "inference_month_end_timestamp_seconds": ENDS,
        }
    )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self.server_of(httpx.Request("POST", f"http://127.0.0.1{self.path}", content=body))
        self.send_response(answer.status_code)
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(10)


def shown(
    address: str,
    stream: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> str:
    """What a run writes to standard error if each part of the month takes a second."""
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(terminal, "SystemClock", lambda: clock_at(0, step=SECOND))
    options = MonthOptions(None, None, "2026-10", "json", FleetSource([address]))
    assert report_month(options, clock_at(NOW * SECOND)) == 0
    assert json.loads(capsys.readouterr().out)["total"]["dollars"] == 100.25
    return stream.getvalue()


def test_elsewhere_a_line_is_written_every_ten_seconds(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The two steps of money, then the 8th, 18th and 28th of 31 days and an hour."""
    assert shown(address, io.StringIO(), monkeypatch, capsys).splitlines() == [
        f"reading {address}, hosts: {percent} %" for percent in (25, 57, 90)
    ]


def test_a_terminal_has_a_bar_that_is_gone_at_the_end(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From two seconds on: the first day is 3 % of the month, the last hour is not shown."""
    first, *_, last, end = shown(address, Screen(), monkeypatch, capsys).split("\r\x1b[K")[1:]

    assert first == f"reading {address}, hosts [..............................] 3 %"
    assert last == f"reading {address}, hosts [#############################.] 99 %"
    assert end == ""
