"""Events of one year of one host in Berlin, and the counters of its GPUs and servers at any second.

Facts only, in whole seconds since 1970. The pipeline under test and the expected totals both use them.
Every tick falls on a second that ends in 3, so that months, prices and daylight saving change inside ticks.
Whatever dies (a host, a driver's counter, a server's process) dies right after a tick has read it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from itertools import accumulate
from typing import Final, Literal
from zoneinfo import ZoneInfo

ZONE: Final = ZoneInfo("Europe/Berlin")
TICK: Final = 10
HOUR: Final = 3600
DAY: Final = 24 * HOUR
OFF_IS_REBOOT: Final = 15 * 60
GAP_MAX: Final = 7 * DAY


def at(month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0, year: int = 2026) -> int:
    """A moment of Berlin's calendar."""
    return int(datetime(year, month, day, hour, minute, second, tzinfo=ZONE).timestamp())


START: Final = at(12, 31, 23, 40, 3, year=2025)
END: Final = at(1, 1, 0, 20, 3, year=2027)
MONTHS: Final = [(f"2026-{month:02d}", at(month, 1)) for month in range(1, 13)]
STARTS: Final = [("2025-12", at(12, 1, year=2025)), *MONTHS, ("2027-01", at(1, 1, year=2027))]
"""Months by name, with their first second."""


@dataclass(frozen=True)
class Absence:
    """No tick came between `last` and `first`. A host that was off or asleep was so from `last` to `back`."""

    kind: Literal["daemon", "host", "asleep"]
    last: int
    first: int
    back: int = 0

    @property
    def off(self) -> tuple[int, int]:
        """When nothing was drawn or served; of no length when only the daemon was down."""
        return self.last, self.back or self.last

    @property
    def uncharged(self) -> int:
        """Seconds that are too long ago to be believed."""
        return max(0, self.first - self.last - GAP_MAX)


ABSENCES: Final = (
    # A price's `from` inside.
    Absence("daemon", at(2, 1, 0, 20, 3), at(2, 1, 9, 30, 13)),
    # Ten minutes: a reboot.
    Absence("host", at(3, 1, 0, 10, 3), at(3, 1, 0, 22, 3), at(3, 1, 0, 20, 30)),
    # Over a month's end.
    Absence("host", at(3, 31, 20, 0, 3), at(4, 1, 6, 33, 3), at(4, 1, 6, 30, 41)),
    Absence("asleep", at(6, 2, 16, 10, 3), at(6, 2, 22, 45, 3), at(6, 2, 22, 44, 58)),
    # Longer than is believed.
    Absence("host", at(7, 6, 10, 0, 3), at(7, 15, 16, 5, 3), at(7, 15, 16, 0, 20)),
    Absence("daemon", at(9, 15, 14, 20, 3), at(9, 15, 14, 25, 3)),
    # Over the end of daylight saving.
    Absence("daemon", at(10, 24, 23, 0, 3), at(10, 25, 5, 0, 3)),
    # Over a month's end.
    Absence("daemon", at(11, 30, 23, 50, 3), at(12, 1, 0, 20, 3)),
)
RESTARTS: Final = (at(2, 28, 23, 59, 53), at(3, 29, 3, 10, 3), at(8, 16, 22, 10, 23), at(8, 31, 23, 59, 53))
"""After these ticks the daemon is another process, in time for the next one."""


@dataclass(frozen=True)
class Adjustment:
    """Picodollars that a person enters at `entered` for a day and its payer."""

    entered: int
    day: str
    product: str
    team: str
    picodollars: int


ADJUSTMENTS: Final = (
    # One picodollar, for the first day of all.
    Adjustment(at(1, 15, 12, 0, 1), "2025-12-31", "search", "retrieval", 1),
    # A credit for a month that is closed.
    Adjustment(at(3, 4, 9, 10, 7), "2026-02-27", "chat", "assistants", -123_456_789_012_345),
    # While the host is off; the next process posts it.
    Adjustment(at(7, 10, 8), "2026-06-30", "platform", "models", 700_000_000_000_001),
    # In the last tick of its month, whose process is new.
    Adjustment(at(8, 31, 23, 59, 57), "2026-08-31", "chat", "assistants", 41_000_000_000_000),
    # For the month that began while the daemon was down.
    Adjustment(at(12, 1, 0, 10), "2026-12-01", "search", "knowledge", -5_000_000_000_000),
    # Twice the same, which are two.
    Adjustment(at(12, 20, 17, 0, 5), "2026-11-30", "assistant", "assistants", 9_990_000_000_000),
    Adjustment(at(12, 20, 17, 0, 6), "2026-11-30", "assistant", "assistants", 9_990_000_000_000),
)

GPUS: Final = 8
RENTED: Final = (0, 1, 2)
LEASED: Final = 3
OWNED: Final = (4, 5, 6, 7)
LOST: Final = ((5, at(4, 1, 6, 40), at(4, 1, 7, 20)), (1, at(5, 31, 23, 40), at(6, 2, 16)))
"""GPU, since, until: the first is told to be down, the second is not told at all."""
RESETS: Final = ((6, at(8, 16, 21, 50, 3)),)
"""GPU and tick after which its energy counter begins anew."""

