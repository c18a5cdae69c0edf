"""Reads a page written in a test as an engine's."""

from collections.abc import Callable

import pytest

from exporter.engines import ENGINES, EVERYTHING, Interpretation, interpret, match, read, wanted

Told = Callable[..., Interpretation]
Seen = Callable[[str], object]


@pytest.fixture
def told() -> Told:
    def interpreted(engine: str, text: str, **outside: str) -> Interpretation:
        return interpret(ENGINES[engine], read(text.encode(), wanted(ENGINES[engine])), **outside)

    return interpreted


@pytest.fixture
def seen() -> Seen:
    return lambda text: match(read(text.encode(), EVERYTHING))
