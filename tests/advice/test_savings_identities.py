"""Savings never exceed what was wasted, and a host without waste has none."""

import random
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.advice.hours import HostUsage, HourUsage
from exporter.advice.kinds import advice
from exporter.advice.saving import SAVING_KINDS, Advice, IgnoredSaving, Saving
from exporter.cost.postings import Phase
from exporter.readings import ServerKey
from exporter.tariff.hosted import HostedPrice
from tests.advice.savings_examples import FREE, WEEK, SavingsHost, policy
from tests.depth import examples
from tests.kit.units import DOLLAR, HOUR
from tests.nightly import daily

SERVERS = tuple(ServerKey("llm", f"server-{number}") for number in range(4))
KINDS = {"H100": 4, "L40S": 1}
"""Models of GPUs, with the dollars of an hour in fleets of two kinds."""


def random_host(seed: int) -> HostUsage:
    """Servers that work, rest, stop and vanish by chance; half of the hosts are tame, most are not alike."""
    chance = random.Random(seed)  # noqa: S311 - repeatable
    tame = chance.random() < 0.5
    host = SavingsHost(hours=200 if tame else chance.choice((1, 23, 24, 100, 340)), name=f"node-{seed}")
    kind = chance.choice((*KINDS,))
    one_price = chance.choice((2, KINDS[kind], KINDS[kind]))
    unpriced = chance.choice((0, 0, 0.3))
    for number in range(chance.randint(2 if tame else 1, 5)):
        holders = chance.sample(SERVERS, chance.choice((0, 1, 1, 1, 2)))
        if tame:
            holders = [SERVERS[-number]] if number < chance.choice((3, 5)) else []
        host.gpu(*holders, dollars=None if chance.random() < unpriced else one_price, model=kind)
    quiet = chance.choice((0.3, 0.6)) if tame else chance.choice((0.3, 1))
    gaps = 0 if tame else chance.choice((0, 0.01, 0.5))
    for server in (*SERVERS, FREE):
        gpus = [gpu for gpu in host.gpus if (server in gpu.holders if server != FREE else not gpu.holders)]
        if not gpus:
            continue
        share = sum(1 / max(1, len(gpu.holders)) for gpu in gpus)
        rests = chance.choice((set(), set(range(chance.randint(0, 12))), set(range(24))))
        since = chance.choice((0, 0, 0, host.hours // 2, host.hours - 2))
        for hour in range(max(0, since), host.hours):
            resting = server == FREE or hour % 24 in rests or chance.random() < 0.05
            host.use(
                server,
                [hour],
                len(gpus) if tame else round(share * 2),
                idle=1.0 if resting else 1 - quiet * chance.random(),
                phase="unobserved" if chance.random() < gaps else "decode",
                tokens=0 if resting else chance.randint(0, 10**6),
            )
        if chance.random() < 0.8:
            host.hold(server, chance.uniform(1, 40))
    return host.usage()


Times = dict[ServerKey, int]


def idle_times(host: HostUsage) -> Times:
    """Idle time of each server, and of unallocated GPUs."""
    return times(host, ("idle",))


def times(host: HostUsage, phases: tuple[str, ...] = ("idle", "decode", "unobserved")) -> Times:
    sums: Times = {}
    for usage in host.hours.values():
        for (owner, phase), time in usage.gpu_time.items():
            if phase in phases:
                sums[owner.key] = sums.get(owner.key, 0) + time
    return sums


def idle_amount(host: HostUsage) -> Fraction:
    """Idle and unallocated dollars of the window, each server at the dearest of its prices now."""
    amount = 0
    for key, time in idle_times(host).items():
        prices = [
            gpu.per_hour or 0 for gpu in host.gpus if (key in gpu.holders if key != FREE else not gpu.holders)
        ]
        amount += time * max(prices, default=0)
    return Fraction(amount, HOUR)


OFFERS = (HostedPrice("api", Decimal("0.5"), Decimal("0.5"), server="server-[01]"),)


def judged(*hosts: HostUsage, ignored: tuple[IgnoredSaving, ...] = ()) -> Advice:
    return advice(hosts, policy(offers=OFFERS, ignored=ignored))


def fleet(seed: int, size: int = 3) -> list[HostUsage]:
    return [random_host(seed + number) for number in range(size)]


@examples(60)
@given(st.integers(0, 10**9))
def test_savings_never_exceed_idle_dollars_and_differences(seed: int) -> None:
    """The sum of all findings, over idle and unallocated dollars and price differences; of each host too."""
    hosts = fleet(seed)

    result = judged(*hosts)

    for host in hosts:
        savings = [saving for saving in result.savings if saving.host == host.name]
        amount = sum(saving.amount for saving in savings)
        assert amount <= idle_amount(host) + sum(saving.difference for saving in savings)
        assert all(saving.claimed <= saving.window_hours * HOUR * len(host.gpus) * 2 for saving in savings)
    assert all(saving.amount > 0 for saving in result.savings)


def check_claims(host: HostUsage, savings: list[Saving]) -> None:
    """Each server's time is claimed at most once, its idle time alone but for price differences."""
    gpu_time, idle = times(host), idle_times(host)
    assert len({(each.kind, each.server) for each in savings}) == len(savings)
    moves = [each.fewer for each in savings if each.fewer is not None]
    moved = [key for move in moves for key in move.servers]
    shared = {key for move in moves for key in move.onto}
    assert len(moved) == len({*moved})
    assert shared.isdisjoint(moved)
    for each in savings:
        if each.fewer is not None:
            assert each.claimed - each.fewer.borrowed <= sum(idle.get(key, 0) for key in each.fewer.servers)
            assert each.fewer.busiest <= 7 * HOUR // 10
            assert 10 * each.fewer.memory_bytes <= 9 * each.fewer.memory_total_bytes
    for key in {each.server for each in savings} - {*moved}:
        own = {each.kind: each.claimed for each in savings if each.server == key}
        assert sum(own.values()) <= gpu_time[key]
        assert sum(time for kind, time in own.items() if kind not in {"hosted", "gpu_model"}) <= idle.get(
            key, 0
        )
        assert not (key in shared and own.keys() & {"hosted", "gpu_model", "deserted"})
    assert not {each.server for each in savings if each.fewer is None} & {*moved}
    rests = sum(each.claimed for each in savings if each.server in shared)
    assert rests + sum(move.borrowed for move in moves) <= sum(idle.get(key, 0) for key in shared)


@examples(60)
@given(st.integers(0, 10**9))
def test_each_gpu_hour_belongs_to_one_finding(seed: int) -> None:
    """What moves has no other finding, and works in idle time of others that no finding claims."""
    hosts = fleet(seed)

    result = judged(*hosts)

    for host in hosts:
        check_claims(host, [saving for saving in result.savings if saving.host == host.name])
    cheaper = [each.cheaper for each in result.savings if each.cheaper is not None]
    for kind in KINDS:
        free = sum(sum(not gpu.holders for gpu in host.gpus if gpu.gpu.gpu_model == kind) for host in hosts)
        free += sum(each.gpus for each in result.savings if each.kind in {"deserted", "consolidation"})
        assert sum(each.gpus for each in cheaper if each.gpu_model == kind) <= free


@examples(60)
@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_muted_finding_claims_nothing_of_others(seed: int, which: int) -> None:
    """It is counted no more; what is counted then still belongs to one finding, and other hosts stay."""
    hosts = fleet(seed)
    before = judged(*hosts)
    if not before.savings:
        return
    mute = before.savings[which % len(before.savings)]
    pattern = None if mute.server == FREE else mute.server.name
    ignored = IgnoredSaving(mute.kind, "kept", policy().now + 1, server=pattern)

    after = judged(*hosts, ignored=(ignored,))

    assert not [each for each in after.counted if each.kind == mute.kind and each.server == mute.server]
    assert [each for each in after.savings if each.ignored is not None]
    for host in hosts:
        counted = [each for each in after.counted if each.host == host.name]
        check_claims(host, counted)
        amount = sum(saving.amount for saving in counted)
        assert amount <= idle_amount(host) + sum(saving.difference for saving in counted)
    touched = {each.host for each in before.savings if ignored.covers(each.kind, each.server)}
    assert local(before, except_hosts=touched) == local(after, except_hosts=touched)


def local(result: Advice, except_hosts: set[str]) -> list[Saving]:
    """Findings that rest on one host, of all hosts but some."""
    return [each for each in result.savings if each.host not in except_hosts and each.kind != "gpu_model"]


@examples(60)
@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_an_hour_more_of_one_host_raises_no_finding_of_another(seed: int, addition: int) -> None:
    """Older or newer, whatever it holds. Only cheaper GPUs depend on what others measured and have free."""
    hosts = fleet(seed)
    longer, chance = hosts[0], random.Random(addition)  # noqa: S311 - repeatable
    hour = chance.choice((longer.first - 1, longer.last + 1))
    usage = chance.choice((*longer.hours.values(), HourUsage({}, {})))
    grown = replace(
        longer,
        first=min(hour, longer.first),
        last=max(hour, longer.last),
        hours={**longer.hours, hour: usage},
        memory={**longer.memory, hour: longer.memory.get(longer.first, {})},
    )

    before, after = judged(*hosts), judged(grown, *hosts[1:])

    assert local(after, {longer.name}) == local(before, {longer.name})


@examples(50)
@given(st.lists(st.integers(0, 10**9), max_size=4, unique=True))
def test_a_fleet_saves_what_its_hosts_do(seeds: list[int]) -> None:
    """Hosts are judged in any order, and one by one but for cheaper GPUs elsewhere."""
    hosts = [random_host(seed) for seed in seeds]

    together = judged(*hosts)

    assert judged(*reversed(hosts)).savings == together.savings
    assert sorted(each.per_month for each in local(together, set())) == sorted(
        each.per_month for host in hosts for each in judged(host).savings
    )
    assert together.idle == sum(judged(host).idle for host in hosts)


@examples(50)
@given(st.integers(0, 10**9), st.sampled_from((2, 3, 10)))
def test_dollars_follow_the_present_price(seed: int, factor: int) -> None:
    """Without offers, a price that many times as high makes each finding that many times as large."""
    host = random_host(seed)
    dearer = replace(
        host,
        gpus=tuple(
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


def useful_host(seed: int, kind: str) -> tuple[HostUsage, int]:
    """A host whose GPUs all serve each hour at some load, but for restarts and failed reads; its spend.

    No two servers fit on one GPU: their memory does not, or their busy hours do not.
    """
    chance = random.Random(seed)  # noqa: S311 - repeatable
    host = SavingsHost(hours=chance.choice((24, WEEK, 2 * WEEK, 3 * WEEK)), name=f"node-{seed}")
    full = chance.random() < 0.5
    for server in SERVERS[: chance.randint(1, 4)]:
        gpus = chance.choice((1, 2, 4))
        for _ in range(gpus):
            host.gpu(server, dollars=KINDS[kind], model=kind)
        load = chance.uniform(0.02, 0.9) if full else chance.uniform(0.5, 0.9)
        for hour in range(host.hours):
            quiet = chance.random() < 0.02
            idle = 1 - load * chance.uniform(0.6, 1.0)
            phase: Phase = "unobserved" if chance.random() < 0.01 else "decode"
            host.use(server, [hour], gpus, idle=1.0 if quiet else idle, phase=phase, tokens=0 if quiet else 9)
        for hour in chance.sample(range(host.hours), host.hours // 100):  # a restart frees it for a while
            host.use(FREE, [hour], gpus, idle=0.2, phase="other")
        host.hold(server, chance.uniform(37, 76) if full else chance.uniform(1, 76))
    usage = host.usage()
    spent = sum(time for hour in usage.hours.values() for time in hour.gpu_time.values()) * KINDS[kind]
    return usage, spent * DOLLAR // HOUR


@pytest.mark.parametrize("seed", daily(range(100), range(20)))
def test_nothing_is_advised_without_waste(seed: int) -> None:
    """No false saving above 1 % of the spend: quiet hours and restarts are none."""
    hosts, spent = zip(
        *(useful_host(2 * seed + number, kind) for number, kind in enumerate(KINDS)), strict=True
    )

    result = advice(hosts, policy())

    assert sum(saving.amount for saving in result.savings) * 100 <= sum(spent)


def test_random_fleets_have_findings_of_every_kind() -> None:
    """The properties above are about something: of 50 fleets each kind is in three or more."""
    fleets = [judged(*fleet(3 * number)) for number in range(50)]
    counts = Counter(kind for result in fleets for kind in {saving.kind for saving in result.savings})

    assert min(counts[kind] for kind in SAVING_KINDS) >= 3
