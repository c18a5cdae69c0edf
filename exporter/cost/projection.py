"""Where the month ends, and what is being spent now."""

from collections.abc import Iterable

from exporter.cost.advance import GpuOutcome
from exporter.cost.policy import Terms
from exporter.cost.postings import Party
from exporter.tariff.calendar import month_of
from exporter.tariff.rate import Price
from exporter.units import (
    WATTS_PER_KILOWATT,
    Instant,
    Nanoseconds,
    Picodollars,
    dollars,
)


def projected_dollars(
    to_date: Picodollars, left: Nanoseconds, recent: Picodollars, covered: Nanoseconds
) -> float | None:
    """Month to date + time left x the mean rate of recent money over its time; `None` without any."""
    if covered <= 0:
        return None
    return dollars(to_date) + dollars(recent) * max(0, left) / covered


def rates(gpus: Iterable[GpuOutcome], prices: Iterable[Price]) -> dict[Party, float]:
    """Dollars per hour now, by party: current rates by time, plus the mean power of five minutes."""
    found: dict[Party, float] = {}
    for gpu, price in zip(gpus, prices, strict=True):
        hourly = sum(rate.rate.dollars_per_hour() for rate in price.rates)
        energy = energy_dollars_per_hour(price, gpu.mean_watts)
        total = sum(gpu.slots.values())
        if not price.rates and energy is None:
            continue
        for slot, weight in gpu.slots.items():
            part = (hourly + (energy or 0.0)) * gpu.count * weight / total
            found[slot.party] = found.get(slot.party, 0.0) + part
    return found


def energy_dollars_per_hour(price: Price, mean_watts: float | None) -> float | None:
    """What the energy of an hour at this power costs; `None` without a price or a power."""
    if price.energy is None or mean_watts is None:
        return None
    return dollars(price.energy.per_kilowatt_hour) * mean_watts / WATTS_PER_KILOWATT


def price_now(gpus: Iterable[GpuOutcome], at: Instant, terms: Terms) -> list[Price]:
    """What each GPU of the host costs at an instant."""
    gpus = list(gpus)
    month = month_of(at, terms.zone)
    count = sum(gpu.count for gpu in gpus)
    return [terms.tariff.price(gpu.gpu, at, month, count) for gpu in gpus]
