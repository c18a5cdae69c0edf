"""Groups of the processes that compute on GPUs, and the API server of each: the records.

`grouping` makes them of the processes of a host; `listening` adds the ports and sockets.
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
        """Its text, which no later process shares."""
        return f"{self.pid}:{self.started}"


@dataclass(frozen=True, slots=True)
class ApiServer:
    """The API server of a group.

    `grouping` knows its process, launch, serving processes and starter; `listening` adds all other fields.
    """

    process: ProcessId
    launch: Launch
    """Its launch, completed by those of its parts: a TGI router, the vLLM inside a NIM."""
    serving: tuple[int, ...] = ()
    """The ids of its process, first, and of its descendants: their sockets are the server's."""
    started_by: int | None = None
    """The id of the llama.cpp router's process that started it for one model, `None` without a router."""
    router: "ApiServer | None" = None
    """The llama.cpp router that started it for one model, `None` without a router."""
    port: int | None = None
    """The port at which its API listens, `None` if unknown."""
    metrics_port: int | None = None
    """The port of its metrics page, `None` if unknown."""
    claim: FailureReason | None = None
    """Fault of the port that its command line names, `None` without one.

    `PORT_TAKEN`: another user listens there, or did last. `PORT_CONTESTED`: another group of the same user
    names it too, and the owner of the socket is unknown.
    """
    reach: Reach = "unknown"
    """From where its port can be reached."""
    hosts: tuple[str, ...] = ()
    """The addresses at which to reach it, best first; empty where `reach` is `loopback` or `unknown`."""

    @property
    def certain_port(self) -> int | None:
        """The port at which it listens, or that its command line names undisputed."""
        is_undisputed = self.launch.explicit_port and not self.claim
        named = self.launch.port if is_undisputed else None
        return self.port or named

    @property
    def possible_port(self) -> int | None:
        """Its certain port, or its engine's default where the port has no fault."""
        default = None if self.claim else self.launch.port
        return self.certain_port or default


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
    """Its network and listening sockets, which `listening` adds; `None` if unknown."""
    user: int | None = None
    """Its uid, `None` for a program that runs as another user than the one who started it."""

    @property
    def is_go_between(self) -> bool:
        """Whether it computes for its clients, by its name (MPS)."""
        return self.name in GO_BETWEENS and self.server is None

    def may_compute_through(self, between: "ProcessGroup") -> bool:
        """Whether `between` is a go-between for this group: of its user and container, or of root's."""
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
