"""All processes of a host, as far as they are needed to tell who belongs together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from exporter.clock import Clock
from exporter.sources.processes.cgroup import CGROUP_BYTES, Cgroup, cgroup
from exporter.sources.processes.proc import Proc
from exporter.sources.processes.stat import COMMAND_BYTES, STAT_BYTES, command_line, stat
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds

PROCESSES_MAX: Final = 20_000
"""Processes looked at; a large host runs a few thousand, kernel threads included."""

BUDGET: Final[Nanoseconds] = 2 * NANOSECONDS_PER_SECOND
"""Time for one census. What computes is read first, so that it is known on a host too large to be read."""

_DEAD: Final = ("Z", "X", "x")


@dataclass(frozen=True, slots=True)
class Process:
    """One process. `argv` is empty where the command line is, as of a process that is ending."""

    pid: int
    parent: int
    session: int
    started: Nanoseconds
    name: str
    argv: tuple[str, ...]
    cgroup: Cgroup


def census(
    proc: Proc, clock: Clock, first: Iterable[int], known: Iterable[int] = ()
) -> Mapping[int, Process]:
    """Read `first`, then `known`, and then all others, kernel threads excepted, within bounds.

    Reasons why it is less are counted in `proc.failures`; those of processes not in `first` are not, since
    processes end all the time.

    Raises:
        OSError: there is no proc tree, or it may not be listed.
    """
    began = clock.elapsed()
    others = proc.pids(PROCESSES_MAX)
    found: dict[int, Process] = {}
    for pid in first:
        if process := read(proc, pid):
            found[pid] = process
    counted = proc.failures.copy()
    for pid in known:
        if pid not in found and (process := read(proc, pid)):
            found[pid] = process
    for pid in others:
        if clock.elapsed() - began > BUDGET:
            counted["time"] += 1
            break
        if pid not in found and (process := read(proc, pid)):
            found[pid] = process
    proc.failures = counted
    return found


def read(proc: Proc, pid: int) -> Process | None:
    """One process, `None` for a kernel thread, one that has ended, or one that may not be read.

    Its start is read again at the end: the id may by then be another process's.
    """
    line = proc.read(pid, "stat", STAT_BYTES)
    if line is None:
        return None
    before = stat(line)
    if before is None:
        proc.failures["unreadable"] += 1
        return None
    if before.kernel:
        return None
    if before.state in _DEAD:
        proc.failures["ended"] += 1
        return None
    place = proc.read(pid, "cgroup", CGROUP_BYTES)
    words = proc.read(pid, "cmdline", COMMAND_BYTES)
    if place is None or words is None:
        return None
    if started(proc, pid) != before.started:
        proc.failures["ended"] += 1
        return None
    return Process(
        pid, before.parent, before.session, before.started, before.name, command_line(words), cgroup(place)
    )


def started(proc: Proc, pid: int) -> Nanoseconds | None:
    """When the process with an id began; `None` where it is gone."""
    now = stat(proc.read(pid, "stat", STAT_BYTES) or b"")
    return None if now is None or now.state in _DEAD else now.started
