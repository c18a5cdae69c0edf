"""Values from outside, made fit to be kept."""

import math
from typing import Final

LABEL_CHARACTERS: Final = 128
"""Longest label value that is exported."""


def label(text: str) -> str:
    """A label value made of text from outside: no control characters, at most 128 characters."""
    printable = text if text.isprintable() else "".join(c for c in text if c.isprintable())
    return printable[:LABEL_CHARACTERS]


def ratio(value: float | None) -> float | None:
    """A ratio in 0..1; anything else is not a reading."""
    if value is None or not math.isfinite(value) or not 0.0 <= value <= 1.0:
        return None
    return value
