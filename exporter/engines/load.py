"""The load of a server's models, by the gauges of its page."""

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from exporter.readings import LoadReading, Occupancy, SequenceLimit

REQUESTS_MAX: Final = 1_000_000
"""Largest plausible value of a gauge of requests; a larger one is ignored."""


class CacheUse(NamedTuple):
    """Use of the KV cache of one rank."""

    used: float
    capacity: float | None
    """The capacity in the unit of `used`: 0 if unknown, `None` of a plain ratio."""


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
        elif limit is not None and len(running) == 1:
            # The limit is of the whole server: of several models, none has it alone.
            max_running[name] = float(limit.sequences * (1 if limit.shared else len(ranks)))
    occupancies = {name: _occupancy(ranks) for name, ranks in gauges.caches.items()}
    kv_cache = {name: occupancy for name, occupancy in occupancies.items() if occupancy is not None}
    return tuple(
        LoadReading(
            name,
            running=sum(running[name]) if name in running else None,
            waiting=sum(waiting[name]) if name in waiting else None,
            batches=max(1, sum(requests > 0 for requests in running.get(name, ()))),
            max_running=max_running.get(name),
            kv_cache=kv_cache.get(name),
        )
        for name in sorted(running.keys() | waiting.keys() | kv_cache.keys())
    )


def _occupancy(ranks: Sequence[CacheUse]) -> Occupancy | None:
    """Use of the KV cache by all ranks of a model.

    One value that is not plausible leaves the model out: the mean of the other ranks is not its load.
    """
    used = 0.0
    whole = 0.0
    for cache in ranks:
        most = 1.0 if cache.capacity is None else cache.capacity
        is_no_ratio = cache.capacity is None and cache.used > most
        if not 0 <= cache.used < math.inf or most <= 0 or is_no_ratio:
            return None
        used += min(cache.used, most)
        whole += most
    return Occupancy(used, whole)
