"""One process behind two addresses: its page decides, at whatever port, and nothing is lost if two part."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.config.settings import Config
from exporter.cost.counters import page_values
from exporter.cost.policy import CardinalityLimits
from exporter.cost.server_deltas import collect_deltas
from exporter.cost.state import State
from exporter.readings import CounterReading, FailureReason, Peer, QuickSource, ServerKey, ServerReading
from exporter.sampler.frame_reader import FrameRead, FrameReader
from exporter.sources.same_server import is_one_process
from tests.depth import examples
from tests.kit.clock import START, ManualClock
from tests.kit.units import SECOND
from tests.sampler.sampler_fixture import FakeNvmlSource, inline

PAGE = Sequence[float]
"""Prompts, generated tokens, and seconds of decoding."""


@dataclass(eq=False)
class Endpoint(QuickSource):
    """An address of a process that counts."""

    key: ServerKey
    url: str
    counts: list[float]
    started: int | None = START - 3_600 * SECOND
    listener: str = ""

    @property
    def name(self) -> str:
        return f"server:{self.key.server}"

    def read(self) -> ServerReading:
        quantities = ("prompt", "generation", "decode_request_seconds")
        counters = tuple(
            CounterReading(name, "m", name, value)  # type: ignore[arg-type]
            for name, value in zip(quantities, self.counts, strict=True)
        )
        identity = "" if self.started is None else f"started {self.started}"
        return ServerReading(
            self.key,
            self.url,
            up=True,
            engine="vllm",
            identity=identity,
            started=self.started,
            listener=self.listener,
            counters=counters,
            models=("m",),
            peer=Peer("127.0.0.1", int(self.url[-12:-8]), True),
        )


class Daemon:
    """Reads endpoints every ten seconds. `tokens` is what counted, by server and kind."""

    def __init__(self, *endpoints: Endpoint) -> None:
        self.endpoints = endpoints
        self.tokens: Counter[tuple[str, str]] = Counter()
        self.state = State()
        self._clock = ManualClock()
        self.restart()

    def restart(self) -> None:
        """Only the state stays."""
        self._reader = FrameReader(self._clock, inline(self._clock), (FakeNvmlSource(),))

    def tick(self) -> FrameRead:
        self._clock.now += 10 * SECOND
        read = self._reader.read(Config(), self.endpoints, None, remembered=self.state)
        deltas = collect_deltas(self.state, read.frame, CardinalityLimits())
        self.state = replace(self.state, endpoints=deltas.endpoints)
        for server in deltas.servers:
            for model in server.models.values():
                for kind, count in model.tokens.items():
                    self.tokens[server.key.server, kind] += count
        return read

    @property
    def total(self) -> tuple[int, int]:
        """Prompts and generated tokens of all servers."""
        kinds = ("prompt", "generation")
        sums = [sum(count for (_, of), count in self.tokens.items() if of == kind) for kind in kinds]
        return sums[0], sums[1]


def pair(counts: list[float], others: list[float] | None = None) -> tuple[Endpoint, Endpoint]:
    """The engine's own address, and a proxy's; of one process unless it has counts of its own."""
    engine = Endpoint(ServerKey("", "engine"), "http://127.0.0.1:8000/metrics", counts)
    sidecar = ServerKey("", "sidecar"), "http://127.0.0.1:9088/metrics"
    return engine, Endpoint(*sidecar, counts if others is None else others)


def add(counts: list[float], prompt: float, generation: float) -> None:
    """Serve some tokens, of which each takes 0.01 s."""
    counts[0] += prompt
    counts[1] += generation
    counts[2] += 0.01 * generation


@pytest.mark.parametrize("started", [START - 3_600 * SECOND, None])
def test_a_page_at_two_ports_is_counted_once(started: int | None) -> None:
    """300 prompts and 250 generated tokens, as `engine` on one GPU and `sidecar` on another: 600 and 500."""
    counts = [1_000.0, 500.0, 5.0]
    engine, sidecar = pair(counts)
    engine.started = sidecar.started = started
    daemon = Daemon(engine, sidecar)
    for served in ((0, 0), (100, 50), (0, 0), (200, 200)):
        add(counts, *served)
        read = daemon.tick()
    assert daemon.total == (300, 250)
    assert [reading.up for reading in read.frame.servers] == [True, False]
    assert read.servers[1].health.reason == FailureReason.COUNTED_TWICE
    assert read.servers[1].problem == (
        "http://127.0.0.1:9088/metrics: the server that http://127.0.0.1:8000/metrics reads, "
        "by another address: remove one of the two"
    )


def test_a_pair_lasts_over_a_restart_of_the_daemon() -> None:
    """Under load its two reads differ, and the ledger knows the pair."""
    counts, later = [1_000.0, 500.0, 5.0], [1_000.0, 500.0, 5.0]
    daemon = Daemon(*pair(counts, later))
    for number in range(6):
        add(counts, 10, 10)
        later[:] = [counts[0] + 3, counts[1] + 3, counts[2] + 0.03]
        if number == 3:
            daemon.restart()
        daemon.tick()
    # The first tick sets the marks of both, and the second finds them.
    assert daemon.tokens == {("engine", "prompt"): 50, ("engine", "generation"): 50}


def test_the_proxy_goes_on_where_the_engines_address_stopped() -> None:
    """The first entry is taken out: no token of the process is lost or counted again."""
    counts = [1_000.0, 500.0, 5.0]
    engine, sidecar = pair(counts)
    daemon = Daemon(engine, sidecar)
    for number in range(6):
        add(counts, 10, 7)
        if number == 3:
            daemon.endpoints = (sidecar,)
        daemon.tick()
    assert daemon.total == (50, 35)


def test_two_replicas_that_start_together_idle_take_turns_and_part_are_exact() -> None:
    """Their starts are 5 ms apart. Idle nothing is decided; in turns they look like one; then they part."""
    one, other = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    engine, sidecar = pair(one, other)
    sidecar.started = START - 3_600 * SECOND + 5_000_000
    daemon = Daemon(engine, sidecar)
    for _ in range(3):
        read = daemon.tick()
    assert [reading.up for reading in read.frame.servers] == [True, True]
    for _ in range(4):
        add(one, 10, 10)
        daemon.tick()
        add(other, 10, 10)
        read = daemon.tick()
    assert [reading.up for reading in read.frame.servers] == [True, False]
    for _ in range(3):
        add(one, 50, 3)
        read = daemon.tick()
    assert [reading.up for reading in read.frame.servers] == [True, True]
    assert daemon.tokens == {
        ("engine", "prompt"): 40 + 150,
        ("engine", "generation"): 40 + 9,
        ("sidecar", "prompt"): 40,
        ("sidecar", "generation"): 40,
    }


def test_a_replica_that_serves_alone_parts_from_one_that_rests() -> None:
    """Both began at once and had one token each. What the second serves by itself is counted whole."""
    one, other = [1.0, 1.0, 0.01], [1.0, 1.0, 0.01]
    daemon = Daemon(*pair(one, other))
    daemon.tick()
    for tokens in (5, 200, 200):
        add(other, tokens, tokens)
        daemon.tick()
    assert daemon.total == (405, 405)


TURNS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 200), st.booleans()), max_size=30)


@examples(200)
@given(
    TURNS, st.sampled_from([0, 5_000_000, -5_000_000]), st.integers(0, 300), st.none() | st.integers(0, 300)
)
def test_two_processes_are_exact_however_alike_they_were(
    turns: Sequence[tuple[int, int, bool]], apart: int, one: int, other: int | None
) -> None:
    """Whatever looked like one for a while: once both pages are unlike for good, all of both is counted."""
    counts = [
        [float(tokens), float(tokens), tokens * 0.01] for tokens in (one, one if other is None else other)
    ]
    engine, sidecar = pair(*counts)
    sidecar.started = START - 3_600 * SECOND + apart
    daemon = Daemon(engine, sidecar)
    daemon.tick()
    served = [0, 0]
    unlike = [(0, 1_000, False), (0, 5, False), (0, 5, False)]
    for number, tokens, restarts in [*turns, *unlike]:
        if restarts:
            daemon.restart()
        add(counts[number], tokens, tokens)
        served[number] += tokens
        daemon.tick()
    assert daemon.total == (sum(served), sum(served))


ANSWERS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 200), st.booleans()),
    max_size=30,
)


@examples(200)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=4), ANSWERS)
# One that started anew, seen at both URLs and then at one, beside another process.
@example([280, 299], [(0, 0, 0, 77, True), (3, 2, 0, 200, False), (0, 2, 3, 48, False)])
# The marks of a URL are of the process that it answered with last, and its page is another's.
@example(
    [8, 206],
    [
        *[(2, 0, 0, 42, True), (2, 1, 1, 67, True), (0, 2, 1, 43, False), (2, 1, 2, 197, True)],
        *[(0, 2, 2, 30, False), (1, 2, 1, 128, False), (0, 0, 2, 90, True)],
    ],
)
# One that started anew, seen at one URL, and at the other one in the next tick.
@example([60, 255], [(1, 0, 2, 175, True), (2, 1, 3, 133, True), (1, 0, 3, 91, False)])
# Both URLs answer with the second for a while, and then the first one with the first again.
@example([3, 300], [(1, 1, 1, 178, False), (1, 1, 1, 163, False), (0, 1, 0, 45, False)])
def test_four_processes_at_two_urls_count_no_token_twice(
    first: Sequence[int], ticks: Sequence[tuple[int, int, int, int, bool]]
) -> None:
    """Whichever of them answers at each URL, and whichever starts anew: at most what they served."""
    processes = [
        Endpoint(ServerKey("", ""), "", [float(tokens), float(tokens), tokens * 0.01], started)
        for tokens, started in zip(first, range(START - 3_600 * SECOND, START, SECOND), strict=False)
    ]
    urls = pair([0.0, 0.0, 0.0])
    daemon = Daemon(*urls)
    served = 0
    for number, (one, other, serving, tokens, restarts) in enumerate([(0, 1, 0, 0, False), *ticks]):
        process = processes[serving % len(processes)]
        if restarts:
            process.counts[:] = [0.0, 0.0, 0.0]
            process.started = START + (10 * number + 5) * SECOND
        add(process.counts, tokens, tokens)
        served += tokens
        for url, answering in zip(urls, (one, other), strict=True):
            url.counts = processes[answering % len(processes)].counts
            url.started = processes[answering % len(processes)].started
        daemon.tick()
        assert max(daemon.total) <= served


BASE = Endpoint(ServerKey("", "a"), "http://127.0.0.1:8000/metrics", [10.0, 20.0, 3.0])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"started": START - 3_600 * SECOND + 10_000_000}, True),
        ({"started": START - 3_600 * SECOND + 10_000_001}, False),
        ({"started": None}, False),
        ({"counts": [11.0, 20.0, 3.0]}, False),
        ({"counts": [10.0, 20.0, 3.5]}, False),
        ({"counts": [0.0, 0.0, 0.0]}, None),
        ({"listener": "2:1"}, False),
        ({"listener": "1:1"}, True),
    ],
)
def test_what_makes_two_pages_those_of_one_process(changes: dict[str, object], expected: bool | None) -> None:  # noqa: FBT001 - a parameter
    """Equal starts to a hundredth of a second, equal counts, and never two processes that hold GPUs."""
    one = replace(BASE, listener="1:1").read()
    other = replace(BASE, url="http://127.0.0.1:9088/metrics", **changes).read()  # type: ignore[arg-type]
    assert is_one_process(one, other, {}) is expected


def test_counts_without_a_sum_of_seconds_tell_nothing() -> None:
    """Two processes may serve the same tokens, and never in the same time."""
    one = replace(BASE, counts=[10.0, 20.0, 0.0]).read()
    other = replace(BASE, url="http://127.0.0.1:9088/metrics", counts=[10.0, 20.0, 0.0]).read()
    assert is_one_process(one, other, {}) is False


def test_counts_agree_within_what_moved_between_two_reads() -> None:
    """5 more at the second read, where the process served 8 since the last tick; 9 are another process's."""
    before = {BASE.url: page_values(BASE.read())}
    one = replace(BASE, counts=[18.0, 28.0, 3.8]).read()
    near = replace(BASE, url="http://127.0.0.1:9088/metrics", counts=[23.0, 33.0, 4.3]).read()
    far = replace(BASE, url="http://127.0.0.1:9088/metrics", counts=[27.0, 28.0, 3.8]).read()
    assert is_one_process(one, near, before) is True
    assert is_one_process(one, far, before) is False
