"""History by hour and by local day: what it holds, for how long, and that it sums to what was posted."""

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.cost.postings import (
    CostOwner,
    GpuTimePosting,
    MoneyPosting,
    OwnerPhase,
    Postings,
    Segment,
)
from exporter.ledger import history, totals
from exporter.ledger.errors import LedgerError
from exporter.ledger.history import GpuOwner, History, HistorySums, TickSums
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.report import ServerOwner
from tests.kit.clock import ManualClock
from tests.kit.units import HOUR, MINUTE, NOVEMBER, SECOND
from tests.ledger.ticks import CHAT, GPU_0, GPU_1, SEARCH, accrued, money, tick, tokens

FULL = sqlite3.OperationalError("database or disk is full")
FIRST_HOUR = NOVEMBER // HOUR
CHAT_OWNER = ServerOwner("chat", "assistants", "llm", "chat-8b")


def posted(path: Path, clock: ManualClock, *ticks: Postings) -> None:
    """Post ticks to a ledger that is opened for them and closed after."""
    ledger = Ledger.open(path, clock)
    for number, one in enumerate(ticks, 1):
        ledger.post(one, accrued(*ticks[:number]))
    assert ledger.problem == ""
    ledger.close()


def days(path: Path) -> dict[int, HistorySums]:
    with LedgerReader.open(path) as reader:
        return dict(reader.days(0, 99_999_999) or {})


def hours(path: Path) -> dict[int, HistorySums]:
    with LedgerReader.open(path) as reader:
        return dict(reader.hours(0, 10**7) or {})


def segment(end: int, *entries: MoneyPosting, day: str, length: int = SECOND) -> Segment:
    return Segment(
        end - length, end, day[:7], day, sum(entry.amount for entry in entries), tuple(entries), ()
    )


def test_an_hour_and_a_day_hold_what_their_ticks_added(path: Path, clock: ManualClock) -> None:
    """Two ticks in one hour and one in the next, all in one day."""
    gpu_time = GpuTimePosting(GPU_0, OwnerPhase(CHAT, "decode"), 10 * SECOND, chargeable=10 * SECOND)
    free = GpuTimePosting(GPU_1, OwnerPhase(SEARCH, "idle"), 9 * SECOND, unpriced=True, chargeable=9 * SECOND)
    posted(
        path,
        clock,
        tick(NOVEMBER + 10 * SECOND, money(5), gpu_time=(gpu_time,), tokens=(tokens(3),)),
        tick(
            NOVEMBER + 20 * SECOND,
            money(7),
            money(2, phase="idle", component="energy"),
            gpu_time=(gpu_time, free),
        ),
        tick(NOVEMBER + HOUR + 10 * SECOND, money(11), tokens=(tokens(4),)),
    )

    decode, idle = OwnerPhase(CHAT, "decode"), OwnerPhase(CHAT, "idle")
    first = HistorySums(
        cost={decode: 12, idle: 2},
        held={decode: 20 * SECOND, OwnerPhase(SEARCH, "idle"): 9 * SECOND},
        server_cost={(CHAT_OWNER, "rent", "configured"): 12, (CHAT_OWNER, "energy", "configured"): 2},
        gpu_cost={(GPU_0, "rent"): 12, (GPU_0, "energy"): 2},
        gpu_held={GPU_0: 20 * SECOND, GPU_1: 9 * SECOND},
        tokens={(CHAT, "generation"): 3},
        unpriced={(GPU_1, SEARCH): 9 * SECOND},
        owner_held={GpuOwner(GPU_0, "chat", "assistants"): 20 * SECOND},
    )
    second = HistorySums(
        cost={decode: 11},
        server_cost={(CHAT_OWNER, "rent", "configured"): 11},
        gpu_cost={(GPU_0, "rent"): 11},
        tokens={(CHAT, "generation"): 4},
    )
    assert hours(path) == {FIRST_HOUR: first, FIRST_HOUR + 1: second}
    assert days(path) == {
        20261101: HistorySums(
            cost={decode: 23, idle: 2},
            held=first.held,
            server_cost={(CHAT_OWNER, "rent", "configured"): 23, (CHAT_OWNER, "energy", "configured"): 2},
            gpu_cost={(GPU_0, "rent"): 23, (GPU_0, "energy"): 2},
            gpu_held=first.gpu_held,
            tokens={(CHAT, "generation"): 7},
            unpriced=first.unpriced,
            owner_held=first.owner_held,
            covered={(): 30 * SECOND},
        )
    }


