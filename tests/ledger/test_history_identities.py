"""Whatever is posted, and however it fails: history sums to the month's cells, to the picodollar."""

import sqlite3
from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from exporter.cost.postings import (
    PHASES,
    GpuTimePosting,
    MoneyPosting,
    OwnerPhase,
    Postings,
    Segment,
    TokenPosting,
)
from exporter.ledger.history import HistorySums
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.readings import KINDS
from exporter.report import ServerOwner
from tests.depth import examples
from tests.kit.clock import clock_at
from tests.kit.units import HOUR, NOVEMBER, SECOND
from tests.ledger.ticks import CHAT, GPU_0, GPU_1, SEARCH, UNALLOCATED_OWNER, accrued, filled
from tests.nightly import daily

FULL = sqlite3.OperationalError("database or disk is full")
ZONES = ("UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Auckland")
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
    st.integers(-(10**9), 10**15),
)
gpu_times = st.builds(
    lambda gpu, owner_phase, seconds, down, unpriced: GpuTimePosting(
        gpu, owner_phase, seconds * SECOND, seconds * SECOND - down, unpriced=unpriced, down=down
    ),
    gpus,
    owner_phases,
    st.integers(0, 10),
    st.sampled_from([0, 0, SECOND // 3]),
    st.booleans(),
).filter(lambda time: time.down <= time.duration)


def local(instant: int, zone: str) -> str:
    """The local date of an instant, by the library's own calendar."""
    return datetime.fromtimestamp(instant // SECOND, UTC).astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d")


@st.composite
def ticks(draw: st.DrawFn) -> list[Postings]:
    """Ticks of a few segments, with long silences and steps back between, around the turn of two months.

    The zone changes as a reload may change it; New York's clocks go back on the first of November.
    """
    ticks, now = [], NOVEMBER - 20 * HOUR
    for _ in range(draw(st.integers(1, 10))):
        now += draw(st.sampled_from([10 * SECOND, HOUR, 7 * HOUR, 26 * HOUR, 31 * 24 * HOUR, -30 * HOUR]))
        zone = draw(st.sampled_from(ZONES))
        length = SECOND * draw(st.sampled_from([5, 40]))
        segments = []
        for number in range(draw(st.integers(0, 3))):
            paid = tuple(draw(st.lists(entries, max_size=3)))
            drawn = tuple(draw(st.lists(gpu_times, max_size=2)))
            start = now - (3 - number) * length
            day = local(start, zone)
            total = sum(entry.amount for entry in paid)
            segments.append(Segment(start, start + length, day[:7], day, total, paid, drawn))
        moved = st.builds(TokenPosting, owners, st.sampled_from(KINDS), st.integers(0, 10**6))
        token_postings = tuple(draw(st.lists(moved, max_size=3)))
        ticks.append(Postings(now, tuple(segments), token_postings, owners=(CHAT,), day=local(now - 1, zone)))
    return ticks


def expected_totals(posted: list[Postings]) -> dict[str, Counter[Any]]:
    """Each family of a day, kept the plain way: by entry, with the day first in the key."""
    names = ("cost", "held", "server_cost", "gpu_cost", "gpu_held", "tokens", "unpriced", "covered")
    names += ("gpu_down", "gpu_unowed", "owner_held", "owner_down")
    sums: dict[str, Counter[Any]] = {name: Counter() for name in names}
    for one in posted:
        for segment in one.segments:
            day = segment.day
            sums["covered"][day, ()] += segment.end - segment.start
            for paid in segment.money:
                who = paid.owner_phase.owner
                owner = ServerOwner(who.product, who.team, who.namespace, who.server)
                sums["cost"][day, paid.owner_phase] += paid.amount
                sums["server_cost"][day, (owner, paid.component, paid.price_basis)] += paid.amount
                sums["gpu_cost"][day, (paid.gpu, paid.component)] += paid.amount
            for time in segment.gpu_times:
                sums["held"][day, time.owner_phase] += time.chargeable
                sums["gpu_held"][day, time.gpu] += time.duration
                sums["gpu_unowed"][day, time.gpu] += time.duration - time.chargeable
                sums["gpu_down"][day, time.gpu] += time.down
                if not time.unpriced:
                    whose = (
                        time.gpu,
                        time.owner_phase.owner.product,
                        time.owner_phase.owner.team,
                    )
                    sums["owner_held"][day, whose] += time.duration
                    sums["owner_down"][day, whose] += time.down
                sums["unpriced"][day, (time.gpu, time.owner_phase.owner)] += (
                    time.duration if time.unpriced else 0
                )
        # From a minute on they are by segment, all of one length: 10 in three of them are 3, 3 and 4.
        long = sum(segment.end - segment.start for segment in one.segments) >= 60 * SECOND
        days = [segment.day for segment in one.segments] if long else [one.day]
        for moved in one.tokens:
            ends = [moved.count * number // len(days) for number in range(len(days) + 1)]
            for day, (before, after) in zip(days, pairwise(ends), strict=True):
                sums["tokens"][day, (moved.owner, moved.kind)] += after - before
    return {name: Counter(filled(dict(counts))) for name, counts in sums.items()}


def history_totals(days: dict[int, HistorySums]) -> dict[str, Counter[Any]]:
    """History in the form of `expected_totals`, without rows that are 0."""
    return {
        name: Counter(
            filled(
                {
                    (f"{day // 10_000}-{day // 100 % 100:02d}-{day % 100:02d}", key): value
                    for day, sums in days.items()
                    for key, value in getattr(sums, name).items()
                }
            )
        )
        for name in expected_totals([])
    }


@pytest.mark.parametrize("cells", daily((2, 200), {2}))
@examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    posted=ticks(),
    outcomes=st.lists(st.sampled_from(["written", "written", "refused", "failed late"]), min_size=10),
    reopened=st.sets(st.integers(0, 9)),
)
def test_history_sums_to_what_was_posted(
    disk: Any,
    monkeypatch: pytest.MonkeyPatch,
    cells: int,
    posted: list[Postings],
    outcomes: list[Outcome],
    reopened: set[int],
) -> None:
    """Days hold exactly what was committed, and every grouping of a month sums to its cells.

    Commits fail at random, before or after they reach the disk; a restart is a crash. With room for two
    cells only, what waits is folded all the time.
    """
    monkeypatch.setattr("exporter.ledger.history.CELLS_WAITING", cells)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        disk.failure = None
        ledger = Ledger.open(path, clock_at(), connect=disk)
        stored: list[Postings] = []
        on_disk: list[Postings] = []
        waiting: list[Postings] = []
        for number, (one, outcome) in enumerate(zip(posted, outcomes, strict=False)):
            waiting.append(one)
            disk.failure = None if outcome == "written" else FULL
            disk.late = outcome == "failed late"
            ledger.post(one, accrued(*stored, *waiting))
            if outcome != "refused":
                on_disk = [*stored, *waiting]
            if outcome == "written":
                stored, waiting = [*stored, *waiting], []
            if number in reopened:
                ledger._store.close()  # type: ignore[union-attr]
                ledger._lock.release()  # type: ignore[union-attr]
                disk.failure, stored, waiting = None, list(on_disk), []
                ledger = Ledger.open(path, clock_at(), connect=disk)
        disk.failure = None
        ledger.close()
        stored += waiting

        with LedgerReader.open(path) as reader:
            assert history_totals(dict(reader.days(0, 10**8) or {})) == expected_totals(stored)
            if cells == 200:
                assert by_hour(reader) == filled(dict(hourly(stored)))
            for month in ("2026-10", "2026-11", "2026-12", "2027-01"):
                agree(reader, month)


def by_hour(reader: LedgerReader) -> dict[Any, int]:
    sums = reader.hours(-(10**7), 10**7) or {}
    return filled(
        {
            (hour, owner_phase): value
            for hour, of_hour in sums.items()
            for owner_phase, value in of_hour.cost.items()
        }
    )


def hourly(posted: list[Postings]) -> Counter[Any]:
    sums: Counter[Any] = Counter()
    for segment in (segment for one in posted for segment in one.segments):
        for paid in segment.money:
            sums[segment.start // HOUR, paid.owner_phase] += paid.amount
    return sums


def agree(reader: LedgerReader, month: str) -> None:
    """All groupings of a month's history equal its month-to-date cells, exactly."""
    record = reader.month(month)
    if month not in record.months:
        return
    sums = record.sums
    assert sums is not None
    whole = HistorySums()
    for number, day in record.days.items():
        assert month == f"{number // 10_000}-{number // 100 % 100:02d}"
        whole.add(day)
    assert whole == sums
    cells: Counter[Any] = Counter()
    bases: Counter[Any] = Counter()
    by_phase: Counter[Any] = Counter()
    by_component: Counter[Any] = Counter()
    for cell, amount in record.cells.items():
        cells[cell.product, cell.team] += amount
        bases[cell.product, cell.team, cell.price_basis] += amount
    for owner_phase, amount in sums.cost.items():
        by_phase[owner_phase.owner.product, owner_phase.owner.team] += amount
    for (owner, _component, basis), amount in sums.server_cost.items():
        by_component[owner.product, owner.team, basis] += amount
    assert filled(dict(by_phase)) == filled(dict(cells))
    assert filled(dict(by_component)) == filled(dict(bases))
    assert sum(sums.gpu_cost.values()) == sum(cells.values())
