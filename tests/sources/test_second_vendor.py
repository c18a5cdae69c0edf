"""A second vendor of GPUs: a description and a source, and nothing else of the exporter is changed."""

import re
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from exporter import vendors
from exporter.config import load
from exporter.config.settings import Config
from exporter.ledger.ledger import Ledger
from exporter.readings import (
    FailureReason,
    Gpu,
    GpuProcess,
    GpuReading,
    QuickSource,
    ReadFailedError,
)
from exporter.report import Report
from exporter.sampler.frame_reader import FrameReader
from exporter.sampler.sampler import Sampler
from exporter.sources.discovery.discovery import Discovery
from exporter.sources.endpoints import EndpointSources
from exporter.sources.kubelet import PodResourcesSource
from exporter.sources.pci import DisplayDevices
from exporter.sources.processes import ProcessReading
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Hardware, HardwareMatch, Rented, RentPrice
from exporter.vendors import NVIDIA, Device, GpuVendor
from tests.kit.clock import ManualClock
from tests.sampler.sampler_fixture import TICK, FakeNvmlSource, FakeProcessMetrics, inline, plan
from tests.sources.discovery.builders import api, pod, podded
from tests.sources.discovery.host import ClusterStub, Processes
from tests.sources.kubelet.conftest import kubelet  # noqa: F401 - a fixture

UUIDS = ("18ff74a1-0000-1000-80c5-2fb1a1f2d3e4", "5aff74a1-0000-1000-804f-0c1d2e3f4a5b")
ADDRESSES = ("0000:c1:00.0", "0000:d1:00.0")
MODEL = "AMD Instinct MI300X"


