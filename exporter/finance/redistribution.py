"""Redistribution: idle cost moved to other lines, and overheads of the fleet by who carries them. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, NamedTuple, get_args

from exporter.cost.money import add
from exporter.cost.postings import BUSY_PHASES, CostOwner, Phase
from exporter.finance import facts
from exporter.finance.facts import Fact, Measure, MoneyView
from exporter.finance.fleet.overheads import FleetOverheads, positive_split, spread
from exporter.reports.rounding import dollars_text
from exporter.units import Picodollars

Idle = Literal["apart", "spread"]
"""What becomes of idle cost.

apart: all of it is in one line.
spread: owners carry it in proportion to their busy cost, which is prefill, decode and other.
"""
IDLE_FORMS: Final[tuple[Idle, ...]] = get_args(Idle)

IDLE_NAME: Final = "(idle)"
"""The name of idle cost that is shown apart."""

OVERHEADS_NAME: Final = "(overheads)"
"""The name of overheads of the fleet where lines are by GPU."""

_NO_DAY: Final = ""
"""The key of values without a day, in sums by day: a text, so that it sorts among days."""


class MovedIdle(NamedTuple):
    """Facts with idle cost where a layout has it."""

    facts: list[Fact]
    notes: tuple[str, ...]
    """A sentence on the idle cost that moved, or could not."""


def moved_idle(all_facts: list[Fact], form: Idle | None) -> MovedIdle:
    """Move idle cost as a layout says; `None` leaves it with its owners."""
    money = facts.measured(all_facts, "money of owners")
    amount = sum(fact.value for fact in money if fact.phase == "idle")
    if form is None or not amount:
        return MovedIdle(all_facts, ())
    if form == "apart":
        return _idle_apart(all_facts, amount)
    return _idle_spread(all_facts, amount)


def _idle_apart(all_facts: list[Fact], amount: Picodollars) -> MovedIdle:
    """Idle cost in one line, with the idle GPU time that it is for: its facts have a name, and no owner."""
    moved = [
        Fact(fact.measure, fact.value, fact.day, name=IDLE_NAME) if fact.phase == "idle" else fact
        for fact in all_facts
    ]
    note = f"{dollars_text(amount)} dollars of idle cost, unallocated GPUs included, are apart"
    return MovedIdle(moved, (note,))


def _idle_spread(all_facts: list[Fact], amount: Picodollars) -> MovedIdle:
    """Idle cost divided by busy cost. GPU time stays: who pays for idle GPUs does not hold more of them."""
    money = facts.measured(all_facts, "money of owners")
    busy = _by_owner_and_day(fact for fact in money if fact.phase in BUSY_PHASES)
    # First by owner, then by day: the days of an owner sum to its amount in a statement without days.
    parts = positive_split(amount, {owner: sum(days.values()) for owner, days in busy.items()})
    idle = f"{dollars_text(amount)} dollars of idle cost"
    if not parts:
        return MovedIdle(all_facts, (f"{idle} stay where they are: no owner has busy cost",))
    moved = [fact for fact in all_facts if fact.measure != "money of owners" or fact.phase != "idle"]
    for owner, part in parts.items():
        moved += _on_days("money of owners", part, owner, busy[owner], phase="idle")
    by = "in proportion to busy cost (prefill, decode and other)"
    return MovedIdle(moved, (f"{idle}, unallocated GPUs included, are spread {by}",))


def overhead_facts(all_facts: list[Fact], view: MoneyView, overheads: FleetOverheads) -> Iterator[Fact]:
    """Overheads of the fleet as facts that lines of a view carry.

    Lines by component have each by its name, lines by GPU all in one. Owners carry them by the spread rule.

    Args:
        all_facts: the facts of the period, with idle cost where it accrued.
        view: the money that lines divide.
        overheads: the amounts, and the rule.
    """
    if view == "money of components":
        for name, amount in overheads.amounts.items():
            yield Fact("overhead", amount, component=name)
    elif view == "money of GPUs":
        yield Fact("overhead", overheads.total, name=OVERHEADS_NAME)
    else:
        dollars = facts.sums_by(facts.measured(all_facts, view), lambda fact: fact.owner)
        costs = {owner: amount for owner, amount in dollars.items() if amount}
        days_of_owners = _by_owner_and_day(facts.measured(all_facts, "GPU time"))
        gpu_time = {owner: sum(days.values()) for owner, days in days_of_owners.items()}
        for owner, amount in spread(overheads, gpu_time, costs).items():
            yield from _on_days("overhead", amount, owner, days_of_owners.get(owner, {}))


def _by_owner_and_day(all_facts: Iterable[Fact]) -> dict[CostOwner, dict[str, int]]:
    """Sums of values by owner, and of each by day."""
    sums: dict[CostOwner, dict[str, int]] = {}
    for fact in all_facts:
        add(sums.setdefault(fact.owner, {}), fact.day or _NO_DAY, fact.value)
    return sums


def _on_days(
    measure: Measure,
    amount: Picodollars,
    owner: CostOwner,
    days: Mapping[str, int],
    *,
    phase: Phase | None = None,
) -> Iterator[Fact]:
    """An amount of an owner as a fact for each day, by weight; it has no day where no weight is positive."""
    by_day = positive_split(amount, days) or {_NO_DAY: amount}
    for day, part in by_day.items():
        yield Fact.of_owner(measure, part, owner, day=day or None, phase=phase)
