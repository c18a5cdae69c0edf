"""The table of checks of the amounts of a configuration.

Each has the range that is usual, the range that passes without a warning, and the slips of unit that explain
an amount outside it: a host's price in a GPU's key, months for years, cents for dollars.

Thresholds are from the bundled catalogue where it has the GPU. Other figures are cited beside them; "survey"
is Uptime Institute's of 2022 and 2023, "infercost" the sample profiles of defilantech/infercost 30ccbcb.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Context, Decimal
from functools import partial
from typing import Final, NamedTuple

from exporter.config.values import plain
from exporter.tariff.catalogue import CATALOGUE
from exporter.tariff.csv_tables import CatalogueError
from exporter.tariff.gpu_models import GpuModel
from exporter.tariff.terms import Overhead, Owned, Per

HOURS_PER_MONTH: Final = 730
HOURS_PER_YEAR: Final = 8766

TWICE: Final = 2
"""An amount within twice the prices that are known is no mistake of unit."""

DEARER: Final = 3
"""A GPU costs in its host up to so many times what one costs alone: processors and disks are in it."""

MAGNITUDE: Final = 10
"""An amount so many times off the prices that are known is suspicious, whatever explains it."""

USUAL_GPUS: Final = 8
"""GPUs of a host of unknown model: the number of HGX boards, and of H100 to B300 at large clouds."""

_FIGURES: Final = Context(prec=6)


@dataclass(frozen=True, slots=True)
class Range:
    """Amounts from low to high, both included."""

    low: Decimal
    high: Decimal

    def __contains__(self, amount: Decimal) -> bool:
        return self.low <= amount <= self.high

    def __str__(self) -> str:
        return f"{plain(self.low)} to {plain(self.high)}"

    def __mul__(self, factor: Decimal | int) -> "Range":
        return Range(self.low * factor, self.high * factor)

    def widened(self, below: int, above: int) -> "Range":
        """From a part of the low end to a multiple of the high one."""
        return Range(self.low / below, self.high * above)

    @property
    def middle(self) -> Decimal:
        """The amount as many times above the low end as below the high one. 0 counts as a tenth of that."""
        low = self.low or self.high / 10
        return (low * self.high).sqrt()


Conversion = Callable[[Decimal], Decimal]
"""The amount that was meant by the one written."""


def _as_written(written: Decimal) -> Decimal:
    return written


def _over(divisor: Decimal | int) -> Conversion:
    return lambda written: written / divisor


def _times(factor: int) -> Conversion:
    return lambda written: written * factor


@dataclass(frozen=True, slots=True)
class Slip:
    """A probable mistake of unit."""

    question: str
    """It may name the amounts {written}, {meant}, and what was meant in {percent}."""
    meant: Conversion = _as_written
    line: str = "{key}: {meant}"
    """The line to write."""
    per: Decimal | int = 1
    """GPUs or hours of the amount that was meant, where its check is for one."""
    fits: Range | None = None
    """The amounts that the slip explains; `None` is the tolerated range."""


@dataclass(frozen=True, slots=True)
class AmountCheck:
    """The ranges and the probable mistakes of one amount."""

    what: str
    """The source of the usual range."""
    usual: Range
    """The range that a warning names."""
    tolerated: Range
    """Outside it an amount is suspicious where a slip explains it."""
    slips: tuple[Slip, ...]
    """Probable mistakes of unit."""
    typical: Decimal | None = None
    """Of several slips the one is taken whose amount is nearest to this; `None` is the middle of `usual`."""
    bounds: Range | None = None
    """Outside it an amount is suspicious always; `None` is the tolerated range."""
    unit: str = " dollars"
    """The unit behind a written amount."""

    def problem(self, key: str, amount: Decimal, compared: Decimal | None = None) -> str:
        """What is suspicious about the amount of a key, and what to write; empty for a plausible one.

        `compared` is the amount in the unit of the check, where that is another.
        """
        value = amount if compared is None else compared
        if amount == 0 or value in self.tolerated:
            return ""
        typical = self.usual.middle if self.typical is None else self.typical
        explained: list[tuple[Decimal, Slip]] = []
        for slip in self.slips:
            meant = slip.meant(amount) / slip.per
            if meant in (slip.fits or self.tolerated):
                factor = max(meant / typical, typical / meant) if meant else Decimal("Infinity")
                explained.append((factor, slip))
        if not explained and self.bounds is not None and value in self.bounds:
            return ""
        remedy = "check its unit"
        if explained:
            _, slip = min(explained, key=lambda pair: pair[0])
            meant = slip.meant(amount)
            remedy = f"{slip.question}? Write {slip.line}".format(
                key=key, written=plain(amount), meant=figure(meant), percent=figure(meant * 100)
            )
        written = f"{plain(amount)}{self.unit}"
        if value != amount:
            written += f", {figure(value)} per GPU,"
        how = "above" if value > self.usual.high else "below"
        return f"{written} is {how} {self.what} ({self.usual}): {remedy}"


def figure(amount: Decimal) -> str:
    """A divided amount in at most six digits."""
    return plain(_FIGURES.plus(amount))


def _range(low: str, high: str) -> Range:
    return Range(Decimal(low), Decimal(high))


_ratio_check: Final = partial(AmountCheck, unit="")

CENTS: Final = Slip("is it {written} cents", _over(100))
THOUSAND: Final = Slip("is it {written} thousand", _times(1000))
PERCENT_ON_TOP: Final = Slip("is it an overhead of {written} %", lambda written: 1 + written / 100)

# Depreciation of GPU servers: 4 years at Nebius, 5 at Amazon, 5.5 at Meta, 6 at CoreWeave; critics say 3.
LIFE: Final = AmountCheck(
    "the usual life of GPU servers",
    usual=_range("3", "6"),
    tolerated=_range("1", "10"),
    slips=(Slip("is it {written} months", _over(12)),),
    unit=" years",
)
# Accountants mostly take nothing. A used H100 brings 22,000 to 25,000 of 30,000 dollars while it is young.
RESIDUAL: Final = _ratio_check(
    "the usual residual value, as a part of the purchase",
    usual=_range("0", "0.5"),
    tolerated=_range("0", "0.6"),
    slips=(Slip("is it the part that is written off", lambda written: 1 - written),),
)
# Network is 10 to 20 % of a server's price, storage 5 to 10 %, racks and installation more.
ADDERS: Final = _ratio_check(
    "the usual cost of network and racks, as a part of the purchase",
    usual=_range("0", "0.5"),
    tolerated=_range("0", "1"),
    slips=(
        Slip("is the purchase itself in it", lambda written: written - 1),
        Slip("is it {written} %", _over(100)),
    ),
)
# GPU clouds borrow at 8 to 12 % a year.
CAPITAL: Final = _ratio_check(
    "the usual cost of capital per year",
    usual=_range("0.03", "0.15"),
    tolerated=_range("0.005", "0.3"),
    slips=(Slip("is it {percent} %", _over(10)), Slip("is it {percent} %", _times(100))),
)
# 0.08 where it is cheap, 0.12 for businesses, 0.15 for households in the United States (infercost); up to
# four times that in Europe.
KILOWATT_HOUR: Final = AmountCheck(
    "the usual price of a kilowatt-hour",
    usual=_range("0.03", "0.5"),
    tolerated=_range("0.005", "1"),
    slips=(
        CENTS,
        Slip("is it the price of a megawatt-hour", _over(1000)),
        Slip("is it {meant} dollars, divided by 100 twice", _times(100)),
        Slip("is it the price of a watt-hour", _times(1000)),
    ),
)
# The survey's average is 1.55 and 1.58; new buildings have 1.25, a room at home 1.0.
PUE: Final = _ratio_check(
    "the usual power usage effectiveness",
    usual=_range("1", "1.6"),
    tolerated=_range("1", "3"),
    slips=(PERCENT_ON_TOP,),
)
# 10.2 kW of an HGX H100 over 5.6 kW of its GPUs is 1.82. One L4 of 72 W in a server of 350 W has 4.9.
HOST_FACTOR: Final = _ratio_check(
    "the usual power of a host over that of its GPUs",
    usual=_range("1", "2.5"),
    tolerated=_range("1", "6"),
    slips=(PERCENT_ON_TOP,),
)
# Three years' commitment takes 65 % off an a2-highgpu of GCP. AWS's lowest spot price is a tenth of on
# demand.
DISCOUNT: Final = _ratio_check(
    "the discounts of commitments, as a part of the list price",
    usual=_range("0", "0.65"),
    tolerated=_range("0.01", "0.75"),
    slips=(
        Slip("is it the part that you pay", lambda written: 1 - written),
        Slip("is it {meant} as a part, divided by 100 twice", _times(100)),
    ),
)
SPOT_DISCOUNT: Final = replace(
    DISCOUNT,
    what="the discounts of spot prices, as a part of the list price",
    usual=_range("0", "0.9"),
    tolerated=_range("0.01", "0.95"),
)
# The cheapest GPU of the catalogue, a T4G at 0.42 dollars an hour, costs 306.60 a month.
BUDGET: Final = AmountCheck(
    "the usual budget of a month",
    usual=_range("1000", "10000000"),
    tolerated=_range("100", "100000000"),
    slips=(THOUSAND, Slip("is it in cents", _over(100))),
)

# Usual: the bundled list of 793 hosted models with open weights. Closed models cost up to 150 dollars for
# prompts and 600 for generation.
_PROMPT: Final = AmountCheck(
    "the list prices of hosted models",
    usual=_range("0.01", "5"),
    tolerated=_range("0.005", "200"),
    slips=(
        Slip("is it the price of a thousand tokens", _times(1000)),
        Slip("is it the price of one token", _times(1_000_000)),
        CENTS,
        Slip("is it the price of a billion tokens", _over(1000)),
    ),
)
PER_MILLION: Final = {
    "prompt": _PROMPT,
    "cached_prompt": replace(_PROMPT, usual=_range("0.003", "0.52"), tolerated=_range("0.0005", "100")),
    "generation": replace(_PROMPT, usual=_range("0.02", "22.5"), tolerated=_range("0.005", "700")),
}


class Limits(NamedTuple):
    """Ranges of an amount of which a check is made."""

    usual: Range
    tolerated: Range


# Staff is 0.10 to 0.30 dollars per GPU-hour. Colocation at 120 to 200 dollars per kW and month is 0.21 to
# 0.35 for an eighth of 10.2 kW. 2,000 dollars an hour staff a fleet of 7,000 GPUs at 0.30.
OVERHEAD: Final[Mapping[Per, Limits]] = {
    "gpu": Limits(_range("0", "1.5"), _range("0", "5")),
    "host": Limits(_range("0", "12"), _range("0", "40")),
    "fleet": Limits(_range("0", "500"), _range("0", "2000")),
}
"""Overheads of an hour."""
HOURS: Final = {"hour": 1, "month": HOURS_PER_MONTH, "year": HOURS_PER_YEAR}


def overhead_check(overhead: Overhead) -> AmountCheck:
    """Overheads by the hour, for a GPU, a host or the fleet."""
    hourly = OVERHEAD[overhead.per]
    hours = HOURS[overhead.period]
    slips = [
        Slip(
            f"is it the amount of a {period}",
            line=f"dollars_per_{period}: {{written}}",
            per=length,
            fits=hourly.usual,
        )
        for period, length in HOURS.items()
        if length > hours
    ]
    is_of_longer = any(overhead.amount_dollars / slip.per in hourly.usual for slip in slips)
    if overhead.per == "gpu" and not is_of_longer:
        per_hour = hours * USUAL_GPUS
        slips.append(Slip("is it for the whole host", line="per: host", per=per_hour, fits=hourly.usual))
    sharer = "GPU" if overhead.per == "gpu" else overhead.per
    return AmountCheck(
        f"the usual overhead of a {sharer} per {overhead.period}",
        usual=hourly.usual * hours,
        tolerated=hourly.tolerated * hours,
        slips=tuple(slips),
        typical=hourly.usual.middle,
    )


@dataclass(frozen=True, slots=True)
class Subject:
    """The hardware that a rule prices, of one model."""

    gpu: str
    """The name of the GPU, or the pattern of one; empty where there are several."""
    hosts: tuple[int, ...]
    """The sizes of its host, in GPUs."""

    def model(self) -> GpuModel | None:
        """The model of the catalogue, where there is one."""
        entry = None
        with suppress(CatalogueError):
            entry = CATALOGUE.gpu(self.gpu.strip("*")) if self.gpu else None
        return None if entry is None else entry.model

    def host_slips(self, key: str, fits: Range) -> list[Slip]:
        """The price of a whole host where that of one GPU belongs; `key` is the host's."""
        return [
            Slip(
                f"is it the price of a host of {count}",
                line=f"{key}: {{written}} and gpus_per_host: {count}",
                per=count,
                fits=fits,
            )
            for count in self.hosts
            if count > 1
        ]


