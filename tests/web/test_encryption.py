"""TLS over real sockets: each way of asking for a client's certificate, and clients that do not fit."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exporter.clock import SystemClock
from exporter.config import ConfigError
from exporter.web import tls
from exporter.web.limits import WebLimits
from tests.kit.units import MILLISECOND
from tests.web.certificates import Authority, Pair, request

Serve = Callable[..., Any]

QUICK = WebLimits(request=200 * MILLISECOND, idle=200 * MILLISECOND, admission=5000 * MILLISECOND)
REQUIRED = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"
OPTIONAL = "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.pem\n"
SUITES = "[TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]"
GET = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("authority"))
    made.signs("server", "localhost", "127.0.0.1")
    return made


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A certificate that nobody knows has signed."""
    return Authority(tmp_path_factory.mktemp("stranger")).signs("stranger", "prometheus")


@pytest.fixture(scope="module")
def prometheus(authority: Authority) -> Pair:
    return authority.signs("prometheus", "prometheus.example", "10.1.2.3", "scraper@example.com")


@pytest.fixture
def encrypted(serve: Serve, authority: Authority, make_report: Callable[..., Any]) -> Serve:
    """Starts a server whose web configuration has more lines in tls_server_config."""

    def start(more: str = "", **changes: Any) -> Any:
        web = authority.folder / "web.yml"
        web.write_text(f"tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n{more}")
        return serve(make_report(), web=web, **changes)

    return start


def flood(client: ssl.SSLSocket) -> None:
    """Ask for the page again and again, and read none of it."""
    while True:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)


def refused(port: int, context: ssl.SSLContext) -> bool:
    """Whether the server answers nothing: in TLS 1.3 a client learns of it when it reads."""
    try:
        request(port, context)
    except OSError:
        return True
    return False


def test_metrics_by_https(encrypted: Serve, authority: Authority) -> None:
    """A scraper that trusts the authority gets the page, and the server's own link says https."""
    site = encrypted()

    status, _, body = request(site.server.port, authority.client())
    assert (status, b"inference_cost_dollars_total" in body) == (200, True)
    assert site.server.url == f"https://127.0.0.1:{site.server.port}/"


