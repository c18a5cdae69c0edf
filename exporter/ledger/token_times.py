"""The times that a tick's tokens are of: those of its money, since a boot in it, or since an earlier read."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from exporter.cost.postings import Postings, Segment, TokenPosting, up_times
from exporter.tariff.calendar import day_of
from exporter.units import (
    NANOSECONDS_PER_DAY,
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_MINUTE,
    Instant,
    Nanoseconds,
)

SILENCE_MAX: Final[Nanoseconds] = 40 * NANOSECONDS_PER_DAY
"""Tokens of a longer silence are spread over the end of it: hours stay for so long."""

CUT_BY_MINUTE: Final = 62 * NANOSECONDS_PER_MINUTE
"""Minutes that a price may cover."""


class TokenTime(NamedTuple):
    """A part of a tick's tokens: in the minute and the hour of `at`, on a local day; empty if unknown."""

    at: Instant
    day: str
    tokens: int


def times_of_tokens(postings: Postings) -> Iterator[tuple[TokenPosting, tuple[TokenTime, ...]]]:
    """The tokens of a tick that are not zero, each with its times."""
    for tokens in postings.tokens:
        if tokens.count:
            yield tokens, tuple(token_times(tokens, postings))


def token_times(tokens: TokenPosting, postings: Postings) -> Iterator[TokenTime]:
    """A tick's tokens by the times of their cost, in proportion to these. Parts of zero are left out.

    A price is a quotient of both: it would have money of ticks whose tokens are of a later minute or day.
    Time without hourly rent has no tokens: the host was off or asleep.
    Late charges of the last hour are by the minute, and so are tokens of a segment with unpriced time.
    Without segments all are of the tick's end.
    """
    segments = postings.segments
    if tokens.since is None and len(segments) == 1 and not segments[0].unpriced:  # as in nearly all ticks
        yield TokenTime(segments[0].start, segments[0].day, tokens.count)
        return
    up = up_times(segments)
    if tokens.since is not None:
        since = tokens.since
        later = [min(time, max(0, part.end - since)) for time, part in zip(up, segments, strict=True)]
        up = later if any(later) else up
    start = segments[0].start if segments else postings.end
    times = list(_before(tokens.since, start, postings.zone))
    for segment, time in zip(segments, up, strict=True):
        if segment.unpriced:
            times += _minutes(segment, time, postings.end)
        else:
            times.append((segment.start, segment.day, time))
    if not times:
        yield TokenTime(postings.end - 1, postings.day, tokens.count)
        return
    length = sum(time for _at, _day, time in times)
    passed = 0
    before = 0
    for at, day, time in times:
        passed += time
        after = tokens.count * passed // length
        if after > before:
            yield TokenTime(at, day, after - before)
        before = after


def _minutes(segment: Segment, time: Nanoseconds, end: Instant) -> Iterator[tuple[Instant, str, Nanoseconds]]:
    """The parts of a segment's time: what is before the last minutes, and each of these."""
    start = segment.start
    length = segment.end - segment.start
    recent = max(start, end - CUT_BY_MINUTE)
    cuts = [start, *_within(recent, segment.end, NANOSECONDS_PER_MINUTE), segment.end]
    for first, last in pairwise(cuts):
        yield first, segment.day, time * (last - start) // length - time * (first - start) // length


def _within(start: Instant, end: Instant, grain: Nanoseconds) -> range:
    return range(start - start % grain + grain, end, grain)


def _before(since: Instant | None, start: Instant, zone: str) -> Iterator[tuple[Instant, str, Nanoseconds]]:
    """Start, local day and length of the parts of a silence before the tick: hours, and the last minutes."""
    if since is None or since >= start or not zone:
        return
    since = max(since, start - SILENCE_MAX)
    local = ZoneInfo(zone)
    recent = max(since, start - CUT_BY_MINUTE)
    cuts = {since, start, *_within(since, recent, NANOSECONDS_PER_HOUR)}
    cuts.update(_within(recent, start, NANOSECONDS_PER_MINUTE))
    cut = day_of(since, local).end
    while cut < start:
        cuts.add(cut)
        cut = day_of(cut, local).end
    for first, last in pairwise(sorted(cuts)):
        yield first, day_of(first, local).name, last - first
