"""Who computes on a GPU, which container or unit that is, and the inference server beside it.

`proc` reads a proc tree within bounds; `stat`, `cgroup` and `sockets` understand its files; `census` reads
all processes, `grouping` tells who belongs together, `listening` where their servers listen.
`source` is one read of all that: hand it the processes that NVML lists.
"""

from exporter.sources.processes.groups import (
    ApiServer,
    Claim,
    ProcessGroup,
    ProcessId,
    ProcessReading,
    Sockets,
)
from exporter.sources.processes.source import ProcessSource

__all__ = ["ApiServer", "Claim", "ProcessGroup", "ProcessId", "ProcessReading", "ProcessSource", "Sockets"]
