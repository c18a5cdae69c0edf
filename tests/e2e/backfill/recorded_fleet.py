"""One truth of a fleet: who held which GPU when, how busy it was, and what each server counted.

The exporters' series (`exporter_series`) and the daemon's ledgers (`daemon_ledgers`) are both made of it.
Times are seconds since the epoch, multiples of ten. Within a cell of ten seconds a GPU is as busy as it is.
"""

import random
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Final, Literal

CELL: Final = 10
"""Seconds."""
HOUR: Final = 3600
DAY: Final = 24 * HOUR

HELD_MEBIBYTES: Final = 71_680
"""Memory in use on a GPU that a server holds: its weights and its cache."""
CARD_MEBIBYTES: Final = 81_559
IDLE_WATTS: Final = 70
WATTS_PER_PERCENT: Final = 6
RESTART_SECONDS: Final = 120
"""From the end of a server's process to the first answer of the next one in the same pod."""

Exporter = Literal["operator", "honored", "bare", "nvidia_gpu_exporter", "nvitop"]
"""How a host's GPUs are scraped.

operator: dcgm-exporter of the GPU operator, whose ServiceMonitor does not honor labels: `exported_pod`.
honored: dcgm-exporter with honorLabels, read by two replicas of Prometheus.
bare: dcgm-exporter without Kubernetes. The others have no labels of pods either.
"""

_LEVELS: Final = (0, 15, 35, 60, 85)
_PATTERN: Final = 10_007
"""Cells after which the load of a level repeats; prime, so that no two GPUs run alike."""


def _pattern(level: int) -> "array[int]":
    """Percent busy by cell: bursts of 10 s to 5 minutes, and rests, with `level` percent as their mean."""
    chance = random.Random(level)  # noqa: S311 - the same load each time
    cells = array("B")
    while len(cells) < _PATTERN:
        burst = [min(100, level + chance.randrange(16))] * chance.randrange(1, 31)
        rest = [max(0, level - chance.randrange(16))] * chance.randrange(1, 31)
        cells.extend([*burst, *rest] if level else [0] * 60)
    return cells[:_PATTERN] * 2


PATTERNS: Final = tuple(_pattern(level) for level in _LEVELS)


@dataclass(frozen=True, slots=True)
class RecordedServer:
    """A server as its operator thinks of it.

    `rates`: computed prompt, cached prompt and generated tokens for each percent of a cell of its first GPU.
    """

    namespace: str
    name: str
    model: str
    rates: tuple[int, int, int]
    port: int = 8000


@dataclass(frozen=True)
class Tenancy:
    """A server's pod (or process) on some GPUs of a host, from `since` until `until`.

    It answers after `loading` seconds. At `restarts` its process ends, and its counters begin again.
    """

    server: RecordedServer
    pod: str
    gpus: tuple[int, ...]
    since: int
    until: int
    loading: int = 240
    restarts: tuple[int, ...] = ()

    @cached_property
    def processes(self) -> tuple[tuple[int, int], ...]:
        """First and last moment of each process's answers."""
        starts = [self.since + self.loading, *(at + RESTART_SECONDS for at in self.restarts)]
        return tuple(zip(starts, [*self.restarts, self.until], strict=True))

    def process(self, at: int) -> tuple[int, int] | None:
        """The process that answers just before a moment."""
        return next((one for one in self.processes if one[0] < at <= one[1]), None)


@dataclass(frozen=True)
class RecordedHost:
    """One host. `uuids`: of each GPU slot, who is in it since when.

    `off` are the times without power; `gaps` those in which Prometheus did not scrape it and the host ran.
    `renamed` is since when its dcgm-exporter says `hostname` for `Hostname`.
    """

    name: str
    exporter: Exporter
    gpu_model: str
    uuids: tuple[tuple[tuple[int, str], ...], ...]
    tenancies: tuple[Tenancy, ...]
    begin: int
    end: int
    cluster: str = ""
    instance_type: str = ""
    off: tuple[tuple[int, int], ...] = ()
    gaps: tuple[tuple[int, int], ...] = ()
    renamed: int | None = None
    seed: int = 0

    @property
    def kubernetes(self) -> bool:
        """Whether kube-state-metrics tells of it."""
        return self.exporter in ("operator", "honored")

    @property
    def address(self) -> str:
        """Its own address, as nvitop-exporter names it."""
        return f"10.1.{self.seed // 250}.{self.seed % 250 + 1}"

    def on(self, at: int) -> bool:
        """Whether it has power just before a moment."""
        return self.begin < at <= self.end and not any(since < at <= until for since, until in self.off)

    def scraped(self, at: int) -> bool:
        """Whether Prometheus scrapes it at a moment."""
        return self.on(at) and not any(since <= at < until for since, until in self.gaps)

    def uuid(self, slot: int, at: int) -> str:
        """The GPU in a slot just before a moment."""
        lives = self.uuids[slot]
        return lives[max(0, bisect_right([since for since, _ in lives], at - 1) - 1)][1]

    def tenant(self, slot: int, at: int) -> Tenancy | None:
        """Who holds a slot just before a moment."""
        return next((one for one in self.tenancies if slot in one.gpus and one.since < at <= one.until), None)

    @cached_property
    def events(self) -> list[int]:
        """Moments at which something changes."""
        moments = {self.begin, self.end}
        moments.update(*self.off, *(one for lives in self.uuids for one in ([since] for since, _ in lives)))
        for tenancy in self.tenancies:
            moments.update((tenancy.since, tenancy.until), *tenancy.processes)
        return sorted(at for at in moments if self.begin <= at <= self.end)

    @cached_property
    def signals(self) -> tuple["Signal", ...]:
        """The load of each slot."""
        return tuple(Signal.of(self, slot) for slot in range(len(self.uuids)))


