"""The table of checks of the amounts of a configuration.

Each has the range that is usual, the range that passes without a warning, and the slips of unit that explain
an amount outside it: a host's price in a GPU's key, months for years, cents for dollars.

Thresholds are from the bundled catalogue where it has the GPU. Other figures are cited beside them; "survey"
is Uptime Institute's of 2022 and 2023, "infercost" the sample profiles of defilantech/infercost 30ccbcb.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Final

from exporter.config.values import plain
from exporter.tariff.catalogue import CATALOGUE
from exporter.tariff.csv_tables import CatalogueError
from exporter.tariff.terms import Overhead, Owned, Per

HOURS_PER_MONTH: Final = 730
HOURS_PER_YEAR: Final = 8766
HUNDRED: Final = Decimal(100)
THOUSAND: Final = Decimal(1000)

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

    def widened(self, below: int, above: int) -> "Range":
        """From a part of the low end to a multiple of the high one."""
        return Range(self.low / below, self.high * above)


@dataclass(frozen=True, slots=True)
class Slip:
    """A probable mistake of unit. `compared` is the amount that was meant, in the unit of its check.

    `fits` is where that must lie for the slip to explain it; `None` is the tolerated range.
    """

    compared: Decimal
    question: str
    line: str
    fits: Range | None = None


@dataclass(frozen=True, slots=True)
class AmountCheck:
    """The ranges and the probable mistakes of one amount.

    Outside `tolerated` an amount is suspicious where a slip explains it, outside `bounds` always (`None`: the
    same range). Of several slips the one is taken whose amount is nearest to `typical`.
    """

    usual: Range
    typical: Decimal
    what: str
    tolerated: Range
    slips: Callable[[Decimal], tuple[Slip, ...]]
    bounds: Range | None = None
    unit: str = ""


def figure(amount: Decimal) -> str:
    """A divided amount in at most six digits."""
    return plain(_FIGURES.plus(amount))


def _range(low: str, high: str) -> Range:
    return Range(Decimal(low), Decimal(high))


def _scaled(key: str, factor: Decimal, question: str, fits: Range | None = None) -> Callable[[Decimal], Slip]:
    """A slip by a constant factor; the question has the amount as written, and as meant."""

    def slip(amount: Decimal) -> Slip:
        meant = amount * factor
        text = question.format(written=plain(amount), meant=figure(meant))
        return Slip(meant, text, f"{key}: {figure(meant)}", fits)

    return slip


def _slips(*each: Callable[[Decimal], Slip]) -> Callable[[Decimal], tuple[Slip, ...]]:
    return lambda amount: tuple(slip(amount) for slip in each)


def _percent_on_top(key: str) -> Callable[[Decimal], Slip]:
    """An overhead in percent where a factor belongs."""

    def slip(amount: Decimal) -> Slip:
        meant = 1 + amount / HUNDRED
        return Slip(meant, f"is it an overhead of {plain(amount)} %", f"{key}: {figure(meant)}")

    return slip


def _rest(key: str, what: str) -> Callable[[Decimal], Slip]:
    """The other part of a whole."""
    return lambda amount: Slip(1 - amount, f"is it {what}", f"{key}: {figure(1 - amount)}")


def _factor_on_purchase(amount: Decimal) -> Slip:
    meant = amount - 1
    return Slip(meant, "is the purchase itself in it", f"adders_ratio: {figure(meant)}")


# Depreciation of GPU servers: 4 years at Nebius, 5 at Amazon, 5.5 at Meta, 6 at CoreWeave; critics say 3.
LIFE: Final = AmountCheck(
    usual=_range("3", "6"),
    typical=Decimal(4),
    what="the usual life of GPU servers",
    tolerated=_range("1", "10"),
    slips=_slips(_scaled("life_years", 1 / Decimal(12), "is it {written} months")),
    unit=" years",
)
# Accountants mostly take nothing. A used H100 brings 22,000 to 25,000 of 30,000 dollars while it is young.
RESIDUAL: Final = AmountCheck(
    usual=_range("0", "0.5"),
    typical=Decimal("0.1"),
    what="the usual residual value, as a part of the purchase",
    tolerated=_range("0", "0.6"),
    slips=_slips(_rest("residual_ratio", "the part that is written off")),
)
# Network is 10 to 20 % of a server's price, storage 5 to 10 %, racks and installation more.
ADDERS: Final = AmountCheck(
    usual=_range("0", "0.5"),
    typical=Decimal("0.2"),
    what="the usual cost of network and racks, as a part of the purchase",
    tolerated=_range("0", "1"),
    slips=_slips(_factor_on_purchase, _scaled("adders_ratio", 1 / HUNDRED, "is it {written} %")),
)
# GPU clouds borrow at 8 to 12 % a year.
CAPITAL: Final = AmountCheck(
    usual=_range("0.03", "0.15"),
    typical=Decimal("0.08"),
    what="the usual cost of capital per year",
    tolerated=_range("0.005", "0.3"),
    slips=lambda amount: (
        Slip(amount / 10, f"is it {figure(amount * 10)} %", f"cost_of_capital_ratio: {figure(amount / 10)}"),
        Slip(
            amount * HUNDRED,
            f"is it {figure(amount * HUNDRED * HUNDRED)} %",
            f"cost_of_capital_ratio: {figure(amount * HUNDRED)}",
        ),
    ),
)
# Support is 10 % of the purchase a year for enterprises, 3 to 5 % for others (infercost); insurance and tax
# a few percent.
YEARLY: Final = {
    "support_dollars_per_year": (_range("0.03", "0.15"), _range("0.01", "0.3"), Decimal("0.08")),
    "insurance_dollars_per_year": (_range("0.002", "0.03"), _range("0.0005", "0.1"), Decimal("0.01")),
}
# 0.08 where it is cheap, 0.12 for businesses, 0.15 for households in the United States (infercost); up to
# four times that in Europe.
KILOWATT_HOUR: Final = AmountCheck(
    usual=_range("0.03", "0.5"),
    typical=Decimal("0.12"),
    what="the usual price of a kilowatt-hour",
    tolerated=_range("0.005", "1"),
    slips=_slips(
        _scaled("dollars_per_kilowatt_hour", 1 / HUNDRED, "is it {written} cents"),
        _scaled("dollars_per_kilowatt_hour", 1 / THOUSAND, "is it the price of a megawatt-hour"),
        _scaled("dollars_per_kilowatt_hour", HUNDRED, "is it {meant} dollars, divided by 100 twice"),
        _scaled("dollars_per_kilowatt_hour", THOUSAND, "is it the price of a watt-hour"),
    ),
    unit=" dollars",
)
# The survey's average is 1.55 and 1.58; new buildings have 1.25, a room at home 1.0.
PUE: Final = AmountCheck(
    usual=_range("1", "1.6"),
    typical=Decimal("1.4"),
    what="the usual power usage effectiveness",
    tolerated=_range("1", "3"),
    slips=_slips(_percent_on_top("pue_ratio")),
)
# 10.2 kW of an HGX H100 over 5.6 kW of its GPUs is 1.82. One L4 of 72 W in a server of 350 W has 4.9.
HOST_FACTOR: Final = AmountCheck(
    usual=_range("1", "2.5"),
    typical=Decimal("1.8"),
    what="the usual power of a host over that of its GPUs",
    tolerated=_range("1", "6"),
    slips=_slips(_percent_on_top("host_factor_ratio")),
)
# Three years' commitment takes 65 % off an a2-highgpu of GCP. AWS's lowest spot price is a tenth of on
# demand.
DISCOUNT: Final = AmountCheck(
    usual=_range("0", "0.65"),
    typical=Decimal("0.3"),
    what="the discounts of commitments, as a part of the list price",
    tolerated=_range("0.01", "0.75"),
    slips=_slips(
        _rest("discount_ratio", "the part that you pay"),
        _scaled("discount_ratio", HUNDRED, "is it {meant} as a part, divided by 100 twice"),
    ),
)
SPOT_DISCOUNT: Final = AmountCheck(
    usual=_range("0", "0.9"),
    typical=Decimal("0.3"),
    what="the discounts of spot prices, as a part of the list price",
    tolerated=_range("0.01", "0.95"),
    slips=DISCOUNT.slips,
)
# The cheapest GPU of the catalogue, a T4G at 0.42 dollars an hour, costs 306.60 a month.
BUDGET: Final = AmountCheck(
    usual=_range("1000", "10000000"),
    typical=Decimal(27000),
    what="the usual budget of a month",
    tolerated=_range("100", "100000000"),
    slips=_slips(
        _scaled("dollars_per_month", THOUSAND, "is it {written} thousand"),
        _scaled("dollars_per_month", 1 / HUNDRED, "is it in cents"),
    ),
    unit=" dollars",
)


def _per_million(key: str, usual: Range, tolerated: Range, typical: str) -> AmountCheck:
    return AmountCheck(
        usual=usual,
        typical=Decimal(typical),
        what="the list prices of hosted models",
        tolerated=tolerated,
        slips=_slips(
            _scaled(key, THOUSAND, "is it the price of a thousand tokens"),
            _scaled(key, THOUSAND * THOUSAND, "is it the price of one token"),
            _scaled(key, 1 / HUNDRED, "is it {written} cents"),
            _scaled(key, 1 / THOUSAND, "is it the price of a billion tokens"),
        ),
        unit=" dollars",
    )


# Usual: the bundled list of 793 hosted models with open weights. Closed models cost up to 150 dollars for
# prompts and 600 for generation.
PER_MILLION: Final = {
    "prompt": _per_million(
        "prompt_dollars_per_million_tokens", _range("0.01", "5"), _range("0.005", "200"), "0.6"
    ),
    "cached_prompt": _per_million(
        "cached_prompt_dollars_per_million_tokens", _range("0.003", "0.52"), _range("0.0005", "100"), "0.1"
    ),
    "generation": _per_million(
        "generation_dollars_per_million_tokens", _range("0.02", "22.5"), _range("0.005", "700"), "1.2"
    ),
}

# Staff is 0.10 to 0.30 dollars per GPU-hour. Colocation at 120 to 200 dollars per kW and month is 0.21 to
# 0.35 for an eighth of 10.2 kW. 2,000 dollars an hour staff a fleet of 7,000 GPUs at 0.30.
OVERHEAD: Final[Mapping[Per, tuple[Range, Range, Decimal]]] = {
    "gpu": (_range("0", "1.5"), _range("0", "5"), Decimal("0.3")),
    "host": (_range("0", "12"), _range("0", "40"), Decimal("2.4")),
    "fleet": (_range("0", "500"), _range("0", "2000"), Decimal(60)),
}
HOURS: Final = {"hour": 1, "month": HOURS_PER_MONTH, "year": HOURS_PER_YEAR}


def overhead_check(overhead: Overhead) -> AmountCheck:
    """Overheads by the hour, for a GPU, a host or the fleet."""
    usual, tolerated, typical = OVERHEAD[overhead.per]
    hours = HOURS[overhead.period]
    rest = [period for period, length in HOURS.items() if length > hours]

    def slips(amount: Decimal) -> tuple[Slip, ...]:
        candidates = [
            Slip(
                amount / HOURS[period],
                f"is it the amount of a {period}",
                f"dollars_per_{period}: {plain(amount)}",
                usual,
            )
            for period in rest
        ]
        if overhead.per == "gpu" and not any(slip.compared in usual for slip in candidates):
            candidates.append(
                Slip(amount / hours / USUAL_GPUS, "is it for the whole host", "per: host", usual)
            )
        return tuple(candidates)

    return AmountCheck(
        usual=Range(usual.low * hours, usual.high * hours),
        typical=typical,
        what=f"the usual overhead of a {overhead.per.replace('gpu', 'GPU')} per {overhead.period}",
        tolerated=Range(tolerated.low * hours, tolerated.high * hours),
        slips=slips,
        unit=" dollars",
    )


@dataclass(frozen=True, slots=True)
class Subject:
    """The hardware that a rule prices: a GPU's name, empty where several, and sizes of its host in GPUs."""

    gpu: str
    hosts: tuple[int, ...]


