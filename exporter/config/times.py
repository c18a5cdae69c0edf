"""Validators of calendar values: time zones, dates, and local times."""

import difflib
import re
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from exporter.config.document import Node, Scalar
from exporter.config.intended import intended_date
from exporter.config.problems import RefusedError, shown
from exporter.config.schema import Context
from exporter.config.values import ScalarValidator, scalar
from exporter.tariff.calendar import first_instant
from exporter.units import NANOSECONDS_PER_SECOND, Instant

FIRST_YEAR: Final = 2000
LAST_YEAR: Final = 2199
ZONE_CHARACTERS: Final = 64

_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*", re.ASCII)
_NOT_REGIONS = ("posix/", "right/", "posixrules", "localtime")
"""Files beside the zones: other clocks, and whatever this machine is set to."""

ABBREVIATIONS: Final = {
    "WET": ("Europe/Lisbon",),
    "WEST": ("Europe/Lisbon",),
    "BST": ("Europe/London",),
    "CET": ("Europe/Berlin",),
    "CEST": ("Europe/Berlin",),
    "MEZ": ("Europe/Berlin",),
    "MESZ": ("Europe/Berlin",),
    "MET": ("Europe/Berlin",),
    "MEST": ("Europe/Berlin",),
    "EET": ("Europe/Helsinki",),
    "EEST": ("Europe/Helsinki",),
    "MSK": ("Europe/Moscow",),
    "ET": ("America/New_York",),
    "EST": ("America/New_York",),
    "EDT": ("America/New_York",),
    "CT": ("America/Chicago",),
    "CST": ("America/Chicago", "Asia/Shanghai"),
    "CDT": ("America/Chicago",),
    "MT": ("America/Denver",),
    "MST": ("America/Denver", "America/Phoenix"),
    "MDT": ("America/Denver",),
    "PT": ("America/Los_Angeles",),
    "PST": ("America/Los_Angeles",),
    "PDT": ("America/Los_Angeles",),
    "AKST": ("America/Anchorage",),
    "AKDT": ("America/Anchorage",),
    "AST": ("America/Halifax",),
    "ADT": ("America/Halifax",),
    "NST": ("America/St_Johns",),
    "NDT": ("America/St_Johns",),
    "HDT": ("Pacific/Honolulu",),
    "BRT": ("America/Sao_Paulo",),
    "SAST": ("Africa/Johannesburg",),
    "EAT": ("Africa/Nairobi",),
    "IDT": ("Asia/Jerusalem",),
    "IST": ("Asia/Kolkata", "Europe/Dublin", "Asia/Jerusalem"),
    "GST": ("Asia/Dubai",),
    "PKT": ("Asia/Karachi",),
    "SGT": ("Asia/Singapore",),
    "HKT": ("Asia/Hong_Kong",),
    "JST": ("Asia/Tokyo",),
    "KST": ("Asia/Seoul",),
    "AWST": ("Australia/Perth",),
    "ACST": ("Australia/Adelaide",),
    "ACDT": ("Australia/Adelaide",),
    "AEST": ("Australia/Sydney",),
    "AEDT": ("Australia/Sydney",),
    "NZST": ("Pacific/Auckland",),
    "NZDT": ("Pacific/Auckland",),
}
"""Abbreviations of a region's standard and daylight saving time, with the regions that use them.

CET and EST are zones of the database too; they are listed for databases that do not ship them.
"""

FIXED_ABBREVIATIONS: Final = ("EST", "MST")
"""Names of the database that stay at standard time all year."""

REGIONS_BY_OFFSET: Final = {
    -10: ("Pacific/Honolulu",),
    -9: ("America/Anchorage",),
    -8: ("America/Los_Angeles",),
    -7: ("America/Denver",),
    -6: ("America/Chicago",),
    -5: ("America/New_York",),
    -4: ("America/Halifax",),
    -3: ("America/Sao_Paulo",),
    1: ("Europe/Berlin",),
    2: ("Europe/Helsinki",),
    3: ("Europe/Moscow",),
    4: ("Asia/Dubai",),
    8: ("Asia/Singapore",),
    9: ("Asia/Tokyo",),
    10: ("Australia/Sydney",),
    12: ("Pacific/Auckland",),
}
"""A well-known region for hours east of UTC in winter."""

