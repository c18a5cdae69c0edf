"""Shapes of values that only a scenario has."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

from exporter.config.document import Node
from exporter.config.problems import RefusedError, shown
from exporter.config.schema import Walk
from exporter.config.values import Number, scalar

PROSE_CHARACTERS: Final = 600
MOST_LIFE_YEARS: Final = 30
QUARTER: Final = Fraction(1, 4)
CURRENCY: Final = "USD"


@dataclass(frozen=True, slots=True)
class Prose:
    """A sentence for people, on one line."""

    what: str

    @property
    def words(self) -> str:
        """As `Shape.words`."""
        return self.what

    def read(self, node: Node, path: str, walk: Walk) -> str:
        """As `Shape.read`."""
        del path, walk
        text = scalar(node, self.what).text.strip()
        if not text or len(text) > PROSE_CHARACTERS or not text.isprintable():
            raise RefusedError(
                f"{shown(text)} is no {self.what}: 1 to {PROSE_CHARACTERS} printable characters on one line"
            )
        return text


@dataclass(frozen=True, slots=True)
class Currency:
    """Dollars; anything else is told what to do."""

    words: str = CURRENCY

    def read(self, node: Node, path: str, walk: Walk) -> str:
        """As `Shape.read`."""
        del path, walk
        text = scalar(node, "currency").text
        if text != CURRENCY:
            raise RefusedError(
                f"{shown(text)} is not {CURRENCY}: every amount is in dollars; convert them, "
                "and say the rate under source"
            )
        return text


@dataclass(frozen=True, slots=True)
class Life:
    """A life in years that is a whole number of months, since a month is what is reckoned with.

    As a decimal that is a whole number of quarters.
    """

    @property
    def words(self) -> str:
        """As `Shape.words`."""
        return f"years, above 0, up to {MOST_LIFE_YEARS}, in quarters"

    def read(self, node: Node, path: str, walk: Walk) -> Decimal:
        """As `Shape.read`."""
        years = Number("years", Decimal(MOST_LIFE_YEARS), above_low=True).read(node, path, walk)
        if Fraction(years) % QUARTER:
            raise RefusedError(f"{shown(f'{years:f}')} is no whole number of quarters, like 3, 2.5 or 2.25")
        return years
