"""The HTTP server: what is answered at which path. It reads the current report and nothing else."""

import ipaddress
import logging
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from http import HTTPStatus
from threading import BoundedSemaphore, Lock
from typing import Final
from urllib.parse import urlsplit

from exporter.clock import Clock
from exporter.metrics.rendering import Exposition, is_stale, variant
from exporter.report import Build, Report
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds
from exporter.web.access import Access, Hosts, TokenBucket
from exporter.web.connection import OPEN, HttpConnection, Request, Response, later, plain
from exporter.web.listener import (
    ListenAddress,
    Listener,
    ListenError,
    Waiting,
    WebLimits,
    listen,
    parse_address,
)

MOST_PAGES: Final = 16
"""Pages of one report that are kept, the newest."""


class BusyError(Exception):
    """So many clients wait for pages that a further one would take a scrape's place."""


class PageCache:
    """The pages of the current report. Safe to share between threads."""

    def __init__(self, waiting: int) -> None:
        self._room = BoundedSemaphore(waiting)
        self._making = Lock()
        self._cached_pages: tuple[Report | None, bool, dict[str, bytes]] = (None, False, {})
        """The report, whether it is stale, and its pages; exchanged whole, never changed."""

    def page(
        self, report: Report | None, path: str, make: Callable[[], bytes | None], *, stale: bool
    ) -> bytes | None:
        """The page of a path, made where it is not kept; what is `None` is not kept.

        Raises:
            BusyError: there is no room to wait for it.
        """
        cached = self._cached(report, path, stale=stale)
        if cached is not None:
            return cached
        if not self._room.acquire(blocking=False):
            raise BusyError
        try:
            with self._making:
                cached = self._cached(report, path, stale=stale)
                if cached is not None:
                    return cached
                made = make()
                if made is not None:
                    self._keep(report, path, made, stale=stale)
                return made
        finally:
            self._room.release()

    def forget(self, report: Report | None) -> None:
        """Let go of the pages of any other report, and of that report."""
        with self._making:
            if self._cached_pages[0] is not report:
                self._cached_pages = (None, False, {})

    def _cached(self, report: Report | None, path: str, *, stale: bool) -> bytes | None:
        of, was_stale, pages = self._cached_pages
        return pages.get(path) if of is report and was_stale is stale else None

    def _keep(self, report: Report | None, path: str, made: bytes, *, stale: bool) -> None:
        of, was_stale, before = self._cached_pages
        pages = dict(before) if of is report and was_stale is stale else {}
        while len(pages) >= MOST_PAGES:
            del pages[next(iter(pages))]
        pages[path] = made
        self._cached_pages = (report, stale, pages)


_READ: Final = ("GET", "HEAD")
_EXPLAIN: Final = "/explain/"
_HTML: Final = "text/html; charset=utf-8"
_NOT_READY: Final = "not ready: the first tick has not been taken yet"
_OFF: Final = "reloading over HTTP is switched off; send SIGHUP"
_NOT_ASKED_FOR: Final = (
    "reloading over HTTP is off where others reach the port and no password or client certificate is asked "
    "for: send SIGHUP, or start with --web.enable-lifecycle"
)
REFUSALS: Final = (
    *("busy", "cross_site", "no_password", "plain_http", "rate_limit", "reload_off", "reload_rate"),
    *("unknown_host", "wrong_password"),
)
"""Why requests are refused, as the metric names it."""

QUIET: Final[Nanoseconds] = 60 * NANOSECONDS_PER_SECOND
"""Wrong passwords are logged once in so long, with their number since the last line."""

_LOOPBACK: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # for links, not to bind

_FULL: Final = plain(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "too many pages at once; come again",
    refused="busy",
    **{"Retry-After": "1"},
)

_LOG = logging.getLogger(__name__)


