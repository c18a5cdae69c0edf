"""docs/finance.md closes months of a host and of a fleet, and copies and restores books by commands."""

import contextlib
import csv
import io
import json
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import yaml

from exporter.cli import main
from exporter.config import load
from exporter.cost.attribution import UNALLOCATED_KEY
from exporter.cost.postings import (
    UNALLOCATED,
    UNASSIGNED,
    CostOwner,
    GpuTimePosting,
    MoneyPosting,
    OwnerPhase,
    Postings,
    Segment,
)
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.metrics.table import METRICS
from exporter.readings import Gpu
from tests.cli.test_correction_doc import NOW
from tests.finance.prometheus.test_month import Answered, Server
from tests.kit.clock import clock_at
from tests.kit.units import DAY, DOLLAR, OCTOBER, SECOND

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "finance.md").read_text(encoding="utf-8")
DATA_FOLDER = "/var/lib/inference-cost-exporter"
ARCHIVE = "/srv/archive"
PROMETHEUS = "http://prometheus:9090"
STATEMENT = "statement-2026-10.json"
CHAT = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")
SEARCH = CostOwner("search", "retrieval", "", "embed", "bge")
NO_ONE = CostOwner(UNASSIGNED, UNASSIGNED, "", UNALLOCATED, "")


PROGRAMS = {"systemctl": 'echo "systemctl $*"', "sudo": 'exec "$@"'}
"""What the page's blocks call and no test may."""


class Host:
    """A daemon whose October cost each party 48 dollars a day on a GPU of its own."""

    def __init__(self, path: Path, *owners: CostOwner) -> None:
        self.clock = clock_at(NOW)
        self.ledger = Ledger.open(path, self.clock)
        segments, self.accrued = [], 0
        for day in range(31):
            start, name = OCTOBER + day * DAY, f"2026-10-{day + 1:02d}"
            owner_phases = [
                (Gpu(f"GPU-{path.stem}-{n}", "H100"), OwnerPhase(owner, "idle"))
                for n, owner in enumerate(owners)
            ]
            money = tuple(
                MoneyPosting(gpu, "rent", "configured", owner_phase, 48 * DOLLAR)
                for gpu, owner_phase in owner_phases
            )
            times = tuple(
                GpuTimePosting(gpu, owner_phase, DAY, chargeable=DAY) for gpu, owner_phase in owner_phases
            )
            accrued = 48 * DOLLAR * len(owners)
            segments.append(Segment(start, start + DAY, "2026-10", name, accrued, money, times))
            self.accrued += accrued
        last = segments[-1].end
        self.ledger.post(Postings(last, tuple(segments), day="2026-10-31"), State(accrued=self.accrued))

    def tick(self) -> None:
        """One of no cost, which posts what waits."""
        self.clock.now += 10 * SECOND
        self.ledger.post(Postings(self.clock.now), State(accrued=self.accrued))


def section(heading: str) -> str:
    return PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def blocks(kind: str, text: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the daemon's and the archive's in it, and nobody's systemd."""
    for module in ("adjust", "report", "reconcile"):
        monkeypatch.setattr(f"exporter.cli.{module}.SystemClock", lambda: clock_at(NOW))
    for name in ("kept", "archive", "bin"):
        (tmp_path / name).mkdir()
    for program, lines in PROGRAMS.items():
        (tmp_path / "bin" / program).write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / "bin" / program).chmod(0o755)
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}", prepend=":")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shell(code: str, folder: Path) -> str:
    """What a block prints; its places are those of the test."""
    for named, here in (
        (DATA_FOLDER, "kept"),
        (ARCHIVE, "archive"),
        ("/opt/inference-cost-exporter/bin", "bin"),
    ):
        code = code.replace(named, str(folder / here))
    return subprocess.run(
        ["bash", "-euc", code], cwd=folder, check=True, capture_output=True, text=True, timeout=60
    ).stdout


def verb(line: str, folder: Path) -> str:
    """What a verb prints, as the page asks for it, of the ledger that is kept unless it names another."""
    line, _, file = line.replace(ARCHIVE, str(folder / "archive")).partition(" > ")
    program, *words = shlex.split(line.removeprefix("$ "))
    assert program == "inference-cost-exporter"
    if "--ledger.path" not in line and "--from" not in line:
        words.append(f"--ledger.path={folder / 'kept' / 'ledger.db'}")
    printed, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        status = main(words)
    notes = "" if "--close" in words else errors.getvalue()  # a closing prints what is missing
    assert (status, notes) == (0, ""), errors.getvalue()
    if file:
        (folder / file.strip()).write_text(printed.getvalue())
    return printed.getvalue()


def verbs(text: str) -> list[str]:
    return [line for code in blocks("console", text) for line in code.splitlines() if line[:2] == "$ "]


