"""One tick: state and readings in, state and postings out. Pure.

`advance` calls in this order, and hands on what each returns:

    _tick_of                              what the tick is charged by:
      State.as_of                           the state of the last tick, after a boot and under present names
      inventory.take_inventory              which GPU sits in which slot of the host
      intervals.tick_time, charged_parts    the time that the tick charges and meters, in parts of one price
      servers.advance_servers               tokens and requests of servers, and who owns them
      attribution.with_readings             the slots with the readings and holders of the tick
      attribution.held_memory               the memory that servers hold
    _meter                                each GPU of the host:
      _usage_of                             attribution and gpu_usage: how busy it was, and whose its time is
      _drawn_energy                         energy.advance: the energy that it drew, and whose that is
    _interval_cost                        accrual.charge_interval: money, also of GPUs that left in a gap
    _postings                             what goes to the ledger
    _state_after                          what the next tick begins with

A slot is a `GpuState`. A name says how far the tick has come with it:

    slot_before     as the last tick left it
    (inventory)     with the GPU that sits in it now: `listed`, `lost`, `unseen`
    slot_read       with the reading and the holders of the tick
    slot_metered    with the mark that the next tick counts energy from
    slot_charged    with the fractions of a picodollar that charges left
    slot_after      without the rounding of owners that left the host

Who pays depends on the time that is charged:

    observed      GPUs and holders at the end of the tick: slot_read
    gap           GPUs and holders of the last tick, also GPUs and servers that left since: slot_before
    since boot    GPUs at the end of the tick that are rented by the hour; no holders are known

Of a gap it is not known how busy a GPU was, and only the driver's counter shows the energy that it drew.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

from exporter.cost import attribution, energy, gpu_usage, intervals, server_states
from exporter.cost.accrual import GpuToCharge, IntervalCost, ReleasedGpus, charge_interval
from exporter.cost.attribution import GpuShare, ShareMethod
from exporter.cost.counters import PageErrors
from exporter.cost.gpu_usage import ShareUsage
from exporter.cost.intervals import ChargedInterval, ChargedParts, IntervalKind, TickTime
from exporter.cost.inventory import GpuInventory, take_inventory
from exporter.cost.money import WHOLE
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import EnergyPosting, MemoryPosting, OwnerPhase, Postings, Segment
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
    """What NVML reports, `None` where NVML does not list the GPU."""
    shares: tuple[GpuShare, ...]
    """The servers that held the GPU, and the measures that gave each its share."""
    held_shares: Mapping[tuple[ServerKey, ShareMethod], float]
    """Parts of the GPU's time by server and method; they sum to 1."""
    phase_weights: Mapping[OwnerPhase, int]
    """Weights that divide the GPU's time by owner and phase."""
    mean_watts: float | None
    """Mean power of the last five minutes, `None` before anything was measured."""
    count: int = 1
    """The number of GPUs, above 1 only for GPUs that NVML never listed."""


@dataclass(frozen=True, slots=True)
class TickOutcome:
    """The result of one tick."""

    state: State
    postings: Postings
    gpus: tuple[GpuOutcome, ...]
    """The GPUs that stay on the host."""
    activity: Mapping[ServerKey, ServerActivity]
    """What watched servers did."""
    policy: CostPolicy
    """The policy of the tick, with the owners that servers report and the predecessors of replaced GPUs."""
    inventory: GpuInventory
    charged: ChargedInterval | None = None
    """The interval that the segments charge, `None` where there is none."""
    errors: Mapping[str, PageErrors] = field(default_factory=dict)
    """What a page of a server or gateway left out, by URL and reason."""


class _SlotInTick(NamedTuple):
    """One slot of the host in a tick."""

    slot_read: GpuState
    """The slot at the end of the tick, with the reading and the holders of the tick."""
    slot_paying: GpuState
    """The slot whose GPU and holders pay: of a gap as before the tick, else `slot_read`."""
    is_new: bool
    """Whether the host did not have the slot before the tick. `accrual` charges nothing of a gap to it."""
    reading: GpuReading | None
    """What NVML reports of the GPU that sits in the slot now, `None` where NVML does not list the GPU."""

    @classmethod
    def of(
        cls, slot_before: GpuState | None, slot_read: GpuState, reading: GpuReading | None, *, is_gap: bool
    ) -> Self:
        """A slot in a tick; `slot_before` is as the last tick left it, `None` for a new slot."""
        slot_paying = slot_before if is_gap and slot_before is not None else slot_read
        return cls(slot_read, slot_paying, is_new=slot_before is None, reading=reading)


