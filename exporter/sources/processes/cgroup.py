"""What a process's `cgroup` says: its container, pod or unit. Pure; never raises, whatever the bytes.

Version 2 has one line, version 1 and hybrids have one per hierarchy. A reader in a cgroup namespace of its
own sees paths from its own place (`/../../kubepods/...`), in which the same names stand.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

CGROUP_BYTES: Final = 16_384
"""Read of one file; a dozen hierarchies with long names take 4 kB."""

REMEMBERED_MAX: Final = 128
"""Files whose content was read before; most processes of a host share theirs with others."""

PATH_CHARACTERS: Final = 1024
"""Kept of one path; a pod's has 200."""

_CONTAINER: Final = re.compile(r"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f])")
_POD: Final = re.compile(
    r"(?:^|[/-])pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?=[/.:]|$)"
)
"""A static pod's uid is 32 digits: the annotation kubernetes.io/config.hash."""

_RUNTIMES: Final = (
    ("cri-containerd", "containerd"),
    ("crio", "cri-o"),
    ("libpod", "podman"),
    ("docker", "docker"),
)
_JOB: Final = re.compile(r"job_[0-9]+")
"""Slurm's: /system.slice/slurmstepd.scope/job_7/step_0, /slurm/uid_1000/job_7/step_0."""

_LOGINS: Final = (
    "gdm",
    "getty",
    "init",
    "lightdm",
    "screen",
    "sddm",
    "serial-getty",
    "ssh",
    "sshd",
    "tmux",
    "user",
)
_STARTERS: Final = ("atd", "cron", "crond", "jupyter", "jupyterhub", "slurmd", "supervisor", "supervisord")
_RUNTIME_SERVICES: Final = (
    "containerd",
    "crio",
    "docker",
    "k3s",
    "kubelet",
    "podman",
    "rke2-agent",
    "rke2-server",
)
_SHARED_SERVICES: Final = frozenset((*_LOGINS, *_STARTERS, *_RUNTIME_SERVICES))
"""Services below which people start what they like; what runs there belongs together by ancestry only."""


class Cgroup(NamedTuple):
    """Where a process belongs. `anchor` is the path down to what `container` or `unit` names.

    `shared` is true where unrelated processes may be in it: login sessions, services that start what they are
    asked to, and where no unit is told. `system_unit` is the unit that the host's service manager started,
    empty for what users start: a user's manager, and a unit that is delegated, name what is below them.
    `delegated` is true below a user's manager, where no name of a pod or a container proves anything.
    """

    anchor: str
    container: str = ""
    runtime: str = ""
    pod: str = ""
    unit: str = ""
    shared: bool = True
    system_unit: str = ""
    delegated: bool = False


@lru_cache(maxsize=REMEMBERED_MAX)
def cgroup(content: bytes) -> Cgroup:
    """Read a `cgroup` file. A container is the deepest that any hierarchy names."""
    paths = _paths(content)
    for path in paths:
        found = [*_CONTAINER.finditer(path)]
        if found:
            return _container(path, found[-1])
    return _unit(next((path for path in paths if path != "/"), "/"))


def _paths(content: bytes) -> list[str]:
    """The paths, that of version 2 first, then systemd's own hierarchy, which are kept best."""
    ranked = []
    for line in content[:CGROUP_BYTES].decode(errors="replace").split("\n"):
        fields = line.split(":", 2)
        if len(fields) == 3 and fields[2].startswith("/"):
            rank = 0 if fields[:2] == ["0", ""] else 1 if fields[1] == "name=systemd" else 2
            ranked.append((rank, _plain(fields[2])))
    return [path for _, path in sorted(ranked, key=lambda pair: pair[0])]


def _plain(path: str) -> str:
    """A path without what leads up to a reader's own root, and without control characters."""
    while path.startswith("/../") or path == "/..":
        path = path[3:]
    return "".join(filter(str.isprintable, path))[:PATH_CHARACTERS] or "/"


def _container(path: str, found: re.Match[str]) -> Cgroup:
    end = path.find("/", found.end())
    anchor = path if end < 0 else path[:end]
    before = path[: found.start()]
    # containerd and crio write kubepods-...slice:cri-containerd:<id> without systemd's driver below it
    last = before[:-1].rpartition("/")[2]
    runtime = next((name for sign, name in _RUNTIMES if sign in last), "")
    pods = _POD.findall(before)
    users = _is_users(path.split("/"))
    pod = pods[-1].replace("_", "-") if pods and not users else ""
    return Cgroup(anchor, found[1], runtime, pod, shared=False, delegated=users)


def _unit(path: str) -> Cgroup:
    segments = path.split("/")
    for depth in range(len(segments) - 1, 0, -1):
        name = segments[depth]
        if name.endswith((".service", ".scope")) or _JOB.fullmatch(name):
            anchor = "/".join(segments[: depth + 1])
            shared = _shared(segments[:depth], name)
            system = "" if shared else _system_unit(segments)
            users = _is_users(segments)
            return Cgroup(anchor, unit=name, shared=shared, system_unit=system, delegated=users)
    return Cgroup(path)


def _is_users(segments: list[str]) -> bool:
    """Whether a path is below a user's slice or manager."""
    return any(
        (name.endswith(".slice") and name.startswith(("user.", "user-"))) or name.startswith("user@")
        for name in segments
    )


def _system_unit(segments: list[str]) -> str:
    """The outermost unit of a path; empty below a user's slice and where strangers share it."""
    name = next((name for name in segments if name and not name.endswith(".slice")), "")
    if _is_users(segments) or not name.endswith((".service", ".scope")):
        return ""
    return "" if name.startswith("slurm") or _shared([], name) else name


def _shared(above: list[str], name: str) -> bool:
    """Whether unrelated processes may share a unit."""
    if name.endswith(".scope"):  # below a user's manager a terminal is a scope, with all its shells
        return name.startswith(("session-", "init.")) or any(part.startswith("user@") for part in above)
    return name.removesuffix(".service").partition("@")[0] in _SHARED_SERVICES
