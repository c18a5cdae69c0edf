"""The last hour is added up when it is another one, or when something came to it, and is always right."""

from hypothesis import given
from hypothesis import strategies as some

from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.ledger.contents import window
from exporter.ledger.totals import MINUTES_KEPT, Totals
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
