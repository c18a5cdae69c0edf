"""Metrics of the GPUs: identity, utilization, energy and holders."""

import math
from collections.abc import Callable, Iterator
from typing import Final

from exporter.metrics import metric
from exporter.readings import GpuReading, ServerKey
from exporter.report import Report
from exporter.units import joules, seconds


def _info(report: Report) -> Iterator[metric.Row]:
    for row in report.gpus:
        read = row.reading
        identity = ("", "", "") if read is None else (read.driver_version, read.mig_profile, read.pci_bus_id)
        # An index below zero is none: GPUs that are paid for and that the driver never listed.
        index = str(row.index) if row.index >= 0 else ""
        yield (index, *metric.gpu_labels(row.gpu), *identity), 1.0


def _read(value: Callable[[GpuReading], float | None]) -> metric.Rows:
    """A row of each GPU with one field of its reading; none where the GPU does not report it."""

    def rows(report: Report) -> Iterator[metric.Row]:
        for row in report.gpus:
            known = None if row.reading is None else value(row.reading)
            if known is not None:
                yield metric.gpu_labels(row.gpu), float(known)

    return rows


def _allocated(report: Report) -> Iterator[metric.Row]:
    allocated: dict[ServerKey, list[float]] = {}
    for share in report.shares:
        allocated.setdefault(share.key, []).append(share.share_ratio)
    for key, ratios in allocated.items():
        yield (key.namespace, key.server), math.fsum(ratios)


ROWS: Final[tuple[metric.Metric, ...]] = (
    metric.counter(
        "inference_gpu_energy_joules_total",
        metric.GPU,
        "Energy measured at the GPU, monotonic across driver reloads. Absent for a GPU that reports neither "
        f"energy nor power. Also absent {metric.CHARGED}.",
        metric.of_totals(lambda totals: metric.keyed(totals.energy, metric.gpu_labels, joules)),
    ),
    metric.counter(
        "inference_gpu_unpriced_seconds_total",
        metric.GPU,
        "GPU time without a price when it was metered, owned hardware from in_service on. It is charged "
        "once a price covers it; this counter does not decrease. Absent for a GPU that always had a price. "
        f"Also absent {metric.CHARGED}.",
        metric.of_totals(lambda totals: metric.keyed(totals.unpriced, metric.gpu_labels, seconds)),
    ),
    metric.gauge(
        "inference_gpus_expected",
        (),
        "GPUs charged on this host: gpus_per_host of its price rule, else the count of its instance "
        "type, else the count at the last boot. Kept while the driver cannot be read. Absent where none of "
        "these is known.",
        metric.single(lambda report: report.expected_gpus),
    ),
    metric.gauge(
        "inference_gpus_visible",
        (),
        "GPUs that NVML lists, those included that it cannot read. Absent while the driver cannot be read.",
        metric.single(lambda report: report.visible_gpus),
    ),
    metric.counter(
        "inference_gpu_replaced_total",
        (),
        "GPUs that replaced another in its slot, after a board swap or a VM stop and start. The log and "
        f"the page list the pairs. Absent {metric.CHARGED}.",
        metric.single_of_totals(lambda totals: totals.replaced),
    ),
    metric.gauge(
        "inference_gpu_info",
        ("gpu", *metric.GPU, "driver_version", "mig_profile", "pci_bus_id"),
        "Identity of a GPU; gpu is the driver's index, which may change at reboot. A label is empty where "
        "the driver does not report it. uuid unseen: charged GPUs that NVML never listed. Absent without a "
        "GPU.",
        _info,
    ),
    metric.gauge(
        "inference_gpu_up",
        metric.GPU,
        "1: the GPU was read in the last tick. 0: it is charged and cannot be read. Absent for GPUs that "
        "were never listed.",
        lambda report: ((metric.gpu_labels(row.gpu), float(row.up)) for row in report.gpus if row.index >= 0),
    ),
    metric.gauge(
        "inference_gpu_utilization_ratio",
        metric.GPU,
        "Busy share of the time since the previous tick, 0 to 1. Absent when the GPU does not report it.",
        _read(lambda reading: reading.utilization_ratio),
    ),
    metric.gauge(
        "inference_gpu_memory_used_bytes",
        metric.GPU,
        "GPU memory in use. Absent when the GPU does not report it.",
        _read(lambda reading: reading.memory_used_bytes),
    ),
    metric.gauge(
        "inference_gpu_memory_total_bytes",
        metric.GPU,
        "Total GPU memory. Absent when the GPU does not report it.",
        _read(lambda reading: reading.memory_total_bytes),
    ),
    metric.gauge(
        "inference_gpu_power_watts",
        metric.GPU,
        "Power draw. Absent when the GPU does not report it.",
        _read(lambda reading: reading.power_watts),
    ),
    metric.gauge(
        "inference_server_gpus",
        ("namespace", "server"),
        "GPUs that this server held in the last tick, in fractions where they are shared: what "
        "inference_gpu_seconds_total grows by, over time. Absent for a server that holds none.",
        _allocated,
    ),
    metric.gauge(
        "inference_server_gpu_share_ratio",
        ("namespace", "server", "uuid", "method"),
        "Part of a GPU's time that this server was charged in the last tick, 0 to 1, and the method. Method "
        "whole: the only server on the GPU; mig: the only one on a MIG instance, by its slices and memory. "
        "Several servers share by method configured (gpu_share_ratio), sm_utilization (compute), memory "
        "(held bytes) or equal (no data). With both known, sm_utilization divides busy time and memory "
        "divides idle time. A server then has a row of each, and its share is their sum. Absent where the "
        "server does not hold the GPU.",
        lambda report: (
            ((*share.key, share.uuid, share.method), share.share_ratio) for share in report.shares
        ),
    ),
)
