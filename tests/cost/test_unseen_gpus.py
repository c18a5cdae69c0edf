"""A host is charged for as many GPUs as it has, those included that NVML never listed, and for no more.

A p5.48xlarge costs 55.04 dollars an hour, 6.88 for each of 8 GPUs.
"""

from dataclasses import replace
from decimal import Decimal

import pytest

from exporter.cost.inventory import stated_count
from exporter.cost.late_accrual import charge_late
from exporter.cost.policy import CostPolicy
from exporter.cost.state import State
from exporter.readings import NO_EVIDENCE, UNCOUNTED, Gpu, GpuEvidence, GpuReading, HostLocation
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Hardware, HardwareMatch, Listed, Owned, Rented, RentPrice, Retirement
from tests.cost.changing_gpus import (
    BOUGHT,
    H100,
    HOST,
    L4,
    P5,
    PER_GPU,
    Board,
    ChangingGpusHost,
    boards,
    near,
    of_models,
    whole,
)
from tests.cost.checked_meter import CheckedMeter
from tests.cost.exact_model import by_hour
from tests.cost.readings import START, overhead, rent
from tests.kit.units import DOLLAR, HOUR, MINUTE

LISTED = Hardware(HardwareMatch(), Listed("aws", "p5.48xlarge", "us-east-1"), "hardware[0]")


@pytest.mark.parametrize(
    ("priced", "hourly"),
    [
        (whole(rent("55.04", 8)), 55.04),
        (whole(BOUGHT), 7.985398),
        (whole(LISTED), 55.04),
        (whole(Hardware(HardwareMatch(), Listed(), "x"), location=P5), 55.04),
        (whole(rent("6.88"), location=P5), 55.04),
    ],
    ids=["rent", "owned", "catalogue-type", "catalogue-place", "per-gpu-of-a-known-type"],
)
def test_seven_of_eight(priced: CostPolicy, hourly: float) -> None:
    """The eighth was never listed: it is in the ledger as `unseen`, unallocated and idle."""
    host = ChangingGpusHost(priced, *boards("a", 7))
    assert host.unseen() == 1
    assert host.hourly() == hourly
    assert host.hourly(uuid="unseen", server="unallocated", phase="idle") == pytest.approx(
        hourly / 8, abs=1e-6
    )
    assert host.meter.seconds(uuid="unseen") == 2 * 3600
    outcome = host.tick()
    assert (outcome.inventory.expected, outcome.inventory.visible) == (8, 7)
    host.tick(10, boards("a"))
    assert (host.unseen(), host.hourly()) == (0, hourly)


def test_unseen_gpus_share_what_is_for_the_host() -> None:
    """Two of eight were never listed: 0.80 an hour of network and 1 for each GPU: eight of both."""
    priced = whole(
        rent("55.04", 8),
        overheads=(overhead("network", "0.80", "hour", "host"), overhead("power", "1", "hour", "gpu")),
    )
    host = ChangingGpusHost(priced, *boards("a", 6))
    assert host.hourly(component="network") == 0.80
    assert host.hourly(component="network", uuid="a0") == 0.10
    assert host.hourly(component="power", uuid="unseen") == 2.0
    assert host.hourly() == 63.84
    assert host.meter.seconds(uuid="unseen") == 4 * 2 * 3600


def test_an_unseen_gpu_without_a_price_waits_for_one() -> None:
    """The instance type has eight, and nothing prices them: all eight wait, the unseen one too."""
    host = ChangingGpusHost(whole(of_models("*A100*", "1", 1), location=P5), *boards("a", 7))
    outcome = host.tick()
    waiting = {each.gpu.uuid for segment in outcome.postings.segments for each in segment.unpriced}
    assert waiting == {"unseen", *(f"a{n}" for n in range(7))}


def test_unseen_gpus_without_a_price_wait_with_the_time_that_the_host_was_up() -> None:
    """Two of eight are unseen. Of an hour's gap across a boot the host was up for 80 s."""
    host = ChangingGpusHost(whole(of_models("*A100*", "1", 1), location=P5), *boards("a", 6))
    segments = host.restart(3600, *boards("a", 6)).postings.segments
    waiting = [each for segment in segments for each in segment.unpriced if each.gpu.uuid == "unseen"]
    assert sum(used.up for each in waiting for used in each.usage.values()) == 2 * 4 * MINUTE // 3


