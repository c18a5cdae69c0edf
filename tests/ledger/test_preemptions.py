"""Preempted requests in the ledger: counted like requests, and unknown to files of an earlier release."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from exporter.cost.postings import RequestPosting
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.ledger.schema import LARGEST
from tests.ledger.ticks import CHAT, NOVEMBER, SEARCH, SECOND, StillClock, accrued, tick

FIXTURE = Path(__file__).parent / "fixtures" / "schema-1.db"
MONTHS = ("2026-11",)
FIRST = replace(
    tick(NOVEMBER + 10 * SECOND, owners=(CHAT, SEARCH)),
    preemptions=(RequestPosting(CHAT, 5), RequestPosting(SEARCH, 0)),
)
LATER = replace(tick(NOVEMBER + 20 * SECOND), preemptions=(RequestPosting(CHAT, 2),))


def test_they_add_up_and_outlive_a_restart(path: Path, clock: StillClock) -> None:
    """5 and 2 are 7; a server that preempted none has a row of 0."""
    for number, one in enumerate((FIRST, LATER), 1):
        ledger = Ledger.open(path, clock)
        ledger.post(one, accrued(*(FIRST, LATER)[:number]))
        totals = ledger.totals(NOVEMBER, MONTHS)
        ledger.close()

    assert (totals.preemptions, totals.requests, totals.residual) == ({CHAT: 7, SEARCH: 0}, {}, 0)
    with LedgerReader.open(path) as reader:
        assert reader.totals(NOVEMBER, MONTHS).preemptions == {CHAT: 7, SEARCH: 0}


def test_a_ledger_of_the_release_before_gets_them_with_the_first_one(path: Path, clock: StillClock) -> None:
    """Without any its file keeps the tables that it had, so that the release before reads it as its own."""
    shutil.copy(FIXTURE, path)
    ledger = Ledger.open(path, clock)
    ledger.post(tick(NOVEMBER + 10 * SECOND), ledger.state())
    with closing(sqlite3.connect(path)) as file:
        tables = {name for (name,) in file.execute("SELECT name FROM sqlite_master")}
    ledger.post(LATER, ledger.state())
    ledger.close()

    assert "preemptions" not in tables
    assert (ledger.problem, ledger.moved_aside) == ("", None)
    with LedgerReader.open(path) as reader:
        assert reader.totals(NOVEMBER, MONTHS).preemptions == {CHAT: 2}


def test_an_absurd_count_stops_at_the_ceiling(path: Path, clock: StillClock) -> None:
    """A server cannot stop the ledger."""
    ledger = Ledger.open(path, clock)
    for seconds in (10, 20):
        lie = replace(tick(NOVEMBER + seconds * SECOND), preemptions=(RequestPosting(CHAT, 2**62),))
        ledger.post(lie, accrued())
    totals = ledger.totals(NOVEMBER, MONTHS)
    ledger.close()

    assert (ledger.problem, totals.preemptions) == ("", {CHAT: LARGEST})
