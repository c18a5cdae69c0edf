"""Price files: lists of instance prices that an operator fetches, in the form of the bundled one. Pure.

A file replaces the bundled `instances.csv` as a whole. It is checked before it is used: errors are reported
by line and column, and a file with an error is not used at all.
"""

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256
from typing import Final

from exporter.tariff.csv_tables import COLUMNS
from exporter.tariff.instances import ALL_REGIONS, CLOUDS
from exporter.units import NANOSECONDS_PER_DAY, Instant

FILE: Final = "instances.csv"
HEADER: Final = COLUMNS[FILE]

MOST_BYTES: Final = 4 * 1024 * 1024
MOST_ROWS: Final = 20_000
MOST_DOLLARS: Final = 100_000
"""Of an hour of one instance; the most expensive one costs a few hundred."""
MOST_GPUS: Final = 1024
MOST_PROBLEMS: Final = 20

OLD_DAYS: Final = 180
"""List prices change a few times a year; in June 2025 those of H100 and A100 fell by a third and more."""

CURRENCY: Final = "USD"
BASES: Final = ("listed", "scaled")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+/-]{0,63}")
_REGION = re.compile(r"\*|[a-z0-9][a-z0-9-]{0,39}")
_SOURCE = re.compile(r"[a-z0-9][a-z0-9._-]{0,23}")
_NUMBER = re.compile(r"[0-9]{1,7}(\.[0-9]{1,9})?")
_COUNT = re.compile(r"[1-9][0-9]{0,3}|1/[1-9][0-9]{0,2}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}(-[0-9]{2})?")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")

_NO_PRICE: Final = (
    f"is no price above 0 and up to {MOST_DOLLARS} dollars an hour of the whole instance, like 55.04; "
    "leave it empty where none is listed"
)

Plausible = Callable[[str, Decimal], str]
"""Why an hour of one whole GPU of a model cannot cost so much, as a sentence ends; empty where it may."""


