"""The flags of the web server: what they start, and what they refuse to."""

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from exporter.cli import arguments, serve
from exporter.clock import SystemClock
from exporter.config import load

ROOT = Path(__file__).parents[2]


def begun(monkeypatch: pytest.MonkeyPatch, *flags: str) -> Any:
    """The daemon that some flags make, before it serves."""
    made: list[Any] = []

    def instead(daemon: Any, _: object) -> int:
        made.append(daemon)
        return 0

    monkeypatch.setattr(serve._Daemon, "run", instead)
    assert arguments.main(["--web.listen-address=127.0.0.1:0", *flags]) == 0
    return made[0]


@pytest.mark.parametrize(
    ("flags", "reloads"),
    [((), True), (("--web.enable-lifecycle",), True), (("--no-web.enable-lifecycle",), False)],
)
def test_reload_by_http_is_switched_by_a_flag(
    flags: tuple[str, ...],
    reloads: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On unless told; SIGHUP is another matter."""
    daemon = begun(monkeypatch, *flags)

    assert (daemon._web._reload is not None) is reloads


def test_a_report_carries_what_became_of_the_web_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked at each tick: a file may break at any time."""
    web = tmp_path / "web.yml"
    web.write_text("http_server_config: {http2: false}\n")
    daemon = begun(monkeypatch, f"--web.config.file={web}")
    setting = daemon._plan(succeeded=True).setting
    assert setting.web_succeeded() is True
    web.write_text("")
    daemon._access.current()

    assert setting.web_succeeded() is False
    assert setting.left_out() == daemon._web.left_out == ()
    assert serve._Daemon(serve.Flags(None, ":0", None), load(None), SystemClock())._access.succeeded is None


@pytest.mark.parametrize(
    "text", ["", "basic_auth_user: {}\n", "tls_server_config: {cert_file: a.pem, key_file: a.key}\n", None]
)
def test_check_config_says_what_a_start_would(
    text: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Word for word, with the same exit status; `None` is a file that is not there."""
    config, web = tmp_path / "ice.yaml", tmp_path / "web.yml"
    config.write_text("interval: 10s\n")
    if text is not None:
        web.write_text(text)
    both = (f"--config.file={config}", f"--web.config.file={web}")
    assert arguments.main(["serve", *both, "--web.listen-address=127.0.0.1:0"]) == 2
    start = capsys.readouterr()
    assert arguments.main(["check-config", *both]) == 2

    assert capsys.readouterr() == start
    assert start.err.startswith(f"{tmp_path}/")


@pytest.mark.parametrize("verb", ["serve", "demo"])
def test_a_bad_file_is_no_start(verb: str, tmp_path: Path) -> None:
    """Status 2, one line, and no socket: what was asked to be guarded is not served without."""
    web = tmp_path / "web.yml"
    web.write_text("basic_auth_user: {}\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "exporter", verb, f"--web.config.file={web}"),
                f"--web.listen-address=127.0.0.1:{taken.getsockname()[1]}",
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{web}:1:1: basic_auth_user: unknown key; did you mean basic_auth_users?\n"
