"""Books made of totals: what is served, and over which time."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from exporter.cost.postings import PHASES, Party, Slot, Unpriced
from exporter.cost.projection import RecentUsage, UsageHour
from exporter.ledger.contents import Contents
from exporter.ledger.totals import HOURS_KEPT, Totals, hour_of, minute_of
from exporter.readings import Gpu, ServerKey
from exporter.report import Books, Window
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
        usage=recent_usage(totals, now),
        metered_since=_metered_since(contents, now),
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


def recent_usage(totals: Totals, now: Instant) -> RecentUsage:
    """Who used which GPU in the hours that the last 24 hours touch, as far as they were metered."""
    latest = hour_of(now)
    hours = range(latest - DAY_HOURS, latest + 1)
    time = _by_hour(totals.hour_usage, hours)
    energy = _by_hour(totals.hour_energy, hours)
    metered = sorted(time.keys() | (totals.hour_down.keys() & set(hours)))
    return RecentUsage(
        tuple(
            UsageHour(
                hour * NANOSECONDS_PER_HOUR,
                totals.hour_covered.get(hour, 0),
                totals.hour_down.get(hour, 0),
                time.get(hour, {}),
                energy.get(hour, {}),
            )
            for hour in metered
        ),
        totals.first_held,
        frozenset(_intermittent(totals, time)),
    )


def _by_hour(
    sums: Mapping[tuple[int, Gpu, str], int], hours: Collection[int]
) -> dict[int, dict[Gpu, dict[str, int]]]:
    found: dict[int, dict[Gpu, dict[str, int]]] = {}
    for (hour, gpu, product), amount in sums.items():
        if hour in hours:
            found.setdefault(hour, {}).setdefault(gpu, {})[product] = amount
    return found


def _intermittent(totals: Totals, time: Mapping[int, Mapping[Gpu, Mapping[str, int]]]) -> Iterator[str]:
    """Products that hold nothing now, as they did before for as long, and then came back."""
    if not time:
        return
    latest = max(time)
    last: dict[str, int] = {}
    for hour in sorted(time):
        for owners in time[hour].values():
            last.update(dict.fromkeys(owners, hour))
    for product, hour in last.items():
        absence = latest - hour
        if absence and _came_back(totals, product, hour, absence):
            yield product


def _came_back(totals: Totals, product: str, last: int, absence: int) -> bool:
    """Whether a product paid nothing for this many hours before its last one, and then paid again."""
    later = last
    for hour in range(last, last - HOURS_KEPT, -1):
        if (hour, product) in totals.hour_cost:
            if later - hour > absence:
                return True
            later = hour
    return False


def _metered_since(contents: Contents, now: Instant) -> Instant | None:
    """When the first time that these books have was metered; a clock that was ahead then says nothing."""
    if not contents.totals.first_held:
        return None
    instants = [*contents.totals.first_held.values(), contents.begun or now]
    return min((instant for instant in instants if instant <= now), default=None)


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
