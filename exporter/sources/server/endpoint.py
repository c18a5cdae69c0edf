"""The metrics page of one endpoint: what the sources of servers and of gateways share."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from exporter.clock import Clock
from exporter.readings import ErrorCounts, endpoint_id, masked
from exporter.sources.http_client import HttpClientProtocol
from exporter.sources.server.fetch import EndpointAccess, Fetcher
from exporter.units import Nanoseconds

TIMEOUT_SECONDS: Final = 3.0
"""For one read, however many requests it takes."""

DIRECT: Final = EndpointAccess()
"""Without a token, and whoever answers."""

BODY_BYTES_MAX: Final = 8 * 1024 * 1024

LARGE_BYTES: Final = 128 * 1024
"""Smaller pages are parsed without the lock, so that they never wait for large ones."""

_parsing: Final = threading.Lock()


class EndpointSource:
    """Reads one metrics page. `client` is shared and not closed here; an https endpoint has its own.

    `access` is as in `Fetcher`.
    """

    may_be_slow: Final = True
    """The endpoint may be slow, and other sources do not wait for it."""

    def __init__(
        self,
        url: str,
        client: HttpClientProtocol,
        clock: Clock,
        *,
        access: EndpointAccess = DIRECT,
        timeout: float = TIMEOUT_SECONDS,
        body_bytes: int = BODY_BYTES_MAX,
    ) -> None:
        self._id, self._shown = endpoint_id(url), masked(url)
        self._body_bytes = body_bytes
        self._clock = clock
        self._fetcher = Fetcher(client, url, clock, timeout, access)
        self.waited: Nanoseconds = 0
        """Wait of the last read for the parsing of other large pages."""
        self.errors: ErrorCounts = ()
        """Lines and series that the last reading leaves out: `malformed`, `duplicate`, ..."""

    @property
    def url(self) -> str:
        """The endpoint's name: its URL, a query masked and replaced by a digest."""
        return self._id

    def close(self) -> None:
        """Close the endpoint's own client, if it has one."""
        self._fetcher.close()

    def _begin_read(self) -> None:
        """Forget the errors of the last read; the requests of this one together have the timeout."""
        self.errors = ()
        self.waited = 0
        self._fetcher.begin_read()

    @contextmanager
    def _parsing_turn(self, page: bytes) -> Iterator[None]:
        """Parse a page, a large one after those of other sources.

        Python threads in parallel would take as long, and more memory.
        """
        if len(page) < LARGE_BYTES:
            yield
            return
        began = self._clock.elapsed()
        with _parsing:
            self.waited += self._clock.elapsed() - began
            yield

    def _note_errors(self, left_out: Mapping[str, int]) -> None:
        """Count what is left out of a page, by reason."""
        self.errors = tuple((reason, count) for reason, count in left_out.items() if count)
