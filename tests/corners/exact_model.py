"""A host's life reckoned anew in exact fractions, from the tables of `docs/cost-model.md` alone.

One or two GPUs. Every stretch of time is cut at whole hours, in which months, local midnights and the dates
of all configurations begin too; what it costs is decided by the configuration of the tick that ends it, or,
where that has no price, by the first later one that has.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo

from exporter.readings import UNKNOWN_LOCATION, HostLocation
from tests.kit.units import HOUR, SECOND

GPUS = 2
GAP = 60 * SECOND
INTERVAL = 10 * SECOND
REBOOT = 15 * 60 * SECOND
YOUNG = HOUR
ZONE = ZoneInfo("America/New_York")
P5 = HostLocation("aws", "p5.48xlarge", "us-east-1", lifecycle="on_demand")
MILLIJOULES_PER_SECOND = 300_000
JOULE = Fraction(36, 100) / 3_600_000
"""Dollars of a joule at 0.36 a kilowatt-hour."""

FROM = 1_793_516_400 * SECOND
"""2026-11-01T02:00 in New York, an hour after the clocks went back: the date in `CONFIGURATIONS`."""

HEAD = """
timezone: America/New_York
unmatched_hardware: unpriced
ownership: {rules: [{match: {server: chat}, product: chat, team: assistants}]}
servers: [{name: chat, url: "http://127.0.0.1:8000/metrics", gpus: [0]}]
"""
SHARED = """
overheads:
  - {name: network, dollars_per_hour: 1.10, per: host}
  - {name: storage, dollars_per_month: 100, per: gpu}
