"""GPUs only in some hours of the week. Pure."""

from fractions import Fraction

from exporter.advice.hours import hour_of_week, local_minute
from exporter.finance.options.choices import ScheduleChoice
from exporter.finance.options.load import MeasuredLoad
from exporter.finance.options.outcome import Figure, Outcome, Turn, WhatIfPolicy
from exporter.reports.rounding import dollars_text, hours_text
from exporter.units import PICODOLLARS_PER_DOLLAR, TOKENS_PER_MILLION


def schedule(load: MeasuredLoad, choice: ScheduleChoice, policy: WhatIfPolicy) -> Outcome:
    """What was paid in the hours that stay. Of the others, owned hardware is owed all the same."""
    outside = [
        hour for number, hour in load.hours.items() if hour_of_week(number, policy.zone) not in choice.slots
    ]
    spared = sum(hour.paid - hour.owned for hour in outside)
    gpu_time = sum(sum(hour.gpu_time.values()) for hour in outside)
    lost = sum(hour.all_tokens for hour in outside)
    evidence = [
        f"{len(outside)} of {len(load.hours)} hours are outside, with {hours_text(gpu_time)} GPU-hours."
    ]
    if minute := local_minute(max(load.hours), policy.zone):
        evidence.append(f"Hours are taken from {minute} minutes past those of the clock.")
    figures: dict[str, Figure] = {"hours_outside": len(outside), "lost_tokens": lost}
    if lost:
        share = float(Fraction(lost * 100, load.all_tokens))
        per_million = Fraction(spared * TOKENS_PER_MILLION, lost)
        evidence += [
            f"Lost load: {lost:,} tokens were served outside, {share:.1f} % of all.",
            f"It pays while a million of them is worth less than {dollars_text(int(per_million))} dollars.",
        ]
        figures["dollars_per_million_lost_tokens"] = per_million / PICODOLLARS_PER_DOLLAR
    else:
        evidence.append("No token was served outside.")
    return Outcome(
        choice,
        cost=Fraction(load.paid - spared),
        source="what was paid in the hours that stay",
        turn=Turn("none"),
        evidence=tuple(evidence),
        figures=figures,
    )
