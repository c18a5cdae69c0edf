"""What was charged for time that nobody watched, told in the log: a line for each gap."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime

from exporter.cost.gap import Interval
from exporter.cost.policy import Terms
from exporter.cost.postings import Segment
from exporter.sampler.payers import cents, paid, payers
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, Nanoseconds

log = logging.getLogger(__name__)


def tell(interval: Interval | None, segments: tuple[Segment, ...], terms: Terms) -> None:
    """Tell of an interval that was posted, where it was a gap or the time since boot that new books charge.

    A warning where a part of it was too long to be believed and was charged to nobody.
    """
    held = any(segment.held for segment in segments)
    if interval is None or interval.observed or not (held or interval.uncharged):
        return
    not_charged = "; ".join(_not_charged(interval, segments, terms))
    what = "hourly rent since the boot" if interval.hourly_only else "time that nobody watched"
    log.log(
        logging.WARNING if interval.uncharged else logging.INFO,
        "%s was charged",
        what,
        extra={
            "since": datetime.fromtimestamp(interval.start // NANOSECONDS_PER_SECOND, UTC).isoformat(),
            "hours": _hours(interval.length),
            "dollars": cents(sum(segment.accrued for segment in segments)),
            "payers": payers(paid(segments)),
            "not_charged": not_charged or "nothing",
        },
    )


def _not_charged(interval: Interval, segments: tuple[Segment, ...], terms: Terms) -> Iterator[str]:
    if interval.uncharged:
        yield f"{_hours(interval.uncharged)} hours before it, beyond gap.max_days"
    down = sum(segment.down for segment in segments if _hourly(segment, terms))
    if down:
        yield f"hourly rent of {_hours(down)} hours in which the host was down or asleep"
    waits = sum(held.duration for segment in segments for held in segment.held if not held.priced)
    if waits:
        yield f"{_hours(waits)} GPU-hours without a price, which wait for one"


def _hourly(segment: Segment, terms: Terms) -> bool:
    """Whether anything of it is rented by the hour, so that nothing is owed while the host is down."""
    return any(
        rate.while_up
        for gpu in {held.gpu for held in segment.held}
        for rate in terms.tariff.hardware_price(gpu, segment.start).rates
    )


def _hours(duration: Nanoseconds) -> str:
    return f"{duration / NANOSECONDS_PER_HOUR:.2f}"
