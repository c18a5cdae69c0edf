"""What counters moved by: baselines, restarts, bad reads, renamed and late series."""

import math
from dataclasses import replace

import pytest

from exporter.cost import counters
from exporter.cost.counters import CounterDeltas
from exporter.cost.state import EndpointState
from exporter.readings import CounterReading, ServerReading
from tests.cost.readings import BATCH, CHAT, START, down, page
from tests.kit.units import SECOND


class Watch:
    """One endpoint read again and again, ten seconds apart."""

    def __init__(self) -> None:
        self.state: EndpointState | None = None
        self.restarted = False
        self.implausible = self.several = 0
        self.reads = 0

    def read(self, reading: ServerReading) -> CounterDeltas:
        tick = counters.endpoint_deltas(self.state, reading, START + self.reads * 10 * SECOND)
        self.state, self.restarted, self.implausible = tick.state, tick.restarted, tick.implausible
        self.several = tick.several
        self.reads += 1
        return tick.deltas

    def generated(self, reading: ServerReading) -> float | None:
        return self.read(reading).get(("llama", "generation"))


def gen(value: float, identity: str = "1", **counts: float) -> ServerReading:
    """A page of the first process, whose age nobody knows, or of one that starts now."""
    started = START + 59 * SECOND if identity not in {"", "1"} else None
    return replace(page(generation=value, **counts), identity=identity, started=started)


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_first_sight_is_a_baseline(watch: Watch) -> None:
    """Lifetime tokens of a server that ran before us are not this tick's; a process of unknown age is old."""
    assert watch.read(gen(1_000_000)) == {}
    assert watch.generated(gen(1_000_010)) == 10


def test_first_sight_of_a_process_that_started_before_we_watched_is_a_baseline(watch: Watch) -> None:
    """Its tokens may be hours old."""
    assert watch.read(replace(gen(1_000_000), started=START - 1)) == {}
    assert watch.generated(gen(1_000_010)) == 10


def test_first_sight_of_a_process_that_we_saw_start_counts_from_zero(watch: Watch) -> None:
    """It was watched and down, then its process started: all its tokens came since."""
    assert watch.read(down(gen(0))) == {}
    assert watch.generated(replace(gen(40), started=START + 5 * SECOND)) == 40
    assert watch.generated(gen(45)) == 5
    assert not watch.restarted


def test_a_process_that_starts_in_the_instant_we_begin_to_watch_counts_from_zero(watch: Watch) -> None:
    """The boundary: nothing of it can be older than our watch."""
    assert watch.generated(replace(gen(3), started=START)) == 3


def test_a_process_that_starts_in_the_future_is_a_baseline(watch: Watch) -> None:
    """Its clock is ahead, or was when it started: an hour of tokens looked as if they came since the watch.

    A minute ahead is a host whose clock is a little off.
    """
    assert watch.read(replace(gen(1_000_000), started=START + 61 * SECOND)) == {}
    assert watch.generated(gen(1_000_010)) == 10
    assert Watch().generated(replace(gen(3), started=START + 60 * SECOND)) == 3


def test_a_process_that_started_since_it_was_looked_for_in_vain_counts_from_zero(watch: Watch) -> None:
    """It was found and read later than it started, and was not there at an earlier look."""
    late = replace(gen(70), started=START - 15 * SECOND, absent_at=START - 20 * SECOND)
    assert watch.generated(late) == 70


def test_a_process_that_started_before_it_was_looked_for_is_a_baseline(watch: Watch) -> None:
    """The look that missed it proves nothing of tokens that are older than the look."""
    assert watch.read(replace(gen(70), started=START - 21 * SECOND, absent_at=START - 20 * SECOND)) == {}


def test_a_look_in_the_future_moves_nothing(watch: Watch) -> None:
    """The wall clock was set back since: the watch begins now."""
    assert watch.read(replace(gen(70), started=START - 1, absent_at=START + SECOND)) == {}
    assert watch.state is not None
    assert watch.state.watched_since == START


def test_a_failed_read_delays_tokens(watch: Watch) -> None:
    """What failed reads missed arrives with the next good one."""
    watch.read(gen(100))
    assert watch.read(down(gen(0))) == {}
    assert watch.read(down(gen(0))) == {}
    assert watch.generated(gen(160)) == 60


def test_a_changed_identity_is_a_restart(watch: Watch) -> None:
    """Another process counts from zero at once, also when it has passed the old mark already."""
    watch.read(gen(100))
    assert watch.generated(gen(150, identity="2")) == 150
    assert watch.restarted
    assert watch.generated(gen(160, identity="2")) == 10
    assert not watch.restarted


def test_a_restart_forgets_the_series_of_the_old_process(watch: Watch) -> None:
    """A series that the new process creates late counts from zero, not from the old process's mark."""
    watch.read(gen(100, requests=50))
    watch.read(gen(10, identity="2"))
    assert watch.read(gen(12, identity="2", requests=60)) == {
        ("llama", "generation"): 2,
        ("llama", "requests"): 60,
    }


