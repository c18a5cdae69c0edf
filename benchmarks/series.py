"""Series and bytes of a host's scrape against those of the pages that it is made from.

A host of 8 GPUs with 8 servers of one engine. Scraped directly it is 8 recorded pages of servers, one page of
dcgm-exporter and what kube-state-metrics says of 8 pods. A daemon that reads the same servers has one page.

    python -m benchmarks.series

The pages of dcgm-exporter and kube-state-metrics are written here, since neither was recorded:

- NVIDIA/dcgm-exporter 4.5.3-4.8.2 `etc/default-counters.csv`, which its Helm chart names, and the format of
  `internal/pkg/rendermetrics/render_metrics.go`, with the labels of a pod.
- kubernetes/kube-state-metrics 2.20.0 `docs/metrics/workload/pod-metrics.md` and
  `docs/metrics/cluster/node-metrics.md`: the series of a pod's node, owner, labels and GPUs, and no others.
"""

import gzip
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.host import host
from benchmarks.results import plain, write
from exporter.engines import ENGINES, read, wanted
from exporter.finance.history.exporter_series import DCGM
from tests.e2e.daemon import ROOT, get

GPUS: Final = 8
RECORDINGS: Final = ROOT / "tests" / "recordings"
PAGES: Final = {
    "vLLM 0.32.0": ("vllm", RECORDINGS / "vllm-0.32.0" / "served.prom"),
    "SGLang 0.5.23": ("sglang", RECORDINGS / "sglang-0.5.23" / "0003.prom"),
    "llama.cpp 7e4c0a9": ("llamacpp", RECORDINGS / "llamacpp-7e4c0a9" / "0005.prom"),
}
"""Title, engine and the last page of a recording."""

DCGM_FIELDS: Final = (
    *("SM_CLOCK", "MEM_CLOCK", "MEMORY_TEMP", "GPU_TEMP", "POWER_USAGE", "TOTAL_ENERGY_CONSUMPTION"),
    *("PCIE_REPLAY_COUNTER", "GPU_UTIL", "MEM_COPY_UTIL", "ENC_UTIL", "DEC_UTIL", "XID_ERRORS", "FB_FREE"),
    *("FB_USED", "FB_RESERVED", "NVLINK_BANDWIDTH_TOTAL", "VGPU_LICENSE_STATUS"),
    *("UNCORRECTABLE_REMAPPED_ROWS", "CORRECTABLE_REMAPPED_ROWS", "ROW_REMAP_FAILURE"),
)
DCGM_PROFILING: Final = (
    *("GR_ENGINE_ACTIVE", "PIPE_TENSOR_ACTIVE", "DRAM_ACTIVE", "PCIE_TX_BYTES", "PCIE_RX_BYTES"),
)
HELP: Final = "Total energy consumption since boot (in mJ)."
"""The help of each field: one of middling length."""


@dataclass(frozen=True)
class Scraped:
    """What one scrape brings."""

    series: int
    needed: int
    """Series that the answers need."""
    plain: int
    """Bytes."""
    gzip: int

    @classmethod
    def of(cls, page: bytes, needed: int) -> "Scraped":
        """Of one page."""
        lines = [line for line in page.splitlines() if line and not line.startswith(b"#")]
        return cls(len(lines), needed, len(page), len(gzip.compress(page, 6, mtime=0)))

    def __add__(self, other: "Scraped") -> "Scraped":
        return Scraped(
            self.series + other.series,
            self.needed + other.needed,
            self.plain + other.plain,
            self.gzip + other.gzip,
        )


def dcgm() -> Scraped:
    """The page of dcgm-exporter on the host."""
    names = [f"DCGM_FI_DEV_{field}" for field in DCGM_FIELDS]
    names += [f"DCGM_FI_PROF_{field}" for field in DCGM_PROFILING]
    page = "".join(line for name in names for line in _dcgm_family(name))
    read_by_us = {
        measure.name for group in (DCGM.utilization, DCGM.memory_used, DCGM.energy) for measure in group
    }
    return Scraped.of(page.encode(), GPUS * len(read_by_us & set(names)))