class PriceFileError(Exception):
    """A price file cannot be used; `problems` are sentences, each with its line and column."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


@dataclass(frozen=True, slots=True)
class PriceFile:
    """A checked price file."""

    text: str
    """Its rows as the bundled table has them."""
    digest: str
    """Digest of that text."""
    newest: str
    """Date of its newest list."""
    rows: int
    """Number of its rows."""


def price_file(data: bytes, today: date | None = None, plausible: Plausible | None = None) -> PriceFile:
    """Check a file's bytes.

    Args:
        data: the bytes.
        today: dates after it are refused; without it none is.
        plausible: refuses prices; without it only their form is checked.

    Raises:
        PriceFileError: it is too large, not UTF-8, or has a row that cannot be used.
    """
    if len(data) > MOST_BYTES:
        raise PriceFileError((f"it is larger than {MOST_BYTES} bytes",))
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PriceFileError((f"line {line}: it is not UTF-8; save it as CSV in UTF-8",)) from None
    control = _CONTROL.search(text)
    if control:
        line = text.count("\n", 0, control.start()) + 1
        raise PriceFileError((f"line {line}: it has a control character; save it as plain CSV",))
    check = _Check(today, plausible)
    lines = list(check.rows(text))
    problems = check.problems
    if not lines and not problems:
        problems = ["it has no row"]
    if len(problems) > MOST_PROBLEMS:
        problems = [*problems[:MOST_PROBLEMS], f"and {len(problems) - MOST_PROBLEMS} more"]
    if problems:
        raise PriceFileError(tuple(problems))
    table = "\n".join((",".join(HEADER), *lines)) + "\n"
    return PriceFile(table, sha256(table.encode()).hexdigest(), check.newest, len(lines))


def instant(as_of: str) -> Instant | None:
    """The beginning of a day like 2026-11-24, or of a month like 2026-11, in UTC; `None` for other texts."""
    if not _is_date(as_of):
        return None
    days = date.fromisoformat(f"{as_of}-01"[:10]).toordinal() - date(1970, 1, 1).toordinal()
    return days * NANOSECONDS_PER_DAY


def age_warning(newest: Instant | None, now: Instant) -> str:
    """A warning where the newest list of instance prices is old, or of the future; else empty."""
    if newest is None:
        return ""
    days = (now - newest) // NANOSECONDS_PER_DAY
    if days < 0:
        return "The newest list of instance prices is of the future: is the clock right?"
    if days <= OLD_DAYS:
        return ""
    return (
        f"The newest list of instance prices is {days} days old. Write a newer one with `prices update`, or "
        "write what you pay."
    )


class _Check:
    """Check of one file: its problems, and the types and regions of the rows before."""

    def __init__(self, today: date | None, plausible: Plausible | None) -> None:
        self._today = today
        self._plausible = plausible
        self._lines: dict[tuple[str, str, str], int] = {}
        self._types: dict[tuple[str, str], tuple[str, str, int]] = {}
        self.problems: list[str] = []
        self.newest = ""

    def rows(self, text: str) -> Iterator[str]:
        """The good rows, each as a line of the bundled table; the others are in `problems`."""
        header, _, body = text.partition("\n")
        if tuple(field.strip() for field in next(csv.reader([header]), [])) != HEADER:
            self.problems.append(f"line 1: the header must be {','.join(HEADER)}")
            return
        count = 0
        for number, line in enumerate(body.split("\n"), start=2):
            if not line.strip():
                continue
            count += 1
            if count > MOST_ROWS:
                self.problems.append(f"line {number}: it has more than {MOST_ROWS} rows")
                return
            try:
                fields = [field.strip() for field in next(csv.reader([line], strict=True))]
            except csv.Error as error:
                self.problems.append(f"line {number}: it is not CSV: {error}")
                continue
            if len(fields) != len(HEADER):
                self.problems.append(f"line {number}: it has {len(fields)} columns, not {len(HEADER)}")
                continue
            row = dict(zip(HEADER, fields, strict=True))
            wrong = list(_form(row)) or list(self._meaning(row, number))
            for column, why in wrong:
                self.problems.append(f"line {number}, {column}: {row[column][:40]!r} {why}")
            if wrong:
                continue
            if row["on_demand"]:
                self.newest = max(self.newest, row["as_of"])
            yield ",".join(fields)

    def _meaning(self, row: dict[str, str], number: int) -> Iterator[tuple[str, str]]:
        """Errors besides the form of fields: future dates, repeated rows, implausible prices."""
        as_of = row["as_of"]
        if self._today is not None and as_of > self._today.isoformat()[: len(as_of)]:
            yield "as_of", "is in the future"
        kind = row["cloud"], row["instance_type"].casefold()
        row_key = (*kind, row["region"])
        first = self._lines.setdefault(row_key, number)
        if first != number:
            yield "region", f"is given for this type on line {first} already"
        model, gpus, line = self._types.setdefault(kind, (row["gpu_model"], row["gpus"], number))
        if model != row["gpu_model"]:
            yield "gpu_model", f"is {model} on line {line}; a type has one model in all regions"
        if gpus != row["gpus"]:
            yield "gpus", f"is {gpus} on line {line}; a type has one count in all regions"
        if self._plausible is not None and row["on_demand"]:
            gpus_of_type = Fraction(row["gpus"])
            whole = Decimal(row["on_demand"]) * gpus_of_type.denominator / gpus_of_type.numerator
            why = self._plausible(row["gpu_model"], whole)
            if why:
                yield "on_demand", f"is {why}"


def _form(row: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Columns whose field cannot be used as it is written, and why."""
    if row["cloud"] not in CLOUDS:
        yield "cloud", f"is not one of {', '.join(CLOUDS)}"
    if not _NAME.fullmatch(row["instance_type"]):
        yield "instance_type", "is no name of an instance type"
    if not _NAME.fullmatch(row["gpu_model"]):
        yield "gpu_model", "is no name of a GPU model"
    if not _COUNT.fullmatch(row["gpus"]) or Fraction(row["gpus"]) > MOST_GPUS:
        yield "gpus", f"is no count from 1 to {MOST_GPUS}, nor a part of one GPU like 1/8"
    if not _REGION.fullmatch(row["region"]):
        yield "region", f"is no region as its cloud spells it, nor {ALL_REGIONS} for all of them"
    for column in ("on_demand", "spot"):
        if row[column] and _price(row[column]) is None:
            yield column, _NO_PRICE
    on_demand, spot = _price(row["on_demand"]), _price(row["spot"])
    if on_demand is not None and spot is not None and spot >= on_demand:
        yield "spot", "is not below on_demand; leave it empty where it is not known"
    if row["currency"] != CURRENCY:
        yield "currency", f"is not {CURRENCY}; convert the prices"
    if row["on_demand"] and row["basis"] not in BASES:
        yield "basis", "is neither listed nor scaled"
    if not row["on_demand"] and row["basis"]:
        yield "basis", "needs a price on demand; leave both empty or give both"
    if not _is_date(row["as_of"]):
        yield "as_of", "is no date like 2026-11-24 or 2026-11"
    if not _SOURCE.fullmatch(row["source"]):
        yield "source", "is no short name like price-list: small letters, digits and dashes, up to 24"


def _price(text: str) -> Decimal | None:
    """An amount above 0, `None` where a text is none."""
    if not _NUMBER.fullmatch(text):
        return None
    amount = Decimal(text)
    return amount if 0 < amount <= MOST_DOLLARS else None


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat(f"{text}-01"[:10])
    except ValueError:
        return False
    return True
