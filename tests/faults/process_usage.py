"""What this process holds."""

import gc
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from tests.exporter_threads import ended
from tests.faults.faulty_host import FaultyHost


@dataclass(frozen=True)
class ProcessUsage:
    """Blocks of memory, descriptors, threads, and bytes of the ledger's file."""

    blocks: int
    descriptors: int
    threads: int
    file: int


def usage_of(host: FaultyHost) -> ProcessUsage:
    """Now, without garbage and the threads of clients that have left: the last one stays for 20 s."""
    assert ended("web-client", but=len(host.scrapers))
    gc.collect()
    return ProcessUsage(
        sys.getallocatedblocks(),
        len(list(Path("/proc/self/fd").iterdir())),
        threading.active_count(),
        host.path.stat().st_size,
    )
