"""Configured shares of servers that are found are added up where they meet: on a GPU."""

from dataclasses import replace

import pytest

from exporter.config.settings import Config
from exporter.cost.policy import CostPolicy
from exporter.readings import Gpu, GpuReading, Holder, ServerKey
from exporter.reports.diagnosis import DoctorInput, Finding
from exporter.reports.doctor import diagnose
from exporter.reports.host_findings import share_findings
from exporter.sources.discovery import DiscoveryResult
from exporter.tariff.tariff import Tariff
from tests.reports.test_doctor import HOST

CHAT, BATCH, EMBED = ServerKey("", "chat"), ServerKey("", "batch"), ServerKey("", "embed")
GPUS = (GpuReading(Gpu("GPU-a", "NVIDIA L4"), 0), GpuReading(Gpu("GPU-b", "NVIDIA L4"), 1))


def warned(*holders: Holder) -> list[str]:
    inputs = replace(HOST.inputs, gpus=GPUS)
    actual = list(share_findings(replace(HOST, inputs=inputs, allocation=holders)))
    assert all(isinstance(one, Finding) and one.severity == "warning" for one in actual)
    return [one.text for one in actual]


def sum_warning(where: str, total: str, parts: str) -> str:
    return (
        f"{where}: the configured shares come to {total} ({parts}): each is divided by that sum, and "
        "servers without a share pay nothing. Make `gpu_share_ratio` at most 1 in total."
    )


def test_shares_of_more_than_a_whole_are_told_by_gpu() -> None:
    """Each GPU for itself, and one without a share beside them changes nothing."""
    holders = (
        Holder(CHAT, "GPU-a", 0.7),
        Holder(BATCH, "GPU-a", 0.6),
        Holder(EMBED, "GPU-a"),
        Holder(CHAT, "GPU-b", 0.7),
        Holder(BATCH, "GPU-c", 0.6),
    )

    assert warned(*holders) == [sum_warning("GPU 0", "1.3", "batch 0.6, chat 0.7")]


@pytest.mark.parametrize("ratios", [(0.7, 0.3), (0.1, 0.2, 0.7), (0.5,), (1.0,)])
def test_shares_that_fit_are_fine(ratios: tuple[float, ...]) -> None:
    """Floats add up to a little more than a whole, which is none."""
    keys = (CHAT, BATCH, EMBED)

    assert warned(*(Holder(key, "GPU-a", ratio) for key, ratio in zip(keys, ratios, strict=False))) == []


def test_an_instance_of_a_cut_card_is_a_whole_of_its_own() -> None:
    """0.6 of one and 0.6 of another fit; both of one do not. A GPU of no known number is told by its UUID."""
    one, other = Holder(CHAT, "GPU-c", 0.6, "MIG-1"), Holder(BATCH, "GPU-c", 0.6, "MIG-2")
    assert warned(one, other) == []

    assert warned(one, other, Holder(EMBED, "GPU-c", 0.5, "MIG-1")) == [
        sum_warning("GPU GPU-c, instance MIG-1", "1.1", "chat 0.6, embed 0.5")
    ]


def test_the_doctor_tells_it_of_what_a_look_found() -> None:
    """Two entries with a match, which the configuration alone cannot add up."""
    gpu = GpuReading(Gpu("GPU-a", "NVIDIA H100"), 0)
    actual = DiscoveryResult(holders=(Holder(CHAT, "GPU-a", 0.7), Holder(BATCH, "GPU-a", 0.6)))
    inputs = DoctorInput((gpu,), "", (), "", "", discovery=actual)
    diagnosis = diagnose(Config(), CostPolicy(Tariff("h1")), inputs, 0)

    assert sum_warning("GPU 0", "1.3", "batch 0.6, chat 0.7") in [one.text for one in diagnosis.findings]
