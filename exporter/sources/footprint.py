"""The daemon's own footprint."""

import psutil

from exporter.report import ProcessRow
from exporter.units import nanoseconds


class Footprint:
    """Reads this process's memory, CPU time and start; psutil keeps the handle."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._started = nanoseconds(self._process.create_time())

    def read(self) -> ProcessRow | None:
        """Current footprint; `None` if the system does not report it."""
        try:
            with self._process.oneshot():
                memory = self._process.memory_info().rss
                cpu = self._process.cpu_times()
        except (psutil.Error, OSError):  # psutil passes on errors of open(2), such as no descriptor left
            return None
        return ProcessRow(memory, cpu.user + cpu.system, self._started)
