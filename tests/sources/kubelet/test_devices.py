"""Ids of devices, one by one."""

import pytest

from exporter.sources.kubelet.pod_resources import (
    DRA_DRIVER,
    Allocation,
    Device,
    Placement,
    claimed_device,
    plugin_device,
    shown,
    without_monitors,
)

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
        ("nvidia0", Device(minor=0)),
        ("nvidia15", Device(minor=15)),
        ("nvidia0/gi1", Device(minor=0, gpu_instance=1)),
        ("nvidia0/vgpu0", Device(minor=0, replica=0)),
        ("nvidia3/gi0/vgpu2", Device(minor=3, gpu_instance=0, replica=2)),
        ("all", Device(every=True)),
    ],
)
def test_an_id_of_a_plugin_names_a_device(identifier: str, device: Device) -> None:
    """As NVIDIA's and Google's plugins spell them."""
    assert plugin_device(GPU, identifier) == device


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
    assert plugin_device(GPU, identifier) is None


def test_only_uuids_speak_for_themselves() -> None:
    """Under a resource of another vendor, `nvidia0` and `all` may be anything."""
    assert plugin_device("example.com/a100", f"GPU-{UUID}") == Device(f"GPU-{UUID}")
    assert plugin_device("example.com/a100", "nvidia0") is None
    assert plugin_device("example.com/a100", "all") is None


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("gpu-0", Device(minor=0)),
        ("gpu-12", Device(minor=12)),
        ("gpu-0-mig-1g10gb-19-4", Device(minor=0, placement=Placement(19, 4))),
        ("gpu-3-mig-1g5gb-me-20-0", Device(minor=3, placement=Placement(20, 0))),
        ("gpu-3-mig-1c3g20gb-9-4", Device(minor=3, placement=Placement(9, 4))),
        ("gpu-1-mig-19-2-1", Device(minor=1, placement=Placement(19, 2))),
    ],
)
def test_a_claimed_device_has_its_place_in_its_name(name: str, device: Device) -> None:
    """Minor, profile and first slice; of older drivers without the name of the profile, and with a size."""
    assert claimed_device(name) == device


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
    assert claimed_device(name) is None


def test_an_id_is_shown_on_one_bounded_line() -> None:
    """Whatever somebody calls a device."""
    assert shown("a\nb\x1b[0m" + "c" * 1000) == "ab[0m" + "c" * 123


OWN = ("inference-cost", "ice-x7k2p")
DCGM = ("gpu-operator", "nvidia-dcgm-exporter-dra-4xq2v")


def claims(pod: tuple[str, str], *names: str) -> list[Allocation]:
    """What a kubelet lists of a pod with a claim to devices of these names."""
    return [Allocation(*pod, "main", DRA_DRIVER, device) for device in map(claimed_device, names) if device]


def holders(*given: list[Allocation], own: tuple[str, str] | None = OWN) -> list[tuple[str, int | None]]:
    """The pods and the minor numbers that are left."""
    left = without_monitors([each for part in given for each in part], own)
    return [(each.pod, each.device.minor) for each in left]


def test_a_monitor_by_a_claim_with_admin_access_holds_nothing() -> None:
    """Two GPUs: the claims of the exporter and of a monitor, and a pod with one GPU or a part of one."""
    own, monitor = claims(OWN, "gpu-0", "gpu-1"), claims(DCGM, "gpu-0", "gpu-1")
    chat, part = claims(("ml", "chat-0"), "gpu-1"), claims(("ml", "part-0"), "gpu-1-mig-1g10gb-19-0")

    assert holders(own) == []
    assert holders(own, monitor, chat) == [("chat-0", 1)]
    assert holders(own, monitor, part) == [("part-0", 1)]


def test_a_pod_with_every_gpu_is_no_monitor_by_that() -> None:
    """A training has all of them too: only a third pod's GPU says that two claims are to one device."""
    own, train = claims(OWN, "gpu-0", "gpu-1"), claims(("ml", "train-0"), "gpu-0", "gpu-1")

    assert holders(own, train) == [("train-0", 0), ("train-0", 1)]
    assert holders(own, claims(("ml", "a-0"), "gpu-0"), claims(("ml", "b-0"), "gpu-1")) == [
        ("a-0", 0),
        ("b-0", 1),
    ]


def test_without_a_claim_of_its_own_nobody_is_taken_for_a_monitor() -> None:
    """Neither outside a pod nor beside NVIDIA's device plugin, whose allocations are always left alone."""
    monitor, chat = claims(DCGM, "gpu-0", "gpu-1"), claims(("ml", "chat-0"), "gpu-1")
    both = [(DCGM[1], 0), (DCGM[1], 1), ("chat-0", 1)]
    plugin = [Allocation(*DCGM, "main", "nvidia.com/gpu", Device(minor=0))]

    assert holders(monitor, chat, own=None) == holders(monitor, chat) == both
    assert holders(claims(OWN, "gpu-0", "gpu-1"), monitor, chat, plugin) == [("chat-0", 1), (DCGM[1], 0)]
