"""The wiring of `check-config`: a file and the time, since prices have dates."""

import sys
from pathlib import Path

from exporter.clock import SystemClock
from exporter.reports.check_config import check_config


def checked(config_file: Path, *, as_json: bool) -> int:
    """Print what a configuration comes to; returns 0, or 2 where it is wrong."""
    status, text = check_config(config_file, SystemClock().wall(), as_json=as_json)
    # What is wrong goes where errors go, unless a program asked: it reads one answer in one place.
    (sys.stdout if status == 0 or as_json else sys.stderr).write(text)
    return status
