"""The web configuration while the daemon runs: changed, broken, taken away; headers, pace and reload."""

import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.config import ConfigError
from tests.kit.units import SECOND
from tests.web.certificates import Authority, first_bytes, request
from tests.web.test_passwords import basic, hashed

Serve = Callable[..., Any]

TLS = "tls_server_config: {cert_file: server.pem, key_file: server.key}\n"
NOT_RELOADED = "web configuration reload failed; keeping the previous one"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path)
    made.signs("server", "localhost", "127.0.0.1")
    return made


@pytest.fixture
def web(tmp_path: Path) -> Path:
    return tmp_path / "web.yml"


@pytest.fixture
def start(serve: Serve, web: Path, make_report: Callable[..., Any]) -> Callable[[str], Any]:
    """Starts a server by the text of its web configuration."""

    def started(text: str) -> Any:
        web.write_text(text)
        return serve(make_report(), web=web)

    return started


def users(**passwords: str) -> str:
    lines = "".join(f"  {name}: {hashed(password)}\n" for name, password in passwords.items())
    return f"basic_auth_users:\n{lines}"


def serial(port: int, context: ssl.SSLContext) -> str:
    """The serial number of the server's certificate."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        return str((client.getpeercert() or {})["serialNumber"])


def test_a_new_certificate_is_shown_to_the_next_connection(
    start: Callable[[str], Any], authority: Authority
) -> None:
    """Written in place, as certbot and cert-manager do before it runs out."""
    site = start(TLS)
    before = serial(site.server.port, authority.client())
    authority.signs("server", "localhost", "127.0.0.1")

    assert serial(site.server.port, authority.client()) != before
    assert site.server._access.succeeded is True


def test_a_mounted_secret_is_exchanged_by_a_link(
    start: Callable[[str], Any], authority: Authority, tmp_path: Path
) -> None:
    """Kubernetes turns one link; the names that the file has stay."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        pair = authority.signs("server", "localhost", "127.0.0.1")
        pair.certificate.rename(tmp_path / name / "tls.crt")
        pair.key.rename(tmp_path / name / "tls.key")
    (tmp_path / "data").symlink_to("one")
    site = start("tls_server_config: {cert_file: data/tls.crt, key_file: data/tls.key}\n")
    before = serial(site.server.port, authority.client())
    (tmp_path / "new").symlink_to("two")
    os.replace(tmp_path / "new", tmp_path / "data")  # noqa: PTH105 - as the kubelet does

    assert serial(site.server.port, authority.client()) != before


def test_half_an_exchange_keeps_the_old_pair(
    start: Callable[[str], Any], authority: Authority, caplog: pytest.LogCaptureFixture, hand_clock: Any
) -> None:
    """A certificate whose key is yet to come is told once, and is in force when the key has come."""
    site = start(TLS)
    port, client = site.server.port, authority.client()
    before = serial(port, client)
    new = authority.signs("new", "localhost", "127.0.0.1")
    (authority.folder / "server.pem").write_bytes(new.certificate.read_bytes())

    assert serial(port, client) == before
    assert site.server._access.succeeded is False
    hand_clock.now += 2 * SECOND
    assert serial(port, client) == before
    assert caplog.text.count(NOT_RELOADED) == 1
    (authority.folder / "server.key").write_bytes(new.key.read_bytes())
    assert serial(port, client) != before
    assert site.server._access.succeeded is True


