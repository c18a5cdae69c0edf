"""Reloads for which there is no thread or no memory: the old configuration stays, and it is tried again."""

import _thread
import signal
from pathlib import Path

import pytest

from exporter.cli.serve import ServeFlags, _Daemon
from exporter.clock import SystemClock
from exporter.config import load
from exporter.sources.location import LocationPoller
from exporter.units import NANOSECONDS_PER_SECOND
from tests.living import gone, no_thread

FIVE = 5 * NANOSECONDS_PER_SECOND


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "ice.yaml"
    file.write_text("interval: 10s\ndiscovery: {cloud: off, kubernetes: off}\n")
    return file


@pytest.fixture
def daemon(file: Path) -> _Daemon:
    return _Daemon(ServeFlags(file, "127.0.0.1:0", None, watch=True), load(file), SystemClock())


def exhausted(*_: object, **__: object) -> None:
    raise MemoryError


def test_a_hang_up_without_a_thread_reloads_after_a_tick(
    daemon: _Daemon, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal's handler raises nothing into whatever the daemon is at, and the signal is not lost."""
    file.write_text(file.read_text().replace("10s", "5s"))
    with monkeypatch.context() as scarce:
        scarce.setattr(_thread, "start_new_thread", no_thread)
        daemon._hang_up()
        daemon._prepare()
    assert daemon._config.interval == 2 * FIVE
    daemon._prepare()
    assert gone("reload")
    assert daemon._config.interval == FIVE


def test_a_reload_without_memory_leaves_the_old_configuration_and_is_tried_again(
    daemon: _Daemon, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Wherever it ran out, what is in force is one configuration, and the page says that a reload failed."""
    caplog.set_level("INFO")
    file.write_text(file.read_text().replace("10s", "5s"))
    before = daemon._config
    for place in ((LocationPoller, "go_by"), (_Daemon, "_go_by"), (_Daemon, "_notice")):
        with monkeypatch.context() as scarce:
            scarce.setattr(*place, exhausted)
            with pytest.raises(MemoryError):
                daemon.reload()
            daemon._reload_quietly()
        assert daemon._config is before
        assert not daemon._succeeded or place[1] == "_notice"
        assert daemon._asked
    daemon._prepare()
    assert gone("reload")
    assert daemon._config.interval == FIVE
    assert "configuration reloaded" in caplog.messages


def test_a_signal_reloads(daemon: _Daemon, file: Path) -> None:
    """In a thread of its own, as ever."""
    before = signal.signal(signal.SIGHUP, lambda *_: daemon._hang_up())
    try:
        file.write_text(file.read_text().replace("10s", "5s"))
        signal.raise_signal(signal.SIGHUP)
        assert gone("reload")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert daemon._config.interval == FIVE
