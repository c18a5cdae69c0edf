"""Reading beside a running daemon."""

import contextlib
import re
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.cost.postings import Postings, Slot
from exporter.ledger.ledger import Ledger, LedgerError
from exporter.ledger.reader import LedgerReader
from tests.ledger.ledger_ticks import CHAT, NOVEMBER, SEARCH, StillClock, accrued, numbered

MONTHS = ("2026-11",)
DAY = 86_400 * 10**9


def test_a_reader_sees_what_the_daemon_serves(path: Path, clock: StillClock) -> None:
    """Books, state and id are those of the last commit, tick by tick; the page's history is the daemon's."""
    ledger = Ledger.open(path, clock)
    ledger.post(numbered(1), accrued(numbered(1)))
    with Ledger.read(path) as reader:
        assert reader.id == ledger.id
        for number in (2, 3):
            ledger.post(numbered(number), accrued(*map(numbered, range(1, number + 1))))
            served = ledger.books(NOVEMBER, MONTHS)
            read = reader.books(NOVEMBER, MONTHS)
            assert replace(read, course=served.course) == served
            assert reader.state() == ledger.state()
    ledger.close()


def test_a_reader_is_served_while_a_tick_is_being_written(path: Path, clock: StillClock, disk: Any) -> None:
    """In the middle of a transaction a reader gets the tick before, at once."""
    seen: list[int] = []

    def look(statement: str) -> None:
        if statement == "COMMIT" and path.exists():
            with contextlib.suppress(LedgerError):  # no books yet: the tables are being made
                seen.append(LedgerReader.open(path).books(NOVEMBER, MONTHS).requests.get(CHAT, 0))

    disk.watch = look
    ledger = Ledger.open(path, clock, connect=disk)
    seen.clear()
    for number in (1, 2, 3):
        ledger.post(numbered(number), accrued(*map(numbered, range(1, number + 1))))
    ledger.close()

    assert seen == [0, 1, 2]


def test_a_reader_that_lingers_does_not_stop_the_daemon(path: Path, clock: StillClock) -> None:
    """A shell in the middle of reading costs no tick."""
    ledger = Ledger.open(path, clock)
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as shell:
        shell.execute("BEGIN")
        before = shell.execute("SELECT count(*) FROM cost").fetchone()
        ledger.post(numbered(1), accrued(numbered(1)))
        assert ledger.writable is True
        assert shell.execute("SELECT count(*) FROM cost").fetchone() == before == (0,)
    assert LedgerReader.open(path).books(NOVEMBER, MONTHS).requests == {CHAT: 1}
    ledger.close()


def test_a_reader_retires_nobody(path: Path, clock: StillClock) -> None:
    """A verb sees the rows that a scrape no longer gets."""
    ledger = Ledger.open(path, clock)
    ledger.post(numbered(1), accrued(numbered(1)))
    ledger.post(Postings(NOVEMBER + 2 * DAY, seen=(SEARCH,)), accrued(numbered(1)))
    served = ledger.books(NOVEMBER + 2 * DAY, MONTHS)
    ledger.close()
    read = LedgerReader.open(path).books(NOVEMBER + 2 * DAY, MONTHS)

    assert Slot(CHAT, "decode") not in served.cost
    assert read.cost[Slot(CHAT, "decode")] == 1_000_001


def test_the_views_speak_dollars_and_names(path: Path, clock: StillClock) -> None:
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
    ("content", "said"),
    [
        (None, "{path}: there is no ledger here"),
        (b"no books", "{path} is no ledger that can be read: file is not a database"),
        (b"", "{path} is empty: no daemon has begun it"),
        (b"x", "{path} is no ledger that can be read: it is another program's database"),
    ],
)
def test_what_cannot_be_read_is_told_and_left_alone(path: Path, content: bytes | None, said: str) -> None:
    """A reader moves nothing aside and makes nothing."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LedgerError, match=f"^{re.escape(said.format(path=path))}$"):
        Ledger.read(path)

    assert path.exists() is (content is not None)


def test_a_directory_is_no_ledger_to_read(tmp_path: Path) -> None:
    """A directory is told as one."""
    with pytest.raises(LedgerError, match=f"^{re.escape(str(tmp_path))} is a directory$"):
        Ledger.read(tmp_path)


def test_the_time_zone_of_the_last_tick_is_remembered(path: Path, clock: StillClock) -> None:
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


def test_the_time_zone_of_ticks_that_could_not_be_written(path: Path, clock: StillClock, disk: Any) -> None:
    """It is written with them, as the latest of them had it; until then the file tells the one before."""
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
