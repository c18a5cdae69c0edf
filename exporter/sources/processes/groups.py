"""What is read of the processes that compute on GPUs: groups of them, and the API server of each."""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from exporter.engines.launch import Launch
from exporter.sources.processes.sockets import Listener, loopback
from exporter.units import Nanoseconds

Kind: TypeAlias = Literal["container", "unit", "tree"]
"""By what a group's processes belong together: a container, a systemd unit (or a Slurm job), or ancestry."""

Found: TypeAlias = Literal["", "descriptor", "command", "namespace"]
"""How a server's port was found: the socket is open in it; its command line, or its engine's default, names a
port that its user listens on; it is the only one left in its network namespace. Empty: it was not."""

Claim: TypeAlias = Literal["", "taken", "contested"]
"""What is wrong with the port that a server's command line names: `taken`, another user listens there, or did
last; `contested`, another group of the same user names it too, and nothing tells whose the socket is."""

Reach: TypeAlias = Literal["here", "address", "loopback", "unknown"]
"""From where a server can be reached: from this network namespace; by an address of its own one; from nowhere
but its own one, since it listens on loopback there; or it is not known where it listens."""


HOSTS_MAX: Final = 4
LOOPBACK: Final = "127.0.0.1"


class Member(NamedTuple):
    """A process, told apart from a later one with the same id by its start in boot time."""

    pid: int
    started: Nanoseconds


@dataclass(frozen=True, slots=True)
class Sockets:
    """The listening sockets of a group, and the network namespace that they are in.

    `listening` are its own, where descriptors tell, else those of its user that no other group is known to
    have. `of_user` are all of its user's. `own` is true in the daemon's network, `on_host` there and in the
    host's; `addresses` are those of any other.
    """

    network: str = ""
    own: bool = False
    on_host: bool = False
    listening: tuple[Listener, ...] = ()
    of_user: tuple[Listener, ...] = ()
    addresses: tuple[str, ...] = ()

    def reach(self, port: int | None, wanted: str = "") -> tuple[Reach, tuple[str, ...]]:
        """From where a port is reached, and at which addresses. What listens on all is asked by the nearest.

        A socket at the address that is `wanted` comes before others of the port.
        """
        bound = [at.host for at in self.listening if at.port == port]
        bound = bound or [at.host for at in self.of_user if at.port == port]
        if wanted in bound:  # somebody else may have the port at another address
            bound = [wanted]
        if not bound:
            return "unknown", ()
        everywhere = "" in bound
        if self.own:
            hosts = [LOOPBACK] if everywhere else sorted(bound, key=lambda host: not loopback(host))
            return "here", tuple(dict.fromkeys(hosts))[:HOSTS_MAX]
        hosts = [*self.addresses] if everywhere else [host for host in bound if not loopback(host)]
        if hosts:
            return "address", tuple(dict.fromkeys(hosts))[:HOSTS_MAX]
        return ("unknown" if everywhere else "loopback"), ()


@dataclass(frozen=True, slots=True)
class ApiServer:
    """The API server of a group.

    `inner` are servers that it started itself: a TGI router, the vLLM inside a NIM.
    `router` is the llama.cpp router that started it for one model.
    `port` and `metrics_port` are where they were found to listen, `None` where that was not found.
    `listening` are the sockets that are its own, where descriptors tell, else its user's in its network
    namespace.
    `network` is the same text for servers that share a network namespace, empty where nothing tells;
    `on_host` is true for the host's and for the daemon's own.
    `hosts` are where to reach `port`, best first; empty where `reach` is `loopback` or `unknown`.
    """

    process: Member
    launch: Launch
    inner: tuple[Launch, ...] = ()
    port: int | None = None
    metrics_port: int | None = None
    found: Found = ""
    listening: tuple[Listener, ...] = ()
    network: str = ""
    on_host: bool = False
    claim: Claim = ""
    reach: Reach = "unknown"
    hosts: tuple[str, ...] = ()
    router: "ApiServer | None" = None


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """Processes that belong together: at most one API server, and what computes for it.

    `id` lasts as long as the group: a path of its cgroup, with a process behind `#` where a cgroup holds more
    than one group. `name` is the program that computes, for a group without a server (`unmatched:<name>`).
    `computing` are NVML's processes in it, none for a server that holds no GPU itself.
    `started` is when the first of these processes and its server began, in boot time.
    `container`, `runtime` and `pod` are as the cgroup tells them; a static pod's uid is its config hash.
    `unit` is for people; `system_unit` is the unit of the host's own service manager, which no user can
    name, empty for what users start; `delegated`: its cgroup was named by a user's manager.
    `sockets` are of what computes or serves, `None` where nothing tells.
    `user` is the uid, `None` where that is not one.
    """

    id: str
    kind: Kind
    name: str
    computing: tuple[Member, ...]
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
    def members(self) -> tuple[Member, ...]:
        """What computes, and the server."""
        server = (
            () if self.server is None or self.server.process in self.computing else (self.server.process,)
        )
        return (*server, *self.computing)


@dataclass(frozen=True, slots=True)
class ProcessReading:
    """All groups with a process that computes, then those with a server only.

    `unseen` are NVML's processes of which nothing could be read.
    """

    groups: tuple[ProcessGroup, ...] = ()
    unseen: tuple[int, ...] = ()
