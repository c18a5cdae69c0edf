"""One tick: state and readings in, state and postings out. Pure.

`advance` calls in this order, and hands on what each returns:

    _start                       the state of the last tick, after a boot and under the present names
    inventory.take_inventory     which GPU sits in which slot of the host
    intervals.tick_time          the time that the tick charges
    servers.advance_servers      tokens and requests of servers, and who owns them
    _meter, of each GPU          attribution.shares -> gpu_usage.phase_weights -> energy.advance
    accrual.charge_interval      money of GPUs by owner and phase, and the slots after it
    _postings, _state_after      what goes to the ledger, and what the next tick begins with

Who pays depends on the time that is charged:

    a tick that was observed     GPUs and holders at its end
    a gap, which was not         GPUs and holders of the last tick, those included that are gone at its end
    time since boot              GPUs at its end that are rented by the hour; its holders are not known
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from exporter.cost import attribution, energy, gpu_usage, intervals, server_states
from exporter.cost.accrual import GpuToCharge, IntervalCost, ReleasedGpus, charge_interval
from exporter.cost.attribution import GpuShare, ShareMethod
from exporter.cost.counters import PageErrors
from exporter.cost.intervals import ChargedInterval, IntervalPart, TickTime
from exporter.cost.inventory import GpuInventory, former_slots, take_inventory
from exporter.cost.money import WHOLE
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import EnergyPosting, MemoryPosting, OwnerPhase, Postings, Segment
from exporter.cost.servers import AdvancedServers, ServerActivity, advance_servers, last_known
from exporter.cost.state import GpuState, State
from exporter.readings import UNSEEN, Frame, Gpu, GpuReading, ServerKey
from exporter.tariff.calendar import day_of
from exporter.units import Instant


@dataclass(frozen=True, slots=True)
class GpuOutcome:
    """What a tick shows of one GPU: to the page, and to the projection of the month."""

    gpu: Gpu
    index: int
    reading: GpuReading | None
    shares: tuple[GpuShare, ...]
    held_shares: Mapping[tuple[ServerKey, ShareMethod], float]
    """Parts of the GPU's time by server and method; they sum to 1."""
    phase_weights: Mapping[OwnerPhase, int]
    """Weights that divide the GPU's time by owner and phase."""
    mean_watts: float | None
    """Mean power of the last five minutes, `None` before anything was measured."""
    count: int = 1
    """The number of GPUs, above 1 for several that NVML never listed."""


@dataclass(frozen=True, slots=True)
class TickOutcome:
    """The result of one tick."""

    state: State
    postings: Postings
    gpus: tuple[GpuOutcome, ...]
    activity: Mapping[ServerKey, ServerActivity]
    """What watched servers did."""
    policy: CostPolicy
    """The policy of the tick, with the owners that servers report and the predecessors of replaced GPUs."""
    inventory: GpuInventory
    charged: ChargedInterval | None = None
    """The interval that the segments charge, `None` where there is none."""
    errors: Mapping[str, PageErrors] = field(default_factory=dict)
    """What a page of a server or gateway left out, by URL and reason."""


