"""A daemon of a user without rights: what it finds, and what it says of the rest."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import unprivileged
from tests.e2e.daemon import ROOT, Daemon, Page
from tests.e2e.gpu_processes import GpuProgram, compute, waiting
from tests.e2e.llama import Llama
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s
from tests.rights import USERS

SECONDS = "inference_gpu_seconds_total"
MINE = f"unmatched:wait:user-{unprivileged.STRANGER}"

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.geteuid() != 0, reason=USERS),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of nobody's, which every user may reach."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    os.chown(made, unprivileged.STRANGER, unprivileged.STRANGER)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def gpus(folder: Path) -> FakeNvml:
    """Three GPUs, of which nobody may read."""
    return FakeNvml(folder, Scenario(h100s(3, utilization=40, power_mw=400_000)))


@pytest.fixture
def daemon(folder: Path, gpus: FakeNvml) -> Daemon:
    """Not started."""
    return Daemon(folder, "interval: 1s\n", gpus.environment())


@pytest.fixture
def mine(folder: Path) -> Iterator[GpuProgram]:
    """A program of the daemon's own user."""
    with GpuProgram(unprivileged.as_nobody(waiting(folder))) as program:
        yield program


@pytest.fixture
def other(folder: Path) -> Iterator[GpuProgram]:
    """A program of root's."""
    with GpuProgram([waiting(folder)]) as program:
        yield program


@pytest.fixture
def llama(folder: Path) -> Iterator[Llama]:
    """A server of root's."""
    with Llama(folder / "llama.log") as server:
        yield server


def gpu_owners(page: Page) -> list[str]:
    """Who holds the GPUs, in their order."""
    by_uuid = {
        labels["uuid"]: labels["server"] for labels, _ in page.rows["inference_server_gpu_share_ratio"]
    }
    return [by_uuid[gpu.uuid] for gpu in h100s(3)]


def lists(gpus: FakeNvml, llama: Llama, mine: GpuProgram, other: GpuProgram) -> None:
    """NVML tells of all three."""
    assert llama.process is not None
    compute(gpus, mine.pid, other.pid, llama.process.pid)
    for path in gpus.scenario_path.parent.iterdir():
        os.chown(path, unprivileged.STRANGER, unprivileged.STRANGER)


def doctor(daemon: Daemon) -> str:
    """What the doctor says to the same user."""
    done = subprocess.run(
        daemon.begin(
            *(sys.executable, "-m", "exporter", "doctor"),
            *("--config.file", str(daemon.config), "--ledger.path", str(daemon.ledger)),
        ),
        cwd=ROOT,
        env=daemon.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    # Servers of tests that run at the same time may claim one port.
    assert [line for line in done.stderr.splitlines() if 'msg="claim refused"' not in line] == []
    return done.stdout


def test_others_servers_are_found_by_their_command_lines(
    daemon: Daemon, gpus: FakeNvml, llama: Llama, mine: GpuProgram, other: GpuProgram
) -> None:
    """Sockets of other users' processes are not told, and command lines are: nothing is missing here."""
    lists(gpus, llama, mine, other)
    daemon.begin = unprivileged.as_nobody
    with daemon:
        daemon.settled()
        for number in range(3):
            llama.complete(f"{number} tokens cost money", 30)
        counted = llama.at_rest()
        page = daemon.settled()
        report = doctor(daemon)
    assert gpu_owners(page) == [MINE, "unmatched:wait", f"llamacpp:{llama.port}"]
    assert page.tokens(f"llamacpp:{llama.port}") == counted
    assert f"read at {llama.url}\n" in report
    assert "not seen" not in report
    for reason in ("denied", "hidden", "namespace", "unreadable"):
        assert page.matching("inference_source_errors_total", source="processes", reason=reason) == []


def test_what_is_hidden_is_unknown_and_pays_for_itself(
    daemon: Daemon, gpus: FakeNvml, llama: Llama, mine: GpuProgram, other: GpuProgram
) -> None:
    """The proc tree hides others' processes: page and doctor say so, nobody else carries their dollars."""
    lists(gpus, llama, mine, other)
    daemon.begin = unprivileged.stranger
    with daemon:
        page = daemon.settled()
        report = doctor(daemon)
    assert (
        "  warning: processes: 2 of the processes that compute are not seen: /proc is mounted with hidepid, "
        "which hides other users' processes; root sees them.\n"
    ) in report
    assert gpu_owners(page) == [MINE, "unmatched:unknown", "unmatched:unknown"]
    assert page.matching("inference_source_up", source="processes") == [1]
    assert page.value("inference_source_errors_total", source="processes", reason="hidden") >= 2
    assert page.matching("inference_server_up") == []
    assert page.value("inference_ledger_residual_dollars") == 0
    assert page.sum(SECONDS, server="unmatched:unknown") == pytest.approx(page.sum(SECONDS) * 2 / 3, rel=1e-9)


def test_a_kubelets_folder_of_roots_is_told(daemon: Daemon) -> None:
    """Nobody may enter it, so that none can be looked for: both go on, and say `denied`."""
    folder = "mount -t tmpfs kubelet /var/lib && mkdir -m 0700 /var/lib/kubelet"
    daemon.begin = lambda *argv: [
        *("unshare", "--mount", "sh", "-c", f'{folder} && exec "$0" "$@"'),
        *unprivileged.as_nobody(*argv),
    ]
    with daemon:
        page = daemon.settled()
        report = doctor(daemon)
    assert page.matching("inference_source_up", source="kubelet") == [0]
    assert page.value("inference_source_errors_total", source="kubelet", reason="denied") >= 1
    assert "kubelet: /var/lib/kubelet/pod-resources/kubelet.sock: Permission denied" in report
