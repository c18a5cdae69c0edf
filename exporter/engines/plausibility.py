"""Numbers on a page that count nothing."""

from exporter.engines.exposition import Page
from exporter.engines.spec import Engine
from exporter.units import LARGEST_COUNT


def implausible(engine: Engine, page: Page) -> int:
    """Series of an engine's counters that are no counts: negative, beyond 2**53, infinite or not a number.

    Nothing is made of them: a series keeps its mark, and what it counted comes with its next good value.
    """
    return sum(
        not 0 <= sample.value <= LARGEST_COUNT
        for name in {count.name for count in engine.counts()}
        for sample in page.samples.get(name, ())
    )
