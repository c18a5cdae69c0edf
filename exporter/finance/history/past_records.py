"""Records of the past for the dashboards, as OpenMetrics; the label `ledger` tells them from our own.

Names and labels are those of deploy/rules. A record is written each five minutes, for which a query of
Prometheus sees a sample. It ends where our own begins, so that no time counts twice: for all hosts of a
cluster, since records are sums of hosts, and no label says for sure which of them a daemon's host is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple, TextIO
from zoneinfo import ZoneInfo

from exporter.cost.money import add, add_all
from exporter.finance.facts import Fact, Measure
from exporter.finance.history.kube_state import NodeKey
from exporter.finance.history.past_host import PastHost
from exporter.finance.history.reckoning import HourFact, was_read_whole
from exporter.finance.prometheus.client import PrometheusClient
from exporter.finance.prometheus.hour_queries import HOUR
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
"""The fleet's rules record a closed month for so long."""


class PastRecord(NamedTuple):
    """A record by the hour: a sum of facts by cluster and columns."""

    name: str
    measure: Measure
    columns: tuple[str, ...]
    """Columns of facts that are labels besides the cluster."""
    phase: str = ""
    """The only phase of its facts; empty for all."""
    models_only: bool = False
    """Whether facts without a model are left out."""
    unit: int = PICODOLLARS_PER_DOLLAR
    """What 1 is in the file, in values of facts."""


_OWNER: Final = ("product", "team")
_SERVER: Final = (*_OWNER, "namespace", "server")
_SECONDS: Final = HOUR // NANOSECONDS_PER_SECOND
_MODEL_TOKENS: Final = (*_OWNER, "model", "kind")

SPEND: Final = "inference:spend_dollars_per_hour"
WASTE: Final = "inference:waste_dollars_per_hour"
MODEL_COST: Final = "inference:model_cost_dollars:1h"

_SPEND_RECORDS: Final = (
    PastRecord(SPEND, "money of owners", ()),
    PastRecord(f"{SPEND}:owner", "money of owners", _OWNER),
    PastRecord("inference:phase_dollars_per_hour:owner", "money of owners", (*_OWNER, "phase")),
    PastRecord(WASTE, "money of owners", _OWNER, phase="idle"),
    PastRecord(f"{WASTE}:server", "money of owners", _SERVER, phase="idle"),
    PastRecord(MODEL_COST, "money of owners", (*_OWNER, "model", "phase"), models_only=True),
    PastRecord("inference:model_tokens:1h", "tokens", _MODEL_TOKENS, models_only=True, unit=1),
    PastRecord("inference:model_tokens:rate5m", "tokens", _MODEL_TOKENS, models_only=True, unit=_SECONDS),
)
_GPU_RECORDS: Final = (
    PastRecord("inference:party_gpus:rate5m", "GPU time", (*_SERVER, "model"), unit=HOUR),
    PastRecord("inference:gpu_price_dollars_per_hour:model", "money of GPUs", ("gpu_model",)),
    PastRecord("inference:gpus_priced:model", "priced time", ("gpu_model",), unit=HOUR),
)
RECORDS: Final = (*_SPEND_RECORDS, *_GPU_RECORDS)

MODEL_UNPRICED: Final = "inference:model_unpriced"
MONTH: Final = "inference:month_to_date_dollars"
CLOSED: Final = "inference:closed_month_dollars"

NAMES: Final = (
    *(record.name for record in _SPEND_RECORDS),
    MODEL_UNPRICED,
    *(record.name for record in _GPU_RECORDS),
    MONTH,
    f"{MONTH}:owner",
    f"{CLOSED}:owner",
    f"{CLOSED}:price_basis",
)
"""Names in the order in which the file declares them."""

PREFIX: Final = "history-"
"""Ledgers whose name begins so never metered anything: no budget and no alert counts them."""

Labels = tuple[tuple[str, str], ...]


class SeriesId(NamedTuple):
    """A record's name and labels, without the label `ledger`."""

    name: str
    labels: Labels


class HostServer(NamedTuple):
    """A server on a host."""

    host: NodeKey
    namespace: str
    server: str


class HostModel(NamedTuple):
    """A model of a server on a host."""

    server: HostServer
    model: str


class MonthOwner(NamedTuple):
    """Whose money of a month."""

    cluster: str
    month: str
    product: str
    team: str


@dataclass(slots=True)
class _HourSums:
    """Sums of all hosts in one hour."""

    values: dict[SeriesId, int] = field(default_factory=dict)
    """Values of records in the units of facts: whole numbers add up alike in any order."""
    months: dict[MonthOwner, Picodollars] = field(default_factory=dict)
    """Money by the month that it is of."""
    servers: set[HostServer] = field(default_factory=set)
    """Servers with GPU time."""
    unpriced: set[HostServer] = field(default_factory=set)
    """Servers with GPU time that has no price."""
    models: set[HostModel] = field(default_factory=set)
    """Models that had tokens."""

    def add(self, host: NodeKey, fact: Fact) -> None:
        """Add a fact of a host."""
        records = [record for record in RECORDS if record.measure == fact.measure]
        if not records and fact.measure != "unpriced time":
            return
        product, team, namespace, server, model = fact.key((*_SERVER, "model"))
        served = HostServer(host, namespace, server)
        match fact.measure:
            case "money of owners" if not fact.value:
                return
            case "money of owners":
                add(self.months, MonthOwner(host.cluster, (fact.day or "")[:7], product, team), fact.value)
            case "GPU time" if fact.value:
                self.servers.add(served)
            case "unpriced time":
                self.unpriced.add(served)
            case "tokens" if model:
                self.models.add(HostModel(served, model))
        for record in records:
            if record.phase in ("", fact.phase) and (model or not record.models_only):
                labels = zip(record.columns, fact.key(record.columns), strict=True)
                series = SeriesId(record.name, (("cluster", host.cluster), *labels))
                add(self.values, series, fact.value)

    def mark_unpriced(self) -> None:
        """Mark models whose dollars are less than the cost of their tokens."""
        for server, model in sorted(self.models):
            if server in self.unpriced or server not in self.servers:
                labels = ("cluster", server.host.cluster), ("model", model)
                self.values[SeriesId(MODEL_UNPRICED, labels)] = 1


