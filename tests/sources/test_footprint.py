"""The daemon's own footprint."""

import os
import resource
from pathlib import Path

import psutil
import pytest

from exporter.clock import SystemClock
from exporter.report import ProcessRow
from exporter.sources.footprint import Footprint
from exporter.units import NANOSECONDS_PER_SECOND

KERNEL_TICK_SECONDS = 0.01


class BootClock:
    """A host that has run for an hour at 10,000 s."""

    def wall(self) -> int:
        return 10_000 * NANOSECONDS_PER_SECOND

    def elapsed(self) -> int:
        return 3600 * NANOSECONDS_PER_SECOND


def test_it_is_what_the_kernel_says_of_this_process() -> None:
    """Memory in bytes, CPU of both kinds in seconds, and the start, as psutil has it."""
    before = os.times()
    footprint = Footprint(SystemClock()).read()
    after = os.times()
    assert footprint is not None
    assert before.user + before.system - 2 * KERNEL_TICK_SECONDS <= footprint.cpu_seconds
    assert footprint.cpu_seconds <= after.user + after.system + 2 * KERNEL_TICK_SECONDS
    # The kernel counts pages by processor and sums them up now and then.
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + 4_000_000
    assert 5_000_000 < footprint.resident_memory_bytes <= most
    assert footprint.started / NANOSECONDS_PER_SECOND == pytest.approx(psutil.Process().create_time(), abs=2)


def test_without_a_descriptor_there_is_no_figure() -> None:
    """The tick that wanted it goes on."""
    footprint = Footprint(SystemClock())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        figures = footprint.read()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert figures is None
    assert footprint.read() is not None


NUMBERS = "S 1 7 7 0 -1 4194560 9 0 0 0 250 75 0 0 20 0 4 0 12300 90000000 1000 1844"
"""From the state on: 2.50 s and 0.75 s of CPU, 123 s after boot, 1,000 pages."""


@pytest.mark.parametrize(
    ("content", "known"),
    [
        (f"7 (python3) {NUMBERS}\n", True),
        (f"7 (a ) S 1 (b)) {NUMBERS}\n", True),
        (f"7 (python3) {NUMBERS.rsplit(' ', 2)[0]}\n", False),
        (f"7 (python3) {NUMBERS.replace('1000', 'many')}\n", False),
        ("", False),
        (None, False),
    ],
    ids=["plain", "parentheses", "short", "no number", "empty", "no file"],
)
@pytest.mark.skipif(os.sysconf("SC_CLK_TCK") != 100, reason="the figures are in hundredths of a second")
def test_a_line_of_the_kernel(tmp_path: Path, content: str | None, *, known: bool) -> None:
    """Booted at 6,400 s; any other form of the line tells nothing."""
    (tmp_path / "self").mkdir()
    if content is not None:
        (tmp_path / "self" / "stat").write_text(content)

    pages = 1000 * os.sysconf("SC_PAGE_SIZE")
    row = ProcessRow(pages, 3.25, 6523 * NANOSECONDS_PER_SECOND) if known else None
    assert Footprint(BootClock(), tmp_path).read() == row  # type: ignore[arg-type] - it asks for no more