def test_a_month_of_one_host_is_closed(folder: Path) -> None:
    """Chat and a GPU that nobody held, 1,488.00 each, and 4.00 of an invoice; later a credit of 10.00."""
    rows = [f"2026-10-{day:02d},{100 if day == 31 else 96}.00" for day in range(1, 32)]
    (folder / "bill-2026-10.csv").write_text("\n".join(["date,dollars", *rows, ""]))
    host = Host(folder / "kept" / "ledger.db", CHAT, NO_ONE)
    lines = verbs(section("Close one host"))
    outputs = []
    for line in lines:
        outputs.append(verb(line, folder))
        host.tick()
    verb(lines[2].replace("--amount=4.00", "--amount=-10.00"), folder)
    host.tick()
    again = verb(lines[-1], folder)
    host.ledger.close()

    assert "744.0000 of the 744.0000 hours of the whole month are metered.\n" in outputs[0]
    assert "bill minus books is 4.00 dollars" in outputs[1]
    assert "2026-10 then comes to 2,980.00 dollars, product chat to 1,492.00." in outputs[2]
    assert [
        (row["product"], row["team"], row["dollars"]) for row in csv.DictReader(io.StringIO(outputs[3]))
    ] == [
        ("chat", "assistants", "1492.00"),
        ("unassigned", "unassigned", "1488.00"),
    ]
    assert (folder / "focus-2026-10.csv").exists()
    assert outputs[5] == f"2026-10 is closed: 2,980.00 dollars of 1 ledger in {STATEMENT}\n"
    assert outputs[6].endswith("\n\nNothing changed since.\n")
    assert total(again) == ["total", "-10.00"]
    assert again.endswith("\n2026-10 is 2,970.00 dollars now.\n")


def test_a_month_of_a_fleet_is_closed(folder: Path, prometheus: str) -> None:
    """Two hosts: 1,488.00 of chat and of a GPU that nobody had, and 1,488.00 of search.

    Prometheus knows a third, which died with its disk after 7.50 dollars. The first is corrected later, the
    second is lost with all but its statement.
    Of 44,666.67 dollars of the fleet each of three GPUs carries a third: 14,888.89.
    """
    for name, owners in (("gpu-1", (CHAT, NO_ONE)), ("gpu-2", (SEARCH,))):
        host = Host(folder / "archive" / f"{name}.db", *owners)
        host.tick()
        host.ledger.close()
    (folder / "fleet.yaml").write_text(
        "overheads:\n  - {name: staff, dollars_per_month: 44666.67, per: fleet}\n"
    )
    month, bill, close, against = [
        line.replace(PROMETHEUS, prometheus) for line in verbs(section("Close a fleet"))
    ]
    added, billed = verb(month, folder), verb(bill, folder)
    document = json.loads(verb(f"{bill} --json", folder))

    assert "2026-10, 3 ledgers, time zone UTC" in added
    assert re.search(r"node-7 \(dead\): last tick 2026-10-03T05:00:00Z", added)
    assert total(added)[:2] == ["total", "4,471.50"]
    assert total(billed)[1:6] == ["4,471.50", "4,464.00", "100.0", "44,666.67", "49,138.17"]
    assert [(row["product"], row["dollars"], row["overhead_dollars"]) for row in document["rows"]] == [
        ("chat", 1495.50, 14888.89),
        ("search", 1488.00, 14888.89),
        ("unassigned", 1488.00, 14888.89),
    ]
    assert [(each["kind"], each["host"]) for each in document["missing"]] == [("silent", "node-7")]

    assert verb(close, folder) == f"2026-10 is closed: 4,471.50 dollars of 3 ledgers in {STATEMENT}\n"
    assert verb(against, folder).endswith("\n\nNothing changed since.\n")
    (enter,) = [line for line in verbs(section("Close one host")) if " adjust " in line]
    verb(f"{enter} --ledger.path={folder}/archive/gpu-1.db", folder)
    reopened = Ledger.open(folder / "archive" / "gpu-1.db", clock_at(NOW))
    reopened.post(Postings(NOW + 10 * SECOND), State(accrued=2976 * DOLLAR))
    reopened.close()
    changed = verb(against, folder)
    assert total(changed) == ["total", "4.00"]
    assert 'gpu-1: adjustment 1: "invoice 4711: support that is billed by the month"' in changed
    assert changed.endswith("\n2026-10 is 4,475.50 dollars now.\n")

    (folder / "archive" / "gpu-2.db").unlink()
    (folder / STATEMENT).rename(folder / "archive" / STATEMENT)
    assert total(verb(month, folder))[:2] == ["total", "4,475.50"]


