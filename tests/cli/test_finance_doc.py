"""docs/finance.md closes a month, adds up hosts, and copies and restores books by commands that run."""

import contextlib
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

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
from tests.cli.test_correction_doc import Clock

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "finance.md").read_text(encoding="utf-8")
DATA_FOLDER = "/var/lib/inference-cost-exporter"
ARCHIVE = "/srv/archive"
SECOND = 10**9
DAY = 86_400 * SECOND
OCTOBER = (1_793_491_200 - 31 * 86_400) * SECOND
"""2026-10-01T00:00:00Z."""
DOLLAR = 10**12
CHAT = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")
SEARCH = CostOwner("search", "retrieval", "", "embed", "bge")
NO_ONE = CostOwner(UNASSIGNED, UNASSIGNED, "", UNALLOCATED, "")


PROGRAMS = {
    "systemctl": 'echo "systemctl $*"',
    "sudo": 'exec "$@"',
    "kubectl": """shift 2
case "$1 $2" in
  "get pods") printf 'pod/a\\npod/b\\n' ;;
  "get pod/a") echo gpu-host-2 ;;
  "get pod/b") echo gpu-host-3 ;;
  "exec pod/a") echo "$@" >> asked; cat sheet.csv ;;
  *) exit 1 ;;
esac""",
}
"""What the page's blocks call and no test may: two pods, of which the second has nothing to tell."""


class Host:
    """A daemon whose October cost each party 48 dollars a day on a GPU of its own."""

    def __init__(self, path: Path, *owners: CostOwner) -> None:
        self.clock = Clock()
        self.ledger = Ledger.open(path, self.clock)
        segments, self.accrued = [], 0
        for day in range(31):
            start, name = OCTOBER + day * DAY, f"2026-10-{day + 1:02d}"
            owner_phases = [
                (Gpu(f"GPU-{n}", "H100"), OwnerPhase(owner, "idle")) for n, owner in enumerate(owners)
            ]
            money = tuple(
                MoneyPosting(gpu, "rent", "configured", owner_phase, 48 * DOLLAR)
                for gpu, owner_phase in owner_phases
            )
            times = tuple(
                GpuTimePosting(gpu, owner_phase, DAY, priced=True) for gpu, owner_phase in owner_phases
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
        monkeypatch.setattr(f"exporter.cli.{module}.SystemClock", Clock)
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
    assert (status, errors.getvalue()) == (0, "")
    if file:
        (folder / file.strip()).write_text(printed.getvalue())
    return printed.getvalue()


def verbs(text: str) -> list[str]:
    return [line for code in blocks("console", text) for line in code.splitlines() if line[:2] == "$ "]


def test_a_month_is_closed_and_hosts_are_added(folder: Path) -> None:
    """One host of chat and a GPU that nobody held, 1,488.00 each, and 4.00 of an invoice; another of search.

    Of 44,666.67 dollars of the fleet each of three GPUs carries a third: 14,888.89.
    """
    rows = [f"2026-10-{day:02d},{100 if day == 31 else 96}.00" for day in range(1, 32)]
    (folder / "bill-2026-10.csv").write_text("\n".join(["date,dollars", *rows, ""]))
    first = Host(folder / "kept" / "ledger.db", CHAT, NO_ONE)
    other = Host(folder / "other.db", SEARCH)
    outputs = []
    for line in verbs(section("Close a month")):
        outputs.append(verb(line, folder))
        first.tick()
    csv = verb(
        f"$ inference-cost-exporter report chargeback --month=2026-10 --csv --ledger.path={folder}/other.db",
        folder,
    )
    (folder / "sheet.csv").write_text(csv)
    for host in (first, other):
        host.ledger.close()

    assert "744.0000 of the 744.0000 hours of the whole month are metered.\n" in outputs[0]
    assert "bill minus books is 4.00 dollars" in outputs[1]
    assert "2026-10 then comes to 2,980.00 dollars, product chat to 1,492.00." in outputs[2]
    assert (folder / "focus-2026-10-gpu-host-1.csv").exists()
    fetching, adding = blocks("sh", section("Fleet bill"))
    assert shell(fetching, folder) == ""
    assert (folder / "asked").read_text() == (
        "exec pod/a -- inference-cost-exporter report chargeback --month=2026-10 --csv "
        "--config.file=/etc/inference-cost-exporter/config.yaml\n"
    )
    assert (folder / "chargeback-2026-10-gpu-host-3.csv").read_text() == ""
    assert shell(adding, folder) == (
        "product,team,dollars,fleet_dollars\n"
        "chat,assistants,1492.00,14888.89\n"
        "search,retrieval,1488.00,14888.89\n"
        "unassigned,unassigned,1488.00,14888.89\n"
        "total,,4468.00,44666.67\n"
    )


def test_ledgers_of_a_folder_are_added_up(folder: Path) -> None:
    """Two hosts: 1,488.00 of chat and of a GPU that nobody had, and 1,488.00 of search."""
    for name, owners in (("gpu-1", (CHAT, NO_ONE)), ("gpu-2", (SEARCH,))):
        host = Host(folder / "archive" / f"{name}.db", *owners)
        host.tick()
        host.ledger.close()
    (folder / "fleet.yaml").write_text(
        "overheads:\n  - {name: staff, dollars_per_month: 44666.67, per: fleet}\n"
    )
    added, with_overheads = (verb(line, folder) for line in verbs(section("Fleet bill")))

    assert "2026-10, 2 ledgers, time zone UTC" in added
    assert total(added)[:2] == ["total", "4,464.00"]
    assert total(with_overheads)[1:6] == ["4,464.00", "4,464.00", "100.0", "44,666.67", "49,130.67"]


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
    again = Ledger.open(path, Clock())
    assert (again.id, again.problem) == (host.ledger.id, "")
    assert sum(again.totals(Clock().now, ("2026-10",)).months.values()) == 1488 * DOLLAR
    again.close()

    (folder / "archive" / copy.name).unlink()
    (leaving,) = blocks("sh", section("Decommission a host"))
    shell(leaving, folder)
    with LedgerReader.open(folder / "archive" / copy.name) as reader:
        assert sum(reader.month("2026-10").cells.values()) == 1488 * DOLLAR


def test_the_month_of_a_node_that_died_is_entered_on_another(folder: Path) -> None:
    """31 days of 48 dollars, and 1,204.17 of the other node."""
    host = Host(folder / "kept" / "ledger.db", CHAT)
    (line,) = verbs(section("A node that died"))
    output = verb(line, folder)
    host.ledger.close()

    assert "2026-10 then comes to 2,692.17 dollars, product chat to 2,692.17." in output


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


def test_the_rules_are_tested_by_the_query_for_a_node_that_died() -> None:
    """A case of the rules' tests asks what the page asks, of a month that is over."""
    query, _ = blocks("promql", section("A node that died"))
    cases = (ROOT / "deploy" / "prometheus" / "closed_test.yml").read_text(encoding="utf-8")

    assert "".join(query.replace("2026-10", "m1").split()) in "".join(cases.split())
