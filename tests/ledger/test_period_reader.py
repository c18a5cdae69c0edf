"""One period of a ledger, added up by SQLite: the same as all of it read and added up."""

import contextlib
import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.cost.postings import GpuTimePosting, OwnerPhase
from exporter.ledger import families
from exporter.ledger.errors import LedgerError
from exporter.ledger.history import HistorySums
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader, PeriodReader
from exporter.report import MonthKey
from exporter.tariff.period import Period
from tests.kit.clock import ManualClock
from tests.kit.units import DAY, HOUR, NOVEMBER
from tests.ledger.ticks import CHAT, GPU_0, GPU_1, SEARCH, accrued, money, tick, tokens


def post(path: Path, clock: ManualClock) -> Ledger:
    """Five days around the end of October, with money, time without a price and negative amounts."""
    ledger = Ledger.open(path, clock)
    posted = []
    for number in range(5):
        day = number - 2
        start = NOVEMBER + day * DAY
        name = f"2026-11-{day + 1:02d}" if day >= 0 else f"2026-10-{32 + day:02d}"
        owner = CHAT if number % 2 else SEARCH
        postings = tick(
            start + HOUR,
            money(1000 + number, owner),
            money(-7 * number, SEARCH, "idle", GPU_1, "energy"),
            length=HOUR,
            gpu_time=(
                GpuTimePosting(GPU_0, OwnerPhase(owner, "decode"), HOUR, chargeable=HOUR),
                GpuTimePosting(GPU_1, OwnerPhase(CHAT, "idle"), HOUR, unpriced=True, chargeable=HOUR // 2),
            ),
            tokens=(tokens(5 + number, owner),),
            month=name[:7],
            day=name,
        )
        posted.append(postings)
        clock.now = postings.end
        ledger.post(postings, accrued(*posted))
    return ledger


def adjust(path: Path, rows: Iterable[tuple[int, int, int | None]]) -> None:
    """Adjustments of chat as the verb enters them: day, amount, when posted."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for day, amount, posted in rows:
            connection.execute(
                "INSERT INTO adjustment (day, product, team, picodollars, reason, entered, posted) "
                "SELECT ?, id, id, ?, 'late', 0, ? FROM label WHERE text = 'chat'",
                (day, amount, posted),
            )


@pytest.mark.parametrize("name", ["2026-10", "2026-11", "2026-09"])
def test_a_month_is_what_the_whole_reader_reads(name: str, path: Path, clock: ManualClock) -> None:
    """Beside the daemon that has the ledger."""
    ledger = post(path, clock)
    adjust(path, [(20261031, 11, None), (20261101, 12, None)])
    period = Period.named(name)
    with LedgerReader.open(path) as whole, PeriodReader.open(path) as reader:
        expected = whole.month(name)
        header, sums, days = reader.header(period), reader.sums(period), reader.days(period)
    ledger.close()

    assert replace(header.record, sums=sums, days=days) == expected
    assert header.commits == 5
    days = {"2026-10": (20261030, 20261031), "2026-11": (20261101, 20261103)}.get(name)
    assert header.gpus == ({} if days is None else {"GPU-0": days, "GPU-1": days})
    assert (header.zone, header.first, header.last) == ("", NOVEMBER - 2 * DAY, NOVEMBER + 2 * DAY + HOUR)


def test_a_quarter_is_its_months(path: Path, clock: ManualClock) -> None:
    """Cells have their months, sums are of all."""
    post(path, clock).close()
    with PeriodReader.open(path) as reader:
        header, sums = reader.header(Period.named("2026-Q4")), reader.sums(Period.named("2026-Q4"))
        parts = [reader.sums(Period.named(name)) for name in ("2026-10", "2026-11")]

    assert header.record.months == ("2026-10", "2026-11", "2026-Q4")
    # search 1000 + 1002 + 1004 - 7 - 14 - 21 - 28, chat 1001 + 1003
    assert {(cell.month, cell.product): amount for cell, amount in header.record.cells.items()} == {
        ("2026-10", "search"): 993,
        ("2026-10", "chat"): 1001,
        ("2026-11", "search"): 1943,
        ("2026-11", "chat"): 1003,
    }
    added = HistorySums()
    for part in parts:
        assert part is not None
        added.add(part)
    assert sums == added


def test_days_of_a_month_come_from_the_history(path: Path, clock: ManualClock) -> None:
    """From 31 October to 1 November: 1001 and 1002 less 7 and 14, and an adjustment of the 31st."""
    ledger = post(path, clock)
    adjust(path, [(20261030, 50, 1), (20261031, 11, 1), (20261101, 12, None)])
    period = Period.named("2026-10-31/2026-11-01")
    with PeriodReader.open(path) as reader:
        header, sums = reader.header(period), reader.sums(period)
    ledger.close()

    assert header.record.cells == {
        MonthKey("chat", "assistants", "configured", period.name): 1001,
        MonthKey("search", "retrieval", "configured", period.name): 1002 - 7 - 14,
        MonthKey("chat", "chat", "configured", period.name): 11,
    }
    assert [each.amount for each in header.record.adjustments] == [11, 12]
    assert sums is not None
    assert sum(sums.cost.values()) == 1001 + 1002 - 21
    assert sums.covered == {(): 2 * HOUR}


def test_sums_past_what_sqlite_holds_are_exact(path: Path, clock: ManualClock) -> None:
    """A server that reports absurd counts each day cannot stop the report."""
    post(path, clock).close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE daily_tokens SET count = 9223372036854775807")
    with PeriodReader.open(path) as reader:
        sums = reader.sums(Period.named("2026-Q4"))

    assert sums is not None
    assert sum(sums.tokens.values()) == 5 * (2**63 - 1)


def broken(path: Path, statement: str) -> str:
    """The message about a file after a statement."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)

    def read() -> None:
        with PeriodReader.open(path) as reader:
            reader.header(Period.named("2026-11"))
            reader.sums(Period.named("2026-11"))

    with pytest.raises(LedgerError) as raised:
        read()
    return str(raised.value).removeprefix(str(path))


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        pytest.param(
            "PRAGMA application_id = 1",
            " is no ledger that can be read: it is another program's database",
            id="another-program",
        ),
        pytest.param(
            "UPDATE daily_gpu_cost SET picodollars = picodollars + 1 WHERE day = 20261101",
            " is no ledger that can be read: its sums of 2026-11 differ, in picodollars: "
            "2946 by cost, 2946 by server_cost, ",
            id="sums-that-differ",
        ),
        pytest.param(
            "UPDATE meta SET value = 'Europe/Nowhere' WHERE key = 'timezone'",
            ': its days are of the time zone "Europe/Nowhere", which this machine does not know: '
            "install the IANA database (tzdata)",
            id="unknown-zone",
        ),
        pytest.param(
            "DELETE FROM label WHERE text = 'chat'",
            " is no ledger that can be read: a row refers to key ",
            id="missing-label",
        ),
        pytest.param(
            "UPDATE meta SET value = 'soon' WHERE key = 'committed'",
            " is no ledger that can be read: its committed is no number",
            id="commit-that-is-no-number",
        ),
        pytest.param(
            "DELETE FROM meta WHERE key = 'ledger'",
            " is no ledger that can be read: its id is missing",
            id="no-id",
        ),
    ],
)
def test_a_file_that_is_no_whole_ledger_is_refused(
    statement: str, message: str, path: Path, clock: ManualClock
) -> None:
    """The message names the file and what is wrong with it."""
    ledger = Ledger.open(path, clock)
    ledger.close()
    post(path, clock).close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('timezone', 'UTC')")

    assert broken(path, statement).startswith(message)


