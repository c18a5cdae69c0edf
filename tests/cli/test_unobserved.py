"""Hours that nobody watched: what `reconcile`, `report` and `explain` say of them agrees."""

import json
from pathlib import Path
from typing import Any

import pytest

from exporter.cli.explain import ExplainOptions, explained
from exporter.cli.fleet_source import FleetSource
from exporter.cli.reconcile import ReconcileOptions, reconciled
from exporter.cli.report import ChargebackOptions, MonthOptions, report_chargeback, report_month
from tests.corners.simulated_host import SimulatedHost
from tests.kit.units import HOUR, MINUTE

CONFIG = "hardware: [{rented: {dollars_per_gpu_hour: 3.60}}]\n"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> SimulatedHost:
    """A GPU at 3.60 from midnight to noon of the 26th; from 06:00 on the host is off for 5 hours and a half.

    Of 12 hours 5.50 are unobserved, for 20 seconds of which rent is owed: 6.5056 hours are 23.42 dollars.
    """
    host = SimulatedHost(tmp_path_factory.mktemp("host"), CONFIG, "2026-11-26T00:00:00+00:00")
    host.tick()
    for _ in range(6 * 60):
        host.tick(MINUTE)
    host.reboot(11 * HOUR // 2)
    host.tick()
    for _ in range(30):
        host.tick(MINUTE)
    return host


def test_the_likely_cause_of_a_difference_is_named(
    host: SimulatedHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cloud bills 12 hours, 43.20: the 19.78 more are of the 5.49 hours that are not owed."""
    bill = tmp_path / "bill.csv"
    bill.write_text("date,cost\n2026-11-26,43.20\n")
    options = ReconcileOptions(
        host.file, host.path, bill, "2026-11", (), frozenset({"rent"}), "BilledCost", as_json=True
    )
    assert reconciled(options, host.clock) == 0
    document = json.loads(capsys.readouterr().out)

    (row,) = document["rows"]
    assert [(part["kind"], round(part["dollars"], 2)) for part in row["parts"]] == [("unobserved", 19.78)]
    assert any(note.startswith("5.50 hours in the ledger are unobserved") for note in document["notes"])


@pytest.mark.parametrize("verb", ["month", "chargeback"])
def test_no_report_says_that_nothing_is_missing(
    host: SimulatedHost, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one ledger and of a fleet, with the same hours."""
    assert host.path is not None
    source = FleetSource([host.path])
    run: Any = report_month if verb == "month" else report_chargeback
    options: Any = MonthOptions if verb == "month" else ChargebackOptions
    assert run(options(host.file, None, "2026-11", fleet=source), host.clock) == 0
    fleet = capsys.readouterr().out
    assert run(options(host.file, host.path, "2026-11"), host.clock) == 0
    ledger = capsys.readouterr().out

    assert "CHECK: 1 of 1 hosts" in fleet
    assert (
        "Unobserved hours: charged by earlier readings, but no hourly rent of hosts that were down" in fleet
    )
    assert "5.5000 hours" in fleet
    assert "metered and priced for all of its time" not in fleet
    assert "hours of the whole month are metered, 5.5000 of them unobserved." in ledger


def test_a_difference_of_months_says_it_too(host: SimulatedHost, capsys: pytest.CaptureFixture[str]) -> None:
    """Above the table."""
    options = ExplainOptions(host.file, host.path, why=True, month="2026-11", against="2026-11")
    assert explained(options, host.clock) == 0

    assert "2026-11: CHECK: 1 of 1 hosts" in capsys.readouterr().out
