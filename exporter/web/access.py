"""The web configuration in force, which is read again when its files change."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from threading import Lock
from typing import Final, TypeAlias

from exporter.clock import Clock
from exporter.config.problems import ConfigError, Problem
from exporter.config.web import WebConfig, load_web
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds
from exporter.web.connection import OPEN, Request, Response, later, plain
from exporter.web.passwords import Passwords, Verdict, bcrypt_check
from exporter.web.tls import TlsSettings
from exporter.web.token_bucket import TokenBucket

RETRY: Final[Nanoseconds] = NANOSECONDS_PER_SECOND
"""Time after which a bad file is read again, changed or not: it may have been read while it was written."""

_REALM: Final = 'Basic realm="inference-cost-exporter", charset="UTF-8"'

_LOG = logging.getLogger(__name__)


class WebPolicy:
    """One web configuration applied: TLS, passwords, request rate, headers.

    Raises:
        ConfigError: a file that it names cannot be used, or bcrypt is missing.
    """

    def __init__(self, config: WebConfig, file: str, clock: Clock) -> None:
        self.config = config
        self.encryption = None if config.tls is None else TlsSettings(config.tls, file)
        self._passwords = Passwords(dict(config.users), bcrypt_check(file)) if config.users else None
        rate = config.rate_limit
        limited = rate is not None and rate.interval > 0
        self._rate_limit = TokenBucket(rate.interval, rate.burst, clock) if rate and limited else None
        self._headers = dict(config.http.headers)
        if config.http.http2:
            _LOG.warning("http_server_config.http2: HTTP/2 is not served; clients get HTTP/1.1")

    @property
    def is_worn(self) -> bool:
        """Whether a new policy would take less memory."""
        return self.encryption is not None and self.encryption.is_worn

    @property
    def authenticates(self) -> bool:
        """Whether every client authenticates, by a password or a certificate."""
        tls = self.config.tls
        return self._passwords is not None or (tls is not None and tls.requires_certificates)

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
        return replace(response, headers={**response.headers, **self._headers})


def _refuse_less(before: WebConfig, after: WebConfig, file: str) -> None:
    """Refuse a reload that protects less.

    Raises:
        ConfigError: TLS, client certificates or passwords would be removed.
    """
    gone = []
    if before.tls is not None and after.tls is None:
        gone.append("tls_server_config")
    elif before.tls is not None and after.tls is not None:
        if before.tls.requires_certificates and not after.tls.requires_certificates:
            gone.append("tls_server_config.client_auth_type: RequireAndVerifyClientCert")
        elif before.tls.client_allowed_sans and not after.tls.client_allowed_sans:
            gone.append("tls_server_config.client_allowed_sans")
    if before.users and not after.users:
        gone.append("basic_auth_users")
    if gone:
        problem = f"{' and '.join(gone)} would go: protection is taken away at a restart only"
        raise ConfigError(file, (Problem(problem),))


_FileStates: TypeAlias = tuple[tuple[int, ...] | None, ...]


class Access:
    """Holds the web policy in force. Without a file there is none: every client is served by plain HTTP.

    A file that cannot be used leaves the policy as it is, and so does one that protects less: TLS, client
    certificates and passwords are removed at a restart only. A half-written or emptied file opens nothing.
    """

    def __init__(self, file: Path | None, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._lock = Lock()
        self._policy: WebPolicy | None = None
        self._file_states: _FileStates = ()
        """State of the file and of those that it names, before they were read."""
        self._retry_at: Nanoseconds | None = None
        """When a bad file is read again; `None` after a load that succeeded."""
        self._problem = ""

    @property
    def succeeded(self) -> bool | None:
        """Whether the last load succeeded; `None` without a file."""
        return None if self._file is None else self._retry_at is None

    def load(self) -> None:
        """Read the file for the first time.

        Raises:
            ConfigError: it cannot be used.
        """
        if self._file is not None:
            self._policy, self._file_states = self._read(self._file)

    def current(self) -> WebPolicy | None:
        """The policy in force, after a check of the files: for each connection and each request."""
        if self._file is None:
            return None
        with self._lock:
            self._reload_if_due(self._file)
            return self._policy

    def _reload_if_due(self, file: Path) -> None:
        named = () if self._policy is None else self._policy.config.files
        before = _states((file, *named))
        if self._retry_at is not None:
            is_due = self._clock.elapsed() >= self._retry_at
        else:
            is_due = self._policy is not None and self._policy.is_worn
        if not is_due and before == self._file_states:
            return
        try:
            policy, states = self._read(file)
        except ConfigError as error:
            self._file_states = before
            self._retry_at = self._clock.elapsed() + RETRY
            if str(error) != self._problem:
                self._problem = str(error)
                _LOG.error(
                    "web configuration reload failed; keeping the previous one",
                    extra={"problem": self._problem},
                )
            return
        if states != self._file_states or self._retry_at is not None:
            _LOG.info("web configuration reloaded")
        self._policy = policy
        self._file_states = states
        self._retry_at = None
        self._problem = ""

    def _read(self, file: Path) -> tuple[WebPolicy, _FileStates]:
        """The policy of the files, and their state before they were read: a later one is read again."""
        own = _states((file,))
        config = load_web(file)
        states = own + _states(config.files)
        if self._policy is not None:
            _refuse_less(self._policy.config, config, str(file))
        return WebPolicy(config, str(file), self._clock), states


def _states(paths: Iterable[Path]) -> _FileStates:
    """What changes with each file, links followed: a mounted secret is replaced by a link."""
    states: list[tuple[int, ...] | None] = []
    for path in paths:
        try:
            status = path.stat()
        except (OSError, ValueError):
            states.append(None)
        else:
            states.append(
                (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev)
            )
    return tuple(states)
