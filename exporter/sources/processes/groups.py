"""Groups of the processes that compute on GPUs, and the API server of each."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, NamedTuple

from exporter.engines.launch import Launch, launch, program, works_for
from exporter.engines.llamacpp import LLAMACPP
from exporter.readings import FailureReason
from exporter.sources.processes.census import Process
from exporter.sources.processes.sockets import Reach, Sockets
from exporter.units import Nanoseconds

GO_BETWEENS: Final = frozenset({"nvidia-cuda-mps-server"})
"""Programs that NVML lists next to their clients, for which they compute (MPS)."""


class ProcessId(NamedTuple):
    """Identity of a process: its id, and its start in boot time, since ids are reused."""

    pid: int
    started: Nanoseconds

    @property
    def identity(self) -> str:
        """Its text, which no later process shares."""
        return f"{self.pid}:{self.started}"


@dataclass(frozen=True, slots=True)
class ApiServer:
    """The API server of a group."""

    process: ProcessId
    launch: Launch
    """Its launch, completed by those of its parts: a TGI router, the vLLM inside a NIM."""
    serving: tuple[int, ...] = ()
    """Its process, and those below it whose sockets are its own."""
    started_by: int | None = None
    """The process of the llama.cpp router that started it for one model."""
    router: "ApiServer | None" = None
    """That router."""
    port: int | None = None
    """The port at which its API listens, `None` if unknown."""
    metrics_port: int | None = None
    claim: FailureReason | None = None
    """Fault of the port that its command line names.

    `PORT_TAKEN`: another user listens there, or did last. `PORT_CONTESTED`: another group of the same user
    names it too, and the owner of the socket is unknown.
    """
    reach: Reach = "unknown"
    hosts: tuple[str, ...] = ()
    """Where to reach it, best first; empty where `reach` is `loopback` or `unknown`."""

    @property
    def certain_port(self) -> int | None:
        """The port at which it listens, or that its command line names undisputed."""
        is_named = self.launch.explicit_port and not self.claim
        return self.port or (self.launch.port if is_named else None)

    @property
    def possible_port(self) -> int | None:
        """Its certain port, or its engine's default."""
        return self.certain_port or (None if self.claim else self.launch.port)


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """Processes that belong together: at most one API server, and the processes that compute for it."""

    id: str
    """Lasts as long as the group: its cgroup's path and its user, with a process behind `#` where they have
    more than one group."""
    name: str
    """The program that computes, for a group without a server (`unmatched:<name>`)."""
    computing: tuple[ProcessId, ...]
    """NVML's processes in it, none for a server that holds no GPU itself."""
    started: Nanoseconds
    """When the first of these processes and its server began, in boot time."""
    container: str = ""
    runtime: str = ""
    pod: str = ""
    """The uid of its pod; of a static pod its config hash."""
    unit: str = ""
    """Its systemd unit or Slurm job, for people."""
    server: ApiServer | None = None
    system_unit: str = ""
    """The unit of the host's own service manager, which no user can name; empty for what users start."""
    delegated: bool = False
    """Whether a user's manager named its cgroup."""
    sockets: Sockets | None = None
    """`None` if unknown."""
    user: int | None = None
    """Its uid, `None` for a program that runs as another user than the one who started it."""

    @property
    def is_go_between(self) -> bool:
        """Whether it computes for its clients, by its name (MPS)."""
        return self.name in GO_BETWEENS and self.server is None

    def may_compute_through(self, between: "ProcessGroup") -> bool:
        """Whether a group is a go-between for this one: of its user and container, or of the host's root."""
        if self.is_go_between or not between.is_go_between:
            return False
        if between.user == 0 and not between.container:
            return True
        return between.user is not None and (self.user, self.container) == (between.user, between.container)

    @property
    def network(self) -> int | None:
        """The number of its network namespace, `None` if unknown."""
        return None if self.sockets is None else self.sockets.network.number

    @property
    def on_host(self) -> bool:
        """Whether it is known to be in the network of the host, or in the daemon's own."""
        return self.sockets is not None and self.sockets.network.on_host

    @property
    def members(self) -> tuple[ProcessId, ...]:
        """The processes that compute, and the server."""
        if self.server is None or self.server.process in self.computing:
            return self.computing
        return (self.server.process, *self.computing)


@dataclass(frozen=True, slots=True)
class ProcessReading:
    """All groups with a process that computes, then those with a server only."""

    groups: tuple[ProcessGroup, ...] = ()
    unseen: tuple[int, ...] = ()
    """NVML's processes that could not be read."""


GROUPS_MAX: Final = 256

DEPTH_MAX: Final = 64
"""Ancestors that are climbed; a circle, which a tree read while it changes may show, ends there too."""

SERVING_MAX: Final = 32
"""Processes of a server whose sockets are read."""

DESCENDANTS_MAX: Final = 1024
"""Descendants of a server among which those are chosen."""

LAUNCHES_MAX: Final = 1024
"""Command lines whose launch is cached: as many as processes are."""

