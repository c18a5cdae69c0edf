"""Keys that stand beside amounts everywhere: where they come from, and how they change."""

from decimal import Decimal
from typing import Final

from exporter.config.moments import Day
from exporter.config.schema import Block, Key
from exporter.config.values import Number
from exporter.reports.tco.scenario import Source
from exporter.reports.tco.shapes import Prose

SOURCE = Key("source", Prose("source"), "Where these numbers come from, or that they are assumed.")
AS_OF = Key("as_of", Day(), "The day on which they were taken.")

CHANGE_SHAPE: Final = Number("ratio per year", Decimal(10), Decimal("-0.9"))
CHANGE = Key(
    "price_change_ratio_per_year",
    CHANGE_SHAPE,
    "How the price changes from each year to the next: -0.1 falls by a tenth.",
    default="0",
)


def source_of(block: Block) -> Source:
    """The source that a mapping gives."""
    taken = block.get(AS_OF)
    return Source(block.get(SOURCE) or "", "" if taken is None else taken.text)
