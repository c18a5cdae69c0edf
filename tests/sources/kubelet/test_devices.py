"""Allocated devices: those that monitors have."""

from exporter.sources.kubelet.pod_resources import Allocation, without_monitors
from exporter.vendors import NVIDIA, Device

OWN = ("inference-cost", "ice-x7k2p")
DCGM = ("gpu-operator", "nvidia-dcgm-exporter-dra-4xq2v")


def claims(pod: tuple[str, str], *names: str) -> list[Allocation]:
    """What a kubelet lists of a pod with a claim to devices of these names."""
    return [
        Allocation(*pod, "main", NVIDIA.dra_driver, device)
        for device in map(NVIDIA.claimed_device, names)
        if device
    ]


def holders(*given: list[Allocation], own: tuple[str, str] | None = OWN) -> list[tuple[str, str]]:
    """The pods and the devices that are left."""
    left = without_monitors([each for part in given for each in part], own)
    return [(each.pod, each.device.name) for each in left]


def test_a_monitor_by_a_claim_with_admin_access_holds_nothing() -> None:
    """Two GPUs: the claims of the exporter and of a monitor, and a pod with one GPU or a part of one."""
    own, monitor = claims(OWN, "gpu-0", "gpu-1"), claims(DCGM, "gpu-0", "gpu-1")
    chat, part = claims(("ml", "chat-0"), "gpu-1"), claims(("ml", "part-0"), "gpu-1-mig-1g10gb-19-0")

    assert holders(own) == []
    assert holders(own, monitor, chat) == [("chat-0", "nvidia1")]
    assert holders(own, monitor, part) == [("part-0", "nvidia1")]


def test_a_pod_with_every_gpu_is_no_monitor_by_that() -> None:
    """A training has all of them too: only a third pod's GPU says that two claims are to one device."""
    own, train = claims(OWN, "gpu-0", "gpu-1"), claims(("ml", "train-0"), "gpu-0", "gpu-1")

    assert holders(own, train) == [("train-0", "nvidia0"), ("train-0", "nvidia1")]
    assert holders(own, claims(("ml", "a-0"), "gpu-0"), claims(("ml", "b-0"), "gpu-1")) == [
        ("a-0", "nvidia0"),
        ("b-0", "nvidia1"),
    ]


def test_without_a_claim_of_its_own_nobody_is_taken_for_a_monitor() -> None:
    """Neither outside a pod nor beside NVIDIA's device plugin, whose allocations are always left alone."""
    monitor, chat = claims(DCGM, "gpu-0", "gpu-1"), claims(("ml", "chat-0"), "gpu-1")
    both = [(DCGM[1], "nvidia0"), (DCGM[1], "nvidia1"), ("chat-0", "nvidia1")]
    plugin = [Allocation(*DCGM, "main", "nvidia.com/gpu", Device(name="nvidia0"))]

    assert holders(monitor, chat, own=None) == holders(monitor, chat) == both
    assert holders(claims(OWN, "gpu-0", "gpu-1"), monitor, chat, plugin) == [
        ("chat-0", "nvidia1"),
        (DCGM[1], "nvidia0"),
    ]
