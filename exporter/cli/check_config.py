"""The wiring of `check-config`: a file and the time, since prices have dates."""

from pathlib import Path

from exporter.cli.terminal import complain, tell
from exporter.clock import SystemClock
from exporter.reports.check_config import check_config


def checked(config_file: Path, *, as_json: bool) -> int:
    """Print what a configuration comes to; returns 0, or 2 where it is wrong."""
    status, text = check_config(config_file, SystemClock().wall(), as_json=as_json)
    # What is wrong goes where errors go, unless a program asked: it reads one answer in one place.
    if status == 0 or as_json:
        tell(text)
    else:
        complain(text.removesuffix("\n"))
    return status
