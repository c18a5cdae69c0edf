"""The rules of a configuration with their prices, each in a line for people. Pure."""

from dataclasses import dataclass, fields, is_dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from exporter.config.instance_types import named_place
from exporter.config.settings import Config
from exporter.config.values import plain
from exporter.engines import Engine
from exporter.readings import UNKNOWN_LOCATION, Gpu, masked
from exporter.tariff import quotes, terms
from exporter.tariff.csv_tables import CatalogueError
from exporter.tariff.instances import MICRODOLLAR
from exporter.tariff.quotes import Quote
from exporter.tariff.rate import PriceBasis
from exporter.tariff.tariff import Tariff
from exporter.units import NANOSECONDS_PER_HOUR, PICODOLLARS_PER_DOLLAR, Instant

ANYTHING: Final = terms.HardwareMatch()
ANY_GPU: Final = Gpu("", "")

_URLS: Final = frozenset({"url", "gateway", "metrics_path"})
"""Terms whose queries may hold a secret."""


@dataclass(frozen=True, slots=True)
class RulePrice:
    """The price of one GPU-hour by a rule."""

    billing: terms.Billing
    dollars_per_gpu_hour: Decimal | None = None
    """Dollars to the microdollar; `None` where the price is unknown."""
    components: tuple[tuple[str, Decimal], ...] = ()
    """The parts of the price of one GPU-hour."""
    list_dollars_per_hour: Decimal | None = None
    """The price of all `gpus` before the discount, listed or written; `None` for owned hardware."""
    gpus: int = 1
    discount_ratio: Decimal = Decimal(0)
    price_basis: PriceBasis = "configured"
    source: str = ""
    """The source of a list price, else empty."""
    as_of: str = ""
    """The date of a list price, else empty."""
    reason: str = ""
    """Why the price is unknown."""
    dollars_per_kilowatt_hour: Decimal | None = None
    """The price of a kilowatt-hour measured at the GPU."""


def rule_price(rule: terms.Hardware, config: Config, now: Instant) -> RulePrice:
    """The price by a rule of a configuration at an instant, wherever the rule matches."""
    pricing, catalogue = rule.pricing, config.catalogue
    result = RulePrice(billing="always" if isinstance(pricing, terms.Owned) else pricing.billing)
    if rule.energy is not None:
        result = replace(result, dollars_per_kilowatt_hour=rule.energy.dollars_per_gpu_kilowatt_hour)
    location = UNKNOWN_LOCATION
    if isinstance(pricing, terms.Listed):
        try:
            named = named_place(pricing, rule.match, catalogue)
        except CatalogueError as error:
            return replace(result, reason=f"the catalogue is damaged: {error}")
        if named is None:
            return replace(
                result, discount_ratio=pricing.discount_ratio, reason="depends on the host's instance type"
            )
        location = named
        quote = quotes.find_quote(catalogue, location, replace(pricing, discount_ratio=Decimal(0)))
        if isinstance(quote, Quote):
            result = replace(
                result,
                list_dollars_per_hour=quote.dollars_per_hour,
                gpus=quote.devices,
                discount_ratio=pricing.discount_ratio,
                price_basis=quote.price_basis,
                source=quote.source,
                as_of=quote.as_of,
            )
    rules = (replace(rule, match=ANYTHING),)
    stand_ins = config.unmatched_hardware == "estimate"
    tariff = Tariff("", rules, location=location, catalogue=catalogue, stand_ins=stand_ins)
    price = tariff.hardware_price(ANY_GPU, now)
    if not price.priced:
        reason = f"no price before {rule.begin.text}" if rule.begin else "the catalogue has no price"
        return replace(result, reason=reason)
    parts: list[tuple[str, Decimal]] = []
    for rate in price.rates:
        period = rate.rate.period * PICODOLLARS_PER_DOLLAR
        exact = Fraction(rate.rate.amount * NANOSECONDS_PER_HOUR, period)
        hourly = Decimal(exact.numerator) / Decimal(exact.denominator)
        parts.append((rate.component, hourly.quantize(MICRODOLLAR).normalize()))
    rent = pricing.price_at(now) if isinstance(pricing, terms.Rented) else None
    if rent is not None:
        result = replace(result, list_dollars_per_hour=rent.dollars_per_hour, gpus=rent.gpus)
    return replace(
        result, dollars_per_gpu_hour=sum((part for _, part in parts), Decimal(0)), components=tuple(parts)
    )


def price_words(result: RulePrice) -> str:
    """A price in a line for people, with its arithmetic."""
    less = f" less {plain(result.discount_ratio * 100)} %" if result.discount_ratio else ""
    arithmetic = ""
    if result.list_dollars_per_hour is None:
        arithmetic = " + ".join(f"{component} {plain(part)}" for component, part in result.components)
    else:
        begin = plain(result.list_dollars_per_hour)
        if result.source:
            begin = f"list price {begin} ({result.source}, of {result.as_of})"
        divided = f" / {result.gpus} GPUs" if result.gpus > 1 else ""
        if less or divided or result.source:
            arithmetic = f"{begin}{less}{divided}"
    if result.dollars_per_gpu_hour is None:
        words = f"list price{less}: {result.reason}" if less else result.reason
    else:
        words = f"{plain(result.dollars_per_gpu_hour)} dollars per GPU-hour"
        words = f"{arithmetic} = {words}" if arithmetic else words
    if result.dollars_per_kilowatt_hour is not None:
        words += f", and {plain(result.dollars_per_kilowatt_hour)} per kWh measured at the GPU"
    return f"{words}; billed {'always' if result.billing == 'always' else 'while the host is up'}"


def rule_words(rule: object) -> str:
    """Each term of a rule that has a value, behind its name."""
    assert is_dataclass(rule)  # noqa: S101  # as is each rule of a configuration
    names = [field.name for field in fields(rule) if field.name != "source"]
    values = {
        name.removesuffix("_text"): _value(getattr(rule, name))
        for name in names
        if f"{name}_text" not in names  # an instant is told as it was written
    }
    return ", ".join(
        f"{name} {masked(text) if name in _URLS else text}" for name, text in values.items() if text
    )


def _value(value: object) -> str:
    """A value in words; empty where there is none."""
    if value is None or value is False:
        return ""
    if isinstance(value, tuple):
        return " and ".join("=".join(each) if isinstance(each, tuple) else _value(each) for each in value)
    if is_dataclass(value) and type(value).__str__ is object.__str__:
        words = rule_words(value)
        return f"({words})" if words else ""
    if isinstance(value, Decimal):
        return plain(value)
    return "true" if value is True else str(value)


def engine_words(engine: Engine) -> str:
    """One engine that the configuration describes."""
    counts = (f"{count.quantity} {'' if count.sign > 0 else '- '}{count.name}" for count in engine.counts())
    models = f"models by {' or '.join(engine.model_labels)}" if engine.model_labels else "one model"
    return f"{engine.name}: {', '.join(counts)}; {models}"


def engine_document(engine: Engine) -> dict[str, Any]:
    """The same for programs."""
    return {
        "name": engine.name,
        "counters": [
            {"name": count.name, "quantity": count.quantity, "sign": count.sign, "scale": count.scale}
            for count in engine.counts()
        ],
        "models": list(engine.model_labels),
    }
