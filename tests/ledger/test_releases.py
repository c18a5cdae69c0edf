"""Files of other releases. `fixtures/schema-1.db` is what the release before history left behind: 7 ticks.

`fixtures/schema-1.sql` is every statement that it says to a ledger which is there.
"""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.cost.postings import GpuTimePosting, OwnerPhase
from exporter.ledger.adjustment_entry import AdjustmentRequest, EntryError, enter
from exporter.ledger.history import GpuOwner
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.report import MonthKey
from tests.ledger.ticks import (
    CHAT,
    GPU_0,
    NOVEMBER,
    SECOND,
    ExpectedTotals,
    StillClock,
    accrued,
    numbered,
)

FIXTURES = Path(__file__).parent / "fixtures"
MONTHS = ("2026-11",)
CHAT_CELL = MonthKey("chat", "assistants", "configured", "2026-11")


def of_the_release_before(path: Path) -> Path:
    shutil.copy(FIXTURES / "schema-1.db", path)
    return path


def test_the_ledger_of_the_release_before_opens_and_goes_on(path: Path, clock: StillClock) -> None:
    """Totals, id and state are as they were left; the next tick adds to them."""
    ledger = Ledger.open(of_the_release_before(path), clock)
    ledger.post(numbered(8), accrued(*map(numbered, range(1, 9))))
    totals = ledger.totals(NOVEMBER, MONTHS)
    ledger.close()

    expected = ExpectedTotals()
    for number in range(1, 9):
        expected.add(numbered(number))
    assert (ledger.id, ledger.problem) == ("11111111-2222-4333-8444-555555555555", "")
    assert (expected.differences(totals), totals.residual) == ({}, 0)


def test_a_ledger_without_history_says_so_until_it_is_written(path: Path, clock: StillClock) -> None:
    """Read only, nothing is made; from the first tick on there is history, of what came since."""
    with LedgerReader.open(of_the_release_before(path)) as reader:
        before = reader.month("2026-11")
        assert (reader.days(0, 10**8), reader.hours(0, 10**7), reader.zone()) == (None, None, None)
    ledger = Ledger.open(path, clock)
    ledger.post(numbered(8), accrued(*map(numbered, range(1, 9))))
    ledger.close()
    with LedgerReader.open(path) as reader:
        after = reader.month("2026-11")

    # 1 + ... + 7 = 28 picodollars beside the 7 millions; then 8 more and a million.
    assert (before.sums, before.cells[CHAT_CELL], before.months) == (None, 7_000_028, ("2026-11",))
    assert after.cells[CHAT_CELL] == 8_000_036
    assert after.sums is not None
    assert sum(after.sums.cost.values()) == 1_000_008 + 7


def test_the_release_before_reads_and_writes_a_ledger_of_this_one(path: Path, clock: StillClock) -> None:
    """All that it says is understood, and nothing in the file forbids it."""
    ledger = Ledger.open(path, clock)
    ledger.post(numbered(1), accrued(numbered(1)))
    ledger.close()
    statements = (FIXTURES / "schema-1.sql").read_text(encoding="utf-8").split(";\n")[:-1]
    with closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (reader,) = connection.execute("SELECT value FROM meta WHERE key = 'reader'").fetchone()
        for statement in statements:
            # A plan is made of every column and conflict target that the statement names.
            connection.execute(f"EXPLAIN {statement}", [1] * statement.count("?"))

    # It refuses only where both are above the 1 that it knows.
    assert min(version, reader) == 1
    assert len(statements) == 46


