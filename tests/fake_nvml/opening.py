"""What tests of the fake library share: three GPUs, NVML opened on some, the code that a call fails with."""

import pynvml
import pytest

from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Gpu, Hang, Return, Scenario, Slow

A = Gpu(uuid="GPU-a", pci="00000000:1B:00.0")
B = Gpu(uuid="GPU-b", pci="00000000:43:00.0")
C = Gpu(uuid="GPU-c", pci="00000000:52:00.0")


def code_of(function: str, *arguments: object) -> int:
    """The code that a call fails with."""
    with pytest.raises(pynvml.NVMLError) as raised:
        getattr(pynvml, function)(*arguments)
    return int(raised.value.value)


def opened(fake: FakeNvml, *gpus: Gpu, rules: tuple[Return | Slow | Hang, ...] = ()) -> list[object]:
    """Open NVML on a host of these GPUs; their handles."""
    fake.set(Scenario(gpus, rules))
    pynvml.nvmlInit()
    return [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
