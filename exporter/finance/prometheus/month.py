"""A month of every ledger that a Prometheus knows: its money exact to the cent, where and when it reported.

Money is the last value of each ledger's `inference_month_to_date_dollars`, never a rise of counters, which
misses what was posted before a host's first scrape.

Where Thanos keeps scraped samples for less long, those that it made of them are read, and each host says so.
By default it takes a mean for the last value, and the largest for `max_over_time`: aggrsFromFunc in
https://github.com/thanos-io/thanos/blob/main/pkg/query/querier.go
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, cast
from zoneinfo import ZoneInfo

from exporter.finance.fleet.record import HostMonth, HostName
from exporter.finance.prometheus.client import (
    PrometheusClient,
    PrometheusError,
    QuerySeries,
)
from exporter.finance.prometheus.counters import Holders, Progress, ScrapeTarget, apportioned, rises
from exporter.finance.prometheus.hour_queries import EDGE
from exporter.finance.prometheus.resolution import finest_resolution
from exporter.finance.render import instant_text
from exporter.ledger.history import MonthRecord
from exporter.report import MonthKey
from exporter.tariff.period import Period
from exporter.tariff.rate import PriceBasis
from exporter.units import (
    NANOSECONDS_PER_DAY,
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_SECOND,
    Instant,
    Nanoseconds,
    Picodollars,
)

RAW: Final = "inference_month_to_date_dollars"
RECORD: Final = "inference:month_to_date_dollars:posting"
MEMORY: Final = "inference:month_to_date_dollars:posting_hourly"
LAST_SCRAPES: Final = "inference:ledger_seen_timestamp_seconds"
LAST_SEEN: Final = "inference:ledger_cluster_hourly"
MONTH_END: Final = "inference_month_end_timestamp_seconds"
REMEMBERED_ENDS: Final = "inference:month_end_timestamp_seconds_hourly"
METERED_SINCE: Final = "inference_month_metered_since_timestamp_seconds"

REMEMBERED: Final = 39 * NANOSECONDS_PER_DAY
"""How long after a month its memory is recorded: 40 days, less one for rules that were late."""

FRESH: Final = "10m"
"""Last values of records of a minute are looked back for so long."""

BASES: Final = frozenset({"configured", "catalogue", "estimate"})

WHOLE_HOURS: Final = range(-12, 15)
"""Offsets from UTC of the zones Etc/GMT+12 to Etc/GMT-14."""

CellKey = tuple[str, str, str, PriceBasis]
"""Ledger, product, team and price basis."""


@dataclass(slots=True)
class _Presence:
    """When a ledger reported, and by which names. `last` is 0 where no sample tells."""

    hours: set[Instant] = field(default_factory=set)
    targets: dict[ScrapeTarget, set[Instant]] = field(default_factory=dict)
    names: dict[HostName, Instant] = field(default_factory=dict)
    last: Instant = 0


@dataclass(frozen=True, slots=True)
class MonthCells:
    """The money of a month by ledger and owner, and the instant from which on it is known.

    Money of a ledger that was gone by `since` is not in `cells`; what others spent before is.
    """

    cells: Mapping[CellKey, Picodollars]
    since: Instant


def host_months(
    client: PrometheusClient,
    month: str,
    zones: Sequence[str],
    now: Instant,
    progress: Progress = lambda _what, _part: None,
    *,
    finer: bool = False,
) -> list[HostMonth]:
    """A month of each ledger.

    Args:
        client: the server.
        month: a name like 2026-10.
        zones: time zones that the hosts may have, the likeliest first.
        now: the present.
        progress: is called with what is being read, and how much of it has been, from 0 to 1.
        finer: read rows by server, model, phase, GPU and component as well, and tokens.

    Raises:
        PrometheusError: there is no whole answer, or the server has nothing of the month.
    """
    zone = _zone(client, month, zones, now)
    start, end = Period.named(month).bounds(ZoneInfo(zone))
    until = min(end, now)
    resolution = _resolution(client, month, start, until)
    money = month_cells(client, month, start, end, now, progress, coarsest=resolution)
    if not money.cells:
        raise PrometheusError(
            f"{client.name} holds no {RAW} of {month}: it scrapes no host, or keeps no samples for so long",
        )
    complete_from = _complete_from(client, month, start, money.since, until)
    presence = _presence(client, month, start, end, now, progress, resolution)
    by_ledger: dict[str, dict[MonthKey, Picodollars]] = {}
    for (ledger, product, team, basis), amount in money.cells.items():
        by_ledger.setdefault(ledger, {})[MonthKey(product, team, basis, month)] = amount
    _add_remembered(presence, by_ledger.keys() - presence.keys(), client, min(now, end + REMEMBERED))
    hosts = []
    for ledger, amounts in sorted(by_ledger.items()):
        of_ledger = presence.get(ledger, _Presence())
        host = _host(client, month, zone, ledger, amounts, of_ledger, start, now)
        hosts.append(replace(host, resolution=resolution, complete_from=complete_from))
    if not finer:
        return hosts
    rise = rises(client, _holders(presence), start, until, progress, coarsest=resolution)
    return [apportioned(host, rise.get(host.record.ledger)) for host in hosts]


def _host(
    client: PrometheusClient,
    month: str,
    zone: str,
    ledger: str,
    cells: Mapping[MonthKey, Picodollars],
    presence: _Presence,
    start: Instant,
    now: Instant,
) -> HostMonth:
    covered = sum(min(hour + NANOSECONDS_PER_HOUR, now) - hour for hour in presence.hours)
    last = presence.last or None
    return HostMonth(
        record=MonthRecord(
            ledger=ledger,
            last_commit=last,
            month=month,
            months=(month,),
            cells=cells,
            sums=None,
        ),
        origin="prometheus",
        location=client.name,
        zone=zone,
        names=tuple(sorted(presence.names, key=presence.names.__getitem__)),
        first=max(start, min(presence.hours)) if presence.hours else None,
        last=last,
        covered=covered,
    )


def _resolution(client: PrometheusClient, month: str, start: Instant, until: Instant) -> Nanoseconds:
    """The finest resolution that has all hours of the month that any has."""
    first = start - start % NANOSECONDS_PER_HOUR + NANOSECONDS_PER_HOUR - EDGE
    last = until - until % NANOSECONDS_PER_HOUR - EDGE
    for selector in (LAST_SCRAPES, f'{RAW}{{month="{month}"}}'):
        query = f"count(last_over_time({selector}[1h]))"
        resolution, ends = finest_resolution(client, query, first, last)
        if ends:
            return resolution
    return 0


def _zone(client: PrometheusClient, month: str, zones: Sequence[str], now: Instant) -> str:
    """The time zone in which the hosts' month ends.

    Raises:
        PrometheusError: the hosts have several, or one that is neither given nor of whole hours.
    """
    ends = _month_ends(client, month, now)
    if len(ends) > 1:
        listed = "; ".join(
            f"{instant_text(end)} ({len(hosts)}: {', '.join(sorted(hosts)[:10])})"
            for end, hosts in sorted(ends.items())
        )
        raise PrometheusError(
            f"{client.name}: {month} ends at several instants, hosts have different time zones: {listed}; "
            "read the ledgers of one zone at a time, or give all hosts one `timezone`",
        )
    candidates = (*zones, "UTC", *(f"Etc/GMT{-offset:+d}" for offset in WHOLE_HOURS if offset))
    if not ends:  # an exporter of an earlier release, or a center that does not receive them
        return candidates[0]
    (end,) = ends
    for zone in candidates:
        if Period.named(month).bounds(ZoneInfo(zone))[1] == end:
            return zone
    raise PrometheusError(
        f"{client.name}: {month} ends at {instant_text(end)} on the hosts; "
        "give their `timezone` by --config.file",
    )


def _month_ends(client: PrometheusClient, month: str, now: Instant) -> dict[Instant, set[str]]:
    """The instants at which the month ends, with the clusters or hosts that say so."""
    last = min(now, Period.named(month).bounds(ZoneInfo("UTC"))[1])
    record = "inference:month_end_timestamp_seconds"
    of_month = f'{{month="{month}"}}'
    queries = (
        f"max by (cluster, instance) (last_over_time({MONTH_END}{of_month}[1h]))",
        f"max by (cluster) (last_over_time({record}:cluster{of_month}[1h]))",
        f"max by (cluster) (last_over_time({record}_hourly{of_month}[2h]))",
    )
    for query in queries:
        # Twice: hosts that are gone at the end of the month said theirs before.
        ends: dict[Instant, set[str]] = {}
        for at in {last, last - 15 * NANOSECONDS_PER_DAY}:
            for series in client.instant(query, at, coarsest=NANOSECONDS_PER_HOUR):
                labels = series.labels
                name = labels.get("instance") or labels.get("cluster") or "all hosts"
                end = round(series.samples[-1].number) * 10**9
                ends.setdefault(end, set()).add(name)
        if ends:
            return ends
    return {}


def month_cells(
    client: PrometheusClient,
    month: str,
    start: Instant,
    end: Instant,
    now: Instant,
    progress: Progress = lambda _what, _part: None,
    *,
    coarsest: Nanoseconds = 0,
) -> MonthCells:
    """The last value of every ledger's month by product, team and price basis.

    The fleet's rules keep it for 40 days after the month. What their memory does not reach, because they were
    loaded within the month, is read by the hour: from the hosts' own series, else from the record of these.

    Args:
        client: the server.
        month: its name, like 2026-10.
        start: its first instant.
        end: the first instant after it.
        now: the present.
        progress: is called with what is being read, and how much of it has been, from 0 to 1.
        coarsest: samples that Thanos made of so much time may be used.

    Raises:
        PrometheusError: there is no whole answer.
    """
    progress("month", 0)
    at = min(now, end + REMEMBERED)
    until = min(now, end + 2 * NANOSECONDS_PER_HOUR)
    cells = _instant(client, MEMORY, month, "2h", at, coarsest)
    since = _remembered_since(client, start, at, coarsest) if cells else until
    for name in (RAW, RECORD):
        if since > start:
            before = min(since + NANOSECONDS_PER_HOUR, until)
            earlier, first = _values_by_hour(client, name, month, start, before, progress, coarsest)
            cells = earlier | cells
            since = min(first, since)
    for name in (RECORD, RAW):  # live hosts go on to report the month before, with what was posted late
        latest = _instant(client, name, month, FRESH, at, coarsest)
        cells |= latest
        if latest:
            break
    progress("month", 1)
    return MonthCells(cells, max(since, start))


def _remembered_since(
    client: PrometheusClient, start: Instant, at: Instant, coarsest: Nanoseconds
) -> Instant:
    """The month's start if the rules' memory is older, else the beginning of its first hour.

    Prometheus may have deleted the memory's first samples. Hosts export when their month and the one before
    end: a memory that has an earlier end was recorded in an earlier month.
    """
    oldest = f"min(last_over_time({REMEMBERED_ENDS}[1h]))"
    hour = NANOSECONDS_PER_HOUR
    steps = client.range(oldest, start + hour, at + hour, hour, coarsest=coarsest)
    first = min((series.samples[0] for series in steps), key=lambda sample: sample.at, default=None)
    if first is None:
        return at
    if first.number * NANOSECONDS_PER_SECOND < start - NANOSECONDS_PER_DAY:
        return start
    return first.at - hour


def _keys(series: QuerySeries) -> CellKey:
    labels = series.labels
    basis = labels.get("price_basis", "")
    if basis not in BASES:
        raise PrometheusError(f"{RAW} has the price basis {basis!r}, which this release does not know")
    return (
        labels.get("ledger", ""),
        labels.get("product", ""),
        labels.get("team", ""),
        cast("PriceBasis", basis),
    )


def _expression(name: str, month: str, window: str, matcher: str, function: str = "last_over_time") -> str:
    selector = f'{name}{{month="{month}",{matcher}}}'
    return f"max by (ledger, product, team, price_basis) ({function}({selector}[{window}]))"


def _instant(
    client: PrometheusClient, name: str, month: str, window: str, at: Instant, coarsest: Nanoseconds
) -> dict[CellKey, Picodollars]:
    answer = client.instant_by_ledger(
        lambda matcher: _expression(name, month, window, matcher), at, coarsest=coarsest
    )
    return {_keys(series): series.samples[-1].picodollars for series in answer}


def _values_by_hour(
    client: PrometheusClient,
    name: str,
    month: str,
    start: Instant,
    until: Instant,
    progress: Progress,
    coarsest: Nanoseconds,
) -> tuple[dict[CellKey, Picodollars], Instant]:
    """The last value over every hour, and the start of the first hour that has any, else the end."""
    latest: dict[CellKey, tuple[Instant, Picodollars]] = {}
    first = until
    # A month grows: its last value is the largest, where the last one would be a mean.
    function = "max_over_time" if coarsest else "last_over_time"
    query = _expression(name, month, "1h", 'ledger!=""', function)
    for day in days_of_hours(start, until):
        for series in client.range(query, *day, NANOSECONDS_PER_HOUR, coarsest=coarsest):
            sample, key = series.samples[-1], _keys(series)
            first = min(series.samples[0].at - NANOSECONDS_PER_HOUR, first)
            before = latest.get(key)
            if before is None or sample.at >= before[0]:
                latest[key] = sample.at, sample.picodollars
        progress("month", (day[1] - start) / max(1, until - start))
    return {key: amount for key, (_at, amount) in latest.items()}, first


def _complete_from(
    client: PrometheusClient, month: str, start: Instant, since: Instant, until: Instant
) -> Instant | None:
    """From when on all hosts are known; `None` if none was metered in the month before that.

    Hosts export since when they are metered. What those spent that were gone before is not to be had.
    """
    if since <= start:
        return None
    of_month = f'{{month="{month}"}}'
    earliest: Instant | None = None
    record = "inference:month_metered_since_timestamp_seconds"
    for name in (METERED_SINCE, record, f"{record}_hourly"):
        for at in {min(since + NANOSECONDS_PER_HOUR, until), until}:
            query = f"min(min_over_time({name}{of_month}[2h]))"
            for series in client.instant(query, at, coarsest=NANOSECONDS_PER_HOUR):
                metered = round(series.samples[-1].number * 10**9)
                earliest = metered if earliest is None else min(earliest, metered)
    begun_then = earliest is not None and earliest >= since - NANOSECONDS_PER_HOUR
    return None if begun_then else since


def days_of_hours(start: Instant, until: Instant) -> Iterator[tuple[Instant, Instant]]:
    """Ranges of a day whose steps of an hour end hours, the first one an hour after the start.

    The last step ends the hour that goes on: whoever came and went since it began is in no earlier one.
    """
    first = start + NANOSECONDS_PER_HOUR
    while first < until + NANOSECONDS_PER_HOUR:
        rest = -(-(until - first) // NANOSECONDS_PER_HOUR) * NANOSECONDS_PER_HOUR
        yield first, first + min(NANOSECONDS_PER_DAY - NANOSECONDS_PER_HOUR, rest)
        first += NANOSECONDS_PER_DAY


def _presence(
    client: PrometheusClient,
    month: str,
    start: Instant,
    end: Instant,
    now: Instant,
    progress: Progress,
    coarsest: Nanoseconds,
) -> dict[str, _Presence]:
    """When each ledger reported, and by which names, by the hour.

    The hour after the month says whether a host went on, and is none of its hours.
    """
    until = min(end + NANOSECONDS_PER_HOUR, now)
    queries = (
        f"max by (cluster, ledger, instance, node) (last_over_time({LAST_SCRAPES}[1h]))",
        (
            "max by (cluster, ledger, instance, node) "
            f'(timestamp(last_over_time({RAW}{{month="{month}"}}[1h])))'
        ),
    )
    presences: dict[str, _Presence] = {}
    since = until
    for query in queries:  # the record, and what is older than it
        alone = not presences
        if since <= start:
            break
        for day in days_of_hours(start, min(since + NANOSECONDS_PER_HOUR, until)):
            for series in client.range(query, *day, NANOSECONDS_PER_HOUR, coarsest=coarsest):
                _add_presence(presences, series, end, now)
            progress("hosts", (day[1] - start) / max(1, until - start))
        if alone:
            _add_latest(presences, client.instant(query, now, coarsest=coarsest))
        since = min((min(each.hours) for each in presences.values() if each.hours), default=until)
    return presences


def _add_remembered(
    presences: dict[str, _Presence], ledgers: Collection[str], client: PrometheusClient, at: Instant
) -> None:
    """Note when ledgers of which only money is kept were last seen, which the rules remember as well."""
    if not ledgers:
        return
    query = f"max by (ledger, cluster) (last_over_time({LAST_SEEN}[2h]))"
    for series in client.instant(query, at):
        ledger, last = series.labels.get("ledger", ""), round(series.samples[-1].number * 10**9)
        if ledger in ledgers and last > 0:
            name = HostName(series.labels.get("cluster", ""))
            presences[ledger] = _Presence(names={name: last}, last=last)


def _add_latest(presences: dict[str, _Presence], answer: Iterable[QuerySeries]) -> None:
    """Note the last scrape of hosts that still report: what they posted late is in their month."""
    for series in answer:
        presence = presences.setdefault(series.labels.get("ledger", ""), _Presence())
        sample = series.samples[-1]
        presence.last = max(presence.last, min(sample.at, round(sample.number * 10**9)))
        if not presence.hours:
            presence.names[_name(series)] = presence.last


def _add_presence(presences: dict[str, _Presence], series: QuerySeries, end: Instant, now: Instant) -> None:
    presence = presences.setdefault(series.labels.get("ledger", ""), _Presence())
    name = _name(series)
    hours = presence.targets.setdefault(ScrapeTarget(name.cluster, name.instance), set())
    for sample in series.samples:
        hour = sample.at - NANOSECONDS_PER_HOUR
        if hour < end:
            hours.add(hour)
        scraped = min(sample.at, round(sample.number * 10**9), now)
        presence.last = max(presence.last, scraped)
        presence.names[name] = max(presence.names.get(name, 0), scraped)
    presence.hours |= hours


def _name(series: QuerySeries) -> HostName:
    labels = series.labels
    return HostName(labels.get("cluster", ""), labels.get("instance", ""), labels.get("node", ""))


def _holders(presences: Mapping[str, _Presence]) -> Holders:
    """The ledger of each target, by the hour."""
    holders: dict[ScrapeTarget, dict[Instant, str]] = {}
    for ledger, presence in sorted(presences.items()):
        for target, hours in presence.targets.items():
            holders.setdefault(target, {}).update(dict.fromkeys(hours, ledger))
    return {target: sorted(hours.items()) for target, hours in holders.items()}
