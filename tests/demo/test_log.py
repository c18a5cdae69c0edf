"""What the daemon logs: a line for each change of state, in logfmt or JSON, and none for a tick."""

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest

from exporter.cli.logs import formatter
from exporter.demo.plot import DAYS
from exporter.demo.story import replay, stage
from exporter.report import Build
from tests.demo.clocks import NOON, Noon, Nothing

pytestmark = [pytest.mark.xdist_group("story"), pytest.mark.timeout(300)]  # a busy machine

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


@pytest.fixture
def logs() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """What is logged from `info` on, as logfmt and as JSON."""
    root, texts = logging.getLogger(), (io.StringIO(), io.StringIO())
    level, handlers = root.level, [logging.StreamHandler(text) for text in texts]
    handlers[0].setFormatter(formatter("logfmt"))
    handlers[1].setFormatter(formatter("json"))
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield texts
    for handler in handlers:
        root.removeHandler(handler)
    root.setLevel(level)


def from_logfmt(line: str) -> tuple[str, str]:
    """Level and message of a line."""
    found = re.fullmatch(r'ts=\S+ level=(\w+) msg=(?:"([^"]*)"|(\S+))(?: .*)?', line)
    assert found is not None
    return found[1], found[2] or found[3]


def from_json(line: str) -> tuple[str, str]:
    """The same of one that is JSON."""
    told = json.loads(line)
    return told["level"], told["msg"]


def test_five_weeks_log_what_changed_and_ticks_log_nothing(logs: tuple[io.StringIO, io.StringIO]) -> None:
    """800 ticks have 18 lines between them, each for something that began or ended; 50 more have none."""
    clock = Noon()
    ticks: list[None] = []
    set_up = stage(clock, Nothing(), Build("0", "", "3"), lambda: ticks.append(None))
    replay(set_up)
    logfmt, as_json = (text.getvalue().splitlines() for text in logs)

    assert [from_logfmt(line) for line in logfmt] == CHANGES
    assert [from_json(line) for line in as_json] == CHANGES
    assert len(ticks) > DAYS * 12

    for second in range(1, 51):
        clock.at = NOON + 5 * second
        set_up.sampler.tick()

    assert [text.getvalue().splitlines() for text in logs] == [logfmt, as_json]
