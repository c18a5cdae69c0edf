"""Options to serve a load, each a price and a capacity, and the keys of a scenario's file for them.

Amounts are exact. A class whose name ends in `Keys` is a mapping of the file that builds another record; a
`Record` is a mapping as it stands.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import Annotated, Final, TypeAlias

from exporter.config import hardware, values
from exporter.config.document import Node, Scalar
from exporter.config.problems import RefusedError, shown
from exporter.config.schema import Model, Record, Table, exactly_one
from exporter.config.times import DATE
from exporter.readings import KINDS, TokenKind
from exporter.tariff.terms import Owned
from exporter.units import NANOSECONDS_PER_DAY, NANOSECONDS_PER_SECOND

MEASURED: Final = "measured"
"""The name of the option whose cost is from the ledger."""

MONTHS_PER_YEAR: Final = 12
SECONDS_PER_DAY: Final = NANOSECONDS_PER_DAY // NANOSECONDS_PER_SECOND
PROSE_CHARACTERS: Final = 600
MOST_YEARS: Final = 30
QUARTER: Final = Fraction(1, 4)
ZERO: Final = Fraction(0)
ONE: Final = Fraction(1)

Tokens: TypeAlias = Mapping[TokenKind, Fraction]
"""Tokens a day by kind."""


def total(tokens: Tokens) -> Fraction:
    """Tokens of all kinds."""
    return sum(tokens.values(), ZERO)


def scaled(tokens: Tokens, factor: Fraction) -> Tokens:
    """A multiple of the tokens, in the same mix."""
    return {kind: count * factor for kind, count in tokens.items()}


def exact(number: values.Number) -> values.Custom[Fraction]:
    """A number of the file as a fraction, in which the months are calculated."""
    return values.Custom(number.expected, lambda node, context: Fraction(number.read(node, context)))


def prose(expected: str) -> values.Text[str]:
    """A sentence for people, on one line, without spaces around it."""

    def parse(written: Scalar) -> str:
        text = written.text.strip()
        if not values.printable(PROSE_CHARACTERS)(text):
            form = f"1 to {PROSE_CHARACTERS} printable characters on one line"
            raise RefusedError(f"{shown(text)} is no {expected}: {form}")
        return text

    return values.Text(expected, parse)


def _life(node: Node, context: values.Context) -> Decimal:
    """Years that are whole months, since costs are by month: as a decimal, whole quarters."""
    years = values.Number("years", Decimal(MOST_YEARS), above_low=True).read(node, context)
    if Fraction(years) % QUARTER:
        raise RefusedError(f"{shown(f'{years:f}')} is no whole number of quarters, like 3, 2.5 or 2.25")
    return years


LIFE: Final = values.Custom(f"years, above 0, up to {MOST_YEARS}, in quarters", _life)
CHANGE: Final = exact(values.Number("ratio", Decimal(10), Decimal("-0.9"), per="year"))
THROUGHPUT: Final = exact(values.Number("tokens per second", Decimal(10**9), above_low=True))
RATIO: Final = exact(values.Number("ratio", Decimal(1)))
PART: Final = exact(values.Number("ratio", Decimal(1), above_low=True))
MULTIPLE: Final = exact(values.Number("ratio", Decimal(1000), above_low=True))
KILOWATTS: Final = exact(values.Number("kilowatts", Decimal(1000)))
TOKENS: Final = exact(values.Number("tokens per day", Decimal(10**15)))
PER_MILLION: Final = exact(
    values.Number("dollars", Decimal(100_000), decimals=values.DOLLAR_DECIMALS, per="million tokens")
)
OPTION_NAME: Final = values.safe_name("option name", reserved=(MEASURED,))
DAY: Final = values.Custom(DATE.expected, lambda node, context: DATE.read(node, context).text)

Source = Annotated[str, prose("source"), "Source of these numbers, or a note that they are assumed."]
AsOf = Annotated[str, DAY, "Date of these numbers."]
PriceChange = Annotated[
    Fraction, CHANGE, "Change of the price from each year to the next: -0.1 is 10 % less."
]
GpusPerHost = Annotated[int, values.Whole("GPUs", 1, 1024), "GPUs of one host."]
Hosts = Annotated[int, values.Whole("hosts", 1, 10_000), "Minimum number of hosts; the load may need more."]
PerHostSecond = Annotated[
    Fraction | None,
    THROUGHPUT,
    "Peak throughput of one host, prompt and generation together, in the mix of the load. Without it the "
    "hosts are assumed to suffice, and their utilization is unknown.",
]
PerGpuSecond = Annotated[Fraction | None, THROUGHPUT, "The same for one GPU."]
Utilization = Annotated[
    Fraction | None,
    PART,
    "Greatest utilization on the mean of a day before another host is added; the rest is for peaks.",
]


@dataclass(frozen=True, slots=True)
class Load:
    """The load of a mean day of the first year."""

    tokens: Tokens
    growth_ratio_per_year: Fraction = ZERO
    source: str = ""
    """The source of its numbers; empty where not given."""
    as_of: str = ""
    """The day on which its numbers were taken."""

    @property
    def total(self) -> Fraction:
        """Tokens a day of all kinds."""
        return total(self.tokens)


class LoadKeys(Model, kw_only=True):
    """Tokens of a day by kind."""

    prompt_tokens_per_day: Annotated[Fraction, TOKENS] = ZERO
    """Prompt tokens to compute."""
    cached_prompt_tokens_per_day: Annotated[Fraction, TOKENS] = ZERO
    """Prompt tokens from a prefix cache."""
    generation_tokens_per_day: Annotated[Fraction, TOKENS] = ZERO
    """Generated tokens."""
    growth_ratio_per_year: Annotated[Fraction, CHANGE] = ZERO
    """Change of the load from each year to the next, compounding: 0.5 is 50 % more."""
    source: Source = ""
    as_of: AsOf = ""

    def build(self) -> Load:
        """The load."""
        tokens: Tokens = {
            "prompt": self.prompt_tokens_per_day,
            "cached_prompt": self.cached_prompt_tokens_per_day,
            "generation": self.generation_tokens_per_day,
        }
        if not total(tokens):
            self.refuse("", "has no tokens; give some, or leave the load out")
        return Load(tokens, self.growth_ratio_per_year, self.source, self.as_of)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Hosts of one kind: a capacity that grows with the load."""

    gpus: int
    """GPUs of a host."""
    hosts: int = 1
    """The least number of hosts."""
    tokens_per_second: Fraction | None = None
    """Throughput of one host at its best, in the mix of the load. A fleet without it never grows."""
    utilization_ratio: Fraction = ONE
    """The part of the throughput that is used on the mean of a day before another host is added."""
    hours_ratio: Fraction = ONE
    """The part of all hours in which the hosts are up."""

    @property
    def tokens_per_host_day(self) -> Fraction | None:
        """Tokens that one host serves in a day without a pause."""
        if self.tokens_per_second is None:
            return None
        return self.tokens_per_second * SECONDS_PER_DAY * self.hours_ratio

    @property
    def planned_tokens_per_host_day(self) -> Fraction | None:
        """Tokens that one host is planned to serve in a day."""
        most = self.tokens_per_host_day
        return None if most is None else most * self.utilization_ratio

    def needed(self, tokens: Tokens | None) -> int:
        """Hosts for so many tokens a day."""
        planned = self.planned_tokens_per_host_day
        if tokens is None or planned is None:
            return self.hosts
        return max(self.hosts, ceil(total(tokens) / planned))

    def busy(self, tokens: Tokens | None, hosts: int) -> Fraction | None:
        """The part of what so many hosts could serve that is served; `None` where it is not known."""
        most = self.tokens_per_host_day
        return None if tokens is None or most is None else total(tokens) / (most * hosts)


