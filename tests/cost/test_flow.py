"""A frame followed through `advance`, module by module: each function where it is first called.

Comprehensions belong to the function that has them; other packages are left out.
"""

import sys
import threading
from itertools import groupby, islice
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from exporter import cost
from exporter.cost.advance import TickOutcome, advance
from exporter.demo.daemon import DemoDaemon
from exporter.report import Build
from exporter.sampler import sampler
from exporter.units import NANOSECONDS_PER_MINUTE
from tests.kit.clock import NOON, noon
from tests.sampler.sampler_fixture import FakeProcessMetrics

RETURNS_MAX = 15
"""Returns to a module that the reader left before."""

TICKS = 200
"""Ticks of the demo before the one that is followed: servers, a router and idle GPUs are there."""

FOLDER = str(Path(cost.__file__).parent)


def test_a_frame_seldom_returns_to_a_module_that_it_left(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: dict[tuple[str, str], None] = {}

    def profile(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(FOLDER) and "<" not in code.co_qualname:
            calls.setdefault((Path(code.co_filename).stem, code.co_qualname))

    def followed(*arguments: Any) -> TickOutcome:
        calls.clear()
        sys.setprofile(profile)
        try:
            return advance(*arguments)
        finally:
            sys.setprofile(None)

    monkeypatch.setattr(sampler, "advance", followed)
    daemon = DemoDaemon(noon(NOON), FakeProcessMetrics(()), Build("0", "", "3"))
    for _ in islice(daemon.replay(threading.Event(), 10 * NANOSECONDS_PER_MINUTE), TICKS):
        pass
    daemon.close()
    stays = [module for module, _ in groupby(module for module, _ in calls)]
    assert {"advance", "servers", "page_marks", "inventory", "energy", "accrual"} <= set(stays)
    assert len(stays) - len(set(stays)) <= RETURNS_MAX, stays