def _host_slips(amount: Decimal, subject: Subject, key: str, fits: Range) -> Iterator[Slip]:
    """The price of a whole host where that of one GPU belongs; `key` is the host's."""
    for count in subject.hosts:
        if count > 1:
            line = f"{key}: {plain(amount)} and gpus_per_host: {count}"
            yield Slip(amount / count, f"is it the price of a host of {count}", line, fits)


# Where the model is not known: from a T4G at AWS to a GB300 at OCI, both of the catalogue.
ANY_RENT: Final = _range("0.42", "18")
TYPICAL_RENT: Final = Decimal(4)


def rent_check(subject: Subject, key: str, gpus: int) -> AmountCheck:
    """Rent of one GPU for an hour, by the list prices of its model."""
    usual, typical, what = ANY_RENT, TYPICAL_RENT, "the hourly list prices of all GPUs"
    with suppress(CatalogueError):
        entry = CATALOGUE.gpu(subject.gpu.strip("*")) if subject.gpu else None
        market = entry and CATALOGUE.market(entry.model.gpu_model)
        if market:
            usual, typical = Range(market.low, market.high), market.dollars
            what = f"the hourly list prices of {market.gpu_model}"
    wide = usual.widened(MAGNITUDE, MAGNITUDE)
    whole = usual.widened(TWICE, DEARER)

    def slips(amount: Decimal) -> tuple[Slip, ...]:
        hourly = amount / HOURS_PER_MONTH
        candidates = [Slip(hourly / gpus, "is it the price of a month", f"{key}: {figure(hourly)}", wide)]
        if gpus > 1:
            line = f"dollars_per_gpu_hour: {plain(amount)} without gpus_per_host"
            candidates.append(Slip(amount, "is it the price of one GPU", line, usual))
        elif key == "dollars_per_gpu_hour":
            candidates.extend(_host_slips(amount, subject, "dollars_per_host_hour", whole))
        return tuple(candidates)

    return AmountCheck(usual, typical, what, usual.widened(TWICE, TWICE), slips, wide, unit=" dollars")


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


