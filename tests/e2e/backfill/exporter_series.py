"""The truth of a fleet as its Prometheus recorded it: the series of real exporters, by their real labels.

Names and labels are cited in `label_sets`. Counters begin again with a process or a boot, a pod that is gone
leaves its series behind, and no sample is later than the last scrape that found its target.
"""

import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, Final

from tests.e2e.backfill.recorded_fleet import (
    CARD_MEBIBYTES,
    CELL,
    DAY,
    HELD_MEBIBYTES,
    IDLE_WATTS,
    WATTS_PER_PERCENT,
    RecordedFleet,
    RecordedHost,
    Tenancy,
    millijoules,
)

KUBERNETES_SECONDS: Final = 120
"""Between two scrapes of kube-state-metrics, at least."""
MEBIBYTE: Final = 2**20
DRIVER: Final = "580.95.05"

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Series:
    """A series: its text as in an exposition, and its samples in order of time."""

    name: str
    times: "array[int]"
    values: "array[float]"


def series(name: str, labels: Labels, times: Iterable[int], values: Iterable[float]) -> Series:
    """One series; a label without a value is left out, as Prometheus does."""
    text = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()) if value)
    return Series(f"{name}{{{text}}}", array("Q", times), array("d", values))


def recorded(fleet: RecordedFleet, scrape: int) -> Iterator[Series]:
    """All series of a fleet that is scraped every `scrape` seconds."""
    for host in fleet.hosts:
        for replica in ("a", "b") if host.exporter == "honored" else ("",):
            yield from _target(host, scrape, replica)
        vars(host).pop("signals", None)  # the largest part of a fleet, and made again where it is needed
    yield from _kubernetes(fleet, max(scrape, KUBERNETES_SECONDS))


def _target(host: RecordedHost, scrape: int, replica: str) -> Iterator[Series]:
    outside = {"cluster": host.cluster, "prometheus_replica": replica}
    for target, group in groupby(scrapes(host, scrape, f"gpu{replica}"), lambda at: _exporter(host, at)):
        moments = list(group)
        yield series("up", {**dict(target), **outside}, moments, [1.0] * len(moments))
    for slot in range(len(host.uuids)):
        for labels, times in _lives(host, slot, list(scrapes(host, scrape, f"gpu{replica}"))):
            yield from _gpu(host, slot, {**labels, **outside}, times)
    for tenancy in host.tenancies:
        yield from _server(host, tenancy, outside, scrapes(host, scrape, f"{tenancy.server.name}{replica}"))


def scrapes(host: RecordedHost, scrape: int, target: str) -> Iterator[int]:
    """When a target of a host was scraped: each has its own offset, as in Prometheus."""
    offset = zlib.crc32(f"{host.name}/{target}".encode()) % scrape // CELL * CELL
    first = host.begin - host.begin % scrape + offset
    return (at for at in range(first, host.end, scrape) if host.scraped(at))


def _lives(host: RecordedHost, slot: int, times: list[int]) -> Iterator[tuple[Labels, list[int]]]:
    """The scrapes of a slot by the labels that they had."""
    by_labels: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for labels, group in groupby(times, lambda at: _of_gpu(host, slot, at)):
        by_labels.setdefault(labels, []).extend(group)
    yield from ((dict(labels), samples) for labels, samples in by_labels.items())


def _exporter(host: RecordedHost, at: int) -> tuple[tuple[str, str], ...]:
    """The labels of the target that is the host's GPU exporter."""
    plain = {
        "bare": ("dcgm", 9400),
        "nvidia_gpu_exporter": ("nvidia_gpu_exporter", 9835),
        "nvitop": ("nvitop-exporter", 5050),
    }
    if host.exporter in plain:
        job, port = plain[host.exporter]
        return (("job", job), ("instance", f"{host.name}:{port}"))
    return (
        # the DaemonSet was rolled when the label was renamed
        ("pod", f"nvidia-dcgm-exporter-{host.name}{'r' if _renamed(host, at) else 'x'}"),
        ("namespace", "gpu-operator"),
        ("container", "nvidia-dcgm-exporter"),
        ("instance", f"{host.address}:9400"),
        ("job", "nvidia-dcgm-exporter"),
        ("service", "nvidia-dcgm-exporter"),
        ("endpoint", "gpu-metrics"),
    )


