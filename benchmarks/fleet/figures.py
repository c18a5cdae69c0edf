"""What is measured of a Prometheus while it runs, and the tables of it."""

import json
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

from benchmarks.fleet.hosts import Fleet
from benchmarks.fleet.panels import SAMPLES, SECONDS, Cost
from benchmarks.fleet.prometheus import Prometheus, groups, seconds, sent
from benchmarks.results import hardware, plain

PART: Final = 20
"""Of its interval a group may take one in so many."""
DEAREST: Final = 12
"""Panels that the docs name."""
GIBIBYTE: Final = 2**30
SLOWEST: Final = 8
LOOK_SECONDS: Final = 2
FAILURES: Final = "prometheus_rule_evaluation_failures_total"
LEDGERS: Final = (
    "count(group by (ledger) (inference:month_to_date_dollars:posting)"
    " or group by (ledger) (last_over_time(inference:month_to_date_dollars:gone[4m])))"
)
"""Those that report, and those that the last evaluation remembered."""


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

    hosts: int
    ledgers: int
    groups: tuple[Group, ...]
    exported: int
    """Series of one host's page."""
    sent: float
    """Series that a central place takes of all clusters."""
    series: float
    recorded: float
    samples: float
    resident: float
    cpu: float
    load: float
    complete: bool
    """Every host was scraped, every ledger is in the month, and no rule failed."""
    panels: tuple[Cost, ...] = ()
    machine: str = field(default_factory=hardware)

    @property
    def within(self) -> bool:
        """No evaluation and no panel took more than its bound, and nothing was missing."""
        quick = all(group.share <= 1 / PART for group in self.groups)
        return self.complete and quick and all(panel.within for panel in self.panels)


def restored(text: str) -> Figures:
    """The figures that `saved` wrote."""
    document = json.loads(text)
    groups = tuple(Group(one["name"], one["interval"], tuple(one["durations"])) for one in document["groups"])
    return Figures(
        **document | {"groups": groups, "panels": tuple(Cost(**one) for one in document["panels"])}
    )


def saved(figures: Figures) -> str:
    """As JSON."""
    return json.dumps(asdict(figures), indent=1) + "\n"


class Evaluations:
    """Duration of each evaluation of each group, as Prometheus reports it."""

    def __init__(self, intervals: dict[str, int]) -> None:
        self._intervals = intervals
        self._durations: dict[str, list[float]] = {group: [] for group in intervals}
        self._last: dict[str, float] = {}
        self.resident = 0.0

    def look(self, itself: dict[tuple[str, str], float]) -> None:
        """Note what is new since the last look."""
        self.resident = max(self.resident, itself["process_resident_memory_bytes", ""])
        for group, durations in self._durations.items():
            evaluated = itself.get(("prometheus_rule_group_last_evaluation_timestamp_seconds", group), 0.0)
            if evaluated > self._last.get(group, evaluated):
                durations.append(itself["prometheus_rule_group_last_duration_seconds", group])
            self._last[group] = evaluated

    def groups(self, itself: dict[tuple[str, str], float]) -> Iterator[Group]:
        """All of them; one that was not seen to evaluate has what it took before."""
        for group, interval in self._intervals.items():
            before = itself["prometheus_rule_group_last_duration_seconds", group]
            yield Group(group, interval, tuple(self._durations[group] or [before]))


def measured(prometheus: Prometheus, watched: float, fleet: Fleet, ledgers: int) -> Figures:
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

    up, ledgers_seen = prometheus.number('sum(up{job="inference-cost-exporter"})'), prometheus.number(LEDGERS)
    failures = sum(count for (name, _), count in after.items() if name == FAILURES)
    print(f"hosts up: {up:.0f}, ledgers in the month: {ledgers_seen:.0f}, failed evaluations: {failures:.0f}")
    return Figures(
        hosts=fleet.hosts,
        ledgers=max(ledgers, fleet.hosts),
        groups=tuple(evaluations.groups(after)),
        exported=fleet.series,
        sent=prometheus.number(f'count({{__name__=~"{"|".join(sorted(sent()))}"}})'),
        series=after["prometheus_tsdb_head_series", ""],
        recorded=prometheus.number('count({__name__=~"inference:.+"})'),
        samples=rose("prometheus_tsdb_head_samples_appended_total"),
        resident=evaluations.resident,
        cpu=rose("process_cpu_seconds_total"),
        load=statistics.mean(loads),
        complete=up == fleet.hosts and ledgers_seen == max(ledgers, fleet.hosts) and failures == 0,
    )


