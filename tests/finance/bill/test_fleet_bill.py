"""A bill over many hosts: hours of machines, commitments by what the bill says, and what is of no host."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from exporter.finance.bill.bill_file import Reading
from exporter.finance.bill.charges import CostColumn, InvoiceError
from exporter.finance.bill.fleet_bill import BilledMachine, FleetBill, read_fleet_bill
from exporter.tariff.period import Period
from tests.finance.bill.bills import UTC
from tests.finance.fleet.aws_bill import PLAN, Row, covered, instance, row, written
from tests.kit.units import DOLLAR, HOUR

MACHINES = {"i-0aaa": 0, "i-0bbb": 1}


def read(rows: list[Row], folder: Path, cost: CostColumn = "billed", month: str = "2026-10") -> FleetBill:
    """A bill of two machines, which is whole."""
    path = written(rows, folder / "bill.csv")
    bill = read_fleet_bill(
        path,
        Reading(UTC, cost),
        Period.named(month),
        lambda key, name: MACHINES.get(key, MACHINES.get(name)),
    )
    assert sum(each.sums.total for each in bill.machines.values()) + sum(
        each.amount for each in bill.residue
    ) == (bill.total)
    return bill


def residue(bill: FleetBill) -> dict[str, int]:
    return {each.kind: each.amount for each in bill.residue}


def time(machine: BilledMachine) -> int:
    """For how long a machine is billed."""
    return sum(metered.time for metered in machine.sums.meters.values())


def dollars(machine: BilledMachine) -> float:
    return machine.sums.total / DOLLAR


PURCHASE = {"CommitmentDiscountId": PLAN, "CommitmentDiscountType": "Reservation"}


def test_a_fee_that_is_paid_ahead_is_no_cost_of_the_month(tmp_path: Path) -> None:
    """A year is bought for 3,650; a day of one host is worth 10, and the rest is named."""
    rows = [row("3650", 1, "Purchase", EffectiveCost="0", **PURCHASE), covered("10", 1, "24", "i-0aaa")]

    billed, effective = read(rows, tmp_path), read(rows, tmp_path, "effective")
    assert dollars(billed.machines[0]) == dollars(effective.machines[0]) == 10
    assert residue(billed) == {"prepaid_commitments": 3640 * DOLLAR}
    assert residue(effective) == {}


def test_a_month_that_was_paid_for_before(tmp_path: Path) -> None:
    """In BilledCost the host still costs what it used, and the fee of another month pays for it."""
    bill = read([covered("10", 1, "24", "i-0aaa")], tmp_path)

    assert dollars(bill.machines[0]) == 10
    assert residue(bill) == {"prepaid_commitments": -10 * DOLLAR}


def test_a_fee_without_effective_cost_goes_by_quantity(tmp_path: Path) -> None:
    """100 dollars over 30, 10 and 10 hours, of which the last is of no host."""
    plain = {"EffectiveCost": "", "CommitmentDiscountId": PLAN, "CommitmentDiscountStatus": "Used"}
    rows = [
        row("100", 1, "Purchase", EffectiveCost="", **PURCHASE),
        instance("0", 1, "20", "i-0aaa", **plain),
        instance("0", 2, "10", "i-0aaa", **plain),
        instance("0", 1, "10", "i-0bbb", **plain),
        instance("0", 1, "10", "i-0eee", **plain),
    ]
    bill = read(rows, tmp_path)

    assert (dollars(bill.machines[0]), dollars(bill.machines[1])) == (60, 20)
    assert time(bill.machines[0]) == 30 * HOUR
    assert residue(bill) == {"other_resources": 20 * DOLLAR}


def test_a_row_without_effective_cost_costs_what_is_billed(tmp_path: Path) -> None:
    """Beside a row that has one: absent is not free."""
    plain = {"EffectiveCost": "", "CommitmentDiscountId": PLAN, "CommitmentDiscountStatus": "Used"}
    bill = read([covered("10", 1, "24", "i-0aaa"), instance("5", 1, "24", "i-0bbb", **plain)], tmp_path)

    assert (dollars(bill.machines[0]), dollars(bill.machines[1])) == (10, 5)
    assert residue(bill) == {"prepaid_commitments": -10 * DOLLAR}


def test_a_fee_that_nothing_uses(tmp_path: Path) -> None:
    """It is named as a commitment, and one without an id as a purchase."""
    rows = [row("100", 1, "Purchase", **PURCHASE), row("7", 1, "Purchase", ServiceName="Marketplace")]
    bill = read(rows, tmp_path)

    assert residue(bill) == {"prepaid_commitments": 100 * DOLLAR, "purchases": 7 * DOLLAR}


def test_reserved_capacity_that_is_not_used(tmp_path: Path) -> None:
    """A reservation without a fee: its hours are charged on demand, used or not."""
    reserved = {"CapacityReservationId": "cr-1"}
    rows = [
        instance("24", 1, "24", "i-0aaa", **reserved, CapacityReservationStatus="Used"),
        row("48", 2, **reserved, CapacityReservationStatus="Unused", PricingQuantity="48"),
    ]
    bill = read(rows, tmp_path)

    assert dollars(bill.machines[0]) == 24
    assert residue(bill) == {"unused_commitments": 48 * DOLLAR}


def test_committed_usage_without_an_id(tmp_path: Path) -> None:
    """Its price is the effective one, and a fee of the same pricing pays for it."""
    priced = {"PricingCategory": "Committed"}
    rows = [
        row("100", 1, "Purchase", **priced, EffectiveCost="0"),
        instance("0", 1, "24", "i-0aaa", **priced, EffectiveCost="90"),
    ]
    bill = read(rows, tmp_path)

    assert dollars(bill.machines[0]) == 90
    assert residue(bill) == {"prepaid_commitments": 10 * DOLLAR}


def test_a_reservation_of_azure(tmp_path: Path) -> None:
    """Used and unused hours of a month's fee, in its spelling of ids; the unused ones are of no resource."""
    order = "/providers/Microsoft.Capacity/reservationOrders/8d2e/reservations/5f3a"
    reserved = {"CommitmentDiscountId": order, "CommitmentDiscountType": "Reservation"}
    used, unused = {"CommitmentDiscountStatus": "Used"}, {"CommitmentDiscountStatus": "Unused"}
    rows = [
        row("744", 1, "Purchase", **reserved, EffectiveCost="0", ResourceId=order),
        instance("0", 1, "24", "i-0aaa", **reserved, **used, EffectiveCost="24"),
        row("0", 1, **reserved, **unused, EffectiveCost="720", PricingQuantity="720"),
    ]
    bill = read(rows, tmp_path)

    assert dollars(bill.machines[0]) == 24
    assert residue(bill) == {"unused_commitments": 720 * DOLLAR}
    assert [(each.name, each.amount) for each in bill.residue[0].names] == [
        (f"{order} (Reservation)", 720 * DOLLAR)
    ]


