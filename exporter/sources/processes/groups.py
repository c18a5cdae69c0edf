"""Groups of the processes that compute on GPUs, and the API server of each."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias

from exporter.engines.launch import Launch, launch, program, works_for
from exporter.engines.llamacpp import LLAMACPP
from exporter.sources.processes.census import Process
from exporter.sources.processes.sockets import Reach, Sockets
from exporter.units import Nanoseconds

Claim: TypeAlias = Literal["", "taken", "contested"]
"""Fault of the port that a server's command line names: `taken`, another user listens there, or did last;
`contested`, another group of the same user names it too, and the owner of the socket is unknown."""

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
    claim: Claim = ""
    reach: Reach = "unknown"
    hosts: tuple[str, ...] = ()
    """Where to reach it, best first; empty where `reach` is `loopback` or `unknown`."""


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


LAUNCHES_MAX: Final = 1024
"""Command lines whose launch is cached: as many as processes are."""

_launch: Final = lru_cache(maxsize=LAUNCHES_MAX)(launch)


def grouped(processes: Mapping[int, Process], computing: Iterable[int]) -> tuple[ProcessGroup, ...]:
    """The groups of the processes that compute, then those of servers that compute nothing.

    What a process calls itself joins it to processes of its own user in its own container or unit only.
    `computing` may name processes that are not known; they are passed over.
    """
    here = {pid for pid in computing if pid in processes}
    clusters: dict[tuple[str, int | None, int], list[Process]] = {}
    for process in processes.values():
        alone = process.pid if process.user is None else 0
        clusters.setdefault((process.cgroup.anchor, process.user, alone), []).append(process)
    groups = [group for cluster in clusters.values() for group in _OwnProcesses(cluster, here).groups()]
    groups.sort(key=lambda group: (not group.computing, group.started, group.id))
    # Users take turns, so that nobody's many leave no place for another's.
    turns: Counter[int | None] = Counter()
    in_turn = []
    for number, group in enumerate(groups):
        turns[group.user] += 1
        in_turn.append((turns[group.user], number))
    return tuple(groups[number] for number in sorted(number for _, number in sorted(in_turn)[:GROUPS_MAX]))


class _OwnProcesses:
    """The processes of one user in one cgroup, down to the container or the unit."""

    def __init__(self, processes: list[Process], computing: set[int]) -> None:
        self._processes = {process.pid: process for process in processes}
        self._computing = [process for process in processes if process.pid in computing]
        self._cgroup, self._user = processes[0].cgroup, processes[0].user
        # Of a user that is unknown no other process is the same one's.
        self._shared = self._cgroup.shared or self._user is None
        self._children: dict[int, list[int]] = {}
        for process in processes:
            if parent := self._parent(process):
                self._children.setdefault(parent.pid, []).append(process.pid)
        launches = {process.pid: _launch(process.argv) for process in processes}
        self._launches = {pid: start for pid, start in launches.items() if start is not None}
        self._servers = self._outermost()
        self._of_engine: dict[str, list[int]] = {}
        self._of_session: dict[tuple[str, int], list[int]] = {}
        for pid, server in self._servers.items():
            engine = server.launch.engine
            self._of_engine.setdefault(engine, []).append(pid)
            self._of_session.setdefault((engine, self._processes[pid].session), []).append(pid)

    def groups(self) -> Iterator[ProcessGroup]:
        """Each server with the processes that compute for it, then those that compute for none."""
        by_server: dict[int, list[Process]] = {pid: [] for pid in self._servers}
        rest: dict[int, list[Process]] = {}
        for process in self._computing:
            owner = self._owner(process)
            if owner is not None:
                by_server[owner].append(process)
                continue
            root = 0
            if self._shared:  # the highest ancestor below a program that starts unrelated ones
                root = process.pid
                for pid in self._ancestors(process.pid):
                    if self._processes[pid].name in _STARTERS or pid == 1:
                        break
                    root = pid
            rest.setdefault(root, []).append(process)
        # A router is not alone for long, and its group is the same one before and after.
        alone = len(by_server) == 1 and not self._shared
        alone = alone and not any(server.launch.routes for server in self._servers.values())
        for pid, computing in by_server.items():
            yield self._group(computing, self._servers[pid], None if alone else pid)
        for root, computing in rest.items():
            yield self._group(computing, None, root or None)

    def _group(self, computing: list[Process], server: ApiServer | None, root: int | None) -> ProcessGroup:
        serving = [] if server is None else [self._processes[server.process.pid]]
        # A go-between's clients come before it, and the server last.
        named = min(
            computing or serving,
            key=lambda process: (program(process.argv, process.name) in GO_BETWEENS, process.started),
        )
        number = "" if root is None else f"#{root}.{self._processes[root].started}"
        return ProcessGroup(
            id=f"{self._cgroup.anchor}:{self._user}{number}",
            name=program(named.argv, named.name),
            computing=tuple(sorted(ProcessId(process.pid, process.started) for process in computing)),
            started=min(process.started for process in (*computing, *serving)),
            container=self._cgroup.container,
            runtime=self._cgroup.runtime,
            pod=self._cgroup.pod,
            unit=self._cgroup.unit,
            server=server,
            system_unit=self._cgroup.system_unit,
            delegated=self._cgroup.delegated,
            user=self._user,
        )

    def _outermost(self) -> dict[int, ApiServer]:
        """Servers that no other server started, completed by their parts and by the servers they started.

        A server that a router started is a server of its own.
        """
        launches = {pid: start for pid, start in self._launches.items() if not start.part}
        inner: dict[int, list[int]] = {}
        routers: dict[int, int] = {}
        for pid in launches:
            line = [pid, *(other for other in self._ancestors(pid) if other in launches)]  # nearest first
            outermost = line[-1]
            child = line[-2] if len(line) > 1 else outermost
            own, above = launches[child], launches[outermost]
            # A llama.cpp that another one started for one model names a port of its own.
            alike = own.engine == above.engine == LLAMACPP.name
            if alike and own.explicit_port and own.port != above.port:
                routers[child] = outermost
                outermost = child
            inner.setdefault(outermost, []).extend([pid] if pid != outermost else [])
        routing = {*routers.values()}
        servers_of = Counter(launches[pid].engine for pid in inner)
        parts: dict[str, list[Launch]] = {}
        for part in self._launches.values():
            if part.part and servers_of[part.engine] == 1:
                parts.setdefault(part.engine, []).append(part)
        servers: dict[int, ApiServer] = {}
        for pid, below in inner.items():
            own = replace(launches[pid], routes=launches[pid].routes or pid in routing)
            started = (launches[other] for other in below[:SERVING_MAX])
            whole = _completed(own, (*started, *parts.get(own.engine, ())))
            process = ProcessId(pid, self._processes[pid].started)
            serving = self._serving(pid, inner)
            servers[pid] = ApiServer(process, whole, serving, routers.get(pid))
        return servers

    def _owner(self, process: Process) -> int | None:
        """The server that a process computes for: itself, its ancestor, else the only candidate.

        A worker need not descend from its server: Ray's are the raylet's children, and one whose parent ended
        is init's.
        """
        for pid in (process.pid, *self._ancestors(process.pid)):
            if pid in self._servers:
                return pid
        if not self._shared and len(self._servers) == 1:
            return next(iter(self._servers))
        engines = sorted(works_for(process.argv))
        fitting = [self._of_engine.get(engine, []) for engine in engines]
        if sum(map(len, fitting)) > 1:  # the one of the same session, if there is one
            fitting = [self._of_session.get((engine, process.session), []) for engine in engines]
        return next((pid for one in fitting for pid in one), None) if sum(map(len, fitting)) == 1 else None

    def _parent(self, process: Process) -> Process | None:
        """The parent within the cgroup. One that began later is none: its id was used again."""
        parent = self._processes.get(process.parent)
        return None if parent is None or parent.started > process.started else parent

    def _ancestors(self, pid: int) -> Iterator[int]:
        """Ancestors within the cgroup, nearest first."""
        child = self._processes[pid]
        for _ in range(DEPTH_MAX):
            parent = self._parent(child)
            if parent is None:
                return
            yield parent.pid
            child = parent

    def _serving(self, server: int, servers: Collection[int]) -> tuple[int, ...]:
        """A server and its descendants: the server, then processes with a launch, then the others."""
        below: dict[int, None] = {server: None}
        waiting = [server]
        while waiting and len(below) < DESCENDANTS_MAX:
            children = [
                pid
                for pid in self._children.get(waiting.pop(), ())
                if pid not in below and pid not in servers
            ]
            below.update(dict.fromkeys(children))
            waiting.extend(children)
        ordered = sorted(below, key=lambda pid: (pid != server, pid not in self._launches, pid))
        return tuple(ordered[:SERVING_MAX])


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
