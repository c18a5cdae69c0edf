"""Structured log lines of the daemon's threads."""

import json
import logging
import threading
from collections.abc import Iterator

import pytest

from exporter.cli import logs
from exporter.threads import start


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root, hook = logging.getLogger(), threading.excepthook
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], threading.excepthook = handlers, hook
    root.setLevel(level)


def test_a_thread_that_raises_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """With its name and its trace; the process goes on."""

    def failing() -> None:
        raise ValueError("slip")

    logs.set_up("info", "json")
    start(failing, "reload").join(30)

    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["msg"], line["work"]) == ("error", "thread failed", "reload")
    assert line["exception"].endswith("ValueError: slip")


def test_a_thread_has_the_stack_it_asks_for() -> None:
    """The size is set for the process: another thread has the default."""
    before = threading.stack_size()
    thread = start(lambda: None, "small", 1 << 18)
    thread.join(30)
    assert thread.daemon
    assert threading.stack_size() == before
