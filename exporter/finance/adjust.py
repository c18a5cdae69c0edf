"""The checks of an adjustment that a person writes, and the texts about its entry. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final
from zoneinfo import ZoneInfo

from exporter.config import Config
from exporter.config.problems import RefusedError, shown
from exporter.ledger.adjustment_entry import AdjustmentEntry, AdjustmentRequest, ProductTeams
from exporter.reports.repricing import key_day
from exporter.reports.rounding import dollars_text
from exporter.tariff.calendar import day_of
from exporter.units import PICODOLLARS_PER_DOLLAR, Instant, Picodollars, plain_dollars

DOLLARS_MAX: Final = 1_000_000
"""The largest adjustment, up or down."""

DECIMALS: Final = 12
"""The ledger counts picodollars."""

REASON_CHARACTERS: Final = 500

_AMOUNT = re.compile(r"([+-]?)(\d{1,40})?(?:\.(\d{0,40}))?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class AdjustmentFields:
    """An adjustment as the command line has it, unchecked."""

    amount: str
    date: str
    product: str
    team: str | None
    reason: str
    key: str = ""


def checked_request(fields: AdjustmentFields, now: Instant, zone: ZoneInfo) -> AdjustmentRequest:
    """The adjustment that the fields ask for.

    Raises:
        RefusedError: a field makes no sense.
    """
    today = day_of(now, zone).name
    reason = fields.reason.strip()
    if not reason:
        raise RefusedError("--reason: is blank: give the reason of the correction")
    if not reason.isprintable():
        raise RefusedError("--reason: has characters that cannot be printed, or more than one line")
    if len(reason) > REASON_CHARACTERS:
        raise RefusedError(f"--reason: has {len(reason)} characters, at most {REASON_CHARACTERS} are kept")
    return AdjustmentRequest(
        amount=_amount(fields.amount),
        day=_day(fields.date, today, zone.key),
        product=fields.product,
        team=fields.team,
        reason=reason,
        key=_key(fields.key, today),
    )


def _amount(text: str) -> Picodollars:
    """Picodollars of an amount, exact from its digits."""
    match = _AMOUNT.fullmatch(text)
    sign, whole, rest = match.groups(default="") if match else ("", "", "")
    if not whole and not rest:
        raise RefusedError(
            f"--amount: {shown(text)} is no amount: write digits, with a point for cents and a minus for "
            "what is to be taken off, like -12.34"
        )
    decimals = rest.rstrip("0")
    if len(decimals) > DECIMALS:
        raise RefusedError(f"--amount: {shown(text)} has more than {DECIMALS} decimals; round it")
    amount = int(whole or "0") * PICODOLLARS_PER_DOLLAR + int(decimals.ljust(DECIMALS, "0"))
    if amount == 0:
        raise RefusedError(f"--amount: {shown(text)} would change nothing")
    if amount > DOLLARS_MAX * PICODOLLARS_PER_DOLLAR:
        raise RefusedError(
            f"--amount: {shown(text)} is out of range: dollars, -{DOLLARS_MAX} to {DOLLARS_MAX}"
        )
    return -amount if sign == "-" else amount


def _day(text: str, today: str, zone: str) -> str:
    """A day of the calendar that is not ahead, in this month or the twelve before it."""
    if not _DATE.fullmatch(text):
        raise RefusedError(f"--date: {shown(text)} is no date: expected one like {today}")
    try:
        date.fromisoformat(text)
    except ValueError:
        raise RefusedError(f"--date: {text} does not exist in the calendar") from None
    if text > today:
        raise RefusedError(f"--date: {text} is in the future: today is {today} in {zone}")
    first = f"{int(today[:4]) - 1}{today[4:7]}-01"
    if text < first:
        raise RefusedError(f"--date: {text} is before {first}, from where on history is kept (13 months)")
    return text


def _key(text: str, today: str) -> str:
    """Empty without one; else as a proposed line has it."""
    if not text:
        return ""
    day = key_day(text)
    if day is None:
        raise RefusedError(
            f"--key: {shown(text)} is the key of no proposed line; leave it out, or take the line as "
            "`adjust --proposals` prints it"
        )
    try:
        date.fromisoformat(day)
    except ValueError:
        raise RefusedError(f"--key: {day} does not exist in the calendar") from None
    if day > today:
        raise RefusedError(f"--key: {day} is in the future: take the line as `adjust --proposals` prints it")
    return text


def product_teams(config: Config) -> ProductTeams:
    """The products that a configuration names, and the teams of each."""
    products: dict[str, frozenset[str]] = {}
    for rule in config.ownership:
        products[rule.product] = products.get(rule.product, frozenset()) | {rule.team}
    for budget in config.budgets:
        if budget.product:
            products.setdefault(budget.product, frozenset())
    return products


def entry_text(entry: AdjustmentEntry) -> str:
    """The row that was added, who posts it, and what its month and product then come to."""
    made = entry.adjustment
    when = {
        "": "no daemon has this ledger now; the next one posts it at its first tick",
        "unknown": "the daemon posts it at its next tick",
    }.get(entry.daemon, f"the daemon (process {entry.daemon}) posts it at its next tick")
    return (
        f"adjustment {made.number} is entered: {_row(entry)}\n{when[0].upper()}{when[1:]}; until then "
        f"reports show it as waiting.\nWith all that waits, {made.month} then comes to "
        f"{dollars_text(entry.month)} dollars, product {made.product} to {dollars_text(entry.product)}."
    )


def dry_run_text(entry: AdjustmentEntry) -> str:
    """The row that a dry run would add, and what its month and product would come to."""
    made = entry.adjustment
    who = {"": "the next daemon", "unknown": "the daemon"}.get(
        entry.daemon, f"the daemon (process {entry.daemon})"
    )
    return (
        f"nothing is entered; without --dry-run adjustment {made.number} would be: {_row(entry)}\n"
        f"{who[0].upper()}{who[1:]} would post it at its {'first' if not entry.daemon else 'next'} tick.\n"
        f"With all that waits, {made.month} would then come to {dollars_text(entry.month)} dollars, "
        f"product {made.product} to {dollars_text(entry.product)}."
    )


def _row(entry: AdjustmentEntry) -> str:
    made = entry.adjustment
    return (
        f"{plain_dollars(made.amount)} dollars, {made.day}, "
        f'product {made.product}, team {made.team}: "{made.reason}"'
    )


def entry_warnings(entry: AdjustmentEntry, *, dry_run: bool) -> Iterator[str]:
    """Warnings about an added row that may be a mistake, and how to undo it."""
    made = entry.adjustment
    undo = f": if that is not meant, enter {plain_dollars(-made.amount)} with another reason"
    comes, undo = ("would be", "") if dry_run else ("is", undo)
    below = [
        name
        for name, total in ((f"product {made.product}", entry.product), ("all products", entry.month))
        if total < 0
    ]
    if below:
        yield f"{made.month} {comes} below zero for {' and '.join(below)}{undo}"
    if entry.begun and made.day < entry.begun:
        yield f"{made.day} is before {entry.begun}, the first day that this ledger metered{undo}"
