"""What the daemon logs: a line for each change of state, in logfmt or JSON, and none for a tick."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from exporter.cli.logs import formatter
from exporter.demo.plot import DAYS
from exporter.demo.story import replay, stage
from exporter.report import Build
from tests.demo.clocks import NOON, Noon, Nothing

pytestmark = pytest.mark.xdist_group("story")

CHANGES = [
    ("info", "first tick"),
    ("info", "server holds GPUs"),
    ("info", "server holds GPUs"),
    ("info", "server holds GPUs"),
    # GPU 7 gets a price of its own, which begins a day late, and is corrected
    ("info", "configuration reloaded"),
    ("warning", "GPUs have no price: their cost is absent"),
    ("info", "every GPU has a price"),
    ("info", "configuration reloaded"),
    ("info", "time that had no price was charged"),
    # the host is away; another process of the daemon sees it anew
    ("info", "time that nobody watched was charged"),
    ("info", "first tick"),
    ("info", "server holds GPUs"),
    ("info", "server holds GPUs"),
    ("info", "server holds GPUs"),
    # trial-8b comes
    ("info", "configuration reloaded"),
    ("info", "server holds GPUs"),
    # chat-70b is restarted
    ("warning", "source failed"),
    ("info", "source is back"),
]
"""Everything that happens in five weeks."""


@pytest.fixture(params=["logfmt", "json"])
def style(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def log(style: str) -> Iterator[io.StringIO]:
    """What is logged from `info` on."""
    root, text = logging.getLogger(), io.StringIO()
    handler, level = logging.StreamHandler(text), root.level
    handler.setFormatter(formatter("json" if style == "json" else "logfmt"))
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield text
    root.removeHandler(handler)
    root.setLevel(level)


def read(line: str, style: str) -> tuple[str, str]:
    """Level and message of a line."""
    if style == "json":
        told = json.loads(line)
        return told["level"], told["msg"]
    _, level, rest = line.split(" ", 2)
    message = rest.removeprefix("msg=")
    quoted = message.startswith('"')
    return level.removeprefix("level="), message[1:].split('"')[0] if quoted else message.split()[0]


def test_five_weeks_log_what_changed_and_ticks_log_nothing(log: io.StringIO, style: str) -> None:
    """800 ticks have 18 lines between them, each for something that began or ended; 50 more have none."""
    clock = Noon()
    ticks: list[None] = []
    set_up = stage(clock, Nothing(), Build("0", "", "3"), lambda: ticks.append(None))
    replay(set_up)
    told = log.getvalue().splitlines()

    assert [read(line, style) for line in told] == CHANGES
    assert len(ticks) > DAYS * 12

    for second in range(1, 51):
        clock.at = NOON + 5 * second
        set_up.sampler.tick()

    assert log.getvalue().splitlines() == told
