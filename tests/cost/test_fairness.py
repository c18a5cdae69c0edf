"""No party is favored by remainders: ten dollars a month over 1,000 GPUs and 150 parties.

A GPU accrues a cent a month: 38,580 picodollars in 10 s, 257.2 for each of 150 parties. Were the 0.2 always
rounded the same way, or ties always decided alike, the same parties would pay for it all month.
"""

from dataclasses import replace
from fractions import Fraction
from random import Random

import pytest

from exporter.cost.accrual import accrue
from exporter.cost.money import divide_fairly
from exporter.cost.policy import CardinalityLimits
from exporter.cost.state import Carry
from exporter.readings import Holder, ServerKey
from exporter.tariff.rate import Rate
from tests.cost.checked_meter import CheckedMeter
from tests.cost.readings import CHAT, cost_policy, h100, overhead, page
from tests.kit.units import DOLLAR, HOUR, SECOND
from tests.nightly import daily

MONTH = 720 * HOUR
OWNERS = [f"party-{number:03d}" for number in range(150)]
A_CENT = Rate(10 * DOLLAR, MONTH * 1000)


def charged(
    weights: list[dict[str, int]], duration: int, ticks: int
) -> tuple[dict[str, int], dict[str, Fraction]]:
    """What each party is charged on one of the GPUs, and what it is due. `weights` take turns."""
    paid, due = dict.fromkeys(OWNERS, 0), dict.fromkeys(OWNERS, Fraction(0))
    accrued = [0] * len(weights)
    carry: Carry | None = None
    rounding: dict[str, int] = {}
    for tick in range(ticks):
        divided_by = weights[tick % len(weights)]
        amount, carry = accrue(A_CENT, duration, carry)
        parts, debts = divide_fairly(amount, divided_by, rounding)
        rounding = {**rounding, **debts}
        accrued[tick % len(weights)] += amount
        for owner, part in parts.items():
            paid[owner] += part
    for divided_by, amount in zip(weights, accrued, strict=True):
        for owner, weight in divided_by.items():
            due[owner] += Fraction(amount * weight, sum(divided_by.values()))
    return paid, due


@pytest.mark.nightly
def test_a_month_of_ticks_favors_no_party() -> None:
    """30 days in pieces of a minute, the longest posted at once: 2 picodollars off in 66.7 million."""
    paid, due = charged([dict.fromkeys(OWNERS, 7)], 60 * SECOND, 30 * 24 * 60)
    assert sum(paid.values()) == 10**10
    assert max(abs(paid[owner] - due[owner]) for owner in OWNERS) < 2
    assert all(due[owner] == Fraction(10**10, 150) for owner in OWNERS)


@pytest.mark.parametrize("seed", daily([1, 2], {1}))
def test_unequal_parties_are_not_favored_either(seed: int) -> None:
    """A day of ticks of 10 s at weights from 1 to a million: the smallest are due millionths of a unit."""
    random = Random(seed)  # noqa: S311
    reported = {owner: int(10 ** random.uniform(0, 6)) for owner in OWNERS}
    paid, due = charged([reported], 10 * SECOND, 8640)
    assert max(abs(paid[owner] - due[owner]) for owner in OWNERS) < 2


def test_parties_that_take_turns_are_not_favored() -> None:
    """Half of them hold in one tick and half in the next, with some in both: a debt waits for its turn."""
    first = dict.fromkeys(OWNERS[:90], 3)
    second = {owner: 1 + number % 5 for number, owner in enumerate(OWNERS[60:])}
    paid, due = charged([first, second], 10 * SECOND, 8640)
    assert max(abs(paid[owner] - due[owner]) for owner in OWNERS) < 3
    assert max(abs(paid[owner] / due[owner] - 1) for owner in OWNERS) < 0.005


@pytest.mark.nightly
def test_gpus_of_one_host_do_not_round_alike() -> None:
    """60 of the GPUs through the whole model: 150 models of one server hold each of them, for some ticks."""
    meter = CheckedMeter(
        cost_policy(
            overheads=(overhead("storage", "0.01", "month", "gpu"),), limits=CardinalityLimits(models=150)
        )
    )
    gpus = [h100(number, utilization_ratio=0.0) for number in range(60)]
    server = replace(page(running=0.0), models=tuple(OWNERS), loads=())
    holders = [Holder(CHAT, gpu.gpu.uuid) for gpu in gpus]
    for _ in range(4):
        meter.tick(10, gpus, [server], holders)
    due = 3 * 60 * Fraction(DOLLAR * 10 * SECOND, 100 * MONTH * 150)
    for owner in OWNERS:
        assert abs(meter.dollars(model=owner) / due - 1) < 0.005
    assert abs(meter.dollars() - 150 * due) < 60


def test_servers_that_come_and_go_are_not_favored() -> None:
    """Two groups of servers hold a GPU in turns; what a group of 75 is due is within 0.5 % for each."""
    meter = CheckedMeter(
        cost_policy(
            overheads=(overhead("storage", "0.01", "month", "gpu"),), limits=CardinalityLimits(servers=200)
        )
    )
    names = [ServerKey("", owner) for owner in OWNERS]
    turns = [[Holder(key, "GPU-0") for key in names[::2]], [Holder(key, "GPU-0") for key in names[1::2]]]
    for tick in range(201):
        meter.tick(10, [h100(utilization_ratio=0.0)], [], turns[tick % 2])
    due = 100 * Fraction(DOLLAR * 10 * SECOND, 100 * MONTH * 75)
    for owner in OWNERS:
        assert abs(meter.dollars(server=owner) / due - 1) < 0.005
