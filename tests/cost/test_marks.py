"""Marks of pages: how long they are kept, how many there are, and what no server counts."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.cost import counters as deltas
from exporter.cost.counters import gateway_deltas
from exporter.cost.page_marks import MARKS_MAX, MOST_PER_SECOND, MarkedPage, PageMarks
from exporter.cost.state import EndpointState, GatewayState
from exporter.readings import (
    CROWDED,
    CounterColumns,
    CounterReading,
    GatewayCounter,
    GatewayReading,
    ServerReading,
    counter_readings,
    digest,
)
from tests.cost.readings import START, page
from tests.depth import examples
from tests.kit.units import HOUR, SECOND

TEN = 10 * SECOND


def shown(
    values: Mapping[str, float], created: Mapping[str, int] | None = None, identity: str = "1"
) -> ServerReading:
    """A page of these raw series of generated tokens."""
    rows = (
        CounterReading(name, "llama", "generation", value, created=(created or {}).get(name))
        for name, value in values.items()
    )
    started = START + 59 * SECOND if identity != "1" else None
    return replace(page(), counters=counter_readings(rows), identity=identity, started=started)


class Watch:
    """One endpoint read at moments that a test says, in nanoseconds from the first."""

    def __init__(self) -> None:
        self.state: EndpointState | None = None
        self.implausible = 0
        self.counted = 0.0

    def read(self, at: int, values: Mapping[str, float], **more: object) -> float:
        """Tokens that a page adds."""
        tick = deltas.endpoint_deltas(self.state, shown(values, **more), START + at)  # type: ignore[arg-type]
        self.state, self.implausible = tick.state, tick.implausible
        counted = tick.deltas.get(("llama", "generation"), 0.0)
        self.counted += counted
        return counted

    @property
    def marks(self) -> int:
        """How many are remembered."""
        assert self.state is not None
        return len(self.state.marks.values)

    @property
    def dropped(self) -> bool:
        """Whether some were forgotten for lack of room."""
        assert self.state is not None
        return self.state.marks.dropped


@pytest.fixture
def watch() -> Watch:
    return Watch()


def names(first: int, count: int) -> dict[str, float]:
    """So many series of one token each."""
    return {f"n{number}": 1.0 for number in range(first, first + count)}


# A series that left


def test_a_series_that_comes_back_higher_counts_the_difference(watch: Watch) -> None:
    """Within a day of its leaving: 100, gone for 24 hours, 130."""
    watch.read(0, {"a": 1, "b": 100})
    assert watch.read(TEN, {"a": 1}) == 0
    assert watch.read(24 * HOUR, {"a": 1, "b": 130}) == 30


@pytest.mark.parametrize("others", [{"a": 1.0}, names(0, 1_500)], ids=["few", "thousands"])
@pytest.mark.parametrize(("later", "counted"), [(-SECOND, 30), (0, 30), (1, 130)])
def test_a_series_that_began_after_it_had_gone_counts_whole(
    watch: Watch, others: dict[str, float], later: int, counted: float
) -> None:
    """LiteLLM lets go of what nobody used for a while. One that began before is the same, seen again."""
    watch.read(0, {**others, "b": 100})
    watch.read(TEN, others)
    created = {"b": START + TEN + later}
    assert watch.read(2 * TEN, {**others, "b": 130}, created=created) == counted
    assert watch.read(3 * TEN, {**others, "b": 137}, created=created) == 7


def test_a_series_that_is_there_may_have_begun_in_the_future(watch: Watch) -> None:
    """The clock of its host is ahead."""
    created = {"b": START + HOUR}
    watch.read(0, {"a": 1, "b": 100}, created=created)
    watch.read(TEN, {"b": 100}, created=created)
    assert watch.read(2 * TEN, {"a": 1, "b": 130}, created=created) == 30


def test_a_series_that_comes_back_lower_counts_from_zero_at_once(watch: Watch) -> None:
    """The engine created it again: no fall that has to last, and the others go on."""
    watch.read(0, {"a": 1, "b": 100})
    watch.read(TEN, {"a": 1})
    assert watch.read(2 * TEN, {"a": 4, "b": 7}) == 3 + 7
    assert watch.read(3 * TEN, {"a": 4, "b": 9}) == 2


def test_the_mark_of_a_series_that_left_is_kept_for_a_day(watch: Watch) -> None:
    """After it, the series is one that this process never had."""
    watch.read(0, {"a": 1, "b": 100})
    watch.read(TEN, {"a": 1})
    watch.read(TEN + 24 * HOUR, {"a": 1})
    assert watch.marks == 2
    watch.read(2 * TEN + 24 * HOUR, {"a": 1})
    assert (watch.marks, watch.dropped) == (1, False)
    assert watch.read(3 * TEN + 24 * HOUR, {"a": 1, "b": 5}) == 5


def test_a_page_that_was_not_read_for_a_week_lost_no_series(watch: Watch) -> None:
    """What is on the last good page has not left it."""
    watch.read(0, {"a": 1, "b": 100})
    assert watch.read(7 * 24 * HOUR, {"a": 2, "b": 150}) == 51


def test_a_clock_that_was_set_back_keeps_marks_no_longer(watch: Watch) -> None:
    """A series left at noon, the clock was set back by an hour: its day begins then."""
    watch.read(0, {"a": 1, "b": 100})
    watch.read(12 * HOUR, {"a": 1})
    watch.read(11 * HOUR, {"a": 1})
    watch.read(35 * HOUR, {"a": 1})
    assert watch.marks == 2
    watch.read(36 * HOUR, {"a": 1})
    assert watch.marks == 1


# More series than there is room for


def test_marks_are_bounded_and_the_last_to_leave_stay(watch: Watch) -> None:
    """Seventeen thousand new ones at each read: the page's own, and 3,000 of the page before."""
    for read in range(5):
        watch.read(read * TEN, names(17_000 * read, 17_000))
    assert watch.marks == MARKS_MAX == 20_000
    assert watch.dropped
    assert watch.state is not None
    assert len(watch.state.marks.gone) == 3_000


