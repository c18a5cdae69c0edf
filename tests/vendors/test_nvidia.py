"""Ids of NVIDIA's devices, one by one."""

import pytest

from exporter.vendors import NVIDIA, Device, Placement

UUID = "5b1c3a2e-9f40-4d7a-8c61-0a1b2c3d4e5f"
GPU = "nvidia.com/gpu"


@pytest.mark.parametrize(
    ("identifier", "device"),
    [
        (f"GPU-{UUID}", Device(f"GPU-{UUID}")),
        (f"GPU-{UUID}::0", Device(f"GPU-{UUID}", replica=0)),
        (f"GPU-{UUID}::17", Device(f"GPU-{UUID}", replica=17)),
        (f"MIG-{UUID}", Device(mig_uuid=f"MIG-{UUID}")),
        (f"MIG-{UUID}::2", Device(mig_uuid=f"MIG-{UUID}", replica=2)),
        (
            f"MIG-GPU-{UUID}/13/0::4",
            Device(f"GPU-{UUID}", mig_uuid=f"MIG-GPU-{UUID}/13/0", gpu_instance=13, replica=4),
        ),
        ("nvidia0", Device(name="nvidia0")),
        ("nvidia15", Device(name="nvidia15")),
        ("nvidia0/gi1", Device(name="nvidia0", gpu_instance=1)),
        ("nvidia0/vgpu0", Device(name="nvidia0", replica=0)),
        ("nvidia3/gi0/vgpu2", Device(name="nvidia3", gpu_instance=0, replica=2)),
        ("all", Device(every=True)),
    ],
)
def test_an_id_of_a_plugin_names_a_device(identifier: str, device: Device) -> None:
    """As NVIDIA's and Google's plugins spell them."""
    assert NVIDIA.plugin_device(GPU, identifier) == device


@pytest.mark.parametrize(
    "identifier",
    [
        "",
        "GPU-",
        f"GPU-{UUID}-0",
        f"GPU-{UUID}::",
        f"GPU-{UUID}::x",
        f"GPU-{UUID}::99999",
        f"GPU-{UUID}::1::2",
        f"GPU-{UUID.upper()}",
        f" GPU-{UUID}",
        f"GPU-{UUID}\n",
        f"MIG-GPU-{UUID}",
        f"MIG-GPU-{UUID}/1",
        "nvidia",
        "nvidia0/",
        "nvidia0/vgpu0/gi0",
        "nvidia-1",
        "nvidia\u0663",
        "nvidia0/gi1/ci0",
        "ALL",
        "0",
    ],
)
def test_an_id_that_is_none_of_these_is_not_guessed(identifier: str) -> None:
    """A prefix that looks right is not enough: the money of a pod hangs on it."""
    assert NVIDIA.plugin_device(GPU, identifier) is None


def test_only_uuids_speak_for_themselves() -> None:
    """Under a resource of another vendor, `nvidia0` and `all` may be anything."""
    assert NVIDIA.plugin_device("example.com/a100", f"GPU-{UUID}") == Device(f"GPU-{UUID}")
    assert NVIDIA.plugin_device("example.com/a100", "nvidia0") is None
    assert NVIDIA.plugin_device("example.com/a100", "all") is None


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("gpu-0", Device(name="nvidia0")),
        ("gpu-12", Device(name="nvidia12")),
        ("gpu-0-mig-1g10gb-19-4", Device(name="nvidia0", placement=Placement(19, 4))),
        ("gpu-3-mig-1g5gb-me-20-0", Device(name="nvidia3", placement=Placement(20, 0))),
        ("gpu-3-mig-1c3g20gb-9-4", Device(name="nvidia3", placement=Placement(9, 4))),
        ("gpu-1-mig-19-2-1", Device(name="nvidia1", placement=Placement(19, 2))),
    ],
)
def test_a_claimed_device_has_its_place_in_its_name(name: str, device: Device) -> None:
    """Minor, profile and first slice; of older drivers without the name of the profile, and with a size."""
    assert NVIDIA.claimed_device(name) == device


@pytest.mark.parametrize(
    "name",
    [
        "",
        "gpu",
        "gpu-",
        "gpu-x",
        "gpu-vfio-0",
        "gpu-0-mig",
        "gpu-0-mig-19-2",
        "gpu-0-mig-4g48gb-0-3-",
        "GPU-0",
    ],
)
def test_another_name_of_a_claimed_device_is_not_guessed(name: str) -> None:
    """Among them a card that is passed through to a virtual machine, which NVML does not see."""
    assert NVIDIA.claimed_device(name) is None
