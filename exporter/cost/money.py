"""Exact arithmetic: splits of an amount by weights, and sums by key. Pure."""

from collections.abc import Hashable, Mapping
from typing import Any, Final, TypeVar

WHOLE: Final = 10**9
"""A whole, in the integer parts that weights are made of."""

ROUNDING_SCALE: Final = 2**32
"""One picodollar, in the parts that rounding is remembered in."""


K = TypeVar("K", bound=Hashable)
"""The key of a split or a sum. Keys of a split sort among themselves; their order decides ties."""


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


def split(
    amount: int, weights: Mapping[K, int], rounding: Mapping[K, int] | None = None
) -> tuple[dict[K, int], dict[K, int]]:
    """Divide an amount by weights, and remember what that rounds off: the parts sum to the amount exactly.

    Largest remainders get the units that are left, ties by sorted key. `rounding` is what earlier splits of
    the same money rounded off each key, in parts of `ROUNDING_SCALE`: with it, no key is favored over many
    splits.

    Returns:
        The parts of the keys with a positive weight, and the new rounding of all keys of `weights`.

    Raises:
        ValueError: no weight is positive.
    """
    total = sum(weights.values())
    if total <= 0:
        raise ValueError("a split needs a positive weight")
    before = {} if rounding is None else rounding
    if len(weights) == 1:
        (key,) = weights
        return {key: amount}, {key: before.get(key, 0)}
    parts: dict[K, int] = {}
    after: dict[K, int] = {}
    left = amount
    for key, weight in weights.items():
        due = before.get(key, 0)
        if weight > 0:
            part, remainder = divmod(amount * weight, total)
            parts[key] = part
            left -= part
            due += remainder * ROUNDING_SCALE // total
        after[key] = due

    if left:
        ranked: list[tuple[int, Any]] = [(-after[key], key) for key in parts]
        for _, key in sorted(ranked)[:left]:
            parts[key] += 1
            after[key] -= ROUNDING_SCALE
    return parts, after


def divide(amount: int, weights: Mapping[K, int]) -> dict[K, int]:
    """The parts of `split`, of an amount that is divided once: 10 by equal weights of a, b, c is 4, 3, 3.

    Raises:
        ValueError: no weight is positive.
    """
    parts, _ = split(amount, weights)
    return parts


def portions(weights: Mapping[K, int]) -> dict[K, int]:
    """Weights as parts of `WHOLE` that sum to it exactly; equal parts when no weight is positive."""
    if not any(weight > 0 for weight in weights.values()):
        weights = dict.fromkeys(weights, 1)
    return divide(WHOLE, weights)