def test_who_dropped_marks_counts_no_new_series_from_zero(watch: Watch) -> None:
    """A series that comes may be one that was forgotten: it sets its mark, and counts from there."""
    for read in range(3):
        watch.read(read * TEN, {"a": 5.0 + read, **names(15_000 * read, 15_000)})
    assert watch.dropped
    assert watch.read(3 * TEN, {"a": 10, "b": 1000}) == 3
    assert watch.read(4 * TEN, {"a": 10, "b": 1001}) == 1


def test_a_new_series_that_says_when_it_began_is_believed(watch: Watch) -> None:
    """After the last good read: it was not there. In its instant or before: it may have been."""
    for read in range(3):
        watch.read(read * TEN, names(15_000 * read, 15_000))
    last = START + 2 * TEN
    created = {"late": last + 1, "then": last, "early": last - SECOND}
    assert watch.read(3 * TEN, {"late": 7, "then": 70, "early": 700}, created=created) == 7


def test_another_process_has_dropped_nothing(watch: Watch) -> None:
    """Its series count from zero, late ones as well, and are kept by name again."""
    for read in range(3):
        watch.read(read * TEN, names(15_000 * read, 15_000))
    assert watch.read(3 * TEN, {"a": 4}, identity="2") == 4
    assert (watch.dropped, watch.marks) == (False, 1)
    assert watch.read(4 * TEN, {"a": 4, "b": 6}, identity="2") == 6
    assert watch.state is not None
    assert watch.state.marks.values.by_digest() == {digest("a"): 4, digest("b"): 6}


def test_a_page_of_thousands_is_exact(watch: Watch) -> None:
    """Each of 1,500 tenants by itself, also as the page passes the bound of names in both directions."""
    sizes = (900, 1_500, 1_500, 900, 1_500)
    tokens = {f"tenant-{number}": 0.0 for number in range(1_500)}
    watch.read(0, dict(list(tokens.items())[:900]))
    for read, size in enumerate(sizes, 1):
        for number, name in enumerate(tokens):
            tokens[name] += number
        on_page = dict(list(tokens.items())[:size])
        watch.read(read * TEN, on_page)
    # After five reads each of them has five times its number; all are on the last page.
    assert watch.counted == 5 * sum(range(1_500))
    assert isinstance(shown(tokens).counters, CounterColumns)
    assert not watch.dropped


