"""Every example of `--help` does what it says, on the demo's books and files of the names that it uses.

The clock stands at noon of 2026-11-25, which the demo was told for.
"""

import argparse
import gzip
import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest
from generators.cli import verbs

from exporter.cli import demo, main, serve, show_status
from exporter.cli.arguments import program
from exporter.clock import SystemClock
from exporter.demo.host import SimulatedHost
from exporter.demo.timeline import Timeline
from exporter.tariff.csv_tables import BUNDLED
from tests.cli.test_terminal import Screen
from tests.demo.demo_history import DemoHistory
from tests.kit.clock import NOON
from tests.reports.test_host_status import answer

pytestmark = [pytest.mark.xdist_group("story"), pytest.mark.timeout(600)]  # a busy machine

EXAMPLES: Final = [
    (name, tail)
    for name, verb in verbs(program())
    if name != "history"  # its examples need a Prometheus: tests/e2e/backfill
    for tail, _ in verb.get_default("verb").examples
]
TABLES: Final = (
    *("doctor", "check-config", "status", "report month", "report chargeback", "explain", "advise"),
    *("reconcile", "tco", "history", "prices show"),
)
FOCUS: Final = (
    "BilledCost,BillingCurrency,ChargeCategory,ChargePeriodStart,ChargePeriodEnd,ResourceId\n"
    "924.672,USD,Usage,2026-10-22T00:00:00Z,2026-10-23T00:00:00Z,i-0123456789abcdef0\n"
)

SPANS: Final = {
    "resourceSpans": [
        {
            "scopeSpans": [
                {
                    "spans": [
                        {
                            "endTimeUnixNano": f"{(NOON - 86_400) * 10**9}",
                            "attributes": [
                                {"key": "gen_ai.response.model", "value": {"stringValue": "Qwen/Qwen3-8B"}},
                                {"key": "gen_ai.usage.output_tokens", "value": {"intValue": "100"}},
                            ],
                        }
                    ]
                }
            ]
        }
    ]
}
"""A request of the 24th to a model of the demo."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a vLLM that prints the demo's page."""
    host = SimulatedHost(Timeline.before(NOON * 10**9))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answer() if self.path == "/cost.json" else host.page("chat-70b")
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{web.server_port}"
    web.shutdown()
    thread.join()
    web.server_close()


@pytest.fixture
def run(
    demo_at_noon: DemoHistory, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str], int]:
    """Runs an example in a folder that has what it names; what would serve for ever says with what."""
    shutil.copytree(demo_at_noon.folder, tmp_path / "demo")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(SystemClock, "wall", lambda _: NOON * 10**9)
    monkeypatch.setattr(SystemClock, "wait", lambda *_: False)
    for module, name in ((serve, "serve"), (demo, "demo")):
        printing = replace(getattr(module, name), run=lambda options: sys.stdout.write(f"{options}") * 0)
        monkeypatch.setattr(module, name, printing)
    monkeypatch.setattr(show_status, "ADDRESS", server)
    Path("dates.csv").write_text("date,dollars\n2026-10-22,924.67\n")
    Path("focus-2026-10.csv.gz").write_bytes(gzip.compress(FOCUS.encode()))
    Path("hosts.csv").write_text("host,resource\nledger,i-0123456789abcdef0\n")
    Path("page.prom").write_bytes(SimulatedHost(Timeline.before(NOON * 10**9)).page("chat-70b"))
    Path("spans.jsonl").write_text(json.dumps(SPANS))
    config, ledger = tmp_path / "demo" / "demo.yaml", tmp_path / "demo" / "ledger.db"
    web = tmp_path / "web.yml"
    web.write_text("http_server_config: {headers: {X-Frame-Options: deny}}\n")
    shutil.copy(BUNDLED / "instances.csv", "prices.csv")
    shutil.copy(BUNDLED / "instances.csv", "in-use.csv")
    text = re.sub(r"ledger: .*", f"ledger: {{path: {ledger}}}", config.read_text())
    config.write_text(f"{text}\nprices: {{path: {tmp_path / 'in-use.csv'}}}\n")

    closing = ["--month=2026-10", "--close", "--output=closed.json"]
    assert main(["report", "month", *closing, f"--config.file={config}"]) == 0

    def ran(name: str, tail: str) -> int:
        tail = tail.replace("--against=2026-10.json", "--against=closed.json")
        tail = tail.replace("/srv/archive", str(ledger.parent))
        words = [word.replace("/etc/ice.yaml", str(config)) for word in shlex.split(tail)]
        words = [word.replace("/etc/web.yml", str(web)) for word in words]
        words = [re.sub(r"/var/lib/.*/ledger\.db", str(ledger), word) for word in words]
        words = [word.replace("/srv/archive", str(ledger.parent)) for word in words]
        words = [re.sub(r"http://127\.0\.0\.1:(8000|9844)", server, word) for word in words]
        takes = dict(verbs(program()))[name]
        if not any("--config.file" in word for word in words) and "--config.file" in flags(takes):
            words.append(f"--config.file={config}")
        return main([*name.split(), *words])

    return ran


