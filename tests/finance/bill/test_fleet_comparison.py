"""Books of a fleet against a bill: whatever both hold, the parts sum to the difference, in both forms."""

import json
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.finance.bill.bill_file import Reading
from exporter.finance.bill.charges import CostColumn
from exporter.finance.bill.fleet_bill import read_fleet_bill
from exporter.finance.bill.fleet_comparison import FleetReconciliation, HostBooks, reconcile_fleet
from exporter.finance.bill.fleet_sheet import as_json, as_text
from exporter.finance.fleet.host_resources import HostResources, NodeName
from exporter.finance.fleet.record import HostMonth, HostName, combine
from exporter.tariff.period import Period
from tests.finance.bill.bills import UTC
from tests.finance.fleet.aws_bill import PLAN, Row, instance, row, written
from tests.finance.fleet.host_months import CHAT, LENGTH, host_month, with_adjustment
from tests.kit.units import DOLLAR, HOUR, NOVEMBER

COMPONENTS = frozenset({"rent"})
NOW = NOVEMBER + 24 * HOUR


def reconciled(
    hosts: list[HostMonth], rows: list[Row], folder: Path, cost: CostColumn = "billed"
) -> FleetReconciliation:
    collected = HostBooks(COMPONENTS, NOW)
    for host in hosts:
        collected.add(host)
    fleet = combine(hosts, NOW)
    host_books = collected.of(fleet)
    resources = HostResources([each.identity for each in host_books])
    path = written(rows, folder / "bill.csv")
    bill = read_fleet_bill(path, Reading(UTC, cost), Period.named("2026-10"), resources.machine)
    return reconcile_fleet(fleet, host_books, resources, bill, COMPONENTS, NOW)


def any_host(chance: random.Random, number: int) -> HostMonth:
    """A host of any hours and amounts, some of it unpriced or unobserved, some of it adjusted."""
    covered = chance.choice([LENGTH, chance.randrange(1, LENGTH), 100 * HOUR])
    host = host_month(
        f"i-{number:04d}",
        chance.randrange(10**15),
        chance.choice([0, chance.randrange(10**14)]),
        covered=covered,
    )
    sums = host.record.sums
    assert sums is not None
    (gpu,) = sums.gpu_held
    for key in sums.held:
        sums.held[key] = chance.randrange(1, covered + 1)
    sums.unpriced = {(gpu, CHAT): chance.randrange(covered)}
    if chance.random() < 0.3:
        host = with_adjustment(host, 1, chance.randrange(-(10**13), 10**13), posted=True)
    if chance.random() < 0.1:
        host = replace(host, record=replace(host.record, sums=None))
    return host


def any_row(chance: random.Random) -> Row:
    """A row of any kind, of a host or of none."""
    dollars = f"{chance.randrange(10**9) / 10**7:.7f}{chance.randrange(10**5):05d}"
    day = chance.randrange(1, 32)
    resource = f"i-{chance.randrange(12):04d}"
    commitment = {"CommitmentDiscountId": chance.choice([PLAN, "other"])}
    effective = {"EffectiveCost": chance.choice(["", dollars])}
    hours = f"{chance.randrange(25_000_000) / 1_000_000:.6f}"
    return chance.choice(
        [
            instance(dollars, day, hours, resource),
            instance("0", day, hours, resource, **commitment, **effective, CommitmentDiscountStatus="Used"),
            row("0", day, **commitment, **effective, CommitmentDiscountStatus="Unused", PricingQuantity="7"),
            row(dollars, day, "Purchase", **commitment, EffectiveCost=""),
            row(dollars, day, ResourceId=resource, ConsumedQuantity="3", ConsumedUnit="GB"),
            row(
                f"-{dollars}",
                day,
                chance.choice(["Usage", "Credit", "Tax", "Adjustment"]),
                ResourceId=resource,
            ),
            row(dollars, day, chance.choice(["Usage", "Tax", "Purchase"]), ServiceName="AWS Support"),
        ]
    )