class WebServer:
    """Serves the current report.

    `current` gives the report to serve, `None` before the first tick; it is called from many threads.
    `reload` swaps the configuration and returns what is to be known about it, if anything; it raises with a
    message for people when it cannot. Without it, reloading over HTTP is switched off.
    `lifecycle` says whether reloading over HTTP is on; `None`: where the address is of loopback, or every
    client shows who it is.
    `access` says who may ask, and how; without it, everybody by plain HTTP.
    `allowed_hosts` are names that browsers may ask for, beside those of `Hosts`.
    """

    def __init__(
        self,
        address: str,
        current: Callable[[], Report | None],
        clock: Clock,
        reload: Callable[[], str] | None,
        build: Build,
        *,
        access: Access | None = None,
        limits: WebLimits | None = None,
        lifecycle: bool | None = None,
        allowed_hosts: Iterable[str] = (),
    ) -> None:
        self._address = parse_address(address)
        self._current = current
        self._clock = clock
        self._reload = reload
        self._lifecycle = lifecycle
        self._build = build
        self._access = access or Access(None, clock)
        self._hosts = Hosts((*allowed_hosts, self._address.host))
        self._limits = limits or WebLimits()
        self._exposition = Exposition(build)
        self._reloading = Lock()
        self._reloads = TokenBucket(NANOSECONDS_PER_SECOND, 1, clock)
        self._pages = PageCache(self._limits.pages)
        self._refusals = _Refusals(clock)
        self._listening: socket.socket | None = None
        self._listener: Listener | None = None
        self._routes: Mapping[str, tuple[tuple[str, ...], Callable[[Request], Response]]] = {
            "/": (_READ, self._page),
            "/explain": (_READ, self._moved),
            "/explain/": (_READ, self._explained),
            "/metrics": (_READ, self._metrics),
            "/cost.json": (_READ, self._document),
            "/-/healthy": (_READ, self._healthy),
            "/-/ready": (_READ, self._ready),
            "/-/reload": (("POST",), self._reloaded),
        }

    def bind(self) -> None:
        """Take the address, and answer nobody yet: who asks waits for `start`.

        Raises:
            ListenError: the address cannot be listened on; the message says what to do.
        """
        self._bound()

    def start(self) -> None:
        """Serve, at the address that was taken or is now.

        Raises:
            ListenError: the address cannot be listened on; the message says what to do.
        """
        self._listener = Listener(self._bound(), self._serve_connection, self._clock, self._limits)
        try:
            self._listener.start()
        except RuntimeError as error:
            raise ListenError(f"no thread to serve in: {error}") from None
        _LOG.info("listening", extra={"address": self.bound})

    @property
    def port(self) -> int:
        """The port, also where port 0 was asked for. The asked one before `start`."""
        if self._listening is None:
            return self._address.port
        return int(self._listening.getsockname()[1])

    @property
    def url(self) -> str:
        """Where a client on this machine finds the page, also where every interface is listened on."""
        return self._url(_LOOPBACK.get(self._address.host, self._address.host))

    @property
    def bound(self) -> str:
        """Where it listens, as the socket tells it: `[::]` and `0.0.0.0` are every interface."""
        if self._listening is None:
            return self._url(self._address.host)
        return self._url(str(self._listening.getsockname()[0]))

    @property
    def left_out(self) -> tuple[tuple[str, int], ...]:
        """What rendering had to leave out since the start, by reason: for the next report to tell."""
        by_reason: Counter[str] = Counter()
        for (_, reason), count in self._exposition.faults.items():
            by_reason[reason] += count
        return tuple(sorted(by_reason.items()))

    @property
    def refused(self) -> tuple[tuple[str, int], ...]:
        """Requests that were refused since the start, by reason: for the next report."""
        return self._refusals.counts

    def prepare(self) -> None:
        """Render the current report ahead, in the forms asked for lately: the next scrape then costs no CPU.

        For the sampler, after it has published. Without it, the first scrape of each report renders.
        """
        report = self._current()
        self._pages.forget(report)
        if report is not None and not is_stale(report, self._clock.elapsed()):
            self._exposition.prepare(report)

    def close(self) -> None:
        """Stop serving. Idempotent."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        elif self._listening is not None:
            self._listening.close()  # bound and never started, or closed already

    def _url(self, host: str) -> str:
        policy = self._access.current()
        scheme = "http" if policy is None or policy.encryption is None else "https"
        return f"{scheme}://{ListenAddress(host, self.port)}/"

    def _bound(self) -> socket.socket:
        if self._listening is None:
            self._listening = listen(self._address, self._limits.backlog)
            # Of each connection: without it a client that does not read has the kernel hold megabytes.
            self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._limits.send_bytes)
        return self._listening

    def _serve_connection(self, connection: socket.socket, peer: str, waiting: Waiting) -> None:
        new_connection = partial(
            HttpConnection,
            peer=peer,
            service=self,
            waiting=waiting,
            clock=self._clock,
            limits=self._limits,
        )
        policy = self._access.current()
        encryption = None if policy is None else policy.encryption
        if encryption is None:
            new_connection(connection, encrypted=False).run()
            return
        with encryption.over(connection, waiting, self._clock, self._limits) as encrypted:
            new_connection(encrypted, encrypted=True).run()

    def admit(self, request: Request) -> Response | None:
        """The refusal of a request before its body is read; `None` for one that is answered."""
        policy = self._access.current()
        rejection = None if policy is None else policy.reject(request)
        # Over TLS, or with a password, another site's name opens nothing in a browser.
        safe = request.encrypted or (policy is not None and policy.authenticates) or request.path in OPEN
        if rejection is None and not safe:
            rejection = self._hosts.reject(request)
        return None if rejection is None else self._finished(request, rejection)

    def respond(self, request: Request) -> Response:
        """The response to a request that was admitted."""
        return self._finished(request, self._routed(request))

    def _finished(self, request: Request, response: Response) -> Response:
        if response.refused:
            self._refusals.note(response.refused, request.peer)
        policy = self._access.current()
        return response if policy is None else policy.add_headers(response)

    def _routed(self, request: Request) -> Response:
        route = self._routes.get(request.path)
        if route is None and request.path.startswith(_EXPLAIN):
            route = self._routes[_EXPLAIN]
        if route is None:
            return plain(HTTPStatus.NOT_FOUND, "not found")
        methods, respond = route
        if request.method not in methods:
            allowed = ", ".join(methods)
            return plain(HTTPStatus.METHOD_NOT_ALLOWED, f"use {allowed}", Allow=allowed)
        return respond(request)

    def _metrics(self, request: Request) -> Response:
        form = variant(request.headers.get("accept", ""), request.headers.get("accept-encoding", ""))
        report = self._current()
        stale = report is not None and is_stale(report, self._clock.elapsed())
        body = self._exposition.render(report, form, stale=stale)
        headers = {"Vary": "Accept, Accept-Encoding"}
        if form.gzip:
            headers["Content-Encoding"] = "gzip"
        return Response(HTTPStatus.OK, body, form.format.content_type, headers)

    def _page(self, request: Request) -> Response:
        # What people look at is imported when they do: it is memory that a scrape needs none of.
        from exporter.web import page  # noqa: PLC0415

        return self._made(request, page.page, _HTML, page.HEADERS)

    def _explained(self, request: Request) -> Response:
        from exporter.web import page  # noqa: PLC0415

        form = request.path.removeprefix(_EXPLAIN)

        def make(report: Report | None, elapsed: Nanoseconds, build: Build) -> bytes | None:
            return None if report is None else page.explanation(report, elapsed, form, build)

        if self._current() is None:
            return plain(HTTPStatus.SERVICE_UNAVAILABLE, _NOT_READY)
        return self._made(request, make, _HTML, page.HEADERS)

    def _moved(self, _request: Request) -> Response:
        # A relative place, so that a proxy may put the page anywhere.
        return plain(HTTPStatus.MOVED_PERMANENTLY, "it is at explain/", Location="explain/")

    def _document(self, request: Request) -> Response:
        from exporter.web.cost_json import document  # noqa: PLC0415

        return self._made(request, document, "application/json", {})

    def _made(
        self,
        request: Request,
        make: Callable[[Report | None, Nanoseconds, Build], bytes | None],
        content_type: str,
        headers: Mapping[str, str],
    ) -> Response:
        report, elapsed = self._current(), self._clock.elapsed()
        stale = report is not None and is_stale(report, elapsed)
        try:
            body = self._pages.page(
                report, request.path, lambda: make(report, elapsed, self._build), stale=stale
            )
        except BusyError:
            return _FULL
        if body is None:
            return plain(HTTPStatus.NOT_FOUND, "there is no such server now")
        return Response(HTTPStatus.OK, body, content_type, headers)

    def _healthy(self, _request: Request) -> Response:
        return plain(HTTPStatus.OK, "healthy")

    def _ready(self, _request: Request) -> Response:
        if self._current() is None:
            return plain(HTTPStatus.SERVICE_UNAVAILABLE, _NOT_READY)
        return plain(HTTPStatus.OK, "ready")

    def _reloaded(self, request: Request) -> Response:
        if _is_cross_site(request):
            text = "refused: the request comes from another site"
            return plain(HTTPStatus.FORBIDDEN, text, refused="cross_site")
        if self._reload is None or self._lifecycle is False:
            return plain(HTTPStatus.FORBIDDEN, _OFF, refused="reload_off")
        if self._lifecycle is None and not (self._is_local() or self._authenticates()):
            return plain(HTTPStatus.FORBIDDEN, _NOT_ASKED_FOR, refused="reload_off")
        if not self._reloads.allows():
            return later("not reloaded: the last reload was less than a second ago", "reload_rate")
        if not self._reloading.acquire(blocking=False):
            return later("not reloaded: another reload is under way", "reload_rate")
        try:
            notice = self._reload()
        except Exception as error:  # noqa: BLE001  # the caller is told, and the daemon goes on
            return plain(HTTPStatus.INTERNAL_SERVER_ERROR, f"reload failed: {str(error) or repr(error)}")
        finally:
            self._reloading.release()
        return plain(HTTPStatus.OK, f"reloaded\n{notice}" if notice else "reloaded")

    def _is_local(self) -> bool:
        """Whether programs of this machine alone reach the address."""
        if self._listening is None:
            return False
        address = ipaddress.ip_address(str(self._listening.getsockname()[0]).partition("%")[0])
        return address.is_loopback

    def _authenticates(self) -> bool:
        policy = self._access.current()
        return policy is not None and policy.authenticates


class _Refusals:
    """Requests that were refused, counted by reason; wrong passwords also in the log."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        self._counts = dict.fromkeys(REFUSALS, 0)
        self._unlogged = 0
        self._logged: Nanoseconds | None = None

    @property
    def counts(self) -> tuple[tuple[str, int], ...]:
        """How many since the start, by reason."""
        with self._lock:
            return tuple(self._counts.items())

    def note(self, reason: str, peer: str) -> None:
        """Count one. The log has the address of a failed login and no user: people type passwords there."""
        with self._lock:
            self._counts[reason] += 1
            if reason != "wrong_password":
                return
            self._unlogged += 1
            now = self._clock.elapsed()
            if self._logged is not None and now - self._logged < QUIET:
                return
            failed, self._unlogged, self._logged = self._unlogged, 0, now
        _LOG.warning("login failed", extra={"address": peer, "failed": failed})


def _is_cross_site(request: Request) -> bool:
    """Whether a browser sent it for another site's page. Programs send neither header."""
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return True
    origin = request.headers.get("origin")
    if origin is None:
        return False
    if request.encrypted and not origin.lower().startswith("https:"):
        return True
    return _authority(origin) != request.headers.get("host", "").lower()


def _authority(origin: str) -> str | None:
    try:
        return urlsplit(origin.lower()).netloc or None
    except ValueError:
        return None
