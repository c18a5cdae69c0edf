"""Servers that free GPUs of a cheaper kind would carry, each case reckoned by hand.

`big` is on an H100 at 4 dollars, and the same model is measured on an L40S at 1 dollar.
"""

import pytest

from exporter.advice.hours import Release
from exporter.advice.kinds import advice
from exporter.advice.saving import Advice, IgnoredSaving, Lack, Saving
from exporter.cost.postings import OTHER, Phase
from exporter.readings import ServerKey, TokenKind
from exporter.tariff.hosted import HostedPrice
from tests.advice.savings_examples import FREE, MONDAY, WEEK, SavingsHost, policy
from tests.kit.units import DOLLAR, GIB, HOUR

BIG = ServerKey("llm", "big")
SMALL = ServerKey("llm", "small")
ALL = range(2 * WEEK)


def dear(
    tokens: int = 60_000, kind: TokenKind = "generation", release: Release = "gpu", model: str = "llama"
) -> SavingsHost:
    """Half busy in each hour, with so many tokens."""
    host = SavingsHost().gpu(BIG, release=release).use(BIG, ALL, idle=0.5)
    return of(host, BIG, kind, tokens, model)


def of(host: SavingsHost, key: ServerKey, kind: TokenKind, tokens: int, model: str = "llama") -> SavingsHost:
    (owner,) = {each.owner for rows in host.gpu_time.values() for each in rows if each.owner.key == key}
    for hour in ALL:
        host.tokens.setdefault(MONDAY + hour, {})[owner._replace(model=model), kind] = tokens
    return host


def cheap(free: int = 1, tokens: int = 50_000, gpus: int = 1, **use: object) -> SavingsHost:
    """Half busy in each hour on an L40S, which does twice as many tokens in an hour; others are free."""
    host = SavingsHost(name="node-2")
    for _ in range(gpus):
        host.gpu(SMALL, dollars=1, model="L40S")
    for _ in range(free):
        host.gpu(dollars=1, model="L40S")
    if free:
        host.use(FREE, ALL, free)
    values: dict[str, object] = {"idle": 0.5, **use}
    return of(host.use(SMALL, ALL, gpus, **values), SMALL, "generation", tokens)  # type: ignore[arg-type]


def judged(*hosts: SavingsHost, **changes: object) -> Advice:
    return advice([host.usage() for host in hosts], policy(**changes))


def cheaper(result: Advice) -> list[Saving]:
    return [each for each in result.savings if each.kind == "gpu_model"]


def missing(result: Advice) -> list[Lack]:
    return [each for each in result.lacks if each.reason in {"rate", "room"}]


