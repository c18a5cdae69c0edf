"""Savings never exceed what was wasted, and a host without waste has none."""

import random
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.postings import Phase
from exporter.cost.savings import Advice, HostUsage, advice
from exporter.readings import ServerKey
from exporter.tariff.hosted import HostedPrice
from tests.cost.savings_examples import DOLLAR, FREE, HOUR, WEEK, SavingsHost, policy
from tests.depth import examples

SERVERS = tuple(ServerKey("llm", f"server-{number}") for number in range(4))
PRICES = (2, 4, 6)


def random_host(seed: int) -> HostUsage:
    """Servers that work, rest, stop and vanish by chance; one price for all GPUs, or a price each."""
    chance = random.Random(seed)  # noqa: S311 - repeatable
    host = SavingsHost(hours=chance.choice((1, 23, 24, 100, 336, 500)), name=f"node-{seed}")
    one_price = chance.choice(PRICES)
    for _ in range(chance.randint(1, 6)):
        holders = chance.sample(SERVERS, chance.choice((0, 1, 1, 1, 2)))
        host.gpu(*holders, dollars=chance.choice((one_price, one_price, None)))
    for server in (*SERVERS, FREE):
        gpus = [gpu for gpu in host.gpus if (server in gpu.holders if server != FREE else not gpu.holders)]
        share = sum(1 / max(1, len(gpu.holders)) for gpu in gpus)
        rests = chance.choice((set(), set(range(chance.randint(0, 12))), set(range(24))))
        since = chance.choice((0, 0, host.hours // 2, host.hours - 2))
        for hour in range(max(0, since), host.hours):
            resting = server == FREE or hour % 24 in rests or chance.random() < 0.05
            host.use(
                server,
                [hour],
                round(share * 2),
                idle=1.0 if resting else chance.random(),
                phase=chance.choice(("decode", "unobserved")),
                tokens=0 if resting else chance.randint(0, 10**6),
            )
    return host.usage()


def idle_amount(host: HostUsage) -> Fraction:
    """Idle and unallocated dollars of the window at the dearest price of now."""
    dearest = max((gpu.per_hour or 0 for gpu in host.gpus), default=0)
    idle = sum(
        time
        for usage in host.hours.values()
        for (_, phase), time in usage.gpu_time.items()
        if phase == "idle"
    )
    return Fraction(idle * dearest, HOUR)


def judged(*hosts: HostUsage) -> Advice:
    offers = (HostedPrice("api", Decimal("0.5"), Decimal("0.5"), server="server-[01]"),)
    return advice(hosts, policy(offers=offers))


@examples(200)
@given(st.integers(0, 10**9))
def test_savings_never_exceed_idle_dollars_and_differences(seed: int) -> None:
    """The sum of all findings, over idle and unallocated dollars and price differences."""
    host = random_host(seed)

    result = judged(host)

    amount = sum(saving.amount for saving in result.savings)
    assert amount <= idle_amount(host) + sum(saving.difference for saving in result.savings)
    assert all(saving.amount > 0 for saving in result.savings)
    assert all(saving.claimed <= saving.window_hours * HOUR * len(host.gpus) * 2 for saving in result.savings)


@examples(200)
@given(st.integers(0, 10**9))
def test_each_gpu_hour_belongs_to_one_finding(seed: int) -> None:
    """Findings of a server claim its time at most once, and its idle time alone but for an offer."""
    host = random_host(seed)
    idle: dict[ServerKey, int] = {}
    gpu_time: dict[ServerKey, int] = {}
    for usage in host.hours.values():
        for (owner, phase), time in usage.gpu_time.items():
            gpu_time[owner.key] = gpu_time.get(owner.key, 0) + time
            idle[owner.key] = idle.get(owner.key, 0) + (time if phase == "idle" else 0)

    savings = judged(host).savings

    for key in {saving.server for saving in savings}:
        claimed = {each.kind: each.claimed for each in savings if each.server == key}
        assert sum(claimed.values()) <= gpu_time[key]
        assert sum(time for kind, time in claimed.items() if kind != "hosted") <= idle[key]
    assert len({(each.kind, each.server) for each in savings}) == len(savings)


@examples(50)
@given(st.lists(st.integers(0, 10**9), max_size=4, unique=True))
def test_a_fleet_saves_what_its_hosts_do(seeds: list[int]) -> None:
    """Hosts are judged one by one, in any order."""
    hosts = [random_host(seed) for seed in seeds]

    together = judged(*hosts)

    assert judged(*reversed(hosts)).savings == together.savings
    assert sorted(each.per_month for each in together.savings) == sorted(
        each.per_month for host in hosts for each in judged(host).savings
    )
    assert together.idle == sum(judged(host).idle for host in hosts)


@examples(50)
@given(st.integers(0, 10**9), st.sampled_from((2, 3, 10)))
def test_dollars_follow_the_present_price(seed: int, factor: int) -> None:
    """Without offers, a price that many times as high makes each finding that many times as large."""
    host = random_host(seed)
    dearer = HostUsage(
        host.name,
        host.first,
        host.last,
        host.hours,
        tuple(
            gpu._replace(per_hour=None if gpu.per_hour is None else gpu.per_hour * factor)
            for gpu in host.gpus
        ),
    )

    before, after = (
        {(each.kind, each.server): each.amount for each in advice([each_host], policy()).savings}
        for each_host in (host, dearer)
    )

    assert before.keys() == after.keys()
    assert all(abs(after[key] - factor * amount) < factor for key, amount in before.items())


def useful_host(seed: int) -> tuple[HostUsage, int]:
    """A host whose GPUs all serve each hour at some load, but for restarts and failed reads; its spend."""
    chance = random.Random(seed)  # noqa: S311 - repeatable
    host = SavingsHost(hours=chance.choice((24, WEEK, 2 * WEEK, 3 * WEEK)))
    for server in SERVERS[: chance.randint(1, 4)]:
        gpus = chance.choice((1, 2, 4))
        for _ in range(gpus):
            host.gpu(server, dollars=4)
        load = chance.uniform(0.02, 0.9)
        for hour in range(host.hours):
            quiet = chance.random() < 0.02
            idle = 1 - load * chance.uniform(0.6, 1.0)
            phase: Phase = "unobserved" if chance.random() < 0.01 else "decode"
            host.use(server, [hour], gpus, idle=1.0 if quiet else idle, phase=phase, tokens=0 if quiet else 9)
        for hour in chance.sample(range(host.hours), host.hours // 100):  # a restart frees it for a while
            host.use(FREE, [hour], gpus, idle=0.2, phase="other")
    spent = sum(time for usage in host.usage().hours.values() for time in usage.gpu_time.values()) * 4
    return host.usage(), spent * DOLLAR // HOUR


@pytest.mark.parametrize("seed", range(100))
def test_nothing_is_advised_without_waste(seed: int) -> None:
    """No false saving above 1 % of the spend: quiet hours and restarts are none."""
    host, spent = useful_host(seed)

    result = judged_without_offers(host)

    assert sum(saving.amount for saving in result.savings) * 100 <= spent


def judged_without_offers(host: HostUsage) -> Advice:
    return advice([host], policy())


def test_random_hosts_have_findings_of_every_kind() -> None:
    """The properties above are about something."""
    kinds = {saving.kind for seed in range(60) for saving in judged(random_host(seed)).savings}

    assert kinds == {"unallocated", "deserted", "schedule", "hosted"}
