"""What the fake NVML library should tell, as dataclasses that print themselves in its grammar (README.md)."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

NOT_AVAILABLE = 2**64 - 1
"""NVML's sentinel; cut to the width of the call that tells it."""

Ring: TypeAlias = Literal["power", "utilization", "memory"]


@dataclass(frozen=True)
class Process:
    """One entry of a process list. `gi` and `ci` only on a GPU that is cut into instances."""

    pid: int
    memory: int = 0
    kind: Literal["compute", "graphics", "mps"] = "compute"
    gi: int | None = None
    ci: int | None = None

    def line(self) -> str:
        """The rest of its line."""
        instance = "" if self.gi is None else f" {self.gi} {self.ci or 0}"
        return f"process {self.kind} {self.pid} {self.memory}{instance}"


@dataclass(frozen=True)
class ProcessUtilization:
    """One record of per-process utilization, in percent; without `timestamp_us` it is always of now."""

    pid: int
    sm: int
    memory: int = 0
    timestamp_us: int = 0

    def line(self) -> str:
        """The rest of its line."""
        return f"process_utilization {self.pid} {self.sm} {self.memory} {self.timestamp_us}"


@dataclass(frozen=True)
class Sample:
    """One explicit entry of a sample ring; any explicit entry replaces that live ring."""

    timestamp_us: int
    value: int
    ring: Ring = "utilization"

    def line(self) -> str:
        """The rest of its line."""
        return f"sample {self.ring} {self.timestamp_us} {self.value}"


@dataclass(frozen=True)
class Mig:
    """One MIG device: a compute instance of a GPU instance."""

    index: int
    uuid: str
    gi: int
    ci: int = 0
    sm: int = 16
    gi_slices: int = 1
    ci_slices: int = 1
    memory_total: int = 10 * 2**30
    memory_used: int = 0

    def line(self) -> str:
        """The rest of its line."""
        return (
            f"mig {self.index} uuid {self.uuid} gi {self.gi} ci {self.ci} sm {self.sm} "
            f"gi_slices {self.gi_slices} ci_slices {self.ci_slices} "
            f"memory_total {self.memory_total} memory_used {self.memory_used}"
        )


@dataclass(frozen=True)
class Gpm:
    """The constant value of one GPM metric (percent for utilizations), of the GPU or of an instance."""

    metric: int
    value: float
    gi: int | None = None

    def line(self) -> str:
        """The rest of its line."""
        return f"gpm {self.metric} {self.value}" + ("" if self.gi is None else f" {self.gi}")


@dataclass(frozen=True)
class Gpu:
    """One GPU, an idle H100 unless said otherwise; its number is its place in the scenario.

    `lost`: fell off the bus, still counted. `gone`: unplugged, no longer counted, later indices shift.
    `energy_mj` is the counter at `energy_since_us` (wall clock), advancing by `energy_rate_mw`;
    without a `since` it is the moment that the scenario was written.
    Further lines of the grammar go into `lines`, without their `gpu N`.
    """

    uuid: str
    name: str = "NVIDIA H100 80GB HBM3"
    pci: str = ""
    lost: bool = False
    gone: bool = False
    mig_mode: bool = False
    memory_total: int = 85_520_809_984
    memory_used: int = 0
    memory_reserved: int = 547_749_888
    power_mw: int = 70_000
    power_limit_mw: int = 700_000
    enforced_limit_mw: int = 0
    energy_mj: int = 1_000_000_000
    energy_rate_mw: int = 0
    energy_since_us: int = 0
    utilization: int = 0
    memory_utilization: int = 0
    samples: tuple[Sample, ...] = ()
    processes: tuple[Process, ...] = ()
    process_utilization: tuple[ProcessUtilization, ...] = ()
    mig: tuple[Mig, ...] = ()
    gpm: tuple[Gpm, ...] = ()
    lines: tuple[str, ...] = ()

    def text(self, number: int) -> str:
        """Its lines."""
        words = [f"uuid {self.uuid}", f"name {self.name}"]
        words += [f"pci {self.pci}"] if self.pci else []
        words += [f"{flag} 1" for flag in ("lost", "gone", "mig_mode") if getattr(self, flag)]
        words += [
            f"{key} {getattr(self, key)}"
            for key in (
                "memory_total",
                "memory_used",
                "memory_reserved",
                "power_mw",
                "power_limit_mw",
                "enforced_limit_mw",
                "utilization",
                "memory_utilization",
            )
        ]
        words += [
            f"energy_mj {self.energy_mj} rate_mw {self.energy_rate_mw} since_us {self.energy_since_us}",
            *(
                entry.line()
                for entry in (
                    *self.samples,
                    *self.processes,
                    *self.process_utilization,
                    *self.mig,
                    *self.gpm,
                )
            ),
            *self.lines,
        ]
        return "".join(f"gpu {number} {line}\n" for line in words)


