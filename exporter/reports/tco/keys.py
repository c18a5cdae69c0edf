"""The keys of a scenario: horizon, load, options and the money beside them."""

from decimal import Decimal
from fractions import Fraction
from typing import Final

from exporter.config.hardware import DOLLARS_PER_YEAR
from exporter.config.rules import exactly_one
from exporter.config.schema import Block, Key, ListOf, Table
from exporter.config.values import DOLLAR_DECIMALS, Choice, Name, Number, Whole
from exporter.reports.tco.arithmetic import OWN_COMPONENTS
from exporter.reports.tco.option_keys import OPTIONS
from exporter.reports.tco.references import bought_tokens_have_a_load, hybrids_have_parts, items_fit
from exporter.reports.tco.scenario import MEASURED, Item, Load, Per, Period, Scenario
from exporter.reports.tco.shapes import Currency, Prose
from exporter.reports.tco.source_keys import AS_OF, CHANGE, CHANGE_SHAPE, SOURCE, source_of

MOST_YEARS: Final = 30

TOKENS: Final = Number("tokens per day", Decimal(10**15))
PROMPT = Key("prompt_tokens_per_day", TOKENS, "Prompt tokens that are computed.", default="0")
CACHED_PROMPT = Key(
    "cached_prompt_tokens_per_day", TOKENS, "Prompt tokens that come from a prefix cache.", default="0"
)
GENERATION = Key("generation_tokens_per_day", TOKENS, "Generated tokens.", default="0")
GROWTH = Key(
    "growth_ratio_per_year",
    CHANGE_SHAPE,
    "How the load changes from each year to the next, compounding: 0.5 is half as much again.",
    default="0",
)


def _has_tokens(block: Block) -> bool:
    keys = (PROMPT, CACHED_PROMPT, GENERATION)
    unread = any(key in block and key.name not in block.values for key in keys)
    if unread or any(block.get(key) for key in keys):
        return True
    block.refuse(None, "has no tokens; give some, or leave the load out")
    return False


def _load(block: Block) -> Load:
    return Load(
        tokens={
            "prompt": Fraction(block[PROMPT]),
            "cached_prompt": Fraction(block[CACHED_PROMPT]),
            "generation": Fraction(block[GENERATION]),
        },
        growth_ratio_per_year=Fraction(block[GROWTH]),
        source=source_of(block),
    )


LOAD = Key(
    "load",
    Table((PROMPT, CACHED_PROMPT, GENERATION, GROWTH, SOURCE, AS_OF), _load, (_has_tokens,)),
    "What is to be served, on the mean of the first year's days; with --measured the ledger tells it. "
    "Without a load there is no cost per token, and nothing can be hosted.",
)

COMPONENT = Key(
    "component",
    Name("component name", reserved=OWN_COMPONENTS),
    "The component that it belongs to, like staff, storage, network, data or fine-tuning; several items may "
    "share one.",
    required=True,
)
WHAT = Key("what", Prose("description"), "What it is, in words.")
DOLLARS = Key(
    "dollars",
    Number("dollars", Decimal(100_000_000), decimals=DOLLAR_DECIMALS),
    "An amount that is paid once, or every so many months.",
)
PER_MONTH = Key(
    "dollars_per_month",
    Number("dollars per month", Decimal(10_000_000), decimals=DOLLAR_DECIMALS),
    "An amount of every month.",
)
PER_YEAR = Key("dollars_per_year", DOLLARS_PER_YEAR, "An amount of every year, a twelfth each month.")
PERIODS: Final[tuple[tuple[Key[Decimal], Period], ...]] = (
    (DOLLARS, "once"),
    (PER_MONTH, "month"),
    (PER_YEAR, "year"),
)
MONTH = Key(
    "month",
    Whole("month", 1, MOST_YEARS * 12),
    "The month in which it is paid first, counted from 1; 1 unless given.",
)
EVERY = Key("every_months", Whole("months", 1, MOST_YEARS * 12), "It is paid again every so many months.")
COUNT = Key(
    "count", Number("count", Decimal(1_000_000)), "How many of it: people, runs, sources.", default="1"
)
PER_CHOICE: Choice[Per] = Choice(("option", "host", "gpu"))
PER = Key(
    "per",
    PER_CHOICE,
    "What the amount is for: the option as a whole, each host, each GPU.",
    default="option",
)
OPTION_NAMES = Key(
    "options",
    ListOf(Name("option name"), least=1),
    f"The options that pay it, {MEASURED} among them with --measured; every option unless given.",
)


