"""Container, pod and unit of a process, by its `cgroup` file. Pure."""

import re
from functools import lru_cache
from typing import Final, NamedTuple

CGROUP_BYTES: Final = 16_384
"""Read of one file; a dozen hierarchies with long names take 4 kB."""

REMEMBERED_MAX: Final = 128
"""Files whose content was read before; most processes of a host share theirs with others."""

PATH_CHARACTERS: Final = 1024
"""Kept of one path; a pod's has 200."""

_CONTAINER: Final = re.compile(r"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f]|\.slice)")
"""A slice with an id is a pod of podman's, around its containers."""

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

_RUNTIME_SERVICES: Final = frozenset(
    ("containerd", "crio", "docker", "k3s", "kubelet", "podman", "rke2-agent", "rke2-server")
)
_SHARED_SERVICES: Final = _RUNTIME_SERVICES.union(
    ("gdm", "getty", "init", "lightdm", "screen", "sddm", "serial-getty", "ssh", "sshd", "tmux", "user"),
    ("atd", "cron", "crond", "jupyter", "jupyterhub", "slurmd", "supervisor", "supervisord"),
)
"""Services that start unrelated programs; below them only ancestry groups processes."""


class Cgroup(NamedTuple):
    """Container, pod and unit of a process."""

    anchor: str
    """The path down to the container or unit."""
    container: str = ""
    runtime: str = ""
    pod: str = ""
    unit: str = ""
    shared: bool = True
    """Whether unrelated processes may be in it: login sessions, services that start any program, no unit."""
    system_unit: str = ""
    """The unit that the host's service manager started, empty for processes that users start: a user's
    manager, and a delegated unit, choose the names below them."""
    delegated: bool = False
    """Whether it is below a user's manager, or a container below any unit but a runtime's: who runs there may
    make cgroups, and a name of a pod or container proves nothing."""


@lru_cache(maxsize=REMEMBERED_MAX)
def cgroup(content: bytes) -> Cgroup:
    """Parse a `cgroup` file: the outermost container of any hierarchy, else a unit.

    A container with writable cgroups gives those below its own any name, that of another's pod too.
    """
    ranked: list[tuple[int, str]] = []
    for line in content[:CGROUP_BYTES].decode(errors="replace").split("\n"):
        fields = line.split(":", 2)
        if len(fields) < 3 or not fields[2].startswith("/"):
            continue
        hierarchy, controllers, path = fields
        # That of version 2 first, then systemd's own hierarchy: they are kept best.
        rank = 2
        if (hierarchy, controllers) == ("0", ""):
            rank = 0
        elif controllers == "name=systemd":
            rank = 1
        while path.startswith("/../") or path == "/..":  # what leads up to a reader's own root
            path = path[3:]
        ranked.append((rank, "".join(filter(str.isprintable, path))[:PATH_CHARACTERS] or "/"))
    paths = [path for _, path in sorted(ranked, key=lambda pair: pair[0])]
    for path in paths:
        container = _CONTAINER.search(path)
        if container is not None:
            return _container(path, container)
    return _unit(next((path for path in paths if path != "/"), "/"))


def _container(path: str, match: re.Match[str]) -> Cgroup:
    end = path.find("/", match.end())
    anchor = path if end < 0 else path[:end]
    before = path[: match.start()]
    above, _, last = before.removesuffix("/").rpartition("/")
    # containerd and crio write kubepods-...slice:cri-containerd:<id> without systemd's driver below it
    runtime = next((name for sign, name in _RUNTIMES if sign in last), "")
    segments = above.split("/")
    delegated = _is_users([*segments, last]) or any(map(_is_foreign, segments))
    pod = None if delegated else _POD.search(before)
    return Cgroup(
        anchor=anchor,
        container=match[1],
        runtime=runtime,
        pod=pod[1].replace("_", "-") if pod else "",
        shared=False,
        system_unit=_system_unit(segments) if delegated else "",
        delegated=delegated,
    )


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


def _is_foreign(name: str) -> bool:
    """Whether a cgroup is a unit but no container runtime's, or another system's (LXC)."""
    stem, _, kind = name.rpartition(".")
    is_unit = kind in ("service", "scope") and stem not in _RUNTIME_SERVICES
    return is_unit or name.startswith("lxc.payload")


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
