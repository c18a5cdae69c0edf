"""Usage of a host's last hours and present prices, from its ledger, for savings."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final, Protocol, Self

from exporter.advice.hours import HostUsage, HourUsage, PricedGpu, Release, least_sure
from exporter.cost.attribution import UNALLOCATED_KEY
from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.cost.state import GpuState, State
from exporter.ledger import families
from exporter.ledger.families import ServerCost
from exporter.ledger.files import ledger_file
from exporter.ledger.history import HistorySums, PeakMemory, read_history, read_peaks
from exporter.ledger.reader import ReadOnlyLedger
from exporter.readings import Gpu, ServerKey, TokenKind
from exporter.tariff.hosted import HostedPrice
from exporter.tariff.quotes import Quote
from exporter.tariff.rate import PRICE_BASES, PriceBasis
from exporter.tariff.tariff import HARDWARE, RENT, Tariff
from exporter.tariff.terms import Owned, Rented
from exporter.units import NANOSECONDS_PER_HOUR, Instant, Picodollars

SILENT_AFTER: Final = NANOSECONDS_PER_HOUR
"""Time without a tick after which a host is not judged, and without a page after which a server is unread."""

USAGE: Final = ("held", "tokens")
"""Families of history that usage is made of."""

POSTED_PRICES: Final = ("gpu_cost", "gpu_held", "gpu_unowed", "unpriced", "settled")
"""Families that prices are made of where there is no tariff."""


class Hours(Protocol):
    """A ledger's hours, and the state of its last tick."""

    def hours(self, first: int, last: int, families: Collection[str]) -> Mapping[int, HistorySums]:
        """These families of history by hour since 1970."""
        ...

    def memory(self, first: int, last: int) -> PeakMemory:
        """Peak GPU memory of servers by hour since 1970, where it was read."""
        ...

    def state(self) -> State:
        """State of the cost model."""
        ...


class HourReader(ReadOnlyLedger):
    """The hours of usage of a daemon's own ledger, whose state the daemon has in memory.

    Nothing else of the file is read or checked for damage. Models that no offer covers are added up, so that
    a daemon does not hold two weeks of each; with GPUs of several kinds, models tell which kind suffices.
    """

    _tables = frozenset(
        {"meta", "label", "owner", "gpu", families.MEMORY.table, *(f"hourly_{name}" for name in USAGE)}
    )

    def __init__(self, path: Path, state: State, offers: Sequence[HostedPrice] = ()) -> None:
        self._state = state
        self._offers = offers
        self._kinds = len({gpu.gpu.gpu_model for gpu in state.gpus.values() if gpu.up})
        super().__init__(path)

    @classmethod
    def of_daemon(cls, path: Path, state: State, offers: Sequence[HostedPrice]) -> Self:
        """Open the ledger at a path.

        Raises:
            LedgerError: there is no ledger that can be read.
        """
        return cls(ledger_file(path), state, offers)

    def hours(self, first: int, last: int, families: Collection[str]) -> Mapping[int, HistorySums]:
        """These families of history by hour since 1970."""
        fold = {"held": self._without_model, "tokens": self._with_offer}
        return self._answer(
            lambda connection: read_history(connection, "hourly", first, last, families, fold)
        )

    def memory(self, first: int, last: int) -> PeakMemory:
        """Peak GPU memory of servers by hour since 1970, where it was read."""
        return self._answer(lambda connection: read_peaks(connection, first, last))

    def state(self) -> State:
        """State of the daemon's last tick."""
        return self._state

    def _without_model(self, part: OwnerPhase) -> OwnerPhase:
        return OwnerPhase(part.owner._replace(model=""), part.phase)

    def _with_offer(self, part: tuple[CostOwner, TokenKind]) -> tuple[CostOwner, TokenKind]:
        owner, kind = part
        if self._kinds > 1 or any(offer.covers(owner.server, owner.model) for offer in self._offers):
            return part
        return owner._replace(model=""), kind


def host_usage(
    ledger: Hours,
    name: str,
    now: Instant,
    hours: int,
    tariff: Tariff | None = None,
    release_rules: Tariff | None = None,
) -> HostUsage:
    """The last whole hours of a ledger.

    Args:
        ledger: the host's ledger.
        name: the host's name, empty for the only one.
        now: the present.
        hours: the most hours; a younger ledger has fewer.
        tariff: prices of now and their terms. Without one, prices are those of each GPU's last paid hour,
            unless a later one is unpriced.
        release_rules: those that hold for any host, for what can be given back at prices of the ledger.

    Raises:
        LedgerError: the file cannot be read.
    """
    last = now // NANOSECONDS_PER_HOUR - 1
    families = USAGE if tariff is not None else (*USAGE, *POSTED_PRICES)
    history = dict(ledger.hours(last + 1 - hours, last + 1, families))
    running = history.pop(last + 1, HistorySums())
    state = ledger.state()
    if tariff is None:
        gpus = _posted_prices(ledger, history, release_rules, now)
    else:
        present = replace(tariff, predecessors=state.predecessors)
        gpus = tuple(
            priced_gpu(gpu, present, now)
            for gpu in state.gpus.values()
            if gpu.up and not tariff.is_retired(gpu.gpu, now)
        )
    # GPUs that NVML lists or listed, and those that stand for the ones that it never did.
    paid = (*state.gpus.values(), *state.unseen.values())
    holders = frozenset(holder.key for gpu in state.gpus.values() for holder in gpu.holders)
    answering = {
        endpoint.key
        for endpoint in state.endpoints.values()
        if endpoint.marks.read and now - endpoint.marks.answered <= SILENT_AFTER
    }
    return HostUsage(
        name=name,
        first=min(history, default=last + 1),
        last=last,
        hours={hour: HourUsage(sums.held, sums.tokens) for hour, sums in history.items()},
        gpus=gpus,
        partial=state.partial_servers,
        unread=holders - answering,
        serving=frozenset(owner.key for (owner, _), count in running.tokens.items() if count),
        absent=sum(gpu.count for gpu in paid if not gpu.up and not gpu.holders),
        reported=state.wall is not None and now - state.wall <= SILENT_AFTER,
        memory=ledger.memory(last + 1 - hours, last),
    )