def test_a_ledger_of_a_newer_release_is_refused(path: Path, clock: ManualClock) -> None:
    """As the whole reader refuses it."""
    post(path, clock).close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version = 3")
        connection.execute("UPDATE meta SET value = 3 WHERE key = 'reader'")
    with pytest.raises(LedgerError, match="releases before schema 3 must not use; this one knows 2: upgrade"):
        PeriodReader.open(path)


def test_damage_of_a_table_that_is_read_is_noticed(path: Path, clock: ManualClock) -> None:
    """A page of `daily_cost` that is zeroed."""
    post(path, clock).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'daily_cost'"
        ).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    content = bytearray(path.read_bytes())
    content[(page - 1) * size : page * size] = bytes(size)
    path.write_bytes(content)

    with pytest.raises(LedgerError, match="is no ledger that can be read"):
        PeriodReader.open(path)


def test_a_reader_changes_nothing(path: Path, clock: ManualClock) -> None:
    """Neither the file nor its folder."""
    post(path, clock).close()
    before = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    with PeriodReader.open(path) as reader:
        reader.header(Period.named("2026-11"))

    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == before


def test_money_without_a_day_is_in_no_part_of_a_month(path: Path, clock: ManualClock) -> None:
    """Its days expired: it is named, and a whole month has it."""
    post(path, clock).close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for family in families.DAILY:
            connection.execute(f"DELETE FROM daily_{family}")  # noqa: S608 - constants
    with PeriodReader.open(path) as reader:
        whole = reader.record(Period.named("2026-11"))
        part = reader.record(Period.named("2026-11-01/2026-11-02"))

    assert whole.undated == 0
    assert part.undated == sum(whole.cells.values()) != 0
    assert (part.cells, part.sums) == ({}, HistorySums())


def test_days_of_some_families(path: Path, clock: ManualClock) -> None:
    """Others stay empty."""
    post(path, clock).close()
    period = Period.named("2026-Q4")
    with PeriodReader.open(path) as reader:
        whole, some = reader.days(period), reader.days(period, ("cost", "tokens"))

    assert {day: sums.cost for day, sums in some.items()} == {day: sums.cost for day, sums in whole.items()}
    assert {day: sums.tokens for day, sums in some.items()} == {
        day: sums.tokens for day, sums in whole.items()
    }
    assert all(sums.held == {} for sums in some.values())
