"""Observations of latency histograms from tick to tick: restarts, resets, upgrades, other objectives."""

from collections.abc import Iterable
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.counters import LatencyCount, endpoint_deltas
from exporter.cost.page_marks import MARKS_MAX, MOST_PER_SECOND
from exporter.cost.state import EndpointState
from exporter.readings import LatencyReading, ServerKey, ServerReading, ServiceLevel
from tests.cost.readings import START, page
from tests.depth import examples
from tests.kit.units import HOUR, SECOND

SLO = ServiceLevel(first_token_seconds=0.75)
EACH = ServiceLevel(per_token_seconds=0.05)
BOTH = ServiceLevel(first_token_seconds=0.75, per_token_seconds=0.05)
KEY = ("llama", "first_token", "requests")
NOTHING = LatencyCount()

HISTOGRAMS = MARKS_MAX // 3
"""Histograms whose three marks fill the room of one page but for two, which its counters take."""


def histogram(
    lower: float,
    upper: float,
    total: float,
    series: str = "ttft{rank=0}",
    around: tuple[float, float] = (0.5, 1),
) -> LatencyReading:
    return LatencyReading(series, "llama", "first_token", "requests", *around, lower, upper, total)


class Watch:
    """One endpoint, read every ten seconds unless a test says otherwise."""

    def __init__(self) -> None:
        self.state: EndpointState | None = None
        self.at = START

    def read(
        self, *histograms: LatencyReading, after: int = 10 * SECOND, **changes: object
    ) -> LatencyCount | None:
        """What a page adds; `None` where it has no such histogram, or says nothing yet."""
        self.at += after
        if changes.get("identity"):  # of a process that starts now
            changes.setdefault("started", self.at)
        reading = replace(page(), **{"slo": SLO, "latencies": histograms, **changes})  # type: ignore[arg-type]
        return self.take(reading)

    def take(self, reading: ServerReading) -> LatencyCount | None:
        tick = endpoint_deltas(self.state, reading, self.at)
        self.state = tick.state
        return tick.latencies.get(KEY)


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_the_first_read_only_sets_marks(watch: Watch) -> None:
    """A day of requests before the service level was set is none of it; a row at 0 begins."""
    assert watch.read(histogram(900, 950, 1000)) == NOTHING
    assert watch.read(histogram(910, 965, 1020)) == LatencyCount(10, 15, 20)


def test_a_process_that_was_seen_to_start_counts_from_zero(watch: Watch) -> None:
    """It started after its histograms were asked for: nothing on its page is older."""
    watch.take(replace(page(), slo=SLO, latencies=None))
    assert watch.read(histogram(3, 4, 5), started=START + SECOND) == LatencyCount(3, 4, 5)


def test_a_process_that_starts_after_failed_reads_counts_from_zero(watch: Watch) -> None:
    """Its endpoint was asked, and did not answer, before it started. A failed read knows no level."""
    for _ in range(2):
        watch.take(ServerReading(page().key, page().url, up=False))
        watch.at += 10 * SECOND
    assert watch.read(histogram(3, 4, 5), started=watch.at + SECOND) == LatencyCount(3, 4, 5)


def test_a_process_that_ran_before_failed_reads_only_sets_marks(watch: Watch) -> None:
    """Its requests before the first tick are none of it."""
    watch.take(ServerReading(page().key, page().url, up=False))
    assert watch.read(histogram(3, 4, 5), started=START - SECOND) == NOTHING


def test_a_process_that_starts_in_the_future_only_sets_marks(watch: Watch) -> None:
    """Its clock is ahead by more than a minute: how old its requests are is unknown."""
    watch.take(replace(page(), slo=SLO, latencies=None))
    assert watch.read(histogram(3, 4, 5), started=watch.at + 71 * SECOND) == NOTHING


def test_a_process_that_was_seen_not_to_exist_counts_from_zero(watch: Watch) -> None:
    """Discovery looked before it started: as for tokens, nothing on its first page is older."""
    reading = histogram(3, 4, 5)
    assert watch.read(reading, started=START - SECOND, absent_at=START - 2 * SECOND) == LatencyCount(3, 4, 5)


