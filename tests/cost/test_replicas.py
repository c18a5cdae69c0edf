"""Several processes behind one URL: no token comes from nothing, and a restart loses as few as it can."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.cost.counters import endpoint_deltas, gateway_deltas
from exporter.cost.page_marks import CONFIRMED_AFTER, CONFIRMED_AFTER_READS, RISE_MIN, SEVERAL_FOR
from exporter.cost.state import EndpointState, GatewayState
from exporter.readings import (
    GatewayCounter,
    GatewayReading,
    LatencyReading,
    ServerReading,
    ServiceLevel,
)
from tests.cost.readings import START, page
from tests.depth import examples
from tests.kit.units import HOUR, MINUTE, SECOND

TEN = 10 * SECOND
GENERATED = ("llama", "generation")


@dataclass
class Process:
    """A server's process with one counter of tokens."""

    name: str
    tokens: int
    started: int | None = None
    """By its page; `None` for a page without a start."""
    ended: int = 0
    """Processes that it followed."""

    @property
    def identity(self) -> str:
        """By its page."""
        return "" if self.started is None else f"{self.name}.{self.ended}"

    def restart(self, at: int) -> None:
        """End, and start anew at a moment."""
        self.tokens, self.ended = 0, self.ended + 1
        self.started = None if self.started is None else at


@dataclass
class Url:
    """One URL, read every ten seconds unless a test says otherwise. `counted` is the sum of its tokens."""

    state: EndpointState | None = None
    wall: int = START
    counted: float = 0.0
    several: list[int] = field(default_factory=list)
    """The moments at which it was said that several processes answer."""

    def read(
        self, answers: Process, *, after: int = TEN, step: int = 0, fell: int = 0, listener: str = ""
    ) -> float | None:
        """What one read counts; `None` where nothing is decided."""
        self.wall += after + step
        tokens = max(0, answers.tokens - fell)
        reading = replace(
            page(generation=tokens), identity=answers.identity, started=answers.started, listener=listener
        )
        tick = endpoint_deltas(self.state, reading, self.wall, step)
        self.state = tick.state
        if tick.several:
            self.several.append(self.wall)
        delta = tick.deltas.get(GENERATED)
        self.counted += delta or 0.0
        return delta


def test_two_replicas_of_which_one_is_a_million_ahead_count_nothing() -> None:
    """Both rest. The page of the second waits, and when the first is back for the second time it is said."""
    a, b, url = Process("a", 1_000), Process("b", 1_001_000), Url()
    reads = [url.read(process) for process in (a, b, a, b, a, b)]
    assert reads == [None, None, 0, None, None, None]
    assert (url.counted, len(url.several)) == (0, 2)


def test_two_replicas_a_little_apart_count_their_difference_once() -> None:
    """The 50 tokens by which the second is ahead look like 50 that were served; they are added once."""
    a, b, url = Process("a", 1_000), Process("b", 1_050), Url()
    reads = [url.read(process) for process in (a, b, a, b, a, b, a)]
    assert reads == [None, 50, None, 0, None, None, None]
    assert (url.counted, len(url.several)) == (50, 2)


@pytest.mark.parametrize("started", [None, START - HOUR])
def test_nothing_is_counted_for_a_day(started: int | None) -> None:
    """Then the page sets marks, and counts again if one process answers from then on."""
    a, b, url = Process("a", 1_000, started), Process("b", 9_000_000, started and started - 1), Url()
    for process in (a, b, a, b, a):
        url.read(process)
    assert url.state is not None
    assert url.state.marks.answers_of_several(url.wall)
    until = url.state.marks.several_until
    assert until is not None
    assert url.wall - 4 * TEN + SEVERAL_FOR <= until <= url.wall + SEVERAL_FOR
    a.tokens += 500
    assert url.read(a, after=until - url.wall - 1) is None
    assert url.read(a, after=1) is None
    assert not url.state.marks.answers_of_several(until)
    a.tokens += 7
    assert url.read(a) == 7


def test_an_identity_that_comes_back_shows_several_at_once() -> None:
    """The second is met as after a move, and sets marks. No restart brings an earlier process back."""
    a, b, url = Process("a", 1_000, START - HOUR), Process("b", 9_000_000, START - 2 * HOUR), Url()
    reads = [url.read(process) for process in (a, b, b, a, b)]
    assert reads == [None, None, 0, None, None]
    assert url.several == [START + 20 * SECOND, START + 40 * SECOND, START + 50 * SECOND]


