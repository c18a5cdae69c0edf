"""Scenario files: the keys of a scenario, rules over several keys, reading, and the bundled examples."""

from decimal import Decimal
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import Annotated, ClassVar, Final, get_args

from exporter.config import hardware
from exporter.config.document import Mapping, Node, Scalar, Sequence
from exporter.config.load import contents, read
from exporter.config.problems import ConfigError, Problem, RefusedError, shown
from exporter.config.schema import ListItem, ListOf, Model, Table, field, refuse_key, unique
from exporter.config.times import DATE, DatedInstant
from exporter.config.values import (
    DOLLAR_DECIMALS,
    Choice,
    Context,
    Custom,
    Number,
    Text,
    Whole,
    printable,
    safe_name,
    scalar,
)
from exporter.finance.options.costs import OWN_COMPONENTS
from exporter.finance.options.scenario import (
    MEASURED,
    MONTHS_PER_YEAR,
    AmountSource,
    Fleet,
    Hosted,
    Hybrid,
    Load,
    Option,
    OwnedHosts,
    Per,
    Power,
    RentedHosts,
    Scenario,
    ScenarioItem,
)
from exporter.tariff.terms import Electricity, Owned

PROSE_CHARACTERS: Final = 600
MOST_YEARS: Final = 30
QUARTER: Final = Fraction(1, 4)
CURRENCY: Final = "USD"
MOST_OPTIONS: Final = 8
ZERO, ONE = Decimal(0), Decimal(1)


def prose(expected: str) -> Text[str]:
    """A sentence for people, on one line, without spaces around it."""

    def parse(written: Scalar) -> str:
        text = written.text.strip()
        if not printable(PROSE_CHARACTERS)(text):
            form = f"1 to {PROSE_CHARACTERS} printable characters on one line"
            raise RefusedError(f"{shown(text)} is no {expected}: {form}")
        return text

    return Text(expected, parse)


def _currency(node: Node, _: Context) -> str:
    """Dollars; another currency is refused with what to do."""
    written = scalar(node, "currency")
    if written.text != CURRENCY:
        raise RefusedError(
            f"{shown(written.text)} is not {CURRENCY}: every amount is in dollars; convert them, "
            "and say the rate under source"
        )
    return written.text


def _life(node: Node, context: Context) -> Decimal:
    """Years that are whole months, since costs are by month: as a decimal, whole quarters."""
    years = Number("years", Decimal(MOST_YEARS), above_low=True).read(node, context)
    if Fraction(years) % QUARTER:
        raise RefusedError(f"{shown(f'{years:f}')} is no whole number of quarters, like 3, 2.5 or 2.25")
    return years


LIFE: Final = Custom(f"years, above 0, up to {MOST_YEARS}, in quarters", _life)
CHANGE: Final = Number("ratio per year", Decimal(10), Decimal("-0.9"))
THROUGHPUT: Final = Number("tokens per second", Decimal(10**9), above_low=True)
PART: Final = Number("ratio", ONE, above_low=True)
MULTIPLE: Final = Number("ratio", Decimal(1000), above_low=True)
KILOWATTS: Final = Number("kilowatts", Decimal(1000))
TOKENS: Final = Number("tokens per day", Decimal(10**15))
PER_MILLION: Final = Number("dollars per million tokens", Decimal(100_000), decimals=DOLLAR_DECIMALS)
OPTION_NAME: Final = safe_name("option name", reserved=(MEASURED,))

Source = Annotated[str, prose("source"), "Source of these numbers, or a note that they are assumed."]
AsOf = Annotated[DatedInstant | None, DATE, "Date of these numbers."]
PriceChange = Annotated[Decimal, CHANGE, "Change of the price from each year to the next: -0.1 is 10 % less."]
GpusPerHost = Annotated[int, Whole("GPUs", 1, 1024), "GPUs of one host."]
Hosts = Annotated[int, Whole("hosts", 1, 10_000), "Minimum number of hosts; the load may need more."]
PerHostSecond = Annotated[
    Decimal | None,
    THROUGHPUT,
    "Peak throughput of one host, prompt and generation together, in the mix of the load. Without it the "
    "hosts are assumed to suffice, and their utilization is unknown.",
]
PerGpuSecond = Annotated[Decimal | None, THROUGHPUT, "The same for one GPU."]
Utilization = Annotated[
    Decimal | None,
    PART,
    "Greatest utilization on the mean of a day before another host is added; the rest is for peaks.",
]


