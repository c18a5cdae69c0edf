"""One tick: state and readings in, state and postings out. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from exporter.cost import attribution, energy, gpu_usage, intervals, servers
from exporter.cost.accrual import Accrual, GpuAccrual, GpuRemainders
from exporter.cost.admission import principal_of
from exporter.cost.attribution import GpuShare, ShareMethod
from exporter.cost.counters import PageErrors
from exporter.cost.intervals import ChargedInterval
from exporter.cost.inventory import GpuInventory, inventory
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
    """Parts of its time by server and method; they sum to 1."""
    phase_weights: Mapping[OwnerPhase, int]
    """Weights that divide its time by owner and phase."""
    mean_watts: float | None
    count: int = 1
    """Above 1 for several GPUs that NVML never listed."""


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
    """The time that its segments charge, `None` where there is none."""
    errors: Mapping[str, PageErrors] = field(default_factory=dict)
    """What a page of a server or gateway left out, by URL and reason."""


class _GpuTick(NamedTuple):
    """One GPU in one tick: what it is charged for, and what is reported of it."""

    accrual: GpuAccrual
    outcome: GpuOutcome


def advance(state: State, frame: Frame, policy: CostPolicy) -> TickOutcome:
    """Advance the state by one tick.

    The tick charges the time since the last one, as `intervals` bounds it. Without a last tick it charges
    nothing, or the time since boot.
    """
    owners = {**state.owners, **{owned.key: owned for owned in frame.owners}}
    if owners != policy.owners:
        policy = replace(policy, owners=owners)
    interval = intervals.since_last(state, frame, policy)
    since_boot = intervals.since_boot(state, frame, policy)
    elapsed = None if interval is None else interval.length
    unwatched = interval is not None and not interval.observed
    rebooted = interval is not None and interval.rebooted

    served = servers.advance(state, frame, elapsed or 0, policy)
    state = _beginning(state, served.renamed, rebooted=rebooted)
    matched = inventory(state, frame, policy, rebooted=rebooted)
    policy = policy if matched.tariff is policy.tariff else replace(policy, tariff=matched.tariff)
    listed = attribution.with_readings(matched.listed, state, frame, served.beyond)
    gpus = {**matched.lost, **listed}
    server_states = _server_states(served, gpus, listed, frame)
    if not gpus and not matched.unseen:
        since_boot = None

    # Who is not there any more pays for a gap, too.
    ticks = {**servers.last_known(state.servers), **served.ticks} if unwatched else served.ticks
    # Nothing but hourly rent begins before a GPU is read, energy neither.
    metered = elapsed if since_boot is None else None
    readings = {reading.gpu.uuid: reading for reading in frame.gpus or ()}
    charged_gpus: list[_GpuTick] = []
    for _, gpu in (*sorted(gpus.items()), *sorted(matched.unseen.items())):
        if gpu.gpu.uuid == UNSEEN:
            before = state.unseen.get(gpu.gpu.gpu_model)
        else:
            before = state.gpus.get(gpu.gpu.uuid) or state.gpus.get(gpu.predecessor)
        reading = readings.get(gpu.gpu.uuid)
        charged_gpus.append(_gpu_tick(gpu, before, reading, ticks, policy, metered, unwatched=unwatched))
    accruals = [gpu.accrual for gpu in charged_gpus]

    charged = since_boot or interval
    segments: tuple[Segment, ...] = ()
    if charged is not None and charged.length and (matched.gpu_host or state.unseen):
        former: list[GpuAccrual] = []
        if unwatched:
            # A gap is charged to the GPUs before it, those included that the host has no more. Those that
            # were lost then never came back.
            gone = [gpu for _, gpu in sorted(matched.released.items()) if gpu.up]
            gone += [gpu for model, gpu in sorted(state.unseen.items()) if model not in matched.unseen]
            former = [_gpu_tick(gpu, gpu, None, ticks, policy, None, unwatched=True).accrual for gpu in gone]
        booted = charged.booted if len(gpus) < len(state.gpus) else None
        parts = intervals.interval_parts(charged, policy.tariff, policy.zone, booted)
        segments = Accrual(accruals, policy, charged, parts, former=former, booted=booted).segments()

    # Tokens began with the interval, at a boot in it, or before it where a part is not charged.
    begun = state.wall if since_boot is not None else None
    if since_boot is None and interval is not None:
        lengthened = interval.uncharged and not interval.rebooted
        begun = interval.start - interval.uncharged if lengthened else interval.booted
    tokens = served.tokens
    if begun is not None:
        tokens = tuple(posting if posting.since else replace(posting, since=begun) for posting in tokens)
    postings = Postings(
        end=frame.wall,
        segments=segments,
        tokens=tokens,
        requests=served.requests,
        latencies=served.latencies,
        preemptions=served.preemptions,
        equivalents=equivalents(served.tokens, policy.compare),
        energy=tuple(EnergyPosting(gpu.state.gpu, gpu.energy) for gpu in accruals if gpu.energy_measured),
        owners=_owners(accruals, served, policy),
        implausible=(("energy", sum(gpu.implausible for gpu in accruals)),),
        day=day_of(frame.wall - 1, policy.zone).name,
        zone=policy.zone.key,
        memory=tuple(_memory(gpus, readings)),
    )

    remaining = [
        gpu
        for gpu in charged_gpus
        if gpu.accrual.reading is not None or not policy.tariff.has_left(gpu.outcome.gpu, frame.wall)
    ]
    after = [
        replace(
            gpu.accrual.state,
            carries=gpu.accrual.remainders.carries,
            rounding=gpu.accrual.remainders.rounding,
        )
        for gpu in remaining
    ]
    listed_after = {gpu.gpu.uuid: gpu for gpu in after if gpu.gpu.uuid != UNSEEN}
    present = {holder.key for gpu in after for holder in gpu.holders}
    present.update(endpoint.key for endpoint in served.endpoints.values())
    remembered = present | {owned.key for owned in frame.owners}
    if not frame.incomplete:
        server_states = without_retired(server_states, present, frame.wall)
    state_after = replace(
        matched.state,
        elapsed=frame.elapsed,
        awake=frame.awake,
        boot=frame.boot,
        wall=frame.wall,
        uncharged=state.uncharged + (0 if charged is None else charged.uncharged),
        gpus=listed_after,
        unseen={gpu.gpu.gpu_model: gpu for gpu in after if gpu.gpu.uuid == UNSEEN},
        endpoints=served.endpoints,
        gateways=served.gateways,
        servers=server_states,
        accrued=state.accrued + sum(segment.accrued for segment in segments),
        fresh_in="" if after else state.fresh_in,
        same_machine=True,
        owners={key: owned for key, owned in owners.items() if key in remembered},
        former=former_slots(state, listed_after),
    )
    return TickOutcome(
        state_after,
        postings,
        gpus=tuple(gpu.outcome for gpu in remaining),
        ticks=served.ticks,
        policy=policy,
        inventory=matched,
        charged=charged,
        errors=served.errors,
    )


def _beginning(state: State, names: Mapping[ServerKey, ServerKey], *, rebooted: bool) -> State:
    """The state that a tick begins with: after a driver reload, and with the new names of servers."""

    def changed(gpu: GpuState) -> GpuState:
        holders = tuple(replace(holder, key=names.get(holder.key, holder.key)) for holder in gpu.holders)
        return replace(gpu, holders=holders)

    if rebooted:  # energy counters begin at zero
        gpus = {
            uuid: replace(gpu, energy_mark=None if gpu.energy_mark is None else 0, energy_age=0, falls=0)
            for uuid, gpu in state.gpus.items()
        }
        state = replace(state, gpus=gpus)
    if not names:
        return state
    return replace(
        state,
        gpus={uuid: changed(gpu) for uuid, gpu in state.gpus.items()},
        unseen={model: changed(gpu) for model, gpu in state.unseen.items()},
    )


def _server_states(
    served: ServersTick, gpus: Mapping[str, GpuState], listed: Mapping[str, GpuState], frame: Frame
) -> dict[ServerKey, ServerState]:
    """Servers after a tick, those included that only hold GPUs.

    A server that declares more GPUs than it holds here is partial: others compute for its tokens, too.
    """
    states = dict(served.servers)
    for holder in frame.holders:
        key = served.beyond.get(holder.key, holder.key)
        if holder.uuid in listed and key not in states:
            states[key] = ServerState(principal=principal_of(holder.key, frame.users))
    devices = {(holder.key, holder.uuid, holder.instance) for gpu in gpus.values() for holder in gpu.holders}
    counts = Counter(key for key, _, _ in devices)
    for key, tick in served.ticks.items():
        if tick.world_size > counts[key]:
            states[key] = replace(states[key], partial=True)
    return states


def _gpu_tick(
    gpu: GpuState,
    before: GpuState | None,
    reading: GpuReading | None,
    ticks: Mapping[ServerKey, ServerTick],
    policy: CostPolicy,
    elapsed: Nanoseconds | None,
    *,
    unwatched: bool,
) -> _GpuTick:
    """Divide one GPU's time and energy over owners and phases.

    Args:
        gpu: the slot now.
        before: the slot before the tick, `None` for a new one.
        reading: by NVML.
        ticks: of the servers.
        policy: who owns a server.
        elapsed: since energy was metered; `None` where it begins now.
        unwatched: the tick is a gap.
    """
    # An interval is charged to the GPU and the holders at its end, a gap to those before it.
    last = before if unwatched and before is not None else gpu
    shares = attribution.shares(last.holders, last.slices)
    usage = gpu_usage.share_usage(shares, reading, ticks, lost=not gpu.up, gap=unwatched)
    busy = gpu_usage.busy_ratio(usage)
    held_shares = gpu_usage.held_shares(usage)
    by_time = by_energy = gpu_usage.phase_weights(usage, ticks, policy)
    gpu, used = energy.advance(gpu, reading, elapsed, busy, observed=not unwatched)
    idle = energy.idle_ratio(gpu, used)
    mean_watts = energy.mean_watts(gpu)
    if busy and idle is not None:
        by_energy = gpu_usage.phase_weights(usage, ticks, policy, round(idle * WHOLE))
    measured = reading is not None and (reading.energy is not None or reading.power_watts is not None)
    accrual = GpuAccrual(
        state=gpu,
        charged=last.gpu,
        count=last.count,
        seen_before=before is not None,
        reading=reading,
        by_time=by_time,
        by_energy=by_energy,
        energy=used.energy,
        energy_measured=measured and elapsed is not None,
        implausible=used.implausible,
        remainders=GpuRemainders(dict(gpu.carries), dict(gpu.rounding)),
    )
    outcome = GpuOutcome(
        gpu=gpu.gpu,
        index=gpu.index,
        reading=reading,
        shares=tuple(use.share for use in usage),
        held_shares=held_shares,
        phase_weights=by_time,
        mean_watts=mean_watts,
        count=gpu.count,
    )
    return _GpuTick(accrual, outcome)


def _owners(accruals: Iterable[GpuAccrual], served: ServersTick, policy: CostPolicy) -> tuple[CostOwner, ...]:
    """Owners of this tick, also those with nothing to post: a series starts at zero."""
    owners = {owner_phase.owner for gpu in accruals for owner_phase in gpu.by_time}
    for key, tick in served.ticks.items():
        owners.update(policy.owner_of(key, model) for model in {**tick.splits, **tick.idle_models})
        for parts in tick.owner_shares.values():
            owners.update(parts)
    return tuple(sorted(owners))


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


def former_slots(state: State, present: Collection[str]) -> Mapping[str, Gpu]:
    """The GPUs that priced those in no slot any more, after a tick: of a state before it, and who is present.

    The latest are remembered.
    """
    before = {uuid: gpu.priced_as for uuid, gpu in state.gpus.items() if gpu.priced_as is not None}
    if not before and not state.former:
        return state.former
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
        same = absent_since == server.absent_since
        servers_after[key] = server if same else replace(server, absent_since=absent_since)
    return servers_after
