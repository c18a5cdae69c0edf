"""TLS of the web server: its settings, and the handshake of a connection."""

import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from typing import Any, Final

from exporter.clock import Clock
from exporter.config.load import contents
from exporter.config.problems import ConfigError, Problem
from exporter.config.web import CURVES, TlsConfig
from exporter.units import NANOSECONDS_PER_SECOND, seconds
from exporter.web.connection import BoundedReader
from exporter.web.limits import WebLimits
from exporter.web.listener import Waiting

_VERSIONS: Final = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
MOST_SESSIONS: Final = 256
_DRAIN_BYTES: Final = 1024 * 1024
_LEAST_SECONDS: Final = 0.001
_HTTPS_ONLY: Final = b"This port speaks HTTPS: ask by https.\n"
_PLAIN: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(_HTTPS_ONLY), _HTTPS_ONLY)
)


class ClientCertificateError(OSError):
    """A client whose certificate has none of the allowed names."""


class TlsSettings:
    """TLS of a web configuration, with the files as they are now.

    No tickets are issued. OpenSSL remembers sessions of TLS 1.2 for two hours, up to 20,000 of them, and
    Python cannot switch that off: `is_worn` is when to replace these settings.

    Raises:
        ConfigError: a file cannot be used; the message has its name and the reason.
    """

    def __init__(self, tls: TlsConfig, file: str) -> None:
        self._names = frozenset(tls.client_allowed_sans)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = _VERSIONS[tls.oldest]
        self._context.maximum_version = _VERSIONS[tls.max_version]
        self._context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        self._context.num_tickets = 0
        if not tls.prefer_server_cipher_suites:
            self._context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        if tls.suites:
            self._context.set_ciphers(":".join(tls.suites))
        for curve in tls.curve_preferences:  # one at most
            self._context.set_ecdh_curve(CURVES[curve])
        self._context.set_alpn_protocols(["http/1.1"])
        for path in (tls.cert_file, tls.key_file):
            contents(path)  # for an error that names the file
        try:
            # Without a password OpenSSL would prompt for one at the terminal, and wait.
            self._context.load_cert_chain(tls.cert_file, tls.key_file, password=b"")
        except (ssl.SSLError, OSError, ValueError) as error:
            why = getattr(error, "reason", None) or str(error)
            pair = f"{tls.cert_file} and {tls.key_file}"
            problem = f"{pair} are no certificate in PEM with its key, unencrypted ({why})"
            raise _refused(file, "cert_file", problem) from None
        authorities = tls.client_ca_file
        if authorities is not None:
            required = tls.requires_certificates
            self._context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
            try:
                self._context.load_verify_locations(cadata=contents(authorities).decode("ascii"))
            except (ssl.SSLError, ValueError):
                problem = f"{authorities} holds no certificates in PEM"
                raise _refused(file, "client_ca_file", problem) from None

    @property
    def is_worn(self) -> bool:
        """Whether the remembered sessions take memory."""
        return self._context.session_stats()["number"] >= MOST_SESSIONS

    @contextlib.contextmanager
    def over(
        self,
        connection: socket.socket,
        waiting: Waiting,
        clock: Clock,
        limits: WebLimits,
    ) -> Iterator[ssl.SSLSocket]:
        """Serve TLS over a connection, which its owner still cuts and closes.

        The handshake takes `limits.request` at most, and is `waiting` until it is done.

        Raises:
            OSError: the client speaks no TLS or is not allowed; it has been sent the reason where possible.
        """
        own = connection.dup()
        try:
            encrypted = self._context.wrap_socket(own, server_side=True, do_handshake_on_connect=False)
        except BaseException:
            own.close()
            raise
        with encrypted:
            deadline = clock.elapsed() + limits.request
            with waiting:
                connection.settimeout(seconds(limits.request))
                connection.recv(1, socket.MSG_PEEK)
            with waiting:
                try:
                    encrypted.settimeout(max(_LEAST_SECONDS, seconds(deadline - clock.elapsed())))
                    encrypted.do_handshake()
                except ssl.SSLError as error:
                    # Closing with unread bytes would reset the connection before the client has read why.
                    with contextlib.suppress(OSError):
                        connection.settimeout(1)
                        if error.reason == "HTTP_REQUEST":
                            connection.sendall(_PLAIN)
                        connection.shutdown(socket.SHUT_WR)
                        BoundedReader(connection, clock).drain(_DRAIN_BYTES, NANOSECONDS_PER_SECOND)
                    raise
            if self._names and not self._names & _names(encrypted.getpeercert() or {}):
                raise ClientCertificateError(
                    "the client's certificate carries no name of client_allowed_sans"
                )
            yield encrypted
            # Announce the end without waiting for the client's.
            encrypted.settimeout(0)
            with contextlib.suppress(OSError, ValueError):
                encrypted.unwrap()


def _refused(file: str, key: str, message: str) -> ConfigError:
    return ConfigError(file, (Problem(message, path=f"tls_server_config.{key}"),))


def _names(certificate: dict[str, Any]) -> set[str]:
    """The subject alternative names, as Go writes them."""
    return {
        str(ipaddress.ip_address(name)) if kind == "IP Address" else name
        for kind, name in certificate.get("subjectAltName", ())
    }
