"""Frames of the past: what the daemon would have read at the end of each part of an hour. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from typing import Final

from exporter.config import Config
from exporter.engines.exposition import Page, Sample
from exporter.engines.interpretation import interpret
from exporter.finance.history.exporter_series import WATTS_MAX
from exporter.finance.history.host_hours import DeviceHour, HostHour, HourPart
from exporter.finance.history.hourly import Chunk, EngineHours
from exporter.finance.history.kube_state import NodeKey, PodName
from exporter.finance.history.past_host import PastHost, PastPage
from exporter.finance.history.survey import EngineTarget, GpuSeries, Survey
from exporter.finance.prometheus.hour_queries import HOUR
from exporter.readings import Frame, GpuReading, Holder, MigInstance, PodOwnership, ServerKey, ServerReading
from exporter.sources.configured import holders as configured_holders
from exporter.units import BYTES_PER_GIBIBYTE, MILLIJOULES_PER_JOULE, NANOSECONDS_PER_SECOND, Nanoseconds

UNATTRIBUTED: Final = ServerKey("", "unattributed")
"""The holder of a GPU that some process uses, where nothing says which server's."""

HELD_BYTES: Final = BYTES_PER_GIBIBYTE
"""Memory in use from which a process computes on a GPU: the driver alone uses less."""

SMALLEST_RATIO: Final = 1e-6
"""A utilization of 0 over an hour is a small one that was rounded: the daemon would not believe it where
tokens moved, and take the whole hour for busy."""


@dataclass(frozen=True, slots=True)
class FleetReadings:
    """What a chunk has of all hosts together."""

    chunk: Chunk
    boots: Mapping[NodeKey, Mapping[int, float]]
    """The latest boot of each host, in seconds since 1970, by hour since 1970."""
    listed: Mapping[str, Mapping[NodeKey, Collection[int]]]
    """Hours since 1970 in which each host lists a GPU, by the GPU's UUID."""
    read: Mapping[ServerKey, Collection[int]]
    """Hours since 1970 in which pages of a server were scraped, for servers whose pages count tokens."""


@dataclass(frozen=True, slots=True)
class HourReadings:
    """Readings that all parts of an hour of a host have in common."""

    fleet: FleetReadings
    hour: HostHour
    targets: Sequence[EngineTarget]
    """Pages of inference servers that were there."""
    servers: tuple[ServerReading, ...]
    joules: Mapping[str, float]
    """Energy by GPU, per nanosecond in which the GPU was there."""


