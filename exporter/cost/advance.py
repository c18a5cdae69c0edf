"""One tick of the books: state and readings in, state and postings out."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from exporter.cost import attribution, energy, gpu_usage, intervals, servers
from exporter.cost import attribution as slices
from exporter.cost import servers as heard
from exporter.cost.accrual import Accrual, GpuAccrual
from exporter.cost.attribution import GpuShare, ShareMethod
from exporter.cost.intervals import ChargedInterval
from exporter.cost.inventory import UNSEEN, GpuInventory, inventory
from exporter.cost.money import WHOLE
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import (
    CostOwner,
    EnergyPosting,
    HostedEquivalent,
    OwnerPhase,
    Postings,
    Segment,
    TokenPosting,
)
from exporter.cost.servers import ServersTick, ServerTick
from exporter.cost.state import GpuState, ServerState, State
from exporter.readings import Frame, Gpu, GpuReading, Holder, Kind, PodOwnership, ServerKey
from exporter.tariff.calendar import day_of
from exporter.tariff.hosted import HostedPrice, equivalent
from exporter.units import Nanoseconds


def equivalents(
    tokens: Iterable[TokenPosting], offers: Iterable[HostedPrice]
) -> tuple[HostedEquivalent, ...]:
    """One entry for each party whose tokens are told and each offer that covers it, also of nothing.

    An upper bound of what a hosted bill would have been: the engine's own tokenizer, its own cache hits, and
    prompts that vLLM counts once for each of n answers.
    """
    by_party: dict[CostOwner, dict[Kind, int]] = {}
    for told in tokens:
        counts = by_party.setdefault(told.owner, {})
        counts[told.kind] = counts.get(told.kind, 0) + told.count
    return tuple(
        HostedEquivalent(party, offer.reference, equivalent(offer, counts))
        for party, counts in by_party.items()
        for offer in offers
        if offer.covers(party.server, party.model)
    )


@dataclass(frozen=True, slots=True)
class GpuOutcome:
    """What one GPU did in one tick. `slots` are weights by time.

    `held` is the part of its time that each server held, by method; they sum to 1.
    `count` is above 1 for several GPUs that NVML never listed.
    """

    gpu: Gpu
    index: int
    reading: GpuReading | None
    shares: tuple[GpuShare, ...]
    held: Mapping[tuple[ServerKey, ShareMethod], float]
    slots: Mapping[OwnerPhase, int]
    mean_watts: float | None
    count: int = 1


@dataclass(frozen=True, slots=True)
class TickOutcome:
    """One tick's answer. `charged` is the time that its segments charge; `None`: none.

    `implausible` are series of counters that moved by more than any server counts, by the URL of their page.
    """

    state: State
    postings: Postings
    gpus: tuple[GpuOutcome, ...]
    ticks: Mapping[ServerKey, ServerTick]
    terms: CostPolicy
    """Those that the tick went by, with what servers said of who pays for them, and whose slots GPUs took."""
    inventory: GpuInventory
    charged: ChargedInterval | None = None
    implausible: Mapping[str, int] = field(default_factory=dict)


def advance(state: State, frame: Frame, terms: CostPolicy) -> TickOutcome:
    """Advance the books by one tick.

    The tick charges the time since the last one (`gap` says which that is); without a last tick, nothing,
    or the time since boot.
    """
    owners = {**state.owners, **{owned.key: owned for owned in frame.owners}}
    configured, terms = terms, terms.told(owners, state.predecessors)
    interval = intervals.since_last(state, frame, terms)
    elapsed = None if interval is None else interval.length
    unwatched = interval is not None and not interval.observed
    rebooted = interval is not None and interval.rebooted
    if rebooted:
        state = _rebooted(state)
    round_ = servers.advance(state, frame, elapsed or 0, terms)
    known = dict(round_.servers)
    readings = {reading.gpu.uuid: reading for reading in frame.gpus or ()}
    found = inventory(state, frame, terms, rebooted=rebooted)
    gpus = {**found.lost, **_listed(found.slots, state, frame, terms, known)}
    if found.replaced:
        both = replace(state, gpus={**state.gpus, **gpus})
        terms = configured.told(owners, both.predecessors)
    known |= _partial(known, gpus, round_)
    beginning = intervals.since_boot(state, frame, terms)
    # Nothing but hourly rent begins before a GPU is read, energy neither.
    metered = elapsed if beginning is None else None
    works = [
        _work(gpu, _slot(state, gpu), readings.get(gpu.gpu.uuid), round_, terms, metered, unwatched=unwatched)
        for _, gpu in (*sorted(gpus.items()), *sorted(found.unseen.items()))
    ]
    charged = beginning or interval
    segments: tuple[Segment, ...] = ()
    if charged is not None and charged.length:
        # A gap is charged to the GPUs before it, those included that the host has no more.
        gone = _gone(state, found) if unwatched else ()
        former = [_work(gpu, gpu, None, round_, terms, None, unwatched=True) for gpu in gone]
        booted = charged.booted if len(gpus) < len(state.gpus) else None
        segments = Accrual(works, terms, charged, former, booted).segments()
    postings = Postings(
        end=frame.wall,
        segments=segments,
        tokens=round_.tokens,
        requests=round_.requests,
        equivalents=equivalents(round_.tokens, terms.compare),
        energy=tuple(EnergyPosting(work.state.gpu, work.energy) for work in works if work.counted),
        seen=tuple(sorted(_seen(works, round_, terms))),
        implausible=(("energy", sum(work.implausible for work in works)),),
        day=day_of(frame.wall - 1, terms.zone).name,
        zone=terms.zone.key,
    )
    tariff = terms.tariff
    works = [work for work in works if work.reading or not tariff.has_left(work.state.gpu, frame.wall)]
    after = replace(
        found.state,
        elapsed=frame.elapsed,
        awake=frame.awake,
        boot=frame.boot,
        wall=frame.wall,
        uncharged=state.uncharged + (0 if charged is None else charged.uncharged),
        gpus={work.state.gpu.uuid: work.after() for work in works if work.state.gpu.uuid != UNSEEN},
        unseen={work.state.gpu.gpu_model: work.after() for work in works if work.state.gpu.uuid == UNSEEN},
        endpoints=round_.endpoints,
        gateways=round_.gateways,
        servers=known,
        accrued=state.accrued + sum(segment.accrued for segment in segments),
        fresh_in="" if works else state.fresh_in,
        same_machine=True,
        owners=_here(owners, works, round_, frame),
    )
    return TickOutcome(
        after,
        postings,
        tuple(_outcome(work) for work in works),
        round_.ticks,
        terms,
        found,
        charged,
        round_.implausible,
    )


def _here(
    owners: Mapping[ServerKey, PodOwnership], works: Iterable[GpuAccrual], round_: ServersTick, frame: Frame
) -> Mapping[ServerKey, PodOwnership]:
    """The owners of servers that hold a GPU, or are read, or were told now: others need none any more."""
    here = {holder.key for work in works for holder in work.state.holders}
    here.update(endpoint.key for endpoint in round_.endpoints.values())
    here.update(owned.key for owned in frame.owners)
    return {key: owned for key, owned in owners.items() if key in here}


def _outcome(work: GpuAccrual) -> GpuOutcome:
    return GpuOutcome(
        work.state.gpu,
        work.state.index,
        work.reading,
        tuple(use.share for use in work.uses),
        gpu_usage.held_shares(work.uses),
        work.by_time,
        energy.mean_watts(work.state),
        work.state.count,
    )


def _slot(state: State, gpu: GpuState) -> GpuState | None:
    """What was known before the tick of the slot that a GPU sits in; `None` for one that is new."""
    if gpu.gpu.uuid == UNSEEN:
        return state.unseen.get(gpu.gpu.gpu_model)
    return state.gpus.get(gpu.gpu.uuid) or state.gpus.get(gpu.predecessor)


def _gone(state: State, found: GpuInventory) -> Iterator[GpuState]:
    """GPUs of the host at the last tick that it has no more. Those that were lost then never came back."""
    yield from (gpu for _, gpu in sorted(found.released.items()) if gpu.up)
    yield from (gpu for model, gpu in sorted(state.unseen.items()) if model not in found.unseen)


def _listed(
    slots: Mapping[str, GpuState],
    state: State,
    frame: Frame,
    terms: CostPolicy,
    known: dict[ServerKey, ServerState],
) -> dict[str, GpuState]:
    """The slots with a listed GPU, as they are read now, with who holds them."""
    read: dict[str, GpuState] = {}
    for reading in frame.gpus or ():
        uuid = reading.gpu.uuid
        held: list[Holder] = []
        if uuid in frame.unknown_gpus and uuid in state.gpus:
            held.extend(state.gpus[uuid].holders)
        for holder in frame.holders:
            if holder.uuid == uuid:
                key = heard.admit_server(known, holder.key, terms.limits)
                known.setdefault(key, ServerState())
                held.append(holder if key == holder.key else replace(holder, key=key))
        before = slots[uuid]
        address = reading.pci_bus_id or before.pci_bus_id
        after = replace(before, gpu=reading.gpu, index=reading.index, up=reading.up, pci_bus_id=address)
        # A GPU that cannot be read tells neither how it is cut nor who computes on it.
        if reading.up or held:
            after = replace(after, holders=tuple(held))
        if reading.up:
            after = replace(after, slices=slices.mig_slices(reading))
        read[uuid] = after
    return read


def _partial(
    known: Mapping[ServerKey, ServerState], inventory: Mapping[str, GpuState], round_: ServersTick
) -> dict[ServerKey, ServerState]:
    """Servers that declare more GPUs than they hold here: others compute for their tokens, too."""
    declared = {key: tick.world_size for key, tick in round_.ticks.items() if tick.world_size}
    if not declared:
        return {}
    devices = {
        (holder.key, holder.uuid, holder.instance) for gpu in inventory.values() for holder in gpu.holders
    }
    held = Counter(key for key, _, _ in devices)
    return {key: replace(known[key], partial=True) for key, world in declared.items() if world > held[key]}


def _work(
    gpu: GpuState,
    before: GpuState | None,
    reading: GpuReading | None,
    round_: ServersTick,
    terms: CostPolicy,
    elapsed: Nanoseconds | None,
    *,
    unwatched: bool,
) -> GpuAccrual:
    # An interval is charged to the GPU and the holders at its end, a gap to the last ones that were seen.
    last = before if unwatched and before is not None else gpu
    shares = attribution.shares(last.holders, last.slices)
    uses = gpu_usage.share_usage(shares, reading, round_.ticks, lost=not gpu.up, gap=unwatched)
    busy = gpu_usage.busy_ratio(uses)
    gpu, used = energy.use(gpu, reading, elapsed, busy, observed=not unwatched)
    by_time = gpu_usage.phase_weights(uses, round_.ticks, terms)
    by_energy = by_time
    idle = energy.idle_ratio(gpu, used)
    if busy and idle is not None:
        by_energy = gpu_usage.phase_weights(uses, round_.ticks, terms, round(idle * WHOLE))
    told = reading is not None and (reading.energy is not None or reading.power_watts is not None)
    counted = told and elapsed is not None
    return GpuAccrual(
        gpu,
        last.gpu,
        last.count,
        before is not None,
        reading,
        uses,
        by_time,
        by_energy,
        used.energy,
        counted,
        used.implausible,
        dict(gpu.carries),
        dict(gpu.owed),
    )


def _rebooted(state: State) -> State:
    """The driver was loaded anew: its counters began at zero."""
    gpus = {
        uuid: replace(gpu, energy_mark=None if gpu.energy_mark is None else 0, energy_age=0, falls=0)
        for uuid, gpu in state.gpus.items()
    }
    return replace(state, gpus=gpus)


def _seen(works: Iterable[GpuAccrual], round_: ServersTick, terms: CostPolicy) -> set[CostOwner]:
    seen = {slot.owner for work in works for slot in work.by_time}
    for key, tick in round_.ticks.items():
        seen.update(terms.party(key, model) for model in (*tick.splits, *tick.idle_models))
        seen.update(who for parts in tick.parties.values() for who in parts)
    return seen