def test_an_exporter_that_sees_half_of_the_gpus_charges_those() -> None:
    """Two exporters of one host, each shown four of eight: 27.52 each, never 55.04 twice."""
    half = replace(whole(), all_gpus=False)
    sides = [ChangingGpusHost(half, *boards("a")[:4]), ChangingGpusHost(half, *boards("a")[4:])]
    assert [side.hourly() for side in sides] == [27.52, 27.52]
    for side in sides:
        assert (side.unseen(), side.tick().inventory.expected) == (0, 4)
        side.restart(3600, *boards("b", 4))
        assert (side.hourly(), len(side.uuids())) == (27.52, 4)
        side.tick(10, boards("b", 3))
        assert (side.hourly(), side.lost()) == (27.52, ["b3"])
        assert side.tick().inventory.expected == 4


def test_a_gap_pays_for_an_unseen_gpu_too() -> None:
    """7 of 8 were listed; after the restart all 8 are: the 80 s of the gap are of eight, one unseen."""
    host = ChangingGpusHost(whole(), *boards("a", 7))
    host.restart(3600, *boards("b"))
    assert near(host.meter.dollars(), HOST * 80 // 3600)
    assert near(host.meter.dollars(uuid="unseen", phase="unobserved"), HOST // 8 * 80 // 3600)
    assert (host.unseen(), host.hourly()) == (0, 55.04)


def test_books_that_are_the_first_of_a_boot_charge_unseen_gpus_since_then() -> None:
    """7 of 8, booted 20 minutes before: 20 minutes of 55.04, of which an eighth is nobody's and `unseen`."""
    meter = CheckedMeter(whole(), state=State(fresh_in="boot-1"), elapsed=20 * MINUTE)
    listed = [GpuReading(Gpu(board.uuid, board.model), n) for n, board in enumerate(boards("a", 7))]
    meter.pass_by(0, listed, boot="boot-1")

    assert near(meter.dollars(), HOST // 3)
    assert near(meter.dollars(uuid="unseen", server="unallocated"), HOST // 24)


H100_FIRST = (of_models("*H100*", "20", 8), rent("55.04", 8))
OF_HOST = replace(rent("55.04", 8), match=HardwareMatch(host="host-*"))
OF_TYPE = replace(rent("55.04", 8), match=HardwareMatch(instance_type="p5.*"))
OF_ALL_HOSTS = replace(rent("55.04", 8), match=HardwareMatch(host="*"))
CPU = HostLocation("aws", "m7i.large", "us-east-1", lifecycle="on_demand")
LIBRARY = GpuEvidence(library=True)
BOARD = GpuEvidence(devices=8)
IN_VMS = GpuEvidence(passed_through=8)


@pytest.mark.parametrize(
    ("priced", "evidence", "hourly"),
    [
        (whole(), LIBRARY, 55.04),
        (whole(), BOARD, 55.04),
        (whole(), NO_EVIDENCE, 0),
        (whole(), IN_VMS, 0),
        (whole(), replace(IN_VMS, library=True), 0),
        (whole(), replace(IN_VMS, devices=1), 55.04),
        (whole(BOUGHT), BOARD, 7.985398),
        (whole(LISTED), LIBRARY, 55.04),
        (whole(rent("6.88"), location=P5), NO_EVIDENCE, 55.04),
        (whole(Hardware(HardwareMatch(), Listed(), "x"), location=P5), NO_EVIDENCE, 55.04),
        (whole(location=CPU), NO_EVIDENCE, 0),
        (whole(OF_TYPE, location=CPU), NO_EVIDENCE, 0),
        (whole(OF_TYPE, location=P5), NO_EVIDENCE, 55.04),
        (whole(OF_HOST), NO_EVIDENCE, 55.04),
        (whole(OF_ALL_HOSTS), NO_EVIDENCE, 0),
        (replace(whole(), all_gpus=False), BOARD, 0),
        (whole(*H100_FIRST), BOARD, None),
        (whole(rent("3", match=HardwareMatch(uuid="a0")), rent("55.04", 8)), BOARD, None),
        (whole(rent("55.04", 8), *H100_FIRST), BOARD, 55.04),
        (whole(rent("6.88")), BOARD, None),
        (whole(of_models("*H100*", "20", 8), location=P5), NO_EVIDENCE, None),
    ],
    ids=[
        "library",
        "board-on-the-bus",
        "cpu-node",
        "boards-of-vms",
        "boards-of-vms-and-a-driver",
        "boards-of-vms-and-one-more",
        "owned",
        "catalogue-type-in-the-rule",
        "catalogue-type-of-the-host",
        "catalogue-price-and-type",
        "cpu-type",
        "rule-for-another-type",
        "rule-for-the-type",
        "rule-for-the-host",
        "rule-for-every-host",
        "given-a-part",
        "model-rule-first",
        "board-rule-first",
        "model-rule-behind",
        "no-number",
        "no-price",
    ],
)
def test_what_a_host_owes_before_nvml_ever_lists_a_gpu(
    priced: CostPolicy, evidence: GpuEvidence, hourly: float | None
) -> None:
    """The price and the number that are stated, on hosts that show GPUs; `None`: an hour waits for both."""
    host = ChangingGpusHost(priced, evidence=evidence, silent=True)
    outcome = host.silent()
    waiting = [unpriced for segment in outcome.postings.segments for unpriced in segment.unpriced]
    assert host.meter.dollars() == pytest.approx((hourly or 0) * DOLLAR, abs=1e6)
    assert {unpriced.gpu for unpriced in waiting} == (set() if hourly is not None else {UNCOUNTED})
    if hourly:
        assert (outcome.inventory.expected, outcome.inventory.visible) == (8, None)
        assert {gpu for gpu, *_ in host.meter.money} == {"unseen"}
    elif hourly == 0:
        assert outcome.inventory.expected is None
        assert outcome.inventory.gpu_host is not priced.all_gpus


def test_a_driver_that_lists_none_is_a_sign() -> None:
    """NVML answers, with no GPU: the rule's eight are owed, and 0 is visible."""
    host = ChangingGpusHost(whole())
    assert host.hourly() == 55.04
    outcome = host.tick()
    assert (outcome.inventory.expected, outcome.inventory.visible, host.unseen()) == (8, 0, 8)
    host.tick(10, boards("a"))
    assert (host.hourly(), host.unseen()) == (55.04, 0)
    host.tick(10, [])
    assert (host.hourly(), len(host.lost())) == (55.04, 8)


def test_a_node_without_a_sign_is_not_metered() -> None:
    """No time is covered: its month is empty, and no report has it."""
    host = ChangingGpusHost(whole(), evidence=NO_EVIDENCE, silent=True)
    assert host.silent().postings.segments == ()


@pytest.mark.parametrize(
    ("listed", "price", "dollars"),
    [
        (boards("a"), PER_GPU, 3 * 55.04),
        (boards("a", 2), PER_GPU, 3 * 13.76),
        (boards("a", 2), of_models("*H100*", "55.04", 8), 3 * 55.04),
        (boards("l", 4, model=L4), of_models("*L4*", "4", 4), 12),
    ],
    ids=["eight", "two", "two-of-eight", "four-l4"],
)
def test_time_that_waits_is_charged_by_the_rule_of_the_first_gpus(
    listed: list[Board], price: Hardware, dollars: float
) -> None:
    """Two hours of nobody knows what, then an hour of the GPUs that NVML lists: three hours of them."""
    host = ChangingGpusHost(whole(price), evidence=BOARD, silent=True)
    waiting = [each for _ in range(2) for each in by_hour([host.silent().postings])]
    assert host.meter.dollars() == 0
    assert sum(used.time for each in waiting for used in each.usage.values()) == 2 * HOUR
    still, none = charge_late(host.meter.state, waiting, host.meter.policy, host.meter.wall)
    assert (none.segments, still.accrued) == ((), 0)

    outcome = host.tick(3600, listed)
    state, late = charge_late(host.meter.state, waiting, outcome.policy, host.meter.wall)
    total = host.meter.dollars() + sum(money.amount for segment in late.segments for money in segment.money)
    assert total == pytest.approx(dollars * DOLLAR, abs=100)
    assert state.accrued - host.meter.state.accrued == sum(segment.accrued for segment in late.segments)
    counted = sum(time.chargeable for segment in late.segments for time in segment.gpu_times)
    assert counted == 2 * HOUR * outcome.state.gpu_count
    assert all(not left.usage for left in late.left)


@pytest.mark.parametrize(
    ("answer", "dollars"),
    [(P5, 2 * 55.04), (CPU, 0), (None, 0)],
    ids=["gpu-type", "cpu-type", "never"],
)
def test_a_location_that_comes_late(answer: HostLocation | None, dollars: float) -> None:
    """An hour while it is asked for waits; a type with GPUs then states number and price of it."""
    known = whole(Hardware(HardwareMatch(), Listed(), "x"), location=answer or HostLocation())
    asking = replace(known, tariff=replace(known.tariff, location=HostLocation(), hardware=()))
    asking = replace(asking, tariff=replace(asking.tariff, location_pending=True))
    host = ChangingGpusHost(asking, evidence=BOARD, silent=True)
    waiting = by_hour([host.silent().postings])
    assert (host.meter.dollars(), bool(waiting)) == (0, True)
    host.meter.policy = replace(host.meter.policy, tariff=known.tariff)
    outcome = host.silent()
    _, late = charge_late(host.meter.state, waiting, outcome.policy, host.meter.wall)
    total = host.meter.dollars() + sum(segment.accrued for segment in late.segments)
    assert total == pytest.approx(dollars * DOLLAR, abs=100)


def test_books_that_are_the_first_of_a_boot_charge_what_is_owed_since_then() -> None:
    """NVML silent, booted 20 minutes before: 20 minutes of 55.04 for eight that nobody has seen."""
    meter = CheckedMeter(whole(), state=State(fresh_in="boot-1"), elapsed=20 * MINUTE, evidence=BOARD)
    meter.pass_by(0, None, boot="boot-1")

    assert near(meter.dollars(uuid="unseen", server="unallocated"), HOST // 3)


def test_while_the_cloud_is_being_asked_the_host_is_what_it_was() -> None:
    """Nothing is released and the unseen one stays, until the instance type is known."""
    expected = whole(Hardware(HardwareMatch(), Listed(), "x"), location=P5)
    host = ChangingGpusHost(expected, *boards("a", 7))
    asking = replace(expected.tariff, location=HostLocation(), hardware=(), location_pending=True)
    for _ in range(3):
        host.meter.policy = replace(host.meter.policy, tariff=asking)
        host.restart(60, *boards("a", 6))
        assert (host.lost(), host.unseen()) == (["a6"], 1)
    host.meter.policy = replace(host.meter.policy, tariff=expected.tariff)
    assert host.hourly() == 55.04


def test_unseen_gpus_that_are_listed_while_the_cloud_is_being_asked_are_unseen_no_more() -> None:
    """Five of eight, then seven: one is unseen, and eight are charged."""
    expected = whole(Hardware(HardwareMatch(), Listed(), "x"), location=P5)
    host = ChangingGpusHost(expected, *boards("a", 5))
    assert host.unseen() == 3
    asking = replace(expected.tariff, location=HostLocation(), hardware=(), location_pending=True)
    host.meter.policy = replace(host.meter.policy, tariff=asking)
    host.restart(60, *boards("a", 7))
    assert (host.lost(), host.unseen()) == ([], 1)
    host.meter.policy = replace(host.meter.policy, tariff=expected.tariff)
    assert host.hourly() == 55.04


def test_two_models_of_one_host_with_a_count_each() -> None:
    """4 H100 for 20 dollars and 4 L4 for 4: a missing L4 is an L4, and a lost H100 stays one."""
    mixed = whole(of_models("*H100*", "20", 4), of_models("*L4*", "4", 4))
    hs, ls = boards("h", 4), [Board(f"l{n}", f"{n}", L4) for n in range(4)]
    host = ChangingGpusHost(mixed, *hs, *ls[:3])
    assert (host.unseen(), host.hourly(), host.hourly(uuid="unseen")) == (1, 24, 1)
    host.tick(10, [*hs, *ls])
    assert (host.unseen(), host.hourly()) == (0, 24)
    host.tick(10, [*hs[:3], *ls])
    assert (host.lost(), host.hourly()) == (["h3"], 24)
    host.tick(10, hs)
    assert (host.lost(), host.hourly()) == (["l0", "l1", "l2", "l3"], 24)


def test_a_rule_for_one_board_does_not_add_to_the_count_of_the_host() -> None:
    """One board of eight has a price of its own; the rule of the others says that the host has eight."""
    named = rent("3", match=HardwareMatch(uuid="a0"))
    host = ChangingGpusHost(whole(named, rent("55.04", 8)), *boards("a"))
    assert (host.unseen(), host.hourly()) == (0, 51.16)
    host = ChangingGpusHost(
        whole(replace(BOUGHT, match=HardwareMatch(uuid="a0")), rent("6.88")), *boards("a")
    )
    assert host.unseen() == 0


@pytest.mark.parametrize("before", [False, True], ids=["afterwards", "beforehand"])
def test_a_retired_gpu_leaves_an_empty_slot(*, before: bool) -> None:
    """Seven of eight at 6.88: the slot is neither lost nor unseen, until another board sits in it."""
    retired = (Retirement("a7", START + 2 * HOUR if before else START),)
    priced = whole()
    host = ChangingGpusHost(priced, *boards("a"))
    host.meter.policy = replace(host.meter.policy, tariff=replace(priced.tariff, retired=retired))
    host.tick(3 * 3600, boards("a")[:7])
    assert (host.lost(), host.unseen(), host.hourly()) == ([], 0, 48.16)
    assert host.tick().inventory.expected == 7
    host.restart(3600, *boards("b", 7))
    assert (host.lost(), host.unseen(), host.hourly()) == ([], 0, 48.16)
    host.tick(10, boards("b"))
    assert (host.hourly(), host.tick().inventory.expected) == (55.04, 8)
    host.tick(10, boards("b", 7))
    assert (host.lost(), host.hourly()) == (["b7"], 55.04)


@pytest.mark.parametrize(
    ("hardware", "location", "count"),
    [
        ((rent("55.04", 8),), HostLocation(), 8),
        ((BOUGHT,), HostLocation(), 8),
        ((rent("6.88"),), HostLocation(), None),
        ((rent("6.88"),), P5, 8),
        ((rent("55.04", 4),), P5, 4),
        ((rent("1"),), HostLocation("aws", "p9.unheard-of", "us-east-1"), None),
        ((rent("1"),), HostLocation("nocloud", "p5.48xlarge", "us-east-1"), None),
        ((rent("1"),), HostLocation("aws", "g6f.xlarge", "us-east-1"), 1),
        ((LISTED,), HostLocation(), 8),
        ((), P5, 8),
        ((), HostLocation(), None),
        ((of_models("*H100*", "1", 8),), HostLocation(), 8),
        ((of_models("*H100*", "1", 2),), HostLocation(), 2),
    ],
)
def test_what_says_how_many_there_are(
    hardware: tuple[Hardware, ...], location: HostLocation, count: int | None
) -> None:
    """A rule's `gpus_per_host`, else the instance type's by the catalogue: fractions show as one."""
    tariff = Tariff("host-1", hardware, location=location)
    assert stated_count(tariff, [Gpu(f"a{n}", H100) for n in range(3)]) == count


def test_dated_prices_per_host_say_it_too() -> None:
    """A price per GPU until a date and per host from then on: the host has eight."""
    prices = (RentPrice(Decimal(7)), RentPrice(Decimal("55.04"), 8, START))
    tariff = Tariff("host-1", (Hardware(HardwareMatch(), Rented(prices), "x"),))
    assert stated_count(tariff, [Gpu("a0", H100)]) == 8
    assert isinstance(BOUGHT.pricing, Owned)
