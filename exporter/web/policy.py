"""The rules of a web configuration that a connection and a request must pass."""

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from exporter.clock import Clock
from exporter.config.problems import ConfigError, Problem
from exporter.config.web import TlsConfig, WebConfig
from exporter.frozen import replace
from exporter.web.connection import OPEN, Request, Response, later, plain
from exporter.web.passwords import Passwords, Verdict, bcrypt_check
from exporter.web.token_bucket import TokenBucket

if TYPE_CHECKING:
    from exporter.web.tls import TlsSettings

_REALM: Final = 'Basic realm="inference-cost-exporter", charset="UTF-8"'

_LOG = logging.getLogger(__name__)


class WebPolicy:
    """One web configuration applied: TLS, passwords, request rate, headers.

    Raises:
        ConfigError: a file that it names cannot be used, or bcrypt is missing.
    """

    def __init__(self, config: WebConfig, file: str, clock: Clock) -> None:
        self.config = config
        self.encryption = None if config.tls is None else _encryption(config.tls, file)
        self._passwords = Passwords(config.users, bcrypt_check(file)) if config.users else None
        rate = config.rate
        self._rate_limit = None if rate is None else TokenBucket(rate.interval, rate.burst, clock)
        self._headers = dict(config.headers)
        if config.http2:
            _LOG.warning("http_server_config.http2: HTTP/2 is not served; clients get HTTP/1.1")

    @property
    def is_worn(self) -> bool:
        """Whether a new policy would take less memory."""
        return self.encryption is not None and self.encryption.is_worn

    @property
    def authenticates(self) -> bool:
        """Whether every client authenticates, by a password or a certificate."""
        tls = self.config.tls
        return self._passwords is not None or (
            tls is not None and tls.clients is not None and tls.clients.required
        )

    def reject(self, request: Request) -> Response | None:
        """The refusal of a request; `None` if it is served."""
        if self.encryption is not None and not request.encrypted:
            # The connection is older than the file's TLS.
            return plain(HTTPStatus.FORBIDDEN, "refused: ask by https", refused="plain_http")
        if request.path in OPEN:
            return None
        if self._rate_limit is not None and not self._rate_limit.allows():
            return later("too many requests", "rate_limit")
        if self._passwords is None:
            return None
        authorization = request.headers.get("authorization", "")
        verdict = self._passwords.verdict(authorization, request.peer)
        if verdict is Verdict.GRANTED:
            return None
        if verdict is Verdict.BUSY:
            return later("too many passwords at once", "busy")
        return plain(
            HTTPStatus.UNAUTHORIZED,
            "a user and a password are needed",
            refused="wrong_password" if authorization else "no_password",
            **{"WWW-Authenticate": _REALM},
        )

    def add_headers(self, response: Response) -> Response:
        """A response with the headers of the file."""
        if not self._headers:
            return response
        headers = {**response.headers, **self._headers}
        return replace(response, headers=headers)


def _encryption(config: TlsConfig, file: str) -> "TlsSettings":
    from exporter.web.tls import TlsSettings  # noqa: PLC0415 - passwords alone do without OpenSSL

    return TlsSettings(config, file)


def refuse_less(before: WebConfig, after: WebConfig, file: str) -> None:
    """Refuse a reload that protects less.

    Raises:
        ConfigError: TLS, client certificates or passwords would be removed.
    """
    gone = []
    if before.tls is not None and after.tls is None:
        gone.append("tls_server_config")
    elif before.tls is not None and after.tls is not None:
        old, new = before.tls.clients, after.tls.clients
        if old is not None and old.required and not (new is not None and new.required):
            gone.append("tls_server_config.client_auth_type: RequireAndVerifyClientCert")
        elif old is not None and old.names and not (new is not None and new.names):
            gone.append("tls_server_config.client_allowed_sans")
    if before.users and not after.users:
        gone.append("basic_auth_users")
    if gone:
        problem = f"{' and '.join(gone)} would go: protection is taken away at a restart only"
        raise ConfigError(file, (Problem(None, "", problem),))
