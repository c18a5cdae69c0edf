"""The outcome of a choice: its cost in the window, and the load at which it turns. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal
from zoneinfo import ZoneInfo

from exporter.finance.options.breakeven import CostLine
from exporter.finance.options.choices import Choice
from exporter.finance.options.load import MeasuredLoad
from exporter.readings import ServerKey
from exporter.reports.rounding import dollars_text
from exporter.tariff.catalogue import CATALOGUE, Catalogue
from exporter.tariff.hosted import HostedPrice
from exporter.tariff.terms import Hardware, Unmatched
from exporter.units import NANOSECONDS_PER_SECOND, Instant, Picodollars

GIVEN: Final = "as given"
"""The source of a price that a flag has."""


@dataclass(frozen=True, slots=True)
class WhatIfPolicy:
    """Everything besides the load that choices depend on."""

    now: Instant
    zone: ZoneInfo
    hours_per_month: Decimal
    offers: tuple[HostedPrice, ...] = ()
    hardware: tuple[Hardware, ...] = ()
    unmatched: Unmatched = "estimate"
    catalogue: Catalogue = CATALOGUE
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
    """The load at which a choice and the present cost the same, in the mix of the window.

    at: below `tokens_per_day` the `below` one is cheaper, above it the other.
    always: the choice is cheaper at any load. never: at none. none: it does not depend on the load.
    """

    verdict: Literal["at", "always", "never", "none"]
    tokens_per_day: Fraction | None = None
    below: Literal["choice", "now"] = "choice"


Figure = Fraction | int | str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a choice would have cost in the window."""

    choice: Choice
    cost: Fraction | None = None
    """Picodollars; `None` for the reason in `lack`."""
    lack: str = ""
    source: str = ""
    """The source of its price."""
    as_of: str = ""
    turn: Turn | None = None
    evidence: tuple[str, ...] = ()
    """Sentences."""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """The numbers of the evidence."""
    line: CostLine | None = None
    """Its cost per month over tokens a day, where that is a line with whole GPUs."""


def staying(load: MeasuredLoad, freed: Picodollars) -> Iterator[str]:
    """A sentence on what is paid on when `freed` is not; none where nothing is."""
    if load.paid > freed:
        yield f"{dollars_text(load.paid - freed)} dollars of other servers and free GPUs stay."
