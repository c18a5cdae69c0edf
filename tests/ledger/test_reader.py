"""Reading beside a running daemon."""

import contextlib
import re
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.cost.postings import OwnerPhase, Postings
from exporter.ledger.errors import LedgerError
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from tests.kit.clock import ManualClock
from tests.kit.units import DAY, HOUR, NOVEMBER
from tests.ledger.ticks import CHAT, SEARCH, accrued, numbered

MONTHS = ("2026-11",)


def test_a_reader_sees_what_the_daemon_serves(path: Path, clock: ManualClock) -> None:
    """Books, state and id are those of the last commit, tick by tick; the page's history is the daemon's."""
    ledger = Ledger.open(path, clock)
    for number in (1, 2, 3):
        ledger.post(numbered(number), accrued(*map(numbered, range(1, number + 1))))
        served = ledger.totals(NOVEMBER, MONTHS)
        with LedgerReader.open(path) as reader:
            read = reader.totals(NOVEMBER, MONTHS)
            assert replace(read, history=served.history) == served
            assert (reader.id, reader.state()) == (ledger.id, ledger.state())
    ledger.close()


def answers(reader: LedgerReader) -> tuple[object, ...]:
    """All answers of a reader, of the totals and of the tables of history."""
    first = NOVEMBER // HOUR - 1
    return (
        (
            reader.id,
            reader.state(),
            reader.totals(NOVEMBER, MONTHS),
            reader.covered(first, first + 2),
        ),
        (reader.month("2026-11"), reader.hours(first, first + 2), reader.days(20261101, 20261130)),
        (reader.waiting(), reader.adjustments(20261101, 20261130)),
    )


def enter_on(path: Path, day: int) -> None:
    """An adjustment as the verb enters it, beside the daemon."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT OR IGNORE INTO label (text) VALUES ('chat')")
        connection.execute(
            "INSERT INTO adjustment (day, product, team, picodollars, reason, entered) "
            "SELECT ?, id, id, 7, 'late', 0 FROM label WHERE text = 'chat'",
            (day,),
        )


def test_all_answers_of_a_reader_are_of_one_commit(path: Path, clock: ManualClock) -> None:
    """That at which it was opened: a report adds up whatever is posted or entered while it is made."""
    ledger = Ledger.open(path, clock)
    ledger.post(numbered(1), accrued(numbered(1)))
    with LedgerReader.open(path) as reader, LedgerReader.open(path) as late:
        before = answers(reader)
        ledger.post(numbered(2), accrued(numbered(1), numbered(2)))
        enter_on(path, 20261103)

        assert answers(late) == answers(reader) == before
        with LedgerReader.open(path) as now:
            assert [one == other for one, other in zip(answers(now), before, strict=True)] == [False] * 3
    ledger.close()


def test_a_reader_keeps_to_the_books_that_it_was_opened_on(path: Path, clock: ManualClock) -> None:
    """Where the daemon moves the file aside meanwhile, the id is not of one ledger and money of another."""
    ledger = Ledger.open(path, clock)
    ledger.post(numbered(1), accrued(numbered(1)))
    with LedgerReader.open(path) as reader:
        before = answers(reader)
        ledger.start_over()
        for number in (1, 2):
            ledger.post(numbered(number), accrued(*map(numbered, range(1, number + 1))))

        assert answers(reader) == before
        with LedgerReader.open(path) as now:
            assert now.id == ledger.id != reader.id
            assert now.totals(NOVEMBER, MONTHS).requests != reader.totals(NOVEMBER, MONTHS).requests
    ledger.close()


def log_is_held(path: Path) -> bool:
    """Whether somebody still reads what a checkpoint would let go of."""
    with contextlib.closing(sqlite3.connect(path, timeout=0)) as connection:
        (busy, _in_log, _done) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return bool(busy)


def test_a_reader_that_is_closed_holds_the_log_no_longer(path: Path, clock: ManualClock) -> None:
    """While it is open the log can only grow; also one that could not be opened lets go."""
    ledger = Ledger.open(path, clock)
    ledger.post(numbered(1), accrued(numbered(1)))
    with LedgerReader.open(path):
        ledger.post(numbered(2), accrued(numbered(1), numbered(2)))
        assert log_is_held(path)
    assert not log_is_held(path)
    ledger.close()


def test_a_file_without_a_log_that_changes_is_refused(path: Path, clock: ManualClock) -> None:
    """A daemon that starts writes into its log first; once that is in the file, an answer would mix both."""
    Ledger.open(path, clock).close()
    with LedgerReader.open(path) as reader:
        before = answers(reader)
        ledger = Ledger.open(path, clock)
        ledger.post(numbered(1), accrued(numbered(1)))
        assert answers(reader) == before
        ledger.close()

        with pytest.raises(
            LedgerError, match=f"^{re.escape(str(path))} was changed while it was read: ask again$"
        ):
            reader.month("2026-11")


def test_a_reader_is_served_while_a_tick_is_being_written(path: Path, clock: ManualClock, disk: Any) -> None:
    """In the middle of a transaction a reader gets the tick before, at once."""
    numbers: list[int] = []

    def look(statement: str) -> None:
        if statement == "COMMIT" and path.exists():
            # Before there are books the tables are being made.
            with contextlib.suppress(LedgerError), LedgerReader.open(path) as reader:
                numbers.append(reader.totals(NOVEMBER, MONTHS).requests.get(CHAT, 0))

    disk.watch = look
    ledger = Ledger.open(path, clock, connect=disk)
    numbers.clear()
    for number in (1, 2, 3):
        ledger.post(numbered(number), accrued(*map(numbered, range(1, number + 1))))
    ledger.close()

    assert numbers == [0, 1, 2]


def test_a_reader_that_lingers_does_not_stop_the_daemon(path: Path, clock: ManualClock) -> None:
    """A shell in the middle of reading costs no tick."""
    ledger = Ledger.open(path, clock)
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as shell:
        shell.execute("BEGIN")
        before = shell.execute("SELECT count(*) FROM cost").fetchone()
        ledger.post(numbered(1), accrued(numbered(1)))
        assert ledger.writable is True
        assert shell.execute("SELECT count(*) FROM cost").fetchone() == before == (0,)
    with LedgerReader.open(path) as reader:
        assert reader.totals(NOVEMBER, MONTHS).requests == {CHAT: 1}
    ledger.close()


def test_a_reader_retires_nobody(path: Path, clock: ManualClock) -> None:
    """A verb sees the rows that a scrape no longer gets."""
    ledger = Ledger.open(path, clock)
    ledger.post(numbered(1), accrued(numbered(1)))
    ledger.post(Postings(NOVEMBER + 2 * DAY, owners=(SEARCH,)), accrued(numbered(1)))
    served = ledger.totals(NOVEMBER + 2 * DAY, MONTHS)
    ledger.close()
    with LedgerReader.open(path) as reader:
        read = reader.totals(NOVEMBER + 2 * DAY, MONTHS)

    assert OwnerPhase(CHAT, "decode") not in served.cost
    assert read.cost[OwnerPhase(CHAT, "decode")] == 1_000_001


def test_the_views_speak_dollars_and_names(path: Path, clock: ManualClock) -> None:
    """A person with a shell needs no key."""
    ledger = Ledger.open(path, clock)
    ledger.post(numbered(1), accrued(numbered(1)))
    ledger.close()
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as shell:
        rows = {
            view: shell.execute(f"SELECT * FROM {view} ORDER BY 1, 2").fetchall()  # noqa: S608 - a list of ours
            for view in ("cost_dollars", "token_counts", "gpu_dollars", "month_dollars")
        }

    chat = ("chat", "assistants", "llm", "chat-8b", "llama-8b")
    model = "NVIDIA H100 80GB HBM3"
    assert rows == {
        "cost_dollars": [
            (*chat, "decode", 1.000001e-6),
            ("search", "retrieval", "llm", "embed", "bge", "idle", 7e-12),
        ],
        "token_counts": [(*chat, "generation", 1)],
        "gpu_dollars": [("GPU-0", model, "rent", 1.000001e-6), ("GPU-1", model, "energy", 7e-12)],
        "month_dollars": [
            ("2026-11", "chat", "assistants", "configured", 1.000001e-6),
            ("2026-11", "search", "retrieval", "configured", 7e-12),
        ],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "{path}: there is no ledger here"),
        (b"no books", "{path} is no ledger that can be read: file is not a database"),
        (b"", "{path} is empty: no daemon has begun it"),
        (b"x", "{path} is no ledger that can be read: it is another program's database"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_left_alone(
    path: Path, content: bytes | None, message: str
) -> None:
    """A reader moves nothing aside and makes nothing."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LedgerError, match=f"^{re.escape(message.format(path=path))}$"):
        LedgerReader.open(path)

    assert path.exists() is (content is not None)