def _source(keys: "LoadKeys | OptionKeys | PowerKeys | ItemKeys") -> AmountSource:
    return AmountSource(keys.source, "" if keys.as_of is None else keys.as_of.text)


class LoadKeys(Model, kw_only=True):
    """Tokens of a day by kind."""

    prompt_tokens_per_day: Annotated[Decimal, TOKENS, "Prompt tokens to compute."] = ZERO
    cached_prompt_tokens_per_day: Annotated[Decimal, TOKENS, "Prompt tokens from a prefix cache."] = ZERO
    generation_tokens_per_day: Annotated[Decimal, TOKENS, "Generated tokens."] = ZERO
    growth_ratio_per_year: Annotated[
        Decimal, CHANGE, "Change of the load from each year to the next, compounding: 0.5 is 50 % more."
    ] = ZERO
    source: Source = ""
    as_of: AsOf = None

    def build(self) -> Load:
        """The load."""
        load = Load(
            tokens={
                "prompt": Fraction(self.prompt_tokens_per_day),
                "cached_prompt": Fraction(self.cached_prompt_tokens_per_day),
                "generation": Fraction(self.generation_tokens_per_day),
            },
            growth_ratio_per_year=Fraction(self.growth_ratio_per_year),
            source=_source(self),
        )
        if not load.total:
            self.refuse("", "has no tokens; give some, or leave the load out")
        return load


def _fleet(keys: "OwnedHostKeys | RentedHostKeys", hours_ratio: Decimal = ONE) -> Fleet:
    given = [name for name in ("tokens_per_second_per_host", "tokens_per_second_per_gpu") if keys.has(name)]
    if len(given) > 1:
        keys.refuse(given[1], f"cannot be combined with {given[0]}; keep one of them")
    if given:
        keys.needs("utilization_ratio")
    elif keys.has("utilization_ratio"):
        keys.refuse("utilization_ratio", "goes with tokens_per_second_per_host only; remove it")
    of_host, of_gpu = keys.tokens_per_second_per_host, keys.tokens_per_second_per_gpu
    throughput = None if of_host is None else Fraction(of_host)
    return Fleet(
        gpus=keys.gpus_per_host,
        hosts=keys.hosts,
        tokens_per_second=throughput if of_gpu is None else Fraction(of_gpu) * keys.gpus_per_host,
        utilization_ratio=Fraction(keys.utilization_ratio or 1),
        hours_ratio=Fraction(hours_ratio),
    )


class OwnedHostKeys(Model, kw_only=True):
    """Purchase of hosts."""

    purchase_dollars_per_host: Annotated[
        Decimal | None, hardware.PURCHASE, "Price of one host; the yearly amounts are then per host too."
    ] = None
    purchase_dollars_per_gpu: Annotated[
        Decimal | None,
        hardware.PURCHASE,
        "Price of one GPU with its part of the host; the yearly amounts are then per GPU too.",
    ] = None
    gpus_per_host: GpusPerHost
    hosts: Hosts = 1
    tokens_per_second_per_host: PerHostSecond = None
    tokens_per_second_per_gpu: PerGpuSecond = None
    utilization_ratio: Utilization = None
    life_years: Annotated[Decimal, LIFE, "Years of amortization of the purchase."]
    residual_ratio: hardware.ResidualRatio = ZERO
    adders_ratio: hardware.AddersRatio = ZERO
    support_dollars_per_year: Annotated[
        Decimal, hardware.DOLLARS_PER_YEAR, "The support contract, every year."
    ] = ZERO
    insurance_dollars_per_year: Annotated[Decimal, hardware.DOLLARS_PER_YEAR, "Insurance, every year."] = ZERO
    cost_of_capital_ratio: hardware.CostOfCapitalRatio = None
    refresh: Annotated[
        str,
        Choice(("true", "false")),
        "Whether the same host replaces one at the end of its life; with false it continues without capital "
        "cost.",
    ] = "true"

    def build(self) -> tuple[OwnedHosts, Fleet]:
        """The price of a host, and the hosts."""
        self.exactly_one("purchase_dollars_per_host", "purchase_dollars_per_gpu")
        fleet = _fleet(self)
        per_host, per_gpu = self.purchase_dollars_per_host, self.purchase_dollars_per_gpu
        units = 1 if per_gpu is None else fleet.gpus
        ownership = Owned(
            purchase_dollars=(per_host or ZERO) if per_gpu is None else per_gpu * units,
            gpus=fleet.gpus,
            in_service=0,
            in_service_text="",
            life_years=self.life_years,
            residual_ratio=self.residual_ratio,
            adders_ratio=self.adders_ratio,
            support_dollars_per_year=self.support_dollars_per_year * units,
            insurance_dollars_per_year=self.insurance_dollars_per_year * units,
            cost_of_capital_ratio=self.cost_of_capital_ratio or None,
        )
        return OwnedHosts(ownership, refresh=self.refresh == "true"), fleet