@pytest.mark.parametrize(("length", "counts"), [(SECOND, (0, 9)), (30 * SECOND, (4, 5))])
def test_a_tick_over_midnight_is_posted_to_both_days(
    path: Path, clock: ManualClock, length: int, counts: tuple[int, int]
) -> None:
    """Cut at 00:00 in Kathmandu (18:15Z): 5 and 6 of money. Tokens are divided from a minute on."""
    midnight = NOVEMBER + 18 * HOUR + 15 * MINUTE
    parts = (
        replace(segment(midnight, money(5), day="2026-11-01"), start=midnight - length),
        replace(segment(midnight + length, money(6), day="2026-11-02"), start=midnight),
    )
    posted(path, clock, Postings(midnight + length, parts, (tokens(9),), day="2026-11-02"))
    history = days(path)

    assert {day: sum(sums.cost.values()) for day, sums in history.items()} == {20261101: 5, 20261102: 6}
    assert tuple(sum(sums.tokens.values()) for _, sums in sorted(history.items())) == counts
    # The hour is one; its row is not overwritten by the second day's.
    assert {hour: sum(sums.cost.values()) for hour, sums in hours(path).items()} == {FIRST_HOUR + 18: 11}


def test_a_clock_that_steps_back_adds_to_the_hours_that_are_there(path: Path, clock: ManualClock) -> None:
    """Two days later, then back again: nothing that was written is overwritten."""
    later = NOVEMBER + 48 * HOUR + 10 * SECOND
    posted(
        path,
        clock,
        tick(NOVEMBER + 10 * SECOND, money(5)),
        tick(later, money(70), day="2026-11-03"),
        tick(NOVEMBER + 20 * SECOND, money(6)),
        tick(later + 10 * SECOND, money(80), day="2026-11-03"),
    )

    assert {day: sum(sums.cost.values()) for day, sums in days(path).items()} == {20261101: 11, 20261103: 150}
    assert {hour: sum(sums.cost.values()) for hour, sums in hours(path).items()} == {
        FIRST_HOUR: 11,
        FIRST_HOUR + 48: 150,
    }


@pytest.mark.parametrize("late", [False, True])
def test_a_commit_that_failed_counts_once(path: Path, clock: ManualClock, disk: Any, *, late: bool) -> None:
    """Whether or not the failed one had reached the disk; over the turn of an hour."""
    ticks = [
        tick(NOVEMBER + HOUR + shift * SECOND, money(amount), tokens=(tokens(amount),))
        for shift, amount in ((-10, 1), (0, 20), (10, 300), (20, 4000))
    ]
    ledger = Ledger.open(path, clock, connect=disk)
    disk.late = late
    for number, failure in enumerate((None, FULL, FULL, None)):
        disk.failure = failure
        ledger.post(ticks[number], accrued(*ticks[: number + 1]))
    ledger.close()

    assert {hour: sum(sums.cost.values()) for hour, sums in hours(path).items()} == {
        FIRST_HOUR: 21,
        FIRST_HOUR + 1: 4300,
    }
    assert days(path)[20261101].tokens == {(CHAT, "generation"): 4321}


def test_tokens_of_a_tick_that_names_no_day_are_in_no_history() -> None:
    """There is no day to tell them in."""
    waiting = History()
    waiting.add(TickSums.of(Postings(NOVEMBER, tokens=(tokens(3),))))
    assert waiting.cells == {}


def test_history_is_of_40_days_by_hour_and_of_13_months_by_day() -> None:
    """960 hours and the current one; 13 months of at most 31 days."""
    assert (totals.HOURS_KEPT, history.DAYS_KEPT) == (961, 403)


