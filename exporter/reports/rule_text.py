"""The rules of a configuration with their prices, each in a line for people. Pure."""

from dataclasses import dataclass, fields, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from exporter.advice.saving import IgnoredSaving
from exporter.config.hardware import named_place
from exporter.config.settings import Budget, Config, ConfiguredServer, GatewayDivision, ServerRule
from exporter.config.values import plain
from exporter.cost.policy import SplitRule
from exporter.engines import Engine
from exporter.readings import UNKNOWN_LOCATION, Gpu, HostLocation, ServiceLevel, masked
from exporter.tariff import quotes
from exporter.tariff.catalogue import Catalogue
from exporter.tariff.csv_tables import CatalogueError
from exporter.tariff.hosted import HostedPrice
from exporter.tariff.quotes import ANY, Quote
from exporter.tariff.rate import ComponentRate, PriceBasis
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import (
    Billing,
    Electricity,
    Hardware,
    HardwareMatch,
    Listed,
    Overhead,
    Owned,
    Rented,
    RentPrice,
    Retirement,
)
from exporter.units import NANOSECONDS_PER_HOUR, PICODOLLARS_PER_DOLLAR, Instant

ANYTHING: Final = HardwareMatch()
ANY_GPU: Final = Gpu("", "")

MICRODOLLAR: Final = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class RulePrice:
    """The price of one GPU-hour by a rule, to the microdollar; `None`, with the reason, where it is unknown.

    `components` are the parts of it. `list_dollars_per_hour` is what stands in the catalogue or was written
    down, for `gpus` GPUs together, before the discount; `None` for owned hardware. `source` and `as_of` are
    those of a list price, empty otherwise. A kilowatt-hour is one measured at the GPU: PUE and host factor
    are in it.
    """

    billing: Billing
    dollars_per_gpu_hour: Decimal | None = None
    components: tuple[tuple[str, Decimal], ...] = ()
    list_dollars_per_hour: Decimal | None = None
    gpus: int = 1
    discount_ratio: Decimal = Decimal(0)
    price_basis: PriceBasis = "configured"
    source: str = ""
    as_of: str = ""
    reason: str = ""
    dollars_per_kilowatt_hour: Decimal | None = None


def rule_price(rule: Hardware, config: Config, now: Instant) -> RulePrice:
    """The price by a rule of a configuration at an instant, wherever the rule matches."""
    pricing, catalogue = rule.pricing, config.catalogue
    energy, kilowatt_hour = rule.energy, None
    if energy is not None:
        kilowatt_hour = energy.dollars_per_kilowatt_hour * energy.pue_ratio * energy.host_factor_ratio
    result = RulePrice(
        billing="always" if isinstance(pricing, Owned) else pricing.billing,
        dollars_per_kilowatt_hour=kilowatt_hour,
    )
    location = UNKNOWN_LOCATION
    if isinstance(pricing, Listed):
        try:
            named = named_place(pricing, rule.match, catalogue)
        except CatalogueError as error:
            return replace(result, reason=f"the catalogue is damaged: {error}")
        if named is None:
            return replace(
                result, discount_ratio=pricing.discount_ratio, reason="depends on the host's instance type"
            )
        location = named
        result = _of_list(result, pricing, location, catalogue)
    rules = (replace(rule, match=ANYTHING),)
    stand_ins = config.unmatched_hardware == "estimate"
    tariff = Tariff("", rules, location=location, catalogue=catalogue, stand_ins=stand_ins)
    price = tariff.hardware_price(ANY_GPU, now)
    if not price.priced:
        reason = "the catalogue has no price"
        if isinstance(pricing, Owned):
            reason = f"no price before {pricing.in_service_text}"
        elif isinstance(pricing, Rented):
            reason = f"no price before {pricing.prices[0].since_text}"
        return replace(result, reason=reason)
    parts = tuple((rate.component, _hourly(rate)) for rate in price.rates)
    if isinstance(pricing, Rented):
        written = [each for each in pricing.prices if each.since is None or each.since <= now][-1]
        result = replace(result, list_dollars_per_hour=written.dollars_per_hour, gpus=written.gpus)
    return replace(
        result, dollars_per_gpu_hour=sum((part for _, part in parts), Decimal(0)), components=parts
    )


def _of_list(result: RulePrice, listed: Listed, location: HostLocation, catalogue: Catalogue) -> RulePrice:
    quote = quotes.find_quote(catalogue, location, replace(listed, discount_ratio=Decimal(0)))
    if not isinstance(quote, Quote):
        return result
    return replace(
        result,
        list_dollars_per_hour=quote.dollars_per_hour,
        gpus=quote.devices,
        discount_ratio=listed.discount_ratio,
        price_basis=quote.price_basis,
        source=quote.source,
        as_of=quote.as_of,
    )


def _hourly(rate: ComponentRate) -> Decimal:
    exact = Fraction(rate.rate.amount * NANOSECONDS_PER_HOUR, rate.rate.period * PICODOLLARS_PER_DOLLAR)
    return (Decimal(exact.numerator) / Decimal(exact.denominator)).quantize(MICRODOLLAR).normalize()


