"""What is measured of a Prometheus while it runs, and the tables of it."""

import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.fleet.history import seconds
from benchmarks.fleet.prometheus import Prometheus, groups
from benchmarks.results import hardware, plain

PART: Final = 10
"""Of its interval a group may take one in so many."""
GIBIBYTE: Final = 2**30
SLOWEST: Final = 8
LOOK_SECONDS: Final = 2
FAILURES: Final = "prometheus_rule_evaluation_failures_total"
LEDGERS: Final = "count(inference:month_to_date_dollars:ledger)"


@dataclass(frozen=True, slots=True)
class Group:
    """Seconds between two evaluations as the rules say, and seconds that each of them took."""

    name: str
    interval: int
    durations: tuple[float, ...]

    @property
    def share(self) -> float:
        """Of its interval, that the longest took."""
        return max(self.durations) / self.interval


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run. `resident` in bytes, `cpu` in cores, `load` of the whole machine in processes."""

    ledgers: int
    groups: tuple[Group, ...]
    series: float
    recorded: float
    samples: float
    resident: float
    cpu: float
    load: float
    complete: bool
    """Every host was scraped, every ledger is in the month, and no rule failed."""

    @property
    def within(self) -> bool:
        """No evaluation took more than its part of the interval, and nothing was missing."""
        return self.complete and all(group.share <= 1 / PART for group in self.groups)


class Evaluations:
    """How long each evaluation of each group took, as Prometheus tells it."""

    def __init__(self, intervals: dict[str, int]) -> None:
        self._intervals = intervals
        self._durations: dict[str, list[float]] = {group: [] for group in intervals}
        self._last: dict[str, float] = {}
        self.resident = 0.0

    def look(self, itself: dict[tuple[str, str], float]) -> None:
        """Note what is new since the last look."""
        self.resident = max(self.resident, itself["process_resident_memory_bytes", ""])
        for group, durations in self._durations.items():
            told = itself.get(("prometheus_rule_group_last_evaluation_timestamp_seconds", group), 0.0)
            if told > self._last.get(group, told):
                durations.append(itself["prometheus_rule_group_last_duration_seconds", group])
            self._last[group] = told

    def groups(self, itself: dict[tuple[str, str], float]) -> Iterator[Group]:
        """All of them; one that was not seen to evaluate has what it took before."""
        for group, interval in self._intervals.items():
            before = itself["prometheus_rule_group_last_duration_seconds", group]
            yield Group(group, interval, tuple(self._durations[group] or [before]))


def measured(prometheus: Prometheus, watched: float, hosts: int, ledgers: int) -> Figures:
    """Watch it for some seconds."""
    evaluations = Evaluations({name: seconds(interval) for name, interval in groups().items()})
    before, began = prometheus.itself(), time.monotonic()
    loads = []
    while time.monotonic() - began < watched:
        evaluations.look(prometheus.itself())
        loads.append(os.getloadavg()[0])
        time.sleep(LOOK_SECONDS)
    after, elapsed = prometheus.itself(), time.monotonic() - began

    def rose(name: str) -> float:
        return (after[name, ""] - before.get((name, ""), 0.0)) / elapsed

    up, told = prometheus.number("sum(up)"), prometheus.number(LEDGERS)
    failures = sum(found for (name, _), found in after.items() if name == FAILURES)
    print(f"hosts up: {up:.0f}, ledgers in the month: {told:.0f}, failed evaluations: {failures:.0f}")
    return Figures(
        ledgers=max(ledgers, hosts),
        groups=tuple(evaluations.groups(after)),
        series=after["prometheus_tsdb_head_series", ""],
        recorded=prometheus.number('count({__name__=~"inference:.+"})'),
        samples=rose("prometheus_tsdb_head_samples_appended_total"),
        resident=evaluations.resident,
        cpu=rose("process_cpu_seconds_total"),
        load=statistics.mean(loads),
        complete=up == hosts and told == max(ledgers, hosts) and failures == 0,
    )


def slowest(prometheus: Prometheus) -> str:
    """The dearest rules at their last evaluation, a line each."""
    return "\n".join(
        f"  {taken:7.3f} s  {group}: {name}" for taken, group, name in prometheus.rules()[:SLOWEST]
    )


def table(runs: Sequence[Figures]) -> str:
    """What the docs show: a column for each number of ledgers, and where it was measured."""
    headings = [f"{run.ledgers:,} ledgers" for run in runs]
    sizes = plain(
        ("", *headings),
        (
            ("series in memory", *(f"{run.series:,.0f}" for run in runs)),
            ("of them recorded", *(f"{run.recorded:,.0f}" for run in runs)),
            ("samples a second", *(f"{run.samples:,.0f}" for run in runs)),
            ("resident memory, at most", *(f"{run.resident / GIBIBYTE:.1f} GiB" for run in runs)),
            ("CPU, of one core", *(f"{run.cpu:.2f}" for run in runs)),
            (f"load of the machine, of {os.cpu_count()} cores", *(f"{run.load:.1f}" for run in runs)),
        ),
    )
    times = plain(
        ("group", "interval", *headings),
        (
            (f"`{same[0].name}`", f"{same[0].interval} s", *map(_taken, same))
            for same in zip(*(run.groups for run in runs), strict=True)
        ),
    )
    bound = f"{1 / PART:.0%} of the interval"
    kept = all(run.within for run in runs)
    return (
        f"{sizes}\nMedian and longest evaluation of each group, and the longest as part of its interval:\n\n"
        f"{times}\n{'Every' if kept else 'Not every'} evaluation was within {bound}.\n"
        f"Measured on {hardware()}.\n"
    )


def _taken(group: Group) -> str:
    median = statistics.median(group.durations)
    return f"{median:.2f} s, {max(group.durations):.2f} s; {group.share:.2%}"