def _dates_go_with_dollars(block: Block) -> bool:
    good = True
    for key in (MONTH, EVERY):
        if key in block and DOLLARS not in block and (PER_MONTH in block or PER_YEAR in block):
            block.refuse(key, "goes with dollars only; remove it")
            good = False
    return good


def _once_is_not_per_host(block: Block) -> bool:
    if DOLLARS not in block or block.values.get(PER.name, "option") == "option":
        return True
    block.refuse(PER, "goes with amounts per month or year; what each host costs once is in adders_ratio")
    return False


def _item(block: Block) -> Item:
    key, period = next((key, period) for key, period in PERIODS if key in block)
    return Item(
        component=block[COMPONENT],
        dollars=Fraction(block[key]),
        period=period,
        what=block.get(WHAT) or "",
        month=block.get(MONTH) or 1,
        every_months=block.get(EVERY),
        count=Fraction(block[COUNT]),
        per=block[PER],
        change_ratio_per_year=Fraction(block[CHANGE]),
        options=block.get(OPTION_NAMES),
        source=source_of(block),
    )


ITEMS = Key(
    "items",
    ListOf(
        Table(
            (
                COMPONENT,
                WHAT,
                DOLLARS,
                PER_MONTH,
                PER_YEAR,
                MONTH,
                EVERY,
                COUNT,
                PER,
                CHANGE,
                OPTION_NAMES,
                SOURCE,
                AS_OF,
            ),
            _item,
            (exactly_one(DOLLARS, PER_MONTH, PER_YEAR), _dates_go_with_dollars, _once_is_not_per_host),
            words="item",
        )
    ),
    "Money beside hardware and tokens.",
)

NAME = Key("name", Prose("name"), "What the scenario is called.", required=True)
ABOUT = Key("about", Prose("description"), "What it shows.")
CURRENCY = Key("currency", Currency(), "The currency of every amount; there is one.", default="USD")
HORIZON = Key("horizon_years", Whole("years", 1, MOST_YEARS), "Years that are compared.", required=True)
HOURS_PER_MONTH = Key(
    "hours_per_month",
    Number("hours", Decimal(744), Decimal(672)),
    "Hours of each of the twelve months of a year: 730 is 8760 a year, as price lists reckon; 730.5 is the "
    "calendar's mean, 8766 a year, as the ledger reckons.",
    default="730",
)


def _scenario(block: Block) -> Scenario:
    return Scenario(
        name=block[NAME],
        about=block.get(ABOUT) or "",
        horizon_years=block[HORIZON],
        hours_per_month=Fraction(block[HOURS_PER_MONTH]),
        load=block.get(LOAD),
        options=block[OPTIONS],
        items=block.get(ITEMS) or (),
    )


def scenario_table(*, measured: bool = False) -> Table[Scenario]:
    """The whole schema; `measured` says that the load will come from elsewhere."""
    told = () if measured else (bought_tokens_have_a_load(LOAD, OPTIONS),)
    return Table(
        (NAME, ABOUT, CURRENCY, HORIZON, HOURS_PER_MONTH, LOAD, OPTIONS, ITEMS),
        _scenario,
        (hybrids_have_parts(OPTIONS), items_fit(ITEMS, OPTIONS, HORIZON), *told),
        words="scenario",
    )


SCENARIO = scenario_table()
