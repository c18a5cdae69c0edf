"""What servers add to the ledger: tokens per model, replicas, limits, and how money divides over models."""

from dataclasses import replace

import pytest

from exporter.cost.advance import advance
from exporter.cost.money import WHOLE
from exporter.cost.policy import CardinalityLimits, OwnershipRule
from exporter.cost.postings import CostOwner
from exporter.cost.servers import ServerActivity
from exporter.readings import CounterReading, Frame, LoadReading, Occupancy, ServerKey, ServerReading
from tests.cost.checked_meter import CheckedMeter
from tests.cost.readings import BATCH, CHAT, START, allocate, cost_policy, down, h100, page, rent
from tests.kit.units import SECOND


@pytest.fixture
def meter() -> CheckedMeter:
    return CheckedMeter(cost_policy(rent(1)))


def activity_of(meter: CheckedMeter, key: ServerKey = CHAT) -> ServerActivity:
    assert meter.outcome is not None
    return meter.outcome.activity[key]


def models(**generated: float) -> ServerReading:
    """One page that serves several models."""
    counters = tuple(
        CounterReading(f"g/{name}", name, "generation", value) for name, value in generated.items()
    )
    return replace(page(), counters=counters, models=tuple(generated), loads=())


def test_tokens_and_requests_by_model(meter: CheckedMeter) -> None:
    """Deltas of each kind reach the party of the server and model."""
    meter.tick(10, [], [page(prompt=100, generation=50, requests=2)])
    meter.tick(10, [], [page(prompt=160, cached_prompt=30, generation=57, requests=5)])
    assert meter.tokens == {
        ("chat", "llama", "prompt"): 60,
        ("chat", "llama", "cached_prompt"): 30,
        ("chat", "llama", "generation"): 7,
    }
    assert meter.requests == {("chat", "llama"): 3}


def test_counters_that_a_server_lacks_are_not_posted_as_zero(meter: CheckedMeter) -> None:
    """A kind that the engine does not tell has no row; one that stands still has a row of 0."""
    meter.tick(10, [], [page(generation=50)])
    outcome = meter.tick(10, [], [page(generation=50)])
    assert [(row.kind, row.count) for row in outcome.postings.tokens] == [("generation", 0)]
    assert outcome.postings.requests == ()


def test_requests_that_stand_still_are_a_row_of_zero(meter: CheckedMeter) -> None:
    """Nothing finished is nothing, in every tick of it; a fraction is rounded once."""
    for requests in (2, 2, 2, 3):
        meter.tick(10, [], [page(requests=requests)])
    assert meter.requests == {("chat", "llama"): 1}
    outcome = meter.tick(10, [], [page(requests=3)])
    assert [row.count for row in outcome.postings.requests] == [0]


def preempted(count: float, url: str = "http://chat-0", identity: str = "1") -> ServerReading:
    """A page with a counter of preemptions."""
    counter = CounterReading("preempted", "llama", "preemptions", count)
    started = START + 10 * SECOND if identity == "2" else None
    return replace(page(url=url), counters=(counter,), identity=identity, started=started)


def test_preemptions_count_from_each_replicas_own_mark(meter: CheckedMeter) -> None:
    """4 more of one, and 2 since the other was restarted: 6. A sum of both counters would have fallen."""
    meter.tick(10, [], [preempted(5, "http://a"), preempted(90, "http://b")])
    outcome = meter.tick(10, [], [preempted(9, "http://a"), preempted(2, "http://b", "2")])
    assert [(row.owner.server, row.owner.model, row.count) for row in outcome.postings.preemptions] == [
        ("chat", "llama", 6)
    ]
    assert outcome.postings.requests == ()


def test_preemptions_that_an_engine_lacks_are_not_posted_as_zero(meter: CheckedMeter) -> None:
    """No counter, no row; one that stands still is a row of 0."""
    meter.tick(10, [], [page(requests=1)])
    assert meter.tick(10, [], [page(requests=2)]).postings.preemptions == ()
    meter.tick(10, [], [preempted(3)])
    assert [row.count for row in meter.tick(10, [], [preempted(3)]).postings.preemptions] == [0]


def test_replicas_of_one_server_add_up(meter: CheckedMeter) -> None:
    """Two endpoints of one key: deltas of each, then the sum. Trap: the last replica overwrites the first."""

    def both(a: float, b: float) -> list[ServerReading]:
        return [
            page(url="http://a", generation=a, running=2.0),
            page(url="http://b", generation=b, running=3.0),
        ]

    meter.tick(10, [], both(100, 1000))
    meter.tick(10, [], both(107, 1011))
    assert meter.tokens["chat", "llama", "generation"] == 18
    assert activity_of(meter).loads == (LoadReading("llama", 5.0, None),)


