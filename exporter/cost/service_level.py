"""Service level: the share of requests within an objective, and what tokens within it cost.

A histogram says how many observations lie up to each of its bucket bounds. Between two bounds it says
nothing, so a share is a range: it is exact where the objective is a bound.
"""

from collections.abc import Collection, Iterable, Mapping
from fractions import Fraction
from itertools import product
from typing import Final, Literal, NamedTuple, get_args

from exporter.cost.postings import LATENCY_PARTS, LatencyPart
from exporter.readings import OBJECTIVES, LatencyBasis, Objective

Measure = Literal["first_token", "per_token", "all"]
"""One objective, or all that a server has, met together."""

BASES: Final[tuple[LatencyBasis, ...]] = get_args(LatencyBasis)

ALL: Final = Fraction(1)


class ShareBounds(NamedTuple):
    """The least and the greatest share that there may be, both exact."""

    lower: Fraction
    upper: Fraction


def met_ratio(counts: Mapping[LatencyPart, int]) -> ShareBounds | None:
    """The share of observations that met their objective; `None` without any."""
    total = counts.get("total", 0)
    if total <= 0:
        return None
    return ShareBounds(Fraction(counts.get("lower", 0), total), Fraction(counts.get("upper", 0), total))


def joint(ratios: Iterable[ShareBounds]) -> ShareBounds:
    """The share that met all objectives, from the share that met each: Fréchet's bounds.

    A histogram of each objective does not say which requests met both. At worst no request that missed one
    missed another, at best all misses are the same requests'.
    """
    bounds = tuple(ratios)
    return ShareBounds(
        max(Fraction(0), ALL - sum(ALL - ratio.lower for ratio in bounds)),
        min((ratio.upper for ratio in bounds), default=ALL),
    )


def met_ratios(
    counts: Mapping[tuple[Objective, LatencyBasis, LatencyPart], int], objectives: Collection[Objective]
) -> dict[tuple[Measure, LatencyBasis], ShareBounds]:
    """The share of each objective and basis, and of all together, from observations.

    Requests and tokens are never added up, and have no share together: one bad token of each request is a
    small share of tokens, and all requests. Nor has a level of which an objective was not observed, or one
    whose objectives, `objectives`, were others in the meantime.
    """
    ratios: dict[tuple[Measure, LatencyBasis], ShareBounds] = {}
    for objective, basis in product(OBJECTIVES, BASES):
        ratio = met_ratio({part: counts.get((objective, basis, part), 0) for part in LATENCY_PARTS})
        if ratio is not None:
            ratios[objective, basis] = ratio
    bases = {basis for _, basis in ratios}
    alike = bases == {"requests"} or len(ratios) == 1
    if alike and {objective for objective, _ in ratios} == set(objectives):
        ratios["all", bases.pop()] = joint(ratios.values())
    return ratios


def met_cost(dollars_per_million: float, ratio: ShareBounds) -> tuple[float | None, float | None]:
    """Dollars per million tokens within the objectives, at least and at most; `None` where there may be none.

    It assumes that requests within and outside of them have equally many tokens.
    """
    return (
        dollars_per_million / float(ratio.upper) if ratio.upper else None,
        dollars_per_million / float(ratio.lower) if ratio.lower else None,
    )
