"""Names of GPUs, as drivers and Kubernetes labels tell them, mean the right model or none."""

from fractions import Fraction

import pytest

from exporter.tariff.catalogue import CATALOGUE
from exporter.tariff.gpu_models import is_part

GIBIBYTE = 2**30

NVML = {
    # data centers, as drivers on cloud instances and tuned-kernel files name them
    "NVIDIA GB300": "GB300",
    "NVIDIA B300 SXM6 AC": "B300-SXM-288GB",
    "NVIDIA GB200": "GB200",
    "NVIDIA B200": "B200-SXM-180GB",
    "NVIDIA B100": "B100",
    "NVIDIA GH200 144G HBM3e": "GH200-144GB",
    "NVIDIA GH200 480GB": "GH200-96GB",
    "NVIDIA GH200 120GB": "GH200-96GB",
    "NVIDIA H200 NVL": "H200-NVL-141GB",
    "NVIDIA H200": "H200-SXM-141GB",
    "NVIDIA H100 NVL": "H100-NVL-94GB",
    "NVIDIA H100 PCIe": "H100-PCIE-80GB",
    "NVIDIA H100 80GB HBM2e": "H100-PCIE-80GB",
    "NVIDIA H100 80GB HBM3": "H100-SXM5-80GB",
    "NVIDIA H100": "H100-SXM5-80GB",
    "NVIDIA H800": "H800-SXM5-80GB",
    "NVIDIA H20-3e": "H20-3e-141GB",
    "NVIDIA H20": "H20-96GB",
    "NVIDIA A100-SXM4-80GB": "A100-SXM4-80GB",
    "A100-SXM-80GB": "A100-SXM4-80GB",
    "NVIDIA A100-SXM4-40GB": "A100-SXM4-40GB",
    "NVIDIA A100 80GB PCIe": "A100-PCIE-80GB",
    "NVIDIA A100-PCIE-40GB": "A100-PCIE-40GB",
    "NVIDIA A800-SXM4-80GB": "A800-80GB",
    "NVIDIA A800 80GB PCIe": "A800-80GB",
    "NVIDIA A40": "A40",
    "NVIDIA A30": "A30",
    "NVIDIA A16": "A16",
    "NVIDIA A10G": "A10G",
    "NVIDIA A10": "A10",
    "NVIDIA A2": "A2",
    "NVIDIA L40S": "L40S",
    "NVIDIA L40": "L40",
    "NVIDIA L20": "L20",
    "NVIDIA L4": "L4",
    "NVIDIA T4G": "T4G",
    "Tesla T4": "T4",
    "Tesla V100-SXM3-32GB": "V100-SXM2-32GB",
    "Tesla V100-SXM2-32GB": "V100-SXM2-32GB",
    "Tesla V100-SXM2-16GB": "V100-SXM2-16GB",
    "Tesla V100S-PCIE-32GB": "V100-PCIE-32GB",
    "Tesla V100-PCIE-32GB": "V100-PCIE-32GB",
    "Tesla V100-PCIE-16GB": "V100-PCIE-16GB",
    "Tesla P100-SXM2-16GB": "P100-SXM2-16GB",
    "Tesla P100-PCIE-16GB": "P100-PCIE-16GB",
    "Tesla P40": "P40",
    "Tesla P4": "P4",
    "Tesla M60": "M60",
    "Tesla K80": "K80",
    # workstations
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": "RTX-PRO-6000-SE",
    "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition": "RTX-PRO-6000-MAXQ",
    "NVIDIA RTX PRO 6000 Blackwell Workstation Edition": "RTX-PRO-6000-WS",
    "NVIDIA RTX PRO 4500 Blackwell Server Edition": "RTX-PRO-4500-SE",
    "NVIDIA RTX 6000 Ada Generation": "RTX-6000-ADA",
    "NVIDIA RTX 5000 Ada Generation": "RTX-5000-ADA",
    "NVIDIA RTX 4000 SFF Ada Generation": "RTX-4000-ADA-SFF",
    "NVIDIA RTX 4000 Ada Generation": "RTX-4000-ADA",
    "NVIDIA RTX A6000": "RTX-A6000",
    "NVIDIA RTX A5000": "RTX-A5000",
    "NVIDIA RTX A4000": "RTX-A4000",
    "Quadro RTX 8000": "QUADRO-RTX-8000",
    "Quadro RTX 6000": "QUADRO-RTX-6000",
    # desktops
    "NVIDIA GeForce RTX 5090": "RTX-5090",
    "NVIDIA GeForce RTX 5090 D": "RTX-5090-D",
    "NVIDIA GeForce RTX 5060 Ti": "RTX-5060-TI",
    "NVIDIA GeForce RTX 4090": "RTX-4090",
    "NVIDIA GeForce RTX 4090 D": "RTX-4090-D",
    "NVIDIA GeForce RTX 4080 SUPER": "RTX-4080-SUPER",
    "NVIDIA GeForce RTX 4080": "RTX-4080",
    "NVIDIA GeForce RTX 3090 Ti": "RTX-3090-TI",
    "NVIDIA GeForce RTX 3090": "RTX-3090",
    "GeForce RTX 2080 Ti": "RTX-2080-TI",
    "NVIDIA TITAN RTX": "TITAN-RTX",
    "NVIDIA TITAN V": "TITAN-V",
    # boxes
    "NVIDIA GB10": "GB10",
    "NVIDIA Thor": "JETSON-THOR",
    "Orin (nvgpu)": "JETSON-ORIN",
}