@dataclass(frozen=True)
class Return:
    """Calls of `function` return `code`: from the one after `after` on, `times` of them (forever).

    Counting starts anew with each scenario, in C calls: `pynvml` asks twice for a list (once for its length).
    `gpu` may be a part of one: "0/2" is its MIG device 2, "0/whole" the card itself.
    """

    function: str
    code: int
    gpu: int | str | None = None
    after: int = 0
    times: int | None = None

    def text(self) -> str:
        """Its line."""
        times = "" if self.times is None else f" {self.times}"
        return f"return {self.function} {_which(self.gpu)} {self.code} {self.after}{times}\n"


@dataclass(frozen=True)
class Slow:
    """Calls of `function` take `milliseconds` longer."""

    function: str
    milliseconds: int
    gpu: int | str | None = None
    after: int = 0
    times: int | None = None

    def text(self) -> str:
        """Its line."""
        times = "" if self.times is None else f" {self.times}"
        return f"slow {self.function} {_which(self.gpu)} {self.milliseconds} {self.after}{times}\n"


@dataclass(frozen=True)
class Hang:
    """Calls of `function` do not return before a scenario without this rule is written."""

    function: str
    gpu: int | str | None = None

    def text(self) -> str:
        """Its line."""
        return f"hang {self.function} {_which(self.gpu)}\n"


@dataclass(frozen=True)
class Scenario:
    """A host as NVML tells it."""

    gpus: tuple[Gpu, ...] = ()
    rules: tuple[Return | Slow | Hang, ...] = ()
    driver: str = "570.148.08"
    lines: tuple[str, ...] = field(default=())

    def text(self) -> str:
        """The whole file."""
        parts = [f"driver {self.driver}\n", *(gpu.text(number) for number, gpu in enumerate(self.gpus))]
        parts += [rule.text() for rule in self.rules]
        parts += [f"{line}\n" for line in self.lines]
        return "".join(parts)

    def write(self, path: Path) -> None:
        """Replace the file at once: a library that reads it meanwhile sees the old world or the new."""
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.write_text(self.text(), encoding="utf-8")
        fresh.replace(path)


def h100s(
    count: int = 8, *, utilization: int = 0, power_mw: int = 70_000, energy_since_us: int | None = None
) -> tuple[Gpu, ...]:
    """A host of H100s whose energy counters advance with their power from now (or `energy_since_us`) on."""
    since = time.time_ns() // 1000 if energy_since_us is None else energy_since_us
    return tuple(
        Gpu(
            uuid=f"GPU-{number:08x}-1111-2222-3333-444444444444",
            pci=f"00000000:{0x1B + number:02X}:00.0",
            utilization=utilization,
            power_mw=power_mw,
            energy_rate_mw=power_mw,
            energy_since_us=since,
            memory_used=70 * 2**30 if utilization else 0,
        )
        for number in range(count)
    )


def _which(gpu: int | str | None) -> str:
    return "*" if gpu is None else str(gpu)
