"""Records of the past for the dashboards, as OpenMetrics; each has the label `ledger`, which ours have not.

Names and labels are those of deploy/rules. A record is written each five minutes, for which a query of
Prometheus sees a sample. It ends where our own begins, so that no time counts twice: for all hosts of a
cluster, since records are sums of hosts, and no label says for sure which of them a daemon's host is.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple, TextIO
from zoneinfo import ZoneInfo

from exporter.cost.money import add
from exporter.cost.postings import TokenPosting
from exporter.finance.history.kube_state import NodeKey
from exporter.finance.history.reckoning import PastHost, was_read_whole
from exporter.finance.prometheus.client import PrometheusClient
from exporter.finance.prometheus.hour_queries import HOUR
from exporter.ledger.history import SegmentSums
from exporter.tariff.calendar import month_of
from exporter.tariff.period import Period
from exporter.units import (
    NANOSECONDS_PER_DAY,
    NANOSECONDS_PER_SECOND,
    PICODOLLARS_PER_DOLLAR,
    Instant,
    Picodollars,
    dollars,
)

STEP_SECONDS: Final = 300
"""A query of Prometheus sees a sample for so long (`--query.lookback-delta`)."""

CLOSED_DAYS: Final = 40
"""As the fleet's rules keep a closed month."""

SPEND: Final = "inference:spend_dollars_per_hour"
SPEND_OWNER: Final = "inference:spend_dollars_per_hour:owner"
PHASES: Final = "inference:phase_dollars_per_hour:owner"
WASTE: Final = "inference:waste_dollars_per_hour"
WASTE_SERVER: Final = "inference:waste_dollars_per_hour:server"
MODEL_COST: Final = "inference:model_cost_dollars:1h"
MODEL_TOKENS: Final = "inference:model_tokens:1h"
RATE_OF_TOKENS: Final = "inference:model_tokens:rate5m"
MODEL_UNPRICED: Final = "inference:model_unpriced"
GPUS_HELD: Final = "inference:party_gpus:rate5m"
GPU_PRICE: Final = "inference:gpu_price_dollars_per_hour:model"
GPUS_PRICED: Final = "inference:gpus_priced:model"
MONTH: Final = "inference:month_to_date_dollars"
MONTH_OWNER: Final = "inference:month_to_date_dollars:owner"
CLOSED_OWNER: Final = "inference:closed_month_dollars:owner"
CLOSED_BASIS: Final = "inference:closed_month_dollars:price_basis"

NAMES: Final = (
    SPEND,
    SPEND_OWNER,
    PHASES,
    WASTE,
    WASTE_SERVER,
    MODEL_COST,
    MODEL_TOKENS,
    RATE_OF_TOKENS,
    MODEL_UNPRICED,
    GPUS_HELD,
    GPU_PRICE,
    GPUS_PRICED,
    MONTH,
    MONTH_OWNER,
    CLOSED_OWNER,
    CLOSED_BASIS,
)

PREFIX: Final = "history-"
"""Ledgers whose name begins so never metered anything: no budget and no alert counts them."""

UNITS: Final[Mapping[str, int]] = {
    **dict.fromkeys((MODEL_TOKENS, MODEL_UNPRICED), 1),
    RATE_OF_TOKENS: HOUR // NANOSECONDS_PER_SECOND,
    **dict.fromkeys((GPUS_HELD, GPUS_PRICED), HOUR),
}
"""What 1 is of a record in whole numbers: tokens of an hour, or GPU time; of all others picodollars."""

Labels = tuple[tuple[str, str], ...]


class SeriesId(NamedTuple):
    """A record's name and labels, without those of all."""

    name: str
    labels: Labels


_Served = tuple[NodeKey, str, str]
"""A server on a host: its namespace and name."""


@dataclass(slots=True)
class _Prices:
    """Servers of an hour with GPU time, those with some that has no price, and models that had tokens."""

    servers: set[_Served] = field(default_factory=set)
    unpriced: set[_Served] = field(default_factory=set)
    models: set[tuple[_Served, str]] = field(default_factory=set)

    def without(self) -> Iterator[tuple[str, str]]:
        """Cluster and model where dollars are a part of what the tokens cost."""
        for served, model in self.models:
            if served in self.unpriced or served not in self.servers:
                yield served[0].cluster, model


