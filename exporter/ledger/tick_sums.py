"""Sums of one tick, which totals and history are both made of."""

from dataclasses import dataclass, field
from typing import NamedTuple

from exporter.cost.money import add
from exporter.cost.postings import CostOwner, OwnerPhase, Postings, Segment
from exporter.readings import Gpu
from exporter.report import ServerOwner
from exporter.tariff.rate import PriceBasis
from exporter.units import Nanoseconds, Picodollars

ServerCost = tuple[ServerOwner, str, str]
"""Owner, component, price basis."""


@dataclass(slots=True)
class SegmentSums:
    """Money and GPU time of one segment by key, each key in the order in which it first came.

    The families have the names and meanings of those in `HistorySums`, but `owner_held` and `owner_down` are
    by GPU and cost owner. `usage` is all GPU time by GPU and product.
    """

    segment: Segment
    cost: dict[OwnerPhase, Picodollars] = field(default_factory=dict)
    server_cost: dict[ServerCost, Picodollars] = field(default_factory=dict)
    gpu_cost: dict[tuple[Gpu, str], Picodollars] = field(default_factory=dict)
    held: dict[OwnerPhase, Nanoseconds] = field(default_factory=dict)
    usage: dict[tuple[Gpu, str], Nanoseconds] = field(default_factory=dict)
    gpu_held: dict[Gpu, Nanoseconds] = field(default_factory=dict)
    gpu_unowed: dict[Gpu, Nanoseconds] = field(default_factory=dict)
    gpu_down: dict[Gpu, Nanoseconds] = field(default_factory=dict)
    owner_held: dict[tuple[Gpu, CostOwner], Nanoseconds] = field(default_factory=dict)
    owner_down: dict[tuple[Gpu, CostOwner], Nanoseconds] = field(default_factory=dict)
    unpriced: dict[tuple[Gpu, CostOwner], Nanoseconds] = field(default_factory=dict)

    @classmethod
    def of(cls, segment: Segment) -> "SegmentSums":
        """Sum up the postings of a segment."""
        sums = cls(segment)
        # First by owner, of which there are few: a tick has hundreds of postings.
        purposes: dict[tuple[CostOwner, str, PriceBasis], Picodollars] = {}
        for gpu, component, basis, owner_phase, amount in segment.money:
            add(sums.cost, owner_phase, amount)
            add(purposes, (owner_phase.owner, component, basis), amount)
            add(sums.gpu_cost, (gpu, component), amount)
        for (owner, component, basis), amount in purposes.items():
            server_owner = ServerOwner(owner.product, owner.team, owner.namespace, owner.server)
            add(sums.server_cost, (server_owner, component, basis), amount)
        for time in segment.gpu_times:
            gpu, owner = time.gpu, time.owner_phase.owner
            add(sums.held, time.owner_phase, time.chargeable)
            add(sums.usage, (gpu, owner.product), time.duration)
            add(sums.gpu_held, gpu, time.duration)
            if time.unowed:
                add(sums.gpu_unowed, gpu, time.unowed)
            if time.down:
                add(sums.gpu_down, gpu, time.down)
            if not time.priced:
                add(sums.unpriced, (gpu, owner), time.duration)
                continue
            add(sums.owner_held, (gpu, owner), time.duration)
            if time.down:
                add(sums.owner_down, (gpu, owner), time.down)
        return sums


class TickSums(NamedTuple):
    """Postings of one tick, and the sums of their segments: those of the tick, and late charges."""

    postings: Postings
    segments: tuple[SegmentSums, ...]
    late: tuple[SegmentSums, ...]

    @classmethod
    def of(cls, postings: Postings) -> "TickSums":
        """Sum up the segments of a tick."""
        return cls(
            postings,
            tuple(SegmentSums.of(segment) for segment in postings.segments),
            tuple(SegmentSums.of(segment) for segment in postings.late.segments),
        )
