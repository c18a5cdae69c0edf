"""The load of a server's models, by the gauges of its page."""

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from exporter.readings import LoadReading, Occupancy, SequenceLimit

REQUESTS_MAX: Final = 1_000_000
"""Largest plausible value of a gauge of requests; a larger one is ignored."""

CacheUse = tuple[float, float | None]
"""What a gauge of the KV cache says, and the capacity in its unit: 0 if unknown, `None` of a plain ratio."""


class Gauges(NamedTuple):
    """Values of gauges by model, one for each rank. A rank's cache may have one that is not plausible."""

    running: Mapping[str, Sequence[float]]
    waiting: Mapping[str, Sequence[float]]
    max_running: Mapping[str, Sequence[float]]
    caches: Mapping[str, Sequence[CacheUse]]


def load_readings(gauges: Gauges, limit: SequenceLimit | None) -> tuple[LoadReading, ...]:
    """The load of each model. `limit` is the largest number of running sequences, if the page has none."""
    running, waiting = gauges.running, gauges.waiting
    max_running: dict[str, float] = {}
    for name, ranks in running.items():
        stated = gauges.max_running.get(name, ())
        if gauges.max_running:
            if len(stated) == len(ranks) and min(stated) > 0:
                max_running[name] = sum(stated)
        elif (
            limit is not None and len(running) == 1
        ):  # it is of the whole server, and not of one of its models
            max_running[name] = float(limit.sequences * (1 if limit.shared else len(ranks)))
    kv_cache = {name: use for name, ranks in gauges.caches.items() if (use := _occupancy(ranks)) is not None}
    return tuple(
        [
            LoadReading(
                name,
                sum(running[name]) if name in running else None,
                sum(waiting[name]) if name in waiting else None,
                max(1, sum([requests > 0 for requests in running.get(name, ())])),
                max_running.get(name),
                kv_cache.get(name),
            )
            for name in sorted(running.keys() | waiting.keys() | kv_cache.keys())
        ]
    )


def _occupancy(ranks: Sequence[CacheUse]) -> Occupancy | None:
    """Use of the KV cache by all ranks of a model.

    One value that is not plausible leaves the model out: the mean of the other ranks is not its load.
    """
    used = whole = 0.0
    for value, capacity in ranks:
        most = 1.0 if capacity is None else capacity
        if not 0 <= value < math.inf or most <= 0 or (capacity is None and value > most):
            return None
        used += min(value, most)
        whole += most
    return Occupancy(used, whole)