_STARTERS: Final = frozenset(
    {
        *("bash", "sh", "dash", "zsh", "fish", "ksh", "tcsh", "csh", "ash", "busybox", "make"),
        *("tmux: server", "screen", "SCREEN", "sshd", "sshd-session", "login", "su", "sudo", "script"),
        *("systemd", "init", "dumb-init", "tini", "docker-init", "catatonit", "conmon", "runc", "crun"),
        *("cron", "crond", "CRON", "atd", "supervisord", "runsv", "runsvdir", "s6-supervise", "slurmstepd"),
        *("jupyter-lab", "jupyter-noteboo", "jupyterhub-sing", "node", "code-server", "containerd-shim"),
    }
)
"""Programs that start unrelated ones, by the kernel's name of 15 characters: ancestry ends below them."""

_launch: Final = lru_cache(maxsize=LAUNCHES_MAX)(launch)


def grouped(processes: Mapping[int, Process], computing: Iterable[int]) -> tuple[ProcessGroup, ...]:
    """The groups of the processes that compute, then those of servers that compute nothing.

    Only processes of the same user in the same container or unit can share a group, whatever their titles.
    A process whose user is unknown shares none. `computing` may name processes that are not known.
    """
    clusters: dict[tuple[str, int | None, int], list[Process]] = {}
    for process in processes.values():
        alone = process.pid if process.user is None else 0
        clusters.setdefault((process.cgroup.anchor, process.user, alone), []).append(process)
    known = {pid for pid in computing if pid in processes}
    groups: list[ProcessGroup] = []
    for cluster in clusters.values():
        groups += _groups_of_cluster(cluster, known)
    groups.sort(key=lambda group: (not group.computing, group.started, group.id))
    # Users take turns, so that the many groups of a user leave places for those of others.
    turns: Counter[int | None] = Counter()
    turn_of: dict[str, int] = {}
    for group in groups:
        turns[group.user] += 1
        turn_of[group.id] = turns[group.user]
    by_turn = sorted(groups, key=lambda group: turn_of[group.id])
    chosen = {group.id for group in by_turn[:GROUPS_MAX]}
    return tuple(group for group in groups if group.id in chosen)


class _ProcessTree:
    """The processes of one cluster by their parents."""

    def __init__(self, processes: Iterable[Process]) -> None:
        self.processes = {process.pid: process for process in processes}
        self._children: dict[int, list[int]] = {}
        for process in self.processes.values():
            parent = self._parent(process)
            if parent is not None:
                self._children.setdefault(parent.pid, []).append(process.pid)

    def _parent(self, process: Process) -> Process | None:
        """The parent within the cluster. A process that began later has its id only."""
        parent = self.processes.get(process.parent)
        return None if parent is None or parent.started > process.started else parent

    def ancestors(self, pid: int) -> Iterator[int]:
        """Ancestors within the cluster, nearest first."""
        parent = self._parent(self.processes[pid])
        for _ in range(DEPTH_MAX):
            if parent is None:
                return
            yield parent.pid
            parent = self._parent(parent)

    def descendants(self, pid: int, without: Collection[int]) -> list[int]:
        """Descendants of a process, without those `without` and theirs."""
        below: dict[int, None] = {}
        parents = [pid]
        while parents and len(below) < DESCENDANTS_MAX:
            for child in self._children.get(parents.pop(), ()):
                if child not in below and child != pid and child not in without:
                    below[child] = None
                    parents.append(child)
        return list(below)

    def job(self, pid: int) -> int:
        """The highest ancestor of a process below a program that starts unrelated ones."""
        highest = pid
        for ancestor in self.ancestors(pid):
            if ancestor == 1 or self.processes[ancestor].name in _STARTERS:
                break
            highest = ancestor
        return highest


class _Members(NamedTuple):
    """The processes of one group."""

    server: ApiServer | None
    """The server that they compute for; `None` without one."""
    root: int | None
    """The process that tells this group from others of its unit; `None` where it is the only one."""
    computing: list[Process]
    """Processes that hold GPUs."""


def _groups_of_cluster(processes: list[Process], computing: Collection[int]) -> Iterator[ProcessGroup]:
    """The groups of one user in one container or unit.

    They are each server with the processes that compute for it, then those that compute for none.
    """
    cgroup, user = processes[0].cgroup, processes[0].user
    is_shared = cgroup.shared or user is None
    tree = _ProcessTree(processes)
    servers = _api_servers(tree)
    served: dict[int, list[Process]] = {pid: [] for pid in servers}
    unserved: dict[int | None, list[Process]] = {}
    server_index = _ServerIndex(tree, servers, is_shared=is_shared)
    for process in processes:
        if process.pid not in computing:
            continue
        server = server_index.served_by(process)
        if server is not None:
            served[server].append(process)
        else:
            job = tree.job(process.pid) if is_shared else None
            unserved.setdefault(job, []).append(process)
    # A router is not alone for long, and its group is the same one before and after.
    is_alone = len(servers) == 1 and not is_shared
    is_alone = is_alone and not any(server.launch.routes for server in servers.values())
    members = [_Members(servers[pid], None if is_alone else pid, group) for pid, group in served.items()]
    members += [_Members(None, job, group) for job, group in unserved.items()]
    for api, root, group in members:
        number = "" if root is None else f"#{root}.{tree.processes[root].started}"
        everything = group if api is None else [*group, tree.processes[api.process.pid]]
        # Clients come before their go-between, and the server last.
        first = min(
            group or everything,
            key=lambda process: (program(process.argv, process.name) in GO_BETWEENS, process.started),
        )
        yield ProcessGroup(
            id=f"{cgroup.anchor}:{user}{number}",
            name=program(first.argv, first.name),
            computing=tuple(sorted(ProcessId(process.pid, process.started) for process in group)),
            started=min(process.started for process in everything),
            container=cgroup.container,
            runtime=cgroup.runtime,
            pod=cgroup.pod,
            unit=cgroup.unit,
            server=api,
            system_unit=cgroup.system_unit,
            delegated=cgroup.delegated,
            user=user,
        )


