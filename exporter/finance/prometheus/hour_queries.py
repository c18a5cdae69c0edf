"""How an hour is asked for."""

from typing import Final

from exporter.units import NANOSECONDS_PER_HOUR

HOUR: Final = NANOSECONDS_PER_HOUR
EDGE: Final = 1_000_000
"""An hour is asked for a millisecond before its end, with a window as much shorter.

The window of Prometheus 2 has both of its ends: a sample at the full hour would be of two hours. A sample
that Thanos made of an hour is of that millisecond.
"""

WINDOW: Final = "3599999ms"