def spelled(text: str) -> str | None:
    """An UUID as this vendor's driver spells it, without a word before it."""
    return text.lower() if re.fullmatch("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text) else None


def plugin_device(resource: str, identifier: str) -> Device | None:
    """Its device plugin gives GPUs out by their addresses on the PCI bus."""
    known = resource == "amd.com/gpu" and re.fullmatch(r"[0-9a-f]{4}(:[0-9a-f]{2}){2}\.[0-7]", identifier)
    return Device(name=identifier) if known else None


AMD = GpuVendor(
    library="ROCm",
    source="rocm",
    spelled_uuid=spelled,
    uuid_help="copy it from amd-smi list",
    id_prefixes=(),
    resource_prefix="amd.com/",
    gpu_resources="amd_com_gpu",
    plugin_device=plugin_device,
    dra_driver="gpu.amd.com",
    claimed_device=lambda _: None,
    pci_vendor="0x1002",
    pci_class="0x12",
)


class RocmSource(QuickSource):
    """Two GPUs, half busy: a process on the first, none on the second."""

    vendor = AMD
    name = AMD.source
    failure = ""

    def read(self) -> tuple[GpuReading, ...]:
        if self.failure:
            raise ReadFailedError(FailureReason.HUNG, self.failure)
        readings = (
            GpuReading(Gpu(uuid, MODEL), index, device=address, utilization_ratio=0.5, processes=())
            for index, (uuid, address) in enumerate(zip(UUIDS, ADDRESSES, strict=True))
        )
        first, second = readings
        return replace(first, processes=(GpuProcess(7, 10**9),)), second


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both vendors are known."""
    monkeypatch.setattr(vendors, "VENDORS", (NVIDIA, AMD))


def field(number: int, *contents: bytes | str) -> bytes:
    """A short field of protocol buffers."""
    content = b"".join(each.encode() if isinstance(each, str) else each for each in contents)
    return bytes([number << 3 | 2, len(content)]) + content


def allocated(name: str, identifier: str) -> bytes:
    """A pod with a container with one GPU, as a kubelet serializes it."""
    devices = field(2, field(1, "amd.com/gpu"), field(2, identifier))
    return field(1, field(1, name), field(2, "ml"), field(3, field(1, "main"), devices))


class Daemon:
    """A daemon on a host of this vendor's GPUs, at 2.40 dollars an hour each."""

    def __init__(self, folder: Path, socket: Path) -> None:
        self.clock = ManualClock()
        self.nvml = FakeNvmlSource(failure="no NVML", reason=FailureReason.LIBRARY_MISSING)
        self.rocm = RocmSource()
        self.displays = {NVIDIA: DisplayDevices(), AMD: DisplayDevices(2)}
        self.ledger = Ledger.open(folder / "ledger.db", self.clock)
        price = Rented((RentPrice(Decimal("2.40")),))
        tariff = Tariff("host", (Hardware(HardwareMatch(gpu_model=MODEL), price, "hardware[0]"),), ())
        cluster = ClusterStub(
            (pod("chat-0", "chat", 0, product="assistant"), pod("batch-0", "batch", 1, product="reports"))
        )
        processes = Processes(ProcessReading((podded(0, 7, server=api(7)),)))
        discovery = Discovery(
            self.clock,
            EndpointSources(self.clock),
            processes,  # type: ignore[arg-type]
            PodResourcesSource(self.clock, path=socket),
            cluster,  # type: ignore[arg-type]
        )
        self.sampler = Sampler(
            self.clock,
            FrameReader(
                self.clock,
                inline(self.clock),
                (self.nvml, self.rocm),
                discovery=discovery,
                displays=self.displays.__getitem__,
            ),
            self.ledger,
            FakeProcessMetrics(),
            plan(tariff=tariff, config=Config()),
        )

    def minutes(self, count: int) -> Report:
        for _ in range(count * 6):
            self.clock.now += TICK
            report = self.sampler.tick()
        return report


@pytest.fixture
def daemon(tmp_path: Path, kubelet: Any) -> Daemon:  # noqa: F811
    kubelet.reply = allocated("chat-0", ADDRESSES[0]) + allocated("batch-0", ADDRESSES[1])
    return Daemon(tmp_path, kubelet.path)


def dollars_by_gpu(report: Report) -> dict[str, int]:
    assert report.totals is not None
    assert report.totals.residual == 0
    return {gpu.uuid: amount for (gpu, _), amount in report.totals.gpu_cost.items()}


def dollars_by_server(report: Report) -> dict[tuple[str, str], int]:
    assert report.totals is not None
    amounts: dict[tuple[str, str], int] = {}
    for (owner, _), amount in report.totals.server_cost.items():
        key = owner.product, owner.server
        amounts[key] = amounts.get(key, 0) + amount
    return amounts


def test_gpus_of_another_vendor_are_charged_exactly(daemon: Daemon) -> None:
    """15 minutes at 2.40 an hour are 0.60 dollars a GPU, each to the pod that the kubelet gave it to.

    One pod computes on its GPU, the other one's processes are not visible. NVML is not missing here.
    """
    daemon.sampler.tick()
    report = daemon.minutes(15)

    assert dollars_by_gpu(report) == dict.fromkeys(UUIDS, 600_000_000_000)
    assert dollars_by_server(report) == {
        ("assistant", "chat"): 600_000_000_000,
        ("reports", "unmatched:batch"): 600_000_000_000,
    }
    assert {row.source: row.up for row in report.sources if row.source in ("nvml", "rocm")} == {"rocm": True}


@pytest.mark.parametrize("silent", ["nvml", "rocm"])
def test_a_silent_vendor_leaves_the_gpus_unknown_and_charged(daemon: Daemon, silent: str) -> None:
    """Where its GPUs are on the bus; the last holders pay on: 0.40 dollars for ten minutes."""
    daemon.sampler.tick()
    if silent == "rocm":
        daemon.rocm.failure = "the driver hangs"
    else:
        daemon.displays[NVIDIA] = DisplayDevices(8)
    report = daemon.minutes(10)

    assert dollars_by_gpu(report) == dict.fromkeys(UUIDS, 400_000_000_000)
    health = {row.source: row.up for row in report.sources}
    assert health[silent] is False


def test_indices_of_the_second_vendor_follow_those_of_the_first(daemon: Daemon) -> None:
    """So that an index means one GPU."""
    daemon.nvml.failure = ""
    report = daemon.minutes(1)

    assert {row.gpu.uuid: row.index for row in report.gpus} == {"GPU-0": 0, UUIDS[0]: 1, UUIDS[1]: 2}


def test_the_configuration_takes_its_uuids(tmp_path: Path) -> None:
    """As its driver spells them; one of neither vendor names where to look for both."""
    file = tmp_path / "ice.yaml"
    file.write_text(f"servers: [{{name: chat, url: 'http://127.0.0.1:8000', gpus: [{UUIDS[0]}]}}]\n")
    assert load(file).servers[0].gpus == (UUIDS[0],)

    file.write_text(f"retired: [{{uuid: {UUIDS[0].upper()}, from: 2026-01-01}}]\n")
    with pytest.raises(Exception, match="is spelled otherwise by ROCm"):
        load(file)
    file.write_text("retired: [{uuid: card0, from: 2026-01-01}]\n")
    with pytest.raises(Exception, match=r"nvidia-smi -L, all of it: .*, or copy it from amd-smi list"):
        load(file)


def test_the_alert_of_a_blind_meter_reads_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of either vendor is metered while one of its exporters reads a driver."""
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[2] / "deploy" / "rules"), *sys.path])
    monkeypatch.setattr("exporter.vendors.VENDORS", (NVIDIA, AMD))
    monkeypatch.delitem(sys.modules, "faults", raising=False)
    import faults

    monkeypatch.delitem(sys.modules, "faults")  # no other test has a second vendor

    assert 'max by (cluster) (inference_source_up{source=~"nvml|rocm"})' in faults.FAULTS
