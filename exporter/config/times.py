"""Validators of calendar values: time zones, dates, and local times."""

import difflib
import re
import zoneinfo
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from exporter.config.document import Node, Scalar
from exporter.config.problems import RefusedError, shown
from exporter.config.schema import Context
from exporter.config.values import ScalarValidator, scalar
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
_DAY = re.compile(r"(\d{4})-(\d{2})-(\d{2})", re.ASCII)
_MOMENT = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2})(?::(\d{2}))? ?([Zz]|[+-]\d{2}:\d{2})?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class DatedInstant:
    """An instant and how it was written."""

    instant: Instant
    text: str


@dataclass(frozen=True, slots=True)
class ZoneValue(ScalarValidator[ZoneInfo]):
    """A time zone of the IANA database."""

    expected: str = "time zone"

    @property
    def example(self) -> str:
        """A well-known zone."""
        return "time zone like Europe/Berlin"

    def parse(self, written: Scalar) -> ZoneInfo:
        """The zone of that name."""
        zone = zone_named(written.text)
        if zone is None:
            names = sorted(zone for zone in zoneinfo.available_timezones() if _is_region(zone))
            reason = f"{shown(written.text)} is no time zone of the IANA database"
            same = [name for name in names if name.casefold() == written.text.replace(" ", "_").casefold()]
            if same:
                raise RefusedError(reason, instead=written.restyled(same[0]))
            near = difflib.get_close_matches(written.text[:ZONE_CHARACTERS], names, 1, SIMILAR_ZONE)
            raise RefusedError(
                reason, f"did you mean {near[0]}?" if near else "write a region like Europe/Berlin, or UTC"
            )
        return zone

    def show(self, value: object) -> str:
        """The zone's name."""
        return value.key if isinstance(value, ZoneInfo) else str(value)


@dataclass(frozen=True, slots=True)
class DateValue:
    """A calendar date; its instant is the first of that day in the configured time zone."""

    expected: str = "date"

    def read(self, node: Node, context: Context) -> DatedInstant:
        """As `Validator.read`."""
        text = scalar(node, "date like 2026-02-01").text
        match = _DAY.fullmatch(text)
        if not match:
            raise _no_date(text, "write year-month-day only, like 2026-02-01")
        day = _day(text, match)
        return DatedInstant(first_instant(day.year, day.month, day.day, context.zone), text)


@dataclass(frozen=True, slots=True)
class TimeValue:
    """A date, or a local time that occurs exactly once, or a time with its offset from UTC."""

    expected: str = "date or time"

    def read(self, node: Node, context: Context) -> DatedInstant:
        """As `Validator.read`."""
        text = scalar(node, "date like 2026-11-01").text
        if _DAY.fullmatch(text):
            return DateValue().read(node, context)
        match = _MOMENT.fullmatch(text)
        if not match:
            raise _no_date(text, "write year-month-day, like 2026-11-01 or 2026-11-01T09:30")
        day = _day(text, match)
        hour, minute, second = (int(part or 0) for part in match.group(4, 5, 6))
        try:
            local = datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=context.zone)
        except ValueError as error:
            raise RefusedError(f"{shown(text)} does not exist: {error}") from None
        if match[7]:
            return DatedInstant(_instant(local.replace(tzinfo=UTC) - _offset(text, match[7])), text)
        return DatedInstant(_instant(_once(text, local)), text)


def zone_named(name: str) -> ZoneInfo | None:
    """The zone of a name, `None` where the database has none."""
    if not _ZONE.fullmatch(name) or name.startswith(_NOT_REGIONS):
        return None
    try:
        return ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _is_region(zone: str) -> bool:
    return zone == "UTC" or ("/" in zone and not zone.startswith(("Etc/", "SystemV/")))


def is_fixed_offset(name: str) -> bool:
    """Whether a zone stays at one offset from UTC all year, though its name looks like a region's."""
    return _FIXED.fullmatch(name) is not None


def _no_date(text: str, remedy: str) -> RefusedError:
    """The refusal of a text that is no date; a year first and other separators can only mean one."""
    instead = None
    if match := _OTHER_DATE.fullmatch(text):
        with suppress(ValueError):
            instead = date(int(match[1]), int(match[2]), int(match[3])).isoformat()
    return RefusedError(f"{shown(text)} is no date", "" if instead else remedy, instead=instead)


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
