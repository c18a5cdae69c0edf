"""The daemon as a process: how it starts, answers, waits, refuses and stops."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import pytest

from tests.e2e.daemon import ROOT, Daemon, Page, free_port, get, until
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Hang, Return, Scenario, h100s

PRICED = """
interval: 1s
hardware:
  - {match: {gpu_model: "*H100*"}, rented: {dollars_per_gpu_hour: 2.50}}
"""

NVML_VERSION_MISMATCH = 18


@pytest.fixture
def host(tmp_path: Path) -> FakeNvml:
    return FakeNvml(tmp_path, Scenario(h100s(2, utilization=50, power_mw=300_000)))


@pytest.fixture
def daemon(tmp_path: Path, host: FakeNvml) -> Iterator[Daemon]:
    with Daemon(tmp_path, PRICED, host.environment()) as daemon:
        yield daemon


def nvml_is(up: int) -> Callable[[Page], bool]:
    """Whether a page tells that NVML could, or could not, be read."""
    return lambda page: page.matching("inference_source_up", source="nvml") == [up]


LOOKS = 20


def threads(daemon: Daemon) -> int:
    """How many threads the daemon keeps, as the kernel tells: those of connections come and go."""
    pause = threading.Event()
    counts = []
    for _ in range(LOOKS):
        counts.append(len(os.listdir(f"/proc/{daemon.pid}/task")))  # noqa: PTH208 - Path.iterdir is no shorter
        pause.wait(0.05)
    return min(counts)


def test_a_supervisors_stop_is_prompt_and_clean(daemon: Daemon) -> None:
    """SIGTERM: exit status 0 within 5 seconds, whatever tick is under way."""
    daemon.settled()
    assert daemon.terminate(5) == 0


FIVE_PACKAGES = {"pynvml", "prometheus_client", "psutil", "httpx", "yaml"}


def test_the_daemon_runs_on_the_five_packages(tmp_path: Path, host: FakeNvml) -> None:
    """A daemon with a server over TLS imports each of them; import-linter has their places."""
    config = f"{PRICED}servers: [{{name: chat, url: 'https://127.0.0.1:{free_port()}/metrics', gpus: [0]}}]\n"
    daemon = Daemon(tmp_path, config, host.environment())
    daemon.begin = lambda python, *argv: [python, "-X", "importtime", *argv]
    with daemon:
        daemon.settled()
        imports = daemon.log.read_text(encoding="utf-8")

    modules = {line.rpartition("|")[2].strip() for line in imports.splitlines() if "import time:" in line}
    assert modules >= FIVE_PACKAGES


def test_two_scrapes_of_one_report_are_byte_identical(tmp_path: Path, host: FakeNvml) -> None:
    """Two Prometheus servers see the same bytes until the next tick."""
    with Daemon(tmp_path, PRICED.replace("1s", "10s"), host.environment()) as daemon:
        first, second = until(lambda: same_tick(daemon), 30, "two scrapes of one tick")
        assert first.body == second.body
        assert len(first.body) > 1000


def same_tick(daemon: Daemon) -> tuple[Page, Page] | None:
    """Two scrapes, if no tick came between them."""
    first, second = daemon.scrape(), daemon.scrape()
    return (first, second) if first.tick == second.tick else None


def test_promtool_accepts_the_live_page(daemon: Daemon) -> None:
    """Nothing on the page offends Prometheus' own check of names, types and help."""
    promtool = shutil.which("promtool")
    assert promtool is not None, "promtool is not on PATH: run the end-to-end tests with `make e2e`"
    page = daemon.settled()
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=page.body, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_a_hung_driver_blocks_no_scrape_and_piles_up_no_threads(daemon: Daemon, host: FakeNvml) -> None:
    """While NVML hangs, pages are served at once, the source is down, and dollars go on; then all is well.

    A page that waited for the tick under way would take most of its second. The mean one takes milliseconds,
    and on a machine that is busy with other things some more.
    """
    before = daemon.settled()
    healthy = host.scenario
    host.set(Scenario(healthy.gpus, (Hang("nvmlDeviceGetPowerUsage"),)))
    hung = daemon.until(nvml_is(0), "NVML down")
    count = threads(daemon)
    took = []
    later = hung
    while later.tick < hung.tick + 4:
        began = time.monotonic()
        later = daemon.scrape()
        took.append(time.monotonic() - began)
    assert median(took) < 0.5
    assert threads(daemon) <= count
    name = "inference_cost_dollars_total"
    rise = later.sum(name) - before.sum(name)
    assert rise == pytest.approx(2 * 2.50 * (later.tick - before.tick) / 3600, rel=1e-3)
    assert later.value("inference_ledger_residual_dollars") == 0

    host.set(healthy)
    daemon.until(nvml_is(1), "NVML back")


