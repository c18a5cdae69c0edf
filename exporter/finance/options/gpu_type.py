"""Another GPU type for the measured load, by the tokens a second of one replica, and its price. Pure.

The peak hour decides how many there are, by the part of it that was metered; they are paid in all metered
hours. They take the place of servers with tokens: what other servers and free GPUs cost stays.
A price is that of a rule of the configuration that names the type and nothing else, or of the catalogue:
never the price of a host's own type, and none that is of some hosts, places or instances alone.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor
from typing import Final

from exporter.config.schema import did_you_mean
from exporter.finance.options.breakeven import CostLine
from exporter.finance.options.choices import GIVEN, GpuChoice, Outcome, Turn, WhatIfPolicy, staying
from exporter.finance.options.load import LoadHour, MeasuredLoad
from exporter.finance.render import counted
from exporter.readings import Gpu, HostLocation
from exporter.reports.rounding import dollars_text
from exporter.tariff import quotes
from exporter.tariff.csv_tables import CatalogueError
from exporter.tariff.quotes import Quote
from exporter.tariff.tariff import AMORTIZATION, Tariff
from exporter.tariff.terms import Hardware, HardwareMatch, Owned, matches
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, PICODOLLARS_PER_DOLLAR

SECONDS_PER_HOUR: Final = 3600
LEAST_METERED: Final = Fraction(600)
"""Seconds: a minute of an hour may have the tokens of more."""


def gpu_type(load: MeasuredLoad, choice: GpuChoice, policy: WhatIfPolicy) -> Outcome:
    """The load on GPUs of another type."""
    servers = {served.server for served in load.tokens}
    if choice.rate is None:
        example = f"{choice.text}:2400tok/s"
        return Outcome(choice, lack=f"no measurement comes with the program: give yours, like {example}")
    if len(servers) > 1 and not load.servers:
        several = f"{len(servers)} servers"
        return Outcome(choice, lack=f"one throughput for {several}: name those that it is of with --server")
    sizing = _sized(load, choice, choice.rate)
    if sizing is None:
        kind = "generated token" if choice.counts == "generation" else "token"
        return Outcome(choice, lack=f"no {kind} was counted: there is no load to size GPUs by")
    price = gpu_price(choice, policy)
    if isinstance(price, str):
        return Outcome(choice, lack=price)
    return _outcome(load, choice, policy, sizing=sizing, price=price)


def _outcome(
    load: MeasuredLoad, choice: GpuChoice, policy: WhatIfPolicy, *, sizing: "_Sizing", price: "GpuPrice"
) -> Outcome:
    """The replicas at their price, in place of the servers that have tokens."""
    hours = Fraction(load.whole.covered, NANOSECONDS_PER_HOUR)
    per_replica = choice.gpus * price.per_hour * hours
    freed = load.whole.paid_for({served.server for served in load.tokens})
    # Above the turn, one more replica is needed than cost what their servers do now.
    turn = Turn("always")
    if per_replica:
        most = floor(freed / per_replica)
        turn = Turn("at", most * sizing.capacity) if most > 0 else Turn("never")
    a_month = Fraction(policy.hours_per_month) / load.wall_hours
    by_need = dollars_text(int(sizing.gpu_hours_by_need * price.per_hour * a_month))
    gpu_hours = f"{float(sizing.gpu_hours_by_need):,.1f} GPU-hours"
    evidence = [sizing.sentence, f"As many as each hour needs: {gpu_hours}, {by_need} dollars a month."]
    if sizing.spread_tokens:
        spread = f"{sizing.spread_tokens:,} tokens"
        evidence.append(f"Counted after hours without observation, and spread over them: {spread}.")
    return Outcome(
        choice,
        cost=load.whole.paid - freed + sizing.replicas * per_replica,
        source=price.source,
        as_of=price.as_of,
        turn=turn,
        evidence=(*evidence, *staying(load, freed), *price.evidence),
        figures={
            "gpus": sizing.replicas * choice.gpus,
            "servers_dollars": Fraction(freed, PICODOLLARS_PER_DOLLAR),
            "peak_hour_tokens": sizing.peak_tokens,
            "gpu_hours": sizing.replicas * choice.gpus * hours,
            "gpu_hours_by_need": sizing.gpu_hours_by_need,
            "dollars_per_gpu_hour": price.per_hour / PICODOLLARS_PER_DOLLAR,
            "tokens_per_day_of_a_replica": sizing.capacity,
        },
        line=CostLine(per_host=per_replica * a_month, hosts=1, capacity=sizing.capacity),
    )


@dataclass(frozen=True, slots=True)
class _Sizing:
    """The replicas that a load takes."""

    replicas: int
    """Replicas that serve the peak hour."""
    peak_tokens: int
    """Tokens of the peak hour."""
    sentence: str
    """The number of GPUs, and the peak hour that asks for them."""
    gpu_hours_by_need: Fraction
    """GPU-hours of the window if each hour had as many replicas as it takes."""
    capacity: Fraction
    """Tokens that one replica serves on a mean day whose peak hour it just serves."""
    spread_tokens: int
    """Tokens that were counted after hours without observation, and spread over these."""


def _sized(load: MeasuredLoad, choice: GpuChoice, rate: Fraction) -> _Sizing | None:
    """The replicas of a load, at a rate of tokens a second of one replica; `None` without a token."""
    need = {
        number: max(0, hour.demand(choice.counts)) / (rate * _seconds(hour))
        for number, hour in load.hours.items()
    }
    peak_hour = max(need, key=lambda number: (need[number], -number))
    if not need[peak_hour]:
        return None
    by_need = [
        choice.gpus * ceil(need[number]) * Fraction(hour.covered, NANOSECONDS_PER_HOUR)
        for number, hour in load.hours.items()
    ]
    spread = [
        max(0, count)
        for hour in load.hours.values()
        for (_model, kind), count in hour.moved.items()
        if choice.counts in ("all", kind)
    ]
    peak = load.hours[peak_hour]
    replicas = ceil(need[peak_hour])
    tokens = peak.demand(choice.counts)
    seconds = _seconds(peak)
    words = "generated tokens" if choice.counts == "generation" else "tokens"
    within = "" if seconds == SECONDS_PER_HOUR else f" in {float(seconds / 60):.1f} metered minutes"
    serving = "one GPU serves" if choice.gpus == 1 else f"{choice.gpus} GPUs serve"
    had = f"the peak hour had {tokens:,} {words}{within}"
    return _Sizing(
        replicas=replicas,
        peak_tokens=tokens,
        sentence=f"{counted(replicas * choice.gpus, 'GPU')}: {had}, {serving} {floor(rate * seconds):,}.",
        gpu_hours_by_need=sum(by_need, Fraction(0)),
        capacity=load.per_day(load.whole.all_tokens) / need[peak_hour],
        spread_tokens=sum(spread),
    )


def _seconds(hour: LoadHour) -> Fraction:
    """The seconds of an hour in which its load was served: those that were metered, at least ten minutes."""
    return max(LEAST_METERED, Fraction(hour.covered, NANOSECONDS_PER_SECOND))


@dataclass(frozen=True, slots=True)
class GpuPrice:
    """The price of an hour of one GPU."""

    per_hour: Fraction
    """Picodollars of the hour."""
    source: str
    """Where the price stands."""
    as_of: str = ""
    """The day of the price; empty where it has none."""
    evidence: tuple[str, ...] = ()
    """Sentences on what the price is not, or leaves out."""


ESTIMATED: Final = "The price is an estimate, neither configured nor a list price."


def gpu_price(choice: GpuChoice, policy: WhatIfPolicy) -> GpuPrice | str:
    """The price, or why there is none, as a sentence."""
    if choice.dollars_per_hour is not None:
        return GpuPrice(Fraction(choice.dollars_per_hour) * PICODOLLARS_PER_DOLLAR, GIVEN)
    remedy = f"write it like {choice.text}@1.10"
    try:
        match = policy.catalogue.gpu(choice.gpu_model)
        names = {choice.gpu_model}
        for name in policy.catalogue.gpu_names() if match else ():
            same = policy.catalogue.gpu(name)
            if match and same and same.model.gpu_model == match.model.gpu_model:
                names.add(name)
    except CatalogueError as error:
        return f"the catalogue is damaged: {error}"
    naming = []
    for rule in policy.hardware:
        pattern = rule.match.gpu_model or ""
        # A pattern of wildcards alone says no more than that anything may be there.
        if pattern.strip("*?") and any(matches(pattern, name) for name in names):
            naming.append(rule)
    limited = [rule.source for rule in naming if rule.match != HardwareMatch(gpu_model=rule.match.gpu_model)]
    not_taken = (f"Priced for some hosts alone, and not taken: {', '.join(limited)}.",) if limited else ()
    for rule in naming:
        if rule.source not in limited:
            ruled = _ruled(rule, choice, policy)
            if isinstance(ruled, str):
                return f"{ruled}; {remedy}"
            return replace(ruled, evidence=(*not_taken, *ruled.evidence))
    if match is None:
        known = [name.removeprefix("NVIDIA ") for name in policy.catalogue.gpu_names()]
        similar = did_you_mean(choice.gpu_model, known)
        hint = f", but {' or '.join(similar)}" if similar else ""
        return f"the catalogue knows no GPU {choice.gpu_model}{hint}; its price can be given: {remedy}"
    if policy.unmatched == "unpriced":
        where = " on all hosts" if limited else ""
        return f"no rule prices {choice.gpu_model}{where}, and unmatched_hardware takes no estimate; {remedy}"
    quote = quotes.find_quote(policy.catalogue, HostLocation(cloud=policy.cloud), None, choice.gpu_model)
    if not isinstance(quote, Quote):
        return f"the catalogue has no price: {quote.reason}; {remedy}"
    per_hour = Fraction(quote.dollars_per_hour) * PICODOLLARS_PER_DOLLAR / quote.devices
    estimated = (ESTIMATED,) if quote.price_basis == "estimate" else ()
    return GpuPrice(per_hour, quote.source, quote.as_of, evidence=(*not_taken, *estimated))


def _ruled(rule: Hardware, choice: GpuChoice, policy: WhatIfPolicy) -> GpuPrice | str:
    """The price of a rule, wherever the host of such a GPU may be, or why there is none.

    Hardware that is written off costs nothing where it is: that is no price of more of it.
    """
    tariff = Tariff(hardware=(replace(rule, match=HardwareMatch()),), catalogue=policy.catalogue)
    price = tariff.hardware_price(Gpu("", choice.gpu_model), policy.now)
    if not price.priced:
        return f"{rule.source} has no price of {choice.gpu_model} now"
    if any(rate.component == AMORTIZATION and not rate.rate.amount for rate in price.rates):
        return f"{rule.source} prices hardware that is written off: another {choice.gpu_model} is not free"
    amounts = [Fraction(rate.rate.amount * NANOSECONDS_PER_HOUR, rate.rate.period) for rate in price.rates]
    provenance = price.rates[0].provenance
    evidence = [ESTIMATED] if provenance.price_basis == "estimate" else []
    if isinstance(rule.pricing, Owned):
        evidence.append("Owned: its electricity is not in the price.")
    return GpuPrice(sum(amounts, Fraction(0)), provenance.source, provenance.as_of, tuple(evidence))
