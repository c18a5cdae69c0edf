"""Hours of hosts through the daemon's own cost code, and the sums of their months."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isnan
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from exporter.config import Config
from exporter.config.settings import ConfiguredServer, cost_policy
from exporter.cost import advance
from exporter.cost.advance import GpuOutcome
from exporter.cost.money import add, add_all
from exporter.cost.policy import CardinalityLimits, CostPolicy
from exporter.cost.postings import CostOwner, Postings, TokenPosting
from exporter.cost.state import State
from exporter.engines.exposition import Page, Sample, Series
from exporter.engines.interpretation import interpret
from exporter.finance.backfill import host_hours
from exporter.finance.backfill.gpu_readings import energies, gpu_readings, instance_name, rounded_up, used
from exporter.finance.backfill.hourly import Chunk, EngineHours
from exporter.finance.backfill.kube_state import NodeKey, PodName
from exporter.finance.backfill.past_slots import PastSlots
from exporter.finance.backfill.survey import EngineTarget, Survey
from exporter.finance.prometheus.hour_queries import HOUR
from exporter.ledger.history import HistorySums, SegmentSums, TickSums
from exporter.ledger.token_times import token_times
from exporter.ledger.totals import Totals
from exporter.readings import (
    Frame,
    Gpu,
    GpuReading,
    Holder,
    HostLocation,
    PodOwnership,
    ServerKey,
    ServerReading,
)
from exporter.sources.configured import holders as configured_holders
from exporter.tariff.calendar import month_of
from exporter.tariff.period import Period
from exporter.units import (
    NANOSECONDS_PER_SECOND,
    Instant,
    Nanoseconds,
    Picodollars,
)

GAP_CHARGED: Final[Nanoseconds] = HOUR
"""A gap of one host that is charged to its last holders, as the daemon charges its own: scrapes failed."""

UNATTRIBUTED: Final = ServerKey("", "unattributed")
"""The holder of a GPU that some process uses, where nothing says which server's."""

LIMITS: Final = CardinalityLimits(models=1000, servers=1000)
"""Months of one host have more servers than a day."""

RECENT_HOURS: Final = 26
"""Hours that the projection needs: the last 24, and room for their edges."""

USAGE_HOURS: Final = 14 * 24
"""Hours that savings are judged by."""


@dataclass(slots=True)
class MonthSums:
    """One month of one host. `sampled` of its time has samples, `span` is all of it.

    `token_server_time` is GPU time of servers whose pages count tokens, and `unread` the part of it in which
    none was scraped. `unlisted` is charged for GPUs without samples.
    """

    sums: HistorySums = field(default_factory=HistorySums)
    token_server_time: dict[CostOwner, Nanoseconds] = field(default_factory=dict)
    unread: dict[CostOwner, Nanoseconds] = field(default_factory=dict)
    sampled: Nanoseconds = 0
    span: Nanoseconds = 0
    unlisted: Picodollars = 0


