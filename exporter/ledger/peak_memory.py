"""Peak GPU memory of servers by hour: in memory until it is written, then rows in the file."""

import sqlite3
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Final

from exporter.cost.postings import MemoryPosting
from exporter.ledger import schema
from exporter.ledger.schema import LARGEST, Names, references
from exporter.readings import Gpu, ServerKey
from exporter.units import NANOSECONDS_PER_HOUR, Instant

TABLE: Final = "hourly_memory"

GpuServer = tuple[Gpu, ServerKey]
PeakMemory = dict[int, dict[GpuServer, int]]
"""Bytes by hour since 1970, GPU and server."""


def add_peaks(peaks: PeakMemory, postings: Iterable[MemoryPosting], end: Instant, hours: int) -> None:
    """Raise peaks by the readings of a tick. Beyond so many hours the oldest are forgotten."""
    of_hour = peaks.setdefault((end - 1) // NANOSECONDS_PER_HOUR, {})
    for gpu, server, memory_bytes in postings:
        of_hour[gpu, server] = min(LARGEST, max(memory_bytes, of_hour.get((gpu, server), 0)))
    while len(peaks) > hours:
        del peaks[min(peaks)]


def raise_rows(
    earlier: Mapping[tuple[int, ...], int],
    rows: MutableMapping[tuple[int, ...], int],
    peaks: Mapping[GpuServer, int],
    keys: schema.Keys,
) -> None:
    """Add rows of one hour that are above those of the file: most ticks add none."""
    for (gpu, server), memory_bytes in peaks.items():
        key = (keys.of(gpu), keys.of(server.namespace), keys.of(server.server))
        if memory_bytes > earlier.get(key, -1):
            rows[key] = memory_bytes


def read_peaks(connection: sqlite3.Connection, first: int, last: int) -> PeakMemory:
    """Peaks of the hours from the first to the last, inside the running transaction.

    Raises:
        DamagedError: a row refers to what is not there.
    """
    peaks: PeakMemory = {}
    built: dict[tuple[int, ...], GpuServer] = {}  # each hour has the same servers
    with references():
        names = Names(connection)
        for hour, *key, memory_bytes in connection.execute(schema.select_periods(TABLE), (first, last)):
            row = tuple(key)
            if row not in built:
                gpu, namespace, server = row
                built[row] = names.gpu(gpu), ServerKey(names.label(namespace), names.label(server))
            peaks.setdefault(hour, {})[built[row]] = memory_bytes
    return peaks
