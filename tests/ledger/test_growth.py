"""A week of a page that makes up 17,000 series at each read, in compressed time: nothing grows."""

from dataclasses import replace
from pathlib import Path

import pytest

from exporter.cost.advance import advance
from exporter.cost.page_marks import MARKS_MAX
from exporter.cost.state import State
from exporter.ledger import marks
from exporter.ledger.ledger import Ledger
from exporter.readings import CounterReading, Frame, ServerReading, counter_readings
from tests.cost.readings import CHAT, allocate, cost_policy, h100, page, rent
from tests.kit.clock import ManualClock
from tests.kit.units import HOUR, NOVEMBER

SERIES = 17_000
READS = 7 * 4
STEP = 6 * HOUR
MEBIBYTE = 2**20


def made_up(read: int) -> ServerReading:
    """A page of which every label is new."""
    rows = (
        CounterReading(f"generation_tokens_total{{x={read}-{number}}}", "llama", "generation", 1.0)
        for number in range(SERIES)
    )
    return replace(page(), counters=counter_readings(rows))


@pytest.mark.nightly
def test_a_week_of_made_up_series_is_as_large_as_its_first_hours(path: Path, clock: ManualClock) -> None:
    """State, its text, the file and its log; and after the server is gone nothing of it is left."""
    ledger = Ledger.open(path, clock)
    sizes: list[int] = []
    state, on = State(), cost_policy(rent(1), gap_after=STEP)
    for read in range(READS):
        clock.now = NOVEMBER + read * STEP
        frame = Frame(read * STEP, clock.now, (h100(),), (made_up(read),), allocate(CHAT, 0))
        outcome = advance(state, frame, on)
        ledger.post(outcome.postings, outcome.state)
        state = ledger.remembered()
        sizes.append(sum(map(len, marks.texts(state).values())))
        assert ledger.problem == ""
    (endpoint,) = state.endpoints.values()
    on_disk = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))

    assert (len(endpoint.marks.values), endpoint.marks.dropped) == (MARKS_MAX, True)
    assert max(sizes[3:]) < MEBIBYTE // 2
    assert max(sizes[3:]) - min(sizes[3:]) < 1000
    assert on_disk < 4 * MEBIBYTE

    clock.now += STEP
    gone = advance(state, Frame(READS * STEP, clock.now, (h100(),)), on)
    ledger.post(gone.postings, gone.state)
    assert sum(map(len, marks.texts(ledger.remembered()).values())) < 10_000
    ledger.close()
    again = Ledger.open(path, clock)
    again.close()
    assert again.dropped == ()