@dataclass(frozen=True, slots=True)
class _Tick:
    """What one tick is charged by, before anything is charged."""

    start: State
    """The state that the tick begins with."""
    frame: Frame
    """The readings of the tick."""
    policy: CostPolicy
    """The policy, with the owners that servers report and the predecessors of replaced GPUs."""
    inventory: GpuInventory
    """The slots that the host has, without the readings of the tick."""
    time: TickTime
    """The times that the tick charges and meters."""
    released_until: Instant | None
    """Until when `released` slots pay for a gap; `None` for all of it.

    Of 8 GPUs a boot in the gap leaves 6: 8 pay until that boot, and 6 from it on. Where the host has as many
    as before, others came for those that were released. Nobody saw these before the gap, so they pay from its
    end on, and the released ones until its end.
    """
    parts: tuple[IntervalPart, ...]
    """The charged interval in order, in parts that become a segment each; none where nothing is charged."""
    gpus: Mapping[str, GpuState]
    """The slots with a listed or lost GPU, by UUID, with the readings and holders of the tick."""
    servers: AdvancedServers
    """All servers after the tick, and what they counted in it."""
    paying: Mapping[ServerKey, ServerActivity]
    """The servers that GPU time is charged to: in a gap also those that ended in it."""

    @property
    def readings(self) -> dict[str, GpuReading]:
        """The readings of NVML, by UUID."""
        return {reading.gpu.uuid: reading for reading in self.frame.gpus or ()}

    @property
    def released(self) -> list[GpuState]:
        """Slots that the host has no more, and that pay for the gap in which they went.

        A GPU that was lost before the gap does not pay for it. Unseen GPUs go where NVML lists GPUs for the
        first time.
        """
        if not self.time.is_gap:
            return []
        listed_once = [slot for _, slot in sorted(self.inventory.released.items()) if slot.up]
        unseen_now = self.inventory.unseen
        unseen = [slot for model, slot in sorted(self.start.unseen.items()) if model not in unseen_now]
        return listed_once + unseen


class _MeteredGpu(NamedTuple):
    """One GPU in a tick whose time and energy are divided over owners: to be charged, and to be shown."""

    to_charge: GpuToCharge
    """The GPU as it is charged."""
    outcome: GpuOutcome
    """What is shown of the GPU."""
    memory: Mapping[ServerKey, int]
    """Bytes of its memory that servers hold, of those of which all is known."""
    energy_measured: bool
    """Whether its energy was measured."""
    counter_refused: bool
    """Whether its energy counter was refused as implausible."""

    @property
    def gpu(self) -> Gpu:
        """The GPU in the slot at the end of the tick."""
        return self.outcome.gpu


def advance(state: State, frame: Frame, policy: CostPolicy) -> TickOutcome:
    """Advance the state by one tick.

    The tick charges the time since the last one, as `intervals` bounds it. Without a last tick it charges
    nothing, or the time since boot.
    """
    tick = _begun(state, frame, policy)
    metered = _metered_gpus(tick)
    interval_cost = _interval_cost(tick, [gpu.to_charge for gpu in metered])
    postings = _postings(tick, metered, interval_cost.segments)
    # A retired GPU pays for this tick and leaves with it, unless NVML reads it all the same.
    staying = [
        gpu
        for gpu in metered
        if not tick.policy.tariff.has_left(gpu.gpu, frame.wall, is_listed=gpu.to_charge.is_listed)
    ]
    slots_after = [interval_cost.slots[gpu.gpu] for gpu in staying]
    return TickOutcome(
        state=_state_after(tick, slots_after, postings),
        postings=postings,
        gpus=tuple(gpu.outcome for gpu in staying),
        activity=tick.servers.activity,
        policy=tick.policy,
        inventory=tick.inventory,
        charged=tick.time.charged,
        errors=tick.servers.deltas.errors,
    )


def _begun(state: State, frame: Frame, policy: CostPolicy) -> _Tick:
    """Take the inventory of the host, the time to charge, and what servers counted."""
    start = _start(state, frame)
    # GPUs that sit in slots of others are priced as those are.
    inventory = take_inventory(start, frame, policy.following(start.predecessors))
    # All that follows has this one policy, whose tariff also knows the GPUs that took slots in this tick.
    tick_policy = replace(policy, owners=start.owners, tariff=inventory.tariff)
    time = intervals.tick_time(start, frame, tick_policy, charges_gpus=inventory.charges_gpus)
    # GPUs that a boot took away pay until it; where others came for them, they pay for all of a gap.
    has_fewer = len(inventory.listed) + len(inventory.lost) < len(start.gpus)
    released_until = time.charged.booted if time.charged is not None and has_fewer else None
    parts: tuple[IntervalPart, ...] = ()
    # A host without a sign of a GPU is not metered, unless it was charged for unseen GPUs until now.
    is_metered = inventory.gpu_host or bool(start.unseen)
    if time.charged is not None and time.charged.length and is_metered:
        parts = intervals.interval_parts(time.charged, inventory.tariff, tick_policy.zone, released_until)
    servers = advance_servers(start, frame, time, tick_policy)
    listed = attribution.with_readings(inventory.listed, start, frame, servers.deltas.beyond)
    before_gap = last_known(start.servers, tick_policy) if time.is_gap else {}
    return _Tick(
        start=start,
        frame=frame,
        policy=tick_policy,
        inventory=inventory,
        time=time,
        released_until=released_until,
        parts=parts,
        gpus={**inventory.lost, **listed},
        servers=servers,
        paying={**before_gap, **servers.activity},
    )


