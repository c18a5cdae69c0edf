"""Numbers, and assumptions, in words. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Final

from exporter.reports.rounding import hundredths, rounded
from exporter.reports.tco.caveats import caveats
from exporter.reports.tco.scenario import (
    AsMeasured,
    Fleet,
    Hosted,
    Hybrid,
    Item,
    Load,
    Option,
    OwnedHosts,
    Power,
    RentedHosts,
    Scenario,
    Source,
)

CENT: Final = Fraction(1, 100)
DECIMALS: Final = Decimal("0.000001")
DIGITS: Final = 60


@dataclass(frozen=True, slots=True)
class Assumption:
    """One thing that a scenario takes for granted, and where it comes from."""

    what: str
    value: str
    source: Source


def number(value: Fraction | Decimal) -> str:
    """A number with separators, exact to six decimals, without zeros at its end."""
    exact = Fraction(value)
    with localcontext() as context:
        context.prec = DIGITS
        text = f"{(Decimal(exact.numerator) / Decimal(exact.denominator)).quantize(DECIMALS):,f}"
    return text.rstrip("0").rstrip(".")


def money(value: Fraction) -> str:
    """Dollars to the cent, like 1,234.50."""
    return hundredths(*rounded([value], CENT))


def whole(value: Fraction) -> str:
    """A count to the nearest whole, half up."""
    return f"{rounded([value], Fraction(1))[0]:,}"


def percent(value: Fraction | Decimal) -> str:
    """A ratio in percent."""
    return f"{number(Fraction(value) * 100)} %"


def assumptions(scenario: Scenario) -> tuple[Assumption, ...]:
    """Everything that the scenario assumes, in its own order."""
    return tuple(_assumptions(scenario))


def _assumptions(scenario: Scenario) -> Iterator[Assumption]:
    if scenario.load is not None:
        yield Assumption("load", _load(scenario.load), scenario.load.source)
    for option in scenario.options:
        yield Assumption(option.name, _option(option), option.source)
        if isinstance(option.terms, AsMeasured):
            for caveat in caveats(scenario):
                yield Assumption(f"{option.name}, beside the others", caveat.rstrip("."), option.source)
        if option.power is not None:
            yield Assumption(f"{option.name}, energy", _power(option.power), option.power.source)
    for item in scenario.items:
        yield Assumption(item.component, _item(item), item.source)


def _load(load: Load) -> str:
    kinds = ", ".join(
        f"{whole(count)} {kind.replace('_', ' ')}" for kind, count in load.tokens.items() if count
    )
    return f"{kinds} tokens a day in year 1{_change(load.growth_ratio_per_year)}"


def _change(ratio: Fraction) -> str:
    if not ratio:
        return ""
    return f", {'+' if ratio > 0 else '-'}{percent(abs(ratio))} a year"


def _option(option: Option) -> str:
    match option.terms:
        case OwnedHosts() as owned:
            words = _owned(owned)
        case RentedHosts() as rented:
            words = f"{_hosts(rented.fleet)} at {number(rented.dollars_per_host_hour)} dollars an hour a host"
            if rented.fleet.hours_ratio != 1:
                words += f", up {percent(rented.fleet.hours_ratio)} of the time"
            words += _throughput(rented.fleet)
        case Hosted() as hosted:
            price = hosted.dollars_per_million
            words = (
                f"{number(price['prompt'])} dollars per million prompt tokens, "
                f"{number(price['cached_prompt'])} cached, {number(price['generation'])} generated"
            )
        case Hybrid() as hybrid:
            words = f"{hybrid.base} serves {_base(hybrid)}, {hybrid.rest} the rest"
        case AsMeasured() as measured:
            a_day = sum(measured.dollars_per_day.values(), Fraction(0))
            words = f"{money(a_day)} dollars a day, as the ledger posted them"
    for ratio, kind in ((option.prompt_ratio, "prompt"), (option.generation_ratio, "generation")):
        if ratio != 1:
            words += f"; {number(ratio)} {kind} tokens for one of the load"
    return words + _change(option.change_ratio_per_year)


def _hosts(fleet: Fleet) -> str:
    hosts = "1 host" if fleet.hosts == 1 else f"{fleet.hosts:,} hosts"
    return f"{hosts} of {fleet.gpus:,} {'GPU' if fleet.gpus == 1 else 'GPUs'}"


def _throughput(fleet: Fleet) -> str:
    if fleet.tokens_per_second is None:
        return ""
    planned = percent(fleet.utilization_ratio)
    return f"; a host serves {number(fleet.tokens_per_second)} tokens a second at best, planned at {planned}"


def _owned(owned: OwnedHosts) -> str:
    terms = owned.terms
    words = f"{_hosts(owned.fleet)} at {number(terms.purchase_dollars)} dollars a host"
    words += f", written off over {number(terms.life_years)} years"
    for ratio, name in (
        (terms.adders_ratio, "adders"),
        (terms.residual_ratio, "residual"),
        (terms.cost_of_capital_ratio, "cost of capital"),
    ):
        if ratio:
            words += f", {name} {percent(ratio)}"
    for amount, name in (
        (terms.support_dollars_per_year, "support"),
        (terms.insurance_dollars_per_year, "insurance"),
    ):
        if amount:
            words += f", {name} {number(amount)} a year"
    words += ", then replaced" if owned.refresh else ", then kept"
    return words + _throughput(owned.fleet)


def _base(hybrid: Hybrid) -> str:
    if hybrid.base_tokens_per_day is None:
        return f"{percent(hybrid.base_ratio or Fraction(0))} of the load"
    return f"up to {whole(hybrid.base_tokens_per_day)} tokens a day"


def _power(power: Power) -> str:
    price = power.price
    words = f"{number(price.dollars_per_kilowatt_hour)} dollars per kWh, PUE {number(price.pue_ratio)}"
    words += f", {number(power.kilowatts)} kW a host"
    if power.idle_kilowatts != power.kilowatts:
        words += f", {number(power.idle_kilowatts)} kW at rest"
    return words + _change(power.change_ratio_per_year)


def _item(item: Item) -> str:
    words = f"{number(item.dollars)} dollars"
    if item.count != 1:
        words = f"{number(item.count)} x {words}"
    if item.period == "once":
        words += f" in month {item.month}"
        if item.every_months:
            often = "month" if item.every_months == 1 else f"{item.every_months} months"
            words += f" and every {often} after"
    else:
        words += f" a {item.period}"
    words += f" per {item.per}" if item.per != "option" else ""
    words += f" ({item.what})" if item.what else ""
    words += f", for {', '.join(item.options)}" if item.options is not None else ""
    return words + _change(item.change_ratio_per_year)
