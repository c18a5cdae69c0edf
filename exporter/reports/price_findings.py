"""Doctor findings on prices: none, rules without a GPU, estimates, list prices, prices of 0. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
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
    # GPUs of one model and one price, or one rule without a price, in the order of their first.
    groups: dict[tuple[str, bool, str, float], list[_Priced]] = {}
    for line in gpus:
        hardware = next((price for price in line.prices if price.component in MACHINE), None)
        priced = _Priced(line, by_uuid.get(line.uuid), None, None, hardware, None)
        if priced.reading is not None:
            gpu = priced.reading.gpu
            rule = tariff.rule(gpu)
            free = rule is not None and hardware is not None and hardware.dollars_per_hour == 0
            zero = zero_price(rule, now, policy.zone) if rule is not None and free else None
            priced = replace(priced, rule=rule, quote=tariff.quote(gpu), zero=zero)
        source, hourly = "" if priced.rule is None else priced.rule.source, 0.0
        if hardware is not None:
            source, hourly = hardware.source, hardware.dollars_per_hour or 0.0
        groups.setdefault((line.gpu_model, line.priced, source, hourly), []).append(priced)
    yield from unmatched_findings(
        tuple(unmatched_rules(tariff, (reading.gpu for reading in by_uuid.values())))
    )
    for alike in groups.values():
        first = alike[0]
        if not first.line.priced:
            yield _unpriced_finding(tariff, alike)
        elif first.zero is not None and first.hardware is not None:
            others = [line for line in first.line.prices if line is not first.hardware]
            beside = ", ".join(line.component for line in others if line.dollars_per_hour != 0)
            charged = f"nothing is charged but {beside}" if beside else "metered, never charged"
            yield Finding(
                "warning" if first.zero.kind in {"discount", "purchase"} else "note",
                f"{len(alike)} x {first.line.gpu_model} {'costs' if len(alike) == 1 else 'cost'} 0 dollars "
                "an "
                f"hour because {first.zero.reason} ({first.hardware.source}): {charged}.",
            )
        elif isinstance(first.quote, Quote) and first.hardware is not None:
            yield from _quote_findings(tariff, alike, first.quote, first.hardware)
    quotes = [(gpu, gpu.quote) for alike in groups.values() for gpu in alike if isinstance(gpu.quote, Quote)]
    of_instance = {gpu.line.gpu_model: quote.instance_gpu for gpu, quote in quotes if quote.instance_gpu}
    for model, instance_gpu in of_instance.items():
        with suppress(CatalogueError):
            entry = tariff.catalogue.gpu(model)
            if entry is not None and entry.model.gpu_model != instance_gpu:
                yield warning(
                    f"the instance has {instance_gpu} by the catalogue, this host shows {model}: "
                    f"is it a {tariff.location.instance_type}?",
                )
    if quotes and (old := age_warning(tariff.catalogue.list_date(), now)):
        yield warning(old)


def unmatched_findings(unmatched: Sequence[UnmatchedRule]) -> Iterator[Finding]:
    """Rules of `hardware` that match no GPU here, and why not.

    One file may serve many hosts, so most such rules are notes. A rule that misses by case, or by a part of a
    name, was meant for a GPU here: a warning.
    """
    for rule in unmatched:
        if rule.slip:
            text = f"{rule.rule} matches no GPU here: {rule.why}"
            yield warning(f"{text}. A pattern covers the whole text, and case counts.")
    others = [f"{rule.rule}: {rule.why}" for rule in unmatched if not rule.slip]
    if others:
        yield note(f"rules that match no GPU here: {some_rules(others)}.")


def _unpriced_finding(tariff: Tariff, alike: list[_Priced]) -> Finding:
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
        words.append(f"Add:\n    {price_line([model])}")
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
        # A slice of a GPU keeps its name: the estimate is of a whole one.
        reading = alike[0].reading
        memory = None if reading is None else reading.memory_total_bytes
        with suppress(CatalogueError):
            if memory and not quote.instance_gpu and tariff.catalogue.gpu(model, memory) is None:
                yield warning(
                    f"{model} shows {memory / BYTES_PER_GIBIBYTE:.1f} GiB of memory, which is not that of "
                    "the "
                    "model: the estimate is of a whole one.",
                )
    elif alike[0].reading is not None and tariff.rule(alike[0].reading.gpu) is None:
        location = tariff.location
        yield note(
            f"{counted} priced by a list price: {price}.{caveat} If you pay less, write:\n"
            f'    hardware: [{{match: {{instance_type: "{location.instance_type}"}}, '
            f"rented: {{catalogue: {location.cloud}, discount_ratio: RATIO}}}}]",
        )
