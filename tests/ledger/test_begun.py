"""When the ledger began, which distinguishes a ledger from the one before it."""

from pathlib import Path

from exporter.ledger.ledger import Ledger
from tests.kit.clock import ManualClock
from tests.kit.units import NOVEMBER, SECOND
from tests.ledger.ticks import accrued, numbered

MONTHS = ("2026-11",)


def begun(ledger: Ledger) -> int | None:
    return ledger.totals(NOVEMBER, MONTHS).begun


def posted(path: Path | None, clock: ManualClock, *numbers: int) -> int | None:
    """What a daemon that posts these ticks serves at its end."""
    ledger = Ledger.open(path, clock)
    state = ledger.state()
    for number in numbers:
        ledger.post(numbered(number), state)
    beginning = begun(ledger)
    ledger.close()
    return beginning


def test_the_first_commit_is_the_beginning_and_stays_it(path: Path, clock: ManualClock) -> None:
    """Opening is none; later ticks and restarts do not move it."""
    assert posted(path, clock) is None
    clock.now = NOVEMBER + 5 * SECOND
    assert posted(path, clock, 1) == NOVEMBER + 5 * SECOND
    clock.now = NOVEMBER + 9 * SECOND
    assert posted(path, clock, 2, 3) == NOVEMBER + 5 * SECOND
    assert posted(path, clock) == NOVEMBER + 5 * SECOND


def test_a_ledger_that_is_moved_aside_has_a_new_beginning(path: Path, clock: ManualClock) -> None:
    """Damaged, or another machine's: either way the new file has a beginning of its own."""
    posted(path, clock, 1)
    path.write_bytes(b"no database at all, and longer than sixteen bytes")
    clock.now = NOVEMBER + 60 * SECOND
    assert posted(path, clock, 1) == NOVEMBER + 60 * SECOND
    clock.now = NOVEMBER + 90 * SECOND
    ledger = Ledger.open(path, clock)
    ledger.start_over()
    assert begun(ledger) is None
    ledger.post(numbered(1), accrued(numbered(1)))
    assert begun(ledger) == NOVEMBER + 90 * SECOND
    ledger.close()


def test_an_unknown_beginning_is_absent(clock: ManualClock) -> None:
    """A ledger in memory has no file: it is unknown."""
    assert posted(None, clock, 1) is None
