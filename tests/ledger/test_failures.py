"""Writes that fail: served totals stand still, nothing is lost, nothing is counted twice."""

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from exporter.cost.postings import OwnerPhase
from exporter.cost.state import GpuState, State
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.report import CommittedTotals
from tests.kit.clock import ManualClock
from tests.kit.units import HOUR, NOVEMBER
from tests.ledger.ticks import CHAT, GPU_0, accrued, expected_totals, money, numbered, post, tick, tokens

MONTHS = ("2026-11",)
END = NOVEMBER + HOUR
FULL = sqlite3.OperationalError("database or disk is full")
STANDS_STILL = (
    "the ledger cannot be written ({}): totals stand still, "
    "metering goes on in memory and is written as soon as it can be"
)


def after(ledger: Ledger, number: int) -> CommittedTotals:
    return ledger.totals(numbered(number).end, MONTHS)


@pytest.mark.parametrize("at", ["BEGIN", "INSERT INTO minute_cost", "COMMIT"])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    "failure",
    [
        FULL,
        sqlite3.OperationalError("disk I/O error"),
        sqlite3.OperationalError("attempt to write a readonly database"),
        sqlite3.OperationalError("database is locked"),
    ],
    ids=str,
)
def test_a_ledger_that_cannot_be_written_heals(
    path: Path, clock: ManualClock, disk: Any, at: str, failure: sqlite3.Error, *, late: bool
) -> None:
    """Totals stand still while it fails, even where the commit had reached the disk; then all is there."""
    ledger = Ledger.open(path, clock, connect=disk)
    post(ledger, 1)
    before = after(ledger, 1)
    disk.failure, disk.at, disk.late = failure, at, late
    clock.now += 30
    post(ledger, 2, 3, 4)
    during = after(ledger, 4)

    assert (ledger.writable, ledger.persistent) == (False, True)
    assert ledger.problem == STANDS_STILL.format(failure)
    assert during.writable is False
    assert (during.cost, during.tokens, during.months) == (before.cost, before.tokens, before.months)
    assert (during.last_commit, during.residual) == (before.last_commit, 0)
    assert ledger.state() == accrued(numbered(1))

    disk.failure = None
    post(ledger, 5)
    healed = after(ledger, 5)
    ledger.close()
    again = Ledger.open(path, clock)
    reopened = after(again, 5)
    again.close()

    assert (ledger.writable, ledger.problem) == (True, "")
    assert expected_totals(5).differences(healed) == {}
    assert expected_totals(5).differences(reopened) == {}
    assert (reopened.window, reopened.usage, reopened.residual) == (healed.window, healed.usage, 0)


@pytest.mark.parametrize("again", [FULL, OSError(5, "Input/output error")], ids=str)
def test_a_broken_page_is_checked_for_after_another_failure_too(
    path: Path, clock: ManualClock, disk: Any, again: Exception
) -> None:
    """A second failure, as the file is opened again, does not take the suspicion of the first one back."""
    ledger = Ledger.open(path, clock, connect=disk)
    post(ledger, 1)
    broken = sqlite3.DatabaseError("database disk image is malformed")
    broken.sqlite_errorcode = sqlite3.SQLITE_CORRUPT  # type: ignore[misc]
    disk.failure = broken
    post(ledger, 2)
    disk.failure, disk.at = again, "PRAGMA"
    post(ledger, 3)
    assert ledger.writable is False

    statements: list[str] = []
    disk.failure, disk.watch = None, statements.append
    post(ledger, 4)
    ledger.close()

    assert any(statement.startswith("PRAGMA quick_check") for statement in statements)
    with LedgerReader.open(path) as reader:
        assert expected_totals(4).differences(reader.totals(0, MONTHS)) == {}


def test_a_broken_page_that_a_read_meets_is_checked_for(path: Path, clock: ManualClock, disk: Any) -> None:
    """Late prices are read between writes, from pages that no write may touch for months."""
    ledger = Ledger.open(path, clock, connect=disk)
    post(ledger, 1)
    disk.failure = sqlite3.DatabaseError("database disk image is malformed")
    disk.failure.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    disk.at = "SELECT number, day, gpu"
    assert ledger.unpriced() is None

    statements: list[str] = []
    disk.failure, disk.watch = None, statements.append
    post(ledger, 2)
    ledger.close()

    assert any(statement.startswith("PRAGMA quick_check") for statement in statements)
    with LedgerReader.open(path) as reader:
        assert expected_totals(2).differences(reader.totals(0, MONTHS)) == {}


