"""One tick: state and readings in, state and postings out. Pure.

`advance` calls in this order, and hands on what each returns:

    _tick_of                              what the tick is charged by:
      State.as_of                           the state of the last tick, after a boot and under present names
      inventory.take_inventory              which GPU sits in which slot of the host
      intervals.tick_time, charged_parts    the time that the tick charges, in parts
      servers.advance_servers               tokens and requests of servers, and who owns them
      attribution.with_readings             the slots with the readings and holders of the tick
    _metered_gpus                         of each GPU, in `_meter`:
      attribution.shares                    which servers hold it
      gpu_usage.share_usage, phase_weights  how busy it was, and whose its time is
      energy.advance                        the energy that it drew
    _interval_cost                        accrual.charge_interval: money of GPUs, and the slots after it
    _postings                             what goes to the ledger
    _state_after                          what the next tick begins with

Who pays depends on the time that is charged:

    a tick that was observed     GPUs and holders at its end
    a gap, which was not         GPUs and holders of the last tick, those included that are gone at its end
    time since boot              GPUs at its end that are rented by the hour; its holders are not known
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from exporter.cost import attribution, energy, gpu_usage, intervals, server_states
from exporter.cost.accrual import GpuToCharge, IntervalCost, ReleasedGpus, charge_interval
from exporter.cost.attribution import GpuShare, ShareMethod
from exporter.cost.counters import PageErrors
from exporter.cost.energy import EnergyUse
from exporter.cost.gpu_usage import ShareUsage
from exporter.cost.intervals import ChargedInterval, ChargedParts, TickTime
from exporter.cost.inventory import GpuInventory, former_slots, take_inventory
from exporter.cost.money import WHOLE
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import CostOwner, EnergyPosting, MemoryPosting, OwnerPhase, Postings, Segment
from exporter.cost.servers import AdvancedServers, ServerActivity, advance_servers, last_known
from exporter.cost.state import GpuState, State
from exporter.readings import UNSEEN, Frame, Gpu, GpuReading, ServerKey
from exporter.tariff.calendar import day_of


@dataclass(frozen=True, slots=True)
class GpuOutcome:
    """What a tick shows of one GPU: to the page, and to the projection of the month."""

    gpu: Gpu
    index: int
    reading: GpuReading | None
    """What NVML reports, `None` where it does not list the GPU."""
    shares: tuple[GpuShare, ...]
    """Which servers held it, and by what measure."""
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
    """What one tick is charged by: the host, the time and the servers, before anything is charged."""

    before: State
    """The state of the last tick, after a boot and under the names that servers have now."""
    frame: Frame
    """The readings of the tick."""
    policy: CostPolicy
    """The policy, with the owners that servers report and the predecessors of replaced GPUs."""
    inventory: GpuInventory
    """The slots that the host has, without the readings of the tick."""
    time: TickTime
    """The times that the tick charges and meters."""
    charged_parts: ChargedParts
    """The charged time in parts, and until when slots pay that the host lost in a gap."""
    slots: Mapping[str, GpuState]
    """The slots with a listed or lost GPU, by UUID, with the readings and holders of the tick."""
    servers: AdvancedServers
    """All servers after the tick, and what they counted in it."""
    paying: Mapping[ServerKey, ServerActivity]
    """The servers that GPU time is charged to: in a gap also those that ended in it."""

    def released_slots(self) -> list[GpuState]:
        """Slots that the host has no more, as they were, and that pay for the gap in which they went.

        A GPU that was lost before the gap does not pay for it. Unseen GPUs go where NVML lists GPUs for the
        first time.
        """
        if not self.time.is_gap:
            return []
        listed_once = [slot for _, slot in sorted(self.inventory.released.items()) if slot.up]
        unseen_now = self.inventory.unseen
        unseen = [slot for model, slot in sorted(self.before.unseen.items()) if model not in unseen_now]
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
    tick = _tick_of(state, frame, policy)
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


def _tick_of(state: State, frame: Frame, policy: CostPolicy) -> _Tick:
    """Take the inventory of the host, the time to charge, and what servers counted."""
    before = state.as_of(frame)
    # GPUs that sit in slots of others are priced as those are.
    inventory = take_inventory(before, frame, policy.following(before.predecessors))
    # All that follows has this one policy, whose tariff also knows the GPUs that took slots in this tick.
    tick_policy = replace(policy, owners=before.owners, tariff=inventory.tariff)

    time = intervals.tick_time(before, frame, tick_policy, charges_gpus=inventory.charges_gpus)
    charged_parts = intervals.charged_parts(time.charged, before, inventory, tick_policy.zone)

    servers = advance_servers(before, frame, time, tick_policy)
    # For a gap those servers pay, too, that ended in it.
    before_gap = last_known(before.servers, tick_policy) if time.is_gap else {}

    listed = attribution.with_readings(inventory.listed, before, frame, servers.deltas.beyond)
    return _Tick(
        before=before,
        frame=frame,
        policy=tick_policy,
        inventory=inventory,
        time=time,
        charged_parts=charged_parts,
        slots={**inventory.lost, **listed},
        servers=servers,
        paying={**before_gap, **servers.activity},
    )


def _metered_gpus(tick: _Tick) -> list[_MeteredGpu]:
    """The GPUs of the host, listed and lost ones by UUID, then those that NVML never listed by model."""
    before = tick.before
    readings = {reading.gpu.uuid: reading for reading in tick.frame.gpus or ()}
    metered: list[_MeteredGpu] = []
    for uuid, slot in sorted(tick.slots.items()):
        slot_before = before.gpus.get(uuid)
        if slot_before is None and slot.predecessor:
            # The slot of a GPU that took another's in this tick was that GPU's before.
            slot_before = before.gpus.get(slot.predecessor)
        metered.append(_meter(tick, slot, slot_before, readings.get(uuid)))
    for model, slot in sorted(tick.inventory.unseen.items()):
        metered.append(_meter(tick, slot, before.unseen.get(model), None))
    return metered


def _meter(
    tick: _Tick, slot: GpuState, slot_before: GpuState | None, reading: GpuReading | None
) -> _MeteredGpu:
    """Divide the time and energy of one GPU over owners and phases.

    `slot_before` is its slot at the last tick, `None` for a GPU that is new to the host.
    """
    # Who pays: GPU and holders at its end for a tick that was observed, those before it for a gap.
    is_gap = tick.time.is_gap
    payer = slot_before if is_gap and slot_before is not None else slot
    shares = attribution.shares(payer.holders, payer.slices)
    memory = attribution.held_memory(slot, reading)

    # How busy each server's share of it was, which divides its time. Only a known loss is not up.
    usage = gpu_usage.share_usage(shares, reading, tick.paying, lost=not slot.up, gap=is_gap)
    by_time = gpu_usage.phase_weights(usage, tick.paying, tick.policy)
    held_shares = gpu_usage.held_shares(usage)
    busy = gpu_usage.busy_ratio(usage)

    drawn = _drawn_energy(tick, slot, reading, usage=usage, by_time=by_time, busy=busy)
    to_charge = GpuToCharge(
        slot=drawn.slot_after,
        payer=payer.gpu,
        count=payer.count,
        seen_before=slot_before is not None,
        is_listed=reading is not None,
        by_time=by_time,
        by_energy=drawn.weights,
        energy=drawn.use.energy,
    )
    outcome = GpuOutcome(
        gpu=slot.gpu,
        index=slot.index,
        reading=reading,
        shares=tuple(use.share for use in usage),
        held_shares=held_shares,
        phase_weights=by_time,
        mean_watts=energy.mean_watts(drawn.slot_after),
        count=slot.count,
    )
    return _MeteredGpu(
        to_charge=to_charge,
        outcome=outcome,
        memory=memory,
        energy_measured=tick.time.metered is not None and reading is not None and reading.measures_energy,
        counter_refused=drawn.use.implausible,
    )


class _DrawnEnergy(NamedTuple):
    """The energy that one GPU drew in a tick, and what divides it."""

    slot_after: GpuState
    """The slot of the GPU, with the marks that the next tick counts energy from."""
    use: EnergyUse
    """What arrived in the tick."""
    weights: Mapping[OwnerPhase, int]
    """Weights that divide it over owners and phases."""


def _drawn_energy(
    tick: _Tick,
    slot: GpuState,
    reading: GpuReading | None,
    *,
    usage: Iterable[ShareUsage],
    by_time: Mapping[OwnerPhase, int],
    busy: float | None,
) -> _DrawnEnergy:
    """Meter the energy of one GPU, and divide it: as its time, but for what an idle GPU draws.

    Args:
        tick: the tick.
        slot: the slot of the GPU, with the marks of the last tick.
        reading: by NVML, `None` without one.
        usage: how busy each share of the GPU was.
        by_time: weights that divide its time.
        busy: how busy the whole GPU was, `None` where a share of it was not observed.
    """
    # Without a metered time only the marks are set; in a gap only the driver's counter counts.
    metered = tick.time.metered
    slot_after, use = energy.advance(slot, reading, elapsed=metered, busy_ratio=busy, is_gap=tick.time.is_gap)
    weights = by_time
    idle = energy.idle_ratio(slot_after, use)  # `None` until the power of an idle GPU is known
    if busy and idle is not None:
        # Idle time pays for the energy that an idle GPU draws in it, and busy time for all other energy.
        weights = gpu_usage.phase_weights(usage, tick.paying, tick.policy, idle=round(idle * WHOLE))
    return _DrawnEnergy(slot_after, use, weights)


def _interval_cost(tick: _Tick, gpus: list[GpuToCharge]) -> IntervalCost:
    """What the charged interval costs; slots that the host lost in a gap pay as they were before it."""
    if tick.time.charged is None or not tick.charged_parts.parts:
        return IntervalCost((), {gpu.slot.gpu: gpu.slot for gpu in gpus})
    released = [
        _meter(tick, slot, slot_before=slot, reading=None).to_charge for slot in tick.released_slots()
    ]
    return charge_interval(
        tick.time.charged,
        tick.charged_parts.parts,
        tick.policy,
        gpus=gpus,
        released=ReleasedGpus(released, tick.charged_parts.released_until),
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
    before = tick.before
    frame = tick.frame
    owners_on_host = frozenset(postings.owners)
    slots = [_with_rounding_of(owners_on_host, slot) for slot in slots_after]

    # Servers that hold a GPU or are watched.
    present = {holder.key for slot in slots for holder in slot.holders}
    present.update(endpoint.key for endpoint in tick.servers.deltas.endpoints.values())
    with_owner = present | {owned.key for owned in frame.owners}
    states = server_states.states_after(
        tick.servers, frame, slots=tick.slots, listed=tick.inventory.listed, present=present
    )

    by_uuid = {slot.gpu.uuid: slot for slot in slots if slot.gpu.uuid != UNSEEN}
    uncharged_in_tick = 0 if tick.time.charged is None else tick.time.charged.uncharged
    return replace(
        tick.inventory.state,
        elapsed=frame.elapsed,
        awake=frame.awake,
        boot=frame.boot,
        wall=frame.wall,
        uncharged=before.uncharged + uncharged_in_tick,
        gpus=by_uuid,
        unseen={slot.gpu.gpu_model: slot for slot in slots if slot.gpu.uuid == UNSEEN},
        endpoints=tick.servers.deltas.endpoints,
        gateways=tick.servers.deltas.gateways,
        servers=states,
        accrued=before.accrued + sum(segment.accrued for segment in postings.segments),
        fresh_in="" if slots else before.fresh_in,  # the time since boot waits for the first GPU
        same_machine=True,  # a tick was taken on it
        owners={key: owned for key, owned in before.owners.items() if key in with_owner},
        former=former_slots(before, by_uuid),
    )


def _with_rounding_of(owners: Collection[CostOwner], slot: GpuState) -> GpuState:
    """A slot without the rounding of other owners: they are not on the host any more."""
    rounding: dict[str, dict[OwnerPhase, int]] = {}
    for component, parts in slot.rounding.items():
        rounding[component] = {key: part for key, part in parts.items() if key.owner in owners}
    return replace(slot, rounding=rounding)
