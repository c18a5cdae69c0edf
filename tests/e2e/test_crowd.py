"""The real daemon among thousands of clients that are slow on purpose, and what they may not do to it."""

import http.client
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.e2e.daemon import Daemon, get
from tests.fake_nvml.library import FakeNvml
from tests.nightly import daily
from tests.web.slow_clients import KINDS, Crowd, answered_within, descriptors
from tests.web.test_passwords import basic, hashed

CROWD = 2000
PROBES = 100
MEBIBYTE = 2**20

VERBS = (("doctor",), ("check-config",), ("check-config", "--json"), ("explain",), ("report", "month"))

pytestmark = [pytest.mark.timeout(120), pytest.mark.alone]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, gpus: FakeNvml) -> Iterator[Daemon]:
    """One for all of them: each has to leave it fit for the next."""
    with Daemon(tmp_path_factory.mktemp("crowd"), "interval: 1s\n", gpus.environment()) as running:
        get(running.port, "/")
        yield running


@pytest.fixture(autouse=True)
def _room() -> Iterator[None]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    with descriptors(max(soft, 4 * CROWD)):
        yield


@pytest.mark.parametrize("size", daily((140, 200, CROWD), {CROWD}))
@pytest.mark.parametrize("kind", daily(KINDS, {"slow head", "reads no page"}))
def test_a_crowd_keeps_no_probe_and_no_scrape_out(daemon: Daemon, kind: str, size: int) -> None:
    """A socket that is cut is opened again; 99 of 100 are answered within a second, in little memory."""
    with Crowd(kind, size, daemon.port) as crowd:
        answered = answered_within(1, daemon.port, PROBES)
        threads = psutil.Process(daemon.pid).num_threads()

    assert crowd.opened >= size
    assert answered >= 0.99 * PROBES
    assert threads < 180
    assert psutil.Process(daemon.pid).memory_info().rss < 80 * MEBIBYTE
    assert get(daemon.port, "/cost.json")[0] == 200


def test_wrong_passwords_from_forty_addresses_keep_no_right_one_out(tmp_path: Path, gpus: FakeNvml) -> None:
    """Each address asks again and again; a new scraper is let in at its first request."""
    web = tmp_path / "web.yml"
    web.write_text(f"basic_auth_users: {{prometheus: {hashed('right', 8)}}}\n")
    stop = threading.Event()
    answers: list[int] = []

    def status_with(password: str, address: str) -> int:
        connection = http.client.HTTPConnection(
            "127.0.0.1", daemon.port, timeout=30, source_address=(address, 0)
        )
        connection.request("GET", "/metrics", headers={"Authorization": basic("prometheus", password)})
        status = connection.getresponse().status
        connection.close()
        return status

    def guess(address: str) -> None:
        while not stop.is_set():
            answers.append(status_with("wrong", address))

    daemon = Daemon(tmp_path, "interval: 1s\n", gpus.environment())
    daemon.begin = lambda *argv: [*argv, f"--web.config.file={web}"]
    with daemon:
        guessing = [threading.Thread(target=guess, args=(f"127.0.0.{2 + host}",)) for host in range(40)]
        for each in guessing:
            each.start()
        while len(answers) < 60:
            stop.wait(0.05)
        began = time.monotonic()
        status = status_with("right", "127.0.0.1")
        seconds = time.monotonic() - began
        stop.set()
        for each in guessing:
            each.join(60)
        log = daemon.log.read_text(encoding="utf-8")

    assert status == 200
    assert seconds < 10
    assert set(answers) == {401}
    assert log.count('msg="login failed"') == 1


def test_reloads_by_the_thousand_are_one_a_second(daemon: Daemon) -> None:
    """The others are told to come again, cost little, and write nothing into the log."""
    logged = daemon.log.stat().st_size
    began = time.monotonic()
    statuses: list[int] = []

    def reload() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=10)
        for _ in range(250):
            connection.request("POST", "/-/reload")
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
        connection.close()

    clients = [threading.Thread(target=reload) for _ in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(60)
    seconds = time.monotonic() - began

    assert len(statuses) == 1000
    assert set(statuses) == {200, 429}
    assert statuses.count(200) <= seconds + 1
    assert daemon.log.stat().st_size - logged < 400 * (seconds + 2)


def spoken(daemon: Daemon, verb: tuple[str, ...]) -> str:
    """All that a verb says of an installation, whatever it comes to."""
    done = subprocess.run(
        [sys.executable, "-m", "exporter", *verb, f"--config.file={daemon.config}"],
        env=daemon.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_a_query_of_a_server_is_shown_nowhere(tmp_path: Path, gpus: FakeNvml) -> None:
    """Not on the page, not in labels, not in the document, the log, the ledger or a verb's words."""
    secret = "5ecret"  # noqa: S105
    config = (
        f"interval: 1s\nledger: {{path: {tmp_path}/ledger.db}}\n"
        f'servers: [{{name: chat, url: "http://127.0.0.1:9/metrics?api_key={secret}", gpus: [0]}},\n'
        f'  {{name: chat, url: "http://127.0.0.1:9/metrics?api_key={secret}2", gpus: [0]}}]\n'
    )
    with Daemon(tmp_path, config, gpus.environment()) as daemon:
        page = daemon.settled()
        shown = {path: get(daemon.port, path)[1] for path in ("/", "/metrics", "/cost.json", "/explain/chat")}
        output = "".join(map(partial(spoken, daemon), VERBS))
        log = daemon.log.read_text(encoding="utf-8")
    stored = b"".join(each.read_bytes() for each in tmp_path.glob("ledger.db*"))

    assert sorted(labels["url"] for labels, _ in page.rows["inference_server_up"]) == [
        "http://127.0.0.1:9/metrics?api_key=***",
        "http://127.0.0.1:9/metrics?api_key=***#2",
    ]
    for words in (log, output):
        assert "http://127.0.0.1:9/metrics?api_key=***: " in words
        assert secret not in words
    assert [path for path, body in shown.items() if secret.encode() in body] == []
    assert secret.encode() not in stored