class Written(NamedTuple):
    """What was written: series, samples, and from when to when."""

    series: int
    samples: int


@dataclass(frozen=True, slots=True)
class Seam:
    """When our own records begin, by name and cluster; from then on the past is not written."""

    begins: Mapping[tuple[str, str], Instant] = field(default_factory=dict)

    def of(self, name: str, cluster: str) -> Instant | None:
        """When our own record begins; `None` where there is none.

        Models without a price are few, and ours may have none: those of the past end with their dollars.
        """
        return self.begins.get((MODEL_COST if name == MODEL_UNPRICED else name, cluster))

    def by_cluster(self) -> Mapping[str, Instant]:
        """When the first of our own records begins in each cluster."""
        first: dict[str, Instant] = {}
        for (_name, cluster), begin in sorted(self.begins.items()):
            first[cluster] = min(begin, first.get(cluster, begin))
        return first


def find_seam(client: PrometheusClient, since: Instant, until: Instant) -> Seam:
    """Look for the first sample of each of our own records.

    Raises:
        PrometheusError: there is no whole answer.
    """
    begins: dict[tuple[str, str], Instant] = {}
    names = "|".join(NAMES)
    present = {
        labels["__name__"] for labels in client.label_sets(f'{{__name__=~"{names}",ledger=""}}', since, until)
    }
    for name in sorted(present):
        own = f'{name}{{ledger=""}}'
        first: dict[str, Instant] = {}
        presence = f"count by (cluster) (last_over_time({own}[1h]))"
        hours = client.range(presence, since + HOUR, until, HOUR, coarsest=HOUR)
        for series in hours:
            cluster = series.labels.get("cluster", "")
            first[cluster] = min(first.get(cluster, until), series.samples[0].at)
        for hour in sorted(set(first.values())):
            step = 15 * NANOSECONDS_PER_SECOND
            for series in client.range(f"count by (cluster) ({own})", hour - HOUR, hour, step, coarsest=0):
                cluster = series.labels.get("cluster", "")
                if first.get(cluster) == hour:
                    begins[name, cluster] = series.samples[0].at - step
        for cluster, hour in first.items():
            begins.setdefault((name, cluster), hour - HOUR)
    return Seam(begins)


def ledger_of(address: str) -> str:
    """The ledger of what is read from an address: it takes the place of an earlier import of the same one."""
    return PREFIX + blake2b(address.encode(), digest_size=6).hexdigest()


def find_imported(client: PrometheusClient, since: Instant, until: Instant) -> tuple[str, ...]:
    """Ledgers of earlier imports that a server has.

    Raises:
        PrometheusError: there is no whole answer.
    """
    names = "|".join(NAMES)
    labels = client.label_sets(f'{{__name__=~"{names}",ledger=~"{PREFIX}.+"}}', since, until)
    return tuple(sorted({each["ledger"] for each in labels}))


