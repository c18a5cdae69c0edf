"""What the books have to set against a bill: money and time of this host, by day. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import Sums, day_number
from exporter.tariff.calendar import Day
from exporter.units import NANOSECONDS_PER_HOUR, Instant, Nanoseconds, Picodollars

ProductTeam = tuple[str, str]


@dataclass(slots=True)
class Book:
    """A day, or a month that days were added to.

    `length` is how much of it has passed, `metered` how much of that is in the books; of `metered`,
    `unobserved` is what nobody watched, as far as GPU time tells, and `unpriced` what has no price yet.
    `money`, by price basis, and `owners` are of the components that are compared; `others` are the others.
    `adjusted` is what posted adjustments add.
    """

    name: str
    length: Nanoseconds
    metered: Nanoseconds = 0
    unobserved: Nanoseconds = 0
    unpriced: Nanoseconds = 0
    money: dict[str, Picodollars] = field(default_factory=dict)
    owners: dict[ProductTeam, Picodollars] = field(default_factory=dict)
    others: dict[str, Picodollars] = field(default_factory=dict)
    adjusted: Picodollars = 0

    @property
    def compared(self) -> Picodollars:
        """What is compared, without adjustments."""
        return sum(self.money.values())

    def add(self, other: "Book") -> None:
        """Take in another day."""
        self.length += other.length
        self.metered += other.metered
        self.unobserved += other.unobserved
        self.unpriced += other.unpriced
        self.adjusted += other.adjusted
        for basis, amount in other.money.items():
            self.money[basis] = self.money.get(basis, 0) + amount
        for owner, amount in other.owners.items():
            self.owners[owner] = self.owners.get(owner, 0) + amount
        for component, amount in other.others.items():
            self.others[component] = self.others.get(component, 0) + amount


def local_books(
    days: list[Day],
    history: Mapping[int, Sums],
    adjustments: tuple[Adjustment, ...],
    components: frozenset[str],
    now: Instant,
) -> dict[str, Book]:
    """The books by local day."""
    told = ((day, history.get(day_number(day.name), Sums())) for day in days)
    return {day.name: _book(day, sums, adjustments, components, now) for day, sums in told}


def hourly_books(
    days: list[Day],
    history: Mapping[int, Sums],
    adjustments: tuple[Adjustment, ...],
    components: frozenset[str],
    now: Instant,
) -> dict[str, Book]:
    """The books of days of UTC, or of parts of days, from history by hour since 1970.

    An hour of which only a part belongs to a day is taken whole. Adjustments keep the day that they name.
    """
    books = {}
    for day in days:
        sums = Sums()
        for hour in _hours(day):
            if hour in history:
                sums.add(history[hour])
        books[day.name] = _book(day, sums, adjustments, components, now)
    return books


def hours_kept(days: list[Day], daily: Mapping[int, Sums], hourly: Mapping[int, Sums]) -> bool:
    """Whether hours still tell of local days all that days do: the oldest are let go of first."""
    for day in days:
        told = sum(daily.get(day_number(day.name), Sums()).gpu_held.values())
        if told:
            found = [hourly[hour].gpu_held.values() for hour in _hours(day) if hour in hourly]
            return told <= sum(map(sum, found))
    return True


def _hours(day: Day) -> range:
    return range(day.start // NANOSECONDS_PER_HOUR, -(-day.end // NANOSECONDS_PER_HOUR))


def _book(
    day: Day, sums: Sums, adjustments: tuple[Adjustment, ...], components: frozenset[str], now: Instant
) -> Book:
    held = sum(sums.gpu_held.values())
    # Hours do not tell what they cover; a GPU is held by somebody whenever a tick covers it.
    metered = sums.covered.get((), max(sums.gpu_held.values(), default=0))
    passed = max(0, min(day.end, now) - day.start)
    book = Book(day.name, max(passed, metered), metered)
    if held:
        # Time that is not owed passed while the host was down or asleep: nobody watched it either.
        observed = sum(time for slot, time in sums.held.items() if slot.phase != "unobserved")
        unobserved = max(0, held - observed)
        book.unobserved = min(metered, metered * unobserved // held)
        book.unpriced = min(metered, metered * sum(sums.waiting().values()) // held)
    for (owner, component, basis), amount in sums.server_cost.items():
        if component in components:
            payer = owner.product, owner.team
            book.money[basis] = book.money.get(basis, 0) + amount
            book.owners[payer] = book.owners.get(payer, 0) + amount
        else:
            book.others[component] = book.others.get(component, 0) + amount
    book.adjusted = sum(
        each.amount for each in adjustments if each.posted is not None and each.day == day.name
    )
    return book