def slowest(prometheus: Prometheus) -> str:
    """The dearest rules at their last evaluation, a line each."""
    return "\n".join(
        f"  {taken:7.3f} s  {group}: {name}" for taken, group, name in prometheus.rules()[:SLOWEST]
    )


def table(before: Figures | None, now: Figures) -> str:
    """What the docs show: sizes, groups and panels, as they were and as they are."""
    both = [*([before] if before else ()), now]
    headings = [*(["before"] if before else ()), "now"]
    sizes = plain(
        ("", *headings),
        (
            ("series of each host", *(f"{run.exported:,}" for run in both)),
            ("sent to a central place, for each host", *(f"{run.sent / run.hosts:.1f}" for run in both)),
            ("series in memory", *(f"{run.series:,.0f}" for run in both)),
            ("of them recorded", *(f"{run.recorded:,.0f}" for run in both)),
            ("samples a second", *(f"{run.samples:,.0f}" for run in both)),
            ("resident memory, at most", *(f"{run.resident / GIBIBYTE:.1f} GiB" for run in both)),
            ("CPU, of one core", *(f"{run.cpu:.2f}" for run in both)),
            (f"load of the machine, of {os.cpu_count()} cores", *(f"{run.load:.1f}" for run in both)),
        ),
    )
    by_name = [{group.name: group for group in run.groups} for run in both]
    intervals = {name: group.interval for groups in by_name for name, group in groups.items()}
    times = plain(
        ("group", "interval", *headings),
        (
            (f"`{name}`", f"{interval} s", *(_taken(groups.get(name)) for groups in by_name))
            for name, interval in sorted(intervals.items())
        ),
    )
    quick = all(group.share <= 1 / PART for group in now.groups)
    return (
        f"{sizes}\nMedian and longest evaluation of each group, and the longest as part of its interval:\n\n"
        f"{times}\n{'Every' if quick else 'Not every'} evaluation is within {1 / PART:.0%} of the interval.\n"
        f"{_boards(both, headings)}"
        f"Measured on {now.machine}.\n"
    )


def _taken(group: Group | None) -> str:
    if group is None:
        return ""
    median = statistics.median(group.durations)
    return f"{median:.2f} s, {max(group.durations):.2f} s; {group.share:.2%}"


def _boards(both: Sequence[Figures], headings: Sequence[str]) -> str:
    """The dearest of each dashboard, and the dearest of all as they are now."""
    panels = both[-1].panels
    if not panels:
        return ""
    names = sorted({cost.board for run in both for cost in run.panels})
    boards = plain(
        ("dashboard", *(f"panels {heading}, most samples, longest" for heading in headings)),
        (
            (name, *(_dearest([cost for cost in run.panels if cost.board == name]) for run in both))
            for name in names
        ),
    )
    dear = sorted(panels, key=lambda cost: max(cost.samples / SAMPLES, cost.seconds / SECONDS), reverse=True)
    listed = plain(
        ("dashboard", "panel", "range", "samples", "seconds"),
        (
            (cost.board, cost.title, cost.range, f"{cost.samples:,}", cost.refused or f"{cost.seconds:.2f}")
            for cost in dear[:DEAREST]
        ),
    )
    fast = all(cost.within for cost in panels)
    return (
        f"\nThe panels of each dashboard, and the most that one loads and takes at any range:\n\n{boards}"
        f"\nThe most expensive panels now:\n\n{listed}"
        f"\n{'Every' if fast else 'Not every'} panel is within {SECONDS:.0f} s and {SAMPLES:,} samples.\n"
    )


def _dearest(costs: Sequence[Cost]) -> str:
    if not costs:
        return ""
    titles = {cost.title for cost in costs}
    longest = max(cost.seconds for cost in costs)
    refused = sum(bool(cost.refused) for cost in costs)
    more = f", {refused} refused" if refused else ""
    return f"{len(titles)}; {max(cost.samples for cost in costs):,}; {longest:.2f} s{more}"
