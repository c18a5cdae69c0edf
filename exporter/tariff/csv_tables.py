"""CSV tables of the catalogue: reads the selected rows of a file, without a cache.

A file is UTF-8 CSV with a header. One that is missing, empty or against its header raises `CatalogueError`,
and only the prices of that file are missing then.
"""

import csv
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import Final

BUNDLED: Final = Path(__file__).parent / "data"
"""The catalogue that is part of the package."""

_HEADERS: Final = {
    "gpu_models.csv": "gpu_model,names,unit,memory_gib,watts,purchase_low,purchase_high,source",
    "hosted.csv": "provider,model,prompt,cached_prompt,generation,source",
    "instances.csv": "cloud,instance_type,gpu_model,gpus,region,on_demand,spot,currency,basis,as_of,source",
    "market.csv": "gpu_model,vendor,dollars_per_gpu_hour,example,source",
    "regions.csv": "cloud,region",
    "sources.csv": "source,name,as_of,licence,notice",
}
COLUMNS: Final = {file: tuple(header.split(",")) for file, header in _HEADERS.items()}
"""The columns of each file, as its header has them."""


class CatalogueError(Exception):
    """A file of the catalogue cannot be used; the message names it and, where it can, the line."""


class Row:
    """One line of a file by column; its numbers are checked on access."""

    __slots__ = ("_columns", "_fields", "_where")

    def __init__(self, columns: tuple[str, ...], fields: list[str], where: str) -> None:
        if len(fields) != len(columns):
            raise CatalogueError(f"{where} has {len(fields)} columns, not {len(columns)}")
        self._columns = columns
        self._fields = fields
        self._where = where

    def __getitem__(self, column: str) -> str:
        return self._fields[self._columns.index(column)]

    def dollars(self, column: str) -> Decimal | None:
        """An amount above 0; `None` where none is known.

        Raises:
            CatalogueError: it is not an amount.
        """
        text = self[column]
        if not text:
            return None
        try:
            amount = Decimal(text)
        except InvalidOperation:
            amount = Decimal(-1)
        if not amount.is_finite() or amount <= 0:
            raise CatalogueError(f"{self._where} has no price in {column}: {text[:40]!r}")
        return amount

    def count(self, column: str) -> Fraction:
        """A count above 0; 1/8 is the eighth part of one.

        Raises:
            CatalogueError: it is none.
        """
        text = self[column]
        try:
            count = Fraction(text)
        except (ValueError, ZeroDivisionError):
            count = Fraction(-1)
        if count <= 0:
            raise CatalogueError(f"{self._where} has no count in {column}: {text[:40]!r}")
        return count


def rows(folder: Path, file: str, starts: str = "", *, has: str = "") -> Iterator[Row]:
    """The rows of a file: those that start with `starts`, whatever the case, and have `has` in their text.

    Raises:
        CatalogueError: the file cannot be read, has another header, no row, or a row of another shape.
    """
    try:
        text = (folder / file).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise CatalogueError(f"{file} cannot be read: {reason}") from None
    return rows_of(text, file, starts, has=has)


def rows_of(text: str, file: str, starts: str = "", *, has: str = "") -> Iterator[Row]:
    """The rows of a file's text, as `rows`.

    Raises:
        CatalogueError: as `rows`.
    """
    columns = COLUMNS[file]
    header, _, body = text.partition("\n")
    if not body.strip():
        raise CatalogueError(f"{file} is empty")
    if tuple(header.split(",")) != columns:
        raise CatalogueError(f"{file} begins with {header[:80]!r}, not with {','.join(columns)!r}")
    wanted = starts.casefold()
    for number, line in enumerate(body.splitlines(), start=2):
        if has in line and line[: len(wanted)].casefold() == wanted:
            yield Row(columns, next(csv.reader([line]), []), f"{file}:{number}")
