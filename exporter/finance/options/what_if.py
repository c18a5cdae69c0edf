"""Choices side by side with what was paid, for the load of one window. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import product

from exporter.advice.hours import Release
from exporter.finance.options.breakeven import BreakEven, break_even
from exporter.finance.options.choices import (
    Choice,
    CommitmentChoice,
    GpuChoice,
    HostedChoice,
    ScheduleChoice,
)
from exporter.finance.options.commitment import commitment
from exporter.finance.options.gpu_type import gpu_type
from exporter.finance.options.hosted_offer import hosted_offer
from exporter.finance.options.load import MeasuredLoad
from exporter.finance.options.outcome import Outcome, WhatIfPolicy
from exporter.finance.options.schedule import schedule
from exporter.units import Instant


@dataclass(frozen=True, slots=True)
class WhatIfAnswer:
    """The outcomes of choices, in their order.

    `break_evens` are those of GPU types against hosted offers, where both serve the whole load.
    `releases` are the terms of the GPUs now, and `partial` the servers whose tokens are computed elsewhere
    too.
    """

    load: MeasuredLoad
    outcomes: tuple[Outcome, ...]
    break_evens: tuple[BreakEven, ...]
    end: Instant
    hours_per_month: Decimal
    releases: frozenset[Release]
    partial: tuple[str, ...]

    def per_month(self, amount: Fraction | int) -> Fraction:
        """An amount of the window, per month."""
        return Fraction(amount) * Fraction(self.hours_per_month) / self.load.wall_hours


def what_if(
    load: MeasuredLoad,
    choices: Sequence[Choice],
    policy: WhatIfPolicy,
    end: Instant,
    releases: frozenset[Release] = frozenset(),
) -> WhatIfAnswer:
    """What each choice would have cost in the window."""
    outcomes: list[Outcome] = []
    for choice in choices:
        match choice:
            case GpuChoice():
                outcomes.append(gpu_type(load, choice, policy))
            case CommitmentChoice():
                outcomes.append(commitment(load, choice, policy))
            case ScheduleChoice():
                outcomes.append(schedule(load, choice, policy))
            case HostedChoice():
                outcomes.append(hosted_offer(load, choice, policy))
    served = {key.server for key in load.tokens}
    partial = tuple(sorted(key.name for key in policy.partial & served))
    # Both lines are of the whole load: an offer for a part of it is another load's.
    gpus = [each for each in outcomes if isinstance(each.choice, GpuChoice)]
    offers = [
        each
        for each in outcomes
        if isinstance(each.choice, HostedChoice) and each.figures.get("tokens") == load.all_tokens
    ]
    pairs = [
        break_even(mine.choice.text, mine.line, theirs.choice.text, theirs.line)
        for mine, theirs in product(gpus, offers)
        if mine.line is not None and theirs.line is not None
    ]
    return WhatIfAnswer(load, tuple(outcomes), tuple(pairs), end, policy.hours_per_month, releases, partial)
