"""A GPU that was taken out for good is charged until it left; the figures are worked by hand."""

from dataclasses import replace
from decimal import Decimal

import pytest

from exporter.cost.policy import CostPolicy
from exporter.tariff.terms import Retirement
from tests.cost.checked_meter import CheckedMeter
from tests.cost.readings import BATCH, CHAT, START, allocate, cost_policy, h100, overhead, owned, rent
from tests.kit.units import DOLLAR, HOUR, MINUTE

NOON = START + 12 * HOUR


def leaving(since: int, uuid: str = "GPU-1", *hardware: object) -> CostPolicy:
    """Two dollars an hour for each GPU, 0.80 an hour for the host; one GPU is said to have left."""
    priced = cost_policy(*(hardware or (rent(2),)), overheads=(overhead("network", "0.80", "hour", "host"),))  # type: ignore[arg-type]
    return retired_from(priced, since, uuid)


def retired_from(priced: CostPolicy, since: int, uuid: str = "GPU-1") -> CostPolicy:
    """The same terms with one more entry."""
    retired = (*priced.tariff.retired, Retirement(uuid, since, "2026-11-10T12:00Z"))
    return replace(priced, tariff=replace(priced.tariff, retired=retired))


def test_one_that_is_unread_is_charged_until_it_left_and_not_known_after() -> None:
    """Lost at 11:00, out from 12:00 on, a tick at 13:00: 13 h x 2 and 12 h x 2 dollars, and GPU time alike.

    The host's 0.80 an hour are halved until noon, and the other GPU's alone after it: 13 x 0.80 in all.
    """
    meter = CheckedMeter(leaving(NOON))
    holders = (*allocate(CHAT, 0), *allocate(BATCH, 1))
    meter.tick(0, [h100(0), h100(1)], holders=holders)
    meter.tick(11 * 3600, [h100(0), h100(1)], holders=holders)
    meter.tick(2 * 3600, [h100(0)], holders=allocate(CHAT, 0))

    assert meter.dollars(uuid="GPU-0", component="rent") == 26 * DOLLAR
    assert meter.dollars(uuid="GPU-1", component="rent") == 24 * DOLLAR
    assert meter.seconds(uuid="GPU-1") == 12 * 3600
    assert meter.dollars(uuid="GPU-0", component="network") == pytest.approx((12 * 0.40 + 0.80) * DOLLAR)
    assert meter.dollars(component="network") == pytest.approx(13 * 0.80 * DOLLAR)
    assert set(meter.state.gpus) == {"GPU-0"}
    assert meter.outcome is not None
    assert [gpu.gpu.uuid for gpu in meter.outcome.gpus] == ["GPU-0"]

    meter.tick(3600, [h100(0)], holders=allocate(CHAT, 0))
    assert meter.dollars(uuid="GPU-1") == pytest.approx((24 + 12 * 0.40) * DOLLAR)


def test_one_that_is_still_read_is_charged_on() -> None:
    """A wrong UUID or date makes nothing free that is here, whatever NVML says of its health."""
    meter = CheckedMeter(leaving(NOON))
    meter.tick(0, [h100(0), h100(1)])
    meter.tick(13 * 3600, [h100(0), h100(1)])
    meter.tick(3600, [h100(0), h100(1, up=False)])

    assert meter.dollars(uuid="GPU-1", component="rent") == 28 * DOLLAR
    assert set(meter.state.gpus) == {"GPU-0", "GPU-1"}


def test_before_its_day_a_lost_one_is_paid_for() -> None:
    """It is out from the next day on: until then it costs, read or not."""
    meter = CheckedMeter(leaving(START + 24 * HOUR))
    meter.tick(0, [h100(0), h100(1)])
    meter.tick(3600, [h100(0)])

    assert meter.dollars(uuid="GPU-1", component="rent") == 2 * DOLLAR
    assert not meter.state.gpus["GPU-1"].up


def test_while_the_driver_is_silent_people_are_believed() -> None:
    """Nothing says that it is here; when it is read again it is charged again, from that tick on."""
    meter = CheckedMeter(replace(leaving(NOON), gap_after=24 * HOUR))
    meter.tick(0, [h100(0), h100(1)])
    meter.tick(13 * 3600, None)
    assert meter.dollars(uuid="GPU-1", component="rent") == 24 * DOLLAR
    assert set(meter.state.gpus) == {"GPU-0"}

    meter.tick(3600, [h100(0), h100(1)])
    assert meter.dollars(uuid="GPU-1", component="rent") == 26 * DOLLAR


def test_an_entry_that_comes_later_takes_nothing_back() -> None:
    """Said at 14:00 of noon: what was charged until then stays, and nothing comes after."""
    meter = CheckedMeter(cost_policy(rent(2)))
    meter.tick(0, [h100(0), h100(1)])
    meter.tick(14 * 3600, [h100(0)])
    meter.policy = retired_from(meter.policy, NOON)
    meter.tick(3600, [h100(0)])

    assert meter.dollars(uuid="GPU-1") == 28 * DOLLAR
    assert meter.dollars(uuid="GPU-0") == 30 * DOLLAR


@pytest.mark.parametrize(("seconds", "hours"), [(3 * 3600, 1), (6 * 3600, 1)])
def test_a_host_that_was_opened_while_nobody_watched(seconds: int, hours: int) -> None:
    """Off at 11:00, the GPU out at 12:00, on again with one GPU: one hour of the gap is its own."""
    meter = CheckedMeter(replace(leaving(NOON), gap_after=MINUTE, gap_max=48 * HOUR))
    meter.tick(0, [h100(0), h100(1)])
    meter.policy = replace(meter.policy, gap_after=24 * HOUR)
    meter.tick(11 * 3600, [h100(0), h100(1)])
    meter.policy = replace(meter.policy, gap_after=MINUTE)
    before = meter.dollars(uuid="GPU-1", component="rent")
    meter.tick(seconds, [h100(0)])

    assert meter.dollars(uuid="GPU-1", component="rent") - before == 2 * hours * DOLLAR


def test_a_purchase_is_written_off_until_then_and_support_ends() -> None:
    """26,298 dollars over 8766 hours are 3 an hour, and 8,766 a year of support are 1: 12 hours of both."""
    bought = owned(
        purchase_dollars=Decimal(26_298),
        gpus=1,
        life_years=Decimal(1),
        support_dollars_per_year=Decimal(8766),
    )
    meter = CheckedMeter(leaving(NOON, "GPU-1", bought))
    meter.tick(0, [h100(0), h100(1)])
    meter.tick(24 * 3600, [h100(0)])

    assert meter.dollars(uuid="GPU-1", component="amortization") == 36 * DOLLAR
    assert meter.dollars(uuid="GPU-1", component="support") == 12 * DOLLAR


def test_the_last_one_of_a_host_may_leave() -> None:
    """A host without GPUs has no state of any, and ticks on."""
    meter = CheckedMeter(leaving(NOON, "GPU-0"))
    meter.tick(0, [h100(0)])
    meter.tick(13 * 3600, [])
    meter.tick(3600, [])

    assert meter.dollars(component="rent") == 24 * DOLLAR
    assert meter.state.gpus == {}
