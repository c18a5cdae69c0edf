"""A configuration that is watched: reloaded when its content is another, and at no other time."""

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.cli import serve as daemons
from exporter.cli import serve as watches
from exporter.cli.serve import ServeFlags, Watch, _Daemon
from exporter.clock import SystemClock
from exporter.config import load
from exporter.sources.location import LocationPoller
from tests.exporter_threads import ended

BARE = "interval: 10s\ndiscovery: {cloud: off, kubernetes: off}\n"

IN_FORCE = "0" * 64
"""Some hash that no file of these tests has."""


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that are over when they have begun."""

    def now(work: Callable[[], None], name: str) -> None:
        assert name == "reload"
        work()

    monkeypatch.setattr(watches, "start", now)


def mount(folder: Path, version: str, text: str) -> None:
    """What the kubelet does with a ConfigMap: a folder for the version, and a link that is swapped."""
    (folder / version).mkdir()
    (folder / version / "config.yaml").write_text(text)
    (folder / "new").symlink_to(version)
    (folder / "new").rename(folder / "..data")
    if not (folder / "config.yaml").is_symlink():
        (folder / "config.yaml").symlink_to("..data/config.yaml")


def daemon_of(file: Path, *, watch: bool) -> _Daemon:
    return _Daemon(ServeFlags(file, "127.0.0.1:0", None, watch=watch), load(file), SystemClock())


@pytest.mark.usefixtures("at_once")
def test_a_config_map_that_changed_is_reloaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By the next tick, whose end is when the daemon looks; once."""
    caplog.set_level("INFO")
    mount(tmp_path, "..1", "interval: 10s\n")
    daemon = daemon_of(tmp_path / "config.yaml", watch=True)
    daemon._prepare()
    assert caplog.records == []

    mount(tmp_path, "..2", "interval: 5s\n")
    for _ in range(3):
        daemon._prepare()

    assert [record.getMessage() for record in caplog.records] == ["configuration reloaded"]
    assert daemon._config.interval == 5 * 10**9


@pytest.mark.usefixtures("at_once")
def test_a_swap_without_a_change_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another inode and another time are not another content."""
    caplog.set_level("INFO")
    mount(tmp_path, "..1", "interval: 10s\n")
    daemon = daemon_of(tmp_path / "config.yaml", watch=True)
    mount(tmp_path, "..2", "interval: 10s\n")
    os.utime(tmp_path / "config.yaml", (1, 1))
    daemon._prepare()

    assert caplog.records == []


@pytest.mark.usefixtures("at_once")
def test_without_the_flag_nothing_is_read(tmp_path: Path) -> None:
    """A file that somebody edits is theirs until they ask for it."""
    file = tmp_path / "ice.yaml"
    file.write_text("interval: 10s\n")
    daemon = daemon_of(file, watch=False)
    file.write_text("interval: 5s\n")
    daemon._prepare()

    assert daemon._config.interval == 10 * 10**9


@pytest.mark.usefixtures("at_once")
def test_a_content_that_is_refused_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The old one stays. Put back, it is a reload that succeeds, so that the alert on the other one ends."""
    caplog.set_level("INFO")
    file = tmp_path / "ice.yaml"
    file.write_text("interval: 10s\n")
    daemon = daemon_of(file, watch=True)
    file.write_text("intervall: 5s\n")
    for _ in range(3):
        daemon._prepare()

    assert [record.getMessage() for record in caplog.records] == [
        "configuration reload failed; keeping the previous one"
    ]
    assert not daemon._succeeded
    file.write_text("interval: 10s\n")
    for _ in range(3):
        daemon._prepare()
    assert [record.getMessage() for record in caplog.records][1:] == ["configuration reloaded"]
    assert daemon._succeeded


