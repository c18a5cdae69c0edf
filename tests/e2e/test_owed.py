"""The daemon on a host whose GPUs NVML does not list: it is charged for what its price states, or waits.

A host of eight costs 55.04 dollars an hour; owned, 280,000 dollars over 4 x 8766 hours are 7.985398.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pytest

from tests.e2e.daemon import ROOT, Daemon, Page
from tests.e2e.shifted_clock import ShiftedTime
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Gpu, Return, Scenario, h100s
from tests.kit.units import HOUR

DEAD = (Return("nvmlInitWithFlags", 9),)
"""The driver is not loaded."""

PER_HOST = "hardware: [{rented: {dollars_per_host_hour: 55.04, gpus_per_host: 8}}]"
CATALOGUE = "hardware: [{rented: {catalogue: aws, instance_type: p5.48xlarge, region: us-east-1}}]"
OWNED = (
    "hardware: [{owned: {purchase_dollars_per_host: 280000, gpus_per_host: 8, in_service: 2026-01-01, "
    "life_years: 4}}]"
)
LEASED = PER_HOST.replace("gpus_per_host: 8", "gpus_per_host: 8, billing: always")
BY_MODEL = "hardware: [{match: {gpu_model: '*H100*'}, rented: {dollars_per_gpu_hour: 6.88}}]"


def others(count: int, model: str = "NVIDIA H100 80GB HBM3") -> tuple[Gpu, ...]:
    """GPUs with UUIDs that no other host of these tests has."""
    return tuple(replace(gpu, uuid=f"GPU-2{gpu.uuid[5:]}", name=model) for gpu in h100s(count))


@dataclass
class Host:
    """A host with a daemon, whose time and GPUs a test changes."""

    daemon: Daemon
    nvml: FakeNvml
    time: ShiftedTime

    def passes(self, hours: float) -> Page:
        """Let time pass, up to a tick after it."""
        self.time.shift(round(hours * HOUR))
        return self.ticked()

    def ticked(self) -> Page:
        """A page of a tick from now on."""
        now = self.time.wall() / 1e9
        return self.daemon.until(lambda page: page.tick >= now, "a tick after the shift")

    @property
    def log(self) -> str:
        """What the daemon logged."""
        return self.daemon.log.read_text(encoding="utf-8")

    def restart(self, gpus: tuple[Gpu, ...], hours: float = 1) -> None:
        """Stop the host and start it with these GPUs."""
        self.daemon.terminate(30)
        self.nvml.set(Scenario(gpus))
        self.time.shift(round(hours * HOUR))
        self.time.reboot()
        self.daemon.start()

    def report(self, month: str) -> str:
        """The month, of the folder with its ledger."""
        ledgers = self.daemon.ledger.parent / "ledgers"
        ledgers.mkdir()
        for file in self.daemon.ledger.parent.glob("ledger.db*"):
            shutil.copy(file, ledgers)
        command = [
            sys.executable,
            "-m",
            "exporter",
            "report",
            "month",
            f"--month={month}",
            "--from",
            str(ledgers),
        ]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    def appear(self, gpus: tuple[Gpu, ...]) -> None:
        """NVML lists these GPUs from now on. A dead driver is asked again every 30 s."""
        self.nvml.set(Scenario(gpus))
        self.time.shift(31 * 10**9)
        self.daemon.until(lambda page: page.sum("inference_gpus_visible") == len(gpus), "the GPUs")


def started(folder: Path, config: str, scenario: Scenario, wall: str, **environment: str) -> Host:
    """A daemon with a new ledger, at an instant."""
    begun = ShiftedTime.begin(folder, round(datetime.fromisoformat(wall).timestamp()) * 10**9)
    nvml = FakeNvml(folder, scenario)
    variables = {**nvml.environment(), **begun.environment, **environment}
    daemon = Daemon(folder, f"interval: 1s\n{config}\n", variables)
    daemon.begin = lambda *argv: [argv[0], "-m", "tests.e2e.shifted_clock", *argv[3:]]
    daemon.start()
    return Host(daemon, nvml, begun)


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    """Hosts that a test started, which are stopped after it."""
    begun: list[Host] = []
    yield begun
    for host in begun:
        host.daemon.close()


@pytest.mark.parametrize(
    ("config", "scenario", "hours", "then", "after"),
    [
        (PER_HOST, Scenario((), DEAD), 5, 275.20, 330.24),
        (PER_HOST, Scenario(()), 24, 1320.96, 1376.00),
        pytest.param(CATALOGUE, Scenario(()), 24, 1320.96, 1376.00, marks=pytest.mark.nightly),
        pytest.param(OWNED, Scenario((), DEAD), 24, 191.65, 199.63, marks=pytest.mark.nightly),
        pytest.param(LEASED, Scenario(()), 24, 1320.96, 1376.00, marks=pytest.mark.nightly),
    ],
    ids=["driver-dead", "none-listed", "catalogue", "owned", "leased"],
)
def test_gpus_that_were_never_listed_are_charged(
    tmp_path: Path,
    hosts: list[Host],
    config: str,
    scenario: Scenario,
    hours: int,
    then: float,
    after: float,
) -> None:
    """As `unseen` while NVML lists none, then as themselves; and the log names the count."""
    host = started(tmp_path, config, scenario, "2026-10-05T00:00:00+00:00")
    hosts.append(host)
    page = host.passes(hours)
    assert page.sum("inference_gpu_cost_dollars_total", uuid="unseen") == pytest.approx(then, abs=0.2)
    assert page.value("inference_gpus_expected") == 8
    assert page.matching("inference_gpus_visible") == ([] if scenario.rules else [0])
    assert page.value("inference_ledger_residual_dollars") == 0
    assert "gpu count mismatch" in host.log
    host.appear(h100s(8))
    page = host.passes(1)
    total = page.sum("inference_gpu_cost_dollars_total")
    assert total == pytest.approx(after, abs=0.7)
    assert page.value("inference_gpus_visible") == 8


def test_a_month_whose_first_three_days_the_driver_was_dead(tmp_path: Path, hosts: list[Host]) -> None:
    """All of October costs 744 x 55.04 dollars, and the report names what was never listed."""
    host = started(tmp_path, PER_HOST, Scenario((), DEAD), "2026-09-30T23:50:00+00:00")
    hosts.append(host)
    host.passes(72 + 1 / 6)
    host.appear(h100s(8))
    for days in (6, 6, 6, 6, 3, 2):
        host.passes(24 * days)
    host.daemon.terminate(30)

    text = host.report("2026-10")
    assert "40,949.76" in text
    assert "never listed (unseen)" in text
    assert "not metered" not in text


def test_a_price_by_model_waits_for_the_first_gpu(tmp_path: Path, hosts: list[Host]) -> None:
    """Nobody knows the number and the price for five hours, which then cost 8 x 6.88 dollars each.

    Until then the report says that they are not metered.
    """
    host = started(tmp_path, BY_MODEL, Scenario((), DEAD), "2026-10-05T00:00:00+00:00")
    hosts.append(host)
    page = host.passes(5)
    assert page.sum("inference_gpu_cost_dollars_total") == 0
    assert page.matching("inference_gpus_expected") == []
    assert page.sum("inference_gpu_unpriced_seconds_total", uuid="unseen") == pytest.approx(18_000, abs=30)
    assert "gpu count or price unknown" in host.log

    host.appear(h100s(8))
    page = host.passes(1)
    assert page.sum("inference_gpu_cost_dollars_total") == pytest.approx(330.24, abs=0.7)
    assert page.sum("inference_gpu_seconds_total") == pytest.approx(6 * 8 * 3600, abs=600)
    assert "gpu count and price known" in host.log
    assert page.value("inference_ledger_residual_dollars") == 0


def test_hours_whose_price_is_not_known_are_not_metered(tmp_path: Path, hosts: list[Host]) -> None:
    """The report of the month says so, and never that nothing is missing."""
    host = started(tmp_path, BY_MODEL, Scenario(()), "2026-10-05T00:00:00+00:00")
    hosts.append(host)
    host.passes(5)
    host.daemon.terminate(30)

    text = host.report("2026-10")
    assert "Nothing is missing" not in text
    assert "Hours of GPU hosts without a known number or price of GPUs: they are not metered" in text


def test_an_exporter_that_is_given_a_part_owes_nothing_unseen(tmp_path: Path, hosts: list[Host]) -> None:
    """Four of eight belong to it by the runtime's variable: what NVML does not list may be another's."""
    host = started(
        tmp_path,
        PER_HOST,
        Scenario((), DEAD),
        "2026-10-05T00:00:00+00:00",
        NVIDIA_VISIBLE_DEVICES="0,1,2,3",
    )
    hosts.append(host)
    assert host.passes(5).sum("inference_gpu_cost_dollars_total") == 0


def test_a_node_without_a_gpu_is_no_host(tmp_path: Path, hosts: list[Host]) -> None:
    """A rule that matches all says eight; without a library and a board nothing is owed."""
    host = started(tmp_path, PER_HOST, Scenario(), "2026-10-05T00:00:00+00:00", LD_LIBRARY_PATH="")
    hosts.append(host)
    page = host.passes(5)
    assert page.sum("inference_gpu_cost_dollars_total") == 0
    for name in ("inference_gpus_expected", "inference_gpus_visible"):
        assert page.matching(name) == []
    assert page.matching("inference_source_up", source="nvml") == []
    host.daemon.terminate(30)
    assert "source skipped" in host.log
    assert "unpriced" not in host.log
    with pytest.raises(subprocess.CalledProcessError) as refused:
        host.report("2026-10")
    assert "they are empty" in refused.value.stderr


@pytest.mark.parametrize(
    ("before", "after", "hourly"),
    [
        (h100s(8), others(2, "NVIDIA L40S"), 2.00),
        pytest.param(h100s(8), others(1), 2.50, marks=pytest.mark.nightly),
        pytest.param(h100s(8), others(8, "NVIDIA L40S"), 8.00, marks=pytest.mark.nightly),
        pytest.param(h100s(8), h100s(7), 20.00, marks=pytest.mark.nightly),
        (h100s(1), others(1), 2.50),
    ],
    ids=["two-l40s", "one-h100", "eight-l40s", "a-broken-board", "rma-of-the-only-gpu"],
)
def test_a_host_that_is_started_with_other_gpus(
    tmp_path: Path,
    hosts: list[Host],
    before: tuple[Gpu, ...],
    after: tuple[Gpu, ...],
    hourly: float,
) -> None:
    """Another host from the boot on, unless one of the earlier UUIDs is listed: then a board is broken."""
    rules = (
        "hardware: [{match: {gpu_model: '*H100*'}, rented: {dollars_per_gpu_hour: 2.5}}, "
        "{match: {gpu_model: '*L40S*'}, rented: {dollars_per_gpu_hour: 1}}]"
    )
    host = started(tmp_path, rules, Scenario(before), "2026-10-05T00:00:00+00:00")
    hosts.append(host)
    host.passes(1)
    host.restart(after)
    page = host.ticked()
    assert page.sum("inference_gpu_price_dollars_per_hour") == hourly
    spent = page.sum("inference_gpu_cost_dollars_total")
    assert host.passes(6).sum("inference_gpu_cost_dollars_total") - spent == pytest.approx(
        6 * hourly, abs=0.1
    )


def test_a_boot_that_lists_none_releases_nothing(tmp_path: Path, hosts: list[Host]) -> None:
    """Twice no driver, then the eight GPUs again: 20 dollars an hour all along."""
    rules = "hardware: [{match: {gpu_model: '*H100*'}, rented: {dollars_per_gpu_hour: 2.5}}]"
    host = started(tmp_path, rules, Scenario(h100s(8)), "2026-10-05T00:00:00+00:00")
    hosts.append(host)
    for gpus in ((), (), h100s(8)):
        host.restart(gpus, hours=0.1)
        assert host.ticked().sum("inference_gpu_price_dollars_per_hour") == 20
