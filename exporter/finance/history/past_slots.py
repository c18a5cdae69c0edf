"""Slots of a past host: when each of its GPUs was listed, and what shows that one has left. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

from exporter.finance.history.host_hours import WHOLE_RATIO, HostHour
from exporter.readings import Gpu, GpuEvidence
from exporter.units import Instant, Nanoseconds, Picodollars

CLOCK_STEP_SECONDS: Final = 60.0
"""A time of boot is the wall clock less the time since then: a step of the clock moves it, too."""


@dataclass(slots=True)
class GpuListing:
    """When one GPU was listed on a host: its first and last hour since 1970, and its samples in each.

    `until` is the end of the last. `time` and `amount` are charged for it without samples.
    """

    gpu: Gpu
    first: int = 0
    first_samples: float = 0.0
    last: int = 0
    samples: float = 0.0
    until: Instant = 0
    time: Nanoseconds = 0
    amount: Picodollars = 0


@dataclass(slots=True)
class PastSlots:
    """The GPUs that were ever listed on a host, by UUID.

    `boot_time` is the latest boot, in seconds since 1970, and 0 where nothing says it. It shows in the GPUs
    up to the hour `boot_shows_until`, and once.
    """

    listings: dict[str, GpuListing] = field(default_factory=dict)
    boot_time: float = 0.0
    boot_shows_until: int = 0

    def add(self, hour: HostHour, boot_time: float) -> None:
        """Note the GPUs that an hour lists, and whether the host booted since its last hour."""
        for part in hour.parts:
            for device in part.devices:
                gpu = device.series.gpu
                samples = hour.counts[gpu.uuid]
                listing = self.listings.setdefault(gpu.uuid, GpuListing(gpu, hour.number, samples))
                listing.last, listing.samples, listing.until = hour.number, samples, part.end
        if self.boot_time and boot_time > self.boot_time + CLOCK_STEP_SECONDS:
            self.boot_shows_until = hour.number + 1
        self.boot_time = max(boot_time, self.boot_time)

    def without_samples(self, gpu: Gpu, since: Instant) -> GpuListing:
        """The listing of a GPU that is charged while it is not listed; `since` if it never was."""
        return self.listings.setdefault(gpu.uuid, GpuListing(gpu, until=since))

    def evidence(
        self,
        slots: Collection[str],
        listed: Collection[str],
        hour: HostHour,
        elsewhere: Mapping[str, Collection[int]],
    ) -> GpuEvidence:
        """What a part of an hour shows of the slots whose GPUs it does not list.

        After a pause in all series of a host that none of its GPUs outlives, it is another host. A GPU that
        another host lists now has left.

        Args:
            slots: the UUIDs of all slots.
            listed: the UUIDs of that part.
            hour: all of it.
            elsewhere: by UUID the hours in which other hosts list it.
        """
        missing = [self.listings[uuid] for uuid in slots if uuid not in listed and uuid in self.listings]
        if not missing:
            return GpuEvidence()
        gone = {
            listing.gpu.uuid
            for listing in missing
            if any(listing.last <= number <= hour.number for number in elsewhere.get(listing.gpu.uuid, ()))
        }
        here = [self.listings[uuid] for uuid in hour.counts]
        booted = bool(listed) and hour.number <= self.boot_shows_until
        if booted:
            self.boot_shows_until = 0
        began = [listing for listing in here if listing not in missing]
        if _paused(missing, began, inf if booted else hour.usual):
            gone.update(listing.gpu.uuid for listing in missing)
        return GpuEvidence(booted=booted, gone=frozenset(gone))


def _paused(missing: Sequence[GpuListing], began: Sequence[GpuListing], usual: float) -> bool:
    """Whether all GPUs that began came after those that are missing had left, with a pause between.

    A pause lacks samples of the `usual` number in an hour; of a boot, nothing more is asked.
    """
    left = max(listing.last for listing in missing)
    came = min((listing.first for listing in began), default=-1)
    if came < left:
        return False
    before = max(listing.samples for listing in missing if listing.last == left)
    after = max(listing.first_samples for listing in began if listing.first == came)
    hours = came - left + 1
    return before + after < usual * (hours - 1 + WHOLE_RATIO)