def _dcgm_family(name: str) -> Iterator[str]:
    yield f"# HELP {name} {HELP}\n# TYPE {name} gauge\n"
    for gpu in range(GPUS):
        yield (
            f'{name}{{gpu="{gpu}",UUID="GPU-{gpu:08x}-1111-2222-3333-444444444444",'
            f'pci_bus_id="00000000:{0x1B + gpu:02X}:00.0",device="nvidia{gpu}",'
            'modelName="NVIDIA H100 80GB HBM3",Hostname="node-a",DCGM_FI_DRIVER_VERSION="570.148.08",'
            f'container="server",namespace="chat",pod="server-{gpu}"}} {gpu * 10_007}\n'
        )


def kube_state_metrics() -> Scraped:
    """What is said of the host and of its pods; the pages of a cluster are longer."""
    page = (
        'kube_node_info{node="node-a",internal_ip="10.1.0.9",'
        'provider_id="aws:///us-east-1a/i-0000000000000000a"} 1\n'
        'kube_node_labels{node="node-a",label_node_kubernetes_io_instance_type="p5.48xlarge"} 1\n'
    )
    for gpu in range(GPUS):
        pod = f'namespace="chat",pod="server-{gpu}",uid="00000000-0000-4000-8000-{gpu:012x}"'
        page += (
            f'kube_pod_info{{{pod},host_ip="10.1.0.9",pod_ip="10.42.1.{gpu}",node="node-a",'
            'created_by_kind="StatefulSet",created_by_name="server",host_network="false"} 1\n'
            f'kube_pod_owner{{{pod},owner_kind="StatefulSet",owner_name="server",'
            'owner_is_controller="true"} 1\n'
            f'kube_pod_labels{{{pod},label_app="server",label_team="assistants"}} 1\n'
            f'kube_pod_container_resource_requests{{{pod},container="server",node="node-a",'
            'resource="nvidia_com_gpu",unit="integer"} 1\n'
        )
    return Scraped.of(page.encode(), len(page.splitlines()))


def of_server(engine: str, page: bytes) -> Scraped:
    """One server's page, of which those are needed that the daemon reads."""
    samples = read(page, wanted(ENGINES[engine])).samples
    return Scraped.of(page, sum(len(rows) for rows in samples.values()))


def ours(page: Path) -> Scraped:
    """The daemon's page, once it has metered for some ticks."""
    with (
        tempfile.TemporaryDirectory() as folder,
        host(Path(folder), gpus=GPUS, servers=GPUS, interval=1, page=page) as made,
    ):
        for _ in range(3):
            last = made.daemon.settled()
        made.see_that_all_is_metered(last)
        body = get(made.daemon.port, "/metrics")[1]
    whole = Scraped.of(body, 0)
    return Scraped(whole.series, whole.series, whole.plain, whole.gzip)


def rows(title: str, servers: Scraped, daemon: Scraped) -> Iterable[tuple[str, ...]]:
    """Lines of the table for one engine."""
    direct = servers + dcgm() + kube_state_metrics()
    for name, scraped in (
        (f"{GPUS} of {title}", servers),
        ("these, dcgm-exporter, kube-state-metrics", direct),
        ("inference-cost-exporter", daemon),
    ):
        yield (
            name,
            f"{scraped.series:,}",
            f"{scraped.needed:,}",
            f"{scraped.plain / 1000:,.0f} kB",
            f"{scraped.gzip / 1000:,.1f} kB",
        )
    yield (
        "ours is",
        f"{daemon.series / direct.series:.2g} times it",
        f"{daemon.series / direct.needed:.2g} times it",
        f"{daemon.plain / direct.plain:.2g} times it",
        f"{daemon.gzip / direct.gzip:.2g} times it",
    )


def main() -> int:
    """Measure, print and write it down."""
    lines: list[tuple[str, ...]] = []
    for title, (engine, path) in PAGES.items():
        one = of_server(engine, path.read_bytes())
        servers = sum((one for _ in range(GPUS - 1)), start=one)
        lines += rows(title, servers, ours(path))
    gpus, pods = dcgm(), kube_state_metrics()
    text = (
        plain(["a host's scrape", "series", "of them needed", "plain", "gzip"], lines)
        + f"\ndcgm-exporter has {gpus.series} of these series and {gpus.plain / 1000:.0f} kB, "
        f"kube-state-metrics {pods.series} and {pods.plain / 1000:.0f} kB.\n"
    )
    print(text)
    write("series", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