@pytest.mark.parametrize("seed", range(25))
def test_all_parts_sum_to_the_difference(seed: int, tmp_path: Path) -> None:
    """To the picodollar for programs and to the cent for people, whatever hosts and rows there are."""
    chance = random.Random(seed)  # noqa: S311
    hosts = [any_host(chance, number) for number in range(chance.randrange(1, 12))]
    rows = [any_row(chance) for _ in range(chance.randrange(1, 60))]
    reconciliation = reconciled(hosts, rows, tmp_path)
    document = json.loads(as_json(reconciliation, "bill.csv"))

    parts = [*document["parts"], document["unbilled_hosts"], *document["residue"]]
    difference = document["bill"]["picodollars"] - document["books"]["picodollars"]
    assert sum(each["picodollars"] for each in parts) == difference == document["difference"]["picodollars"]
    for host in document["hosts"]:
        assert sum(part["picodollars"] for part in host["parts"]) == host["difference"]["picodollars"]

    text = as_text(reconciliation, "bill.csv")
    steps = text.partition("books of these hosts")[0].splitlines()[-1:]
    steps += text.partition("books of these hosts\n")[2].partition("  bill\n")[0].splitlines()
    *added, _rule, total = [match[1] for line in steps if (match := re.match(r" *([-\d,.]+)(?: |$)", line))]
    assert round(sum(float(cents.replace(",", "")) for cents in added), 2) == float(total.replace(",", ""))
    tables = text[text.index(steps[0]) :].splitlines()
    assert max(map(len, tables)) <= 80


def test_a_fleet_of_many_hosts_has_a_line_for_those_that_differ_most(tmp_path: Path) -> None:
    """And one for the rest; whole amounts of millions and long names fit."""
    hosts = [
        host_month(f"a-node-of-a-very-long-name-{number:03d}", number * 40_000 * DOLLAR)
        for number in range(1, 31)
    ]
    reconciliation = reconciled(hosts, [row("1", 1, ServiceName="x")], tmp_path)
    lines = as_text(reconciliation, "bill.csv").splitlines()

    (rest,) = [line for line in lines if line.startswith("10 others")]
    assert rest.split()[2] == f"{sum(range(1, 11)) * 40_000:,}.00"
    (largest,) = [line for line in lines if "1,200,000.00" in line]
    assert largest.startswith("a-node-of-a-ver")
    assert len(largest) <= 80


def test_a_bill_of_too_many_periods_has_no_hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is compared by its dollars, and says so."""
    monkeypatch.setattr("exporter.finance.bill.fleet_bill.PERIODS_MAX", 1)
    rows = [instance("30", 1, "24", "i-0001"), instance("30", 2, "24", "i-0001")]
    reconciliation = reconciled([host_month("i-0001", 50 * DOLLAR, covered=48 * HOUR)], rows, tmp_path)
    (machine,) = reconciliation.machines

    assert (machine.compared.timed, machine.compared.difference) == (None, 10 * DOLLAR)
    assert "the bill has so many different periods that its hours were not summed" in reconciliation.notes


def test_names_of_other_sources_count() -> None:
    """A ledger's file knows no node; a Prometheus that has the ledger does."""
    ledger = replace(host_month("l", 24 * DOLLAR), names=(), short_name="archive-7")
    collected = HostBooks(COMPONENTS, NOW)
    collected.name(ledger)
    collected.name(replace(ledger, origin="prometheus", names=(HostName("east", "n1:9844", "n1"),)))
    collected.add(ledger)
    (book,) = collected.of(combine([ledger], NOW))
    ids = {NodeName("east", "n1"): frozenset({"aws:///us-east-1a/i-0abc"})}

    assert book.identity.name == "archive-7"
    resources = HostResources([book.identity], (), ids)
    assert (resources.machine("i-0abc", ""), resources.machine("", "archive-7")) == (0, 0)


def test_money_without_a_component_is_named(tmp_path: Path) -> None:
    """As of a ledger of an early release, and of a host that only a Prometheus knows."""
    host = host_month("i-0001", 5 * DOLLAR)
    bare = replace(host, record=replace(host.record, sums=None))
    reconciliation = reconciled([bare], [instance("5", 1, "24", "i-0001")], tmp_path)

    assert reconciliation.booked == 0
    assert "5.00 dollars of the books have no component and are not compared" in reconciliation.notes
