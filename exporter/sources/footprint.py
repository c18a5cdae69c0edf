"""The daemon's own footprint."""

import os
from pathlib import Path
from typing import Final

from exporter.clock import Clock
from exporter.report import ProcessRow
from exporter.sources.processes.proc import STAT_BYTES, TICK, Proc, stat
from exporter.units import seconds

_USER, _SYSTEM, _PAGES = 11, 12, 21
"""Fields of proc_pid_stat(5) after the name: `utime`, `stime` and `rss`."""

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Footprint:
    """Reads this process's memory, CPU time and start from its `stat`."""

    def __init__(self, clock: Clock, root: Path = Path("/proc")) -> None:
        self._proc = Proc(root)
        self._booted = clock.wall() - clock.elapsed()

    def read(self) -> ProcessRow | None:
        """Current footprint; `None` if the system does not report it."""
        line = self._proc.read("self", "stat", STAT_BYTES) or b""
        process = stat(line)
        fields = line[line.rfind(b")") + 1 :].split()
        if process is None or len(fields) <= _PAGES:
            return None
        try:
            user, system, pages = (int(fields[number]) for number in (_USER, _SYSTEM, _PAGES))
        except ValueError:
            return None
        cpu = seconds((user + system) * TICK)
        return ProcessRow(pages * _PAGE_BYTES, cpu, self._booted + process.started)