@pytest.mark.parametrize("back_first", [True, False])
def test_an_identity_without_a_start_waits(back_first: bool) -> None:  # noqa: FBT001 - a parameter
    """llama.cpp's header says which process it is, and not since when: a restart, or another replica."""
    url = Url()

    def read(identity: str, tokens: float) -> float | None:
        url.wall += TEN
        reading = replace(page(generation=tokens), identity=identity)
        tick = endpoint_deltas(url.state, reading, url.wall)
        url.state = tick.state
        url.several += [url.wall] if tick.several else []
        return tick.deltas.get(GENERATED)

    read("a", 1_000)
    if back_first:
        assert [read("b", 5_000), read("a", 1_000)] == [None, None]
        assert len(url.several) == 1
    else:
        assert [read("b", 5_000 + number) for number in range(8)] == [None] * 6 + [5_006, 1]
        assert url.several == []


def test_a_restart_with_load_at_once_loses_nothing() -> None:
    """1,000 before; the new process has 700 after a minute. What it counted since 0 is added then."""
    a, url = Process("a", 1_000), Url()
    url.read(a)
    a.restart(url.wall)
    reads = []
    for _ in range(8):
        a.tokens += 100
        reads.append(url.read(a))
    assert reads == [None] * 6 + [700, 100]


def test_a_restart_that_passes_its_old_mark_within_the_minute_loses_what_it_counted_up_to_it() -> None:
    """150 before; the new process passes it with 200. Nothing tells its 150 from those of before."""
    a, url = Process("a", 150), Url()
    url.read(a)
    a.restart(url.wall)
    reads = []
    for _ in range(4):
        a.tokens += 100
        reads.append(url.read(a))
    assert reads == [None, 50, 100, 100]
    assert url.several == []


def test_another_process_that_listens_restarts_at_once() -> None:
    """Found on this host: its page has no start, and the one before ended when the new one took the port."""
    a, url = Process("a", 1_000), Url()
    url.read(a, listener="1:10")
    a.tokens = 40
    assert url.read(a, listener="2:90") == 40
    a.tokens = 5_000
    assert url.read(a, listener="2:90") == 4_960


@pytest.mark.parametrize(("early", "counted"), [(SECOND, 40), (SECOND + 1, None)])
def test_a_start_of_whole_seconds_may_be_before_the_last_answer(early: int, counted: int | None) -> None:
    """The kernel tells its boot in whole seconds: a start may be said up to one too early."""
    a, url = Process("a", 1_000, START - HOUR), Url()
    url.read(a)
    a.restart(url.wall - early)
    a.tokens = 40
    assert url.read(a) == counted


def test_a_proxy_that_restarts_is_no_restart_of_its_server() -> None:
    """The page goes on above its marks."""
    a, url = Process("a", 1_000), Url()
    url.read(a, listener="1:10")
    a.tokens = 1_007
    assert url.read(a, listener="2:90") == 7


def test_a_burst_waits_for_a_minute_and_counts_then() -> None:
    """Idle for an hour, then 300,000 tokens in ten seconds, as a replica that is ahead would look."""
    a, url = Process("a", 1_000), Url()
    url.read(a)
    reads = []
    for _ in range(8):
        a.tokens += 300_000
        reads.append(url.read(a))
    assert reads == [None] * 6 + [2_100_000, 300_000]
    assert url.several == []


@pytest.mark.parametrize(("rise", "waits"), [(RISE_MIN, False), (RISE_MIN + 1, True)])
def test_a_small_rise_never_waits(rise: int, waits: bool) -> None:  # noqa: FBT001 - a parameter
    """Up to 100,000 tokens between two reads."""
    a, url = Process("a", 1_000), Url()
    url.read(a)
    a.tokens += rise
    assert url.read(a) == (None if waits else rise)


@pytest.mark.parametrize(("rise", "waits"), [(200_000, False), (200_001, True)])
@pytest.mark.parametrize(("later", "counts"), [(50 * MINUTE, True), (61 * MINUTE, False)])
def test_ten_times_the_largest_rise_of_the_last_hour_never_waits(
    rise: int,
    waits: bool,  # noqa: FBT001 - a parameter
    later: int,
    counts: bool,  # noqa: FBT001 - a parameter
) -> None:
    """A server that served 20,000 in ten seconds may serve 200,000; an hour later it is not known to."""
    a, url = Process("a", 0), Url()
    url.read(a)
    a.tokens += 20_000
    url.read(a)
    url.read(a, after=later)
    a.tokens += rise
    assert url.read(a) == (rise if counts and not waits else None)


def test_marks_that_were_taken_for_an_ended_process_are_reached_with_care() -> None:
    """The second answers alone for a minute, as a restart does. Then the first is back, with its 1,000."""
    a, b, url = Process("a", 1_000), Process("b", 500), Url()
    url.read(a)
    for _ in range(7):
        url.read(b)
    assert url.counted == 500
    assert [url.read(process) for process in (a, b, a, b)] == [None, 0, None, None]
    assert (url.counted, len(url.several)) == (500, 1)


