"""Choices to compare with what was paid, as a flag writes them, and the outcome of each. Pure.

gpu=L40S:2400tok/s            another GPU type, by tokens of all kinds per second of one GPU
gpu=4xL40S:900out/s@1.10      by generated tokens, of a replica on 4 GPUs; at 1.10 dollars a GPU-hour
commitment=1y:30%             at 30 % less than today, for the number of GPUs that costs least
commitment=3y:1.40:8          8 GPUs at 1.40 dollars an hour
schedule=mon-fri/08-20        GPUs only in these hours; `+` adds others
hosted=NAME                   an offer of `compare`, or a provider of the catalogue
hosted=0.15/0.60              dollars per million tokens, prompt and generated; a third: cached prompt
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import ClassVar, Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

from exporter.finance.options.breakeven import CostLine
from exporter.finance.options.load import MeasuredLoad
from exporter.readings import ServerKey
from exporter.reports.rounding import dollars_text
from exporter.tariff.catalogue import CATALOGUE, Catalogue
from exporter.tariff.hosted import HostedPrice
from exporter.tariff.terms import Hardware, Unmatched
from exporter.units import NANOSECONDS_PER_SECOND, Instant, Picodollars

TEXT_CHARACTERS: Final = 120
MONTHS_MAX: Final = 120
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_HOURS: Final = 24

_AMOUNT: Final = r"[0-9]{1,9}(?:\.[0-9]{1,6})?"
_GPU: Final = re.compile(
    r"(?:(?P<gpus>[1-9][0-9]{0,2})x)?(?P<model>[A-Za-z0-9][A-Za-z0-9 _.+-]{0,59})"
    rf"(?::(?P<rate>{_AMOUNT})(?P<counts>tok|out)/s)?(?:@(?P<price>{_AMOUNT}))?"
)
_COMMITMENT: Final = re.compile(
    rf"(?P<term>[0-9]{{1,3}})(?P<unit>y|mo):(?P<amount>{_AMOUNT})(?P<percent>%?)(?::(?P<gpus>[0-9]{{1,5}}))?"
)
_HOURS: Final = re.compile(r"(?P<days>[a-z,-]+)/(?P<first>[0-9]{2})-(?P<end>[0-9]{2})")
_PRICES: Final = re.compile(rf"{_AMOUNT}(?:/{_AMOUNT}){{1,2}}")


@dataclass(frozen=True, slots=True)
class GpuChoice:
    """Another GPU type."""

    assumes: ClassVar[str] = "the load spreads over the GPUs evenly, and within the hour."
    cannot_judge: ClassVar[str] = (
        "latency, quality in another precision, memory for the model, peaks within an hour."
    )
    text: str
    """The choice as a flag has it."""
    gpu_model: str
    """The model of the GPUs."""
    rate: Fraction | None
    """Tokens a second of one replica; `None` where it is not given."""
    counts: Literal["all", "generation"]
    """Whether the rate counts all tokens or generated ones."""
    dollars_per_hour: Decimal | None
    """The price of one GPU; `None` to look it up."""
    gpus: int = 1
    """GPUs of a replica."""


@dataclass(frozen=True, slots=True)
class CommitmentChoice:
    """A commitment for a term, at a discount on the present price or at a price per GPU-hour."""

    assumes: ClassVar[str] = "GPUs are rented as before; none is returned within the term."
    cannot_judge: ClassVar[str] = "whether the need lasts for the term, and cheaper GPUs to come."
    text: str
    """The choice as a flag has it."""
    months: int
    """The term."""
    discount_ratio: Fraction | None
    """The discount on the present price; `None` where a price is given."""
    dollars_per_hour: Fraction | None
    """The price of one GPU; `None` where a discount is given."""
    gpus: int | None
    """GPUs of the commitment; `None` for the number that costs least."""


@dataclass(frozen=True, slots=True)
class ScheduleChoice:
    """GPUs only in some hours of the local week."""

    assumes: ClassVar[str] = "GPUs are given back in time, and nobody else needs them then."
    cannot_judge: ClassVar[str] = "the time to load models, and capacity that is not there in the morning."
    text: str
    """The choice as a flag has it."""
    slots: frozenset[int]
    """The hours of the week, counted from Monday's midnight."""


@dataclass(frozen=True, slots=True)
class HostedChoice:
    """Tokens bought at a price, or at that of an offer or a provider by its name."""

    assumes: ClassVar[str] = "the same tokens, counted alike, at the offer's price."
    cannot_judge: ClassVar[str] = "latency, license, privacy, quality and rate limits of the offer."
    text: str
    """The choice as a flag has it."""
    name: str
    """The offer or the provider; empty where a price is given."""
    price: HostedPrice | None
    """The price; `None` where it is looked up by the name."""


Choice: TypeAlias = GpuChoice | CommitmentChoice | ScheduleChoice | HostedChoice


def choice(text: str) -> Choice:
    """A choice by its text.

    Raises:
        ValueError: the text is none; the message says what is expected.
    """
    kind, equals, rest = text.partition("=")
    if not equals or kind not in _KINDS or len(text) > TEXT_CHARACTERS:
        raise ValueError(f"{text[:40]!r} is no choice: begin with gpu=, commitment=, schedule= or hosted=")
    return _KINDS[kind](text, rest)


def _gpu(text: str, rest: str) -> GpuChoice:
    match = _GPU.fullmatch(rest)
    if match is None:
        raise ValueError(
            f"{text!r} is no GPU type: write one like gpu=L40S:2400tok/s or gpu=4xL40S:900out/s@1.10"
        )
    rate = None if match["rate"] is None else Fraction(match["rate"])
    if rate == 0:
        raise ValueError(f"{text!r}: a GPU that serves 0 tokens a second serves no load")
    return GpuChoice(
        text=text,
        gpu_model=match["model"].strip(),
        rate=rate,
        counts="generation" if match["counts"] == "out" else "all",
        dollars_per_hour=None if match["price"] is None else Decimal(match["price"]),
        gpus=int(match["gpus"] or 1),
    )