def _renamed(host: RecordedHost, at: int) -> bool:
    return host.renamed is not None and at >= host.renamed


def _of_gpu(host: RecordedHost, slot: int, at: int) -> tuple[tuple[str, str], ...]:
    """The labels of a GPU's series at a scrape."""
    uuid, tenant, target = host.uuid(slot, at), host.tenant(slot, at), dict(_exporter(host, at))
    if host.exporter == "nvidia_gpu_exporter":  # the series have the UUID alone, without its prefix
        return tuple({**target, "uuid": uuid.removeprefix("GPU-")}.items())
    if host.exporter == "nvitop":  # hostname is the address unless --hostname is given
        of = {"hostname": host.address, "index": str(slot), "devicename": host.gpu_model, "uuid": uuid}
        return tuple({**target, **of}.items())
    labels = {
        "gpu": str(slot),
        "UUID": uuid,
        "pci_bus_id": f"00000000:{slot + 1:02X}:00.0",
        "device": f"nvidia{slot}",
        "modelName": host.gpu_model,
        "hostname" if _renamed(host, at) else "Hostname": host.name,
        "DCGM_FI_DRIVER_VERSION": DRIVER,
    }
    if tenant is None or host.exporter == "bare":
        return tuple({**labels, **target}.items())
    holder = {"pod": tenant.pod, "namespace": tenant.server.namespace, "container": "vllm"}
    if host.exporter == "operator":
        holder = {f"exported_{key}": value for key, value in holder.items()}
    return tuple({**labels, **target, **holder}.items())


def _gpu(host: RecordedHost, slot: int, labels: Labels, times: list[int]) -> Iterator[Series]:
    signal = host.signals[slot]
    percent = [signal.percent[max(0, signal.cell(at) - 1)] for at in times]
    used = [float(HELD_MEBIBYTES if host.tenant(slot, at) else 4) for at in times]
    watts = [float(IDLE_WATTS + WATTS_PER_PERCENT * part) for part in percent]
    boots = [until for _, until in host.off]
    joules = [
        float(millijoules(signal, max((one for one in boots if one < at), default=host.begin), at))
        for at in (max(at, host.begin) for at in times)
    ]
    if host.exporter == "nvidia_gpu_exporter":
        info = {**labels, "name": host.gpu_model, "index": str(slot), "driver_version": DRIVER}
        yield series("nvidia_smi_gpu_info", info, times, [1.0] * len(times))
        yield series("nvidia_smi_utilization_gpu_ratio", labels, times, [part / 100 for part in percent])
        yield series("nvidia_smi_memory_used_bytes", labels, times, [part * MEBIBYTE for part in used])
        yield series("nvidia_smi_power_draw_watts", labels, times, watts)
    elif host.exporter == "nvitop":
        yield series("gpu_utilization_Percentage", labels, times, percent)
        yield series("gpu_memory_used_MiB", labels, times, used)
        yield series("gpu_memory_total_MiB", labels, times, [float(CARD_MEBIBYTES)] * len(times))
        yield series("gpu_power_usage_W", labels, times, watts)
    else:
        yield series("DCGM_FI_DEV_GPU_UTIL", labels, times, percent)
        yield series("DCGM_FI_DEV_FB_USED", labels, times, used)
        yield series("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", labels, times, joules)


def _server(host: RecordedHost, tenancy: Tenancy, outside: Labels, times: Iterable[int]) -> Iterator[Series]:
    """The page of one server's pod; without an answer there is only `up`."""
    server, signal = tenancy.server, host.signals[tenancy.gpus[0]]
    target: dict[str, str] = {**outside, "job": "vllm", "instance": f"{host.name}:{server.port}"}
    if host.kubernetes:
        target |= {
            "namespace": server.namespace,
            "pod": tenancy.pod,
            "container": "vllm",
            "endpoint": "http",
            "job": f"{server.namespace}/vllm",
            "instance": f"{address(tenancy)}:8000",
        }
    there = [at for at in times if tenancy.since < at <= tenancy.until]
    yield series("up", target, there, [float(tenancy.process(at) is not None) for at in there])
    answered = [(at, process) for at in there if (process := tenancy.process(at))]
    answered_at = [at for at, _ in answered]
    counts = [signal.sum(max(process[0], host.begin), at) for at, process in answered]
    computed, cached, generated = server.rates
    page = {**target, "model_name": server.model, "engine": "0"}
    for name, rate in (
        ("vllm:prompt_tokens_total", computed + cached),
        ("vllm:prefix_cache_hits_total", cached),
        ("vllm:generation_tokens_total", generated),
    ):
        yield series(name, page, answered_at, [float(rate * count) for count in counts])
    running = [signal.percent[max(0, signal.cell(at) - 1)] / 10 for at in answered_at]
    yield series("vllm:num_requests_running", page, answered_at, running)


