"""Rows finer than product and team: how far counters rose, per ledger, scaled to the ledger's month.

A counter's rise misses what was posted before a host's first scrape and after its last one. So it decides
only how a month's money is divided; GPU time and tokens are what rose, which is at most what there was.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple, cast

from exporter.cost.money import split
from exporter.cost.postings import CostOwner, OwnerPhase, Phase
from exporter.finance.fleet.record import HostMonth
from exporter.finance.prometheus.client import PrometheusClient, QuerySeries
from exporter.ledger.history import HistorySums
from exporter.readings import Gpu, TokenKind
from exporter.report import ServerOwner
from exporter.tariff.rate import PriceBasis
from exporter.units import (
    NANOSECONDS_PER_DAY,
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_SECOND,
    Instant,
    Nanoseconds,
)

INSTANCES_MAX: Final = 200
"""Instances that one query names."""

UNKNOWN_OWNER: Final = CostOwner("", "", "", "", "")
"""The holder of unpriced GPU time, which the counter does not name."""

Progress = Callable[[str, float], None]
"""Is called with what is being read, and how much of it has been, from 0 to 1."""

Labels = Mapping[str, str]


class ScrapeTarget(NamedTuple):
    """What Prometheus scrapes: the labels that its series share."""

    cluster: str
    instance: str


@dataclass(frozen=True, slots=True)
class _Family:
    """A counter, the labels of its rows, and what a rise of 1 comes to as an integer."""

    name: str
    labels: tuple[str, ...]
    scale: int
    key: Callable[[Labels], Any]


def _owner(labels: Labels) -> CostOwner:
    return CostOwner(*(labels.get(name, "") for name in CostOwner._fields))


_OWNER: Final = CostOwner._fields
_FAMILIES: Final[Mapping[str, _Family]] = {
    "cost": _Family(
        "inference_cost_dollars_total",
        (*_OWNER, "phase"),
        10**12,
        lambda labels: OwnerPhase(_owner(labels), cast("Phase", labels.get("phase", ""))),
    ),
    "server_cost": _Family(
        "inference_server_cost_dollars_total",
        (*ServerOwner._fields, "component"),
        10**12,
        lambda labels: (
            ServerOwner(*(labels.get(name, "") for name in ServerOwner._fields)),
            labels.get("component", ""),
        ),
    ),
    "gpu_cost": _Family(
        "inference_gpu_cost_dollars_total",
        ("uuid", "gpu_model", "component"),
        10**12,
        lambda labels: (
            Gpu(labels.get("uuid", ""), labels.get("gpu_model", "")),
            labels.get("component", ""),
        ),
    ),
    "held": _Family(
        "inference_gpu_seconds_total",
        (*_OWNER, "phase"),
        NANOSECONDS_PER_SECOND,
        lambda labels: OwnerPhase(_owner(labels), cast("Phase", labels.get("phase", ""))),
    ),
    "tokens": _Family(
        "inference_tokens_total",
        (*_OWNER, "kind"),
        1,
        lambda labels: (_owner(labels), cast("TokenKind", labels.get("kind", ""))),
    ),
    "unpriced": _Family(
        "inference_gpu_unpriced_seconds_total",
        ("uuid", "gpu_model"),
        NANOSECONDS_PER_SECOND,
        lambda labels: (Gpu(labels.get("uuid", ""), labels.get("gpu_model", "")), UNKNOWN_OWNER),
    ),
}


@dataclass(slots=True)
class CounterRises:
    """How far the counters of one ledger rose in a month, by family and key."""

    families: dict[str, dict[Any, int]] = field(default_factory=lambda: {name: {} for name in _FAMILIES})

    def add(self, family: str, key: Any, rise: int) -> None:
        """Add a rise."""
        sums = self.families[family]
        sums[key] = sums.get(key, 0) + rise


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
) -> dict[str, CounterRises]:
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
    by_ledger: dict[str, CounterRises] = {}
    for begun in range(start, until, NANOSECONDS_PER_DAY):
        ended = min(begun + NANOSECONDS_PER_DAY, until)
        whole, parts = _ledgers_of_day(holders, begun, ended)
        for name, family in _FAMILIES.items():
            if whole:
                _add(by_ledger, name, _increases(client, family, begun, ended, coarsest), whole)
            for hour, ledgers in parts.items():
                for targets in _chunks(sorted(ledgers)):
                    answer = _increases(client, family, hour, hour + NANOSECONDS_PER_HOUR, coarsest, targets)
                    # An instance of the same name in another cluster may be of the next query.
                    _add(by_ledger, name, answer, {target: ledgers[target] for target in targets})
        progress("counters", (ended - start) / max(1, until - start))
    return by_ledger


def _ledgers_of_day(
    holders: Holders, begun: Instant, ended: Instant
) -> tuple[dict[ScrapeTarget, str], dict[Instant, dict[ScrapeTarget, str]]]:
    """The ledger of each target that had one, and by the hour those of the others."""
    whole: dict[ScrapeTarget, str] = {}
    parts: dict[Instant, dict[ScrapeTarget, str]] = {}
    for target, hours in holders.items():
        of_day = [(hour, ledger) for hour, ledger in hours if begun <= hour < ended]
        ledgers = {ledger for _hour, ledger in of_day}
        if len(ledgers) == 1:
            whole[target] = ledgers.pop()
        else:
            for hour, ledger in of_day:
                parts.setdefault(hour, {})[target] = ledger
    return whole, parts


def _chunks(targets: Sequence[ScrapeTarget]) -> Iterator[Sequence[ScrapeTarget]]:
    for first in range(0, len(targets), INSTANCES_MAX):
        yield targets[first : first + INSTANCES_MAX]


def _increases(
    client: PrometheusClient,
    family: _Family,
    begun: Instant,
    ended: Instant,
    coarsest: Nanoseconds,
    targets: Sequence[ScrapeTarget] = (),
) -> tuple[QuerySeries, ...]:
    names = ", ".join(("cluster", "instance", *family.labels))
    window = f"[{(ended - begun) // NANOSECONDS_PER_SECOND}s]"
    # By target first: a host that two jobs scrape, or two replicas tell of, counts once.
    instances = "|".join(_escaped(target.instance) for target in targets)
    selector = f'{family.name}{{instance=~"{instances}"}}' if targets else family.name
    return client.instant(f"max by ({names}) (increase({selector}{window}))", ended, coarsest=coarsest)


def _escaped(instance: str) -> str:
    """A label's value as a regular expression of PromQL, inside quotes."""
    escaped = "".join(
        character if character.isalnum() or character in ":_-" else f"\\{character}" for character in instance
    )
    return escaped.replace("\\", "\\\\").replace('"', '\\"')