@pytest.mark.parametrize("started", [None, START - HOUR])
@pytest.mark.parametrize("step", [HOUR, -HOUR])
@pytest.mark.parametrize("follows", [True, False])
def test_a_clock_that_is_stepped_by_an_hour_is_no_restart(
    started: int | None,
    step: int,
    follows: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Some pages keep the start that they had, and some compute it from the clock as it is now."""
    a, url = Process("a", 5_000_000, started), Url()
    url.read(a)
    a.tokens += 7
    assert url.read(a) == 7
    if started is not None and follows:
        a.started, a.ended = started + step, 1  # another identity
    assert url.read(a, step=step) == 0
    a.tokens += 3
    assert url.read(a) == 3
    assert url.several == []


def test_two_that_take_turns_below_a_third_are_several() -> None:
    """The third never comes back. One that ends again and again falls to zero, and is no such pair."""
    a, b, c, url = Process("a", 500), Process("b", 600), Process("c", 1_000), Url()
    assert [url.read(process) for process in (c, a, b, a, b, a)] == [None] * 6
    assert len(url.several) == 1

    process, url = Process("p", 1_000), Url()
    url.read(process)
    for tokens in (40, 30, 20, 10):
        process.tokens = tokens
        url.read(process)
    assert url.several == []


def test_a_stepped_clock_ends_no_wait() -> None:
    """A minute of the wall clock that did not pass is none."""
    a, b, url = Process("a", 1_000), Process("b", 500), Url()
    url.read(a)
    reads = [url.read(b), url.read(b), url.read(b, step=HOUR), url.read(b), url.read(a)]
    assert reads == [None, None, None, None, 0]


def test_a_clock_that_is_set_right_makes_no_replica_of_a_restarted_process() -> None:
    """A server restarts while the clock is a day late, and its page keeps its start by that clock."""
    server, url = Process("server", 5_000, started=START - HOUR), Url()
    url.read(server)
    server.restart(url.wall + SECOND)
    server.tokens = 400
    reads = [url.read(server, step=24 * HOUR), *(url.read(server, after=MINUTE) for _ in range(2))]
    assert reads == [None, None, 400]
    assert not url.several


def test_observations_of_a_replica_are_its_own() -> None:
    """Histograms stand on the page whose tokens decide: 400 requests of another process are none of it."""
    slo = ServiceLevel(first_token_seconds=0.75)

    def reading(tokens: float, total: float) -> ServerReading:
        latency = LatencyReading("ttft", "llama", "first_token", "requests", 0.5, 1, total, total, total)
        return replace(page(generation=tokens), identity="", slo=slo, latencies=(latency,))

    state, counts = None, []
    for number, (tokens, total) in enumerate([(1_000, 10), (1_010, 12), (500, 410), (1_010, 12)]):
        tick = endpoint_deltas(state, reading(tokens, total), START + number * TEN)
        state = tick.state
        counts.append([count.total for count in tick.latencies.values()])
    assert counts == [[0], [2], [], [0]]


def test_a_gateway_of_two_replicas_counts_nothing() -> None:
    """The same for who divides: the shares of before go on."""
    url = "http://gateway"
    states: dict[str, GatewayState] = {}
    rows, several = [], []
    for number, tokens in enumerate([1_000, 3_000_000, 1_000, 3_000_000, 1_000]):
        counter = GatewayCounter("tokens", "llama", "", "Search", "generation", tokens)
        reading = GatewayReading(url, up=True, counters=(counter,))
        states, ticks = gateway_deltas(states, [reading], START + number * TEN)
        rows.append(ticks[url].counts)
        several.append(ticks[url].several)
    assert rows == [(), None, (), None, None]
    assert several == [0, 0, 0, 0, 1]


# Any interleaving

STEPS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["serve", "serve", "serve", "burst", "restart", "fall", "step"]),
        st.integers(0, 400),
    ),
    max_size=60,
)
TOKENS = st.lists(st.sampled_from([0, 10, 500, 90_000, 3_000_000, 10**9]), min_size=1, max_size=4)


@dataclass
class Oracle:
    """What may count at most: all that was served since the first read, and what no page tells from that.

    Without a start these are the rise at which a further process is first counted, and what a process
    counted that answered alone for three reads and a minute, as one does that was restarted.
    """

    served: float = 0.0
    unknown: float = 0.0
    counted_before: set[tuple[str, int]] = field(default_factory=set)
    alone: tuple[str, int] = ("", 0)
    since: int = 0
    reads: int = 0

    def note(self, process: Process, elapsed: int, delta: float | None, *, fell: bool = False) -> None:
        """Take in one read."""
        who = process.name, process.ended
        if who != self.alone:
            self.alone, self.since, self.reads = who, elapsed, 0
        self.reads += 1
        if delta is None:
            return
        confirmed = self.reads >= CONFIRMED_AFTER_READS and elapsed - self.since >= CONFIRMED_AFTER
        if process.started is None and (confirmed or who not in self.counted_before):
            self.unknown += delta
        if not fell:  # a page below its own counts is not the one at which it is first counted whole
            self.counted_before.add(who)


@examples(300)
@given(TOKENS, STEPS, st.booleans())
@example([0, 10], [(0, "serve", 0)] + [(1, "serve", 0)] * 7 + [(0, "serve", 0), (1, "serve", 5)] * 3, False)
@example([500, 0], [(0, "serve", 0), (1, "serve", 400), (1, "serve", 400), (0, "serve", 0)] * 5, False)
def test_no_interleaving_counts_more_than_was_served(
    tokens: Sequence[int],
    steps: Sequence[tuple[int, str, int]],
    started: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Of 1 to 4 processes that serve, burst, restart, fall for a read, while the clock is stepped."""
    processes = [
        Process(f"p{number}", count, START - HOUR - number * SECOND if started else None)
        for number, count in enumerate(tokens)
    ]
    url, oracle, elapsed = Url(), Oracle(), 0
    url.read(processes[0])
    oracle.note(processes[0], elapsed, 0.0)
    before = ""
    for number, drawn, amount in steps:
        process = processes[number % len(processes)]
        # Three falls in a row are a restart, and the first page of a process is believed.
        known = (process.name, process.ended) in oracle.counted_before
        what = "serve" if drawn == "fall" and (before == "fall" or not known) else drawn
        before = what
        if what == "restart":
            process.restart(url.wall + SECOND)
        served = amount * 1_000 if what == "burst" else amount
        process.tokens += served
        oracle.served += served
        step = HOUR if what == "step" else 0
        elapsed += TEN
        delta = url.read(process, step=step, fell=300 if what == "fall" else 0)
        oracle.note(process, elapsed, delta, fell=what == "fall")
        assert url.counted <= oracle.served + oracle.unknown


@examples(200)
@given(st.lists(st.tuples(st.sampled_from(["serve", "restart", "fall"]), st.integers(0, 9**6)), max_size=30))
def test_alone_and_with_a_start_all_is_counted(steps: Sequence[tuple[str, int]]) -> None:
    """Whatever falls for a read, and however often it starts anew: what was served, to the token."""
    process, url, served = Process("p", 77, START - HOUR), Url(), 0
    url.read(process)
    for what, amount in steps:
        if what == "restart":
            process.restart(url.wall + SECOND)
        process.tokens += amount
        served += amount
        if what == "fall":
            url.read(process, fell=amount + 1)
        url.read(process)
    assert (url.counted, url.several) == (served, [])


@examples(200)
@given(
    st.integers(0, 10**6),
    st.lists(st.integers(0, 10**6), max_size=10),
    st.lists(st.integers(0, 10**6), min_size=10, max_size=20),
)
def test_a_restart_without_a_start_loses_at_most_its_old_mark(
    first: int, before: Sequence[int], after: Sequence[int]
) -> None:
    """Nothing where it stays below it for a minute; and never more than was served."""
    process, url = Process("p", first), Url()
    url.read(process)
    for amount in before:
        process.tokens += amount
        url.read(process)
    for _ in range(6):  # a burst is believed
        url.read(process)
    assert url.counted == sum(before)
    mark = process.tokens
    process.restart(url.wall)
    tokens_of_minute = sum(after[:7])
    for amount in after:
        process.tokens += amount
        url.read(process)
    for _ in range(6):
        url.read(process)
    # A first page with as much as the old process had is one that went on.
    lost = sum(before) + sum(after) - url.counted
    assert lost == (mark if tokens_of_minute >= mark else 0)


@examples(100)
@given(st.lists(st.integers(0, 3), min_size=60, max_size=60), st.booleans(), st.sampled_from([1, 5, 10**6]))
def test_several_processes_are_said_within_ten_minutes(
    order: Sequence[int],
    started: bool,  # noqa: FBT001 - a parameter
    apart: int,
) -> None:
    """Behind a balancer that gives none of four a minute of its own."""
    processes = [
        Process(f"p{number}", 1_000 + number * apart, START - HOUR - number if started else None)
        for number in range(4)
    ]
    url, last, run = Url(), -1, 0
    for number in order:
        run = run + 1 if number == last else 1
        last = (number + 1) % 4 if run > 3 else number
        run = 1 if run > 3 else run
        url.read(processes[last])
    assert url.several
    assert url.several[0] <= START + 10 * MINUTE
