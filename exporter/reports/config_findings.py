"""What is allowed in a configuration and hardly meant, and what is easily overlooked. Pure."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from exporter.config.catalogued import named_place
from exporter.config.settings import DEFAULT_BUDGETS, Config
from exporter.cost.postings import UNASSIGNED
from exporter.reports.diagnosis import Finding
from exporter.reports.idle_rules import idle_rules
from exporter.reports.plausibility import plausibility_findings
from exporter.reports.zero_prices import zero_price
from exporter.tariff import quotes
from exporter.tariff.table import CatalogueError
from exporter.tariff.terms import Hardware, Listed, Rented, Unmatched
from exporter.units import Instant

NO_HARDWARE: Final[Mapping[Unmatched, str]] = {
    "estimate": "no hardware is given: prices are list prices and estimates of the bundled catalogue",
    "unpriced": "no hardware is given: nothing is priced, and the cost of every GPU is absent",
}


def config_findings(config: Config, now: Instant) -> Iterator[Finding]:
    """All of them; prices are those in force at an instant, and those to come."""
    if not config.hardware:
        yield Finding("warning", NO_HARDWARE[config.unmatched_hardware])
    for rule in config.hardware:
        yield from _of_zero(rule, config, now)
        yield from _stand_ins(rule, config)
    yield from plausibility_findings(config, now)
    yield from idle_rules(config)
    if not config.servers and not config.processes:
        yield Finding(
            "warning",
            "no server is configured and processes are not looked at: the money of every GPU is unallocated",
        )
    yield from _of_tokens(config)
    yield from _of_budgets(config)


def _of_tokens(config: Config) -> Iterator[Finding]:
    """Tokens that leave the host in the clear."""
    for server in config.servers:
        host = urlsplit(server.url).hostname or ""
        if server.bearer_token_file is not None and server.url.startswith("http:") and not _is_here(host):
            yield Finding(
                "warning",
                f"server {server.name}: its token is sent to {host} over plain http, where others may read "
                "it; write https",
            )


def _is_here(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def _of_zero(rule: Hardware, config: Config, now: Instant) -> Iterator[Finding]:
    """Prices of 0, in force or to come."""
    instants = [now]
    if isinstance(rule.terms, Rented):
        instants += [price.since for price in rule.terms.prices if price.since is not None]
    zeros = (zero_price(rule, instant, config.timezone) for instant in instants if instant >= now)
    for zero in dict.fromkeys(filter(None, zeros)):
        # A GPU that was taken out is named by its UUID: somebody meant that. What is written off is a fact.
        meant = zero.kind == "life" or (zero.kind == "rent" and rule.match.uuid is not None)
        yield Finding(
            "note" if meant else "warning",
            f"every GPU that {rule.source} matches costs 0 dollars an hour because {zero.reason}",
        )


def _stand_ins(rule: Hardware, config: Config) -> Iterator[Finding]:
    """List prices that no list has for the type and region that a rule names."""
    if not isinstance(rule.terms, Listed):
        return
    try:
        place = named_place(rule.terms, rule.match, config.catalogue)
        regions = config.catalogue.regions()
    except CatalogueError:
        return
    if place is None or (place.region and place.region.casefold() not in regions):
        return  # the host's own type, or a misspelled region, which has a finding of its own
    stand_ins = config.unmatched_hardware == "estimate"
    quote = quotes.of_listed(config.catalogue, place, rule.terms, stand_ins=stand_ins)
    if isinstance(quote, quotes.NoQuote):
        if place.region:  # else it is the host's own, and a list may have it
            yield Finding("warning", f"{rule.source}: its GPUs have no price: {quote.reason}; {_WRITE}")
    elif quote.stand_in and (place.region or quote.stand_in != "region"):
        yield Finding(
            "warning",
            f"{rule.source}: priced by an estimate, {quote.source}, of {quote.as_of}: {quote.caveat}; "
            f"{_WRITE}",
        )


_WRITE: Final = "write what you pay as dollars_per_host_hour and gpus_per_host"


def is_default(config: Config) -> bool:
    """Whether the default budget is in force, since none is configured."""
    return config.budgets is DEFAULT_BUDGETS


def _of_budgets(config: Config) -> Iterator[Finding]:
    if config.budgets and all(budget.product for budget in config.budgets):
        yield Finding(
            "warning",
            "no budget is without a product: the fleet alerts compare with that one, and they stay silent; "
            "add one like {name: fleet, dollars_per_month: 27000}",
        )
    products = sorted({rule.product for rule in config.ownership} | {UNASSIGNED})
    for budget in config.budgets:
        if budget.product and budget.product not in products:
            alike = get_close_matches(budget.product, products, n=1)
            hint = f"did you mean {alike[0]}?" if alike else f"they name {', '.join(products)}"
            yield Finding(
                "warning",
                f"budget {budget.name} is for product {budget.product}, which no ownership rule names: "
                f"nothing is spent from it; {hint}",
            )