def test_money_that_another_release_posted_in_between_is_not_in_history(
    path: Path, clock: StillClock
) -> None:
    """A downgrade and an upgrade again: cells tell it, history keeps what this release posted."""
    for numbers in ((1, 2), (4,)):
        ledger = Ledger.open(path, clock)
        for number in numbers:
            ledger.post(numbered(number), accrued(*map(numbered, range(1, number + 1))))
        ledger.close()
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            chat = "WHERE product = (SELECT id FROM label WHERE text = 'chat')"
            if numbers == (1, 2):  # what the earlier release would do to the month's cell at tick 3
                connection.execute(f"UPDATE months SET picodollars = picodollars + 1000003 {chat}")  # noqa: S608
    with LedgerReader.open(path) as reader:
        record = reader.month("2026-11")

    assert record.sums is not None
    assert record.cells[CHAT_CELL] - sum(record.sums.cost.values()) == 1_000_003 - 3 * 7


ADDED_TABLES = [
    f"{grain}_{name}" for grain in ("hourly", "daily") for name in ("owner_held", "owner_down", "gpu_unowed")
]
ADDED_COLUMNS = {"stretch": ["down_counted"], "adjustment": ["kind", "key"]}


def undo(path: Path) -> None:
    """Take from a file what the release before owners by GPU did not know."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for table in ADDED_TABLES:
            connection.execute(f"DROP TABLE {table}")
        for table, columns in ADDED_COLUMNS.items():
            for column in columns:
                connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")


def entry(cents: int, key: str = "") -> AdjustmentRequest:
    return AdjustmentRequest(cents * 10**10, "2026-11-01", "chat", "assistants", f"because of {cents}", key)


def test_the_release_before_owners_by_gpu_and_this_one_take_turns(path: Path, clock: StillClock) -> None:
    """Its rows and adjustments are read as it meant them, written beside, and understood by it again."""
    ledger = Ledger.open(path, clock)
    ledger.post(numbered(1), accrued(numbered(1)))
    enter(path, entry(1), {}, NOVEMBER)
    undo(path)
    with LedgerReader.open(path) as reader:
        (before,) = reader.adjustments(20261101, 20261130)
        (day,) = (reader.days(20261101, 20261130) or {}).values()
    assert (before.kind, before.key, before.reason) == ("", "", "because of 1")
    assert (day.owner_held, day.gpu_unowed, day.gpu_owed()) == ({}, {}, day.gpu_held)
    ledger.close()

    enter(path, entry(2, "repricing/2026-11-01/1"), {}, NOVEMBER)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:  # as that release does
        connection.execute(
            "INSERT INTO adjustment (day, product, team, picodollars, reason, entered)"
            " SELECT day, product, team, 3, 'because of 3', entered FROM adjustment WHERE id = 1"
        )
    ledger = Ledger.open(path, clock)
    gpu_time = GpuTimePosting(
        GPU_0, OwnerPhase(CHAT, "unobserved"), 20 * SECOND, priced=True, down=8 * SECOND, unowed=8 * SECOND
    )
    second = numbered(2)
    second = replace(
        second, segments=(replace(second.segments[0], gpu_times=(gpu_time,)), *second.segments[1:])
    )
    ledger.post(second, accrued(numbered(1), numbered(2)))
    ledger.close()
    with LedgerReader.open(path) as reader:
        made = reader.adjustments(20261101, 20261130)
        (day,) = (reader.days(20261101, 20261130) or {}).values()

    assert [(each.kind, each.key) for each in made] == [
        ("", ""),
        ("repricing", "repricing/2026-11-01/1"),
        ("", ""),
    ]
    assert all(each.posted is not None for each in made)
    owner = GpuOwner(GPU_0, "chat", "assistants")
    assert (day.owner_held, day.owner_down) == ({owner: 20 * SECOND}, {owner: 8 * SECOND})
    # 10 s of the tick before, of that release's making; 12 s of this one.
    assert (day.gpu_held[GPU_0], day.gpu_owed()[GPU_0]) == (30 * SECOND, 22 * SECOND)
    assert day.gpu_owed()[GPU_0] == sum(day.held.values())


def test_a_key_is_entered_once_in_its_month_for_its_owner(path: Path, clock: StillClock) -> None:
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
