"""Usage of a host's last hours and present prices, from its ledger, for savings."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from exporter.cost.explanation import HARDWARE
from exporter.cost.savings import HostUsage, HourUsage, PricedGpu, Release, least_sure
from exporter.cost.state import GpuState
from exporter.ledger.history import HistorySums
from exporter.ledger.reader import LedgerReader
from exporter.readings import Gpu
from exporter.tariff.quotes import Quote
from exporter.tariff.rate import PriceBasis, Rate
from exporter.tariff.tariff import AMORTIZATION, Tariff
from exporter.tariff.terms import Owned, Rented
from exporter.units import NANOSECONDS_PER_HOUR, Instant, Picodollars

SILENT_AFTER: Final = NANOSECONDS_PER_HOUR
"""Time since the last tick from which a host is not judged."""

FAMILIES: Final = ("held", "tokens", "gpu_cost", "gpu_held", "gpu_unowed", "unpriced", "settled")


def host_usage(
    ledger: LedgerReader, name: str, now: Instant, hours: int, tariff: Tariff | None = None
) -> HostUsage:
    """The last whole hours of a ledger.

    Args:
        ledger: the host's ledger.
        name: the host's name, empty for the only one.
        now: the present.
        hours: the most hours; a younger ledger has fewer.
        tariff: prices of now and their terms. Without one, prices are those of each GPU's last paid hour,
            unless a later one waits for a price.

    Raises:
        LedgerError: the file cannot be read.
    """
    last = now // NANOSECONDS_PER_HOUR - 1
    history = ledger.hours(last + 1 - hours, last, FAMILIES) or {}
    state = ledger.state()
    gpus = [
        gpu for gpu in state.gpus.values() if gpu.up and (tariff is None or not tariff.has_left(gpu.gpu, now))
    ]
    if tariff is not None:
        tariff = replace(tariff, predecessors=state.predecessors)
    return HostUsage(
        name=name,
        first=min(history, default=last + 1),
        last=last,
        hours={hour: HourUsage(sums.held, sums.tokens) for hour, sums in history.items()},
        gpus=tuple(
            _posted_price(gpu, history) if tariff is None else priced_gpu(gpu, tariff, now) for gpu in gpus
        ),
        partial=frozenset(key for key, server in state.servers.items() if server.partial or server.role),
        reported=state.wall is not None and now - state.wall <= SILENT_AFTER,
    )


def _priced(
    gpu: GpuState, per_hour: Picodollars | None, release: Release, basis: PriceBasis | None = None
) -> PricedGpu:
    return PricedGpu(gpu.gpu, frozenset(holder.key for holder in gpu.holders), per_hour, release, basis)


def priced_gpu(gpu: GpuState, tariff: Tariff, now: Instant) -> PricedGpu:
    """A GPU at a tariff's price of now, without energy and overheads: those may stay when a GPU goes."""
    price = tariff.hardware_price(gpu.gpu, now)
    if not price.priced:
        return _priced(gpu, None, "unknown")
    per_hour = sum(_per_hour(rate.rate) for rate in price.rates)
    basis = least_sure(rate.provenance.price_basis for rate in price.rates)
    return _priced(gpu, per_hour, _release(gpu.gpu, tariff, now), basis)


def _per_hour(rate: Rate) -> Picodollars:
    return rate.amount * NANOSECONDS_PER_HOUR // rate.period


def _release(gpu: Gpu, tariff: Tariff, now: Instant) -> Release:
    rule = tariff.rule(gpu)
    pricing = None if rule is None else rule.pricing
    if isinstance(pricing, Owned):
        return "owned"
    if pricing is not None and pricing.billing == "always":
        return "lease"
    if isinstance(pricing, Rented):
        current = [price for price in pricing.prices if price.since is None or price.since <= now]
        devices = current[-1].gpus
    else:
        quote = tariff.quote(gpu)
        devices = quote.devices if isinstance(quote, Quote) else 1
    return "host" if devices > 1 else "gpu"


def _posted_price(gpu: GpuState, history: Mapping[int, HistorySums]) -> PricedGpu:
    """The price of the last hour in which something was paid for the GPU's hardware.

    There is none while a later hour, or a part of that one, waits for a price.
    """
    for hour in sorted(history, reverse=True):
        sums = history[hour]
        if any(waiting == gpu.gpu for waiting, _ in sums.waiting()):
            break
        paid = sums.gpu_owed().get(gpu.gpu, 0)
        components = {
            component: amount
            for (each, component), amount in sums.gpu_cost.items()
            if each == gpu.gpu and component in HARDWARE
        }
        if paid > 0 and components:
            release: Release = "owned" if AMORTIZATION in components else "unknown"
            return _priced(gpu, sum(components.values()) * NANOSECONDS_PER_HOUR // paid, release)
    return _priced(gpu, None, "unknown")
