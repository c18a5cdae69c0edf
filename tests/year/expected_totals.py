"""Expected cost of the year in exact fractions, from its events alone.

Dollars of one GPU and component through a moment are a fraction; the ledger has its whole picodollars,
rounded down. A span adds the difference of two such floors: less than one picodollar off the exact amount for
each GPU and component, however many ticks, prices and restarts lie between.
Energy is read at ticks. A month's end inside a tick divides it by the time that the host was up, in whole
millijoules, rounded down.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Final

from tests.year import events

PICODOLLARS: Final = 10**12
YEAR: Final = 8766 * events.HOUR
MILLIJOULES_PER_KILOWATT_HOUR: Final = 3_600_000_000
Span = tuple[int, int]

_UNCHARGED: Final[list[Span]] = [
    (absence.last, absence.last + absence.uncharged) for absence in events.ABSENCES if absence.uncharged
]


def _not_up() -> Iterator[Span]:
    """When hourly rent is not owed: asleep, or down for more than a reboot, but for the last two ticks."""
    for absence in events.ABSENCES:
        if absence.kind == "asleep":
            yield absence.off
        elif absence.kind == "host" and absence.back - absence.last > events.OFF_IS_REBOOT:
            lingers = 0 if absence.uncharged else 2 * events.TICK
            yield absence.last + lingers, absence.back


_DOWN: Final = list(_not_up())


def seconds(since: int, until: int, without: list[Span]) -> int:
    """The length of a span, less what is not owed of it."""
    if until <= since:
        return 0
    return until - since - sum(max(0, min(until, end) - max(since, start)) for start, end in without)


def components(gpu: int) -> tuple[str, ...]:
    """Components of a GPU's cost."""
    owned = ("amortization", "support", "energy") if gpu in events.OWNED else ("rent",)
    return (*owned, "storage", "network")


