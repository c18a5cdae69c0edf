"""What a fleet of 2,000 hosts of 8 GPUs makes of Prometheus: time of rules and panels, memory, series.

From the root of the repository, with Debian's prometheus installed; a quarter of an hour::

    python -m benchmarks.fleet --write

One process serves the pages of all hosts. A first Prometheus scrapes them until every rule has recorded. The
past that the rules and the dashboards look back on is written from what it then had, and another Prometheus
begins with that past and is measured.
Groups that wait for longer than a minute are evaluated every two and a half, and held to their own interval.
`--save` keeps the figures of a release, and `--before` compares with those of another.
On a machine with other work give it its share: `nice` in the shell that starts it, or /proc/self/autogroup.
Fails where an evaluation takes more than a twentieth of its interval, a panel more than a second or two
million samples, or a host or a ledger is not seen.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks import results
from benchmarks.fleet import history, panels
from benchmarks.fleet.figures import Figures, measured, restored, saved, slowest, table
from benchmarks.fleet.hosts import Fleet
from benchmarks.fleet.prometheus import Prometheus, configured
from benchmarks.fleet.service import Service

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "operations.md"
BOARDS: Final = ROOT / "dashboards"
BEFORE: Final = Path(__file__).with_name("before.json")
SECTION: Final = "fleet"
WARM_SECONDS: Final = 60
WARM_AT_MOST_SECONDS: Final = 900
WARM_BETWEEN: Final = "20s"
SELDOM: Final = "150s"
SETTLE_SECONDS: Final = 65
"""After which every group of a minute has been evaluated once, and the caches of a new process are filled."""

FEW: Final = 300
LATER_SECONDS: Final = 100
"""Blocks are found within a minute, and then each record after the other is recorded from them."""

Rows = dict[str, list[dict[str, Any]]]
Pasts = Mapping[str, history.Past]


def past(recorded: Rows, spans: Pasts, ledgers: int, now: int) -> list[history.PastSeries]:
    """What is looked back on, of what a Prometheus has recorded, and of so many ledgers that are gone."""
    listed = []
    for name, rows in recorded.items():
        span = spans[name]
        listed += [history.series(row, span, now) for row in rows]
        if name in (history.HOURLY, history.LEDGER_CLUSTERS):
            listed += history.gone(rows, span, ledgers, now)
        if name == history.POSTING:
            listed += history.gone(remembered(rows), spans[history.GONE], ledgers, now)
    return listed


def remembered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Postings of the open month as the memory of hosts that are gone has them."""
    month = max((row["metric"]["month"] for row in rows), default="")
    return [
        row | {"metric": row["metric"] | {"__name__": history.GONE}}
        for row in rows
        if row["metric"]["month"] == month
    ]


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


def run(fleet: Fleet, options: argparse.Namespace) -> Figures:
    """A Prometheus that begins with the past of a fleet, watched for minutes and asked for each panel."""
    boards = panels.panels(BOARDS)
    spans = history.pasts(boards)
    with tempfile.TemporaryDirectory() as name, Service(fleet) as service:
        folder = Path(name)
        config = configured(folder, fleet.targets, service.port, WARM_BETWEEN, WARM_BETWEEN)
        with Prometheus(config, folder / "warm") as warm:
            settled(warm, fleet.hosts)
            recorded = {record: warm.query(record) for record in spans}
            recorded |= later(warm, recorded, history.pasts(), folder / "warm")
        now, began = int(time.time()), time.monotonic()
        listed = past(recorded, spans, options.ledgers - fleet.hosts, now)
        samples = history.write(listed, folder / "data", now)
        print(f"{samples:,} samples of the past, written in {time.monotonic() - began:.0f} s", flush=True)
        config = configured(folder, fleet.targets, service.port, SELDOM)
        with Prometheus(config, folder / "data") as prometheus:
            time.sleep(SETTLE_SECONDS)
            figures = measured(prometheus, options.minutes * 60, fleet, options.ledgers)
            print(slowest(prometheus), table(None, figures), sep="\n", flush=True)
            return replace(figures, panels=tuple(panels.costs(prometheus, boards, int(time.time()))))


def later(warm: Prometheus, recorded: Rows, spans: Pasts, folder: Path) -> Rows:
    """What is recorded once there is a past of what is recorded already.

    Prometheus finds new blocks in its folder within a minute. Records with a series for each ledger
    are left out: nothing else that is looked back on is made of their past.
    """
    missing = [record for record, rows in recorded.items() if not rows]
    if not missing:
        return {}
    now = int(time.time())
    few = {record: rows for record, rows in recorded.items() if len(rows) <= FEW and record in spans}
    history.write(past(few, spans, 0, now), folder, now)
    time.sleep(LATER_SECONDS)
    answers = {record: warm.query(record) for record in missing}
    for record in [record for record, rows in answers.items() if not rows]:
        print(f"nothing is recorded as {record}", flush=True)
    return answers


def main() -> int:
    """Return 0 where everything is within bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hosts", type=int, default=2000)
    parser.add_argument("--clusters", type=int, default=20)
    parser.add_argument("--groups", type=int, default=100, help="hosts of one group run the same servers")
    parser.add_argument("--servers", type=int, default=8, help="of a host")
    parser.add_argument("--ledgers", type=int, default=30_000, help="of the month; most of them are gone")
    parser.add_argument("--minutes", type=float, default=2.6, help="for which it is watched")
    parser.add_argument("--save", type=Path, help="keep the figures in this file")
    parser.add_argument("--before", type=Path, default=BEFORE, help="figures of a release to compare with")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/operations.md")
    options = parser.parse_args()
    before = restored(options.before.read_text(encoding="utf-8")) if options.before.exists() else None
    fleet = Fleet(options.hosts, options.clusters, options.groups, options.servers)
    print(f"{options.hosts} hosts with {options.servers} servers, {fleet.series} series each", flush=True)
    figures = run(fleet, options)
    if options.save:
        options.save.write_text(saved(figures), encoding="utf-8")
    print(table(before, figures))
    if options.write:
        results.write(SECTION, table(before, figures), PAGE)
    return 0 if figures.within else 1


if __name__ == "__main__":
    sys.exit(main())