@pytest.mark.usefixtures("at_once")
def test_what_a_signal_has_reloaded_is_not_reloaded_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever asks first; the watch compares with what is in force."""
    caplog.set_level("INFO")
    file = tmp_path / "ice.yaml"
    file.write_text("interval: 10s\n")
    daemon = daemon_of(file, watch=True)
    daemon._prepare()
    file.write_text("interval: 5s\n")
    daemon.reload()
    daemon._prepare()

    assert [record.getMessage() for record in caplog.records] == ["configuration reloaded"]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("gone", [Path.unlink, lambda file: file.unlink() or file.mkdir()])
def test_a_file_that_cannot_be_read_is_no_change(tmp_path: Path, gone: Callable[[Path], None]) -> None:
    """An editor may be about to put the new one in its place, which is then told."""
    calls: list[int] = []
    file = tmp_path / "ice.yaml"
    file.write_text("interval: 10s\n")
    watch = Watch(file, lambda: calls.append(1))
    watch.look(load(file).hash)
    gone(file)
    watch.look(IN_FORCE)
    assert calls == []

    if file.is_dir():
        file.rmdir()
    file.write_text("interval: 5s\n")
    watch.look(IN_FORCE)
    watch.look(IN_FORCE)
    assert calls == [1]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("begun", "rest"),
    [
        pytest.param("", BARE, id="emptied"),
        pytest.param("hardware:\n- rented:\n    dollars_per_gpu_hour: 2.", "50\n", id="cut-in-a-price"),
    ],
)
def test_a_half_written_file_is_not_reloaded(tmp_path: Path, begun: str, rest: str) -> None:
    """Emptied, it prices nothing; cut in a price, it charges 2.00 an hour where 2.50 is meant."""
    file = tmp_path / "ice.yaml"
    file.write_text("interval: 10s\n")
    daemon = daemon_of(file, watch=True)
    daemon._prepare()
    in_force = daemon._config
    file.write_text(begun)
    load(file)
    daemon._prepare()
    assert daemon._config is in_force

    file.write_text(begun + rest)
    for _ in range(2):
        daemon._prepare()
    assert daemon._config == load(file)


def test_the_reload_is_in_a_thread_of_its_own(tmp_path: Path) -> None:
    """Reading the books for what is posted at the old prices takes its time, and no tick waits for it."""
    threads: list[int] = []
    done = threading.Event()
    file = tmp_path / "ice.yaml"
    file.write_text("interval: 10s\n")

    def reload() -> None:
        threads.append(threading.get_ident())
        done.set()

    watch = Watch(file, reload)
    for _ in range(2):
        watch.look(IN_FORCE)

    assert done.wait(10)
    assert threads != [threading.get_ident()]


def test_a_signal_reloads(tmp_path: Path) -> None:
    """In a thread of its own."""
    file = tmp_path / "ice.yaml"
    file.write_text(BARE)
    daemon = daemon_of(file, watch=False)
    before = signal.signal(signal.SIGHUP, lambda *_: daemon.hang_up())
    try:
        file.write_text(BARE.replace("10s", "5s"))
        signal.raise_signal(signal.SIGHUP)
        assert ended("reload")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert daemon._config.interval == 5 * 10**9


def test_a_signal_without_a_thread_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its handler raises nothing into what the daemon does at that moment."""

    def no_thread(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    file = tmp_path / "ice.yaml"
    file.write_text(BARE)
    monkeypatch.setattr(watches, "start", no_thread)
    daemon_of(file, watch=False).hang_up()
    assert [vars(record)["problem"] for record in caplog.records] == ["can't start new thread"]


@pytest.mark.parametrize(
    ("owner", "method"), [(LocationPoller, "go_by"), (_Daemon, "_go_by"), (_Daemon, "_price_corrections")]
)
def test_a_reload_that_raises_keeps_the_old_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, method: str
) -> None:
    """Wherever it raised, one whole configuration is in force; the next reload takes the new one."""
    file = tmp_path / "ice.yaml"
    file.write_text(BARE)
    daemon = daemon_of(file, watch=False)
    before = daemon._config
    file.write_text(BARE.replace("10s", "5s"))

    def failing(*_: object, **__: object) -> None:
        raise ValueError("slip")

    with monkeypatch.context() as patch:
        patch.setattr(owner, method, failing)
        with pytest.raises(ValueError, match="slip"):
            daemon.reload()
    assert daemon._config is before
    assert not daemon._succeeded or method == "_price_corrections"
    daemon.reload()
    assert daemon._config.interval == 5 * 10**9


def test_without_a_file_there_is_nothing_to_watch() -> None:
    """The flag alone changes nothing."""
    Watch(None, lambda: pytest.fail("reloaded")).look("")


def test_the_flag_reaches_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off unless it is given."""
    from exporter.cli.arguments import main

    parsed: list[ServeFlags] = []
    verb = replace(daemons.serve, run=lambda flags: parsed.append(flags) or 0)
    monkeypatch.setattr(daemons, "serve", verb)
    main(["serve", "--config.file=a.yaml", "--config.watch"])
    main(["serve", "--config.file=a.yaml"])

    assert [flags.watch for flags in parsed] == [True, False]
