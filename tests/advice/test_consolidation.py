"""Servers that fit on fewer GPUs, each case reckoned by hand: two weeks are 336 hours, a GPU is 4 dollars."""

from dataclasses import replace

import pytest

from exporter.advice.hours import Release
from exporter.advice.kinds import advice
from exporter.advice.saving import IgnoredSaving, Lack, Saving
from exporter.readings import ServerKey
from exporter.tariff.hosted import HostedPrice
from tests.advice.savings_examples import WEEK, SavingsHost, policy
from tests.kit.units import DOLLAR, GIB, HOUR

BIG = ServerKey("llm", "big")
EMBED = ServerKey("llm", "embed")
RERANK = ServerKey("llm", "rerank")
TWINS = ServerKey("llm", "twins")
ALL = range(2 * WEEK)


def serve(host: SavingsHost, key: ServerKey, busy: float, gib: float | None, gpus: int = 1) -> SavingsHost:
    """A server that serves in every hour, this much of it busy, with this much memory on each GPU."""
    host.use(key, range(host.hours), gpus, idle=1 - busy, tokens=1000)
    return host if gib is None else host.hold(key, gib)


def two(busy: float = 0.2, gib: float = 20, **gpu: object) -> SavingsHost:
    """One server at 40 % and 40 GiB, and another one, on a GPU each."""
    host = SavingsHost().gpu(BIG, **gpu).gpu(EMBED, **gpu)  # type: ignore[arg-type]
    return serve(serve(host, BIG, 0.4, 40), EMBED, busy, gib)


def consolidated(host: SavingsHost, **changes: object) -> list[Saving]:
    savings = advice([host.usage()], policy(**changes)).savings
    return [each for each in savings if each.kind == "consolidation"]


def test_two_servers_on_one_gpu() -> None:
    """The smaller moves: 336 GPU-hours, 0.8 of them its own idle ones, 1344 dollars, 2920 a month."""
    (saving,) = consolidated(two())

    assert (saving.server, saving.gpus, saving.gpu_models, saving.cash) == (EMBED, 1, ("H100",), True)
    assert (saving.claimed, saving.amount, saving.window_hours) == (336 * HOUR, 1344 * DOLLAR, 336)
    assert saving.per_month == 2920 * DOLLAR
    assert saving.fewer is not None
    assert (saving.fewer.servers, saving.fewer.onto) == ((EMBED,), (BIG,))
    # 0.4 and 0.2 of an hour; 40 and 20 GiB of 80; 0.2 of 336 hours are the other's idle time.
    assert saving.fewer.busiest == 6 * HOUR // 10
    assert (saving.fewer.memory_bytes, saving.fewer.memory_total_bytes) == (60 * GIB, 80 * GIB)
    assert saving.fewer.borrowed == 672 * HOUR // 10
    assert saving.difference == 0


