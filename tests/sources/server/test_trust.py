"""Bearer tokens and certificate authorities, from files that change."""

import os
import re
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from exporter.clock import SystemClock
from exporter.readings import ReadFailedError, ServerKey, endpoint_id
from exporter.sources.http_client import HEADERS, Deadline, HttpRequest
from exporter.sources.https_client import CA_BYTES_MAX, HttpsClient
from exporter.sources.server import ServerSource, Target, shared_client
from exporter.sources.server.endpoint import TOKEN_BYTES_MAX, EndpointAccess

Make = Callable[..., ServerSource]

IDENTITY = Path(__file__).parent / "identity"
CERTIFICATE = IDENTITY / "certificate.pem"


def write(path: Path, content: bytes, version: int) -> None:
    """Write a file with a modification time of its own."""
    path.write_bytes(content)
    os.utime(path, ns=(version, version))


def test_the_token_is_read_again_when_its_file_changes(
    make: Make, site: Any, vllm_page: bytes, tmp_path: Path
) -> None:
    """Something renews it; a newline at its end is not part of it."""
    token = tmp_path / "token"
    site.set_page("/metrics", vllm_page)
    source = make(engine="vllm", access=EndpointAccess(token))
    for version, content in enumerate((b"first\n", b"second")):
        write(token, content, version)
        source.read()
        source.read()
    sent = [request.headers["authorization"] for request in site.requests if request.url.path == "/metrics"]
    assert sent == ["Bearer first", "Bearer first", "Bearer second", "Bearer second"]


def test_a_query_is_sent_and_never_named(make: Make, site: Any, vllm_page: bytes) -> None:
    """It may be a key: the page is asked for with it, and readings and errors have its name alone."""
    url = "http://127.0.0.1:8000/metrics?api_key=5ecret"
    site.set_page("/metrics?api_key=5ecret", vllm_page)
    source = make(url, engine="vllm")
    reading = source.read()
    site.answers.clear()
    with pytest.raises(ReadFailedError) as failure:
        source.read()

    assert (reading.up, reading.url) == (True, endpoint_id(url))
    assert str(failure.value).startswith("http://127.0.0.1:8000/metrics?api_key=***: ")
    assert "5ecret" not in f"{reading}{source.url}{failure.value}"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(None, "No such file", id="missing"),
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b" \n", "empty", id="blank"),
        pytest.param(b"secret\nX-Header: forged", "printable", id="two-lines"),
        pytest.param(b"secret\xff", "printable", id="not-ascii"),
        pytest.param(b"secret" * TOKEN_BYTES_MAX, "larger", id="huge"),
    ],
)
def test_a_token_that_cannot_be_sent_is_told_by_its_path(
    make: Make, site: Any, tmp_path: Path, content: bytes | None, words: str
) -> None:
    """Never by what it holds; and nothing is asked without it."""
    token = tmp_path / "token"
    if content is not None:
        token.write_bytes(content)
    with pytest.raises(ReadFailedError, match=words) as failure:
        make(access=EndpointAccess(token)).read()
    assert failure.value.reason == "token_file"
    assert str(token) in str(failure.value)
    assert "secret" not in str(failure.value)
    assert site.requests == []


def test_a_token_file_that_comes_back_is_read(
    make: Make, site: Any, vllm_page: bytes, tmp_path: Path
) -> None:
    """Even with the same time stamp."""
    token = tmp_path / "token"
    site.set_page("/metrics", vllm_page)
    source = make(engine="vllm", access=EndpointAccess(token))
    with pytest.raises(ReadFailedError):
        source.read()
    write(token, b"first", 1)
    assert source.read().up


