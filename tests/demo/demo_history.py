"""Five weeks of the demo, which take the real pipeline some seconds. Tests share them."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from exporter.cli.logs import LogFormatter
from exporter.demo.daemon import DemoDaemon, replay
from exporter.demo.timeline import Timeline
from exporter.report import Build, Report
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND
from tests.kit.clock import NOON, noon
from tests.sampler.sampler_fixture import FakeProcessMetrics

BUILD: Final = Build("0", "", "3")
LIVE: Final = 50
"""Live ticks after the replay, whose log is separate."""


@dataclass(frozen=True)
class DemoHistory:
    """The demo at an instant, and the first live report."""

    timeline: Timeline
    report: Report
    folder: Path | None
    """Of its ledger, which is closed, and its configuration; none for a ledger in memory."""


def demo_history(at: int = NOON, seed: int = 0, folder: Path | None = None) -> DemoHistory:
    """Replay it, with a ledger in a folder or in memory."""
    daemon = DemoDaemon(noon(at), FakeProcessMetrics(()), BUILD, folder=folder, seed=seed)
    replay(daemon)
    report = daemon.sampler.tick()
    daemon.close()
    return DemoHistory(daemon.timeline, report, folder)


@dataclass
class LoggedHistory:
    """Log and tokens of the demo while it is replayed until noon."""

    report: Report
    """The first live one."""
    ticks: int = 0
    chat: dict[int, int] = field(default_factory=dict)
    """By hour, the tokens that `chat-70b` had moved at its last tick."""
    logs: list[list[str]] = field(default_factory=list)
    """Lines of the replay, as logfmt and as JSON."""
    later: list[list[str]] = field(default_factory=list)
    """The same after some live ticks."""


def logged_history() -> LoggedHistory:
    """Replay it with a ledger in memory."""
    clock, ticks, chat = noon(), [0], {}
    daemon: DemoDaemon

    def published() -> None:
        report = daemon.current()
        assert report is not None
        assert report.totals is not None
        ticks[0] += 1
        tokens = sum(n for (owner, _), n in report.totals.tokens.items() if owner.server == "chat-70b")
        chat[report.wall // NANOSECONDS_PER_HOUR] = tokens

    with logged() as texts:
        daemon = DemoDaemon(clock, FakeProcessMetrics(()), BUILD, published)
        replay(daemon)
        replayed, logs = ticks[0], [text.getvalue().splitlines() for text in texts]
        report = daemon.sampler.tick()
        for second in range(1, LIVE + 1):
            clock.now = 5 * second * NANOSECONDS_PER_SECOND
            daemon.sampler.tick()
        later = [text.getvalue().splitlines() for text in texts]
    return LoggedHistory(report, replayed, chat, logs, later)


@contextmanager
def logged() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """What is logged from `info` on, as logfmt and as JSON."""
    root, texts = logging.getLogger(), (io.StringIO(), io.StringIO())
    level, handlers = root.level, [logging.StreamHandler(text) for text in texts]
    handlers[0].setFormatter(LogFormatter("logfmt"))
    handlers[1].setFormatter(LogFormatter("json"))
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield texts
    for handler in handlers:
        root.removeHandler(handler)
    root.setLevel(level)