class PastFrames:
    """Makes frames of hours."""

    def __init__(self, config: Config, survey: Survey) -> None:
        self._config = config
        self._survey = survey
        self._owners: dict[PodName, PodOwnership | None] = {}
        self._keys: dict[PodName, ServerKey] = {}
        self.shared: set[NodeKey] = set()
        """Hosts of several servers, where nothing says which of them held a GPU."""

    def frame(self, host: PastHost, readings: HourReadings, part: HourPart) -> Frame:
        """A frame at the end of a part of an hour."""
        devices, length = part.devices, part.end - part.start
        gpus = tuple(_gpu_readings(host, devices, readings.joules, length))
        holders = tuple(self._holders(host, readings, devices, gpus))
        held_gpus = {holder.uuid for holder in holders}

        # Owners of servers are those of the pods that are there: of several the one that holds most GPUs.
        number = (part.end - min(length, 1)) // HOUR
        gpu_counts = Counter({target.pod_name: 0 for target in readings.targets if target.pod})
        gpu_counts.update(pod for device in devices for pod in device.holders)
        owners: dict[ServerKey, PodOwnership] = {}
        for pod in sorted(gpu_counts, key=lambda pod: (gpu_counts[pod], pod)):
            if pod not in self._owners or pod in self._survey.kube.pod_times:
                ownership = self._survey.kube.ownership(pod, self._config, number)
                self._owners[pod] = ownership and ownership._replace(key=self._server(pod))
            owner = self._owners[pod]
            if owner is not None:
                owners[owner.key] = owner

        listed = {gpu.gpu.uuid for gpu in gpus}
        elsewhere: dict[str, set[int]] = {}
        for uuid in host.cost_state.gpus.keys() - listed:
            for key, numbers in readings.fleet.listed.get(uuid, {}).items():
                if key != host.key:
                    elsewhere.setdefault(uuid, set()).update(numbers)
        return Frame(
            elapsed=host.elapsed,
            wall=part.end,
            gpus=tuple(_rounded_up(gpu) if gpu.gpu.uuid in held_gpus else gpu for gpu in gpus),
            servers=readings.servers,
            holders=holders,
            owners=tuple(owner for _, owner in sorted(owners.items())),
            evidence=host.slots.evidence(host.cost_state.gpus, listed, readings.hour, elsewhere),
        )

    def hour(
        self,
        host: PastHost,
        hour: HostHour,
        targets: Sequence[EngineTarget],
        fleet: FleetReadings,
        *,
        unread: range,
        skipped: bool,
    ) -> HourReadings:
        """Read the pages of a host in an hour, and the energy of its GPUs.

        `unread` are places in a column of the hour, and of hours before it in which the host was not seen.
        Where it was `skipped` before, that time is not charged, and what rose in it does not count.
        """
        servers = []
        for target in targets:
            hours = fleet.chunk.engines[target]
            names = hours.names(unread) if target in self._survey.later_engines else ()
            engine = self._survey.engine_of(target, names)
            # Counters of one engine are no earlier values of another's.
            url = target.url if engine is self._survey.engines[target] else f"{target.url} {engine.name}"
            key = self._survey.server(target)
            reading = ServerReading(key, url, up=False, engine=engine.name, pod=target.pod)
            host.targets.add(target)
            if not hours.sampled.isdisjoint(unread):
                past = host.pages.setdefault(target, PastPage())
                page = interpret(engine, _page(past, hours, unread, skipped=skipped))
                # A target that is new here began at zero: its counters are what rose since, without a fall.
                started = past.since.setdefault(engine.name, hour.start)
                reading = replace(
                    reading,
                    up=True,
                    identity=f"counting since {started}",
                    started=started,
                    absent_at=hour.start,
                    counters=page.counters,
                    loads=page.loads,
                    models=page.models,
                    role=page.role,
                )
            servers.append(reading)
        for gone in host.pages.keys() - set(targets):
            del host.pages[gone]
        joules = _energies(hour, skipped=skipped)
        return HourReadings(fleet, hour, targets, servers=tuple(servers), joules=joules)

    def _holders(
        self,
        host: PastHost,
        readings: HourReadings,
        devices: Iterable[DeviceHour],
        gpus: tuple[GpuReading, ...],
    ) -> Iterator[Holder]:
        """Who holds GPUs: their pods, else configured servers, else the one server that is on the host."""
        configured: dict[str, list[Holder]] = {}
        known = [self._survey.configured(target) for target in sorted(host.targets)]
        for holder in configured_holders([server for server in known if server is not None], gpus):
            configured.setdefault(holder.uuid, []).append(holder)
        loose = sorted({server.key for server in readings.servers})
        for device in devices:
            uuid, instance = device.series.gpu.uuid, _instance_name(device)
            if device.holders:
                yield from (Holder(self._server(pod), uuid, instance=instance) for pod in device.holders)
                continue
            if uuid in configured:
                yield from configured[uuid]
                continue
            if readings.hour.names_pods or (device.memory is None and host.key in self._survey.labeled):
                continue  # a GPU without a pod has none, where others name theirs
            used = bool(loose) or bool(device.utilization)
            if device.memory is not None:
                used = device.memory >= HELD_BYTES
            if used:
                if len(loose) > 1:
                    self.shared.add(host.key)
                yield Holder(loose[0] if len(loose) == 1 else UNATTRIBUTED, uuid, instance=instance)

    def _server(self, pod: PodName) -> ServerKey:
        if pod not in self._keys:
            self._keys[pod] = self._survey.server_of_pod(pod)
        return self._keys[pod]


