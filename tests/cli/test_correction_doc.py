"""docs/ledger.md corrects a month by commands that do what the page says, to the letter."""

import os
import re
import shlex
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.config.settings import DEFAULT_LEDGER
from exporter.cost.postings import CostOwner, MoneyPosting, OwnerPhase, Postings, Segment
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.readings import Gpu
from tests.kit.clock import clock_at
from tests.kit.units import DAY, SECOND

PAGE = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Correct a month\n")[2].partition("\n## ")[0]
ID = "9d0f5c1e-5d0c-4f43-9b0a-7c6f2a1f8e55"
PROCESS = "process 2041"
OCTOBER_END = 1_793_491_200 * SECOND
"""2026-11-01T00:00:00Z."""


NOW = OCTOBER_END + (33 * 3600 + 10) * SECOND
"""2 November 2026, nine in the morning and ten seconds."""


def commands() -> list[tuple[list[str], str]]:
    """Each command of the section's console blocks, as words after the program, and what it prints."""
    commands_ = []
    for code in re.findall(r"^```console\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE):
        line, _, printed = code.partition("\n")
        program, *words = shlex.split(line.removeprefix("$ "))
        assert program == "inference-cost-exporter"
        commands_.append((words, printed))
    return commands_


def test_the_page_corrects_a_month(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a daemon that metered all of October at 1.60 dollars an hour, with a tick after each command."""
    for module in ("adjust", "report"):
        monkeypatch.setattr(f"exporter.cli.{module}.SystemClock", lambda: clock_at(NOW))
    path = tmp_path / "ledger.db"
    daemon = Ledger.open(path, clock_at(NOW))
    chat = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")
    day_dollars = 24 * 16 * 10**11
    rent = MoneyPosting(Gpu("GPU-0", "H100"), "rent", "configured", OwnerPhase(chat, "decode"), day_dollars)
    for number in range(31):
        start = OCTOBER_END - (31 - number) * DAY
        name = f"2026-10-{number + 1:02d}"
        segment = Segment(start, start + DAY, "2026-10", name, day_dollars, (rent,), ())
        accrued = (number + 1) * day_dollars
        daemon.post(Postings(start + DAY, (segment,), day=name), State(accrued=accrued))
    outputs = []
    for words, _printed in commands():
        assert main([*words, f"--ledger.path={path}"]) == 0
        out = capsys.readouterr().out.replace(str(path), str(DEFAULT_LEDGER)).replace(daemon.id, ID)
        outputs.append(out.replace(f"process {os.getpid()}", PROCESS))
        daemon.post(Postings(OCTOBER_END + 10 * SECOND), State(accrued=accrued))
    daemon.close()

    assert [printed for _words, printed in commands()] == outputs
    assert [words[0] for words, _printed in commands()] == ["adjust", "report"]
