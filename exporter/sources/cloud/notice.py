"""A cloud's notice that it takes a spot host back, by which the end of its cost is known.

Only spot hosts are asked for: on Azure the first request switches scheduled events on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Final

from exporter.clock import Clock
from exporter.readings import QuickSource
from exporter.sources.cloud.metadata import (
    AWS,
    AZURE,
    GCP,
    LINK_LOCAL,
    SERVICES,
    MetadataRequest,
    MetadataService,
    Replies,
    object_of,
    read_metadata,
    text_of,
    word,
)
from exporter.sources.http_client import Deadline
from exporter.sources.server import shared_client
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, Instant, Nanoseconds

RENEWAL: Final[Nanoseconds] = 5 * NANOSECONDS_PER_SECOND
"""Time between two reads, as AWS recommends. Compute Engine gives 30 seconds, AWS two minutes."""

GRACE: Final[Nanoseconds] = 30 * NANOSECONDS_PER_SECOND
"""Time from a notice without an instant to the end."""

DISTANCE_MAX: Final[Nanoseconds] = 24 * NANOSECONDS_PER_HOUR
"""A notice of an instant further from the present is none."""

TIMEOUT_SECONDS: Final = 1.0

EVENTS_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class TerminationNotice:
    """Whether the host is to end, and when."""

    given: bool = False
    end: Instant | None = None
    """`None` without a notice, and where the cloud names no instant."""


def _aws(replies: Replies) -> TerminationNotice:
    if "action" not in replies:
        return TerminationNotice()
    document = object_of(replies["action"])
    if word(document.get("action")) not in ("terminate", "stop", "hibernate"):
        raise ValueError("no action")
    moment = datetime.fromisoformat(word(document.get("time")))
    return TerminationNotice(given=True, end=_instant(moment))


def _gcp(replies: Replies) -> TerminationNotice:
    preempted = text_of(replies["preempted"])
    if preempted not in ("TRUE", "FALSE"):
        raise ValueError("neither TRUE nor FALSE")
    return TerminationNotice(given=preempted == "TRUE")


def _azure(replies: Replies) -> TerminationNotice:
    name = text_of(replies["name"])
    events = object_of(replies["events"]).get("Events")
    if not isinstance(events, list) or len(events) > EVENTS_MAX:
        raise ValueError("no list of events")
    for event in events:
        if not isinstance(event, dict) or not isinstance(event.get("Resources"), list):
            raise ValueError("no event")  # noqa: TRY004 - all wrong content alike
        if event.get("EventType") in ("Preempt", "Terminate") and name in event["Resources"]:
            moment = word(event.get("NotBefore") or "")  # empty once it has begun
            return TerminationNotice(
                given=True, end=_instant(parsedate_to_datetime(moment)) if moment else None
            )
    return TerminationNotice()


def _instant(moment: datetime) -> Instant:
    """The instant; a time without an offset is of UTC."""
    return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()) * NANOSECONDS_PER_SECOND


NOTICE_SERVICES: Final[Mapping[str, MetadataService[TerminationNotice]]] = MappingProxyType(
    {
        cloud: MetadataService(
            cloud,
            questions,
            understand,
            headers=SERVICES[cloud].headers,
            token=SERVICES[cloud].token,
            echo=SERVICES[cloud].echo,
        )
        for cloud, understand, questions in (
            (AWS, _aws, {"action": MetadataRequest("/latest/meta-data/spot/instance-action", optional=True)}),
            (GCP, _gcp, {"preempted": MetadataRequest("/computeMetadata/v1/instance/preempted")}),
            (
                AZURE,
                _azure,
                {
                    # Events are those of the whole scale set.
                    "name": MetadataRequest(
                        "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
                    ),
                    "events": MetadataRequest("/metadata/scheduledevents?api-version=2020-07-01"),
                },
            ),
        )
    }
)
"""By the name of the cloud; others document no notice."""


class NoticeSource(QuickSource):
    """Reads the notice of one cloud; the caller repeats it. `address` is that of the service."""

    name: Final = "termination notice"
    asks: Final = True
    fallback: Final = TerminationNotice()
    problem: Final = ""

    def __init__(self, clock: Clock, cloud: str, *, address: str = LINK_LOCAL) -> None:
        self._clock = clock
        self._service = NOTICE_SERVICES[cloud]
        self._address = address
        self._end: Instant | None = None

    def read(self) -> TerminationNotice:
        """The notice. Without an instant of the cloud, it is of `GRACE` after it was first seen.

        Raises:
            ReadFailedError: as `read_metadata`.
        """
        deadline = Deadline(self._clock, TIMEOUT_SECONDS)
        notice = read_metadata(self._service, shared_client(), self._address, deadline)
        now = self._clock.wall()
        if not notice.given:
            self._end = None
        elif notice.end is not None:
            self._end = notice.end if abs(notice.end - now) <= DISTANCE_MAX else None
        elif self._end is None:
            self._end = now + GRACE
        return TerminationNotice(given=self._end is not None, end=self._end)
