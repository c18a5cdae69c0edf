"""Which time the served figures are of, and who is served no longer."""

from dataclasses import replace
from pathlib import Path

import pytest

from exporter.cost.postings import (
    CostOwner,
    EnergyPosting,
    GpuTimePosting,
    GpuUse,
    OwnerPhase,
    Postings,
    Segment,
    UnpricedTime,
)
from exporter.cost.projection import RecentUsage, UsageHour
from exporter.ledger.ledger import Ledger
from exporter.report import Window
from tests.kit.clock import ManualClock
from tests.kit.units import DAY, HOUR, MINUTE, NOVEMBER, SECOND
from tests.ledger.ticks import CHAT, GPU_0, SEARCH, accrued, money, tick, tokens

MONTHS = ("2026-11",)
NOON = NOVEMBER + 12 * HOUR


def opened(path: Path, clock: ManualClock, *ticks: Postings) -> Ledger:
    """A ledger after some ticks."""
    ledger = Ledger.open(path, clock)
    for count in range(len(ticks)):
        ledger.post(ticks[count], accrued(*ticks[: count + 1]))
    return ledger


def test_the_window_is_sixty_whole_minutes(path: Path, clock: ManualClock) -> None:
    """One entry per minute: 60 of them count, the running minute and the sixty-first do not."""
    ticks = [tick(NOON + n * MINUTE + 30 * SECOND, money(10**n if n in {0, 1} else 100)) for n in range(62)]
    ledger = opened(path, clock, *ticks)

    # At 13:01:45 the last whole minute is 13:00; the window starts with 12:01, the minute of 10.
    late = ledger.totals(NOON + 61 * MINUTE + 45 * SECOND, MONTHS).window
    assert late == {CHAT: Window({"decode": 10 + 59 * 100}, {})}
    # At 13:00:00 sharp the minute 12:59 has just become whole; the window starts with 12:00, the minute of 1.
    sharp = ledger.totals(NOON + 60 * MINUTE, MONTHS).window
    assert sharp == {CHAT: Window({"decode": 1 + 10 + 58 * 100}, {})}
    ledger.close()


def test_the_window_has_the_time_that_waits_for_a_price(path: Path, clock: ManualClock) -> None:
    """Of a stretch from 12:00 to 12:30 that two held, 20 and 10 minutes, what lies in the window: evenly.

    At 13:15 the window begins with 12:15: half. At 13:29:59 it begins with 12:29: a thirtieth. At 13:30 none.
    What is left of a nanosecond is still something.
    """
    gpu_uses = {
        OwnerPhase(CHAT, "idle"): GpuUse(20 * MINUTE, 0, 0),
        OwnerPhase(SEARCH, "idle"): GpuUse(1, 0, 0),
    }
    unpriced = UnpricedTime(GPU_0, "2026-11-01", NOON, NOON + 30 * MINUTE, gpu_uses)
    segment = Segment(NOON, NOON + 30 * MINUTE, "2026-11", "2026-11-01", 0, (), (), unpriced=(unpriced,))
    posted = Postings(NOON + 30 * MINUTE, (segment,), day="2026-11-01")
    ledger = opened(path, clock, posted)

    def waiting(moment: int) -> dict[CostOwner, int]:
        window = ledger.totals(NOON + moment, MONTHS).window
        return {owner: row.unpriced for owner, row in window.items()}

    assert waiting(75 * MINUTE) == {CHAT: 10 * MINUTE, SEARCH: 1}
    assert waiting(90 * MINUTE - SECOND) == {CHAT: 40 * SECOND, SEARCH: 1}
    assert waiting(90 * MINUTE) == {}
    # At 12:15 the window ends inside the stretch.
    assert waiting(15 * MINUTE)[CHAT] == 10 * MINUTE
    ledger.close()