class ExpectedYear:
    """The year as it was ticked. `around` are, by month's end, the ticks before and after it."""

    def __init__(self, around: Mapping[int, Span]) -> None:
        self._around = around
        self._computed: dict[tuple[int, str, int], int] = {}

    def picodollars(self, gpu: int, component: str, moment: int) -> int:
        """Whole picodollars from the year's first tick through a moment: a tick, or a month's end."""
        key = gpu, component, moment
        if key not in self._computed:
            self._computed[key] = int(self.dollars(gpu, component, moment) * PICODOLLARS // 1)
        return self._computed[key]

    def dollars(self, gpu: int, component: str, moment: int) -> Fraction:
        """The same, exactly."""
        if component == "rent":
            return _rent(gpu, moment)
        if component == "amortization":
            capital = events.PURCHASE * (1 + events.ADDERS - events.RESIDUAL) / len(events.OWNED)
            life = Fraction(events.LIFE_YEARS) * YEAR
            until = min(moment, events.END_OF_LIFE)
            return Fraction(capital) * seconds(events.START, until, _UNCHARGED) / life
        if component == "support":
            yearly = Fraction(events.SUPPORT_PER_YEAR) / len(events.OWNED)
            return yearly * seconds(events.START, moment, _UNCHARGED) / YEAR
        if component == "energy":
            price = Fraction(events.KILOWATT_HOUR) * Fraction(events.PUE) * Fraction(events.HOST_FACTOR)
            return price * self.energy(gpu, moment) / MILLIJOULES_PER_KILOWATT_HOUR
        if component == "network":
            hourly = Fraction(events.NETWORK_PER_HOST_HOUR) / events.GPUS
            return hourly * seconds(events.START, moment, _UNCHARGED) / events.HOUR
        return _storage(moment)

    def energy(self, gpu: int, moment: int) -> int:
        """Millijoules that were read through a moment."""
        drawn = events.ENERGY[gpu].at
        before, after = self._around.get(moment, (moment, moment))
        reported = drawn(before) - drawn(events.START)
        if after > before:
            since = max(before, after - events.GAP_MAX)
            part, whole = (seconds(since, until, _DOWN) for until in (moment, after))
            reported += (drawn(after) - drawn(before)) * part // whole
        return reported

    def month(self, name: str, last: int) -> dict[tuple[str, str], int]:
        """Picodollars of a month by product and team, and its adjustments, as they are after a tick."""
        since, until = span(name, last)
        amounts: dict[tuple[str, str], int] = {}
        changes = [events.BATCH_LEAVES, *(moment for moment, _ in events.OWNERS)]
        cuts = sorted({since, until, *(moment for moment in changes if since < moment < until)})
        for start, end in pairwise(cuts):
            for gpu in range(events.GPUS):
                owner = _owner(gpu, start)
                for component in components(gpu):
                    added = self.picodollars(gpu, component, end) - self.picodollars(gpu, component, start)
                    amounts[owner] = amounts.get(owner, 0) + added
        for adjustment in adjustments(last):
            if adjustment.day.startswith(name):
                owner = adjustment.product, adjustment.team
                amounts[owner] = amounts.get(owner, 0) + adjustment.picodollars
        return amounts

    def exact_month(self, name: str, last: int) -> Fraction:
        """Dollars of a month, unrounded."""
        since, until = span(name, last)
        return sum(
            (
                self.dollars(gpu, component, until) - self.dollars(gpu, component, since)
                for gpu in range(events.GPUS)
                for component in components(gpu)
            ),
            Fraction(0),
        )


def adjustments(moment: int) -> list[events.Adjustment]:
    """Those that were entered through a tick."""
    return [adjustment for adjustment in events.ADJUSTMENTS if adjustment.entered <= moment]


def span(name: str, last: int) -> Span:
    """The part of a month that lies in the year that was ticked."""
    ends = [start for _, start in events.STARTS[1:]] + [last]
    for (month, start), end in zip(events.STARTS, ends, strict=True):
        if month == name:
            return max(start, events.START), min(end, last)
    raise KeyError(name)


def gpu_seconds(moment: int) -> int:
    """GPU time that is owed through a tick: by the hour while the host is up, else all that is charged."""
    hourly = len(events.RENTED)
    return hourly * seconds(events.START, moment, _DOWN) + (events.GPUS - hourly) * seconds(
        events.START, moment, _UNCHARGED
    )


def unobserved_seconds(moment: int) -> int:
    """The part of it that is unobserved."""
    gaps = sum(absence.first - absence.last for absence in events.ABSENCES if absence.first <= moment)
    return gpu_seconds(moment) - events.GPUS * (moment - events.START - gaps)


def tokens(moment: int) -> dict[tuple[str, str, str], int]:
    """Tokens by server, model and kind that were served between the first tick and a later one."""
    counts = {}
    for (server, kind), total in events.TOKENS.items():
        cuts = [events.START, moment]
        if server == "embed" and moment > events.RENAMED:
            cuts.insert(1, events.RENAMED)
        for since, until in pairwise(cuts):
            counts[server, events.model_of(server, until), kind] = total.at(until) - total.at(since)
    return counts


def _rent(gpu: int, moment: int) -> Fraction:
    leased = gpu == events.LEASED
    prices = events.LEASE if leased else events.RENTS
    sharers, without = (1, _UNCHARGED) if leased else (len(events.RENTED), _DOWN)
    ends = [since for since, _ in prices[1:]] + [moment]
    dollars = Fraction(0)
    for (since, hourly), end in zip(prices, ends, strict=True):
        spent = seconds(max(since, events.START), min(end, moment), without)
        dollars += Fraction(hourly) / sharers * spent / events.HOUR
    return dollars


def _storage(moment: int) -> Fraction:
    dollars = Fraction(0)
    ends = [start for _, start in events.STARTS[1:]] + [events.at(2, 1, year=2027)]
    for (_, start), end in zip(events.STARTS, ends, strict=True):
        spent = seconds(max(start, events.START), min(end, moment), _UNCHARGED)
        dollars += Fraction(events.STORAGE_PER_GPU_MONTH) * spent / (end - start)
    return dollars


def _owner(gpu: int, since: int) -> tuple[str, str]:
    """Product and team of a GPU from a tick on; servers that share one belong to one product all year."""
    holders = events.holders(gpu, since + 1)
    return events.owners(since + 1).get(holders[0], events.UNASSIGNED) if holders else events.UNASSIGNED
