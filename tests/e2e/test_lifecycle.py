"""What a node does to the daemon: it stops it, drains it, brings the driver late, and replaces the driver."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from exporter.clock import SystemClock
from exporter.ledger.ledger import Ledger
from exporter.units import NANOSECONDS_PER_SECOND, PICODOLLARS_PER_DOLLAR
from tests.e2e import killed_daemon, restrictions
from tests.e2e.daemon import NO_CLOUD, Daemon, Page, get, until
from tests.e2e.expected_totals import PACES, HostTotals
from tests.e2e.load_servers import Load
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Hang, Return, Scenario, h100s

PRICED = """
hardware:
  - {match: {gpu_model: "*H100*"}, rented: {dollars_per_gpu_hour: 2.50}}
"""
EVERY_SECOND = f"interval: 1s\n{PRICED}"
SUPERVISOR_SECONDS = 5
"""What a supervisor is promised; the DaemonSet gives 15, the unit 30."""
DRIVER_NOT_LOADED, VERSION_MISMATCH = 9, 18
COST, TIME = "inference_cost_dollars_total", "inference_gpu_seconds_total"

pytestmark = pytest.mark.timeout(120)


def host_totals(daemon: Daemon, folder: Path) -> HostTotals:
    """What a stopped daemon left, as the next one will open it."""
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for path in daemon.ledger.parent.glob(f"{daemon.ledger.name}*"):
        shutil.copyfile(path, copy / path.name)
    ledger = Ledger.open(copy / daemon.ledger.name, SystemClock())
    account = HostTotals.of_ledger(ledger.totals(0, ()))
    ledger.close()
    return account


def test_a_stop_commits_what_was_read(tmp_path: Path) -> None:
    """SIGTERM at rest and between reads of a tick: all that a server has told is in the books, to the token.

    Time and money are whole up to the last tick, and no counter has fallen below what was scraped.
    """
    with Load(PACES) as load:
        daemon = killed_daemon.host(tmp_path, load)
        daemon.start()
        daemon.settled()
        base = {name: server.reported[0] for name, server in load.servers.items()}
        for answered in (0, 1, 3):  # of four servers
            page = daemon.settled()
            assert answered == 0 or load.await_reads(load.reads + answered, 60)
            assert daemon.terminate(SUPERVISOR_SECONDS) == 0
            account = host_totals(daemon, tmp_path)
            assert account.differences() == account.falls(HostTotals.of_page(page)) == []
            last_read = {name: server.reported[-1] for name, server in load.servers.items()}
            assert {
                name: tuple(now - then for now, then in zip(last_read[name], base[name], strict=True))
                for name in PACES
            } == account.tokens
            assert daemon.ledger.with_name("ledger.db-wal").exists() is False  # folded into the file
            daemon.start()
        daemon.terminate(SUPERVISOR_SECONDS)


def test_a_drained_node_is_charged_to_its_end(tmp_path: Path) -> None:
    """Two GPUs, ticks of 15 s: the ledger has the time from the last tick to SIGTERM, without a next start.

    The DaemonSet gives the daemon three times the time that it may take.
    """
    host = FakeNvml(tmp_path, Scenario(h100s(2, utilization=50, power_mw=300_000)))
    daemon = Daemon(tmp_path, f"interval: 15s\n{PRICED}", host.environment())
    daemon.start()
    last = daemon.scrape()
    stopped = time.time()
    assert daemon.terminate(SUPERVISOR_SECONDS) == 0
    ended = time.time()
    ledger = Ledger.open(daemon.ledger, SystemClock())
    totals = ledger.totals(0, ())
    ledger.close()

    charged = sum(totals.gpu_time.values()) / NANOSECONDS_PER_SECOND - last.sum(TIME)
    assert 2 * (stopped - last.tick) <= charged <= 2 * (ended - last.tick)
    money = sum(totals.gpu_cost.values()) / PICODOLLARS_PER_DOLLAR - last.sum(COST)
    assert money == pytest.approx(charged * 2.50 / 3600, rel=1e-6)
    assert restrictions.pod()["terminationGracePeriodSeconds"] >= 3 * SUPERVISOR_SECONDS


def test_a_stop_does_not_wait_for_a_hung_driver(tmp_path: Path) -> None:
    """With the default interval a tick waits 5 s for it: exit status 0 in time, and the money is there."""
    host = FakeNvml(tmp_path, Scenario(h100s(2, utilization=50, power_mw=300_000)))
    daemon = Daemon(tmp_path, EVERY_SECOND, host.environment())
    daemon.start()
    before = daemon.settled()
    host.set(Scenario(host.scenario.gpus, (Hang("nvmlDeviceGetPowerUsage"),)))
    assert (
        daemon.reload(PRICED) == 200
    )  # within a second a tick is due, which waits as the new interval has it
    host.forget_calls()
    until(lambda: any("PowerUsage" in call for call in host.calls()), 60, "a call that hangs", 0.01)
    assert daemon.terminate(SUPERVISOR_SECONDS) == 0
    host.set(Scenario(host.scenario.gpus))
    assert daemon.config.write_text(EVERY_SECOND + NO_CLOUD, encoding="utf-8")
    daemon.start()
    page = daemon.settled()
    daemon.kill()
    assert page.sum(COST) > before.sum(COST) > 0
    assert page.sum(TIME) - before.sum(TIME) == pytest.approx(2 * (page.tick - before.tick), rel=1e-3)
    assert page.sum(COST) == pytest.approx(page.sum(TIME) * 2.50 / 3600, rel=1e-6)


@dataclass(frozen=True)
class Nodes:
    """Three hosts that waited half a minute for their driver at the same time."""

    installed: tuple[Page, Page]
    """Before the library lay on disk, and with it."""
    loaded: tuple[Page, Page]
    """Before the kernel had the driver, and with it."""
    upgraded: tuple[Page, Page, Page]
    """Before the driver was replaced, while there was none, and of the process after that."""
    status: int
    last_words: str
    """What the process that met the new driver said as its last word."""


def nvml_is(up: int) -> Callable[[Page], bool]:
    return lambda page: page.matching("inference_source_up", source="nvml") == [up]


def shows_no_gpu(page: Page) -> bool:
    """Whether a tick was taken that found no sign of a GPU host: no library, no board."""
    ticked = page.value("inference_last_tick_timestamp_seconds") > 0
    return ticked and page.matching("inference_source_up", source="nvml") == []


def metering(page: Page) -> bool:
    """Whether two GPUs are read and charged."""
    return page.matching("inference_gpu_up") == [1, 1] and page.sum(COST) > 0


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """NVML is tried every 30 seconds: three hosts wait together."""
    folders = [tmp_path_factory.mktemp(name) for name in ("installed", "loaded", "upgraded")]
    hosts = [FakeNvml(folder, Scenario(h100s(2, utilization=50, power_mw=300_000))) for folder in folders]
    gpus = hosts[0].scenario.gpus
    (late := folders[0] / "driver").mkdir()
    hosts[1].set(Scenario(gpus, (Return("nvmlInitWithFlags", DRIVER_NOT_LOADED),)))
    with ExitStack() as running:
        installed = Daemon(folders[0], EVERY_SECOND, {**hosts[0].environment(), "LD_LIBRARY_PATH": str(late)})
        loaded = Daemon(folders[1], EVERY_SECOND, hosts[1].environment())
        upgraded = Daemon(folders[2], EVERY_SECOND, hosts[2].environment())
        for daemon in (installed, loaded, upgraded):
            running.enter_context(daemon)
        without = [
            installed.until(shows_no_gpu, "no library"),
            loaded.until(nvml_is(0), "no driver"),
        ]
        before = upgraded.until(metering, "the old driver")

        shutil.copy(hosts[0].library, late)
        hosts[1].set(Scenario(gpus))
        gone = Return("nvmlInitWithFlags", DRIVER_NOT_LOADED)
        hosts[2].set(Scenario(gpus, (Return("nvmlDeviceGetCount_v2", DRIVER_NOT_LOADED), gone)))
        meanwhile = upgraded.until(nvml_is(0), "no driver")
        hosts[2].set(Scenario(gpus, (Return("nvmlInitWithFlags", VERSION_MISMATCH),)))
        assert upgraded.process is not None
        status = upgraded.process.wait(60)
        last_words = upgraded.log.read_text(encoding="utf-8").splitlines()[-1]
        hosts[2].set(Scenario(gpus, driver="580.65.06"))
        upgraded.start()  # as a supervisor does
        yield Nodes(
            (without[0], installed.until(metering, "the library", 60)),
            (without[1], loaded.until(metering, "the driver", 60)),
            (before, meanwhile, upgraded.until(metering, "the new driver")),
            status,
            last_words,
        )


@pytest.mark.parametrize("which", ["installed", "loaded"])
def test_a_driver_that_comes_late_is_met(nodes: Nodes, which: str) -> None:
    """No library, or no kernel module: it serves, says so, charges nobody; once there is one it meters."""
    without, with_driver = getattr(nodes, which)
    assert without.matching("inference_gpu_cost_dollars_total") == without.matching("inference_gpu_up") == []
    assert without.value("inference_ledger_persistent") == 1
    assert with_driver.value("process_start_time_seconds") == without.value("process_start_time_seconds")
    assert with_driver.sum("inference_cost_dollars_per_hour") == pytest.approx(5)
    assert with_driver.sum(COST) == pytest.approx(with_driver.sum(TIME) * 2.50 / 3600, rel=1e-6)


def test_a_driver_that_was_replaced_ends_the_process(nodes: Nodes) -> None:
    """Only a new process can speak to it: exit status 1, with what to do as the last word."""
    assert nodes.status == 1
    _, _, last_words = nodes.last_words.partition(" level=error ")
    assert last_words == (
        'msg=exiting problem="the NVIDIA driver was replaced and this process still holds the old NVML '
        "library (version mismatch); restart it; in a container, recreate the container so that the new "
        'library is mounted"'
    )


def test_no_dollar_is_lost_while_a_driver_is_replaced(nodes: Nodes) -> None:
    """Paid for while nobody can read them, on with the new driver: all time is charged."""
    before, meanwhile, after = nodes.upgraded
    assert meanwhile.matching("inference_gpu_up") == [0, 0]
    assert meanwhile.sum("inference_cost_dollars_per_hour") == pytest.approx(5)
    assert before.sum(COST) < meanwhile.sum(COST) < after.sum(COST)
    elapsed = after.tick - before.tick
    assert after.sum(TIME) - before.sum(TIME) == pytest.approx(2 * elapsed, rel=1e-3)
    assert after.sum(COST) - before.sum(COST) == pytest.approx(2 * 2.50 * elapsed / 3600, rel=1e-3)
    assert {labels["driver_version"] for labels, _ in after.rows["inference_gpu_info"]} == {"580.65.06"}
    assert after.value("inference_ledger_residual_dollars") == 0


def test_nobody_is_sent_to_a_daemon_that_waits_for_its_ledger(tmp_path: Path) -> None:
    """A rolling update starts the next one early: it lives, is not ready, and may be stopped."""
    host = FakeNvml(tmp_path, Scenario(h100s(1)))
    with Daemon(tmp_path, EVERY_SECOND, host.environment()) as first:
        second = Daemon(tmp_path, EVERY_SECOND, host.environment())
        second.process = second.spawn()
        try:
            for _ in range(50):
                if second.status("/-/healthy") == 200:
                    break
                first.settled()
            assert get(second.port, "/-/healthy")[0] == 200
            assert get(second.port, "/-/ready")[0] == 503
            assert second.terminate(SUPERVISOR_SECONDS) == 0
        finally:
            second.kill()
        assert first.settled().value("inference_ledger_residual_dollars") == 0