@pytest.mark.parametrize("falls", [1, 2])
def test_a_fall_of_one_or_two_reads_is_a_bad_read(watch: Watch, falls: int) -> None:
    """It counts nothing and keeps the mark: what moved meanwhile arrives afterwards."""
    watch.read(gen(100))
    for _ in range(falls):
        assert watch.read(gen(7)) == {}
    assert watch.generated(gen(130)) == 30
    assert not watch.restarted


def test_a_fall_that_lasts_three_reads_is_a_restart(watch: Watch) -> None:
    """From the third read on everything since zero is counted, also what the first two showed."""
    watch.read(gen(100))
    assert [watch.generated(gen(value)) for value in (5, 9, 14, 20)] == [None, None, 14, 6]


def test_bad_reads_apart_are_not_a_restart(watch: Watch) -> None:
    """Falls count in a row only; a failed read in between says nothing either way."""
    watch.read(gen(100))
    assert [watch.generated(gen(value)) for value in (5, 5, 110, 5, 5)] == [None, None, 10, None, None]
    assert watch.read(down(gen(0))) == {}
    assert watch.generated(gen(6)) == 6


def test_one_series_that_falls_does_not_recount_its_siblings(watch: Watch) -> None:
    """Trap: sum, then clamp. One page speaks for two replicas, and one restarts.

    A goes from 1.00 to 1.10 million, B from 0.90 million over a restart to 0.05 million: 150,000 tokens,
    neither 0 nor A's lifetime again.
    """

    def both(a: float, b: float) -> ServerReading:
        return replace(
            page(),
            counters=(
                CounterReading("a", "llama", "generation", a),
                CounterReading("b", "llama", "generation", b),
            ),
        )

    watch.read(both(1_000_000, 900_000))
    moved = [watch.generated(both(1_000_000 + k, k / 2)) for k in (50_000, 75_000, 100_000)]
    assert moved == [None, None, 150_000]
    assert watch.generated(both(1_110_000, 60_000)) == 20_000


def test_a_fall_suspends_the_whole_page(watch: Watch) -> None:
    """A page with one impossible value is not believed in part: prompts wait with it."""
    watch.read(gen(100, prompt=10))
    assert watch.read(gen(3, prompt=20)) == {}
    assert watch.read(gen(104, prompt=25)) == {("llama", "generation"): 4, ("llama", "prompt"): 15}


def test_a_series_new_to_a_known_process_counts_from_zero(watch: Watch) -> None:
    """Engines create series late: the first completed request is where its counter is first seen."""
    watch.read(gen(100))
    assert watch.read(gen(100, requests=3))["llama", "requests"] == 3


def test_a_series_that_hides_for_a_while_counts_from_its_mark(watch: Watch) -> None:
    """The same process shows it again with the same total: nothing is counted twice."""
    watch.read(gen(100, requests=3))
    watch.read(gen(110))
    assert watch.read(gen(120, requests=5))["llama", "requests"] == 2


def test_what_is_inside_another_counter_is_taken_out(watch: Watch) -> None:
    """Cached tokens inside the prompt counter come out of it: one series feeds two quantities."""

    def reading(prompt: float, cached: float) -> ServerReading:
        return replace(
            page(),
            counters=(
                CounterReading("prompt", "llama", "prompt", prompt),
                CounterReading("hits", "llama", "prompt", cached, -1),
                CounterReading("hits", "llama", "cached_prompt", cached),
            ),
        )

    watch.read(reading(1000, 400))
    assert watch.read(reading(1500, 700)) == {("llama", "prompt"): 200, ("llama", "cached_prompt"): 300}


def test_another_server_at_a_known_address_is_a_baseline_where_nothing_identifies_it(watch: Watch) -> None:
    """Without an identity its tokens may be anybody's."""
    watch.read(gen(100, identity=""))
    assert watch.read(replace(gen(500, identity=""), key=BATCH)) == {}
    assert watch.state is not None
    assert watch.state.key == BATCH
    assert watch.state.watched_since == START + 10 * SECOND
    assert watch.generated(replace(gen(510, identity=""), key=BATCH)) == 10


def test_an_identity_that_vanishes_with_the_name_is_a_baseline(watch: Watch) -> None:
    """Known before and not reported now: it may be another process."""
    watch.read(gen(100))
    assert watch.read(replace(gen(500, identity=""), key=BATCH)) == {}


@pytest.mark.parametrize(("identity", "listener"), [("1", ""), ("", "1:10")])
def test_a_renamed_server_loses_no_tokens(watch: Watch, identity: str, listener: str) -> None:
    """The configuration names it otherwise and the process is the same: its tokens go to the new name."""
    watch.read(replace(gen(100, identity), listener=listener))
    assert watch.read(down(replace(gen(0), key=BATCH))) == {}
    assert watch.generated(replace(gen(130, identity), key=BATCH, listener=listener)) == 30
    assert watch.state is not None
    assert watch.state.key == BATCH