def _purchases(subject: Subject, gpus: int) -> tuple[Range, Range, Range, str]:
    """Usual prices of one GPU, the suspicious ones beyond, the price of one GPU alone, and words for them."""
    with suppress(CatalogueError):
        entry = CATALOGUE.gpu(subject.gpu.strip("*")) if subject.gpu else None
        if entry is not None:
            model = entry.model.gpu_model
            usual = next((each for name, each in PURCHASES.items() if model.startswith(name)), None)
            if entry.model.purchase_dollars is not None:
                low, high = entry.model.purchase_dollars
                usual = (
                    Range(low, high) if usual is None else Range(min(low, usual.low), max(high, usual.high))
                )
            if usual is not None:
                return usual, usual.widened(MAGNITUDE, MAGNITUDE), usual, f"the prices of {model}"
    wide = ANY_PURCHASE.widened(TWICE, TWICE)
    if gpus > 1 and not subject.gpu:
        return ANY_PURCHASE_IN_HOST, wide, ONE_GPU, "the prices of data center GPUs"
    return ANY_PURCHASE, wide, ANY_PURCHASE, "the prices of all GPUs"


def purchase_check(subject: Subject, key: str, gpus: int) -> AmountCheck:
    """Purchase of one GPU with its part of the host."""
    usual, bounds, alone, what = _purchases(subject, gpus)
    fits = usual.widened(TWICE, TWICE)

    def slips(amount: Decimal) -> tuple[Slip, ...]:
        thousand = amount * THOUSAND
        candidates = [
            Slip(thousand / gpus, f"is it {plain(amount)} thousand", f"{key}: {plain(thousand)}", fits)
        ]
        if gpus > 1:
            line = f"purchase_dollars_per_gpu: {plain(amount)} without gpus_per_host"
            if not subject.gpu:
                line += ", or name the GPU with match: {gpu_model: ...}"
            candidates.append(Slip(amount, "is it the price of one GPU", line, alone))
        elif key == "purchase_dollars_per_gpu":
            whole = usual.widened(TWICE, DEARER)
            candidates.extend(_host_slips(amount, subject, "purchase_dollars_per_host", whole))
        return tuple(candidates)

    typical = min(max(TYPICAL_PURCHASE, usual.low), usual.high)
    return AmountCheck(usual, typical, what, fits, slips, bounds, unit=" dollars")


