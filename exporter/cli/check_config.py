"""The wiring of `check-config`: one file or two, and the time, since prices have dates."""

from pathlib import Path

from exporter.cli.terminal import complain, tell
from exporter.clock import SystemClock
from exporter.reports.check_config import check_config
from exporter.web.access import Access


def checked(config_file: Path, web_config_file: Path | None = None, *, as_json: bool) -> int:
    """Print what a configuration comes to, and a web configuration; returns 0, or 2 where one is wrong."""
    clock = SystemClock()
    access = Access(web_config_file, clock)
    status, text = check_config(config_file, clock.wall(), access, as_json=as_json)
    # What is wrong goes where errors go, unless a program asked: it reads one answer in one place.
    if status == 0 or as_json:
        tell(text)
    else:
        complain(text.removesuffix("\n"))
    return status
