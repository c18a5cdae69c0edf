"""A host without configuration and with ten engines: each is read, or the reason is in Prometheus.

Stand-ins with the command lines, the sockets and the pages of the engines.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.e2e.daemon import ROOT, Daemon, Page, free_port, get
from tests.e2e.gpu_processes import GpuProgram, compute
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s

CAPTURES = ROOT / "tests/engines/captures"
ENGINES = (
    "vllm",
    "sglang",
    "tgi",
    "trtllm",
    "llamacpp",
    "ollama",
    "lmdeploy",
    "aphrodite",
    "triton",
    "tei",
)
PAGES = {
    "tgi": "tgi-3.3.7",
    "trtllm": "trtllm-serve-prometheus-2026",
    "llamacpp": "real-llamacpp-busy",
    "lmdeploy": "lmdeploy-0.16.0",
    "tei": "tei-1.9.3",
}
UNREAD = {
    "sglang": "metrics_off",
    "llamacpp": "not_found",
    "ollama": "no_tokens",
    "lmdeploy": "unauthorized",
    "aphrodite": "certificate",
    "triton": "not_listening",
}

SERVER = '''\
"""Serves PAGE at PATH on LISTEN, to whom sends TOKEN; by TLS with CERTIFICATE. Without LISTEN it waits."""
import http.server, os, ssl, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status = 200 if self.path == os.environ["PATH_OF_PAGE"] else 404
        token = os.environ.get("TOKEN")
        if token and self.headers.get("Authorization") != f"Bearer {token}":
            status = 401
        self.send_response(status)
        self.end_headers()
        if status == 200:
            self.wfile.write(open(os.environ["PAGE"], "rb").read())
    def log_message(self, *words):
        pass

class Server(http.server.HTTPServer):
    def handle_error(self, request, client_address):
        pass

if os.environ.get("LISTEN"):
    server = Server(("127.0.0.1", int(os.environ["LISTEN"])), Handler)
    if os.environ.get("CERTIFICATE"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.environ["CERTIFICATE"])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
sys.stdin.read()
'''

pytestmark = pytest.mark.timeout(120)


@dataclass
class Host:
    """The ports of the engines, a page once each has a row, and one after two remedies were done."""

    ports: dict[str, int]
    page: Page
    html: str
    remedied: Page


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("engines")
    ports = {engine: free_port() for engine in ENGINES}
    certificate = folder / "certificate.pem"
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    token = folder / "token"
    token.write_text("secret", encoding="ascii")
    gpus = FakeNvml(folder, Scenario(h100s(len(ENGINES), utilization=40, power_mw=400_000)))
    daemon = Daemon(folder, "interval: 1s\n", gpus.environment())
    with ExitStack() as stack:
        programs = [
            stack.enter_context(begun(folder, engine, port, certificate)) for engine, port in ports.items()
        ]
        compute(gpus, *(program.pid for program in programs))
        stack.enter_context(daemon)
        page = daemon.until(lambda page: len(named(page)) == len(ENGINES) and settled(page), "every engine")
        html = get(daemon.port, "/")[1].decode()
        path = f"{{match: {{port: {ports['llamacpp']}}}, metrics: {{path: /llm/metrics}}}}"
        match = f"{{user: '{os.getuid()}', port: {ports['lmdeploy']}}}"
        entry = f"{{match: {match}, metrics: {{bearer_token_file: {token}}}}}"
        assert daemon.reload(f"interval: 1s\nservers: [{path}, {entry}]\n") == 200
        yield Host(ports, page, html, daemon.settled())


def begun(folder: Path, engine: str, port: int, certificate: Path) -> GpuProgram:
    """An engine, as its documentation starts it."""
    own = folder / engine
    own.mkdir()
    p = f"{port}"
    words: dict[str, tuple[str, ...]] = {
        "vllm": ("vllm", "serve", "m", "--port", p),
        "sglang": ("-m", "sglang.launch_server", "--model-path", "m", "--port", p),
        "tgi": ("text-generation-launcher", "--model-id", "m", "--port", p),
        "trtllm": ("trtllm-serve", "serve", "m", "--port", p),
        "llamacpp": ("llama-server", "-m", "m.gguf", "--metrics", "--api-prefix", "/llm", "--port", p),
        "ollama": ("ollama", "serve"),
        "lmdeploy": ("lmdeploy", "serve", "api_server", "m", "--server-port", p, "--api-keys", "x"),
        "aphrodite": ("aphrodite", "run", "m", "--port", p, "--ssl-certfile", "c", "--ssl-keyfile", "k"),
        "triton": ("tritonserver", "--model-repository", "/m", "--http-port", p, "--metrics-port", "1"),
        "tei": ("text-embeddings-router", "--model-id", "m", "--port", p),
    }
    first, *rest = words[engine]
    if first == "-m":
        (own / "sglang").mkdir()
        (own / "sglang/launch_server.py").write_text(SERVER, encoding="utf-8")
        command = [first, *rest]
    else:
        (own / first).write_text(SERVER, encoding="utf-8")
        command = [str(own / first), *rest]
    paths = {"trtllm": "/prometheus/metrics", "llamacpp": "/llm/metrics", "sglang": "/nowhere"}
    environment = {
        "PYTHONPATH": str(own),
        "LISTEN": "" if engine == "ollama" else p,
        "PATH_OF_PAGE": paths.get(engine, "/metrics"),
        "PAGE": str(CAPTURES / f"{PAGES.get(engine, 'vllm-0.33.0-single')}.prom"),
        "TOKEN": "secret" if engine == "lmdeploy" else "",
        "CERTIFICATE": str(certificate) if engine == "aphrodite" else "",
    }
    return GpuProgram([sys.executable, *command], {"PATH": os.environ["PATH"], **environment})


def named(page: Page) -> dict[str, float]:
    """Whether each server is read, by its engine."""
    engines = {labels["server"].partition(":")[0]: value for labels, value in page.rows.get(UP, ())}
    return {engine: value for engine, value in engines.items() if engine in ENGINES}


def reasons(page: Page) -> dict[str, str]:
    """Why servers are not read, by their engine."""
    rows = page.rows.get("inference_server_unread_info", ())
    return {labels["server"].partition(":")[0]: labels["reason"] for labels, _ in rows}


def settled(page: Page) -> bool:
    """Whether every one listens that is going to."""
    return not {"connection", "not_listening"} & {
        reason for engine, reason in reasons(page).items() if engine != "triton"
    }


UP = "inference_server_up"


def test_every_engine_is_read_or_has_its_reason(host: Host) -> None:
    """Not one is left out, whatever keeps it from being read."""
    assert named(host.page) == {engine: float(engine not in UNREAD) for engine in ENGINES}
    assert reasons(host.page) == UNREAD


def test_the_page_says_what_to_do_about_each(host: Host) -> None:
    """In the words of the table."""
    assert "<li>Server triton:" in host.html
    for words in ("nothing of its own listens where its metrics should be", "Behind a prefix write the path"):
        assert words in host.html


def test_doing_it_makes_the_reason_go_away(host: Host) -> None:
    """A path, and a token for the user that the server runs as."""
    left = {engine: reason for engine, reason in UNREAD.items() if engine not in ("llamacpp", "lmdeploy")}
    assert reasons(host.remedied) == left
    assert {named(host.remedied)[engine] for engine in ("llamacpp", "lmdeploy")} == {1.0}