def test_another_server_after_a_failed_read_only_sets_marks(watch: Watch) -> None:
    """Renamed while it did not answer, and neither process is known: the marks are another server's."""
    batch = ServerKey("", "batch")
    watch.read(histogram(10, 20, 30), identity="")
    watch.take(ServerReading(batch, page().url, up=False))
    assert watch.read(histogram(40, 50, 60), identity="", key=batch) == NOTHING


def test_a_first_page_is_not_believed_without_limit(watch: Watch) -> None:
    """Ten seconds after the first tick a process cannot have served a trillion requests."""
    watch.take(ServerReading(page().key, page().url, up=False))
    assert watch.read(histogram(0, 0, 1e12), started=START + SECOND) == NOTHING


def test_a_level_set_on_a_running_server_counts_from_then(watch: Watch) -> None:
    """The process was seen to start, and its requests before the level was set are not counted."""
    watch.take(replace(page(), started=START + SECOND))
    watch.at += HOUR
    assert watch.read(histogram(900, 950, 1000), started=START + SECOND) == NOTHING


def test_a_failed_read_loses_nothing(watch: Watch) -> None:
    """What happened meanwhile is in the next good read."""
    watch.read(histogram(10, 20, 30))
    assert watch.take(ServerReading(page().key, page().url, up=False)) is None
    assert watch.read(histogram(12, 25, 40)) == LatencyCount(2, 5, 10)


def test_a_bad_page_of_histograms_loses_nothing(watch: Watch) -> None:
    """Histograms that could not be read once do not count from zero when they are back."""
    watch.read(histogram(10, 20, 30))
    assert watch.take(replace(page(), slo=SLO, latencies=None)) is None
    assert watch.read(histogram(12, 25, 40)) == LatencyCount(2, 5, 10)


def test_another_process_counts_from_zero(watch: Watch) -> None:
    """A restart: also where the new one has counted more than the old one had."""
    watch.read(histogram(10, 20, 30))
    assert watch.read(histogram(40, 50, 60), identity="chat-2") == LatencyCount(40, 50, 60)


def test_an_upgrade_with_other_buckets_counts_from_zero(watch: Watch) -> None:
    """Another process with bounds of its own, of which one is the objective."""
    watch.read(histogram(10, 20, 30))
    upgraded = histogram(4, 4, 5, around=(0.75, 0.75))
    assert watch.read(upgraded, identity="chat-2") == LatencyCount(4, 4, 5)
    assert watch.read(replace(upgraded, lower=5, upper=5, total=7), identity="chat-2") == LatencyCount(
        1, 1, 2
    )


def test_an_upgrade_without_an_identity_counts_once_it_is_sure(watch: Watch) -> None:
    """Its total fell, whatever its bounds: after a minute in which no other page came it is a reset."""
    watch.read(histogram(10, 20, 30), identity="")
    upgraded = histogram(4, 4, 5, around=(0.75, 0.75))
    for _ in range(6):
        assert watch.read(upgraded, identity="") is None
    assert watch.read(upgraded, identity="") == LatencyCount(4, 4, 5)


def test_a_short_fall_is_a_bad_read(watch: Watch) -> None:
    """Two reads below the mark count nothing, and the marks stay."""
    watch.read(histogram(10, 20, 30))
    assert watch.read(histogram(0, 0, 0)) is None
    assert watch.read(histogram(0, 0, 0)) is None
    assert watch.read(histogram(11, 22, 33)) == LatencyCount(1, 2, 3)


def test_a_reset_counts_all_three_from_zero(watch: Watch) -> None:
    """Only the total is below its mark; buckets that are above theirs began again as well."""
    watch.read(histogram(1, 2, 30))
    reset = histogram(3, 4, 5)
    watch.read(reset)
    watch.read(reset)
    assert watch.read(reset) == LatencyCount(3, 4, 5)


def test_one_rank_that_restarts_leaves_the_others(watch: Watch) -> None:
    """One page of two ranks: the one that fell counts from zero, the other its difference."""
    other = "ttft{rank=1}"
    watch.read(histogram(10, 20, 30), histogram(100, 200, 300, other))
    for _ in range(2):
        assert watch.read(histogram(1, 2, 3), histogram(101, 202, 303, other)) is None
    counted = watch.read(histogram(1, 2, 3), histogram(101, 202, 303, other))
    assert counted == LatencyCount(1 + 1, 2 + 2, 3 + 3)


