"""Corrections are posted at the next tick, once, to a month and to nothing else."""

import contextlib
import logging
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.ledger.adjustment_entry import AdjustmentRequest, EntryError, enter
from exporter.ledger.adjustments import MANUAL, Adjustment
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from tests.kit.clock import ManualClock
from tests.kit.units import DOLLAR, NOVEMBER
from tests.ledger.adjustments import CELL, MONTHS, OCTOBER, adjusted_totals, correct, states
from tests.ledger.ticks import GPU_0, accrued, money, numbered, post, tick

FIXTURES = Path(__file__).parent / "fixtures"
FULL = sqlite3.OperationalError("database or disk is full")
LARGEST = 2**63 - 1


def test_the_next_tick_posts_it_to_the_month_and_to_nothing_else(path: Path, clock: ManualClock) -> None:
    """12.34 dollars leave the cell; accrued, counters, window and the mean of a day are as without."""
    ledger = Ledger.open(path, clock)
    post(ledger, 1)
    assert correct(path, -1234 * 10**10) == 1
    waiting = ledger.totals(numbered(1).end, MONTHS)
    clock.now += 7
    post(ledger, 2)
    totals = ledger.totals(numbered(2).end, MONTHS)
    ledger.close()
    other = Ledger.open(path.with_name("other.db"), clock)
    post(other, 1, 2)
    without = other.totals(numbered(2).end, MONTHS)
    other.close()

    assert (adjusted_totals(1).differences(waiting), waiting.residual) == ({}, 0)
    assert (adjusted_totals(2, -1234 * 10**10).differences(totals), totals.residual) == ({}, 0)
    own = {"months": without.months, "ledger": without.ledger, "begun": without.begun}
    assert replace(totals, **own) == without


def test_a_record_of_a_month_carries_it(path: Path, clock: ManualClock) -> None:
    """Waiting first and in no cell, then posted at the instant of the commit, and never in history."""
    ledger = Ledger.open(path, clock)
    post(ledger, 1)
    correct(path, 5, "two hours", "2026-11-01", team="assistants")
    with LedgerReader.open(path) as reader:
        waiting = reader.month("2026-11")
    clock.now += 7
    post(ledger, 2)
    with LedgerReader.open(path) as reader:
        posted = reader.month("2026-11")
    ledger.close()

    row = Adjustment(1, "2026-11-01", "chat", "assistants", 5, "two hours", NOVEMBER, None, MANUAL)
    assert (waiting.adjustments, waiting.adjusted, waiting.cells[CELL]) == ((row,), 0, 1_000_001)
    assert (posted.adjustments, posted.adjusted) == ((replace(row, posted=NOVEMBER + 7),), 5)
    # 1,000,001 + 1,000,002, and 7 twice for search.
    assert (posted.cells[CELL], sum(posted.cells.values())) == (2_000_008, 2_000_022)
    assert posted.sums is not None
    assert sum(posted.sums.cost.values()) == 2_000_017


def test_each_goes_to_the_month_of_its_date(path: Path, clock: ManualClock) -> None:
    """Two in one tick, one of them for October, of which the ledger has nothing else."""
    ledger = Ledger.open(path, clock)
    post(ledger, 1)
    correct(path, -3, day="2026-10-31")
    correct(path, 10)
    post(ledger, 2)
    totals = ledger.totals(numbered(2).end, MONTHS)
    ledger.close()
    with LedgerReader.open(path) as reader:
        october, november = reader.month("2026-10"), reader.month("2026-11")

    expected = adjusted_totals(2, 10)
    expected.months[OCTOBER] = -3
    assert expected.differences(totals) == {}
    assert [each.number for each in october.adjustments] == [1]
    assert [each.number for each in november.adjustments] == [2]
    assert (october.months, october.cells) == (("2026-10", "2026-11"), {OCTOBER: -3})


def test_a_month_of_which_only_a_correction_waits_is_known(path: Path, clock: ManualClock) -> None:
    """It has no cell yet, and the waiting ones can be listed."""
    ledger = Ledger.open(path, clock)
    post(ledger, 1)
    correct(path, -3, day="2026-10-31")
    with LedgerReader.open(path) as reader:
        october = reader.month("2026-10")
    ledger.close()

    assert (october.months, october.cells, october.adjusted) == (("2026-10", "2026-11"), {}, 0)
    assert [each.amount for each in october.adjustments] == [-3]


