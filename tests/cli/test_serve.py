"""How the daemon starts and reloads, as far as its log and its files tell."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.cli.serve import Flags, _Daemon, terms_of
from exporter.clock import SystemClock
from exporter.config import Config, ConfigError, load
from exporter.readings import Gpu, Place
from exporter.tariff.quotes import Quote

ROOT = Path(__file__).parents[2]


def test_a_start_that_cannot_listen_leaves_nothing_behind(tmp_path: Path) -> None:
    """No ledger and no lock: they would be of whoever tried, root perhaps."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [
                *(sys.executable, "-m", "exporter"),
                f"--web.listen-address=127.0.0.1:{port}",
                f"--ledger.path={tmp_path}/var/ledger.db",
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert done.returncode == 1
    assert 'level=error msg="cannot listen"' in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_terms_of_a_host_know_where_it_runs() -> None:
    """Without a file an H100 costs 55.04 / 8 on a p5.48xlarge, its market price where nothing is known."""
    h100 = Gpu("GPU-a", "NVIDIA H100 80GB HBM3")
    place = Place(cloud="aws", instance_type="p5.48xlarge", region="us-east-1")
    known = terms_of(Config(), "h", place).tariff.quote(h100)
    unknown = terms_of(Config(), "h").tariff.quote(h100)

    assert isinstance(known, Quote)
    assert (float(known.dollars_per_hour), known.devices, known.price_basis) == (55.04, 8, "catalogue")
    assert isinstance(unknown, Quote)
    assert (float(unknown.dollars_per_hour), unknown.devices, unknown.price_basis) == (3.875, 1, "estimate")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "ice.yaml"
    file.write_text("interval: 10s\n")
    return file


@pytest.fixture
def daemon(file: Path) -> _Daemon:
    """One that has not begun: it still waits for its ledger, say."""
    return _Daemon(Flags(file, "127.0.0.1:0", None), load(file), SystemClock())


def test_a_reload_that_fails_is_logged_once_whoever_asked(
    daemon: _Daemon, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets the error, and the log one line with it."""
    file.write_text("intervall: 10s\n")
    with pytest.raises(ConfigError):
        daemon.reload()

    (record,) = caplog.records
    assert record.getMessage() == "configuration not reloaded; the old one stays"
    assert vars(record)["problem"].startswith(f"{file}:1:1: intervall: unknown key")

    daemon._reload_quietly()
    assert len(caplog.records) == 2


def test_a_reload_during_the_wait_for_the_ledger_is_taken(
    daemon: _Daemon, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The page is served before the books are open, so a reload may come before them too."""
    caplog.set_level("INFO")
    file.write_text("interval: 5s\n")
    daemon.reload()

    assert [record.getMessage() for record in caplog.records] == ["configuration reloaded"]
    assert daemon._config.interval == 5 * 10**9
    assert daemon._current() is None
