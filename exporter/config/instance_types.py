"""Instance types that a rule of prices names, looked up in the catalogue."""

import difflib
import re
from typing import Final

from exporter.config.values import has_wildcards
from exporter.readings import HostLocation
from exporter.tariff import quotes
from exporter.tariff.catalogue import CATALOGUE as BUNDLED
from exporter.tariff.catalogue import Catalogue
from exporter.tariff.csv_tables import CatalogueError
from exporter.tariff.instances import CLOUDS
from exporter.tariff.terms import ANY_CLOUD, HardwareMatch, Listed

SAME_TYPE_FROM: Final = 0.9
"""Similarity of two instance types that differ in their size alone."""


def instance_type_problem(listed: Listed, match: HardwareMatch, catalogue: Catalogue = BUNDLED) -> str | None:
    """The problem of an instance type that the configuration names, if any.

    A damaged catalogue is no problem of the configuration: the doctor reports it.
    """
    try:
        location = named_place(listed, match, catalogue)
        if location is None:
            return None
        if not location.cloud:
            return _unknown_type(location.instance_type, _clouds(listed), catalogue)
    except CatalogueError:
        return None
    quote = quotes.find_quote(catalogue, location, listed)
    if isinstance(quote, quotes.NoQuote):
        return f"the catalogue has no price: {quote.reason}; give dollars_per_host_hour and gpus_per_host"
    return None


def named_place(listed: Listed, match: HardwareMatch, catalogue: Catalogue = BUNDLED) -> HostLocation | None:
    """The location of hosts whose instance type a rule names; `None` if it names none.

    The cloud is the first that has the type, empty if none has; region and lifecycle are empty if the rule
    does not name one.

    Raises:
        CatalogueError: the catalogue is damaged.
    """
    named = listed.instance_type or exact(match.instance_type)
    if not named:
        return None
    region = listed.region or exact(match.region)
    homes = [cloud for cloud in _clouds(listed) if catalogue.instance(cloud, named, region) is not None]
    return HostLocation(
        cloud=homes[0] if homes else "",
        instance_type=named,
        region=region,
        lifecycle=exact(match.lifecycle),
    )


def _clouds(listed: Listed) -> tuple[str, ...]:
    """The clouds in whose lists a rule looks."""
    return CLOUDS if listed.cloud == ANY_CLOUD else (listed.cloud,)


def _unknown_type(named: str, clouds: tuple[str, ...], catalogue: Catalogue) -> str:
    """The problem of a type that no cloud has, with the nearest types of the same GPU."""
    types = [name for cloud in clouds for name in catalogue.instance_types(cloud)]
    same_gpu = [name for name in types if _family(name) == _family(named)]
    near = difflib.get_close_matches(named, same_gpu, 2, SAME_TYPE_FROM)
    hint = f"did you mean {' or '.join(near)}?" if near else "give dollars_per_host_hour and gpus_per_host"
    return f'"{named}" is not in the catalogue of {", ".join(clouds)}; {hint}'


def _family(instance_type: str) -> str:
    """The first word of a type, like p5, which names its GPU. Another GPU has another price."""
    return re.split("[^A-Za-z0-9]", instance_type)[0]


def exact(pattern: str | None) -> str:
    """The one text that a pattern matches, empty where it has wildcards."""
    return "" if pattern is None or has_wildcards(pattern) else pattern
