"""What a page says in all, for tests that write it down."""

from exporter.engines import Interpretation


def values(said: Interpretation) -> dict[str, float]:
    """By quantity, over models and series, signs applied."""
    counted: dict[str, float] = {}
    for counter in said.counters:
        counted[counter.quantity] = counted.get(counter.quantity, 0.0) + counter.sign * counter.value
    return counted
