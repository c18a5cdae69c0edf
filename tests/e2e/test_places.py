"""The daemon whose ledger has no place, a bad one or a full one: what log and page say, to the letter."""

import json
import resource
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from exporter.ledger.reader import LedgerReader
from tests import rights, tmpfs, unprivileged
from tests.e2e.daemon import Daemon, Page, get
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s

PRICED = """
interval: 1s
hardware:
  - {match: {gpu_model: "*H100*"}, rented: {dollars_per_gpu_hour: 2.50}}
"""
COST, TIME = "inference_cost_dollars_total", "inference_gpu_seconds_total"
MEMORY = "the ledger is in memory and ends with this process"
TWICE = "once it can be read, what is counted meanwhile may be counted twice; "


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    """Two GPUs; not started."""
    host = FakeNvml(tmp_path, Scenario(h100s(2, utilization=50, power_mw=300_000)))
    return Daemon(tmp_path, PRICED, host.environment())


def problems(daemon: Daemon, message: str) -> list[str]:
    """What the log said was the problem, of all lines with a message."""
    reported = []
    for line in daemon.log.read_text(encoding="utf-8").splitlines():
        _, matched, rest = line.partition(f" level=error msg={message} problem=")
        reported += [str(json.loads(rest))] if matched else []
    return reported


def persistent(value: float) -> Callable[[Page], bool]:
    return lambda page: page.matching("inference_ledger_persistent") == [value]


def test_a_directory_in_the_files_place(daemon: Daemon) -> None:
    """In memory: the log says why and what to do, the metric is 0, money is metered."""
    daemon.ledger.mkdir()
    with daemon:
        page = daemon.settled()

    assert problems(daemon, "ledger") == [
        f"{daemon.ledger} is a directory: {MEMORY}; name a file, such as {daemon.ledger}/ledger.db"
    ]
    assert page.value("inference_ledger_persistent") == 0
    assert page.matching("inference_ledger_last_commit_timestamp_seconds") == []
    assert page.sum(COST) > 0


@pytest.mark.parametrize(("mode", "name"), [(0o555, "ledger.db"), (0o000, "deep/ledger.db")])
def test_a_directory_that_cannot_be_written_or_entered(
    mode: int, name: str, daemon: Daemon, tmp_path: Path
) -> None:
    """As for a directory in the file's place."""
    shut = tmp_path / "shut"
    shut.mkdir(mode=mode)
    daemon.ledger = shut / name
    daemon.begin = unprivileged.command
    with daemon:
        page = daemon.settled()

    advice = "make the place writable, or set --ledger.path to one that is"
    # Whether there is a ledger in a folder that cannot be entered, nobody knows.
    unread = ("", "") if mode else (" and cannot be read (Permission denied)", TWICE)
    assert problems(daemon, "ledger") == [
        f"{daemon.ledger} cannot be written (Permission denied){unread[0]}: {MEMORY}; {unread[1]}{advice}"
    ]
    shut.chmod(0o755)
    assert (page.value("inference_ledger_persistent"), list(shut.iterdir())) == (0, [])
    assert page.sum(COST) > 0


def test_a_corrupt_file(daemon: Daemon) -> None:
    """Moved aside as it was, an error in the log and first on the page; the new books are on disk."""
    daemon.ledger.write_bytes(b"these are no books\n")
    with daemon:
        page = daemon.settled()
        front = get(daemon.port, "/")[1].decode()

    problem = (
        f"{daemon.ledger} could not be used (file is not a database): it was moved to "
        f"{daemon.ledger}.corrupt-1, and a new ledger was created; if there is an intact copy of it, stop "
        "the daemon and put the copy in its place"
    )
    assert problems(daemon, "ledger") == [problem]
    assert "The previous ledger was moved to ledger.db.corrupt-1;" in front
    assert page.value("inference_ledger_persistent") == 1
    assert Path(f"{daemon.ledger}.corrupt-1").read_bytes() == b"these are no books\n"


class Full:
    """A file system of a megabyte that is filled up. It is the daemon's alone: seen through its process."""

    words = "database or disk is full"

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        if not tmpfs.mountable():
            pytest.skip(rights.MOUNTS)
        self._daemon, self._folder = daemon, folder
        daemon.begin = partial(tmpfs.command, folder)

    @property
    def folder(self) -> Path:
        """Where the test sees the disk."""
        return Path(f"/proc/{self._daemon.pid}/root{self._folder}")

    def fill(self) -> None:
        tmpfs.fill(self.folder)

    def relieve(self) -> None:
        (self.folder / "ballast").unlink()


class Limited:
    """A disk whose files must not pass 4 KiB for a while: for the ledger as good as full."""

    words = "disk I/O error"

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        self._daemon, self.folder = daemon, folder
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        resource.prlimit(self._daemon.pid, resource.RLIMIT_FSIZE, (4096, self._before[1]))

    def relieve(self) -> None:
        resource.prlimit(self._daemon.pid, resource.RLIMIT_FSIZE, self._before)


@pytest.mark.parametrize("kind", [Full, Limited])
def test_a_disk_that_fills_up_and_is_relieved(
    daemon: Daemon, tmp_path: Path, kind: type[Full] | type[Limited]
) -> None:
    """Metering goes on, the metric and the log say so; then totals are those of an undisturbed daemon."""
    folder = tmp_path / "disk"
    folder.mkdir()
    daemon.ledger = folder / "ledger.db"
    disk = kind(daemon, folder)
    with daemon:
        before = daemon.until(lambda page: page.sum(TIME) > 0, "GPU time")
        disk.fill()
        first = daemon.until(persistent(0), "a ledger that cannot be written")
        still = daemon.settled()
        disk.relieve()
        after = daemon.until(persistent(1), "a ledger that is written again")
        # A copy: SQLite does not open a file through another process's root.
        for name in ("ledger.db", "ledger.db-wal"):
            shutil.copy(disk.folder / name, tmp_path / name)
        last = daemon.settled()
    with LedgerReader.open(tmp_path / "ledger.db") as reader:
        totals = reader.totals(0, ())

    # Counters stand still for at least two ticks while gauges go on.
    assert still.tick > first.tick >= before.tick
    assert (still.sum(COST), still.sum(TIME)) == (first.sum(COST), first.sum(TIME))
    assert still.value("inference_gpu_price_dollars_per_hour", uuid=uuid_of(still)) == 2.50
    stands = "totals stand still, metering goes on in memory and is written as soon as it can be"
    assert problems(daemon, '"ledger failed"') == [f"the ledger cannot be written ({disk.words}): {stands}"]
    assert 'msg="ledger recovered"' in daemon.log.read_text(encoding="utf-8")
    # Two GPUs were metered throughout, at 2.50 dollars an hour; a tick's clocks are read within 50 ms.
    for page in (after, last):
        assert page.sum(TIME) - before.sum(TIME) == pytest.approx(2 * (page.tick - before.tick), abs=0.1)
        assert page.sum(COST) == pytest.approx(page.sum(TIME) * 2.50 / 3600, rel=1e-9)
        assert page.value("inference_ledger_residual_dollars") == 0
    # What is on disk is what was served, or a tick later.
    assert after.sum(COST) <= sum(totals.cost.values()) / 10**12 + 1e-12
    assert sum(totals.cost.values()) / 10**12 <= last.sum(COST) + 1e-12


def uuid_of(page: Page) -> str:
    """The first GPU's."""
    labels, _value = page.rows["inference_gpu_price_dollars_per_hour"][0]
    return labels["uuid"]
