"""Corrections of changed prices that are in the ledger already, so that no later one makes them again. Pure.

They are known by their kind and key. Rows that have none are of an earlier release, or were entered without
it: those are known by the sentence that was then in their reason.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from zoneinfo import ZoneInfo

from exporter.ledger.adjustments import REPRICING, Adjustment
from exporter.tariff.calendar import first_instant
from exporter.units import Instant, Picodollars

_REASON: Final = re.compile(r"prices since (\d{4}-\d{2}-\d{2}) were changed afterwards", re.ASCII)

_KEY: Final = re.compile(r"repricing/(\d{4}-\d{2}-\d{2})/\d{1,9}", re.ASCII)

Debt = tuple[str, str, str]
"""Month, product and team."""


@dataclass(frozen=True, slots=True)
class Entered:
    """What such adjustments come to, posted or waiting. `since` is the earliest that any of them is about.

    `days` are the last day that any is dated in each month, `counts` how many there are.
    """

    since: Instant | None = None
    amounts: Mapping[Debt, Picodollars] = field(default_factory=dict)
    days: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[Debt, int] = field(default_factory=dict)


def reason(day: str) -> str:
    """Why a correction is made: prices of the time since a day like 2026-11-10 were changed later."""
    return f"prices since {day} were changed afterwards"


def key(day: str, number: int) -> str:
    """The key of a correction: the first day that it is about, and its number in its month for its owner."""
    return f"{REPRICING}/{day}/{number}"


def key_day(text: str) -> str | None:
    """The day of a key, like 2026-11-10; `None` for what is no key."""
    found = _KEY.fullmatch(text)
    return None if found is None else found[1]


def entered(adjustments: Iterable[Adjustment], zone: ZoneInfo) -> Entered:
    """The corrections of changed prices among adjustments."""
    since: Instant | None = None
    amounts: dict[Debt, Picodollars] = {}
    days: dict[str, str] = {}
    counts: dict[Debt, int] = {}
    for each in adjustments:
        told = _since(each, zone)
        if told is None:
            continue
        since = told if since is None else min(since, told)
        debt = each.month, each.product, each.team
        amounts[debt] = amounts.get(debt, 0) + each.amount
        counts[debt] = counts.get(debt, 0) + 1
        days[each.month] = max(days.get(each.month, ""), each.day)
    return Entered(since, amounts, days, counts)


def _since(adjustment: Adjustment, zone: ZoneInfo) -> Instant | None:
    """The first instant of the day that it is about; `None` where it is another, or no day."""
    if adjustment.kind == REPRICING:
        day = key_day(adjustment.key)
    else:
        found = _REASON.search(adjustment.reason)
        day = None if found is None else found[1]
    if day is None:
        return None
    try:
        year, month, number = map(int, day.split("-"))
        return first_instant(year, month, number, zone)
    except ValueError:
        return None