def test_a_young_ledger_serves_the_minutes_it_has(path: Path, clock: ManualClock) -> None:
    """Two whole minutes are a window; the running one is not in it, whatever phase or kind."""
    ticks = [
        tick(NOON + 20 * SECOND, money(1, phase="prefill"), tokens=(tokens(5, kind="prompt"),)),
        tick(NOON + 80 * SECOND, money(2), money(4, SEARCH, "idle"), tokens=(tokens(7),)),
        tick(NOON + 140 * SECOND, money(8), tokens=(tokens(9),)),
    ]
    ledger = opened(path, clock, *ticks)
    window = ledger.totals(NOON + 150 * SECOND, MONTHS).window
    ledger.close()

    assert window == {
        CHAT: Window({"prefill": 1, "decode": 2}, {"prompt": 5, "generation": 7}),
        SEARCH: Window({"idle": 4}, {}),
    }


def test_tokens_at_the_end_of_a_minute_belong_to_it(path: Path, clock: ManualClock) -> None:
    """A tick that ends at 12:01:00 sharp has its money and its tokens in the minute 12:00."""
    ledger = opened(path, clock, tick(NOON + MINUTE, money(3), tokens=(tokens(4),)))
    window = ledger.totals(NOON + MINUTE, MONTHS).window
    ledger.close()

    assert window == {CHAT: Window({"decode": 3}, {"generation": 4})}


def test_the_window_survives_a_restart(path: Path, clock: ManualClock) -> None:
    """Minute sums are on disk."""
    ledger = opened(path, clock, tick(NOON + 20 * SECOND, money(3), tokens=(tokens(4),)))
    ledger.close()
    again = Ledger.open(path, clock)
    window = again.totals(NOON + MINUTE, MONTHS).window
    again.close()

    assert window == {CHAT: Window({"decode": 3}, {"generation": 4})}


def test_minutes_of_a_wall_clock_that_stepped_back_are_let_go(path: Path, clock: ManualClock) -> None:
    """An hour ahead and back: totals keep all money, the window does not wait for the hour to come again."""
    ahead, back = tick(NOON + HOUR + 30 * SECOND, money(1)), tick(NOON + 30 * SECOND, money(2))
    ledger = opened(path, clock, ahead, back)

    assert ledger.totals(NOON + MINUTE, MONTHS).window == {CHAT: Window({"decode": 2}, {})}
    assert ledger.totals(NOON + 62 * MINUTE, MONTHS).window == {}
    assert ledger.totals(NOON + MINUTE, MONTHS).cost[OwnerPhase(CHAT, "decode")] == 3
    ledger.close()


