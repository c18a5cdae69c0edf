"""Timeline of the demo, counted back from the present, and the configurations in force along it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from string import Template
from typing import Final

from exporter import units

DAYS: Final = 35
"""Whole days before today: on the first days of a month the one before it is all there."""

STRIDE: Final[units.Nanoseconds] = units.NANOSECONDS_PER_HOUR
"""Time between replayed ticks, until the last day.

Tokens are counted in the hour in which a tick ends, so that each hour needs one. A tick of an hour is posted
by the hour, like the history, and not by the minute: the month takes seconds.
"""
STEP: Final[units.Nanoseconds] = 5 * units.NANOSECONDS_PER_MINUTE
"""The same on the last day."""
MINUTE_STEP: Final[units.Nanoseconds] = units.NANOSECONDS_PER_MINUTE
"""The same in the last hours, the window of prices per million tokens."""
FINE: Final[units.Nanoseconds] = 2 * units.NANOSECONDS_PER_HOUR
"""Length of the last hours."""

RESTART_LASTS: Final[units.Nanoseconds] = 10 * units.NANOSECONDS_PER_MINUTE
"""How long the restarted server loads its weights."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Instants of the demo's month. Days are those of UTC, the demo's time zone."""

    now: units.Instant
    begins: units.Instant
    """The host's first tick."""
    leased: units.Instant
    """GPU 7 gets a price of its own, which begins a day too late."""
    corrected: units.Instant
    """The start of that price is corrected."""
    repriced: units.Instant
    """The rent of the whole host rises."""
    lost: units.Instant
    """The spot node is taken away."""
    returned: units.Instant
    """The spot node comes back."""
    tried: units.Instant
    """A server without an ownership rule begins."""
    deserted: units.Instant
    """The users of one server leave it."""
    restarted: units.Instant
    """One server's process restarts."""

    @classmethod
    def before(cls, now: units.Instant) -> "Timeline":
        """The month before an instant."""
        hour, midnight = units.NANOSECONDS_PER_HOUR, now - now % units.NANOSECONDS_PER_DAY

        def ago(days: int, hours: float = 0) -> units.Instant:
            return midnight - days * units.NANOSECONDS_PER_DAY + int(hours * hour)

        return cls(
            now=now,
            begins=ago(DAYS),
            leased=ago(12),
            corrected=ago(11, 9),
            repriced=ago(9),
            lost=ago(6, 3),
            returned=ago(6, 8.5),
            tried=ago(4, 10),
            deserted=ago(3, 17),
            restarted=now - 7 * hour,
        )

    def up(self, instant: units.Instant) -> bool:
        """Whether the host runs."""
        return not self.lost < instant <= self.returned

    def ticks(self, fine: units.Nanoseconds = FINE) -> Iterator[units.Instant]:
        """Instants of the replayed ticks: none while the host is away, the last one at `now`.

        The daemon comes a minute after the host does.
        """
        day_ago = self.now - units.NANOSECONDS_PER_DAY
        last_hours = self.now - max(fine, MINUTE_STEP)
        instants = {
            self.begins,
            self.lost,
            self.returned + MINUTE_STEP,
            self.corrected,
            self.tried,
            self.deserted,
        }
        # A corrected price is charged and logged at once, and not an hour later.
        instants.update((self.corrected + MINUTE_STEP, self.corrected + 2 * MINUTE_STEP))
        instants.update(range(self.begins, day_ago, STRIDE))
        instants.update(range(day_ago, last_hours, STEP))
        instants.update(range(last_hours, self.now, MINUTE_STEP))
        instants.add(self.now)
        return iter(sorted(filter(self.up, instants)))


LEASE = """\
  - match: {{uuid: "GPU-de300000-0000-4000-8000-000000000007"}}
    rented:
      prices:
        - {{from: {since}, dollars_per_gpu_hour: 4.816, note: "GPU 7, billed apart"}}
        - {{from: {repriced}, dollars_per_gpu_hour: 5.504, note: "GPU 7, billed apart"}}
"""
TRIAL = '  - {name: trial-8b, url: "http://127.0.0.1:8003/metrics", gpus: [5]}\n'


def configurations(timeline: Timeline) -> tuple[tuple[units.Instant, str], ...]:
    """Configuration texts, each with the instant since which it is in force, the oldest first."""
    late = timeline.leased + units.NANOSECONDS_PER_DAY
    return (
        (timeline.begins, _text(timeline)),
        (timeline.leased, _text(timeline, lease=late)),
        (timeline.corrected, _text(timeline, lease=timeline.leased)),
        (timeline.tried, _text(timeline, lease=timeline.leased, trial=TRIAL)),
    )


def _text(timeline: Timeline, *, lease: units.Instant | None = None, trial: str = "") -> str:
    repriced = day(timeline.repriced)
    rule = "" if lease is None else LEASE.format(since=day(lease), repriced=repriced)
    template = Template(files("exporter.demo").joinpath("demo.yaml").read_text(encoding="utf-8"))
    return template.substitute(begins=day(timeline.begins), repriced=repriced, lease=rule, trial=trial)


def day(instant: units.Instant) -> str:
    """Its day, like 2026-11-24."""
    return datetime.fromtimestamp(instant // units.NANOSECONDS_PER_SECOND, UTC).date().isoformat()
