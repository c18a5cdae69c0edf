"""`advise --what-if` on the demo: its sums are those of the reports, and the page's commands answer."""

import csv
import io
import json
import re
import shlex
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.clock import SystemClock
from tests.demo.demo_history import DemoHistory
from tests.kit.clock import NOON

pytestmark = [pytest.mark.xdist_group("story"), pytest.mark.timeout(300)]  # a busy machine

PAGE = Path(__file__).parents[2] / "docs" / "tco.md"
COMMANDS = re.findall(r"^inference-cost-exporter (.*--what-if.*)$", PAGE.read_text("utf-8"), re.MULTILINE)
MIDNIGHT = NOON - 12 * 3600


def files(demo: DemoHistory) -> list[str]:
    assert demo.folder is not None
    return [f"--config.file={demo.folder / 'demo.yaml'}", f"--ledger.path={demo.folder / 'ledger.db'}"]


def test_it_pays_what_the_reports_charge(
    demo_at_noon: DemoHistory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two days of dollars and tokens, with the overheads; a choice of nothing else costs the same."""
    monkeypatch.setattr(SystemClock, "wall", lambda _: MIDNIGHT * 10**9)
    same = ["--what-if=schedule=mon-sun/00-24", "--what-if=commitment=1y:0%"]
    assert main(["advise", "--window=48h", "--json", *same, *files(demo_at_noon)]) == 0
    printed = json.loads(capsys.readouterr().out)
    days = ["--since=2026-11-23", "--until=2026-11-24"]
    assert main(["report", "chargeback", "--csv", *days, *files(demo_at_noon)]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))

    now = printed["now"]
    charged = sum(float(row["dollars"]) for row in rows)
    assert (now["picodollars"] + now["overhead_picodollars"]) / 10**12 == pytest.approx(charged, abs=0.005)
    assert now["tokens"] == sum(int(row[name]) for row in rows for name in row if name.endswith("_tokens"))
    assert [each["picodollars"] for each in printed["choices"]] == [now["picodollars"]] * 2


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page(
    command: str,
    demo_at_noon: DemoHistory,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each choice has a figure."""
    monkeypatch.setattr(SystemClock, "wall", lambda _: NOON * 10**9)

    assert main([*shlex.split(command), *files(demo_at_noon)]) == 0

    out = capsys.readouterr().out
    assert "No figure: " not in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_page_has_commands() -> None:
    """Two of them."""
    assert len(COMMANDS) == 2
