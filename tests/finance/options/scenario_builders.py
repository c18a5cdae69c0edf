"""Options of a scenario in a few words."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

from exporter.finance.options.option import (
    Fleet,
    Hosted,
    Hybrid,
    Load,
    Option,
    OwnedHosts,
    RentedHosts,
)
from exporter.finance.options.scenario import Scenario, ScenarioItem
from exporter.tariff.terms import Owned

MILLION = 1_000_000


def number(value: str | int | Fraction) -> Fraction:
    return Fraction(value)


def fleet(hosts: int = 1, a_day: int | None = None, used: str = "1", gpus: int = 8) -> Fleet:
    """Hosts that serve so many tokens in a day at their best."""
    per_second = None if a_day is None else Fraction(a_day, 86400)
    return Fleet(gpus, hosts, per_second, number(used))


def owned(
    name: str = "own",
    *,
    life: str = "3",
    hosts: Fleet | None = None,
    refresh: bool = True,
    change: str = "0",
    purchase: str = "36000",
    **ratios: str,
) -> Option:
    """A host of 36,000 dollars that is written off over 3 years: 1,000 a month."""
    bought = Owned(
        Decimal(purchase), 8, 0, "", Decimal(life), **{key: Decimal(value) for key, value in ratios.items()}
    )
    price = OwnedHosts(bought, refresh=refresh)
    return Option(name, price, hosts or fleet(), change_ratio_per_year=number(change))


def rented(name: str = "rent", dollars: str = "2", hosts: Fleet | None = None, change: str = "0") -> Option:
    """A host at 2 dollars an hour: 1,460 a month of 730 hours."""
    return Option(name, RentedHosts(number(dollars)), hosts or fleet(), change_ratio_per_year=number(change))


def hosted(
    name: str = "api", prompt: str = "1", cached: str = "1", generation: str = "1", **more: Any
) -> Option:
    """Tokens at a dollar a million."""
    prices = {"prompt": number(prompt), "cached_prompt": number(cached), "generation": number(generation)}
    return Option(name, Hosted(prices), **more)


def hybrid(ratio: str | None = None, tokens: int | None = None, name: str = "both") -> Option:
    """`own` and `api` together."""
    base = None if ratio is None else number(ratio)
    return Option(name, Hybrid("own", "api", base, None if tokens is None else Fraction(tokens)))


def load(prompt: int = 10 * MILLION, generation: int = 0, cached: int = 0, growth: str = "0") -> Load:
    tokens = {
        "prompt": Fraction(prompt),
        "cached_prompt": Fraction(cached),
        "generation": Fraction(generation),
    }
    return Load(tokens, number(growth))


def scenario(
    *options: Option,
    years: int = 1,
    load: Load | None = None,
    items: tuple[ScenarioItem, ...] = (),
    hours: str = "730",
) -> Scenario:
    return Scenario("x", "", years, number(hours), load, options, items)


def yearly(component: str = "staff", dollars: int = 12_000, **more: Any) -> ScenarioItem:
    """1,000 dollars a month."""
    return ScenarioItem(component=component, dollars_per_year=Fraction(dollars), **more)


def once(dollars: int, component: str = "data", **more: Any) -> ScenarioItem:
    return ScenarioItem(component=component, dollars=Fraction(dollars), **more)
