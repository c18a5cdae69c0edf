"""Groups of the processes that compute on GPUs, and the API server of each."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias

from exporter.engines.launch import Launch, launch, program, works_for
from exporter.engines.llamacpp import LLAMACPP
from exporter.sources.processes.census import Process
from exporter.sources.processes.listener import ExpectedListener, takers
from exporter.sources.processes.proc import ANY4, ANY6, ListeningSocket, loopback
from exporter.units import Nanoseconds

GroupKind: TypeAlias = Literal["container", "unit", "tree"]
"""What the processes of a group share: a container, a systemd unit (or a Slurm job), or ancestors."""

PortEvidence: TypeAlias = Literal["", "descriptor", "command", "namespace"]
"""Evidence of a server's port: an open socket of the process; a port of its command line, or its engine's
default, on which its user listens; the only port left in its network namespace. Empty: the port is
unknown."""

Claim: TypeAlias = Literal["", "taken", "contested"]
"""Fault of the port that a server's command line names: `taken`, another user listens there, or did last;
`contested`, another group of the same user names it too, and the owner of the socket is unknown."""

Reach: TypeAlias = Literal["here", "address", "loopback", "unknown"]
"""How a server can be reached: in this network namespace; by an address of its own namespace; only inside
that namespace, by loopback; or it is unknown where it listens."""


GO_BETWEENS: Final = frozenset({"nvidia-cuda-mps-server"})
"""Programs that NVML lists next to their clients, for which they compute (MPS)."""

HOSTS_MAX: Final = 4


class ProcessId(NamedTuple):
    """Identity of a process: its id, and its start in boot time, since ids are reused."""

    pid: int
    started: Nanoseconds


@dataclass(frozen=True, slots=True)
class Sockets:
    """The listening sockets of a group, and the network namespace that they are in.

    `listening` are its own, if its descriptors are readable, else those of its user that no other group is
    known to have. `of_user` are all of its user's, `others` everybody else's. `own` is true in the daemon's
    network, `on_host` there and in the host's; `addresses` are those of sockets that are bound to all.
    `process` is one in that network, `number` the network's own. `unprivileged`: users may have made it.
    """

    network: str = ""
    own: bool = False
    on_host: bool = False
    listening: tuple[ListeningSocket, ...] = ()
    of_user: tuple[ListeningSocket, ...] = ()
    addresses: tuple[str, ...] = ()
    others: tuple[ListeningSocket, ...] = ()
    process: int | str = "self"
    number: int | None = None
    unprivileged: bool = False

    def listener(self, host: str, port: int) -> ExpectedListener | None:
        """The listener at an address; `None` where nothing listens, or somebody else."""
        accepting = takers((*self.listening, *self.of_user, *self.others), host, port)
        if not accepting or not accepting.isdisjoint(self.others):
            return None
        return ExpectedListener(
            accepting, process=self.process, network=self.number, unprivileged=self.unprivileged
        )

    def reach(self, port: int | None, wanted: str = "") -> tuple[Reach, tuple[str, ...]]:
        """How a port is reached, and its addresses, nearest first.

        A socket at the address `wanted` takes precedence over others of the port.
        """
        if port is None:
            return "unknown", ()
        bound = [at.host for at in self.listening if at.port == port]
        bound = bound or [at.host for at in self.of_user if at.port == port]
        if wanted in bound:  # another process may have the port at another address
            bound = [wanted]
        everywhere = ANY4 in bound or ANY6 in bound
        hosts = [*self.addresses] if everywhere else [*bound]
        if self.own:
            # A `::` socket may be for IPv6 only.
            hosts.sort(key=lambda host: (not loopback(host), ANY4 not in bound and ":" not in host))
        else:
            hosts = [host for host in hosts if not loopback(host)]
        hosts = [host for host in dict.fromkeys(hosts) if self.listener(host, port) is not None]
        if hosts:
            return ("here" if self.own else "address"), tuple(hosts[:HOSTS_MAX])
        return ("loopback" if bound and not self.own and not everywhere else "unknown"), ()


@dataclass(frozen=True, slots=True)
class ApiServer:
    """The API server of a group.

    `inner` are servers that it started itself: a TGI router, the vLLM inside a NIM.
    `router` is the llama.cpp router that started it for one model.
    `port` and `metrics_port` are ports on which it listens, `None` if unknown.
    `listening` are its own sockets, if its descriptors are readable, else its user's in its network
    namespace. `network` is the same text for servers that share a network namespace, empty if unknown;
    `on_host` is true for the host's and for the daemon's own. `hosts` are where to reach `port`, best first;
    empty where `reach` is `loopback` or `unknown`.
    """

    process: ProcessId
    launch: Launch
    inner: tuple[Launch, ...] = ()
    port: int | None = None
    metrics_port: int | None = None
    evidence: PortEvidence = ""
    listening: tuple[ListeningSocket, ...] = ()
    network: str = ""
    on_host: bool = False
    claim: Claim = ""
    reach: Reach = "unknown"
    hosts: tuple[str, ...] = ()
    router: "ApiServer | None" = None


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """Processes that belong together: at most one API server, and the processes that compute for it.

    `id` lasts as long as the group: its cgroup's path and its user, with a process behind `#` where they have
    more than one group. `name` is the program that computes, for a group without a server
    (`unmatched:<name>`).
    `computing` are NVML's processes in it, none for a server that holds no GPU itself.
    `started` is when the first of these processes and its server began, in boot time.
    `container`, `runtime` and `pod` are those of the cgroup; a static pod's uid is its config hash.
    `unit` is for people; `system_unit` is the unit of the host's own service manager, which no user can name,
    empty for processes that users start; `delegated`: a user's manager named its cgroup.
    `sockets` are those of its processes, `None` if unknown.
    `user` is the uid, `None` for a program that runs as another user than the one who started it.
    """

    id: str
    kind: GroupKind
    name: str
    computing: tuple[ProcessId, ...]
    started: Nanoseconds
    container: str = ""
    runtime: str = ""
    pod: str = ""
    unit: str = ""
    server: ApiServer | None = None
    system_unit: str = ""
    delegated: bool = False
    sockets: Sockets | None = None
    user: int | None = None

    @property
    def is_go_between(self) -> bool:
        """Whether it computes for its clients, by its name (MPS)."""
        return self.name in GO_BETWEENS and self.server is None

    @property
    def members(self) -> tuple[ProcessId, ...]:
        """The processes that compute, and the server."""
        server = (
            () if self.server is None or self.server.process in self.computing else (self.server.process,)
        )
        return (*server, *self.computing)


@dataclass(frozen=True, slots=True)
class ProcessReading:
    """All groups with a process that computes, then those with a server only.

    `unseen` are NVML's processes that could not be read.
    """

    groups: tuple[ProcessGroup, ...] = ()
    unseen: tuple[int, ...] = ()


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


@dataclass(frozen=True, slots=True)
class Grouped:
    """A group, whose server's sockets are still to be found, in the processes `serving`.

    `router` is the process of the router that started its server.
    """

    group: ProcessGroup
    serving: tuple[int, ...] = ()
    router: int | None = None


@dataclass(frozen=True, slots=True)
class _ServerProcess:
    process: Process
    launch: Launch
    inner: tuple[Launch, ...] = ()
    router: int | None = None


def grouped(processes: Mapping[int, Process], computing: Iterable[int]) -> tuple[Grouped, ...]:
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
    groups.sort(key=lambda one: (not one.group.computing, one.group.started, one.group.id))
    # Users take turns, so that nobody's many leave no place for another's.
    turns: Counter[int | None] = Counter()
    in_turn = []
    for number, one in enumerate(groups):
        turns[one.group.user] += 1
        in_turn.append((turns[one.group.user], number))
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
            self._of_engine.setdefault(server.launch.engine, []).append(pid)
            session = (server.launch.engine, server.process.session)
            self._of_session.setdefault(session, []).append(pid)

    def groups(self) -> Iterator[Grouped]:
        """Each server with the processes that compute for it, then those that compute for none."""
        by_server: dict[int, list[Process]] = {pid: [] for pid in self._servers}
        rest: dict[int, list[Process]] = {}
        for process in self._computing:
            owner = self._owner(process)
            if owner is not None:
                by_server[owner].append(process)
            else:
                root = self._root(process) if self._shared else 0
                rest.setdefault(root, []).append(process)
        # A router is not alone for long, and its group is the same one before and after.
        alone = len(by_server) == 1 and not self._shared
        alone = alone and not any(server.launch.routes for server in self._servers.values())
        for pid, computing in by_server.items():
            yield self._group(computing, self._servers[pid], None if alone else pid)
        for root, computing in rest.items():
            yield self._group(computing, None, root or None)

    def _group(self, computing: list[Process], server: _ServerProcess | None, root: int | None) -> Grouped:
        members = tuple(sorted(ProcessId(process.pid, process.started) for process in computing))
        first = min(computing, key=_first_of_name, default=server and server.process)
        began = [process.started for process in computing]
        began += [server.process.started] if server else []
        group_cgroup = self._cgroup
        kind: GroupKind = "tree" if group_cgroup.shared else "container" if group_cgroup.container else "unit"
        name = f"{group_cgroup.anchor}:{self._user}"
        if root is not None:
            name += f"#{root}.{self._processes[root].started}"
        group = ProcessGroup(
            id=name,
            kind=kind,
            name=program(first.argv, first.name) if first else "unknown",
            computing=members,
            started=min(began),
            container=group_cgroup.container,
            runtime=group_cgroup.runtime,
            pod=group_cgroup.pod,
            unit=group_cgroup.unit,
            system_unit=group_cgroup.system_unit,
            delegated=group_cgroup.delegated,
            user=self._user,
        )
        if server is None:
            return Grouped(group)
        process = ProcessId(server.process.pid, server.process.started)
        group = replace(group, server=ApiServer(process, server.launch, server.inner))
        return Grouped(group, self._serving(server.process.pid), server.router)

    def _outermost(self) -> dict[int, _ServerProcess]:
        """Servers that no other server started, with their inner servers, completed by their parts.

        A server that a router started is a server of its own.
        """
        servers = {
            pid: servers_found for pid, servers_found in self._launches.items() if not servers_found.part
        }
        inner: dict[int, list[int]] = {}
        routers: dict[int, int] = {}
        for pid in servers:
            line = [pid, *(other for other in self._ancestors(pid) if other in servers)]
            outer = line[-1]
            if len(line) > 1 and _is_routed(servers[line[-2]], servers[outer]):
                outer = line[-2]
                routers[outer] = line[-1]
            inner.setdefault(outer, []).extend([pid] if pid != outer else [])
        routing = {*routers.values()}
        alike = Counter(servers[pid].engine for pid in inner)
        parts: dict[str, list[Launch]] = {}
        for part in self._launches.values():
            if part.part and alike[part.engine] == 1:
                parts.setdefault(part.engine, []).append(part)
        servers_found = {}
        for pid, below in inner.items():
            own = replace(servers[pid], routes=servers[pid].routes or pid in routing)
            launches = tuple(servers[one] for one in below[:SERVING_MAX])
            whole = _completed(own, (*launches, *parts.get(own.engine, ())))
            # A fork that has no title yet, and workers before they had any, look like their parent.
            others = tuple(one for one in dict.fromkeys(launches) if one != own)
            servers_found[pid] = _ServerProcess(self._processes[pid], whole, others, routers.get(pid))
        return servers_found

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

    def _root(self, process: Process) -> int:
        """The highest ancestor below a program that starts unrelated ones."""
        root = process.pid
        for pid in self._ancestors(process.pid):
            if self._processes[pid].name in _STARTERS or pid == 1:
                break
            root = pid
        return root

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

    def _serving(self, server: int) -> tuple[int, ...]:
        """A server and its descendants: the server, then processes with a launch, then the others."""
        below: dict[int, None] = {server: None}
        waiting = [server]
        while waiting and len(below) < DESCENDANTS_MAX:
            children = [
                pid
                for pid in self._children.get(waiting.pop(), ())
                if pid not in below and pid not in self._servers
            ]
            below.update(dict.fromkeys(children))
            waiting.extend(children)
        ordered = sorted(below, key=lambda pid: (pid != server, pid not in self._launches, pid))
        return tuple(ordered[:SERVING_MAX])


def _first_of_name(process: Process) -> tuple[bool, Nanoseconds]:
    """The order of processes for the name of their group: a go-between's clients before it."""
    return program(process.argv, process.name) in GO_BETWEENS, process.started


def _is_routed(own: Launch, above: Launch) -> bool:
    """Whether a llama.cpp started this one for one model: it then names a port of its own."""
    alike = own.engine == above.engine == LLAMACPP.name
    return alike and own.explicit_port and own.port != above.port


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