REGION_EXAMPLES: Final = "like Europe/Berlin or America/New_York"

_FIXED = re.compile(r"Etc/GMT([+-][1-9]\d?)", re.ASCII)
"""POSIX counts west of Greenwich: Etc/GMT+5 is five hours behind UTC."""

_OFFSET = re.compile(r"(?:UTC|GMT|utc|gmt)? ?[+-]\d{1,2}(?::?\d{2})?", re.ASCII)

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
            reason = f"{shown(written.text)} is no time zone of the IANA database"
            same = _same_zone(written.text)
            if same is not None:
                raise RefusedError(reason, instead=written.restyled(same))
            raise RefusedError(reason, _zone_hint(written.text))
        return zone

    def show(self, value: object) -> str:
        """The zone's name."""
        return value.key if isinstance(value, ZoneInfo) else str(value)


@dataclass(frozen=True, slots=True)
class DateValue:
    """A calendar date; its instant is the first of that day in the configured time zone."""

    expected: str = "date"

    def read(self, node: Node, path: str, context: Context) -> DatedInstant:
        """As `Validator.read`."""
        del path
        text = scalar(node, "date like 2026-02-01").text
        match = _DAY.fullmatch(text)
        if not match:
            raise RefusedError(
                f"{shown(text)} is no date",
                "" if intended_date(text) else "write year-month-day only, like 2026-02-01",
                instead=intended_date(text),
            )
        day = _day(text, match)
        return DatedInstant(first_instant(day.year, day.month, day.day, context.zone), text)


@dataclass(frozen=True, slots=True)
class TimeValue:
    """A date, or a local time that occurs exactly once, or a time with its offset from UTC."""

    expected: str = "date or time"

    def read(self, node: Node, path: str, context: Context) -> DatedInstant:
        """As `Validator.read`."""
        text = scalar(node, "date like 2026-11-01").text
        if _DAY.fullmatch(text):
            return DateValue().read(node, path, context)
        match = _MOMENT.fullmatch(text)
        if not match:
            raise RefusedError(
                f"{shown(text)} is no date",
                "" if intended_date(text) else "write year-month-day, like 2026-11-01 or 2026-11-01T09:30",
                instead=intended_date(text),
            )
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


def _zone_hint(name: str) -> str:
    """What to write in place of a name that the database lacks.

    For an abbreviation, regions and never a zone of fixed offset: those do not move with daylight saving.
    """
    if regions := ABBREVIATIONS.get(name.upper()):
        return f"did you mean {_either(regions)}?"
    if _OFFSET.fullmatch(name):
        return f"a fixed offset does not move with daylight saving; write a region {REGION_EXAMPLES}"
    names = sorted(zone for zone in zoneinfo.available_timezones() if _is_region(zone))
    alike = difflib.get_close_matches(name[:ZONE_CHARACTERS], names, n=1)
    return f"did you mean {alike[0]}?" if alike else "write one like UTC or Europe/Berlin"


def _same_zone(name: str) -> str | None:
    """The region that differs in case, or in spaces for underscores, alone; the only one of a city."""
    if name.upper() in ABBREVIATIONS:
        return None
    sought = name.replace(" ", "_").casefold()
    regions = sorted(zone for zone in zoneinfo.available_timezones() if _is_region(zone))
    same = [zone for zone in regions if zone.casefold() == sought]
    of_city = [zone for zone in regions if zone.rpartition("/")[2].casefold() == sought]
    return next(iter(same or (of_city if len(of_city) == 1 else ())), None)


def _is_region(zone: str) -> bool:
    return zone == "UTC" or ("/" in zone and not zone.startswith(("Etc/", "SystemV/")))


def _either(regions: tuple[str, ...]) -> str:
    return " or ".join((", ".join(regions[:-1]), regions[-1])) if len(regions) > 1 else regions[0]


def fixed_offset_zone(name: str) -> tuple[str, ...] | None:
    """The regions that may be meant by a zone of fixed offset from UTC, empty without any; `None` for others.

    HST is no such zone: Hawaii has no daylight saving.
    """
    if name in FIXED_ABBREVIATIONS:
        return ABBREVIATIONS[name]
    match = _FIXED.fullmatch(name)
    return None if match is None else REGIONS_BY_OFFSET.get(-int(match[1]), ())


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
