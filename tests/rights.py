"""Rights that a machine may not give its tests: the only reasons for which a test is left out, and told so.

What can be installed is brought by `tools/need`, or its lack fails the test with a word on what to install.
"""

from collections import Counter
from collections.abc import Generator, Iterable
from typing import Any, Final

import pytest

MOUNTS: Final = "no file system can be mounted here: run as root, in a container that may mount"
NAMESPACES: Final = "only root may put processes into namespaces, and not in every container"
NETWORKS: Final = "only root may make a network namespace: run the end-to-end tests as root"
USERS: Final = "only root may become another user: run as root"
CONTAINERS: Final = "only root may make such containers: run as root"
WITHHELD: Final = frozenset({MOUNTS, NAMESPACES, NETWORKS, USERS, CONTAINERS})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail what is skipped for any other reason."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and (reason := _reason(report)) not in WITHHELD:
        report.outcome = "failed"
        report.longrepr = f"skipped ({reason}): let tools/need bring what is missing, or say what to install"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around pytest's own summary: the line stands below it
def pytest_terminal_summary(terminalreporter: Any) -> Generator[None, None, None]:
    """Count in one line what was left out, whatever the verbosity."""
    yield
    lines = summary(_reason(report) for report in terminalreporter.stats.get("skipped", ()))
    if lines:
        terminalreporter.write_line(lines, yellow=True, bold=True)


def summary(reasons: Iterable[str]) -> str:
    """How many tests were left out, and how many for which right; empty for none."""
    counted = Counter(reasons)
    if not counted:
        return ""
    each = "; ".join(f"{count}: {reason}" for reason, count in sorted(counted.items()))
    return f"LEFT OUT for want of rights, {counted.total()} in all: {each}"


def _reason(report: pytest.TestReport) -> str:
    """Why a test was skipped: pytest tells file, line and words."""
    *_, words = report.longrepr if isinstance(report.longrepr, tuple) else (str(report.longrepr),)
    return str(words).removeprefix("Skipped: ")
