"""A fleet's statement for people and programs: what is missing comes first."""

import csv
import io
import json
from dataclasses import replace

from exporter.finance.fleet.missing import section
from exporter.finance.fleet.record import FleetMonth, HostFinding, HostName, combine
from exporter.finance.statement import as_json, sheet
from exporter.finance.statements import Statement, chargeback_statement, month_statement
from tests.finance.fleet.host_months import host_month, with_adjustment
from tests.kit.units import CENT, DOLLAR, HOUR, NOVEMBER, OCTOBER

LATER = NOVEMBER + 10 * HOUR


def whole() -> FleetMonth:
    return combine([host_month("a", 3 * DOLLAR, 5 * DOLLAR), host_month("b", 4 * DOLLAR)], LATER)


def incomplete() -> FleetMonth:
    """One whole host, one that died and waits for an adjustment, and a file that cannot be read."""
    dead = host_month("b", 4 * DOLLAR, last=NOVEMBER - 100 * HOUR, covered=640 * HOUR)
    dead = with_adjustment(replace(dead, names=(HostName("east", "", "b"),)), 1, 2 * DOLLAR, posted=False)
    unreadable = HostFinding("unreadable", "", "c.db", "c.db", text="c.db is empty")
    hosts = [host_month("a", 3 * DOLLAR), dead, host_month("a", DOLLAR, location="old.db", last=NOVEMBER)]
    return combine(hosts, LATER, unreadable=[unreadable])


def products(fleet: FleetMonth) -> Statement:
    return month_statement(fleet.record, "product", current_month="2026-11", zone=fleet.zone)


def test_a_whole_fleet_for_people() -> None:
    """12 dollars of two hosts, each metered for 744 hours."""
    fleet = whole()
    assert sheet(products(fleet), "table", fleet=fleet) == (
        "2026-10, 2 ledgers, time zone UTC, as of 2026-11-01T01:00:00Z\n"
        "\n"
        "Nothing is missing: each host is metered and priced for all of its time.\n"
        "\n"
        "product  dollars  idle  idle %   GPU-hours  prompt tokens  cached prompt tokens  generation tokens\n"
        "-------  -------  ----  ------  ----------  -------------  --------------------  -----------------\n"
        "chat        7.00  0.00     0.0  1,488.0000              0                     0              2,000\n"
        "search      5.00  5.00   100.0      0.0000              0                     0                  0\n"
        "-------  -------  ----  ------  ----------  -------------  --------------------  -----------------\n"
        "total      12.00  5.00    41.7  1,488.0000              0                     0              2,000\n"
        "\n"
        "5.00 of 12.00 dollars come from estimated prices.\n"
        "1,488.0000 host-hours are metered.\n"
    )


def test_what_is_missing_comes_first_and_is_repeated() -> None:
    """Before the table is each finding with its host, and after it a reminder."""
    fleet = incomplete()
    text = sheet(products(fleet), "table", fleet=fleet)
    head, _, table = text.partition("\nproduct ")

    assert head == (
        "2026-10, 2 ledgers, time zone UTC, as of 2026-11-01T01:00:00Z\n"
        "\n"
        "INCOMPLETE: 3 of 3 hosts\n"
        "\n"
        "Silent before the end: cost after the last tick is not in the total (1, 100.0000 hours)\n"
        "  b: last tick 2026-10-27T20:00:00Z, 100.0000 hours before the end\n"
        "\n"
        "Hours without ticks: they are not charged (1, 4.0000 hours)\n"
        "  b: 4.0000 hours\n"
        "\n"
        "Waiting adjustments: they are not in the total until their daemon posts them (1, 2.00 dollars)\n"
        "  b: adjustment 1: late bill, 2.00 dollars\n"
        "\n"
        "Copies: a later copy of the same ledger is in the total, these are not (1)\n"
        "  a: old.db, last commit 2026-11-01T00:00:00Z, 1.00 dollars; counted: a/ledger.db\n"
        "\n"
        "Unreadable files: nothing of them is in the total (1)\n"
        "  c.db is empty\n"
    )
    assert "total       7.00 " in table
    assert table.endswith(
        "adjustment 1 of ledger b waits for the daemon and is in no sum: 2.00 dollars of 2026-10-31 to "
        'product chat, team assistants: "late bill".\n'
        "\n"
        "INCOMPLETE: 3 of 3 hosts: see above.\n"
    )