def test_a_driver_that_was_replaced_ends_the_daemon(tmp_path: Path, host: FakeNvml) -> None:
    """Only a new process can speak to an upgraded driver: it exits with the reason, to be started again."""
    host.set(Scenario(host.scenario.gpus, (Return("nvmlInitWithFlags", NVML_VERSION_MISMATCH),)))
    daemon = Daemon(tmp_path, PRICED, host.environment())
    process = daemon.spawn()
    try:
        assert process.wait(60) == 1
    finally:
        process.kill()
        process.wait()
    assert "mismatch" in daemon.log.read_text(encoding="utf-8").lower()


@pytest.mark.timeout(150)
def test_a_second_daemon_on_one_ledger_waits_and_refuses(daemon: Daemon) -> None:
    """The books have one writer: the second waits 30 seconds for the lock, then says whose it is."""
    began = time.monotonic()
    second = daemon.spawn(free_port())
    try:
        status = second.wait(120)
    finally:
        second.kill()
        second.wait()
    assert status == 1
    assert 25 < time.monotonic() - began < 90
    assert f"in use by process {daemon.pid}" in daemon.log.read_text(encoding="utf-8")
    assert daemon.settled().value("inference_ledger_residual_dollars") == 0


def verb(daemon: Daemon, *arguments: str) -> str:
    """What a verb prints that is run beside the daemon, on its ledger."""
    done = subprocess.run(
        [sys.executable, "-m", "exporter", *arguments, f"--ledger.path={daemon.ledger}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_correction_is_in_the_month_a_tick_later(daemon: Daemon) -> None:
    """A process of its own enters it; the month moves by exactly that, the counters by their seconds only."""
    before = daemon.scrape()
    today = datetime.fromtimestamp(before.tick, UTC).date().isoformat()
    output = verb(
        daemon,
        "adjust",
        "--amount=12.34",
        f"--date={today}",
        "--product=unassigned",
        "--reason=invoice 4711",
    )
    assert f"The daemon (process {daemon.pid}) posts it at its next tick" in output
    month, total = "inference_month_to_date_dollars", "inference_cost_dollars_total"
    after = daemon.until(lambda page: page.sum(month) > 12, "the correction")

    assert before.sum(month) == pytest.approx(before.sum(total), abs=1e-9)
    assert after.sum(month) == pytest.approx(after.sum(total) + 12.34, abs=1e-9)
    assert after.sum(total) - before.sum(total) == pytest.approx(
        2 * 2.50 * (after.tick - before.tick) / 3600, rel=1e-3
    )
    assert after.value("inference_ledger_residual_dollars") == 0
    report = json.loads(verb(daemon, "report", "month", f"--month={today[:7]}", "--by=component", "--json"))
    assert [row["picodollars"] for row in report["rows"] if row["component"] == "adjustment"] == [
        12_340_000_000_000
    ]
    assert [(row["dollars"], row["reason"]) for row in report["adjustments"]] == [(12.34, "invoice 4711")]


def test_a_bad_reload_keeps_the_old_configuration(daemon: Daemon) -> None:
    """A file that is no configuration changes nothing but the metric that says so."""
    daemon.settled()
    assert daemon.reload("interval: soon\n") >= 400
    assert daemon.scrape().value("inference_config_last_reload_success") == 0
    page = daemon.settled()
    assert page.value("inference_config_last_reload_success") == 0
    assert page.matching("inference_gpu_price_dollars_per_hour") == [2.50, 2.50]


def test_time_without_a_price_is_charged_by_the_reload_that_brings_one(
    tmp_path: Path, host: FakeNvml
) -> None:
    """Metered without a price, killed, started, reloaded: in the end all GPU time cost 2.50 an hour."""
    with Daemon(tmp_path, "interval: 1s\nunmatched_hardware: unpriced\n", host.environment()) as daemon:

        def unpriced(page: Page) -> bool:
            return page.sum("inference_gpu_unpriced_seconds_total") > 4

        before = daemon.until(unpriced, "time without a price")
        assert before.matching("inference_gpu_cost_dollars_total") == []
        daemon.kill()
        daemon.start()
        assert daemon.reload(PRICED) == 200
        page = daemon.until(lambda page: page.sum("inference_cost_dollars_total") > 0, "dollars")
        assert page.sum("inference_cost_dollars_total") == pytest.approx(
            2.50 * page.sum("inference_gpu_seconds_total") / 3600, rel=1e-9
        )
        assert page.sum("inference_gpu_unpriced_seconds_total") >= before.sum(
            "inference_gpu_unpriced_seconds_total"
        )
        assert page.value("inference_ledger_residual_dollars") == 0


def test_health_does_not_depend_on_gpus(tmp_path: Path, host: FakeNvml) -> None:
    """Liveness is the process': with NVML hung from the first call, `/-/healthy` and `/metrics` answer."""
    host.set(Scenario(host.scenario.gpus, (Hang("nvmlInitWithFlags"),)))
    daemon = Daemon(tmp_path, PRICED, host.environment())
    daemon.process = daemon.spawn()
    try:
        until(lambda: daemon.status("/-/healthy") == 200, 60, "healthy")
        assert get(daemon.port, "/metrics")[0] == 200  # the call hangs as long as this test lasts
    finally:
        daemon.kill()
        host.set(Scenario())
