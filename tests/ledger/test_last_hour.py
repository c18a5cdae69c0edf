"""The last hour and day are added up when they are others, or something came to them, and always right."""

from hypothesis import given
from hypothesis import strategies as some

from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.cost.projection import UsageHour
from exporter.ledger.contents import recent_usage
from exporter.ledger.last_hour import window
from exporter.ledger.totals import MINUTES_KEPT, HourSums, MinuteSums, Totals
from exporter.readings import Gpu
from exporter.report import Window
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_MINUTE

CHAT, BATCH = CostOwner("search", "a", "", "chat", "m"), CostOwner("unassigned", "", "", "batch", "n")
NOON = 29_925_360
"""A minute, counted since 1970."""

GPU = Gpu("GPU-0", "H100")
HOUR = NOON // 60

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


def minutes_of(
    money: dict[tuple[int, OwnerPhase], int], tokens: dict[tuple[int, CostOwner, str], int]
) -> Totals:
    """Totals of minutes alone."""
    totals = Totals()
    for (minute, owner_phase), amount in money.items():
        totals.minutes.setdefault(minute, MinuteSums()).cost[owner_phase] = amount
    for (minute, owner, kind), count in tokens.items():
        totals.minutes.setdefault(minute, MinuteSums()).tokens[owner, kind] = count  # type: ignore[index]
    return totals


def expected_totals(totals: Totals, minute: int) -> dict[CostOwner, Window]:
    """The sixty minutes before one, party by party."""
    expected = {}
    for owner in (CHAT, BATCH):
        money: dict[str, int] = {}
        tokens: dict[str, int] = {}
        for at, sums in totals.minutes.items():
            if not minute - 60 <= at <= minute - 1:
                continue
            for owner_phase, amount in sums.cost.items():
                if owner_phase.owner == owner:
                    money[owner_phase.phase] = money.get(owner_phase.phase, 0) + amount
            for (who, kind), number in sums.tokens.items():
                if who == owner:
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
        totals = totals.with_added(minutes_of(money, tokens), end).totals
        assert window(totals, (), end) == expected_totals(totals, minute)
        assert totals.minutes.keys() <= {*range(minute - MINUTES_KEPT, minute + 2)}


def test_new_minutes_have_sums_of_their_own() -> None:
    """What is added to one of them later is in no other."""
    money = {(NOON, OwnerPhase(CHAT, "decode")): 5, (NOON + 1, OwnerPhase(CHAT, "decode")): 7}
    minutes = Totals().with_added(minutes_of(money, {}), (NOON + 1) * NANOSECONDS_PER_MINUTE).totals.minutes
    minutes[NOON].tokens.post((CHAT, "prompt"), 3)

    assert (minutes[NOON].tokens, minutes[NOON + 1].tokens) == ({(CHAT, "prompt"): 3}, {})


def test_a_window_that_was_served_stays_as_it_was() -> None:
    """A report is immutable: what comes later is in later ones."""
    end = NOON * NANOSECONDS_PER_MINUTE + 1
    decode = NOON - 1, OwnerPhase(CHAT, "decode")
    totals = Totals().with_added(minutes_of({decode: 5}, {}), end).totals
    first = window(totals, (), end)
    totals = totals.with_added(minutes_of({decode: 7}, {}), end).totals

    assert first == {CHAT: Window({"decode": 5}, {}, 0)}
    assert window(totals, (), end) == {CHAT: Window({"decode": 12}, {}, 0)}


def test_usage_of_the_last_day_is_that_of_its_hours() -> None:
    """Time and energy by GPU and product, of the running hour and the 24 before it."""
    end = NOON * NANOSECONDS_PER_MINUTE + 1
    search, chat = (GPU, "search"), (GPU, "chat")
    later = Totals(
        hours={
            HOUR - 25: HourSums(covered={(): 9}, usage={search: 9}),
            HOUR - 24: HourSums(covered={(): 5}, usage={search: 5}, energy={search: 2}),
            HOUR - 1: HourSums(covered={(): 7}, down={(): 3}),
            HOUR: HourSums(usage={search: 1, chat: 4}),
        }
    )
    hours = recent_usage(Totals().with_added(later, end).totals, end).hours

    assert hours == (
        UsageHour((HOUR - 24) * NANOSECONDS_PER_HOUR, 5, 0, {GPU: {"search": 5}}, {GPU: {"search": 2}}),
        UsageHour((HOUR - 1) * NANOSECONDS_PER_HOUR, 7, 3),
        UsageHour(HOUR * NANOSECONDS_PER_HOUR, 0, 0, {GPU: {"search": 1, "chat": 4}}),
    )
