"""Corrections of changed prices that are in the ledger already, so that no later one makes them again. Pure.

They are known by their reason: the one that a reload puts into its lines.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from zoneinfo import ZoneInfo

from exporter.ledger.adjustments import Adjustment
from exporter.tariff.calendar import first_instant
from exporter.units import Instant, Picodollars

_REASON: Final = re.compile(r"prices since (\d{4})-(\d{2})-(\d{2}) were changed afterwards", re.ASCII)

Debt = tuple[str, str, str]
"""Month, product and team."""


@dataclass(frozen=True, slots=True)
class Entered:
    """What such adjustments come to, posted or waiting. `since` is the earliest that any of them is about.

    `days` are the last day that any is dated in each month.
    """

    since: Instant | None = None
    amounts: Mapping[Debt, Picodollars] = field(default_factory=dict)
    days: Mapping[str, str] = field(default_factory=dict)


def reason(day: str) -> str:
    """Why a correction is made: prices of the time since a day like 2026-11-10 were changed later."""
    return f"prices since {day} were changed afterwards"


def entered(adjustments: Iterable[Adjustment], zone: ZoneInfo) -> Entered:
    """The corrections among adjustments: those whose reason begins as `reason` writes it."""
    since: Instant | None = None
    amounts: dict[Debt, Picodollars] = {}
    days: dict[str, str] = {}
    for each in adjustments:
        told = _since(each.reason, zone)
        if told is None:
            continue
        since = told if since is None else min(since, told)
        debt = each.month, each.product, each.team
        amounts[debt] = amounts.get(debt, 0) + each.amount
        days[each.month] = max(days.get(each.month, ""), each.day)
    return Entered(since, amounts, days)


def _since(text: str, zone: ZoneInfo) -> Instant | None:
    """The first instant of the day that a reason tells; `None` where it is another, or no day."""
    found = _REASON.match(text)
    if found is None:
        return None
    try:
        year, month, day = map(int, found.groups())
        return first_instant(year, month, day, zone)
    except ValueError:
        return None
