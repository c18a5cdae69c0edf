"""Series of GPU exporters and engines: the names, units and labels that they have in a Prometheus.

To add a GPU exporter, write its exact names by its own source. Sources, each at the release that was read:

- dcgm-exporter: NVIDIA/dcgm-exporter 3.1.8-3.1.5 to 4.5.3-4.8.2, `etc/default-counters.csv`,
  `etc/dcp-metrics-included.csv` and `internal/pkg/rendermetrics/render_metrics.go`. Names in small letters
  are those of `--use-old-namespace`; `hostname` is of releases after 4.5.3-4.8.2.
- nvidia_gpu_exporter: utkuozdemir/nvidia_gpu_exporter 1.14.0 `docs/METRICS.md`. Its series have the UUID
  alone, without its prefix; the model is in `nvidia_smi_gpu_info`.
- nvitop-exporter: XuehaiPan/nvitop 1.7.0 `nvitop-exporter/nvitop_exporter/exporter.py`.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from exporter.cost.energy import ASSUMED_LIMIT_WATTS, PLAUSIBLE_LIMIT_RATIO
from exporter.engines.catalogue import ENGINES
from exporter.engines.exposition import Page, Series
from exporter.engines.spec import Engine
from exporter.units import BYTES_PER_MEBIBYTE

IMPLAUSIBLE: Final = 2.0**62
"""DCGM's blanks are integers of 64 bits near the largest one (dcgm_structs.h: DCGM_INT64_BLANK)."""

WATTS_MAX: Final = PLAUSIBLE_LIMIT_RATIO * ASSUMED_LIMIT_WATTS
"""What the cost code refuses where no power limit is known: no exporter has one."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A series of each GPU, and what brings its value to the SI unit: a ratio of 1, bytes, watts, joules."""

    name: str
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class PodLabelNames:
    """The labels that name a pod: its namespace, its name, its container."""

    namespace: str
    pod: str
    container: str


EXPORTED: Final = PodLabelNames("exported_namespace", "exported_pod", "exported_container")
"""Labels of a page that a target has as well, where `honor_labels` is off."""

PLAIN: Final = PodLabelNames("namespace", "pod", "container")


@dataclass(frozen=True, slots=True)
class GpuExporter:
    """Series of one exporter. Its measures and labels are lists: the first that a series has counts."""

    name: str
    utilization: tuple[Measure, ...]
    instance_utilization: tuple[Measure, ...] = ()
    """Utilization of MIG instances."""
    memory_used: tuple[Measure, ...] = ()
    power: tuple[Measure, ...] = ()
    energy: tuple[Measure, ...] = ()
    uuid: tuple[str, ...] = ("uuid",)
    """Labels of a GPU's UUID."""
    model: tuple[str, ...] = ()
    """Labels of a GPU's model."""
    index: tuple[str, ...] = ()
    """Labels of a GPU's index."""
    address: tuple[str, ...] = ()
    """Labels of a GPU's PCI address."""
    host: tuple[str, ...] = ()
    """Labels of the host's name."""
    instance: str = ""
    """The label of a MIG instance's number."""
    profile: str = ""
    """The label of a MIG instance's profile."""
    info: str = ""
    """A series that has the labels of a GPU, where its measures have the UUID alone."""
    holders: tuple[PodLabelNames, ...] = ()
    """Labels of the pod that holds a GPU."""
    exporter_pods: str = r"(?!)"
    """A pattern of names of the exporter's own pods, which never hold a GPU."""

    def names(self, *, energy: bool) -> tuple[str, ...]:
        """The names to look for; those of energy only where a price needs it."""
        measures = (*self.utilization, *self.instance_utilization, *self.memory_used)
        if energy:
            measures = (*measures, *self.energy, *self.power)
        return tuple(dict.fromkeys(measure.name for measure in measures))

    def is_own_pod(self, pod: str) -> bool:
        """Whether a pod is one of the exporter's own."""
        return re.search(self.exporter_pods, pod) is not None


DCGM: Final = GpuExporter(
    name="dcgm-exporter",
    utilization=(Measure("DCGM_FI_DEV_GPU_UTIL", 0.01), Measure("dcgm_gpu_utilization", 0.01)),
    instance_utilization=(Measure("DCGM_FI_PROF_GR_ENGINE_ACTIVE"),),
    memory_used=(
        Measure("DCGM_FI_DEV_FB_USED", BYTES_PER_MEBIBYTE),
        Measure("dcgm_fb_used", BYTES_PER_MEBIBYTE),
    ),
    power=(Measure("DCGM_FI_DEV_POWER_USAGE"), Measure("dcgm_power_usage")),
    energy=(
        Measure("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", 0.001),
        Measure("dcgm_total_energy_consumption", 0.001),
    ),
    uuid=("UUID", "uuid"),
    model=("modelName", "model_name"),
    index=("gpu",),
    address=("pci_bus_id",),
    host=("node", "nodename", "kubernetes_node", "Hostname", "hostname"),
    instance="GPU_I_ID",
    profile="GPU_I_PROFILE",
    holders=(EXPORTED, PodLabelNames("pod_namespace", "pod_name", "container_name"), PLAIN),
    exporter_pods=r"dcgm",
)

