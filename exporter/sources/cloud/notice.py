"""A cloud's notice that it takes a spot host back, by which the end of its cost is known.

Only spot hosts are asked for: on Azure the first request switches scheduled events on.
"""

from collections.abc import Callable
from typing import Final

from exporter.clock import Clock
from exporter.readings import HostLocation, QuickSource
from exporter.sources.cloud.metadata import LINK_LOCAL, SERVICES, SPOT, TerminationNotice, read_metadata
from exporter.sources.http_client import Deadline
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, Instant, Nanoseconds

RENEWAL: Final[Nanoseconds] = 5 * NANOSECONDS_PER_SECOND
"""Time between two reads, as AWS recommends. Compute Engine gives 30 seconds, AWS two minutes."""

GRACE: Final[Nanoseconds] = 30 * NANOSECONDS_PER_SECOND
"""Time from a notice without an instant to the end."""

DISTANCE_MAX: Final[Nanoseconds] = 24 * NANOSECONDS_PER_HOUR
"""A notice of an instant further from the present is none."""

TIMEOUT_SECONDS: Final = 1.0


class NoticeSource(QuickSource):
    """Reads the notice of a spot host's cloud; the caller repeats it. `address` is that of the service.

    Elsewhere, and while the location of this host is unknown, it sends nothing.
    """

    name: Final = "termination notice"
    asks: Final = True
    fallback: Final = TerminationNotice()
    problem: Final = ""

    def __init__(
        self, clock: Clock, location: Callable[[], HostLocation | None], *, address: str = LINK_LOCAL
    ) -> None:
        self._clock = clock
        self._location = location
        self._address = address
        self._end: Instant | None = None

    def read(self) -> TerminationNotice:
        """The notice. Without an instant of the cloud, it is of `GRACE` after it was first seen.

        Raises:
            ReadFailedError: as `read_metadata`.
        """
        notice = self._requested()
        now = self._clock.wall()
        if not notice.given:
            self._end = None
        elif notice.end is not None:
            self._end = notice.end if abs(notice.end - now) <= DISTANCE_MAX else None
        elif self._end is None:
            self._end = now + GRACE
        return TerminationNotice(given=self._end is not None, end=self._end)

    def _requested(self) -> TerminationNotice:
        location = self._location()
        if location is None or location.lifecycle != SPOT:
            return TerminationNotice()
        service = SERVICES.get(location.cloud)  # a spot host may be of a cloud that nobody named
        if service is None or service.notice is None:
            return TerminationNotice()
        deadline = Deadline(self._clock, TIMEOUT_SECONDS)
        return read_metadata(service, service.notice, self._address, deadline)
