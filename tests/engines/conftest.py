"""Functions that interpret a page written in a test as an engine's."""

from collections.abc import Callable

import pytest

from exporter.engines import ENGINES, EVERYTHING, Interpretation, interpret, match, read, wanted

InterpretPage = Callable[..., Interpretation]
RecognizePage = Callable[[str], object]


@pytest.fixture
def interpret_page() -> InterpretPage:
    def interpretation(engine: str, text: str, **outside: str) -> Interpretation:
        return interpret(ENGINES[engine], read(text.encode(), wanted(ENGINES[engine])), **outside)

    return interpretation


@pytest.fixture
def recognize_page() -> RecognizePage:
    return lambda text: match(read(text.encode(), EVERYTHING))


def values(interpretation: Interpretation) -> dict[str, float]:
    """Sum by quantity over models and series, signs applied."""
    sums: dict[str, float] = {}
    for counter in interpretation.counters:
        sums[counter.quantity] = sums.get(counter.quantity, 0.0) + counter.sign * counter.value
    return sums
