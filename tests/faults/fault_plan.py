"""What is done to a host, and when: a plan that a seed decides."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

TICKS: Final = 72
"""Ten minutes of faults and two of peace, a tick each 10 s: what was cut off is asked again every 30 s."""

LAST_FAULT: Final = 60
"""No fault lasts beyond this tick."""

GPUS: Final = 8
SERVERS: Final = 4

NVML_CODES: Final = (1, 2, 3, 4, 6, 15, 16, 28, 999)
"""Uninitialized, bad argument, unsupported, no permission, not found, lost, reset, GPU not found, unknown."""

NVML_CALLS: Final = (
    "nvmlDeviceGetCount_v2",
    "nvmlDeviceGetHandleByIndex_v2",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetMemoryInfo_v2",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetTotalEnergyConsumption",
    "nvmlDeviceGetSamples",
    "nvmlDeviceGetUtilizationRates",
    "*",
)

PAGES: Final = (
    "500",
    "redirect",
    "html",
    "empty",
    "cut",
    "huge",
    "gzip bomb",
    "not a number",
    "infinite",
    "negative",
    "too large to count",
    "twice",
    "noise",
)
"""What a server may answer instead of its page."""

KINDS: Final = {
    "nvml returns": (12, lambda chance: f"{chance.choice(NVML_CALLS)} {chance.choice(NVML_CODES)}"),
    "nvml hangs": (8, lambda chance: chance.choice(NVML_CALLS)),
    "gpu lost": (12, lambda _: ""),
    "gpu gone": (12, lambda _: ""),
    "driver gone": (12, lambda _: ""),
    "energy begins anew": (1, lambda _: ""),
    "energy falls": (2, lambda _: ""),
    "energy leaps": (1, lambda _: ""),
    "server killed": (10, lambda _: ""),
    "server restarted": (1, lambda _: ""),
    "server hangs": (10, lambda chance: chance.choice(["connecting", "reading"])),
    "server out of descriptors": (10, lambda _: ""),
    "server lies": (6, lambda chance: chance.choice(PAGES)),
    "disk": (20, lambda chance: chance.choice(["full", "read only", "fails", "lies", "locked"])),
    "stopped": (1, lambda chance: str(chance.choice([15, 59, 60, 61, 300, 1000]))),
    "killed": (1, lambda chance: str(chance.choice([0, 1, 30, 61, 400]))),
    "clock": (20, lambda chance: str(chance.choice([-86_400, -61, -1, 1, 61, 86_400]))),
    "scrapers": (3, lambda chance: str(chance.choice([20, 100]))),
}
"""Each kind with the most ticks that it lasts, and how it is done."""


@dataclass(frozen=True, order=True)
class Fault:
    """Something done from the tick `start` on, for so many ticks, to the GPU or server of a number.

    What is done at once has a length of 1. How long a process stands still is in `how`, in seconds.
    """

    start: int
    length: int
    kind: str
    target: int
    how: str

    @property
    def last(self) -> int:
        """The last tick at which it is done."""
        return self.start + self.length - 1

    def on(self, tick: int) -> bool:
        """Whether it is done at a tick."""
        return self.start <= tick <= self.last


Draw = Callable[[random.Random], str]


def plan(seed: int) -> tuple[Fault, ...]:
    """Eight to twenty faults in order. The first tick finds the host well.

    A GPU's counter of energy is meddled with once at most: of two falls at a time nobody could tell what
    they hid. For the same reason it is left alone while that GPU, NVML or the daemon is not there.
    """
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    faults: list[Fault] = []
    for _ in range(chance.randint(8, 20)):
        kind = chance.choice(sorted(KINDS))
        longest, draw = KINDS[kind]
        length = chance.randint(1, longest)
        start = chance.randint(1, LAST_FAULT - length + 1)
        target = chance.randrange(SERVERS if kind.startswith("server") else GPUS)
        faults.append(Fault(start, length, kind, target, draw(chance)))
    return tuple(sorted(_possible(faults)))


def _possible(faults: list[Fault]) -> list[Fault]:
    meddled: set[int] = set()
    possible: list[Fault] = []
    blinding = [fault for fault in faults if blinds(fault)]
    for fault in faults:
        if fault.kind.startswith("energy"):
            around = range(fault.start - 1, fault.last + 5)
            if fault.target in meddled or any(other.on(tick) for other in blinding for tick in around):
                continue
            meddled.add(fault.target)
        possible.append(fault)
    return possible


def blinds(fault: Fault) -> bool:
    """Whether the daemon may not see what a GPU does, or not remember it."""
    return fault.kind.startswith(("nvml", "gpu", "driver", "stopped", "killed", "disk"))
