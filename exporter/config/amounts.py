"""The keys of `overheads` and `budgets`: money beside the hardware, and money that may be spent."""

from decimal import Decimal
from typing import Final

from exporter.config.hardware import DOLLARS_PER_YEAR
from exporter.config.rented import DOLLARS_PER_HOUR
from exporter.config.rules import exactly_one
from exporter.config.schema import Block, Item, Key, ListOf, Table, Walk
from exporter.config.settings import Budget
from exporter.config.values import DOLLAR_DECIMALS, Choice, Label, Name, Number, Pattern
from exporter.tariff.terms import Overhead, Per, Period

COMPONENTS: Final = ("rent", "amortization", "support", "insurance", "energy", "adjustment")
"""Components that the program itself posts to."""

OVERHEAD_NAME = Key(
    "name",
    Name("component name", reserved=COMPONENTS),
    "The component that the amount is posted to, like storage or network.",
    required=True,
)
PER_HOUR = Key("dollars_per_hour", DOLLARS_PER_HOUR, "The amount per hour.")
PER_MONTH = Key(
    "dollars_per_month",
    Number("dollars per month", Decimal(10_000_000), decimals=DOLLAR_DECIMALS),
    "The amount per calendar month; each month accrues exactly it.",
)
PER_YEAR = Key("dollars_per_year", DOLLARS_PER_YEAR, "The amount per year of 8766 hours.")
PERIODS: Final[tuple[tuple[Key[Decimal], Period], ...]] = (
    (PER_HOUR, "hour"),
    (PER_MONTH, "month"),
    (PER_YEAR, "year"),
)
PER_CHOICE: Choice[Per] = Choice(("gpu", "host", "fleet"))
PER = Key(
    "per",
    PER_CHOICE,
    "What the amount is for: each GPU, each host, or the whole fleet once. A host's amount is spread over "
    "its GPUs; a fleet's never enters a host's books: the fleet rules record it beside them.",
    required=True,
)
OVERHEAD_HOST = Key("host", Pattern(), "The host's name.")
OVERHEAD_MATCH = Key(
    "match",
    Table((OVERHEAD_HOST,), lambda block: block.get(OVERHEAD_HOST)),
    "Which hosts; without it every host. Not with per: fleet.",
)


def _overhead(block: Block) -> Overhead:
    key, period = next((key, period) for key, period in PERIODS if key in block)
    return Overhead(
        name=block[OVERHEAD_NAME],
        amount_dollars=block[key],
        period=period,
        per=block[PER],
        source=block.path,
        host=block.get(OVERHEAD_MATCH),
    )


def _fleet_is_everywhere(block: Block) -> bool:
    if block.values.get(PER.name) != "fleet" or OVERHEAD_MATCH not in block:
        return True
    block.refuse(OVERHEAD_MATCH, "goes with per: gpu or host; a fleet's amount has no host, remove it")
    return False


def _components_are_told_once(items: list[Item[Overhead]], walk: Walk) -> bool:
    """One name twice is fine for different hosts, and a mistake where both would be charged to one host."""
    good = True
    seen: dict[str, list[Overhead]] = {}
    for item in items:
        for other in seen.setdefault(item.value.name, []):
            if None in (item.value.host, other.host) or item.value.host == other.host:
                message = f'"{other.name}" is already given by {other.source}; choose another name'
                item.refuse(OVERHEAD_NAME.name, message, walk)
                good = False
                break
        seen[item.value.name].append(item.value)
    return good


OVERHEADS = Key(
    "overheads",
    ListOf(
        Table(
            (OVERHEAD_NAME, PER_HOUR, PER_MONTH, PER_YEAR, PER, OVERHEAD_MATCH),
            _overhead,
            (exactly_one(PER_HOUR, PER_MONTH, PER_YEAR), _fleet_is_everywhere),
            words="amount",
        ),
        (_components_are_told_once,),
    ),
    "Named amounts beside the hardware, each its own component.",
)

BUDGET_NAME = Key("name", Label("name"), "The budget's name; alerts and dashboards show it.", required=True)
BUDGET_PRODUCT = Key("product", Label("product", exact=True), "The product, exactly as ownership names it.")
BUDGET_MATCH = Key(
    "match",
    Table((BUDGET_PRODUCT,), lambda block: block.get(BUDGET_PRODUCT) or ""),
    "Whose spending counts; without it that of the whole fleet.",
)
BUDGET_DOLLARS = Key(
    "dollars_per_month",
    Number("dollars per month", Decimal(1_000_000_000), above_low=True, decimals=DOLLAR_DECIMALS),
    "What may be spent in a calendar month.",
    required=True,
)


def _budget(block: Block) -> Budget:
    return Budget(block[BUDGET_NAME], block.get(BUDGET_MATCH) or "", block[BUDGET_DOLLARS])


def _names_are_told_once(items: list[Item[Budget]], walk: Walk) -> bool:
    good = True
    seen: dict[str, str] = {}
    for item in items:
        if item.value.name in seen:
            message = f'"{item.value.name}" is already given by {seen[item.value.name]}; choose another name'
            item.refuse(BUDGET_NAME.name, message, walk)
            good = False
        seen.setdefault(item.value.name, item.path)
    return good


BUDGETS = Key(
    "budgets",
    ListOf(
        Table((BUDGET_NAME, BUDGET_MATCH, BUDGET_DOLLARS), _budget, words="budget"), (_names_are_told_once,)
    ),
    "Monthly budgets; without any there is one, fleet, of 27000 dollars for everything.",
)
