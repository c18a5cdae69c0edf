"""The value that a mistaken one stands for: a number with a suffix, a word in another spelling.

`None` where several are possible: `2,500` is 2500 to one reader, and 2.5 to another.
"""

import re
from datetime import date
from decimal import Decimal
from typing import Final

_AMOUNT: Final = re.compile(
    r"(?P<before>(?:US)?\$)? ?(?P<digits>\d{1,3}(?:,\d{3}){1,4}|\d{1,3}(?:[_' ]\d{3}){1,4}|0{0,9}\d{1,15})"
    r"(?P<rest>\.\d{0,12})? ?"
    r"(?P<suffix>[kKmM%]|percent|pct)?(?P<after> ?(?:USD|usd|dollars))?(?: ?(?:/|per) ?(?P<per>[a-z]{1,9}))?",
    re.ASCII,
)
_MULTIPLES: Final = {"": Decimal(1), "k": Decimal(1000), "m": Decimal(1_000_000), "%": Decimal("0.01")}
_SUFFIXES: Final = {"percent": "%", "pct": "%"}
_PER: Final = {
    "hour": ("h", "hr", "hour"),
    "month": ("mo", "month"),
    "year": ("y", "yr", "year"),
    "million": ("million",),
}

_PER_UNIT: Final = " per "
_PER_SOMETHING: Final = re.compile(r"\d[^/]{0,20}(?:/|\bper\b) ?(?P<per>[a-z]{1,12})\Z", re.ASCII)

_DURATION: Final = re.compile(r"(?P<number>0|[1-9]\d{0,5}) ?(?P<unit>[A-Za-z]{0,12})", re.ASCII)
_UNITS: Final = {
    "ms": ("ms", "msec", "millisecond", "milliseconds"),
    "s": ("", "s", "sec", "secs", "second", "seconds"),
    "m": ("m", "min", "mins", "minute", "minutes"),
}

_DATE: Final = re.compile(r"([12]\d{3})([-/.])(\d{1,2})\2(\d{1,2})", re.ASCII)

_YEAR_LAST: Final = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2([12]\d{3})", re.ASCII)
_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
_NAMED_MONTH: Final = re.compile(
    r"(?:(?P<day>\d{1,2})[. -]{1,2})?(?P<month>[A-Za-z]{3,9})[. -]{1,2}"
    r"(?:(?P<day2>\d{1,2}),? )?(?P<year>[12]\d{3})",
    re.ASCII,
)

_UUID: Final = re.compile(r"GPU-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)

TRUTHS: Final = {
    "true": ("true", "yes", "on", "y", "1"),
    "false": ("false", "no", "off", "n", "0"),
}


def intended_number(text: str, unit: str) -> str | None:
    """The digits of a number that was written with a currency, thousands, a suffix or its unit.

    `unit` is that of the key: `/h` stands for nothing in a price per month, `%` for nothing but a ratio, and
    `$` for nothing but dollars. A whole number that begins with 0 may be octal.
    """
    text = text.strip()
    if unit.isalpha():  # 5 years is 5, where years are counted
        text = re.sub(rf"(?<=\d) ?{unit.removesuffix('s')}s?$", "", text, flags=re.IGNORECASE)
    match = _AMOUNT.fullmatch(text)
    if match is None:
        return None
    per, suffix = match["per"], _SUFFIXES.get(match["suffix"] or "", (match["suffix"] or "").lower())
    if per is not None and not _is_of(unit, per):
        return None
    currency = match["before"] or match["after"]
    if re.fullmatch(r"\d+,\d+", match["digits"]) and not _is_of_thousands(match, unit):
        return None
    if (suffix == "%" and "ratio" not in unit) or (currency and "dollars" not in unit):
        return None
    written = re.sub(r"[^\d]", "", match["digits"])
    if match["rest"] is None and written.startswith("0") and len(written) > 1:
        return None
    digits = written.lstrip("0") or "0"
    rest = "" if match["rest"] in {None, "."} else match["rest"]
    if not suffix:
        return f"{digits}{rest}"
    value = Decimal(f"{digits}{rest}") * _MULTIPLES[suffix]
    return ratio_of_percent(f"{digits}{rest}") if suffix == "%" else f"{value.normalize():f}"


def _is_of_thousands(match: re.Match[str], unit: str) -> bool:
    """Whether the only comma of a number is no decimal one: a point follows, or it is of a large sum.

    $27,000 a month has thousands, as dollars are written; $2,500 an hour may be 2.50 with one more digit.
    """
    large = unit == "dollars" or unit.endswith(("per month", "per year"))
    return bool(match["rest"]) or (bool(match["before"]) and large and not match["digits"].startswith("0"))


def is_per_another(text: str, unit: str) -> bool:
    """Whether a number was written per something else than its key's unit: it is another amount."""
    match = _PER_SOMETHING.search(text.strip())
    return match is not None and _PER_UNIT in unit and not _is_of(unit, match["per"])


def _is_of(unit: str, per: str) -> bool:
    unit_per = unit.partition(_PER_UNIT)[2]
    return any(word in unit_per and per in names for word, names in _PER.items())


def ratio_of_percent(text: str) -> str:
    """A percentage as a ratio, with two decimals at least: 30 is 0.30, and 7.5 is 0.075."""
    value = Decimal(text) / 100
    return f"{value.normalize():f}" if value != round(value, 2) else f"{value:.2f}"


def intended_duration(text: str) -> str | None:
    """A whole number with the unit that it was written with in words; seconds without one.

    One that begins with 0 may be octal.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        return None
    unit = next((unit for unit, names in _UNITS.items() if match["unit"].lower() in names), None)
    return None if unit is None else f"{int(match['number'])}{unit}"


def intended_word(text: str, options: tuple[str, ...]) -> str | None:
    """The only option that differs in case, spaces and punctuation alone."""
    same = [option for option in options if _letters(option) == _letters(text)]
    return same[0] if len(same) == 1 and _letters(text) else None


def intended_truth(text: str) -> str | None:
    """True or false for a word that YAML 1.1 or a person reads so."""
    return next((truth for truth, words in TRUTHS.items() if text.lower() in words), None)


def intended_date(text: str) -> str | None:
    """A date in another form, if only one can be meant: 31.12.2025, while 1.2.2025 has two readings."""
    text = text.strip()
    readings: list[tuple[str, int, str]] = []
    if match := _DATE.fullmatch(text):
        readings = [(match[1], int(match[3]), match[4])]
    elif match := _YEAR_LAST.fullmatch(text):
        readings = [(match[4], int(match[3]), match[1]), (match[4], int(match[1]), match[3])]
    elif (match := _NAMED_MONTH.fullmatch(text)) and (match["day"] is None) != (match["day2"] is None):
        word = match["month"].lower()
        names = [number for number, name in enumerate(_MONTHS, 1) if name.startswith(word)]
        readings = [(match["year"], number, match["day"] or match["day2"]) for number in names]
    dates = {read for year, month, day in readings if (read := _date(year, month, day))}
    return dates.pop() if len(dates) == 1 else None


def _date(year: str, month: int, day: str) -> str | None:
    try:
        return date(int(year), month, int(day)).isoformat()
    except ValueError:
        return None


def is_gpu_uuid(text: str) -> bool:
    """Whether a text has the form in which NVML reports the UUID of a whole GPU."""
    return bool(_UUID.fullmatch(text))


def uuid_as_nvml(text: str) -> str:
    """A GPU's UUID as NVML spells it: the digits are in lower case."""
    prefix, _, digits = text.partition("-")
    return f"{prefix.upper()}-{digits.lower()}"


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())
