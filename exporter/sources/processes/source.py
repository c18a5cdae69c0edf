"""The processes that compute on this host's GPUs, in groups, with the inference server of each."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from exporter.clock import Clock
from exporter.readings import ErrorCounts, FailureReason, ReadFailedError
from exporter.sources.processes import procfs
from exporter.sources.processes.census import census, started
from exporter.sources.processes.grouping import grouped
from exporter.sources.processes.groups import ProcessReading
from exporter.sources.processes.listening import LastUsers, with_sockets
from exporter.units import NANOSECONDS_PER_MINUTE, NANOSECONDS_PER_SECOND, Nanoseconds

READING_TTL: Final[Nanoseconds] = 30 * NANOSECONDS_PER_SECOND
"""How long a reading is reused while none of its processes ends."""

KERNEL_THREADS_TTL: Final[Nanoseconds] = 5 * NANOSECONDS_PER_MINUTE
"""How long an id is skipped as a kernel thread's; it is reused only after every other id."""

COMPUTING_MAX: Final = 4096
"""Processes of NVML that are read."""

_OF_SERVERS: Final = ("truncated", "not_listening", "contested", "time")
"""Failures while sockets are read that count; others are of processes that ended meanwhile."""

_WHY: Final = {
    "namespace": "this daemon has a process namespace of its own; it needs the host's (hostPID, --pid=host)",
    "hidden": "/proc is mounted with hidepid, which hides other users' processes; root sees them",
    "denied": "the processes of other users may not be read",
    "ended": "they have ended",
}


class ProcessSource:
    """Reads the processes that NVML says compute, and those of inference servers.

    It needs the host's process namespace, and no right beyond reading /proc: as root without capabilities,
    and as any user where /proc hides nothing, it reads all but the open files of others. Without those a
    server's port is the one that its command line names and its user listens at. No environment is ever read.
    `root` is where the proc tree is.
    """

    name: Final = "processes"

    def __init__(self, clock: Clock, *, root: Path = Path("/proc")) -> None:
        self._clock = clock
        self._root = root
        self._computing: frozenset[int] = frozenset()
        self._cached: ProcessReading | None = None
        self._until: Nanoseconds = 0
        self._servers: tuple[int, ...] = ()
        self._last_users: LastUsers = {}
        self._kernel_threads: set[int] = set()
        self._kernel_threads_since: Nanoseconds | None = None
        self.errors: ErrorCounts = ()
        """Partial failures of the last reading; empty for a cached one.

        Of NVML's processes: `ended`, `denied`, `hidden`, `namespace`, `unreadable`. Of all: `limit` and
        `time`, more processes than are read; `truncated`, more sockets or addresses; `not_listening`, a
        server whose port was not found; `contested`, servers whose socket cannot be told from another's.
        """
        self.problem = ""
        """Problem of the processes that could not be read, for people."""

    def read(self, pids: Iterable[int]) -> ProcessReading:
        """The groups of the processes that NVML lists as computing.

        A reading is reused for 30 s, until other processes compute, or until one of its processes ends.

        Raises:
            ReadFailedError: `unreadable`, there is no proc tree.
        """
        self.errors = ()
        computing = frozenset(sorted({pid for pid in pids if pid > 0})[:COMPUTING_MAX])
        proc = procfs.Proc(self._root)
        cached = self._cached
        if cached is not None and computing == self._computing and self._clock.elapsed() < self._until:
            members = [member for group in cached.groups for member in group.members]
            run_on = all(started(proc, member.pid) == member.started for member in members)
            if run_on and all(started(proc, pid) is None for pid in cached.unseen):
                return cached
            proc = procfs.Proc(self._root)
        self._cached = None
        now = self._clock.elapsed()
        since = self._kernel_threads_since
        if since is None or now - since >= KERNEL_THREADS_TTL:
            self._kernel_threads_since = now
            self._kernel_threads = set()
        try:
            processes = census(proc, self._clock, sorted(computing), self._servers, self._kernel_threads)
        except OSError as failure:
            raise ReadFailedError(FailureReason.UNREADABLE, f"{self._root}: {failure.strerror}") from failure
        unseen = tuple(sorted(computing - processes.keys()))
        lost = proc.failures.copy()
        proc.failures.clear()
        groups = with_sockets(proc, self._clock, grouped(processes, computing), self._last_users)
        reading = ProcessReading(groups, unseen)
        lost.update({reason: count for reason, count in proc.failures.items() if reason in _OF_SERVERS})
        # On a host too busy to be read whole a server that was found is not lost, and with it its name.
        self._servers = tuple(
            group.server.process.pid for group in reading.groups if group.server is not None
        )
        self.problem = ""
        if unseen:
            incomplete = proc.blindness()
            if incomplete and lost.get("ended"):  # what is hidden looks as if it were gone
                lost[incomplete] = lost.pop("ended")
            why = next((_WHY[reason] for reason in _WHY if lost.get(reason)), "they cannot be read")
            self.problem = f"{len(unseen)} of the processes that compute are not seen: {why}"
        self.errors = tuple(sorted((reason, count) for reason, count in lost.items() if count))
        self._computing, self._cached, self._until = computing, reading, self._clock.elapsed() + READING_TTL
        return reading

    def close(self) -> None:
        """Nothing is held but the last reading."""
        self._cached = None
