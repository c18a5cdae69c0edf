"""What a rule of `hardware` comes to: dollars for one GPU and hour, and how. Pure but for the catalogue."""

from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Final

from exporter.config.catalogued import named_place
from exporter.config.settings import Config
from exporter.config.values import plain
from exporter.readings import NOWHERE, Gpu, Place
from exporter.tariff import quotes
from exporter.tariff.catalogue import CATALOGUE, Catalogue
from exporter.tariff.quotes import Quote
from exporter.tariff.rate import ComponentRate, PriceBasis
from exporter.tariff.table import CatalogueError
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Billing, Electricity, Hardware, HardwareMatch, Listed, Owned, Rented
from exporter.units import NANOSECONDS_PER_HOUR, PICODOLLARS_PER_DOLLAR, Instant

ANYTHING: Final = HardwareMatch()
ANY_GPU: Final = Gpu("", "")

MICRODOLLAR: Final = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Amount:
    """What one GPU of a rule costs an hour, to the microdollar; `None` with the reason where it is open.

    `components` are the parts of it. `list_dollars_per_hour` is what stands in the catalogue or was written
    down, for `gpus` GPUs together, before the discount; `None` for owned hardware. `source` and `as_of` are
    those of a list price, empty otherwise. A kilowatt-hour is one measured at the GPU: PUE and host factor
    are in it.
    """

    billing: Billing
    dollars_per_gpu_hour: Decimal | None = None
    components: tuple[tuple[str, Decimal], ...] = ()
    list_dollars_per_hour: Decimal | None = None
    gpus: int = 1
    discount_ratio: Decimal = Decimal(0)
    price_basis: PriceBasis = "configured"
    source: str = ""
    as_of: str = ""
    reason: str = ""
    dollars_per_kilowatt_hour: Decimal | None = None


def rule_amount(rule: Hardware, config: Config, now: Instant) -> Amount:
    """What a rule of a configuration comes to at an instant."""
    return amount(rule, now, config.catalogue, stand_ins=config.unmatched_hardware == "estimate")


def amount(
    rule: Hardware, now: Instant, catalogue: Catalogue = CATALOGUE, *, stand_ins: bool = True
) -> Amount:
    """What a rule comes to at an instant, wherever it matches; the other two as a `Tariff` has them."""
    terms = rule.terms
    found = Amount(
        billing="always" if isinstance(terms, Owned) else terms.billing,
        dollars_per_kilowatt_hour=None if rule.energy is None else _kilowatt_hour(rule.energy),
    )
    place = NOWHERE
    if isinstance(terms, Listed):
        try:
            named = named_place(terms, rule.match, catalogue)
        except CatalogueError as error:
            return replace(found, reason=f"the catalogue is damaged: {error}")
        if named is None:
            return replace(
                found, discount_ratio=terms.discount_ratio, reason="depends on the host's instance type"
            )
        place = named
        found = _of_list(found, terms, place, catalogue)
    rules = (replace(rule, match=ANYTHING),)
    tariff = Tariff("", rules, place=place, catalogue=catalogue, stand_ins=stand_ins)
    price = tariff.hardware_price(ANY_GPU, now)
    if not price.priced:
        return replace(found, reason=_open(rule))
    parts = tuple((rate.component, _hourly(rate)) for rate in price.rates)
    if isinstance(terms, Rented):
        written = [each for each in terms.prices if each.since is None or each.since <= now][-1]
        found = replace(found, list_dollars_per_hour=written.dollars_per_hour, gpus=written.gpus)
    return replace(found, dollars_per_gpu_hour=sum((part for _, part in parts), Decimal(0)), components=parts)


def _of_list(found: Amount, terms: Listed, place: Place, catalogue: Catalogue) -> Amount:
    quote = quotes.of_listed(catalogue, place, replace(terms, discount_ratio=Decimal(0)))
    if not isinstance(quote, Quote):
        return found
    return replace(
        found,
        list_dollars_per_hour=quote.dollars_per_hour,
        gpus=quote.devices,
        discount_ratio=terms.discount_ratio,
        price_basis=quote.price_basis,
        source=quote.source,
        as_of=quote.as_of,
    )


def _kilowatt_hour(energy: Electricity) -> Decimal:
    return energy.dollars_per_kilowatt_hour * energy.pue_ratio * energy.host_factor_ratio


def _open(rule: Hardware) -> str:
    """Why there is no price now."""
    if isinstance(rule.terms, Owned):
        return f"no price before {rule.terms.in_service_text}"
    if isinstance(rule.terms, Rented):
        return f"no price before {rule.terms.prices[0].since_text}"
    return "the catalogue has no price"


def _hourly(rate: ComponentRate) -> Decimal:
    exact = Fraction(rate.rate.amount * NANOSECONDS_PER_HOUR, rate.rate.period * PICODOLLARS_PER_DOLLAR)
    return (Decimal(exact.numerator) / Decimal(exact.denominator)).quantize(MICRODOLLAR).normalize()


def amount_words(found: Amount) -> str:
    """An amount in a line for people, with its arithmetic."""
    words = _money(found)
    if found.dollars_per_kilowatt_hour is not None:
        words += f", and {plain(found.dollars_per_kilowatt_hour)} per kWh measured at the GPU"
    return f"{words}; billed {'always' if found.billing == 'always' else 'while the host is up'}"


def _money(found: Amount) -> str:
    less = f" less {plain(found.discount_ratio * 100)} %" if found.discount_ratio else ""
    if found.dollars_per_gpu_hour is None:
        return f"list price{less}: {found.reason}" if less else found.reason
    result = f"{plain(found.dollars_per_gpu_hour)} dollars per GPU-hour"
    if found.list_dollars_per_hour is None:
        parts = " + ".join(f"{component} {plain(part)}" for component, part in found.components)
        return f"{parts} = {result}"
    begin = plain(found.list_dollars_per_hour)
    if found.source:
        begin = f"list price {begin} ({found.source}, of {found.as_of})"
    divided = f" / {found.gpus} GPUs" if found.gpus > 1 else ""
    return f"{begin}{less}{divided} = {result}" if less or divided or found.source else result
