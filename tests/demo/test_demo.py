"""The demo opens when there is something to see: its first live tick."""

import errno
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.cli import demo as module
from exporter.cli import status
from exporter.cli.build import program_call
from exporter.demo.banner import Site, events
from exporter.demo.timeline import Timeline, configurations
from exporter.sampler.sampler import Sampler
from exporter.version import VERSION
from exporter.web.server import WebServer
from tests.kit.clock import noon

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """The demo takes the signals of the process; they are given back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_who_asks_early_waits_and_gets_the_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While the month is replayed nobody is answered; then everybody is, with figures."""
    ports: list[int] = []
    clients: list[socket.socket] = []
    answers: list[bytes] = []

    class Recorded(WebServer):
        def bind(self) -> None:
            super().bind()
            ports.append(self.port)

    def replayed(*_: object) -> None:
        client = socket.create_connection(("127.0.0.1", ports[0]), timeout=30)
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        clients.append(client)

    def run(_: Sampler, stop: object) -> None:
        del stop
        with clients[0] as client:
            while chunk := client.recv(65536):
                answers.append(chunk)

    monkeypatch.setattr(module, "WebServer", Recorded)
    monkeypatch.setattr(module, "replay", replayed)
    monkeypatch.setattr(Sampler, "run", run)

    assert module.demo(module.DemoFlags("127.0.0.1:0")) == status.OK
    page = b"".join(answers)
    assert page.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"first tick has not been taken" not in page
    assert b"<dt>Now</dt>" in page
    assert f"http://127.0.0.1:{ports[0]}/metrics" in capsys.readouterr().out


def test_a_port_that_is_taken_is_told_before_the_month_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a month that cannot be shown."""
    monkeypatch.setattr(module, "replay", lambda *_: pytest.fail("replayed for nobody"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert module.demo(module.DemoFlags(f"127.0.0.1:{taken.getsockname()[1]}")) == status.FAILED


def test_a_machine_without_a_place_for_its_ledger_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A container whose root can only be read, for example."""

    def refuse(**_: str) -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)

    assert module.demo(module.DemoFlags("127.0.0.1:0")) == status.FAILED
    assert capsys.readouterr().err == (
        "no folder for the demo's ledger: No usable temporary directory found; "
        "set TMPDIR to one that can be written\n"
    )


@pytest.mark.parametrize("called", ["/opt/ice/bin/inference-cost-exporter", f"{ROOT}/exporter/__main__.py"])
def test_its_verbs_can_be_called_from_any_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, called: str
) -> None:
    """An installed program by its path, a checkout's module by where that is."""
    monkeypatch.setattr("sys.argv", [called, "demo"])
    program = program_call()

    if not called.endswith(".py"):
        assert program == called
        return
    assert program == f"PYTHONPATH={ROOT} {shlex.quote(sys.executable)} -m exporter"
    ran = subprocess.run(
        ["sh", "-c", f"{program} --version"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stdout == f"inference-cost-exporter {VERSION}\n"


ID = "0123456789ab" + "c" * 52
MOUNTED = "1 2 0:1 {} /etc/hostname rw,relatime - ext4 /dev/sda1 rw\n"


@pytest.mark.parametrize(
    ("files", "environment", "command"),
    [
        ({}, {}, ""),
        ({"proc/self/mountinfo": MOUNTED.format(f"/{ID}/hostname")}, {}, ""),  # a name is no container
        (
            {".dockerenv": "", "proc/self/mountinfo": MOUNTED.format(f"/docker/containers/{ID}/hostname")},
            {},
            "docker exec 0123456789ab",
        ),
        (
            {
                "run/.containerenv": "",
                "proc/self/mountinfo": MOUNTED.format(f"/overlay-containers/{ID}/userdata/hostname"),
            },
            {},
            "podman exec 0123456789ab",
        ),
        ({".dockerenv": "", "proc/self/mountinfo": MOUNTED.format("/hostname")}, {}, "docker exec it"),
        ({"run/.containerenv": ""}, {}, "podman exec it"),
        ({".dockerenv": ""}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubectl exec it --"),
        (
            {},
            {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "POD_NAMESPACE": "inference-cost"},
            "kubectl --namespace=inference-cost exec it --",
        ),
    ],
)
def test_its_container_is_named_as_from_outside(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    files: dict[str, str],
    environment: dict[str, str],
    command: str,
) -> None:
    """By the id that docker and podman mount files under, else by the host name; a pod by its name."""
    monkeypatch.setattr("socket.gethostname", lambda: "it")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    assert module.container(tmp_path, environment) == command


@pytest.mark.parametrize(
    ("address", "printed"),
    [
        ("127.0.0.1:9844", "demo --print-prometheus-config prints"),
        ("127.0.0.1:0", "demo --print-prometheus-config --web.listen-address=127.0.0.1:{port} prints"),
        ("[::1]:0", "demo --print-prometheus-config --web.listen-address=[::1]:{port} prints"),
    ],
)
def test_the_printed_scrape_configuration_has_the_port(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], address: str, printed: str
) -> None:
    """On the default one without a flag, on another with the one that is listened on."""
    ports: list[int] = []

    class Recorded(WebServer):
        def bind(self) -> None:
            if not address.endswith(":9844"):  # which may be taken on this machine
                super().bind()
            ports.append(self.port)

        def start(self) -> None:
            """Answer nobody."""

    monkeypatch.setattr(module, "WebServer", Recorded)
    monkeypatch.setattr(module, "replay", lambda *_: None)
    monkeypatch.setattr(Sampler, "run", lambda *_: None)

    assert module.demo(module.DemoFlags(address)) == status.OK
    assert printed.format(port=ports[0]) in capsys.readouterr().out


def test_in_a_container_every_path_is_used_inside(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is pasted outside runs inside, verbs and `grep` alike; the port is said to be the inner one."""
    monkeypatch.setattr(module, "container", lambda: "docker exec 0123456789ab")
    monkeypatch.setattr(module, "replay", lambda *_: None)
    monkeypatch.setattr(Sampler, "run", lambda *_: None)

    assert module.demo(module.DemoFlags("127.0.0.1:0")) == status.OK
    words = capsys.readouterr().out
    lines = [line.strip() for line in words.splitlines() if module.PREFIX in line]
    assert len(lines) == 4
    assert all("docker exec 0123456789ab " in line for line in lines), lines
    assert '  demo() { docker exec 0123456789ab inference-cost-exporter "$@" --config.file=' in words
    assert "outside, take the port that you published" in words


def test_what_is_said_does_not_depend_on_the_hosts_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its days are those of UTC, on either side of the date line."""
    texts = []
    for zone in ("Pacific/Kiritimati", "UTC", "Pacific/Pago_Pago"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        texts.append(
            (
                events(Timeline.before(noon().wall()), Site("", "", "")),
                configurations(Timeline.before(noon().wall())),
            )
        )
    monkeypatch.undo()
    time.tzset()

    assert texts[0] == texts[1] == texts[2]
