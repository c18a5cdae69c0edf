"""The last day and the month, as the page draws them: by hand, after a restart, and past an hour's end."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from exporter.cost.postings import OwnerPhase, Postings
from exporter.ledger.ledger import Ledger
from exporter.readings import ServerKey
from exporter.report import Hour, RecentHistory
from tests.kit.clock import ManualClock, clock_at
from tests.kit.units import HOUR, MINUTE, NOVEMBER
from tests.ledger.ticks import CHAT, SEARCH, accrued, money, tick, tokens

NOON = NOVEMBER + 12 * HOUR
MONTHS = ("2026-11",)
TICKS = (
    tick(NOVEMBER + HOUR, money(1000), tokens=(tokens(1),), length=HOUR),
    tick(NOON, money(100, phase="idle"), length=HOUR, tokens=(tokens(2),)),
    tick(NOON + HOUR, money(30), money(8, SEARCH, "prefill", component="energy"), length=HOUR),
    tick(NOON + HOUR + MINUTE, money(5), length=MINUTE, tokens=(tokens(4), tokens(1, kind="prompt"))),
)
"""Midnight to one, eleven to one, and a minute."""


def posted(ledger: Ledger, ticks: tuple[Postings, ...] = TICKS) -> None:
    """Post ticks into new books."""
    for count, each in enumerate(ticks, 1):
        ledger.post(each, accrued(*ticks[:count]))


def history(ledger: Ledger, now: int) -> RecentHistory:
    """What the page would draw."""
    return ledger.totals(now, MONTHS).history


@pytest.mark.parametrize("on_disk", [True, False])
def test_hours_hold_what_their_time_cost(path: Path, clock: ManualClock, *, on_disk: bool) -> None:
    """At 13:01 the running hour and 23 before it: money by phase, tokens, components. In memory as well."""
    ledger = Ledger.open(path if on_disk else None, clock)
    posted(ledger)
    recent = history(ledger, NOON + HOUR + MINUTE)
    chat, search = ServerKey("llm", "chat-8b"), ServerKey("llm", "embed")

    assert [hour.start for hour in recent.hours] == [NOON + (n - 22) * HOUR for n in range(24)]
    assert recent.hours[-1] == Hour(NOON + HOUR, {"decode": 5}, MINUTE)
    assert recent.hours[-2] == Hour(NOON, {"decode": 30, "prefill": 8}, HOUR)
    assert recent.hours[-3] == Hour(NOON - HOUR, {"idle": 100}, HOUR)
    assert recent.hours[-14] == Hour(NOVEMBER, {"decode": 1000}, HOUR)
    assert sum(len(hour.money) for hour in recent.hours) == 5
    assert recent.tokens == {(CHAT, "generation"): 7, (CHAT, "prompt"): 1}
    assert recent.components == {"rent": 1135, "energy": 8}
    assert recent.mix == {(chat, "rent"): 35, (search, "energy"): 8}
    assert recent.before == (1000, *[None] * 10, 100, 38)
    ledger.close()


def test_a_restart_draws_the_same(path: Path, clock: ManualClock) -> None:
    """What was in memory is read back from the file, and goes on from there."""
    ledger = Ledger.open(path, clock)
    posted(ledger)
    before = history(ledger, NOON + HOUR + MINUTE)
    ledger.close()

    again = Ledger.open(path, clock)
    assert history(again, NOON + HOUR + MINUTE) == before
    more = tick(NOON + HOUR + 2 * MINUTE, money(2), length=MINUTE)
    again.post(more, accrued(*TICKS, more))
    assert history(again, more.end).hours[-1] == Hour(NOON + HOUR, {"decode": 7}, 2 * MINUTE)
    again.close()


def test_the_day_and_the_month_move_on(path: Path, clock: ManualClock) -> None:
    """A day after one o'clock in the night its hour is gone from the day, and still in the month."""
    ledger = Ledger.open(path, clock)
    posted(ledger)
    late = tick(NOVEMBER + 26 * HOUR, money(9), length=MINUTE, day="2026-11-02")
    ledger.post(late, accrued(*TICKS, late))
    recent = history(ledger, late.end)

    assert sum(amount for hour in recent.hours for amount in hour.money.values()) == 100 + 38 + 5 + 9
    assert recent.before == (1000, *[None] * 10, 100, 38, 5, *[None] * 11, 9)
    ledger.close()


def test_what_is_posted_to_an_hour_that_passed_is_drawn_there(path: Path, clock: ManualClock) -> None:
    """A gap that ends at 13:02 covers the hour before, which the month had summed already."""
    ledger = Ledger.open(path, clock)
    posted(ledger)
    assert history(ledger, NOON + HOUR + MINUTE).before[-1] == 38
    (segment,) = tick(NOON + HOUR, money(4, phase="unobserved"), length=MINUTE).segments
    gap = Postings(NOON + HOUR + 2 * MINUTE, (segment,), day="2026-11-01")
    ledger.post(gap, accrued(*TICKS, gap))
    recent = history(ledger, gap.end)

    assert (recent.before[-1], recent.hours[-2].money["unobserved"]) == (42, 4)
    assert recent.hours[-2].covered == HOUR + MINUTE
    ledger.close()


@given(
    gaps=some.lists(
        some.tuples(some.integers(0, 1), some.sampled_from([-25, -24, -2, -1, 0]), some.integers(1, 9)),
        max_size=9,
    )
)
def test_tokens_and_components_are_those_of_the_hours(gaps: list[tuple[int, int, int]]) -> None:
    """Gaps of two hours, whose clock goes back and forth: a token for each picodollar, and all is rent."""
    ledger, ticks = Ledger.open(None, clock_at()), []
    for end, hour, amount in gaps:
        of_gap = tick(NOON + (end + hour) * HOUR + MINUTE, money(amount), length=MINUTE).segments
        each = Postings(NOON + end * HOUR + MINUTE, of_gap, (tokens(amount),), day="2026-11-01")
        ticks.append(each)
        ledger.post(each, accrued(*ticks))
        recent = history(ledger, each.end)
        drawn = sum(money for past in recent.hours for money in past.money.values())

        assert sum(recent.tokens.values()) == drawn
        assert sum(recent.components.values()) == drawn


def test_what_was_not_written_is_not_drawn(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While writes fail, the day stands still as the totals do; with the next one it has everything."""
    ledger = Ledger.open(path, clock)
    posted(ledger, TICKS[:3])
    with monkeypatch.context() as failing:
        failing.setattr("exporter.ledger.store.Store.write", _refuse)
        ledger.post(TICKS[3], accrued(*TICKS))
        assert history(ledger, TICKS[3].end).hours[-1].money == {}
    more = tick(NOON + HOUR + 2 * MINUTE, money(1), length=MINUTE)
    ledger.post(more, accrued(*TICKS, more))

    assert history(ledger, more.end).hours[-1].money == {"decode": 6}
    assert ledger.totals(more.end, MONTHS).cost[OwnerPhase(CHAT, "decode")] == 1036
    ledger.close()


def _refuse(*_: object) -> None:
    raise OverflowError("the disk is a lie")