def test_hours_of_several_meters_count_once(tmp_path: Path) -> None:
    """Two meters at once are one machine; one after the other they are as long as both."""
    rows = [
        instance("5", 1, "24", "i-0aaa", SkuId="cores"),
        instance("7", 1, "24", "i-0aaa", SkuId="gpus"),
        instance("2", 1, "1024", "i-0aaa", SkuId="memory", ConsumedUnit="GiB-Hours"),
        instance("5", 1, "10", "i-0bbb", SkuId="on-demand"),
        instance("3", 1, "14", "i-0bbb", SkuId="spot"),
    ]
    bill = read(rows, tmp_path)

    one, other = bill.machines[0], bill.machines[1]
    assert (time(one), dollars(one)) == (24 * HOUR, 14)
    assert [(metered.cost, metered.time) for metered in one.sums.meters.values()] == [
        (14 * DOLLAR, 24 * HOUR)
    ]
    assert (time(other), dollars(other)) == (24 * HOUR, 8)


def test_a_disk_of_the_name_of_its_machine_adds_no_hours(tmp_path: Path) -> None:
    """A boot disk of Google is named as its instance, and charged in byte-seconds."""
    rows = [
        instance("5", 1, "24", "i-0aaa"),
        instance("1", 1, "1024", "disks/4712", ResourceName="i-0aaa", ConsumedUnit="byte-seconds"),
    ]
    machine = read(rows, tmp_path).machines[0]

    assert (time(machine), machine.sums.usage) == (24 * HOUR, 6 * DOLLAR)
    assert [(metered.cost, metered.time) for metered in machine.sums.meters.values()] == [
        (5 * DOLLAR, 24 * HOUR)
    ]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ({"ServiceName": "AWS Support (Enterprise)"}, "support"),
        ({"ServiceName": "AWSSupportBusiness"}, "support"),
        ({"ServiceName": "Premium", "ServiceSubcategory": "Support"}, "support"),
        ({"ServiceName": "Supportive Things"}, "no_resource"),
        ({"ServiceName": "Amazon S3", "ResourceId": "bucket"}, "other_resources"),
    ],
)
def test_what_is_of_no_host(cells: dict[str, str], kind: str, tmp_path: Path) -> None:
    """Support is told by its service, whatever its category."""
    assert residue(read([row("5", 1, **cells)], tmp_path)) == {kind: 5 * DOLLAR}


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "UTC", "Asia/Tokyo"])
def test_a_year_is_of_the_month_of_utc_in_which_it_begins(zone: str, tmp_path: Path) -> None:
    """As bills mean it: where it is still September, or November already, a fee of October is one."""
    for begin in ("2026-10-01T00:00:00Z", "2026-10-31T12:00:00Z"):
        path = written([row("8", (begin, "2027-10-01T00:00:00Z"), "Purchase")], tmp_path / "bill.csv")
        bill = read_fleet_bill(
            path, Reading(ZoneInfo(zone)), Period.named("2026-10"), lambda _key, _name: None
        )
        assert (bill.total, bill.others.rows) == (8 * DOLLAR, 0)


