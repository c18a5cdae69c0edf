"""The .deb and the .rpm on minimal hosts: installed, run, upgraded, downgraded, removed and purged."""

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import next_release
from tests.docs.markdown import sections
from tests.e2e.daemon import Page
from tests.release.conftest import ROOT, Builds
from tests.release.roots import MinimalHost

UNIT = "inference-cost-exporter.service"
LEDGER = "/var/lib/inference-cost-exporter/ledger.db"
CONFIG = "/etc/inference-cost-exporter.yaml"
PROGRAM = "/usr/bin/inference-cost-exporter"
WANTED = f"/etc/systemd/system/multi-user.target.wants/{UNIT}"
MINE = "discovery: {cloud: off}\nhardware:\n  - {match: {}, rented: {dollars_per_gpu_hour: 2}}\n"

Find = Callable[[Path, str], Path]
pytestmark = [pytest.mark.timeout(3600)]


def dollars(page: Page) -> float:
    """All money of the ledger."""
    return page.sum("inference_cost_dollars_total")


def put(host: MinimalHost, file: Path) -> str:
    """The path of a copy of a package in the host."""
    (host.root / file.name).write_bytes(file.read_bytes())
    return f"/{file.name}"


def check_that_it_runs(host: MinimalHost, version: str, before: float) -> float:
    """Start, metrics, page, doctor and stop; the money of the ledger is not less than before, and grows."""
    page = host.start()
    build = [labels for labels, _ in page.rows["inference_exporter_info"]]
    assert [(one["version"], len(one["revision"])) for one in build] == [(version, 40)]
    assert len(page.matching("inference_gpu_up")) == 2
    assert host.run(PROGRAM, "--version").startswith(f"inference-cost-exporter {version}\n")
    assert dollars(page) >= before
    output = host.run(PROGRAM, "doctor", f"--config.file={CONFIG}", status=1)  # of an unsynchronized clock
    assert "H100" in output
    host.stop()
    return dollars(page)


def test_a_deb_from_installation_to_purge(host: MinimalHost, builds: Builds, artifact: Find) -> None:
    """What dpkg does, and what stays: the configuration until the purge, the ledger after it."""
    first = artifact(builds.tagged, r"amd64\.deb$")
    second = artifact(builds.later, r"amd64\.deb$")
    version, later = next_release.VERSION, second.name.split("_")[1].removesuffix("-1").replace("~", ".")
    assert not any(host.has(f"/usr/bin/python3{minor}") for minor in ("", ".11", ".13"))

    host.dpkg("--install", put(host, first))
    assert host.systemctl_calls() == [f"enable --quiet {UNIT}", f"start {UNIT}"]
    assert host.has(WANTED)
    verified = host.run("systemd-analyze", "verify", f"/usr/lib/systemd/system/{UNIT}")
    assert UNIT not in verified
    (host.root / CONFIG.lstrip("/")).write_text(MINE)
    money = check_that_it_runs(host, version, 0)

    host.dpkg("--install", put(host, second))
    assert host.systemctl_calls() == [f"--quiet is-enabled {UNIT}", f"restart {UNIT}"]
    assert (host.root / CONFIG.lstrip("/")).read_text() == MINE
    money = check_that_it_runs(host, later, money)

    assert "downgrading" in host.dpkg("--install", put(host, first))
    money = check_that_it_runs(host, version, money)
    assert money > 0

    host.systemctl_calls()
    host.dpkg("--remove", "inference-cost-exporter")
    assert host.systemctl_calls() == [f"stop {UNIT}"]
    assert (host.has(PROGRAM), host.has("/opt/inference-cost-exporter")) == (False, False)
    assert (host.has(CONFIG), host.has(LEDGER)) == (True, True)

    assert f"the ledger stays in {Path(LEDGER).parent}" in host.dpkg("--purge", "inference-cost-exporter")
    assert (host.has(CONFIG), host.has(WANTED), host.has(LEDGER)) == (False, False, True)

    host.dpkg("--install", put(host, first))  # the books are there again
    (host.root / CONFIG.lstrip("/")).write_text(MINE)
    check_that_it_runs(host, version, money)
    (host.root / LEDGER.lstrip("/")).with_name("delete-with-package").touch()
    host.dpkg("--purge", "inference-cost-exporter")
    assert not host.has(str(Path(LEDGER).parent))