def using(end: int, *owners: CostOwner, length: int = MINUTE, down: int = 0) -> Postings:
    """A tick in which each party held GPU 0 for a part of the time, and 100 mJ for each GPU-second."""
    share = length // len(owners)
    gpu_time = [
        GpuTimePosting(GPU_0, OwnerPhase(owner, "decode"), share, chargeable=share) for owner in owners
    ]
    one = tick(end, *(money(1, owner) for owner in owners), length=length, gpu_time=gpu_time)
    (segment,) = one.segments
    used = (EnergyPosting(GPU_0, 100 * length // SECOND),)
    return replace(one, segments=(replace(segment, down=down),), energy=used)


def test_usage_is_of_the_running_hour_and_the_24_before_it(path: Path, clock: ManualClock) -> None:
    """By hour, GPU and product, with the time that was metered; energy is divided as the time is."""
    ticks = [
        using(NOON - DAY - HOUR + MINUTE, CHAT),
        using(NOON - DAY + MINUTE, CHAT, SEARCH, down=MINUTE // 4),
        using(NOON + MINUTE, CHAT, length=30 * SECOND),
    ]
    ledger = opened(path, clock, *ticks)
    totals = ledger.totals(NOON + MINUTE, MONTHS)
    ledger.close()
    again = Ledger.open(path, clock)
    reopened = again.totals(NOON + MINUTE, MONTHS)
    again.close()

    half = MINUTE // 2
    assert totals.usage == RecentUsage(
        (
            UsageHour(
                NOON - DAY,
                MINUTE,
                MINUTE // 4,
                {GPU_0: {"chat": half, "search": half}},
                {GPU_0: {"chat": 3000, "search": 3000}},
            ),
            UsageHour(NOON, half, 0, {GPU_0: {"chat": half}}, {GPU_0: {"chat": 3000}}),
        ),
        {"chat": NOON - DAY - HOUR, "search": NOON - DAY},
    )
    assert reopened.usage == totals.usage
    assert totals.metered_since == reopened.metered_since == NOON - DAY - HOUR


def test_an_hour_without_gpu_time_counts_where_the_host_was_down(path: Path, clock: ManualClock) -> None:
    """A host that is off owes no GPU time, and the hour is metered all the same."""
    off = tick(NOON + HOUR, money(1), length=HOUR)
    off = replace(off, segments=(replace(off.segments[0], down=HOUR),))
    ledger = opened(path, clock, off, tick(NOON + HOUR + MINUTE, money(1), length=MINUTE))
    hours = ledger.totals(NOON + HOUR + MINUTE, MONTHS).usage.hours
    ledger.close()

    assert hours == (UsageHour(NOON, HOUR, HOUR),)


def test_a_product_is_intermittent_once_it_came_back_from_as_long_an_absence(clock: ManualClock) -> None:
    """Away for 3 hours and back; away for 2 hours it is known to come back, and for 4 it is not."""
    ledger = Ledger.open(None, clock)
    there = [0, 1, 5, 6]
    posted = [using(NOON + hour * HOUR + MINUTE, CHAT if hour in there else SEARCH) for hour in range(12)]
    intermittent = []
    for number, one in enumerate(posted):
        ledger.post(one, accrued(*posted[: number + 1]))
        intermittent.append("chat" in ledger.totals(one.end, MONTHS).usage.intermittent)

    assert intermittent == [hour in {7, 8, 9} for hour in range(12)]


def test_usage_leaves_memory_and_file_after_a_day(path: Path, clock: ManualClock) -> None:
    """Of 40 lived hours the latest 26 stay; first instants stay for good."""
    ticks = [using(NOON + hour * HOUR + MINUTE, CHAT, down=SECOND) for hour in range(40)]
    ledger = opened(path, clock, *ticks)
    before = ledger._committed.totals
    ledger.close()
    again = Ledger.open(path, clock)
    reopened = again._committed.totals
    again.close()

    hours = set(range(NOON // HOUR + 14, NOON // HOUR + 40))
    for totals in (before, reopened):
        assert {hour for hour, sums in totals.hours.items() if sums.usage} == hours
        assert {hour for hour, sums in totals.hours.items() if sums.energy} == hours
        assert {hour for hour, sums in totals.hours.items() if sums.down} == hours
        assert totals.counters.first_held == {"chat": NOON}


def test_metered_since_is_the_earliest_that_is_known(path: Path, clock: ManualClock) -> None:
    """A tick that charges time before the file was made counts; nothing metered is no answer."""
    ledger = Ledger.open(path, clock)
    assert ledger.totals(NOON, MONTHS).metered_since is None
    clock.now = NOON + 5 * MINUTE
    ledger.post(using(NOON + MINUTE, CHAT), accrued(using(NOON + MINUTE, CHAT)))
    assert ledger.totals(NOON + 5 * MINUTE, MONTHS).metered_since == NOON
    # A wall clock that was ahead when the ledger began does not count.
    assert ledger.totals(NOON - HOUR, MONTHS).metered_since is None
    ledger.close()


def test_hours_are_kept_for_forty_days_of_life(clock: ManualClock) -> None:
    """The 962nd hour pushes the first one out; a moment spent a year ahead does not push them all out."""
    hours = [tick(NOON + n * HOUR + MINUTE, money(1), length=MINUTE) for n in range(961)]
    ahead = tick(NOON + 365 * DAY, money(1), length=MINUTE)
    ledger = Ledger.open(None, clock)
    posted = [*hours, ahead]
    for one in posted:
        ledger.post(one, accrued(one))
    first = NOON // HOUR

    before = ledger._committed.totals.metered_hours()
    assert len(before) == 961
    assert first not in before
    assert first + 1 in before
    assert {hour for hour, sums in ledger._committed.totals.hours.items() if sums.cost} == before


def test_old_minutes_and_hours_leave_the_file(path: Path, clock: ManualClock) -> None:
    """What memory lets go of, the file lets go of in the same commit."""
    ledger = opened(
        path, clock, tick(NOON, money(1), tokens=(tokens(1),)), tick(NOON + 63 * MINUTE, money(2))
    )
    connection = ledger._store._open.connection  # type: ignore[union-attr]
    minutes = connection.execute("SELECT count(*) FROM minute_cost").fetchone()  # type: ignore[union-attr]
    moved = connection.execute("SELECT count(*) FROM minute_tokens").fetchone()  # type: ignore[union-attr]
    ledger.close()

    assert (minutes, moved) == ((1,), (0,))


@pytest.mark.parametrize(("after", "served"), [(DAY - 1, True), (DAY, False)])
def test_a_party_that_is_gone_for_a_day_is_served_no_longer(
    path: Path, clock: ManualClock, after: int, *, served: bool
) -> None:
    """Its rows are left out after 24 hours without a change; they stay in the ledger's other sums."""
    last = tick(NOON, money(5), tokens=(tokens(3),), owners=(CHAT,))
    ledger = opened(path, clock, last, Postings(NOON + SECOND, owners=(SEARCH,)))
    totals = ledger.totals(NOON + after, MONTHS)
    ledger.close()

    rows = (OwnerPhase(CHAT, "decode") in totals.cost, OwnerPhase(CHAT, "idle") in totals.gpu_time)
    assert rows == (served, served)
    assert ((CHAT, "generation") in totals.tokens, CHAT in totals.last_token) == (served, served)
    assert sum(totals.server_cost.values()) == 5
    assert totals.residual == 0


def test_a_party_whose_server_still_holds_something_is_served(path: Path, clock: ManualClock) -> None:
    """The old model of a server that goes on with another one keeps its rows."""
    renamed = CostOwner(CHAT.product, CHAT.team, CHAT.namespace, CHAT.server, "llama-9b")
    later = tick(NOON + 2 * DAY, money(1, renamed), owners=(renamed,))
    ledger = opened(path, clock, tick(NOON, money(5), owners=(CHAT,)), later)
    cost = ledger.totals(NOON + 2 * DAY, MONTHS).cost
    ledger.close()

    assert (cost[OwnerPhase(CHAT, "decode")], cost[OwnerPhase(renamed, "decode")]) == (5, 1)


def test_a_party_that_comes_back_has_its_total(path: Path, clock: ManualClock) -> None:
    """Gone for two days, then one picodollar more: the counter goes on where it stood."""
    ticks = [
        tick(NOON, money(5), tokens=(tokens(3),), owners=(CHAT,)),
        Postings(NOON + 2 * DAY, owners=(SEARCH,)),
        tick(NOON + 2 * DAY + SECOND, money(1), owners=(CHAT,)),
    ]
    ledger = opened(path, clock, *ticks[:2])
    gone = ledger.totals(NOON + 2 * DAY, MONTHS)
    ledger.post(ticks[2], accrued(*ticks))
    back = ledger.totals(NOON + 2 * DAY + SECOND, MONTHS)
    ledger.close()

    assert OwnerPhase(CHAT, "decode") not in gone.cost
    assert (back.cost[OwnerPhase(CHAT, "decode")], back.tokens[CHAT, "generation"]) == (6, 3)


def test_a_row_without_money_counts_as_changed_by_its_gpu_time(path: Path, clock: ManualClock) -> None:
    """A server on unpriced hardware is served as long as it holds it."""
    gpu_time = GpuTimePosting(GPU_0, OwnerPhase(CHAT, "idle"), SECOND, unpriced=True, chargeable=SECOND)
    day_later = Segment(NOON + DAY, NOON + DAY + SECOND, "2026-11", "2026-11-02", 0, (), (gpu_time,))
    ledger = opened(
        path, clock, Postings(NOON, owners=(CHAT,)), Postings(NOON + DAY + SECOND, (day_later,), owners=())
    )
    totals = ledger.totals(NOON + DAY + HOUR, MONTHS)
    ledger.close()

    assert totals.gpu_time[OwnerPhase(CHAT, "idle")] == SECOND
