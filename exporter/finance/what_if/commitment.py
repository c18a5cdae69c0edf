"""A commitment for rented GPUs: paid in every hour of its term, used or not. Pure.

GPUs beyond it are paid as they were. Without a number, as many are committed as cost least: each one that
was rented for enough of the hours.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from exporter.finance.what_if.choices import CommitmentChoice
from exporter.finance.what_if.outcome import GIVEN, Outcome, Turn, WhatIfPolicy
from exporter.finance.what_if.window import MeasuredLoad, RentedTime
from exporter.reports.rounding import dollars_text
from exporter.units import NANOSECONDS_PER_HOUR, PICODOLLARS_PER_DOLLAR


@dataclass(frozen=True, slots=True)
class _RentedHour:
    """GPUs of one model that were rented in an hour, on the mean, and the rent of one of them."""

    gpus: Fraction
    per_gpu: Fraction

    def rent(self, first: int, count: int) -> Fraction:
        """Rent of so many GPUs beyond the first ones."""
        return self.per_gpu * min(Fraction(count), max(Fraction(0), self.gpus - first))


@dataclass(frozen=True, slots=True)
class _Committed:
    """GPUs of one model that are committed, at picodollars an hour; `present` is what an hour costs now."""

    gpu_model: str
    gpus: int
    per_hour: Fraction
    present: Fraction
    hours: tuple[_RentedHour, ...]
    wall_hours: int

    @property
    def due(self) -> Fraction:
        """What the window costs."""
        return self.gpus * self.per_hour * self.wall_hours

    @property
    def replaced(self) -> Fraction:
        """Rent that it takes the place of."""
        return sum((hour.rent(0, self.gpus) for hour in self.hours), Fraction(0))

    @property
    def used(self) -> Fraction:
        """GPU-hours of it that were used."""
        return sum((min(hour.gpus, Fraction(self.gpus)) for hour in self.hours), Fraction(0))


def commitment(load: MeasuredLoad, choice: CommitmentChoice, policy: WhatIfPolicy) -> Outcome:
    """The rent of the window with a commitment."""
    if load.servers:
        return Outcome(choice, lack="a commitment is for GPUs, whoever holds them: leave out --server")
    models = sorted({model for hour in load.hours for model in hour.rented if _is_rented(hour.rented[model])})
    if not models:
        return Outcome(choice, lack="no rent was paid: owned hardware needs no commitment")
    if len(models) > 1 and (choice.discount_ratio is None or choice.gpus is not None):
        listed = f"{len(models)} GPU models ({', '.join(models)})"
        return Outcome(choice, lack=f"one price or number for {listed}: give a discount alone")
    parts = [_committed(load, choice, model) for model in models]
    due = sum((part.due for part in parts), Fraction(0))
    cost = load.paid - sum((part.replaced for part in parts), Fraction(0)) + due
    a_month = Fraction(policy.hours_per_month) / load.wall_hours
    gpus = sum(part.gpus for part in parts)
    evidence = [sentence for part in parts for sentence in _evidence(part, choice)]
    if gpus:
        evidence.append(
            f"Owed for the whole term: {dollars_text(int(due * a_month * choice.months))} dollars in "
            f"{choice.months} months, whatever the load."
        )
    used = sum((part.used for part in parts), Fraction(0))
    return Outcome(
        choice,
        cost=cost,
        source=GIVEN,
        turn=_turn(load, parts, due),
        evidence=tuple(evidence),
        figures={
            "gpus": gpus,
            "owed_dollars_of_term": due * a_month * choice.months / PICODOLLARS_PER_DOLLAR,
            "used_gpu_hours": used,
            "committed_gpu_hours": Fraction(gpus * load.wall_hours),
        },
    )


def _committed(load: MeasuredLoad, choice: CommitmentChoice, model: str) -> _Committed:
    hours = tuple(_rented_hours(load, model))
    present = hours[-1].per_gpu
    if choice.discount_ratio is None:
        per_hour = (choice.dollars_per_hour or Fraction(0)) * PICODOLLARS_PER_DOLLAR
    else:
        per_hour = present * (1 - choice.discount_ratio)
    gpus = choice.gpus
    if gpus is None:
        # Each further GPU is rented for fewer hours: those before the first that does not pay, pay.
        a_window, most = per_hour * load.wall_hours, ceil(max(hour.gpus for hour in hours))
        gpus = bisect_left(
            range(most),
            x=True,
            key=lambda gpu: sum((hour.rent(gpu, 1) for hour in hours), Fraction(0)) <= a_window,
        )
    return _Committed(model, gpus, per_hour, present, hours, load.wall_hours)


def _rented_hours(load: MeasuredLoad, model: str) -> Iterator[_RentedHour]:
    for hour in load.hours:
        rented = hour.rented.get(model)
        if rented is not None and _is_rented(rented):
            gpus = Fraction(rented.gpu_time, NANOSECONDS_PER_HOUR)
            yield _RentedHour(gpus, rented.rent / gpus)


def _is_rented(rented: RentedTime) -> bool:
    return rented.rent > 0 and rented.gpu_time > 0


def _evidence(part: _Committed, choice: CommitmentChoice) -> Iterator[str]:
    if not part.gpus:
        yield f"{part.gpu_model}: none is committed; each was rented for too few hours."
    else:
        share = float(part.used * 100 / (part.gpus * part.wall_hours))
        price, present = (float(each / PICODOLLARS_PER_DOLLAR) for each in (part.per_hour, part.present))
        yield (
            f"{part.gpus} x {part.gpu_model} at {price:,.4f} dollars an hour, {share:.1f} % of it used; "
            f"now {present:,.4f}."
        )
    if part.present:
        even = part.per_hour / part.present
        yield (
            f"A GPU is worth it from {float(even * 100):.1f} % of the hours on, or if it stays for "
            f"{float(even * choice.months):.1f} of {choice.months} months."
        )


def _turn(load: MeasuredLoad, parts: Sequence[_Committed], due: Fraction) -> Turn:
    """The load below which the commitment costs more, if rented GPUs follow the load."""
    hours = [(hour, part.gpus) for part in parts if part.gpus for hour in part.hours]
    if not hours:
        return Turn("never")
    factor = turning_factor([(hour.gpus, hour.per_gpu, gpus) for hour, gpus in hours], due)
    if factor is None:
        return Turn("never")
    return Turn("at", load.per_day(load.all_tokens) * factor, "now") if load.all_tokens else Turn("none")


def turning_factor(hours: Sequence[tuple[Fraction, Fraction, int]], due: Fraction) -> Fraction | None:
    """So many times the GPUs at which their rent, up to those committed, is what the commitment costs.

    Hours are (GPUs, rent of one, committed). The rent is a line until an hour uses all that are committed,
    and then again a flatter one; `None` if it never comes to that.
    """
    full = Fraction(0)
    slope = sum((gpus * rent for gpus, rent, _ in hours), Fraction(0))
    for gpus, rent, committed in sorted(hours, key=lambda hour: hour[2] / hour[0]):
        if slope <= 0:
            return None
        factor = (due - full) / slope
        if factor * gpus <= committed:
            return factor
        full, slope = full + rent * committed, slope - gpus * rent
    return None
