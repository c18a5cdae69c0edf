"""The HTTP server: its paths, and their responses from the current report."""

import ipaddress
import logging
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from http import HTTPStatus
from threading import BoundedSemaphore, Lock
from typing import Final

from exporter.clock import Clock
from exporter.metrics.exposition import Exposition, is_stale, variant
from exporter.report import Build, Report
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds
from exporter.web import cost_json
from exporter.web.access import Access
from exporter.web.connection import OPEN, HttpConnection, Request, Response, later, plain
from exporter.web.hosts import Hosts, is_of_another_site
from exporter.web.limits import WebLimits
from exporter.web.listen_address import ListenAddress, ListenError, listen, parse_address
from exporter.web.listener import Listener, Waiting
from exporter.web.token_bucket import TokenBucket

_READ: Final = ("GET", "HEAD")
_EXPLAIN: Final = "/explain/"
_HTML: Final = "text/html; charset=utf-8"
_NOT_READY: Final = "not ready: the first tick has not been taken yet"
_RELOAD_OFF: Final = "reloading over HTTP is switched off; send SIGHUP"
_RELOAD_UNPROTECTED: Final = (
    "reloading over HTTP is off where others reach the port and no password or client certificate is asked "
    "for: send SIGHUP, or start with --web.enable-lifecycle"
)
REFUSALS: Final = (
    "busy",
    "cross_site",
    "no_password",
    "plain_http",
    "rate_limit",
    "reload_off",
    "reload_rate",
    "unknown_host",
    "wrong_password",
)
"""Reasons to refuse a request, as the metric names them."""

LOGIN_LOG_INTERVAL: Final[Nanoseconds] = 60 * NANOSECONDS_PER_SECOND
"""Least time between two log lines of failed logins; each has their number since the last line."""

_LOOPBACK: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # for links, not to bind

_TOO_MANY_PAGES: Final = plain(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "too many pages at once; come again",
    refused="busy",
    **{"Retry-After": "1"},
)

_LOG = logging.getLogger(__name__)


