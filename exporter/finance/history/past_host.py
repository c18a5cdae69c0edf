"""A host before the daemon: its months, its GPUs, and the state that its next hour builds on. Pure."""

from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

from exporter.cost.advance import GpuOutcome
from exporter.cost.money import add
from exporter.cost.policy import CostPolicy
from exporter.cost.state import State
from exporter.finance.facts import Fact, Measure, measured
from exporter.finance.history.host_hours import WHOLE_RATIO, DeviceKey, HostHour
from exporter.finance.history.kube_state import NodeKey, PodName
from exporter.finance.history.survey import EngineTarget
from exporter.finance.prometheus.hour_queries import HOUR
from exporter.ledger.history import HistorySums, PeakMemory
from exporter.ledger.totals import Totals
from exporter.readings import Gpu, GpuEvidence, HostLocation
from exporter.units import NANOSECONDS_PER_SECOND, Instant, Nanoseconds, Picodollars

CLOCK_STEP_SECONDS: Final = 60.0
"""A time of boot is the wall clock less the time since then: a step of the clock moves it, too."""

USAGE_HOURS: Final = 14 * 24
"""Hours that savings are judged by."""


@dataclass(slots=True)
class GpuListing:
    """When one GPU was listed on a host, and what is charged for it without samples."""

    gpu: Gpu
    first: int = 0
    """The first hour, since 1970, that lists it."""
    first_samples: float = 0.0
    """Its samples in the first hour."""
    last: int = 0
    """The last hour, since 1970, that lists it."""
    samples: float = 0.0
    """Its samples in the last hour."""
    until: Instant = 0
    """The end of the last part of an hour that lists it."""
    time: Nanoseconds = 0
    """Its time without samples that is charged."""
    amount: Picodollars = 0
    """What its time without samples costs."""


@dataclass(slots=True)
class PastSlots:
    """The GPUs that were ever listed on a host."""

    listings: dict[str, GpuListing] = field(default_factory=dict)
    """Listings by the UUID of their GPU."""
    boot_time: float = 0.0
    """The latest boot in seconds since 1970, and 0 where no series has it."""
    boot_shows_until: int = 0
    """The hour since 1970 up to which the latest boot shows in the GPUs, once."""

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
        booted = bool(listed) and hour.number <= self.boot_shows_until
        if booted:
            self.boot_shows_until = 0
        began = [self.listings[uuid] for uuid in hour.counts if self.listings[uuid] not in missing]
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


@dataclass(slots=True)
class PastPage:
    """A metrics page of an inference server, since it was first read on a host."""

    counters: dict[str, float] = field(default_factory=dict)
    """How far its counters rose, by the key of their series."""
    since: dict[str, Instant] = field(default_factory=dict)
    """When it was first read, by the name of its engine: another one may have the address later."""


@dataclass(slots=True)
class PastHost:
    """One host: its months, and what savings and the projection need of its last days."""

    key: NodeKey
    location: HostLocation
    policy: CostPolicy
    cost_state: State = field(default_factory=State)
    """The state of the cost model after the last hour."""
    elapsed: Nanoseconds = 0
    """Time that was charged, which stands for a monotonic clock."""
    first: Instant | None = None
    """When it was first seen."""
    last: Instant = 0
    """When it was last seen."""
    uncharged: Nanoseconds = 0
    """Time without samples that nothing was charged for."""
    samples: Counter[int] = field(default_factory=Counter)
    """The number of hours by their samples of one GPU."""
    targets: set[EngineTarget] = field(default_factory=set)
    """Pages that were ever on it."""
    months: dict[str, dict[Fact, int]] = field(default_factory=dict)
    """Values of facts by the name of their month; the facts have a value of 0 and no day."""
    usage: deque[tuple[int, HistorySums]] = field(default_factory=lambda: deque(maxlen=USAGE_HOURS))
    """GPU time and tokens of the last hours, by hour since 1970."""
    gpus: set[Gpu] = field(default_factory=set)
    """GPUs that were listed at the end of an hour."""
    slots: PastSlots = field(default_factory=PastSlots)
    outcomes: tuple[GpuOutcome, ...] = ()
    """Charges of its GPUs at the end."""
    energy: dict[str, int] = field(default_factory=dict)
    """Millijoules by GPU since it was first seen."""
    pages: dict[EngineTarget, PastPage] = field(default_factory=dict)
    """Pages of inference servers that were on it in its last hour."""
    before: Mapping[DeviceKey, tuple[PodName, ...]] = field(default_factory=dict)
    """Holders of GPUs at the end of the chunk before."""
    recent: Totals = field(default_factory=Totals)
    """Sums of the last hours before the end, for the projection."""

    def unseen_hours(self, before: int) -> range:
        """Whole hours since it was last seen, up to an hour since 1970; none before it was ever seen."""
        return range(-(-self.last // HOUR), before) if self.last else range(0)

    def add(self, month: str, fact: Fact) -> None:
        """Add a fact to a month."""
        add(self.months.setdefault(month, {}), Fact(fact.measure, 0, None, *fact[3:]), fact.value)

    def facts(self, month: str) -> list[Fact]:
        """The facts of a month."""
        return [fact._replace(value=value) for fact, value in self.months[month].items()]

    def every_fact(self, measure: Measure) -> list[Fact]:
        """The facts of a measure in all months."""
        return [fact for month in self.months for fact in measured(self.facts(month), measure)]

    def hours(self, first: int, last: int, _families: Collection[str]) -> Mapping[int, HistorySums]:
        """GPU time and tokens by hour since 1970, as a ledger has them for savings."""
        return {number: sums for number, sums in self.usage if first <= number <= last}

    def memory(self, _first: int, _last: int) -> PeakMemory:
        """None: means of an hour are no peaks."""
        return {}

    def state(self) -> State:
        """The state of the cost model after the last hour, as a ledger has it."""
        return self.cost_state

    @property
    def scrape_seconds(self) -> int | None:
        """Seconds between two samples of its GPUs; `None` without GPUs."""
        if not self.samples:
            return None
        (samples, _hours), *_ = self.samples.most_common(1)
        return max(1, round(HOUR / NANOSECONDS_PER_SECOND / max(1, samples)))
