"""Findings on a valid but suspicious configuration. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import Final, TypeVar
from urllib.parse import urlsplit

from exporter.config.instance_types import named_place
from exporter.config.settings import DEFAULT_BUDGETS, Config, ServerRule
from exporter.cost.postings import UNASSIGNED
from exporter.reports.diagnosis import Finding, note, warning
from exporter.reports.plausibility import plausibility_findings, warning_at
from exporter.reports.price_findings import zero_price
from exporter.tariff import quotes
from exporter.tariff.catalogue import Catalogue
from exporter.tariff.csv_tables import CatalogueError
from exporter.tariff.gpu_models import unmatched_name_problem
from exporter.tariff.instances import CLOUDS
from exporter.tariff.rate import Derivation
from exporter.tariff.rule_matching import covers
from exporter.tariff.terms import ANY_CLOUD, Hardware, Listed, Rented, Unmatched
from exporter.units import Instant

LIFECYCLES: Final = ("on_demand", "spot", "reserved")
"""Values of a host's lifecycle."""

R = TypeVar("R")
Fields = tuple[str | None, ...]


def hardware_rule_findings(config: Config) -> Iterator[Finding]:
    """Rules of `hardware` that never apply, or that match no known name."""
    yield from _covered_rules(
        config.hardware,
        _numbered("hardware[{}]", config.hardware),
        lambda rule: (
            rule.match.host,
            rule.match.gpu_model,
            rule.match.uuid,
            rule.match.instance_type,
            rule.match.lifecycle,
            rule.match.region,
        ),
        # Each label that the earlier rule asks for is one that the later one asks for as narrowly.
        lambda earlier, later: all(
            any(name == label and covers(pattern, narrower) for label, narrower in later.match.node_label)
            for name, pattern in earlier.match.node_label
        ),
    )
    for index, rule in enumerate(config.hardware):
        if config.kubernetes == "off" and rule.match.node_label:
            yield warning(
                f"hardware[{index}].match.node_label: no labels are requested, since "
                "discovery.kubernetes is off",
            )
        for key, problem in _name_problems(rule, config.catalogue):
            if problem is not None:
                yield warning_at(config, f"hardware[{index}].{key}", problem)


def owner_findings(config: Config) -> Iterator[Finding]:
    """Rules of `ownership` and `split` that never apply."""
    owners = _numbered("ownership.rules[{}]", config.ownership)
    yield from _covered_rules(config.ownership, owners, lambda rule: (rule.namespace, rule.server))
    # The last one is what the others are exceptions from.
    overrides = config.split[:-1]
    names = _numbered("split.overrides[{}]", overrides)
    yield from _covered_rules(overrides, names, lambda rule: (rule.server, rule.model))


def server_rule_findings(config: Config) -> Iterator[Finding]:
    """Rules of `servers` that never apply, or only to other processes than is likely."""
    yield from _covered_rules(
        config.server_rules,
        [rule.source for rule in config.server_rules],
        _match_fields,
        # Any unit is still a unit, which processes that users start have not.
        lambda earlier, later: (
            (earlier.match.unit is None or later.match.unit is not None)
            and (earlier.match.user is None or earlier.match.containers or not later.match.containers)
        ),
    )
    for rule in config.server_rules:
        if rule.match.user is not None and rule.match.user.isdigit() and not rule.match.containers:
            yield note(
                f"{rule.source}.match.user: {rule.match.user} matches the host's own processes, no container "
                "or pod; add `containers: true` for other containers, write `workload` for a pod",
            )
        # Units are of processes, and what stands for a pod alone has none.
        if not config.processes and rule.match.unit is not None and not fnmatchcase("", rule.match.unit):
            yield warning(
                f"{rule.source}.match.unit: no server's unit is known, since discovery.processes is false",
            )


def _match_fields(rule: ServerRule) -> Fields:
    match = rule.match
    port = None if match.port is None else str(match.port)
    user = match.user if match.uid is None else str(match.uid)
    return (port, match.workload, match.unit, match.process, user)


def _covered_rules(
    rules: Sequence[R],
    names: Sequence[str],
    fields: Callable[[R], Fields],
    beside: Callable[[R, R], bool] = lambda *_: True,
) -> Iterator[Finding]:
    """Rules that an earlier one leaves nothing to match."""
    for index, later in enumerate(rules):
        for before, earlier in enumerate(rules[:index]):
            pairs = zip(fields(earlier), fields(later), strict=True)
            if all(covers(wider, narrower) for wider, narrower in pairs) and beside(earlier, later):
                yield warning(
                    f"{names[index]} never applies: {names[before]} comes first and matches all "
                    "that it matches; put it before that, or remove it",
                )
                break


def _numbered(name: str, rules: Sequence[object]) -> list[str]:
    return [name.format(index) for index in range(len(rules))]


def _misspelled(what: str, pattern: str | None, names: Iterable[str]) -> str | None:
    """Why a pattern matches no known name, if it matches none."""
    if pattern is None or any(fnmatchcase(name, pattern) for name in names):
        return None
    (nearest,) = get_close_matches(pattern.casefold(), names, n=1, cutoff=0)
    return f'no known {what} is spelled "{pattern}"; names are like "{nearest}"'