class WebServer:
    """Serves the current report.

    `current` returns the report to serve, `None` before the first tick; it is called from many threads.
    `reload` swaps the configuration and returns a notice for the client, often empty; an exception has a
    message for the client. Without it, reloading over HTTP is off.
    `lifecycle` is whether reloading over HTTP is on; `None`: on a loopback address, or where every client
    authenticates.
    `access` has the web configuration; without it, every client is served by plain HTTP.
    `allowed_hosts` are host names for browsers in addition to those of `Hosts`.
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
        self._waiting_for_pages = BoundedSemaphore(self._limits.pages)
        self._rendering = Lock()
        self._pages: tuple[Report | None, bool, dict[str, bytes]] = (None, False, {})
        """The current report, whether it is stale, and its pages by path."""
        self._refusals = _Refusals(clock)
        self._listening: socket.socket | None = None
        self._listener: Listener | None = None
        self._routes: Mapping[str, tuple[tuple[str, ...], Callable[[Request], Response]]] = {
            "/": (_READ, self._page),
            "/explain": (_READ, self._redirect),
            "/explain/": (_READ, self._explanation),
            "/metrics": (_READ, self._metrics),
            "/cost.json": (_READ, self._cost_json),
            "/-/healthy": (_READ, self._healthy),
            "/-/ready": (_READ, self._ready),
            "/-/reload": (("POST",), self._reload_configuration),
        }

    def bind(self) -> None:
        """Take the address without serving yet: a client that connects waits for `start`.

        Raises:
            ListenError: the address cannot be listened on; the message says what to do.
        """
        self._bound()

    def start(self) -> None:
        """Serve, on the address taken by `bind` or now.

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
        """The port that is listened on; before `bind` or `start` the configured one, which may be 0."""
        if self._listening is None:
            return self._address.port
        return int(self._listening.getsockname()[1])

    @property
    def url(self) -> str:
        """Address of the page for a client on this machine: loopback where every interface is listened on."""
        return self._url(_LOOPBACK.get(self._address.host, self._address.host))

    @property
    def bound(self) -> str:
        """Address that the socket listens on: `[::]` and `0.0.0.0` are every interface."""
        if self._listening is None:
            return self._url(self._address.host)
        return self._url(str(self._listening.getsockname()[0]))

    @property
    def left_out(self) -> tuple[tuple[str, int], ...]:
        """Samples that rendering left out since the start, by reason: for the next report."""
        by_reason: Counter[str] = Counter()
        for (_, reason), count in self._exposition.faults.items():
            by_reason[reason] += count
        return tuple(sorted(by_reason.items()))

    @property
    def refused(self) -> tuple[tuple[str, int], ...]:
        """Requests that were refused since the start, by reason: for the next report."""
        return self._refusals.counts

    def prepare(self) -> None:
        """Render the current report ahead in the variants requested lately, so that a scrape costs no CPU.

        For the sampler, after it has published. Without it, the first scrape of each report renders.
        """
        report = self._current()
        self._pages_of(report, stale=False)
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
            # Of each connection: the kernel would hold megabytes for a client that does not read.
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
        return None if rejection is None else self._complete(request, rejection)

    def respond(self, request: Request) -> Response:
        """The response to a request that was admitted."""
        route = self._routes.get(request.path)
        if route is None and request.path.startswith(_EXPLAIN):
            route = self._routes[_EXPLAIN]
        if route is None:
            return self._complete(request, plain(HTTPStatus.NOT_FOUND, "not found"))
        methods, respond = route
        if request.method in methods:
            return self._complete(request, respond(request))
        allowed = ", ".join(methods)
        response = plain(HTTPStatus.METHOD_NOT_ALLOWED, f"use {allowed}", Allow=allowed)
        return self._complete(request, response)

    def _complete(self, request: Request, response: Response) -> Response:
        """Count a refusal, and add the headers of the web configuration."""
        if response.refused:
            self._refusals.note(response.refused, request.peer)
        policy = self._access.current()
        return response if policy is None else policy.add_headers(response)

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
        from exporter.web import page  # noqa: PLC0415 - 4 MiB that no scrape needs

        return self._rendered(request.path, page.page, _HTML, page.HEADERS)

    def _explanation(self, request: Request) -> Response:
        from exporter.web import page  # noqa: PLC0415

        name = request.path.removeprefix(_EXPLAIN)

        def explanation(report: Report | None, elapsed: Nanoseconds, build: Build) -> bytes | None:
            return None if report is None else page.explanation(report, elapsed, name, build)

        if self._current() is None:
            return plain(HTTPStatus.SERVICE_UNAVAILABLE, _NOT_READY)
        return self._rendered(request.path, explanation, _HTML, page.HEADERS)

    def _redirect(self, _request: Request) -> Response:
        # A relative location: a proxy may serve the page below another path.
        return plain(HTTPStatus.MOVED_PERMANENTLY, "it is at explain/", Location="explain/")

    def _cost_json(self, request: Request) -> Response:
        return self._rendered(request.path, cost_json.document, "application/json", {})

    def _rendered(
        self,
        path: str,
        render: Callable[[Report | None, Nanoseconds, Build], bytes | None],
        content_type: str,
        headers: Mapping[str, str],
    ) -> Response:
        """A page, rendered once per report, so that a crowd costs one; explanations of servers each time."""
        report, elapsed = self._current(), self._clock.elapsed()
        stale = report is not None and is_stale(report, elapsed)
        pages = self._pages_of(report, stale=stale)
        body = pages.get(path)
        if body is None:
            if not self._waiting_for_pages.acquire(blocking=False):
                return _TOO_MANY_PAGES
            try:
                with self._rendering:  # one at a time: ticks and scrapes keep their core
                    body = pages.get(path) or render(report, elapsed, self._build)
                    if body is not None and path in self._routes:
                        pages[path] = body  # before the next in line looks for it
            finally:
                self._waiting_for_pages.release()
            if body is None:
                return plain(HTTPStatus.NOT_FOUND, "there is no such server now")
        return Response(HTTPStatus.OK, body, content_type, headers)

    def _pages_of(self, report: Report | None, *, stale: bool) -> dict[str, bytes]:
        """The pages of a report that were rendered; those of any other are dropped."""
        kept_report, kept_stale, pages = self._pages
        if kept_report is not report or kept_stale is not stale:
            pages = {}
            self._pages = (report, stale, pages)
        return pages

    def _healthy(self, _request: Request) -> Response:
        return plain(HTTPStatus.OK, "healthy")

    def _ready(self, _request: Request) -> Response:
        if self._current() is None:
            return plain(HTTPStatus.SERVICE_UNAVAILABLE, _NOT_READY)
        return plain(HTTPStatus.OK, "ready")

    def _reload_configuration(self, request: Request) -> Response:
        # Programs send neither header.
        site = request.headers.get("sec-fetch-site", "none")
        origin = request.headers.get("origin", "https:").lower()
        is_downgraded = request.encrypted and origin.startswith("http:")
        if site not in ("none", "same-origin") or is_downgraded or is_of_another_site(request):
            text = "refused: the request comes from another site"
            return plain(HTTPStatus.FORBIDDEN, text, refused="cross_site")
        if self._reload is None or self._lifecycle is False:
            return plain(HTTPStatus.FORBIDDEN, _RELOAD_OFF, refused="reload_off")
        policy = self._access.current()
        authenticates = policy is not None and policy.authenticates
        # Whether only programs of this machine reach the address.
        local = False
        if self._listening is not None:
            host = str(self._listening.getsockname()[0]).partition("%")[0]
            local = ipaddress.ip_address(host).is_loopback
        if self._lifecycle is None and not (authenticates or local):
            return plain(HTTPStatus.FORBIDDEN, _RELOAD_UNPROTECTED, refused="reload_off")
        if not self._reloads.allows():
            return later("not reloaded: the last reload was less than a second ago", "reload_rate")
        if not self._reloading.acquire(blocking=False):
            return later("not reloaded: another reload is under way", "reload_rate")
        try:
            notice = self._reload()
        except Exception as error:  # noqa: BLE001  # the client gets it, and the daemon goes on
            return plain(HTTPStatus.INTERNAL_SERVER_ERROR, f"reload failed: {str(error) or repr(error)}")
        finally:
            self._reloading.release()
        return plain(HTTPStatus.OK, f"reloaded\n{notice}" if notice else "reloaded")


class _Refusals:
    """Counts of refused requests by reason; wrong passwords are also logged."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        self._counts = dict.fromkeys(REFUSALS, 0)
        self._unlogged = 0
        self._logged: Nanoseconds | None = None

    @property
    def counts(self) -> tuple[tuple[str, int], ...]:
        """Refused requests since the start, by reason."""
        with self._lock:
            return tuple(self._counts.items())

    def note(self, reason: str, peer: str) -> None:
        """Count one. The log has no user of a failed login: people type passwords into that field."""
        with self._lock:
            self._counts[reason] += 1
            if reason != "wrong_password":
                return
            self._unlogged += 1
            now = self._clock.elapsed()
            if self._logged is not None and now - self._logged < LOGIN_LOG_INTERVAL:
                return
            failed, self._unlogged, self._logged = self._unlogged, 0, now
        _LOG.warning("login failed", extra={"address": peer, "failed": failed})
