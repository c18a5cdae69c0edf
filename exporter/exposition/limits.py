"""What a client may take: bytes, time and connections."""

from dataclasses import dataclass

from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the HTTP server.

    `request` is the time from a request's first byte to the last of its head, again for its body, and again
    for the client to take the response. `idle` is how long a connection may stay open between requests;
    longer than the usual scrape interval of a minute, so that a scraper keeps its connection.
    `backlog` is how many connections the kernel holds ready; `connections` how many are served at a time,
    and `place` how long a new one waits for the place of one that was closed for it.
    `pages` is how many requests for a page that is not made yet are served at a time: scrapes and probes have
    the other places. `send_bytes` is what the kernel buffers of a response.
    """

    connections: int = 128
    backlog: int = 1024
    head_bytes: int = 16 * 1024
    body_bytes: int = 8 * 1024
    send_bytes: int = 128 * 1024
    pages: int = 16
    request: Nanoseconds = 10 * NANOSECONDS_PER_SECOND
    idle: Nanoseconds = 90 * NANOSECONDS_PER_SECOND
    place: Nanoseconds = NANOSECONDS_PER_SECOND
