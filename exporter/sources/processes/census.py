"""All processes of a host, as far as grouping needs them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

from exporter.clock import Clock
from exporter.sources.processes import procfs
from exporter.units import NANOSECONDS_PER_MINUTE, NANOSECONDS_PER_SECOND, Nanoseconds

PROCESSES_MAX: Final = 20_000
"""Processes that are read; a large host runs a few thousand, kernel threads included."""

BUDGET: Final[Nanoseconds] = 2 * NANOSECONDS_PER_SECOND
"""Time for one census. Processes on GPUs are read first, so that they are known on a very large host."""

SETTLED: Final[Nanoseconds] = 5 * NANOSECONDS_PER_MINUTE
"""Age at which a process no longer changes program or cgroup. One that takes a title later, as a worker of
Ray does, changes its name with it."""

REGISTERED_MAX: Final = 1024
"""Processes that are cached, about a kilobyte each; those beyond are read whole each time."""

REMEMBERED: Final[Nanoseconds] = 5 * NANOSECONDS_PER_MINUTE
"""How long the cache of processes is valid; then all are read whole again."""

_DEAD: Final = ("Z", "X", "x")

THREADS_MAX: Final = 64
"""Threads of a process whose first one has ended among which a living one is looked for."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process."""

    pid: int
    parent: int
    session: int
    started: Nanoseconds
    name: str
    argv: tuple[str, ...]
    """Its command line, empty where that is, as of a process that is ending."""
    cgroup: procfs.Cgroup
    user: int | None
    """Its uid, `None` for a program that runs as another user than the one who started it."""


@dataclass(slots=True)
class Register:
    """Cache of the processes of earlier censuses.

    A host runs thousands of kernel threads, and hundreds of programs without a GPU or a model: reading them
    whole each time would take more CPU than the rest of the daemon.
    """

    since: Nanoseconds | None = None
    processes: Mapping[int, Process] = field(default_factory=dict)
    """Those that had settled when they were read."""
    kernel: set[int] = field(default_factory=set)
    """The ids of kernel threads, which are reused only after every other id."""


def census(
    proc: procfs.Proc,
    clock: Clock,
    first: Iterable[int],
    then: Iterable[int] = (),
    register: Register | None = None,
) -> Mapping[int, Process]:
    """Read `first`, then `then`, and then all others except kernel threads, within bounds.

    With a `register`, which is updated, others are read as far as they may have changed.

    Failures are counted in `proc.failures`, but for processes not in `first`, since processes end all the
    time.

    Raises:
        OSError: there is no proc tree, or it may not be listed.
    """
    began = clock.elapsed()
    others = proc.pids(PROCESSES_MAX)
    register = Register() if register is None else register
    if register.since is None or began - register.since >= REMEMBERED:
        register.since, register.processes, register.kernel = began, {}, set()
    register.kernel.intersection_update(others)
    processes: dict[int, Process] = {}
    for pid in first:
        if process := read(proc, pid):
            processes[pid] = process
    counted = proc.failures.copy()
    for pid in then:
        if pid not in processes and (process := read(proc, pid)):
            processes[pid] = process
    for pid in others:
        if clock.elapsed() - began > BUDGET:
            counted["time"] += 1
            break
        if pid in processes or pid in register.kernel:
            continue
        if process := _unchanged(proc, register.processes.get(pid)) or read(proc, pid, register.kernel):
            processes[pid] = process
    proc.failures = counted
    settled = (process for process in processes.values() if began - process.started >= SETTLED)
    register.processes = {process.pid: process for process in islice(settled, REGISTERED_MAX)}
    return processes


def _unchanged(proc: procfs.Proc, process: Process | None) -> Process | None:
    """A process of an earlier census, if its `stat` has the same start and name as before."""
    now = None if process is None else _stat(proc, process.pid)
    if process is None or now is None or now.state in _DEAD:  # its first thread may have ended
        return None
    if (now.started, now.name) != (process.started, process.name):
        return None
    if (now.parent, now.session) == (process.parent, process.session):
        return process
    return replace(process, parent=now.parent, session=now.session)


def read(proc: procfs.Proc, pid: int, kernel: set[int] | None = None) -> Process | None:
    """One process, `None` for a kernel thread, one that has ended, or one that may not be read.

    A kernel thread is added to `kernel`. A process whose first thread has ended (pthread_exit) is read by
    another one.
    Its start is read again at the end: the id may by then be another process's.
    """
    line = proc.read(pid, "stat", procfs.STAT_BYTES, procfs.is_line)
    if line is None:
        return None
    before = procfs.stat(line)
    if before is None:
        proc.failures["unreadable"] += 1
        return None
    if before.kernel:
        if kernel is not None:
            kernel.add(pid)
        return None
    folder = _living(proc, pid, before)
    if folder is None:
        proc.failures["ended"] += 1
        return None
    cgroup_file = proc.read(folder, "cgroup", procfs.CGROUP_BYTES)
    words = proc.read(folder, "cmdline", procfs.COMMAND_BYTES)
    status = proc.read(folder, "status", procfs.STATUS_BYTES)
    if cgroup_file is None or words is None or status is None:
        return None
    if started(proc, pid) != before.started:
        proc.failures["ended"] += 1
        return None
    return Process(
        pid,
        before.parent,
        before.session,
        before.started,
        before.name,
        procfs.command_line(words),
        procfs.cgroup(cgroup_file),
        procfs.user(status),
    )


def started(proc: procfs.Proc, pid: int) -> Nanoseconds | None:
    """When the process with an id began; `None` where it is gone."""
    now = _stat(proc, pid)
    return None if now is None or _living(proc, pid, now) is None else now.started


def _living(proc: procfs.Proc, pid: int, first: procfs.Stat) -> int | str | None:
    """The folder of a living thread of a process: of its first one, else of another; `None` without any."""
    if first.state not in _DEAD:
        return pid
    for thread in proc.tasks(pid, THREADS_MAX):
        now = _stat(proc, f"{pid}/task/{thread}")
        if now is not None and now.state not in _DEAD:
            return f"{pid}/task/{thread}"
    return None


def _stat(proc: procfs.Proc, process: int | str) -> procfs.Stat | None:
    return procfs.stat(proc.read(process, "stat", procfs.STAT_BYTES, procfs.is_line) or b"")
