"""A meter of the cost model that adds up what each tick posts, and checks it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from exporter.cost.advance import TickOutcome, advance
from exporter.cost.intervals import IntervalKind
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import CostOwner, Segment
from exporter.cost.state import State
from exporter.readings import NO_EVIDENCE, Frame, GpuEvidence, GpuReading, Holder, ServerReading
from tests.cost.readings import START
from tests.kit.units import SECOND


@dataclass
class CheckedMeter:
    """Takes ticks, adds up what they post by plain sums, and checks on each that nothing is lost."""

    policy: CostPolicy
    wall: int = START
    state: State = field(default_factory=State)
    elapsed: int = 5_000 * SECOND
    money: Counter[Any] = field(default_factory=Counter)
    """By (uuid, component, owner, phase)."""
    gpu_time: Counter[Any] = field(default_factory=Counter)
    """By (uuid, owner, phase)."""
    tokens: Counter[Any] = field(default_factory=Counter)
    """By (server, model, kind)."""
    requests: Counter[Any] = field(default_factory=Counter)
    energy: Counter[str] = field(default_factory=Counter)
    months: Counter[Any] = field(default_factory=Counter)
    """By (month, uuid, component)."""
    outcome: TickOutcome | None = None
    evidence: GpuEvidence = NO_EVIDENCE
    """What the host shows of its GPUs beside their list, at each tick."""

    def tick(
        self,
        duration: float,
        gpus: Iterable[GpuReading] | None,
        servers: Iterable[ServerReading] = (),
        holders: Iterable[Holder] = (),
    ) -> TickOutcome:
        """Let time pass and read. `duration` is in seconds."""
        return self.pass_by(round(duration * SECOND), gpus, servers, holders)

    def pass_by(
        self,
        nanoseconds: int,
        gpus: Iterable[GpuReading] | None,
        servers: Iterable[ServerReading] = (),
        holders: Iterable[Holder] = (),
        **more: Any,
    ) -> TickOutcome:
        """As `tick`, in nanoseconds; `more` are other fields of the frame."""
        first = self.state.elapsed is None
        self.elapsed += nanoseconds
        self.wall += nanoseconds
        read = None if gpus is None else tuple(gpus)
        more.setdefault("evidence", self.evidence)
        frame = Frame(self.elapsed, self.wall, read, tuple(servers), tuple(holders), **more)
        accrued, before = self.state.accrued, self.state
        outcome = advance(self.state, frame, self.policy)
        self.state, self.outcome = outcome.state, outcome
        posted = outcome.postings
        for segment in posted.segments:
            assert segment.accrued == sum(row.amount for row in segment.money)
            assert all(row.amount > 0 for row in segment.money)
            assert all(row.duration > 0 for row in segment.gpu_times)
            spent: Counter[str] = Counter()
            for time in segment.gpu_times:
                self.gpu_time[time.gpu.uuid, time.owner_phase.owner, time.owner_phase.phase] += time.duration
                spent[time.gpu.uuid] += time.duration
            length = segment.end - segment.start
            paid = self._paid(frame, before, segment)
            assert spent == {uuid: count * length for uuid, count in paid.items()}
            for row in segment.money:
                self.money[row.gpu.uuid, row.component, row.owner_phase.owner, row.owner_phase.phase] += (
                    row.amount
                )
                self.months[segment.month, row.gpu.uuid, row.component] += row.amount
            accrued += segment.accrued
        assert self.state.accrued == accrued
        ends = [segment.end for segment in posted.segments]
        starts = [segment.start for segment in posted.segments]
        assert starts[1:] == ends[:-1]
        if not first and nanoseconds > 0 and self.state.gpus:
            assert (starts[0], ends[-1]) == (self.wall - nanoseconds, self.wall)
        for tokens in posted.tokens:
            assert tokens.count >= 0
            self.tokens[tokens.owner.server, tokens.owner.model, tokens.kind] += tokens.count
        for requests in posted.requests:
            self.requests[requests.owner.server, requests.owner.model] += requests.count
        for energy in posted.energy:
            self.energy[energy.gpu.uuid] += energy.energy
        loaded = [
            self.policy.owner_of(key, load.model)
            for key, server in outcome.activity.items()
            for load in server.loads
        ]
        assert len(loaded) == len(set(loaded))  # a series each
        return outcome

    def _paid(self, frame: Frame, before: State, segment: Segment) -> Counter[str]:
        """The GPUs that are paid for, by UUID: of a gap those before it, else those after the tick.

        Not those that are said to have left; one that was lost before a gap may be released by it.
        """
        assert self.outcome is not None
        tariff, listed = self.policy.tariff, {reading.gpu.uuid for reading in frame.gpus or ()}
        charged = self.outcome.charged
        assert charged is not None
        slots = {**before.gpus, **self.state.gpus}
        known, unseen = slots, self.state.unseen
        if charged.kind is IntervalKind.GAP:
            released = self.outcome.inventory.released
            known = {uuid: gpu for uuid, gpu in before.gpus.items() if uuid not in released or gpu.up}
            unseen = before.unseen
            if len(self.state.gpus) < len(before.gpus) and segment.start >= (charged.booted or segment.end):
                known = {uuid: gpu for uuid, gpu in known.items() if uuid not in released}
                unseen = {model: gpu for model, gpu in unseen.items() if model in self.state.unseen}
        else:
            gone = {change.old.uuid for change in self.outcome.inventory.replaced}
            known = {uuid: gpu for uuid, gpu in slots.items() if uuid not in gone}
            known = {u: gpu for u, gpu in known.items() if u not in self.outcome.inventory.released}
        left = {uuid for uuid, gpu in slots.items() if tariff.is_retired(gpu.gpu, segment.start)}
        counts = Counter(set(known) - (left - listed))
        counts.update({"unseen": sum(gpu.count for gpu in unseen.values())})
        return +counts

    def dollars(self, **by: str) -> int:
        """Picodollars, of all or of a `component`, `server`, `model`, `phase`, `uuid`, `product`."""
        return sum(
            amount
            for (uuid, component, owner, phase), amount in self.money.items()
            if _fits({"uuid": uuid, "component": component, "phase": phase, **_words(owner)}, by)
        )

    def seconds(self, **by: str) -> float:
        """GPU-seconds, as `dollars`."""
        return (
            sum(
                duration
                for (uuid, owner, phase), duration in self.gpu_time.items()
                if _fits({"uuid": uuid, "phase": phase, **_words(owner)}, by)
            )
            / SECOND
        )

    def reread(self, state: State) -> "CheckedMeter":
        """A daemon started again on what this one remembered: totals go on, the next tick has no start."""
        return replace(self, state=replace(state, elapsed=None))


def _words(owner: CostOwner) -> dict[str, str]:
    return {
        "product": owner.product,
        "team": owner.team,
        "namespace": owner.namespace,
        "server": owner.server,
        "model": owner.model,
    }


def _fits(words: Mapping[str, str], by: Mapping[str, str]) -> bool:
    return all(words[name] == wanted for name, wanted in by.items())
