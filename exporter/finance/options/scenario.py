"""A scenario: options to compare over years, other costs, and the file that describes them."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from exporter.config import hardware
from exporter.config.document import Mapping, Node, Sequence
from exporter.config.load import contents, read
from exporter.config.problems import ConfigError, Problem, RefusedError, shown
from exporter.config.schema import (
    ListItem,
    ListOf,
    Model,
    Record,
    Table,
    exactly_one,
    field,
    refuse_key,
    unique,
)
from exporter.config.values import DOLLAR_DECIMALS, Choice, Context, Custom, Number, Whole, safe_name, scalar
from exporter.finance.options import option
from exporter.finance.options.option import MEASURED, MONTHS_PER_YEAR, Load, Option, Tokens, exact
from exporter.tariff import tariff

HOSTED: Final = "hosted"
"""The component of tokens that are bought."""

OWN_COMPONENTS: Final = (*tariff.MACHINE, HOSTED, *tariff.HARDWARE[len(tariff.MACHINE) :], tariff.ENERGY)
"""Components that the arithmetic itself makes; items have names of their own."""

HOURS_PER_DAY: Final = 24
CURRENCY: Final = "USD"
MOST_OPTIONS: Final = 8
MONTHS: Final = Whole("months", 1, option.MOST_YEARS * MONTHS_PER_YEAR)


class ScenarioItem(Record, frozen=True, kw_only=True):
    """A cost besides hardware and tokens: people, storage, network, data, fine-tuning."""

    component: Annotated[str, safe_name("component name", reserved=OWN_COMPONENTS)]
    """The component of the cost, like staff, storage, network, data or fine-tuning; several items may share
    one."""
    what: Annotated[str, option.prose("description")] = ""
    """Description of the item."""
    dollars: Annotated[
        Fraction | None, exact(Number("dollars", Decimal(100_000_000), decimals=DOLLAR_DECIMALS))
    ] = None
    """An amount paid once, or at an interval of months."""
    dollars_per_month: Annotated[
        Fraction | None, exact(Number("dollars", Decimal(10_000_000), decimals=DOLLAR_DECIMALS, per="month"))
    ] = None
    """An amount of every month."""
    dollars_per_year: Annotated[Fraction | None, exact(hardware.DOLLARS_PER_YEAR)] = None
    """An amount of every year, a twelfth each month."""
    month: Annotated[int | None, Whole("month", MONTHS.low, MONTHS.high)] = None
    """The month of the first payment, counted from 1; 1 unless given."""
    every_months: Annotated[int | None, MONTHS] = None
    """Months between payments."""
    count: Annotated[Fraction, exact(Number("count", Decimal(1_000_000)))] = option.ONE
    """Count: people, runs, sources."""
    per: Annotated[Literal["option", "host", "gpu"], Choice(("option", "host", "gpu"))] = "option"
    """Unit of the amount: the whole option, each host or each GPU."""
    price_change_ratio_per_year: option.PriceChange = option.ZERO
    options: Annotated[tuple[str, ...] | None, ListOf(safe_name("option name"), least=1)] = None
    """The options that pay it, measured among them with --measured; every option unless given."""
    source: option.Source = ""
    as_of: option.AsOf = ""

    def __post_init__(self) -> None:
        exactly_one(
            dollars=self.dollars is not None,
            dollars_per_month=self.dollars_per_month is not None,
            dollars_per_year=self.dollars_per_year is not None,
        )
        if self.dollars is None:
            for name, value in (("month", self.month), ("every_months", self.every_months)):
                if value is not None:
                    raise RefusedError("goes with dollars only; remove it", key=name)
        elif self.per != "option":
            reason = "goes with amounts per month or year; what each host costs once is in adders_ratio"
            raise RefusedError(reason, key="per")

    @property
    def first_month(self) -> int:
        """The month of an amount paid once, counted from 1."""
        return self.month or 1

    def due(self, month: int) -> Fraction:
        """Dollars of one unit in a month, counted from 1, at the prices of the first year."""
        if self.dollars_per_month is not None:
            return self.count * self.dollars_per_month
        if self.dollars_per_year is not None:
            return self.count * self.dollars_per_year / MONTHS_PER_YEAR
        since = month - self.first_month
        again = self.every_months is not None and since > 0 and since % self.every_months == 0
        if self.dollars is None or not (since == 0 or again):
            return option.ZERO
        return self.count * self.dollars

    def paid_by(self, payer: Option) -> bool:
        """Whether an option pays it; a hybrid pays what its parts pay, each item once."""
        return self.options is None or not (payer.parts | {payer.name}).isdisjoint(self.options)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Options to compare over years of twelve equal months."""

    name: str
    """The title of the report."""
    description: str
    """What the scenario is for; empty where not given."""
    horizon_years: int
    """Years that are compared."""
    hours_per_month: Fraction
    """Hours of each of the twelve months."""
    load: Load | None
    """The load of a mean day; `None` where none is known."""
    options: tuple[Option, ...]
    """The options, in the order of the file."""
    items: tuple[ScenarioItem, ...] = ()
    """Costs other than hardware and tokens."""
    currency: str = CURRENCY
    """The currency of every amount."""

    @property
    def months(self) -> int:
        """The horizon in months."""
        return self.horizon_years * MONTHS_PER_YEAR

    @property
    def days_per_month(self) -> Fraction:
        """Days in a month."""
        return self.hours_per_month / HOURS_PER_DAY

    def option(self, name: str) -> Option:
        """The option of a name that is known to be there."""
        return next(choice for choice in self.options if choice.name == name)

    def changes(self, ratio_per_year: Fraction) -> tuple[Fraction, ...]:
        """What changes at a ratio, in each year, relative to the first."""
        return tuple((1 + ratio_per_year) ** year for year in range(self.horizon_years))

    @property
    def yearly_loads(self) -> tuple[Tokens, ...] | None:
        """The load of each year; `None` where none is known."""
        load = self.load
        if load is None:
            return None
        growths = self.changes(load.growth_ratio_per_year)
        return tuple(option.scaled(load.tokens, growth) for growth in growths)

    @property
    def measured(self) -> Option | None:
        """The measured option, if there is one."""
        measured = (choice for choice in self.options if isinstance(choice.serving, option.AsMeasured))
        return next(measured, None)

    @property
    def outgrows_measured(self) -> bool:
        """Whether the load grows beyond the measured one within the horizon."""
        load = self.load
        return load is not None and load.growth_ratio_per_year > 0 and self.horizon_years > 1

    def compared_months(self, *names: str) -> int:
        """Months for which options can be compared: as long as a measured one serves what it served."""
        measured = self.measured
        if measured is None or measured.name not in names or not self.outgrows_measured:
            return self.months
        return MONTHS_PER_YEAR


