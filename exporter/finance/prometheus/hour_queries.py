"""How an hour is asked for, and of which samples."""

from typing import Final

from exporter.finance.prometheus.client import PrometheusClient
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_MINUTE, Instant, Nanoseconds

HOUR: Final = NANOSECONDS_PER_HOUR
EDGE: Final = 1_000_000
"""An hour is asked for a millisecond before its end, with a window as much shorter.

The window of Prometheus 2 has both of its ends: a sample at the full hour would be of two hours. A sample
that Thanos made of an hour is of that millisecond.
"""

WINDOW: Final = "3599999ms"

RESOLUTIONS: Final[tuple[Nanoseconds, ...]] = (0, 5 * NANOSECONDS_PER_MINUTE, NANOSECONDS_PER_HOUR)
"""Time between samples that Thanos keeps, coarse ones for longer; 0 is for those that were scraped.

https://thanos.io/tip/components/compact.md/#downsampling
"""


def finest_resolution(
    client: PrometheusClient, query: str, first: Instant, last: Instant
) -> tuple[Nanoseconds, set[Instant]]:
    """The finest resolution that has all hours that any has, and the ends of these hours.

    Args:
        client: the server.
        query: an expression that has a value wherever there are samples.
        first: the end of the first hour.
        last: that of the last one.

    Raises:
        PrometheusError: there is no whole answer.
    """
    best: Nanoseconds = 0
    most: set[Instant] = set()
    for resolution in RESOLUTIONS:
        answer = client.range(query, first, last, NANOSECONDS_PER_HOUR, coarsest=resolution)
        ends = {sample.at for series in answer for sample in series.samples}
        if len(ends) > len(most):
            best, most = resolution, ends
        if len(ends) > (last - first) // NANOSECONDS_PER_HOUR:
            break
    return best, most
