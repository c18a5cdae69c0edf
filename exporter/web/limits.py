"""Bounds of the HTTP server."""

from dataclasses import dataclass

from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds


@dataclass(frozen=True, slots=True)
class WebLimits:
    """Bounds of the HTTP server."""

    connections: int = 128
    """Connections that are served at a time."""
    backlog: int = 1024
    """Further connections that the kernel holds ready."""
    head_bytes: int = 16 * 1024
    """Longest request line with its headers."""
    body_bytes: int = 8 * 1024
    """Longest body of a request."""
    send_bytes: int = 128 * 1024
    """The kernel's buffer of a response."""
    pages: int = 16
    """Requests for pages that are not rendered yet: scrapes and probes have the other connections."""
    request: Nanoseconds = 10 * NANOSECONDS_PER_SECOND
    """Longest time of a request's head, again of its body, and again for the client to take the response."""
    idle: Nanoseconds = 90 * NANOSECONDS_PER_SECOND
    """Longest time between requests: a scraper with the usual interval of a minute keeps its connection."""
    admission: Nanoseconds = NANOSECONDS_PER_SECOND
    """How long a new connection waits for the end of one that was cut for it."""
