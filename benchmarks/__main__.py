"""Everything that is measured, one after another, written to docs/benchmarks.md.

    python -m benchmarks            # `tools/bench`: an hour
    python -m benchmarks --quick    # half an hour: shorter runs, for a look

Run alone, since they take long: the soak (`tools/soak`), the fleet (`benchmarks.fleet`), the
simulated months of the projection (`benchmarks.projection`), the split of prefill and decode
(`benchmarks.phases`), and the history of fleets that were recorded (`benchmarks.backfill`).
"""

import argparse
import sys
from collections.abc import Callable
from typing import Final

from benchmarks import day, fleet_books, footprint, growth, ledger, reader, scrape, series

Work = Callable[[], int | None]

WHOLE: Final[dict[str, Work]] = {
    "reader": reader.main,
    "ledger": ledger.main,
    "scrapes": scrape.main,
    "footprint": lambda: footprint.main(minutes=5, runs=3),
    "growth": lambda: growth.main(ticks=30, runs=3),
    "day": day.main,
    "series": series.main,
    "fleet-books": fleet_books.main,
}

QUICK: Final[dict[str, Work]] = {
    **WHOLE,
    "footprint": lambda: footprint.main(minutes=2, runs=2),
    "growth": lambda: growth.main(ticks=15, runs=1),
}


def main() -> int:
    """Run them all; 1 if one of them misses its bounds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("only", nargs="*", choices=[*WHOLE, []], help="these alone")
    options = parser.parse_args()
    missed = 0
    for name, work in (QUICK if options.quick else WHOLE).items():
        if not options.only or name in options.only:
            print(f"== {name}", flush=True)
            missed |= bool(work())
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
