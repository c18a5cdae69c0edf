"""Ledgers of other releases.

`fixtures/schema-2.sql` is the ledger of the first release after seven ticks. Later releases keep it as it is.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from exporter.ledger.errors import LedgerError
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from tests.kit.clock import ManualClock
from tests.kit.units import NOVEMBER
from tests.ledger.ticks import accrued, expected_totals, numbered

FIRST_RELEASE = Path(__file__).parent / "fixtures" / "schema-2.sql"
ID = "11111111-2222-4333-8444-555555555555"
MONTHS = ("2026-11",)


def of_the_first_release(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as shell:
        shell.executescript(FIRST_RELEASE.read_text(encoding="utf-8"))
    return path


def columns(path: Path) -> set[tuple[str, str]]:
    """All columns by table."""
    with closing(sqlite3.connect(path)) as shell:
        rows = shell.execute(
            "SELECT t.name, c.name FROM sqlite_master AS t, pragma_table_info(t.name) AS c"
            " WHERE t.type = 'table'"
        )
        return set(rows)


def of_schema(path: Path, version: int, reader: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute(f"PRAGMA user_version = {version}")
        shell.execute("UPDATE meta SET value = ? WHERE key = 'reader'", (reader,))


def test_the_ledger_of_the_first_release_opens_and_goes_on(path: Path, clock: ManualClock) -> None:
    """Totals, id and state are as they were left. The next tick adds to them."""
    ledger = Ledger.open(of_the_first_release(path), clock)
    ledger.post(numbered(8), accrued(*map(numbered, range(1, 9))))
    totals = ledger.totals(NOVEMBER, MONTHS)
    ledger.close()
    with LedgerReader.open(path) as reader:
        record = reader.month("2026-11")

    assert (ledger.id, ledger.problem) == (ID, "")
    assert (expected_totals(8).differences(totals), totals.residual) == ({}, 0)
    # 1 + ... + 8 = 36 picodollars beside the 8 millions, and eight times 7.
    assert record.sums is not None
    assert sum(record.sums.cost.values()) == sum(record.cells.values()) == 8_000_036 + 56


def test_the_schema_only_grows(path: Path, tmp_path: Path, clock: ManualClock) -> None:
    """The first release opens a file of this one: it has all of its tables and columns."""
    Ledger.open(path, clock).close()
    with closing(sqlite3.connect(path)) as shell:
        (version,) = shell.execute("PRAGMA user_version").fetchone()
        (reader,) = shell.execute("SELECT value FROM meta WHERE key = 'reader'").fetchone()

    assert columns(of_the_first_release(tmp_path / "first.db")) <= columns(path)
    assert (min(version, reader), len(columns(path)) > 200) == (2, True)


def test_a_ledger_of_before_the_first_release_is_moved_aside(path: Path, clock: ManualClock) -> None:
    """It is foreign. The problem says so, and the file stays whole under its new name."""
    of_schema(of_the_first_release(path), 1, 1)
    ledger = Ledger.open(path, clock)
    ledger.close()
    aside = path.with_name("ledger.db.foreign-1")

    assert ledger.moved_aside == aside
    assert ledger.problem == (
        f"{path} could not be used (it has schema 1, of before the first release; this one reads schema 2): "
        f"it was moved to {aside}, and a new ledger was created"
    )
    assert ledger.id != ID
    with closing(sqlite3.connect(aside)) as shell:
        assert shell.execute("SELECT value FROM meta WHERE key = 'ledger'").fetchone() == (ID,)


def test_a_ledger_of_before_the_first_release_is_not_read(path: Path) -> None:
    """A verb names the file, its schema and the one that it needs."""
    of_schema(of_the_first_release(path), 1, 1)
    with pytest.raises(LedgerError) as raised:
        LedgerReader.open(path)

    assert str(raised.value) == (
        f"{path} is no ledger that can be read: it has schema 1, of before the first release; this one reads "
        "schema 2"
    )


def test_a_later_schema_that_this_release_may_use(path: Path, clock: ManualClock) -> None:
    """A later release added to it, and says that this one still writes correct totals."""
    of_schema(of_the_first_release(path), 3, 2)
    ledger = Ledger.open(path, clock)
    ledger.close()

    assert (ledger.id, ledger.problem, ledger.moved_aside) == (ID, "", None)
