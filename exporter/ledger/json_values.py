"""Values of the ledger's JSON texts, checked: a file may be damaged or crafted."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def numbers(value: object) -> dict[str, float]:
    """Finite numbers by name."""
    return {series: number(mark) for series, mark in mapping(value).items()}


def count(value: object, least: int = 0) -> int:
    """A whole number, from `least` on."""
    whole = integer(value)
    if whole < least:
        raise ValueError(f"a count of {whole}")
    return whole


def optional(read: Callable[[object], T], value: object) -> T | None:
    """A value that may be null."""
    return None if value is None else read(value)


def integer(value: object) -> int:
    """A whole number."""
    if type(value) is not int:
        raise TypeError(f"{value!r} is no integer")
    return value


def number(value: object) -> float:
    """A finite number."""
    if type(value) not in {int, float} or not math.isfinite(value):  # type: ignore[arg-type]
        raise TypeError(f"{value!r} is no number")
    return float(value)  # type: ignore[arg-type]


def string(value: object) -> str:
    """Text."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def array(value: object) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no array")
    return value


def mapping(value: object) -> dict[str, Any]:
    """A mapping."""
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is no object")
    return value
