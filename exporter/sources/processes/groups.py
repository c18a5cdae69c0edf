"""Records of the processes that compute on GPUs: their groups, and the API server of each group.

`grouping` makes the groups of a host's processes by cgroup, user and ancestry. `listening` then adds to each
group what its sockets show.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from exporter.engines.launch import Launch
from exporter.readings import FailureReason
from exporter.sources.processes.sockets import Reach, Sockets
from exporter.units import Nanoseconds

GO_BETWEENS: Final = frozenset({"nvidia-cuda-mps-server"})
"""Programs that NVML lists next to their clients, for which they compute (MPS)."""

SERVING_MAX: Final = 32
"""Processes of a server whose sockets are read."""


class ProcessId(NamedTuple):
    """Identity of a process: its id, and its start in boot time, since ids are reused."""

    pid: int
    started: Nanoseconds

    @property
    def identity(self) -> str:
        """Its text, like `4711:81500000000`, which no later process shares."""
        return f"{self.pid}:{self.started}"


@dataclass(frozen=True, slots=True)
class ApiServer:
    """The API server of a group."""

    # What `grouping` finds by processes and command lines.

    process: ProcessId
    launch: Launch
    """Its launch, completed by those of its parts: a TGI router, the vLLM inside a NIM."""
    serving: tuple[int, ...] = ()
    """The ids of its process, first, and of its descendants: their sockets are the server's."""
    router_pid: int | None = None
    """The id of the llama.cpp router that started it for one model, `None` without a router."""

    # What `listening` finds by sockets; defaults where it could not read them.

    router: "ApiServer | None" = None
    """The server whose process is `router_pid`."""
    port: int | None = None
    """The port at which its API listens, `None` if unknown."""
    metrics_port: int | None = None
    """The port of its metrics page, `None` if unknown."""
    port_fault: FailureReason | None = None
    """Why the port of its launch is not its own, `None` where nothing speaks against it.

    `PORT_TAKEN`: another user listens there, or did last. `PORT_CONTESTED`: another group of the same user
    claims it too, and the owner of the socket is unknown.
    """
    reach: Reach = "unknown"
    """From where its port can be reached."""
    hosts: tuple[str, ...] = ()
    """The addresses at which to reach it, best first; empty where `reach` is `loopback` or `unknown`."""

    @property
    def certain_port(self) -> int | None:
        """The port at which it listens, else the port that its command line names, if that has no fault."""
        if self.port is not None or self.port_fault is not None:
            return self.port
        return self.launch.named_port

    @property
    def possible_port(self) -> int | None:
        """The port at which it listens, else the named or default port of its launch without a fault."""
        if self.port is not None or self.port_fault is not None:
            return self.port
        return self.launch.port


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """Processes that belong together: at most one API server, and the processes that compute for it."""

    id: str
    """Its cgroup's path and its user: `/system.slice/vllm.service:1000`. It lasts as long as the group.

    Groups that share both have the id and start of a process too: `/user.slice:1000#4711.81500000000`.
    """
    name: str
    """The program that computes, like `python`. It names a group without a server: `unmatched:python`."""

    # The processes.

    computing: tuple[ProcessId, ...]
    """NVML's processes in it, none for a server that holds no GPU itself."""
    started: Nanoseconds
    """The earliest start of its processes, the server's included, in boot time."""
    server: ApiServer | None = None
    sockets: Sockets | None = None
    """Its network and listening sockets, which `listening` adds; `None` if unknown."""

    # Who runs them, and in what.

    user: int | None = None
    """Its uid, `None` for a program that runs as another user than the one who started it."""
    container: str = ""
    runtime: str = ""
    pod: str = ""
    """The uid of its pod; of a static pod its config hash."""
    unit: str = ""
    """Its systemd unit or Slurm job, for people."""
    system_unit: str = ""
    """The unit of the host's own service manager, which no user can name; empty for what users start."""
    delegated: bool = False
    """Whether a user's manager named its cgroup."""

    @property
    def is_go_between(self) -> bool:
        """Whether it computes for its clients, by its name (MPS)."""
        return self.name in GO_BETWEENS and self.server is None

    def may_compute_through(self, between: "ProcessGroup") -> bool:
        """Whether `between` is a go-between that may compute for this group."""
        if self.is_go_between or not between.is_go_between:
            return False
        # Root's MPS on the host computes for all users, any other one for its own user and container.
        is_host_wide = between.user == 0 and not between.container
        is_of_same_user = between.user is not None and between.user == self.user
        return is_host_wide or (is_of_same_user and between.container == self.container)

    @property
    def network_number(self) -> int | None:
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