def yearly_check(key: str, owned: Owned, per_gpu: bool, subject: Subject) -> AmountCheck:  # noqa: FBT001
    """Support or insurance of a year, as a part of the purchase."""
    parts, tolerated, typical = YEARLY[key]
    purchase = owned.purchase_dollars
    usual = Range(parts.low * purchase, parts.high * purchase)
    others: list[tuple[Decimal, str]] = [
        (Decimal(12), "is it the amount of a month"),
        (1 / owned.life_years, f"is it for its life of {plain(owned.life_years)} years"),
        (THOUSAND, "is it in thousands"),
    ]
    if per_gpu:
        hosts = (count for count in subject.hosts if count > 1)
        others += [(1 / Decimal(count), f"is it for a host of {count}") for count in hosts]
    elif owned.gpus > 1:
        others.append((Decimal(owned.gpus), "is it for one GPU"))
    return AmountCheck(
        usual=Range(_FIGURES.plus(usual.low), _FIGURES.plus(usual.high)),
        typical=typical * purchase,
        what=f"the usual {key.partition('_')[0]} for a purchase of {plain(purchase)}",
        tolerated=Range(tolerated.low * purchase, tolerated.high * purchase),
        slips=_slips(*(_scaled(key, factor, question, usual) for factor, question in others)),
        unit=" dollars",
    )