class RentedHostKeys(Model, kw_only=True):
    """Rent of hosts."""

    dollars_per_gpu_hour: Annotated[
        Decimal | None, hardware.DOLLARS_PER_HOUR, "Price of one GPU per hour."
    ] = None
    dollars_per_host_hour: Annotated[
        Decimal | None, hardware.DOLLARS_PER_HOUR, "Price of one host per hour."
    ] = None
    gpus_per_host: GpusPerHost
    hosts: Hosts = 1
    tokens_per_second_per_host: PerHostSecond = None
    tokens_per_second_per_gpu: PerGpuSecond = None
    utilization_ratio: Utilization = None
    hours_ratio: Annotated[Decimal, PART, "Share of all hours in which the hosts are up and billed."] = ONE

    def build(self) -> tuple[RentedHosts, Fleet]:
        """The price of a host, and the hosts."""
        self.exactly_one("dollars_per_gpu_hour", "dollars_per_host_hour")
        fleet = _fleet(self, self.hours_ratio)
        per_gpu = self.dollars_per_gpu_hour
        per_host = (self.dollars_per_host_hour or ZERO) if per_gpu is None else per_gpu * fleet.gpus
        return RentedHosts(Fraction(per_host)), fleet


class HostedKeys(Model, kw_only=True):
    """Prices of tokens."""

    prompt_dollars_per_million_tokens: Annotated[Decimal, PER_MILLION, "Price of a million prompt tokens."]
    cached_prompt_dollars_per_million_tokens: Annotated[
        Decimal | None,
        PER_MILLION,
        "Price of a million prompt tokens from a cache; without it, that of any prompt tokens.",
    ] = None
    generation_dollars_per_million_tokens: Annotated[
        Decimal, PER_MILLION, "Price of a million generated tokens."
    ]

    def build(self) -> tuple[Hosted, None]:
        """The prices by kind; there are no hosts."""
        prompt, cached = self.prompt_dollars_per_million_tokens, self.cached_prompt_dollars_per_million_tokens
        prices = Hosted(
            {
                "prompt": Fraction(prompt),
                "cached_prompt": Fraction(prompt if cached is None else cached),
                "generation": Fraction(self.generation_dollars_per_million_tokens),
            }
        )
        return prices, None


class HybridKeys(Model, kw_only=True):
    """Two other options, and the part of each."""

    base: Annotated[str, OPTION_NAME, "The owned or rented option that serves the base load."]
    rest: Annotated[str, OPTION_NAME, "The hosted option that serves the rest."]
    base_ratio: Annotated[Decimal | None, Number("ratio", ONE), "Share of the load that the base serves."] = (
        None
    )
    base_tokens_per_day: Annotated[
        Decimal | None,
        TOKENS,
        "The tokens of the load that the base serves; all of it while the load is less.",
    ] = None

    def build(self) -> tuple[Hybrid, None]:
        """The parts; the hosts are those of the base."""
        self.exactly_one("base_ratio", "base_tokens_per_day")
        ratio, tokens = self.base_ratio, self.base_tokens_per_day
        hybrid = Hybrid(
            base=self.base,
            rest=self.rest,
            base_ratio=None if ratio is None else Fraction(ratio),
            base_tokens_per_day=None if tokens is None else Fraction(tokens),
        )
        return hybrid, None


class PowerKeys(Model, kw_only=True):
    """Price of electricity and power of a host."""

    dollars_per_kilowatt_hour: hardware.KilowattHourDollars
    kilowatts_per_host: Annotated[Decimal, KILOWATTS, "Power of a host at the plug under full load."]
    idle_kilowatts_per_host: Annotated[
        Decimal | None,
        KILOWATTS,
        "Power of an idle host; without it, that of full load. Between the two, power is linear in "
        "utilization.",
    ] = None
    pue_ratio: hardware.PueRatio = ONE
    price_change_ratio_per_year: PriceChange = ZERO
    source: Source = ""
    as_of: AsOf = None

    def build(self) -> Power:
        """Price and power."""
        full, idle = self.kilowatts_per_host, self.idle_kilowatts_per_host
        return Power(
            price=Electricity(self.dollars_per_kilowatt_hour, self.pue_ratio),
            kilowatts=Fraction(full),
            idle_kilowatts=Fraction(full if idle is None else idle),
            change_ratio_per_year=Fraction(self.price_change_ratio_per_year),
            source=_source(self),
        )


