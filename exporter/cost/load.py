"""Load of a server: the part of what it can serve at once that is in use.

Busy time only says that a kernel ran. Load says how much more the same GPUs could serve.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal

from exporter.cost.postings import CostOwner
from exporter.readings import LoadReading, ServerKey

Limit = Literal["kv_cache", "sequences"]
"""What bounds the requests that run at once. A queue has no maximum: it is a number, not a ratio."""

FULL: Final = 1.0


def load_ratios(load: LoadReading) -> dict[Limit, float]:
    """Part of each known limit in use, from 0 to 1."""
    ratios: dict[Limit, float] = {}
    if load.kv_cache is not None and load.kv_cache.capacity > 0:
        ratios["kv_cache"] = _bounded(load.kv_cache.used / load.kv_cache.capacity)
    if load.running is not None and load.max_running:
        ratios["sequences"] = _bounded(load.running / load.max_running)
    return ratios


def _bounded(ratio: float) -> float:
    return min(FULL, max(0.0, ratio))


def load_ratio(load: LoadReading) -> float | None:
    """Load by the limit that is reached first, `None` without a known limit.

    While requests wait, the server is full: something that its page does not show holds them back.
    """
    ratios = load_ratios(load)
    if not ratios:
        return None
    return FULL if load.waiting else max(ratios.values())


Loads = Mapping[tuple[ServerKey, str], float]
"""Load ratio of each server and model whose load is known. It is that of each team which a gateway divides
the model over."""


def headroom(busy: Mapping[CostOwner, float], loads: Loads) -> dict[CostOwner, float]:
    """Busy dollars per hour of the load that could be added, by owner; none where the load is unknown."""
    return {owner: busy[owner] * (FULL - ratio) for owner, ratio in _ratios(busy, loads)}


def load_rates(rates: Mapping[CostOwner, float], loads: Loads) -> dict[CostOwner, float]:
    """Dollars per hour of the load in use, by owner: the spend times the load; none where it is unknown.

    Over tokens per hour this is what a token would cost at full load: the same dollars, and tokens / load.
    The extrapolation is linear. Batches slow each sequence down, so that the price at full load is higher.
    """
    return {owner: rates[owner] * ratio for owner, ratio in _ratios(rates, loads)}


def _ratios(owners: Iterable[CostOwner], loads: Loads) -> Iterator[tuple[CostOwner, float]]:
    for owner in owners:
        ratio = loads.get((owner.key, owner.model))
        if ratio is not None:
            yield owner, ratio
