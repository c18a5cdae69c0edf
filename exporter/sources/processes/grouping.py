"""Grouping: which processes of a host belong together, and for which API server they compute."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Final, NamedTuple

from exporter.engines.launch import Launch, launch, program, works_for
from exporter.engines.llamacpp import LLAMACPP
from exporter.sources.processes.census import Process
from exporter.sources.processes.groups import GO_BETWEENS, SERVING_MAX, ApiServer, ProcessGroup, ProcessId

GROUPS_MAX: Final = 256

DEPTH_MAX: Final = 64
"""Ancestors that are climbed; a circle, which a tree read while it changes may show, ends there too."""

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

_cached_launch: Final = lru_cache(maxsize=LAUNCHES_MAX)(launch)
"""The launch of a command line; `None` where it is of no API server and of no part of one."""


class _Boundary(NamedTuple):
    """What processes must share to be in one group, whatever their titles."""

    anchor: str
    """The path of their container, unit or cgroup."""
    user: int | None
    process: int
    """The id of a process whose user is unknown, since it shares a group with no other; else 0."""


def grouped(processes: Mapping[int, Process], computing: Iterable[int]) -> tuple[ProcessGroup, ...]:
    """The groups of the processes that compute, then those of servers that compute nothing.

    `processes` are by id. `computing` are ids too, and may name processes that are not known.
    """
    by_boundary: dict[_Boundary, list[Process]] = {}
    for process in processes.values():
        boundary = _Boundary(
            anchor=process.cgroup.anchor,
            user=process.user,
            process=process.pid if process.user is None else 0,
        )
        by_boundary.setdefault(boundary, []).append(process)
    known = {pid for pid in computing if pid in processes}
    groups: list[ProcessGroup] = []
    for members in by_boundary.values():
        groups += _groups_of_cluster(_Cluster(members), known)
    by_age = sorted(groups, key=_computing_then_age)
    chosen = _in_turns(by_age)[:GROUPS_MAX]
    return tuple(sorted(chosen, key=_computing_then_age))


def _computing_then_age(group: ProcessGroup) -> tuple[bool, int, str]:
    """The key that sorts groups that compute before the others, and the oldest first in both."""
    computes_nothing = not group.computing
    return computes_nothing, group.started, group.id


def _in_turns(groups: Iterable[ProcessGroup]) -> list[ProcessGroup]:
    """The first group of each user, then the second of each, and so on.

    Where places are few, the many groups of one user so leave some for those of others.
    """
    turns: Counter[int | None] = Counter()
    turn_of: dict[str, int] = {}
    for group in groups:
        turns[group.user] += 1
        turn_of[group.id] = turns[group.user]
    return sorted(groups, key=lambda group: turn_of[group.id])


class _Cluster:
    """The processes of one user in one container or unit, with their ancestry: at least one process."""

    def __init__(self, processes: list[Process]) -> None:
        self.processes = {process.pid: process for process in processes}
        """The processes by id."""
        self.cgroup = processes[0].cgroup
        self.user = processes[0].user
        self.is_shared = self.cgroup.shared or self.user is None
        """Whether unrelated processes may be in it, so that only ancestry and titles group them."""
        self._children: dict[int, list[int]] = {}
        for process in processes:
            parent = self._parent(process)
            if parent is not None:
                self._children.setdefault(parent.pid, []).append(process.pid)

    def _parent(self, process: Process) -> Process | None:
        """The parent within the cluster. One that began after its child only reuses the parent's id."""
        parent = self.processes.get(process.parent)
        return None if parent is None or parent.started > process.started else parent

    def ancestors(self, pid: int) -> Iterator[int]:
        """The ids of a process's ancestors within the cluster, nearest first."""
        parent = self._parent(self.processes[pid])
        for _ in range(DEPTH_MAX):
            if parent is None:
                return
            yield parent.pid
            parent = self._parent(parent)

    def descendants(self, pid: int, without: Collection[int]) -> list[int]:
        """The ids of a process's descendants, except those in `without` and theirs."""
        descendants: dict[int, None] = {}
        parents = [pid]
        while parents:
            for child in self._children.get(parents.pop(), ()):
                # A circle of ancestors leads back to the process, or to a descendant that is known.
                if child not in descendants and child != pid and child not in without:
                    descendants[child] = None
                    parents.append(child)
        return list(descendants)

    def job(self, pid: int) -> int:
        """The id of a process's highest ancestor below a program that starts unrelated ones."""
        highest = pid
        for ancestor in self.ancestors(pid):
            if ancestor == 1 or self.processes[ancestor].name in _STARTERS:
                break
            highest = ancestor
        return highest