def test_one_replica_that_restarts_keeps_its_siblings_tokens(meter: CheckedMeter) -> None:
    """Trap: sum, then clamp. 1.00 to 1.10 million, and 0.90 million over a restart to 0.05 million."""
    started = {"2": START + 10 * SECOND}

    def both(a: float, b: float, process: str) -> list[ServerReading]:
        return [
            page(url="http://a", generation=a),
            replace(page(url="http://b", generation=b), identity=process, started=started.get(process)),
        ]

    meter.tick(10, [], both(1_000_000, 900_000, "1"))
    meter.tick(10, [], both(1_100_000, 50_000, "2"))
    assert meter.tokens["chat", "llama", "generation"] == 150_000


def test_waiting_requests_are_reported(meter: CheckedMeter) -> None:
    """Loads of replicas are summed; what neither reports stays unknown."""
    loads = (LoadReading("llama", None, 4.0),)
    meter.tick(10, [], [replace(page(), loads=loads), replace(page(url="http://b"), loads=loads)])
    assert activity_of(meter).loads == (LoadReading("llama", None, 8.0),)


def loaded(url: str) -> ServerReading:
    """A replica at a quarter of its sequences and half of its cache."""
    loads = (LoadReading("llama", 16.0, max_running=64.0, kv_cache=Occupancy(0.5, 1.0)),)
    return replace(page(url=url), loads=loads)


@pytest.mark.parametrize(
    "silent",
    [down(page(url="http://b")), replace(page(url="http://b"), loads=())],
    ids=["down", "not-read"],
)
def test_a_replica_that_does_not_tell_its_load(meter: CheckedMeter, silent: ServerReading) -> None:
    """Its GPUs may be full: what the other one has left is not what both have."""
    meter.tick(10, [], [loaded("http://a"), loaded("http://b")])
    assert activity_of(meter).loads == (
        LoadReading("llama", 32.0, max_running=128.0, kv_cache=Occupancy(1.0, 2.0)),
    )

    meter.tick(10, [], [loaded("http://a"), silent])
    assert activity_of(meter).loads == (LoadReading("llama", 16.0),)


def test_a_server_that_is_down_is_not_up(meter: CheckedMeter) -> None:
    """It counts as up when one of its endpoints answered."""
    meter.tick(10, [], [down(page())])
    assert not activity_of(meter).up
    meter.tick(10, [], [down(page()), page(url="http://b")])
    assert activity_of(meter).up


@pytest.mark.parametrize(
    ("loads", "generated", "running"),
    [
        ((LoadReading("llama", 2.0),), 0, True),
        ((LoadReading("llama", 0.0),), 50, False),
        ((), 50, True),  # it does not tell, and tokens do not come by themselves
        ((LoadReading("llama", None, 1.0),), 0, None),
    ],
)
def test_running_is_what_is_reported_else_what_tokens_say(
    meter: CheckedMeter, loads: tuple[LoadReading, ...], generated: int, running: object
) -> None:
    """A server that reports nothing of its load and moved nothing is unknown, not idle."""
    meter.tick(10, [], [replace(page(generation=0), loads=loads)])
    meter.tick(10, [], [replace(page(generation=generated), loads=loads)])
    assert activity_of(meter).running is running


def test_one_prompt_token_says_that_a_server_runs(meter: CheckedMeter) -> None:
    """The least that a counter can add."""
    meter.tick(10, [], [replace(page(prompt=0), loads=())])
    meter.tick(10, [], [replace(page(prompt=1), loads=())])
    assert activity_of(meter).running is True


def test_several_models_share_by_weighted_tokens(meter: CheckedMeter) -> None:
    """Busy money by this tick's weighted tokens, 300 x 3 to 100 x 3; idle money by what trails."""
    meter.tick(10, [], [models(a=0, b=0)])
    meter.tick(10, [], [models(a=300, b=100)])
    meter.tick(0, [], [models(a=300, b=100 + 900)])
    tick = activity_of(meter)
    assert tick.busy_models == {"b": WHOLE}
    assert tick.idle_models["a"] / WHOLE == pytest.approx(0.3 / 1.3, abs=1e-6)
    assert tick.idle_models["b"] / WHOLE == pytest.approx(1.0 / 1.3, abs=1e-6)