"""
OWNED = (
    "{owned: {purchase_dollars_per_gpu: 26298, in_service: 2026-01-01, life_years: 3}, "
    "energy: {dollars_per_kilowatt_hour: 0.36}, match: {uuid: GPU-1}}"
)
HOSTED = {"rented": Fraction(2), "both": Fraction(3)}
"""Dollars per million generated tokens at the offer that some compare with."""

GAP_MAX = {"leased": 3 * HOUR}


def hosted(dollars: int) -> str:
    """That offer."""
    prices = f"prompt_dollars_per_million_tokens: 1, generation_dollars_per_million_tokens: {dollars}"
    return f"compare: [{{name: turbo, {prices}}}]\n"


def dated(prices: str) -> str:
    """Rent by the hour from some dates on."""
    return f"hardware: [{{rented: {{prices: [{prices}]}}}}]\n"


CONFIGURATIONS = {
    "nothing": HEAD,
    "rented": HEAD + SHARED + hosted(2) + "hardware: [{rented: {dollars_per_gpu_hour: 3.60}}]\n",
    "leased": HEAD
    + "gap: {max_days: 0.125}\n"
    + "hardware: [{rented: {dollars_per_gpu_hour: 2.40, billing: always}}]\n",
    "dated": HEAD + SHARED + dated("{from: 2026-11-01T02:00, dollars_per_gpu_hour: 7.20}"),
    "owned": HEAD + SHARED + f"hardware: [{OWNED}]\n",
    "both": HEAD + hosted(3) + f"hardware: [{OWNED}, {{rented: {{dollars_per_gpu_hour: 3.60}}}}]\n",
    "agreed": HEAD + dated("{from: 2026-10-01, dollars_per_gpu_hour: 3.60}"),
    "raised": HEAD
    + dated(
        "{from: 2026-10-01, dollars_per_gpu_hour: 3.60}, {from: 2026-11-01T02:00, dollars_per_gpu_hour: 7.20}"
    ),
    "estimated": HEAD.replace("unpriced", "estimate"),
    "catalogue": HEAD + SHARED + "hardware: [{rented: {catalogue: any, discount_ratio: 0.5}}]\n",
    "by place": HEAD
    + "hardware:\n  - {match: {instance_type: p5.48xlarge}, rented: {dollars_per_gpu_hour: 3.60}}\n"
    + "  - {rented: {dollars_per_gpu_hour: 2.40, billing: always}}\n",
}


@dataclass(frozen=True)
class HourlyCost:
    """Of one GPU: dollars an hour by component; `while_up`: only then; `estimate`: by the market."""

    hourly: dict[str, Fraction]
    while_up: bool = False
    energy: bool = False
    estimate: bool = False


RENTED = HourlyCost({"rent": Fraction("3.60")}, while_up=True)
LEASED = HourlyCost({"rent": Fraction("2.40")})
AMORTIZED = HourlyCost({"amortization": Fraction(1)}, energy=True)  # 26,298 dollars over 3 x 8,766 hours
LISTED = HourlyCost({"rent": Fraction("3.44")}, while_up=True)  # 55.04 for 8, less half
WHOLE_LIST = HourlyCost({"rent": Fraction("6.88")}, while_up=True)
MARKET = HourlyCost({"rent": Fraction("3.875")}, while_up=True, estimate=True)  # between 3.85 and 3.90
DATED = HourlyCost({"rent": Fraction("7.20")}, while_up=True)


def cost(name: str, location: HostLocation | None, gpu: int, at: int) -> HourlyCost | None:
    """What a GPU costs under a configuration at an instant; `None` without a price."""
    if name == "by place":
        return {None: None, P5: RENTED, UNKNOWN_LOCATION: LEASED}[location]
    if name == "estimated":
        return {None: None, P5: WHOLE_LIST, UNKNOWN_LOCATION: MARKET}[location]
    if name == "raised":
        return DATED if at >= FROM else RENTED
    if name == "dated":
        return DATED if at >= FROM else None
    if name == "catalogue":
        return LISTED if location == P5 else None
    if name in {"owned", "both"} and gpu == 1:
        return AMORTIZED
    return {"rented": RENTED, "agreed": RENTED, "leased": LEASED, "both": RENTED}.get(name)


def may_come_with_the_place(name: str, location: HostLocation | None) -> bool:
    """Whether a GPU without a price may get one as soon as it is known where the host runs."""
    return name == "catalogue" or (name in {"by place", "estimated"} and location is None)


@dataclass(frozen=True)
class Waiting:
    """A part of an hour of one GPU that had no price. `energy` is in millijoules."""

    gpu: int
    start: int
    time: int
    up: int
    energy: int
    hourly_only: bool = False


@dataclass(frozen=True)
class Clocks:
    """What the clocks of the host say at a tick, and the tokens that its server has counted.

    `elapsed` is the time since the boot, of which `asleep` was suspended; the wall clock may be wrong.
    """

    wall: int
    elapsed: int
    boot: str
    asleep: int
    served: int


@dataclass
class ExactTotals:
    """What is posted. `money` is by hour since 1970, GPU and component, adjustments by month beside it.

    `marks` are millijoules that each GPU had drawn when it was last read; one without was never seen.
    `missed` are the boots whose first reading lacked a GPU, `listed_in` is the last boot with a reading.
    """

    last: Clocks | None = None
    money: dict[tuple[int, int, str], Fraction] = field(default_factory=dict)
    waiting: tuple[Waiting, ...] = ()
    adjusted: dict[str, int] = field(default_factory=dict)
    marks: dict[int, int] = field(default_factory=dict)
    missed: dict[int, int] = field(default_factory=dict)
    listed_in: str = ""
    estimated: dict[str, Fraction] = field(default_factory=dict)
    tokens: int = 0
    equivalent: Fraction = Fraction(0)
    covered: dict[int, int] = field(default_factory=dict)
    owed_time: dict[str, int] = field(default_factory=dict)
    """GPU time that is owed, by month: what dollars are divided by."""
    down: dict[int, int] = field(default_factory=dict)
    used: dict[tuple[int, int, str], tuple[int, int]] = field(default_factory=dict)
    """GPU time and millijoules by hour, GPU and product."""
    chat_came: int | None = None

    def copy(self) -> "ExactTotals":
        return replace(
            self,
            money=dict(self.money),
            adjusted=dict(self.adjusted),
            covered=dict(self.covered),
            owed_time=dict(self.owed_time),
            down=dict(self.down),
            used=dict(self.used),
            marks=dict(self.marks),
            missed=dict(self.missed),
            estimated=dict(self.estimated),
        )

    def hold(self, at: int, time: int) -> None:
        name = month(at)
        self.owed_time[name] = self.owed_time.get(name, 0) + time

    def charge(self, at: int, gpu: int, component: str, dollars: Fraction) -> None:
        key = at // HOUR, gpu, component
        self.money[key] = self.money.get(key, Fraction(0)) + dollars

    def use(self, used: Waiting) -> None:
        """Note whose time it is: the server's on the first GPU, nobody's before anybody looked."""
        chat = used.gpu == 0 and not used.hourly_only
        if chat:
            came = used.start if self.chat_came is None else self.chat_came
            self.chat_came = min(came, used.start)
        key = used.start // HOUR, used.gpu, "chat" if chat else "unassigned"
        time, energy = self.used.get(key, (0, 0))
        self.used[key] = time + used.time, energy + used.energy


@dataclass
class ExactHost:
    """The books as they should be. `committed` is what a killed daemon leaves."""

    totals: ExactTotals = field(default_factory=ExactTotals)
    committed: ExactTotals = field(default_factory=ExactTotals)
    adjustments: list[tuple[str, int]] = field(default_factory=list)
    behind: bool = False

    def tick(self, now: Clocks, name: str, location: HostLocation | None, *, disk: str, gpus: int) -> None:
        """A tick that read so many GPUs. `disk`: what became of its commit; a lie is a false alarm."""
        late = () if self.behind else self.totals.waiting
        self._pass(now, name, location, gpus)
        self._charge_late(late, name, location)
        if disk != "refuses":
            for month, amount in self.adjustments:
                self.totals.adjusted[month] = self.totals.adjusted.get(month, 0) + amount
            self.adjustments = []
            self.committed = self.totals.copy()
        self.behind = disk != "well"

    def killed(self) -> None:
        self.totals, self.behind = self.committed.copy(), False

    def _pass(self, now: Clocks, name: str, location: HostLocation | None, gpus: int) -> None:
        totals, last = self.totals, self.totals.last
        drawn = (now.elapsed - now.asleep) * MILLIJOULES_PER_SECOND // SECOND
        totals.last = now
        if last is not None:
            totals.tokens += now.served - last.served
            totals.equivalent += (now.served - last.served) * HOSTED.get(name, Fraction(0)) / 10**6
        if last is None:
            totals.listed_in = now.boot if gpus else ""
            totals.marks = dict.fromkeys(range(gpus), drawn)
            if now.elapsed < YOUNG:
                booted = now.wall - now.elapsed
                up = [(booted + now.asleep, now.wall)]
                none = dict.fromkeys(range(gpus), 0)
                self._spend(booted, now.wall, up, none, (name, location), since_boot=True)
            return
        if last.boot != now.boot:
            totals.marks = dict.fromkeys(totals.marks, 0)
        self._miss(now, name, location, gpus)
        watched = last.boot == now.boot and now.elapsed - last.elapsed <= GAP
        energy = {
            gpu: drawn - totals.marks.get(gpu, drawn) if gpu < gpus else 0
            for gpu in range(GPUS)
            if gpu in totals.marks or (watched and gpu < gpus)
        }
        totals.marks |= dict.fromkeys(range(gpus), drawn)
        # Within a boot the wall clock's steps are no time; across boots it is at least the time since boot.
        booted = now.wall - now.elapsed
        before = booted + last.elapsed if last.boot == now.boot else min(last.wall, booted)
        start = max(before, now.wall - GAP_MAX.get(name, 7 * 24 * HOUR))
        self._spend(start, now.wall, list(_up(last, now, before)), energy, (name, location))

    def _miss(self, now: Clocks, name: str, location: HostLocation | None, gpus: int) -> None:
        """A GPU that two boots in a row did not show is the host's no more, once it is known what that is."""
        totals = self.totals
        if not gpus:
            return
        again = totals.listed_in not in {"", now.boot}
        totals.listed_in = now.boot
        lost = [gpu for gpu in totals.marks if gpu >= gpus]
        totals.missed = {gpu: totals.missed.get(gpu, 0) + again for gpu in lost}
        if location is not None or name not in {"by place", "catalogue", "estimated"}:
            for gpu in lost:
                if totals.missed[gpu] > 1:
                    del totals.marks[gpu]

    def _spend(
        self,
        start: int,
        end: int,
        up: list[tuple[int, int]],
        energy: dict[int, int],
        by: tuple[str, HostLocation | None],
        *,
        since_boot: bool = False,
    ) -> None:
        totals = self.totals
        # A host draws while it is up; one that was not up at all, evenly.
        drawing = up if sum(max(0, stop - max(start, go)) for go, stop in up) else [(start, end)]
        drew = 0
        length_up = sum(max(0, stop - max(start, go)) for go, stop in drawing)
        for since, until in hours(start, end):
            time = until - since
            due = sum(max(0, min(until, stop) - max(since, go)) for go, stop in up)
            draws = drew + sum(max(0, min(until, stop) - max(since, go)) for go, stop in drawing)
            is_metered = False
            for gpu, drawn in energy.items():
                # An hour has whole millijoules; what a tick drew is in its hours together.
                before, after = (drawn * so_far // length_up for so_far in (drew, draws))
                used = Waiting(gpu, since, time, due, after - before, since_boot)
                if self._use(used, *by):
                    is_metered = True
                    totals.use(used)
            drew = draws
            if is_metered or not since_boot:
                totals.covered[since // HOUR] = totals.covered.get(since // HOUR, 0) + time
                totals.down[since // HOUR] = totals.down.get(since // HOUR, 0) + time - due
            if "overheads" in CONFIGURATIONS[by[0]] and not since_boot:
                for gpu in energy:
                    share = Fraction(time, HOUR)
                    totals.charge(since, gpu, "network", Fraction("1.10") / len(energy) * share)
                    totals.charge(since, gpu, "storage", Fraction(100, length(since) // HOUR) * share)

    def _use(self, used: Waiting, name: str, location: HostLocation | None) -> bool:
        """Whether its time is in the books."""
        price = cost(name, location, used.gpu, used.start)
        if price is not None and (price.while_up or not used.hourly_only):
            self.totals.hold(used.start, used.up if price.while_up else used.time)
            self._pay(used, price)
            return True
        if price is None and (may_come_with_the_place(name, location) or not used.hourly_only):
            self.totals.hold(used.start, used.up)  # which any price is owed for
            self.totals.waiting += (used,)
            return True
        return False

    def _pay(self, used: Waiting, price: HourlyCost) -> None:
        if used.hourly_only and not price.while_up:
            return
        due = Fraction(used.up if price.while_up else used.time, HOUR)
        for component, hourly in price.hourly.items():
            self.totals.charge(used.start, used.gpu, component, hourly * due)
            if price.estimate:
                name = month(used.start)
                self.totals.estimated[name] = self.totals.estimated.get(name, Fraction(0)) + hourly * due
        if price.energy and used.energy:
            self.totals.charge(used.start, used.gpu, "energy", Fraction(used.energy, 1000) * JOULE)

    def _charge_late(self, waiting: tuple[Waiting, ...], name: str, location: HostLocation | None) -> None:
        left = self.totals.waiting[len(waiting) :] if waiting else self.totals.waiting
        for used in waiting:
            price = cost(name, location, used.gpu, used.start)
            if price is None:
                left += (used,)
            else:
                if not price.while_up and not used.hourly_only:
                    self.totals.hold(used.start, used.time - used.up)
                self._pay(used, price)
        self.totals.waiting = left

    def months(self) -> dict[tuple[str, str], Fraction]:
        """Dollars by month and component."""
        actual: dict[tuple[str, str], Fraction] = {}
        for (hour, _, component), dollars in self.totals.money.items():
            key = month(hour * HOUR), component
            actual[key] = actual.get(key, Fraction(0)) + dollars
        for name, amount in self.totals.adjusted.items():
            actual[name, "adjustment"] = Fraction(amount, 10**12)
        return {key: dollars for key, dollars in actual.items() if dollars}

    def waits(self) -> dict[str, int]:
        """Nanoseconds of GPU time without a price, by month."""
        actual: dict[str, int] = {}
        for used in self.totals.waiting:
            name = month(used.start)
            actual[name] = actual.get(name, 0) + used.time
        return actual

    def projected(self, now: int, name: str, location: HostLocation | None) -> Fraction:
        """Of the month that goes on: what is in it, and its rest by the prices of the configuration."""
        totals, day = self.totals, now - 24 * HOUR
        used_hours = {hour for hour, *_ in totals.used} | {hour for hour, time in totals.down.items() if time}
        recent = [hour for hour in range(now // HOUR - 24, now // HOUR + 1) if hour in used_hours]
        inside = {hour: min(Fraction(1), Fraction((hour + 1) * HOUR - day, HOUR)) for hour in recent}
        covered = sum((totals.covered.get(hour, 0) * inside[hour] for hour in recent), Fraction(0))
        up = covered - sum((totals.down.get(hour, 0) * inside[hour] for hour in recent), Fraction(0))
        if not covered:
            return Fraction(0)
        end = next(until for of, _, until in MONTHS if of == month(now))
        cuts = sorted({now, end, *([FROM] if now < FROM < end else [])})
        rest = Fraction(0)
        for gpu in totals.marks:
            for since, until in pairwise(cuts):
                hours_left = Fraction(until - since, HOUR)
                price = cost(name, location, gpu, since)
                if price is not None:
                    due = up / covered if price.while_up else 1
                    rest += sum(price.hourly.values()) * hours_left * due
                    if price.energy:
                        rest += self._joules_per_hour(gpu, recent, now) * hours_left * JOULE
                if "overheads" in CONFIGURATIONS[name]:
                    rest += Fraction("1.10") / len(totals.marks) * hours_left
                    rest += Fraction(100, length(since) // HOUR) * hours_left
        return sum((d for (of, _), d in self.months().items() if of == month(now)), Fraction(0)) + rest

    def _joules_per_hour(self, gpu: int, recent: list[int], now: int) -> Fraction:
        """Over the last 24 hours, or since the GPU's server appeared; hours in which it was off count."""
        totals, since = self.totals, now - 24 * HOUR
        came = totals.chat_came if gpu == 0 else None
        newcomer = came is not None and since < came <= now
        since = came if newcomer and came is not None else since
        over = drawn = Fraction(0)
        for hour in recent:
            ends = (hour + 1) * HOUR
            if ends <= since:
                continue
            unallocated, (time, energy) = (
                totals.used.get((hour, gpu, who), (0, 0)) for who in ("unassigned", "chat")
            )
            part = of_server = Fraction(1)
            if since > hour * HOUR and newcomer:
                left = max(0, min(ends, now) - since - time)
                part = Fraction(min(left, unallocated[0]), unallocated[0]) if unallocated[0] else Fraction(0)
            elif since > hour * HOUR:
                part = of_server = Fraction(ends - since, HOUR)
            own = time * of_server + unallocated[0] * part
            drawn += energy * of_server + unallocated[1] * part
            over += max(own, Fraction(totals.covered.get(hour, 0))) if over else own
        return drawn / 1000 / over * HOUR if over else Fraction(0)


def _up(last: Clocks, now: Clocks, before: int) -> Iterator[tuple[int, int]]:
    """When the host is known to have been up between two ticks, the first of which was `before`."""
    booted = now.wall - now.elapsed
    if last.boot == now.boot:
        yield before + now.asleep - last.asleep, now.wall
    elif booted - before <= REBOOT:
        yield before, now.wall
    else:
        yield before, before + 2 * INTERVAL
        yield booted, now.wall


def hours(start: int, end: int) -> Iterator[tuple[int, int]]:
    """A stretch, cut at whole hours."""
    while start < end:
        until = min(end, start - start % HOUR + HOUR)
        yield start, until
        start = until


def _instant(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp()) * SECOND


MONTHS = [
    ("2026-10", _instant("2026-10-01T00:00:00-04:00"), _instant("2026-11-01T00:00:00-04:00")),
    ("2026-11", _instant("2026-11-01T00:00:00-04:00"), _instant("2026-12-01T00:00:00-05:00")),
]


def month(at: int) -> str:
    """The month of an instant in New York."""
    return next(name for name, since, until in MONTHS if since <= at < until)


def length(at: int) -> int:
    """The length of the month of an instant: November has 721 hours."""
    return next(until - since for _, since, until in MONTHS if since <= at < until)