def address(tenancy: Tenancy) -> str:
    """The address of a pod."""
    number = zlib.crc32(f"{tenancy.pod}/{tenancy.since}".encode())
    return f"10.42.{number // 250 % 250}.{number % 250 + 1}"


def _kubernetes(fleet: RecordedFleet, scrape: int) -> Iterator[Series]:
    """kube-state-metrics of each cluster, with honored labels and an allow-list of the instance type."""
    for host in fleet.hosts:
        if not host.kubernetes:
            continue
        job = {"job": "kube-state-metrics", "instance": "10.42.0.9:8080", "cluster": host.cluster}
        times = [
            at
            for at in range(host.begin, host.end, scrape)
            if host.on(at) and any(other.scraped(at) for other in fleet.hosts)
        ]
        node = {**job, "node": host.name}
        ones = [1.0] * len(times)
        kind = {
            "label_node_kubernetes_io_instance_type": host.instance_type,
            "label_kubernetes_io_os": "linux",
        }
        yield series("kube_node_labels", {**node, **kind}, times, ones)
        provider = f"aws:///us-east-1a/i-{host.seed:017x}" if host.instance_type else ""
        info = {**node, "internal_ip": host.address, "provider_id": provider}
        yield series("kube_node_info", info, times, ones)
        for tenancy in host.tenancies:
            there = [at for at in times if tenancy.since < at <= tenancy.until]
            pod = {**job, "namespace": tenancy.server.namespace, "pod": tenancy.pod}
            owner = tenancy.pod.rpartition("-")[0]
            made = {"created_by_kind": "ReplicaSet", "created_by_name": owner, "node": host.name}
            where = {**pod, **made, "host_ip": host.address, "pod_ip": address(tenancy)}
            there_ones = [1.0] * len(there)
            yield series("kube_pod_info", where, there, there_ones)
            owned = {**pod, "owner_kind": "ReplicaSet", "owner_name": owner, "owner_is_controller": "true"}
            yield series("kube_pod_owner", owned, there, there_ones)
            requested = {**pod, "container": "vllm", "node": host.name, "resource": "nvidia_com_gpu"}
            gpus = [float(len(tenancy.gpus))] * len(there)
            requests = "kube_pod_container_resource_requests"
            yield series(requests, {**requested, "unit": "integer"}, there, gpus)


def write_openmetrics(all_series: Iterable[Series], folder: Path, span: int = 5 * DAY) -> list[Path]:
    """Text that promtool makes blocks of: a file for each `span` seconds, so that none is as large as all."""
    files: dict[int, IO[str]] = {}
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for one in all_series:
            for part, group in groupby(zip(one.times, one.values, strict=True), lambda pair: pair[0] // span):
                if part not in files:
                    files[part] = (folder / f"{part}.txt").open("w", encoding="utf-8")
                files[part].writelines(f"{one.name} {value!r} {at}\n" for at, value in group)
    finally:
        for file in files.values():
            file.write("# EOF\n")
            file.close()
    return sorted(folder.glob("*.txt"))


def openmetrics_chunks(all_series: Iterable[Series], size: int = 200_000) -> Iterator[bytes]:
    """The same as VictoriaMetrics takes it, in parts: times in milliseconds."""
    lines: list[str] = []
    for one in all_series:
        lines += [f"{one.name} {value!r} {at}000\n" for at, value in zip(one.times, one.values, strict=True)]
        if len(lines) >= size:
            yield "".join(lines).encode()
            lines = []
    if lines:
        yield "".join(lines).encode()