RENTS: Final = (
    (at(11, 1, year=2025), Decimal("31.07")),
    (at(2, 1, 7, 12, 17), Decimal("29.5")),
    (at(6, 10, 11, 8, 28), Decimal("33.3333")),
    (at(10, 1), Decimal("26.99")),
)
"""Dollars an hour of the rented GPUs together, while the host is up."""
LEASE: Final = ((at(11, 1, year=2025), Decimal("2.37")), (at(9, 15, 14, 10, 29), Decimal("2.11")))
PURCHASE, RESIDUAL, ADDERS = Decimal(140_000), Decimal("0.1"), Decimal("0.15")
IN_SERVICE: Final = at(2, 15, year=2025)
LIFE_YEARS: Final = Decimal("1.5")
END_OF_LIFE: Final = IN_SERVICE + 8766 * HOUR * 3 // 2
SUPPORT_PER_YEAR: Final = Decimal(11_000)
KILOWATT_HOUR, PUE, HOST_FACTOR = Decimal("0.2937"), Decimal("1.31"), Decimal("1.17")
STORAGE_PER_GPU_MONTH: Final = Decimal("9.23")
NETWORK_PER_HOST_HOUR: Final = Decimal("1.1")

SERVERS: Final = ("chat", "search", "rank", "embed", "batch")
HOLDINGS: Final = {
    0: ("chat",),
    1: ("chat",),
    2: ("search", "rank"),
    3: ("search",),
    4: ("embed",),
    5: ("embed",),
}
SHARES: Final = {"search": 0.7, "rank": 0.3}
BATCH_LEAVES: Final = at(11, 11, 10, 10, 3)
"""After this tick GPU 6 is held by nobody, as GPU 7 is all year."""
UNASSIGNED: Final = ("unassigned", "unassigned")
OWNERS: Final[tuple[tuple[int, dict[str, tuple[str, str]]], ...]] = (
    (
        START,
        {
            "chat": ("chat", "assistants"),
            "search": ("search", "retrieval"),
            "rank": ("search", "retrieval"),
            "embed": ("search", "retrieval"),
        },
    ),
    (
        at(3, 29, 1, 50, 3),
        {
            "chat": ("chat", "assistants"),
            "search": ("search", "retrieval"),
            "rank": ("search", "retrieval"),
            "embed": ("platform", "models"),
            "batch": ("platform", "models"),
        },
    ),
    (
        at(9, 15, 14, 0, 3),
        {
            "chat": ("assistant", "assistants"),
            "search": ("search", "knowledge"),
            "rank": ("search", "knowledge"),
            "embed": ("platform", "models"),
            "batch": ("platform", "models"),
        },
    ),
)
"""Ticks after which a reload takes hold, and who pays for which server from then on."""

PROCESSES: Final = {
    "chat": (at(6, 10, 11, 0, 3),),
    "rank": (at(8, 16, 22, 10, 3),),
    "embed": (at(11, 11, 10, 0, 3),),
}
"""Ticks after which a server is another process; `rank` tells no identity, so that only its counters fall."""
RENAMED: Final = at(11, 11, 10, 0, 3)
SILENT: Final = ("chat", at(6, 10, 10, 30), at(6, 10, 10, 40))
BAD_READ: Final = ("search", at(3, 29, 3, 20, 3))
DAYLIGHT_SAVING: Final = (at(3, 29, 3), at(10, 25, 3))

EVENTS: Final = sorted(
    {
        *(start for _, start in STARTS[1:]),
        *(moment for absence in ABSENCES for moment in (absence.last, absence.first)),
        *RESTARTS,
        *(moment for _, since, until in LOST for moment in (since, until)),
        *(moment for _, moment in RESETS),
        *(since for since, _ in (*RENTS, *LEASE) if since > START),
        END_OF_LIFE,
        BATCH_LEAVES,
        *(adjustment.entered for adjustment in ADJUSTMENTS),
        *(since for since, _ in OWNERS[1:]),
        *(moment for moments in PROCESSES.values() for moment in moments),
        *DAYLIGHT_SAVING,
    }
)


def eventful(moment: int) -> bool:
    """Whether something happens within five minutes."""
    coming = bisect_right(EVENTS, moment - 5 * 60)
    return coming < len(EVENTS) and EVENTS[coming] <= moment + 5 * 60


def model_of(server: str, moment: int) -> str:
    """What a server calls its model."""
    return f"{server}-v2" if server == "embed" and moment > RENAMED else f"{server}-v1"


def holders(gpu: int, moment: int) -> tuple[str, ...]:
    """Who holds a GPU at a tick."""
    if gpu == 6:
        return ("batch",) if moment <= BATCH_LEAVES else ()
    return HOLDINGS.get(gpu, ())


def owners(moment: int) -> dict[str, tuple[str, str]]:
    """Product and team by server, as a tick finds them configured."""
    return OWNERS[owned(moment)][1]


