"""Doctor findings on prices: none, rules without a GPU, estimates, list prices, prices of 0. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal
from zoneinfo import ZoneInfo

from exporter.config.values import plain
from exporter.cost.policy import CostPolicy
from exporter.readings import GpuReading
from exporter.reports.diagnosis import DoctorGpu, Finding, PriceLine, error, note, some_rules, warning
from exporter.tariff.calendar import day_of
from exporter.tariff.csv_tables import CatalogueError
from exporter.tariff.price_file import age_warning
from exporter.tariff.quotes import NoQuote, Quote
from exporter.tariff.rule_matching import UnmatchedRule, unmatched_rules
from exporter.tariff.tariff import MACHINE, Tariff, amortization_dollars_per_year, end_of_life
from exporter.tariff.terms import Hardware, Listed, Owned, Rented
from exporter.units import BYTES_PER_GIBIBYTE, Instant
from exporter.web.wording import price_line

RENTED_LINE: Final = "rented: {dollars_per_gpu_hour: PRICE}"
"""The price of a rule that is there; the reader replaces PRICE."""


@dataclass(frozen=True, slots=True)
class ZeroPrice:
    """The cause of a price of 0; `reason` is in words that follow "because"."""

    kind: Literal["discount", "rent", "life", "purchase"]
    reason: str


def zero_price(rule: Hardware, at: Instant, zone: ZoneInfo) -> ZeroPrice | None:
    """Why the hardware of a rule costs nothing at an instant; `None` where it costs something or is unpriced.

    Electricity, support, insurance and overheads do not matter.
    """
    pricing = rule.pricing
    if isinstance(pricing, Listed):
        whole = pricing.discount_ratio == 1
        return ZeroPrice("discount", "discount_ratio 1 takes off the whole list price") if whole else None
    if isinstance(pricing, Rented):
        begun = [price for price in pricing.prices if price.since is None or price.since <= at]
        if not begun or begun[-1].dollars_per_hour:
            return None
        since = begun[-1].since_text
        return ZeroPrice("rent", f"the rent is 0 since {since}" if since else "the rent is 0")
    if at >= end_of_life(pricing):
        years = f"{plain(pricing.life_years)} year{'s' * (pricing.life_years != 1)}"
        ended = day_of(end_of_life(pricing), zone).name
        return ZeroPrice("life", f"its life of {years} from {pricing.in_service_text} ended on {ended}")
    if at < pricing.in_service or amortization_dollars_per_year(pricing):
        return None
    return ZeroPrice(
        "purchase",
        f"nothing is written off: purchase {plain(pricing.purchase_dollars)}, "
        f"adders {plain(pricing.adders_ratio)}, residual {plain(pricing.residual_ratio)}",
    )


@dataclass(frozen=True, slots=True)
class _Priced:
    """One GPU with its price line and its quote of the catalogue."""

    line: DoctorGpu
    reading: GpuReading | None
    rule: Hardware | None
    quote: Quote | NoQuote | None
    hardware: PriceLine | None
    """Its rent or its amortization."""
    zero: ZeroPrice | None


def price_findings(
    policy: CostPolicy, readings: Iterable[GpuReading], gpus: Iterable[DoctorGpu], now: Instant
) -> Iterator[Finding]:
    """All of them at an instant, alike GPUs together."""
    tariff = policy.tariff
    if damage := tariff.catalogue.damage():
        yield warning(f"the bundled catalogue is damaged, install the package again: {damage}.")
    by_uuid = {reading.gpu.uuid: reading for reading in readings}
    priced = [_priced(policy, line, by_uuid.get(line.uuid), now) for line in gpus]
    groups = list(_groups(priced))
    unmatched = tuple(unmatched_rules(tariff, (reading.gpu for reading in by_uuid.values())))
    slips = [_slips(tariff, unmatched, alike) for alike in groups]
    in_errors = {slip.rule for of_group in slips for slip in of_group}
    yield from unmatched_findings([rule for rule in unmatched if rule.rule not in in_errors])
    for alike, of_group in zip(groups, slips, strict=True):
        yield from _group_findings(tariff, alike, of_group)
    yield from _instance_findings(tariff, priced)
    charged = any(isinstance(gpu.quote, Quote) for gpu in priced)
    if charged and (old := age_warning(tariff.catalogue.list_date(), now)):
        yield warning(old)


def unmatched_findings(unmatched: Sequence[UnmatchedRule]) -> Iterator[Finding]:
    """Rules of `hardware` that match no GPU here, and why not.

    One file may serve many hosts, so most such rules are notes. A rule that misses by case, or by a part of a
    name, was meant for a GPU here: a warning.
    """
    for rule in unmatched:
        if rule.slip:
            yield warning(_slip_text(rule))
    others = [f"{rule.rule}: {rule.why}" for rule in unmatched if not rule.slip]
    if others:
        yield note(f"rules that match no GPU here: {some_rules(others)}.")


def _slip_text(rule: UnmatchedRule) -> str:
    return f"{rule.rule} matches no GPU here: {rule.why}. A pattern covers the whole text, and case counts."


def _slips(
    tariff: Tariff, unmatched: Sequence[UnmatchedRule], alike: Sequence[_Priced]
) -> tuple[UnmatchedRule, ...]:
    """Rules that were meant for GPUs without a price: each misses all GPUs here, these by a slip."""
    first = alike[0]
    if first.line.priced or first.rule is not None:
        return ()
    here = [gpu.reading.gpu for gpu in alike if gpu.reading is not None]
    names = {rule.rule for rule in unmatched}
    return tuple(rule for rule in unmatched_rules(tariff, here) if rule.slip and rule.rule in names)


def _priced(policy: CostPolicy, line: DoctorGpu, reading: GpuReading | None, now: Instant) -> _Priced:
    hardware = next((price for price in line.prices if price.component in MACHINE), None)
    if reading is None:
        return _Priced(line, reading, None, None, hardware, None)
    rule = policy.tariff.rule(reading.gpu)
    free = rule is not None and hardware is not None and hardware.dollars_per_hour == 0
    zero = zero_price(rule, now, policy.zone) if rule is not None and free else None
    return _Priced(line, reading, rule, policy.tariff.quote(reading.gpu), hardware, zero)


def _groups(priced: list[_Priced]) -> Iterator[list[_Priced]]:
    """GPUs of one model and one price, or one rule without a price, in the order of their first."""

    def kind(gpu: _Priced) -> tuple[str, bool, str, float]:
        price = gpu.hardware
        rule = "" if gpu.rule is None else gpu.rule.source
        source, hourly = (rule, 0.0) if price is None else (price.source, price.dollars_per_hour or 0.0)
        return gpu.line.gpu_model, gpu.line.priced, source, hourly

    order = {kind(gpu): number for number, gpu in reversed(list(enumerate(priced)))}
    ordered = sorted(priced, key=lambda gpu: order[kind(gpu)])
    for _, run in groupby(ordered, kind):
        yield list(run)


def _group_findings(
    tariff: Tariff, alike: list[_Priced], slips: Sequence[UnmatchedRule]
) -> Iterator[Finding]:
    first = alike[0]
    price, quote = first.hardware, first.quote
    if not first.line.priced:
        yield _unpriced_finding(tariff, alike, slips)
    elif first.zero is not None and price is not None:
        beside = [
            line.component for line in first.line.prices if line is not price and line.dollars_per_hour != 0
        ]
        costs = "costs" if len(alike) == 1 else "cost"
        charged = f"nothing is charged but {', '.join(beside)}" if beside else "metered, never charged"
        yield Finding(
            "warning" if first.zero.kind in {"discount", "purchase"} else "note",
            f"{len(alike)} x {first.line.gpu_model} {costs} 0 dollars an hour "
            f"because {first.zero.reason} ({price.source}): {charged}.",
        )
    elif isinstance(quote, Quote) and price is not None:
        yield from _quote_findings(tariff, alike, quote, price)


def _unpriced_finding(tariff: Tariff, alike: list[_Priced], slips: Sequence[UnmatchedRule]) -> Finding:
    """GPUs without a price, the reason, and what to write.

    The first rule that matches decides: where there is one, only a change of that rule gives a price.
    """
    first = alike[0]
    model, quote, rule = first.line.gpu_model, first.quote, first.rule
    have, cost, them = ("has", "its", "it") if len(alike) == 1 else ("have", "their", "them")
    words = [f"{len(alike)} x {model} {have} no price on host {tariff.host}: {cost} cost is absent."]
    if isinstance(quote, NoQuote):
        words.append(f"The catalogue does not help: {quote.reason}.")
    if rule is None:
        words += [_slip_text(slip) for slip in slips]
        words.append(f"{'Or add' if slips else 'Add'}:\n    {price_line([model])}")
    elif isinstance(rule.pricing, Listed):
        name = rule.source.partition(".")[0]
        words.append(f"{name} is the first rule that matches: write in it\n    {RENTED_LINE}")
    else:
        if isinstance(rule.pricing, Owned):
            begin, key = rule.pricing.in_service_text, "in_service"
        else:
            begin, key = rule.pricing.prices[0].since_text, "from"
        they_cost = "it costs" if len(alike) == 1 else "they cost"
        words.append(f"{rule.source} prices {them} from {begin}.")
        words.append(f"If {they_cost} money before, write an earlier `{key}` there.")
    return error(" ".join(words))


def _quote_findings(tariff: Tariff, alike: list[_Priced], quote: Quote, rent: PriceLine) -> Iterator[Finding]:
    """A price that is not configured, and the line that would replace it."""
    model = alike[0].line.gpu_model
    counted = f"{len(alike)} x {model} {'is' if len(alike) == 1 else 'are'}"
    price = f"{rent.dollars_per_hour or 0.0:.6g} dollars per GPU-hour, {quote.source}, of {quote.as_of}"
    caveat = f" {quote.caveat[0].upper()}{quote.caveat[1:]}." if quote.caveat else ""
    if quote.price_basis == "estimate":
        yield warning(
            f"{counted} priced by an estimate: {price}.{caveat} Write what you pay:\n"
            f"    {price_line([model])}",
        )
        yield from _memory_findings(tariff, alike, quote)
    elif alike[0].reading is not None and tariff.rule(alike[0].reading.gpu) is None:
        location = tariff.location
        yield note(
            f"{counted} priced by a list price: {price}.{caveat} If you pay less, write:\n"
            f'    hardware: [{{match: {{instance_type: "{location.instance_type}"}}, '
            f"rented: {{catalogue: {location.cloud}, discount_ratio: RATIO}}}}]",
        )


def _memory_findings(tariff: Tariff, alike: list[_Priced], quote: Quote) -> Iterator[Finding]:
    """A slice of a GPU keeps its name: the estimate is of a whole one."""
    reading = alike[0].reading
    if quote.instance_gpu or reading is None or reading.memory_total_bytes is None:
        return
    try:
        fits = tariff.catalogue.gpu(reading.gpu.gpu_model, reading.memory_total_bytes) is not None
    except CatalogueError:
        return
    if not fits:
        gibibytes = reading.memory_total_bytes / BYTES_PER_GIBIBYTE
        yield warning(
            f"{reading.gpu.gpu_model} shows {gibibytes:.1f} GiB of memory, which is not that of the model: "
            "the estimate is of a whole one.",
        )


def _instance_findings(tariff: Tariff, priced: list[_Priced]) -> Iterator[Finding]:
    """An instance type whose GPU is not that of this host."""
    of_instance = [gpu for gpu in priced if isinstance(gpu.quote, Quote) and gpu.quote.instance_gpu]
    if not of_instance:
        return
    quote = of_instance[0].quote
    assert isinstance(quote, Quote)  # noqa: S101  # chosen so above
    for model in dict.fromkeys(gpu.line.gpu_model for gpu in of_instance):
        try:
            entry = tariff.catalogue.gpu(model)
        except CatalogueError:
            return
        if entry is not None and entry.model.gpu_model != quote.instance_gpu:
            yield warning(
                f"the instance has {quote.instance_gpu} by the catalogue, this host shows {model}: "
                f"is it a {tariff.location.instance_type}?",
            )