def _name_problems(rule: Hardware, catalogue: Catalogue) -> Iterator[tuple[str, str | None]]:
    """The keys of a rule whose patterns are of known names, and the problem of each, if any."""
    match, listed = rule.match, rule.pricing
    yield "match.lifecycle", _misspelled("lifecycle", match.lifecycle, LIFECYCLES)
    # A damaged catalogue has a finding of its own.
    with suppress(CatalogueError):
        if match.gpu_model is not None:
            yield "match.gpu_model", unmatched_name_problem(match.gpu_model, catalogue.gpu_names())
        if match.region is not None:
            yield "match.region", _misspelled("region", match.region, catalogue.regions())
        if not isinstance(listed, Listed):
            return
        region = listed.region.casefold() or None
        yield "rented.region", _misspelled("region", region, catalogue.regions())
        clouds = CLOUDS if listed.cloud == ANY_CLOUD else (listed.cloud,)
        if match.instance_type is not None:
            types = [name for cloud in clouds for name in catalogue.instance_types(cloud)]
            types += [name.removeprefix("Standard_") for name in types]
            what = f"instance type of {', '.join(clouds)}"
            yield "match.instance_type", _misspelled(what, match.instance_type, types)


NO_HARDWARE: Final[Mapping[Unmatched, str]] = {
    "estimate": "no hardware is given: prices are list prices and estimates of the bundled catalogue",
    "unpriced": "no hardware is given: nothing is priced, and the cost of every GPU is absent",
}


def zero_findings(rule: Hardware, config: Config, now: Instant) -> Iterator[Finding]:
    """Prices of 0, in force or to come."""
    instants = [now]
    if isinstance(rule.pricing, Rented):
        instants += [price.since for price in rule.pricing.prices if price.since is not None]
    zeros = (zero_price(rule, instant, config.timezone) for instant in instants if instant >= now)
    for zero in dict.fromkeys(filter(None, zeros)):
        # A rule for one UUID is meant: its GPU was taken out. A life that has ended is a fact.
        meant = zero.kind == "life" or (zero.kind == "rent" and rule.match.uuid is not None)
        yield Finding(
            "note" if meant else "warning",
            f"every GPU that {rule.source} matches costs 0 dollars an hour because {zero.reason}",
        )


_WRITE: Final = "write what you pay as dollars_per_host_hour and gpus_per_host"


def stand_in_findings(rule: Hardware, config: Config) -> Iterator[Finding]:
    """List prices that no list has for the type and region that a rule names."""
    if not isinstance(rule.pricing, Listed):
        return
    try:
        location = named_place(rule.pricing, rule.match, config.catalogue)
    except CatalogueError:
        return
    if location is None:
        return  # the host's own type
    stand_ins = config.unmatched_hardware == "estimate"
    quote = quotes.find_quote(config.catalogue, location, rule.pricing, stand_ins=stand_ins)
    # Without a region in the rule it is the host's own, and a list may have it.
    acceptable = {Derivation.LISTED} if location.region else {Derivation.LISTED, Derivation.REGION}
    if isinstance(quote, quotes.NoQuote):
        if location.region:
            yield warning(f"{rule.source}: its GPUs have no price: {quote.reason}; {_WRITE}")
    elif quote.derivation not in acceptable:
        yield warning(
            f"{rule.source}: priced by an estimate, {quote.source}, of {quote.as_of}: {quote.caveat}; "
            f"{_WRITE}",
        )


def server_findings(config: Config) -> Iterator[Finding]:
    """No server, and bearer tokens that leave the host unencrypted, or go to whoever listens on it."""
    if not config.servers and not config.processes:
        yield warning("no server is configured and process discovery is off: all GPU cost is unallocated")
    for server in config.servers:
        host = urlsplit(server.url).hostname or ""
        if server.bearer_token_file is None or not server.url.startswith("http:"):
            continue
        here = host == "localhost"
        with suppress(ValueError):
            here = here or ip_address(host).is_loopback
        if not here:
            yield warning(
                f"server {server.name}: its token is sent to {host} over plain http, where others may read "
                "it; write https",
            )
        elif server.uid is None:
            yield warning(
                f"server {server.name}: its token is sent to any user who listens at {host}; write `user`",
            )


def is_default(config: Config) -> bool:
    """Whether the default budget is in force, since none is configured."""
    return config.budgets is DEFAULT_BUDGETS


def budget_findings(config: Config) -> Iterator[Finding]:
    """Budgets that nothing is spent from, and a fleet without one."""
    if config.budgets and all(budget.product for budget in config.budgets):
        yield warning(
            "no budget is without a product: the fleet alerts compare with that one, and they stay silent; "
            "add one like {name: fleet, dollars_per_month: 27000}",
        )
    products = sorted({rule.product for rule in config.ownership} | {UNASSIGNED})
    for budget in config.budgets:
        if budget.product and budget.product not in products:
            alike = get_close_matches(budget.product, products, n=1)
            hint = f"did you mean {alike[0]}?" if alike else f"they name {', '.join(products)}"
            yield warning(
                f"budget {budget.name} is for product {budget.product}, which no ownership rule names: "
                f"nothing is spent from it; {hint}",
            )


CHECKS: Final[tuple[Callable[[Config], Iterator[Finding]], ...]] = (
    hardware_rule_findings,
    server_rule_findings,
    owner_findings,
    server_findings,
    budget_findings,
)
"""Checks that no date and no price changes, in the order of their findings."""


def config_findings(config: Config, now: Instant) -> Iterator[Finding]:
    """All findings; prices are those in force at an instant, and later ones."""
    if not config.hardware:
        yield warning(NO_HARDWARE[config.unmatched_hardware])
    for rule in config.hardware:
        yield from zero_findings(rule, config, now)
        yield from stand_in_findings(rule, config)
    yield from plausibility_findings(config, now)
    for check in CHECKS:
        yield from check(config)
