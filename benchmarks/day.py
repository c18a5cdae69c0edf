"""A simulated day in one process: 8,640 ticks and as many scrapes, on a simulated clock.

The real NVML binding on a fake library, the real reader, ledger and web server; only the servers' answers
come without a network. A figure every simulated hour, then a line through those after the second.

    python -m benchmarks.day
"""

import gc
import logging
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.host import used
from benchmarks.results import figure, machine, write
from tests.faults.fault_plan import TICKS
from tests.faults.faulty_host import faulty_host

HOURS: Final = 24
PLANS_OF_AN_HOUR: Final = 360 // TICKS
KIBIBYTE: Final = 1024


def main() -> None:
    """Run, print and write it down."""
    logging.disable(logging.CRITICAL)
    resident, blocks = list[float](), list[float]()
    with tempfile.TemporaryDirectory() as folder, faulty_host(Path(folder), ()) as host:
        for hour in range(1, HOURS + 1):
            for _ in range(PLANS_OF_AN_HOUR):
                host.live()
            gc.collect()
            resident.append(used(None).resident_bytes / KIBIBYTE)
            blocks.append(sys.getallocatedblocks())
            print(f"hour {hour}: {resident[-1]:,.0f} KiB, {blocks[-1]:,.0f} blocks", flush=True)
        ticks, ledger = host.scrapes, host.path.stat().st_size / KIBIBYTE
    hours = list(range(3, HOURS + 1))
    slope, _ = statistics.linear_regression(hours, resident[2:])
    text = (
        f"{machine()}.\n\n"
        f"After {ticks:,} ticks resident memory is {(resident[-1] - resident[1]) / KIBIBYTE:+.2f} MiB "
        f"against the second hour, {figure(slope)} KiB an hour; {blocks[-1] - blocks[1]:+,.0f} blocks of "
        f"memory are held; the ledger has {figure(ledger)} KiB.\n"
    )
    print(text)
    write("day", text)


if __name__ == "__main__":
    main()
