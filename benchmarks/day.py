"""Two simulated days in one process: 17,280 ticks and as many scrapes, on a simulated clock.

The real NVML binding on a fake library, the real reader, ledger and web server; only the servers' answers
come without a network. A figure every simulated hour. The first day fills what is held of a day's hours;
nothing fills in the second.

    python -m benchmarks.day
"""

import gc
import logging
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.host import used
from benchmarks.results import machine, write
from tests.faults.fault_plan import TICKS
from tests.faults.faulty_host import faulty_host

DAY: Final = 24
"""Hours."""

SETTLED: Final = 2
"""Hours until the minutes of an hour are full."""

PLANS_OF_AN_HOUR: Final = 360 // TICKS
KIBIBYTE: Final = 1024


def main() -> None:
    """Run, print and write it down."""
    logging.disable(logging.CRITICAL)
    resident, blocks = list[float](), list[int]()
    with tempfile.TemporaryDirectory() as folder, faulty_host(Path(folder), ()) as host:
        for hour in range(1, 2 * DAY + 1):
            for _ in range(PLANS_OF_AN_HOUR):
                host.live()
            gc.collect()
            resident.append(used(None).resident_bytes / KIBIBYTE)
            blocks.append(sys.getallocatedblocks())
            print(f"hour {hour}: {resident[-1]:,.0f} KiB, {blocks[-1]:,} blocks", flush=True)
        ticks, ledger = host.scrapes, host.path.stat().st_size / KIBIBYTE

    def change(first: int, last: int) -> str:
        grown, more = resident[last - 1] - resident[first - 1], blocks[last - 1] - blocks[first - 1]
        return f"{grown:+,.0f} KiB and {more:+,} blocks of memory"

    text = (
        f"{machine()}.\n\n"
        f"Resident memory changes by {change(SETTLED, DAY)} between hours {SETTLED} and {DAY}, "
        f"and by {change(DAY, 2 * DAY)} on the second day. "
        f"After {ticks:,} ticks the ledger has {ledger:,.0f} KiB.\n"
    )
    print(text)
    write("day", text)


if __name__ == "__main__":
    main()