@dataclass(slots=True)
class PastHost:
    """One host: its months, and what savings and the projection need of its last days."""

    key: NodeKey
    location: HostLocation
    policy: CostPolicy
    state: State = field(default_factory=State)
    elapsed: Nanoseconds = 0
    first: Instant | None = None
    """When it was first seen."""
    last: Instant = 0
    """When it was last seen."""
    uncharged: Nanoseconds = 0
    """Time without samples that nothing was charged for."""
    samples: Counter[int] = field(default_factory=Counter)
    """Hours by the samples of one GPU in them."""
    targets: set[EngineTarget] = field(default_factory=set)
    """Those that were ever on it."""
    months: dict[str, MonthSums] = field(default_factory=dict)
    usage: deque[tuple[int, HistorySums]] = field(default_factory=lambda: deque(maxlen=USAGE_HOURS))
    gpus: dict[Gpu, Instant] = field(default_factory=dict)
    slots: PastSlots = field(default_factory=PastSlots)
    outcomes: tuple[GpuOutcome, ...] = ()
    energy: dict[str, int] = field(default_factory=dict)
    counters: dict[EngineTarget, dict[str, float]] = field(default_factory=dict)
    counting_since: dict[tuple[EngineTarget, str], Instant] = field(default_factory=dict)
    before: Mapping[host_hours.DeviceKey, tuple[PodName, ...]] = field(default_factory=dict)
    recent: Totals = field(default_factory=Totals)
    """Of the last `RECENT_HOURS` before the end."""

    def unseen_hours(self, before: int) -> range:
        """Whole hours since it was last seen, up to an hour since 1970."""
        return range(-(-self.last // HOUR), before)


class HourSink(Protocol):
    """Takes what was reckoned, hour by hour."""

    def begin(self, first: int) -> None:
        """Begin a chunk at an hour."""

    def add_segment(self, host: PastHost, posted: SegmentSums) -> None:
        """Take in money and GPU time of a part of an hour."""

    def add_tokens(self, host: PastHost, at: Instant, tokens: Iterable[TokenPosting]) -> None:
        """Take in tokens of the hour of an instant."""

    def flush(self) -> None:
        """Write the hours of the chunk."""


class Reckoning:
    """All hosts, chunk by chunk. Memory grows with hosts and months, not with days.

    `doubled` are names of pods that held GPUs of two hosts at once: those of clusters that no label names.
    `merged` are names of hosts whose GPUs were read under another name at once.
    `namesakes` are names that two hosts have at once, of clusters likewise.
    `downsampled` are hours by the time between the samples that Thanos made for them.
    """

    def __init__(self, config: Config, survey: Survey, until: Instant, sink: HourSink | None = None) -> None:
        self._config = config
        self._recent_from = until - RECENT_HOURS * HOUR
        self._survey = survey
        self._sink = sink
        self._owners: dict[PodName, PodOwnership | None] = {}
        self._homes: dict[EngineTarget, NodeKey] = {}
        self._keys: dict[PodName, ServerKey] = {}
        self.hosts: dict[NodeKey, PastHost] = {}
        self.homeless: set[EngineTarget] = set()
        self.shared: set[NodeKey] = set()
        self.doubled: set[PodName] = set()
        self.namesakes: set[NodeKey] = set()
        self.merged: set[NodeKey] = set()
        self.downsampled: Counter[Nanoseconds] = Counter()
        self._active: set[int] = set()
        self._listed: dict[str, dict[NodeKey, set[int]]] = {}
        self._boots: dict[NodeKey, dict[int, float]] = {}
        self._read = {
            survey.server(target): set[int]() for target, engine in survey.engines.items() if engine.tokens
        }

    def add(self, chunk: Chunk) -> None:
        """Charge the hours of a chunk."""
        if self._sink is not None:
            self._sink.begin(chunk.first)
        if chunk.resolution:
            self.downsampled[chunk.resolution] += chunk.hours - 1
        self._name_hosts(chunk)
        series = host_hours.by_host(chunk, self._survey.known_as)
        hours: dict[NodeKey, dict[int, host_hours.HostHour]] = {}
        for key, devices in series.items():
            host = self._host(key)
            if host_hours.has_namesake(devices):
                self.namesakes.add(key)
            gathered = host_hours.HostSeries(devices, host.before)
            hours[key] = {hour.number: hour for hour in gathered.hours(chunk)}
            host.before = gathered.before
        self._boots = {self._survey.known_as(key): times for key, times in chunk.boots.items()}
        self._listed = {}
        for key, of_host in hours.items():
            for number, host_hour in of_host.items():
                for uuid in host_hour.counts:
                    self._listed.setdefault(uuid, {}).setdefault(key, set()).add(number)
        servers = self._settle(hours, chunk)
        self._active |= chunk.alive
        self._active.update(number for of_host in hours.values() for number in of_host)
        self._find_read(chunk)
        for key in sorted({*hours, *servers}):
            host = self._host(key)
            for number in range(chunk.first, chunk.first - 1 + chunk.hours):
                at = number + 1 - chunk.first
                targets = sorted(servers.get(key, {}).get(number, ()))
                hour = hours.get(key, {}).get(number)
                # A host with GPUs is charged in the hours that have them; one without has tokens alone.
                if hour is not None or (targets and key not in self._survey.hosts):
                    self._locate(host, number)
                    self._charge(host, number, at, hour, targets, chunk)
        if self._sink is not None:
            self._sink.flush()

    def _name_hosts(self, chunk: Chunk) -> None:
        """Give a host one name where exporters differ: of before, a node's, with a cluster, most samples."""
        for samples in host_hours.twice_named(chunk):
            names = {self._survey.known_as(name): count for name, count in samples.items()}
            best, *others = sorted(
                names,
                key=lambda name: (
                    name not in self.hosts,
                    name not in self._survey.kube.node_labels,
                    not name.cluster,
                    -names[name],
                    name,
                ),
            )
            for other in others:
                self._survey.rename(other, best)
                self.merged.add(other)

    def _find_read(self, chunk: Chunk) -> None:
        """Find the hours in which the pages of each server were scraped, on whatever hosts."""
        for hours in self._read.values():
            hours.clear()
        for target, engine in chunk.engines.items():
            of_server = self._read.get(self._survey.server(target))
            if of_server is not None:
                of_server.update(chunk.first - 1 + at for at in range(chunk.hours) if engine.there(at))

    def _host(self, key: NodeKey) -> PastHost:
        host = self.hosts.get(key)
        if host is None:
            location = self._survey.kube.location(key, self._config)
            host = self.hosts[key] = PastHost(key, location, self._policy(key, location))
        return host

    def _policy(self, key: NodeKey, location: HostLocation) -> CostPolicy:
        policy = cost_policy(self._config, key.host, location)
        return replace(policy, interval=HOUR, gap_after=HOUR, limits=LIMITS)

    def _locate(self, host: PastHost, number: int) -> None:
        """Give a host the prices of its labels in an hour: a node may have the name of one that went."""
        if host.key in self._survey.kube.node_times:
            location = self._survey.kube.location(host.key, self._config, number)
            if location != host.location:
                host.location, host.policy = location, self._policy(host.key, location)

    def _settle(
        self, hours: Mapping[NodeKey, Mapping[int, host_hours.HostHour]], chunk: Chunk
    ) -> dict[NodeKey, dict[int, list[EngineTarget]]]:
        """The targets of each host by the hour: where their pod holds GPUs, else by their own labels.

        A pod of a StatefulSet moves and keeps its name. A page that comes under two clusters at once is one.
        """
        holders: dict[PodName, dict[int, NodeKey]] = {}
        together: defaultdict[PodName, set[int]] = defaultdict(set)
        for key, of_host in hours.items():
            for hour in of_host.values():
                for device in hour.parts[-1].devices:
                    for pod in device.holders:
                        if holders.setdefault(pod, {}).setdefault(hour.number, key) != key:
                            together[pod].add(hour.number)
        # A pod that moves is on both in one hour.
        self.doubled.update(pod for pod, numbers in together.items() if len(numbers) > 1)
        servers: dict[NodeKey, dict[int, list[EngineTarget]]] = {}
        pages: dict[tuple[NodeKey, int, EngineTarget], EngineTarget] = {}
        for target in sorted(chunk.engines, reverse=True):  # without a cluster last
            engine, of_pod = chunk.engines[target], holders.get(target.pod_name, {}) if target.pod else {}
            labeled = self._survey.host_of(target, engine.labels, hours.keys())
            known = self._homes.get(target) or (of_pod[min(of_pod)] if of_pod else labeled)
            if not of_pod and labeled in self._survey.hosts:  # its address may be given again
                known = labeled
            if known is None:
                self.homeless.add(target)
            home = NodeKey(target.cluster, "") if known is None else self._survey.known_as(known)
            for at in range(1, chunk.hours):
                number = chunk.first - 1 + at
                home = of_pod.get(number, home)
                if not engine.there(at):
                    continue
                one = pages.setdefault((home, number, target._replace(cluster="")), target)
                if one is target or len(chunk.engines[one].sampled & engine.sampled) <= 1:
                    servers.setdefault(home, {}).setdefault(number, []).append(target)
            if known is not None:
                self._homes[target] = home
        return servers

    def _charge(
        self,
        host: PastHost,
        number: int,
        at: int,
        hour: host_hours.HostHour | None,
        targets: list[EngineTarget],
        chunk: Chunk,
    ) -> None:
        start = number * HOUR if hour is None else hour.start
        parts = () if hour is None else hour.parts
        skipped = host.first is not None and start > host.last and not self._ran(host, start)
        energy = energies(hour, skipped=skipped)
        unseen = 0 if skipped or host.first is None else len(host.unseen_hours(start // HOUR))
        hours = range(max(1, at - unseen), at + 1)
        servers = self._servers(host, hours, targets, chunk, start, skipped=skipped)
        named = any(device.holders for part in parts for device in part.devices)
        if hour is not None:
            host.slots.add(hour, self._boots.get(host.key, {}).get(number, 0.0))
        sums, ticks = HistorySums(), list[Postings]()
        if skipped:
            host.uncharged += start - host.last
        elif host.first is None or start > host.last:
            devices = parts[0].devices if parts else ()
            opening = self._frame(host, start, devices, servers, targets, energy, 0, named=named)
            opening = self._with_evidence(host, opening, hour)
            if host.first is None:
                host.first = start
                # A first frame sets marks only: what its servers count is of the hour after it.
                host.state = advance.advance(host.state, replace(opening, servers=()), host.policy).state
            else:
                host.elapsed += start - host.last
                gap = replace(opening, elapsed=host.elapsed)
                ticks.append(self._tick(host, gap, replace(host.policy, gap_after=0), sums))
        for part in parts:
            length = part.end - part.start
            frame = self._frame(host, part.end, part.devices, servers, targets, energy, length, named=named)
            frame = self._with_evidence(host, frame, hour)
            ticks.append(self._tick(host, frame, host.policy, sums))
        if not parts:
            frame = self._frame(host, start + HOUR, (), servers, targets, energy, HOUR, named=named)
            ticks.append(self._tick(host, frame, host.policy, sums))
        self._count(host, ticks, sums)
        end = parts[-1].end if parts else start + HOUR
        self._note(host, number, end, hour, sums)

    def _with_evidence(self, host: PastHost, frame: Frame, hour: host_hours.HostHour | None) -> Frame:
        """A frame with what its hour shows of the GPUs that it does not list."""
        if hour is None:
            return frame
        listed = {reading.gpu.uuid for reading in frame.gpus or ()}
        elsewhere = {
            uuid: [
                number for key, numbers in self._listed[uuid].items() if key != host.key for number in numbers
            ]
            for uuid in host.state.gpus.keys() - listed
            if uuid in self._listed
        }
        return replace(frame, evidence=host.slots.evidence(host.state.gpus, listed, hour, elsewhere))

    def _ran(self, host: PastHost, start: Instant) -> bool:
        """Whether a host may be assumed to have run since it was last seen: nothing was scraped at all."""
        return start - host.last <= GAP_CHARGED or self._active.isdisjoint(host.unseen_hours(start // HOUR))

    def _tick(self, host: PastHost, frame: Frame, policy: CostPolicy, sums: HistorySums) -> Postings:
        outcome = advance.advance(host.state, frame, policy)
        host.state, host.outcomes = outcome.state, outcome.gpus
        listed = {reading.gpu.uuid for reading in frame.gpus or ()}
        ticked = TickSums.of(outcome.postings)
        if frame.wall > self._recent_from:
            host.recent.add(ticked, ())
        for segment in ticked.segments:
            add_all(sums.held, segment.sums.held)
            of_month = self._month(host, segment.segment.month)
            of_month.sums.add(segment.sums)
            for posted in segment.segment.gpu_times:
                owner, time = posted.owner_phase.owner, posted.chargeable
                if posted.gpu.uuid not in listed:
                    host.slots.without_samples(posted.gpu, host.first or 0).time += time
                    continue  # no page shows tokens of a GPU that is gone
                read = self._read.get(ServerKey(owner.namespace, owner.server))
                if read is not None:
                    add(of_month.token_server_time, owner, time)
                    add(of_month.unread, owner, 0 if (frame.wall - 1) // HOUR in read else time)
            for money in segment.segment.money:
                if money.gpu.uuid not in listed:
                    host.slots.without_samples(money.gpu, host.first or 0).amount += money.amount
                    of_month.unlisted += money.amount
            if self._sink is not None:
                self._sink.add_segment(host, segment)
        return outcome.postings

    def _count(self, host: PastHost, ticks: Sequence[Postings], sums: HistorySums) -> None:
        """Add the tokens of an hour, and of a gap before it, to the hours and months of all its time."""
        segments = tuple(segment for tick in ticks for segment in tick.segments)
        counted = [(tick, tokens) for tick in ticks for tokens in tick.tokens if tokens.count]
        for tick, tokens in counted:
            key = tokens.owner, tokens.kind
            for at, day, part in token_times(tokens, replace(tick, segments=segments)):
                add(self._month(host, day[:7]).sums.tokens, key, part)
                add(sums.tokens, key, part)
                if self._sink is not None:
                    self._sink.add_tokens(host, at, (replace(tokens, count=part),))

    def _month(self, host: PastHost, month: str) -> MonthSums:
        return host.months.setdefault(month, MonthSums())

    def _note(
        self, host: PastHost, number: int, end: Instant, hour: host_hours.HostHour | None, sums: HistorySums
    ) -> None:
        month = month_of(number * HOUR, self._config.timezone).name
        if hour is not None:
            self._month(host, month).sampled += hour.sampled
            self._month(host, month).span += max(0, hour.end - max(hour.start, host.last))
            host.samples[round(hour.samples)] += 1
            for device in hour.parts[-1].devices:
                host.gpus[device.series.gpu] = hour.end
        for missed in host.unseen_hours(number if host.last else 0):
            name = month_of(missed * HOUR, self._config.timezone).name
            self._month(host, name).span += HOUR
        host.last = end
        host.usage.append((number, HistorySums(held=sums.held, tokens=sums.tokens)))

    def _frame(
        self,
        host: PastHost,
        wall: Instant,
        devices: tuple[host_hours.DeviceHour, ...],
        servers: tuple[ServerReading, ...],
        targets: Iterable[EngineTarget],
        energy: Mapping[str, float],
        length: Nanoseconds,
        *,
        named: bool,
    ) -> Frame:
        host.elapsed += length
        readings = tuple(gpu_readings(host.energy, devices, energy, length))
        holders = tuple(self._holders(host, devices, readings, servers, named=named))
        held_gpus = {holder.uuid for holder in holders}
        readings = tuple(rounded_up(each) if each.gpu.uuid in held_gpus else each for each in readings)
        owners = self._owners_of(devices, targets, (wall - min(length, 1)) // HOUR)
        return Frame(host.elapsed, wall, readings, servers, holders, owners=owners)

    def _owners_of(
        self, devices: Iterable[host_hours.DeviceHour], targets: Iterable[EngineTarget], number: int
    ) -> tuple[PodOwnership, ...]:
        """Owners of servers by the pods that are there: of several the one that holds most GPUs."""
        gpu_counts = Counter({target.pod_name: 0 for target in targets if target.pod})
        gpu_counts.update(pod for device in devices for pod in device.holders)
        owners: dict[ServerKey, PodOwnership] = {}
        for pod in sorted(gpu_counts, key=lambda each: (gpu_counts[each], each)):
            owned = self._owner(pod, number)
            if owned is not None:
                owners[owned.key] = owned
        return tuple(owner for _, owner in sorted(owners.items()))

    def _owner(self, pod: PodName, number: int) -> PodOwnership | None:
        if pod not in self._owners or pod in self._survey.kube.pod_times:
            owned = self._survey.kube.ownership(pod, self._config, number)
            self._owners[pod] = owned and owned._replace(key=self._server(pod))
        return self._owners[pod]

    def _servers(
        self,
        host: PastHost,
        unread: range,
        targets: Iterable[EngineTarget],
        chunk: Chunk,
        start: Instant,
        *,
        skipped: bool,
    ) -> tuple[ServerReading, ...]:
        readings = []
        for target in targets:
            hours = chunk.engines[target]
            names = hours.names(unread) if target in self._survey.later_engines else ()
            engine = self._survey.engine_of(target, names)
            key = self._survey.server(target)
            # Counters of one engine are no earlier values of another's.
            url = target.url if engine is self._survey.engines[target] else f"{target.url} {engine.name}"
            host.targets.add(target)
            if hours.sampled.isdisjoint(unread):
                readings.append(ServerReading(key, url, up=False, engine=engine.name, pod=target.pod))
                continue
            page = self._page(host, target, hours, unread, skipped=skipped)
            read = interpret(engine, page)
            # A target that is new here began at zero: its counters are what rose since, without a fall.
            started = host.counting_since.setdefault((target, engine.name), start)
            readings.append(
                ServerReading(
                    key,
                    url,
                    up=True,
                    engine=engine.name,
                    pod=target.pod,
                    identity=f"counting since {started}",
                    started=started,
                    absent_at=start,
                    counters=read.counters,
                    loads=read.loads,
                    models=read.models,
                    role=read.role,
                )
            )
        for gone in host.counters.keys() - set(targets):
            del host.counters[gone]
            host.counting_since = {key: at for key, at in host.counting_since.items() if key[0] != gone}
        return tuple(readings)

    @staticmethod
    def _page(
        host: PastHost, target: EngineTarget, hours: EngineHours, unread: range, *, skipped: bool
    ) -> Page:
        """A page of counters that began at zero when the target was first seen on this host.

        `unread` are the last hour and those before it in which the host was not seen. `skipped`: the time
        before that hour was not charged, and what rose in it does not count.
        """
        counters = host.counters.setdefault(target, {})
        samples: dict[str, list[Sample]] = {}

        def put(series: Series, value: float) -> None:
            samples.setdefault(series.name, []).append(Sample(series, value))

        for key, (series, rises) in hours.rises.items():
            at = unread[-1]
            risen = [rises[each] for each in unread if not isnan(rises[each])]
            if skipped and (key, at) in hours.inside:
                risen = [hours.inside[key, at]]
            if risen or key in counters:
                counters[key] = counters.get(key, 0.0) + sum(risen)
                put(series, counters[key])
        for series, means in hours.means.values():
            if not isnan(means[unread[-1]]):
                put(series, means[unread[-1]])
        return Page({name: tuple(each) for name, each in samples.items()}, frozenset(samples))

    def _holders(
        self,
        host: PastHost,
        devices: Iterable[host_hours.DeviceHour],
        readings: tuple[GpuReading, ...],
        servers: tuple[ServerReading, ...],
        *,
        named: bool,
    ) -> Iterator[Holder]:
        """Who holds GPUs. `named`: a GPU of the host names its pod in this hour, so that others have none."""
        labeled = self._survey.holders_on(host.key)
        configured: dict[str, list[Holder]] = {}
        for holder in configured_holders(self._configured(host), readings):
            configured.setdefault(holder.uuid, []).append(holder)
        loose = sorted({server.key for server in servers})
        for device in devices:
            uuid, instance = device.series.gpu.uuid, instance_name(device)
            if device.holders:
                yield from (Holder(self._server(pod), uuid, instance=instance) for pod in device.holders)
            elif uuid in configured:
                yield from configured[uuid]
            elif named or (labeled and device.memory is None):
                continue
            elif used(device, has_server=bool(loose)):
                if len(loose) > 1:
                    self.shared.add(host.key)
                key = loose[0] if len(loose) == 1 else UNATTRIBUTED
                yield Holder(key, uuid, instance=instance)

    def _configured(self, host: PastHost) -> list[ConfiguredServer]:
        """Configured servers that were seen on a host: they name their GPUs."""
        here = (self._survey.configured(target) for target in sorted(host.targets))
        return [server for server in here if server is not None]

    def _server(self, pod: PodName) -> ServerKey:
        if pod not in self._keys:
            self._keys[pod] = self._survey.server_of_pod(pod)
        return self._keys[pod]


def was_read_whole(month: str, zone: ZoneInfo, since: Instant, until: Instant, data_begin: Instant) -> bool:
    """Whether all of a month was asked for, and data begin in its first hour."""
    start, end = Period.named(month).bounds(zone)
    return since <= start and end <= until and data_begin <= start + HOUR


def scrape_seconds(host: PastHost) -> int | None:
    """Seconds between two samples of a host's GPUs."""
    if not host.samples:
        return None
    (samples, _hours), *_ = host.samples.most_common(1)
    return max(1, round(HOUR / NANOSECONDS_PER_SECOND / max(1, samples)))