def test_an_rpm_from_installation_to_removal(host: MinimalHost, builds: Builds, artifact: Find) -> None:
    """The same with rpm, in a root of its own; what was edited stays as .rpmsave."""
    first = artifact(builds.tagged, r"x86_64\.rpm$")
    second = artifact(builds.later, r"x86_64\.rpm$")
    version = next_release.VERSION
    later = second.name.removeprefix("inference-cost-exporter-").rsplit("-", 1)[0].replace("~", ".")

    host.rpm("--install", str(first))
    assert host.systemctl_calls() == [f"enable --quiet {UNIT}", f"start {UNIT}"]
    assert host.has(WANTED)
    assert UNIT not in host.run("systemd-analyze", "verify", f"/usr/lib/systemd/system/{UNIT}")
    (host.root / CONFIG.lstrip("/")).write_text(MINE)
    money = check_that_it_runs(host, version, 0)

    host.rpm("--upgrade", str(second))
    assert host.systemctl_calls() == [f"--quiet is-enabled {UNIT}", f"restart {UNIT}"]
    assert (host.root / CONFIG.lstrip("/")).read_text() == MINE
    money = check_that_it_runs(host, later, money)

    host.rpm("--upgrade", "--oldpackage", str(first))
    money = check_that_it_runs(host, version, money)

    host.systemctl_calls()
    host.rpm("--erase", "inference-cost-exporter")
    assert host.systemctl_calls() == [f"disable --quiet {UNIT}", f"stop {UNIT}"]
    assert (host.has(PROGRAM), host.has("/opt/inference-cost-exporter/bin"), host.has(WANTED)) == (False,) * 3
    assert (host.has(f"{CONFIG}.rpmsave"), host.has(LEDGER)) == (True, True)


SUDO = """\
#!/bin/bash
case $1 in
dpkg) exec dpkg --root={root} "${{@:2}}" ;;
rpm) exec rpm --root {root} --nodeps "${{@:2}}" ;;
esac
exec {chroot} "$@"
"""
"""Does in a host what the page has root do."""


@pytest.mark.parametrize("title", ["Debian and Ubuntu", "RHEL, Rocky Linux and SUSE"])
def test_the_three_commands_of_the_page_install_a_host(
    host: MinimalHost, builds: Builds, title: str, tmp_path: Path
) -> None:
    """As bash runs them where `make release` has filled `dist`, with the packages of both architectures."""
    (code_block,) = sections(ROOT / "docs" / "install.md")[title]
    (tmp_path / "dist").symlink_to(builds.tagged)
    shims = {
        "make": "#!/bin/sh\necho make $*\n",
        "sudo": SUDO.format(root=host.root, chroot=shlex.join(host.command())),
    }
    for name, text in shims.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["bash", "-euc", code_block.text],
        cwd=tmp_path,
        env={**host.environment(), "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1, done.stdout + done.stderr  # of doctor, for an unsynchronized clock
    assert done.stdout.startswith("make release\n")
    assert "H100" in done.stdout
    assert host.run(PROGRAM, "--version") == f"inference-cost-exporter {next_release.VERSION}\n"
    assert (host.has(WANTED), host.has(CONFIG)) == (True, True)


def test_a_virtual_environment_is_not_mixed_with_a_package(
    host: MinimalHost, builds: Builds, artifact: Find
) -> None:
    """Its folder has the same name; the message says what to remove, and what stays."""
    (host.root / "opt/inference-cost-exporter").mkdir(parents=True)
    (host.root / "opt/inference-cost-exporter/pyvenv.cfg").touch()
    output = host.run("dpkg", "--install", put(host, artifact(builds.tagged, r"amd64\.deb$")), status=1)
    assert "/opt/inference-cost-exporter is a virtual environment: remove that folder first." in output
    assert not host.has(PROGRAM)


def test_the_demo_serves_from_the_package_alone(host: MinimalHost, builds: Builds, artifact: Find) -> None:
    """In a network without a way out, on a system without Python."""
    host.dpkg("--install", put(host, artifact(builds.tagged, r"amd64\.deb$")))
    script = """
import fcntl, select, socket, struct, subprocess, sys, urllib.request
up = 0x49  # IFF_UP, IFF_LOOPBACK, IFF_RUNNING by SIOCSIFFLAGS
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", up))
demo = subprocess.Popen(["/usr/bin/inference-cost-exporter", "demo", "--web.listen-address=127.0.0.1:9844"])
page = ""
while not page and demo.poll() is None:
    try:
        page = urllib.request.urlopen("http://127.0.0.1:9844/metrics").read().decode()
    except OSError:
        select.select([], [], [], 0.2)
print(page.count("inference_gpu_up{"))
demo.terminate()
sys.exit(demo.wait(30))
"""
    output = host.run("/opt/inference-cost-exporter/bin/python3", "-IS", "-c", script)
    assert "\n8\n" in f"\n{output}"