def _are_few(items: list[ListItem[Option]]) -> None:
    if len(items) > MOST_OPTIONS:
        items[MOST_OPTIONS].refuse("name", f"is more than {MOST_OPTIONS} options; compare fewer")


def _currency(node: Node, _: Context) -> str:
    """Dollars; another currency is refused with what to do."""
    written = scalar(node, "currency")
    if written.text != CURRENCY:
        raise RefusedError(
            f"{shown(written.text)} is not {CURRENCY}: every amount is in dollars; convert them, "
            "and say the rate under source"
        )
    return written.text


class ScenarioKeys(Model, kw_only=True):
    """The whole file."""

    builds = Scenario
    load_is_measured: ClassVar[bool] = False
    """Whether the load may be missing."""
    name: Annotated[str, option.prose("name"), "Name of the scenario."]
    description: Annotated[str, option.prose("description"), "Description of the scenario."] = field(
        name="about", default=""
    )
    currency: Annotated[str, Custom(CURRENCY, _currency), "The currency of every amount; there is one."] = (
        CURRENCY
    )
    horizon_years: Annotated[int, Whole("years", 1, option.MOST_YEARS), "Years to compare."]
    hours_per_month: Annotated[
        Fraction,
        exact(Number("hours", Decimal(744), Decimal(672))),
        "Hours of each of the twelve months of a year. 730 is 8760 a year, as in price lists; 730.5 is the "
        "calendar's mean, 8766 a year, as in the ledger.",
    ] = Fraction(730)
    load: Annotated[
        Load | None,
        Table(option.LoadKeys),
        "Load of an average day of the first year; --measured takes it from the ledger. Without a load there "
        "is no cost per token, and no option can be hosted.",
    ] = None
    options: Annotated[
        tuple[Option, ...],
        ListOf(
            Table(option.OptionKeys, "option"),
            (unique("name", lambda choice: choice.name, "choose another name"), _are_few),
            least=1,
        ),
        "The options to compare.",
    ]
    items: Annotated[
        tuple[ScenarioItem, ...], ListOf(Table(ScenarioItem, "item")), "Costs other than hardware and tokens."
    ] = ()

    def build(self) -> Scenario:
        """The scenario, with parts of hybrids, options of items and a load where they are needed."""
        kinds = {choice.name: type(choice.serving) for choice in self.options}
        for index, choice in enumerate(self.options):
            hybrid = choice.serving
            if not isinstance(hybrid, option.Hybrid):
                continue
            wrong = None
            if kinds.get(hybrid.base) not in (option.OwnedHosts, option.RentedHosts):
                wrong = f'"{hybrid.base}" must be an owned or rented option of this scenario'
            elif kinds.get(hybrid.rest) is not option.Hosted:
                wrong = f'"{hybrid.rest}" must be a hosted option of this scenario'
            if wrong:
                refuse_key(_item(self.node, "options", index), "hybrid", wrong)
        months = self.horizon_years * MONTHS_PER_YEAR
        for index, item in enumerate(self.items):
            unknown = sorted(set(item.options or ()) - kinds.keys() - {MEASURED})
            if unknown:
                message = f'"{unknown[0]}" is no option of this scenario'
                refuse_key(_item(self.node, "items", index), "options", message)
            if item.first_month > months:
                message = f"{item.month} is after the horizon of {months} months"
                refuse_key(_item(self.node, "items", index), "month", message)
        for choice in self.options if self.load is None and not self.load_is_measured else ():
            if isinstance(choice.serving, option.Hosted | option.Hybrid):
                tokens = f'the tokens of "{choice.name}" are bought by the million'
                self.refuse("load", f"is missing: {tokens}; give it, or --measured")
        built: Scenario = super().build()
        return built


