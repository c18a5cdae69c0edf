"""Time zones: what is read, and which names are zones of fixed offset."""

import zoneinfo
from datetime import UTC, datetime

import pytest

from exporter.config import ConfigError, parse
from exporter.config.times import is_fixed_offset


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("CEST", "write a region like Europe/Berlin, or UTC"),
        ("PST", "write a region like Europe/Berlin, or UTC"),
        ("UTC+2", "write a region like Europe/Berlin, or UTC"),
        ("+02:00", "write a region like Europe/Berlin, or UTC"),
        ("europe/berlin", 'write "Europe/Berlin"'),
        ("US/Estern", "did you mean US/Eastern?"),
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


def test_zones_of_fixed_offset_are_known_by_name() -> None:
    """All such names of the database but those of UTC, of Hawaii and of a region."""
    names = {name for name in zoneinfo.available_timezones() if name != "localtime"}
    fixed = {name for name in names if is_fixed_offset(name)}

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
