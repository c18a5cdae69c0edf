"""One tick: state and readings in, state and postings out. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from functools import lru_cache
from operator import attrgetter
from typing import Final

from exporter.cost import attribution, energy, gpu_usage, intervals, servers
from exporter.cost.accrual import Accrual, GpuAccrual, GpuRemainders
from exporter.cost.admission import principal_of, without_retired
from exporter.cost.attribution import GpuShare, ShareMethod
from exporter.cost.intervals import ChargedInterval
from exporter.cost.inventory import GpuInventory, former_slots, inventory
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
from exporter.cost.servers import PageErrors, ServersTick, ServerTick
from exporter.cost.state import GpuState, ServerState, State
from exporter.frozen import dataclass, replace
from exporter.readings import UNSEEN, Frame, Gpu, GpuReading, Holder, ServerKey, TokenKind
from exporter.tariff.calendar import day_of
from exporter.tariff.hosted import HostedPrice, equivalent
from exporter.units import Instant, Nanoseconds


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
    """One GPU in one tick. `phase_weights` divide its time by owner and phase.

    `held_shares` are the parts of its time by server and method; they sum to 1.
    `count` is above 1 for several GPUs that NVML never listed.
    """

    gpu: Gpu
    index: int
    reading: GpuReading | None
    shares: tuple[GpuShare, ...]
    held_shares: Mapping[tuple[ServerKey, ShareMethod], float]
    phase_weights: Mapping[OwnerPhase, int]
    mean_watts: float | None
    count: int = 1


@dataclass(frozen=True, slots=True)
class TickOutcome:
    """The result of one tick. `charged` is the time that its segments charge, `None` where there is none.

    `errors` counts what a page of a server or gateway left out, by URL and reason.
    """

    state: State
    postings: Postings
    gpus: tuple[GpuOutcome, ...]
    ticks: Mapping[ServerKey, ServerTick]
    policy: CostPolicy
    """The policy of the tick, with the owners that servers report and the predecessors of replaced GPUs."""
    inventory: GpuInventory
    charged: ChargedInterval | None = None
    errors: Mapping[str, PageErrors] = field(default_factory=dict)


def advance(state: State, frame: Frame, policy: CostPolicy) -> TickOutcome:
    """Advance the state by one tick.

    The tick charges the time since the last one, as `intervals` bounds it. Without a last tick it charges
    nothing, or the time since boot.
    """
    owners = {**state.owners, **{owned.key: owned for owned in frame.owners}}
    configured, policy = policy, policy.with_owners(owners, state.predecessors)
    interval = intervals.since_last(state, frame, policy)
    elapsed = None if interval is None else interval.length
    unwatched = interval is not None and not interval.observed
    rebooted = interval is not None and interval.rebooted
    if rebooted:
        state = _rebooted(state)
    served = servers.advance(state, frame, elapsed or 0, policy)
    state = _with_names(state, servers.renamed(state, frame))
    server_states = dict(served.servers)
    readings = {reading.gpu.uuid: reading for reading in frame.gpus or ()}
    matched = inventory(state, frame, policy, rebooted=rebooted)
    gpus = {**matched.lost, **_listed(matched.listed, state, frame, served.beyond, server_states)}
    if matched.replaced:
        both = replace(state, gpus={**state.gpus, **gpus})
        policy = configured.with_owners(owners, both.predecessors)
    server_states |= _partial(server_states, gpus, served)
    beginning = intervals.since_boot(state, frame, policy) if gpus or matched.unseen else None
    # Who is not there any more pays for a gap, too.
    ticks = {**servers.last_known(state.servers), **served.ticks} if unwatched else served.ticks
    # Nothing but hourly rent begins before a GPU is read, energy neither.
    metered = elapsed if beginning is None else None
    accruals = [
        _accrual(
            gpu,
            _before(state, gpu),
            readings.get(gpu.gpu.uuid),
            ticks,
            policy,
            metered,
            unwatched=unwatched,
        )
        for _, gpu in (*sorted(gpus.items()), *sorted(matched.unseen.items()))
    ]
    charged = beginning or interval
    segments: tuple[Segment, ...] = ()
    if charged is not None and charged.length and (matched.gpu_host or state.unseen):
        # A gap is charged to the GPUs before it, those included that the host has no more.
        gone = _gone(state, matched) if unwatched else ()
        former = [_accrual(gpu, gpu, None, ticks, policy, None, unwatched=True) for gpu in gone]
        booted = charged.booted if len(gpus) < len(state.gpus) else None
        segments = Accrual(accruals, policy, charged, former, booted).segments()
    tokens = served.tokens
    if (begun := state.wall if beginning else _begun(interval)) is not None:
        tokens = tuple(moved if moved.since else replace(moved, since=begun) for moved in tokens)
    postings = Postings(
        end=frame.wall,
        segments=segments,
        tokens=tokens,
        requests=served.requests,
        latencies=served.latencies,
        preemptions=served.preemptions,
        equivalents=equivalents(served.tokens, policy.compare) if policy.compare else (),
        energy=tuple(EnergyPosting(gpu.state.gpu, gpu.energy) for gpu in accruals if gpu.counted),
        owners=_sorted(frozenset(_owners(accruals, served, policy))),
        implausible=(("energy", sum(gpu.implausible for gpu in accruals)),),
        day=day_of(frame.wall - 1, policy.zone).name,
        zone=policy.zone.key,
        memory=tuple(_memory(gpus, readings)),
    )
    tariff = policy.tariff
    accruals = [gpu for gpu in accruals if gpu.reading or not tariff.has_left(gpu.state.gpu, frame.wall)]
    after_gpus = {gpu.state.gpu.uuid: gpu.after() for gpu in accruals if gpu.state.gpu.uuid != UNSEEN}
    present = {holder.key for gpu in accruals for holder in gpu.state.holders}
    present.update(endpoint.key for endpoint in served.endpoints.values())
    remembered = present | {owned.key for owned in frame.owners}
    after = replace(
        matched.state,
        elapsed=frame.elapsed,
        awake=frame.awake,
        boot=frame.boot,
        wall=frame.wall,
        uncharged=state.uncharged + (0 if charged is None else charged.uncharged),
        gpus=after_gpus,
        unseen={gpu.state.gpu.gpu_model: gpu.after() for gpu in accruals if gpu.state.gpu.uuid == UNSEEN},
        endpoints=served.endpoints,
        gateways=served.gateways,
        servers=server_states if frame.incomplete else without_retired(server_states, present, frame.wall),
        accrued=state.accrued + sum(segment.accrued for segment in segments),
        fresh_in="" if accruals else state.fresh_in,
        same_machine=True,
        owners={key: owned for key, owned in owners.items() if key in remembered},
        former=former_slots(state, after_gpus),
    )
    return TickOutcome(
        after,
        postings,
        tuple(_outcome(gpu) for gpu in accruals),
        served.ticks,
        policy,
        matched,
        charged,
        served.errors,
    )


def _outcome(gpu: GpuAccrual) -> GpuOutcome:
    return GpuOutcome(
        gpu.state.gpu,
        gpu.state.index,
        gpu.reading,
        tuple(use.share for use in gpu.usage),
        gpu_usage.held_shares(gpu.usage),
        gpu.by_time,
        energy.mean_watts(gpu.state),
        gpu.state.count,
    )


def _before(state: State, gpu: GpuState) -> GpuState | None:
    """The state before the tick of the slot that a GPU sits in; `None` for a new slot."""
    if gpu.gpu.uuid == UNSEEN:
        return state.unseen.get(gpu.gpu.gpu_model)
    return state.gpus.get(gpu.gpu.uuid) or state.gpus.get(gpu.predecessor)


def _begun(interval: ChargedInterval | None) -> Instant | None:
    """When the tokens of an interval began: at a boot in it, or before it where a part is not charged."""
    if interval is None or interval.rebooted or not interval.uncharged:
        return None if interval is None else interval.booted
    return interval.start - interval.uncharged


def _with_names(state: State, names: Mapping[ServerKey, ServerKey]) -> State:
    """The state with the new names of holders."""
    if not names:
        return state
    gpus, unseen = (
        {name: replace(gpu, holders=_named(gpu.holders, names)) for name, gpu in those.items()}
        for those in (state.gpus, state.unseen)
    )
    return replace(state, gpus=gpus, unseen=unseen)


def _named(holders: Iterable[Holder], names: Mapping[ServerKey, ServerKey]) -> tuple[Holder, ...]:
    return tuple(replace(holder, key=names.get(holder.key, holder.key)) for holder in holders)


def _gone(state: State, matched: GpuInventory) -> Iterator[GpuState]:
    """GPUs of the host at the last tick that it has no more. Those that were lost then never came back."""
    yield from (gpu for _, gpu in sorted(matched.released.items()) if gpu.up)
    yield from (gpu for model, gpu in sorted(state.unseen.items()) if model not in matched.unseen)


def _listed(
    listed: Mapping[str, GpuState],
    state: State,
    frame: Frame,
    beyond: Mapping[ServerKey, ServerKey],
    server_states: dict[ServerKey, ServerState],
) -> dict[str, GpuState]:
    """Listed GPUs with this tick's reading and holders. New holders are added to `server_states`."""
    after: dict[str, GpuState] = {}
    by_gpu: dict[str, list[Holder]] = {}
    for holder in frame.holders:
        by_gpu.setdefault(holder.uuid, []).append(holder)
    for reading in frame.gpus or ():
        uuid = reading.gpu.uuid
        holders: list[Holder] = []
        if uuid in frame.unknown_gpus and uuid in state.gpus:
            holders.extend(state.gpus[uuid].holders)
        for holder in by_gpu.get(uuid, ()):
            key = beyond.get(holder.key, holder.key)
            if key not in server_states:
                server_states[key] = ServerState(principal=principal_of(holder.key, frame.users))
            holders.append(holder if key == holder.key else replace(holder, key=key))
        before = listed[uuid]
        address = reading.pci_bus_id or before.pci_bus_id
        # A GPU that cannot be read reports neither its instances nor its processes.
        known = tuple(holders) if reading.up or holders else before.holders
        slices = attribution.mig_slices(reading) if reading.up else before.slices
        memory = (reading.memory_total_bytes if reading.up else None) or before.memory_bytes
        # Equal slices in another order are others: it is the order of their rows.
        reordered = slices is not None and list(slices) != list(before.slices or ())
        listing = reading.gpu, reading.index, reading.up, address, known, slices, memory
        if reordered or listing != _LISTED(before):
            before = replace(
                before,
                gpu=reading.gpu,
                index=reading.index,
                up=reading.up,
                pci_bus_id=address,
                holders=known,
                slices=slices,
                memory_bytes=memory,
            )
        after[uuid] = before
    return after


