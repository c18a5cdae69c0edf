"""The keys of `rented` that take a list price from the catalogue, and what can be known of them."""

import re
from decimal import Decimal
from difflib import get_close_matches
from typing import Final

from exporter.config.schema import Block, Key
from exporter.config.values import PERCENT, Choice, Label, Number
from exporter.readings import Place
from exporter.tariff import quotes
from exporter.tariff.catalogue import CATALOGUE as BUNDLED
from exporter.tariff.catalogue import Catalogue
from exporter.tariff.instances import CLOUDS
from exporter.tariff.table import CatalogueError
from exporter.tariff.terms import Billing, DiscountOf, HardwareMatch, Listed

CATALOGUE: Final = Key(
    "catalogue",
    Choice((quotes.ANY, *CLOUDS)),
    "Take the list price of the host's instance type from the bundled catalogue: of this cloud, or of any, "
    "the one that the host says it is in.",
)
INSTANCE_TYPE: Final = Key(
    "instance_type",
    Label("instance type", exact=True),
    "The instance type, where the host does not tell it; with catalogue only.",
)
REGION: Final = Key(
    "region",
    Label("region", exact=True),
    "The region whose list price it is, where the host does not tell it; with catalogue only.",
)
DISCOUNT: Final = Key(
    "discount_ratio",
    Number("ratio", Decimal(1), excess=PERCENT),
    "What your contract takes off the list price: 0.30 is 30 % less; with catalogue only.",
)
DISCOUNT_OF: Final[Key[DiscountOf]] = Key(
    "discount_of",
    Choice(("on_demand", "spot")),
    "Which list price is meant; with catalogue only. Without it the one of the host's lifecycle, and with a "
    "discount on_demand.",
)

WITH_CATALOGUE: Final = (INSTANCE_TYPE, REGION, DISCOUNT, DISCOUNT_OF)


def go_with_catalogue(block: Block) -> bool:
    """A rule: what only a list price has a use for stands beside `catalogue`."""
    good = True
    if CATALOGUE not in block and CATALOGUE.name not in block.meant:
        for key in WITH_CATALOGUE:
            if key in block:
                block.refuse(key, "goes with catalogue only; remove it")
                good = False
    return good


def listed(block: Block, billing: Billing) -> Listed:
    """The terms of a block that has `catalogue`."""
    discount = block.get(DISCOUNT)
    return Listed(
        cloud=block[CATALOGUE],
        instance_type=block.get(INSTANCE_TYPE) or "",
        region=block.get(REGION) or "",
        discount_ratio=discount or Decimal(0),
        discount_of=block.get(DISCOUNT_OF) or (None if discount is None else "on_demand"),
        billing=billing,
    )


def unknown(terms: Listed, match: HardwareMatch, catalogue: Catalogue = BUNDLED) -> str | None:
    """What is wrong with an instance type that the configuration itself names; `None` where nothing is.

    A catalogue that is damaged is no fault of the configuration: the doctor tells it.
    """
    try:
        place = named_place(terms, match, catalogue)
        if place is None:
            return None
        if not place.cloud:
            return _no_such(place.instance_type, _clouds(terms), catalogue)
    except CatalogueError:
        return None
    quote = quotes.of_listed(catalogue, place, terms)
    if isinstance(quote, quotes.NoQuote):
        return f"the catalogue has no price: {quote.reason}; give dollars_per_host_hour and gpus_per_host"
    return None


def named_place(terms: Listed, match: HardwareMatch, catalogue: Catalogue = BUNDLED) -> Place | None:
    """Where hosts run that a rule names by instance type, `None` where the type is the host's own.

    The cloud is the first that has it, empty where none has; region and lifecycle are empty where the rule
    does not name one.

    Raises:
        CatalogueError: the catalogue is damaged.
    """
    named = terms.instance_type or exact(match.instance_type)
    if not named:
        return None
    region = terms.region or exact(match.region)
    homes = (cloud for cloud in _clouds(terms) if catalogue.instance(cloud, named, region) is not None)
    return Place(cloud=next(homes, ""), instance_type=named, region=region, lifecycle=exact(match.lifecycle))


def _clouds(terms: Listed) -> tuple[str, ...]:
    return CLOUDS if terms.cloud == quotes.ANY else (terms.cloud,)


def _no_such(named: str, clouds: tuple[str, ...], catalogue: Catalogue) -> str:
    types = [name for cloud in clouds for name in catalogue.instance_types(cloud)]
    alike = _alike(named, types, clouds, catalogue)
    hint = f"did you mean {' or '.join(alike)}?" if alike else "give dollars_per_host_hour and gpus_per_host"
    return f'"{named}" is not in the catalogue of {", ".join(clouds)}; {hint}'


def _alike(named: str, types: list[str], clouds: tuple[str, ...], catalogue: Catalogue) -> list[str]:
    """Up to two types of the series that is named, with one GPU model: another GPU is another price."""
    series = _series(named)
    near = [name for name in get_close_matches(named, types, n=8) if _series(name) == series]
    models = {}
    for name in near:
        found = (catalogue.instance(cloud, name, "") for cloud in clouds)
        models[name] = next(listing.gpu_model for listing in found if listing is not None)
    return [name for name in near if models[name] == models[near[0]]][:2]


def _series(instance_type: str) -> str:
    """The part of a name that its GPU goes by: p5, a3-ultragpu, or the h100 of Standard_ND96isr_H100_v5."""
    text = instance_type.strip().casefold().removeprefix("standard_")
    found = _FAMILY.match(text) or _GPU.search(text)
    return found[0] if found else ""


_FAMILY: Final = re.compile(r"[a-z]+\d+[a-z]*(?:-[a-z][a-z0-9]*)?(?=[.-])")
_GPU: Final = re.compile(r"(?<![a-z0-9])(?:gb|[abhltv])\d{2,3}s?(?![a-z0-9])|rtxpro\d+")


def exact(pattern: str | None) -> str:
    """A pattern that stands for one text only, empty where it does not."""
    return "" if pattern is None or any(c in pattern for c in "*?[") else pattern