def _add(
    by_ledger: dict[str, CounterRises],
    family: str,
    answer: Iterable[QuerySeries],
    ledgers: Mapping[ScrapeTarget, str],
) -> None:
    for series in answer:
        labels = series.labels
        ledger = ledgers.get(ScrapeTarget(labels.get("cluster", ""), labels.get("instance", "")))
        rise = series.samples[-1].number
        if ledger is None or not 0 < rise < float("inf"):
            continue
        scaled = round(rise * _FAMILIES[family].scale)
        if not scaled:  # a weight of nothing divides no money
            continue
        by_ledger.setdefault(ledger, CounterRises()).add(family, _FAMILIES[family].key(labels), scaled)


def apportioned(host: HostMonth, rise: CounterRises | None) -> HostMonth:
    """The month with finer rows: its money divided as the counters rose. Pure.

    Money of a product and team without any rise stays without finer rows.
    """
    if rise is None:
        return host
    families, cells = rise.families, host.record.cells
    by_owner: dict[tuple[str, str], int] = {}
    for cell, amount in cells.items():
        by_owner[cell.product, cell.team] = by_owner.get((cell.product, cell.team), 0) + amount
    sums = HistorySums(
        held=dict(families["held"]),
        tokens=dict(families["tokens"]),
        unpriced=dict(families["unpriced"]),
        covered={(): host.covered},
    )
    weights: dict[tuple[str, str], dict[OwnerPhase, int]] = {}
    for key, risen in families["cost"].items():
        weights.setdefault((key.owner.product, key.owner.team), {})[key] = risen
    for owner, amount in by_owner.items():
        if owner in weights:
            sums.cost |= split(amount, weights[owner])[0]
    components: dict[tuple[str, str], dict[tuple[ServerOwner, str], int]] = {}
    for pair, risen in families["server_cost"].items():
        components.setdefault((pair[0].product, pair[0].team), {})[pair] = risen
    for cell, amount in cells.items():
        risen_of = components.get((cell.product, cell.team))
        if risen_of:
            basis = cast("PriceBasis", cell.price_basis)
            for (server, component), part in split(amount, risen_of)[0].items():
                sums.server_cost[server, component, basis] = part
    if families["gpu_cost"]:
        sums.gpu_cost = split(host.total, families["gpu_cost"])[0]
    return replace(host, record=replace(host.record, sums=sums), apportioned=True)