_LISTED: Final = attrgetter("gpu", "index", "up", "pci_bus_id", "holders", "slices", "memory_bytes")


def _partial(
    server_states: Mapping[ServerKey, ServerState], gpus: Mapping[str, GpuState], served: ServersTick
) -> dict[ServerKey, ServerState]:
    """Servers that declare more GPUs than they hold here: others compute for their tokens, too."""
    declared = {key: tick.world_size for key, tick in served.ticks.items() if tick.world_size}
    if not declared:
        return {}
    devices = {(holder.key, holder.uuid, holder.instance) for gpu in gpus.values() for holder in gpu.holders}
    counts = Counter(key for key, _, _ in devices)
    return {
        key: replace(server_states[key], partial=True)
        for key, count in declared.items()
        if count > counts[key]
    }


def _accrual(
    gpu: GpuState,
    before: GpuState | None,
    reading: GpuReading | None,
    ticks: Mapping[ServerKey, ServerTick],
    policy: CostPolicy,
    elapsed: Nanoseconds | None,
    *,
    unwatched: bool,
) -> GpuAccrual:
    # An interval is charged to the GPU and the holders at its end, a gap to those before it.
    last = before if unwatched and before is not None else gpu
    shares = attribution.shares(last.holders, last.slices)
    usage = gpu_usage.share_usage(shares, reading, ticks, lost=not gpu.up, gap=unwatched)
    busy = gpu_usage.busy_ratio(usage)
    gpu, used = energy.advance(gpu, reading, elapsed, busy, observed=not unwatched)
    by_time = gpu_usage.phase_weights(usage, ticks, policy)
    by_energy = by_time
    idle = energy.idle_ratio(gpu, used)
    if busy and idle is not None:
        by_energy = gpu_usage.phase_weights(usage, ticks, policy, round(idle * WHOLE))
    measured = reading is not None and (reading.energy is not None or reading.power_watts is not None)
    return GpuAccrual(
        gpu,
        last.gpu,
        last.count,
        before is not None,
        reading,
        usage,
        by_time,
        by_energy,
        used.energy,
        measured and elapsed is not None,
        used.implausible,
        GpuRemainders(dict(gpu.carries), dict(gpu.rounding)),
    )