@dataclass(frozen=True, slots=True)
class Signal:
    """How busy a slot is: percent by cell, and the sum of all cells before one."""

    begin: int
    percent: "array[int]"
    sums: "array[int]" = field(repr=False)

    @classmethod
    def of(cls, host: RecordedHost, slot: int) -> "Signal":
        """A load that follows the hour of the day, while a server answers: all of its GPUs alike."""
        cells = (host.end - host.begin) // CELL
        percent = array("B", bytes(cells))
        for tenancy in host.tenancies:
            if slot in tenancy.gpus:
                for since, until in tenancy.processes:
                    for hour in range(since // HOUR, (until - 1) // HOUR + 1):
                        first = (max(since, hour * HOUR, host.begin) - host.begin) // CELL
                        last = (min(until, (hour + 1) * HOUR, host.end) - host.begin) // CELL
                        lead = tenancy.gpus[0]
                        offset = (host.seed * 977 + lead * 131 + first) % _PATTERN
                        pattern = PATTERNS[_level(host.seed + lead, hour)]
                        if last > first:
                            percent[first:last] = pattern[offset : offset + last - first]
        for since, until in host.off:
            first, last = (since - host.begin) // CELL, (until - host.begin) // CELL
            percent[first:last] = array("B", bytes(last - first))
        return cls(host.begin, percent, array("Q", [0, *accumulate(percent)]))

    def cell(self, at: int) -> int:
        """Number of cells before a moment."""
        return (at - self.begin) // CELL

    def sum(self, since: int, until: int) -> int:
        """Percent of all cells between two moments."""
        return self.sums[self.cell(until)] - self.sums[self.cell(since)]

    def mean(self, since: int, until: int) -> float:
        """Mean ratio busy between two moments."""
        return self.sum(since, until) / (until - since) * CELL / 100


def _level(salt: int, hour: int) -> int:
    """Index of the load of an hour: nights rest, days differ."""
    day, of_day = divmod(hour, 24)
    if of_day < 6:
        return (day + salt) % 2
    return 1 + (day * 7 + of_day * 3 + salt * 5) % 4


def millijoules(signal: Signal, since: int, until: int) -> int:
    """Energy of a GPU between two moments."""
    seconds = until - since
    return 1000 * (IDLE_WATTS * seconds + WATTS_PER_PERCENT * CELL * signal.sum(since, until))


@dataclass(frozen=True)
class RecordedFleet:
    """All hosts over one period, and the configuration that prices them.

    `unlabeled`: hosts whose servers no label ties to a GPU, which the history therefore calls unattributed.
    """

    begin: int
    end: int
    hosts: tuple[RecordedHost, ...]
    config: str
    unlabeled: frozenset[str] = frozenset()

    @property
    def months(self) -> tuple[str, ...]:
        """Names of the months that it touches, in UTC."""
        return tuple(dict.fromkeys(month_of(at) for at in (self.begin, self.end - 1)))

    def ticks(self, host: RecordedHost, step: int) -> Iterator[int]:
        """When a daemon on a host takes a tick: each `step` of the clock, and whenever something changes."""
        yield host.begin
        booted = {until for _, until in host.off}
        for since, until in pairwise(host.events):
            if host.on(until):
                if since in booted:
                    yield since + CELL
                yield from range(since + step - since % step, until, step)
                yield until


def month_of(at: int) -> str:
    """The month of a moment in UTC, like 2026-10."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m")
