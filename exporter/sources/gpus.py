"""GPU sources: one for each vendor, and the answers of all of them put together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from exporter.clock import Clock
from exporter.readings import LIBRARY_LOADED, NO_EVIDENCE, FailureReason, GpuEvidence, GpuReading, Source
from exporter.sources.gather import Gathered
from exporter.sources.nvml.source import NvmlSource
from exporter.sources.pci import DisplayDevices
from exporter.vendors import GpuVendor


class GpuSource(Source[tuple[GpuReading, ...]], Protocol):
    """Reads all GPUs of one vendor. A GPU that cannot be read is in the reading, not `up`."""

    @property
    def vendor(self) -> GpuVendor:
        """Whose GPUs it reads."""
        ...


def gpu_sources(clock: Clock) -> tuple[GpuSource, ...]:
    """The GPU sources of this host, one for each of `exporter.vendors.VENDORS`."""
    return (NvmlSource(clock),)


@dataclass(frozen=True, slots=True)
class GpuAnswers:
    """The GPUs of one tick, of all vendors."""

    gathered: tuple[Gathered, ...]
    """The answer of each source."""
    gpus: tuple[GpuReading, ...] | None
    """`None` while the GPUs of a vendor are unknown."""
    evidence: GpuEvidence
    """What the host shows of the GPUs that are not listed."""

    @property
    def source(self) -> str:
        """Name of the source that read the GPUs; of the first one while none did."""
        first = self.gathered[0].health.source
        return next((answer.health.source for answer in self.gathered if answer.health.up), first)

    @property
    def problem(self) -> str:
        """Why GPUs are unknown, for people; empty where none are."""
        return "; ".join(
            answer.problem for answer in self.gathered if answer.health.expected and answer.problem
        )


def combine(
    sources: Sequence[GpuSource],
    answers: Sequence[Gathered],
    displays: Callable[[GpuVendor], DisplayDevices],
) -> GpuAnswers:
    """The answers of all GPU sources, put together.

    A vendor without a library and without a device on the bus has no GPU here, as long as another vendor's
    GPUs are listed: its failure is expected. Any other failure leaves the GPUs of this host unknown.
    Indices of later vendors begin after those of earlier ones.
    """
    gpus: list[GpuReading] = []
    for answer in answers:
        first = len(gpus)
        gpus += [replace(reading, index=first + reading.index) for reading in answer.reading or ()]
    gathered: list[Gathered] = []
    unknown = False
    library = False
    here = passed_through = 0
    for source, answer in zip(sources, answers, strict=True):
        gathered.append(answer)
        if gpus and answer.health.up:
            continue
        devices = displays(source.vendor)
        library |= answer.health.up or answer.health.reason in LIBRARY_LOADED
        here += devices.here
        passed_through += devices.passed_through
        if answer.health.up:
            continue
        absent = answer.health.reason is FailureReason.LIBRARY_MISSING and not devices.here
        if gpus and absent:
            gathered[-1] = replace(answer, health=replace(answer.health, expected=False))
        else:
            unknown = True
    silent = unknown or not gpus
    return GpuAnswers(
        gathered=tuple(gathered),
        gpus=None if unknown else tuple(gpus),
        evidence=GpuEvidence(library, here, passed_through) if silent else NO_EVIDENCE,
    )
