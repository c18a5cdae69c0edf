"""Books made of totals: what is served, and over which time."""

from collections.abc import Collection, Iterable
from typing import Final

from exporter.cost.postings import PHASES, Party, Slot, Unpriced
from exporter.ledger.contents import Contents
from exporter.ledger.totals import Totals, hour_of, minute_of
from exporter.readings import Gpu, ServerKey
from exporter.report import Books, MonthKey, Window
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_MINUTE, Instant, Nanoseconds, Picodollars

WINDOW_MINUTES: Final = 60
DAY_HOURS: Final = 24
RETIRED_AFTER: Final[Nanoseconds] = 24 * NANOSECONDS_PER_HOUR


def books(
    contents: Contents,
    now: Instant,
    months: Collection[str],
    holding: Collection[ServerKey] | None,
    *,
    persistent: bool,
    writable: bool,
) -> Books:
    """The books at an instant.

    Args:
        contents: what was committed.
        now: the wall clock's time.
        months: names of the months whose cells are wanted.
        holding: servers of the latest tick; `None` retires nobody.
        persistent: whether the books are on disk.
        writable: whether the last write succeeded.
    """
    totals = contents.totals
    parties = _parties(totals, now, holding)
    month_cells = {key: amount for key, amount in totals.months.items() if key.month in months}
    last_token = {party: at for party, at in totals.last_token.items() if party in parties}
    return Books(
        ledger=contents.ledger,
        persistent=persistent,
        writable=writable,
        last_commit=contents.last_commit,
        begun=contents.begun,
        residual=residual(totals, contents.state.accrued),
        cost=_by_phase(totals.cost, parties),
        gpu_time=_by_phase(totals.held, parties),
        server_cost=dict(totals.server_cost),
        gpu_cost=dict(totals.gpu_cost),
        tokens={key: count for key, count in totals.tokens.items() if key[0] in parties},
        requests={party: count for party, count in totals.requests.items() if party in parties},
        equivalents={key: amount for key, amount in totals.equivalents.items() if key[0] in parties},
        energy=dict(totals.energy),
        unpriced=_unpriced(totals),
        uncharged=contents.state.uncharged,
        replaced=contents.state.replaced,
        last_token=last_token,
        months=month_cells,
        window=window(totals, contents.recent.values(), now),
        day=day(totals, now, month_cells),
        course=contents.day.course(totals, now),
    )


def residual(totals: Totals, accrued: Picodollars) -> Picodollars:
    """Accrued minus posted, by the family that disagrees most; anything but 0 is a bug.

    Accrual is told twice: summed here from the segments, and carried by the cost model from tick to tick.
    """
    families = (
        accrued,
        sum(totals.cost.values()),
        sum(totals.server_cost.values()),
        sum(totals.gpu_cost.values()),
    )
    return max((totals.accrued - posted for posted in families), key=abs)


def window(totals: Totals, waiting: Iterable[Unpriced], now: Instant) -> dict[Party, Window]:
    """Sums over the last 60 whole minutes, up to the last whole minute; of a younger ledger what there is.

    Of a stretch that waits for a price and lies partly in them, each party's time counts as if it were
    spread evenly, for nothing finer is kept; what is there at all is never rounded to nothing.
    """
    end = minute_of(now)
    start = end - WINDOW_MINUTES
    money, tokens = totals.last_hour.sums(totals, range(start, end))
    unpriced: dict[Party, Nanoseconds] = {}
    for stretch in waiting:
        inside = min(stretch.end, end * NANOSECONDS_PER_MINUTE) - max(
            stretch.start, start * NANOSECONDS_PER_MINUTE
        )
        if inside > 0:
            for slot, used in stretch.slots.items():
                part = -(-used.time * inside // (stretch.end - stretch.start))
                unpriced[slot.party] = unpriced.get(slot.party, 0) + part
    return {
        party: Window(money.get(party, {}), tokens.get(party, {}), unpriced.get(party, 0))
        for party in {**money, **tokens, **unpriced}
    }


def day(
    totals: Totals, now: Instant, months: Collection[MonthKey]
) -> dict[str, tuple[Picodollars, Nanoseconds]]:
    """Money and covered time by product, over the current hour so far and the 24 whole ones before it.

    The time is this host's, the same for all products. A product of these months that spent nothing has no
    money, also where an adjustment is all that it has; with no time covered nothing is known of anybody.
    """
    latest = hour_of(now)
    hours = range(latest - DAY_HOURS, latest + 1)
    covered = sum(totals.hour_covered.get(hour, 0) for hour in hours)
    if not covered:
        return {}
    owing = {key.product for key in months}
    products = owing.union(owner.product for owner, _component in totals.server_cost)
    money = {
        product: sum(totals.hour_cost.get((hour, product), 0) for hour in hours)
        for product in sorted(products)
    }
    return {product: (spent, covered) for product, spent in money.items() if spent or product in owing}


def _parties(totals: Totals, now: Instant, holding: Collection[ServerKey] | None) -> set[Party]:
    """Parties that are served, which a row unchanged for a day of a server that holds nothing is not."""
    return {
        party
        for party, changed in totals.changed.items()
        if holding is None or now - changed < RETIRED_AFTER or party.key in holding
    }


def _by_phase(sums: dict[Slot, int], parties: set[Party]) -> dict[Slot, int]:
    """All phases of each party, from its first sight, at 0."""
    return {(slot := Slot(party, phase)): sums.get(slot, 0) for party in sorted(parties) for phase in PHASES}


def _unpriced(totals: Totals) -> dict[Gpu, Nanoseconds]:
    found: dict[Gpu, Nanoseconds] = {}
    for (gpu, _party), duration in totals.unpriced.items():
        found[gpu] = found.get(gpu, 0) + duration
    return found