def test_another_process_under_another_name_at_a_known_address_counts_from_zero(watch: Watch) -> None:
    """It cannot have listened there before the old one went."""
    watch.read(gen(100))
    assert watch.generated(replace(gen(130, identity="2"), key=BATCH)) == 130


def test_an_identity_that_is_reported_late_is_not_a_restart(watch: Watch) -> None:
    """Nothing, then something: the process may be the same, so falls decide."""
    watch.read(gen(100, identity=""))
    assert watch.generated(gen(120)) == 20
    assert watch.generated(gen(125, identity="")) == 5
    assert watch.generated(gen(8, identity="2")) == 8


def test_deltas_are_taken_before_they_are_summed(watch: Watch) -> None:
    """Two series of one model add up after each was compared with its own mark."""
    first = (CounterReading("e0", "llama", "generation", 10), CounterReading("e1", "llama", "generation", 90))
    then = (CounterReading("e0", "llama", "generation", 95), CounterReading("e1", "llama", "generation", 92))
    watch.read(replace(page(), counters=first))
    assert watch.generated(replace(page(), counters=then)) == 87


def test_the_key_is_kept_while_it_is_read(watch: Watch) -> None:
    """An endpoint that never answered has no marks and is not read."""
    watch.read(down(page()))
    assert watch.state == EndpointState(CHAT, watched_since=START)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 1e300, 2.0**53 * 2])
def test_what_is_no_count_is_not_read(watch: Watch, value: float) -> None:
    """Pages are hostile until proven otherwise: no such value is a mark, a fall, or a token."""
    watch.read(gen(100, requests=1))
    assert watch.read(gen(value, requests=3)) == {("llama", "requests"): 2}
    assert watch.generated(gen(130, requests=3)) == 30


def born(value: float, started: int) -> ServerReading:
    """A page of the process that started so many seconds after the watch began."""
    return replace(gen(value, identity=str(started)), started=START + started * SECOND)


def test_another_engine_that_ran_before_is_no_restart_of_one_without_an_identity(watch: Watch) -> None:
    """A proxy is pointed from SGLang, whose page has no identity, at a vLLM that has run for a day, and back.

    One that starts after the last answer counts from zero.
    """
    sglang = replace(gen(500, ""), engine="sglang")
    watch.read(sglang)
    series = CounterReading("vllm:generation", "llama", "generation", 8_000_000)
    vllm = replace(gen(0, "b"), engine="vllm", counters=(series,), started=START - 86_400 * SECOND)
    assert watch.generated(vllm) is None
    assert watch.generated(replace(vllm, counters=(replace(series, value=8_000_040.0),))) == 40
    assert watch.generated(replace(gen(520, ""), engine="sglang")) == 20

    watch = Watch()
    watch.read(sglang)
    assert watch.generated(replace(vllm, started=START + 5 * SECOND)) == 8_000_000


def test_processes_that_take_turns_behind_one_address_are_no_restarts(watch: Watch) -> None:
    """Another one is met once as after a move: it sets marks. When the first is back, several are known."""
    reads = [born(1_000, -900), born(5_000, -950), born(1_010, -900), born(1_015, -900), born(5_030, -950)]
    several = []
    for reading in reads:
        assert watch.generated(reading) is None
        several.append(watch.several)
    assert several == [0, 1, 1, 1, 1]
    assert not watch.restarted


def test_a_younger_process_that_ran_when_another_answered_is_no_restart(watch: Watch) -> None:
    """A replica of an hour ago that is met for the first time. A process of this minute is one."""
    for _ in range(7):
        watch.read(born(1_000, -7_200))
    assert watch.generated(born(5_000, -3_600)) is None
    assert watch.generated(born(40, 81)) == 40
    assert watch.restarted


def test_the_clock_of_a_servers_host_may_be_a_minute_behind(watch: Watch) -> None:
    """Its start is reported as ten seconds before the last good read: a restart, once it answers alone."""
    watch.read(born(1_000, -7_200))
    watch.read(born(1_000, -7_200))
    assert [watch.generated(born(30 + read, -50)) for read in range(7)] == [None] * 6 + [36]
    assert watch.restarted


def test_a_clock_that_was_set_back_makes_no_restart_an_old_process(watch: Watch) -> None:
    """The start is reported by the clock as it is now, an hour before the last good read."""
    watch.read(born(1_000, -60))
    assert watch.state is not None
    hour = 3_600 * SECOND
    wall = START + 20 * SECOND - hour
    tick = counters.endpoint_deltas(watch.state, born(30, -3_590), wall, clock_step=-hour)
    assert tick.deltas == {("llama", "generation"): 30}
    assert tick.restarted


def test_a_process_of_unknown_age_is_a_restart_of_the_one_before(watch: Watch) -> None:
    """Where a page reports no start, another identity is the only sign."""
    watch.read(born(1_000, -900))
    assert watch.generated(gen(50, identity="2")) == 50