def _groups_of_cluster(cluster: _Cluster, computing: Collection[int]) -> Iterator[ProcessGroup]:
    """The groups of a cluster: each server with what computes for it, then what computes for no server.

    `computing` are the ids of all processes that compute, of any cluster.
    """
    servers = _api_servers(cluster)
    members_by_server: dict[int, list[Process]] = {pid: [] for pid in servers}
    members_by_job: dict[int | None, list[Process]] = {}
    index = _ServerIndex(cluster, servers)
    for process in cluster.processes.values():
        if process.pid not in computing:
            continue
        server_pid = index.served_by(process)
        if server_pid is not None:
            members_by_server[server_pid].append(process)
        else:
            # In a container or unit of one program, all that computes for no server is one job.
            job = cluster.job(process.pid) if cluster.is_shared else None
            members_by_job.setdefault(job, []).append(process)
    # A router soon starts other servers, and its group is to have the same id before and after.
    has_router = any(server.launch.routes for server in servers.values())
    is_only_server = len(servers) == 1 and not cluster.is_shared and not has_router
    for pid, members in members_by_server.items():
        yield _group(cluster, members, server=servers[pid], root=None if is_only_server else pid)
    for job, members in members_by_job.items():
        yield _group(cluster, members, server=None, root=job)


def _group(
    cluster: _Cluster, computing: list[Process], *, server: ApiServer | None, root: int | None
) -> ProcessGroup:
    """The group of these processes and of the server that they compute for, if there is one.

    `root` is the id of the process that tells the group from others of its cluster; `None` where it needs
    none.
    """
    members = computing if server is None else [*computing, cluster.processes[server.process.pid]]
    named_after = min(computing or members, key=_clients_then_age)
    suffix = "" if root is None else f"#{root}.{cluster.processes[root].started}"
    cgroup = cluster.cgroup
    return ProcessGroup(
        id=f"{cgroup.anchor}:{cluster.user}{suffix}",
        name=program(named_after.argv, named_after.name),
        computing=tuple(sorted(ProcessId(process.pid, process.started) for process in computing)),
        started=min(process.started for process in members),
        container=cgroup.container,
        runtime=cgroup.runtime,
        pod=cgroup.pod,
        unit=cgroup.unit,
        server=server,
        system_unit=cgroup.system_unit,
        delegated=cgroup.delegated,
        user=cluster.user,
    )


def _clients_then_age(process: Process) -> tuple[bool, int]:
    """The key that sorts clients before the go-between that computes for them, and the oldest first."""
    is_go_between = program(process.argv, process.name) in GO_BETWEENS
    return is_go_between, process.started


def _api_servers(cluster: _Cluster) -> dict[int, ApiServer]:
    """The API servers of a cluster by the ids of their processes.

    A server that another server started is only a part of that one, except a model of a llama.cpp router.
    """
    launch_of = {pid: _cached_launch(process.argv) for pid, process in cluster.processes.items()}
    launches = {pid: launch for pid, launch in launch_of.items() if launch is not None and not launch.part}
    parts = [launch for launch in launch_of.values() if launch is not None and launch.part]
    nesting = _nesting(cluster, launches)
    routers = set(nesting.router_of.values())
    servers_by_engine = Counter(launches[pid].engine for pid in nesting.started_by_server)
    servers: dict[int, ApiServer] = {}
    for pid, started in nesting.started_by_server.items():
        own = launches[pid]
        completing = [launches[other] for other in started[:SERVING_MAX]]
        if servers_by_engine[own.engine] == 1:  # with a second server it is unknown whose part a part is
            completing += parts
        descendants = cluster.descendants(pid, without=nesting.started_by_server)
        # SERVING_MAX may cut some, so those with a command line of an engine come first: they hold the port.
        descendants.sort(key=lambda other: (launch_of[other] is None, other))
        servers[pid] = ApiServer(
            process=ProcessId(pid, cluster.processes[pid].started),
            launch=replace(_completed(own, completing), routes=own.routes or pid in routers),
            serving=(pid, *descendants[: SERVING_MAX - 1]),
            router_pid=nesting.router_of.get(pid),
        )
    return servers


