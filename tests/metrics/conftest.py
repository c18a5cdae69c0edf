"""The host of the web suite, told as a report."""

from tests.web.conftest import lines, make_report, text

__all__ = ["lines", "make_report", "text"]
