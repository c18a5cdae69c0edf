"""The wiring of `check-config`: a file and the time, since prices have dates."""

import sys
from pathlib import Path

from exporter.clock import SystemClock
from exporter.reports.check_config import check_config


def checked(config_file: Path) -> int:
    """Print what a configuration comes to; returns 0, or 2 where it is wrong."""
    status, text = check_config(config_file, SystemClock().wall())
    (sys.stdout if status == 0 else sys.stderr).write(text)
    return status
