"""The HTTP server: what is answered at which path. It reads the current report and nothing else."""

import logging
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from threading import Lock
from typing import Final
from urllib.parse import urlsplit

from exporter.clock import Clock
from exporter.exposition.access import Access
from exporter.exposition.address import Address, ListenError, listen, parse_address
from exporter.exposition.conversation import Conversation, Request, Response, plain
from exporter.exposition.limits import Limits
from exporter.exposition.listener import Listener
from exporter.exposition.negotiation import variant
from exporter.exposition.rendering import Exposition, is_stale
from exporter.report import Build, Report
from exporter.threads import NoThreadError

_READ: Final = ("GET", "HEAD")
_EXPLAIN: Final = "/explain/"
_HTML: Final = "text/html; charset=utf-8"
_NOT_READY: Final = "not ready: the first tick has not been taken yet"
_LOOPBACK: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # for links, not to bind

_LOG = logging.getLogger(__name__)


class WebServer:
    """Serves the current report.

    `current` gives the report to serve, `None` before the first tick; it is called from many threads.
    `reload` swaps the configuration and returns what is to be known about it, if anything; it raises with a
    message for people when it cannot. Without it, reloading over HTTP is switched off.
    `access` says who may ask, and how; without it, everybody by plain HTTP.
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
        limits: Limits | None = None,
    ) -> None:
        self._address = parse_address(address)
        self._current = current
        self._clock = clock
        self._reload = reload
        self._build = build
        self._access = access or Access(None, clock)
        self._limits = limits or Limits()
        self._exposition = Exposition(build)
        self._reloading = Lock()
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
        self._listener = Listener(self._bound(), self._converse, self._clock, self._limits)
        try:
            self._listener.start()
        except NoThreadError as error:
            raise ListenError(f"no thread to serve in: {error}") from None
        _LOG.info("listening on %s", self.bound)

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

    def prepare(self) -> None:
        """Render the current report ahead, in the forms asked for lately: the next scrape then costs no CPU.

        For the sampler, after it has published. Without it, the first scrape of each report renders; so it
        does where there is no memory to render ahead.
        """
        report = self._current()
        with suppress(MemoryError, NoThreadError):
            if self._listener is not None:
                self._listener.revive()
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
        guard = self._access.current()
        scheme = "http" if guard is None or guard.encryption is None else "https"
        return f"{scheme}://{Address(host, self.port)}/"

    def _bound(self) -> socket.socket:
        if self._listening is None:
            self._listening = listen(self._address, self._limits.backlog)
        return self._listening

    def _converse(self, connection: socket.socket, peer: object) -> None:
        listener = self._listener
        if listener is None:
            return
        waiting = partial(listener.waiting, connection)
        converse = partial(
            Conversation,
            peer=peer,
            answer=self._answer,
            waiting=waiting,
            clock=self._clock,
            limits=self._limits,
        )
        guard = self._access.current()
        encryption = None if guard is None else guard.encryption
        if encryption is None:
            converse(connection, encrypted=False)
            return
        with encryption.over(connection, waiting, self._clock, self._limits) as encrypted:
            converse(encrypted, encrypted=True)

    def _answer(self, request: Request) -> Response:
        guard = self._access.current()
        if guard is None:
            return self._routed(request)
        return guard.dressed(guard.refusal(request) or self._routed(request))

    def _routed(self, request: Request) -> Response:
        route = self._routes.get(request.path)
        if route is None and request.path.startswith(_EXPLAIN):
            route = self._routes[_EXPLAIN]
        if route is None:
            return plain(HTTPStatus.NOT_FOUND, "not found")
        methods, answer = route
        if request.method not in methods:
            allowed = ", ".join(methods)
            return plain(HTTPStatus.METHOD_NOT_ALLOWED, f"use {allowed}", Allow=allowed)
        return answer(request)

    def _metrics(self, request: Request) -> Response:
        asked = variant(request.headers.get("accept", ""), request.headers.get("accept-encoding", ""))
        report = self._current()
        stale = report is not None and is_stale(report, self._clock.elapsed())
        body = self._exposition.render(report, asked, stale=stale)
        headers = {"Vary": "Accept, Accept-Encoding"}
        if asked.gzip:
            headers["Content-Encoding"] = "gzip"
        return Response(HTTPStatus.OK, body, asked.format.content_type, headers)

    def _page(self, _request: Request) -> Response:
        # What people look at is imported when they do: it is memory that a scrape needs none of.
        from exporter.exposition import page  # noqa: PLC0415

        body = page.page(self._current(), self._clock.elapsed(), self._build)
        return Response(HTTPStatus.OK, body, _HTML, page.HEADERS)

    def _explained(self, request: Request) -> Response:
        from exporter.exposition import page  # noqa: PLC0415

        report, asked = self._current(), request.path.removeprefix(_EXPLAIN)
        if report is None:
            return plain(HTTPStatus.SERVICE_UNAVAILABLE, _NOT_READY)
        body = page.explanation(report, self._clock.elapsed(), asked, self._build)
        if body is None:
            return plain(HTTPStatus.NOT_FOUND, "there is no such server now")
        return Response(HTTPStatus.OK, body, _HTML, page.HEADERS)

    def _moved(self, _request: Request) -> Response:
        # A relative place, so that a proxy may put the page anywhere.
        return plain(HTTPStatus.MOVED_PERMANENTLY, "it is at explain/", Location="explain/")

    def _document(self, _request: Request) -> Response:
        from exporter.exposition.document import document  # noqa: PLC0415

        body = document(self._current(), self._clock.elapsed(), self._build)
        return Response(HTTPStatus.OK, body, "application/json")

    def _healthy(self, _request: Request) -> Response:
        return plain(HTTPStatus.OK, "healthy")

    def _ready(self, _request: Request) -> Response:
        if self._current() is None:
            return plain(HTTPStatus.SERVICE_UNAVAILABLE, _NOT_READY)
        return plain(HTTPStatus.OK, "ready")

    def _reloaded(self, request: Request) -> Response:
        if _is_cross_site(request):
            return plain(HTTPStatus.FORBIDDEN, "refused: the request comes from another site")
        if self._reload is None:
            return plain(HTTPStatus.FORBIDDEN, "reloading over HTTP is switched off; send SIGHUP")
        with self._reloading:
            try:
                told = self._reload()
            except Exception as error:  # noqa: BLE001  # the caller is told, and the daemon goes on
                return plain(HTTPStatus.INTERNAL_SERVER_ERROR, f"reload failed: {str(error) or repr(error)}")
        return plain(HTTPStatus.OK, f"reloaded\n{told}" if told else "reloaded")


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