def owned(moment: int) -> int:
    """Which of the `OWNERS` a tick finds configured."""
    return max(0, bisect_left([since for since, _ in OWNERS], moment) - 1)


class Total:
    """Something that grows by a whole number each second, one for each hour, while the host is on."""

    def __init__(self, rate: Callable[[int], int]) -> None:
        self._first = START // HOUR - 300 * 24
        self._rates = [rate(hour) for hour in range((END - START) // HOUR + 310 * 24)]
        self._sums = [0, *accumulate(rate * HOUR for rate in self._rates)]
        self._backs = [absence.off[1] for absence in ABSENCES]
        self._missed = [0, *accumulate(self._grown(absence.off) for absence in ABSENCES)]

    def _always(self, moment: int) -> int:
        hour, seconds = divmod(moment, HOUR)
        hour -= self._first
        return self._sums[hour] + self._rates[hour] * seconds

    def _grown(self, span: tuple[int, int]) -> int:
        return self._always(span[1]) - self._always(span[0])

    def at(self, moment: int) -> int:
        """How much it is at a moment at which the host is on."""
        return self._always(moment) - self._missed[bisect_right(self._backs, moment)]


def _watts(gpu: int) -> Callable[[int], int]:
    return lambda hour: 1000 * (70 + (hour * 37 + gpu * 101) % 571)


def _tokens_per_second(server: int, kind: int) -> Callable[[int], int]:
    return lambda hour: 1 + kind + server + (hour * (kind + 3)) % 17


ENERGY: Final = [Total(_watts(gpu)) for gpu in range(GPUS)]
"""Millijoules that each GPU ever drew."""
TOKENS: Final = {
    (server, kind): Total(_tokens_per_second(number, index))
    for number, server in enumerate(SERVERS)
    for index, kind in enumerate(("prompt", "generation"))
}
"""Tokens that each server ever moved."""

_BOOTS: Final = [START - 200 * DAY, *(absence.back for absence in ABSENCES if absence.kind == "host")]
_LIVES: Final = {server: sorted({*_BOOTS, *PROCESSES.get(server, ())}) for server in SERVERS}
_LOADS: Final = [sorted({*_BOOTS, *(moment for one, moment in RESETS if one == gpu)}) for gpu in range(GPUS)]


def began(beginnings: list[int], moment: int) -> int:
    """The latest beginning before a moment: what begins at a tick is seen from the next one on."""
    return beginnings[bisect_right(beginnings, moment - 1) - 1]


def boot(moment: int) -> int:
    """When the host was booted."""
    return began(_BOOTS, moment)


def asleep(moment: int) -> int:
    """Seconds that the host slept in this boot."""
    return sum(
        absence.back - absence.last
        for absence in ABSENCES
        if absence.kind == "asleep" and boot(moment) < absence.last < moment
    )


def energy(gpu: int, moment: int) -> int | None:
    """The driver's counter; `None` while the GPU is lost."""
    if lost(gpu, moment):
        return None
    return ENERGY[gpu].at(moment) - ENERGY[gpu].at(began(_LOADS[gpu], moment))


def lost(gpu: int, moment: int) -> bool:
    """Whether a GPU is off the bus."""
    return any(one == gpu and since <= moment < until for one, since, until in LOST)


def process(server: str, moment: int) -> int:
    """When a server's process began."""
    return began(_LIVES[server], moment)


def counter(server: str, kind: str, moment: int) -> int | None:
    """What a server's counter says; `None` while it does not answer."""
    if server == SILENT[0] and SILENT[1] <= moment < SILENT[2]:
        return None
    total = TOKENS[server, kind]
    count = total.at(moment) - total.at(process(server, moment))
    return count // 2 if (server, moment) == BAD_READ else count


@dataclass(frozen=True)
class YearTick:
    """One tick: when, how long after the last, the absence that it ends, whether its process is new."""

    at: int
    step: int = 0
    absence: Absence | None = None
    restarted: bool = False


TickSpan = tuple[int, int, int]
"""A span and the seconds that a tick takes in it."""


def moments(rest: int, paces: Iterable[TickSpan] = (), around: int = HOUR // 2) -> Iterator[YearTick]:
    """The ticks: every 10 s for `around` s before and after each event, as `paces` say, else every `rest`."""
    left = {absence.last: absence for absence in ABSENCES}
    spans = [(event - around, event + around, TICK) for event in EVENTS]
    spans.extend(paces)
    moment = YearTick(START)
    while moment.at <= END:
        yield moment
        now = moment.at
        absence = left.get(now)
        if absence is not None:
            restarted = absence.kind != "asleep"
            moment = YearTick(absence.first, absence.first - now, absence, restarted)
            continue
        step = min([length for since, until, length in spans if since <= now < until], default=rest)
        coming = min((since - now for since, _, _ in spans if since > now), default=step)
        step = max(TICK, min(step, coming // TICK * TICK))
        moment = replace(moment, at=now + step, step=step, absence=None, restarted=now in RESTARTS)
