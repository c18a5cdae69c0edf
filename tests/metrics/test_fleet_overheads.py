"""What the whole fleet pays, on a host's page."""

from collections.abc import Callable

from exporter.report import Build, Report
from exporter.web.page import page

BUILD = Build("0", "", "3")


def test_overheads_of_the_whole_fleet_are_told_once(make_report: Callable[..., Report]) -> None:
    """They are in no figure of a host, so whoever configured them looks for them; without any, no word."""
    shown = page(make_report(fleet_overheads={"staff": 61.25, "licenses": 1.0}), 0, BUILD).decode()
    silent = page(make_report(fleet_overheads={}), 0, BUILD).decode()

    assert shown.count("Not included: $62.25 an hour of fleet overheads.") == 1
    assert "fleet overheads" not in silent