LABELS = {
    # nvidia.com/gpu.product of GPU feature discovery, and device names in files
    "NVIDIA-H100-80GB-HBM3": "H100-SXM5-80GB",
    "NVIDIA-H100-80GB-HBM3-SHARED": "H100-SXM5-80GB",
    "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb": "H100-SXM5-80GB",
    "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb-SHARED": "H100-SXM5-80GB",
    "NVIDIA-A100-SXM4-40GB": "A100-SXM4-40GB",
    "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb.me": "A100-SXM4-40GB",
    "NVIDIA-A100-80GB-PCIe": "A100-PCIE-80GB",
    "NVIDIA-A10G-SHARED": "A10G",
    "NVIDIA-L40S": "L40S",
    "NVIDIA-L4": "L4",
    "Tesla-T4": "T4",
    "Tesla-T4-SHARED": "T4",
    "Tesla-V100-SXM2-16GB": "V100-SXM2-16GB",
    "Quadro-RTX-6000": "QUADRO-RTX-6000",
    "NVIDIA-RTX-6000-Ada-Generation": "RTX-6000-ADA",
    "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition": "RTX-PRO-6000-SE",
    "NVIDIA-GeForce-RTX-4090": "RTX-4090",
    "NVIDIA-GH200-480GB": "GH200-96GB",
    "NVIDIA_H100_80GB_HBM3": "H100-SXM5-80GB",
    "NVIDIA_A100-SXM4-80GB": "A100-SXM4-80GB",
    "NVIDIA_H20-3e": "H20-3e-141GB",
    "NVIDIA_RTX_PRO_6000_Blackwell_Server_Edition": "RTX-PRO-6000-SE",
}

NONE = (
    "NVIDIA A100",  # 40 or 80 GB: the memory decides
    "NVIDIA A100X",  # with a network processor on the board
    "NVIDIA A100-SXM-64GB",  # made for one machine
    "NVIDIA A100-PG509-200",
    "NVIDIA GeForce RTX 4090 Laptop GPU",
    "NVIDIA GeForce RTX 5090 Laptop GPU",
    "NVIDIA RTX 5000 Ada Generation Laptop GPU",
    "NVIDIA RTX PRO 5000 Blackwell Generation Laptop GPU",
    "Quadro RTX 6000 with Max-Q Design",
    "NVIDIA RTX 6000",  # which of three generations
    "NVIDIA RTX PRO 4500 Blackwell",  # the workstation card is not the server's
    "NVIDIA GeForce RTX 3080 Ti",
    "NVIDIA GeForce RTX 4070 Ti",
    "NVIDIA L40G",
    "NVIDIA H100L 94GB",
    "NVIDIA DGX Display",
    "AMD Instinct MI300X OAM",
    "H",
    "",
    "   ",
    "NVIDIA ",
)


@pytest.mark.parametrize("name", NVML)
def test_a_name_from_a_driver_means_its_model(name: str) -> None:
    """77 names that drivers report."""
    named = CATALOGUE.gpu(name)

    assert named is not None
    assert NVML[name] == named.model.gpu_model
    assert named.part == 1


