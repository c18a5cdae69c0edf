"""What holds for every host: conservation, additivity, order, and a second reckoning in rationals.

The meter checks on each tick that parts sum to the whole and that no total falls.
"""

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from math import gcd
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from exporter.cost.postings import Postings
from tests.cost.checked_meter import CheckedMeter
from tests.cost.exact_model import ExactModel, accrued
from tests.cost.host_strategies import (
    KILOWATT_HOUR,
    TURN,
    HostTimeline,
    StrategyHost,
    durations,
    metered,
    priced,
    starts,
    timelines,
)
from tests.cost.readings import BATCH, CHAT, allocate, down, h100, page
from tests.depth import examples
from tests.kit.units import HOUR, MINUTE, SECOND

PRICE = Fraction(KILOWATT_HOUR.dollars_per_kilowatt_hour) * Fraction("1.35") * Fraction("1.8")


@examples(150)
@given(timelines())
def test_every_dollar_and_second_is_where_the_contract_says(timeline: HostTimeline) -> None:
    """Per GPU and component to the picodollar; per server and phase what a reckoning in rationals gives."""
    meter = metered(timeline)
    reckoned = ExactModel(timeline)
    end = timeline.start + sum(event.duration for event in timeline.events)
    for number in range(timeline.gpus):
        gpu = f"GPU-{number}"
        for component, due in accrued(timeline, number, timeline.start, end).items():
            # one part of a picodollar may stay in the carry at each change of a rate
            assert abs(meter.dollars(uuid=gpu, component=component) - due) <= 1
    posted: Counter[Any] = Counter()
    for (uuid, component, owner, phase), amount in meter.money.items():
        if component != "energy":
            posted[uuid, component, owner.server, phase] += amount
    allocated: Counter[Any] = Counter()
    for (uuid, owner, phase), duration in meter.gpu_time.items():
        allocated[uuid, owner.server, phase] += duration
    for actual, expected in ((posted, reckoned.due), (allocated, reckoned.seconds)):
        whole: Counter[Any] = Counter()
        for key, due in expected.items():
            whole[key[0]] += due
        for key in {*actual, *expected}:
            # shares, busy and phases are rounded to parts of 1e9 each; debts stay within some units
            assert abs(actual[key] - expected.get(key, 0)) <= 3e-9 * float(whole[key[0]]) + 4


@examples(100)
@given(timelines())
def test_energy_is_charged_as_it_is_measured(timeline: HostTimeline) -> None:
    """Joules posted x price = energy dollars of each GPU, within the last millijoule of a cut."""
    meter = metered(timeline)
    for number in range(timeline.gpus):
        joules = Fraction(meter.energy[f"GPU-{number}"], 1000)
        due = joules / 3_600_000 * PRICE * 10**12
        assert abs(meter.dollars(uuid=f"GPU-{number}", component="energy") - due) <= 1


def steady(start: int, dated: int, load: tuple[int, int, int]) -> tuple[CheckedMeter, Any]:
    """A host on which nothing changes: three GPUs, two servers, half busy, a constant power."""
    prompt, generated, watts = load
    meter = CheckedMeter(priced(dated, gap_after=20 * HOUR), start - 2 * SECOND)
    holders = (*allocate(CHAT, 0, 1, share=0.7), *allocate(BATCH, 1, 2))

    def tick(duration: int, times: int = 1) -> None:
        # Cuts may be nanoseconds apart, where one millijoule is any power: all of it is plausible here.
        energy = watts * (meter.elapsed + duration) * 1000 // SECOND
        reported = {"utilization_ratio": 0.375, "energy": energy, "power_limit_watts": 1e12}
        gpus = [h100(number, **reported) for number in range(3)]
        pages = [page(key, prompt=times * prompt, generation=times * generated) for key in (CHAT, BATCH)]
        meter.pass_by(duration, gpus, pages, holders)

    tick(SECOND, 0)
    tick(SECOND)
    return meter, tick