def test_a_directory_is_no_ledger_to_read(tmp_path: Path) -> None:
    """A directory is named as one."""
    with pytest.raises(LedgerError, match=f"^{re.escape(str(tmp_path))} is a directory$"):
        LedgerReader.open(tmp_path)


def test_the_time_zone_of_the_last_tick_is_remembered(path: Path, clock: ManualClock) -> None:
    """Past a restart, and past ticks that do not tell it; a change of zone moves no posted money."""
    cells = []
    for number, zone in ((1, "Pacific/Kiritimati"), (2, "Europe/Berlin"), (3, "")):
        ledger = Ledger.open(path, clock)
        ledger.post(replace(numbered(number), zone=zone), accrued(*map(numbered, range(1, number + 1))))
        ledger.close()
        with LedgerReader.open(path) as reader:
            cells.append((str(reader.zone()), sum(reader.month("2026-11").cells.values())))
    whole = [
        sum(money.amount for each in range(1, number + 1) for money in numbered(each).segments[0].money)
        for number in (1, 2, 3)
    ]
    assert cells == [
        ("Pacific/Kiritimati", whole[0]),
        ("Europe/Berlin", whole[1]),
        ("Europe/Berlin", whole[2]),
    ]


def test_the_time_zone_of_ticks_that_could_not_be_written(path: Path, clock: ManualClock, disk: Any) -> None:
    """It is written with them, as the latest of them had it; until then the file has the one before."""
    ledger = Ledger.open(path, clock, connect=disk)
    ledger.post(replace(numbered(1), zone="UTC"), accrued(numbered(1)))
    disk.failure = sqlite3.OperationalError("disk I/O error")
    ledger.post(replace(numbered(2), zone="Asia/Kathmandu"), accrued(numbered(1), numbered(2)))
    with LedgerReader.open(path) as reader:
        assert str(reader.zone()) == "UTC"
    disk.failure = None
    ledger.close()
    with LedgerReader.open(path) as reader:
        assert str(reader.zone()) == "Asia/Kathmandu"