def _start(state: State, frame: Frame) -> State:
    """The state that a tick begins with: energy marks after a boot, and the names that servers have now."""
    renamed = state.renamed_servers(frame)
    slots = {uuid: slot.with_keys(renamed) for uuid, slot in state.gpus.items()}
    unseen = {model: slot.with_keys(renamed) for model, slot in state.unseen.items()}
    if state.rebooted(frame):
        slots = {uuid: slot.after_boot() for uuid, slot in slots.items()}
        unseen = {model: slot.after_boot() for model, slot in unseen.items()}
    owners = {**state.owners, **{owned.key: owned for owned in frame.owners}}
    return replace(state, owners=owners, gpus=slots, unseen=unseen)


def _metered_gpus(tick: _Tick) -> list[_MeteredGpu]:
    """The GPUs of the host, listed and lost ones by UUID, then those that NVML never listed by model."""
    before = tick.start
    readings = tick.readings
    metered: list[_MeteredGpu] = []
    for uuid, slot in sorted(tick.gpus.items()):
        # The slot of a GPU that took another's in this tick was that GPU's before.
        uuid_before = uuid if uuid in before.gpus else slot.predecessor
        metered.append(_meter(tick, slot, before.gpus.get(uuid_before), readings.get(uuid)))
    for model, slot in sorted(tick.inventory.unseen.items()):
        metered.append(_meter(tick, slot, before.unseen.get(model), None))
    return metered


def _meter(
    tick: _Tick, slot: GpuState, slot_before: GpuState | None, reading: GpuReading | None
) -> _MeteredGpu:
    """Divide the time and energy of one GPU over owners and phases.

    `slot_before` is its slot at the last tick, `None` for a GPU that is new to the host.
    """
    is_gap = tick.time.is_gap
    # GPU and holders at its end pay for a tick that was observed, those before it for a gap.
    payer = slot_before if is_gap and slot_before is not None else slot
    shares = attribution.shares(payer.holders, payer.slices)
    memory = attribution.held_memory(slot, reading)
    usage = gpu_usage.share_usage(shares, reading, tick.paying, lost=not slot.up, gap=is_gap)
    by_time = gpu_usage.phase_weights(usage, tick.paying, tick.policy)
    held_shares = gpu_usage.held_shares(usage)
    busy = gpu_usage.busy_ratio(usage)

    slot_after, used = energy.advance(slot, reading, tick.time.metered, busy, observed=not is_gap)
    idle = energy.idle_ratio(slot_after, used)
    by_energy = by_time
    if busy and idle is not None:
        # Idle time pays for the energy that an idle GPU draws in it, and busy time for all other energy.
        by_energy = gpu_usage.phase_weights(usage, tick.paying, tick.policy, idle=round(idle * WHOLE))

    to_charge = GpuToCharge(
        slot=slot_after,
        payer=payer.gpu,
        count=payer.count,
        seen_before=slot_before is not None,
        is_listed=reading is not None,
        by_time=by_time,
        by_energy=by_energy,
        energy=used.energy,
    )
    outcome = GpuOutcome(
        gpu=slot.gpu,
        index=slot.index,
        reading=reading,
        shares=tuple(use.share for use in usage),
        held_shares=held_shares,
        phase_weights=by_time,
        mean_watts=energy.mean_watts(slot_after),
        count=slot.count,
    )
    return _MeteredGpu(
        to_charge=to_charge,
        outcome=outcome,
        memory=memory,
        energy_measured=tick.time.metered is not None and reading is not None and reading.measures_energy,
        counter_refused=used.implausible,
    )