@pytest.fixture
def prometheus(folder: Path) -> Iterator[str]:
    """The address of a Prometheus with the rules' memory of a node that died."""
    del folder
    first, ended = OCTOBER // SECOND, OCTOBER // SECOND + 31 * 86_400
    now, died = NOW // SECOND, OCTOBER // SECOND + 53 * 3600
    cell = {"ledger": "dead", "product": "chat", "team": "assistants", "price_basis": "configured"}
    host = {"cluster": "east", "instance": "node-7:9844", "node": "node-7"}
    scrapes = {at + 5: str(at) for at in range(first + 50 * 3600, died + 1, 1800)}
    series: Answered = {
        "inference:month_to_date_dollars:posting_hourly": [
            ({**cell, "month": "2026-10"}, {now - 600: "7.5"})
        ],
        # Which was begun before October.
        "inference:month_end_timestamp_seconds_hourly": [
            ({"cluster": "east", "month": "2026-08"}, {first + 600: str(first - 30 * 86_400)})
        ],
        "inference:ledger_seen_timestamp_seconds": [({**host, "ledger": "dead"}, scrapes)],
        "inference_month_end_timestamp_seconds": [({**host, "month": "2026-10"}, {now - 60: str(ended)})],
    }
    answers = Server(series)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = answers(httpx.Request("POST", f"{PROMETHEUS}{self.path}", content=body))
            self.send_response(answer.status_code)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_address[1]}"
        finally:
            listening.shutdown()
            thread.join(10)


def total(table: str) -> list[str]:
    (line,) = [line for line in table.splitlines() if line.startswith("total")]
    return line.split()


def test_books_are_copied_restored_and_kept(folder: Path) -> None:
    """The copy of a running ledger is whole; put in its place it goes on; after a stop the file is enough."""
    text = section("Backup and restore")
    backup, restore = blocks("sh", text)
    path = folder / "kept" / "ledger.db"
    host = Host(path, CHAT)
    host.tick()
    shell(backup, folder)
    copy = folder / "ledger-gpu-host-1.db"
    copy.rename(folder / "archive" / copy.name)
    (line,) = verbs(text)
    assert "1,488.00" in verb(line, folder)

    host.ledger.close()
    assert shell(restore, folder).split("\n")[:2] == [
        "systemctl stop inference-cost-exporter",
        "systemctl start inference-cost-exporter",
    ]
    again = Ledger.open(path, clock_at(NOW))
    assert (again.id, again.problem) == (host.ledger.id, "")
    assert sum(again.totals(NOW, ("2026-10",)).months.values()) == 1488 * DOLLAR
    again.close()

    (folder / "archive" / copy.name).unlink()
    (leaving,) = blocks("sh", section("Decommission a host"))
    shell(leaving, folder)
    with LedgerReader.open(folder / "archive" / copy.name) as reader:
        assert sum(reader.month("2026-10").cells.values()) == 1488 * DOLLAR


def test_unallocated_gpus_can_be_given_an_owner(tmp_path: Path) -> None:
    """The rule of the page is a configuration, and finds them."""
    (rule,) = blocks("yaml", PAGE)
    file = tmp_path / "ice.yaml"
    file.write_text(rule)
    config = load(file)
    from exporter.config.settings import cost_policy

    assert cost_policy(config, "host").product_and_team(UNALLOCATED_KEY) == ("platform", "capacity")


def test_every_metric_and_rule_of_the_page_is_there() -> None:
    """Names that the page has in code are metrics, or are recorded by the rules."""
    files = sorted((ROOT / "deploy" / "prometheus").glob("*-rules.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    recorded = {rule.get("record") for group in groups for rule in group["rules"]}
    alerts = {rule.get("alert") for group in groups for rule in group["rules"]}
    metrics = {metric.name for metric in METRICS}
    named = set(re.findall(r"`(inference[:_][a-z0-9_:]+)", PAGE)) | set(
        re.findall(r"inference_[a-z_]+(?=\))", PAGE)
    )

    assert named - metrics - recorded == set()
    assert {"inference:closed_month_dollars", "inference:month_to_date_dollars:posting_hourly"} <= named
    assert set(re.findall(r"`(Inference\w+)`", PAGE)) <= alerts


def test_every_flag_of_the_page_is_there() -> None:
    """Also those that no command of it shows."""
    flags = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "exporter" / "cli").glob("*.py"))
    own = set(re.findall(r"(?<![\w-])--[a-z][a-z.]+(?:-[a-z]+)*", PAGE))
    assert {flag for flag in own if f'"{flag}"' not in flags} == set()
    assert {"--ledger.path", "--invoice", "--json", "--by"} <= own


@pytest.mark.parametrize("query", blocks("promql", PAGE))
def test_prometheus_takes_the_queries_of_the_page(tmp_path: Path, query: str) -> None:
    """A rule made of each is one that promtool passes."""
    file = tmp_path / "rules.yml"
    rule = {"groups": [{"name": "finance", "rules": [{"record": "inference:finance", "expr": query}]}]}
    file.write_text(yaml.safe_dump(rule))
    subprocess.run(["promtool", "check", "rules", str(file)], check=True, capture_output=True, timeout=60)
