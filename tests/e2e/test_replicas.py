"""A real nginx before real llama.cpp servers: several behind one URL, and one behind two."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.e2e.daemon import ROOT, Daemon, free_port, get, until
from tests.e2e.llama import Llama
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s

KINDS = ("prompt", "cached_prompt", "generation")
SERVED_NOTHING_SECONDS = 12
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def host(tmp_path: Path) -> FakeNvml:
    return FakeNvml(tmp_path, Scenario(h100s(2, utilization=60, power_mw=500_000)))


@contextmanager
def nginx(folder: Path, servers: Sequence[Llama], extra: str = "") -> Iterator[str]:
    """A load balancer that chooses at random; the URL of the metrics behind it.

    Raises:
        FileNotFoundError: nginx is not there; the message says how to get it.
    """
    program = shutil.which("nginx")
    if program is None:
        raise FileNotFoundError("no nginx: run the end-to-end tests with `make e2e`")
    port = free_port()
    upstream = " ".join(f"server 127.0.0.1:{server.port};" for server in servers)
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;\n"
        "events {}\n"
        f"http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n"
        f"  fastcgi_temp_path {folder}/fast; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n"
        f"  upstream u {{ random; {upstream} }}\n"
        f"  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://u; {extra} }} }} }}\n",
        encoding="ascii",
    )
    with (folder / "nginx.log").open("ab") as log:
        process = subprocess.Popen([program, "-c", str(configuration)], stdout=log, stderr=log)
    try:
        until(lambda: _answers(port), 30, f"nginx, see {folder}/nginx.log")
        yield f"http://127.0.0.1:{port}/metrics"
    finally:
        process.kill()
        process.wait(10)


def _answers(port: int) -> bool:
    try:
        return get(port, "/metrics")[0] == 200
    except OSError:
        return False


def doctor(daemon: Daemon) -> str:
    """What doctor says beside the daemon: on the same GPUs, by the same ledger."""
    arguments = ("doctor", f"--config.file={daemon.config}", f"--ledger.path={daemon.ledger}")
    done = subprocess.run(
        [sys.executable, "-m", "exporter", *arguments],
        cwd=ROOT,
        env=daemon.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return " ".join(done.stdout.split())


def entry(name: str, url: str, gpu: int) -> str:
    """A server of the configuration."""
    return f'{{name: {name}, url: "{url}", engine: llamacpp, gpus: [{gpu}]}}'


def configuration(*entries: str) -> str:
    return f"interval: 1s\nservers: [{', '.join(entries)}]\n"


@pytest.mark.parametrize("header", ["passed", "hidden"])
def test_two_servers_behind_one_url_count_nothing_and_are_named(
    tmp_path: Path, host: FakeNvml, header: str
) -> None:
    """Nothing is served for twelve seconds. Without the header their few tokens apart may count once.

    Attempt: a load balancer answers at one URL with the pages of two servers

    Result: nothing is counted for a day, and the reason `several_processes`

    Left: without a start on their pages, the tokens by which one is ahead, at most 100,000, once
    """
    hidden = "proxy_hide_header Process-Start-Time-Unix;" if header == "hidden" else ""
    with ExitStack() as stack:
        servers = [stack.enter_context(Llama(tmp_path / f"llama-{number}.log")) for number in range(2)]
        for server, tokens in zip(servers, (40, 90), strict=True):
            server.complete("hello world", tokens)
        counts = [server.at_rest() for server in servers]
        url = stack.enter_context(nginx(tmp_path, servers, hidden))
        daemon = stack.enter_context(
            Daemon(tmp_path, configuration(entry("chat", url, 0)), host.environment())
        )
        began = daemon.scrape().tick
        daemon.until(
            lambda page: page.matching("inference_server_unread_info", reason="several_processes") == [1],
            "that several processes answer",
            60,
        )
        page = daemon.until(lambda page: page.tick > began + SERVED_NOTHING_SECONDS, "twelve seconds", 60)
        findings = doctor(daemon)
        assert [server.at_rest() for server in servers] == counts
    apart = {kind: abs(counts[1][kind] - counts[0][kind]) for kind in KINDS}
    counted = page.tokens("chat")
    if header == "passed":
        assert sum(counted.values()) == 0
    assert all(counted.get(kind, 0) <= apart[kind] for kind in KINDS)
    assert page.value("inference_server_up", server="chat") == 0
    assert page.sum("inference_source_errors_total", source="server:chat", reason="several_processes") >= 1
    assert "several processes answer at its address" in findings


def test_one_server_behind_two_urls_is_counted_once(tmp_path: Path, host: FakeNvml) -> None:
    """Its own address on one GPU, and nginx's with another: what it served, as one of them.

    Attempt: a proxy passes the page of a server on at another port

    Result: its tokens count once, and `doctor` reports the second address

    Left: under which of the two names they count
    """
    with ExitStack() as stack:
        server = stack.enter_context(Llama(tmp_path / "llama.log"))
        server.complete("hello world", 20)
        first = server.at_rest()
        url = stack.enter_context(nginx(tmp_path, [server]))
        entries = entry("engine", server.url, 0), entry("sidecar", url, 1)
        daemon = stack.enter_context(Daemon(tmp_path, configuration(*entries), host.environment()))
        for tokens in (30, 50):
            server.complete("the quick brown fox", tokens)
            daemon.settled()
        last = server.at_rest()
        page = daemon.settled()
        findings = doctor(daemon)
    served = {kind: last[kind] - first[kind] for kind in KINDS}
    counted = {kind: sum(page.tokens(name).get(kind, 0) for name in ("engine", "sidecar")) for kind in KINDS}
    assert counted == served
    assert page.matching("inference_server_unread_info", server="sidecar", reason="counted_twice") == [1]
    assert "by another address" in findings
