"""Whatever is posted, however it is grouped, fails and is opened again: the sums are those of the ticks."""

import sqlite3
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from exporter.cost.postings import (
    PHASES,
    EnergyPosting,
    GpuTimePosting,
    MoneyPosting,
    OwnerPhase,
    Postings,
    RequestPosting,
    Segment,
    TokenPosting,
)
from exporter.ledger import contents
from exporter.ledger.ledger import Ledger
from exporter.readings import KINDS
from exporter.report import CommittedTotals
from tests.depth import examples
from tests.kit.clock import clock_at
from tests.kit.units import HOUR, MINUTE, NOVEMBER, SECOND
from tests.ledger.ticks import CHAT, GPU_0, GPU_1, SEARCH, UNALLOCATED_OWNER, ExpectedTotals, accrued, filled

MONTHS = ("2026-11", "2026-12")
FULL = sqlite3.OperationalError("database or disk is full")
Outcome = Literal["written", "refused", "failed late"]

owners = st.sampled_from([CHAT, SEARCH, UNALLOCATED_OWNER])
owner_phases = st.builds(OwnerPhase, owners, st.sampled_from(PHASES))
gpus = st.sampled_from([GPU_0, GPU_1])
entries = st.builds(
    MoneyPosting,
    gpus,
    st.sampled_from(["rent", "energy"]),
    st.sampled_from(["configured", "estimate"]),
    owner_phases,
    st.integers(0, 10**15),
)
holdings = st.builds(
    lambda gpu, owner_phase, seconds, down, unpriced: GpuTimePosting(
        gpu, owner_phase, seconds * SECOND, seconds * SECOND - down, unpriced=unpriced, down=down
    ),
    gpus,
    owner_phases,
    st.integers(0, 10),
    st.sampled_from([0, 0, SECOND // 3]),
    st.booleans(),
).filter(lambda gpu_time: gpu_time.down <= gpu_time.duration)


@st.composite
def ticks(draw: st.DrawFn) -> list[Postings]:
    """Consecutive ticks of one or two segments each, some of them long after the one before."""
    ticks, now = [], NOVEMBER
    for _ in range(draw(st.integers(1, 12))):
        now += draw(st.sampled_from([10 * SECOND, 57 * SECOND, 70 * SECOND, 25 * MINUTE, 30 * HOUR]))
        segments = []
        for number in range(draw(st.integers(0, 2))):
            paid = tuple(draw(st.lists(entries, max_size=3)))
            gpu_time = tuple(draw(st.lists(holdings, max_size=2)))
            start = now - (2 - number) * 5 * SECOND
            month = draw(st.sampled_from(MONTHS))
            total = sum(entry.amount for entry in paid)
            segments.append(Segment(start, start + 5 * SECOND, month, f"{month}-01", total, paid, gpu_time))
        moved = st.builds(TokenPosting, owners, st.sampled_from(KINDS), st.integers(0, 10**6))
        ticks.append(
            Postings(
                now,
                tuple(segments),
                tuple(draw(st.lists(moved, max_size=3))),
                tuple(draw(st.lists(st.builds(RequestPosting, owners, st.integers(0, 9)), max_size=2))),
                tuple(draw(st.lists(st.builds(EnergyPosting, gpus, st.integers(0, 10**6)), max_size=2))),
                tuple(draw(st.sets(owners))),
            )
        )
    return ticks


def after(posted: list[Postings]) -> ExpectedTotals:
    """The plain sums of some ticks."""
    expected = ExpectedTotals()
    for one in posted:
        expected.add(one)
    return expected


def window_of(posted: list[Postings], now: int) -> dict[object, int]:
    """Money and tokens of the sixty whole minutes before now, by the plainest reading of the words."""
    end = now - now % MINUTE
    expected: Counter[object] = Counter()
    for one in posted:
        for segment in one.segments:
            if end - 60 * MINUTE <= segment.start < end:
                for entry in segment.money:
                    expected[entry.owner_phase.owner, entry.owner_phase.phase] += entry.amount
        # Two segments are of five seconds each and have half of the tokens each, the later one the odd one.
        starts = [segment.start for segment in one.segments] or [one.end - 1]
        for moved in one.tokens:
            halves = [moved.count] if len(starts) == 1 else [moved.count // 2, -(-moved.count // 2)]
            for start, part in zip(starts, halves, strict=True):
                if end - 60 * MINUTE <= start < end:
                    expected[moved.owner, moved.kind] += part
    return filled(dict(expected))


def flat(totals: CommittedTotals) -> dict[object, int]:
    """A window's sums, by party and phase or kind."""
    return filled(
        {
            (owner, name): value
            for owner, window in totals.window.items()
            for name, value in [*window.money.items(), *window.tokens.items()]
        }
    )


def usage_of(posted: list[Postings], now: int) -> dict[object, int]:
    """GPU time of the running hour and the 24 before it by hour, GPU and product, and the hours' own time."""
    begin = now - now % HOUR - 24 * HOUR
    expected: Counter[object] = Counter()
    segments = [segment for one in posted for segment in one.segments if segment.start >= begin]
    used = {segment.start // HOUR for segment in segments if segment.gpu_times}
    for segment in segments:
        if (hour := segment.start // HOUR) in used:
            expected[hour, "covered"] += segment.end - segment.start
        for gpu_time in segment.gpu_times:
            expected[hour, gpu_time.gpu, gpu_time.owner_phase.owner.product] += gpu_time.duration
    return filled(dict(expected))


def first_of(posted: list[Postings]) -> dict[str, int]:
    """When each product first held a GPU."""
    segments = [segment for one in posted for segment in one.segments]
    expected = [
        (segment.start, gpu_time.owner_phase.owner.product)
        for segment in segments
        for gpu_time in segment.gpu_times
    ]
    return {product: start for start, product in sorted(expected, reverse=True)}


@pytest.mark.parametrize("memory", [False, True])
@examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    posted=ticks(),
    outcomes=st.lists(st.sampled_from(["written", "written", "refused", "failed late"]), min_size=12),
    reopened=st.sets(st.integers(0, 11)),
)
def test_nothing_is_lost_and_nothing_is_doubled(
    disk: Any, posted: list[Postings], outcomes: list[Outcome], reopened: set[int], *, memory: bool
) -> None:
    """Failures at random commits and restarts at random ticks leave the sums of what was committed.

    A restart here is a crash: what only waited in memory is gone, as its state is, and is not counted.
    """
    with TemporaryDirectory() as folder:
        path = None if memory else Path(folder) / "ledger.db"
        disk.failure = None
        ledger = Ledger.open(path, clock_at(), connect=disk)
        served: list[Postings] = []
        on_disk: list[Postings] = []
        waiting: list[Postings] = []
        for number, (one, outcome) in enumerate(zip(posted, outcomes, strict=False)):
            waiting.append(one)
            disk.failure = None if outcome == "written" else FULL
            disk.late = outcome == "failed late"
            ledger.post(one, accrued(*served, *waiting))
            if outcome != "refused":
                on_disk = [*served, *waiting]
            if outcome == "written" or memory:
                served, waiting = [*served, *waiting], []
            if number in reopened and not memory:
                ledger._store.close()  # type: ignore[union-attr]
                ledger._lock.release()  # type: ignore[union-attr]
                disk.failure = None
                ledger = Ledger.open(path, clock_at(), connect=disk)
                served, waiting = list(on_disk), []
            totals = everything(ledger, one.end)
            assert totals.residual == 0
            assert after(served).differences(totals) == {}
            assert flat(totals) == window_of(served, one.end)
            assert filled_usage(totals) == usage_of(served, one.end)
            assert totals.usage.first_held == first_of(served)
        disk.failure = None
        ledger.close()


def everything(ledger: Ledger, now: int) -> CommittedTotals:
    """The totals with no owner retired."""
    return contents.committed_totals(ledger._committed, now, MONTHS, None)


def filled_usage(totals: CommittedTotals) -> dict[object, int]:
    """The hours of the last day, one entry for each amount."""
    usage: dict[object, int] = {}
    for hour in totals.usage.hours:
        usage[hour.start // HOUR, "covered"] = hour.covered
        for gpu, owners in hour.time.items():
            usage |= {(hour.start // HOUR, gpu, product): time for product, time in owners.items()}
    return filled(usage)
