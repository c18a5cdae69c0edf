"""Hours of a real daemon in real time: does anything that it holds grow?

8 GPUs and 8 servers, scraped every 10 s. It is looked at every ten minutes; a line goes through all but the
first look.

    python -m benchmarks.soak [--hours 8]
"""

import argparse
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.host import Host, host, used
from benchmarks.results import figure, machine, plain, write

INTERVAL: Final = 10
LOOK: Final = 600
KIBIBYTE: Final = 1024


@dataclass(frozen=True)
class Look:
    """What the process holds after some hours."""

    hours: float
    resident_kib: float
    descriptors: int
    threads: int
    ledger_kib: float


def look(made: Host, began: float) -> Look:
    """What it holds now."""
    process = Path("/proc") / str(made.daemon.pid)
    log = made.daemon.ledger.with_name("ledger.db-wal")
    return Look(
        (time.monotonic() - began) / 3600,
        used(made.daemon.pid).resident_bytes / KIBIBYTE,
        len(list((process / "fd").iterdir())),
        len(list((process / "task").iterdir())),
        (made.daemon.ledger.stat().st_size + (log.stat().st_size if log.exists() else 0)) / KIBIBYTE,
    )


def main(hours: float) -> None:
    """Run, print and write it down."""
    pause, looks = threading.Event(), list[Look]()
    with tempfile.TemporaryDirectory() as folder, host(Path(folder)) as made:
        began = time.monotonic()
        while (passed := time.monotonic() - began) < hours * 3600:
            pause.wait(INTERVAL)
            made.daemon.scrape()
            made.daemon.pages.clear()
            if passed >= LOOK * (len(looks) + 1):
                looks.append(look(made, began))
                print(looks[-1], flush=True)
    after = [one for one in looks if one.hours * 3600 >= LOOK]
    slope, _ = statistics.linear_regression([one.hours for one in after], [one.resident_kib for one in after])
    rows = [
        (
            f"{one.hours:.1f} h",
            f"{one.resident_kib / KIBIBYTE:.1f} MiB",
            str(one.descriptors),
            str(one.threads),
            f"{one.ledger_kib:,.0f} KiB",
        )
        for one in (looks[0], looks[len(looks) // 2], looks[-1])
    ]
    text = (
        f"{machine()}; {hours:g} hours.\n\n"
        + plain(["after", "resident", "descriptors", "threads", "ledger and its log"], rows)
        + f"\nResident memory grows by {figure(slope)} KiB an hour.\n"
    )
    print(text)
    write("soak", text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=8)
    main(parser.parse_args().hours)
