"""The price of an hour of a GPU type that the hosts may not have. Pure.

A rule of the configuration that names the type and nothing else, else the catalogue: never the price of a
host's own type, and none that is of some hosts, places or instances alone.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from exporter.config.schema import did_you_mean
from exporter.finance.what_if.choices import GpuChoice
from exporter.finance.what_if.outcome import GIVEN, WhatIfPolicy
from exporter.readings import Gpu, HostLocation
from exporter.tariff import quotes
from exporter.tariff.csv_tables import CatalogueError
from exporter.tariff.gpu_models import GpuNameMatch
from exporter.tariff.quotes import Quote
from exporter.tariff.tariff import AMORTIZATION, Tariff
from exporter.tariff.terms import Hardware, HardwareMatch, Owned, matches
from exporter.units import NANOSECONDS_PER_HOUR, PICODOLLARS_PER_DOLLAR


@dataclass(frozen=True, slots=True)
class GpuPrice:
    """Picodollars for an hour of one GPU, and their source; electricity of `owned` ones is not in it."""

    per_hour: Fraction
    source: str
    as_of: str = ""
    estimate: bool = False
    owned: bool = False
    evidence: tuple[str, ...] = ()


def gpu_price(choice: GpuChoice, policy: WhatIfPolicy) -> GpuPrice | str:
    """The price, or why there is none, as a sentence."""
    if choice.dollars_per_hour is not None:
        return GpuPrice(Fraction(choice.dollars_per_hour) * PICODOLLARS_PER_DOLLAR, GIVEN)
    remedy = f"write it like {choice.text}@1.10"
    try:
        match = policy.catalogue.gpu(choice.gpu_model)
        names = tuple(_names(choice.gpu_model, match, policy))
    except CatalogueError as error:
        return f"the catalogue is damaged: {error}"
    naming = [rule for rule in policy.hardware if _names_type(rule.match.gpu_model, names)]
    limited = [rule.source for rule in naming if rule.match != HardwareMatch(gpu_model=rule.match.gpu_model)]
    some = (f"Priced for some hosts alone, and not taken: {', '.join(limited)}.",) if limited else ()
    for rule in naming:
        if rule.source not in limited:
            ruled = _ruled(rule, choice, policy)
            return f"{ruled}; {remedy}" if isinstance(ruled, str) else replace(ruled, evidence=some)
    if match is None:
        known = [name.removeprefix("NVIDIA ") for name in policy.catalogue.gpu_names()]
        similar = did_you_mean(choice.gpu_model, known)
        hint = f", but {' or '.join(similar)}" if similar else ""
        return f"the catalogue knows no GPU {choice.gpu_model}{hint}; its price can be given: {remedy}"
    if policy.unmatched == "unpriced":
        where = " on all hosts" if limited else ""
        return f"no rule prices {choice.gpu_model}{where}, and unmatched_hardware takes no estimate; {remedy}"
    quote = quotes.find_quote(policy.catalogue, HostLocation(cloud=policy.cloud), None, choice.gpu_model)
    if not isinstance(quote, Quote):
        return f"the catalogue has no price: {quote.reason}; {remedy}"
    per_hour = Fraction(quote.dollars_per_hour) * PICODOLLARS_PER_DOLLAR / quote.devices
    return GpuPrice(per_hour, quote.source, quote.as_of, quote.price_basis == "estimate", evidence=some)


def _names_type(pattern: str | None, names: Collection[str]) -> bool:
    """Whether a pattern matches a name, and says more than that anything may be there."""
    return bool(pattern and pattern.strip("*?")) and any(matches(pattern, name) for name in names)


def _names(gpu_model: str, match: GpuNameMatch | None, policy: WhatIfPolicy) -> Iterator[str]:
    """Names by which a rule may know the type."""
    yield gpu_model
    for name in policy.catalogue.gpu_names() if match else ():
        same = policy.catalogue.gpu(name)
        if same is not None and same.model.gpu_model == (match and match.model.gpu_model):
            yield name


def _ruled(rule: Hardware, choice: GpuChoice, policy: WhatIfPolicy) -> GpuPrice | str:
    """The price of a rule, wherever the host of such a GPU may be, or why there is none.

    Hardware that is written off costs nothing where it is: that is no price of more of it.
    """
    tariff = Tariff(hardware=(replace(rule, match=HardwareMatch()),), catalogue=policy.catalogue)
    price = tariff.hardware_price(Gpu("", choice.gpu_model), policy.now)
    if not price.priced:
        return f"{rule.source} has no price of {choice.gpu_model} now"
    if any(rate.component == AMORTIZATION and not rate.rate.amount for rate in price.rates):
        return f"{rule.source} prices hardware that is written off: another {choice.gpu_model} is not free"
    per_hour = sum(
        (Fraction(rate.rate.amount * NANOSECONDS_PER_HOUR, rate.rate.period) for rate in price.rates),
        Fraction(0),
    )
    provenance = price.rates[0].provenance
    estimate = provenance.price_basis == "estimate"
    return GpuPrice(per_hour, provenance.source, provenance.as_of, estimate, isinstance(rule.pricing, Owned))
