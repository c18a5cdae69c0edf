"""Minimal hosts of Debian 12 and 13, on which packages are installed, and their unit's command runs."""

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.daemon import Page, free_port, get, until

CACHE = Path(".cache/roots").absolute()
SUITES = {"debian-12": "bookworm", "debian-13": "trixie"}
SYSTEMCTL = """#!/bin/sh
echo "$*" >>/systemctl.log
case "$*" in *enable* | *disable*) exec /usr/bin/systemctl.real --root=/ "$@" ;; esac
"""
"""Where systemd does not run, this notes what it was told, and has units enabled."""
IN_ROOT = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'


def system(name: str) -> Path:
    """The root file system of a release, made once; it has systemd, and no Python."""
    root = CACHE / name
    if not (root / "made").exists():
        shutil.rmtree(root, ignore_errors=True)
        command = [
            "debootstrap",
            "--variant=minbase",
            "--include=systemd",
            SUITES[name],
            str(root),
            *mirror(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        (root / "made").touch()
    return root


def mirror() -> list[str]:
    """Where this machine has its packages from; debootstrap's choice where that is not known."""
    target = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Identifier: Packages"]
    lines = subprocess.run(target, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if line.startswith("http") and line.rstrip("/").endswith("/debian")][:1]


class MinimalHost:
    """A copy of a root file system, on which packages are installed and the unit's command runs."""

    def __init__(self, release: str, folder: Path, nvml: Path, scenario: Path) -> None:
        self.root = folder / release
        subprocess.run(["cp", "--archive", "--reflink=auto", system(release), self.root], check=True)
        library = self.root / "usr/lib/x86_64-linux-gnu" / nvml.name  # as the driver's package has it
        shutil.copy(nvml, library)
        shutil.copy(scenario, self.root / "scenario")
        stub = self.root / "usr/bin/systemctl"  # rpm looks nowhere else
        stub.rename(stub.with_name("systemctl.real"))
        stub.write_text(SYSTEMCTL, encoding="utf-8")
        stub.chmod(0o755)
        (self.root / "run/systemd/system").mkdir(parents=True)
        self.log = folder / "daemon.log"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, *words: str, status: int = 0) -> str:
        """What a command prints in it.

        Raises:
            AssertionError: it ended otherwise; the message is what it said.
        """
        done = subprocess.run(
            self.command(*words), capture_output=True, text=True, check=False, env=self.environment()
        )
        assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def command(self, *words: str) -> list[str]:
        """What runs a command in it."""
        return ["unshare", "--mount", "--net", "sh", "-c", IN_ROOT, str(self.root), *words]

    def environment(self) -> Mapping[str, str]:
        """Variables of a service, and where the stand-in for NVIDIA's library has its GPUs from."""
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "FAKE_NVML_SCENARIO": "/scenario", "FAKE_NVML_TRACE": "/trace"}

    def systemctl_calls(self) -> list[str]:
        """What the packages' scripts told systemd since the last time, but for reading its units again."""
        log = self.root / "systemctl.log"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        assert "daemon-reload" in lines
        return [line for line in lines if line != "daemon-reload"]

    def has(self, path: str) -> bool:
        """Whether a file or folder is there."""
        return os.path.lexists(self.root / path.lstrip("/"))

    def dpkg(self, *words: str) -> str:
        """What dpkg says, which asks nothing."""
        return self.run("dpkg", "--force-confold", *words)

    def rpm(self, *words: str) -> str:
        """What rpm says, with a database of its own in this root; what dpkg knows, it does not."""
        done = subprocess.run(
            ["rpm", "--root", self.root, "--nodeps", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def unit_command(self) -> list[str]:
        """ExecStart of the installed unit."""
        unit = (self.root / "usr/lib/systemd/system/inference-cost-exporter.service").read_text()
        line = unit.partition("\nExecStart=")[2].replace("\\\n", " ").partition("\n")[0]
        return [word for word in shlex.split(line) if word != "$ARGS"]

    def start(self) -> Page:
        """Run the unit's command on a port of loopback until its first tick; the page."""
        state = self.root / "var/lib/inference-cost-exporter"  # StateDirectory of the unit
        state.mkdir(mode=0o750, exist_ok=True)
        script = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("unshare", "--mount", "sh", "-c", script, str(self.root), *self.unit_command()),
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            until(self._ready, 90, "ready")
        except (TimeoutError, ChildProcessError) as error:
            raise AssertionError(f"{error}\n{self.log.read_text(encoding='utf-8')}") from None
        return self.page()

    def page(self) -> Page:
        """A scrape."""
        return Page(get(self.port, "/metrics")[1], 0.0)

    def stop(self) -> None:
        """As systemd stops it; the exit status is that of an orderly end."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        status, self._process = self._process.wait(30), None
        assert status == 0

    def close(self) -> None:
        """End what runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.root)

    def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise ChildProcessError(f"exit status {self._process.returncode}")
        try:
            return get(self.port, "/-/ready")[0] == 200
        except OSError:
            return False