def _fleet(keys: "OwnedHostKeys | RentedHostKeys", hours_ratio: Fraction = ONE) -> Fleet:
    given = [name for name in ("tokens_per_second_per_host", "tokens_per_second_per_gpu") if keys.has(name)]
    if len(given) > 1:
        keys.refuse(given[1], f"cannot be combined with {given[0]}; keep one of them")
    if given:
        keys.needs("utilization_ratio")
    elif keys.has("utilization_ratio"):
        keys.refuse("utilization_ratio", "goes with tokens_per_second_per_host only; remove it")
    throughput = keys.tokens_per_second_per_host
    if keys.tokens_per_second_per_gpu is not None:
        throughput = keys.tokens_per_second_per_gpu * keys.gpus_per_host
    return Fleet(
        gpus=keys.gpus_per_host,
        hosts=keys.hosts,
        tokens_per_second=throughput,
        utilization_ratio=keys.utilization_ratio or ONE,
        hours_ratio=hours_ratio,
    )


@dataclass(frozen=True, slots=True)
class OwnedHosts:
    """The price of bought hosts."""

    ownership: Owned
    """Terms of one host; its life is a whole number of months."""
    refresh: bool = True
    """Whether a host is sold at its residual at the end of its life, and bought again. Else it runs on
    without capital cost."""

    @property
    def life_months(self) -> int:
        """The life in months."""
        return int(self.ownership.life_years * MONTHS_PER_YEAR)