# Where the model is not known: from a T4G at AWS to a GB300 at OCI, both of the catalogue.
ANY_RENT: Final = _range("0.42", "18")
TYPICAL_RENT: Final = Decimal(4)


def rent_check(subject: Subject, key: str, gpus: int) -> AmountCheck:
    """Rent of one GPU for an hour, by the list prices of its model."""
    what = "the hourly list prices of all GPUs"
    usual = ANY_RENT
    typical = TYPICAL_RENT
    model = subject.model()
    with suppress(CatalogueError):
        market = None if model is None else CATALOGUE.market(model.gpu_model)
        if market is not None:
            what = f"the hourly list prices of {market.gpu_model}"
            usual = Range(market.low, market.high)
            typical = market.dollars
    wide = usual.widened(MAGNITUDE, MAGNITUDE)
    slips = [Slip("is it the price of a month", _over(HOURS_PER_MONTH), per=gpus, fits=wide)]
    if gpus > 1:
        line = "dollars_per_gpu_hour: {written} without gpus_per_host"
        slips.append(Slip("is it the price of one GPU", line=line, fits=usual))
    elif key == "dollars_per_gpu_hour":
        slips += subject.host_slips("dollars_per_host_hour", usual.widened(TWICE, DEARER))
    tolerated = usual.widened(TWICE, TWICE)
    return AmountCheck(what, usual, tolerated, slips=tuple(slips), typical=typical, bounds=wide)