def test_at_least_the_52_names_that_were_collected_are_among_them() -> None:
    """A list that shrinks is noticed."""
    assert len(NVML) >= 52


@pytest.mark.parametrize("name", LABELS)
def test_a_name_from_a_label_means_its_model(name: str) -> None:
    """Labels have dashes for blanks, and what a GPU is shared by at the end."""
    named = CATALOGUE.gpu(name)

    assert named is not None
    assert LABELS[name] == named.model.gpu_model


@pytest.mark.parametrize("name", NONE)
def test_a_name_that_misleads_means_no_model(name: str) -> None:
    """No price is better than another GPU's."""
    assert CATALOGUE.gpu(name) is None


@pytest.mark.parametrize(
    ("name", "mebibytes", "model"),
    [
        ("NVIDIA A100", 40_536, "A100-PCIE-40GB"),
        ("NVIDIA A100", 81_251, "A100-PCIE-80GB"),
        ("NVIDIA GH200 480GB", 97_871, "GH200-96GB"),  # 480 GB is the processor's
        ("NVIDIA H100 80GB HBM3", 81_559, "H100-SXM5-80GB"),
        ("NVIDIA B200", 183_359, "B200-SXM-180GB"),
        ("NVIDIA B300 SXM6 AC", 275_040, "B300-SXM-288GB"),
        ("NVIDIA L4", 22_888, "L4"),
        ("NVIDIA L4", 2_861, None),  # an eighth of one, on g6f.large
        ("Tesla M60", 7_618, "M60"),
        ("NVIDIA GeForce RTX 4090", 24_564, "RTX-4090"),
        ("NVIDIA GeForce RTX 4090", 49_140, None),  # someone soldered more on
        ("NVIDIA GB10", 122_572, "GB10"),  # a box shares what memory there is
    ],
)
def test_memory_decides_and_contradicts(name: str, mebibytes: int, model: str | None) -> None:
    """An ambiguous name is decided by the memory, and a board with other memory is not the model."""
    named = CATALOGUE.gpu(name, mebibytes * 2**20)

    assert model == (named and named.model.gpu_model)


@pytest.mark.parametrize(
    ("name", "model", "part"),
    [
        ("NVIDIA A10-4Q", "A10", Fraction(1, 6)),
        ("NVIDIA A10-24Q", "A10", Fraction(1)),
        ("GRID T4-8C", "T4", Fraction(1, 2)),
        ("NVIDIA L40S-12Q", "L40S", Fraction(1, 4)),
    ],
)
def test_a_virtual_gpu_is_the_part_of_a_board_that_its_memory_is(
    name: str, model: str, part: Fraction
) -> None:
    """4Q has 4 GB of a 24 GB A10: a sixth."""
    named = CATALOGUE.gpu(name)

    assert named is not None
    assert (model, part) == (named.model.gpu_model, named.part)


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb+me",
        "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb.me",
        "NVIDIA-A100-SXM4-40GB-MIG-1c.3g.20gb",
        "NVIDIA A100-SXM4-40GB",
    ],
)
def test_a_mig_profile_is_no_part_of_the_model(name: str) -> None:
    """The name of a slice is its GPU's with the profile behind it."""
    named = CATALOGUE.gpu(name)

    assert named is not None
    assert named.model.gpu_model == "A100-SXM4-40GB"


@pytest.mark.parametrize(
    ("pattern", "text", "part"),
    [
        ("nvidia-h100*", "NVIDIA H100 80GB HBM3", True),
        ("H?00", "NVIDIA H100", True),
        ("*l4", "NVIDIA L4", True),
        ("A100", "NVIDIA H100", False),
        ("*", "NVIDIA H100", False),  # matches it
        ("", "NVIDIA H100", False),
    ],
)
def test_a_pattern_is_held_against_parts_of_a_name(pattern: str, text: str, *, part: bool) -> None:
    """Case, dashes and stars do not count."""
    assert is_part(pattern, text) is part


@pytest.mark.parametrize("name", ["NVIDIA GB10", "NVIDIA Thor", "Orin (nvgpu)"])
def test_a_box_is_sold_as_a_whole(name: str) -> None:
    """Its memory is the machine's; there is no price of its GPU."""
    named = CATALOGUE.gpu(name)

    assert named is not None
    assert named.model.unit == "box"
    assert CATALOGUE.market(named.model.gpu_model) is None
