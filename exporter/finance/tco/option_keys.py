"""The keys of an option: owned, rented, hosted or hybrid."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal

from exporter.config.document import Node, Scalar
from exporter.config.hardware import DOLLARS_PER_HOUR, DOLLARS_PER_YEAR, PURCHASE, EnergyKeys, OwnedKeys
from exporter.config.model import keys_of
from exporter.config.problems import RefusedError, shown
from exporter.config.schema import (
    Context,
    Key,
    ListItem,
    ListOf,
    MappingNode,
    Rule,
    Table,
    exactly_one,
    goes_with,
    missing,
    unique,
)
from exporter.config.times import DateValue
from exporter.config.values import DOLLAR_DECIMALS, Choice, Name, Number, ScalarValidator, Whole
from exporter.finance.tco import scenario
from exporter.tariff.terms import Electricity, Owned

_OWNED_KEYS: Final = {key.name: key for key in keys_of(OwnedKeys)}
_ENERGY_KEYS: Final = {key.name: key for key in keys_of(EnergyKeys)}
RESIDUAL: Final = _OWNED_KEYS["residual_ratio"]
ADDERS: Final = _OWNED_KEYS["adders_ratio"]
COST_OF_CAPITAL: Final = _OWNED_KEYS["cost_of_capital_ratio"]
KILOWATT_HOUR: Final = _ENERGY_KEYS["dollars_per_kilowatt_hour"]
PUE: Final = _ENERGY_KEYS["pue_ratio"]

PROSE_CHARACTERS: Final = 600
MOST_LIFE_YEARS: Final = 30
QUARTER: Final = Fraction(1, 4)
CURRENCY: Final = "USD"


@dataclass(frozen=True, slots=True)
class Prose(ScalarValidator[str]):
    """A sentence for people, on one line."""

    expected: str

    def parse(self, written: Scalar) -> str:
        """The sentence without spaces around it."""
        text = written.text.strip()
        if not text or len(text) > PROSE_CHARACTERS or not text.isprintable():
            raise RefusedError(
                f"{shown(text)} is no {self.expected}: "
                f"1 to {PROSE_CHARACTERS} printable characters on one line"
            )
        return text


@dataclass(frozen=True, slots=True)
class Currency(ScalarValidator[str]):
    """Dollars; another currency is refused with what to do."""

    expected: str = CURRENCY

    @property
    def example(self) -> str:
        """What is expected, for a list or a mapping."""
        return "currency"

    def parse(self, written: Scalar) -> str:
        """The currency itself."""
        text = written.text
        if text != CURRENCY:
            raise RefusedError(
                f"{shown(text)} is not {CURRENCY}: every amount is in dollars; convert them, "
                "and say the rate under source"
            )
        return text


@dataclass(frozen=True, slots=True)
class Life:
    """A life in years that is a whole number of months, since costs are by month.

    As a decimal that is a whole number of quarters.
    """

    @property
    def expected(self) -> str:
        """The bounds."""
        return f"years, above 0, up to {MOST_LIFE_YEARS}, in quarters"

    def read(self, node: Node, path: str, context: Context) -> Decimal:
        """As `Validator.read`."""
        years = Number("years", Decimal(MOST_LIFE_YEARS), above_low=True).read(node, path, context)
        if Fraction(years) % QUARTER:
            raise RefusedError(f"{shown(f'{years:f}')} is no whole number of quarters, like 3, 2.5 or 2.25")
        return years


SOURCE = Key("source", Prose("source"), "Source of these numbers, or a note that they are assumed.")
AS_OF = Key("as_of", DateValue(), "Date of these numbers.")

CHANGE_SHAPE: Final = Number("ratio per year", Decimal(10), Decimal("-0.9"))
CHANGE = Key(
    "price_change_ratio_per_year",
    CHANGE_SHAPE,
    "Change of the price from each year to the next: -0.1 is 10 % less.",
    default=Decimal(0),
)


def source_of(mapping: MappingNode) -> scenario.AmountSource:
    """The source that a mapping gives."""
    taken = mapping.get(AS_OF)
    return scenario.AmountSource(mapping.get(SOURCE) or "", "" if taken is None else taken.text)


YesNo = Literal["true", "false"]
YES_NO: Choice[YesNo] = Choice(("true", "false"))

GPUS_PER_HOST = Key("gpus_per_host", Whole("GPUs", 1, 1024), "GPUs of one host.", required=True)
HOSTS = Key("hosts", Whole("hosts", 1, 10_000), "Minimum number of hosts; the load may need more.", default=1)
THROUGHPUT: Final = Number("tokens per second", Decimal(10**9), above_low=True)
PER_HOST_SECOND = Key(
    "tokens_per_second_per_host",
    THROUGHPUT,
    "Peak throughput of one host, prompt and generation together, in the mix of the load. Without it the "
    "hosts are assumed to suffice, and their utilization is unknown.",
)
PER_GPU_SECOND = Key("tokens_per_second_per_gpu", THROUGHPUT, "The same for one GPU.")
UTILIZATION = Key(
    "utilization_ratio",
    Number("ratio", Decimal(1), above_low=True),
    "Greatest utilization on the mean of a day before another host is added; the rest is for peaks.",
)
FLEET_KEYS: Final = (GPUS_PER_HOST, HOSTS, PER_HOST_SECOND, PER_GPU_SECOND, UTILIZATION)


def _throughput_and_utilization(mapping: MappingNode) -> None:
    given = [key for key in (PER_HOST_SECOND, PER_GPU_SECOND) if key in mapping]
    if len(given) > 1:
        mapping.refuse(given[1], f"cannot be combined with {given[0].name}; keep one of them")
    if given and UTILIZATION not in mapping:
        mapping.refuse(None, missing(UTILIZATION))
    if UTILIZATION in mapping and not given:
        mapping.refuse(UTILIZATION, f"goes with {PER_HOST_SECOND.name} only; remove it")


def _fleet(mapping: MappingNode, hours_ratio: Decimal = Decimal(1)) -> scenario.Fleet:
    gpus = mapping[GPUS_PER_HOST]
    of_host, of_gpu = mapping.get(PER_HOST_SECOND), mapping.get(PER_GPU_SECOND)
    throughput = Fraction(of_host) if of_host is not None else None
    if of_gpu is not None:
        throughput = Fraction(of_gpu) * gpus
    return scenario.Fleet(
        gpus=gpus,
        hosts=mapping[HOSTS],
        tokens_per_second=throughput,
        utilization_ratio=Fraction(mapping.get(UTILIZATION) or 1),
        hours_ratio=Fraction(hours_ratio),
    )


PURCHASE_PER_HOST = Key(
    "purchase_dollars_per_host", PURCHASE, "Price of one host; the yearly amounts are then per host too."
)
PURCHASE_PER_GPU = Key(
    "purchase_dollars_per_gpu",
    PURCHASE,
    "Price of one GPU with its part of the host; the yearly amounts are then per GPU too.",
)
LIFE_YEARS = Key("life_years", Life(), "Years of amortization of the purchase.", required=True)
SUPPORT = Key(
    "support_dollars_per_year", DOLLARS_PER_YEAR, "The support contract, every year.", default=Decimal(0)
)
INSURANCE = Key("insurance_dollars_per_year", DOLLARS_PER_YEAR, "Insurance, every year.", default=Decimal(0))
REFRESH = Key(
    "refresh",
    YES_NO,
    "Whether the same host replaces one at the end of its life; with false it continues without capital "
    "cost.",
    default="true",
)


def _owned(mapping: MappingNode) -> scenario.OwnedHosts:
    gpus = mapping[GPUS_PER_HOST]
    per_host = mapping.get(PURCHASE_PER_HOST)
    units = 1 if per_host is not None else gpus
    ownership = Owned(
        purchase_dollars=(mapping[PURCHASE_PER_GPU] if per_host is None else per_host) * units,
        gpus=gpus,
        in_service=0,
        in_service_text="",
        life_years=mapping[LIFE_YEARS],
        residual_ratio=mapping[RESIDUAL],
        adders_ratio=mapping[ADDERS],
        support_dollars_per_year=mapping[SUPPORT] * units,
        insurance_dollars_per_year=mapping[INSURANCE] * units,
        cost_of_capital_ratio=mapping.get(COST_OF_CAPITAL) or None,
    )
    return scenario.OwnedHosts(ownership, _fleet(mapping), refresh=mapping[REFRESH] == "true")


OWNED = Key(
    "owned",
    Table(
        (
            PURCHASE_PER_HOST,
            PURCHASE_PER_GPU,
            *FLEET_KEYS,
            LIFE_YEARS,
            RESIDUAL,
            ADDERS,
            SUPPORT,
            INSURANCE,
            COST_OF_CAPITAL,
            REFRESH,
        ),
        _owned,
        (exactly_one(PURCHASE_PER_HOST, PURCHASE_PER_GPU), _throughput_and_utilization),
    ),
    "Hosts to buy.",
)

PER_GPU_HOUR = Key("dollars_per_gpu_hour", DOLLARS_PER_HOUR, "Price of one GPU per hour.")
PER_HOST_HOUR = Key("dollars_per_host_hour", DOLLARS_PER_HOUR, "Price of one host per hour.")
HOURS_RATIO = Key(
    "hours_ratio",
    Number("ratio", Decimal(1), above_low=True),
    "Share of all hours in which the hosts are up and billed.",
    default=Decimal(1),
)


def _rented(mapping: MappingNode) -> scenario.RentedHosts:
    per_host = mapping.get(PER_HOST_HOUR)
    if per_host is None:
        per_host = mapping[PER_GPU_HOUR] * mapping[GPUS_PER_HOST]
    return scenario.RentedHosts(Fraction(per_host), _fleet(mapping, mapping[HOURS_RATIO]))


RENTED = Key(
    "rented",
    Table(
        (PER_GPU_HOUR, PER_HOST_HOUR, *FLEET_KEYS, HOURS_RATIO),
        _rented,
        (exactly_one(PER_GPU_HOUR, PER_HOST_HOUR), _throughput_and_utilization),
    ),
    "Hosts to rent by the hour.",
)

KILOWATTS_SHAPE: Final = Number("kilowatts", Decimal(1000))
KILOWATTS = Key(
    "kilowatts_per_host",
    KILOWATTS_SHAPE,
    "Power of a host at the plug under full load.",
    required=True,
)
IDLE_KILOWATTS = Key(
    "idle_kilowatts_per_host",
    KILOWATTS_SHAPE,
    "Power of an idle host; without it, that of full load. Between the two, power is linear in utilization.",
)


def _power(mapping: MappingNode) -> scenario.Power:
    full, idle = mapping[KILOWATTS], mapping.get(IDLE_KILOWATTS)
    return scenario.Power(
        price=Electricity(mapping[KILOWATT_HOUR], mapping[PUE]),
        kilowatts=Fraction(full),
        idle_kilowatts=Fraction(full if idle is None else idle),
        change_ratio_per_year=Fraction(mapping[CHANGE]),
        source=source_of(mapping),
    )


ENERGY = Key(
    "energy",
    Table((KILOWATT_HOUR, KILOWATTS, IDLE_KILOWATTS, PUE, CHANGE, SOURCE, AS_OF), _power),
    "Electricity of owned or rented hosts; without it none is charged.",
)


PER_MILLION: Final = Number("dollars per million tokens", Decimal(100_000), decimals=DOLLAR_DECIMALS)
PROMPT_PRICE = Key(
    "prompt_dollars_per_million_tokens", PER_MILLION, "Price of a million prompt tokens.", required=True
)
CACHED_PROMPT_PRICE = Key(
    "cached_prompt_dollars_per_million_tokens",
    PER_MILLION,
    "Price of a million prompt tokens from a cache; without it, that of any prompt tokens.",
)
GENERATION_PRICE = Key(
    "generation_dollars_per_million_tokens",
    PER_MILLION,
    "Price of a million generated tokens.",
    required=True,
)


def _hosted(mapping: MappingNode) -> scenario.Hosted:
    cached = mapping.get(CACHED_PROMPT_PRICE)
    return scenario.Hosted(
        {
            "prompt": Fraction(mapping[PROMPT_PRICE]),
            "cached_prompt": Fraction(mapping[PROMPT_PRICE] if cached is None else cached),
            "generation": Fraction(mapping[GENERATION_PRICE]),
        }
    )


HOSTED = Key(
    "hosted",
    Table((PROMPT_PRICE, CACHED_PROMPT_PRICE, GENERATION_PRICE), _hosted),
    "Tokens to buy by the million.",
)

OPTION_NAME: Final = Name("option name", reserved=(scenario.MEASURED,))
BASE = Key("base", OPTION_NAME, "The owned or rented option that serves the base load.", required=True)
REST = Key("rest", OPTION_NAME, "The hosted option that serves the rest.", required=True)
BASE_RATIO = Key("base_ratio", Number("ratio", Decimal(1)), "Share of the load that the base serves.")
BASE_TOKENS = Key(
    "base_tokens_per_day",
    Number("tokens per day", Decimal(10**15)),
    "The tokens of the load that the base serves; all of it while the load is less.",
)


def _hybrid(mapping: MappingNode) -> scenario.Hybrid:
    ratio, tokens = mapping.get(BASE_RATIO), mapping.get(BASE_TOKENS)
    return scenario.Hybrid(
        base=mapping[BASE],
        rest=mapping[REST],
        base_ratio=None if ratio is None else Fraction(ratio),
        base_tokens_per_day=None if tokens is None else Fraction(tokens),
    )


HYBRID = Key(
    "hybrid",
    Table((BASE, REST, BASE_RATIO, BASE_TOKENS), _hybrid, (exactly_one(BASE_RATIO, BASE_TOKENS),)),
    "Two other options together; a hybrid pays the items of both, each once.",
)

NAME = Key("name", OPTION_NAME, "The option's name.", required=True)
RATIO: Final = Number("ratio", Decimal(1000), above_low=True)
PROMPT_RATIO = Key(
    "prompt_tokens_ratio",
    RATIO,
    "Prompt tokens that this option needs for one of the load: 5 where retrieval makes prompts five times "
    "as long.",
    default=Decimal(1),
)
GENERATION_RATIO = Key(
    "generation_tokens_ratio",
    RATIO,
    "Generated tokens that this option needs for one of the load.",
    default=Decimal(1),
)
KINDS: Final = (OWNED, RENTED, HOSTED, HYBRID)


def _hybrids_take_all_from_their_parts(mapping: MappingNode) -> None:
    for key in (PROMPT_RATIO, GENERATION_RATIO, CHANGE):
        if HYBRID in mapping and key in mapping:
            mapping.refuse(key, "is taken from the hybrid's parts; remove it here")


def _option(mapping: MappingNode) -> scenario.Option:
    serving = mapping.get(OWNED) or mapping.get(RENTED) or mapping.get(HOSTED) or mapping[HYBRID]
    return scenario.Option(
        name=mapping[NAME],
        serving=serving,
        power=mapping.get(ENERGY),
        prompt_ratio=Fraction(mapping[PROMPT_RATIO]),
        generation_ratio=Fraction(mapping[GENERATION_RATIO]),
        change_ratio_per_year=Fraction(mapping[CHANGE]),
        source=source_of(mapping),
    )


MOST_OPTIONS: Final = 8


def _are_few(items: list[ListItem[scenario.Option]]) -> None:
    if len(items) > MOST_OPTIONS:
        items[MOST_OPTIONS].refuse(NAME.name, f"is more than {MOST_OPTIONS} options; compare fewer")


OPTION_RULES: Final[tuple[Rule, ...]] = (
    exactly_one(*KINDS),
    goes_with(ENERGY, OWNED, RENTED),
    _hybrids_take_all_from_their_parts,
)
OPTIONS = Key(
    "options",
    ListOf(
        Table(
            (NAME, *KINDS, ENERGY, PROMPT_RATIO, GENERATION_RATIO, CHANGE, SOURCE, AS_OF),
            _option,
            OPTION_RULES,
            expected="option",
        ),
        (unique(NAME.name, lambda option: option.name, "choose another name"), _are_few),
        least=1,
    ),
    "The options to compare.",
    required=True,
)
