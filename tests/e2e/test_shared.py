"""Two processes on one GPU, end to end: by what they use of it, and by which method that is known.

The fake NVML lists both with their real ids; the GPU works all the time and costs an estimate.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.e2e.daemon import Daemon, Page, until
from tests.e2e.gpu_processes import GIGABYTE, GpuProgram, waiting
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Process, ProcessUtilization, Return, Scenario, h100s

NOT_SUPPORTED = 3
COST = "inference_cost_dollars_total"
SHARE = "inference_server_gpu_share_ratio"

pytestmark = pytest.mark.timeout(90)


def started(folder: Path, name: str) -> GpuProgram:
    """A program of that name, started by a shell of its own: what one launcher starts belongs together."""
    (folder / name).hardlink_to(waiting(folder))
    return GpuProgram(["sh", "-c", f"{folder / name}; true"])


def child(shell: GpuProgram) -> int:
    """The id of what a shell runs."""
    (pid,) = until(lambda: [one.pid for one in psutil.Process(shell.pid).children()], 10, "a child")
    return pid


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, Page, Page]]:
    """With utilization told twice, and after the driver has stopped to tell it."""
    folder = tmp_path_factory.mktemp("shared")
    with started(folder, "large") as large, started(folder, "small") as small:
        (card,) = h100s(1, utilization=100, power_mw=600_000)
        pids = child(large), child(small)
        processes = (Process(pids[0], 20 * GIGABYTE), Process(pids[1], 60 * GIGABYTE))
        used = (ProcessUtilization(pids[0], 70), ProcessUtilization(pids[1], 30))
        scenario = Scenario((replace(card, processes=processes, process_utilization=used),))
        gpus = FakeNvml(folder, scenario)
        rent = 'hardware: [{match: {gpu_model: "*H100*"}, rented: {dollars_per_gpu_hour: 3.60}}]\n'
        with Daemon(folder, f"interval: 1s\n{rent}", {**os.environ, **gpus.environment()}) as daemon:
            first = daemon.until(lambda page: page.matching(SHARE, method="sm_utilization") != [], "use")
            second = daemon.settled()
            mute = Return("nvmlDeviceGetProcessUtilization", NOT_SUPPORTED)
            gpus.set(replace(scenario, rules=(mute,)))
            daemon.until(lambda page: page.matching(SHARE, method="memory") != [], "memory")
            yield first, second, daemon.settled()


def shares(page: Page, method: str) -> dict[str, float]:
    """The part of the last tick that each was charged by a method."""
    return {
        labels["server"]: value
        for labels, value in page.rows[SHARE]
        if labels["method"] == method and value > 0
    }


def test_a_busy_gpu_is_shared_by_who_used_it(pages: tuple[Page, Page, Page]) -> None:
    """70 to 30, as NVML says, and by that method; memory, which says otherwise, has no part in it."""
    _, page, _ = pages
    assert shares(page, "sm_utilization") == pytest.approx({"unmatched:large": 0.7, "unmatched:small": 0.3})
    assert shares(page, "memory") == {}
    assert page.sum("inference_server_gpus") == pytest.approx(1)


def test_dollars_are_shared_so(pages: tuple[Page, Page, Page]) -> None:
    """Of what was added between two pages each carries its part, and together all of it."""
    first, second, _ = pages
    added = {
        name: second.sum(COST, server=name) - first.sum(COST, server=name)
        for name in ("unmatched:large", "unmatched:small")
    }
    assert added["unmatched:large"] / added["unmatched:small"] == pytest.approx(7 / 3, rel=1e-6)
    assert sum(added.values()) == pytest.approx(3.60 * (second.tick - first.tick) / 3600, rel=1e-3)


def test_without_utilization_memory_says(pages: tuple[Page, Page, Page]) -> None:
    """20 GB beside 60 GB."""
    _, _, page = pages
    assert shares(page, "memory") == pytest.approx({"unmatched:large": 0.25, "unmatched:small": 0.75})
    assert shares(page, "sm_utilization") == {}


def test_no_dollar_is_lost(pages: tuple[Page, Page, Page]) -> None:
    """The three sums of the same dollars agree, and nothing is left over."""
    for page in pages:
        assert page.sum(COST) == pytest.approx(page.sum("inference_gpu_cost_dollars_total"), rel=1e-12)
        assert page.sum(COST) == pytest.approx(page.sum("inference_server_cost_dollars_total"), rel=1e-12)
        assert page.value("inference_ledger_residual_dollars") == 0
