"""Text forms of instants, money, counts and names."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from math import isfinite
from typing import Final
from zoneinfo import ZoneInfo

from exporter.tariff.rate import Provenance
from exporter.units import NANOSECONDS_PER_SECOND, Instant, Picodollars, dollars

UNKNOWN: Final = "not known"
"""Stands for an unknown figure."""

ABSENT: Final = "\N{EN DASH}"
"""Stands for an unknown figure in a cell of a table."""

MOST_CHARACTERS: Final = 400
"""Length of a sentence from outside, such as the reason why a source cannot be read."""

_FLOAT_DIGITS: Final = 9
"""Digits to which sums of floats are right: 3.8749999999999996 is 3.875, and rounds to 3.88."""


def timestamp(instant: Instant) -> str:
    """An instant in RFC 3339, to the second."""
    moment = datetime.fromtimestamp(instant // NANOSECONDS_PER_SECOND, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def local(instant: Instant, zone: ZoneInfo, form: str) -> str:
    """An instant in a time zone, by a format of `strftime`."""
    return datetime.fromtimestamp(instant // NANOSECONDS_PER_SECOND, zone).strftime(form)


def amount(dollars: float) -> str:
    """Money to the cent, halves up. Less than a cent is not written as 0."""
    if not isfinite(dollars):
        return UNKNOWN
    cents = rounded(abs(dollars), 2)
    if dollars > 0 and not cents:
        return "<$0.01"
    return f"-${cents:,}" if dollars < 0 and cents else f"${cents:,}"


def dollars_text(picodollars: Picodollars) -> str:
    """An exact amount, to the cent as `amount` writes it."""
    return amount(dollars(picodollars))


def rounded(figure: float, digits: int) -> Decimal:
    """A figure to so many decimals, halves away from zero."""
    exact = Decimal(repr(round(figure, _FLOAT_DIGITS)))
    return exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)


def six(figure: float | None) -> str:
    """A figure to six decimals, as `explain` writes it."""
    return UNKNOWN if figure is None or not isfinite(figure) else f"{rounded(figure, 6):,}"


def share(ratio: float) -> str:
    """A ratio in percent. Little is not written as 0 %, nor nearly all as 100 %."""
    percent = rounded(ratio * 100, 0)
    if ratio > 0 and percent == 0:
        return "<1%"
    if ratio < 1 and percent == 100:
        return ">99%"
    return f"{percent}%"


def count(tokens: int) -> str:
    """A count in at most four digits and a unit, like 12.3 M; exact below ten thousand.

    B is a billion, as in sums of money and on the dashboards.
    """
    if tokens < 10_000:
        return f"{tokens:,}"
    for unit, size in (("k", 10**3), ("M", 10**6), ("B", 10**9), ("T", 10**12)):
        if tokens < 1000 * size or unit == "T":
            return f"{tokens / size:,.{1 if tokens < 100 * size else 0}f} {unit}"
    raise AssertionError


def shortened(text: str) -> str:
    """Text from outside on one line, cut at a word if it is too long."""
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(words) <= MOST_CHARACTERS:
        return words
    cut = words[: MOST_CHARACTERS + 1].rpartition(" ")[0] or words[:MOST_CHARACTERS]
    return f"{cut} ..."


def price_line(gpu_models: Sequence[str]) -> str:
    """The line of a configuration that prices GPUs of these models; the reader replaces PRICE."""
    rules = (
        f"{{match: {{gpu_model: {json.dumps(model, ensure_ascii=False)}}}, "
        "rented: {dollars_per_gpu_hour: PRICE}}"
        for model in gpu_models
    )
    return f"hardware: [{', '.join(rules)}]"


def price_source(origin: Provenance) -> str:
    """The source of a price, with its date if it has one."""
    return f"{origin.source}, as of {origin.as_of}" if origin.as_of else origin.source
