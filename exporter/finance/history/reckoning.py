"""Hours of hosts through the daemon's own cost code, and the sums of their months."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, cast
from zoneinfo import ZoneInfo

from exporter.config import Config
from exporter.config.settings import cost_policy
from exporter.cost import advance
from exporter.cost.money import add
from exporter.cost.policy import CardinalityLimits, CostPolicy
from exporter.cost.postings import OwnerPhase, Phase
from exporter.finance.facts import Fact, history_facts
from exporter.finance.history import host_hours
from exporter.finance.history.host_hours import HostHour, HourPart
from exporter.finance.history.hourly import Chunk
from exporter.finance.history.kube_state import NodeKey, PodName
from exporter.finance.history.past_frames import FleetReadings, PastFrames
from exporter.finance.history.past_host import PastHost
from exporter.finance.history.survey import EngineTarget, Survey
from exporter.finance.prometheus.hour_queries import HOUR
from exporter.ledger.history import HistorySums, TickSums
from exporter.ledger.token_times import token_times
from exporter.readings import Frame, HostLocation, ServerKey, TokenKind
from exporter.tariff.calendar import month_of
from exporter.tariff.period import Period
from exporter.units import Instant, Nanoseconds

GAP_CHARGED: Final[Nanoseconds] = HOUR
"""A gap of one host that is charged to its last holders, as the daemon charges its own: scrapes failed."""

LIMITS: Final = CardinalityLimits(models=1000, servers=1000)
"""Months of one host have more servers than a day."""

RECENT_HOURS: Final = 26
"""Hours that the projection needs: the last 24, and room for their edges."""


class HourFact(NamedTuple):
    """A fact of one hour of a host."""

    hour: int
    """The hour, since 1970."""
    fact: Fact


FactSink = Callable[[PastHost, Iterable[HourFact]], None]
"""Takes the facts of a host, hour by hour."""


HostHours = Mapping[NodeKey, Mapping[int, HostHour]]
"""Hours of hosts by their number since 1970."""


class Reckoning:
    """All hosts, chunk by chunk. Memory grows with hosts and months, not with days."""

    def __init__(self, config: Config, survey: Survey, until: Instant, sink: FactSink | None = None) -> None:
        self.config = config
        self.survey = survey
        self._recent_from = until - RECENT_HOURS * HOUR
        self._sink = sink
        self._frames = PastFrames(config, survey)
        self._homes: dict[EngineTarget, NodeKey] = {}
        self._active: set[int] = set()
        """Hours since 1970 in which anything was scraped."""
        self.hosts: dict[NodeKey, PastHost] = {}
        self.homeless: set[EngineTarget] = set()
        """Pages of no known host."""
        self.doubled: set[PodName] = set()
        """Pods that held GPUs of two hosts at once: two pods of clusters that no label names."""
        self.namesakes: set[NodeKey] = set()
        """Names that hosts of two clusters have at once, where no label names the cluster."""
        self.merged: set[NodeKey] = set()
        """Names of hosts whose GPUs were read under another name at once."""
        self.downsampled: Counter[Nanoseconds] = Counter()
        """Hours by the time between the samples that Thanos made for them."""

    @property
    def shared(self) -> set[NodeKey]:
        """Hosts of several servers, where nothing says which of them held a GPU."""
        return self._frames.shared

    def add(self, chunk: Chunk) -> None:
        """Charge the hours of a chunk."""
        if chunk.resolution:
            self.downsampled[chunk.resolution] += len(chunk.numbers)
        self._name_hosts(chunk)
        hours: dict[NodeKey, dict[int, HostHour]] = {}
        for key, devices in host_hours.by_host(chunk, self.survey.known_as).items():
            host = self._host(key)
            if host_hours.has_namesake(devices):
                self.namesakes.add(key)
            series = host_hours.HostSeries(devices, host.before)
            hours[key] = {hour.number: hour for hour in series.hours(chunk)}
            host.before = series.before
        self._active.update(chunk.alive, *hours.values())
        targets = self._targets(hours, chunk)
        fleet = self._fleet_readings(hours, chunk)
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
        """Give a host one name where exporters differ: an earlier one, a node's, one with a cluster."""
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

    def _fleet_readings(self, hours: HostHours, chunk: Chunk) -> FleetReadings:
        listed: dict[str, dict[NodeKey, set[int]]] = {}
        for key, of_host in hours.items():
            for hour in of_host.values():
                for uuid in hour.counts:
                    listed.setdefault(uuid, {}).setdefault(key, set()).add(hour.number)
        read: dict[ServerKey, set[int]] = {
            self.survey.server(target): set()
            for target, engine in self.survey.engines.items()
            if engine.tokens
        }
        for target, page in chunk.engines.items():
            of_server = read.get(self.survey.server(target))
            if of_server is not None:
                of_server.update(chunk.number(at) for at in range(chunk.hours) if page.there(at))
        boots = {self.survey.known_as(key): times for key, times in chunk.boots.items()}
        return FleetReadings(chunk, boots, listed, read)

    def _targets(self, hours: HostHours, chunk: Chunk) -> dict[NodeKey, dict[int, list[EngineTarget]]]:
        """The targets of each host by the hour: where their pod holds GPUs, else by their own labels.

        A pod of a StatefulSet moves and keeps its name. A page that comes under two clusters at once is one.
        """
        holders: dict[PodName, dict[int, NodeKey]] = {}
        together: defaultdict[PodName, set[int]] = defaultdict(set)
        for key, of_host in hours.items():
            for hour in of_host.values():
                for pod in (pod for device in hour.parts[-1].devices for pod in device.holders):
                    if holders.setdefault(pod, {}).setdefault(hour.number, key) != key:
                        together[pod].add(hour.number)
        # A pod that moves is on both in one hour.
        self.doubled.update(pod for pod, numbers in together.items() if len(numbers) > 1)
        targets: dict[NodeKey, dict[int, list[EngineTarget]]] = {}
        for target in sorted(chunk.engines, reverse=True):  # without a cluster last
            page = chunk.engines[target]
            nameless = target._replace(cluster="")
            of_pod = holders.get(target.pod_name, {}) if target.pod else {}
            labeled = self.survey.host_of(target, page.labels, hours.keys())
            known = self._homes.get(target) or (of_pod[min(of_pod)] if of_pod else labeled)
            if not of_pod and labeled in self.survey.hosts:  # its address may be given again
                known = labeled
            if known is None:
                self.homeless.add(target)
            home = NodeKey(target.cluster, "") if known is None else self.survey.known_as(known)
            for number in chunk.numbers:
                home = of_pod.get(number, home)
                if page.there(chunk.column(number)):
                    here = targets.setdefault(home, {}).setdefault(number, [])
                    same = [other for other in here if other._replace(cluster="") == nameless]
                    if not any(len(chunk.engines[other].sampled & page.sampled) > 1 for other in same):
                        here.append(target)
            if known is not None:
                self._homes[target] = home
        return targets

    def _charge(
        self, host: PastHost, hour: HostHour, targets: Sequence[EngineTarget], fleet: FleetReadings
    ) -> None:
        """Charge an hour, and the time before it in which the host may be assumed to have run."""
        start = hour.start
        unseen = host.unseen_hours(hour.number)
        skipped = start - host.last > GAP_CHARGED and not self._active.isdisjoint(unseen)
        column = fleet.chunk.column(hour.number)
        unread = range(column if skipped else max(1, column - len(unseen)), column + 1)
        readings = self._frames.hour(host, hour, targets, fleet, unread=unread, skipped=skipped)
        host.slots.add(hour, fleet.boots.get(host.key, {}).get(hour.number, 0.0))
        before = HourPart(start, start, hour.parts[0].devices)
        ticks: list[TickSums] = []
        if skipped:
            host.uncharged += start - host.last
        elif host.first is None:
            # A first frame sets marks only: what its servers count is of the hour after it.
            opening = replace(self._frames.frame(host, readings, before), servers=())
            host.first = start
            host.cost_state = advance.advance(host.cost_state, opening, host.policy).state
        elif start > host.last:
            host.elapsed += start - host.last
            gap = self._frames.frame(host, readings, before)
            ticks.append(self._tick(host, gap, replace(host.policy, gap_after=0), fleet))
        for part in hour.parts:
            host.elapsed += part.end - part.start
            frame = self._frames.frame(host, readings, part)
            ticks.append(self._tick(host, frame, host.policy, fleet))
        facts = _hour_facts(ticks, fleet.chunk.first)
        self._count(host, hour, facts)
        for number in unseen:
            host.add(self._month(number), Fact("host time", HOUR))
        host.last = hour.end
        if self._sink is not None:
            self._sink(host, facts)

    def _tick(self, host: PastHost, frame: Frame, policy: CostPolicy, fleet: FleetReadings) -> TickSums:
        """Charge a frame to a host and its months."""
        outcome = advance.advance(host.cost_state, frame, policy)
        host.cost_state, host.outcomes = outcome.state, outcome.gpus
        listed = {reading.gpu.uuid for reading in frame.gpus or ()}
        ticked = TickSums.of(outcome.postings)
        if frame.wall > self._recent_from:
            host.recent.add(ticked, ())
        for segment, _sums in ticked.segments:
            host.add(segment.month, Fact("host time", 0))  # a host without GPUs has a month as well
            for gpu_time in segment.gpu_times:
                owner, time = gpu_time.owner_phase.owner, gpu_time.chargeable
                if gpu_time.gpu.uuid not in listed:
                    host.slots.without_samples(gpu_time.gpu, host.first or 0).time += time
                    continue  # no page shows tokens of a GPU that is gone
                read = fleet.read.get(owner.key)
                if read is not None:
                    unread = 0 if (frame.wall - 1) // HOUR in read else time
                    host.add(segment.month, Fact("GPU time of token servers", time, None, *owner))
                    host.add(segment.month, Fact("unread time", unread, None, *owner))
            for money in segment.money:
                if money.gpu.uuid not in listed:
                    host.slots.without_samples(money.gpu, host.first or 0).amount += money.amount
        return ticked

    def _count(self, host: PastHost, hour: HostHour, facts: Iterable[HourFact]) -> None:
        """Add facts to the months of a host, and what savings are judged by."""
        usage = HistorySums()
        for _hour, fact in facts:
            host.add((fact.day or "")[:7], fact)
            if fact.measure == "GPU time":
                add(usage.held, OwnerPhase(fact.owner, cast("Phase", fact.phase)), fact.value)
            elif fact.measure == "tokens":
                add(usage.tokens, (fact.owner, cast("TokenKind", fact.kind)), fact.value)
        host.usage.append((hour.number, usage))
        if hour.counts:
            month = self._month(hour.number)
            host.add(month, Fact("sampled time", hour.sampled))
            host.add(month, Fact("host time", max(0, hour.end - max(hour.start, host.last))))
            host.samples[round(hour.samples)] += 1
            host.gpus.update(device.series.gpu for device in hour.parts[-1].devices)

    def _month(self, number: int) -> str:
        return month_of(number * HOUR, self.config.timezone).name


def _hour_facts(ticks: Sequence[TickSums], first: int) -> list[HourFact]:
    """Facts of an hour and of a gap before it; what is before the `first` hour is of that one.

    Tokens are by all time of both.
    """
    segments = tuple(part.segment for tick in ticks for part in tick.segments)
    facts = []
    for tick in ticks:
        for segment, sums in tick.segments:
            hour = max(first, segment.start // HOUR)
            facts += [HourFact(hour, fact) for fact in history_facts(sums, segment.day)]
    for tick in ticks:
        postings = replace(tick.postings, segments=segments)
        for posting, _times in tick.tokens:
            for at, day, count in token_times(posting, postings):
                fact = Fact("tokens", count, day, *posting.owner, kind=posting.kind)
                facts.append(HourFact(max(first, at // HOUR), fact))
    return facts


def was_read_whole(month: str, zone: ZoneInfo, since: Instant, until: Instant, data_begin: Instant) -> bool:
    """Whether all of a month was asked for, and data begin in its first hour."""
    start, end = Period.named(month).bounds(zone)
    return since <= start and end <= until and data_begin <= start + HOUR
