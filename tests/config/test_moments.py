"""Time zones: what is read, and which region an abbreviation or an offset is answered with."""

import zoneinfo
from datetime import UTC, datetime

import pytest

from exporter.config import ConfigError, parse
from exporter.config.times import ABBREVIATIONS, REGIONS_BY_OFFSET, fixed_offset_zone


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("CEST", "did you mean Europe/Berlin?"),
        ("cest", "did you mean Europe/Berlin?"),
        ("MESZ", "did you mean Europe/Berlin?"),
        ("BST", "did you mean Europe/London?"),
        ("EDT", "did you mean America/New_York?"),
        ("PST", "did you mean America/Los_Angeles?"),
        ("CST", "did you mean America/Chicago or Asia/Shanghai?"),
        ("IST", "did you mean Asia/Kolkata, Europe/Dublin or Asia/Jerusalem?"),
        ("europe/berlin", 'write "Europe/Berlin"'),
        ("US/Estern", "did you mean US/Eastern?"),
        (
            "UTC+2",
            (
                "a fixed offset does not move with daylight saving; "
                "write a region like Europe/Berlin or America/New_York"
            ),
        ),
        (
            "+02:00",
            (
                "a fixed offset does not move with daylight saving; "
                "write a region like Europe/Berlin or America/New_York"
            ),
        ),
        ("XYZT", "write one like UTC or Europe/Berlin"),
    ],
)
def test_an_abbreviation_is_answered_with_a_region(name: str, hint: str) -> None:
    """EST for CEST would move the borders of months by seven hours, all year."""
    with pytest.raises(ConfigError) as caught:
        parse(f'timezone: "{name}"\n'.encode())

    assert str(caught.value) == (
        f'configuration:1:11: timezone: "{name}" is no time zone of the IANA database; {hint}'
    )


def offsets(name: str) -> set[float]:
    """The hours east of UTC in the winter and the summer of 2026."""
    zone = zoneinfo.ZoneInfo(name)
    moments = (datetime(2026, month, 15, tzinfo=UTC).astimezone(zone) for month in (1, 7))
    return {offset.total_seconds() / 3600 for moment in moments if (offset := moment.utcoffset()) is not None}


def test_every_region_that_is_proposed_exists() -> None:
    """And those of an offset have it in winter or in summer."""
    for regions in ABBREVIATIONS.values():
        assert all("/" in region and offsets(region) for region in regions)
    for hours, regions in REGIONS_BY_OFFSET.items():
        assert all(hours in offsets(region) for region in regions)


def test_zones_of_fixed_offset_are_known_by_name() -> None:
    """All such names of the database but those of UTC, of Hawaii and of a region."""
    names = {name for name in zoneinfo.available_timezones() if name != "localtime"}
    fixed = {name for name in names if fixed_offset_zone(name) is not None}

    assert {"EST", "MST", "Etc/GMT+5", "Etc/GMT-14"} <= fixed
    assert all(len(offsets(name)) == 1 and offsets(name) != {0.0} for name in fixed)
    assert not fixed & {
        "UTC",
        "GMT",
        "Etc/UTC",
        "Etc/GMT",
        "Etc/GMT+0",
        "HST",
        "CET",
        "Asia/Kolkata",
        "Japan",
    }
