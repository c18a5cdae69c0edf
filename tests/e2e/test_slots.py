"""The daemon on a host whose boards change: what it charges is the host's price, whatever NVML lists.

A host of eight costs 55.04 dollars an hour; owned, 280,000 dollars over 4 x 8766 hours are 7.985398.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon, Page
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Gpu, Mig, Scenario, h100s

RENTED = """
interval: 1s
hardware: [{rented: {dollars_per_host_hour: 55.04, gpus_per_host: 8}}]
servers: [{name: chat, url: "http://127.0.0.1:1/metrics", gpus: all}]
"""
OWNED = RENTED.replace(
    "rented: {dollars_per_host_hour: 55.04, gpus_per_host: 8}",
    "owned: {purchase_dollars_per_host: 280000, gpus_per_host: 8, in_service: 2026-01-01, life_years: 4}",
)


def others(generation: int, *, addresses: bool = True) -> tuple[Gpu, ...]:
    """The same eight GPUs with UUIDs of another generation, as a VM shows them after it was stopped."""
    return tuple(
        replace(gpu, uuid=f"GPU-{generation}{gpu.uuid[5:]}", pci=gpu.pci if addresses else "")
        for gpu in h100s(8)
    )


def balanced(page: Page) -> None:
    """The three sums are equal, and nothing is left over."""
    sums = [page.sum(f"inference_{family}_dollars_total") for family in ("cost", "server_cost", "gpu_cost")]
    assert sums == pytest.approx([sums[0]] * 3, rel=1e-9)
    assert page.value("inference_ledger_residual_dollars") == 0


def hourly(daemon: Daemon, **labels: str) -> float:
    """Dollars an hour as they accrue, and what is said of it, which agree."""
    before = daemon.settled()
    after = daemon.until(lambda page: page.tick > before.tick, "another tick")
    for page in (before, after):
        balanced(page)
    spent = after.sum("inference_gpu_cost_dollars_total", **labels)
    spent -= before.sum("inference_gpu_cost_dollars_total", **labels)
    rate = spent * 3600 / (after.tick - before.tick)
    price = after.sum("inference_gpu_price_dollars_per_hour", **labels)
    assert rate == pytest.approx(price, rel=0.02)
    return price


@pytest.fixture
def host(tmp_path: Path) -> FakeNvml:
    """Eight H100s."""
    return FakeNvml(tmp_path, Scenario(others(1)))


@pytest.mark.nightly
def test_three_stops_and_starts_and_a_swapped_board(tmp_path: Path, host: FakeNvml) -> None:
    """55.04 after each, eight GPUs held, and 7.985398 once the host is owned and a board of it swapped."""
    with Daemon(tmp_path, RENTED, host.environment()) as daemon:
        assert hourly(daemon) == pytest.approx(55.04)
        for generation in (2, 3, 4):
            daemon.terminate(30)
            host.set(Scenario(others(generation, addresses=generation != 3)))
            daemon.start()
            assert hourly(daemon) == pytest.approx(55.04)
            page = daemon.scrape()
            assert page.sum("inference_cost_dollars_per_hour", server="chat") == pytest.approx(55.04)
            assert page.value("inference_server_gpus", server="chat") == 8
            assert page.value("inference_gpu_replaced_total") == 8 * (generation - 1)
            assert page.matching("inference_gpu_up") == [1] * 8
        log = daemon.log.read_text(encoding="utf-8")
        assert log.count("gpu replaced") == 24

        daemon.reload(OWNED)
        swapped = list(others(4))
        swapped[3] = replace(swapped[3], uuid="GPU-99999999-1111-2222-3333-444444444444")
        host.set(Scenario(tuple(swapped)))
        daemon.until(lambda page: page.value("inference_gpu_replaced_total") == 25, "the swapped board")
        assert hourly(daemon) == pytest.approx(7.985398, abs=1e-6)


def test_a_gpu_that_falls_off_and_one_that_was_never_listed(tmp_path: Path, host: FakeNvml) -> None:
    """Seven of eight: the eighth is `unseen` to a new ledger, and lost to one that knew it; then MIG."""
    seven = others(1)[:7]
    host.set(Scenario(seven))
    with Daemon(tmp_path, RENTED, host.environment()) as daemon:
        assert hourly(daemon) == pytest.approx(55.04)
        assert hourly(daemon, uuid="unseen") == pytest.approx(6.88)
        page = daemon.scrape()
        assert page.sum("inference_cost_dollars_per_hour", server="unallocated") == pytest.approx(6.88)
        assert page.value("inference_gpus_expected") == 8
        assert page.value("inference_gpus_visible") == 7
        assert page.value("inference_gpu_priced", uuid="unseen") == 1

        host.set(Scenario(others(1)))
        daemon.until(lambda page: page.value("inference_gpus_visible") == 8, "all eight")
        assert hourly(daemon) == pytest.approx(55.04)
        assert daemon.scrape().matching("inference_gpu_price_dollars_per_hour", uuid="unseen") == []

        cut = replace(others(1)[0], mig_mode=True, mig=(Mig(0, "MIG-1", 1, gi_slices=3, ci_slices=3),))
        host.set(Scenario((cut, *others(1)[1:7], replace(others(1)[7], gone=True))))
        daemon.until(lambda page: page.value("inference_gpus_visible") == 7, "one that fell off")
        assert hourly(daemon) == pytest.approx(55.04)
        lost = others(1)[7].uuid
        assert daemon.scrape().value("inference_gpu_up", uuid=lost) == 0
        assert daemon.scrape().matching("inference_gpu_price_dollars_per_hour", uuid="unseen") == []
        assert "gpu count mismatch" in daemon.log.read_text(encoding="utf-8")


def test_two_exporters_with_half_the_gpus_each(tmp_path: Path) -> None:
    """27.52 and 27.52: the variable of the container's runtime says that each is given four."""
    total = 0.0
    for half in (0, 4):
        folder = tmp_path / str(half)
        folder.mkdir()
        fake = FakeNvml(folder, Scenario(others(1)[half : half + 4]))
        given = ",".join(map(str, range(half, half + 4)))
        environment = {**fake.environment(), "NVIDIA_VISIBLE_DEVICES": given}
        with Daemon(folder, RENTED, environment) as daemon:
            total += hourly(daemon)
            page = daemon.scrape()
            assert page.value("inference_gpus_expected") == page.value("inference_gpus_visible") == 4
            assert "only visible gpus are charged" in daemon.log.read_text(encoding="utf-8")
    assert total == pytest.approx(55.04)
