"""What the doctor suggests to compare with: hosted offers of the weights that are served here."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from exporter.config.settings import Config
from exporter.config.values import plain
from exporter.reports.diagnosis import Finding, ServerLine
from exporter.tariff.catalogue import Catalogue
from exporter.tariff.offers import Offer
from exporter.tariff.table import CatalogueError

MOST_OFFERS: Final = 3
"""Lines that are suggested for one model: the cheapest."""

_PATTERN = re.compile(r"[*?\[\]\"\\]")
"""Characters that mean more than themselves in a pattern, or in quotes."""

_NAME = re.compile(r"[^a-z0-9.]+")


def comparison_findings(
    config: Config, servers: Iterable[ServerLine], catalogue: Catalogue
) -> Iterator[Finding]:
    """A note for each model that is served, compared with nothing, and offered by others."""
    served = {model: server.server for server in servers for model in server.models}
    for model, server in sorted(served.items()):
        if _PATTERN.search(model) or any(offer.covers(server, model) for offer in config.compare):
            continue
        try:
            found = catalogue.hosted(model)
        except CatalogueError:
            return  # which is a finding of its own
        if found:
            # Two routes of one provider to one model share a name: the cheaper stands for both.
            cheapest = {_name(offer): offer for offer in reversed(found)}
            named = sorted(cheapest.items(), key=lambda item: found.index(item[1]))
            lines = "\n".join(_line(name, offer, model) for name, offer in named[:MOST_OFFERS])
            count = len(found)
            several = f"{count} offers of it are" if count > 1 else "an offer of it is"
            fewer = f", the {MOST_OFFERS} cheapest providers below" if len(named) > MOST_OFFERS else ""
            known = f"{several} known{fewer}"
            yield Finding(
                "note",
                f"model {model} is compared with no hosted price; {known} "
                f"(list prices of {found[0].as_of}, an upper bound of a bill). "
                f"To count what its tokens would cost there, add:\n    compare:\n{lines}",
            )


def _name(offer: Offer) -> str:
    return _NAME.sub("-", f"{offer.provider}-{offer.model.rpartition('/')[2]}".casefold())


def _line(name: str, offer: Offer, model: str) -> str:
    cached = offer.cached_prompt
    prices = {
        "prompt": offer.prompt,
        **({} if cached is None else {"cached_prompt": cached}),
        "generation": offer.generation,
    }
    told = ", ".join(f"{kind}_dollars_per_million_tokens: {plain(price)}" for kind, price in prices.items())
    return f'      - {{name: {name}, match: {{model: "{model}"}}, as_of: {offer.as_of}, {told}}}'