def _page(past: PastPage, hours: EngineHours, unread: range, *, skipped: bool) -> Page:
    """A page whose counters began at zero when it was first read on its host."""
    samples: dict[str, list[Sample]] = {}
    last = unread[-1]
    for key, counter in hours.rises.items():
        risen = [counter.values[at] for at in unread if not isnan(counter.values[at])]
        if skipped and last in counter.inside:
            risen = [counter.inside[last]]
        if risen or key in past.counters:
            past.counters[key] = past.counters.get(key, 0.0) + sum(risen)
            sample = Sample(counter.series, past.counters[key])
            samples.setdefault(counter.series.name, []).append(sample)
    for gauge in hours.means.values():
        if not isnan(gauge.values[last]):
            sample = Sample(gauge.series, gauge.values[last])
            samples.setdefault(gauge.series.name, []).append(sample)
    return Page({name: tuple(of_name) for name, of_name in samples.items()}, frozenset(samples))


def _energies(hour: HostHour, *, skipped: bool) -> dict[str, float]:
    """Joules by GPU of an hour, per nanosecond in which the GPU was there.

    The series of a GPU's holders follow each other; those of MIG instances all have the whole card's joules.
    `skipped`: the time before it was not charged, and what was used in it does not count.
    """
    joules: dict[str, dict[str, dict[GpuSeries, float]]] = {}
    there: dict[str, Nanoseconds] = {}
    for part in hour.parts:
        for uuid in {device.series.gpu.uuid for device in part.devices}:
            there[uuid] = there.get(uuid, 0) + part.end - part.start
        for device in part.devices:
            used = device.inside if skipped and device.inside is not None else device.joules
            if used is not None:
                series = device.series
                joules.setdefault(series.gpu.uuid, {}).setdefault(series.instance, {})[series] = used
    return {
        uuid: max(sum(by_series.values()) for by_series in instances.values()) / there[uuid]
        for uuid, instances in joules.items()
        if there[uuid]
    }


def _gpu_readings(
    host: PastHost, devices: Iterable[DeviceHour], energy: Mapping[str, float], length: Nanoseconds
) -> Iterator[GpuReading]:
    """GPUs of a part of an hour, whose energy is added to that of their host."""
    by_gpu: dict[str, list[DeviceHour]] = {}
    for device in devices:
        by_gpu.setdefault(device.series.gpu.uuid, []).append(device)
    for uuid, of_gpu in sorted(by_gpu.items()):
        instances = tuple(
            MigInstance(
                _instance_name(device),
                device.series.instance_number,
                profile=device.series.profile,
                utilization_ratio=_ratio(device),
            )
            for device in of_gpu
            if device.series.instance
        )
        whole = next((device for device in of_gpu if not device.series.instance), of_gpu[0])
        millijoules, watts = None, whole.watts
        if uuid in energy:
            # The first value of a counter is a mark: what a new GPU used in its first hour is its power.
            # One that no GPU has is refused by the cost code, which takes the power in its place.
            counted_watts = energy[uuid] * NANOSECONDS_PER_SECOND
            watts = counted_watts if counted_watts <= WATTS_MAX else watts
            used_here = round(energy[uuid] * length * MILLIJOULES_PER_JOULE)
            host.energy[uuid] = millijoules = host.energy.get(uuid, 0) + used_here
        yield GpuReading(
            whole.series.gpu,
            whole.series.number,
            pci_bus_id=whole.series.address,
            utilization_ratio=None if instances else _ratio(whole),
            memory_used_bytes=None if whole.memory is None else round(whole.memory),
            power_watts=watts,
            energy=millijoules,
            instances=instances or None,
        )


def _instance_name(device: DeviceHour) -> str:
    """The name of a MIG instance, empty for a whole card."""
    series = device.series
    return f"MIG-{series.gpu.uuid}/{series.instance}" if series.instance else ""


def _ratio(device: DeviceHour) -> float | None:
    return None if device.utilization is None else min(1.0, device.utilization)


def _rounded_up(reading: GpuReading) -> GpuReading:
    """A reading of a held GPU, without a utilization of zero."""
    if reading.utilization_ratio == 0:
        reading = replace(reading, utilization_ratio=SMALLEST_RATIO)
    if reading.instances and any(one.utilization_ratio == 0 for one in reading.instances):
        instances = (
            replace(one, utilization_ratio=SMALLEST_RATIO) if one.utilization_ratio == 0 else one
            for one in reading.instances
        )
        reading = replace(reading, instances=tuple(instances))
    return reading