def test_the_month_is_that_of_the_middle(tmp_path: Path) -> None:
    """Hours and days of other months are counted apart; a year's charge is of its first month."""
    rows = [
        row("1", ("2026-09-30T23:00:00Z", "2026-10-01T00:00:00Z")),
        row("2", ("2026-10-31T23:00:00Z", "2026-11-01T00:00:00Z")),
        row("4", ("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z")),
        row("8", ("2026-10-07T00:00:00Z", "2027-10-07T00:00:00Z"), "Purchase"),
    ]
    bill = read(rows, tmp_path)

    assert (bill.total, bill.others.rows, bill.others.cost) == (10 * DOLLAR, 2, 5 * DOLLAR)
    with pytest.raises(
        InvoiceError, match=r"bill\.csv: has nothing of 2026-08: it has 2026-09, 2026-10, 2026-11"
    ):
        read(rows, tmp_path, month="2026-08")


def test_resources_beyond_those_told_apart_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bill with another id in each row stays small: of four days at once the last two are one, of 24 h.

    Three cost 5 dollars each, and the last has 10 of a plan.
    """
    monkeypatch.setattr("exporter.finance.bill.fleet_bill.LABELS_MAX", 2)
    whole = {"ResourceName": "i-0aaa"}
    rows = [instance("5", 1, "24", f"i-0aaa/{number}", **whole) for number in range(3)]
    plan = covered("10", 1, "24", "i-0aaa/3") | whole
    machine = read([*rows, plan], tmp_path).machines[0]

    assert (time(machine), dollars(machine)) == (72 * HOUR, 25)
    assert machine.resources == ("i-0aaa/0", "i-0aaa/1")