# Prices of one GPU in addition to the catalogue's, with its part of the server where that is known. H100 used
# to list, H200 and A100 by retail; B200 from 37,000 alone to 650,000 for a server of eight; GB200 by 3.1
# million for a rack of 72; L40S and L4 by retail.
PURCHASES: Final = {
    "A100-SXM4-80GB": _range("10000", "20000"),
    "A100": _range("6000", "20000"),
    "H100": _range("22000", "35000"),
    "H200": _range("28000", "35000"),
    "GB200": _range("43000", "81250"),
    "B200": _range("37000", "81250"),
    "L40S": _range("7500", "9750"),
    "L4": _range("2500", "3300"),
}
# From an RTX 5060 Ti to an eighth of a B200 server.
ANY_PURCHASE: Final = _range("400", "81250")
# Hosts of several GPUs mostly have those of data centers: from an A100.
ANY_PURCHASE_IN_HOST: Final = _range("10000", "81250")
TYPICAL_PURCHASE: Final = Decimal(30000)
ONE_GPU: Final = _range("10000", "43000")


def purchase_check(subject: Subject, key: str, gpus: int) -> AmountCheck:
    """Purchase of one GPU with its part of the host."""
    what = "the prices of all GPUs"
    usual = alone = ANY_PURCHASE
    bounds = usual.widened(TWICE, TWICE)
    if gpus > 1 and not subject.gpu:
        what = "the prices of data center GPUs"
        usual = ANY_PURCHASE_IN_HOST
        alone = ONE_GPU
    model = subject.model()
    if model is not None:
        known = [prices for name, prices in PURCHASES.items() if model.gpu_model.startswith(name)][:1]
        if model.purchase_dollars is not None:
            known.append(Range(*model.purchase_dollars))
        if known:
            what = f"the prices of {model.gpu_model}"
            usual = alone = Range(min(prices.low for prices in known), max(prices.high for prices in known))
            bounds = usual.widened(MAGNITUDE, MAGNITUDE)
    tolerated = usual.widened(TWICE, TWICE)
    slips = [replace(THOUSAND, per=gpus)]
    if gpus > 1:
        line = "purchase_dollars_per_gpu: {written} without gpus_per_host"
        if not subject.gpu:
            line += ", or name the GPU with match: {{gpu_model: ...}}"
        slips.append(Slip("is it the price of one GPU", line=line, fits=alone))
    elif key == "purchase_dollars_per_gpu":
        slips += subject.host_slips("purchase_dollars_per_host", usual.widened(TWICE, DEARER))
    typical = min(max(TYPICAL_PURCHASE, usual.low), usual.high)
    return AmountCheck(what, usual, tolerated, slips=tuple(slips), typical=typical, bounds=bounds)


