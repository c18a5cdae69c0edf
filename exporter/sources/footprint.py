"""The daemon's own footprint."""

import os
from typing import Final

from exporter.clock import SystemClock
from exporter.report import ProcessRow
from exporter.sources.processes.proc import STAT_BYTES, Proc, stat

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
STATM_BYTES: Final = 256
"""proc_pid_statm(5): seven numbers of pages, the second of those that are resident."""


class Footprint:
    """Reads this process's memory, CPU time and start, by the host's clock whatever the daemon's.

    A descriptor of its memory stays open as long as the process: to look up the file again is most of a read.
    """

    def __init__(self) -> None:
        clock, own = SystemClock(), stat(Proc().read("self", "stat", STAT_BYTES) or b"")
        self._started = None if own is None else clock.wall() - (clock.elapsed() - own.started)
        self._memory: int | None = None

    def read(self) -> ProcessRow | None:
        """Current footprint; `None` if the system does not report it."""
        if self._started is None:
            return None
        try:
            if self._memory is None:
                self._memory = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
            pages = os.pread(self._memory, STATM_BYTES, 0).split()[1:2]
        except OSError:
            return None
        if not pages or not pages[0].isdigit():
            return None
        cpu = os.times()
        return ProcessRow(int(pages[0]) * PAGE_BYTES, cpu.user + cpu.system, self._started)