def test_hours_that_an_earlier_release_kept_go_one_a_tick(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ticks of one hour are enough: after a deletion the next tick looks again."""
    posted(path, clock, *[tick(NOVEMBER + hour * HOUR + 10 * SECOND, money(10**hour)) for hour in range(6)])
    assert sorted(hour - FIRST_HOUR for hour in hours(path)) == [0, 1, 2, 3, 4, 5]
    monkeypatch.setattr(totals, "HOURS_KEPT", 3)
    posted(path, clock, *[tick(NOVEMBER + 5 * HOUR + (20 + n) * SECOND, length=SECOND) for n in range(4)])

    assert sorted(hour - FIRST_HOUR for hour in hours(path)) == [3, 4, 5]


def test_hours_stay_40_days_and_days_13_months(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scaled down to three hours and two days; those that were lived are counted, and none goes at once."""
    monkeypatch.setattr(totals, "HOURS_KEPT", 3)
    monkeypatch.setattr(history, "DAYS_KEPT", 2)
    lived = [0, 1, 2, 24, 30, 90]
    ticks = [
        tick(NOVEMBER + hour * HOUR + 10 * SECOND, money(10**n), day=f"2026-11-{1 + hour // 24:02d}")
        for n, hour in enumerate(lived)
    ]
    # A tick more for each hour and day that is past its time: one goes at a time.
    still = [
        tick(NOVEMBER + 90 * HOUR + (20 + n) * SECOND, length=SECOND, day="2026-11-04") for n in range(3)
    ]
    posted(path, clock, *ticks, *still)

    assert {hour - FIRST_HOUR: sum(sums.cost.values()) for hour, sums in hours(path).items()} == {
        24: 10**3,
        30: 10**4,
        90: 10**5,
    }
    assert {day: sum(sums.cost.values()) for day, sums in days(path).items()} == {
        20261102: 11_000,
        20261104: 100_000,
    }


def test_the_real_retention_is_40_days_and_13_months() -> None:
    """40 whole days and the hour that goes on; 13 months of at most 31 days."""
    assert (totals.HOURS_KEPT, history.DAYS_KEPT) == (961, 403)


def test_a_clock_that_is_a_year_ahead_for_a_moment_costs_no_history(path: Path, clock: ManualClock) -> None:
    """One lived hour and one lived day more are kept; the rest stays."""
    year = 365 * 24 * HOUR
    posted(
        path,
        clock,
        tick(NOVEMBER + 10 * SECOND, money(5)),
        tick(NOVEMBER + year + 20 * SECOND, money(6), day="2027-11-01", month="2027-11"),
        tick(NOVEMBER + 30 * SECOND, money(7)),
    )

    assert {day: sum(sums.cost.values()) for day, sums in days(path).items()} == {20261101: 12, 20271101: 6}
    assert sorted(hours(path)) == [FIRST_HOUR, FIRST_HOUR + 365 * 24]


def test_only_the_latest_hour_and_day_are_known_in_memory(path: Path, clock: ManualClock) -> None:
    """However long the daemon runs, and after a tick of many hours."""
    ticks = [tick(NOVEMBER + hour * HOUR + 10 * SECOND, money(5)) for hour in range(30)]
    many = tuple(
        segment(NOVEMBER + (40 + hour) * HOUR + SECOND, money(1), day="2026-11-02") for hour in range(100)
    )
    ledger = Ledger.open(path, clock)
    ticks.append(Postings(NOVEMBER + 140 * HOUR, many))
    for number, one in enumerate(ticks, 1):
        ledger.post(one, accrued(*ticks[:number]))
    cached = ledger._committed.history
    periods = [table for table, _period in cached]
    ledger.close()

    assert len(periods) == len(set(periods)) == 7  # cost, server cost, GPU cost by both; covered by day
    assert len(hours(path)) == 130


def test_a_long_outage_is_folded_into_later_hours_of_the_same_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays bounded, days stay exact, and a day's last hour stays whatever happens."""
    monkeypatch.setattr(history, "CELLS_WAITING", 4)
    waiting = History()
    for hour in range(50):
        day = f"2026-11-{1 + hour // 24:02d}"
        end = NOVEMBER + hour * HOUR + 10 * SECOND
        waiting.add(TickSums.of(Postings(end, (segment(end, money(1), day=day),), (tokens(1),), day=day)))

    assert len(waiting.cells) == 4
    by_day: dict[int, tuple[int, int]] = {}
    for (day, _hour), sums in waiting.cells.items():
        cost, moved = by_day.get(day, (0, 0))
        by_day[day] = cost + sum(sums.cost.values()), moved + sum(sums.tokens.values())
    assert by_day == {20261101: (24, 24), 20261102: (24, 24), 20261103: (2, 2)}


def test_a_long_gap_is_no_outage_of_the_disk(path: Path, clock: ManualClock) -> None:
    """Three weeks that were charged at once (`gap.max_days`) are posted by hour: 504, one each."""
    cuts = [NOVEMBER + hour * HOUR for hour in range(21 * 24 + 1)]
    segments = tuple(
        segment(end, money(1), day=f"2026-11-{1 + number // 24:02d}", length=HOUR)
        for number, end in enumerate(cuts[1:])
    )
    posted(path, clock, Postings(cuts[-1], segments, day="2026-11-21"))

    history = hours(path)
    assert sorted(history) == [start // HOUR for start in cuts[:-1]]
    assert {sum(sums.cost.values()) for sums in history.values()} == {1}


def test_counts_of_tokens_stand_still_where_money_refuses(path: Path, clock: ManualClock) -> None:
    """A server with absurd counts cannot stop the ledger, neither in history nor in totals."""
    liar = CostOwner("chat", "assistants", "llm", "liar", "m")
    posted(
        path,
        clock,
        tick(NOVEMBER + 10 * SECOND, tokens=(tokens(2**62, liar),)),
        tick(NOVEMBER + 20 * SECOND, money(5), tokens=(tokens(2**63, liar),)),
    )

    assert days(path)[20261101].tokens == {(liar, "generation"): 2**63 - 1}


def test_a_row_without_its_label_is_damage(path: Path, clock: ManualClock) -> None:
    """An error with its reason, not a crash."""
    posted(path, clock, tick(NOVEMBER + 10 * SECOND, money(5)))
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM gpu")
    connection.close()

    with pytest.raises(LedgerError, match="a row refers to key 1, which is missing"):
        days(path)