def test_it_is_posted_once_and_stays_after_restarts(path: Path, clock: ManualClock) -> None:
    """Ticks and starts after it change nothing of it."""
    for number in range(1, 5):
        ledger = Ledger.open(path, clock)
        post(ledger, number)
        if number == 1:
            correct(path, 10)
        ledger.close()
    again = Ledger.open(path, clock)
    totals = again.totals(numbered(4).end, MONTHS)
    again.close()

    assert adjusted_totals(4, 10).differences(totals) == {}


def test_one_that_was_entered_while_the_daemon_was_down_is_posted_at_its_start(
    path: Path, clock: ManualClock
) -> None:
    """The first tick finds it."""
    ledger = Ledger.open(path, clock)
    post(ledger, 1)
    ledger.close()
    correct(path, 10)
    assert states(path) == [(10, False)]
    ledger = Ledger.open(path, clock)
    post(ledger, 2)
    totals = ledger.totals(numbered(2).end, MONTHS)
    ledger.close()

    assert adjusted_totals(2, 10).differences(totals) == {}
    assert states(path) == [(10, True)]


@pytest.mark.parametrize("at", ["BEGIN", "SELECT a.id", "INSERT INTO minute_cost", "COMMIT"])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("ends", ["heals", "dies"])
def test_a_commit_that_fails_posts_it_once_all_the_same(
    path: Path, clock: ManualClock, disk: Any, at: str, ends: str, *, late: bool
) -> None:
    """Whether or not the commit had reached the disk, and whether or not the process lives to repeat it."""
    ledger = Ledger.open(path, clock, connect=disk)
    post(ledger, 1)
    correct(path, 100, "before")
    disk.failure, disk.at, disk.late = FULL, at, late
    post(ledger, 2)
    during = ledger.totals(numbered(2).end, MONTHS)
    reached = late and at == "COMMIT"
    assert states(path) == [(100, reached)]
    correct(path, 1000, "meanwhile")
    disk.failure = None
    if ends == "heals":
        post(ledger, 3)
        healed = ledger.totals(numbered(3).end, MONTHS)
        ledger.close()
        assert (adjusted_totals(3, 100, 1000).differences(healed), healed.residual) == ({}, 0)
    else:  # as SIGKILL would: its connection goes, and nothing is written
        ledger._pending = None
        ledger.close()
        ledger = Ledger.open(path, clock)
        expected_now = adjusted_totals(2, 100) if reached else adjusted_totals(1)
        assert expected_now.differences(ledger.totals(numbered(3).end, MONTHS)) == {}
        post(ledger, *(() if reached else (2,)), 3)
        ledger.close()
    again = Ledger.open(path, clock)
    reopened = again.totals(numbered(3).end, MONTHS)
    again.close()

    assert adjusted_totals(1).differences(during) == {}
    assert (adjusted_totals(3, 100, 1000).differences(reopened), reopened.residual) == ({}, 0)
    assert states(path) == [(100, True), (1000, True)]


def test_a_full_disk_keeps_it_until_there_is_space(path: Path, clock: ManualClock, disk: Any) -> None:
    """Ticks and adjustments of an outage are posted together, none twice, also when it ends at the stop."""
    ledger = Ledger.open(path, clock, connect=disk)
    post(ledger, 1)
    disk.failure, disk.late = FULL, True
    for number in (2, 3, 4):
        correct(path, 10**number, f"number {number}")
        post(ledger, number)
    disk.failure = None
    ledger.close()
    again = Ledger.open(path, clock)
    totals = again.totals(numbered(4).end, MONTHS)
    again.close()

    assert (adjusted_totals(4, 100, 1000, 10_000).differences(totals), totals.residual) == ({}, 0)


@pytest.mark.parametrize(
    ("amount", "posted"), [(LARGEST - 2_000_003, True), (LARGEST - 2_000_002, False), (LARGEST, False)]
)
def test_one_that_its_cell_cannot_hold_waits_and_stops_nothing(
    path: Path,
    clock: ManualClock,
    amount: int,
    posted: bool,  # noqa: FBT001 - a parameter
) -> None:
    """A row entered by hand waits where it is too much beside 2,000,003, and the ledger goes on."""
    ledger = Ledger.open(path, clock)
    post(ledger, 1)
    correct(path, 1)
    with contextlib.closing(sqlite3.connect(path)) as shell:
        shell.execute("UPDATE adjustment SET picodollars = ?", (amount,))
        shell.commit()
    post(ledger, 2)
    totals = ledger.totals(numbered(2).end, MONTHS)
    ledger.close()

    assert (ledger.writable, adjusted_totals(2, amount * posted).differences(totals)) == (True, {})
    assert states(path) == [(amount, posted)]