def _commitment(text: str, rest: str) -> CommitmentChoice:
    match = _COMMITMENT.fullmatch(rest)
    if match is None:
        raise ValueError(
            f"{text!r} is no commitment: write its term and price, like commitment=1y:30% (a discount) or "
            "commitment=3y:1.40 (dollars per GPU-hour); the catalogue has no such prices"
        )
    months = int(match["term"]) * (12 if match["unit"] == "y" else 1)
    if not 1 <= months <= MONTHS_MAX:
        raise ValueError(f"{text!r}: a term is from 1mo to {MONTHS_MAX // 12}y")
    amount = Fraction(match["amount"])
    if match["percent"] and amount >= 100:
        raise ValueError(f"{text!r}: a discount is below 100%")
    gpus = None if match["gpus"] is None else int(match["gpus"])
    if gpus == 0:
        raise ValueError(f"{text!r}: a commitment is for 1 GPU or more")
    return CommitmentChoice(
        text=text,
        months=months,
        discount_ratio=amount / 100 if match["percent"] else None,
        dollars_per_hour=None if match["percent"] else amount,
        gpus=gpus,
    )


def _schedule(text: str, rest: str) -> ScheduleChoice:
    slots: set[int] = set()
    for part in rest.split("+"):
        match = _HOURS.fullmatch(part)
        days = _days(match["days"]) if match else None
        hours = range(int(match["first"]), int(match["end"])) if match else range(0)
        if days is None or not hours or hours.stop > DAY_HOURS:
            raise ValueError(
                f"{text!r} is no schedule: write days and hours like schedule=mon-fri/08-20 or "
                "schedule=mon-fri/20-24+sat,sun/00-24"
            )
        slots |= {day * DAY_HOURS + hour for day in days for hour in hours}
    return ScheduleChoice(text, frozenset(slots))


def _days(text: str) -> set[int] | None:
    """Days like mon-fri or sat,sun; a range may pass the week's end."""
    days: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            return None
        start = DAYS.index(first)
        length = (DAYS.index(last or first) - start) % len(DAYS) + 1
        days |= {(start + offset) % len(DAYS) for offset in range(length)}
    return days


def _hosted(text: str, rest: str) -> HostedChoice:
    if _PRICES.fullmatch(rest):
        prompt, generation, *cached = map(Decimal, rest.split("/"))
        price = HostedPrice(rest, prompt, generation, cached_prompt=cached[0] if cached else None)
        return HostedChoice(text, "", price)
    if not rest.strip() or not rest.isprintable():
        raise ValueError(f"{text!r} is no offer: write its name, or prices like hosted=0.15/0.60")
    return HostedChoice(text, rest, None)


_KINDS: Final[dict[str, Callable[[str, str], Choice]]] = {
    "gpu": _gpu,
    "commitment": _commitment,
    "schedule": _schedule,
    "hosted": _hosted,
}


GIVEN: Final = "as given"
"""The source of a price that a flag has."""


@dataclass(frozen=True, slots=True)
class WhatIfPolicy:
    """Everything besides the load that choices depend on."""

    now: Instant
    """The instant of prices and dates."""
    zone: ZoneInfo
    """The time zone of a schedule."""
    hours_per_month: Decimal
    """Hours that a monthly amount is for."""
    offers: tuple[HostedPrice, ...] = ()
    """Offers of `compare`."""
    hardware: tuple[Hardware, ...] = ()
    """Price rules of the configuration."""
    unmatched: Unmatched = "estimate"
    """What prices hardware that no rule matches."""
    catalogue: Catalogue = CATALOGUE
    """List prices."""
    cloud: str = ""
    """The cloud of this host; empty where unknown."""
    partial: frozenset[ServerKey] = frozenset()
    """Servers whose tokens are computed elsewhere too."""

    @property
    def today(self) -> date:
        """The day, in UTC."""
        return datetime.fromtimestamp(self.now // NANOSECONDS_PER_SECOND, UTC).date()


@dataclass(frozen=True, slots=True)
class Turn:
    """The load at which a choice and the present cost the same, in the mix of the window."""

    verdict: Literal["at", "always", "never", "none"]
    """at: at `tokens_per_day`. always: the choice is cheaper at any load. never: at none. none: it does not
    depend on the load."""
    tokens_per_day: Fraction | None = None
    """The load of the turn."""
    below: Literal["choice", "now"] = "choice"
    """What is cheaper below the load of the turn."""


Figure = Fraction | int | str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a choice would have cost in the window."""

    choice: Choice
    """What was chosen."""
    cost: Fraction | None = None
    """Picodollars of the window; `None` for the reason in `lack`."""
    lack: str = ""
    """Why there is no cost."""
    source: str = ""
    """The source of its price."""
    as_of: str = ""
    """The day of its price; empty where it has none."""
    turn: Turn | None = None
    """The load from which on it costs more or less than now."""
    evidence: tuple[str, ...] = ()
    """Sentences on what the cost rests on."""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """The numbers of the evidence."""
    line: CostLine | None = None
    """Its cost per month over tokens a day, where that is a line with whole GPUs."""


def staying(load: MeasuredLoad, freed: Picodollars) -> Iterator[str]:
    """A sentence on what is paid on when `freed` is not; none where nothing is."""
    if load.whole.paid > freed:
        yield f"{dollars_text(load.whole.paid - freed)} dollars of other servers and free GPUs stay."