@pytest.mark.nightly
def test_what_waits_is_bounded(path: Path, clock: ManualClock, disk: Any) -> None:
    """Four hours of failed ticks wait as sums, with the minutes of one hour, not as a list of ticks."""
    ledger = Ledger.open(path, clock, connect=disk)
    disk.failure = FULL
    for minute in range(4 * 60):
        ledger.post(tick(END + minute * 60 * 10**9, money(1), tokens=(tokens(1),)), State())
    totals = ledger._pending.totals  # type: ignore[union-attr]
    ledger.close()

    assert totals.counters.cost[OwnerPhase(CHAT, "decode")] == 240
    assert (len(totals.minutes), len(totals.hours)) == (62, 5)


def test_closing_writes_what_waited(path: Path, clock: ManualClock, disk: Any) -> None:
    """A disk that is writable again at the end gets everything."""
    ledger = Ledger.open(path, clock, connect=disk)
    disk.failure = FULL
    post(ledger, 1, 2)
    disk.failure = None
    ledger.close()
    again = Ledger.open(path, clock)
    totals = after(again, 2)
    again.close()

    assert expected_totals(2).differences(totals) == {}


def test_marks_that_went_back_replace_those_of_a_commit_that_failed_late(
    path: Path, clock: ManualClock, disk: Any
) -> None:
    """A state that reached the disk in a failed commit does not outlive the next one."""
    marked = {n: State(gpus={"GPU-0": GpuState(GPU_0, 0, energy_mark=n)}) for n in (1, 2)}
    ledger = Ledger.open(path, clock, connect=disk)
    ledger.post(numbered(1), marked[1])
    disk.failure, disk.late = FULL, True
    ledger.post(numbered(2), marked[2])
    disk.failure = None
    ledger.post(numbered(3), marked[1])
    ledger.close()
    again = Ledger.open(path, clock)
    state = again.state()
    again.close()

    assert state.gpus["GPU-0"].energy_mark == 1


def test_a_commit_ends_what_a_failed_write_left_in_doubt(path: Path, clock: ManualClock, disk: Any) -> None:
    """The first write after a failure opens the file and replaces all marks; the second does neither."""
    ledger = Ledger.open(path, clock, connect=disk)
    disk.failure = FULL
    post(ledger, 1)
    disk.failure = None
    doubtful: list[bool] = []
    for number in (2, 3):
        statements: list[str] = []
        disk.watch = statements.append
        post(ledger, number)
        opens = any(statement.startswith("PRAGMA journal_mode") for statement in statements)
        replaces = "DELETE FROM state WHERE scope = ?" in statements
        assert opens == replaces
        doubtful.append(opens)
    ledger.close()

    assert doubtful == [True, False]


def test_a_file_that_is_back_in_place_after_a_failed_write_is_opened_anew(
    path: Path, clock: ManualClock, disk: Any
) -> None:
    """The failed write left the connection open, since the file was moved; an error may have broken it."""
    away = path.with_name("away.db")
    ledger = Ledger.open(path, clock, connect=disk)
    post(ledger, 1)
    disk.failure, disk.at = FULL, "COMMIT"
    disk.watch = lambda sql: path.rename(away) if sql == "COMMIT" and path.exists() else None
    post(ledger, 2)
    away.rename(path)
    statements: list[str] = []
    disk.failure, disk.watch = None, statements.append
    post(ledger, 3)
    ledger.close()

    assert any(statement.startswith("PRAGMA journal_mode") for statement in statements)
    with LedgerReader.open(path) as reader:
        assert expected_totals(3).differences(reader.totals(0, MONTHS)) == {}


def test_a_full_database_heals_when_there_is_room(path: Path, clock: ManualClock) -> None:
    """SQLite's own refusal, by a page limit, is survived as an injected one is."""
    pages: list[int | None] = [None]

    def limited(uri: str) -> sqlite3.Connection:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None)
        if pages[0] is not None:
            connection.execute(f"PRAGMA max_page_count = {pages[0]}")
        return connection

    ledger = Ledger.open(path, clock, connect=limited)
    post(ledger, 1)
    ledger._store.close()  # type: ignore[union-attr]
    pages[0] = 1  # SQLite takes this as "no more than there are"
    big = State(endpoints={}, gpus={f"GPU-{n}": GpuState(GPU_0, n) for n in range(200)})
    ledger.post(numbered(2), big)

    assert ledger.problem == STANDS_STILL.format("database or disk is full")
    pages[0] = None
    post(ledger, 3)
    totals = after(ledger, 3)
    ledger.close()
    assert expected_totals(3).differences(totals) == {}