def _memory(gpus: Mapping[str, GpuState], readings: Mapping[str, GpuReading]) -> Iterator[MemoryPosting]:
    """Memory that servers hold, by their processes; where those are not visible, all of an only holder's GPU.

    A server of which one part is unknown has none.
    """
    for uuid, gpu in sorted(gpus.items()):
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


def _rebooted(state: State) -> State:
    """The state after a driver reload: its energy counters begin at zero."""
    gpus = {
        uuid: replace(gpu, energy_mark=None if gpu.energy_mark is None else 0, energy_age=0, falls=0)
        for uuid, gpu in state.gpus.items()
    }
    return replace(state, gpus=gpus)


@lru_cache(maxsize=1)  # the owners of a tick are nearly always those of the last one
def _sorted(owners: frozenset[CostOwner]) -> tuple[CostOwner, ...]:
    return tuple(sorted(owners))


def _owners(accruals: Iterable[GpuAccrual], served: ServersTick, policy: CostPolicy) -> set[CostOwner]:
    """Owners of this tick, also those with nothing to post: a series starts at zero."""
    owners = {owner_phase.owner for gpu in accruals for owner_phase in gpu.by_time}
    for key, tick in served.ticks.items():
        for model in {**tick.splits, **tick.idle_models}:
            owners.add(policy.owner_of(key, model))
        for parts in tick.owner_shares.values():
            owners.update(parts)
    return owners
