"""Why hardware costs 0 dollars an hour: a price that is hardly noticed, since nothing fails by it. Pure."""

from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo

from exporter.config.values import plain
from exporter.tariff.amortization import amortization_dollars_per_year
from exporter.tariff.calendar import day_of
from exporter.tariff.tariff import end_of_life
from exporter.tariff.terms import Hardware, Listed, Owned, Rented
from exporter.units import Instant


@dataclass(frozen=True, slots=True)
class ZeroPrice:
    """What makes hardware free; `reason` is in words, as the end of "because"."""

    kind: Literal["discount", "rent", "life", "purchase"]
    reason: str


def zero_price(rule: Hardware, at: Instant, zone: ZoneInfo) -> ZeroPrice | None:
    """Why the hardware of a rule costs nothing at an instant; `None` where it costs something or is unpriced.

    Amounts beside it (electricity, support, insurance, overheads) are not looked at.
    """
    terms = rule.terms
    if isinstance(terms, Listed):
        whole = terms.discount_ratio == 1
        return ZeroPrice("discount", "discount_ratio 1 takes off the whole list price") if whole else None
    if isinstance(terms, Rented):
        return _of_rent(terms, at)
    return _of_purchase(terms, at, zone)


def _of_rent(terms: Rented, at: Instant) -> ZeroPrice | None:
    begun = [price for price in terms.prices if price.since is None or price.since <= at]
    if not begun or begun[-1].dollars_per_hour:
        return None
    since = begun[-1].since_text
    return ZeroPrice("rent", f"the rent is 0 since {since}" if since else "the rent is 0")


def _of_purchase(terms: Owned, at: Instant, zone: ZoneInfo) -> ZeroPrice | None:
    if at < terms.in_service:
        return None
    if at >= end_of_life(terms):
        years = f"{plain(terms.life_years)} year{'s' * (terms.life_years != 1)}"
        ended = day_of(end_of_life(terms), zone).name
        return ZeroPrice("life", f"its life of {years} from {terms.in_service_text} ended on {ended}")
    if amortization_dollars_per_year(terms):
        return None
    return ZeroPrice(
        "purchase",
        f"nothing is written off: purchase {plain(terms.purchase_dollars)}, "
        f"adders {plain(terms.adders_ratio)}, residual {plain(terms.residual_ratio)}",
    )