def test_a_password_that_is_taken_away_opens_nothing_more(start: Callable[[str], Any], web: Path) -> None:
    """At the next request, on connections that are open as well; the new one does."""
    site = start(users(a="old", b="stays"))
    old = f"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: {basic('a', 'old')}\r\n\r\n".encode()
    with site.connect() as client:
        client.sendall(old)
        assert client.recv(12) == b"HTTP/1.1 200"
    with site.connect() as client:
        client.sendall(old.replace(b"GET", b"HEAD"))
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        web.write_text(users(a="new", b="stays"))
        client.sendall(old.replace(b"GET", b"HEAD"))
        assert client.recv(65536).startswith(b"HTTP/1.1 401")
    assert site.request("GET", "/metrics", Authorization=basic("a", "new"))[0] == 200
    assert site.request("GET", "/metrics", Authorization=basic("b", "stays"))[0] == 200


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "{0}: is empty"),
        (
            "tls_server_config: [\n",
            "{0}:1:20: is not YAML: the [ that opens here is not closed; close it",
        ),
        ("basic_auth_usrs: {}\n", "{0}:1:1: basic_auth_usrs: unknown key; did you mean basic_auth_users?"),
        (None, "{0}: cannot be read: No such file or directory"),
        (
            "http_server_config: {http2: false}\n",
            "{0}: tls_server_config and basic_auth_users would go: protec",
        ),
        (TLS, "{0}: basic_auth_users would go: protection is taken away at a restart only"),
    ],
    ids=["empty", "no YAML", "misspelled", "gone", "open", "without users"],
)
def test_a_bad_file_keeps_the_old_one(
    text: str | None,
    problem: str,
    start: Callable[[str], Any],
    web: Path,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """TLS and passwords stay as they are; never plain HTTP, never without a password. The log says why."""
    site = start(TLS + users(a="secret"))
    port, client, right = site.server.port, authority.client(), basic("a", "secret")
    if text is None:
        web.unlink()
    else:
        web.write_text(text)

    assert request(port, client)[0] == 401
    assert request(port, client, Authorization=right)[0] == 200
    assert request(port, None, Authorization=right)[::2] == (400, b"This port speaks HTTPS: ask by https.\n")
    assert site.server._access.succeeded is False
    (record,) = [record for record in caplog.records if record.message == NOT_RELOADED]
    assert record.__dict__["problem"].startswith(problem.format(web))
    web.write_text(TLS + users(a="secret", b="more"))
    assert request(port, client, Authorization=basic("b", "more"))[0] == 200
    assert site.server._access.succeeded is True


@pytest.mark.parametrize("gone", ["client_allowed_sans: [prometheus]", "client_auth_type"])
def test_certificates_of_clients_are_not_taken_away(
    gone: str, start: Callable[[str], Any], web: Path, authority: Authority
) -> None:
    """Neither that one is needed, nor that its name counts."""
    lines = [
        *("cert_file: server.pem", "key_file: server.key", "client_ca_file: ca.pem"),
        *("client_auth_type: RequireAndVerifyClientCert", "client_allowed_sans: [prometheus]"),
    ]
    site = start(f"tls_server_config: {{{', '.join(lines)}}}\n")
    less = {
        "client_allowed_sans: [prometheus]": lines[:4],
        "client_auth_type": [*lines[:3], "client_auth_type: VerifyClientCertIfGiven"],
    }[gone]
    web.write_text(f"tls_server_config: {{{', '.join(less)}}}\n")
    other = authority.client(authority.signs("other", "grafana"))

    with pytest.raises(ssl.SSLError, match="certificate required"):
        first_bytes(site.server.port, authority.client())
    assert first_bytes(site.server.port, other) == b""
    assert site.server._access.succeeded is False
    assert request(site.server.port, authority.client(authority.signs("right", "prometheus")))[0] == 200


def test_a_connection_from_before_tls_is_answered_no_more(
    start: Callable[[str], Any], web: Path, authority: Authority
) -> None:
    """Turned on while the daemon runs, it holds for connections that are open as well."""
    site = start("http_server_config: {http2: false}\n")
    with site.connect() as client:
        client.sendall(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        web.write_text(TLS)
        client.sendall(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 403")
    assert request(site.server.port, authority.client())[0] == 200


def test_a_bad_file_is_no_start(start: Callable[[str], Any], web: Path) -> None:
    """Nothing is served by a file that does not say who may ask; an empty one says nothing."""
    with pytest.raises(ConfigError) as raised:
        start("")
    assert str(raised.value) == f"{web}: is empty"


def test_headers_of_the_file_are_on_every_answer(start: Callable[[str], Any]) -> None:
    """On the page, on refusals, and in the place of ours; a blank one is none."""
    site = start(
        "http_server_config:\n  headers:\n    X-Frame-Options: sameorigin\n"
        "    Strict-Transport-Security: max-age=31536000\n    X-XSS-Protection: ''\n"
        "    Content-Security-Policy: default-src 'none'\n"
    )
    for path in ("/", "/metrics", "/nothing"):
        headers = site.request("GET", path)[1]

        assert headers["x-frame-options"] == "sameorigin"
        assert headers["strict-transport-security"] == "max-age=31536000"
        assert headers["content-security-policy"] == "default-src 'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert "x-xss-protection" not in headers


def test_http2_is_said_not_to_be_served(
    start: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A file that asks for it works; the log says what clients get."""
    site = start("http_server_config: {http2: true}\n")

    assert site.request("GET", "/metrics")[0] == 200
    assert "http_server_config.http2: HTTP/2 is not served; clients get HTTP/1.1" in caplog.text


def test_requests_are_paced(start: Callable[[str], Any], hand_clock: Any) -> None:
    """Three at once and one each two seconds after it; probes are always answered."""
    site = start("rate_limit: {interval: 2s, burst: 3}\n")

    def statuses(times: int) -> list[int]:
        return [site.request("GET", "/metrics")[0] for _ in range(times)]

    assert statuses(4) == [200, 200, 200, 429]
    assert site.request("GET", "/-/healthy")[0] == 200
    assert site.request("GET", "/metrics")[1]["retry-after"] == "1"
    hand_clock.now += 2 * SECOND - 1
    assert statuses(1) == [429]
    hand_clock.now += 1
    assert statuses(2) == [200, 429]
    hand_clock.now += 3600 * SECOND
    assert statuses(4) == [200, 200, 200, 429]


def test_an_interval_of_zero_is_no_limit(start: Callable[[str], Any]) -> None:
    """As the format has it."""
    site = start("rate_limit: {interval: 0s, burst: 1}\n")

    assert [site.request("GET", "/metrics")[0] for _ in range(3)] == [200, 200, 200]


def test_a_form_on_the_plain_port_cannot_reload_by_https(
    start: Callable[[str], Any], authority: Authority
) -> None:
    """Whoever can answer for this host by plain HTTP is another site."""
    site = start(TLS)
    port, client = site.server.port, authority.client()

    assert request(port, client, "/-/reload", "POST", Origin=f"http://127.0.0.1:{port}")[0] == 403
    assert site.reloads == 0
    assert request(port, client, "/-/reload", "POST", Origin=f"https://127.0.0.1:{port}")[0] == 200
    assert site.reloads == 1


@pytest.mark.parametrize(("succeeded", "printed"), [(True, [" 1.0"]), (False, [" 0.0"]), (None, [])])
def test_the_metric_of_a_reload(
    succeeded: bool | None,  # noqa: FBT001
    printed: list[str],
    make_report: Callable[..., Any],
    lines: Callable[..., list[str]],
) -> None:
    """1, 0, and no series where no web configuration was named."""
    report = make_report()
    shown = replace(report, config=replace(report.config, web_last_reload_success=succeeded))
    name = "inference_web_config_last_reload_success"

    assert lines(shown, name) == [name + value for value in printed]
