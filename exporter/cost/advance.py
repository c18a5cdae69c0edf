"""One tick: state and readings in, state and postings out. Pure.

`advance` calls in this order, and hands on what each returns:

    inventory.take_inventory     which GPU sits in which slot of the host
    intervals.tick_time          the time that the tick charges
    servers.advance              tokens and requests of servers, and who owns them
    _meter, of each GPU          attribution.shares -> gpu_usage.phase_weights -> energy.advance
    accrual.Accrual              money of GPUs by owner and phase, and the slots after it
    _postings, _state_after      what goes to the ledger, and what the next tick begins with
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from exporter.cost import attribution, energy, gpu_usage, intervals, servers
from exporter.cost.accrual import Accrual, Accrued, GpuAccrual
from exporter.cost.admission import principal_of
from exporter.cost.attribution import GpuShare, ShareMethod
from exporter.cost.counters import PageErrors
from exporter.cost.intervals import ChargedInterval, TickTime
from exporter.cost.inventory import GpuInventory, take_inventory
from exporter.cost.money import WHOLE, add
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import (
    CostOwner,
    EnergyPosting,
    HostedEquivalent,
    MemoryPosting,
    OwnerPhase,
    Postings,
    Segment,
    TokenPosting,
)
from exporter.cost.servers import ServersTick, ServerTick
from exporter.cost.state import GpuState, ServerState, State
from exporter.readings import UNSEEN, Frame, Gpu, GpuReading, ServerKey, TokenKind
from exporter.tariff.calendar import day_of
from exporter.tariff.hosted import HostedPrice, equivalent
from exporter.units import NANOSECONDS_PER_HOUR, Instant, Nanoseconds

FORMER_MAX: Final = 128
"""GPUs without a slot that are remembered: as many as a host can have."""

RETIRED_AFTER: Final[Nanoseconds] = 24 * NANOSECONDS_PER_HOUR
"""How long a server is absent, and its rows unchanged, until they leave the page."""


def equivalents(
    tokens: Iterable[TokenPosting], offers: Iterable[HostedPrice]
) -> tuple[HostedEquivalent, ...]:
    """Hosted cost of each owner's tokens at each offer that covers it, also where it is zero.

    An upper bound of a hosted bill: the engine's own tokenizer, its own cache hits, and prompts that vLLM
    counts once for each of n answers.
    """
    by_owner: dict[CostOwner, dict[TokenKind, int]] = {}
    for posting in tokens:
        add(by_owner.setdefault(posting.owner, {}), posting.kind, posting.count)
    return tuple(
        HostedEquivalent(owner, offer.reference, equivalent(offer, counts))
        for owner, counts in by_owner.items()
        for offer in offers
        if offer.covers(owner.server, owner.model)
    )


@dataclass(frozen=True, slots=True)
class GpuOutcome:
    """One GPU in one tick."""

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
    ticks: Mapping[ServerKey, ServerTick]
    policy: CostPolicy
    """The policy of the tick, with the owners that servers report and the predecessors of replaced GPUs."""
    inventory: GpuInventory
    charged: ChargedInterval | None = None
    """The interval that the segments charge, `None` where there is none."""
    errors: Mapping[str, PageErrors] = field(default_factory=dict)
    """What a page of a server or gateway left out, by URL and reason."""


@dataclass(frozen=True, slots=True)
class _Tick:
    """One tick, before anything is charged in it."""

    start: State
    """The state that the tick begins with."""
    frame: Frame
    """The readings of the tick."""
    policy: CostPolicy
    """The policy, with the owners that servers report and the predecessors of replaced GPUs."""
    time: TickTime
    """The times that the tick charges and meters."""
    inventory: GpuInventory
    """The slots that the host has, without the readings of the tick."""
    gpus: Mapping[str, GpuState]
    """The slots with a listed or lost GPU, by UUID, with the readings and holders of the tick."""
    served: ServersTick
    """The servers after the tick, and what they counted in it."""
    paying: Mapping[ServerKey, ServerTick]
    """The servers that GPU time is charged to: in a gap also those that are not there any more."""

    @property
    def readings(self) -> dict[str, GpuReading]:
        """The readings of NVML, by UUID."""
        return {reading.gpu.uuid: reading for reading in self.frame.gpus or ()}


class _MeteredGpu(NamedTuple):
    """One GPU in one tick."""

    accrual: GpuAccrual
    """What the GPU is charged for."""
    outcome: GpuOutcome
    """What is reported of the GPU."""


def advance(state: State, frame: Frame, policy: CostPolicy) -> TickOutcome:
    """Advance the state by one tick.

    The tick charges the time since the last one, as `intervals` bounds it. Without a last tick it charges
    nothing, or the time since boot.
    """
    start = _start(state, frame)
    # GPUs that sit in slots of others are priced as those are.
    pricing = policy.following(start.predecessors)
    inventory = take_inventory(start, frame, pricing)
    # Only the lengths of ticks and gaps count here, which are as configured in every policy of the tick.
    time = intervals.tick_time(start, frame, policy, charges_gpus=inventory.charges_gpus)
    # The inventory's tariff also knows the GPUs that took slots in this tick.
    owning = replace(policy, owners=start.owners, tariff=inventory.tariff)
    served = servers.advance(start, frame, time.elapsed, owning)
    listed = attribution.with_readings(inventory.listed, start, frame, served.deltas.beyond)
    paying = dict(served.ticks)
    if time.is_gap:
        # Servers that ended in a gap pay for it, too.
        for key, server in servers.last_known(start.servers).items():
            paying.setdefault(key, server)
    tick = _Tick(
        start=start,
        frame=frame,
        policy=owning,
        time=time,
        inventory=inventory,
        gpus={**inventory.lost, **listed},
        served=served,
        paying=paying,
    )
    metered = _metered_gpus(tick)
    accruals = [gpu.accrual for gpu in metered]
    accrued = _accrued(tick, accruals)
    postings = _postings(tick, accruals, accrued.segments)
    staying = [gpu for gpu in metered if not _leaves(tick, gpu)]
    slots_after = [accrued.slots[gpu.outcome.gpu] for gpu in staying]
    return TickOutcome(
        state=_state_after(tick, slots_after, postings),
        postings=postings,
        gpus=tuple(gpu.outcome for gpu in staying),
        ticks=served.ticks,
        policy=owning,
        inventory=inventory,
        charged=time.charged,
        errors=served.deltas.errors,
    )


def _leaves(tick: _Tick, gpu: _MeteredGpu) -> bool:
    """Whether a retired GPU leaves with the tick: not if it is read all the same."""
    is_read = gpu.accrual.reading is not None
    return not is_read and tick.inventory.tariff.is_retired(gpu.outcome.gpu, tick.frame.wall)


def _start(state: State, frame: Frame) -> State:
    """The state that a tick begins with: energy marks after a boot, and the names that servers have now."""
    renamed = _renamed(state, frame)
    rebooted = state.rebooted(frame)

    def begun(gpu: GpuState) -> GpuState:
        holders = tuple(replace(holder, key=renamed.get(holder.key, holder.key)) for holder in gpu.holders)
        if not rebooted:
            return replace(gpu, holders=holders)
        # The driver's counter began at zero.
        mark = None if gpu.energy_mark is None else 0
        return replace(gpu, holders=holders, energy_mark=mark, energy_age=0, falls=0)

    owners = {**state.owners, **{owned.key: owned for owned in frame.owners}}
    return replace(
        state,
        owners=owners,
        gpus={uuid: begun(gpu) for uuid, gpu in state.gpus.items()},
        unseen={model: begun(gpu) for model, gpu in state.unseen.items()},
    )


def _renamed(state: State, frame: Frame) -> dict[ServerKey, ServerKey]:
    """The new keys of servers that have another since the last tick, though their processes are the same."""
    keys = {reading.key for reading in frame.servers}
    names: dict[ServerKey, ServerKey] = {}
    for reading in frame.servers:
        last = state.endpoints.get(reading.url)
        if last is None or last.key == reading.key or last.key in keys:
            continue
        if last.marks.identity and reading.identity:
            same_process = last.marks.identity == reading.identity
        else:
            same_process = bool(last.marks.listener) and last.marks.listener == reading.listener
        if same_process:
            names[last.key] = reading.key
    return names


def _metered_gpus(tick: _Tick) -> list[_MeteredGpu]:
    """The GPUs of the host, listed and lost ones by UUID, then those that NVML never listed by model."""
    before = tick.start
    readings = tick.readings
    metered: list[_MeteredGpu] = []
    for uuid, slot in sorted(tick.gpus.items()):
        slot_before = before.gpus.get(uuid) or before.gpus.get(slot.predecessor)
        metered.append(_meter(tick, slot, slot_before, readings.get(uuid)))
    for model, slot in sorted(tick.inventory.unseen.items()):
        metered.append(_meter(tick, slot, before.unseen.get(model), None))
    return metered


def _meter(
    tick: _Tick, slot: GpuState, slot_before: GpuState | None, reading: GpuReading | None
) -> _MeteredGpu:
    """Divide the time and energy of one GPU over owners and phases."""
    is_gap = tick.time.is_gap
    # An interval is charged to the GPU and the holders at its end, a gap to those before it.
    slot_at_start = slot_before or slot
    payer = slot_at_start if is_gap else slot
    shares = attribution.shares(payer.holders, payer.slices)
    usage = gpu_usage.share_usage(shares, reading, tick.paying, lost=not slot.up, gap=is_gap)
    busy = gpu_usage.busy_ratio(usage)
    held_shares = gpu_usage.held_shares(usage)
    by_time = gpu_usage.phase_weights(usage, tick.paying, tick.policy)
    slot_after, used = energy.advance(slot, reading, tick.time.metered, busy, observed=not is_gap)
    idle = energy.idle_ratio(slot_after, used)
    if busy and idle is not None:
        by_energy = gpu_usage.phase_weights(usage, tick.paying, tick.policy, round(idle * WHOLE))
    else:
        by_energy = by_time
    measured = reading is not None and (reading.energy is not None or reading.power_watts is not None)
    accrual = GpuAccrual(
        slot=slot_after,
        charged=payer.gpu,
        count=payer.count,
        seen_before=slot_before is not None,
        reading=reading,
        by_time=by_time,
        by_energy=by_energy,
        energy=used.energy,
        energy_measured=measured and tick.time.metered is not None,
        implausible=used.implausible,
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
    return _MeteredGpu(accrual, outcome)


def _accrued(tick: _Tick, gpus: list[GpuAccrual]) -> Accrued:
    """What the charged interval costs; a host without a sign of a GPU is not metered."""
    charged = tick.time.charged
    inventory = tick.inventory
    has_gpus = inventory.gpu_host or bool(tick.start.unseen)
    if charged is None or not charged.length or not has_gpus:
        return Accrued((), {gpu.slot.gpu: gpu.slot for gpu in gpus})
    released: list[GpuAccrual] = []
    if tick.time.is_gap:
        # A gap is also charged to GPUs that the host has no more, but for those that were lost before it.
        slots = [slot for _, slot in sorted(inventory.released.items()) if slot.up]
        slots += [slot for model, slot in sorted(tick.start.unseen.items()) if model not in inventory.unseen]
        released = [_meter(tick, slot, slot, None).accrual for slot in slots]
    has_fewer = len(tick.gpus) < len(tick.start.gpus)
    booted = charged.booted if has_fewer else None
    parts = intervals.interval_parts(charged, inventory.tariff, tick.policy.zone, booted)
    accrual = Accrual(gpus, tick.policy, charged, parts, released=released, booted=booted)
    return accrual.outcome()


def _postings(tick: _Tick, gpus: list[GpuAccrual], segments: tuple[Segment, ...]) -> Postings:
    """Everything that the tick adds to the ledger."""
    served = tick.served
    zone = tick.policy.zone
    since = tick.time.tokens_since
    tokens = tuple(replace(posting, since=posting.since or since) for posting in served.tokens)
    # Owners with nothing to post are among them: a series starts at zero.
    owners = {owner_phase.owner for gpu in gpus for owner_phase in gpu.by_time}
    for key, server in served.ticks.items():
        owners.update(tick.policy.owner_of(key, model) for model in {**server.splits, **server.idle_models})
        for parts in server.owner_shares.values():
            owners.update(parts)
    return Postings(
        end=tick.frame.wall,
        segments=segments,
        tokens=tokens,
        requests=served.requests,
        latencies=served.latencies,
        preemptions=served.preemptions,
        equivalents=equivalents(tokens, tick.policy.compare),
        energy=tuple(EnergyPosting(gpu.slot.gpu, gpu.energy) for gpu in gpus if gpu.energy_measured),
        owners=tuple(sorted(owners)),
        implausible=(("energy", sum(gpu.implausible for gpu in gpus)),),
        day=day_of(tick.frame.wall - 1, zone).name,
        zone=zone.key,
        memory=tuple(_memory(tick)),
    )


def _memory(tick: _Tick) -> Iterator[MemoryPosting]:
    """Memory that servers hold, by their processes; where those are not visible, all of an only holder's GPU.

    A server of which one part is unknown has none.
    """
    readings = tick.readings
    for uuid, gpu in sorted(tick.gpus.items()):
        reading = readings.get(uuid)
        if reading is None or not reading.up:
            continue
        parts: dict[ServerKey, list[int | None]] = {}
        for holder in gpu.holders:
            parts.setdefault(holder.key, []).append(holder.memory_bytes)
        for key, amounts in parts.items():
            known = [amount for amount in amounts if amount is not None and amount >= 0]
            memory = sum(known) if len(known) == len(amounts) else None
            if memory is None and len(parts) == 1:
                memory = reading.memory_used_bytes
            if memory is not None and memory >= 0:
                yield MemoryPosting(gpu.gpu, key, memory)


def _state_after(tick: _Tick, slots_after: Collection[GpuState], postings: Postings) -> State:
    """The state after the tick, of a host that goes on with these slots."""
    frame = tick.frame
    by_uuid: dict[str, GpuState] = {}
    by_model: dict[str, GpuState] = {}
    for slot in slots_after:
        # The rounding of owners that are not on the host any more is forgotten.
        rounding = {
            component: {key: part for key, part in parts.items() if key.owner in postings.owners}
            for component, parts in slot.rounding.items()
        }
        slot_after = replace(slot, rounding=rounding)
        if slot.gpu.uuid == UNSEEN:
            by_model[slot.gpu.gpu_model] = slot_after
        else:
            by_uuid[slot.gpu.uuid] = slot_after
    present = {holder.key for slot in slots_after for holder in slot.holders}
    present.update(endpoint.key for endpoint in tick.served.deltas.endpoints.values())
    with_owner = present | {owned.key for owned in frame.owners}
    server_states = _server_states(tick)
    if not frame.incomplete:
        server_states = without_retired(server_states, present, frame.wall)
    uncharged = 0 if tick.time.charged is None else tick.time.charged.uncharged
    return replace(
        tick.inventory.state,
        elapsed=frame.elapsed,
        awake=frame.awake,
        boot=frame.boot,
        wall=frame.wall,
        uncharged=tick.start.uncharged + uncharged,
        gpus=by_uuid,
        unseen=by_model,
        endpoints=tick.served.deltas.endpoints,
        gateways=tick.served.deltas.gateways,
        servers=server_states,
        accrued=tick.start.accrued + sum(segment.accrued for segment in postings.segments),
        fresh_in="" if slots_after else tick.start.fresh_in,
        same_machine=True,
        owners={key: owned for key, owned in tick.start.owners.items() if key in with_owner},
        former=former_slots(tick.start, by_uuid),
    )


def _server_states(tick: _Tick) -> dict[ServerKey, ServerState]:
    """Servers after a tick, those included that only hold GPUs.

    A server that declares more GPUs than it holds here is partial: others compute for its tokens, too.
    """
    served = tick.served
    states = dict(served.servers)
    for holder in tick.frame.holders:
        key = served.deltas.beyond.get(holder.key, holder.key)
        if holder.uuid in tick.inventory.listed and key not in states:
            states[key] = ServerState(principal=principal_of(holder.key, tick.frame.users))
    holders = [holder for gpu in tick.gpus.values() for holder in gpu.holders]
    devices = {(holder.key, holder.uuid, holder.instance) for holder in holders}
    counts = Counter(key for key, _, _ in devices)
    for key, server in served.ticks.items():
        if server.world_size > counts[key]:
            states[key] = replace(states[key], partial=True)
    return states


def former_slots(state: State, present: Collection[str]) -> Mapping[str, Gpu]:
    """The GPUs that priced those in no slot any more, after a tick: of a state before it, and who is present.

    The latest are remembered.
    """
    before = {uuid: gpu.priced_as for uuid, gpu in state.gpus.items() if gpu.priced_as is not None}
    gone = [(uuid, gpu) for uuid, gpu in {**state.former, **before}.items() if uuid not in present]
    return dict(gone[-FORMER_MAX:])


def without_retired(
    servers: Mapping[ServerKey, ServerState], present: Collection[ServerKey], wall: Instant
) -> dict[ServerKey, ServerState]:
    """Servers after a tick: one that was absent for a day leaves its rows to others."""
    servers_after: dict[ServerKey, ServerState] = {}
    for key, server in servers.items():
        absent_since = None if key in present else server.absent_since or wall
        if absent_since is not None and wall - absent_since >= RETIRED_AFTER:
            continue
        servers_after[key] = replace(server, absent_since=absent_since)
    return servers_after