WRITES_PAST_A_LIMIT = """
import resource
import sys
from pathlib import Path
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from tests.kit.clock import clock_at
from tests.ledger.ticks import accrued, numbered

path = Path(sys.argv[1])
ledger = Ledger.open(path, clock_at())
ledger.post(numbered(1), accrued(numbered(1)))
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
ledger.post(numbered(2), accrued(numbered(1), numbered(2)))
print(ledger.writable)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
ledger.post(numbered(3), accrued(numbered(1), numbered(2), numbered(3)))
print(ledger.writable)
ledger.close()
"""


def test_an_operating_system_that_refuses_to_write_is_survived(path: Path, clock: ManualClock) -> None:
    """Real writes that fail (a file size limit), and then do not."""
    done = subprocess.run(
        [sys.executable, "-c", WRITES_PAST_A_LIMIT, str(path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    again = Ledger.open(path, clock)
    totals = after(again, 3)
    again.close()

    assert (done.stdout.split(), done.stderr) == (["False", "True"], "")
    assert expected_totals(3).differences(totals) == {}


def test_money_past_what_sqlite_holds_stops_the_books_and_says_so(path: Path, clock: ManualClock) -> None:
    """At 9.2 million dollars a total is not rounded: nothing of the tick is written."""
    largest = 2**63 - 1
    first, second = tick(END, money(largest)), tick(END, money(1))
    ledger = Ledger.open(path, clock)
    ledger.post(first, accrued(first))
    ledger.post(second, accrued(first, second))
    totals = ledger.totals(END, MONTHS)
    ledger.close()

    assert ledger.problem == STANDS_STILL.format(
        "a total of `cost` passes what the file holds (2**63, 9.2 million dollars)"
    )
    assert (totals.cost[OwnerPhase(CHAT, "decode")], totals.residual) == (largest, 0)


def test_a_server_that_lies_about_tokens_does_not_stop_the_money(path: Path, clock: ManualClock) -> None:
    """A count beyond SQLite's integers stands still at the largest; money goes on."""
    first = tick(END, money(5), tokens=(tokens(10**300),))
    second = tick(END, money(6), tokens=(tokens(10**300),))
    ledger = Ledger.open(path, clock)
    ledger.post(first, accrued(first))
    ledger.post(second, accrued(first, second))
    totals = ledger.totals(END, MONTHS)
    ledger.close()

    assert (totals.writable, totals.cost[OwnerPhase(CHAT, "decode")]) == (True, 11)
    assert totals.tokens == {(CHAT, "generation"): 2**63 - 1}


def test_another_ledger_in_the_files_place_is_not_written_to(
    path: Path, tmp_path: Path, clock: ManualClock, disk: Any
) -> None:
    """After a failure the file is opened again: if it is another one, the ledger goes on next to it."""
    other = Ledger.open(tmp_path / "other.db", clock)
    other.close()
    ledger = Ledger.open(path, clock, connect=disk)
    disk.failure = FULL
    post(ledger, 1)
    disk.failure = None
    (tmp_path / "other.db").rename(path)
    post(ledger, 2)
    ledger.close()
    beside = path.with_name("ledger.db.displaced-1")
    again = Ledger.open(beside, clock)
    totals = after(again, 2)
    again.close()

    assert ledger.problem == (
        f"{path} is not this daemon's ledger any more (it is another ledger): it is left alone, and the "
        f"ledger continues in {beside}; the next start takes {path}: before it, stop the daemon and put the "
        "right one of the two there; the ledger's open file could not be copied: its id, totals and marks "
        "were written from memory; history by hour and day, and the list of corrections with those that "
        "waited, are lost"
    )
    assert (again.id, expected_totals(2).differences(totals), totals.residual) == (ledger.id, {}, 0)


def test_books_in_memory_serve_as_those_on_disk_do(clock: ManualClock) -> None:
    """Without a path everything is counted; nothing is dated as written."""
    ledger = Ledger.open(None, clock)
    post(ledger, 1, 2, 3)
    totals = after(ledger, 3)
    ledger.close()

    assert (totals.persistent, totals.writable, totals.last_commit, totals.residual) == (False, True, None, 0)
    assert expected_totals(3).differences(totals) == {}


def test_a_displaced_ledger_that_could_not_be_made_is_tried_again(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The books go on next to a foreign file once the disk has room; the lock of the first try is free."""
    ledger = Ledger.open(path, clock)
    post(ledger, 1, 2)
    Ledger.open(path.with_name("other.db"), clock).close()
    path.with_name("other.db").replace(path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_restore", full)
        post(ledger, 3)
        assert (ledger.displaced, ledger.writable) == (None, False)
    post(ledger, 4)
    ledger.close()

    assert ledger.displaced == path.with_name("ledger.db.displaced-1")
    with LedgerReader.open(ledger.displaced) as reader:
        assert expected_totals(4).differences(reader.totals(0, MONTHS)) == {}
