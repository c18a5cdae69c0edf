"""Validators of calendar values: time zones, dates, and local times."""

import difflib
import re
import zoneinfo
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from exporter.config.document import Node, Scalar
from exporter.config.problems import RefusedError, shown
from exporter.config.values import Context, Custom, Text, scalar
from exporter.tariff.calendar import first_instant
from exporter.units import NANOSECONDS_PER_SECOND, Instant

FIRST_YEAR: Final = 2000
LAST_YEAR: Final = 2199
ZONE_CHARACTERS: Final = 64
SIMILAR_ZONE: Final = 0.8

_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*", re.ASCII)
_NOT_REGIONS = ("posix/", "right/", "posixrules", "localtime")
"""Files beside the zones: other clocks, and whatever this machine is set to."""

_FIXED = re.compile(r"EST|MST|Etc/GMT[+-][1-9]\d?", re.ASCII)
"""Zones of the database without daylight saving. Hawaii, HST, has none."""

_OTHER_DATE = re.compile(r"([12]\d{3})[-/.](\d{1,2})[-/.](\d{1,2})", re.ASCII)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIME = re.compile(
    r"(?P<day>\d{4}-\d{2}-\d{2})[Tt ](?P<clock>(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d)?)"
    r" ?(?P<offset>[Zz]|[+-](?:0\d|1[0-4]):[0-5]\d)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class DatedInstant:
    """An instant and how it was written."""

    instant: Instant
    """The instant."""
    text: str
    """The date or time in the file."""


def _zone(written: Scalar) -> ZoneInfo:
    """The zone of that name.

    Raises:
        RefusedError: there is none.
    """
    zone = zone_named(written.text)
    if zone is not None:
        return zone
    reason = f"{shown(written.text)} is no time zone of the IANA database"
    names = [
        name
        for name in sorted(zoneinfo.available_timezones())
        if name == "UTC" or ("/" in name and not name.startswith(("Etc/", "SystemV/")))
    ]
    for name in names:
        if name.casefold() == written.text.replace(" ", "_").casefold():
            raise RefusedError(reason, instead=written.restyled(name))
    near = difflib.get_close_matches(written.text[:ZONE_CHARACTERS], names, 1, SIMILAR_ZONE)
    raise RefusedError(
        reason, f"did you mean {near[0]}?" if near else "write a region like Europe/Berlin, or UTC"
    )


ZONE: Final = Text("time zone", _zone, like="Europe/Berlin")
"""A time zone of the IANA database."""


def zone_named(name: str) -> ZoneInfo | None:
    """The zone of a name, `None` where the database has none."""
    if not _ZONE.fullmatch(name) or name.startswith(_NOT_REGIONS):
        return None
    try:
        return ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None


def is_fixed_offset(name: str) -> bool:
    """Whether a zone stays at one offset from UTC all year, though its name looks like a region's."""
    return _FIXED.fullmatch(name) is not None


def _date(node: Node, context: Context) -> DatedInstant:
    """The first instant of a day in the configured time zone."""
    text = scalar(node, "date like 2026-02-01").text
    if not _DAY.fullmatch(text):
        raise _no_date(text, "write year-month-day only, like 2026-02-01")
    day = _day(text, text)
    return DatedInstant(first_instant(day.year, day.month, day.day, context.zone), text)


DATE: Final = Custom("date", _date)
"""A calendar date; its instant is the first of that day in the configured time zone."""


def _time(node: Node, context: Context) -> DatedInstant:
    """The first instant of a date, or that of a time."""
    text = scalar(node, "date like 2026-11-01").text
    if _DAY.fullmatch(text):
        return _date(node, context)
    match = _TIME.fullmatch(text)
    if not match:
        raise _no_date(text, "write year-month-day, like 2026-11-01 or 2026-11-01T09:30")
    day, offset = _day(text, match["day"]), match["offset"] or ""
    time = datetime.fromisoformat(f"{day}T{match['clock']}{offset.upper()}")
    local = time if offset else time.replace(tzinfo=context.zone)
    first, second = (local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    # The two readings of a skipped time come out in the wrong order, and neither leads back to it (PEP 495).
    if first > second:
        raise RefusedError(
            f"{shown(text)} never occurs in {local.tzinfo}: the clock skips it; write another time"
        )
    if first < second:
        choices = " or ".join(local.replace(fold=fold).isoformat(timespec="minutes") for fold in (0, 1))
        raise RefusedError(f"{shown(text)} occurs twice in {local.tzinfo}; add the offset: {choices}")
    return DatedInstant(int(first.timestamp()) * NANOSECONDS_PER_SECOND, text)


TIME: Final = Custom("date or time", _time)
"""A date, or a local time that occurs exactly once, or a time with its offset from UTC."""


def _no_date(text: str, remedy: str) -> RefusedError:
    """The refusal of a text that is no date; a year first and other separators can only mean one."""
    instead = None
    if match := _OTHER_DATE.fullmatch(text):
        with suppress(ValueError):
            instead = date(int(match[1]), int(match[2]), int(match[3])).isoformat()
    return RefusedError(f"{shown(text)} is no date", "" if instead else remedy, instead=instead)


def _day(text: str, day: str) -> date:
    """The day of a text.

    Raises:
        RefusedError: it does not exist, or is out of range.
    """
    try:
        parsed = date.fromisoformat(day)
    except ValueError as error:
        raise RefusedError(f"{shown(text)} does not exist: {error}") from None
    if not FIRST_YEAR <= parsed.year <= LAST_YEAR:
        raise RefusedError(f"{shown(text)} is out of range: the years {FIRST_YEAR} to {LAST_YEAR}")
    return parsed