def _item(mapping: Mapping, name: str, index: int) -> Node:
    """An item of a list in a mapping that was read."""
    items = mapping.value(name)
    assert isinstance(items, Sequence)  # noqa: S101  # its items are values already
    return items.items[index]


class MeasuredScenarioKeys(ScenarioKeys, kw_only=True):
    """A file whose load is taken from a ledger."""

    load_is_measured: ClassVar[bool] = True


SCENARIO: Final = Table(ScenarioKeys, "scenario")
MEASURED_SCENARIO: Final = Table(MeasuredScenarioKeys, "scenario")

_EXAMPLES: Final = files("exporter.finance.options") / "scenarios"
_SUFFIX: Final = ".yaml"


def parsed(data: bytes, file: str, *, measured: bool = False) -> Scenario:
    """The scenario of some bytes; `file` is what errors call them. A measured one needs no load.

    Raises:
        ConfigError: they say something that cannot be used.
    """
    given: Scenario = read(data, file, MEASURED_SCENARIO if measured else SCENARIO)
    return given


def scenario(path: Path, *, measured: bool = False) -> Scenario:
    """The scenario of a file.

    Raises:
        ConfigError: it cannot be read, or says something that cannot be used.
    """
    return parsed(contents(path), str(path), measured=measured)


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
        raise ConfigError(name, (Problem(f"is no example; there are {', '.join(names)}"),))
    return (_EXAMPLES / f"{name}{_SUFFIX}").read_bytes()