def test_a_cheaper_gpu_that_suffices() -> None:
    """60,000 tokens are 0.6 hours of an L40S: 336 hours at 4 less 1 dollar are 1008, 2190 a month."""
    result = judged(dear(), cheap())
    (saving,) = cheaper(result)

    assert (saving.server, saving.host, saving.gpus, saving.gpu_models) == (BIG, "node-1", 1, ("H100",))
    assert (saving.claimed, saving.amount) == (336 * HOUR, 1008 * DOLLAR)
    assert (saving.per_month, saving.difference) == (2190 * DOLLAR, 1008 * DOLLAR)
    assert saving.cheaper is not None
    assert (saving.cheaper.gpu_model, saving.cheaper.gpus, saving.cheaper.hosts) == ("L40S", 1, ("node-2",))
    assert (saving.cheaper.tokens, saving.cheaper.busy) == (336 * 50_000, 168 * HOUR)
    assert (saving.cheaper.need, saving.cheaper.per_hour) == (6 * HOUR // 10, DOLLAR)
    assert missing(result) == []


def test_a_server_of_a_week_saves_in_its_week() -> None:
    """168 hours at 4 less 1 dollar are 504 in 168 hours, 2190 a month as above, on a host of two weeks."""
    host = SavingsHost().gpu(BIG).use(BIG, range(WEEK, 2 * WEEK), idle=0.5)
    (owner,) = {each.owner for rows in host.gpu_time.values() for each in rows}
    for hour in range(WEEK, 2 * WEEK):
        host.tokens[MONDAY + hour] = {(owner, "generation"): 60_000}

    (saving,) = cheaper(judged(host, cheap()))

    assert (saving.window_hours, saving.amount) == (WEEK, 504 * DOLLAR)
    assert saving.per_month == 2190 * DOLLAR


def test_the_busiest_hour_decides() -> None:
    """80,000 tokens in one hour are 0.8 of an L40S: two are needed, and it is 4 less 2 dollars."""
    host, other = dear(), cheap(free=2)
    (owner,) = host.tokens[MONDAY]
    host.tokens[MONDAY + 7][owner] = 80_000

    (saving,) = cheaper(judged(host, other))

    assert saving.cheaper is not None
    assert (saving.cheaper.gpus, saving.cheaper.need) == (2, 8 * HOUR // 10)
    assert saving.amount == 672 * DOLLAR


def test_so_many_cheap_ones_that_they_are_not_cheaper() -> None:
    """240,000 tokens take four L40S, which cost as much: nothing is found, and nothing is missing."""
    result = judged(dear(tokens=240_000), cheap(free=4))

    assert (cheaper(result), missing(result)) == ([], [])


def test_too_few_are_free() -> None:
    """Two are needed, one is free: it is said, and nothing is claimed."""
    result = judged(dear(tokens=80_000), cheap(free=1))

    assert (cheaper(result), missing(result)) == ([], [Lack("room", "node-1", "llm/big")])


def test_a_model_that_was_not_measured_there() -> None:
    """No ratio of data sheets stands for it."""
    result = judged(dear(model="qwen"), cheap())

    assert (cheaper(result), missing(result)) == ([], [Lack("rate", "node-1", "llm/big")])


def test_prompts_that_were_not_measured_there() -> None:
    """The L40S generated only: what a prompt takes there is not known."""
    result = judged(of(dear(), BIG, "prompt", 9), cheap())

    assert (cheaper(result), missing(result)) == ([], [Lack("rate", "node-1", "llm/big")])


def test_less_than_a_week() -> None:
    """A server of the last two days may have seen a weekend alone: it is said, and nothing is claimed."""
    host = dear()
    host.gpu_time = {hour: rows for hour, rows in host.gpu_time.items() if hour >= MONDAY + 288}
    host.tokens = {hour: rows for hour, rows in host.tokens.items() if hour >= MONDAY + 288}

    result = judged(host, cheap())

    assert cheaper(result) == []
    assert Lack("days", "node-1", "llm/big", 48) in result.lacks


def test_prompts_of_one_hour_that_were_not_measured_there() -> None:
    """One hour of 336 that cannot be judged is enough."""
    host = dear()
    (owner, _), *_ = host.tokens[MONDAY]
    host.tokens[MONDAY + 9][owner, "prompt"] = 1

    assert missing(judged(host, cheap())) == [Lack("rate", "node-1", "llm/big")]


def test_a_server_that_gets_company_stays() -> None:
    """Another one moves onto its GPU, which is not given back for a cheaper one."""
    embed = ServerKey("llm", "embed")
    host = SavingsHost().gpu(BIG).gpu(embed).use(BIG, ALL, idle=0.5).use(embed, ALL, idle=0.9)
    of(of(host, BIG, "generation", 60_000), embed, "generation", 10_000)
    host.hold(BIG, 20).hold(embed, 20)

    kinds = [(each.kind, each.server) for each in judged(host, cheap()).savings]

    assert kinds == [("consolidation", embed), ("unallocated", FREE)]


def test_prompts_by_the_time_of_prefill() -> None:
    """A tenth of an hour for 100,000 prompt tokens, 0.4 for 50,000 generated: 0.1 + 0.48 of an hour."""
    other = cheap(idle=0.6)
    other.use(SMALL, ALL, idle=0.9, phase="prefill")
    of(other, SMALL, "prompt", 100_000)
    (saving,) = cheaper(judged(of(dear(), BIG, "prompt", 100_000), other))

    assert saving.cheaper is not None
    assert saving.cheaper.need == 58 * HOUR // 100


def test_busy_time_of_no_known_phase() -> None:
    """Half of the busy time is of an unknown phase: each token took twice the time of its phase."""
    other = cheap(idle=0.75)
    other.use(SMALL, ALL, idle=0.75, phase="other")
    (saving,) = cheaper(judged(dear(), other))

    assert saving.cheaper is not None
    assert saving.cheaper.need == 6 * HOUR // 10


@pytest.mark.parametrize("phase", ["other", "unobserved"])
def test_busy_time_without_any_phase(phase: Phase) -> None:
    """Nothing was measured."""
    assert missing(judged(dear(), cheap(phase=phase))) == [Lack("rate", "node-1", "llm/big")]


def test_the_slower_of_two_measurements() -> None:
    """Another server did 80,000 tokens in half an hour, and does not count."""
    fast = SavingsHost(name="node-3").gpu(SMALL, dollars=1, model="L40S").use(SMALL, ALL, idle=0.5)

    (saving,) = cheaper(judged(dear(), cheap(), of(fast, SMALL, "generation", 80_000)))

    assert saving.cheaper is not None
    assert (saving.cheaper.host, saving.cheaper.need) == ("node-2", 6 * HOUR // 10)


def prompt_heavy() -> SavingsHost:
    """A million prompt tokens in 0.1 hours and 10,000 generated in 0.4; one L40S is free."""
    other = cheap(idle=0.6, tokens=10_000)
    other.use(SMALL, ALL, idle=0.9, phase="prefill")
    return of(other, SMALL, "prompt", 10**6)


def another(kind: TokenKind = "generation", tokens: int = 50_000) -> SavingsHost:
    """Another server of the model, half busy with so many tokens on an L40S of another host."""
    host = SavingsHost(name="node-3").gpu(SMALL, dollars=1, model="L40S").use(SMALL, ALL, idle=0.5)
    return of(host, SMALL, kind, tokens)


@pytest.mark.parametrize("fast", [False, True])
def test_a_measurement_that_is_slow_for_this_load(fast: bool) -> None:  # noqa: FBT001 - both
    """20,000 generated tokens take 0.8 hours there, two L40S. A server that is faster changes nothing.

    That one has fewer tokens in its busy time.
    """
    hosts = [dear(tokens=20_000), prompt_heavy(), *([another()] if fast else [])]

    result = judged(*hosts)

    assert (cheaper(result), missing(result)) == ([], [Lack("room", "node-1", "llm/big")])


def test_the_measurement_that_has_all_kinds_of_tokens() -> None:
    """The slower server never saw a prompt: 10 prompt and 20,000 generated tokens by the other one.

    0.1 of an hour for a million prompt tokens and 0.4 for 10,000 generated: 0.8 of an hour and a trifle.
    """
    host = of(dear(tokens=20_000), BIG, "prompt", 10)
    other = prompt_heavy().gpu(dollars=1, model="L40S").use(FREE, ALL)

    (saving,) = cheaper(judged(host, other, another(tokens=5_000)))

    assert saving.cheaper is not None
    assert (saving.cheaper.host, saving.cheaper.need) == ("node-2", 8 * HOUR // 10 + HOUR // 10**6)


def test_a_measurement_of_two_gpus() -> None:
    """100,000 tokens in two half hours: a replica is two L40S on one host."""
    (saving,) = cheaper(judged(dear(), cheap(free=3, tokens=100_000, gpus=2)))
    result = judged(dear(), cheap(free=1, tokens=100_000, gpus=2))

    assert saving.cheaper is not None
    assert (saving.cheaper.gpus, saving.amount) == (2, 672 * DOLLAR)
    assert (cheaper(result), missing(result)) == ([], [Lack("room", "node-1", "llm/big")])


def test_a_measurement_of_less_than_a_day() -> None:
    """23 hours with tokens are too few."""
    other = cheap()
    other.tokens = {hour: rows for hour, rows in other.tokens.items() if hour < MONDAY + 23}

    assert missing(judged(dear(), other)) == [Lack("rate", "node-1", "llm/big")]


def test_tokens_of_a_gap_are_not_measured() -> None:
    """A gap of two hours is counted at its end: that hour does not make the L40S fast."""
    other = cheap()
    for hour in (50, 51):
        rows = other.gpu_time[MONDAY + hour]
        for each in [each for each in rows if each.owner.key == SMALL]:
            rows[each._replace(phase="unobserved")] = rows.pop(each)
        (owner,) = {each for each, _ in other.tokens.pop(MONDAY + hour)}
    other.tokens[MONDAY + 52] = {(owner, "generation"): 10**9}

    (saving,) = cheaper(judged(dear(), other))

    assert saving.cheaper is not None
    assert (saving.cheaper.tokens, saving.cheaper.need) == (333 * 50_000, 6 * HOUR // 10)


def test_gpus_that_others_release() -> None:
    """The L40S of a deserted server: its finding and this one are as much as both GPUs less one L40S."""
    archive = ServerKey("llm", "archive")
    other = cheap(free=0).gpu(archive, dollars=1, model="L40S").use(archive, ALL)

    result = judged(dear(), other)

    assert [(each.kind, each.amount // DOLLAR) for each in result.savings] == [
        ("gpu_model", 1008),
        ("deserted", 336),
    ]


@pytest.mark.parametrize("kind", ["unallocated", "deserted"])
def test_gpus_that_a_muted_finding_keeps(kind: str) -> None:
    """They are not free for others."""
    archive = ServerKey("llm", "archive")
    other = cheap(free=1) if kind == "unallocated" else cheap(free=0)
    if kind == "deserted":
        other.gpu(archive, dollars=1, model="L40S").use(archive, ALL)
    ignored = IgnoredSaving(kind, "kept", policy().now + 1)  # type: ignore[arg-type]

    result = judged(dear(), other, ignored=(ignored,))

    assert (cheaper(result), missing(result)) == ([], [Lack("room", "node-1", "llm/big")])


def test_a_free_card_in_mig_mode_is_no_whole_gpu() -> None:
    """No server on it could have the whole card as measured."""
    other = cheap(free=0).gpu(dollars=1, model="L40S", divided=True).use(FREE, ALL)

    result = judged(dear(), other)

    assert [each.kind for each in result.savings] == ["unallocated"]
    assert missing(result) == [Lack("room", "node-1", "llm/big")]


def test_hours_that_a_muted_schedule_does_not_take() -> None:
    """336 hours at 4 less 1 dollar are 1008: the nights stay with the server."""
    night = [hour for hour in ALL if hour % 24 >= 20 or hour % 24 < 6]
    host = SavingsHost().gpu(BIG).use(BIG, night).use(BIG, sorted({*ALL} - {*night}), idle=0.5)
    of(host, BIG, "generation", 60_000)
    for hour in night:
        del host.tokens[MONDAY + hour]
    ignored = IgnoredSaving("schedule", "cold starts", policy().now + 1)

    (saving,) = cheaper(judged(host, cheap(), ignored=(ignored,)))

    assert (saving.claimed, saving.amount) == (336 * HOUR, 1008 * DOLLAR)


def test_each_free_gpu_is_used_once() -> None:
    """Two servers and one free L40S: the other has no room, unless the first is muted."""
    second = ServerKey("llm", "second")
    host = dear().gpu(second).use(second, ALL, idle=0.4)
    of(host, second, "generation", 60_000)
    muted = IgnoredSaving("gpu_model", "latency", policy().now + 1, server="big")

    result = judged(host, cheap())
    after = judged(host, cheap(), ignored=(muted,))

    assert [each.server for each in cheaper(result)] == [BIG]
    assert missing(result) == [Lack("room", "node-1", "llm/second")]
    assert {(each.server, each.ignored is None) for each in cheaper(after)} == {(BIG, False), (second, True)}


def test_hours_that_a_schedule_leaves() -> None:
    """Nights are claimed: 196 hours at 4 less 1 dollar are 588."""
    night = [hour for hour in ALL if hour % 24 >= 20 or hour % 24 < 6]
    host = SavingsHost().gpu(BIG).use(BIG, night).use(BIG, sorted({*ALL} - {*night}), idle=0.5)
    of(host, BIG, "generation", 60_000)
    for hour in night:
        del host.tokens[MONDAY + hour]

    savings = judged(host, cheap()).savings

    assert {(each.kind, each.amount // DOLLAR) for each in savings} == {
        ("schedule", 560),
        ("gpu_model", 588),
        ("unallocated", 336),
    }


def test_an_offer_takes_the_hours_first() -> None:
    """Each GPU-hour belongs to one finding; a muted offer leaves them."""
    offer = HostedPrice("api", 1, 1, server="big", as_of="2026-11-01")  # type: ignore[arg-type]
    ignored = IgnoredSaving("hosted", "privacy", policy().now + 1)

    kinds = {each.kind for each in judged(dear(), cheap(), offers=(offer,)).savings}
    after = judged(dear(), cheap(), offers=(offer,), ignored=(ignored,)).counted

    assert kinds == {"hosted", "unallocated"}
    assert {each.kind for each in after} == {"gpu_model", "unallocated"}


@pytest.mark.parametrize("release", ["host", "owned", "lease", "unknown"])
def test_gpus_that_cannot_be_given_back(release: Release) -> None:
    """It is capacity of the dearer kind."""
    other = ServerKey("llm", "other")
    host = dear(release=release).gpu(other, release=release).use(other, ALL, idle=0, tokens=1)

    (saving,) = cheaper(judged(host, cheap()))

    assert saving.obstacle == release


def test_a_host_that_is_given_back_as_a_whole_has_no_room() -> None:
    """Two free hosts of one price each: one goes, as all of its GPUs are free."""
    spare = SavingsHost(name="node-3").gpu(dollars=1, model="L40S", release="host").use(FREE, ALL)

    result = judged(dear(), cheap(free=0), spare)

    assert [each.kind for each in result.savings] == ["unallocated"]
    assert missing(result) == [Lack("room", "node-1", "llm/big")]


def moved(at: int, memory_read: bool = True, gone: bool = False) -> SavingsHost:  # noqa: FBT001, FBT002 - a table
    """A server that an H100 served with 100,000 tokens an hour until it moved to an L40S, with 50,000.

    `memory_read`: its memory was read on both. `gone`: the H100 is no longer there.
    """
    other = cheap().gpu(model="H100")
    for hour in range(at):
        rows = other.tokens[MONDAY + hour]
        rows.update(dict.fromkeys(rows, 100000))
    if memory_read:
        old, new = other.gpus[2].gpu, other.gpus[0].gpu
        other.memory = {
            MONDAY + hour: {(old if hour < at else new, SMALL): GIB, (old, BIG): GIB} for hour in ALL
        }
    if gone:
        other.gpus.pop()
    return other


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize(("at", "hours"), [(0, 336), (168, 168), (312, 24)])
def test_hours_on_a_dearer_gpu_measure_no_cheaper_one(at: int, hours: int, *, gone: bool) -> None:
    """Only hours in which memory was read on an L40S count: 50,000 tokens each."""
    (saving,) = cheaper(judged(dear(), moved(at, gone=gone)))

    assert saving.cheaper is not None
    assert (saving.cheaper.tokens, saving.cheaper.need) == (hours * 50_000, 6 * HOUR // 10)


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("at", [313, 335])
def test_a_server_that_moved_to_a_cheaper_gpu_within_the_day(at: int, *, gone: bool) -> None:
    """Its last hours are fewer than 24: nothing is measured."""
    assert missing(judged(dear(), moved(at, gone=gone))) == [Lack("rate", "node-1", "llm/big")]


def test_a_host_of_two_kinds_without_memory() -> None:
    """On which of its kinds a server computed is not known, but where it has one only."""
    assert missing(judged(dear(), moved(0, memory_read=False))) == [Lack("rate", "node-1", "llm/big")]
    assert len(cheaper(judged(dear(), moved(0, memory_read=False, gone=True)))) == 1


def test_hours_without_memory_of_a_host_that_had_two_kinds() -> None:
    """The H100 is gone, and memory of others was on it: hours in which none was read are left out."""
    other = moved(0, gone=True)
    for hour in range(100):
        del other.memory[MONDAY + hour][other.gpus[0].gpu, SMALL]

    (saving,) = cheaper(judged(dear(), other))

    assert saving.cheaper is not None
    assert saving.cheaper.tokens == 236 * 50_000


def test_a_server_on_both_kinds_at_once() -> None:
    """Hours in which it held GPUs of both kinds measure neither."""
    other = moved(0)
    for rows in other.memory.values():
        rows[other.gpus[2].gpu, SMALL] = GIB

    assert missing(judged(dear(), other)) == [Lack("rate", "node-1", "llm/big")]


def test_models_beyond_the_limit_are_none() -> None:
    """`other` are models that limits.models adds up: an L40S that serves small ones measures no large one."""
    folded = dear(model=OTHER), of(cheap(), SMALL, "generation", 50_000, model=OTHER)
    folded[1].tokens = {
        hour: {each: count for each, count in rows.items() if each[0].model == OTHER}
        for hour, rows in folded[1].tokens.items()
    }

    result = judged(*folded)

    assert (cheaper(result), missing(result)) == ([], [])


def test_servers_beyond_the_limit_are_none() -> None:
    """`other` are servers that limits.servers adds up: what they did is not what one of them did."""
    beyond = ServerKey("", OTHER)
    host = SavingsHost().gpu(beyond).use(beyond, ALL, idle=0.5)
    measured = SavingsHost(name="node-2").gpu(beyond, dollars=1, model="L40S").gpu(dollars=1, model="L40S")
    measured.use(beyond, ALL, idle=0.5).use(FREE, ALL)
    of(measured, beyond, "generation", 50_000)

    as_load = judged(of(host, beyond, "generation", 60_000), cheap())
    as_measurement = judged(dear(), measured)

    assert (cheaper(as_load), missing(as_load)) == ([], [])
    assert (cheaper(as_measurement), missing(as_measurement)) == ([], [Lack("rate", "node-1", "llm/big")])


@pytest.mark.parametrize("case", ["divided", "shared", "two-models", "unpriced", "partial"])
def test_servers_that_are_not_compared(case: str) -> None:
    """A part of a card, a shared card, two models, no price, a part of a server: nothing is found."""
    host, changes = dear(), {}
    if case == "divided":
        host.gpus[0] = host.gpus[0]._replace(divided=True)
    elif case == "shared":
        host.gpus[0] = host.gpus[0]._replace(holders=frozenset({BIG, SMALL}))
    elif case == "unpriced":
        host.gpus[0] = host.gpus[0]._replace(per_hour=None)
    elif case == "partial":
        changes = {"partial": frozenset({BIG})}
    else:
        of(host, BIG, "generation", 5, model="qwen")

    assert cheaper(advice([host.usage(**changes), cheap().usage()], policy())) == []


def test_a_fleet_of_one_kind() -> None:
    """Nothing is cheaper, and nothing is missing."""
    other = SavingsHost(name="node-2").gpu(SMALL, dollars=1).gpu(dollars=1).use(FREE, ALL)
    of(other.use(SMALL, ALL, idle=0.5), SMALL, "generation", 50_000)

    result = judged(dear(), other)

    assert (cheaper(result), missing(result)) == ([], [])