def test_it_goes_aside_with_books_that_are_another_machines(path: Path, clock: ManualClock) -> None:
    """The new books never hear of it; the file that was moved keeps it waiting."""
    posted = tick(numbered(1).end, money(700))
    ledger = Ledger.open(path, clock)
    ledger.bind("product:aaaa", {GPU_0.uuid})
    ledger.post(posted, accrued(posted))
    ledger.close()
    correct(path, 10)
    ledger = Ledger.open(path, clock)
    ledger.bind("product:bbbb", {"GPU-9"})
    post(ledger, 1)
    totals = ledger.totals(numbered(1).end, MONTHS)
    ledger.close()

    assert ledger.moved_aside is not None
    assert adjusted_totals(1).differences(totals) == {}
    assert (states(path), states(ledger.moved_aside)) == ([], [(10, False)])


def test_it_is_not_posted_while_the_machine_of_the_ledger_is_unknown(path: Path, clock: ManualClock) -> None:
    """Another machine and no GPU that can be read: it waits as everything does."""
    posted = tick(numbered(1).end, money(700))
    ledger = Ledger.open(path, clock)
    ledger.bind("product:aaaa", {GPU_0.uuid})
    ledger.post(posted, accrued(posted))
    ledger.close()
    correct(path, 10)
    ledger = Ledger.open(path, clock)
    assert ledger.bind("product:bbbb", ()) is False
    assert ledger.totals(numbered(1).end, MONTHS).months == {}
    assert states(path) == [(10, False)]
    assert ledger.bind("product:bbbb", {GPU_0.uuid}) is True
    later = tick(numbered(2).end, money(1))
    ledger.post(later, accrued(posted, later))
    ledger.close()

    assert ledger.totals(numbered(2).end, MONTHS).months == {CELL: 711}


def test_books_in_memory_have_none(clock: ManualClock) -> None:
    """There is no file that one could be entered into."""
    ledger = Ledger.open(None, clock)
    post(ledger, 1)

    assert adjusted_totals(1).differences(ledger.totals(numbered(1).end, MONTHS)) == {}


def test_what_was_posted_is_logged_when_it_is_committed(
    path: Path, clock: ManualClock, disk: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """One line for each, and none for the try that failed."""
    caplog.set_level(logging.INFO)
    ledger = Ledger.open(path, clock, connect=disk)
    correct(path, -1234 * 10**10, "invoice 4711")
    disk.failure = FULL
    post(ledger, 1)
    assert caplog.records == []
    disk.failure = None
    post(ledger, 2, 3)
    ledger.close()

    (line,) = caplog.records
    logged = {name: vars(line)[name] for name in ("number", "date", "product", "team", "dollars", "reason")}
    assert line.message == "adjustment posted"
    assert logged == {
        "number": 1,
        "date": "2026-11-01",
        "product": "chat",
        "team": "assistants",
        "dollars": "-12.34",
        "reason": "invoice 4711",
    }


def test_a_view_shows_it_to_people(path: Path, clock: ManualClock) -> None:
    """In names and dollars."""
    ledger = Ledger.open(path, clock)
    correct(path, -1234 * 10**10, "one")
    post(ledger, 1)
    correct(path, 5 * DOLLAR, "two", "2026-10-31")
    ledger.close()
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as shell:
        rows = shell.execute("SELECT * FROM adjustment_dollars ORDER BY number").fetchall()

    assert rows == [
        ("chat", "assistants", 1, 20261101, -12.34, "one", 1),
        ("chat", "assistants", 2, 20261031, 5.0, "two", 0),
    ]


def entry(cents: int, key: str = "") -> AdjustmentRequest:
    return AdjustmentRequest(cents * 10**10, "2026-11-01", "chat", "assistants", f"because of {cents}", key)


def test_a_key_is_entered_once_in_its_month_for_its_owner(path: Path, clock: ManualClock) -> None:
    """Whatever the amount and the reason; another month, key, or none is another correction."""
    Ledger.open(path, clock).close()
    products = {"chat": frozenset({"assistants"}), "search": frozenset({"retrieval"})}
    first = entry(1, "repricing/2026-11-01/1")
    others = (
        replace(first, key="repricing/2026-11-01/2"),
        replace(first, day="2026-10-31"),
        replace(first, product="search", team="retrieval"),
        replace(first, key="", amount=7),
    )
    numbers = [enter(path, each, products, NOVEMBER).adjustment.number for each in (first, *others)]
    again = replace(first, amount=5, day="2026-11-02", reason="another")
    with pytest.raises(
        EntryError, match="adjustment 1 has the key repricing/2026-11-01/1: nothing was entered"
    ):
        enter(path, again, products, NOVEMBER)

    assert numbers == [1, 2, 3, 4, 5]
