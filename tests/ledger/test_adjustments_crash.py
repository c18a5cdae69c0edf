"""Killed or copied at any instant, beside people who enter corrections: each is posted once."""

import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from exporter.ledger import schema
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from tests.kit.clock import ManualClock
from tests.kit.units import NOVEMBER
from tests.ledger.adjustments import CELL, MONTHS, adjusted_totals, correct
from tests.ledger.power_cuts import POSTS_WITHOUT_END, copied
from tests.ledger.ticks import CHAT, accrued, numbered

KILLS = 8


def posted(path: Path) -> tuple[list[int], list[int]]:
    """Amounts that the file says are posted, and those that wait; cells agree with history and the former."""
    with LedgerReader.open(path) as reader:
        record = reader.month("2026-11")
    assert sum(record.cells.values()) == record.adjusted + sum(
        record.sums.cost.values() if record.sums else ()
    )
    amounts = [each.amount for each in record.adjustments if each.posted is not None]
    return amounts, [each.amount for each in record.adjustments if each.posted is None]


def whole(path: Path, clock: ManualClock) -> int:
    """How many ticks the file has; all of its books are those ticks and what it says was posted."""
    amounts, _waiting = posted(path)
    ledger = Ledger.open(path, clock)
    totals = ledger.totals(NOVEMBER, MONTHS)
    ledger.close()
    count = totals.requests.get(CHAT, 0)
    assert (adjusted_totals(count, *amounts).differences(totals), totals.residual) == ({}, 0)
    return count


def test_killed_at_any_instant_each_is_posted_once(path: Path, clock: ManualClock) -> None:
    """A process enters, another posts and is killed: what was entered is there, in a cell or waiting."""
    chance = random.Random(20261031)  # noqa: S311 - a reproducible series
    Ledger.open(path, clock).close()
    amounts: list[int] = []
    for _ in range(KILLS):
        with subprocess.Popen(
            [sys.executable, "-c", POSTS_WITHOUT_END, str(path)],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            for _ in range(chance.randint(1, 8)):
                amounts.append(chance.choice((-1, 1)) * chance.randrange(10**9, 10**12))
                correct(path, amounts[-1])
                for _ in range(chance.randint(0, 2)):
                    child.stdout.readline()
            child.send_signal(signal.SIGKILL)
        already_posted, waiting = posted(path)
        assert [*already_posted, *waiting] == amounts
        whole(path, clock)
    count = whole(path, clock)
    ledger = Ledger.open(path, clock)
    ledger.post(numbered(count + 1), accrued(*map(numbered, range(1, count + 2))))
    totals = ledger.totals(NOVEMBER, MONTHS)
    ledger.close()

    assert adjusted_totals(count + 1, *amounts).differences(totals) == {}
    assert posted(path) == (amounts, [])


def test_a_copy_taken_at_any_moment_has_it_in_the_cell_or_waiting(
    path: Path, tmp_path: Path, clock: ManualClock, disk: Any
) -> None:
    """A power cut at any statement of a tick that posts two: both or none, and both after the next tick."""
    ledger = Ledger.open(path, clock, connect=disk)
    ledger.post(numbered(1), accrued(numbered(1)))
    correct(path, 100)
    correct(path, -1000)
    copies: list[Path] = []

    def copy(_statement: str) -> None:
        copies.append(copied(path, tmp_path / f"copy-{len(copies)}"))

    disk.watch = copy
    ledger.post(numbered(2), accrued(numbered(1), numbered(2)))
    disk.watch = lambda _statement: None
    copies.append(copied(path, tmp_path / "after"))
    ledger.close()
    counts = []
    for taken in copies:
        amounts, waiting = posted(taken)
        assert sorted((amounts, waiting)) == [[], [100, -1000]]
        counts.append(whole(taken, clock))
        again = Ledger.open(taken, clock)
        after = counts[-1] + 1
        again.post(numbered(after), accrued(*map(numbered, range(1, after + 1))))
        totals = again.totals(NOVEMBER, MONTHS)
        again.close()
        assert totals.months[CELL] == adjusted_totals(after, 100, -1000).months[CELL]

    assert len(copies) > 5
    assert counts == [1] * (len(copies) - 1) + [2]


def test_a_verb_that_is_cut_off_at_any_statement_has_entered_it_or_not(
    path: Path, tmp_path: Path, clock: ManualClock, disk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every copy opens and goes on; only after the commit is the row there, and then it counts."""
    ledger = Ledger.open(path, clock)
    ledger.post(numbered(1), accrued(numbered(1)))
    copies: list[Path] = []

    def copy(_statement: str) -> None:
        copies.append(copied(path, tmp_path / f"copy-{len(copies)}"))

    disk.watch = copy
    monkeypatch.setattr(schema, "connect", disk)
    correct(path, 100)
    monkeypatch.undo()
    copies.append(copied(path, tmp_path / "after"))
    ledger.close()
    recovered = []
    for taken in copies:
        assert whole(taken, clock) == 1
        recovered.append(posted(taken))
        again = Ledger.open(taken, clock)
        again.post(numbered(2), accrued(numbered(1), numbered(2)))
        totals = again.totals(NOVEMBER, MONTHS)
        again.close()
        assert adjusted_totals(2, *recovered[-1][1]).differences(totals) == {}

    assert len(copies) > 10
    assert recovered == [([], [])] * (len(copies) - 1) + [([], [100])]
