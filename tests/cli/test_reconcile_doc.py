"""docs/reconcile.md sets books against a bill by commands that do what the page says, to the letter."""

import os
import re
import shlex
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.config.settings import DEFAULT_LEDGER
from exporter.cost.postings import CostOwner, GpuTimePosting, MoneyPosting, OwnerPhase, Postings, Segment
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.readings import Gpu
from tests.kit.clock import clock_at
from tests.kit.units import CENT, HOUR, OCTOBER, SECOND

PAGE = (Path(__file__).parents[2] / "docs" / "reconcile.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Example\n")[2].partition("\n## ")[0]
ID = "9d0f5c1e-5d0c-4f43-9b0a-7c6f2a1f8e55"
PROCESS = "process 2041"
NINE = OCTOBER + (32 * 24 + 9) * HOUR
"""2026-11-02T09:00:00Z."""


def blocks(kind: str) -> list[str]:
    """The section's fenced blocks of a kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)


def month_segments() -> tuple[Segment, ...]:
    """The books of the page: 23.5 h at 55.04 dollars, and 24 h at 54.20."""
    owner = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")
    gpu, owner_phase = Gpu("GPU-0", "H100"), OwnerPhase(owner, "decode")
    segments = []
    for number in range(48):
        start = OCTOBER + number * HOUR + (HOUR // 2 if number == 0 else 0)
        end = OCTOBER + (number + 1) * HOUR
        amount = (5504 if number < 24 else 5420) * CENT * (end - start) // HOUR
        day = "2026-10-01" if number < 24 else "2026-10-02"
        money = (MoneyPosting(gpu, "rent", "configured", owner_phase, amount),)
        segments.append(
            Segment(
                start,
                end,
                "2026-10",
                day,
                amount,
                money,
                (GpuTimePosting(gpu, owner_phase, end - start, chargeable=end - start),),
            )
        )
    return tuple(segments)


def test_the_page_sets_books_against_a_bill(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a daemon, with a tick after each command."""
    clock = clock_at(NINE + 10 * SECOND)
    for module in ("adjust", "reconcile"):
        monkeypatch.setattr(f"exporter.cli.{module}.SystemClock", lambda: clock)
    monkeypatch.chdir(tmp_path)
    (bill,) = blocks("csv")
    Path("focus-2026-10.csv").write_text(bill, encoding="utf-8")
    path = tmp_path / "ledger.db"
    daemon = Ledger.open(path, clock)
    segments = month_segments()
    accrued = sum(segment.accrued for segment in segments)
    daemon.post(Postings(segments[-1].end, segments, day="2026-10-02"), State(accrued=accrued))
    outputs, page = [], []
    for code in blocks("console"):
        line, _, printed = code.partition("\n")
        program, *words = shlex.split(line.removeprefix("$ "))
        assert program == "inference-cost-exporter"
        assert main([*words, f"--ledger.path={path}"]) == 0
        out = capsys.readouterr().out.replace(f" --ledger.path={path}", "")  # the page's is the default
        out = out.replace(str(path), str(DEFAULT_LEDGER)).replace(daemon.id, ID)
        outputs.append(out.replace(f"process {os.getpid()}", PROCESS))
        page.append(printed)
        clock.now = NINE + 20 * SECOND
        daemon.post(Postings(clock.now), State(accrued=accrued))
    daemon.close()

    assert page == outputs
    assert len(page) == 3
