"""Preempted requests in the ledger: counted like requests."""

from dataclasses import replace
from pathlib import Path

from exporter.cost.postings import RequestPosting
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.ledger.schema import LARGEST
from tests.kit.clock import ManualClock
from tests.kit.units import NOVEMBER, SECOND
from tests.ledger.ticks import CHAT, SEARCH, accrued, tick

MONTHS = ("2026-11",)
FIRST = replace(
    tick(NOVEMBER + 10 * SECOND, owners=(CHAT, SEARCH)),
    preemptions=(RequestPosting(CHAT, 5), RequestPosting(SEARCH, 0)),
)
LATER = replace(tick(NOVEMBER + 20 * SECOND), preemptions=(RequestPosting(CHAT, 2),))


def test_they_add_up_and_outlive_a_restart(path: Path, clock: ManualClock) -> None:
    """5 and 2 are 7; a server that preempted none has a row of 0."""
    for number, one in enumerate((FIRST, LATER), 1):
        ledger = Ledger.open(path, clock)
        ledger.post(one, accrued(*(FIRST, LATER)[:number]))
        totals = ledger.totals(NOVEMBER, MONTHS)
        ledger.close()

    assert (totals.preemptions, totals.requests, totals.residual) == ({CHAT: 7, SEARCH: 0}, {}, 0)
    with LedgerReader.open(path) as reader:
        assert reader.totals(NOVEMBER, MONTHS).preemptions == {CHAT: 7, SEARCH: 0}


def test_an_absurd_count_stops_at_the_ceiling(path: Path, clock: ManualClock) -> None:
    """A server cannot stop the ledger."""
    ledger = Ledger.open(path, clock)
    for seconds in (10, 20):
        lie = replace(tick(NOVEMBER + seconds * SECOND), preemptions=(RequestPosting(CHAT, 2**62),))
        ledger.post(lie, accrued())
    totals = ledger.totals(NOVEMBER, MONTHS)
    ledger.close()

    assert (ledger.problem, totals.preemptions) == ("", {CHAT: LARGEST})
