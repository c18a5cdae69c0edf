"""docs/finance.md opens with a month's commands and samples; each is run on the demo's ledger."""

import contextlib
import io
import itertools
import re
import shlex
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from exporter.cli import main
from exporter.units import NANOSECONDS_PER_SECOND
from tests.demo.demo_history import demo_history
from tests.docs.markdown import ROOT
from tests.kit.clock import ManualClock

PAGE: Final = ROOT / "docs" / "finance.md"
CLOSING: Final = int(datetime(2026, 11, 4, 9, tzinfo=UTC).timestamp())
"""The demo has all of October then, and a day of September."""

SAMPLES: Final = re.compile(r"(<!-- measured: month -->\n)(.*?)(<!-- end of month -->)", re.DOTALL)
STATED_LINES: Final = 13
"""Lines of a statement before its ledgers."""

VERBS: Final = ("adjust", "advise", "explain", "reconcile", "report", "show_status", "tco", "fleet_source")


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the demo's ledger."""
    folder = tmp_path_factory.mktemp("demo-p5", numbered=False)
    demo_history(CLOSING, folder=folder)
    return folder


@pytest.fixture
def folder(replayed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of the ledger, on the day of the closing, and a bill of 30,000 dollars."""
    for verb in VERBS:
        monkeypatch.setattr(
            f"exporter.cli.{verb}.SystemClock", lambda: ManualClock(start=CLOSING * NANOSECONDS_PER_SECOND)
        )
    shutil.copytree(replayed, tmp_path / "demo-p5")
    rows = [f"2026-10-{day:02d},{1_000 if day < 31 else 0}.00" for day in range(1, 32)]
    (tmp_path / "bill-2026-10.csv").write_text("\n".join(["date,dollars", *rows, ""]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answer(command: str, folder: Path) -> str:
    """What a command of the page prints, on both streams."""
    program, *words = shlex.split(command)
    if program == "head":
        return "".join(line + "\n" for line in Path(words[-1]).read_text().splitlines()[: int(words[1])])
    assert program == "inference-cost-exporter"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        status = main([*words, f"--ledger.path={folder / 'demo-p5' / 'ledger.db'}"])
    assert status == 0, printed.getvalue()
    return printed.getvalue()


def steady(text: str) -> str:
    """The text with one id of the ledger and one version, which differ in each run."""
    ledger_id = "9d0f5c1e-5d0c-4f43-9b0a-7c6f2a1f8e55"
    text = re.sub(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", ledger_id, text)
    text = re.sub(r"(demo-p5 \()[0-9a-f]{8}", rf"\g<1>{ledger_id[:8]}", text)
    return re.sub(r'("version": ")[^"]*', r"\g<1>0.1.0", text)


def test_samples_are_what_the_commands_print(folder: Path, request: pytest.FixtureRequest) -> None:
    """In their order; `--update-golden` writes them into the page."""
    page = PAGE.read_text(encoding="utf-8")
    (region,) = SAMPLES.finditer(page)
    commands = re.findall(r"^\$ (.+)$", region[2], re.MULTILINE)
    blocks = [f"```console\n$ {command}\n{steady(answer(command, folder))}```\n" for command in commands]
    samples = "\n".join(blocks)
    if request.config.getoption("--update-golden"):
        PAGE.write_text(page.replace(region[2], samples), encoding="utf-8")
        return

    assert len(commands) == 4
    assert f"head -n {STATED_LINES} " in commands[2]
    assert region[2] == samples


@pytest.mark.parametrize(("title", "count"), [("Calendar of a month", 8), ("Questions of a CFO", 7)])
def test_commands_of_tables_run_in_their_order(folder: Path, title: str, count: int) -> None:
    """Each cell can be pasted; the statement that is compared has been closed before."""
    section = PAGE.read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    commands = re.findall(r"`(inference-cost-exporter [^`]+)`", section)
    answers = {command: answer(command, folder) for command in commands}

    assert len(answers) == count
    assert all(answers.values())
    words = list(itertools.chain.from_iterable(map(shlex.split, commands)))
    assert {"reconcile", "advise", "status", "explain"} <= set(words)


def test_a_waiting_adjustment_is_no_silent_change(folder: Path) -> None:
    """Until its daemon posts it, a comparison with the statement names it."""
    statement = "--month=2026-10 --close --output=statement-2026-10.json"
    answer(f"inference-cost-exporter report month {statement}", folder)
    owner = "--product=assistant --team=conversations"
    answer(
        f"inference-cost-exporter adjust --amount=4.00 --date=2026-10-31 {owner} --reason='invoice 4711'",
        folder,
    )
    compared = answer("inference-cost-exporter report month --against=statement-2026-10.json", folder)

    waits = "demo-p5: adjustment 1: invoice 4711: not posted yet, and in no change\n"
    assert compared.endswith(f"Nothing changed since.\n{waits}")