class OptionKeys(Model, kw_only=True):
    """One option, of one of four kinds."""

    name: Annotated[str, OPTION_NAME, "The option's name."]
    owned: Annotated[tuple[OwnedHosts, Fleet] | None, Table(OwnedHostKeys), "Hosts to buy."] = None
    rented: Annotated[
        tuple[RentedHosts, Fleet] | None, Table(RentedHostKeys), "Hosts to rent by the hour."
    ] = None
    hosted: Annotated[tuple[Hosted, None] | None, Table(HostedKeys), "Tokens to buy by the million."] = None
    hybrid: Annotated[
        tuple[Hybrid, None] | None,
        Table(HybridKeys),
        "Two other options together; a hybrid pays the items of both, each once.",
    ] = None
    energy: Annotated[
        Power | None, Table(PowerKeys), "Electricity of owned or rented hosts; without it none is charged."
    ] = None
    prompt_tokens_ratio: Annotated[
        Decimal,
        MULTIPLE,
        "Prompt tokens that this option needs for one of the load: 5 where retrieval makes prompts five "
        "times as long.",
    ] = ONE
    generation_tokens_ratio: Annotated[
        Decimal, MULTIPLE, "Generated tokens that this option needs for one of the load."
    ] = ONE
    price_change_ratio_per_year: PriceChange = ZERO
    source: Source = ""
    as_of: AsOf = None

    def build(self) -> Option:
        """The option."""
        self.exactly_one("owned", "rented", "hosted", "hybrid")
        self.goes_with("energy", "owned", "rented")
        for name in ("prompt_tokens_ratio", "generation_tokens_ratio", "price_change_ratio_per_year"):
            if self.hybrid is not None and self.has(name):
                self.refuse(name, "is taken from the hybrid's parts; remove it here")
        chosen = self.owned or self.rented or self.hosted or self.hybrid
        assert chosen is not None  # noqa: S101  # exactly one is given
        serving, fleet = chosen
        return Option(
            name=self.name,
            serving=serving,
            fleet=fleet,
            power=self.energy,
            prompt_ratio=Fraction(self.prompt_tokens_ratio),
            generation_ratio=Fraction(self.generation_tokens_ratio),
            change_ratio_per_year=Fraction(self.price_change_ratio_per_year),
            source=_source(self),
        )


def _are_few(items: list[ListItem[Option]]) -> None:
    if len(items) > MOST_OPTIONS:
        items[MOST_OPTIONS].refuse("name", f"is more than {MOST_OPTIONS} options; compare fewer")


class ItemKeys(Model, kw_only=True):
    """A cost besides hardware and tokens."""

    component: Annotated[
        str,
        safe_name("component name", reserved=OWN_COMPONENTS),
        "The component of the cost, like staff, storage, network, data or fine-tuning; several items may "
        "share one.",
    ]
    what: Annotated[str, prose("description"), "Description of the item."] = ""
    dollars: Annotated[
        Decimal | None,
        Number("dollars", Decimal(100_000_000), decimals=DOLLAR_DECIMALS),
        "An amount paid once, or at an interval of months.",
    ] = None
    dollars_per_month: Annotated[
        Decimal | None,
        Number("dollars per month", Decimal(10_000_000), decimals=DOLLAR_DECIMALS),
        "An amount of every month.",
    ] = None
    dollars_per_year: Annotated[
        Decimal | None, hardware.DOLLARS_PER_YEAR, "An amount of every year, a twelfth each month."
    ] = None
    month: Annotated[
        int | None,
        Whole("month", 1, MOST_YEARS * MONTHS_PER_YEAR),
        "The month of the first payment, counted from 1; 1 unless given.",
    ] = None
    every_months: Annotated[
        int | None, Whole("months", 1, MOST_YEARS * MONTHS_PER_YEAR), "Months between payments."
    ] = None
    count: Annotated[Decimal, Number("count", Decimal(1_000_000)), "Count: people, runs, sources."] = ONE
    per: Annotated[
        Per, Choice(get_args(Per)), "Unit of the amount: the whole option, each host or each GPU."
    ] = "option"
    price_change_ratio_per_year: PriceChange = ZERO
    options: Annotated[
        tuple[str, ...] | None,
        ListOf(safe_name("option name"), least=1),
        f"The options that pay it, {MEASURED} among them with --measured; every option unless given.",
    ] = None
    source: Source = ""
    as_of: AsOf = None

    def build(self) -> ScenarioItem:
        """The item."""
        self.exactly_one("dollars", "dollars_per_month", "dollars_per_year")
        self.goes_with("month", "dollars")
        self.goes_with("every_months", "dollars")
        if self.dollars is not None and self.per != "option":
            message = "goes with amounts per month or year; what each host costs once is in adders_ratio"
            self.refuse("per", message)
        once = self.dollars is not None
        amounts = self.dollars, self.dollars_per_month, self.dollars_per_year
        return ScenarioItem(
            component=self.component,
            dollars=Fraction(next(amount for amount in amounts if amount is not None)),
            period="once" if once else "year" if self.dollars_per_month is None else "month",
            what=self.what,
            month=self.month or 1,
            every_months=self.every_months,
            count=Fraction(self.count),
            per=self.per,
            change_ratio_per_year=Fraction(self.price_change_ratio_per_year),
            options=self.options,
            source=_source(self),
        )