NVIDIA_GPU_EXPORTER: Final = GpuExporter(
    name="nvidia_gpu_exporter",
    utilization=(Measure("nvidia_smi_utilization_gpu_ratio"),),
    memory_used=(Measure("nvidia_smi_memory_used_bytes"),),
    power=(Measure("nvidia_smi_power_draw_watts"),),
    energy=(Measure("nvidia_smi_energy_joules_total"),),
    model=("name",),
    index=("index",),
    address=("pci_bus_id",),
    host=("node", "nodename", "kubernetes_node"),
    info="nvidia_smi_gpu_info",
)

NVITOP: Final = GpuExporter(
    name="nvitop-exporter",
    utilization=(Measure("gpu_utilization_Percentage", 0.01),),
    memory_used=(Measure("gpu_memory_used_MiB", BYTES_PER_MEBIBYTE),),
    power=(Measure("gpu_power_usage_W"),),
    model=("devicename",),
    index=("index",),
    host=("node", "nodename", "kubernetes_node", "hostname"),
)

GPU_EXPORTERS: Final = (DCGM, NVIDIA_GPU_EXPORTER, NVITOP)
"""Best first: of two that see a GPU equally often, the first counts."""


def first_label(labels: Mapping[str, str], names: tuple[str, ...]) -> str:
    """The value of the first of these labels that is there and not empty; empty without."""
    return next((labels[name] for name in names if labels.get(name)), "")


def uuid_of(text: str) -> str:
    """One spelling of a GPU's UUID: some exporters leave out its prefix."""
    plain = text.strip().lower().removeprefix("gpu-")
    return f"GPU-{plain}" if plain and not plain.startswith("mig-") else text.strip()


_OF_TARGET: Final = ("job", "instance", "namespace", "pod", "container", "service", "endpoint", "cluster")
_OF_NODE: Final = ("node", "nodename", "hostname", "kubernetes_namespace", "kubernetes_pod_name")
_OF_STORE: Final = ("prometheus", "prometheus_replica", "replica", "__replica__", "receive", "tenant_id")
TARGET_LABELS: Final = frozenset({*_OF_TARGET, *_OF_NODE, *_OF_STORE})
"""Labels of the target and of what stores it, which a scraped page does not have."""


def page_series(name: str, labels: Mapping[str, str], extra: Collection[str] = ()) -> Series:
    """A series as the page of its engine had it, without labels of any target and `extra` ones of its own."""
    foreign = TARGET_LABELS | {"__name__", *extra}
    own = {each: value for each, value in labels.items() if each not in foreign}
    listed = ",".join(f'{each}="{own[each]}"' for each in sorted(own))
    return Series(name, own, f"{name}{{{listed}}}" if listed else name)


def colons(engines: Iterable[Engine]) -> Iterator[tuple[str, str]]:
    """Names as some client libraries write them for OpenMetrics, each with the name that is described."""
    for engine in engines:
        gauges = (gauge.name for gauge in engine.gauges())
        for name in (*engine.fingerprint.names, *(count.name for count in engine.counts()), *gauges):
            if ":" in name:
                yield name.replace(":", "_", 1), name


COLONS: Final = dict(colons(ENGINES.values()))


def spellings(names: Iterable[str]) -> Iterator[str]:
    """Names in each way in which they are written."""
    for name in names:
        yield name
        if ":" in name:
            yield name.replace(":", "_", 1)


def other_engines(first: Engine, page: Page, configured: Iterable[Engine]) -> Iterator[Engine]:
    """Engines whose page a target had at another time, as it seems: they have no name in common."""
    for engine in (*ENGINES.values(), *configured):
        foreign = engine_names(engine).isdisjoint(engine_names(first))
        if engine is not first and foreign and engine.fingerprint.matches(page):
            yield engine


def engine_names(engine: Engine) -> set[str]:
    """The counters of an engine, and its gauges of running requests."""
    names = {count.name for count in engine.counts()}
    names.update(name for group in engine.groups for each in group for name in each.requires)
    names.update(gauge.name for gauge in engine.running)
    return names
