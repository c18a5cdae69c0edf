"""What each way of giving out GPUs makes of a kubelet's answer; expectations are read off the text files."""

import re
from pathlib import Path
from typing import Any

import pytest

from exporter.clock import SystemClock
from exporter.sources.kubelet import (
    Allocation,
    Allocations,
    PodResourcesSource,
    UnknownDevice,
)
from exporter.sources.kubelet.pod_resources import with_uuids
from exporter.vendors import Device, Placement

REPLIES = Path(__file__).parent / "replies"
BYTES = sorted(REPLIES.glob("*.binpb"))

CARD = "GPU-5b1c3a2e-9f40-4d7a-8c61-0a1b2c3d4e5f"
GPU, SHARED = "nvidia.com/gpu", "nvidia.com/gpu.shared"
DRIVER = "gpu.nvidia.com"
SLICE = "MIG-a1b2c3d4-0000-5111-8222-33334444"

EXPECTED = {
    "exclusive": Allocations(
        (
            Allocation("inference", "chat-7d9c5b6f4-x2x7q", "vllm", GPU, Device(CARD)),
            Allocation(
                "inference",
                "chat-7d9c5b6f4-x2x7q",
                "vllm",
                GPU,
                Device("GPU-c0ffee00-1234-4abc-9def-001122334455"),
            ),
            Allocation(
                "search", "embed-0", "server", GPU, Device("GPU-00000000-0000-4000-8000-000000000007")
            ),
        )
    ),
    "time-slicing": Allocations(
        (
            Allocation("team-a", "a", "main", SHARED, Device(CARD, replica=0)),
            Allocation("team-b", "b", "main", SHARED, Device(CARD, replica=3)),
            Allocation("team-c", "c", "main", GPU, Device(CARD, replica=1)),
            Allocation("team-c", "c", "main", GPU, Device(CARD, replica=12)),
        )
    ),
    "mig-single": Allocations(
        (
            Allocation("inference", "chat-0", "vllm", GPU, Device(mig_uuid=f"{SLICE}5555")),
            Allocation("inference", "chat-1", "vllm", GPU, Device(mig_uuid=f"{SLICE}6666", replica=1)),
        )
    ),
    "mig-mixed": Allocations(
        (
            Allocation(
                "inference", "chat-0", "vllm", "nvidia.com/mig-3g.40gb", Device(mig_uuid=f"{SLICE}7777")
            ),
            Allocation(
                "inference", "chat-0", "reranker", "nvidia.com/mig-1g.10gb", Device(mig_uuid=f"{SLICE}8888")
            ),
            Allocation(
                "inference",
                "old-0",
                "main",
                "nvidia.com/mig-1g.5gb",
                Device(CARD, mig_uuid=f"MIG-{CARD}/7/0", gpu_instance=7),
            ),
        )
    ),
    "gke": Allocations(
        (
            Allocation("default", "whole", "main", GPU, Device("GPU-zero", name="nvidia0")),
            Allocation("default", "part", "main", GPU, Device("GPU-one", name="nvidia1", gpu_instance=1)),
            Allocation("default", "shared", "main", GPU, Device("GPU-two", name="nvidia2", replica=0)),
            Allocation(
                "default", "shared-part", "main", GPU, Device("", name="nvidia10", gpu_instance=0, replica=7)
            ),
        )
    ),
    "dra": Allocations(
        (
            Allocation("inference", "chat-0", "vllm", DRIVER, Device("GPU-zero", name="nvidia0")),
            Allocation("inference", "chat-0", "router", DRIVER, Device("GPU-zero", name="nvidia0")),
            Allocation(
                "inference",
                "small-0",
                "main",
                DRIVER,
                Device("GPU-one", name="nvidia1", placement=Placement(19, 4)),
            ),
            Allocation(
                "inference",
                "small-0",
                "main",
                DRIVER,
                Device("GPU-two", name="nvidia2", placement=Placement(9, 0)),
            ),
        ),
        (UnknownDevice(DRIVER, "gpu-vfio-0"),),
        1,
    ),
    "terminal": Allocations(
        (
            Allocation("research", "train-vk7z4", "main", GPU, Device(CARD)),
            Allocation("inference", "chat-0", "vllm", GPU, Device(CARD)),
        )
    ),
    "wsl": Allocations((Allocation("default", "chat-0", "main", GPU, Device(every=True)),)),
    "unknown": Allocations(
        (),
        (
            UnknownDevice("volcano.sh/vgpu-number", f"{CARD}-3"),
            UnknownDevice("nvidia.com/GA102GL_A10", "42"),
            UnknownDevice("nvidia.com/GA102GL_A10", "GPU-5B1C"),
        ),
        3,
    ),
}

UUIDS = {"nvidia0": "GPU-zero", "nvidia1": "GPU-one", "nvidia2": "GPU-two"}


@pytest.mark.parametrize("file", BYTES, ids=lambda file: file.stem)
def test_each_way_of_giving_out_gpus_is_understood(kubelet: Any, file: Path) -> None:
    """From the socket to the allocations; what has no number in our table keeps its number alone."""
    kubelet.reply = file.read_bytes()
    source = PodResourcesSource(SystemClock(), path=kubelet.path)
    expected = EXPECTED[file.stem]

    assert with_uuids(source.read(), UUIDS) == expected
    assert source.errors == ((("unknown_device", expected.unknown_count),) if expected.unknown_count else ())
    assert (kubelet.methods, kubelet.requests) == (["/v1.PodResourcesLister/List"], [b""])


def test_every_reply_has_an_expectation() -> None:
    """And the other way round."""
    assert {file.stem for file in BYTES} == set(EXPECTED)


@pytest.mark.parametrize("file", BYTES, ids=lambda file: file.stem)
def test_the_text_beside_a_reply_is_its_text(file: Path) -> None:
    """Every string of the one is in the other, so that a text which was changed alone is seen."""
    text = re.sub(r"^#.*\n", "", file.with_suffix(".txtpb").read_text(encoding="utf-8"), flags=re.MULTILINE)
    strings = re.findall(r'"([^"]*)"', text)
    assert [word for word in strings if word.encode() not in file.read_bytes()] == []
    assert len(strings) > 3
