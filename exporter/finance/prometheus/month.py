"""A month of every ledger that a Prometheus knows: its money exact to the cent, where and when it reported.

Money is the last value of each ledger's `inference_month_to_date_dollars`, never a rise of counters, which
misses what was posted before a host's first scrape.

Where Thanos keeps scraped samples for less long, those that it made of them are read, and each host says so.
By default it takes a mean for the last value, and the largest for `max_over_time`: aggrsFromFunc in
https://github.com/thanos-io/thanos/blob/main/pkg/query/querier.go
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, cast
from zoneinfo import ZoneInfo

from exporter.finance.fleet.record import HostMonth, HostName
from exporter.finance.prometheus.client import (
    PrometheusClient,
    PrometheusError,
    QuerySeries,
)
from exporter.finance.prometheus.counters import Progress, ScrapeTarget, apportioned, rises
from exporter.finance.prometheus.hour_queries import EDGE, finest_resolution
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
    """When a ledger reported, and by which names."""

    hours: set[Instant] = field(default_factory=set)
    targets: dict[ScrapeTarget, set[Instant]] = field(default_factory=dict)
    """Its hours by target."""
    names: dict[HostName, Instant] = field(default_factory=dict)
    """When each was seen last."""
    last: Instant = 0
    """0 where no sample tells."""

    def see(self, series: QuerySeries, number: int, now: Instant) -> tuple[HostName, Instant]:
        """Note a scrape, of which a sample tells; returns the host's name and when it was."""
        labels, sample = series.labels, series.samples[number]
        scraped = min(sample.at, round(sample.number * NANOSECONDS_PER_SECOND), now)
        self.last = max(self.last, scraped)
        name = HostName(labels.get("cluster", ""), labels.get("instance", ""), labels.get("node", ""))
        return name, scraped


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
    reader = MonthReader(client, month, start, end, now, progress).at_finest()
    cells, since = reader.cells()
    if not cells:
        raise PrometheusError(
            f"{client.name} holds no {RAW} of {month}: it scrapes no host, or keeps no samples for so long"
        )
    complete_from = reader.complete_from(since)
    by_ledger: dict[str, dict[MonthKey, Picodollars]] = {}
    for (ledger, product, team, basis), amount in cells.items():
        by_ledger.setdefault(ledger, {})[MonthKey(product, team, basis, month)] = amount
    presences = reader.presences(by_ledger.keys())
    hosts = []
    for ledger, amounts in sorted(by_ledger.items()):
        presence = presences.get(ledger, _Presence())
        last, hours = presence.last or None, presence.hours
        hosts.append(
            HostMonth(
                record=MonthRecord(
                    ledger=ledger,
                    last_commit=last,
                    month=month,
                    months=(month,),
                    cells=amounts,
                    sums=None,
                ),
                origin="prometheus",
                location=client.name,
                zone=zone,
                names=tuple(sorted(presence.names, key=presence.names.__getitem__)),
                first=max(start, min(hours)) if hours else None,
                last=last,
                covered=sum(min(hour + NANOSECONDS_PER_HOUR, now) - hour for hour in hours),
                resolution=reader.coarsest,
                complete_from=complete_from,
            )
        )
    if not finer:
        return hosts
    ledgers: dict[ScrapeTarget, dict[Instant, str]] = {}
    for ledger, presence in sorted(presences.items()):
        for target, hours in presence.targets.items():
            ledgers.setdefault(target, {}).update(dict.fromkeys(hours, ledger))
    holders = {target: sorted(hours.items()) for target, hours in ledgers.items()}
    rise = rises(client, holders, start, min(end, now), progress, coarsest=reader.coarsest)
    return [apportioned(host, rise.get(host.record.ledger)) for host in hosts]


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
            "read the ledgers of one zone at a time, or give all hosts one `timezone`"
        )
    candidates = (*zones, "UTC", *(f"Etc/GMT{-offset:+d}" for offset in WHOLE_HOURS if offset))
    if not ends:  # a center that does not receive them
        return candidates[0]
    (end,) = ends
    for zone in candidates:
        if Period.named(month).bounds(ZoneInfo(zone))[1] == end:
            return zone
    raise PrometheusError(
        f"{client.name}: {month} ends at {instant_text(end)} on the hosts; "
        "give their `timezone` by --config.file"
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


@dataclass(frozen=True, slots=True)
class MonthReader:
    """Reads a month by the hour: its money, and when and where each ledger reported."""

    client: PrometheusClient
    month: str
    """Its name, like 2026-10."""
    start: Instant
    """Its first instant."""
    end: Instant
    """The first instant after it."""
    now: Instant
    progress: Progress = lambda _what, _part: None
    coarsest: Nanoseconds = 0
    """Samples that Thanos made of so much time may be used."""

    def at_finest(self) -> "MonthReader":
        """A reader at the finest resolution that has all hours of the month that any has."""
        until = min(self.end, self.now)
        first = self.start - self.start % NANOSECONDS_PER_HOUR + NANOSECONDS_PER_HOUR - EDGE
        last = until - until % NANOSECONDS_PER_HOUR - EDGE
        for selector in (LAST_SCRAPES, f'{RAW}{{month="{self.month}"}}'):
            query = f"count(last_over_time({selector}[1h]))"
            resolution, ends = finest_resolution(self.client, query, first, last)
            if ends:
                return replace(self, coarsest=resolution)
        return self

    def cells(self) -> tuple[dict[CellKey, Picodollars], Instant]:
        """The last value of every ledger's month by product, team and price basis, and since when that is.

        Money of a ledger that was gone by then is not in it; what others spent before is.
        The fleet's rules keep it for 40 days after the month. What their memory does not reach, because they
        were loaded within the month, is read by the hour: from the hosts' own series, else from the record of
        these.

        Raises:
            PrometheusError: there is no whole answer.
        """
        self.progress("month", 0)
        at = min(self.now, self.end + REMEMBERED)
        until = min(self.now, self.end + 2 * NANOSECONDS_PER_HOUR)
        cells = self._latest(MEMORY, "2h", at)
        since = self._remembered_since(at) if cells else until
        for name in (RAW, RECORD):
            if since > self.start:
                earlier, first = self._hourly(name, min(since + NANOSECONDS_PER_HOUR, until))
                cells = earlier | cells
                since = min(first, since)
        for name in (RECORD, RAW):  # live hosts go on to report the month before, with what was posted late
            latest = self._latest(name, FRESH, at)
            cells |= latest
            if latest:
                break
        self.progress("month", 1)
        return cells, max(since, self.start)

    def complete_from(self, since: Instant) -> Instant | None:
        """From when on all hosts are known; `None` if none was metered in the month before that.

        Hosts export since when they are metered. What those spent that were gone before is not to be had.
        """
        if since <= self.start:
            return None
        until = min(self.end, self.now)
        record = "inference:month_metered_since_timestamp_seconds"
        earliest = [
            round(series.samples[-1].number * NANOSECONDS_PER_SECOND)
            for name in (METERED_SINCE, record, f"{record}_hourly")
            for at in {min(since + NANOSECONDS_PER_HOUR, until), until}
            for series in self.client.instant(
                f'min(min_over_time({name}{{month="{self.month}"}}[2h]))', at, coarsest=NANOSECONDS_PER_HOUR
            )
        ]
        return None if earliest and min(earliest) >= since - NANOSECONDS_PER_HOUR else since

    def presences(self, ledgers: Collection[str]) -> dict[str, _Presence]:
        """When each ledger reported, and by which names, by the hour.

        The hour after the month says whether a host went on, and is none of its hours. Of those ledgers of
        which only money is kept, the rules remember when they were last seen.
        """
        until = min(self.end + NANOSECONDS_PER_HOUR, self.now)
        scrape = f'timestamp(last_over_time({RAW}{{month="{self.month}"}}[1h]))'
        presences: dict[str, _Presence] = {}
        since = until
        for value in (f"last_over_time({LAST_SCRAPES}[1h])", scrape):  # the record, and what is older than it
            if since <= self.start:
                break
            query, alone = f"max by (cluster, ledger, instance, node) ({value})", not presences
            for series in self._by_day("hosts", query, min(since + NANOSECONDS_PER_HOUR, until)):
                presence = presences.setdefault(series.labels.get("ledger", ""), _Presence())
                hours = {each.at - NANOSECONDS_PER_HOUR for each in series.samples}
                hours = {hour for hour in hours if hour < self.end}
                for number in range(len(series.samples)):
                    name, scraped = presence.see(series, number, self.now)
                    presence.names[name] = max(presence.names.get(name, 0), scraped)
                target = ScrapeTarget(name.cluster, name.instance)
                presence.targets.setdefault(target, set()).update(hours)
                presence.hours |= hours
            # Those that still report: what they posted late is in their month.
            for series in self.client.instant(query, self.now, coarsest=self.coarsest) if alone else ():
                presence = presences.setdefault(series.labels.get("ledger", ""), _Presence())
                name, _scraped = presence.see(series, -1, self.now)
                if not presence.hours:
                    presence.names[name] = presence.last
            since = min((min(each.hours) for each in presences.values() if each.hours), default=until)
        unseen = ledgers - presences.keys()
        query = f"max by (ledger, cluster) (last_over_time({LAST_SEEN}[2h]))"
        at = min(self.now, self.end + REMEMBERED)
        for series in self.client.instant(query, at) if unseen else ():
            ledger = series.labels.get("ledger", "")
            last = round(series.samples[-1].number * NANOSECONDS_PER_SECOND)
            if ledger in unseen and last > 0:
                name = HostName(series.labels.get("cluster", ""))
                presences[ledger] = _Presence(names={name: last}, last=last)
        return presences

    def _by_day(self, what: str, query: str, until: Instant) -> Iterator[QuerySeries]:
        """The values of a query at the end of each hour, a day at a time."""
        for first, last in days_of_hours(self.start, until):
            yield from self.client.range(query, first, last, NANOSECONDS_PER_HOUR, coarsest=self.coarsest)
            self.progress(what, (last - self.start) / max(1, until - self.start))

    def _remembered_since(self, at: Instant) -> Instant:
        """The month's start if the rules' memory is older, else the beginning of its first hour.

        Prometheus may have deleted the memory's first samples. Hosts export when their month and the one
        before end: a memory that has an earlier end was recorded in an earlier month.
        """
        oldest, hour = f"min(last_over_time({REMEMBERED_ENDS}[1h]))", NANOSECONDS_PER_HOUR
        steps = self.client.range(oldest, self.start + hour, at + hour, hour, coarsest=self.coarsest)
        first = min((series.samples[0] for series in steps), key=lambda sample: sample.at, default=None)
        if first is None:
            return at
        if first.number * NANOSECONDS_PER_SECOND < self.start - NANOSECONDS_PER_DAY:
            return self.start
        return first.at - hour

    def _latest(self, name: str, window: str, at: Instant) -> dict[CellKey, Picodollars]:
        answer = self.client.instant_by_ledger(
            lambda matcher: self._expression(name, window, matcher), at, coarsest=self.coarsest
        )
        return {_cell_key(series): series.samples[-1].picodollars for series in answer}

    def _hourly(self, name: str, until: Instant) -> tuple[dict[CellKey, Picodollars], Instant]:
        """The last value over every hour, and the start of the first hour that has any, else the end."""
        latest: dict[CellKey, tuple[Instant, Picodollars]] = {}
        first = until
        # A month grows: its last value is the largest, where the last one would be a mean.
        function = "max_over_time" if self.coarsest else "last_over_time"
        for series in self._by_day("month", self._expression(name, "1h", 'ledger!=""', function), until):
            sample, key = series.samples[-1], _cell_key(series)
            first = min(series.samples[0].at - NANOSECONDS_PER_HOUR, first)
            before = latest.get(key)
            if before is None or sample.at >= before[0]:
                latest[key] = sample.at, sample.picodollars
        return {key: amount for key, (_at, amount) in latest.items()}, first

    def _expression(self, name: str, window: str, matcher: str, function: str = "last_over_time") -> str:
        selector = f'{name}{{month="{self.month}",{matcher}}}'
        return f"max by (ledger, product, team, price_basis) ({function}({selector}[{window}]))"


def _cell_key(series: QuerySeries) -> CellKey:
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


def days_of_hours(start: Instant, until: Instant) -> Iterator[tuple[Instant, Instant]]:
    """Ranges of a day whose steps of an hour end hours, the first one an hour after the start.

    The last step ends the hour that goes on: whoever came and went since it began is in no earlier one.
    """
    first = start + NANOSECONDS_PER_HOUR
    while first < until + NANOSECONDS_PER_HOUR:
        rest = -(-(until - first) // NANOSECONDS_PER_HOUR) * NANOSECONDS_PER_HOUR
        yield first, first + min(NANOSECONDS_PER_DAY - NANOSECONDS_PER_HOUR, rest)
        first += NANOSECONDS_PER_DAY
