"""What a fleet of 1,000 hosts of 8 GPUs makes of Prometheus: time of the rules, memory, series, samples.

From the root of the repository, with Debian's prometheus installed; takes about ten minutes each::

    python -m benchmarks.fleet
    python -m benchmarks.fleet --ledgers 10000
    python -m benchmarks.fleet --ledgers 30000

One process serves the pages of all hosts. A first Prometheus scrapes them for three minutes, so that every
rule has recorded; from what it then has, the past that the rules look back on is written, up to 14 days, with
as many ledgers in the month as are asked for; a second Prometheus begins with that past and is measured.
Groups that wait for longer than a minute are evaluated every five, and held to a tenth of their interval.
On a machine with other work give it its share: `nice` in the shell that starts it, or /proc/self/autogroup.
Fails where a group takes more than a tenth of its interval, or a host or a ledger is not seen.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import yaml

from benchmarks.fleet import history
from benchmarks.fleet.hosts import Fleet
from benchmarks.fleet.prometheus import RULES, Prometheus, configured
from benchmarks.fleet.service import Service

WARM_SECONDS: Final = 190
WARM_AT_MOST_SECONDS: Final = 600
SETTLE_SECONDS: Final = 100
"""After which rates over five minutes and the caches of a new process are as they stay."""
PART: Final = 10
"""Of its interval a group may take one in so many."""
MEBIBYTE: Final = 2**20
SLOWEST: Final = 6
FAILURES: Final = "prometheus_rule_evaluation_failures_total"


def intervals() -> dict[str, int]:
    """Seconds between evaluations, by group, as the repository's rules say."""
    groups = [
        group
        for file in sorted(RULES.glob("*-rules.yml"))
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    ]
    return {group["name"]: history.seconds(group["interval"]) for group in groups}


def past(warm: Prometheus, ledgers: int, hosts: int, now: int) -> list[history.Series]:
    """Everything that rules look back on, of what a Prometheus has recorded, and of hosts that are gone."""
    listed = []
    for name, span in history.pasts().items():
        rows = warm.query(name)
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


class Evaluations:
    """How long each evaluation of each group took, as Prometheus tells it."""

    def __init__(self) -> None:
        self.durations: dict[str, list[float]] = {group: [] for group in intervals()}
        self._last: dict[str, float] = {}
        self.resident = 0.0

    def look(self, itself: dict[tuple[str, str], float]) -> None:
        """Note what is new."""
        self.resident = max(self.resident, itself["process_resident_memory_bytes", ""])
        for group, durations in self.durations.items():
            told = itself.get(("prometheus_rule_group_last_evaluation_timestamp_seconds", group), 0.0)
            if group in self._last and told != self._last[group]:
                durations.append(itself["prometheus_rule_group_last_duration_seconds", group])
            self._last[group] = told


def measured(prometheus: Prometheus, minutes: float, hosts: int, ledgers: int) -> bool:
    """Watch it, print the figures, and tell whether they are within bounds."""
    time.sleep(SETTLE_SECONDS)
    evaluations, before, began = Evaluations(), prometheus.itself(), time.monotonic()
    loads = []
    while time.monotonic() - began < minutes * 60:
        evaluations.look(prometheus.itself())
        loads.append(os.getloadavg()[0])
        time.sleep(5)
    after, elapsed = prometheus.itself(), time.monotonic() - began

    def rose(name: str) -> float:
        return after[name, ""] - before.get((name, ""), 0.0)

    print("| group | interval | rules' time, median | longest | of the interval | evaluations |")
    print("|---|---:|---:|---:|---:|---:|")
    fine = True
    for group, interval in intervals().items():
        told = [after["prometheus_rule_group_last_duration_seconds", group]]  # of one before it was watched
        durations = sorted(evaluations.durations[group] or told)
        median, longest = statistics.median(durations), durations[-1]
        fine &= longest <= interval / PART
        print(
            f"| `{group}` | {interval} s | {median:.2f} s | {longest:.2f} s | {longest / interval:.2%} "
            f"| {len(durations)} |"
        )
    print("slowest rules at their last evaluation:")
    for taken, group, name in prometheus.rules()[:SLOWEST]:
        print(f"  {taken:7.3f} s  {group}: {name}")
    up = prometheus.number("sum(up)")
    ledgers_told = prometheus.number("count(inference:month_to_date_dollars:ledger)")
    recorded = prometheus.number('count({__name__=~"inference:.+"})')
    failures = sum(found for (name, _), found in after.items() if name == FAILURES)
    print(
        f"hosts up: {up:.0f}, ledgers in the month: {ledgers_told:.0f}, failed evaluations: {failures:.0f}",
        f"series: {after['prometheus_tsdb_head_series', '']:,.0f}, of them recorded: {recorded:,.0f}, "
        f"alerts: {prometheus.number('count(ALERTS)'):,.0f}",
        f"samples a second: {rose('prometheus_tsdb_head_samples_appended_total') / elapsed:,.0f}",
        f"resident memory: {evaluations.resident / MEBIBYTE:,.0f} MiB at most; "
        f"CPU: {rose('process_cpu_seconds_total') / elapsed:.2f} cores",
        f"load of this machine: {statistics.mean(loads):.1f} on {os.cpu_count()} cores",
        sep="\n",
    )
    return fine and up == hosts and ledgers_told == max(ledgers, hosts) and failures == 0


def main() -> int:
    """Return 0 where everything is within bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--groups", type=int, default=50, help="hosts of one group run the same servers")
    parser.add_argument("--servers", type=int, default=8, help="of a host")
    parser.add_argument(
        "--ledgers", type=int, default=0, help="of the month; others than the hosts' are gone"
    )
    parser.add_argument("--minutes", type=float, default=6.5, help="for which it is measured")
    asked = parser.parse_args()
    fleet = Fleet(asked.hosts, asked.groups, asked.servers)
    print(f"{asked.hosts} hosts with {asked.servers} servers, {fleet.series} series each", flush=True)
    with tempfile.TemporaryDirectory() as name, Service(fleet) as service:
        folder = Path(name)
        config = configured(folder, asked.hosts, service.port, "1m")
        with Prometheus(config, folder / "warm") as warm:
            now = int(time.time())
            settled(warm, asked.hosts)
            listed = past(warm, asked.ledgers, asked.hosts, now)
        began = time.monotonic()
        samples = history.write(listed, folder / "data", now)
        print(f"{samples:,} samples of the past, written in {time.monotonic() - began:.0f} s", flush=True)
        config = configured(folder, asked.hosts, service.port, "5m")
        with Prometheus(config, folder / "data") as prometheus:
            fine = measured(prometheus, asked.minutes, asked.hosts, asked.ledgers)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
