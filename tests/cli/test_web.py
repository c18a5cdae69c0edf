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
    ("flags", "lifecycle"),
    [((), None), (("--web.enable-lifecycle",), True), (("--no-web.enable-lifecycle",), False)],
)
def test_reload_by_http_is_switched_by_a_flag(
    flags: tuple[str, ...],
    lifecycle: bool | None,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without one the address decides; SIGHUP is another matter."""
    assert begun(monkeypatch, *flags)._web._lifecycle is lifecycle


def test_browsers_may_be_allowed_other_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by a flag of its own, in any case; the node's name, which the chart tells, is one."""
    monkeypatch.setenv("NODE_NAME", "gpu-7.dc1.example.com")
    daemon = begun(monkeypatch, "--web.allowed-host=Costs.Example.com", "--web.allowed-host=c.example.com.")

    assert {"costs.example.com", "c.example.com", "gpu-7.dc1.example.com"} <= daemon._web._hosts._allowed


@pytest.mark.parametrize(
    "name", ["http://costs.example.com", "costs.example.com:9844", "", "a b", "*.example.com"]
)
def test_a_host_that_is_none_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With what one looks like."""
    with pytest.raises(SystemExit) as ended:
        arguments.main([f"--web.allowed-host={name}"])

    assert ended.value.code == 2
    assert (
        "is no host name: write it without scheme and port, as in costs.example.com"
        in capsys.readouterr().err
    )


def test_a_report_carries_what_became_of_the_web_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked at each tick: a file may break at any time."""
    web = tmp_path / "web.yml"
    web.write_text("http_server_config: {http2: false}\n")
    daemon = begun(monkeypatch, f"--web.config.file={web}")
    setting = daemon._plan(succeeded=True).context
    assert setting.web_succeeded() is True
    web.write_text("")
    daemon._access.current()

    assert setting.web_succeeded() is False
    assert setting.left_out() == daemon._web.left_out == ()
    assert setting.web_refused() == daemon._web.refused
    assert (
        serve._Daemon(serve.ServeFlags(None, ":0", None), load(None), SystemClock())._access.succeeded is None
    )


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