class ScenarioKeys(Model, kw_only=True):
    """The whole file."""

    load_is_measured: ClassVar[bool] = False
    """Whether the load may be missing."""
    name: Annotated[str, prose("name"), "Name of the scenario."]
    description: Annotated[str, prose("description"), "Description of the scenario."] = field(
        name="about", default=""
    )
    currency: Annotated[str, Custom(CURRENCY, _currency), "The currency of every amount; there is one."] = (
        CURRENCY
    )
    horizon_years: Annotated[int, Whole("years", 1, MOST_YEARS), "Years to compare."]
    hours_per_month: Annotated[
        Decimal,
        Number("hours", Decimal(744), Decimal(672)),
        "Hours of each of the twelve months of a year. 730 is 8760 a year, as in price lists; 730.5 is the "
        "calendar's mean, 8766 a year, as in the ledger.",
    ] = Decimal(730)
    load: Annotated[
        Load | None,
        Table(LoadKeys),
        "Load of an average day of the first year; --measured takes it from the ledger. Without a load there "
        "is no cost per token, and no option can be hosted.",
    ] = None
    options: Annotated[
        tuple[Option, ...],
        ListOf(
            Table(OptionKeys, "option"),
            (unique("name", lambda option: option.name, "choose another name"), _are_few),
            least=1,
        ),
        "The options to compare.",
    ]
    items: Annotated[
        tuple[ScenarioItem, ...], ListOf(Table(ItemKeys, "item")), "Costs other than hardware and tokens."
    ] = ()

    def build(self) -> Scenario:
        """The scenario, with parts of hybrids, options of items and a load where they are needed."""
        kinds = {option.name: type(option.serving) for option in self.options}
        for index, option in enumerate(self.options):
            hybrid = option.serving
            if not isinstance(hybrid, Hybrid):
                continue
            wrong = None
            if kinds.get(hybrid.base) not in (OwnedHosts, RentedHosts):
                wrong = f'"{hybrid.base}" must be an owned or rented option of this scenario'
            elif kinds.get(hybrid.rest) is not Hosted:
                wrong = f'"{hybrid.rest}" must be a hosted option of this scenario'
            if wrong:
                refuse_key(_item(self.node, "options", index), "hybrid", wrong)
        months = self.horizon_years * MONTHS_PER_YEAR
        for index, item in enumerate(self.items):
            unknown = sorted(set(item.options or ()) - kinds.keys() - {MEASURED})
            if unknown:
                message = f'"{unknown[0]}" is no option of this scenario'
                refuse_key(_item(self.node, "items", index), "options", message)
            if item.month > months:
                message = f"{item.month} is after the horizon of {months} months"
                refuse_key(_item(self.node, "items", index), "month", message)
        for option in self.options if self.load is None and not self.load_is_measured else ():
            if isinstance(option.serving, Hosted | Hybrid):
                tokens = f'the tokens of "{option.name}" are bought by the million'
                self.refuse("load", f"is missing: {tokens}; give it, or --measured")
        return Scenario(
            name=self.name,
            description=self.description,
            horizon_years=self.horizon_years,
            hours_per_month=Fraction(self.hours_per_month),
            load=self.load,
            options=self.options,
            items=self.items,
        )


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
    given: Scenario = read(data, file, MEASURED_SCENARIO if measured else SCENARIO)
    return given


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