@dataclass(frozen=True, slots=True)
class _Tick:
    """What one tick is charged by: the host, the time and the servers, before anything is charged."""

    state_before: State
    """The state of the last tick, after a boot and under the names that servers have now."""
    frame: Frame
    """The readings of the tick."""
    policy: CostPolicy
    """The policy, with the owners that servers report and the predecessors of replaced GPUs."""
    inventory: GpuInventory
    """The slots of the host, and the slots that the host has no more."""
    time: TickTime
    """The times that the tick charges and meters."""
    is_gap: bool
    """Whether the charged time is a gap: the GPUs, holders and servers of the last tick pay."""
    charged_parts: ChargedParts
    """The charged time in parts, and until when GPUs pay that left the host in a gap."""
    slots: tuple[_SlotInTick, ...]
    """The slots of the host: listed and lost GPUs by UUID, then unseen GPUs by model."""
    memory: tuple[MemoryPosting, ...]
    """The memory that servers hold of listed GPUs, without servers of which a part is unknown."""
    servers: AdvancedServers
    """All servers after the tick, and what they counted in it."""
    paying_servers: Mapping[ServerKey, ServerActivity]
    """The servers that GPU time is charged to: for a gap also servers that ended in the gap."""


class _GpuUsage(NamedTuple):
    """How the servers that pay for one GPU used it in a tick."""

    shares: tuple[ShareUsage, ...]
    """The share of each server, and how busy it was."""
    busy_ratio: float | None
    """How busy the whole GPU was, `None` where a share of it is unobserved."""
    held_shares: Mapping[tuple[ServerKey, ShareMethod], float]
    """As in `GpuOutcome`."""
    weights: Mapping[OwnerPhase, int]
    """Weights that divide the GPU's time over owners and phases."""


class _DrawnEnergy(NamedTuple):
    """The energy that one GPU drew in a tick."""

    slot_metered: GpuState
    """The slot of the GPU, with the mark that the next tick counts energy from."""
    use: energy.EnergyUse
    """The energy that arrived in the tick."""
    weights: Mapping[OwnerPhase, int]
    """Weights that divide the energy over owners and phases."""
    is_measured: bool
    """Whether the energy was measured."""


class _MeteredGpu(NamedTuple):
    """One GPU of the host, whose time and energy in a tick are divided over owners."""

    to_charge: GpuToCharge
    """The GPU as it is charged."""
    outcome: GpuOutcome
    """What is shown of the GPU."""
    drawn: _DrawnEnergy
    """The energy that the GPU drew."""