def test_models_that_never_moved_share_equally(meter: CheckedMeter) -> None:
    """With nothing that trails, no model is idler than another."""
    meter.tick(10, [], [models(a=5, b=9)])
    tick = activity_of(meter)
    assert tick.idle_models == tick.busy_models == {"a": WHOLE // 2, "b": WHOLE // 2}


def test_busy_without_tokens_goes_by_what_trails(meter: CheckedMeter) -> None:
    """A long prefill moves no counter; it is not charged to the model that rests."""
    meter.tick(10, [], [models(a=0, b=0)])
    meter.tick(10, [], [models(a=100, b=0)])
    meter.tick(10, [], [models(a=100, b=0)])
    assert activity_of(meter).busy_models == {"a": WHOLE}


def test_a_model_that_was_renamed_pays_no_idle_money(meter: CheckedMeter) -> None:
    """Idle money is for models that are served; the old name keeps its totals and gets nothing new."""
    meter.tick(10, [], [models(old=100)])
    meter.tick(10, [], [models(old=500)])
    meter.tick(10, [], [models(new=0)])
    tick = activity_of(meter)
    assert tick.idle_models == {"new": WHOLE}
    assert set(tick.phases) == {"old", "new"}


def test_a_server_that_ended_in_a_gap_pays_it_under_what_it_served_last(meter: CheckedMeter) -> None:
    """An hour at one dollar; the name that it had before pays nothing of it."""
    for served in (models(old=0), models(old=500), models(new=0)):
        meter.tick(10, [h100()], [served], allocate(CHAT, 0))
    before = meter.dollars(model="old"), meter.dollars(model="new")
    meter.tick(3600, [h100()])
    assert (meter.dollars(model="old"), meter.dollars(model="new")) == (before[0], before[1] + 10**12)


def test_a_loading_server_uses_its_last_known_models(meter: CheckedMeter) -> None:
    """It answers and lists nothing, or does not answer at all: money keeps its model."""
    meter.tick(10, [], [models(a=100)])
    meter.tick(10, [], [replace(page(), counters=(), models=(), loads=())])
    assert activity_of(meter).idle_models == {"a": WHOLE}
    meter.tick(10, [], [down(page())])
    assert activity_of(meter).idle_models == {"a": WHOLE}


def test_a_server_that_never_reported_a_model_has_an_empty_one(meter: CheckedMeter) -> None:
    """Its money is its own all the same."""
    meter.tick(10, [], [down(page())])
    outcome = meter.tick(10, [h100()], [down(page())], allocate(CHAT, 0))
    assert activity_of(meter).idle_models == {"": WHOLE}
    assert CostOwner("unassigned", "unassigned", "", "chat", "") in outcome.postings.owners


def test_models_beyond_the_limit_are_other() -> None:
    """First come, first served; the rest are counted together and nothing is dropped."""
    meter = CheckedMeter(cost_policy(rent(1), limits=CardinalityLimits(models=1)))
    meter.tick(10, [], [models(a=0, b=0, e=0, c=0, d=0)])
    meter.tick(10, [], [models(d=1, c=20, b=300, a=4000, e=50_000)])
    assert meter.tokens == {
        ("chat", "a", "generation"): 4000,
        ("chat", "b", "generation"): 300,
        ("chat", "e", "generation"): 50_000,
        ("chat", "other", "generation"): 21,
    }


def test_servers_beyond_the_limit_are_other() -> None:
    """Both those that are read and those that only hold a GPU; every dollar and token stays in the ledger."""
    meter = CheckedMeter(cost_policy(rent(3600), limits=CardinalityLimits(servers=2)))
    names = [ServerKey("ml", f"s{number}") for number in range(4)]
    gpus = [h100(number) for number in range(4)]
    holders = [holder for number, key in enumerate(names) for holder in allocate(key, number)]
    for generated in (0, 10):
        meter.tick(1, gpus, [page(key, generation=generated) for key in names[:3]], holders)
    assert {key[0]: count for key, count in meter.tokens.items() if count} == {
        "s0": 10,
        "s1": 10,
        "other": 10,
    }
    assert [meter.dollars(server=name) // 10**12 for name in ("s0", "s1", "other")] == [1, 1, 2]
    assert meter.dollars(namespace="ml") == 4 * 10**12


def test_two_servers_under_other_on_one_gpu_are_one_holder() -> None:
    """Their parts add up; the GPU is charged once."""
    meter = CheckedMeter(cost_policy(rent(3600), limits=CardinalityLimits(servers=1)))
    holders = [
        *allocate(CHAT, 0, share=0.5),
        *allocate(BATCH, 0, share=0.25),
        *allocate(ServerKey("", "x"), 0, share=0.25),
    ]
    for _ in range(2):
        meter.tick(1, [h100()], [], holders)
    assert meter.dollars(server="chat") == meter.dollars(server="other") == 10**12 // 2


def test_cached_tokens_may_be_reported_before_the_prompt_that_holds_them(meter: CheckedMeter) -> None:
    """What is taken out of the prompt counter waits as a debt: no kind falls, none is counted twice."""

    def reading(prompt: float, hits: float) -> ServerReading:
        return replace(
            page(),
            counters=(
                CounterReading("prompt", "llama", "prompt", prompt),
                CounterReading("hits", "llama", "prompt", hits, -1),
                CounterReading("hits", "llama", "cached_prompt", hits),
            ),
        )

    counts = []
    for prompt, hits in [(1000, 100), (1000, 160), (1030, 160), (1200, 160)]:
        meter.tick(10, [], [reading(prompt, hits)])
        counts.append(meter.tokens["chat", "llama", "prompt"])
    assert counts == [0, 0, 0, 140]  # 200 reported, 60 of them cached
    assert meter.tokens["chat", "llama", "cached_prompt"] == 60


def test_a_restart_forgives_the_debt(meter: CheckedMeter) -> None:
    """Prompts that the old process did not report are lost; those of the new one are not reduced."""

    def reading(prompt: float, hits: float, process: str) -> ServerReading:
        return replace(
            page(),
            identity=process,
            started=START + 20 * SECOND if process == "2" else None,
            counters=(
                CounterReading("prompt", "llama", "prompt", prompt),
                CounterReading("hits", "llama", "prompt", hits, -1),
            ),
        )

    meter.tick(10, [], [reading(1000, 100, "1")])
    meter.tick(10, [], [reading(1000, 700, "1")])
    meter.tick(10, [], [reading(50, 10, "2")])
    assert meter.tokens["chat", "llama", "prompt"] == 40


def test_owners_are_those_of_the_moment() -> None:
    """A change of owner moves what comes, never what is posted."""
    before = cost_policy(rent(3600), ownership=(OwnershipRule("search", "retrieval", server="ch*"),))
    meter = CheckedMeter(before)
    meter.tick(1, [h100()], [], allocate(CHAT, 0))
    meter.tick(1, [h100()], [], allocate(CHAT, 0))
    meter.policy = replace(before, ownership=(OwnershipRule("chat", "assistants", server="ch*"),))
    meter.tick(2, [h100()], [], allocate(CHAT, 0))
    assert (meter.dollars(product="search"), meter.dollars(product="chat")) == (10**12, 2 * 10**12)


@pytest.mark.parametrize(("incomplete", "counted"), [(True, 17), (False, 0)])
def test_servers_are_remembered_while_nobody_can_tell_which_are_here(
    meter: CheckedMeter, *, incomplete: bool, counted: int
) -> None:
    """A daemon that starts while NVML hangs finds no server: what they serve meanwhile is counted later.

    One that a look does not find is gone, and with it its marks.
    """
    meter.tick(10, [], [page(generation=50)])
    silent = Frame(meter.elapsed + 10 * SECOND, meter.wall + 10 * SECOND, None, incomplete=incomplete)
    meter.state = advance(meter.state, silent, meter.policy).state
    meter.elapsed, meter.wall = silent.elapsed, silent.wall
    meter.tick(10, [], [page(generation=67)])
    assert meter.tokens["chat", "llama", "generation"] == counted


def test_tokens_of_a_replica_that_did_not_answer_are_since_its_last_read(meter: CheckedMeter) -> None:
    """One of two misses 20 seconds; then the tokens of both say since when they are."""
    one, other = page(generation=100), replace(page(generation=100), url="http://other")
    first = meter.tick(10, [], [one, other]).postings.end
    assert since(meter, [gen(one, 110), down(other)]) == {None}
    assert since(meter, [gen(one, 120), down(other)]) == {None}
    assert since(meter, [gen(one, 130), gen(other, 130)]) == {first}
    assert since(meter, [gen(one, 140), gen(other, 140)]) == {None}


def test_a_replica_that_served_nothing_meanwhile_changes_nothing(meter: CheckedMeter) -> None:
    """The other's tokens are of this tick."""
    one, other = page(generation=100), replace(page(generation=100), url="http://other")
    meter.tick(10, [], [one, other])
    assert since(meter, [gen(one, 110), down(other)]) == {None}
    assert since(meter, [gen(one, 120), other]) == {None}


def gen(reading: ServerReading, value: float) -> ServerReading:
    return replace(page(generation=value), url=reading.url)


def since(meter: CheckedMeter, readings: list[ServerReading]) -> set[int | None]:
    """Since when the tokens of a tick are."""
    return {posting.since for posting in meter.tick(10, [], readings).postings.tokens}
