"""Web access: allowed host names, and the web configuration in force."""

import ipaddress
import logging
import os
import re
import socket
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import urlsplit

from exporter.clock import Clock
from exporter.config import ConfigError
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds
from exporter.web.connection import Request, Response, plain

if TYPE_CHECKING:
    from exporter.web.policy import WebPolicy

RESOLVER: Final = Path("/etc/resolv.conf")

RESERVED: Final = (".localhost", ".local", ".internal", ".home.arpa", ".svc")
"""Domains that cannot be registered: RFC 6761, RFC 6762, ICANN's private-use .internal, RFC 8375, and
Kubernetes' short names of services (`.cluster.local` is below `.local`)."""

ANNOUNCED: Final = (".local", ".internal")
"""Domains in which another machine of the network may announce a name, by mDNS say, and take it back."""

_BROWSER: Final = frozenset({"accept-language", "cookie", "origin", "referer", "upgrade-insecure-requests"})
"""Headers that browsers send and scrapers, probes and curl do not. A script can change the value of
Accept-Language and not leave it out (https://fetch.spec.whatwg.org/#http-network-or-cache-fetch)."""

_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")


def host_of(text: str) -> str:
    """A host name in lower case.

    Raises:
        ValueError: it is no host name; the message has an example.
    """
    name = text.lower().rstrip(".")
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise ValueError(
            f"{text!r} is no host name: write it without scheme and port, as in costs.example.com"
        )
    return name


class Hosts:
    """Host names that browsers may request: a defense against DNS rebinding.

    Another site can let its own name resolve to this machine, and its script then reads the responses. The
    Host header still has that site's name. Addresses and names without a dot are always allowed, and programs
    are served under any name.
    """

    def __init__(self, allowed: Iterable[str] = (), resolver: Path = RESOLVER) -> None:
        own = socket.gethostname().lower().rstrip(".")
        searched = {f"{own.partition('.')[0]}.{domain}" for domain in _search(resolver)}
        self._allowed = frozenset({own, *searched, *(name.lower() for name in allowed)}) - {""}

    def reject(self, request: Request) -> Response | None:
        """The refusal of a browser's request for an unknown host; `None` for any other request."""
        if not is_browser(request):
            return None
        rebound = request.host.rstrip(".").endswith(ANNOUNCED) and is_of_another_site(request)
        if self._is_allowed(request.host) and not rebound:
            return None
        shown = request.host[:253] or "(none)"
        return plain(
            HTTPStatus.MISDIRECTED_REQUEST,
            f"refused: a browser asks for the host {shown}, which is not known to be this server's. "
            f"If it is, start with --web.allowed-host={shown}; an address or localhost works always.",
            refused="unknown_host",
        )

    def _is_allowed(self, host: str) -> bool:
        name = host.rstrip(".")
        if name in self._allowed or name.endswith(RESERVED):
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return bool(name) and "." not in name and not name.startswith("[")
        return True


def is_browser(request: Request) -> bool:
    """Whether a browser sent a request, perhaps for another site's script."""
    headers = request.headers
    return (
        not _BROWSER.isdisjoint(headers)
        or any(name.startswith("sec-") for name in headers)
        or headers.get("user-agent", "").startswith("Mozilla/")
    )


def is_of_another_site(request: Request) -> bool:
    """Whether a browser names another site as the origin of a request."""
    origin = request.headers.get("origin")
    if origin is None:
        return False
    try:
        authority = urlsplit(origin.lower()).netloc
    except ValueError:
        return True
    return not authority or authority != request.headers.get("host", "").lower()


def _search(resolver: Path) -> set[str]:
    """The search domains of this machine (resolv.conf(5))."""
    try:
        lines = resolver.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return set()
    words = [line.split() for line in lines[:100]]
    domains = {word for each in words if each[:1] in (["search"], ["domain"]) for word in each[1:]}
    return {name.lower().strip(".") for name in domains} - {""}


RETRY: Final[Nanoseconds] = NANOSECONDS_PER_SECOND
"""Time after which a bad file is read again, changed or not: it may have been read while it was written."""

_LOG = logging.getLogger(__name__)

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
        self._again: Nanoseconds | None = None
        self._problem = ""

    @property
    def succeeded(self) -> bool | None:
        """Whether the last load succeeded; `None` without a file."""
        return None if self._file is None else self._again is None

    def load(self) -> None:
        """Read the file for the first time.

        Raises:
            ConfigError: it cannot be used.
        """
        if self._file is not None:
            self._policy, self._file_states = self._read(self._file)

    def current(self) -> "WebPolicy | None":
        """The policy in force, after a check of the files: for each connection and each request."""
        file = self._file
        if file is not None and self._is_due(file):
            with self._lock:
                if self._is_due(file):
                    self._reload(file)
        return self._policy

    def _is_due(self, file: Path) -> bool:
        if self._again is not None:
            if self._clock.elapsed() >= self._again:
                return True
        elif self._policy is not None and self._policy.is_worn:
            return True
        return _states(self._watched(file)) != self._file_states

    def _reload(self, file: Path) -> None:
        before = _states(self._watched(file))
        try:
            policy, states = self._read(file)
        except ConfigError as error:
            self._file_states, self._again = before, self._clock.elapsed() + RETRY
            if str(error) != self._problem:
                self._problem = str(error)
                _LOG.error(
                    "web configuration reload failed; keeping the previous one",
                    extra={"problem": self._problem},
                )
            return
        if states != self._file_states or self._again is not None:
            _LOG.info("web configuration reloaded")
        self._policy, self._file_states, self._again, self._problem = policy, states, None, ""

    def _read(self, file: Path) -> tuple["WebPolicy", _FileStates]:
        """The policy of the files, and their state before they were read: a later one is read again."""
        # A quarter of a MiB that is not needed without a web configuration.
        from exporter.config.web import load_web  # noqa: PLC0415
        from exporter.web.policy import WebPolicy, refuse_less  # noqa: PLC0415

        own = _states((file,))
        config = load_web(file)
        states = own + _states(config.files)
        if self._policy is not None:
            refuse_less(self._policy.config, config, str(file))
        return WebPolicy(config, str(file), self._clock), states

    def _watched(self, file: Path) -> tuple[Path, ...]:
        return (file, *(self._policy.config.files if self._policy else ()))


def _states(paths: Iterable[Path]) -> _FileStates:
    return tuple(map(_state, paths))


def _state(path: Path) -> tuple[int, ...] | None:
    """What changes with a file, links followed: a mounted secret is replaced by a link."""
    try:
        status = os.stat(path)  # noqa: PTH116  # with each request; Path.stat takes three times as long
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev
