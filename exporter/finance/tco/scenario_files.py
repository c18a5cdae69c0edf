"""Scenario files: the schema of a scenario, rules over several keys, reading, and the bundled examples."""

from decimal import Decimal
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import Final

from exporter.config.hardware import DOLLARS_PER_YEAR
from exporter.config.load import contents, read
from exporter.config.problems import ConfigError, Problem
from exporter.config.schema import Key, ListOf, MappingNode, Table, exactly_one, goes_with
from exporter.config.values import DOLLAR_DECIMALS, Choice, Name, Number, Whole
from exporter.finance.tco.costs import OWN_COMPONENTS
from exporter.finance.tco.option_keys import (
    AS_OF,
    CHANGE,
    CHANGE_SHAPE,
    HYBRID,
    OPTIONS,
    SOURCE,
    Currency,
    Prose,
    source_of,
)
from exporter.finance.tco.scenario import (
    MEASURED,
    MONTHS_PER_YEAR,
    Hosted,
    Hybrid,
    Load,
    OwnedHosts,
    Per,
    Period,
    RentedHosts,
    Scenario,
    ScenarioItem,
)

MOST_YEARS: Final = 30

TOKENS: Final = Number("tokens per day", Decimal(10**15))
PROMPT = Key("prompt_tokens_per_day", TOKENS, "Prompt tokens to compute.", default=Decimal(0))
CACHED_PROMPT = Key(
    "cached_prompt_tokens_per_day", TOKENS, "Prompt tokens from a prefix cache.", default=Decimal(0)
)
GENERATION = Key("generation_tokens_per_day", TOKENS, "Generated tokens.", default=Decimal(0))
GROWTH = Key(
    "growth_ratio_per_year",
    CHANGE_SHAPE,
    "Change of the load from each year to the next, compounding: 0.5 is 50 % more.",
    default=Decimal(0),
)


def _has_tokens(mapping: MappingNode) -> None:
    if not any(mapping.get(key) for key in (PROMPT, CACHED_PROMPT, GENERATION)):
        mapping.refuse(None, "has no tokens; give some, or leave the load out")


def _load(mapping: MappingNode) -> Load:
    return Load(
        tokens={
            "prompt": Fraction(mapping[PROMPT]),
            "cached_prompt": Fraction(mapping[CACHED_PROMPT]),
            "generation": Fraction(mapping[GENERATION]),
        },
        growth_ratio_per_year=Fraction(mapping[GROWTH]),
        source=source_of(mapping),
    )


LOAD = Key(
    "load",
    Table((PROMPT, CACHED_PROMPT, GENERATION, GROWTH, SOURCE, AS_OF), _load, (_has_tokens,)),
    "Load of an average day of the first year; --measured takes it from the ledger. Without a load there is "
    "no cost per token, and no option can be hosted.",
)

COMPONENT = Key(
    "component",
    Name("component name", reserved=OWN_COMPONENTS),
    "The component of the cost, like staff, storage, network, data or fine-tuning; several items may share "
    "one.",
    required=True,
)
WHAT = Key("what", Prose("description"), "Description of the item.")
DOLLARS = Key(
    "dollars",
    Number("dollars", Decimal(100_000_000), decimals=DOLLAR_DECIMALS),
    "An amount paid once, or at an interval of months.",
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
    "The month of the first payment, counted from 1; 1 unless given.",
)
EVERY = Key("every_months", Whole("months", 1, MOST_YEARS * 12), "Months between payments.")
COUNT = Key("count", Number("count", Decimal(1_000_000)), "Count: people, runs, sources.", default=Decimal(1))
PER_CHOICE: Choice[Per] = Choice(("option", "host", "gpu"))
PER = Key(
    "per",
    PER_CHOICE,
    "Unit of the amount: the whole option, each host or each GPU.",
    default="option",
)
OPTION_NAMES = Key(
    "options",
    ListOf(Name("option name"), least=1),
    f"The options that pay it, {MEASURED} among them with --measured; every option unless given.",
)


def _once_is_not_per_host(mapping: MappingNode) -> None:
    if DOLLARS in mapping and mapping[PER] != "option":
        mapping.refuse(
            PER, "goes with amounts per month or year; what each host costs once is in adders_ratio"
        )


def _item(mapping: MappingNode) -> ScenarioItem:
    key, period = next((key, period) for key, period in PERIODS if key in mapping)
    return ScenarioItem(
        component=mapping[COMPONENT],
        dollars=Fraction(mapping[key]),
        period=period,
        what=mapping.get(WHAT) or "",
        month=mapping.get(MONTH) or 1,
        every_months=mapping.get(EVERY),
        count=Fraction(mapping[COUNT]),
        per=mapping[PER],
        change_ratio_per_year=Fraction(mapping[CHANGE]),
        options=mapping.get(OPTION_NAMES),
        source=source_of(mapping),
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
            (
                exactly_one(DOLLARS, PER_MONTH, PER_YEAR),
                goes_with(MONTH, DOLLARS),
                goes_with(EVERY, DOLLARS),
                _once_is_not_per_host,
            ),
            expected="item",
        )
    ),
    "Costs other than hardware and tokens.",
)

NAME = Key("name", Prose("name"), "Name of the scenario.", required=True)
DESCRIPTION = Key("about", Prose("description"), "Description of the scenario.")
CURRENCY = Key("currency", Currency(), "The currency of every amount; there is one.", default="USD")
HORIZON = Key("horizon_years", Whole("years", 1, MOST_YEARS), "Years to compare.", required=True)
HOURS_PER_MONTH = Key(
    "hours_per_month",
    Number("hours", Decimal(744), Decimal(672)),
    "Hours of each of the twelve months of a year. 730 is 8760 a year, as in price lists; 730.5 is the "
    "calendar's mean, 8766 a year, as in the ledger.",
    default=Decimal(730),
)


def _scenario(mapping: MappingNode) -> Scenario:
    return Scenario(
        name=mapping[NAME],
        description=mapping.get(DESCRIPTION) or "",
        horizon_years=mapping[HORIZON],
        hours_per_month=Fraction(mapping[HOURS_PER_MONTH]),
        load=mapping.get(LOAD),
        options=mapping[OPTIONS],
        items=mapping.get(ITEMS) or (),
    )


def _hybrids_have_parts(mapping: MappingNode) -> None:
    """A rule: the parts of a hybrid are there, and of the right kind."""
    kinds = {option.name: type(option.serving) for option in mapping[OPTIONS]}
    for index, option in enumerate(mapping[OPTIONS]):
        hybrid = option.serving
        if not isinstance(hybrid, Hybrid):
            continue
        wrong = None
        if kinds.get(hybrid.base) not in (OwnedHosts, RentedHosts):
            wrong = f'"{hybrid.base}" must be an owned or rented option of this scenario'
        elif kinds.get(hybrid.rest) is not Hosted:
            wrong = f'"{hybrid.rest}" must be a hosted option of this scenario'
        if wrong:
            mapping.refuse_below((OPTIONS.name, index, HYBRID.name), wrong)


def _items_fit(mapping: MappingNode) -> None:
    """A rule: items name options that there are, and fall into the horizon."""
    names = {option.name for option in mapping[OPTIONS]}
    months = mapping[HORIZON] * MONTHS_PER_YEAR
    for index, item in enumerate(mapping.get(ITEMS) or ()):
        unknown = sorted(set(item.options or ()) - names - {MEASURED})
        if unknown:
            message = f'"{unknown[0]}" is no option of this scenario'
            mapping.refuse_below((ITEMS.name, index, OPTION_NAMES.name), message)
        if item.month > months:
            message = f"{item.month} is after the horizon of {months} months"
            mapping.refuse_below((ITEMS.name, index, MONTH.name), message)


def _bought_tokens_have_a_load(mapping: MappingNode) -> None:
    """A rule: what is bought by the million needs a number of tokens."""
    for option in mapping[OPTIONS]:
        if LOAD not in mapping and isinstance(option.serving, Hosted | Hybrid):
            message = (
                f'is missing: the tokens of "{option.name}" are bought by the million; give it, or --measured'
            )
            mapping.refuse(LOAD, message)


def scenario_table(*, measured: bool = False) -> Table[Scenario]:
    """The whole schema; with `measured` the load may be missing."""
    rules = () if measured else (_bought_tokens_have_a_load,)
    return Table(
        (NAME, DESCRIPTION, CURRENCY, HORIZON, HOURS_PER_MONTH, LOAD, OPTIONS, ITEMS),
        _scenario,
        (_hybrids_have_parts, _items_fit, *rules),
        expected="scenario",
    )


SCENARIO = scenario_table()


_EXAMPLES: Final = files("exporter.finance.tco") / "scenarios"
_SUFFIX: Final = ".yaml"


def scenario(path: Path, *, measured: bool = False) -> Scenario:
    """The scenario of a file; with `measured` its load may be missing.

    Raises:
        ConfigError: it cannot be read, or says something that cannot be used.
    """
    return parsed(contents(path), str(path), measured=measured)


def parsed(data: bytes, file: str, *, measured: bool = False) -> Scenario:
    """The scenario of some bytes; `file` is what errors call them.

    Raises:
        ConfigError: they say something that cannot be used.
    """
    return read(data, file, scenario_table(measured=measured))


def examples() -> tuple[str, ...]:
    """The names of the scenarios that come with the program."""
    names = (entry.name for entry in _EXAMPLES.iterdir() if entry.name.endswith(_SUFFIX))
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in names))


def example(name: str) -> bytes:
    """One of them, as its text.

    Raises:
        ConfigError: there is none of that name.
    """
    names = examples()
    if name not in names:
        raise ConfigError(name, (Problem(None, "", f"is no example; there are {', '.join(names)}"),))
    return (_EXAMPLES / f"{name}{_SUFFIX}").read_bytes()
