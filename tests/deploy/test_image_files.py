"""What the image is made from: its Dockerfile, what may get into it, and its check of health."""

import http.server
import os
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.cli.flags import DEFAULT_ADDRESS
from exporter.config.settings import DEFAULT_LEDGER

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "docker" / "Dockerfile").read_text(encoding="utf-8")
CHECK = ROOT / "deploy" / "docker" / "healthcheck.py"
CERTIFICATES = ROOT / "tests" / "sources" / "kubernetes" / "identity"

Serve = Callable[[int], int]


@pytest.fixture
def serve() -> Iterator[Callable[..., int]]:
    """Answer every request with a status, and a second time never; returns the port."""
    servers: list[http.server.HTTPServer] = []

    def start(status: int, context: ssl.SSLContext | None = None) -> int:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status if self.path == "/-/healthy" else 404)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
                """Say nothing."""

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return int(server.server_address[1])

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def health(url: str) -> tuple[int, str]:
    """Exit status and message of the check, run as the image runs it."""
    done = subprocess.run(
        [sys.executable, "-IS", str(CHECK)],
        env={**os.environ, "HEALTH_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr.strip()


@pytest.mark.parametrize("status", [200, 401])
def test_who_answers_is_healthy(serve: Serve, status: int) -> None:
    """Whoever asks for a password lives as well."""
    assert health(f"http://127.0.0.1:{serve(status)}/-/healthy") == (0, "")


def test_by_https_it_asks_for_an_answer_and_for_no_name(serve: Callable[..., int]) -> None:
    """Over loopback the certificate of a host or a service is as good as any."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "misnamed.pem", CERTIFICATES / "key.pem")
    assert health(f"https://127.0.0.1:{serve(200, context)}/-/healthy") == (0, "")


def test_who_answers_otherwise_is_not(serve: Serve) -> None:
    """The message is what was answered."""
    url = f"http://127.0.0.1:{serve(500)}/-/healthy"
    assert health(url) == (1, f"{url}: HTTP/1.0 500 Internal Server Error")


def test_who_is_not_there_is_not() -> None:
    """The message says why."""
    assert health("http://127.0.0.1:1/-/healthy") == (
        1,
        "http://127.0.0.1:1/-/healthy: [Errno 111] Connection refused",
    )


def test_the_image_asks_where_the_daemon_listens() -> None:
    """The default port and path, and the port that the image names."""
    port = DEFAULT_ADDRESS.rpartition(":")[2]
    assert f"HEALTH_URL=http://127.0.0.1:{port}/-/healthy" in DOCKERFILE
    assert f"\nEXPOSE {port}\n" in DOCKERFILE


def test_a_build_without_a_version_says_that_it_has_none() -> None:
    """In the label as in the program; no version is guessed."""
    assert DOCKERFILE.count("\nARG VERSION=0+unknown\nARG REVISION\n") == 2
    assert (
        'echo "${VERSION} ${REVISION}" >/image/opt/inference-cost-exporter/lib/exporter/version.txt'
        in DOCKERFILE
    )


def test_the_ledger_lies_where_the_image_has_a_folder() -> None:
    """A volume that is made there belongs to the image's user."""
    assert f"--chown=65532:65532 /image/ledger {DEFAULT_LEDGER.parent}\n" in DOCKERFILE
    assert "\nUSER 65532:65532\n" in DOCKERFILE


def test_nothing_is_compiled_or_unpinned() -> None:
    """Every package comes as a wheel of the lock; nothing is fetched by other means."""
    (install,) = re.findall(r"pip install (.*?)\n(?=[A-Z#])", DOCKERFILE, re.DOTALL)
    assert {"--only-binary=:all:", "--require-hashes", "--no-deps"} <= set(install.split())
    assert re.findall(r"\b(?:apt|apt-get|apk|curl|wget|ADD)\b", re.sub(r"#.*", "", DOCKERFILE)) == []


def test_its_command_is_on_the_path_under_its_own_name() -> None:
    """By the name that the page, the docs and what is pasted use; it runs as `python -m exporter` does."""
    assert '\nARG PYTHON="/usr/bin/env python3"\n' in DOCKERFILE
    assert ">/image/bin/inference-cost-exporter" in DOCKERFILE
    assert "\nCOPY --from=build /image/bin/ /usr/local/bin/\n" in DOCKERFILE


def test_only_what_is_named_gets_in() -> None:
    """All is ignored but what the Dockerfile copies."""
    first, *rest = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")
    ]
    copied = {
        source
        for words in re.findall(r"^COPY (?!--)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in words.split()[:-1]
    }
    assert first == "*"
    assert {line[1:] for line in rest if line.startswith("!")} == copied
    assert [line for line in rest if not line.startswith("!")] == ["**/__pycache__"]
    assert all((ROOT / source).exists() for source in copied)
