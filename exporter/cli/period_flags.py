"""The flags of a period: a month, a quarter, or the days from one date to another."""

import argparse
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from exporter.cli import flags
from exporter.cli.status import failing
from exporter.tariff.period import Period
from exporter.units import NANOSECONDS_PER_SECOND, Instant


def month_or_quarter_value(text: str) -> str:
    """A month like 2026-10 or a quarter like 2026-Q3."""
    if not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2]|Q[1-4])", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no month: expected one like 2026-10, or a quarter like 2026-Q3"
        )
    return flags.of_calendar(text)


def date_value(text: str) -> date:
    """A day like 2026-10-31."""
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text, re.ASCII):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no date: expected one like 2026-10-31")


def add(verb: argparse.ArgumentParser) -> None:
    """Add the flags."""
    verb.add_argument(
        "--month",
        type=month_or_quarter_value,
        metavar="YYYY-MM",
        help="the month, or a quarter like 2026-Q3 (default: the current month)",
    )
    verb.add_argument("--since", type=date_value, metavar="DATE", help="the first day, in place of --month")
    verb.add_argument(
        "--until", type=date_value, metavar="DATE", help="the last day, with --since (default: today)"
    )


def check(options: argparse.Namespace) -> None:
    """Exit on flags that clash."""
    month, since, until = options.month, options.since, options.until
    if month is not None and (since is not None or until is not None):
        options.parser.error("--month takes the place of --since and --until")
    if until is not None and since is None:
        options.parser.error("--until needs --since")
    if since is not None and until is not None and until < since:
        options.parser.error(f"--until={until} is before --since={since}")


@dataclass(frozen=True, slots=True)
class PeriodFlags:
    """A period as the command line has it. Without any flag it is the current month."""

    month: str | None = None
    since: date | None = None
    until: date | None = None

    def period(self, zone: ZoneInfo, now: Instant) -> Period:
        """The period in a time zone.

        Raises:
            VerbFailedError: it ends before it begins, or lies in no year that a calendar has.
        """
        today = datetime.fromtimestamp(now // NANOSECONDS_PER_SECOND, UTC).astimezone(zone).date()
        with failing(ValueError):
            if self.since is not None:
                return Period.between(self.since, self.until or today)
            return Period.named(self.month or f"{today:%Y-%m}")