# Support is 10 % of the purchase a year for enterprises, 3 to 5 % for others (infercost); insurance and tax
# a few percent.
YEARLY: Final = {
    "support_dollars_per_year": Limits(_range("0.03", "0.15"), _range("0.01", "0.3")),
    "insurance_dollars_per_year": Limits(_range("0.002", "0.03"), _range("0.0005", "0.1")),
}
"""Amounts of every year, as parts of the purchase."""


def yearly_check(key: str, owned: Owned, subject: Subject, *, per_gpu: bool) -> AmountCheck:
    """Support or insurance of a year, as a part of the purchase."""
    parts = YEARLY[key]
    purchase = owned.purchase_dollars
    usual = parts.usual * purchase
    slips = [
        Slip("is it the amount of a month", _times(12), fits=usual),
        Slip(f"is it for its life of {plain(owned.life_years)} years", _over(owned.life_years), fits=usual),
        Slip("is it in thousands", _times(1000), fits=usual),
    ]
    if per_gpu:
        hosts = (count for count in subject.hosts if count > 1)
        slips += [Slip(f"is it for a host of {count}", _over(count), fits=usual) for count in hosts]
    elif owned.gpus > 1:
        slips.append(Slip("is it for one GPU", _times(owned.gpus), fits=usual))
    return AmountCheck(
        f"the usual {key.partition('_')[0]} for a purchase of {plain(purchase)}",
        usual=Range(_FIGURES.plus(usual.low), _FIGURES.plus(usual.high)),
        tolerated=parts.tolerated * purchase,
        slips=tuple(slips),
    )
