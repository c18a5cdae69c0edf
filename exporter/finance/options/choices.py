"""Choices to compare with what was paid, as a flag writes them. Pure.

gpu=L40S:2400tok/s            another GPU type, by tokens of all kinds per second of one GPU
gpu=4xL40S:900out/s@1.10      by generated tokens, of a replica on 4 GPUs; at 1.10 dollars a GPU-hour
commitment=1y:30%             at 30 % less than today, for the number of GPUs that costs least
commitment=3y:1.40:8          8 GPUs at 1.40 dollars an hour
schedule=mon-fri/08-20        GPUs only in these hours; `+` adds others
hosted=NAME                   an offer of `compare`, or a provider of the catalogue
hosted=0.15/0.60              dollars per million tokens, prompt and generated; a third: cached prompt
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal, TypeAlias

from exporter.tariff.hosted import HostedPrice

TEXT_CHARACTERS: Final = 120
MONTHS_MAX: Final = 120
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_HOURS: Final = 24

_AMOUNT: Final = r"[0-9]{1,9}(?:\.[0-9]{1,6})?"
_GPU: Final = re.compile(
    r"(?:([1-9][0-9]{0,2})x)?([A-Za-z0-9][A-Za-z0-9 _.+-]{0,59})"
    rf"(?::({_AMOUNT})(tok|out)/s)?(?:@({_AMOUNT}))?"
)
_COMMITMENT: Final = re.compile(rf"([0-9]{{1,3}})(y|mo):({_AMOUNT})(%?)(?::([0-9]{{1,5}}))?")
_HOURS: Final = re.compile(r"([a-z,-]+)/([0-9]{2})-([0-9]{2})")
_PRICES: Final = re.compile(rf"{_AMOUNT}(?:/{_AMOUNT}){{1,2}}")


@dataclass(frozen=True, slots=True)
class GpuChoice:
    """Another GPU type. `rate` is tokens a second of one replica, `None` where it is not given.

    `counts`: whether it counts all tokens or generated ones. Without dollars the price of a GPU is looked up.
    `gpus` are those of a replica.
    """

    text: str
    gpu_model: str
    rate: Fraction | None
    counts: Literal["all", "generation"]
    dollars_per_hour: Decimal | None
    gpus: int = 1


@dataclass(frozen=True, slots=True)
class CommitmentChoice:
    """A commitment for a term, at a discount on the present price or at a price per GPU-hour.

    `gpus`: how many; `None` for the number that costs least.
    """

    text: str
    months: int
    discount_ratio: Fraction | None
    dollars_per_hour: Fraction | None
    gpus: int | None


@dataclass(frozen=True, slots=True)
class ScheduleChoice:
    """GPUs only in some hours of the local week, counted from Monday's midnight."""

    text: str
    slots: frozenset[int]


@dataclass(frozen=True, slots=True)
class HostedChoice:
    """Tokens bought: at a price, or at that of an offer or a provider by its name."""

    text: str
    name: str
    price: HostedPrice | None


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
    rate = None if match[3] is None else Fraction(match[3])
    if rate == 0:
        raise ValueError(f"{text!r}: a GPU that serves 0 tokens a second serves no load")
    price = None if match[5] is None else Decimal(match[5])
    counts: Literal["all", "generation"] = "generation" if match[4] == "out" else "all"
    return GpuChoice(text, match[2].strip(), rate, counts, price, int(match[1] or 1))


def _commitment(text: str, rest: str) -> CommitmentChoice:
    match = _COMMITMENT.fullmatch(rest)
    if match is None:
        raise ValueError(
            f"{text!r} is no commitment: write its term and price, like commitment=1y:30% (a discount) or "
            "commitment=3y:1.40 (dollars per GPU-hour); the catalogue has no such prices"
        )
    months = int(match[1]) * (12 if match[2] == "y" else 1)
    if not 1 <= months <= MONTHS_MAX:
        raise ValueError(f"{text!r}: a term is from 1mo to {MONTHS_MAX // 12}y")
    amount = Fraction(match[3])
    if match[4] and amount >= 100:
        raise ValueError(f"{text!r}: a discount is below 100%")
    gpus = None if match[5] is None else int(match[5])
    if gpus == 0:
        raise ValueError(f"{text!r}: a commitment is for 1 GPU or more")
    if match[4]:
        return CommitmentChoice(text, months, amount / 100, None, gpus)
    return CommitmentChoice(text, months, None, amount, gpus)


def _schedule(text: str, rest: str) -> ScheduleChoice:
    slots: set[int] = set()
    for part in rest.split("+"):
        match = _HOURS.fullmatch(part)
        days = None if match is None else _days(match[1])
        if match is None or days is None or not int(match[2]) < int(match[3]) <= DAY_HOURS:
            raise ValueError(
                f"{text!r} is no schedule: write days and hours like schedule=mon-fri/08-20 or "
                "schedule=mon-fri/20-24+sat,sun/00-24"
            )
        slots |= {day * DAY_HOURS + hour for day in days for hour in range(int(match[2]), int(match[3]))}
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
        return HostedChoice(text, "", HostedPrice(rest, prompt, generation, cached[0] if cached else None))
    if not rest.strip() or not rest.isprintable():
        raise ValueError(f"{text!r} is no offer: write its name, or prices like hosted=0.15/0.60")
    return HostedChoice(text, rest, None)


_KINDS: Final[dict[str, Callable[[str, str], Choice]]] = {
    "gpu": _gpu,
    "commitment": _commitment,
    "schedule": _schedule,
    "hosted": _hosted,
}