def _interval_cost(tick: _Tick, gpus: list[GpuToCharge]) -> IntervalCost:
    """What the charged interval costs."""
    if tick.time.charged is None or not tick.parts:
        return IntervalCost((), {gpu.slot.gpu: gpu.slot for gpu in gpus})
    released = [_meter(tick, slot, slot_before=slot, reading=None).to_charge for slot in tick.released]
    return charge_interval(
        tick.time.charged,
        tick.parts,
        tick.policy,
        gpus=gpus,
        released=ReleasedGpus(released, tick.released_until),
    )


def _postings(tick: _Tick, metered: list[_MeteredGpu], segments: tuple[Segment, ...]) -> Postings:
    """Everything that the tick adds to the ledger."""
    servers = tick.servers
    zone = tick.policy.zone
    # Owners with nothing to post are among them: a series starts at zero.
    owners = {owner_phase.owner for gpu in metered for owner_phase in gpu.to_charge.by_time}
    owners |= servers.owners
    energy_postings: list[EnergyPosting] = []
    memory: list[MemoryPosting] = []
    for gpu in metered:
        if gpu.energy_measured:
            energy_postings.append(EnergyPosting(gpu.gpu, gpu.to_charge.energy))
        memory += [MemoryPosting(gpu.gpu, key, amount) for key, amount in gpu.memory.items()]
    return Postings(
        end=tick.frame.wall,
        segments=segments,
        tokens=servers.tokens,
        requests=servers.requests,
        latencies=servers.latencies,
        preemptions=servers.preemptions,
        equivalents=servers.hosted,
        energy=tuple(energy_postings),
        owners=tuple(sorted(owners)),
        implausible=(("energy", sum(gpu.counter_refused for gpu in metered)),),
        day=day_of(tick.frame.wall - 1, zone).name,  # a tick that ends at midnight is of the day before
        zone=zone.key,
        memory=tuple(memory),
    )


def _state_after(tick: _Tick, slots_after: Collection[GpuState], postings: Postings) -> State:
    """The state after the tick, of a host that goes on with these slots."""
    start = tick.start
    frame = tick.frame
    owners_on_host = frozenset(postings.owners)
    by_uuid: dict[str, GpuState] = {}
    by_model: dict[str, GpuState] = {}
    for slot in slots_after:
        # The rounding of owners that are not on the host any more is forgotten.
        rounding = {
            component: {key: part for key, part in parts.items() if key.owner in owners_on_host}
            for component, parts in slot.rounding.items()
        }
        if slot.gpu.uuid == UNSEEN:
            by_model[slot.gpu.gpu_model] = replace(slot, rounding=rounding)
        else:
            by_uuid[slot.gpu.uuid] = replace(slot, rounding=rounding)

    # Servers that hold a GPU or are watched.
    present = {holder.key for slot in slots_after for holder in slot.holders}
    present.update(endpoint.key for endpoint in tick.servers.deltas.endpoints.values())
    with_owner = present | {owned.key for owned in frame.owners}
    states = server_states.states_after(
        tick.servers, frame, slots=tick.gpus, listed=tick.inventory.listed, present=present
    )

    uncharged_in_tick = 0 if tick.time.charged is None else tick.time.charged.uncharged
    return replace(
        tick.inventory.state,
        elapsed=frame.elapsed,
        awake=frame.awake,
        boot=frame.boot,
        wall=frame.wall,
        uncharged=start.uncharged + uncharged_in_tick,
        gpus=by_uuid,
        unseen=by_model,
        endpoints=tick.servers.deltas.endpoints,
        gateways=tick.servers.deltas.gateways,
        servers=states,
        accrued=start.accrued + sum(segment.accrued for segment in postings.segments),
        fresh_in="" if slots_after else start.fresh_in,  # the time since boot waits for the first GPU
        same_machine=True,  # a tick was taken on it
        owners={key: owned for key, owned in start.owners.items() if key in with_owner},
        former=former_slots(start, by_uuid),
    )