def flags(verb: argparse.ArgumentParser) -> set[str]:
    return {flag for action in verb._actions for flag in action.option_strings}


@pytest.mark.parametrize(("name", "tail"), EXAMPLES, ids=[" ".join(example) for example in EXAMPLES])
def test_an_example_runs(
    name: str, tail: str, run: Callable[[str, str], int], capsys: pytest.CaptureFixture[str]
) -> None:
    """It answers, and exits 0; the doctor by what it finds here."""
    status = run(name, tail)

    captured = capsys.readouterr()
    assert status in {0, 1, 2} if name == "doctor" else status == 0, captured.err
    assert captured.out or Path("focus-2026-10.csv").is_file()
    if "--json" in tail:
        assert json.loads(captured.out)


NARROW: Final = (
    ("doctor", "--config.file=/etc/ice.yaml"),
    ("check-config", "--config.file=/etc/ice.yaml"),
    ("explain", "chat-70b --window=24h"),
    ("explain", "chat-70b --window=7d --against=1.10"),
    ("reconcile", "--invoice=dates.csv"),
    ("prices show", ""),
    ("prices show", "--cloud=aws --instance-type=p5.48xlarge --region=eu-north-1"),
)
COLOR: Final = re.compile(r"\x1b\[\d+m")


@pytest.mark.parametrize(("name", "tail"), NARROW, ids=[" ".join(example) for example in NARROW])
def test_a_terminal_of_80_columns_shows_whole_lines(
    name: str,
    tail: str,
    run: Callable[[str, str], int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each number of the wide answer is in the narrow one; only calls and long words pass the margin."""
    run(name, tail)
    wide = capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout", screen := Screen())
    run(name, tail)

    narrow = COLOR.sub("", screen.getvalue())
    passing = [line for line in narrow.splitlines() if len(line) > 80 and len(line.split()) > 1]
    assert [line for line in passing if "inference-cost-exporter " not in line] == []
    assert set(re.findall(r"[\d.,]*\d", wide)) <= set(re.findall(r"[\d.,]*\d", narrow))


def test_verbs_that_print_tables_print_json_too() -> None:
    """Programs need not parse what is laid out for people."""
    assert {name for name, verb in verbs(program()) if "--json" in flags(verb)} == set(TABLES)


def test_each_of_them_has_an_example_or_two() -> None:
    """At least one, and each says what it does."""
    for _, verb in verbs(program()):
        examples: Any = verb.get_default("verb").examples
        assert examples
        assert all(what for _, what in examples)


def test_a_machine_readable_list_of_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """`tco --list --json`, the one table that had no form for programs."""
    assert main(["tco", "--list", "--json"]) == 0

    document = json.loads(capsys.readouterr().out)
    assert {"four-ways"} <= {row["example"] for row in document}
    assert all(row["name"] for row in document)


def test_prices_that_no_file_told_are_not_taken_for_the_daemons(
    run: Callable[[str, str], int], capsys: pytest.CaptureFixture[str]
) -> None:
    """`explain` without a configuration says where its prices of now come from; with one there is no note."""
    assert run("explain", "chat-70b --window=24h") == 0
    assert capsys.readouterr().err == ""
    assert (
        main(["explain", "chat-70b", "--window=24h", f"--ledger.path={Path('demo/ledger.db').absolute()}"])
        == 0
    )

    captured = capsys.readouterr()
    assert captured.err == (
        "note: no --config.file given: current prices are from the bundled catalogue. "
        "Give the daemon's file if it has one.\n"
    )
    assert "estimate: " in captured.out
