"""The daemon's own footprint."""

import os
import resource
import time

import psutil
import pytest

from exporter.sources.footprint import Footprint
from exporter.units import NANOSECONDS_PER_SECOND

KERNEL_TICK_SECONDS = 0.01


def test_it_is_what_the_kernel_says_of_this_process() -> None:
    """Memory in bytes, CPU of both kinds in seconds, and a start that lies behind us."""
    before = os.times()
    footprint = Footprint().read()
    after = os.times()
    assert footprint is not None
    assert before.user + before.system - 2 * KERNEL_TICK_SECONDS <= footprint.cpu_seconds
    assert footprint.cpu_seconds <= after.user + after.system + 2 * KERNEL_TICK_SECONDS
    # The kernel counts pages by processor and sums them up now and then.
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + 4_000_000
    assert 5_000_000 < footprint.resident_memory_bytes <= most
    # psutil adds a start since the boot to the time of the boot, which the kernel tells in whole seconds.
    started = footprint.started / NANOSECONDS_PER_SECOND
    assert started == pytest.approx(psutil.Process().create_time(), abs=1.1)
    assert started <= time.time()


def test_without_a_descriptor_there_is_no_figure() -> None:
    """The tick that wanted it goes on."""
    footprint = Footprint()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        figures, unknown = footprint.read(), Footprint()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert figures is None
    assert footprint.read() is not None
    assert unknown.read() is None  # its start stays unknown
