"""A commitment for rented GPUs: paid in every hour of its term, used or not. Pure.

GPUs beyond it are paid as they were. Without a number, as many are committed as cost least: each one that
was rented for enough of the hours.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Final, NamedTuple

from exporter.finance.options.choices import GIVEN, CommitmentChoice, Outcome, Turn, WhatIfPolicy
from exporter.finance.options.load import MeasuredLoad
from exporter.reports.rounding import dollars_text
from exporter.units import NANOSECONDS_PER_HOUR, PICODOLLARS_PER_DOLLAR

ZERO: Final = Fraction(0)


class RentedHour(NamedTuple):
    """GPUs of one model that are rented in an hour."""

    gpus: Fraction
    """GPUs on the mean of the hour."""
    rent: Fraction
    """Picodollars of one GPU for the hour."""
    committed: int = 0
    """GPUs of the commitment."""

    @property
    def used(self) -> Fraction:
        """GPU-hours of the commitment that are used."""
        return min(self.gpus, Fraction(self.committed))


@dataclass(frozen=True, slots=True)
class _Committed:
    """GPUs of one model that are committed."""

    gpu_model: str
    """The model of the GPUs."""
    gpus: int
    """GPUs of the commitment."""
    per_hour: Fraction
    """Picodollars of a committed GPU."""
    present: Fraction
    """Rent of one GPU in the last hour."""
    hours: Sequence[RentedHour]
    """Hours with rented GPUs."""

    @property
    def used(self) -> Fraction:
        """GPU-hours of the commitment that are used."""
        return sum((hour.used for hour in self.hours), ZERO)

    @property
    def replaced(self) -> Fraction:
        """Rent that the commitment takes the place of."""
        return sum((hour.rent * hour.used for hour in self.hours), ZERO)

    def evidence(self, months: int, wall_hours: int) -> list[str]:
        """Sentences on its price and use, for a term of so many months."""
        even = self.per_hour / self.present
        worth = (
            f"A GPU is worth it from {float(even * 100):.1f} % of the hours on, or if it stays for "
            f"{float(even * months):.1f} of {months} months."
        )
        if not self.gpus:
            return [f"{self.gpu_model}: none is committed; each was rented for too few hours.", worth]
        share = float(self.used * 100 / (self.gpus * wall_hours))
        price = float(self.per_hour / PICODOLLARS_PER_DOLLAR)
        present = float(self.present / PICODOLLARS_PER_DOLLAR)
        committed = f"{self.gpus} x {self.gpu_model} at {price:,.4f} dollars an hour"
        return [f"{committed}, {share:.1f} % of it used; now {present:,.4f}.", worth]


def commitment(load: MeasuredLoad, choice: CommitmentChoice, policy: WhatIfPolicy) -> Outcome:
    """The rent of the window with a commitment."""
    if load.servers:
        return Outcome(choice, lack="a commitment is for GPUs, whoever holds them: leave out --server")
    models: dict[str, list[RentedHour]] = {}
    for _, hour in sorted(load.hours.items()):
        for model, (rent, time) in hour.rented.items():
            if rent > 0 and time > 0:
                gpus = Fraction(time, NANOSECONDS_PER_HOUR)
                models.setdefault(model, []).append(RentedHour(gpus, rent / gpus))
    if not models:
        return Outcome(choice, lack="no rent was paid: owned hardware needs no commitment")
    if len(models) > 1 and (choice.discount_ratio is None or choice.gpus is not None):
        listed = f"{len(models)} GPU models ({', '.join(sorted(models))})"
        return Outcome(choice, lack=f"one price or number for {listed}: give a discount alone")
    parts = [_committed(load, choice, model, hours) for model, hours in sorted(models.items())]
    due = sum((part.gpus * part.per_hour * load.wall_hours for part in parts), ZERO)
    of_term = due * Fraction(policy.hours_per_month) / load.wall_hours * choice.months
    evidence = [sentence for part in parts for sentence in part.evidence(choice.months, load.wall_hours)]
    committed = sum(part.gpus for part in parts)
    if committed:
        evidence.append(
            f"Owed for the whole term: {dollars_text(int(of_term))} dollars in {choice.months} months, "
            "whatever the load."
        )
    # The load below which the commitment costs more, if rented GPUs follow the load.
    hours = [hour for part in parts if part.gpus for hour in part.hours]
    factor = turning_factor(hours, due) if hours else None
    turn = Turn("never") if factor is None else Turn("none")
    if factor is not None and load.whole.all_tokens:
        turn = Turn("at", load.per_day(load.whole.all_tokens) * factor, "now")
    return Outcome(
        choice,
        cost=load.whole.paid - sum((part.replaced for part in parts), ZERO) + due,
        source=GIVEN,
        turn=turn,
        evidence=tuple(evidence),
        figures={
            "gpus": committed,
            "owed_dollars_of_term": of_term / PICODOLLARS_PER_DOLLAR,
            "used_gpu_hours": sum((part.used for part in parts), ZERO),
            "committed_gpu_hours": Fraction(committed * load.wall_hours),
        },
    )


def _committed(
    load: MeasuredLoad, choice: CommitmentChoice, model: str, hours: Sequence[RentedHour]
) -> _Committed:
    """The GPUs of a model to commit: as many as the choice has, or as cost least."""
    present = hours[-1].rent
    if choice.discount_ratio is None:
        per_hour = (choice.dollars_per_hour or ZERO) * PICODOLLARS_PER_DOLLAR
    else:
        per_hour = present * (1 - choice.discount_ratio)
    number = choice.gpus
    if number is None:
        # Each further GPU is rented for fewer hours: those before the first that does not pay, pay.
        def costs_less_rented(before: int) -> bool:
            rent = (hour.rent * min(Fraction(1), max(ZERO, hour.gpus - before)) for hour in hours)
            return sum(rent, ZERO) <= per_hour * load.wall_hours

        most = ceil(max(hour.gpus for hour in hours))
        number = bisect_left(range(most), x=True, key=costs_less_rented)
    return _Committed(
        gpu_model=model,
        gpus=number,
        per_hour=per_hour,
        present=present,
        hours=[hour._replace(committed=number) for hour in hours],
    )


def turning_factor(hours: Sequence[RentedHour], due: Fraction) -> Fraction | None:
    """So many times the GPUs at which their rent, up to those committed, is what the commitment costs.

    The rent is a line until an hour uses all that are committed, and then again a flatter one; `None` if it
    never comes to that.
    """
    full = ZERO
    slope = sum((hour.gpus * hour.rent for hour in hours), ZERO)
    for hour in sorted(hours, key=lambda hour: hour.committed / hour.gpus):
        if slope <= 0:
            return None
        factor = (due - full) / slope
        if factor * hour.gpus <= hour.committed:
            return factor
        full += hour.rent * hour.committed
        slope -= hour.gpus * hour.rent
    return None
