"""Processes on GPUs in groups by container or unit, with the inference server of each group.

`procfs` and `cgroups` read and parse a proc tree within bounds, `census` reads all processes, `grouping`
groups them, `sockets` reads their networks, and `listening` finds where their servers listen. `source` does
all of it, for the processes that NVML lists. `groups` has the records of the result.
"""

from exporter.sources.processes.groups import ApiServer, ProcessGroup, ProcessId, ProcessReading
from exporter.sources.processes.sockets import Network, Sockets
from exporter.sources.processes.source import ProcessSource