def advance(state: State, frame: Frame, policy: CostPolicy) -> TickOutcome:
    """Advance the state by one tick.

    The tick charges the time since the last one, as `intervals` bounds it. Without a last tick it charges
    nothing, or the time since boot.
    """
    tick = _tick_of(state, frame, policy)
    metered = [_meter(tick, slot) for slot in tick.slots]
    interval_cost = _interval_cost(tick, [gpu.to_charge for gpu in metered])
    postings = _postings(tick, metered, interval_cost.segments)
    # A retired GPU pays for this tick and leaves with it, unless NVML still lists the GPU.
    staying = [gpu for gpu in metered if not gpu.to_charge.has_left(tick.policy.tariff, frame.wall)]
    slots_charged = [interval_cost.slots[gpu.to_charge.slot.gpu] for gpu in staying]
    return TickOutcome(
        state=_state_after(tick, slots_charged, postings),
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
    state_before = state.as_of(frame)
    # A GPU that took the slot of another before this tick is priced as its predecessor.
    policy_before = policy.following(state_before.predecessors)
    inventory = take_inventory(state_before, frame, policy_before)
    # The tariff of the inventory also prices the GPUs that took slots in this tick.
    tick_policy = replace(policy, owners=state_before.owners, tariff=inventory.tariff)

    time = intervals.tick_time(state_before, frame, tick_policy, charges_gpus=inventory.charges_gpus)
    charged_parts = intervals.charged_parts(time.charged, state_before, inventory, tick_policy.zone)

    servers = advance_servers(state_before, frame, time, tick_policy)
    is_gap = time.charged is not None and time.charged.kind is IntervalKind.GAP
    # Servers that ended in a gap pay for it, too.
    before_gap = last_known(state_before.servers, tick_policy) if is_gap else {}

    # A server beyond the limit of servers holds its GPUs under the key of `beyond` that counts it.
    listed_read = attribution.with_readings(
        inventory.listed, state_before, frame, beyond=servers.deltas.beyond
    )
    readings = {reading.gpu.uuid: reading for reading in frame.gpus or ()}
    memory: list[MemoryPosting] = []
    for uuid, slot in sorted(listed_read.items()):
        by_server = attribution.held_memory(slot, readings[uuid])
        memory += [MemoryPosting(slot.gpu, key, amount) for key, amount in by_server.items()]
    return _Tick(
        state_before=state_before,
        frame=frame,
        policy=tick_policy,
        inventory=inventory,
        time=time,
        is_gap=is_gap,
        charged_parts=charged_parts,
        slots=_slots_in_tick(
            state_before,
            readings,
            is_gap=is_gap,
            slots_read={**listed_read, **inventory.lost},  # a lost GPU has no reading
            unseen=inventory.unseen,
        ),
        memory=tuple(memory),
        servers=servers,
        paying_servers={**before_gap, **servers.activity},
    )


def _slots_in_tick(
    state_before: State,
    readings: Mapping[str, GpuReading],
    *,
    is_gap: bool,
    slots_read: Mapping[str, GpuState],
    unseen: Mapping[str, GpuState],
) -> tuple[_SlotInTick, ...]:
    """The slots of the host: `slots_read` with their `readings` by UUID, then `unseen` by model."""
    slots: list[_SlotInTick] = []
    for uuid, slot_read in sorted(slots_read.items()):
        # A GPU that took a slot in this tick continues the slot of its predecessor.
        uuid_before = uuid if uuid in state_before.gpus else slot_read.predecessor
        slot_before = state_before.gpus.get(uuid_before)
        slots.append(_SlotInTick.of(slot_before, slot_read, readings.get(uuid), is_gap=is_gap))
    for model, slot_unseen in sorted(unseen.items()):
        slot_before = state_before.unseen.get(model)
        slots.append(_SlotInTick.of(slot_before, slot_unseen, reading=None, is_gap=is_gap))
    return tuple(slots)


def _meter(tick: _Tick, slot: _SlotInTick) -> _MeteredGpu:
    """Divide the time and the energy of one GPU of the host over owners and phases."""
    slot_read = slot.slot_read
    slot_paying = slot.slot_paying
    usage = _usage_of(tick, slot_paying, slot.reading, is_lost=not slot_read.up)
    drawn = _drawn_energy(tick, slot, usage)
    to_charge = GpuToCharge(
        slot=drawn.slot_metered,
        payer=slot_paying.gpu,
        count=slot_paying.count,
        is_new=slot.is_new,
        is_listed=slot.reading is not None,
        by_time=usage.weights,
        by_energy=drawn.weights,
        energy=drawn.use.energy,
    )
    outcome = GpuOutcome(
        gpu=slot_read.gpu,
        index=slot_read.index,
        reading=slot.reading,
        shares=tuple(used.share for used in usage.shares),
        held_shares=usage.held_shares,
        phase_weights=usage.weights,
        mean_watts=energy.mean_watts(drawn.slot_metered),
        count=slot_read.count,
    )
    return _MeteredGpu(to_charge, outcome, drawn)


def _usage_of(tick: _Tick, slot_paying: GpuState, reading: GpuReading | None, *, is_lost: bool) -> _GpuUsage:
    """How busy the servers that pay for a GPU kept it, and the owners and phases of its time.

    A GPU that `is_lost` is idle. Of a gap nobody knows how busy any GPU was.
    """
    used_shares = gpu_usage.share_usage(
        attribution.shares(slot_paying.holders, slot_paying.slices),
        reading,
        tick.paying_servers,
        is_lost=is_lost,
        is_gap=tick.is_gap,
    )
    return _GpuUsage(
        used_shares,
        busy_ratio=gpu_usage.busy_ratio(used_shares),
        held_shares=gpu_usage.held_shares(used_shares),
        weights=gpu_usage.phase_weights(used_shares, tick.paying_servers, tick.policy),
    )


def _drawn_energy(tick: _Tick, slot: _SlotInTick, usage: _GpuUsage) -> _DrawnEnergy:
    """Meter the energy of one GPU, and divide it: as its time, but for what an idle GPU draws."""
    slot_metered, use = energy.advance(
        slot.slot_read,
        slot.reading,
        elapsed=tick.time.metered,  # `None`: the tick counts no energy, and sets the mark of the next one
        busy_ratio=usage.busy_ratio,
        is_gap=tick.is_gap,
    )
    idle_ratio = energy.idle_ratio(slot_metered, use)  # `None` until the power of an idle GPU is known
    if idle_ratio is None or not usage.busy_ratio:
        weights = usage.weights
    else:
        # Idle time pays for the energy that an idle GPU draws in it, and busy time for all other energy.
        idle_energy = round(idle_ratio * WHOLE)
        weights = gpu_usage.phase_weights(
            usage.shares, tick.paying_servers, tick.policy, idle_energy=idle_energy
        )
    can_measure = slot.reading is not None and slot.reading.measures_energy
    is_measured = can_measure and tick.time.metered is not None
    return _DrawnEnergy(slot_metered, use, weights, is_measured)


def _interval_cost(tick: _Tick, gpus: list[GpuToCharge]) -> IntervalCost:
    """What the charged interval costs the GPUs of the host, and the GPUs that left the host in a gap."""
    charged = tick.time.charged
    parts, released_until = tick.charged_parts  # `None`: released GPUs pay for all of a gap
    if charged is None or not parts:  # slots keep the fractions that earlier charges left
        return IntervalCost((), {gpu.slot.gpu: gpu.slot for gpu in gpus})
    released = ReleasedGpus(_released_gpus(tick), released_until)
    return charge_interval(charged, parts, tick.policy, gpus=gpus, released=released)


def _released_gpus(tick: _Tick) -> list[GpuToCharge]:
    """GPUs that left the host in a gap, and pay for the gap with the holders of the last tick.

    A GPU that was lost before the gap does not pay for it. Unseen GPUs leave where NVML lists GPUs for the
    first time. The GPUs are not shown any more. Their slots are dropped, with less than a picodollar of each
    component that their last charge left.
    """
    if not tick.is_gap:
        return []
    inventory = tick.inventory
    unseen_before = tick.state_before.unseen
    # `released` has each slot as the last tick left it, of a GPU that NVML listed once.
    listed_once = [slot for _, slot in sorted(inventory.released.items()) if slot.up]
    unseen = [slot for model, slot in sorted(unseen_before.items()) if model not in inventory.unseen]
    released: list[GpuToCharge] = []
    for slot_before in listed_once + unseen:
        usage = _usage_of(tick, slot_before, reading=None, is_lost=False)
        released.append(
            GpuToCharge(
                slot=slot_before,
                payer=slot_before.gpu,
                count=slot_before.count,
                is_new=False,
                is_listed=False,
                by_time=usage.weights,
                by_energy={},
                energy=0,  # no reading shows what the GPU drew
            )
        )
    return released


def _postings(tick: _Tick, metered: list[_MeteredGpu], segments: tuple[Segment, ...]) -> Postings:
    """Everything that the tick adds to the ledger."""
    servers = tick.servers
    zone = tick.policy.zone
    # Owners with nothing to post are among the owners: a series starts at zero.
    owners = {owner_phase.owner for gpu in metered for owner_phase in gpu.to_charge.by_time}
    return Postings(
        end=tick.frame.wall,
        segments=segments,
        tokens=servers.tokens,
        requests=servers.requests,
        latencies=servers.latencies,
        preemptions=servers.preemptions,
        equivalents=servers.hosted,
        energy=tuple(
            EnergyPosting(gpu.outcome.gpu, gpu.drawn.use.energy) for gpu in metered if gpu.drawn.is_measured
        ),
        owners=tuple(sorted(owners | servers.owners)),
        implausible=(("energy", sum(gpu.drawn.use.implausible for gpu in metered)),),
        day=day_of(tick.frame.wall - 1, zone).name,  # a tick that ends at midnight is of the day before
        zone=zone.key,
        memory=tick.memory,
    )


def _state_after(tick: _Tick, slots_charged: Collection[GpuState], postings: Postings) -> State:
    """The state after the tick, of a host that goes on with these slots."""
    # The state of the last tick, with the boot, the replacements and the retired GPUs of this tick.
    state = tick.inventory.state
    frame = tick.frame
    with_gpu = {holder.key for slot in slots_charged for holder in slot.holders}
    watched = {endpoint.key for endpoint in tick.servers.deltas.endpoints.values()}
    present = with_gpu | watched
    servers_after = server_states.states_after(  # without servers that were absent for a day
        tick.servers,
        frame,
        slots=[slot.slot_read for slot in tick.slots],
        listed=tick.inventory.listed,
        present=present,
    )
    with_owner = present | {owned.key for owned in frame.owners}
    owners_on_host = frozenset(postings.owners)
    slots_after = [slot.with_rounding_of(owners_on_host) for slot in slots_charged]
    by_uuid = {slot.gpu.uuid: slot for slot in slots_after if slot.gpu.uuid != UNSEEN}
    charged = tick.time.charged
    uncharged_in_tick = 0 if charged is None else charged.uncharged
    return replace(
        state,
        # When the tick was taken.
        elapsed=frame.elapsed,
        awake=frame.awake,
        boot=frame.boot,
        wall=frame.wall,
        same_machine=True,
        # What it charged.
        accrued=state.accrued + sum(segment.accrued for segment in postings.segments),
        uncharged=state.uncharged + uncharged_in_tick,
        fresh_in="" if slots_after else state.fresh_in,  # the first tick with a GPU charges since boot
        # Its slots.
        gpus=by_uuid,
        unseen={slot.gpu.gpu_model: slot for slot in slots_after if slot.gpu.uuid == UNSEEN},
        former=state.former_after(by_uuid),
        # Its servers.
        endpoints=tick.servers.deltas.endpoints,
        gateways=tick.servers.deltas.gateways,
        servers=servers_after,
        owners={key: owned for key, owned in state.owners.items() if key in with_owner},
    )