@pytest.mark.parametrize("step", [48 * HOUR, -48 * HOUR])
def test_a_series_that_left_keeps_its_mark_while_the_clock_is_stepped(step: int) -> None:
    """A series of 5 tokens leaves for 20 seconds, in which the clock is set by two days; then it is at 7."""
    a, b = digest("a"), digest("b")

    def marked(**values: float) -> MarkedPage:
        return MarkedPage({digest(name): value for name, value in values.items()}, tokens={a, b})

    marks = PageMarks().advance(marked(a=10, b=5), START).marks
    marks = marks.advance(marked(a=11), START + TEN).marks.stepped(step)
    marks = marks.advance(marked(a=12), START + 2 * TEN + step).marks
    back = marks.advance(marked(a=13, b=7), START + 3 * TEN + step)
    assert back.compared is not None
    assert back.compared.deltas == {a: 1, b: 2}


def test_a_fall_in_columns_waits_as_one_by_name(watch: Watch) -> None:
    """Of 2,000 series one restarts: its third fall counts it from zero, and it alone."""
    watch.read(0, names(0, 2_000) | {"n7": 500.0})
    for read in (1, 2):
        assert watch.read(read * TEN, names(0, 2_000) | {"n7": 3.0 + read}) == 0
    assert watch.read(3 * TEN, names(0, 2_000) | {"n7": 9.0}) == 9


# What no server counts


def test_a_counter_that_jumps_and_comes_back_counts_what_it_served(watch: Watch) -> None:
    """To 1e15 and back within ticks of ten seconds: 10 tokens, where 2e15 were counted."""
    watch.read(0, {"a": 1_000, "b": 5})
    assert watch.read(TEN, {"a": 1e15, "b": 6}) == 1
    assert watch.implausible == 1
    assert watch.read(2 * TEN, {"a": 1e15 + 10, "b": 6}) == 0
    assert watch.read(3 * TEN, {"a": 1_010, "b": 6}) == 10
    assert watch.implausible == 0


def test_a_jump_that_stays_is_never_charged(watch: Watch) -> None:
    """However long it waits: what is allowed is for the time between two good reads of the page."""
    watch.read(0, {"a": 1_000})
    for read in range(1, 2_000):
        assert watch.read(read * HOUR // 2, {"a": 1e15}) == 0


def test_a_series_that_begins_beyond_belief_sets_its_mark(watch: Watch) -> None:
    """What it counts from there on is believed, and what a restart makes of it."""
    watch.read(0, {"a": 1})
    assert watch.read(TEN, {"a": 1, "b": 1e15}) == 0
    assert watch.implausible == 1
    assert watch.read(2 * TEN, {"a": 1, "b": 1e15 + 8}) == 8
    reads = [watch.read(read * TEN, {"a": 1, "b": 20}) for read in (3, 4, 5)]
    assert reads == [0, 0, 20]


@pytest.mark.parametrize("waited", [TEN, 60 * SECOND, 600 * SECOND])
def test_what_is_allowed_grows_with_the_time_between_reads(watch: Watch, waited: int) -> None:
    """A hundred million tokens a second, of a minute at least: a clock may have been set back."""
    most = MOST_PER_SECOND * max(60, waited // SECOND)
    watch.read(0, {"a": 1, "b": 1})
    assert watch.read(waited, {"a": 1 + most, "b": 1}) == most
    assert watch.read(2 * waited, {"a": 1 + most, "b": 2 + most}) == 0
    assert watch.implausible == 1


def test_many_series_jump_no_further_than_one(watch: Watch) -> None:
    """Ten of which each is within the bound and all together are not: the read is refused as a whole."""
    most = MOST_PER_SECOND * 60
    watch.read(0, {f"s{number}": 1 for number in range(10)})
    assert watch.read(TEN, {f"s{number}": most / 2 for number in range(10)}) == 0
    assert watch.implausible == 10
    assert watch.read(2 * TEN, {f"s{number}": 3 for number in range(10)}) == 20


def test_a_process_that_begins_beyond_belief_counts_nothing_of_it(watch: Watch) -> None:
    """After a restart as well as when it was seen to start."""
    watch.read(0, {"a": 1})
    assert watch.read(TEN, {"a": 1e15}, identity="2") == 0
    assert watch.read(2 * TEN, {"a": 1e15 + 3}, identity="2") == 3


# Any life of a page

LIFE = st.lists(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 50), st.booleans()), max_size=8),
    min_size=1,
    max_size=12,
)