def price_words(result: RulePrice) -> str:
    """A price in a line for people, with its arithmetic."""
    words = _money(result)
    if result.dollars_per_kilowatt_hour is not None:
        words += f", and {plain(result.dollars_per_kilowatt_hour)} per kWh measured at the GPU"
    return f"{words}; billed {'always' if result.billing == 'always' else 'while the host is up'}"


def _money(result: RulePrice) -> str:
    less = f" less {plain(result.discount_ratio * 100)} %" if result.discount_ratio else ""
    if result.dollars_per_gpu_hour is None:
        return f"list price{less}: {result.reason}" if less else result.reason
    price = f"{plain(result.dollars_per_gpu_hour)} dollars per GPU-hour"
    if result.list_dollars_per_hour is None:
        parts = " + ".join(f"{component} {plain(part)}" for component, part in result.components)
        return f"{parts} = {price}"
    begin = plain(result.list_dollars_per_hour)
    if result.source:
        begin = f"list price {begin} ({result.source}, of {result.as_of})"
    divided = f" / {result.gpus} GPUs" if result.gpus > 1 else ""
    return f"{begin}{less}{divided} = {price}" if less or divided or result.source else price


def budget_words(budget: Budget) -> str:
    """A monthly budget and what it is for."""
    whose = f"product {budget.product}" if budget.product else "everything"
    return f"{budget.name}: {plain(budget.dollars_per_month)} dollars per month for {whose}"


def compare_words(offer: HostedPrice) -> str:
    """A hosted offer that tokens are compared with."""
    prices = ", ".join(f"{kind.replace('_', ' ')} {plain(price)}" for kind, price in offer.by_kind().items())
    as_of = f", as of {offer.as_of}" if offer.as_of else ""
    whose = f"server {pattern_words(offer.server)}, model {pattern_words(offer.model)}"
    return f"{offer.reference}: {whose}: {prices} dollars per million tokens{as_of}"


def hardware_words(rule: Hardware) -> str:
    """One rule of `hardware`."""
    if isinstance(rule.pricing, Rented):
        text = "rented, " + ", then ".join(map(_price, rule.pricing.prices))
    elif isinstance(rule.pricing, Listed):
        text = _listed(rule.pricing)
    else:
        text = _owned(rule.pricing)
    return f"{rule.source}: {which_words(rule.match)}: {text}; {_energy(rule.energy, rule.pricing)}"


def which_words(match: HardwareMatch) -> str:
    """The hardware that a rule matches."""
    always = (("host", match.host), ("model", match.gpu_model), ("UUID", match.uuid))
    which = ", ".join(f"{what} {pattern_words(pattern)}" for what, pattern in always)
    for what, pattern in (
        ("instance type", match.instance_type),
        ("lifecycle", match.lifecycle),
        ("region", match.region),
    ):
        which += "" if pattern is None else f", {what} {pattern}"
    return which + "".join(f', node label {name} "{pattern}"' for name, pattern in match.node_label)


def _listed(listed: Listed) -> str:
    cloud = "the host's cloud" if listed.cloud == ANY else listed.cloud
    words = [f"rented, list price of {listed.instance_type or 'its instance type'} at {cloud}"]
    if listed.region:
        words.append(f"region {listed.region}")
    if listed.discount_of is not None:
        words.append("spot" if listed.discount_of == "spot" else "on demand")
    if listed.discount_ratio:
        words.append(f"less {plain(listed.discount_ratio * 100)} %")
    return ", ".join(words)


def _price(price: RentPrice) -> str:
    unit = "GPU-hour" if price.gpus == 1 else f"hour of {price.gpus} GPUs"
    since = f" from {price.since_text}" if price.since_text else ""
    note = f" ({price.note})" if price.note else ""
    return f"{plain(price.dollars_per_hour)} dollars per {unit}{since}{note}"


def _owned(owned: Owned) -> str:
    """Every term; one without words of its own, by its name where it has another value than its default."""
    capital = owned.cost_of_capital_ratio
    gpus = f"{owned.gpus} GPU{'s' * (owned.gpus > 1)}"
    words = {
        "purchase_dollars": f"owned, {plain(owned.purchase_dollars)} dollars for {gpus}",
        "in_service": f"in service {owned.in_service_text}",
        "life_years": f"{plain(owned.life_years)} years",
        "adders_ratio": f"adders {plain(owned.adders_ratio)}",
        "residual_ratio": f"residual {plain(owned.residual_ratio)}",
        "support_dollars_per_year": f"support {plain(owned.support_dollars_per_year)} a year",
        "insurance_dollars_per_year": f"insurance {plain(owned.insurance_dollars_per_year)} a year",
        "cost_of_capital_ratio": "straight line" if capital is None else f"annuity at {plain(capital)}",
    }
    others = (
        f"{field.name} {value}"
        for field in fields(owned)
        if field.name not in {*words, "gpus", "in_service_text"}
        and (value := getattr(owned, field.name)) != field.default
    )
    return ", ".join((*words.values(), *others))


