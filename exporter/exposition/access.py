"""Who may ask: the web configuration in force, read again when one of its files has changed."""

import logging
import os
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from threading import Lock
from typing import Final, TypeAlias

from exporter.clock import Clock
from exporter.config.problems import ConfigError, Problem
from exporter.config.web import WebConfig, load_web
from exporter.exposition.conversation import Request, Response, plain
from exporter.exposition.encryption import Encryption
from exporter.exposition.pace import Pace
from exporter.exposition.passwords import Passwords, Verdict, bcrypt_check
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds

RETRY: Final[Nanoseconds] = NANOSECONDS_PER_SECOND
"""A bad file is read again after this, changed or not: it may have been read while it was written."""

OPEN: Final = frozenset({"/-/healthy", "/-/ready"})
"""What a kubelet, which knows no password, may ask always. They tell nothing of money."""

_REALM: Final = 'Basic realm="inference-cost-exporter", charset="UTF-8"'

_LOG = logging.getLogger(__name__)

_Look: TypeAlias = tuple[tuple[int, ...] | None, ...]


class Guard:
    """What one web configuration asks of connections and requests.

    Raises:
        ConfigError: a file that it names cannot be used, or bcrypt is missing.
    """

    def __init__(self, config: WebConfig, file: str, clock: Clock) -> None:
        self.config = config
        self.encryption = None if config.tls is None else Encryption(config.tls, file)
        self._passwords = Passwords(config.users, bcrypt_check(file)) if config.users else None
        self._pace = None if config.rate is None else Pace(config.rate, clock)
        self._headers = dict(config.headers)

    def refusal(self, request: Request) -> Response | None:
        """What is said to a request that is not answered; `None` for one that is."""
        if self.encryption is not None and not request.encrypted:
            # A connection from before the file asked for TLS.
            return plain(HTTPStatus.FORBIDDEN, "refused: ask by https")
        if request.path in OPEN:
            return None
        if self._pace is not None and not self._pace.allows():
            return _later("too many requests")
        if self._passwords is None:
            return None
        verdict = self._passwords.verdict(request.headers.get("authorization", ""), request.peer)
        if verdict is Verdict.GRANTED:
            return None
        if verdict is Verdict.BUSY:
            return _later("too many passwords at once")
        return plain(
            HTTPStatus.UNAUTHORIZED, "a user and a password are needed", **{"WWW-Authenticate": _REALM}
        )

    def dressed(self, response: Response) -> Response:
        """An answer with the headers that the file adds."""
        if not self._headers:
            return response
        headers = {**response.headers, **self._headers}
        return Response(response.status, response.body, response.content_type, headers)


class Access:
    """The guard in force. Without a file: everybody may ask, by plain HTTP.

    A file that cannot be used any more leaves the guard as it is, and so does one that would take protection
    away: TLS, certificates of clients, or passwords go at a restart only, so that a file which is being
    written, or was emptied by mistake, opens nothing.
    """

    def __init__(self, file: Path | None, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._lock = Lock()
        self._guard = Guard(WebConfig(), "", clock)
        self._seen: _Look = ()
        self._again: Nanoseconds | None = None
        self._problem = ""

    @property
    def succeeded(self) -> bool | None:
        """Whether the last load did; `None` without a file."""
        return None if self._file is None else self._again is None

    def load(self) -> None:
        """Read the file for the first time.

        Raises:
            ConfigError: it cannot be used.
        """
        if self._file is not None:
            self._guard, self._seen = self._read(self._file)

    def current(self) -> Guard:
        """The guard in force now, after a look at the files: for each connection and each request."""
        file = self._file
        if file is not None and self._is_due(file):
            with self._lock:
                if self._is_due(file):
                    self._reload(file)
        return self._guard

    def _is_due(self, file: Path) -> bool:
        if self._again is not None and self._clock.elapsed() >= self._again:
            return True
        return _look(self._watched(file)) != self._seen

    def _reload(self, file: Path) -> None:
        before = _look(self._watched(file))
        try:
            guard, seen = self._read(file)
            _refuse_less(self._guard.config, guard.config, str(file))
        except ConfigError as error:
            self._seen, self._again = before, self._clock.elapsed() + RETRY
            if str(error) != self._problem:
                self._problem = str(error)
                _LOG.error(
                    "web configuration not reloaded; the old one stays", extra={"problem": self._problem}
                )
            return
        self._guard, self._seen, self._again, self._problem = guard, seen, None, ""
        _LOG.info("web configuration reloaded")

    def _read(self, file: Path) -> tuple[Guard, _Look]:
        """The guard that the files make, and their state before they were read: a later one is read again."""
        own = _look((file,))
        config = load_web(file)
        seen = own + _look(config.tls.files if config.tls else ())
        guard = Guard(config, str(file), self._clock)
        if config.http2:
            _LOG.warning("http_server_config.http2: HTTP/2 is not served; clients get HTTP/1.1")
        return guard, seen

    def _watched(self, file: Path) -> tuple[Path, ...]:
        tls = self._guard.config.tls
        return (file, *(tls.files if tls else ()))


def _refuse_less(before: WebConfig, after: WebConfig, file: str) -> None:
    """Refuse a reload that protects less.

    Raises:
        ConfigError: it does.
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
        told = f"{' and '.join(gone)} would go: protection is taken away at a restart only"
        raise ConfigError(file, (Problem(None, "", told),))


def _look(paths: Iterable[Path]) -> _Look:
    return tuple(map(_state, paths))


def _state(path: Path) -> tuple[int, ...] | None:
    """What changes with a file, through links: a mounted secret is exchanged by one."""
    try:
        found = os.stat(path)  # noqa: PTH116  # of each request: a third of the time that Path.stat takes
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev


def _later(text: str) -> Response:
    return plain(HTTPStatus.TOO_MANY_REQUESTS, text, **{"Retry-After": "1"})
