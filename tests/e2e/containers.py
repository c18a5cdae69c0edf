"""Our image, built here from a root file system of this machine, and the daemon in a container of it."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.daemon import ROOT, Daemon

ROOTFS = ROOT / ".cache" / "rootfs"
BASE, BUILDER = "localhost/python", "localhost/python-pip"
LIMITS = ("--ulimit", "nofile=20000:20000", "--ulimit", "nproc=90000:90000")
"""Some sandboxes lower what buildah would ask for by itself."""


class ContainersError(Exception):
    """Buildah or podman failed; the message holds what they said."""


class Store:
    """Images and containers in the folder that tools/rootfs made; several processes may have it at once.

    Raises:
        ContainersError: there is no base to build from, or no program to build with; the message says how to
            get them.
    """

    def __init__(self) -> None:
        missing = [program for program in ("buildah", "podman", "runc") if shutil.which(program) is None]
        stamp, lock = ROOTFS / ".runtime.lock", ROOT / "requirements" / "runtime.lock"
        if missing or not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
            needed = ", ".join(missing) or f"{ROOTFS} for this lock"
            raise ContainersError(f"missing: {needed}; run the end-to-end tests with `make e2e`")
        self._environment = {**os.environ, "PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}
        self._store = (
            *("--storage-driver", (ROOTFS / "driver").read_text(encoding="utf-8").strip()),
            *("--root", str(ROOTFS / "store"), "--runroot", str(ROOTFS / "run")),
        )
        self._made: list[str] = []

    def command(self, program: str, *words: str) -> list[str]:
        """What runs a program on this store."""
        runtime = ("--runtime", "runc") if program == "podman" else ()
        return [program, *self._store, *runtime, *words]

    def run(self, program: str, *words: str) -> str:
        """What a program prints.

        Raises:
            ContainersError: it did not end well.
        """
        command = self.command(program, *words)
        done = subprocess.run(
            command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise ContainersError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr}")
        return done.stdout.strip()

    def make(self, *words: str) -> str:
        """A container, by `podman create` or `podman run --detach`, until the store is closed; its id."""
        name = self.run("podman", *words)
        self._made.append(name)
        return name

    def start(self, name: str, log: int) -> "subprocess.Popen[bytes]":
        """A container, begun once more; the process ends with its exit status and passes no signal on."""
        return subprocess.Popen(
            self.command("podman", "start", "--attach", "--sig-proxy=false", name),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def close(self) -> None:
        """End and remove the containers that were made."""
        if self._made:
            self.run("podman", "rm", "--force", "--time", "0", *self._made)

    def once(self, tag: str, *words: str) -> dict[str, Any]:
        """Build an image unless a process of this run has; what was built before this run is removed.

        As `build`; the tag has a name and a part that is this run's.
        """
        with (ROOTFS / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            images = self.run("podman", "images", "--format", "{{.Repository}}:{{.Tag}}").split()
            if tag not in images:
                name = tag.rpartition(":")[0]
                if old := [one for one in images if one.startswith(f"{name}:")]:
                    self.run("podman", "rmi", "--force", *old)  # with containers that a killed run left
                self.run("podman", "image", "prune", "--force")
                return self.build(tag, *words)
        return self.inspect(tag)

    def build(self, tag: str, *words: str) -> dict[str, Any]:
        """Build the image as docs/operations.md says, on this machine's bases; returns what podman tells."""
        self.run(
            *("buildah", "bud", "--quiet", "--format=docker", "--isolation=chroot", "--timestamp=0", *LIMITS),
            *("--build-arg", f"BASE={BASE}", "--build-arg", f"BUILDER={BUILDER}"),
            *("--build-arg", "PIP_NO_INDEX=1", "--build-arg", "PIP_FIND_LINKS=/wheels"),
            *("--volume", f"{ROOTFS}/wheels:/wheels:ro", *words),
            *("--file", "deploy/docker/Dockerfile", "--tag", tag, "."),
        )
        return self.inspect(tag)

    def inspect(self, tag: str) -> dict[str, Any]:
        """What podman tells of an image."""
        (description,) = json.loads(self.run("podman", "image", "inspect", tag))
        return dict(description)


@dataclass(frozen=True)
class Image:
    """What was built, and where it is."""

    store: Store
    tag: str
    facts: Mapping[str, Any]
    """As `podman image inspect` tells it."""

    def once(self, *words: str, options: Sequence[str] = (), program: str = "") -> str:
        """What a container without rights and network prints, which is removed."""
        entry = ("--entrypoint", program) if program else ()
        return self.store.run("podman", "run", "--rm", *POWERLESS, *options, *entry, self.tag, *words)


POWERLESS = (
    *("--read-only", "--read-only-tmpfs=false", "--network=none"),
    *("--cap-drop=all", "--security-opt=no-new-privileges"),
)


class Contained(Daemon):
    """An installation whose process runs in a container, as podman is told by `options`.

    The container is made at the first start, and sees the folders that the environment names at their paths.
    """

    def __init__(
        self,
        image: Image,
        folder: Path,
        config: str,
        environment: Mapping[str, str],
        options: Sequence[str],
        arguments: Sequence[str],
    ) -> None:
        super().__init__(folder, config, environment)
        self._store = image.store
        self._name = ""
        named = [Path(value) for value in environment.values()]
        volumes = {
            f"--volume={path}:{path}" for path in (one if one.is_dir() else one.parent for one in named)
        }
        variables = [f"--env={name}={value}" for name, value in environment.items()]
        self._create = [
            *("create", *options, *sorted(volumes), *variables),
            *(image.tag, *arguments, f"--web.listen-address=127.0.0.1:{self.port}"),
        ]

    def spawn(self, port: int | None = None) -> "subprocess.Popen[bytes]":
        assert port is None, "a container has one port"
        self._name = self._name or self._store.make(*self._create)
        with self.log.open("ab") as log:
            return self._store.start(self._name, log.fileno())

    @property
    def pid(self) -> int:
        return int(self.inspect("{{.State.Pid}}"))

    def inspect(self, what: str) -> str:
        """A fact about the container, by a Go template."""
        return self._store.run("podman", "inspect", self._name, "--format", what)

    def kill(self) -> None:
        self._end(signal.SIGKILL, 30)

    def terminate(self, seconds: float = 30) -> int:  # podman's own time is in it
        status = self._end(signal.SIGTERM, seconds)
        assert status is not None
        return status

    def _end(self, by: signal.Signals, seconds: float) -> int | None:
        if self.process is None:
            return None
        if self.process.poll() is None:
            self._store.run("podman", "kill", "--signal", str(by.value), self._name)
        status = self.process.wait(seconds)
        self.process = None
        return status
