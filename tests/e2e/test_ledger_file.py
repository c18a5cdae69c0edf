"""The daemon whose ledger's file is deleted, replaced, or cannot be written: nothing lost, nothing twice."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from tests import rights, tmpfs
from tests.e2e.daemon import ROOT, Daemon, Page, get, until
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s

PRICED = """
interval: 1s
hardware:
  - {match: {gpu_model: "*H100*"}, rented: {dollars_per_gpu_hour: 2.50}}
"""
COST, TIME = "inference_cost_dollars_total", "inference_gpu_seconds_total"
MONTH = "inference_month_to_date_dollars"
GPUS = 2

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    """Two GPUs, and a ledger in a folder of its own; not started."""
    host = FakeNvml(tmp_path, Scenario(h100s(GPUS, utilization=50, power_mw=300_000)))
    installation = Daemon(tmp_path, PRICED, host.environment())
    installation.ledger = tmp_path / "state" / "ledger.db"
    return installation


def persistent(value: float) -> Callable[[Page], bool]:
    return lambda page: page.matching("inference_ledger_persistent") == [value]


def ledgers(page: Page) -> set[str]:
    return {labels["ledger"] for labels, _value in page.rows[MONTH]}


def is_whole(page: Page, since: Page) -> None:
    """Both GPUs were metered all along since another page, at their price, and once."""
    assert page.sum(TIME) - since.sum(TIME) == pytest.approx(GPUS * (page.tick - since.tick), abs=0.2)
    assert page.sum(COST) == pytest.approx(page.sum(TIME) * 2.50 / 3600, rel=1e-9)
    assert page.sum(MONTH) == pytest.approx(page.sum(COST), rel=1e-9)
    assert page.value("inference_ledger_residual_dollars") == 0
    assert ledgers(page) == ledgers(since)


def everything(path: Path) -> None:
    """`rm ledger.db*`."""
    for file in path.parent.glob("ledger.db*"):
        file.unlink()


def the_logs(path: Path) -> None:
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()


@pytest.mark.parametrize("lose", [everything, the_logs], ids=lambda lose: lose.__name__)
def test_a_ledger_that_is_deleted_is_back_within_a_tick(daemon: Daemon, lose: Callable[[Path], None]) -> None:
    """The restart after it goes on with the same id and every dollar, though the daemon was killed."""
    with daemon:
        before = daemon.until(lambda page: page.sum(TIME) > 0, "GPU time")
        lose(daemon.ledger)
        until(lambda: Path(f"{daemon.ledger}-wal").exists(), 60, "a ledger")
        page = daemon.settled()
        daemon.kill()
        log = daemon.log.read_text(encoding="utf-8")
        daemon.start()
        again = daemon.until(lambda page: page.sum(TIME) > 0, "GPU time")

    message = "ledger log restored" if lose is the_logs else "ledger restored"
    assert f'level=warning msg="{message}" path={daemon.ledger}' in log
    assert page.value("inference_ledger_persistent") == 1
    is_whole(page, before)
    is_whole(again, before)


def test_a_copy_that_is_put_in_its_place_is_left_alone(daemon: Daemon) -> None:
    """Said by log, page, metric and doctor; the next start takes what lies at the path, or the right one."""
    beside = daemon.ledger.with_name("ledger.db.displaced-1")
    with daemon:
        before = daemon.until(lambda page: page.sum(TIME) > 0, "GPU time")
        copy = daemon.ledger.with_name("copy")
        with closing(sqlite3.connect(daemon.ledger)) as shell:
            shell.execute("VACUUM INTO ?", (str(copy),))
        copy.replace(daemon.ledger)
        content = daemon.ledger.read_bytes()
        page = daemon.until(persistent(0), "another file in the ledger's place")
        front = get(daemon.port, "/")[1].decode()
        doctor = subprocess.run(
            [sys.executable, "-m", "exporter", "doctor", f"--ledger.path={daemon.ledger}", "--json"],
            cwd=ROOT,
            env=daemon.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        last = daemon.settled()
        assert daemon.terminate() == 0
        assert daemon.ledger.read_bytes() == content
        beside.replace(daemon.ledger)
        daemon.start()
        again = daemon.until(persistent(1), "the right ledger")

    log = daemon.log.read_text(encoding="utf-8")
    assert f"{daemon.ledger} was replaced by another file while the daemon ran" in log
    assert "Totals continue in ledger.db.displaced-1; a restart uses the other file." in front
    assert f"writes {beside}, since another file took the place of its ledger" in doctor.stdout
    for each in (page, last, again):
        is_whole(each, before)


class ReadOnly:
    """The ledger's folder on a read-only mount, which is the daemon's alone."""

    def __init__(self, daemon: Daemon) -> None:
        if not tmpfs.mountable():
            pytest.skip(rights.MOUNTS)
        self._daemon, self._folder = daemon, str(daemon.ledger.parent)
        mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
        daemon.begin = partial(self._command, mount)

    def _command(self, mount: str, *argv: str) -> list[str]:
        return [*tmpfs.namespace(), "sh", "-c", mount, self._folder, *argv]

    def relieve(self) -> None:
        """Make it writable under the running daemon."""
        user = () if "--map-root-user" not in tmpfs.namespace() else ("--user", "--preserve-credentials")
        enter = ("nsenter", f"--target={self._daemon.pid}", "--mount", *user)
        subprocess.run([*enter, "mount", "-o", "remount,bind,rw", self._folder], check=True, timeout=60)


def begun(daemon: Daemon, *, killed: bool) -> Page:
    """The last page of a daemon that was stopped, or killed with its log on disk."""
    daemon.start()
    page = daemon.until(lambda page: page.sum(TIME) > 0, "GPU time")
    if killed:
        daemon.kill()
    else:
        assert daemon.terminate() == 0
    return page


@pytest.mark.parametrize("killed", [False, True])
def test_a_start_on_a_read_only_disk_goes_on_with_the_ledger(daemon: Daemon, *, killed: bool) -> None:
    """Its id and totals are served and stand still; writable again, all time is charged, once."""
    before = begun(daemon, killed=killed)
    disk = ReadOnly(daemon)
    daemon.start()
    with closing(daemon):
        page = daemon.until(persistent(0), "a ledger that cannot be written")
        later = daemon.settled()
        front = get(daemon.port, "/")[1].decode()
        disk.relieve()
        after = daemon.until(persistent(1), "a ledger that is written")
        last = daemon.settled()

    assert ledgers(page) == ledgers(later) == ledgers(before)
    assert before.sum(TIME) <= page.sum(TIME) == later.sum(TIME) <= before.sum(TIME) + 2 * GPUS
    assert "The ledger cannot be written. Totals are frozen," in front
    for each in (after, last):
        is_whole(each, before)


def test_a_restart_after_a_read_only_disk_charges_the_gap_once(daemon: Daemon) -> None:
    """Books that were never written end with their process, and the next one charges that time."""
    before = begun(daemon, killed=False)
    ReadOnly(daemon)
    daemon.start()
    page = daemon.until(persistent(0), "a ledger that cannot be written")
    assert daemon.terminate() == 0
    daemon.begin = lambda *argv: [*argv]
    daemon.start()
    with closing(daemon):
        after = daemon.until(lambda page: page.sum(TIME) > before.sum(TIME), "the gap")
    assert ledgers(page) == ledgers(before)
    is_whole(after, before)


def test_a_fifo_does_not_stop_the_start(daemon: Daemon) -> None:
    """It is neither opened nor moved; the log says what it is, and money is metered in memory."""
    daemon.ledger.parent.mkdir()
    os.mkfifo(daemon.ledger)
    with daemon:
        page = daemon.settled()

    problem = json.dumps(f"{daemon.ledger} is a FIFO")[:-1]
    assert f"level=error msg=ledger problem={problem}" in daemon.log.read_text(encoding="utf-8")
    assert (page.value("inference_ledger_persistent"), page.sum(COST) > 0) == (0, True)
    assert list(daemon.ledger.parent.iterdir()) == [daemon.ledger]


def test_a_ledger_knows_its_host(daemon: Daemon) -> None:
    """A report of its file names the host, not the folder that the file is in."""
    with daemon:
        daemon.until(lambda page: page.sum(TIME) > 0, "GPU time")
        verb = [sys.executable, "-m", "exporter", "report", "month", f"--from={daemon.ledger}", "--json"]
        done = subprocess.run(verb, cwd=ROOT, capture_output=True, text=True, check=True)
    (host,) = json.loads(done.stdout)["hosts"]
    assert host["host"] == (os.environ.get("NODE_NAME") or socket.gethostname())