def _energy(energy: Electricity | None, pricing: Rented | Listed | Owned) -> str:
    if energy is None:
        return (
            "no price of electricity: none charged" if isinstance(pricing, Owned) else "power is in the rent"
        )
    return (
        f"electricity {plain(energy.dollars_per_kilowatt_hour)} dollars per kWh "
        f"x PUE {plain(energy.pue_ratio)} x host factor {plain(energy.host_factor_ratio)}"
    )


def retired_words(gone: Retirement) -> str:
    """A retired GPU."""
    return f"{gone.uuid} from {gone.since_text}{f': {gone.note}' if gone.note else ''}"


def ignored_words(ignored: IgnoredSaving) -> str:
    """A finding of `advise` that is not counted for a time."""
    server = pattern_words(ignored.server)
    return f"{ignored.kind}, server {server}, until {ignored.until_text}: {ignored.reason}"


def overhead_words(amount: Overhead) -> str:
    """A named overhead."""
    where = "" if amount.per == "fleet" else f", host {pattern_words(amount.host)}"
    per = "GPU" if amount.per == "gpu" else amount.per
    return f"{amount.name}: {plain(amount.amount_dollars)} dollars per {amount.period} per {per}{where}"


def server_words(server: ConfiguredServer) -> str:
    """One configured endpoint."""
    gpus = "all GPUs" if server.gpus is None else f"GPUs {', '.join(map(str, server.gpus))}"
    share = "" if server.gpu_share_ratio is None else f", share {plain(server.gpu_share_ratio)}"
    name = f"{server.namespace}/{server.name}" if server.namespace else server.name
    divided = "" if server.divide is None else f", {divide_words(server.divide)}"
    engine = server.engine or "from its page"
    level = "" if server.slo is None else f", {slo_words(server.slo)}"
    return f"{name}: {masked(server.url)}, {gpus}, engine {engine}{share}{divided}{level}"


def engine_words(engine: Engine) -> str:
    """One engine that the configuration describes."""
    counts = (f"{count.quantity} {'' if count.sign > 0 else '- '}{count.name}" for count in engine.counts())
    models = f"models by {' or '.join(engine.models)}" if engine.models else "one model"
    return f"{engine.name}: {', '.join(counts)}; {models}"


def engine_document(engine: Engine) -> dict[str, Any]:
    """The same for programs."""
    return {
        "name": engine.name,
        "counters": [
            {"name": count.name, "quantity": count.quantity, "sign": count.sign, "scale": count.scale}
            for count in engine.counts()
        ],
        "models": list(engine.models),
    }


def server_rule_words(rule: ServerRule) -> str:
    """One rule for discovered servers."""
    match = rule.match
    which = [
        f"{name} {value}"
        for name, value in (
            ("port", match.port),
            ("workload", match.workload),
            ("unit", match.unit),
            ("process", match.process),
            ("user", match.user),
            ("containers", match.containers or None),
        )
        if value is not None
    ]
    corrections = [
        f"name {rule.name}" if rule.name else "",
        f"namespace {rule.namespace}" if rule.namespace else "",
        f"engine {rule.engine}" if rule.engine else "",
        f"share {plain(rule.gpu_share_ratio)}" if rule.gpu_share_ratio is not None else "",
        "spans hosts" if rule.spans_hosts else "",
        f"role {rule.role}" if rule.role else "",
        f"metrics at port {rule.metrics_port}" if rule.metrics_port is not None else "",
        f"metrics at path {masked(rule.metrics_path)}" if rule.metrics_path else "",
        divide_words(rule.divide) if rule.divide is not None else "",
        slo_words(rule.slo) if rule.slo is not None else "",
    ]
    corrected = ", ".join(word for word in corrections if word) or "read as configured"
    return f"found with {', '.join(which)}: {corrected}"


def divide_words(divide: GatewayDivision) -> str:
    """The gateway whose counts divide the cost of a server."""
    division = divide.division
    models = f", models {' and '.join(division.models)}" if division.models else ""
    where = f", deployments {' and '.join(division.deployments)}" if division.deployments else ""
    page = divide.page
    tenants = f"{len(page.tenants)} tenant{'s' * (len(page.tenants) > 1)}"
    by = f"{' and '.join(page.labels)} for {tenants}" if page.labels else division.by
    counters = f", by {' and '.join(sorted(page.shares.names))}" if page.shares is not None else ""
    return f"divided by {by} as {masked(division.gateway)} counts{counters}{models}{where}"


def slo_words(slo: ServiceLevel) -> str:
    """A service level."""
    objectives = (
        f"{seconds:g} s {'to the first token' if objective == 'first_token' else 'per token'}"
        for objective, seconds in slo.seconds().items()
    )
    return f"service level {' and '.join(objectives)} for {slo.target_ratio:.6g} of requests"


def split_words(rule: SplitRule) -> str:
    """One rule of `split`."""
    weights = rule.weights
    return (
        f"server {pattern_words(rule.server)}, model {pattern_words(rule.model)}: {rule.method}, weights "
        f"prompt {plain(weights.prompt)}, cached {plain(weights.cached_prompt)}, "
        f"generation {plain(weights.generation)}"
    )


def pattern_words(pattern: str | None) -> str:
    """A pattern; "any" stands for none."""
    return "any" if pattern is None else pattern
