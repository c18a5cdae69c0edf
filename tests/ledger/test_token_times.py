"""The minutes, hours and days of a tick's tokens, above all of those that are read late."""

from collections import Counter

import pytest

from exporter.cost.postings import Postings, Segment, TokenPosting
from exporter.ledger.token_times import token_times
from tests.kit.units import HOUR, MINUTE, NOVEMBER, SECOND
from tests.ledger.ticks import CHAT

MIDNIGHT = NOVEMBER + 18 * HOUR + 15 * MINUTE
"""00:00 of 2 November in Kathmandu."""


def tick(end: int, *downs: int) -> Postings:
    """A tick of as many segments of five seconds, each down for so long."""
    starts = [end - 5 * SECOND * left for left in range(len(downs), 0, -1)]
    segments = tuple(
        Segment(start, start + 5 * SECOND, "2026-11", "2026-11-02", 0, (), (), down=down)
        for start, down in zip(starts, downs, strict=True)
    )
    return Postings(end, segments, day="2026-11-02", zone="Asia/Kathmandu")


def by(name: str, count: int, since: int | None, postings: Postings, grain: int = 1) -> dict[object, int]:
    """Tokens by the day, or the time in units of a grain."""
    sums: Counter[object] = Counter()
    for part in token_times(TokenPosting(CHAT, "generation", count, since), postings):
        sums[part.day if name == "day" else part.at // grain] += part.tokens
    return dict(sums)


@pytest.mark.parametrize("since", [None, MIDNIGHT + 4 * HOUR - 10 * SECOND, MIDNIGHT + 9 * HOUR])
def test_tokens_of_a_read_in_time_are_the_ticks(since: int | None) -> None:
    """So are those of a last read later than now, of a clock that was set back since."""
    assert by("at", 7, since, tick(MIDNIGHT + 4 * HOUR, 0, 0)) == {
        MIDNIGHT + 4 * HOUR - 10 * SECOND: 3,
        MIDNIGHT + 4 * HOUR - 5 * SECOND: 4,
    }


def test_tokens_of_a_silence_over_midnight_are_of_both_days() -> None:
    """Ten minutes before it and 30 after it, 100 tokens a second; the last 10 s are the tick's own."""
    postings = tick(MIDNIGHT + 30 * MINUTE, 0, 0)
    assert by("day", 240_000, MIDNIGHT - 10 * MINUTE, postings) == {
        "2026-11-01": 60_000,
        "2026-11-02": 180_000,
    }
    minutes = by("at", 240_000, MIDNIGHT - 10 * MINUTE, postings, MINUTE)
    assert minutes == dict.fromkeys(range(MIDNIGHT // MINUTE - 10, MIDNIGHT // MINUTE + 30), 6_000)


def test_a_long_silence_is_by_the_hour_before_its_last_minutes() -> None:
    """From 15 minutes before an hour on, ten hours: 9 parts of the past, 62 minutes and two of the tick."""
    parts = list(
        token_times(
            TokenPosting(CHAT, "generation", 3_600_000, MIDNIGHT + 30 * MINUTE),
            tick(MIDNIGHT + 10 * HOUR + 30 * MINUTE, 0, 0),
        )
    )
    # 18:45 to 19:00, nine hours to 03:42:50, the rest of that minute, 61 whole ones, 50 s, and twice 5 s.
    assert [part.tokens for part in parts[:2]] == [90_000, 360_000]
    assert [part.tokens for part in parts[-4:]] == [6_000, 5_000, 500, 500]
    assert sum(part.tokens for part in parts) == 3_600_000


def test_a_silence_of_years_is_over_forty_days() -> None:
    """A clock that jumped: 40 days and the tick's ten seconds, one token for every ten seconds."""
    end = MIDNIGHT + 4 * HOUR
    parts = by("at", 345_601, 0, tick(end, 0, 0), HOUR)
    assert min(parts) == (end - 10 * SECOND) // HOUR - 960  # type: ignore[type-var]
    assert sum(parts.values()) == 345_601


def test_no_tokens_are_of_time_in_which_the_host_was_down() -> None:
    """3 of the first 5 s, all of the second: 2 and 5 s are left, of 7 tokens. All down: halves."""
    end = MIDNIGHT + 4 * HOUR
    assert by("at", 7, None, tick(end, 3 * SECOND, 5 * SECOND, 0)) == {
        end - 15 * SECOND: 2,
        end - 5 * SECOND: 5,
    }
    assert list(by("at", 8, None, tick(end, 5 * SECOND, 5 * SECOND)).values()) == [4, 4]


def test_tokens_since_a_boot_are_after_it() -> None:
    """A gap of 15 s, the boot 6 s before its end: one of the second five seconds and all of the last ones."""
    end = MIDNIGHT + 4 * HOUR
    parts = by("at", 12, end - 6 * SECOND, tick(end, 3 * SECOND, 0, 0))
    assert parts == {end - 10 * SECOND: 2, end - 5 * SECOND: 10}


def test_without_segments_tokens_are_of_the_end() -> None:
    """The last instant of the tick, and its day; with a silence before it they are of that."""
    assert by("at", 5, None, tick(MIDNIGHT)) == {MIDNIGHT - 1: 5}
    assert by("day", 6, MIDNIGHT - MINUTE, tick(MIDNIGHT + MINUTE)) == {"2026-11-01": 3, "2026-11-02": 3}
