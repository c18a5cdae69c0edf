"""Observed latencies in the ledger: totals like any other."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from exporter.cost.postings import LatencyPosting, Postings
from exporter.ledger.history import TickSums
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.ledger.totals import Totals
from exporter.report import CommittedTotals
from tests.kit.clock import ManualClock
from tests.kit.units import MINUTE, NOVEMBER, SECOND
from tests.ledger.ticks import CHAT, SEARCH, accrued, tick

MONTHS = ("2026-11",)


def observed(seconds: int, *latencies: LatencyPosting) -> Postings:
    return replace(tick(NOVEMBER + seconds * SECOND), latencies=latencies, owners=(CHAT, SEARCH))


FIRST = observed(
    10,
    LatencyPosting(CHAT, "first_token", "requests", 3, 4, 5),
    LatencyPosting(SEARCH, "per_token", "tokens", 0, 0, 0),
)
LAST = observed(
    70,
    LatencyPosting(CHAT, "first_token", "requests", 1, 1, 2),
    LatencyPosting(CHAT, "per_token", "tokens", 90, 95, 100),
    LatencyPosting(CHAT, "per_token", "requests", 8, 9, 10),
)
SUMS = {
    (CHAT, "first_token", "requests", "lower"): 4,
    (CHAT, "first_token", "requests", "upper"): 5,
    (CHAT, "first_token", "requests", "total"): 7,
    (CHAT, "per_token", "tokens", "lower"): 90,
    (CHAT, "per_token", "tokens", "upper"): 95,
    (CHAT, "per_token", "tokens", "total"): 100,
    (CHAT, "per_token", "requests", "lower"): 8,
    (CHAT, "per_token", "requests", "upper"): 9,
    (CHAT, "per_token", "requests", "total"): 10,
    (SEARCH, "per_token", "tokens", "lower"): 0,
    (SEARCH, "per_token", "tokens", "upper"): 0,
    (SEARCH, "per_token", "tokens", "total"): 0,
}
"""By hand; those that nothing was observed of begin at 0."""


def served(ledger: Ledger, minutes: int) -> CommittedTotals:
    """What a page shows so many minutes after the month began."""
    return ledger.totals(NOVEMBER + minutes * MINUTE, MONTHS)


def test_observations_add_up_and_outlive_a_restart(path: Path, clock: ManualClock) -> None:
    """In one process and in the next."""
    for number, one in enumerate((FIRST, LAST), 1):
        ledger = Ledger.open(path, clock)
        ledger.post(one, accrued(*(FIRST, LAST)[:number]))
        totals = served(ledger, 2)
        ledger.close()

    assert (totals.latencies, totals.residual) == (SUMS, 0)
    with LedgerReader.open(path) as reader:
        assert reader.totals(NOVEMBER + 2 * MINUTE, MONTHS).latencies == SUMS


def test_the_window_has_whole_minutes_of_the_last_hour(path: Path, clock: ManualClock) -> None:
    """The first tick is of minute 0, the other of minute 1. Requests and tokens are never added up."""
    ledger = Ledger.open(path, clock)
    ledger.post(FIRST, accrued(FIRST))
    ledger.post(LAST, accrued(FIRST, LAST))
    at = {minutes: dict(served(ledger, minutes).window[CHAT].latencies) for minutes in (1, 2, 60, 61)}
    later = served(ledger, 62).window
    ledger.close()

    first = {
        ("first_token", "requests", "lower"): 3,
        ("first_token", "requests", "upper"): 4,
        ("first_token", "requests", "total"): 5,
    }
    last = {
        ("first_token", "requests", "lower"): 1,
        ("first_token", "requests", "upper"): 1,
        ("first_token", "requests", "total"): 2,
        ("per_token", "tokens", "lower"): 90,
        ("per_token", "tokens", "upper"): 95,
        ("per_token", "tokens", "total"): 100,
        ("per_token", "requests", "lower"): 8,
        ("per_token", "requests", "upper"): 9,
        ("per_token", "requests", "total"): 10,
    }
    both = last | {
        ("first_token", "requests", "lower"): 4,
        ("first_token", "requests", "upper"): 5,
        ("first_token", "requests", "total"): 7,
    }
    assert at == {1: first, 2: both, 60: both, 61: last}
    assert CHAT not in later


def test_a_minute_that_was_summed_once_takes_in_what_is_added_to_it(path: Path, clock: ManualClock) -> None:
    """Sums of the hour are kept from tick to tick, and made again when one of their minutes changes."""
    ledger = Ledger.open(path, clock)
    ledger.post(FIRST, accrued(FIRST))
    before = served(ledger, 1).window[CHAT].latencies["first_token", "requests", "total"]
    late = replace(FIRST, end=NOVEMBER + 20 * SECOND)
    ledger.post(late, accrued(FIRST, late))
    after = served(ledger, 1).window[CHAT].latencies["first_token", "requests", "total"]
    ledger.close()

    assert (before, after) == (5, 10)


def test_minutes_of_the_past_leave_the_file(path: Path, clock: ManualClock) -> None:
    """62 minutes stay, and totals do."""
    ledger = Ledger.open(path, clock)
    ledger.post(FIRST, accrued(FIRST))
    late = observed(2 * 3600, LatencyPosting(CHAT, "first_token", "requests", 0, 0, 1))
    ledger.post(late, accrued(FIRST, late))
    ledger.close()

    with closing(sqlite3.connect(path)) as connection:
        minutes = connection.execute("SELECT DISTINCT minute FROM minute_latencies").fetchall()
    assert minutes == [(NOVEMBER // MINUTE + 119,)]
    with LedgerReader.open(path) as reader:
        assert reader.totals(late.end, MONTHS).latencies[CHAT, "first_token", "requests", "total"] == 6


def test_counts_stop_at_what_the_file_holds() -> None:
    """A hostile server cannot stop the ledger."""
    totals, most = Totals(), 2**63 - 1
    sums = TickSums.of(observed(10, LatencyPosting(CHAT, "first_token", "requests", most, most, most)))
    totals.add(sums, known_owners=())
    totals.add(sums, known_owners=())
    assert totals.counters.latencies[CHAT, "first_token", "requests", "total"] == most
