"""Exact arithmetic: divisions of an amount by weights, and sums by key. Pure."""

from collections.abc import Hashable, Mapping
from typing import Any, Final, TypeVar

WHOLE: Final = 10**9
"""A whole, in the integer parts that weights are made of."""

ROUNDING_SCALE: Final = 2**32
"""One picodollar, in the parts that rounding is remembered in."""


K = TypeVar("K", bound=Hashable)
"""The key of a division or a sum. Keys of a division sort among themselves; their order decides ties."""


def add(sums: dict[K, int], key: K, amount: int) -> None:
    """Add an amount to the sum of a key."""
    sums[key] = sums.get(key, 0) + amount


def add_all(sums: dict[K, int], amounts: Mapping[K, int]) -> None:
    """Add each amount to the sum of its key."""
    for key, amount in amounts.items():
        sums[key] = sums.get(key, 0) + amount


def part_between(total: int, start: int, end: int, length: int) -> int:
    """The part of a total for [start, end) of a length.

    Parts that follow each other add up to it, since each is the difference of two floors: 10 over thirds is
    3, 3 and 4.
    """
    return total * end // length - total * start // length


def divide_fairly(
    amount: int, weights: Mapping[K, int], rounding: Mapping[K, int] | None = None
) -> tuple[dict[K, int], dict[K, int]]:
    """Divide an amount by weights, and remember what rounding takes. The parts sum to the amount exactly.

    The keys with the largest remainders get the units that are left; ties go by sorted key. `rounding` is
    what earlier divisions took from each key, in parts of `ROUNDING_SCALE`: no key is favored over many.

    Returns:
        The parts of the keys with a positive weight, and the new rounding of all keys of `weights`.

    Raises:
        ValueError: no weight is positive.
    """
    total = sum(weights.values())
    if total <= 0:
        raise ValueError("a division needs a positive weight")
    rounding_before = {} if rounding is None else rounding
    if len(weights) == 1:
        (key,) = weights
        return {key: amount}, {key: rounding_before.get(key, 0)}
    parts: dict[K, int] = {}
    rounding_after: dict[K, int] = {}
    units_left = amount
    for key, weight in weights.items():
        taken = rounding_before.get(key, 0)
        if weight > 0:
            part, remainder = divmod(amount * weight, total)
            parts[key] = part
            units_left -= part
            taken += remainder * ROUNDING_SCALE // total
        rounding_after[key] = taken

    if units_left:
        ranked: list[tuple[int, Any]] = [(-rounding_after[key], key) for key in parts]
        for _, key in sorted(ranked)[:units_left]:
            parts[key] += 1
            rounding_after[key] -= ROUNDING_SCALE
    return parts, rounding_after


def divide(amount: int, weights: Mapping[K, int]) -> dict[K, int]:
    """Divide an amount once by weights: 10 by equal weights of a, b and c is 4, 3 and 3.

    Raises:
        ValueError: no weight is positive.
    """
    parts, _ = divide_fairly(amount, weights)
    return parts


def portions(weights: Mapping[K, int]) -> dict[K, int]:
    """Weights as parts of `WHOLE` that sum to it exactly; equal parts when no weight is positive."""
    if not any(weight > 0 for weight in weights.values()):
        weights = dict.fromkeys(weights, 1)
    return divide(WHOLE, weights)