@pytest.fixture
def secure(serve: Any, vllm_page: bytes) -> int:
    """The port of a server that speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, IDENTITY / "key.pem")

    def script(connection: Any, _stop: Any) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            wrapped.recv(65536)
            wrapped.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(vllm_page) + vllm_page)

    return int(serve(script, waits=False))


def secure_source(port: int, ca_file: Path | None, server_name: str = "") -> ServerSource:
    return ServerSource(
        Target(
            ServerKey("", "chat"),
            f"https://127.0.0.1:{port}/metrics",
            "vllm",
            EndpointAccess(None, ca_file, server_name),
        ),
        shared_client(),
        SystemClock(),
    )


def test_a_server_is_trusted_by_its_ca_file(secure: int) -> None:
    """Twice, by one client of its own."""
    source = secure_source(secure, CERTIFICATE)
    assert [source.read().up, source.read().up] == [True, True]
    source.close()
    source.close()


def test_a_server_that_no_authority_vouches_for_is_not_read(secure: int) -> None:
    """Public authorities are what is trusted without a file."""
    source = secure_source(secure, None)
    with pytest.raises(ReadFailedError) as failure:
        source.read()
    source.close()
    assert failure.value.reason == "certificate"


@pytest.mark.parametrize("name", ["chat.example.com", "10.9.8.7"])
def test_a_certificate_is_verified_for_the_name_that_is_told(
    name: str, serve: Any, vllm_page: bytes, tmp_path: Path
) -> None:
    """The address that is asked stays; the server is told the name, in TLS where it may stand and in Host."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    names: list[str | None] = []
    context.sni_callback = lambda _socket, sni, _context: names.append(sni)
    requests: list[bytes] = []

    def script(connection: Any, _stop: Any) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            requests.append(wrapped.recv(65536))
            wrapped.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(vllm_page) + vllm_page)

    port = serve(script, waits=False)
    by_address = secure_source(port, tmp_path / "ca.pem")
    with pytest.raises(ReadFailedError) as failure:
        by_address.read()
    by_address.close()
    by_name = secure_source(port, tmp_path / "ca.pem", name)
    assert by_name.read().up
    by_name.close()

    assert failure.value.reason == "certificate_name"
    assert names[-1] == (name if name[-1].isalpha() else None)
    assert f"host: {name}:{port}\r\n".encode() in requests[-1].lower()


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (b"", "Server disconnected without sending a response; if it speaks TLS, try https://"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "no HTTP: Expected HTTP/.*; if it speaks TLS, try https://"),
        (
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
            r"answers http:// \(is it https://\?\) with HTTP status 400",
        ),
    ],
    ids=["hangs up", "alert", "status"],
)
def test_who_speaks_tls_and_is_asked_without(serve: Any, reply: bytes, problem: str) -> None:
    """What such servers do: hang up, send an alert of TLS, or refuse."""

    def script(connection: Any, _stop: Any) -> None:
        with connection:
            connection.recv(65536)
            connection.sendall(reply)

    url = f"http://127.0.0.1:{serve(script, waits=False)}/metrics"
    source = ServerSource(Target(ServerKey("", "chat"), url, "vllm"), shared_client(), SystemClock())
    with pytest.raises(ReadFailedError) as failure:
        source.read()
    source.close()
    assert re.fullmatch(f"{url}: {problem}", str(failure.value))


def test_who_speaks_no_tls_and_is_asked_by_it(serve: Any) -> None:
    """The scheme to try, not what OpenSSL calls it."""

    def script(connection: Any, _stop: Any) -> None:
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    source = secure_source(port := serve(script, waits=False), CERTIFICATE)
    with pytest.raises(ReadFailedError) as failure:
        source.read()
    source.close()
    assert failure.value.reason == "tls"
    assert str(failure.value) == f"https://127.0.0.1:{port}/metrics: it does not speak TLS: try http://"


def test_a_ca_file_is_read_again_when_it_changes(secure: int, tmp_path: Path) -> None:
    """Authorities are renewed as tokens are; a file that is missing, no text, or huge is told by its path."""
    ca_file = tmp_path / "ca.pem"
    source = secure_source(secure, ca_file)
    for version, content in enumerate((None, b"", b"\xff", b"x" * (CA_BYTES_MAX + 1), b"no certificate")):
        if content is not None:
            write(ca_file, content, version)
        with pytest.raises(ReadFailedError, match=r"ca\.pem") as failure:
            source.read()
        assert failure.value.reason == "tls"
    write(ca_file, CERTIFICATE.read_bytes(), 100)
    assert source.read().up
    source.close()


def test_the_shared_client_trusts_nobody(secure: int) -> None:
    """It knows no TLS, so that no https endpoint can be read with it by mistake, nor in the open."""
    request = HttpRequest(f"https://127.0.0.1:{secure}/metrics", HEADERS, "chat")
    with pytest.raises(ReadFailedError, match=r"^chat: is not asked without TLS$") as failure:
        shared_client().request(request, Deadline(SystemClock(), 3.0), 4096)
    assert failure.value.reason == "tls"


def test_what_tls_takes_is_not_loaded_before_it_is_needed() -> None:
    """Most hosts ask nobody by https, and their daemon has 3 MiB for something else."""
    script = (
        "import sys, exporter.cli.serve; from exporter.sources import http_client as client\n"
        "client.shared_client(); print('httpx' in sys.modules, 'httpcore' in sys.modules)\n"
        "client.unverified_client(); print('httpx' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "False False\nTrue\n"


class Unclosable(httpx.SyncByteStream, httpx.BaseTransport):
    """A connection whose socket the system refuses to close."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"page"

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=self, request=request)

    def close(self) -> None:
        raise OSError(5, "Input/output error")


def test_a_connection_that_cannot_be_closed_fails_one_read_and_keeps_nothing_open() -> None:
    """As any other that breaks; the client is closed all the same."""
    unclosable = httpx.Client(transport=Unclosable())
    client = HttpsClient(unclosable)
    with pytest.raises(ReadFailedError, match=r"chat: .*Input/output error") as failure:
        client.request(
            HttpRequest("https://127.0.0.1/metrics", HEADERS, "chat"), Deadline(SystemClock(), 9), 99
        )
    assert failure.value.reason == "connection"

    client.close()
    assert unclosable.is_closed