@pytest.mark.parametrize(("busy", "fits"), [(0.3, True), (0.31, False)])
def test_the_limit_of_busy_time(busy: float, fits: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """40 % and 30 % are the 70 % that an hour may have."""
    assert bool(consolidated(two(busy=busy))) == fits


def test_one_hour_above_the_limit_is_enough() -> None:
    """One busy hour of 336, however idle the others."""
    host = two()
    host.use(EMBED, [77], idle=0, tokens=9)  # a second GPU-hour, all busy: 0.2 + 1

    assert consolidated(host) == []


@pytest.mark.parametrize(("gib", "fits"), [(32, True), (32.1, False)])
def test_the_reserve_of_memory(gib: float, fits: bool) -> None:  # noqa: FBT001 - as above
    """40 and 32 GiB are 90 % of 80."""
    assert bool(consolidated(two(gib=gib))) == fits


def test_a_peak_of_memory_in_one_hour_counts() -> None:
    """The sum is of the most of each server, in whichever hours."""
    host = two()
    host.hold(BIG, 41, [3]).hold(EMBED, 32, [200])

    assert consolidated(host) == []


def test_another_kind_of_gpu() -> None:
    """Nothing fits on a GPU of another model, whose speed is not known."""
    host = SavingsHost().gpu(BIG).gpu(EMBED, model="L40S")

    assert consolidated(serve(serve(host, BIG, 0.4, 40), EMBED, 0.2, 20)) == []


def test_another_host() -> None:
    """Each host is judged alone."""
    one = serve(SavingsHost().gpu(BIG), BIG, 0.4, 40)
    other = serve(SavingsHost(name="node-2").gpu(EMBED), EMBED, 0.2, 20)

    assert advice([one.usage(), other.usage()], policy()).savings == ()


def test_three_on_one() -> None:
    """30, 20 and 20 % and 3 x 20 GiB: two move, and each claims its 336 hours."""
    host = SavingsHost().gpu(BIG).gpu(EMBED).gpu(RERANK)
    for key, busy in ((BIG, 0.3), (EMBED, 0.2), (RERANK, 0.2)):
        serve(host, key, busy, 20)

    savings = consolidated(host)

    assert [(each.server, each.claimed) for each in savings] == [(EMBED, 336 * HOUR), (RERANK, 336 * HOUR)]
    assert [each.fewer.memory_bytes // GIB for each in savings if each.fewer] == [60, 60]


def test_idle_time_is_taken_once() -> None:
    """A target that held its GPU for 0.4 of each hour, 0.1 of it idle: the first of two works in that 0.1.

    Of 336 hours the first claims 0.8 and 0.1, the second the 0.81 in which it is idle itself.
    """
    host = SavingsHost().gpu(BIG).gpu(EMBED).gpu(RERANK)
    host.use(BIG, ALL, idle=0.1, tokens=9).hold(BIG, 20)
    for key, busy in ((EMBED, 0.2), (RERANK, 0.19)):
        serve(host, key, busy, 20)
    for rows in host.gpu_time.values():
        rows.update(
            {each: HOUR * (1 if each.phase == "idle" else 3) // 10 for each in rows if each.owner.key == BIG}
        )

    savings = {each.server: each.claimed for each in consolidated(host)}

    assert savings == {EMBED: 3024 * HOUR // 10, RERANK: 27_216 * HOUR // 100}


def test_a_server_on_two_gpus_is_not_split() -> None:
    """It stays, and the others move onto one of its GPUs each where they fit."""
    host = SavingsHost().gpu(TWINS).gpu(TWINS).gpu(EMBED).gpu(RERANK)
    serve(host, TWINS, 0.3, 40, gpus=2)
    serve(serve(host, EMBED, 0.2, 30), RERANK, 0.1, 30)

    savings = consolidated(host)

    assert {(each.server, each.gpus) for each in savings} == {(EMBED, 1), (RERANK, 1)}
    assert {each.fewer.onto for each in savings if each.fewer} == {(TWINS,)}
    assert {each.fewer.memory_bytes // GIB for each in savings if each.fewer} == {70}


def test_two_servers_of_two_gpus() -> None:
    """One moves onto both GPUs of the other, or not at all: 672 GPU-hours, 2688 dollars."""
    host = SavingsHost().gpu(TWINS).gpu(TWINS).gpu(BIG).gpu(BIG)
    serve(serve(host, TWINS, 0.3, 30, gpus=2), BIG, 0.2, 30, gpus=2)
    (saving,) = consolidated(host)
    host.hold(BIG, 50)
    assert saving.fewer is not None
    assert (saving.fewer.busiest, saving.fewer.memory_bytes) == (HOUR // 2, 60 * GIB)

    assert (saving.server, saving.gpus, saving.claimed) == (BIG, 2, 672 * HOUR)
    assert saving.amount == 2688 * DOLLAR
    assert consolidated(host) == []


def test_a_shared_gpu_is_freed_as_a_whole() -> None:
    """Two on one GPU: both move, or none. Their times add up to the 336 hours of the GPU."""
    host = SavingsHost().gpu(BIG).gpu(EMBED, RERANK)
    serve(host, BIG, 0.4, 40)
    for key in (EMBED, RERANK):
        host.use(key, ALL, idle=0.4, tokens=9).use(key, ALL, idle=0, tokens=9)
        for hour in ALL:  # half of the GPU's hour each, a fifth of it busy
            rows = host.gpu_time[host.usage().first + hour]
            rows.update(
                {
                    each: HOUR * (40 if each.phase == "idle" else 10) // 100
                    for each in rows
                    if each.owner.key == key
                }
            )
        host.hold(key, 15)

    (saving,) = consolidated(host)

    assert saving.fewer is not None
    assert (saving.fewer.servers, saving.claimed, saving.gpus) == ((EMBED, RERANK), 336 * HOUR, 1)
    assert saving.fewer.busiest == 6 * HOUR // 10


def test_a_divided_card() -> None:
    """Instances of a card are not moved."""
    host = SavingsHost().gpu(BIG).gpu(EMBED, divided=True)

    assert consolidated(serve(serve(host, BIG, 0.4, 40), EMBED, 0.2, 20)) == []


def test_a_process_that_serves_no_tokens() -> None:
    """It may be anything: neither it nor anything onto its GPU is moved."""
    host = two()
    host.tokens = {}

    assert consolidated(host) == []


def lacks(host: SavingsHost) -> list[Lack]:
    judged = advice([host.usage()], policy())
    assert judged.savings == ()
    return [each for each in judged.lacks if each.reason in {"memory", "days"}]


def test_memory_that_is_not_known() -> None:
    """Nothing is claimed, and it is said of whom; of servers too busy to share nothing is missing."""
    host = SavingsHost().gpu(BIG).gpu(EMBED)
    serve(serve(host, BIG, 0.4, 40), EMBED, 0.2, None)
    busy = SavingsHost().gpu(BIG).gpu(EMBED)
    serve(serve(busy, BIG, 0.4, None), EMBED, 0.4, None)

    assert lacks(host) == [Lack("memory", "node-1", "llm/embed", 0)]
    assert lacks(busy) == []


def test_memory_that_is_known_since_yesterday() -> None:
    """After an upgrade a week passes first."""
    host = SavingsHost().gpu(BIG).gpu(EMBED)
    serve(serve(host, BIG, 0.4, None), EMBED, 0.2, None).hold(BIG, 9, ALL[-24:]).hold(EMBED, 9, ALL[-24:])

    assert lacks(host) == [Lack("memory", "node-1", "llm/embed", 24)]


def test_a_gpu_whose_memory_is_not_known() -> None:
    """The peaks are, and there is nothing to compare them with."""
    host = SavingsHost().gpu(BIG, gib=None).gpu(EMBED)

    assert [each.reason for each in lacks(serve(serve(host, BIG, 0.4, 40), EMBED, 0.2, 20))] == ["memory"]


def test_less_than_a_week() -> None:
    """Two days may be a weekend."""
    host = SavingsHost(hours=48).gpu(BIG).gpu(EMBED)

    assert lacks(serve(serve(host, BIG, 0.4, 40), EMBED, 0.2, 20)) == [
        Lack("days", "node-1", "llm/embed", 48)
    ]


def test_a_server_that_came_ten_days_ago() -> None:
    """Its window is its own: 240 hours of one GPU are 960 dollars, 2920 a month."""
    host = serve(SavingsHost().gpu(BIG).gpu(EMBED), BIG, 0.4, 40)
    host.use(EMBED, ALL[-240:], idle=0.8, tokens=9).hold(EMBED, 20, ALL[-240:])

    (saving,) = consolidated(host)

    assert (saving.claimed, saving.amount) == (240 * HOUR, 960 * DOLLAR)
    assert (saving.window_hours, saving.per_month) == (240, 2920 * DOLLAR)


def test_hours_that_were_not_observed() -> None:
    """A gap of six hours is not judged and claims nothing; one in ten hours and nothing is found."""
    host = two()
    odd = SavingsHost().gpu(BIG).gpu(EMBED)
    serve(odd, BIG, 0.4, 40).hold(EMBED, 20)
    gap = set(range(100, 106))
    host.gpu_time = {
        hour: rows for hour, rows in host.gpu_time.items() if hour - host.usage().first not in gap
    }
    for key in (BIG, EMBED):
        host.use(key, gap, idle=0, phase="unobserved")
    odd.use(EMBED, [hour for hour in ALL if hour % 8], idle=0.8, tokens=9)
    odd.use(EMBED, [hour for hour in ALL if not hour % 8], idle=0, phase="unobserved")

    (saving,) = consolidated(host)

    assert saving.claimed == 330 * HOUR
    assert consolidated(odd) == []


def test_a_schedule_of_the_gpu_that_stays() -> None:
    """Both rest at night: one GPU goes for good, the other by night, 140 of its hours; both are cash."""
    night = [hour for hour in ALL if hour % 24 >= 20 or hour % 24 < 6]
    day = sorted({*ALL} - {*night})
    host = SavingsHost().gpu(BIG).gpu(EMBED)
    for key in (BIG, EMBED):
        host.use(key, night).use(key, day, idle=0.7, tokens=9).hold(key, 20)

    savings = advice([host.usage()], policy()).savings

    assert [(each.kind, each.claimed // HOUR, each.obstacle) for each in savings] == [
        ("consolidation", 336, ""),
        ("schedule", 140, ""),
    ]


def test_a_schedule_beside_a_server_that_works_at_night() -> None:
    """Nights of the one that stays are less the other's work, and no cash: the GPU stays on."""
    night = [hour for hour in ALL if hour % 24 >= 20 or hour % 24 < 6]
    host = SavingsHost().gpu(BIG).gpu(EMBED)
    host.use(BIG, night).use(BIG, sorted({*ALL} - {*night}), idle=0.6, tokens=9).hold(BIG, 20)
    serve(host, EMBED, 0.1, 20)

    savings = advice([host.usage()], policy()).savings

    # 140 hours, a tenth of each taken by the other.
    assert [(each.kind, each.claimed * 10 // HOUR, each.obstacle) for each in savings] == [
        ("consolidation", 3360, ""),
        ("schedule", 1260, "shared"),
    ]


def test_offers_take_no_server_that_shares() -> None:
    """The GPU of the one that stays carries the other: it cannot be given back."""
    host = two()
    offers = tuple(
        HostedPrice(f"api-{key.server}", 1, 1, server=key.server, as_of="2026-11-01")  # type: ignore[arg-type]
        for key in (BIG, EMBED)
    )

    judged = advice([host.usage()], policy(offers=offers))

    assert [each.kind for each in judged.savings] == ["consolidation"]
    assert judged.lacks == (Lack("capacity", "node-1", "llm/big at api-big"),)


@pytest.mark.parametrize(("pattern", "counted"), [("embed", []), ("big", []), ("rerank", [EMBED])])
def test_a_muted_server_neither_moves_nor_gets_company(pattern: str, counted: list[ServerKey]) -> None:
    """Its finding is listed; the others are judged as if it stayed alone."""
    ignored = IgnoredSaving("consolidation", "latency", policy().now + 1, server=pattern)

    judged = advice([two().usage()], policy(ignored=(ignored,)))

    assert [each.server for each in judged.counted] == counted
    assert [each.server for each in judged.savings if each.ignored] == ([EMBED] if pattern == "embed" else [])


def test_a_muted_server_leaves_room_for_another() -> None:
    """Of three only two fit on a GPU: without the muted one the third moves."""
    host = SavingsHost().gpu(BIG).gpu(EMBED).gpu(RERANK)
    for key, busy in ((BIG, 0.4), (EMBED, 0.25), (RERANK, 0.24)):
        serve(host, key, busy, 20)
    ignored = IgnoredSaving("consolidation", "latency", policy().now + 1, server="embed")

    (before,) = consolidated(host)
    judged = advice([host.usage()], policy(ignored=(ignored,)))

    assert (before.server, [each.server for each in judged.counted]) == (EMBED, [RERANK])
    assert [each.server for each in judged.savings if each.ignored] == [EMBED]


def test_a_standby_is_left_alone() -> None:
    """A deserted server whose finding is muted stays, and gets no company."""
    host = serve(SavingsHost().gpu(BIG).gpu(EMBED), BIG, 0.4, 40)
    host.use(EMBED, ALL, idle=1).hold(EMBED, 20)
    ignored = IgnoredSaving("deserted", "standby", policy().now + 1)

    judged = advice([host.usage()], policy(ignored=(ignored,)))

    assert [(each.kind, each.server) for each in judged.savings] == [("deserted", EMBED)]
    assert judged.counted == ()


def test_a_deserted_server_takes_no_room() -> None:
    """It stops: its memory does not stand in the way, and its part of the hours is claimed once."""
    host = SavingsHost().gpu(BIG).gpu(EMBED, RERANK)
    serve(serve(host, BIG, 0.4, 40), EMBED, 0.2, 20)
    host.use(RERANK, ALL, idle=1).hold(RERANK, 50)

    savings = advice([host.usage()], policy()).savings

    assert {(each.kind, each.server, each.claimed // HOUR) for each in savings} == {
        ("deserted", RERANK, 336),
        ("consolidation", EMBED, 336),
    }


@pytest.mark.parametrize("release", ["host", "owned", "lease", "unknown"])
def test_gpus_that_stay_paid_for(release: Release) -> None:
    """Capacity for other work, as the host's other GPU stays."""
    host = SavingsHost().gpu(BIG, release=release).gpu(EMBED, release=release)
    (saving,) = consolidated(serve(serve(host, BIG, 0.4, 40), EMBED, 0.2, 20))

    assert saving.obstacle == release


def test_the_lower_of_two_prices() -> None:
    """A GPU at 4 dollars that moves onto one at 3 dollars counts 3: so much idle time costs there."""
    host = SavingsHost().gpu(BIG, dollars=3).gpu(EMBED, dollars=4)
    (saving,) = consolidated(serve(serve(host, BIG, 0.4, 40), EMBED, 0.2, 20))

    assert saving.amount == 1008 * DOLLAR


def test_the_order_of_gpus_does_not_matter() -> None:
    """The same hosts, listed the other way round."""
    usage = two().usage()
    (saving,) = advice([usage], policy()).savings
    (same,) = advice([replace(usage, gpus=tuple(reversed(usage.gpus)))], policy()).savings

    assert same == saving