def _posted_prices(
    ledger: Hours, history: Mapping[int, HistorySums], release_rules: Tariff | None, now: Instant
) -> tuple[PricedGpu, ...]:
    """The GPUs that are up, each at the price of its last paid hour."""
    state = ledger.state()
    rules = release_rules
    if release_rules is not None:
        rules = replace(release_rules, predecessors=state.predecessors)

    @cache
    def costs_of(hour: int) -> Mapping[ServerCost, Picodollars]:
        return ledger.hours(hour, hour, ("server_cost",)).get(hour, HistorySums()).server_cost

    return tuple(_posted_price(gpu, history, costs_of, rules, now) for gpu in state.gpus.values() if gpu.up)


def _priced(
    gpu: GpuState, per_hour: Picodollars | None, release: Release, basis: PriceBasis | None = None
) -> PricedGpu:
    return PricedGpu(
        gpu.gpu,
        frozenset(holder.key for holder in gpu.holders),
        per_hour,
        release,
        basis,
        gpu.memory_bytes,
        divided=gpu.slices is not None,
    )


def priced_gpu(gpu: GpuState, tariff: Tariff, now: Instant) -> PricedGpu:
    """A GPU at a tariff's price of now, without energy and overheads: those may stay when a GPU goes."""
    price = tariff.hardware_price(gpu.gpu, now)
    if not price.priced:
        return _priced(gpu, None, "unknown")
    per_hour = sum(rate.rate.amount * NANOSECONDS_PER_HOUR // rate.rate.period for rate in price.rates)
    basis = least_sure(rate.provenance.price_basis for rate in price.rates)
    return _priced(gpu, per_hour, _release(gpu.gpu, tariff, now), basis)


def _release(gpu: Gpu, tariff: Tariff, now: Instant) -> Release:
    rule = tariff.rule(gpu)
    pricing = None if rule is None else rule.pricing
    if isinstance(pricing, Owned):
        return "owned"
    if pricing is not None and pricing.billing == "always":
        return "lease"
    if isinstance(pricing, Rented):
        rent = pricing.price_at(now)
        devices = 1 if rent is None else rent.gpus
    else:
        quote = tariff.quote(gpu)
        devices = quote.devices if isinstance(quote, Quote) else 1
    return "host" if devices > 1 else "gpu"


def _posted_price(
    gpu: GpuState,
    history: Mapping[int, HistorySums],
    costs_of: Callable[[int], Mapping[ServerCost, Picodollars]],
    release_rules: Tariff | None,
    now: Instant,
) -> PricedGpu:
    """The price of the last hour in which the GPU was chargeable: 0 once it is written off.

    There is none while a later hour, or a part of that one, is unpriced.
    """
    for hour in sorted(history, reverse=True):
        sums = history[hour]
        if any(unpriced == gpu.gpu for unpriced, _ in sums.still_unpriced()):
            break
        chargeable = sums.gpu_chargeable().get(gpu.gpu, 0)
        if chargeable > 0:
            components = {
                component: amount
                for (charged, component), amount in sums.gpu_cost.items()
                if charged == gpu.gpu and component in HARDWARE
            }
            release: Release = "unknown"
            if not components.keys() <= {RENT}:
                release = "owned"
            elif release_rules is not None:
                # A rule of rented hardware that has a price now says the unit.
                rule = release_rules.rule(gpu.gpu)
                rented = rule is not None and isinstance(rule.pricing, Rented)
                if rented and release_rules.hardware_price(gpu.gpu, now).priced:
                    release = _release(gpu.gpu, release_rules, now)
            per_hour = sum(components.values()) * NANOSECONDS_PER_HOUR // chargeable
            return _priced(gpu, per_hour, release, _posted_basis(gpu, costs_of(hour), components))
    return _priced(gpu, None, "unknown")


def _posted_basis(
    gpu: GpuState, costs: Mapping[ServerCost, Picodollars], components: Collection[str]
) -> PriceBasis | None:
    """The basis of an hour's price, by the money of who holds the GPU; `None` where that has several.

    A ledger has the basis of what a server paid, and not of each of its GPUs.
    """
    holders = {holder.key for holder in gpu.holders} or {UNALLOCATED_KEY}
    bases = {
        basis
        for (owner, component, basis), amount in costs.items()
        if amount and component in components and ServerKey(owner.namespace, owner.server) in holders
    }
    known = [basis for basis in PRICE_BASES if basis in bases]
    return known[0] if len(known) == 1 else None