def test_another_objective_counts_from_then_on(watch: Watch) -> None:
    """A reload moves the objective to other buckets of the same process: what they hold is older."""
    watch.read(histogram(10, 20, 30))
    moved = histogram(20, 25, 35, around=(1, 2))
    assert watch.read(moved) == NOTHING
    assert watch.read(replace(moved, lower=22, upper=28, total=39)) == LatencyCount(2, 3, 4)


def test_an_objective_that_is_added_counts_from_then_on(watch: Watch) -> None:
    """A reload adds the first one to the other: what its histogram holds is older."""
    watch.take(replace(page(), slo=EACH, latencies=()))
    assert watch.read(histogram(900, 950, 1000), slo=BOTH) == NOTHING
    assert watch.read(histogram(901, 952, 1003), slo=BOTH) == LatencyCount(1, 2, 3)


def test_an_objective_that_is_removed_and_put_back_counts_from_then_on(watch: Watch) -> None:
    """Its old mark is none: what came in its absence was not asked for."""
    watch.read(histogram(10, 20, 30), slo=BOTH)
    watch.take(replace(page(), slo=EACH, latencies=()))
    assert watch.read(histogram(40, 60, 80), slo=BOTH) == NOTHING
    assert watch.read(histogram(41, 62, 83), slo=BOTH) == LatencyCount(1, 2, 3)


def test_bounds_that_flap_within_a_process_count_nothing(watch: Watch) -> None:
    """A page that changes its buckets at each read is not believed, however large its counts."""
    watch.read(histogram(10, 20, 30))
    for step in range(10):
        wide = histogram(10**6 + step, 10**6 + step, 10**6 + step, around=(0.5, 1 + step))
        assert watch.read(wide) in (NOTHING, None)


def test_a_histogram_that_comes_late_counts_from_zero(watch: Watch) -> None:
    """Engines create series with their first request."""
    assert watch.read() is None
    assert watch.read(histogram(1, 2, 3)) == LatencyCount(1, 2, 3)


def test_a_histogram_that_returns_goes_on_from_its_mark(watch: Watch) -> None:
    """Back higher: the difference. Back lower: it began again, and counts from zero at once."""
    watch.read(histogram(10, 20, 30))
    watch.read()
    assert watch.read(histogram(11, 22, 33)) == LatencyCount(1, 2, 3)
    watch.read()
    assert watch.read(histogram(1, 2, 3)) == LatencyCount(1, 2, 3)


def test_a_mark_of_yesterday_is_forgotten(watch: Watch) -> None:
    """After a day without it the histogram is a new one."""
    watch.read(histogram(10, 20, 30))
    watch.read()
    watch.read(after=25 * HOUR)
    assert watch.read(histogram(15, 25, 35)) == LatencyCount(15, 25, 35)


def test_marks_are_bounded_and_what_was_dropped_never_counts_twice(watch: Watch) -> None:
    """A page with other label sets at each read: marks stay few, and a set that returns sets its mark."""
    sets = [histogram(1, 2, 3, f"ttft{{tenant={number}}}") for number in range(2 * HISTOGRAMS)]
    watch.read(*sets[:HISTOGRAMS])
    watch.read(*sets[HISTOGRAMS:])
    assert watch.state is not None
    assert len(watch.state.marks.values) == MARKS_MAX
    watch.read(*sets[HISTOGRAMS:])
    assert watch.read(histogram(2, 3, 4, sets[HISTOGRAMS - 1].series)) == NOTHING


def test_dropped_marks_are_those_of_their_process(watch: Watch) -> None:
    """A restarted process has no mark that was dropped: a set that comes late counts from zero again."""
    sets = [histogram(1, 2, 3, f"ttft{{tenant={number}}}") for number in range(HISTOGRAMS + 1)]
    watch.read(*sets[:HISTOGRAMS])
    watch.read(*sets[1:])
    watch.read(sets[0], identity="chat-2")
    assert watch.read(*sets[:2], identity="chat-2") == LatencyCount(1, 2, 3)


def test_a_replica_behind_the_same_address_only_sets_marks(watch: Watch) -> None:
    """It already ran while the other one answered: its requests in between are unknown."""
    watch.read(histogram(10, 20, 30), identity="a", started=START - HOUR)
    other = histogram(40, 50, 60)
    assert watch.read(other, identity="b", started=START - 2 * HOUR, after=HOUR) == NOTHING