class _Nesting(NamedTuple):
    """Which API servers of a cluster started which others, by the ids of their processes."""

    started_by_server: dict[int, list[int]]
    """Each server that no other started, and each model of a router, with the servers that it started."""
    router_of: dict[int, int]
    """Each model of a llama.cpp router with that router."""


def _nesting(cluster: _Cluster, launches: Mapping[int, Launch]) -> _Nesting:
    """Which of the processes with these launches started which."""
    started_by_server: dict[int, list[int]] = {}
    router_of: dict[int, int] = {}
    for pid in launches:
        starters = [ancestor for ancestor in cluster.ancestors(pid) if ancestor in launches]
        outermost_first = [*reversed(starters), pid]
        server = outermost_first[0]
        if len(outermost_first) > 1:
            child = outermost_first[1]
            if _is_model_of_router(launches[child], launches[server]):
                router_of[child] = server
                server = child
        started = started_by_server.setdefault(server, [])
        if pid != server:
            started.append(pid)
    return _Nesting(started_by_server, router_of)


def _is_model_of_router(child: Launch, router: Launch) -> bool:
    """Whether a llama.cpp was started by another one for one model: it names a port of its own."""
    is_llamacpp = child.engine == router.engine == LLAMACPP.name
    return is_llamacpp and child.named_port not in (None, router.port)


def _completed(own: Launch, others: Iterable[Launch]) -> Launch:
    """A server's launch, with what it leaves open from the first launch of its engine that has it."""
    launches = [own, *(other for other in others if other.engine == own.engine)]
    with_port = next((launch for launch in launches if launch.named_port is not None), own)
    with_model = next((launch for launch in launches if launch.model), own)
    # The metrics go with the API to another port, else they are where another process serves them.
    candidates = [with_port, *launches[1:]]
    with_metrics = next((launch for launch in candidates if launch.metrics_port is not None), with_port)
    return replace(
        own,
        default_port=with_port.default_port,
        named_port=with_port.named_port,
        host=with_port.host,
        metrics_port=with_metrics.metrics_port,
        # A part with a port for metrics serves them there: Ray's agent, whatever Ray Serve's proxy does.
        metrics=True if with_metrics.part else own.metrics,
        model=with_model.model,
    )


class _EngineInSession(NamedTuple):
    """What a worker and its server have in common where a cluster has several servers of an engine."""

    engine: str
    session: int


class _ServerIndex:
    """The servers of a cluster, to look up the one that a process computes for; all ids are of processes."""

    def __init__(self, cluster: _Cluster, servers: Mapping[int, ApiServer]) -> None:
        self._cluster = cluster
        self._servers = servers
        self._by_engine: dict[str, list[int]] = {}
        self._by_session: dict[_EngineInSession, list[int]] = {}
        for pid, server in servers.items():
            engine = server.launch.engine
            session = cluster.processes[pid].session
            self._by_engine.setdefault(engine, []).append(pid)
            self._by_session.setdefault(_EngineInSession(engine, session), []).append(pid)

    def served_by(self, process: Process) -> int | None:
        """The server that a process computes for: itself, its ancestor, else the only candidate.

        A worker need not descend from its server: Ray's are the raylet's children, and one whose parent ended
        is init's. Its title names the engine: the candidates are that engine's servers in the cluster, or, of
        several, those in the worker's session.
        """
        for pid in (process.pid, *self._cluster.ancestors(process.pid)):
            if pid in self._servers:
                return pid
        if len(self._servers) == 1 and not self._cluster.is_shared:
            return next(iter(self._servers))  # whatever computes in its container or unit computes for it
        engines = works_for(process.argv)
        of_cluster = _only([self._by_engine.get(engine, []) for engine in engines])
        if of_cluster is not None:
            return of_cluster
        in_session = [_EngineInSession(engine, process.session) for engine in engines]
        return _only([self._by_session.get(key, []) for key in in_session])


def _only(candidates: list[list[int]]) -> int | None:
    """The only id in all of the lists together, `None` for none or several."""
    if sum(map(len, candidates)) != 1:
        return None
    return next(pid for pids in candidates for pid in pids)
