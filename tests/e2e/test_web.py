"""The real daemon behind TLS, clients' certificates and a password, among clients that mean harm."""

import contextlib
import resource
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest
import yaml

from tests.e2e.daemon import ROOT, free_port, get, until
from tests.e2e.daemon_with_auth import PASSWORD, USER, DaemonWithAuth
from tests.fake_nvml.library import FakeNvml
from tests.nightly import daily
from tests.web.certificates import first_bytes
from tests.web.slow_clients import Crowd
from tests.web.test_passwords import basic

CROWD = 1000
GIVEN = "GET /metrics HTTP/1.1\r\nHost: x\r\n"

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, gpus: FakeNvml) -> Iterator[DaemonWithAuth]:
    """One for all of them: each has to leave it fit for the next."""
    with DaemonWithAuth(
        tmp_path_factory.mktemp("web"), "interval: 1s\n", gpus.environment(), cost=10
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def _goes_on(daemon: DaemonWithAuth) -> Iterator[None]:
    """After each test `/metrics` answers, and nothing has piled up."""
    yield
    daemon.scrape()
    process = psutil.Process(daemon.pid)
    until(lambda: process.num_threads() < 40, 20, "threads end with their connections")
    assert process.num_fds() < 100
    assert process.memory_info().rss < 100 * 2**20


@pytest.fixture
def crowd() -> Iterator[ExitStack]:
    """Room for a thousand sockets in this process."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], min(4 * CROWD, before[1])), before[1]))
    with ExitStack() as open_sockets:
        yield open_sockets
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def encrypted(daemon: DaemonWithAuth) -> ssl.SSLSocket:
    """A connection of a client whose certificate is known."""
    plain = socket.create_connection(("127.0.0.1", daemon.port), timeout=30)
    return daemon.client.wrap_socket(plain, server_hostname="localhost")


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_prometheus_scrapes_it_as_documented(daemon: DaemonWithAuth, tmp_path: Path) -> None:
    """The configuration of docs/web.md, in a real Prometheus."""
    text = (ROOT / "docs" / "web.md").read_text(encoding="utf-8").split("```yaml\n")[2].partition("```")[0]
    port = free_port()
    config = yaml.safe_load(text)
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s"}
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"localhost:{daemon.port}"]
    for name in ("ca.pem", "prometheus.pem", "prometheus.key"):
        shutil.copy(daemon.authority.folder / name, tmp_path)
    (tmp_path / "password").write_text(PASSWORD)
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    prometheus = shutil.which("prometheus")
    assert prometheus is not None, "no prometheus: run the end-to-end tests with `make e2e`"
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen(
            [
                *(prometheus, "--config.file=prometheus.yml", "--storage.tsdb.path=data"),
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            cwd=tmp_path,
            stdout=log,
            stderr=log,
        )

    def scraped() -> bool:
        query = quote('sum(inference_gpu_up{job="inference-cost-exporter"}) == 3')
        with contextlib.suppress(OSError):
            return b'"value"' in get(port, f"/api/v1/query?query={query}")[1]
        return False

    try:
        until(scraped, 30, f"three GPUs in Prometheus\n{(tmp_path / 'log').read_text()}")
    finally:
        running.kill()
        running.wait(10)


def test_who_may_not_ask_is_told_nothing(daemon: DaemonWithAuth) -> None:
    """No certificate, an expired one, plain HTTP, a wrong password: no byte of the page."""
    expired = daemon.authority.client(daemon.authority.signs("late", "prometheus", expired=True))
    for client, problem in ((daemon.authority.client(), "required"), (expired, "expired")):
        with pytest.raises(ssl.SSLError, match=f"certificate {problem}"):
            first_bytes(daemon.port, client)
    assert get(daemon.port, "/metrics") == (400, b"This port speaks HTTPS: ask by https.\n")
    assert daemon.request("/metrics", Authorization=basic(USER, "wrong"))[::2] == (
        401,
        b"a user and a password are needed\n",
    )


def test_what_is_asked_amiss_is_refused(daemon: DaemonWithAuth) -> None:
    """With the right password: there is nothing to write, nothing to find, and a bound to each request."""
    reloaded = daemon.scrape().value("inference_config_last_reload_timestamp_seconds")
    statuses = [
        daemon.request(path, method, **headers)[0]
        for method, path, headers in (
            ("POST", "/metrics", {}),
            ("DELETE", "/cost.json", {}),
            ("GET", "/../../../../etc/passwd", {}),
            ("GET", "/%2e%2e/%2e%2e/etc/passwd", {}),
            ("GET", "/-/reload", {}),
            ("POST", "/-/reload", {"Origin": "https://evil.example"}),
            ("POST", "/-/reload", {"Sec_Fetch_Site": "cross-site"}),
            ("GET", "/metrics", {"X": "a" * 2**20}),
            ("GET", "/metrics?" + "a" * 2**20, {}),
        )
    ]

    assert statuses == [405, 405, 404, 404, 405, 403, 403, 431, 414]
    assert daemon.settled().value("inference_config_last_reload_timestamp_seconds") == reloaded


def test_wrong_passwords_by_the_hundred(daemon: DaemonWithAuth) -> None:
    """They are refused or turned away, and the scraper, whose password is remembered, is served meanwhile."""
    daemon.scrape()
    answers: list[int] = []

    def guess(worker: int) -> None:
        wrong = (basic(USER, f"{worker}-{number}") for number in range(6))
        answers.extend(daemon.request("/metrics", Authorization=each)[0] for each in wrong)

    workers = [threading.Thread(target=guess, args=(worker,)) for worker in range(8)]
    for worker in workers:
        worker.start()
    served = 0
    while any(worker.is_alive() for worker in workers):
        assert daemon.request("/metrics")[0] == 200
        served += 1
    for worker in workers:
        worker.join(30)
    assert set(answers) <= {401, 429}
    assert len(answers) == 48
    assert answers.count(401) >= 8
    assert served >= 3


@pytest.mark.alone
def test_a_thousand_connections_that_say_nothing(daemon: DaemonWithAuth, crowd: ExitStack) -> None:
    """128 have a place, which the next scraper gets one of."""
    for _ in range(CROWD):
        crowd.enter_context(socket.create_connection(("127.0.0.1", daemon.port), timeout=30))

    assert daemon.request("/metrics")[0] == 200
    assert psutil.Process(daemon.pid).num_threads() < 150


@pytest.mark.alone
def test_requests_that_never_end(daemon: DaemonWithAuth, crowd: ExitStack) -> None:
    """Two hundred clients with certificates each send a line of a head now and then (slowloris)."""
    slow = [crowd.enter_context(encrypted(daemon)) for _ in range(200)]
    for client in slow:
        with contextlib.suppress(OSError):
            client.sendall(GIVEN.encode())
    for _ in range(3):
        for client in slow[-20:]:
            with contextlib.suppress(OSError):
                client.sendall(b"X-a: b\r\n")
        assert daemon.request("/metrics")[0] == 200


@pytest.mark.alone
@pytest.mark.parametrize("kind", daily(("silent", "slow head"), {"silent"}))
def test_two_thousand_that_do_not_shake_hands(daemon: DaemonWithAuth, kind: str, crowd: ExitStack) -> None:
    """They say nothing, or speak plain HTTP; each opens again when it is cut, and scrapes go on."""
    crowd.enter_context(Crowd(kind, 2 * CROWD, daemon.port))
    taken = []
    for number in range(40):
        began = time.monotonic()
        assert daemon.request(("/-/healthy", "/metrics")[number % 2])[0] == 200
        taken.append(time.monotonic() - began)

    assert sum(each <= 1 for each in taken) >= 36


@pytest.mark.alone
def test_a_flood_of_plain_http(daemon: DaemonWithAuth, crowd: ExitStack) -> None:
    """A thousand clients that have not heard of TLS: each is told, or dropped, at once."""
    answered = 0
    for _ in range(10):
        clients = [
            crowd.enter_context(socket.create_connection(("127.0.0.1", daemon.port), timeout=30))
            for _ in range(100)
        ]
        for client in clients:
            client.sendall(f"{GIVEN}\r\n".encode())
        for client in clients:
            with contextlib.suppress(ConnectionResetError):
                answered += status(client.recv(65536) or b"HTTP/1.1 0 ") in (400, 503)
    assert answered > CROWD / 2


def test_a_new_certificate_and_a_broken_file_while_it_runs(daemon: DaemonWithAuth) -> None:
    """The first is shown to the next connection; the second changes nothing but a metric and the log."""
    with encrypted(daemon) as client:
        before = client.getpeercert()
    daemon.authority.signs("server", "localhost", "127.0.0.1")
    with encrypted(daemon) as client:
        assert client.getpeercert() != before
    good = daemon.web.read_text()
    name = "inference_web_config_last_reload_success"
    daemon.until(lambda page: page.value(name) == 1, "the new certificate in the metric")
    daemon.web.write_text("")
    daemon.until(lambda page: page.value(name) == 0, "the broken file in the metric")
    assert get(daemon.port, "/metrics")[0] == 400
    assert daemon.log.read_text().count("web configuration reload failed; keeping the previous one") == 1
    daemon.web.write_text(good)
    daemon.until(lambda page: page.value(name) == 1, "the good file in the metric")