class PastRecords:
    """Writes the records of each chunk to a file; `ledger` is their label."""

    def __init__(
        self, file: TextIO, address: str, zone: ZoneInfo, seam: Seam, since: Instant, until: Instant
    ) -> None:
        self._file = file
        self._zone = zone
        self._seam = seam
        self._since = since
        self._until = until
        self._data_begin = until
        self.ledger = ledger_of(address)
        self._first = 0
        self._hours: dict[int, dict[SeriesId, int]] = {}
        self._posted: dict[int, dict[tuple[str, str, str, str], Picodollars]] = {}
        self._prices: dict[int, _Prices] = {}
        self._months: dict[tuple[str, str, str, str], Picodollars] = {}
        self._texts: dict[SeriesId, str] = {}
        self._samples = 0
        file.write("".join(f"# TYPE {name} gauge\n" for name in NAMES))

    def begin(self, first: int) -> None:
        """Begin a chunk, which has no hour before this one."""
        self._first = first

    def add_segment(self, host: PastHost, posted: SegmentSums) -> None:
        """Take in money and GPU time of a part of an hour."""
        self._see(host)
        segment = posted.segment
        sums = posted.sums
        cluster = host.key.cluster
        hour = max(self._first, segment.start // HOUR)
        amounts = self._posted.setdefault(hour, {})
        prices = self._prices.setdefault(hour, _Prices())
        for (owner, phase), amount in sums.cost.items():
            if not amount:
                continue
            of_owner = ("cluster", cluster), ("product", owner.product), ("team", owner.team)
            of_server = (*of_owner, ("namespace", owner.namespace), ("server", owner.server))
            self._add(hour, SPEND, (("cluster", cluster),), amount)
            self._add(hour, SPEND_OWNER, of_owner, amount)
            self._add(hour, PHASES, (*of_owner, ("phase", phase)), amount)
            if phase == "idle":
                self._add(hour, WASTE, of_owner, amount)
                self._add(hour, WASTE_SERVER, of_server, amount)
            if owner.model:
                self._add(hour, MODEL_COST, (*of_owner, ("model", owner.model), ("phase", phase)), amount)
            key = cluster, segment.month, owner.product, owner.team
            amounts[key] = amounts.get(key, 0) + amount
        for (_, owner), time in sums.unpriced.items():
            if time:
                prices.unpriced.add((host.key, owner.namespace, owner.server))
        for (owner, _), time in sums.held.items():
            if time:
                prices.servers.add((host.key, owner.namespace, owner.server))
            held_labels = (
                ("cluster", cluster),
                ("product", owner.product),
                ("team", owner.team),
                ("namespace", owner.namespace),
                ("server", owner.server),
                ("model", owner.model),
            )
            self._add(hour, GPUS_HELD, held_labels, time)
        for holder, time in sums.owner_held.items():
            of_model = ("cluster", cluster), ("gpu_model", holder.gpu.gpu_model)
            self._add(hour, GPUS_PRICED, of_model, time)
        for (gpu, _), amount in sums.gpu_cost.items():
            of_model = ("cluster", cluster), ("gpu_model", gpu.gpu_model)
            self._add(hour, GPU_PRICE, of_model, amount)

    def add_tokens(self, host: PastHost, at: Instant, tokens: Iterable[TokenPosting]) -> None:
        """Take in tokens of the hour of an instant."""
        self._see(host)
        hour = max(self._first, at // HOUR)
        for posting in tokens:
            owner = posting.owner
            if posting.count and owner.model:
                labels = (
                    ("cluster", host.key.cluster),
                    ("product", owner.product),
                    ("team", owner.team),
                    ("model", owner.model),
                    ("kind", posting.kind),
                )
                served = host.key, owner.namespace, owner.server
                self._prices.setdefault(hour, _Prices()).models.add((served, owner.model))
                self._add(hour, MODEL_TOKENS, labels, posting.count)
                self._add(hour, RATE_OF_TOKENS, labels, posting.count)

    def _see(self, host: PastHost) -> None:
        if host.first is not None:
            self._data_begin = min(self._data_begin, host.first)

    def _add(self, hour: int, name: str, labels: Labels, amount: int) -> None:
        """Add to a record, in its unit: whole numbers add up alike in any order."""
        add(self._hours.setdefault(hour, {}), SeriesId(name, labels), amount)

    def flush(self) -> None:
        """Write the hours of the chunk."""
        for hour, prices in self._prices.items():
            for cluster, model in prices.without():
                labels = ("cluster", cluster), ("model", model)
                self._hours.setdefault(hour, {})[SeriesId(MODEL_UNPRICED, labels)] = 1
        for hour in sorted({*self._hours, *self._posted}):
            for series, amount in self._hours.get(hour, {}).items():
                value = amount / UNITS.get(series.name, PICODOLLARS_PER_DOLLAR)
                self._write(series, hour, value, value)
            self._write_months(hour)
        self._hours, self._posted, self._prices = {}, {}, {}

    def _write_months(self, hour: int) -> None:
        before = dict(self._months)
        for key, amount in self._posted.get(hour, {}).items():
            self._months[key] = self._months.get(key, 0) + amount
        month = month_of(hour * HOUR, self._zone).name
        starts = _month_series(before, month, MONTH, MONTH_OWNER)
        for series, value in _month_series(self._months, month, MONTH, MONTH_OWNER).items():
            self._write(series, hour, starts.get(series, 0.0), value)
        for closed in sorted({key[1] for key in self._months}):
            end = Period.named(closed).bounds(self._zone)[1]
            since_end = hour * HOUR - end
            if 0 <= since_end < CLOSED_DAYS * NANOSECONDS_PER_DAY and was_read_whole(
                closed, self._zone, self._since, self._until, self._data_begin
            ):
                ended = _month_series(self._months, closed, CLOSED_BASIS, CLOSED_OWNER, "estimate")
                for series, value in ended.items():
                    self._write(series, hour, value, value)

    def _write(self, series: SeriesId, hour: int, start: float, end: float) -> None:
        """Write a series each five minutes of an hour, from one value to another."""
        text = self._texts.get(series)
        if text is None:
            labels = (*((name, value) for name, value in series.labels if value), ("ledger", self.ledger))
            pairs = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels)
            text = self._texts[series] = f"{series.name}{{{pairs}}}"
        begins = self._seam.of(series.name, dict(series.labels).get("cluster", ""))
        # Its last sample is seen until our own begins.
        stop = self._until if begins is None else begins - STEP_SECONDS * NANOSECONDS_PER_SECOND
        left = stop // NANOSECONDS_PER_SECOND - hour * 3600
        offsets = [offset for offset in range(0, 3600, STEP_SECONDS) if offset < left]
        if begins is not None and 0 < left <= 3600 and left - 1 not in offsets:
            offsets.append(left - 1)
        lines = []
        for offset in offsets:
            value = start if start == end else start + (end - start) * offset / 3600
            lines.append(f"{text} {value!r} {hour * 3600 + offset}\n")
        self._file.writelines(lines)
        self._samples += len(lines)

    def close(self) -> Written:
        """End the file."""
        self._file.write("# EOF\n")
        return Written(len(self._texts), self._samples)


_Months = Mapping[tuple[str, str, str, str], Picodollars]
"""Money by cluster, month, product and team."""


def _month_series(
    months: _Months, month: str, whole: str, by_owner: str, basis: str = ""
) -> dict[SeriesId, float]:
    """A month's dollars as series of two names: of each cluster, and by product and team."""
    sums: dict[SeriesId, Picodollars] = {}
    for (cluster, of_month, product, team), amount in months.items():
        if of_month == month:
            labels = ("cluster", cluster), ("month", month)
            of_whole = (*labels, ("price_basis", basis)) if basis else labels
            add(sums, SeriesId(whole, of_whole), amount)
            add(sums, SeriesId(by_owner, (*labels, ("product", product), ("team", team))), amount)
    return {series: dollars(amount) for series, amount in sums.items()}


_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
"""Escapes of label values."""


def import_commands(path: str, ledger: str) -> tuple[tuple[str, str], ...]:
    """For each server the commands, in order: one deletes an earlier import, one imports a file.

    VictoriaMetrics has the path of Prometheus, which needs a flag for it:
    https://docs.victoriametrics.com/victoriametrics/url-examples/
    https://prometheus.io/docs/prometheus/latest/querying/api/#tsdb-admin-apis
    """
    delete = f"curl -d 'match[]={{ledger=\"{ledger}\"}}'"
    path_of_delete = "api/v1/admin/tsdb/delete_series"
    return (
        ("Prometheus with --web.enable-admin-api", f"{delete} http://HOST:9090/{path_of_delete}"),
        (
            "Prometheus",
            f"promtool tsdb create-blocks-from openmetrics --max-block-duration=486h {path} DATA_FOLDER",
        ),
        ("VictoriaMetrics", f"{delete} http://HOST:8428/{path_of_delete}"),
        ("VictoriaMetrics", f"curl -T {path} http://HOST:8428/api/v1/import/prometheus"),
    )
