"""Rows finer than product and team: how far counters rose, per ledger, scaled to the ledger's month.

A counter's rise misses what was posted before a host's first scrape and after its last one. So it decides
only how a month's money is divided; GPU time and tokens are what rose, which is at most what there was.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from exporter.cost.money import add, divide
from exporter.cost.postings import CostOwner
from exporter.finance.fleet.record import HostMonth
from exporter.finance.prometheus.client import PrometheusClient, QuerySeries
from exporter.finance.sum_keys import key_of
from exporter.ledger.history import HistorySums
from exporter.readings import Gpu
from exporter.report import ServerOwner
from exporter.units import (
    NANOSECONDS_PER_DAY,
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_SECOND,
    PICODOLLARS_PER_DOLLAR,
    Instant,
    Nanoseconds,
)

INSTANCES_MAX: Final = 200
"""Instances that one query names."""

Progress = Callable[[str, float], None]
"""Is called with what is being read, and how much of it has been, from 0 to 1."""

Rises = dict[str, dict[tuple[str, ...], int]]
"""How far the counters of one ledger rose in a month, by family of sums and labels."""


class ScrapeTarget(NamedTuple):
    """What Prometheus scrapes: the labels that its series share."""

    cluster: str
    instance: str


class _Counter(NamedTuple):
    """A counter of a family of sums."""

    name: str
    labels: tuple[str, ...]
    """Of its rows."""
    scale: int
    """What a rise of 1 comes to as an integer."""


_COUNTERS: Final[Mapping[str, _Counter]] = {
    "cost": _Counter("inference_cost_dollars_total", (*CostOwner._fields, "phase"), PICODOLLARS_PER_DOLLAR),
    "server_cost": _Counter(
        "inference_server_cost_dollars_total", (*ServerOwner._fields, "component"), PICODOLLARS_PER_DOLLAR
    ),
    "gpu_cost": _Counter(
        "inference_gpu_cost_dollars_total", (*Gpu._fields, "component"), PICODOLLARS_PER_DOLLAR
    ),
    "held": _Counter("inference_gpu_seconds_total", (*CostOwner._fields, "phase"), NANOSECONDS_PER_SECOND),
    "tokens": _Counter("inference_tokens_total", (*CostOwner._fields, "kind"), 1),
    "unpriced": _Counter("inference_gpu_unpriced_seconds_total", Gpu._fields, NANOSECONDS_PER_SECOND),
}

Holders = Mapping[ScrapeTarget, Sequence[tuple[Instant, str]]]
"""For each target the hours (their start) in which it reported, in order, and the ledger that it had then."""


def rises(
    client: PrometheusClient,
    holders: Holders,
    start: Instant,
    until: Instant,
    progress: Progress = lambda _what, _part: None,
    *,
    coarsest: Nanoseconds = 0,
) -> dict[str, Rises]:
    """How far all counters rose, by ledger. Empty where the server has no counters of hosts.

    A target that had one ledger all day is read by the day, others by the hour.

    Args:
        client: the server.
        holders: which ledger each target had.
        start: of the month.
        until: the end of the month, or the present.
        progress: is told how far the reading is.
        coarsest: samples that Thanos made of so much time may be used.

    Raises:
        PrometheusError: there is no whole answer.
    """
    by_ledger: dict[str, Rises] = {}
    for begun in range(start, until, NANOSECONDS_PER_DAY):
        ended = min(begun + NANOSECONDS_PER_DAY, until)
        whole: dict[ScrapeTarget, str] = {}
        parts: dict[Instant, dict[ScrapeTarget, str]] = {}
        for target, hours in holders.items():
            of_day = [(hour, ledger) for hour, ledger in hours if begun <= hour < ended]
            names = {ledger for _hour, ledger in of_day}
            if len(names) == 1:
                whole[target] = names.pop()
                continue
            for hour, ledger in of_day:
                parts.setdefault(hour, {})[target] = ledger
        for family in _COUNTERS:
            if whole:
                _add(by_ledger, family, _increases(client, family, begun, ended, coarsest), whole)
            for hour, ledgers in parts.items():
                targets = sorted(ledgers)
                for first in range(0, len(targets), INSTANCES_MAX):
                    chunk = targets[first : first + INSTANCES_MAX]
                    end = hour + NANOSECONDS_PER_HOUR
                    answer = _increases(client, family, hour, end, coarsest, chunk)
                    # An instance of the same name in another cluster may be of the next query.
                    _add(by_ledger, family, answer, {target: ledgers[target] for target in chunk})
        progress("counters", (ended - start) / max(1, until - start))
    return by_ledger


def _increases(
    client: PrometheusClient,
    family: str,
    begun: Instant,
    ended: Instant,
    coarsest: Nanoseconds,
    targets: Sequence[ScrapeTarget] = (),
) -> tuple[QuerySeries, ...]:
    """How far a counter rose, of some targets or of all."""
    counter = _COUNTERS[family]
    names = ", ".join(("cluster", "instance", *counter.labels))
    window = f"[{(ended - begun) // NANOSECONDS_PER_SECOND}s]"
    # By target first: a host that two jobs scrape, or two replicas tell of, counts once.
    instances = "|".join(
        "".join(each if each.isalnum() or each in ":_-" else f"\\{each}" for each in target.instance)
        for target in targets
    )
    quoted = instances.replace("\\", "\\\\").replace('"', '\\"')
    selector = f'{counter.name}{{instance=~"{quoted}"}}' if targets else counter.name
    return client.instant(f"max by ({names}) (increase({selector}{window}))", ended, coarsest=coarsest)


def _add(
    by_ledger: dict[str, Rises],
    family: str,
    answer: Iterable[QuerySeries],
    ledgers: Mapping[ScrapeTarget, str],
) -> None:
    counter = _COUNTERS[family]
    for series in answer:
        labels = series.labels
        ledger = ledgers.get(ScrapeTarget(labels.get("cluster", ""), labels.get("instance", "")))
        rise = series.samples[-1].number
        if ledger is None or not 0 < rise < float("inf"):
            continue
        if scaled := round(rise * counter.scale):  # a weight of nothing divides no money
            rows = by_ledger.setdefault(ledger, {}).setdefault(family, {})
            add(rows, tuple(labels.get(name, "") for name in counter.labels), scaled)


def apportioned(host: HostMonth, rise: Rises | None) -> HostMonth:
    """The month with finer rows: its money divided as the counters rose. Pure.

    Money of a product and team without any rise stays without finer rows.
    """
    if rise is None:
        return host
    cells = host.record.cells
    rows: Rises = {family: rise.get(family, {}) for family in ("held", "tokens")}
    unknown = ("",) * len(CostOwner._fields)  # the counter does not name the owner of such time
    rows["unpriced"] = {(*gpu, *unknown): time for gpu, time in rise.get("unpriced", {}).items()}
    by_owner: dict[tuple[str, ...], int] = {}
    for cell, amount in cells.items():
        add(by_owner, (cell.product, cell.team), amount)
    phases = _by_owner(rise.get("cost", {}))
    components = _by_owner(rise.get("server_cost", {}))
    rows["cost"] = {}
    for owner, amount in by_owner.items():
        if owner in phases:
            rows["cost"] |= divide(amount, phases[owner])
    rows["server_cost"] = {}
    for cell, amount in cells.items():
        weights = components.get((cell.product, cell.team))
        if weights:
            for labels, part in divide(amount, weights).items():
                rows["server_cost"][*labels, cell.price_basis] = part
    gpus = rise.get("gpu_cost")
    rows["gpu_cost"] = divide(host.total, gpus) if gpus else {}
    sums = HistorySums(
        covered={(): host.covered},
        **{
            family: {key_of(family, labels): value for labels, value in amounts.items()}
            for family, amounts in rows.items()
        },
    )
    return replace(host, record=replace(host.record, sums=sums), apportioned=True)


def _by_owner(rows: Mapping[tuple[str, ...], int]) -> dict[tuple[str, ...], dict[tuple[str, ...], int]]:
    """Rows by product and team, which their labels begin with."""
    by_owner: dict[tuple[str, ...], dict[tuple[str, ...], int]] = {}
    for labels, risen in rows.items():
        by_owner.setdefault(labels[:2], {})[labels] = risen
    return by_owner