class OwnedHostKeys(Model, kw_only=True):
    """Purchase of hosts."""

    purchase_dollars_per_host: hardware.HostPurchase = None
    purchase_dollars_per_gpu: hardware.GpuPurchase = None
    gpus_per_host: GpusPerHost
    hosts: Hosts = 1
    tokens_per_second_per_host: PerHostSecond = None
    tokens_per_second_per_gpu: PerGpuSecond = None
    utilization_ratio: Utilization = None
    life_years: Annotated[Decimal, LIFE]
    """Years of amortization of the purchase."""
    residual_ratio: hardware.ResidualRatio = Decimal(0)
    adders_ratio: hardware.AddersRatio = Decimal(0)
    support_dollars_per_year: hardware.SupportDollars = Decimal(0)
    insurance_dollars_per_year: hardware.InsuranceDollars = Decimal(0)
    cost_of_capital_ratio: hardware.CostOfCapitalRatio = None
    refresh: bool = True
    """Whether the same host replaces one at the end of its life; with false it continues without capital
    cost."""

    def build(self) -> tuple[OwnedHosts, Fleet]:
        """The price of a host, and the hosts."""
        self.exactly_one("purchase_dollars_per_host", "purchase_dollars_per_gpu")
        fleet = _fleet(self)
        purchase, units = self.purchase_dollars_per_host, 1
        if purchase is None:
            purchase, units = self.purchase_dollars_per_gpu or Decimal(0), fleet.gpus
        ownership = Owned(
            purchase_dollars=purchase * units,
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
        return OwnedHosts(ownership, refresh=self.refresh), fleet


@dataclass(frozen=True, slots=True)
class RentedHosts:
    """The price of hosts by the hour."""

    dollars_per_host_hour: Fraction


class RentedHostKeys(Model, kw_only=True):
    """Rent of hosts."""

    dollars_per_gpu_hour: Annotated[Decimal | None, hardware.DOLLARS_PER_HOUR] = None
    """Price of one GPU per hour."""
    dollars_per_host_hour: Annotated[Decimal | None, hardware.DOLLARS_PER_HOUR] = None
    """Price of one host per hour."""
    gpus_per_host: GpusPerHost
    hosts: Hosts = 1
    tokens_per_second_per_host: PerHostSecond = None
    tokens_per_second_per_gpu: PerGpuSecond = None
    utilization_ratio: Utilization = None
    hours_ratio: Annotated[Fraction, PART] = ONE
    """Share of all hours in which the hosts are up and billed."""

    def build(self) -> tuple[RentedHosts, Fleet]:
        """The price of a host, and the hosts."""
        self.exactly_one("dollars_per_gpu_hour", "dollars_per_host_hour")
        fleet = _fleet(self, self.hours_ratio)
        per_host = self.dollars_per_host_hour
        if per_host is None:
            per_host = (self.dollars_per_gpu_hour or Decimal(0)) * fleet.gpus
        return RentedHosts(Fraction(per_host)), fleet


@dataclass(frozen=True, slots=True)
class Hosted:
    """The price of tokens that are bought by the million."""

    dollars_per_million: Tokens


class HostedKeys(Model, kw_only=True):
    """Prices of tokens."""

    prompt_dollars_per_million_tokens: Annotated[Fraction, PER_MILLION]
    """Price of a million prompt tokens."""
    cached_prompt_dollars_per_million_tokens: Annotated[Fraction | None, PER_MILLION] = None
    """Price of a million prompt tokens from a cache; without it, that of any prompt tokens."""
    generation_dollars_per_million_tokens: Annotated[Fraction, PER_MILLION]
    """Price of a million generated tokens."""

    def build(self) -> tuple[Hosted, None]:
        """The prices by kind; there are no hosts."""
        prompt, cached = self.prompt_dollars_per_million_tokens, self.cached_prompt_dollars_per_million_tokens
        prices: Tokens = {
            "prompt": prompt,
            "cached_prompt": prompt if cached is None else cached,
            "generation": self.generation_dollars_per_million_tokens,
        }
        return Hosted(prices), None


@dataclass(frozen=True, slots=True)
class AsMeasured:
    """The present cost of a day by component, from the ledger, for the whole horizon."""

    dollars_per_day: Mapping[str, Fraction]
    estimated_dollars_per_day: Fraction = ZERO
    """The part at estimated prices."""


class Hybrid(Record, frozen=True):
    """An owned or rented option for the base load, and a hosted one for the rest, at their prices."""

    base: Annotated[str, OPTION_NAME]
    """The owned or rented option that serves the base load."""
    rest: Annotated[str, OPTION_NAME]
    """The hosted option that serves the rest."""
    base_ratio: Annotated[Fraction | None, RATIO] = None
    """Share of the load that the base serves."""
    base_tokens_per_day: Annotated[Fraction | None, TOKENS] = None
    """The tokens of the load that the base serves; all of it while the load is less."""

    def __post_init__(self) -> None:
        exactly_one(
            base_ratio=self.base_ratio is not None,
            base_tokens_per_day=self.base_tokens_per_day is not None,
        )

    def base_share(self, tokens: Tokens) -> Fraction:
        """The part of a load that the base serves."""
        if self.base_tokens_per_day is None:
            return self.base_ratio or ZERO
        whole = total(tokens)
        return min(ONE, self.base_tokens_per_day / whole) if whole else ONE


class Power(Record, frozen=True, kw_only=True):
    """Price of electricity and power of a host."""

    dollars_per_kilowatt_hour: hardware.KilowattHourDollars
    kilowatts_per_host: Annotated[Fraction, KILOWATTS]
    """Power of a host at the plug under full load."""
    idle_kilowatts_per_host: Annotated[Fraction | None, KILOWATTS] = None
    """Power of an idle host; without it, that of full load. Between the two, power is linear in
    utilization."""
    pue_ratio: hardware.PueRatio = Decimal(1)
    price_change_ratio_per_year: PriceChange = ZERO
    source: Source = ""
    as_of: AsOf = ""

    @property
    def idle_kilowatts(self) -> Fraction:
        """Power of an idle host."""
        idle = self.idle_kilowatts_per_host
        return self.kilowatts_per_host if idle is None else idle

    def dollars_per_hour(self, busy: Fraction | None, year: int) -> Fraction:
        """Electricity of one host in an hour of a year, counted from 0; full load where it is not known.

        At 3 kW idle and 10 kW busy, a half-busy host draws 6.5 kW: 1.30 dollars at 0.20 a kilowatt-hour.
        """
        idle = self.idle_kilowatts
        kilowatts = idle + (self.kilowatts_per_host - idle) * (ONE if busy is None else busy)
        kilowatt_hour = Fraction(self.dollars_per_kilowatt_hour) * Fraction(self.pue_ratio)
        return kilowatts * kilowatt_hour * (1 + self.price_change_ratio_per_year) ** year


Price: TypeAlias = OwnedHosts | RentedHosts | Hosted | Hybrid | AsMeasured


@dataclass(frozen=True, slots=True)
class Option:
    """One way to serve the load: a price, and a capacity."""

    name: str
    serving: Price
    """The price."""
    fleet: Fleet | None = None
    """The capacity of owned and rented hosts."""
    power: Power | None = None
    prompt_ratio: Fraction = ONE
    """Prompt tokens that this option needs for one of the load."""
    generation_ratio: Fraction = ONE
    change_ratio_per_year: Fraction = ZERO
    """Change of its own price from each year to the next."""
    price_factor: Fraction = ONE
    """Times its own price: that of the hardware with support and insurance, of the rent or of the tokens."""
    source: str = ""
    """The source of its price; empty where not given."""
    as_of: str = ""
    """The day of its price; empty where not given."""

    def tokens(self, load: Tokens) -> Tokens:
        """Tokens that this option processes to serve a load."""
        ratios = dict.fromkeys(KINDS, self.prompt_ratio) | {"generation": self.generation_ratio}
        return {kind: load.get(kind, ZERO) * ratios[kind] for kind in KINDS}

    def price(self, year: int) -> Fraction:
        """Times its own price in a year, counted from 0."""
        return self.price_factor * (1 + self.change_ratio_per_year) ** year

    @property
    def parts(self) -> frozenset[str]:
        """The names of the options of which it has its prices."""
        hybrid = self.serving
        return frozenset({hybrid.base, hybrid.rest} if isinstance(hybrid, Hybrid) else {self.name})


class OptionKeys(Model, kw_only=True):
    """One option, of one of four kinds."""

    name: Annotated[str, OPTION_NAME]
    """The option's name."""
    owned: Annotated[tuple[OwnedHosts, Fleet] | None, Table(OwnedHostKeys)] = None
    """Hosts to buy."""
    rented: Annotated[tuple[RentedHosts, Fleet] | None, Table(RentedHostKeys)] = None
    """Hosts to rent by the hour."""
    hosted: Annotated[tuple[Hosted, None] | None, Table(HostedKeys)] = None
    """Tokens to buy by the million."""
    hybrid: Annotated[Hybrid | None, Table(Hybrid)] = None
    """Two other options together; a hybrid pays the items of both, each once."""
    energy: Annotated[Power | None, Table(Power)] = None
    """Electricity of owned or rented hosts; without it none is charged."""
    prompt_tokens_ratio: Annotated[Fraction, MULTIPLE] = ONE
    """Prompt tokens that this option needs for one of the load: 5 where retrieval makes prompts five times as
    long."""
    generation_tokens_ratio: Annotated[Fraction, MULTIPLE] = ONE
    """Generated tokens that this option needs for one of the load."""
    price_change_ratio_per_year: PriceChange = ZERO
    source: Source = ""
    as_of: AsOf = ""

    def build(self) -> Option:
        """The option."""
        self.exactly_one("owned", "rented", "hosted", "hybrid")
        self.goes_with("energy", "owned", "rented")
        for name in ("prompt_tokens_ratio", "generation_tokens_ratio", "price_change_ratio_per_year"):
            if self.hybrid is not None and self.has(name):
                self.refuse(name, "is taken from the hybrid's parts; remove it here")
        serving, fleet = self.owned or self.rented or self.hosted or (self.hybrid, None)
        assert serving is not None  # noqa: S101  # exactly one is given
        return Option(
            name=self.name,
            serving=serving,
            fleet=fleet,
            power=self.energy,
            prompt_ratio=self.prompt_tokens_ratio,
            generation_ratio=self.generation_tokens_ratio,
            change_ratio_per_year=self.price_change_ratio_per_year,
            source=self.source,
            as_of=self.as_of,
        )
