"""Plausibility of every amount of a configuration: mistakes of unit, with what to write instead.

Nothing is refused: a suspicious amount is a warning. An amount of 0 is not examined here, nor a ratio of 1
that comes to 0 dollars: prices of 0 have findings of their own.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal

from exporter.config.instance_types import exact
from exporter.config.settings import Config
from exporter.config.times import is_fixed_offset
from exporter.config.values import plain
from exporter.reports import amount_checks as checks
from exporter.reports.amount_checks import AmountCheck, Subject
from exporter.reports.diagnosis import Finding, note, warning
from exporter.tariff.catalogue import Catalogue
from exporter.tariff.csv_tables import CatalogueError
from exporter.tariff.gpu_models import unmatched_name_problem
from exporter.tariff.instances import CLOUDS
from exporter.tariff.terms import Electricity, Hardware, HardwareMatch, Listed, Owned, Rented
from exporter.units import Instant


def plausibility_findings(
    config: Config, now: Instant, present: Mapping[str, Sequence[Subject]] | None = None
) -> Iterator[Finding]:
    """A warning for each suspicious amount, key and position first.

    Args:
        config: whose amounts are examined.
        now: prices that begin later are in the future.
        present: the GPUs of this host by the source of the rule that prices them. A rule without a GPU here
            is examined by what it matches.
    """
    zone = config.timezone.key
    if is_fixed_offset(zone):
        remedy = "write a region like Europe/Berlin or America/New_York"
        yield warning_at(config, "timezone", f"{zone} does not move with daylight saving: {remedy}")
    for rule in config.hardware:
        subjects = (present or {}).get(rule.source)
        if subjects is None:
            matched = _matched(config.catalogue, rule.match)
            subjects = [] if matched is None else [matched]
        yield from _hardware_findings(config, rule, now, subjects)
    for overhead in config.overheads:
        key = f"dollars_per_{overhead.period}"
        yield from _examine(
            config, f"{overhead.source}.{key}", overhead.amount_dollars, checks.overhead_check(overhead)
        )
    for index, budget in enumerate(config.budgets):
        path = f"budgets[{index}].dollars_per_month"
        yield from _examine(config, path, budget.dollars_per_month, checks.BUDGET)
    for index, offer in enumerate(config.compare):
        path = f"compare[{index}]"
        prices = {
            "prompt": offer.prompt,
            "cached_prompt": offer.cached_prompt,
            "generation": offer.generation,
        }
        warnings: list[Finding] = []
        for kind, amount in prices.items():
            if amount is not None:
                key = f"{path}.{kind}_dollars_per_million_tokens"
                warnings.extend(_examine(config, key, amount, checks.PER_MILLION[kind]))
        yield from warnings
        if not warnings and 0 < offer.generation < offer.prompt:
            yield warning_at(
                config,
                f"{path}.generation_dollars_per_million_tokens",
                f"{plain(offer.generation)} dollars is below the price of prompts ({plain(offer.prompt)})",
            )


def _examine(
    config: Config, path: str, amount: Decimal, check: AmountCheck, compared: Decimal | None = None
) -> Iterator[Finding]:
    """The warning of one amount, if any; `compared` is it in the unit of the check, where that is another."""
    if problem := check.problem(path.rpartition(".")[2], amount, compared):
        yield warning_at(config, path, problem)


def warning_at(config: Config, path: str, message: str) -> Finding:
    """A warning about a value, behind its position in the file."""
    position = config.positions.get(path)
    file = ""
    if config.path is not None and position is not None:
        file = f"{config.path}:{position.line}:{position.column}: "
    return warning(f"{file}{path}: {message}")


def _matched(catalogue: Catalogue, match: HardwareMatch) -> Subject | None:
    """What a rule matches; `None` where that is no GPU, which is a warning of its own."""
    model = match.gpu_model
    with suppress(CatalogueError):
        if model and unmatched_name_problem(model, catalogue.gpu_names()):
            return None
    listing = None
    named = exact(match.instance_type)
    with suppress(CatalogueError):
        listings = (catalogue.instance(cloud, named, exact(match.region)) for cloud in CLOUDS if named)
        listing = next(filter(None, listings), None)
    gpu = model or ("" if listing is None else listing.gpu_model)
    hosts: tuple[int, ...] = (checks.USUAL_GPUS,)
    if listing is not None:
        hosts = (listing.devices,)
    else:
        with suppress(CatalogueError):
            entry = catalogue.gpu(gpu.strip("*")) if gpu else None
            hosts = (entry and catalogue.gpus_per_host(entry.model.gpu_model)) or hosts
    return Subject(gpu, hosts)


def _hardware_findings(
    config: Config, rule: Hardware, now: Instant, subjects: Sequence[Subject]
) -> Iterator[Finding]:
    """One rule, for each GPU model that it prices."""
    pricing = rule.pricing
    for subject in subjects:
        if isinstance(pricing, Rented):
            for index, price in enumerate(pricing.prices):
                base = rule.source if price.since is None else f"{rule.source}.prices[{index}]"
                host, gpu = "dollars_per_host_hour", "dollars_per_gpu_hour"
                key = _written(config, base, host, gpu, of_host=price.gpus > 1)
                per_gpu = price.dollars_per_hour / price.gpus
                rent = checks.rent_check(subject, key, price.gpus)
                yield from _examine(config, f"{base}.{key}", price.dollars_per_hour, rent, per_gpu)
        elif isinstance(pricing, Owned):
            yield from _purchase_findings(config, rule.source, pricing, subject)
    if isinstance(pricing, Owned):
        residual = Decimal(0) if pricing.residual_ratio == 1 else pricing.residual_ratio
        for key, amount, check in (
            ("life_years", pricing.life_years, checks.LIFE),
            ("residual_ratio", residual, checks.RESIDUAL),
            ("adders_ratio", pricing.adders_ratio, checks.ADDERS),
            ("cost_of_capital_ratio", pricing.cost_of_capital_ratio or Decimal(0), checks.CAPITAL),
        ):
            yield from _examine(config, f"{rule.source}.{key}", amount, check)
    elif isinstance(pricing, Listed) and pricing.discount_ratio < 1:
        check = (
            checks.SPOT_DISCOUNT if "spot" in {pricing.discount_of, rule.match.lifecycle} else checks.DISCOUNT
        )
        yield from _examine(config, f"{rule.source}.discount_ratio", pricing.discount_ratio, check)
    begin = rule.begin
    if begin is not None and begin.instant > now:
        message = f"{begin.text} is in the future, and nothing is charged until then"
        yield warning_at(config, f"{rule.source}.{begin.key}", message)
    if rule.energy is not None:
        yield from _energy_findings(config, rule, rule.energy)


def _written(config: Config, base: str, host: str, gpu: str, *, of_host: bool) -> str:
    """Which of two keys the file has."""
    return host if of_host or f"{base}.{host}" in config.positions else gpu


def _purchase_findings(config: Config, source: str, owned: Owned, subject: Subject) -> Iterator[Finding]:
    """The purchase and, where that is plausible, the amounts of every year."""
    host, gpu = "purchase_dollars_per_host", "purchase_dollars_per_gpu"
    key = _written(config, source, host, gpu, of_host=owned.gpus > 1)
    purchase = owned.purchase_dollars
    check = checks.purchase_check(subject, key, owned.gpus)
    warnings = list(_examine(config, f"{source}.{key}", purchase, check, purchase / owned.gpus))
    yield from warnings
    if warnings or not purchase:
        return
    for name, amount in (
        ("support_dollars_per_year", owned.support_dollars_per_year),
        ("insurance_dollars_per_year", owned.insurance_dollars_per_year),
    ):
        yield from _examine(
            config, f"{source}.{name}", amount, checks.yearly_check(name, owned, subject, per_gpu=key == gpu)
        )


def _energy_findings(config: Config, rule: Hardware, energy: Electricity) -> Iterator[Finding]:
    base = f"{rule.source.rpartition('.')[0]}.energy"
    for key, amount, check in (
        ("dollars_per_kilowatt_hour", energy.dollars_per_kilowatt_hour, checks.KILOWATT_HOUR),
        ("pue_ratio", energy.pue_ratio, checks.PUE),
        ("host_factor_ratio", energy.host_factor_ratio, checks.HOST_FACTOR),
    ):
        yield from _examine(config, f"{base}.{key}", amount, check)
    if not isinstance(rule.pricing, Owned):
        message = (
            "rent usually includes power, which is then charged twice: does the landlord bill power on its "
            "own? If not, remove energy"
        )
        warning = warning_at(config, base, message)
        # A lease may be of a bare host. What a cloud bills by the hour always has the power in it.
        leased = isinstance(rule.pricing, Rented) and rule.pricing.billing == "always"
        yield note(warning.text) if leased else warning