class Written(NamedTuple):
    """How much was written."""

    series: int
    samples: int


class OwnRecord(NamedTuple):
    """A record of our own in a cluster."""

    name: str
    cluster: str


@dataclass(frozen=True, slots=True)
class Seam:
    """Where the past ends: from the begin of our own records on it is not written."""

    begins: Mapping[OwnRecord, Instant] = field(default_factory=dict)
    """When our own records begin."""

    def of(self, name: str, cluster: str) -> Instant | None:
        """When our own record begins; `None` where there is none.

        Models without a price are few, and ours may have none: those of the past end with their dollars.
        """
        return self.begins.get(OwnRecord(MODEL_COST if name == MODEL_UNPRICED else name, cluster))

    def by_cluster(self) -> Mapping[str, Instant]:
        """When the first of our own records begins in each cluster."""
        first: dict[str, Instant] = {}
        for record, begin in sorted(self.begins.items()):
            first[record.cluster] = min(begin, first.get(record.cluster, begin))
        return first


def find_seam(client: PrometheusClient, since: Instant, until: Instant) -> Seam:
    """Look for the first sample of each of our own records.

    Raises:
        PrometheusError: there is no whole answer.
    """
    begins: dict[OwnRecord, Instant] = {}
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
                    begins[OwnRecord(name, cluster)] = series.samples[0].at - step
        for cluster, hour in first.items():
            begins.setdefault(OwnRecord(name, cluster), hour - HOUR)
    return Seam(begins)


def ledger_of(address: str) -> str:
    """The ledger of a server's past: a later import of it takes the place of an earlier one."""
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
        self._hours: dict[int, _HourSums] = {}
        self._months: dict[MonthOwner, Picodollars] = {}
        self._texts: dict[SeriesId, str] = {}
        self._samples = 0
        file.write("".join(f"# TYPE {name} gauge\n" for name in NAMES))

    def add(self, host: PastHost, facts: Iterable[HourFact]) -> None:
        """Take in facts of a host."""
        if host.first is not None:
            self._data_begin = min(self._data_begin, host.first)
        for hour, fact in facts:
            self._hours.setdefault(hour, _HourSums()).add(host.key, fact)

    def flush(self) -> None:
        """Write the hours whose facts were added, before any later hour.

        The running month grows by what an hour posts; a closed month has one value.
        """
        for hour, sums in sorted(self._hours.items()):
            sums.mark_unpriced()
            for series, amount in sums.values.items():
                value = amount / _UNITS[series.name]
                self._write(series, hour, value, value)
            month = month_of(hour * HOUR, self._zone).name
            starts = _month_series(self._months, month, MONTH)
            add_all(self._months, sums.months)
            for series, value in _month_series(self._months, month, MONTH).items():
                self._write(series, hour, starts.get(series, 0.0), value)
            for closed in sorted({owner.month for owner in self._months}):
                since_end = hour * HOUR - Period.named(closed).bounds(self._zone)[1]
                if 0 <= since_end < CLOSED_DAYS * NANOSECONDS_PER_DAY and was_read_whole(
                    closed, self._zone, self._since, self._until, self._data_begin
                ):
                    for series, value in _month_series(self._months, closed, CLOSED).items():
                        self._write(series, hour, value, value)
        self._hours = {}

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
        for offset in offsets:
            value = start if start == end else start + (end - start) * offset / 3600
            self._file.write(f"{text} {value!r} {hour * 3600 + offset}\n")
        self._samples += len(offsets)

    def close(self) -> Written:
        """End the file."""
        self._file.write("# EOF\n")
        return Written(len(self._texts), self._samples)


_UNITS: Final[Mapping[str, int]] = {record.name: record.unit for record in RECORDS} | {MODEL_UNPRICED: 1}


def _month_series(months: Mapping[MonthOwner, Picodollars], month: str, name: str) -> dict[SeriesId, float]:
    """A month's dollars as series of a name: of each cluster, and by product and team."""
    sums: dict[SeriesId, Picodollars] = {}
    for owner, amount in months.items():
        if owner.month == month:
            labels = ("cluster", owner.cluster), ("month", month)
            whole = SeriesId(name, labels)
            if name == CLOSED:
                whole = SeriesId(f"{CLOSED}:price_basis", (*labels, ("price_basis", "estimate")))
            of_owner = (*labels, ("product", owner.product), ("team", owner.team))
            add(sums, whole, amount)
            add(sums, SeriesId(f"{name}:owner", of_owner), amount)
    return {series: dollars(amount) for series, amount in sums.items()}


_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
"""Escapes of label values."""


def import_commands(path: str, ledger: str) -> tuple[tuple[str, str], ...]:
    """Commands by server: the first one deletes an earlier import, the second one imports a file.

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
