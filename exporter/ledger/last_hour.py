"""Money, tokens and latencies of the last hour, by owner: what dollars a token are divided from."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Final

from exporter.cost.money import add
from exporter.cost.postings import CostOwner, LatencyPart, UnpricedTime
from exporter.ledger.totals import MinuteSums, Totals
from exporter.readings import LatencyBasis, Objective, TokenKind
from exporter.report import Window
from exporter.units import NANOSECONDS_PER_MINUTE, Instant, Nanoseconds, Picodollars, minute_of

WINDOW_MINUTES: Final = 60


def window(totals: Totals, backlog: Iterable[UnpricedTime], now: Instant) -> Mapping[CostOwner, Window]:
    """Sums over the last 60 whole minutes, or over the time of a younger ledger.

    The same mapping until another minute or amount is in them, unless some time is unpriced.
    Unpriced time that lies partly in them counts as if it were spread evenly, since nothing finer is stored.
    A part is never rounded down to nothing.
    """
    end = minute_of(now)
    start = end - WINDOW_MINUTES
    minutes = tuple(totals.minutes[minute] for minute in range(start, end) if minute in totals.minutes)
    windows = _windows(minutes)
    unpriced: dict[CostOwner, Nanoseconds] = {}
    for time in backlog:
        inside = min(time.end, end * NANOSECONDS_PER_MINUTE) - max(time.start, start * NANOSECONDS_PER_MINUTE)
        if inside > 0:
            for owner_phase, used in time.usage.items():
                part = -(-used.time * inside // (time.end - time.start))
                add(unpriced, owner_phase.owner, part)
    if not unpriced:
        return windows
    incomplete = {
        owner: replace(windows.get(owner, Window()), unpriced=part) for owner, part in unpriced.items()
    }
    return {**windows, **incomplete}


@lru_cache(maxsize=1)
def _windows(minutes: tuple[MinuteSums, ...]) -> Mapping[CostOwner, Window]:
    """Sums over minutes. They change once a minute: a host of 64 servers has 23,000 sums of minutes.

    Committed minutes never change: one that is added to is another record. So the key of the cache is which
    records they are, and `MinuteSums` has no equality (`eq=False`).
    """
    sums = MinuteSums()
    for minute in minutes:
        sums.add(minute)
    money: dict[CostOwner, dict[str, Picodollars]] = {}
    for owner_phase, amount in sums.cost.items():
        money.setdefault(owner_phase.owner, {})[owner_phase.phase] = amount
    tokens: dict[CostOwner, dict[TokenKind, int]] = {}
    for (owner, kind), count in sums.tokens.items():
        tokens.setdefault(owner, {})[kind] = count
    latencies: dict[CostOwner, dict[tuple[Objective, LatencyBasis, LatencyPart], int]] = {}
    for key, count in sums.latencies.items():
        latencies.setdefault(key.owner, {})[key.objective, key.basis, key.part] = count
    return {
        owner: Window(
            money=money.get(owner, {}),
            tokens=tokens.get(owner, {}),
            latencies=latencies.get(owner, {}),
        )
        for owner in {**money, **tokens, **latencies}
    }
