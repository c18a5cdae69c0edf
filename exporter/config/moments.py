"""The shapes of calendar values: time zones, days, and moments of local time."""

import re
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from typing import Final
from zoneinfo import ZoneInfo

from exporter.config.document import Node
from exporter.config.problems import RefusedError, shown
from exporter.config.schema import Walk
from exporter.config.values import scalar
from exporter.tariff.calendar import first_instant
from exporter.units import NANOSECONDS_PER_SECOND, Instant

FIRST_YEAR: Final = 2000
LAST_YEAR: Final = 2199
ZONE_CHARACTERS: Final = 64

_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*", re.ASCII)
_NOT_PLACES = ("posix/", "right/", "posixrules", "localtime")
"""Files beside the zones: other clocks, and whatever this machine is set to."""

_DAY = re.compile(r"(\d{4})-(\d{2})-(\d{2})", re.ASCII)
_MOMENT = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2})(?::(\d{2}))? ?([Zz]|[+-]\d{2}:\d{2})?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Dated:
    """An instant and how it was written."""

    instant: Instant
    text: str


@dataclass(frozen=True, slots=True)
class Zone:
    """A time zone of the IANA database."""

    words: str = "time zone"

    def read(self, node: Node, path: str, walk: Walk) -> ZoneInfo:
        """As `Shape.read`."""
        del path, walk
        name = scalar(node, "time zone like Europe/Berlin").text
        zone = zone_named(name)
        if zone is None:
            hint = _nearest_zone(name)
            raise RefusedError(f"{shown(name)} is no time zone of the IANA database; {hint}")
        return zone


@dataclass(frozen=True, slots=True)
class Day:
    """A calendar date; its instant is the first of that day in the configured time zone."""

    words: str = "date"

    def read(self, node: Node, path: str, walk: Walk) -> Dated:
        """As `Shape.read`."""
        del path
        text = scalar(node, "date like 2026-02-01").text
        match = _DAY.fullmatch(text)
        if not match:
            raise RefusedError(f"{shown(text)} is no date; write year-month-day only, like 2026-02-01")
        day = _day(text, match)
        return Dated(first_instant(day.year, day.month, day.day, walk.zone), text)


@dataclass(frozen=True, slots=True)
class Moment:
    """A date, or a local time that occurs exactly once, or a time with its offset from UTC."""

    words: str = "date or time"

    def read(self, node: Node, path: str, walk: Walk) -> Dated:
        """As `Shape.read`."""
        text = scalar(node, "date like 2026-11-01").text
        if _DAY.fullmatch(text):
            return Day().read(node, path, walk)
        match = _MOMENT.fullmatch(text)
        if not match:
            raise RefusedError(f"{shown(text)} is no date; write 2026-11-01 or 2026-11-01T09:30")
        day = _day(text, match)
        hour, minute, second = (int(part or 0) for part in match.group(4, 5, 6))
        try:
            local = datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=walk.zone)
        except ValueError as error:
            raise RefusedError(f"{shown(text)} does not exist: {error}") from None
        if match[7]:
            return Dated(_instant(local.replace(tzinfo=UTC) - _offset(text, match[7])), text)
        return Dated(_instant(_once(text, local)), text)


def zone_named(name: str) -> ZoneInfo | None:
    """The zone of a name, `None` where the database has none."""
    if not _ZONE.fullmatch(name) or name.startswith(_NOT_PLACES):
        return None
    try:
        return ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _nearest_zone(name: str) -> str:
    names = sorted(zoneinfo.available_timezones() - {"localtime"})
    alike = get_close_matches(name[:ZONE_CHARACTERS], names, n=1)
    return f"did you mean {alike[0]}?" if alike else "write one like UTC or Europe/Berlin"


def _day(text: str, match: re.Match[str]) -> date:
    try:
        day = date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError as error:
        raise RefusedError(f"{shown(text)} does not exist: {error}") from None
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise RefusedError(f"{shown(text)} is out of range: the years {FIRST_YEAR} to {LAST_YEAR}")
    return day


def _offset(text: str, written: str) -> timedelta:
    if written in "Zz":
        return timedelta()
    hours, minutes = int(written[1:3]), int(written[4:6])
    if hours > 14 or minutes > 59:
        raise RefusedError(f"{shown(text)} does not exist: no place is {written} away from UTC")
    return timedelta(hours=hours, minutes=minutes) * (-1 if written[0] == "-" else 1)


def _once(text: str, local: datetime) -> datetime:
    """The local time in UTC, if its clock shows it exactly once (PEP 495)."""
    first, second = (local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    if first == second:
        return first
    # The two readings of a skipped time come out in the wrong order, and neither leads back to it.
    skipped = first > second
    if skipped:
        raise RefusedError(
            f"{shown(text)} never occurs in {local.tzinfo}: the clock skips it; write another time"
        )
    choices = " or ".join(local.replace(fold=fold).isoformat(timespec="minutes") for fold in (0, 1))
    raise RefusedError(f"{shown(text)} occurs twice in {local.tzinfo}; add the offset: {choices}")


def _instant(moment: datetime) -> Instant:
    return int(moment.timestamp()) * NANOSECONDS_PER_SECOND