@examples(60)
@given(LIFE)
@example([[(0, 5, False)], [(0, 5, True)]])
def test_no_token_is_lost_or_counted_twice_whatever_is_missing(
    rounds: list[list[tuple[int, int, bool]]],
) -> None:
    """Honest counters, of which any may be missing on any page: counted is all that they show in the end.

    Series of the first page count from what they showed there; the others from zero. The last page shows all.
    """
    totals = dict.fromkeys(range(8), 0)
    on_first: dict[int, int] = {}
    watch, read = Watch(), 0
    for read, changes in enumerate(rounds):
        visible = set(range(8))
        for number, tokens, there in changes:
            totals[number] += tokens
            if not there:
                visible.discard(number)
        if read == 0:
            on_first = {number: totals[number] for number in visible}
        watch.read(read * TEN, {f"s{number}": float(totals[number]) for number in sorted(visible)})
    watch.read((read + 1) * TEN, {f"s{number}": float(total) for number, total in totals.items()})
    assert watch.counted == sum(totals.values()) - sum(on_first.values())


# Gateways

URL = "http://127.0.0.1:4000/metrics/"


def gateway_reading(**users: tuple[str, float]) -> GatewayReading:
    """What users of teams had generated for them, each with a series of their own."""
    counters = tuple(
        GatewayCounter(user, "llama", "id", team, "generation", value)
        for user, (team, value) in users.items()
    )
    return GatewayReading(URL, up=True, identity="1", counters=counters)


def test_a_series_of_a_gateway_that_expires_makes_no_history_new() -> None:
    """Two users of Search and one of Support, 1,000 each; one of Search expires for three reads.

    Meanwhile Support asks for 500 more. A sum of the team that fell counted Search's 1,000 of the other user
    again. When the user comes back, below, with 40, these are 40 more.
    """
    state: Mapping[str, GatewayState] = {}
    moved: dict[str, float] = {}
    pages = [
        gateway_reading(ann=("Search", 1000), ben=("Search", 1000), eve=("Support", 1000)),
        *[gateway_reading(ben=("Search", 1000), eve=("Support", 1500))] * 4,
        gateway_reading(ann=("Search", 40), ben=("Search", 1005), eve=("Support", 1500)),
    ]
    for number, reading in enumerate(pages):
        state, ticks = gateway_deltas(state, [reading], START + number * TEN)
        for count in ticks[URL].counts or ():
            moved[count.team] = moved.get(count.team, 0.0) + count.generation
    assert moved == {"Support": 500, "Search": 45}


def test_a_gateway_whose_counter_jumps_divides_as_before() -> None:
    """To 1e15 and back: 20 tokens."""
    state, moved = {}, 0.0
    for number, value in enumerate((1_000.0, 1e15, 1_020.0)):
        state, ticks = gateway_deltas(state, [gateway_reading(ann=("Search", value))], START + number * TEN)
        moved += sum(count.generation for count in ticks[URL].counts)
        assert ticks[URL].implausible == (value == 1e15)
    assert moved == 20


def test_a_page_of_a_thousand_names_is_kept_by_name() -> None:
    """One more, and by digest."""
    by_name, by_digest = shown(names(0, CROWDED)).counters, shown(names(0, CROWDED + 1)).counters
    assert [one.series for one in by_name] == list(names(0, CROWDED))
    assert isinstance(by_digest, CounterColumns)
    assert all(one.series.startswith("#") for one in by_digest)
