"""The last hour and day are added up when they are others, or something came to them, and always right."""

from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as some

from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.ledger.contents import recent_usage, window
from exporter.ledger.totals import MINUTES_KEPT, HourlyUsage, Totals
from exporter.readings import Gpu
from exporter.report import Window
from exporter.units import NANOSECONDS_PER_MINUTE

CHAT, BATCH = CostOwner("search", "a", "", "chat", "m"), CostOwner("unassigned", "", "", "batch", "n")
NOON = 29_925_360
"""A minute, counted since 1970."""

MINUTES = some.integers(NOON - MINUTES_KEPT, NOON + 3)
OWNER_PHASES = some.builds(
    OwnerPhase, some.sampled_from([CHAT, BATCH]), some.sampled_from(["decode", "idle"])
)
MONEY = some.dictionaries(some.tuples(MINUTES, OWNER_PHASES), some.integers(-9, 9), max_size=3)
TOKENS = some.dictionaries(
    some.tuples(MINUTES, some.sampled_from([CHAT, BATCH]), some.sampled_from(["prompt", "generation"])),
    some.integers(0, 9),
    max_size=3,
)
TICKS = some.lists(some.tuples(some.integers(NOON, NOON + 2), MONEY, TOKENS), max_size=12)


def expected_totals(totals: Totals, minute: int) -> dict[CostOwner, Window]:
    """The sixty minutes before one, party by party."""
    expected = {}
    for owner in (CHAT, BATCH):
        money: dict[str, int] = {}
        tokens: dict[str, int] = {}
        for (at, owner_phase), amount in totals.minute_cost.items():
            if owner_phase.owner == owner and minute - 60 <= at <= minute - 1:
                money[owner_phase.phase] = money.get(owner_phase.phase, 0) + amount
        for (at, who, kind), number in totals.minute_tokens.items():
            if who == owner and minute - 60 <= at <= minute - 1:
                tokens[kind] = tokens.get(kind, 0) + number
        if money or tokens:
            expected[owner] = Window(money, tokens, 0)  # type: ignore[arg-type]
    return expected


@given(ticks=TICKS)
def test_it_is_right_after_every_commit(
    ticks: list[tuple[int, dict[tuple[int, OwnerPhase], int], dict]],
) -> None:  # type: ignore[type-arg]
    """Money and tokens come to this minute and to earlier ones, and the wall clock goes back and forth."""
    totals = Totals()
    for minute, money, tokens in ticks:
        end = minute * NANOSECONDS_PER_MINUTE + 1
        later = Totals(minute_cost=dict(money), minute_tokens=dict(tokens))
        later.prune(end)
        totals = totals.after(later, end)
        assert window(totals, (), end) == expected_totals(totals, minute)
        assert {key[0] for key in (*totals.minute_cost, *totals.minute_tokens)} <= {
            *range(minute - MINUTES_KEPT, minute + 2)
        }


def test_a_window_that_was_served_stays_as_it_was() -> None:
    """A report is immutable: what comes later is in later ones."""
    end = NOON * NANOSECONDS_PER_MINUTE + 1
    totals = Totals()
    totals = totals.after(Totals(minute_cost={(NOON - 1, OwnerPhase(CHAT, "decode")): 5}), end)
    first = window(totals, (), end)
    totals = totals.after(Totals(minute_cost={(NOON - 1, OwnerPhase(CHAT, "decode")): 7}), end)

    assert first == {CHAT: Window({"decode": 5}, {}, 0)}
    assert window(totals, (), end) == {CHAT: Window({"decode": 12}, {}, 0)}


GPU = Gpu("GPU-0", "H100")
HOUR = NOON // 60
HOURS = some.sampled_from([HOUR - 24, HOUR - 1, HOUR, HOUR + 1, HOUR + 3, HOUR + 4])
OF_GPUS = some.dictionaries(
    some.tuples(HOURS, some.just(GPU), some.sampled_from(["search", "chat"])), some.integers(1, 9), max_size=3
)
OF_HOURS = some.dictionaries(HOURS, some.integers(1, 9), max_size=3)


@given(
    ticks=some.lists(
        some.tuples(some.integers(NOON - 3, NOON + 62), OF_GPUS, OF_GPUS, OF_HOURS, OF_HOURS), max_size=8
    )
)
@example([(NOON, {}, {}, {}, {}), (NOON, {}, {}, dict.fromkeys((HOUR, HOUR + 1, HOUR + 3, HOUR + 4), 9), {})])
def test_the_usage_of_a_day_is_right_after_every_commit(
    ticks: list[tuple[int, dict, dict, dict, dict]],  # type: ignore[type-arg]
) -> None:
    """Time and energy come to this hour, earlier and later ones, and the wall clock goes back and forth."""
    day = range(HOUR - 26, HOUR)
    totals = Totals(hour_usage={(hour, GPU, "search"): 5 for hour in day}, hour_covered=dict.fromkeys(day, 5))
    for minute, time, energy, covered, down in ticks:
        end = minute * NANOSECONDS_PER_MINUTE + 1
        later = Totals(
            hour_usage=dict(time), hour_energy=dict(energy), hour_covered=dict(covered), hour_down=dict(down)
        )
        totals = totals.after(later, end)
        assert recent_usage(totals, end) == recent_usage(replace(totals, usage=HourlyUsage()), end)


def test_hours_that_passed_are_made_once() -> None:
    """A projection keeps their sums while they are the same objects: a day of others would be compared."""
    end = NOON * NANOSECONDS_PER_MINUTE + 1
    past = {(HOUR - 1, GPU, "search"): 5}
    totals = Totals().after(Totals(hour_usage=past, hour_covered={HOUR - 1: 5, HOUR: 5}), end)
    first = recent_usage(totals, end).hours
    later = end + NANOSECONDS_PER_MINUTE
    totals = totals.after(Totals(hour_usage={(HOUR, GPU, "search"): 3}, hour_covered={HOUR: 5}), later)
    hours = recent_usage(totals, later).hours
    assert [hour.time for hour in hours] == [{GPU: {"search": 5}}, {GPU: {"search": 3}}]
    assert hours[0] is first[0]
