"""Hours of hosts through the daemon's own cost code, and the sums of their months."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isnan
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from exporter.config import Config
from exporter.config.settings import cost_policy
from exporter.cost import advance
from exporter.cost.advance import GpuOutcome
from exporter.cost.money import add, add_all
from exporter.cost.policy import CardinalityLimits, CostPolicy
from exporter.cost.postings import CostOwner
from exporter.cost.state import State
from exporter.engines.exposition import Page, Sample
from exporter.engines.interpretation import interpret
from exporter.finance.facts import Fact, history_facts
from exporter.finance.history import host_hours
from exporter.finance.history.gpu_readings import energies, gpu_readings, instance_name, rounded_up, used
from exporter.finance.history.host_hours import DeviceHour, HostHour, HourPart
from exporter.finance.history.hourly import Chunk, EngineHours
from exporter.finance.history.kube_state import NodeKey, PodName
from exporter.finance.history.past_slots import PastSlots
from exporter.finance.history.survey import EngineTarget, Survey
from exporter.finance.prometheus.hour_queries import HOUR
from exporter.ledger.history import HistorySums, TickSums
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
    TokenKind,
)
from exporter.sources.configured import holders as configured_holders
from exporter.tariff.calendar import month_of
from exporter.tariff.period import Period
from exporter.units import (
    NANOSECONDS_PER_SECOND,
    Instant,
    Nanoseconds,
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


class HourFact(NamedTuple):
    """A fact of one hour of a host."""

    hour: int
    """The hour, since 1970."""
    fact: Fact


FactSink = Callable[["PastHost", Iterator[HourFact]], None]
"""Takes the facts of a host, hour by hour."""


class TokenFact(NamedTuple):
    """Tokens of an owner in one hour."""

    at: Instant
    """A moment of the hour."""
    day: str
    """The local day of that moment, like 2026-10-31."""
    owner: CostOwner
    kind: TokenKind
    tokens: int


@dataclass(slots=True)
class MonthSums:
    """One month of one host."""

    sums: HistorySums = field(default_factory=HistorySums)
    token_server_time: dict[CostOwner, Nanoseconds] = field(default_factory=dict)
    """GPU time of servers whose pages count tokens."""
    unread: dict[CostOwner, Nanoseconds] = field(default_factory=dict)
    """GPU time of servers whose pages count tokens, while none of their pages was scraped."""
    span: Nanoseconds = 0
    """Time of the host."""
    sampled: Nanoseconds = 0
    """Time of the host that has samples."""

    def facts(self) -> Iterator[Fact]:
        """All of it as facts."""
        yield from history_facts(self.sums)
        for owner, time in self.token_server_time.items():
            yield Fact("GPU time of token servers", time, None, *owner)
        for owner, time in self.unread.items():
            yield Fact("unread time", time, None, *owner)
        yield Fact("host time", self.span)
        yield Fact("sampled time", self.sampled)
        served = {owner.key for (owner, _phase), time in self.sums.held.items() if time}
        for (owner, kind), count in self.sums.tokens.items():
            if owner.key not in served:
                yield Fact("unmet tokens", count, None, *owner, kind=kind)
            if not served:
                yield Fact("unmet tokens of hosts", count, None, *owner, kind=kind)


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
    """GPU time and tokens of the last hours, by hour since 1970."""
    gpus: dict[Gpu, Instant] = field(default_factory=dict)
    """When each GPU was last listed."""
    slots: PastSlots = field(default_factory=PastSlots)
    outcomes: tuple[GpuOutcome, ...] = ()
    """Charges of its GPUs at the end."""
    energy: dict[str, int] = field(default_factory=dict)
    """Millijoules by GPU since it was first seen."""
    counters: dict[EngineTarget, dict[str, float]] = field(default_factory=dict)
    """Counters of each page, by series, since the page was first seen here."""
    counting_since: dict[tuple[EngineTarget, str], Instant] = field(default_factory=dict)
    """When a page of an engine was first seen here."""
    before: Mapping[host_hours.DeviceKey, tuple[PodName, ...]] = field(default_factory=dict)
    """Holders of GPUs at the end of the chunk before."""
    recent: Totals = field(default_factory=Totals)
    """Of the last `RECENT_HOURS` before the end."""

    def unseen_hours(self, before: int) -> range:
        """Whole hours since it was last seen, up to an hour since 1970; none before it was ever seen."""
        return range(-(-self.last // HOUR), before) if self.last else range(0)

    def month(self, name: str) -> MonthSums:
        """The sums of a month."""
        return self.months.setdefault(name, MonthSums())


@dataclass(frozen=True, slots=True)
class _FleetReadings:
    """What a chunk says of all hosts together, by hours since 1970."""

    chunk: Chunk
    boots: Mapping[NodeKey, Mapping[int, float]]
    """The latest boot of each host, in seconds since 1970."""
    listed: Mapping[str, Mapping[NodeKey, Collection[int]]]
    """The hours in which each host lists a GPU, by its UUID."""
    read: Mapping[ServerKey, Collection[int]]
    """The hours in which pages of a server were scraped, for servers whose pages count tokens."""


@dataclass(frozen=True, slots=True)
class _HourReadings:
    """An hour of one host, and what all parts of it have in common."""

    hour: HostHour
    targets: Sequence[EngineTarget]
    """Pages of inference servers that were there."""
    servers: tuple[ServerReading, ...]
    joules: Mapping[str, float]
    """Energy by GPU, per nanosecond in which the GPU was there."""
    fleet: _FleetReadings


class Reckoning:
    """All hosts, chunk by chunk. Memory grows with hosts and months, not with days."""

    def __init__(self, config: Config, survey: Survey, until: Instant, sink: FactSink | None = None) -> None:
        self.config = config
        self._recent_from = until - RECENT_HOURS * HOUR
        self.survey = survey
        self._sink = sink
        self._owners: dict[PodName, PodOwnership | None] = {}
        self._homes: dict[EngineTarget, NodeKey] = {}
        self._keys: dict[PodName, ServerKey] = {}
        self._active: set[int] = set()
        """Hours since 1970 in which anything was scraped."""
        self._counting = {survey.server(target) for target, engine in survey.engines.items() if engine.tokens}
        """Servers whose pages count tokens."""
        self.hosts: dict[NodeKey, PastHost] = {}
        self.homeless: set[EngineTarget] = set()
        """Pages of no known host."""
        self.shared: set[NodeKey] = set()
        """Hosts of several servers, where nothing says which of them held a GPU."""
        self.doubled: set[PodName] = set()
        """Pods that held GPUs of two hosts at once: those of clusters that no label names."""
        self.namesakes: set[NodeKey] = set()
        """Names that two hosts have at once, of clusters likewise."""
        self.merged: set[NodeKey] = set()
        """Names of hosts whose GPUs were read under another name at once."""
        self.downsampled: Counter[Nanoseconds] = Counter()
        """Hours by the time between the samples that Thanos made for them."""

    def add(self, chunk: Chunk) -> None:
        """Charge the hours of a chunk."""
        if chunk.resolution:
            self.downsampled[chunk.resolution] += len(chunk.numbers)
        self._name_hosts(chunk)
        hours: dict[NodeKey, dict[int, HostHour]] = {}
        listed: dict[str, dict[NodeKey, set[int]]] = {}
        for key, devices in host_hours.by_host(chunk, self.survey.known_as).items():
            host = self._host(key)
            if host_hours.has_namesake(devices):
                self.namesakes.add(key)
            series = host_hours.HostSeries(devices, host.before)
            hours[key] = {hour.number: hour for hour in series.hours(chunk)}
            host.before = series.before
            self._active.update(hours[key])
            for hour in hours[key].values():
                for uuid in hour.counts:
                    listed.setdefault(uuid, {}).setdefault(key, set()).add(hour.number)
        self._active |= chunk.alive
        targets = self._targets(hours, chunk)
        read: dict[ServerKey, set[int]] = {server: set() for server in self._counting}
        for target, engine in chunk.engines.items():
            of_server = read.get(self.survey.server(target))
            if of_server is not None:
                of_server.update(chunk.number(at) for at in range(chunk.hours) if engine.there(at))
        boots = {self.survey.known_as(key): times for key, times in chunk.boots.items()}
        fleet = _FleetReadings(chunk, boots, listed, read)
        for key in sorted({*hours, *targets}):
            host = self._host(key)
            for number in chunk.numbers:
                here = sorted(targets.get(key, {}).get(number, ()))
                of_gpus = hours.get(key, {}).get(number)
                # A host with GPUs is charged in the hours that have them; one without has tokens alone.
                if of_gpus is None and (not here or key in self.survey.hosts):
                    continue
                if key in self.survey.kube.node_times:  # a node may have the name of one that went
                    location = self.survey.kube.location(key, self.config, number)
                    if location != host.location:
                        host.location, host.policy = location, self._policy(key, location)
                self._charge(host, of_gpus or HostHour.without_gpus(number), here, fleet)

    def _name_hosts(self, chunk: Chunk) -> None:
        """Give a host one name where exporters differ: of before, a node's, with a cluster, most samples."""
        for samples in host_hours.twice_named(chunk):
            names = {self.survey.known_as(name): count for name, count in samples.items()}
            best, *others = sorted(
                names,
                key=lambda name: (
                    name not in self.hosts,
                    name not in self.survey.kube.node_labels,
                    not name.cluster,
                    -names[name],
                    name,
                ),
            )
            for other in others:
                self.survey.rename(other, best)
                self.merged.add(other)

    def _host(self, key: NodeKey) -> PastHost:
        host = self.hosts.get(key)
        if host is None:
            location = self.survey.kube.location(key, self.config)
            host = self.hosts[key] = PastHost(key, location, self._policy(key, location))
        return host

    def _policy(self, key: NodeKey, location: HostLocation) -> CostPolicy:
        policy = cost_policy(self.config, key.host, location)
        return replace(policy, interval=HOUR, gap_after=HOUR, limits=LIMITS)

    def _targets(
        self, hours: Mapping[NodeKey, Mapping[int, HostHour]], chunk: Chunk
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
        targets: dict[NodeKey, dict[int, list[EngineTarget]]] = {}
        pages: dict[tuple[NodeKey, int, EngineTarget], EngineTarget] = {}
        for target in sorted(chunk.engines, reverse=True):  # without a cluster last
            engine = chunk.engines[target]
            of_pod = holders.get(target.pod_name, {}) if target.pod else {}
            labeled = self.survey.host_of(target, engine.labels, hours.keys())
            known = self._homes.get(target) or (of_pod[min(of_pod)] if of_pod else labeled)
            if not of_pod and labeled in self.survey.hosts:  # its address may be given again
                known = labeled
            if known is None:
                self.homeless.add(target)
            home = NodeKey(target.cluster, "") if known is None else self.survey.known_as(known)
            for number in chunk.numbers:
                home = of_pod.get(number, home)
                if not engine.there(chunk.column(number)):
                    continue
                first = pages.setdefault((home, number, target._replace(cluster="")), target)
                if first is target or len(chunk.engines[first].sampled & engine.sampled) <= 1:
                    targets.setdefault(home, {}).setdefault(number, []).append(target)
            if known is not None:
                self._homes[target] = home
        return targets

    def _charge(
        self, host: PastHost, hour: HostHour, targets: Sequence[EngineTarget], fleet: _FleetReadings
    ) -> None:
        """Charge an hour, and the time before it in which the host may be assumed to have run."""
        start = hour.start
        unseen = host.unseen_hours(hour.number)
        skipped = start - host.last > GAP_CHARGED and not self._active.isdisjoint(unseen)
        at = fleet.chunk.column(hour.number)
        unread = range(at if skipped else max(1, at - len(unseen)), at + 1)
        engines = {target: fleet.chunk.engines[target] for target in targets}
        servers = self._servers(host, engines, unread, start, skipped=skipped)
        readings = _HourReadings(hour, targets, servers, energies(hour, skipped=skipped), fleet)
        host.slots.add(hour, fleet.boots.get(host.key, {}).get(hour.number, 0.0))
        before = HourPart(start, start, hour.parts[0].devices)
        ticks: list[TickSums] = []
        if skipped:
            host.uncharged += start - host.last
        elif host.first is None:
            # A first frame sets marks only: what its servers count is of the hour after it.
            opening = replace(self._frame(host, readings, before), servers=())
            host.first = start
            host.state = advance.advance(host.state, opening, host.policy).state
        elif start > host.last:
            host.elapsed += start - host.last
            gap = self._frame(host, readings, before)
            ticks.append(self._tick(host, gap, replace(host.policy, gap_after=0), fleet))
        for part in hour.parts:
            host.elapsed += part.end - part.start
            ticks.append(self._tick(host, self._frame(host, readings, part), host.policy, fleet))
        tokens = self._count(host, hour, unseen, ticks)
        if self._sink is not None:
            self._sink(host, _hour_facts(ticks, tokens, fleet.chunk.first))

    def _frame(self, host: PastHost, readings: _HourReadings, part: HourPart) -> Frame:
        """What the daemon would have read at the end of a part of an hour."""
        devices, length = part.devices, part.end - part.start
        gpus = tuple(gpu_readings(host.energy, devices, readings.joules, length))
        holders = tuple(self._holders(host, readings, devices, gpus))
        held_gpus = {holder.uuid for holder in holders}
        gpus = tuple(rounded_up(gpu) if gpu.gpu.uuid in held_gpus else gpu for gpu in gpus)

        # Owners of servers are those of the pods that are there: of several the one that holds most GPUs.
        number = (part.end - min(length, 1)) // HOUR
        gpu_counts = Counter({target.pod_name: 0 for target in readings.targets if target.pod})
        gpu_counts.update(pod for device in devices for pod in device.holders)
        owners: dict[ServerKey, PodOwnership] = {}
        for pod in sorted(gpu_counts, key=lambda pod: (gpu_counts[pod], pod)):
            if pod not in self._owners or pod in self.survey.kube.pod_times:
                ownership = self.survey.kube.ownership(pod, self.config, number)
                self._owners[pod] = ownership and ownership._replace(key=self._server(pod))
            owner = self._owners[pod]
            if owner is not None:
                owners[owner.key] = owner

        listed = {gpu.gpu.uuid for gpu in gpus}
        elsewhere: dict[str, set[int]] = {}
        for uuid in host.state.gpus.keys() - listed:
            for key, numbers in readings.fleet.listed.get(uuid, {}).items():
                if key != host.key:
                    elsewhere.setdefault(uuid, set()).update(numbers)
        return Frame(
            host.elapsed,
            part.end,
            gpus,
            readings.servers,
            holders,
            owners=tuple(owner for _, owner in sorted(owners.items())),
            evidence=host.slots.evidence(host.state.gpus, listed, readings.hour, elsewhere),
        )

    def _tick(self, host: PastHost, frame: Frame, policy: CostPolicy, fleet: _FleetReadings) -> TickSums:
        """Charge a frame to a host and its months."""
        outcome = advance.advance(host.state, frame, policy)
        host.state, host.outcomes = outcome.state, outcome.gpus
        listed = {reading.gpu.uuid for reading in frame.gpus or ()}
        ticked = TickSums.of(outcome.postings)
        if frame.wall > self._recent_from:
            host.recent.add(ticked, ())
        for posted in ticked.segments:
            month = host.month(posted.segment.month)
            month.sums.add(posted.sums)
            for gpu_time in posted.segment.gpu_times:
                owner, time = gpu_time.owner_phase.owner, gpu_time.chargeable
                if gpu_time.gpu.uuid not in listed:
                    host.slots.without_samples(gpu_time.gpu, host.first or 0).time += time
                    continue  # no page shows tokens of a GPU that is gone
                read = fleet.read.get(ServerKey(owner.namespace, owner.server))
                if read is not None:
                    add(month.token_server_time, owner, time)
                    add(month.unread, owner, 0 if (frame.wall - 1) // HOUR in read else time)
            for money in posted.segment.money:
                if money.gpu.uuid not in listed:
                    host.slots.without_samples(money.gpu, host.first or 0).amount += money.amount
        return ticked

    def _count(
        self, host: PastHost, hour: HostHour, unseen: range, ticks: Sequence[TickSums]
    ) -> list[TokenFact]:
        """Add the tokens of an hour and of a gap before it to all its time, and its samples to its month."""
        posted = [segment for tick in ticks for segment in tick.segments]
        segments = tuple(part.segment for part in posted)
        sums = HistorySums()
        for part in posted:
            add_all(sums.held, part.sums.held)
        counted: list[TokenFact] = []
        for tick in ticks:
            postings = replace(tick.postings, segments=segments)
            for tokens, _times in tick.tokens:
                key = tokens.owner, tokens.kind
                for at, day, count in token_times(tokens, postings):
                    add(host.month(day[:7]).sums.tokens, key, count)
                    add(sums.tokens, key, count)
                    counted.append(TokenFact(at, day, tokens.owner, tokens.kind, count))
        host.usage.append((hour.number, sums))
        if hour.counts:
            month = host.month(month_of(hour.number * HOUR, self.config.timezone).name)
            month.sampled += hour.sampled
            month.span += max(0, hour.end - max(hour.start, host.last))
            host.samples[round(hour.samples)] += 1
            for device in hour.parts[-1].devices:
                host.gpus[device.series.gpu] = hour.end
        for number in unseen:
            host.month(month_of(number * HOUR, self.config.timezone).name).span += HOUR
        host.last = hour.end
        return counted

    def _servers(
        self,
        host: PastHost,
        engines: Mapping[EngineTarget, EngineHours],
        unread: range,
        start: Instant,
        *,
        skipped: bool,
    ) -> tuple[ServerReading, ...]:
        """Readings of the pages of a host. `unread` are the columns of an hour and of those before it."""
        readings = []
        for target, hours in engines.items():
            names = hours.names(unread) if target in self.survey.later_engines else ()
            engine = self.survey.engine_of(target, names)
            # Counters of one engine are no earlier values of another's.
            url = target.url if engine is self.survey.engines[target] else f"{target.url} {engine.name}"
            reading = ServerReading(
                self.survey.server(target), url, up=False, engine=engine.name, pod=target.pod
            )
            host.targets.add(target)
            if not hours.sampled.isdisjoint(unread):
                read = interpret(engine, self._page(host, target, hours, unread, skipped=skipped))
                # A target that is new here began at zero: its counters are what rose since, without a fall.
                started = host.counting_since.setdefault((target, engine.name), start)
                reading = replace(
                    reading,
                    up=True,
                    identity=f"counting since {started}",
                    started=started,
                    absent_at=start,
                    counters=read.counters,
                    loads=read.loads,
                    models=read.models,
                    role=read.role,
                )
            readings.append(reading)
        for gone in host.counters.keys() - engines.keys():
            del host.counters[gone]
            host.counting_since = {key: at for key, at in host.counting_since.items() if key[0] != gone}
        return tuple(readings)

    @staticmethod
    def _page(
        host: PastHost, target: EngineTarget, hours: EngineHours, unread: range, *, skipped: bool
    ) -> Page:
        """A page of counters that began at zero when the target was first seen on this host.

        `unread` are the columns of the last hour and of those before it in which the host was not seen.
        `skipped`: the time before that hour was not charged, and what rose in it does not count.
        """
        counters = host.counters.setdefault(target, {})
        samples: dict[str, list[Sample]] = {}
        last = unread[-1]
        for key, (series, rises) in hours.rises.items():
            risen = [rises[at] for at in unread if not isnan(rises[at])]
            if skipped and (key, last) in hours.inside:
                risen = [hours.inside[key, last]]
            if risen or key in counters:
                counters[key] = counters.get(key, 0.0) + sum(risen)
                samples.setdefault(series.name, []).append(Sample(series, counters[key]))
        for series, means in hours.means.values():
            if not isnan(means[last]):
                samples.setdefault(series.name, []).append(Sample(series, means[last]))
        return Page({name: tuple(of_name) for name, of_name in samples.items()}, frozenset(samples))

    def _holders(
        self,
        host: PastHost,
        readings: _HourReadings,
        devices: Iterable[DeviceHour],
        gpus: tuple[GpuReading, ...],
    ) -> Iterator[Holder]:
        """Who holds GPUs: their pods, else configured servers, else the one server that is on the host."""
        configured: dict[str, list[Holder]] = {}
        servers = [self.survey.configured(target) for target in sorted(host.targets)]
        for holder in configured_holders([server for server in servers if server is not None], gpus):
            configured.setdefault(holder.uuid, []).append(holder)
        loose = sorted({server.key for server in readings.servers})
        for device in devices:
            uuid, instance = device.series.gpu.uuid, instance_name(device)
            if device.holders:
                yield from (Holder(self._server(pod), uuid, instance=instance) for pod in device.holders)
            elif uuid in configured:
                yield from configured[uuid]
            elif readings.hour.names_pods or (device.memory is None and host.key in self.survey.labeled):
                continue  # a GPU without a pod has none, where others name theirs
            elif used(device, has_server=bool(loose)):
                if len(loose) > 1:
                    self.shared.add(host.key)
                key = loose[0] if len(loose) == 1 else UNATTRIBUTED
                yield Holder(key, uuid, instance=instance)

    def _server(self, pod: PodName) -> ServerKey:
        if pod not in self._keys:
            self._keys[pod] = self.survey.server_of_pod(pod)
        return self._keys[pod]


def _hour_facts(ticks: Iterable[TickSums], tokens: Iterable[TokenFact], first: int) -> Iterator[HourFact]:
    """Facts of ticks and tokens by the hour; what is before the `first` hour is of that one."""
    for tick in ticks:
        for segment, sums in tick.segments:
            for fact in history_facts(sums, segment.day):
                yield HourFact(max(first, segment.start // HOUR), fact)
    for at, day, owner, kind, count in tokens:
        yield HourFact(max(first, at // HOUR), Fact("tokens", count, day, *owner, kind=kind))


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
