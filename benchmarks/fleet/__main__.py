"""What a fleet of 1,000 hosts of 8 GPUs makes of Prometheus: time of the rules, memory, series, samples.

From the root of the repository, with Debian's prometheus installed; a quarter of an hour::

    python -m benchmarks.fleet --write

One process serves the pages of all hosts. A first Prometheus scrapes them until every rule has recorded. For
each number of ledgers in the month, the past that the rules look back on, up to 14 days, is written from what
it then had, and another Prometheus begins with that past and is measured.
Groups that wait for longer than a minute are evaluated every two, and held to a tenth of their own interval.
On a machine with other work give it its share: `nice` in the shell that starts it, or /proc/self/autogroup.
Fails where an evaluation takes more than a tenth of its interval, or a host or a ledger is not seen.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks import results
from benchmarks.fleet import history
from benchmarks.fleet.figures import Figures, measured, slowest, table
from benchmarks.fleet.hosts import Fleet
from benchmarks.fleet.prometheus import Prometheus, configured
from benchmarks.fleet.service import Service

PAGE: Final = Path(__file__).parents[2] / "docs" / "operations.md"
SECTION: Final = "fleet"
LEDGERS: Final = (1000, 10_000, 30_000)
WARM_SECONDS: Final = 60
WARM_AT_MOST_SECONDS: Final = 600
WARM_BETWEEN: Final = "20s"
SELDOM: Final = "2m"
SETTLE_SECONDS: Final = 65
"""After which every group of a minute has been evaluated once, and the caches of a new process are filled."""

Rows = dict[str, list[dict[str, Any]]]


def past(recorded: Rows, ledgers: int, hosts: int, now: int) -> list[history.Series]:
    """Everything that rules look back on, of what a Prometheus has recorded, and of hosts that are gone."""
    listed = []
    for name, span in history.pasts().items():
        rows = recorded[name]
        listed += [history.series(row, span, now) for row in rows]
        if name in (history.POSTING, history.HOURLY):
            listed += history.gone(rows, span, ledgers - hosts, now)
        if name == history.SEEN:
            lately = (ledgers - hosts) * span.back // history.MONTH_SECONDS
            listed += list(history.gone(rows, span, ledgers - hosts, now))[-lately or len(rows) :]
    return listed


def settled(warm: Prometheus, hosts: int) -> None:
    """Wait until every host is in the hourly memory and rates over five minutes are recorded.

    Raises:
        TimeoutError: they are not.
    """
    time.sleep(WARM_SECONDS)
    deadline = time.monotonic() + WARM_AT_MOST_SECONDS
    while time.monotonic() < deadline:
        ledgers = warm.number(f"count(count by (ledger) ({history.HOURLY}))")
        if ledgers == hosts and warm.number("count(inference:owner_tokens:7d)"):
            return
        time.sleep(5)
    raise TimeoutError(f"{ledgers:.0f} of {hosts} hosts recorded: this machine is too busy")


def run(fleet: Fleet, port: int, ledgers: int, recorded: Rows, watched: float) -> Figures:
    """A Prometheus that begins with the past of so many ledgers, watched for some seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        now, began = int(time.time()), time.monotonic()
        samples = history.write(past(recorded, ledgers, fleet.hosts, now), folder / "data", now)
        print(f"{samples:,} samples of the past, written in {time.monotonic() - began:.0f} s", flush=True)
        config = configured(folder, fleet.hosts, port, SELDOM)
        with Prometheus(config, folder / "data") as prometheus:
            time.sleep(SETTLE_SECONDS)
            figures = measured(prometheus, watched, fleet.hosts, ledgers)
            print(slowest(prometheus), table((figures,)), sep="\n", flush=True)
    return figures


def main() -> int:
    """Return 0 where everything is within bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--groups", type=int, default=50, help="hosts of one group run the same servers")
    parser.add_argument("--servers", type=int, default=8, help="of a host")
    parser.add_argument(
        "--ledgers",
        type=int,
        nargs="+",
        default=LEDGERS,
        help="of the month, a run each; others than the hosts' are gone",
    )
    parser.add_argument("--minutes", type=float, default=2.1, help="for which each run is watched")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/operations.md")
    asked = parser.parse_args()
    fleet = Fleet(asked.hosts, asked.groups, asked.servers)
    print(f"{asked.hosts} hosts with {asked.servers} servers, {fleet.series} series each", flush=True)
    with tempfile.TemporaryDirectory() as name, Service(fleet) as service:
        folder = Path(name)
        config = configured(folder, asked.hosts, service.port, WARM_BETWEEN, WARM_BETWEEN)
        with Prometheus(config, folder / "warm") as warm:
            settled(warm, asked.hosts)
            recorded = {record: warm.query(record) for record in history.pasts()}
        runs = [run(fleet, service.port, count, recorded, asked.minutes * 60) for count in asked.ledgers]
    print(table(runs))
    if asked.write:
        results.write(SECTION, table(runs), PAGE)
    return 0 if all(one.within for one in runs) else 1


if __name__ == "__main__":
    sys.exit(main())