def test_a_connection_is_kept_and_ends_with_a_word(encrypted: Serve, authority: Authority) -> None:
    """Two requests on one connection, and close_notify at its end: nothing was cut off."""
    site = encrypted()
    with (
        socket.create_connection(("127.0.0.1", site.server.port), timeout=10) as plain,
        authority.client().wrap_socket(
            plain, server_hostname="localhost", suppress_ragged_eofs=False
        ) as client,
    ):
        assert client.selected_alpn_protocol() is None
        client.sendall(GET + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert answer.count(b"healthy\n") == 2


@pytest.mark.parametrize(
    ("more", "bare", "signed", "unknown", "expired"),
    [
        ("", True, True, True, True),
        ("  client_auth_type: NoClientCert\n", True, True, True, True),
        ("  client_auth_type: RequestClientCert\n", True, True, True, True),
        (OPTIONAL, True, True, False, False),
        (REQUIRED, False, True, False, False),
    ],
    ids=["default", "no", "request", "if given", "required"],
)
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_who_is_let_in_by_a_certificate(
    more: str,
    bare: bool,  # noqa: FBT001
    signed: bool,  # noqa: FBT001
    unknown: bool,  # noqa: FBT001
    expired: bool,  # noqa: FBT001
    newest: ssl.TLSVersion,
    encrypted: Serve,
    authority: Authority,
    prometheus: Pair,
    stranger: Pair,
) -> None:
    """Without one, with a good one, one of an unknown authority, an expired one; the next one is answered."""
    port = encrypted(more).server.port
    late = authority.signs("late", "prometheus.example", expired=True)
    shown = [None, prometheus, stranger, late]

    let_in = [not refused(port, authority.client(pair, newest=newest)) for pair in shown]
    assert let_in == [bare, signed, unknown, expired]
    assert request(port, authority.client(prometheus))[0] == 200


@pytest.mark.parametrize("name", ["prometheus.example", "10.1.2.3", "scraper@example.com"])
def test_a_certificate_needs_one_of_the_names(
    name: str, encrypted: Serve, authority: Authority, prometheus: Pair
) -> None:
    """Any alternative name counts, whatever kind it is of; one signed for others is not let in."""
    port = encrypted(f"{REQUIRED}  client_allowed_sans: [elsewhere, {name}]\n").server.port
    other = authority.signs("other", "grafana.example")

    assert request(port, authority.client(prometheus))[0] == 200
    assert refused(port, authority.client(other))


def test_an_expired_certificate_of_the_server_is_the_clients_to_refuse(
    encrypted: Serve, authority: Authority
) -> None:
    """The server serves what it is given; whoever verifies it goes away, and who does not is answered."""
    authority.signs("expired", "127.0.0.1", expired=True)
    web = authority.folder / "web.yml"
    site = encrypted()
    web.write_text("tls_server_config: {cert_file: expired.pem, key_file: expired.key}\n")

    with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
        request(site.server.port, authority.client())
    careless = ssl.create_default_context()
    careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
    assert request(site.server.port, careless)[0] == 200


@pytest.mark.parametrize(
    ("more", "newest", "spoken"),
    [
        ("", ssl.TLSVersion.TLSv1_3, ("TLSv1.3", None)),
        ("  max_version: TLS12\n", ssl.TLSVersion.TLSv1_3, ("TLSv1.2", None)),
        ("  min_version: TLS13\n", ssl.TLSVersion.TLSv1_2, None),
        (
            f"  cipher_suites: {SUITES}\n",
            ssl.TLSVersion.TLSv1_2,
            ("TLSv1.2", "AES128-GCM-SHA256"),
        ),
        ("  cipher_suites: [TLS_AES_128_GCM_SHA256]\n", ssl.TLSVersion.TLSv1_2, None),
        ("  cipher_suites: [TLS_AES_128_GCM_SHA256]\n", ssl.TLSVersion.TLSv1_3, ("TLSv1.3", None)),
        ("  prefer_server_cipher_suites: false\n", ssl.TLSVersion.TLSv1_3, ("TLSv1.3", None)),
        ("  curve_preferences: [CurveP384]\n", ssl.TLSVersion.TLSv1_3, ("TLSv1.3", None)),
    ],
    ids=["default", "max", "min", "suite", "suites of 1.3", "1.3 all the same", "order", "curve"],
)
def test_versions_suites_and_curves(
    more: str,
    newest: ssl.TLSVersion,
    spoken: tuple[str, str | None] | None,
    encrypted: Serve,
    authority: Authority,
) -> None:
    """What the file allows is spoken, and what it does not is not."""
    port = encrypted(more).server.port
    context = authority.client(newest=newest)
    if spoken is None:
        assert refused(port, context)
        return
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        version, suite = spoken
        assert client.version() == version
        if suite:
            assert str(client.cipher()).count(suite) == 1


def test_a_curve_that_is_not_preferred_is_not_agreed_on(encrypted: Serve, authority: Authority) -> None:
    """A client that knows another curve only has none in common."""
    port = encrypted("  curve_preferences: [CurveP384]\n").server.port
    other = authority.client()
    other.set_ecdh_curve("prime256v1")

    assert refused(port, other)
    other.set_ecdh_curve("secp384r1")
    assert request(port, other)[0] == 200


def test_no_tickets_are_handed_out(encrypted: Serve, authority: Authority, prometheus: Pair) -> None:
    """By TLS 1.3 each connection shows its certificate anew."""
    port = encrypted(REQUIRED).server.port
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        authority.client(prometheus).wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.sendall(GET)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert client.session is None or not client.session.has_ticket


def test_remembered_sessions_are_few(
    encrypted: Serve, authority: Authority, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """OpenSSL keeps those of TLS 1.2 by itself: they go before they are many, and nobody notices."""
    monkeypatch.setattr(tls, "MOST_SESSIONS", 3)
    site = encrypted()
    for _ in range(10):
        old = authority.client(newest=ssl.TLSVersion.TLSv1_2)
        assert request(site.server.port, old, Connection="close")[0] == 200
        policy = site.server._access.current()
        assert policy.encryption._context.session_stats()["number"] <= 3
    assert policy.encryption._context.session_stats()["accept_good"] < 10
    assert "reloaded" not in caplog.text


def test_plain_http_is_told_to_use_https(encrypted: Serve, authority: Authority) -> None:
    """In plain words, and with no word of what is served."""
    site = encrypted()

    assert site.request("GET", "/metrics")[::2] == (400, b"This port speaks HTTPS: ask by https.\n")
    assert request(site.server.port, authority.client())[0] == 200


@pytest.mark.parametrize("sent", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"], ids=["nothing", "byte", "half"])
def test_a_handshake_that_does_not_end_is_cut_off(
    sent: bytes, encrypted: Serve, authority: Authority
) -> None:
    """Within the time of a request, and the next client is served."""
    site = encrypted(clock=SystemClock(), limits=QUICK)

    assert site.say(sent) == b""
    assert request(site.server.port, authority.client())[0] == 200


def test_a_handshake_byte_by_byte_is_cut_off(encrypted: Serve) -> None:
    """The bound is for the whole handshake."""
    site = encrypted(clock=SystemClock(), limits=QUICK)
    stop = threading.Event()
    with site.connect() as client:

        def drip() -> None:
            for byte in b"\x16\x03\x01\x3f\xff" + b"\0" * 10_000:
                try:
                    client.sendall(bytes([byte]))
                except OSError:
                    return
                if stop.wait(0.02):
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(65536)[:1] in (b"", b"\x15")  # closed, or an alert; no timeout of ours
        finally:
            stop.set()
            thread.join(10)


def test_half_done_handshakes_do_not_keep_a_scraper_out(encrypted: Serve, authority: Authority) -> None:
    """All places are taken by clients that connected and said nothing: one gives way."""
    site = encrypted(limits=WebLimits(connections=3))
    silent = [site.connect() for _ in range(3)]
    try:
        assert request(site.server.port, authority.client())[0] == 200
    finally:
        for client in silent:
            client.close()


def test_a_client_that_does_not_read_is_cut_off(encrypted: Serve, authority: Authority) -> None:
    """The bound is for the answer, not for each of its records."""
    site = encrypted(clock=SystemClock(), limits=QUICK)
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.settimeout(10)
        plain.connect(("127.0.0.1", site.server.port))
        client = authority.client().wrap_socket(plain, server_hostname="localhost")
        with client, pytest.raises(OSError, match=r"reset|pipe|EOF|SYS") as raised:
            flood(client)
    assert not isinstance(raised.value, TimeoutError)


NO_PAIR = "{0}/bad.yml: tls_server_config.cert_file: {0}/server.pem and {0}/prometheus.key are no {1}"
NO_AUTHORITY = "{0}/bad.yml: tls_server_config.client_ca_file: {0}/server.key holds no certificates in PEM"
MISMATCH = "certificate in PEM with its key, unencrypted (KEY_VALUES_MISMATCH)"


@pytest.mark.parametrize(
    ("certificate", "key", "more", "message"),
    [
        ("none.pem", "server.key", "", "{0}/none.pem: cannot be read: No such file or directory"),
        ("server.pem", "none.key", "", "{0}/none.key: cannot be read: No such file or directory"),
        ("server.pem", "prometheus.key", "", NO_PAIR),
        ("server.pem", "server.key", REQUIRED.replace("ca.pem", "server.key"), NO_AUTHORITY),
    ],
    ids=["certificate", "key", "mismatch", "authorities"],
)
def test_files_that_cannot_be_used_are_told(
    certificate: str,
    key: str,
    more: str,
    message: str,
    serve: Serve,
    authority: Authority,
    prometheus: Pair,
) -> None:
    """By name, before anything is served."""
    assert prometheus.key.exists()
    web = authority.folder / "bad.yml"
    web.write_text(f"tls_server_config:\n  cert_file: {certificate}\n  key_file: {key}\n{more}")

    with pytest.raises(ConfigError) as raised:
        serve(None, web=web)
    assert str(raised.value) == message.format(authority.folder, MISMATCH)


def test_a_key_with_a_password_is_refused_and_not_asked_for(
    serve: Serve, authority: Authority, tmp_path: Path
) -> None:
    """OpenSSL would ask at the terminal, and wait."""
    from cryptography.hazmat.primitives import serialization as form

    key = form.load_pem_private_key((authority.folder / "server.key").read_bytes(), None)
    (tmp_path / "locked.key").write_bytes(
        key.private_bytes(
            form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"secret")
        )
    )
    web = tmp_path / "web.yml"
    web.write_text(
        f"tls_server_config: {{cert_file: {authority.folder / 'server.pem'}, key_file: locked.key}}\n"
    )
    with pytest.raises(ConfigError, match="no certificate in PEM with its key, unencrypted"):
        serve(None, web=web)
