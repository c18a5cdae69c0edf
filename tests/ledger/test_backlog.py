"""GPU time that waits for a price, as the ledger keeps it."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from exporter.cost.postings import (
    CostOwner,
    GpuTimePosting,
    GpuUse,
    LateCharges,
    MoneyPosting,
    OwnerPhase,
    Phase,
    Postings,
    Segment,
    UnpricedTime,
)
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.ledger.unpriced_time import BATCH_RANGES, FIRST, RANGES_MAX, UnpricedBuffer
from exporter.readings import Gpu
from tests.depth import examples
from tests.kit.clock import ManualClock, clock_at
from tests.kit.units import HOUR, MINUTE, NOVEMBER, SECOND
from tests.ledger.ticks import CHAT, GPU_0, GPU_1, SEARCH

UTC = ZoneInfo("UTC")
FULL = sqlite3.OperationalError("database or disk is full")


def passing(
    start: int,
    length: int = 10 * SECOND,
    owner: CostOwner = CHAT,
    gpu: Gpu = GPU_0,
    day: str = "2026-11-01",
    phase: Phase = "decode",
    energy: int = 7,
) -> Postings:
    """A tick in which a GPU had no price."""
    owner_phase = OwnerPhase(owner, phase)
    unpriced = UnpricedTime(gpu, day, start, start + length, {owner_phase: GpuUse(length, length, energy)})
    gpu_time = (GpuTimePosting(gpu, owner_phase, length, unpriced=True, chargeable=length),)
    segment = Segment(start, start + length, day[:7], day, 0, (), gpu_time, (unpriced,))
    return Postings(start + length, (segment,), day=day)


def waiting(ledger: Ledger) -> list[UnpricedTime]:
    """Everything that waits, walked through from the first."""
    unpriced, cursor = [], FIRST
    while True:
        batch = ledger.unpriced(cursor)
        assert batch is not None
        unpriced += batch.unpriced
        if batch.after is None:
            return unpriced
        assert batch.after > cursor
        cursor = batch.after


def charged(unpriced: UnpricedTime, left: dict[OwnerPhase, GpuUse], end: int, amount: int = 5) -> Postings:
    """A tick that charges from a stretch all but what is left; its GPU time was counted when it passed."""
    times = {
        owner_phase: used.time - left.get(owner_phase, GpuUse(0, 0, 0)).time
        for owner_phase, used in unpriced.usage.items()
    }
    gpu_time = tuple(
        GpuTimePosting(unpriced.gpu, owner_phase, time, chargeable=0) for owner_phase, time in times.items()
    )
    owner_phase = next(iter(unpriced.usage))
    money = (MoneyPosting(unpriced.gpu, "rent", "configured", owner_phase, amount),)
    until = unpriced.start if left else unpriced.end
    segment = Segment(unpriced.start, unpriced.end, unpriced.day[:7], unpriced.day, amount, money, gpu_time)
    rest = UnpricedTime(unpriced.gpu, unpriced.day, unpriced.start, until, left, unpriced.number)
    return Postings(end, late=LateCharges((segment,), (rest,)))


def test_time_of_an_hour_is_one_stretch(path: Path, clock: ManualClock) -> None:
    """Ticks that follow each other add up by holder and phase; another GPU or hour has its own."""
    ledger = Ledger.open(path, clock)
    start = NOVEMBER + HOUR - 20 * SECOND
    for number in range(4):
        owner, phase = ((CHAT, "decode"), (SEARCH, "idle"))[number % 2]
        tick = passing(start + number * 10 * SECOND, owner=owner, phase=phase)  # type: ignore[arg-type]
        ledger.post(tick, State(wall=tick.end))
    other = passing(start, gpu=GPU_1)
    ledger.post(other, State(wall=NOVEMBER + 2 * HOUR))
    ledger.close()

    ten, chat, search = 10 * SECOND, OwnerPhase(CHAT, "decode"), OwnerPhase(SEARCH, "idle")
    one = GpuUse(ten, ten, 7)
    assert waiting(Ledger.open(path, clock)) == [
        UnpricedTime(GPU_0, "2026-11-01", start, start + 2 * ten, {chat: one, search: one}, 1),
        UnpricedTime(GPU_0, "2026-11-01", start + 2 * ten, start + 4 * ten, {chat: one, search: one}, 2),
        UnpricedTime(GPU_1, "2026-11-01", start, start + ten, {chat: one}, 3),
    ]


@pytest.mark.parametrize("silence", [0, MINUTE, MINUTE + 1])
def test_a_stretch_ends_where_its_gpu_was_priced_for_a_minute(silence: int, clock: ManualClock) -> None:
    """So that a price that begins inside an hour finds time where it was."""
    ledger = Ledger.open(None, clock)
    for start in (NOVEMBER, NOVEMBER + 10 * SECOND + silence):
        ledger.post(passing(start), State())

    assert len(waiting(ledger)) == (1 if silence <= MINUTE else 2)


def test_time_for_hourly_rent_alone_is_a_stretch_of_its_own(path: Path, clock: ManualClock) -> None:
    """What only hourly rent is owed for does not mix with what follows it, in memory and in the file."""
    boot = passing(NOVEMBER)
    (segment,) = boot.segments
    alone = replace(segment, unpriced=(replace(segment.unpriced[0], hourly_only=True),))
    ticks = [replace(boot, segments=(alone,)), passing(NOVEMBER + 10 * SECOND)]
    for location in (path, None):
        ledger = Ledger.open(location, clock)
        for tick in ticks:
            ledger.post(tick, State(wall=tick.end))
        if location is not None:
            ledger.close()
            ledger = Ledger.open(location, clock)

        assert [(one.start, one.hourly_only) for one in waiting(ledger)] == [
            (NOVEMBER, True),
            (NOVEMBER + 10 * SECOND, False),
        ]


def test_what_is_charged_no_longer_waits(path: Path, clock: ManualClock) -> None:
    """A part of a range, then the rest; meanwhile it goes on, and history has the settled part."""
    ledger = Ledger.open(path, clock)
    owner_phase, ten = OwnerPhase(CHAT, "decode"), 10 * SECOND
    ledger.post(passing(NOVEMBER), State(wall=NOVEMBER + ten))
    (unpriced,) = waiting(ledger)
    rest = {owner_phase: GpuUse(4 * SECOND, 4 * SECOND, 3)}
    both = charged(unpriced, rest, NOVEMBER + 2 * ten)
    ledger.post(
        Postings(both.end, passing(NOVEMBER + ten).segments, day="2026-11-01", late=both.late),
        State(wall=both.end, accrued=5),
    )
    (longer,) = waiting(ledger)
    assert longer == UnpricedTime(
        GPU_0,
        "2026-11-01",
        NOVEMBER,
        NOVEMBER + 2 * ten,
        {owner_phase: GpuUse(14 * SECOND, 14 * SECOND, 10)},
        1,
    )
    ledger.post(charged(longer, {}, NOVEMBER + 3 * ten), State(wall=NOVEMBER + 3 * ten, accrued=10))
    assert waiting(ledger) == []
    ledger.post(passing(NOVEMBER + 2 * ten), State(wall=NOVEMBER + 3 * ten, accrued=10))
    ledger.close()

    with LedgerReader.open(path) as reader:
        (sums,) = reader.days(20261101, 20261101).values()  # type: ignore[union-attr]
        totals = reader.totals(NOVEMBER, ("2026-11",))
    assert (sum(sums.unpriced.values()), sum(sums.settled.values())) == (3 * ten, 2 * ten)
    assert (sums.covered, sums.held) == ({(): 2 * ten + ten}, {owner_phase: 3 * ten})
    assert (totals.residual, sum(totals.months.values()), totals.unpriced) == (0, 10, {GPU_0: 3 * ten})
    start = NOVEMBER + 2 * ten
    assert waiting(Ledger.open(path, clock)) == [
        UnpricedTime(GPU_0, "2026-11-01", start, start + ten, {owner_phase: GpuUse(ten, ten, 7)}, 2)
    ]


def test_no_unpriced_time_is_read_while_writes_fail(path: Path, clock: ManualClock) -> None:
    """What is not on the disk is no basis for charging anything."""
    ledger = Ledger.open(path, clock)
    ledger.post(passing(NOVEMBER), State(wall=NOVEMBER))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ledger.post(passing(NOVEMBER + 10 * SECOND), State(wall=NOVEMBER))
        assert ledger.unpriced() is None
    ledger.post(Postings(NOVEMBER + 20 * SECOND), State(wall=NOVEMBER))

    assert [one.usage[OwnerPhase(CHAT, "decode")].time for one in waiting(ledger)] == [20 * SECOND]


def test_a_file_that_cannot_be_read_has_no_unpriced_time(path: Path, clock: ManualClock) -> None:
    """The tick goes on without."""
    ledger = Ledger.open(path, clock)
    ledger.post(passing(NOVEMBER), State(wall=NOVEMBER))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("DELETE FROM owner")

    assert ledger.unpriced() is None


def test_memory_is_bounded_while_the_disk_refuses(clock: ManualClock) -> None:
    """A range goes on for its day; a ledger in memory keeps the latest, and no time is there twice."""
    backlog = UnpricedBuffer()
    for hour in range(RANGES_MAX + 100):
        day = f"2026-{11 + hour // 720:02d}-{hour // 24 % 30 + 1:02d}" if hour < 1440 else "2027-01-01"
        backlog.add(passing(NOVEMBER + hour * HOUR, HOUR, day=day))
    assert len(backlog.unwritten) == RANGES_MAX
    total = sum(used.time for one in backlog.unwritten.values() for used in one.usage.values())
    assert total == (RANGES_MAX + 100) * HOUR

    ledger = Ledger.open(None, clock)
    for hour in range(RANGES_MAX + 100):
        ledger.post(passing(NOVEMBER + hour * HOUR, HOUR), State())
    ranges = waiting(ledger)
    assert [one.number for one in ranges] == list(range(101, RANGES_MAX + 101))
    assert len(ledger.unpriced().unpriced) == BATCH_RANGES  # type: ignore[union-attr]


def test_time_past_thirteen_months_is_let_go(path: Path, clock: ManualClock) -> None:
    """With the day that it lies in."""
    ledger = Ledger.open(path, clock)
    ledger.post(passing(NOVEMBER), State(wall=NOVEMBER))
    ledger.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for number in range(13 * 31 - 1):
            other.execute("INSERT INTO daily_covered VALUES (?, 1)", (20_270_000 + number,))
    ledger = Ledger.open(path, clock)
    ledger.post(Postings(NOVEMBER), State(wall=NOVEMBER))
    assert len(waiting(ledger)) == 1
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("INSERT INTO daily_covered VALUES (20280000, 1)")
    ledger.close()
    ledger = Ledger.open(path, clock)
    ledger.post(Postings(NOVEMBER), State(wall=NOVEMBER))

    assert waiting(ledger) == []


steps = st.lists(
    st.tuples(
        st.sampled_from([10 * SECOND, 20 * MINUTE, 5 * HOUR, 30 * HOUR, -2 * HOUR]),
        st.sampled_from([CHAT, SEARCH]),
        st.sampled_from([GPU_0, GPU_1]),
        st.integers(0, 3),
        st.sampled_from(["written", "written", "refused", "refused late", "killed"]),
    ),
    max_size=14,
)


@examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_whatever_is_charged_and_however_it_fails_history_agrees_with_what_waits(
    tmp_path_factory: pytest.TempPathFactory,
    disk: Any,
    steps: list[tuple[int, CostOwner, Gpu, int, str]],
) -> None:
    """What had no price, less what was settled, is what waits: by day, GPU and holder, none of it older."""
    path, clock = tmp_path_factory.mktemp("books") / "ledger.db", clock_at()
    ledger, now, accrued = Ledger.open(path, clock, connect=disk), NOVEMBER, 0
    for step, owner, gpu, thirds, fate in steps:
        now += step
        day = f"2026-{10 + now // (31 * 24 * HOUR) % 2:02d}-{now // (24 * HOUR) % 28 + 1:02d}"
        late = LateCharges()
        batch = ledger.unpriced()
        for unpriced in batch.unpriced[:1] if batch is not None else ():
            left = {
                owner_phase: GpuUse(used.time * thirds // 3, used.up * thirds // 3, used.energy * thirds // 3)
                for owner_phase, used in unpriced.usage.items()
                if thirds
            }
            late = charged(unpriced, left, now).late
        accrued += sum(segment.accrued for segment in late.segments)
        posted = passing(now - 10 * SECOND, owner=owner, gpu=gpu, day=day)
        disk.failure, disk.late = (FULL if fate.startswith("refused") else None), fate == "refused late"
        ledger.post(Postings(now, posted.segments, day=day, late=late), State(wall=now, accrued=accrued))
        disk.failure = None
        if fate == "killed":
            ledger._lock.release()  # type: ignore[union-attr]
            ledger._store.close()  # type: ignore[union-attr]
            ledger = Ledger.open(path, clock, connect=disk)
            accrued = ledger.state().accrued
    ledger.post(Postings(now), State(wall=now, accrued=accrued))

    with closing(sqlite3.connect(path)) as file:
        history = dict(
            file.execute("SELECT day || ' ' || gpu || ' ' || owner, nanoseconds FROM daily_unpriced")
        )
        for key, settled in file.execute(
            "SELECT day || ' ' || gpu || ' ' || owner, nanoseconds FROM daily_settled"
        ):
            history[key] -= settled
        ranges = dict(
            file.execute(
                "SELECT day || ' ' || gpu || ' ' || owner, sum(nanoseconds)"
                " FROM unpriced_range JOIN unpriced_use USING (number) GROUP BY 1"
            )
        )
    assert {key: time for key, time in history.items() if time} == ranges
    assert all(one.number for one in waiting(ledger))
    assert ledger.totals(now, ()).residual == 0
