"""All processes of a host, as far as grouping needs them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from exporter.clock import Clock
from exporter.sources.processes import procfs
from exporter.sources.processes.cgroups import CGROUP_BYTES, Cgroup, cgroup
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds

PROCESSES_MAX: Final = 20_000
"""Processes that are read; a large host runs a few thousand, kernel threads included."""

BUDGET: Final[Nanoseconds] = 2 * NANOSECONDS_PER_SECOND
"""Time for one census. Processes on GPUs are read first, so that they are known on a very large host."""

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
    """When it began, in boot time."""
    name: str
    argv: tuple[str, ...]
    """Its command line, empty where that is, as of a process that is ending."""
    cgroup: Cgroup
    user: int | None
    """Its uid, `None` for a program that runs as another user than the one who started it."""


def census(
    proc: procfs.Proc,
    clock: Clock,
    first: Iterable[int],
    then: Iterable[int],
    kernel_threads: set[int],
) -> Mapping[int, Process]:
    """Read `first`, then `then`, and then all others except kernel threads, within bounds.

    `kernel_threads` are the ids of those that an earlier census saw, and is updated: a host has thousands.

    Failures are counted in `proc.failures`, but for processes not in `first`, since processes end all the
    time.

    Raises:
        OSError: there is no proc tree, or it may not be listed.
    """
    began = clock.elapsed()
    others = proc.pids(PROCESSES_MAX)
    kernel_threads.intersection_update(others)
    processes: dict[int, Process] = {}
    for pid in first:
        process = read(proc, pid, kernel_threads)
        if process is not None:
            processes[pid] = process
    counted = proc.failures.copy()
    for pid in then:
        process = None if pid in processes else read(proc, pid, kernel_threads)
        if process is not None:
            processes[pid] = process
    for pid in others:
        if clock.elapsed() - began > BUDGET:
            counted["time"] += 1
            break
        if pid in processes or pid in kernel_threads:
            continue
        process = read(proc, pid, kernel_threads)
        if process is not None:
            processes[pid] = process
    proc.failures = counted
    return processes


def read(proc: procfs.Proc, pid: int, kernel_threads: set[int]) -> Process | None:
    """One process, `None` for a kernel thread, one that has ended, or one that may not be read.

    A kernel thread is added to `kernel_threads`. A process whose first thread has ended (pthread_exit) is
    read by another one.
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
        kernel_threads.add(pid)
        return None
    folder = _living(proc, pid, before)
    if folder is None:
        proc.failures["ended"] += 1
        return None
    cgroup_file = proc.read(folder, "cgroup", CGROUP_BYTES)
    words = proc.read(folder, "cmdline", procfs.COMMAND_BYTES)
    status = proc.read(folder, "status", procfs.STATUS_BYTES)
    if cgroup_file is None or words is None or status is None:
        return None
    if started(proc, pid) != before.started:
        proc.failures["ended"] += 1
        return None
    return Process(
        pid=pid,
        parent=before.parent,
        session=before.session,
        started=before.started,
        name=before.name,
        argv=procfs.command_line(words),
        cgroup=cgroup(cgroup_file),
        user=procfs.user(status),
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
