"""What the year costs, reckoned anew in exact fractions from the story's facts, and from nothing of ours.

Dollars of one GPU and component through a moment are a fraction; the books hold its whole picodollars,
rounded down. What a span adds is therefore the difference of two such floors: less than one picodollar off
the exact amount for each GPU and component, however many ticks, cuts, prices and restarts lie between.
Energy is told at ticks; a month's end inside a tick divides it by time, in whole millijoules, rounded down.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Final

from tests.year import story

PICODOLLARS: Final = 10**12
YEAR: Final = 8766 * story.HOUR
MILLIJOULES_PER_KILOWATT_HOUR: Final = 3_600_000_000
Span = tuple[int, int]

_UNCHARGED: Final[list[Span]] = [
    (absence.last, absence.last + absence.uncharged) for absence in story.ABSENCES if absence.uncharged
]


def _not_up() -> Iterator[Span]:
    """When hourly rent is not owed: asleep, or down for more than a reboot, but for the last two ticks."""
    for absence in story.ABSENCES:
        if absence.kind == "asleep":
            yield absence.off
        elif absence.kind == "host" and absence.back - absence.last > story.OFF_IS_REBOOT:
            lingers = 0 if absence.uncharged else 2 * story.TICK
            yield absence.last + lingers, absence.back


_DOWN: Final = list(_not_up())


def seconds(since: int, until: int, without: list[Span]) -> int:
    """The length of a span, less what is not owed of it."""
    if until <= since:
        return 0
    return until - since - sum(max(0, min(until, end) - max(since, start)) for start, end in without)


def components(gpu: int) -> tuple[str, ...]:
    """What money a GPU costs is for."""
    owned = ("amortization", "support", "energy") if gpu in story.OWNED else ("rent",)
    return (*owned, "storage", "network")


class Reckoning:
    """The year as it was ticked. `around` are, by month's end, the ticks before and after it."""

    def __init__(self, around: Mapping[int, Span]) -> None:
        self._around = around
        self._known: dict[tuple[int, str, int], int] = {}

    def picodollars(self, gpu: int, component: str, moment: int) -> int:
        """Whole picodollars from the year's first tick through a moment: a tick, or a month's end."""
        key = gpu, component, moment
        if key not in self._known:
            self._known[key] = int(self.dollars(gpu, component, moment) * PICODOLLARS // 1)
        return self._known[key]

    def dollars(self, gpu: int, component: str, moment: int) -> Fraction:
        """The same, exactly."""
        if component == "rent":
            return _rent(gpu, moment)
        if component == "amortization":
            capital = story.PURCHASE * (1 + story.ADDERS - story.RESIDUAL) / len(story.OWNED)
            life = Fraction(story.LIFE_YEARS) * YEAR
            until = min(moment, story.END_OF_LIFE)
            return Fraction(capital) * seconds(story.START, until, _UNCHARGED) / life
        if component == "support":
            yearly = Fraction(story.SUPPORT_PER_YEAR) / len(story.OWNED)
            return yearly * seconds(story.START, moment, _UNCHARGED) / YEAR
        if component == "energy":
            price = Fraction(story.KILOWATT_HOUR) * Fraction(story.PUE) * Fraction(story.HOST_FACTOR)
            return price * self.energy(gpu, moment) / MILLIJOULES_PER_KILOWATT_HOUR
        if component == "network":
            hourly = Fraction(story.NETWORK_PER_HOST_HOUR) / story.GPUS
            return hourly * seconds(story.START, moment, _UNCHARGED) / story.HOUR
        return _storage(moment)

    def energy(self, gpu: int, moment: int) -> int:
        """Millijoules told through a moment."""
        drawn = story.ENERGY[gpu].at
        before, after = self._around.get(moment, (moment, moment))
        told = drawn(before) - drawn(story.START)
        if after > before:
            since = max(before, after - story.GAP_MAX)
            told += (drawn(after) - drawn(before)) * (moment - since) // (after - since)
        return told

    def month(self, name: str, last: int) -> dict[tuple[str, str], int]:
        """Picodollars of a month by product and team, through the last tick of the year at most."""
        since, until = span(name, last)
        found: dict[tuple[str, str], int] = {}
        changes = [story.BATCH_LEAVES, *(moment for moment, _ in story.OWNERS)]
        cuts = sorted({since, until, *(moment for moment in changes if since < moment < until)})
        for start, end in pairwise(cuts):
            for gpu in range(story.GPUS):
                owner = _owner(gpu, start)
                for component in components(gpu):
                    added = self.picodollars(gpu, component, end) - self.picodollars(gpu, component, start)
                    found[owner] = found.get(owner, 0) + added
        return found

    def exact_month(self, name: str, last: int) -> Fraction:
        """Dollars of a month, unrounded."""
        since, until = span(name, last)
        return sum(
            (
                self.dollars(gpu, component, until) - self.dollars(gpu, component, since)
                for gpu in range(story.GPUS)
                for component in components(gpu)
            ),
            Fraction(0),
        )


def span(name: str, last: int) -> Span:
    """The part of a month that lies in the year that was ticked."""
    ends = [start for _, start in story.STARTS[1:]] + [last]
    for (month, start), end in zip(story.STARTS, ends, strict=True):
        if month == name:
            return max(start, story.START), min(end, last)
    raise KeyError(name)


def gpu_seconds(moment: int) -> int:
    """GPU time that is owed through a tick: by the hour while the host is up, else all that is charged."""
    hourly = len(story.RENTED)
    return hourly * seconds(story.START, moment, _DOWN) + (story.GPUS - hourly) * seconds(
        story.START, moment, _UNCHARGED
    )


def unobserved_seconds(moment: int) -> int:
    """How much of it nobody watched."""
    gaps = sum(absence.first - absence.last for absence in story.ABSENCES if absence.first <= moment)
    return gpu_seconds(moment) - story.GPUS * (moment - story.START - gaps)


def tokens(moment: int) -> dict[tuple[str, str, str], int]:
    """Tokens by server, model and kind that were served between the first tick and a later one."""
    found = {}
    for (server, kind), total in story.TOKENS.items():
        cuts = [story.START, moment]
        if server == "embed" and moment > story.RENAMED:
            cuts.insert(1, story.RENAMED)
        for since, until in pairwise(cuts):
            found[server, story.model_of(server, until), kind] = total.at(until) - total.at(since)
    return found


def _rent(gpu: int, moment: int) -> Fraction:
    leased = gpu == story.LEASED
    prices = story.LEASE if leased else story.RENTS
    sharers, without = (1, _UNCHARGED) if leased else (len(story.RENTED), _DOWN)
    ends = [since for since, _ in prices[1:]] + [moment]
    owed = Fraction(0)
    for (since, hourly), end in zip(prices, ends, strict=True):
        spent = seconds(max(since, story.START), min(end, moment), without)
        owed += Fraction(hourly) / sharers * spent / story.HOUR
    return owed


def _storage(moment: int) -> Fraction:
    owed = Fraction(0)
    ends = [start for _, start in story.STARTS[1:]] + [story.at(2, 1, year=2027)]
    for (_, start), end in zip(story.STARTS, ends, strict=True):
        spent = seconds(max(start, story.START), min(end, moment), _UNCHARGED)
        owed += Fraction(story.STORAGE_PER_GPU_MONTH) * spent / (end - start)
    return owed


def _owner(gpu: int, since: int) -> tuple[str, str]:
    """Who pays for a GPU from a tick on; servers that share one are of one product all year."""
    holding = story.holders(gpu, since + 1)
    return story.owners(since + 1).get(holding[0], story.NOBODY) if holding else story.NOBODY