def test_findings_that_lose_no_cost_are_to_be_checked() -> None:
    """A copy alone makes a fleet not incomplete."""
    fleet = combine([host_month("a", DOLLAR), host_month("a", DOLLAR, location="b.db")], LATER)

    assert next(section(fleet)) == "CHECK: 1 of 1 hosts"


def test_every_host_is_named_however_many_there_are() -> None:
    """Twenty have a line, and the others follow."""
    names = [f"spot-{n:03d}" for n in range(300)]
    hosts = [host_month(name, DOLLAR, last=NOVEMBER - HOUR, covered=743 * HOUR) for name in names]
    text = "\n".join(section(combine(hosts, LATER)))

    assert all(name in text for name in names)
    assert len(text.splitlines()) < 70
    assert max(map(len, text.splitlines())) <= 100


def test_json_has_hosts_and_what_is_missing() -> None:
    """Hosts sum to the total, in cents and in picodollars."""
    thirds = [host_month(name, 10 * DOLLAR // 3, last=NOVEMBER) for name in ("a", "b", "c")]
    fleet = combine([*thirds, replace(thirds[0], location="old.db")], LATER)
    document = json.loads(as_json(products(fleet), fleet))

    assert list(document)[:11] == [
        "report",
        "month",
        "to_date",
        "time_zone",
        "ledgers",
        "ledgers_without_the_month",
        "incomplete_hosts",
        "apportioned_hosts",
        "until_end",
        "missing",
        "hosts",
    ]
    assert [host["dollars"] for host in document["hosts"]] == [3.34, 3.33, 3.33]
    assert document["total"]["dollars"] == 10.00
    assert sum(host["picodollars"] for host in document["hosts"]) == document["total"]["picodollars"]
    assert document["hosts"][0] == {
        "host": "a",
        "ledger": "a",
        "origin": "ledger",
        "location": "a/ledger.db",
        "names": [{"cluster": "", "instance": "", "node": "a"}],
        "time_zone": "UTC",
        "metered_since": "2026-10-01T00:00:00Z",
        "metered_until": "2026-11-01T00:00:00Z",
        "last_commit": "2026-11-01T00:00:00Z",
        "apportioned": False,
        "dollars": 3.34,
        "picodollars": 3_333_333_333_333,
        "metered_hours": 744.0,
        "unobserved_hours": 0.0,
        "gpu_hours": 744.0,
        "unpriced_gpu_hours": 0.0,
        "missing": ["copy"],
    }
    assert document["missing"] == [
        {
            "kind": "copy",
            "host": "a",
            "ledger": "a",
            "location": "old.db",
            "hours": None,
            "picodollars": 3_333_333_333_333,
            "time": "2026-11-01T00:00:00Z",
            "text": "a/ledger.db",
            "meaning": "Copies: a later copy of the same ledger is in the total, these are not",
        }
    ]
    assert document["incomplete_hosts"] == 0


def test_csv_counts_incomplete_hosts_in_each_row() -> None:
    """Its rows are summed by programs: it has no line for anything else."""
    fleet = incomplete()
    rows = list(csv.DictReader(io.StringIO(sheet(products(fleet), "csv", fleet=fleet))))

    assert [(row["product"], row["dollars"], row["incomplete_hosts"]) for row in rows] == [
        ("chat", "7.00", "2")
    ]


def test_a_chargeback_of_a_month_that_goes_on() -> None:
    """To date, of hosts that reported within the hour."""
    now = OCTOBER + 24 * HOUR
    fleet = combine([host_month("a", 250 * CENT, last=now, covered=24 * HOUR)], now)
    text = sheet(
        chargeback_statement(fleet.record, current_month="2026-10", zone=fleet.zone), "table", fleet=fleet
    )

    assert text.startswith(
        "2026-10 to date, one ledger, time zone UTC, as of 2026-10-02T00:00:00Z\n\nNothing"
    )
    assert "chat     assistants     2.50" in text