@examples(120)
@given(
    starts,
    st.lists(durations, min_size=2, max_size=5),
    st.integers(0, 4 * HOUR),
    st.tuples(st.integers(0, 1000), st.integers(1, 1000), st.integers(0, 700)),
)
def test_what_is_advanced_in_pieces_is_what_is_advanced_at_once(
    start: int, pieces: list[int], change: int, load: tuple[int, int, int]
) -> None:
    """[a, b] then [b, c] equals [a, c] when nothing changed: exactly per GPU and component.

    Each party is within one picodollar per cut, wherever cuts of our own (minutes, a month, a price) fall.
    """
    weight = load[0] + 3 * load[1]
    # a share on the very border between two parts of 1e9 may fall to either side after a decay in floats
    assume(weight // gcd(weight, load[0]) % 1024 != 0)
    cut, tick = steady(start, start + change, load)
    for piece in pieces:
        tick(piece)
    whole, tick = steady(start, start + change, load)
    tick(sum(pieces))
    assert by_gpu(cut) == by_gpu(whole)
    assert cut.state.accrued == whole.state.accrued
    assert cut.energy == whole.energy
    grain = MINUTE if sum(pieces) <= HOUR else HOUR
    cuts = len(pieces) - 1 + sum(piece // MINUTE + 2 for piece in pieces) * (grain != MINUTE)
    for key in {*cut.money, *whole.money}:
        assert abs(cut.money[key] - whole.money[key]) <= max(1, cuts)
    for key in {*cut.gpu_time, *whole.gpu_time}:
        assert abs(cut.gpu_time[key] - whole.gpu_time[key]) <= max(1, cuts)


def by_gpu(meter: CheckedMeter) -> Counter[Any]:
    """Money by GPU and component."""
    actual: Counter[Any] = Counter()
    for (uuid, component, _, _), amount in meter.money.items():
        actual[uuid, component] += amount
    return actual


def test_a_cut_exactly_where_the_tick_is_cut_anyway() -> None:
    """At a month's end, at a minute, where a price begins: a read there changes no party at all."""
    for change, first in ((HOUR, 20 * SECOND), (HOUR, 80 * SECOND), (35 * SECOND, 35 * SECOND)):
        start = TURN - 20 * SECOND
        cut, tick = steady(start, start + change, (10, 70, 300))
        tick(first)
        tick(200 * SECOND - first)
        whole, tick = steady(start, start + change, (10, 70, 300))
        tick(200 * SECOND)
        by_time = {key: amount for key, amount in cut.money.items() if key[1] != "energy"}
        assert by_time == {key: amount for key, amount in whole.money.items() if key[1] != "energy"}
        assert by_gpu(cut) == by_gpu(whole)


increments = st.tuples(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 10_000))


@examples(150)
@given(
    st.lists(st.tuples(increments, increments, st.booleans(), st.booleans()), min_size=1, max_size=20),
    st.sampled_from(["process-1", ""]),
)
def test_dropped_server_reads_change_when_tokens_arrive_not_how_many(
    ticks: list[tuple[Any, Any, bool, bool]], identity: str
) -> None:
    """Any subset of the reads of two replicas may fail, as long as the last one succeeds."""
    meter = CheckedMeter(priced(0))
    counts = {"http://a": [0, 0, 0], "http://b": [500, 20, 10]}

    def reading(url: str) -> Any:
        prompt, cached, generated = counts[url]
        whole = page(url=url, prompt=prompt, cached_prompt=cached, generation=generated)
        return replace(whole, identity=identity)

    meter.tick(10, [], [reading(url) for url in counts])
    for first, second, one, two in [*ticks, ((0, 0, 0), (0, 0, 0), False, False)]:
        pages = []
        for url, moved, fails in (("http://a", first, one), ("http://b", second, two)):
            counts[url] = [a + b for a, b in zip(counts[url], moved, strict=True)]
            pages.append(down(reading(url)) if fails else reading(url))
        meter.tick(10, [], pages)
    moved = [sum(rows) for rows in zip(*(row for tick in ticks for row in tick[:2]), strict=True)]
    kinds = ("prompt", "cached_prompt", "generation")
    assert [meter.tokens["chat", "llama", kind] for kind in kinds] == moved


@examples(100)
@given(st.lists(st.tuples(st.integers(0, 10_000), st.booleans(), st.booleans()), min_size=1, max_size=20))
def test_dropped_reads_around_restarts_lose_no_token(ticks: list[tuple[int, bool, bool]]) -> None:
    """Any reads may fail between a process's first token and its last read; no count between them is lost.

    Tokens between the last read and the end of a process are known to nobody: the last read succeeds here.
    """
    meter = CheckedMeter(priced(0))
    meter.tick(10, [], [page(generation=0)])
    value, process, total = 0, 0, 0
    for number, (moved, fails, restarts) in enumerate([*ticks, (0, False, False)]):
        value, total = value + moved, total + moved
        last = number == len(ticks) or restarts
        started = meter.wall if process else None
        reported = replace(page(generation=value), identity=f"chat-{process + 1}", started=started)
        meter.tick(10, [], [reported if last or not fails else down(reported)])
        if restarts:
            value, process = 0, process + 1
    assert meter.tokens["chat", "llama", "generation"] == total


@examples(100)
@given(st.lists(st.tuples(st.integers(0, 7000), st.booleans()), min_size=1, max_size=20))
def test_dropped_nvml_reads_change_when_energy_arrives_not_how_much(ticks: list[tuple[int, bool]]) -> None:
    """And not a picodollar or GPU-second of anything else."""
    meters = []
    for drops in (False, True):
        meter = CheckedMeter(priced(TURN))
        joules = 0
        meter.tick(10, [h100(0, energy=0)], [], allocate(CHAT, 0))
        for used, fails in [*ticks, (0, False)]:
            joules += used
            gpu = h100(0, energy=joules * 1000, power_limit_watts=700.0)
            meter.tick(10, None if drops and fails else [gpu], [], allocate(CHAT, 0))
        meters.append(meter)
    read, dropped = meters
    assert dropped.energy == read.energy == {"GPU-0": 1000 * sum(used for used, _ in ticks)}
    assert by_gpu(dropped) == by_gpu(read)
    assert dropped.seconds() == read.seconds() == 10 * len(ticks) + 10


def comparable(postings: Postings) -> Any:
    """Postings without the order of their rows."""
    return (
        [
            (seg.start, seg.end, seg.accrued, Counter(seg.money), Counter(seg.gpu_times))
            for seg in postings.segments
        ],
        Counter(postings.tokens),
        Counter(postings.energy),
        postings.owners,
    )


@examples(80)
@given(timelines(), st.randoms(use_true_random=False))
def test_the_order_of_what_is_read_changes_nothing(timeline: HostTimeline, random: Any) -> None:
    """GPUs, servers, holders and counters in any order post the same, tick by tick."""
    straight, turned = StrategyHost(timeline), StrategyHost(timeline)
    one, other = (CheckedMeter(timeline.policy, timeline.start - SECOND) for _ in range(2))

    def shuffled(rows: Any) -> Any:
        rows = list(rows)
        random.shuffle(rows)
        return rows

    def mixed(servers: Any) -> Any:
        return shuffled(replace(page, counters=tuple(shuffled(page.counters))) for page in servers)

    for event in [None, *timeline.events]:
        gpus, servers = straight.first() if event is None else straight.then(event)
        gpus_again, servers_again = turned.first() if event is None else turned.then(event)
        duration = SECOND if event is None else event.duration
        first = one.pass_by(duration, gpus, servers, timeline.holders)
        again = None if gpus_again is None else shuffled(gpus_again)
        second = other.pass_by(duration, again, mixed(servers_again), shuffled(timeline.holders))
        assert comparable(first.postings) == comparable(second.postings)
