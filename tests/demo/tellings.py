"""The demo's story as it is told: five weeks, which take the real pipeline some seconds. Tests share them."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from exporter.cli.logs import formatter
from exporter.demo.plot import Storyline
from exporter.demo.story import Stage, replay, stage
from exporter.report import Build, Report
from exporter.units import NANOSECONDS_PER_HOUR
from tests.demo.clocks import NOON, Noon, Nothing

BUILD: Final = Build("0", "", "3")
LIVE: Final = 50
"""Ticks after the story whose log is kept apart."""


@dataclass(frozen=True)
class Telling:
    """The story at an instant, and the first live report."""

    plot: Storyline
    report: Report
    folder: Path | None
    """Of its books, which are closed, and its configuration; none where the books were in memory."""


def telling(at: int = NOON, seed: int = 0, folder: Path | None = None) -> Telling:
    """Tell it, with books in a folder or in memory."""
    set_up = stage(Noon(at), Nothing(), BUILD, folder=folder, seed=seed)
    replay(set_up)
    report = set_up.sampler.tick()
    set_up.close()
    return Telling(set_up.plot, report, folder)


@dataclass
class Witness:
    """What somebody sees who stands by while it is told until noon."""

    report: Report
    """The first live one."""
    ticks: int = 0
    chat: dict[int, int] = field(default_factory=dict)
    """By hour, the tokens that `chat-70b` had moved at its last tick."""
    logs: list[list[str]] = field(default_factory=list)
    """The lines of the story, as logfmt and as JSON."""
    later: list[list[str]] = field(default_factory=list)
    """The same after some live ticks."""


def witness() -> Witness:
    """Tell it with books in memory."""
    clock, ticks, chat = Noon(), [0], {}
    set_up: Stage

    def published() -> None:
        report = set_up.current()
        assert report is not None
        assert report.books is not None
        ticks[0] += 1
        tokens = sum(n for (party, _), n in report.books.tokens.items() if party.server == "chat-70b")
        chat[report.wall // NANOSECONDS_PER_HOUR] = tokens

    with logged() as texts:
        set_up = stage(clock, Nothing(), BUILD, published)
        replay(set_up)
        told, logs = ticks[0], [text.getvalue().splitlines() for text in texts]
        report = set_up.sampler.tick()
        for second in range(1, LIVE + 1):
            clock.at = NOON + 5 * second
            set_up.sampler.tick()
        later = [text.getvalue().splitlines() for text in texts]
    return Witness(report, told, chat, logs, later)


@contextmanager
def logged() -> Iterator[tuple[io.StringIO, io.StringIO]]:
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
