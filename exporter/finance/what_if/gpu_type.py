"""Another GPU type for the measured load, by the tokens a second of one replica. Pure.

The peak hour decides how many there are, by the part of it that was metered; they are paid in all metered
hours. They take the place of servers with tokens: what other servers and free GPUs cost stays.
"""

from fractions import Fraction
from math import ceil, floor
from typing import Final

from exporter.finance.tco.breakeven import CostLine
from exporter.finance.what_if.choices import GpuChoice
from exporter.finance.what_if.gpu_price import gpu_price
from exporter.finance.what_if.outcome import Outcome, Turn, WhatIfPolicy, staying
from exporter.finance.what_if.window import LoadHour, MeasuredLoad
from exporter.reports.rounding import dollars_text
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, PICODOLLARS_PER_DOLLAR, Picodollars

SECONDS_PER_HOUR: Final = 3600
LEAST_METERED: Final = Fraction(600)
"""Seconds: a minute of an hour may have the tokens of more."""


def gpu_type(load: MeasuredLoad, choice: GpuChoice, policy: WhatIfPolicy) -> Outcome:
    """The load on GPUs of another type."""
    if choice.rate is None:
        return Outcome(
            choice, lack=f"no measurement comes with the program: give yours, like {choice.text}:2400tok/s"
        )
    servers = {served.server for served in load.tokens}
    if len(servers) > 1 and not load.servers:
        return Outcome(
            choice,
            lack=f"one throughput for {len(servers)} servers: name those that it is of with --server",
        )
    rate = choice.rate
    need = {hour.hour: max(0, hour.demand(choice.counts)) / (rate * _seconds(hour)) for hour in load.hours}
    peak = max(load.hours, key=lambda hour: (need[hour.hour], -hour.hour))
    if not need[peak.hour]:
        kind = "generated token" if choice.counts == "generation" else "token"
        return Outcome(choice, lack=f"no {kind} was counted: there is no load to size GPUs by")
    price = gpu_price(choice, policy)
    if isinstance(price, str):
        return Outcome(choice, lack=price)
    replicas = ceil(need[peak.hour])
    gpus = replicas * choice.gpus
    hours = Fraction(load.covered, NANOSECONDS_PER_HOUR)
    following = sum(
        (
            choice.gpus * ceil(need[hour.hour]) * Fraction(hour.covered, NANOSECONDS_PER_HOUR)
            for hour in load.hours
        ),
        Fraction(0),
    )
    # One replica serves this much on a mean day whose peak hour it just serves.
    capacity = load.per_day(load.all_tokens) / need[peak.hour]
    a_month = Fraction(policy.hours_per_month) / load.wall_hours
    freed = load.paid_for(servers)
    per_replica = choice.gpus * price.per_hour * hours
    words = "generated tokens" if choice.counts == "generation" else "tokens"
    by_need = dollars_text(int(following * price.per_hour * a_month))
    count = f"{gpus:,} GPU{'' if gpus == 1 else 's'}"
    one = "one GPU serves" if choice.gpus == 1 else f"{choice.gpus} GPUs serve"
    served, seconds = peak.demand(choice.counts), _seconds(peak)
    within = "" if seconds == SECONDS_PER_HOUR else f" in {float(seconds / 60):.1f} metered minutes"
    evidence = [
        f"{count}: the peak hour had {served:,} {words}{within}, {one} {floor(rate * seconds):,}.",
        f"As many as each hour needs: {float(following):,.1f} GPU-hours, {by_need} dollars a month.",
    ]
    if spread := sum(
        max(0, count)
        for hour in load.hours
        for (_, kind), count in hour.moved.items()
        if choice.counts in ("all", kind)
    ):
        evidence.append(f"Counted after hours without observation, and spread over them: {spread:,} tokens.")
    evidence += staying(load, freed)
    evidence += price.evidence
    if price.estimate:
        evidence.append("The price is an estimate, neither configured nor a list price.")
    if price.owned:
        evidence.append("Owned: its electricity is not in the price.")
    return Outcome(
        choice,
        cost=load.paid - freed + replicas * per_replica,
        source=price.source,
        as_of=price.as_of,
        turn=_turn(freed, per_replica, capacity),
        evidence=tuple(evidence),
        figures={
            "gpus": gpus,
            "servers_dollars": Fraction(freed, PICODOLLARS_PER_DOLLAR),
            "peak_hour_tokens": served,
            "gpu_hours": gpus * hours,
            "gpu_hours_by_need": following,
            "dollars_per_gpu_hour": price.per_hour / PICODOLLARS_PER_DOLLAR,
            "tokens_per_day_of_a_replica": capacity,
        },
        line=CostLine(Fraction(0), per_replica * a_month, Fraction(0), 1, capacity),
    )


def _seconds(hour: LoadHour) -> Fraction:
    """The seconds of an hour in which its load was served: those that were metered, at least ten minutes."""
    return max(LEAST_METERED, Fraction(hour.covered, NANOSECONDS_PER_SECOND))


def _turn(freed: Picodollars, per_replica: Fraction, capacity: Fraction) -> Turn:
    """The load above which one more replica is needed than cost what their servers do now."""
    if not per_replica:
        return Turn("always")
    replicas = floor(freed / per_replica)
    return Turn("at", replicas * capacity) if replicas > 0 else Turn("never")