def _api_servers(tree: _ProcessTree) -> dict[int, ApiServer]:
    """Servers that no other server started, completed by their parts and by the servers they started.

    A server that a router started is a server of its own.
    """
    all_launches: dict[int, Launch] = {}
    for pid, process in tree.processes.items():
        start = _launch(process.argv)
        if start is not None:
            all_launches[pid] = start
    launches = {pid: start for pid, start in all_launches.items() if not start.part}
    parts = [start for start in all_launches.values() if start.part]
    inner: dict[int, list[int]] = {}  # the servers that each outermost server started
    routers: dict[int, int] = {}  # the router that started each server of one model
    for pid in launches:
        nearest_first = [pid, *(ancestor for ancestor in tree.ancestors(pid) if ancestor in launches)]
        match nearest_first[::-1]:
            case [router, model, *_] if _is_model_of_router(launches[model], launches[router]):
                routers[model] = router
                outermost = model
            case outermost_first:
                outermost = outermost_first[0]
        started = inner.setdefault(outermost, [])
        if pid != outermost:
            started.append(pid)
    engines = Counter(launches[pid].engine for pid in inner)
    routing = set(routers.values())
    servers: dict[int, ApiServer] = {}
    for pid, started in inner.items():
        own = launches[pid]
        if pid in routing:
            own = replace(own, routes=True)
        completing = [launches[other] for other in started[:SERVING_MAX]]
        if engines[own.engine] == 1:  # with a second server it is unknown whose part it is
            completing += [part for part in parts if part.engine == own.engine]
        below = sorted(tree.descendants(pid, inner), key=lambda other: (other not in all_launches, other))
        servers[pid] = ApiServer(
            process=ProcessId(pid, tree.processes[pid].started),
            launch=_completed(own, completing),
            serving=(pid, *below[: SERVING_MAX - 1]),
            started_by=routers.get(pid),
        )
    return servers


def _is_model_of_router(child: Launch, router: Launch) -> bool:
    """Whether a llama.cpp was started by another one for one model: it names a port of its own."""
    is_llamacpp = child.engine == router.engine == LLAMACPP.name
    return is_llamacpp and child.explicit_port and child.port != router.port


def _completed(own: Launch, others: Iterable[Launch]) -> Launch:
    """A server's launch, completed by those of its engine."""
    for other in others:
        if other.engine != own.engine:
            continue
        if other.explicit_port and not own.explicit_port:
            own = replace(own, port=other.port, explicit_port=True, host=other.host)
            if own.metrics_port is not None:
                own = replace(own, metrics_port=other.metrics_port)
        if own.metrics_port is None and other.metrics_port is not None:
            own = replace(own, metrics_port=other.metrics_port, metrics=True if other.part else own.metrics)
        if not own.model and other.model:
            own = replace(own, model=other.model)
    return own


class _ServerIndex:
    """The servers of a cluster, by engine and by session."""

    def __init__(self, tree: _ProcessTree, servers: Mapping[int, ApiServer], *, is_shared: bool) -> None:
        self._tree = tree
        self._servers = servers
        self._only = next(iter(servers)) if len(servers) == 1 and not is_shared else None
        """The server of a container or unit without another one."""
        self._by_engine: dict[tuple[str, int | None], list[int]] = {}
        """By engine and session; with `None` those of all sessions."""
        for pid, server in servers.items():
            for session in (None, tree.processes[pid].session):
                self._by_engine.setdefault((server.launch.engine, session), []).append(pid)

    def served_by(self, process: Process) -> int | None:
        """The server that a process computes for: itself, its ancestor, else the only candidate.

        A worker need not descend from its server: Ray's are the raylet's children, and one whose parent ended
        is init's.
        """
        for pid in (process.pid, *self._tree.ancestors(process.pid)):
            if pid in self._servers:
                return pid
        if self._only is not None:
            return self._only
        engines = sorted(works_for(process.argv))
        for session in (None, process.session):
            candidates = [self._by_engine.get((engine, session), []) for engine in engines]
            if sum(map(len, candidates)) == 1:
                return next(pid for pids in candidates for pid in pids)
        return None
