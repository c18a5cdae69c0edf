"""Doctor findings on prices: none, rules without a GPU, estimates, list prices, prices of 0. Pure."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo

from exporter.config.values import plain
from exporter.readings import GpuReading
from exporter.reports import diagnosis
from exporter.tariff.calendar import day_of
from exporter.tariff.csv_tables import CatalogueError
from exporter.tariff.price_file import age_warning
from exporter.tariff.quotes import NoQuote, Quote
from exporter.tariff.rule_matching import unmatched_rules
from exporter.tariff.tariff import MACHINE, amortization_dollars_per_year, end_of_life
from exporter.tariff.terms import Hardware, Listed, Rented
from exporter.units import BYTES_PER_GIBIBYTE, Instant
from exporter.web.wording import price_line


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
        rent = pricing.price_at(at)
        if rent is None or rent.dollars_per_hour:
            return None
        return ZeroPrice(
            "rent", f"the rent is 0 since {rent.since_text}" if rent.since_text else "the rent is 0"
        )
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


@dataclass(slots=True)
class _AlikeGpus:
    """GPUs of one model and one price, or of one rule without a price."""

    gpu: diagnosis.DoctorGpu
    """The first of these GPUs."""
    reading: GpuReading
    """The reading of the first GPU."""
    rule: Hardware | None
    hardware: diagnosis.PriceLine | None
    """Their rent or their amortization."""
    zero: ZeroPrice | None
    """The cause of a price of 0."""
    count: int = 0
    """The number of these GPUs."""

    @property
    def gpus(self) -> str:
        """The number and the model, like 8 x NVIDIA L4."""
        return f"{self.count} x {self.gpu.gpu_model}"


def _alike_gpus(host: diagnosis.ExaminedHost) -> Iterable[_AlikeGpus]:
    """The listed GPUs by model and price, in the order of the first GPUs."""
    groups: dict[tuple[str, bool, str, float], _AlikeGpus] = {}
    for reading, gpu in zip(host.readings, host.gpus, strict=True):
        rule = host.policy.tariff.rule(reading.gpu)
        hardware = next((price for price in gpu.prices if price.component in MACHINE), None)
        source = "" if rule is None else rule.source
        hourly = 0.0
        if hardware is not None:
            source = hardware.source
            hourly = hardware.dollars_per_hour or 0.0
        kind = gpu.gpu_model, gpu.priced, source, hourly
        zero = None
        if rule is not None and hardware is not None and hardware.dollars_per_hour == 0:
            zero = zero_price(rule, host.now, host.policy.zone)
        groups.setdefault(kind, _AlikeGpus(gpu, reading, rule, hardware, zero)).count += 1
    return groups.values()


def damage_findings(host: diagnosis.ExaminedHost) -> Iterator[diagnosis.Finding]:
    """A catalogue that cannot be read."""
    damage = host.policy.tariff.catalogue.damage()
    if damage:
        yield diagnosis.warning(f"the bundled catalogue is damaged, install the package again: {damage}.")


def unmatched_rule_findings(host: diagnosis.ExaminedHost) -> Iterator[diagnosis.Finding]:
    """Rules of `hardware` that match no GPU here, and why not.

    One file may serve many hosts, so most such rules are notes. A rule that misses by case, or by a part of a
    name, was meant for a GPU here: a warning.
    """
    others: list[str] = []
    for rule in unmatched_rules(host.policy.tariff, (reading.gpu for reading in host.readings)):
        if rule.slip:
            text = f"{rule.rule} matches no GPU here: {rule.why}"
            yield diagnosis.warning(f"{text}. A pattern covers the whole text, and case counts.")
        else:
            others.append(f"{rule.rule}: {rule.why}")
    if others:
        yield diagnosis.note(f"rules that match no GPU here: {diagnosis.some_rules(others)}.")


def unpriced_findings(host: diagnosis.ExaminedHost) -> Iterator[diagnosis.Finding]:
    """GPUs without a price, the reason, and what to write.

    The first rule that matches decides: where there is one, only a change of that rule gives a price.
    """
    tariff = host.policy.tariff
    for alike in _alike_gpus(host):
        if alike.gpu.priced:
            continue
        quote, rule = tariff.quote(alike.reading.gpu), alike.rule
        have, cost, them = ("has", "its", "it") if alike.count == 1 else ("have", "their", "them")
        words = [f"{alike.gpus} {have} no price on host {tariff.host}: {cost} cost is absent."]
        if isinstance(quote, NoQuote):
            words.append(f"The catalogue does not help: {quote.reason}.")
        if rule is None:
            words.append(f"Add:\n    {price_line([alike.gpu.gpu_model])}")
        elif isinstance(rule.pricing, Listed):
            name = rule.source.partition(".")[0]
            words.append(
                f"{name} is the first rule that matches: write in it\n"
                "    rented: {dollars_per_gpu_hour: PRICE}"
            )
        elif rule.begin is not None:
            they_cost = "it costs" if alike.count == 1 else "they cost"
            key = rule.begin.key.rpartition(".")[2]
            words.append(f"{rule.source} prices {them} from {rule.begin.text}.")
            words.append(f"If {they_cost} money before, write an earlier `{key}` there.")
        yield diagnosis.error(" ".join(words))


def zero_findings(host: diagnosis.ExaminedHost) -> Iterator[diagnosis.Finding]:
    """GPUs of a price of 0."""
    for alike in _alike_gpus(host):
        zero = alike.zero
        if zero is None or alike.hardware is None or not alike.gpu.priced:
            continue
        others = [line for line in alike.gpu.prices if line is not alike.hardware]
        beside = ", ".join(line.component for line in others if line.dollars_per_hour != 0)
        charged = f"nothing is charged but {beside}" if beside else "metered, never charged"
        yield diagnosis.Finding(
            "warning" if zero.kind in {"discount", "purchase"} else "note",
            f"{alike.gpus} {'costs' if alike.count == 1 else 'cost'} 0 dollars an hour "
            f"because {zero.reason} ({alike.hardware.source}): {charged}.",
        )


def quote_findings(host: diagnosis.ExaminedHost) -> Iterator[diagnosis.Finding]:
    """Prices that are not configured, and the lines that would replace them."""
    tariff = host.policy.tariff
    for alike in _alike_gpus(host):
        model, rent, quote = alike.gpu.gpu_model, alike.hardware, tariff.quote(alike.reading.gpu)
        if not isinstance(quote, Quote) or rent is None or alike.zero is not None or not alike.gpu.priced:
            continue
        counted = f"{alike.gpus} {'is' if alike.count == 1 else 'are'}"
        price = f"{rent.dollars_per_hour or 0.0:.6g} dollars per GPU-hour, {quote.source}, of {quote.as_of}"
        caveat = f" {quote.caveat[0].upper()}{quote.caveat[1:]}." if quote.caveat else ""
        if quote.price_basis == "estimate":
            yield diagnosis.warning(
                f"{counted} priced by an estimate: {price}.{caveat} Write what you pay:\n"
                f"    {price_line([model])}",
            )
            # A slice of a GPU keeps its name: the estimate is of a whole one.
            memory = alike.reading.memory_total_bytes
            with suppress(CatalogueError):
                if memory and not quote.instance_gpu and tariff.catalogue.gpu(model, memory) is None:
                    yield diagnosis.warning(
                        f"{model} shows {memory / BYTES_PER_GIBIBYTE:.1f} GiB of memory, which is not that "
                        "of the model: the estimate is of a whole one.",
                    )
        elif alike.rule is None:
            location = tariff.location
            yield diagnosis.note(
                f"{counted} priced by a list price: {price}.{caveat} If you pay less, write:\n"
                f'    hardware: [{{match: {{instance_type: "{location.instance_type}"}}, '
                f"rented: {{catalogue: {location.cloud}, discount_ratio: RATIO}}}}]",
            )


def catalogue_findings(host: diagnosis.ExaminedHost) -> Iterator[diagnosis.Finding]:
    """Other GPUs than the catalogue has for the instance type, and a catalogue that is old."""
    tariff = host.policy.tariff
    quotes = [(reading.gpu.gpu_model, tariff.quote(reading.gpu)) for reading in host.readings]
    used = {model: quote.instance_gpu for model, quote in quotes if isinstance(quote, Quote)}
    for model, instance_gpu in used.items():
        with suppress(CatalogueError):
            entry = tariff.catalogue.gpu(model) if instance_gpu else None
            if entry is not None and entry.model.gpu_model != instance_gpu:
                yield diagnosis.warning(
                    f"the instance has {instance_gpu} by the catalogue, this host shows {model}: "
                    f"is it a {tariff.location.instance_type}?",
                )
    old = age_warning(tariff.catalogue.list_date(), host.now) if used else None
    if old:
        yield diagnosis.warning(old)
