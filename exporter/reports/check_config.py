"""The verb check-config: is this file good, and what does it come to."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from exporter.config import Config, ConfigError, Server, load
from exporter.config.values import plain
from exporter.cost.policy import SplitRule
from exporter.cost.postings import UNASSIGNED
from exporter.reports.plausibility import doubt
from exporter.tariff.catalogue import CATALOGUE
from exporter.tariff.quotes import ANY
from exporter.tariff.terms import (
    Electricity,
    Hardware,
    HardwareMatch,
    Listed,
    Overhead,
    Owned,
    Rented,
    RentPrice,
    Unmatched,
)
from exporter.units import NANOSECONDS_PER_SECOND

UNMATCHED: Final[Mapping[Unmatched, str]] = {
    "estimate": "list price of its instance type, else market price of its model, marked as an estimate",
    "unpriced": "has no price, and its cost is absent",
}
CLOUDS: Final = {
    "auto": "the one that the firmware names is asked where this host runs",
    "off": "nobody is asked",
}

GOOD = 0
REFUSED = 2


def check_config(path: Path | None) -> tuple[int, str]:
    """The exit status and what to print: 0 and the configuration in words, or 2 and all that is wrong."""
    try:
        config = load(path)
    except ConfigError as error:
        return REFUSED, f"{error}\n"
    return GOOD, "\n".join(_lines(config)) + "\n"


def _lines(config: Config) -> Iterator[str]:
    name = "defaults" if config.path is None else str(config.path)
    yield f"ok: {name}"
    if config.hash:
        yield f"sha256: {config.hash}"
    yield f"interval: {plain(Decimal(config.interval) / NANOSECONDS_PER_SECOND)} s"
    yield f"time zone: {config.timezone.key}"
    yield f"run-rate: {plain(config.hours_per_month)} hours per month"
    yield f"ledger: {config.ledger_path}"
    yield f"cloud: {CLOUDS.get(config.cloud, f'{config.cloud} is asked where this host runs')}"
    limits = config.limits
    yield f"limits: {limits.models} models, {limits.servers} servers, {limits.body_bytes} bytes per answer"
    yield from _section("budgets", (_budget(*row) for row in _budgets(config)), "none")
    yield from _section("hardware", map(_hardware, config.hardware), "no rule")
    yield f"hardware that no rule matches: {UNMATCHED[config.unmatched_hardware]}"
    yield from _section("overheads", map(_overhead, config.overheads), "none")
    yield from _section("servers", map(_server, config.servers), "none: all GPU time is unallocated")
    owners = (
        f"namespace {_pattern(rule.namespace)}, server {_pattern(rule.server)}: "
        f"product {rule.product}, team {rule.team}"
        for rule in config.ownership
    )
    yield from _section("ownership", owners, "no rule: everything is unassigned")
    yield from _section("split", map(_split, config.split or (SplitRule(),)), "")
    yield from (f"warning: {warning}" for warning in _warnings(config))


def _warnings(config: Config) -> Iterator[str]:
    """What is allowed and hardly meant."""
    if not config.hardware:
        yield NO_HARDWARE[config.unmatched_hardware]
    for rule in config.hardware:
        yield from _doubts(rule)
    if not config.servers:
        yield "no server is configured: the money of every GPU is unallocated"
    if config.budgets and all(budget.product for budget in config.budgets):
        yield (
            "no budget is without a product: the fleet alerts compare with that one, and they stay silent; "
            "add one like {name: fleet, dollars_per_month: 27000}"
        )
    products = sorted({rule.product for rule in config.ownership} | {UNASSIGNED})
    for budget in config.budgets:
        if budget.product and budget.product not in products:
            alike = get_close_matches(budget.product, products, n=1)
            hint = f"did you mean {alike[0]}?" if alike else f"they name {', '.join(products)}"
            yield (
                f"budget {budget.name} is for product {budget.product}, which no ownership rule names: "
                f"nothing is spent from it; {hint}"
            )


NO_HARDWARE: Final[Mapping[Unmatched, str]] = {
    "estimate": "no hardware is given: prices are list prices and estimates of the bundled catalogue",
    "unpriced": "no hardware is given: nothing is priced, and the cost of every GPU is absent",
}


def _doubts(rule: Hardware) -> Iterator[str]:
    """Prices of a rule that are allowed and hardly meant."""
    if not isinstance(rule.terms, Rented):
        return
    for price in rule.terms.prices:
        since = f" from {price.since_text}" if price.since_text else ""
        per_gpu = price.dollars_per_hour / price.gpus
        if per_gpu == 0 and rule.match.uuid is None:
            yield f"{rule.source}: the price{since} is 0: what it matches is metered and never charged"
        if rule.match.gpu_model and (why := doubt(CATALOGUE, rule.match.gpu_model, per_gpu)):
            yield f"{rule.source}: {plain(per_gpu)} dollars per GPU-hour{since} is {why}"


def _section(title: str, rows: Iterator[str], without: str) -> Iterator[str]:
    lines = [f"  {row}" for row in rows]
    yield f"{title}:" if lines else f"{title}: {without}"
    yield from lines


def _budgets(config: Config) -> Iterator[tuple[str, str, Decimal]]:
    return ((budget.name, budget.product, budget.dollars_per_month) for budget in config.budgets)


def _budget(name: str, product: str, amount: Decimal) -> str:
    return (
        f"{name}: {plain(amount)} dollars per month for {f'product {product}' if product else 'everything'}"
    )


def _hardware(rule: Hardware) -> str:
    if isinstance(rule.terms, Rented):
        terms = _rented(rule.terms)
    elif isinstance(rule.terms, Listed):
        terms = _listed(rule.terms)
    else:
        terms = _owned(rule.terms)
    return f"{rule.source}: {_which(rule.match)}: {terms}; {_energy(rule.energy, rule.terms)}"


def _which(match: HardwareMatch) -> str:
    which = f"host {_pattern(match.host)}, model {_pattern(match.gpu_model)}, UUID {_pattern(match.uuid)}"
    for what, pattern in (
        ("instance type", match.instance_type),
        ("lifecycle", match.lifecycle),
        ("region", match.region),
    ):
        which += "" if pattern is None else f", {what} {pattern}"
    return which


def _listed(terms: Listed) -> str:
    cloud = "the host's cloud" if terms.cloud == ANY else terms.cloud
    words = [f"rented, list price of {terms.instance_type or 'its instance type'} at {cloud}"]
    if terms.region:
        words.append(f"region {terms.region}")
    if terms.discount_of is not None:
        words.append("spot" if terms.discount_of == "spot" else "on demand")
    if terms.discount_ratio:
        words.append(f"less {plain(terms.discount_ratio * 100)} %")
    return ", ".join(words)


def _rented(terms: Rented) -> str:
    return "rented, " + ", then ".join(map(_price, terms.prices))


def _price(price: RentPrice) -> str:
    unit = "GPU-hour" if price.gpus == 1 else f"hour of {price.gpus} GPUs"
    since = f" from {price.since_text}" if price.since_text else ""
    note = f" ({price.note})" if price.note else ""
    return f"{plain(price.dollars_per_hour)} dollars per {unit}{since}{note}"


def _owned(terms: Owned) -> str:
    capital = terms.cost_of_capital_ratio
    return ", ".join(
        [
            f"owned, {plain(terms.purchase_dollars)} dollars for {terms.gpus} GPU{'s' * (terms.gpus > 1)}",
            f"in service {terms.in_service_text}",
            f"{plain(terms.life_years)} years",
            f"adders {plain(terms.adders_ratio)}",
            f"residual {plain(terms.residual_ratio)}",
            f"support {plain(terms.support_dollars_per_year)} a year",
            f"insurance {plain(terms.insurance_dollars_per_year)} a year",
            "straight line" if capital is None else f"annuity at {plain(capital)}",
        ]
    )


def _energy(energy: Electricity | None, terms: Rented | Listed | Owned) -> str:
    if energy is None:
        return "no price of electricity: none charged" if isinstance(terms, Owned) else "power is in the rent"
    return (
        f"electricity {plain(energy.dollars_per_kilowatt_hour)} dollars per kWh "
        f"x PUE {plain(energy.pue_ratio)} x host factor {plain(energy.host_factor_ratio)}"
    )


def _overhead(amount: Overhead) -> str:
    where = "" if amount.per == "fleet" else f", host {_pattern(amount.host)}"
    per = "GPU" if amount.per == "gpu" else amount.per
    return f"{amount.name}: {plain(amount.amount_dollars)} dollars per {amount.period} per {per}{where}"


def _server(server: Server) -> str:
    gpus = "all GPUs" if server.gpus is None else f"GPUs {', '.join(map(str, server.gpus))}"
    share = "" if server.gpu_share_ratio is None else f", share {plain(server.gpu_share_ratio)}"
    name = f"{server.namespace}/{server.name}" if server.namespace else server.name
    return f"{name}: {server.url}, {gpus}, engine {server.engine or 'as its page tells'}{share}"


def _split(rule: SplitRule) -> str:
    weights = rule.weights
    return (
        f"server {_pattern(rule.server)}, model {_pattern(rule.model)}: {rule.method}, weights "
        f"prompt {plain(weights.prompt)}, cached {plain(weights.cached_prompt)}, "
        f"generation {plain(weights.generation)}"
    )


def _pattern(pattern: str | None) -> str:
    return "any" if pattern is None else pattern