def test_another_server_at_the_address_only_sets_marks(watch: Watch) -> None:
    """Its name changed and neither process is known: the marks are those of another server."""
    watch.read(histogram(10, 20, 30), identity="")
    assert watch.read(histogram(40, 50, 60), identity="", key=ServerKey("", "batch")) == NOTHING


def test_a_renamed_server_loses_nothing(watch: Watch) -> None:
    """The process is the same one."""
    watch.read(histogram(10, 20, 30))
    assert watch.read(histogram(11, 22, 33), key=ServerKey("", "batch")) == LatencyCount(1, 2, 3)


def test_without_a_level_nothing_is_kept(watch: Watch) -> None:
    """Taken out of the configuration and put back in, it begins anew."""
    watch.read(histogram(10, 20, 30))
    watch.take(page())
    assert watch.state is not None
    assert watch.state.requested == {}
    assert watch.read(histogram(11, 22, 33)) == NOTHING


def test_counts_that_no_server_has_are_not_counted(watch: Watch) -> None:
    """More than 100 million a second: the page is hostile, or broken, and moves no mark."""
    watch.read(histogram(0, 0, 0))
    most = 60.0 * MOST_PER_SECOND
    assert watch.read(histogram(0, 0, most + 1)) == NOTHING
    assert watch.read(histogram(0, 0, most)) == LatencyCount(0, 0, most)


def test_an_implausible_page_counts_no_history_again(watch: Watch) -> None:
    """The pages after it go on from the marks before it, at once."""
    watch.read(histogram(900, 950, 1000))
    assert watch.read(histogram(900, 950, 1e12)) == NOTHING
    assert watch.read(histogram(901, 952, 1003)) == LatencyCount(1, 2, 3)
    assert [watch.read(histogram(901, 952, 1003)) for _ in range(3)] == [NOTHING] * 3


def test_an_implausible_page_of_a_new_process_only_sets_marks(watch: Watch) -> None:
    """The marks of the process before are none of it."""
    watch.read(histogram(10, 20, 30))
    assert watch.read(histogram(1, 2, 1e12), identity="chat-2") == NOTHING
    assert watch.read(histogram(2, 4, 1e12 + 3), identity="chat-2") == LatencyCount(1, 2, 3)


def test_buckets_that_contradict_each_other_count_nothing(watch: Watch) -> None:
    """The lower bucket rose by more than the one that includes it."""
    watch.read(histogram(10, 20, 30))
    assert watch.read(histogram(15, 21, 40)) == NOTHING


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["serve", "restart", "miss", "away"]),
        st.integers(0, 9),
        st.integers(0, 9),
        st.integers(0, 9),
    ),
    max_size=30,
)


@examples(200)
@given(steps=STEPS)
def test_every_observation_counts_once(steps: Iterable[tuple[str, int, int, int]]) -> None:
    """Through restarts, failed reads and pages without the histogram, but for what a process took with it."""
    watch, process, served = Watch(), 0, [0, 0, 0]
    counted, expected, pending = [0.0] * 3, [0] * 3, [0] * 3
    watch.read(histogram(0, 0, 0), identity="p0")
    for what, below, between, above in steps:
        if what == "restart":
            process, served, pending = process + 1, [0, 0, 0], [0, 0, 0]
        for part, more in enumerate((below, below + between, below + between + above)):
            served[part] += more
            pending[part] += more
        if what == "miss":
            watch.take(ServerReading(page().key, page().url, up=False))
            continue
        shown = () if what == "away" else (histogram(*served),)
        count = watch.read(*shown, identity=f"p{process}")
        if shown:
            expected = [before + more for before, more in zip(expected, pending, strict=True)]
            pending = [0, 0, 0]
        counted = [before + more for before, more in zip(counted, count or NOTHING, strict=True)]
    assert counted == expected


def test_an_objective_beyond_all_buckets_is_known_up_to_the_last(watch: Watch) -> None:
    """Its ceiling is infinite: all of them may have met it."""
    beyond = histogram(10, 30, 30, around=(5, inf))
    watch.read(beyond)
    assert watch.read(replace(beyond, lower=11, upper=33, total=33)) == LatencyCount(1, 3, 3)
