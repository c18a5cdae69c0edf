"""What the daemon logs: a line for each change of state, in logfmt or JSON, and none for a tick."""

import json
import re

import pytest

from exporter.demo.plot import DAYS
from tests.demo.tellings import Witness

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


def from_logfmt(line: str) -> tuple[str, str]:
    """Level and message of a line."""
    found = re.fullmatch(r'ts=\S+ level=(\w+) msg=(?:"([^"]*)"|(\S+))(?: .*)?', line)
    assert found is not None
    return found[1], found[2] or found[3]


def from_json(line: str) -> tuple[str, str]:
    """The same of one that is JSON."""
    told = json.loads(line)
    return told["level"], told["msg"]


def test_five_weeks_log_what_changed_and_ticks_log_nothing(seen: Witness) -> None:
    """800 ticks have 18 lines between them, each for something that began or ended; 50 more have none."""
    logfmt, as_json = seen.logs

    assert [from_logfmt(line) for line in logfmt] == CHANGES
    assert [from_json(line) for line in as_json] == CHANGES
    assert seen.ticks > DAYS * 12
    assert seen.later == [logfmt, as_json]
