"""What the daemon logs: a line for each change of state, in logfmt or JSON, and none for a tick."""

import json
import re

import pytest

from exporter.demo.timeline import DAYS
from tests.demo.demo_history import LoggedHistory

pytestmark = [pytest.mark.xdist_group("story"), pytest.mark.timeout(600)]  # a busy machine

CHANGES = [
    ("info", "first tick"),
    ("info", "server gpus changed"),
    ("info", "server gpus changed"),
    ("info", "server gpus changed"),
    # GPU 7 gets a price of its own, which begins a day late, and is corrected
    ("info", "configuration reloaded"),
    ("warning", "gpus unpriced"),
    ("info", "all gpus priced"),
    ("info", "configuration reloaded"),
    ("info", "unpriced time charged"),
    # the host is away; another process of the daemon sees it anew
    ("info", "unobserved time charged"),
    ("info", "first tick"),
    ("info", "server gpus changed"),
    ("info", "server gpus changed"),
    ("info", "server gpus changed"),
    # trial-8b comes
    ("info", "configuration reloaded"),
    ("info", "server gpus changed"),
    # chat-70b is restarted
    ("warning", "source failed"),
    ("info", "source recovered"),
]
"""Everything that happens in five weeks."""


def from_logfmt(line: str) -> tuple[str, str]:
    """Level and message of a line."""
    match = re.fullmatch(r'ts=\S+ level=(\w+) msg=(?:"([^"]*)"|(\S+))(?: .*)?', line)
    assert match is not None
    return match[1], match[2] or match[3]


def from_json(line: str) -> tuple[str, str]:
    """The same of one that is JSON."""
    record = json.loads(line)
    return record["level"], record["msg"]


def test_five_weeks_log_what_changed_and_ticks_log_nothing(history: LoggedHistory) -> None:
    """800 ticks have 18 lines between them, each for something that began or ended; 50 more have none."""
    logfmt, as_json = history.logs

    assert [from_logfmt(line) for line in logfmt] == CHANGES
    assert [from_json(line) for line in as_json] == CHANGES
    assert history.ticks > DAYS * 12
    assert history.later == [logfmt, as_json]
