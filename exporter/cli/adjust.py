"""The wiring of `adjust`: what the flags say, checked, and entered into the daemon's ledger."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from exporter.cli import status
from exporter.cli.build import host_name
from exporter.cli.ledger_zone import books_zone
from exporter.cli.terminal import complain, tell
from exporter.clock import Clock, SystemClock
from exporter.config import Config, ConfigError, load
from exporter.config.problems import RefusedError, shown
from exporter.config.settings import cost_policy
from exporter.ledger.adjustment_entry import (
    AdjustmentEntry,
    AdjustmentRequest,
    EntryError,
    ProductTeams,
    enter,
)
from exporter.ledger.errors import LedgerError
from exporter.ledger.reader import LedgerReader
from exporter.readings import UNKNOWN_LOCATION
from exporter.reports.correction_proposals import proposals
from exporter.reports.repricing import key_day
from exporter.reports.rounding import hundredths, rounded
from exporter.sources.location import location_now
from exporter.tariff.calendar import day_of
from exporter.units import PICODOLLARS_PER_DOLLAR, Instant, Picodollars, plain_dollars

MOST_DOLLARS: Final = 1_000_000
"""What one adjustment may move, either way."""

CENT: Final = PICODOLLARS_PER_DOLLAR // 100

DECIMALS: Final = 12
"""The books count picodollars."""

REASON_CHARACTERS: Final = 500

_AMOUNT = re.compile(r"([+-]?)(\d{1,40})?(?:\.(\d{0,40}))?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class AdjustFlags:
    """What the command line says, as it was written."""

    config_file: Path | None
    ledger_path: Path | None
    amount: str
    date: str
    product: str
    team: str | None
    reason: str
    key: str = ""
    dry_run: bool = False


def adjust(flags: AdjustFlags, clock: Clock | None = None) -> int:
    """Enter one adjustment, or say what that would do; 0, 1 (no ledger takes it) or 2 (it makes no sense)."""
    now = (clock or SystemClock()).wall()
    try:
        config = load(flags.config_file)
        path = flags.ledger_path or config.ledger_path
        entry = _entry(flags, now, _zone(path, config, flags.config_file))
        entered = enter(path, entry, _known(config), now, dry_run=flags.dry_run)
    except (ConfigError, EntryError, RefusedError) as error:
        complain(error)
        return status.CONFIGURATION
    except LedgerError as error:
        complain(f"{error}; name the daemon's ledger with --ledger.path or --config.file")
        return status.FAILED
    sys.stdout.write(f"{path}: {_would(entered) if flags.dry_run else _told(entered)}\n")
    for warning in _warnings(entered, dry_run=flags.dry_run):
        tell(f"warning: {warning}\n", sys.stderr)
    return status.OK


def proposed(config_file: Path | None, ledger_path: Path | None, clock: Clock | None = None) -> int:
    """Print the lines that correct posted money; 0, 1 (no ledger can be read) or 2 (no prices to go by)."""
    clock = clock or SystemClock()
    if config_file is None:
        complain(RefusedError("--proposals goes by prices with a date: name the daemon's --config.file"))
        return status.CONFIGURATION
    try:
        config = load(config_file)
        path = ledger_path or config.ledger_path
        by_place = any(rule.depends_on_location for rule in config.hardware)
        place = location_now(config, clock) if by_place else UNKNOWN_LOCATION
        with LedgerReader.open(path) as ledger:
            zone = books_zone(ledger, config, config_file)
            last = ledger.state().wall
            now = clock.wall() if last is None else min(last, clock.wall())
            tariff = cost_policy(config, host_name(), place).tariff
            lines = proposals(tariff, ledger, zone, now, _files(config_file, ledger_path))
    except ConfigError as error:
        complain(error)
        return status.CONFIGURATION
    except LedgerError as error:
        complain(f"{error}; name the daemon's ledger with --ledger.path or --config.file")
        return status.FAILED
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return status.OK


def _files(config_file: Path, ledger_path: Path | None) -> tuple[str, ...]:
    """Flags by which a printed line, run anywhere, finds the same configuration and ledger."""
    ledger = () if ledger_path is None else (f"--ledger.path={ledger_path.absolute()}",)
    return (f"--config.file={config_file.absolute()}", *ledger)


def _zone(path: Path, config: Config, config_file: Path | None) -> ZoneInfo:
    """As the ledger tells it. What is wrong with a file that cannot be read is told when it is written."""
    try:
        ledger = LedgerReader.open(path)
    except LedgerError:
        return config.timezone
    with ledger:
        return books_zone(ledger, config, config_file)


def _entry(flags: AdjustFlags, now: Instant, zone: ZoneInfo) -> AdjustmentRequest:
    return AdjustmentRequest(
        amount=_amount(flags.amount),
        day=_day(flags.date, day_of(now, zone).name, zone.key),
        product=flags.product,
        team=flags.team,
        reason=_reason(flags.reason),
        key=_key(flags.key, day_of(now, zone).name),
    )


def _amount(text: str) -> Picodollars:
    """Exact, from the digits; a float never sees it."""
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
    if amount > MOST_DOLLARS * PICODOLLARS_PER_DOLLAR:
        raise RefusedError(
            f"--amount: {shown(text)} is out of range: dollars, -{MOST_DOLLARS} to {MOST_DOLLARS}"
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


def _reason(text: str) -> str:
    reason = text.strip()
    if not reason:
        raise RefusedError("--reason: is blank: say why, for whoever reads that month later")
    if not reason.isprintable():
        raise RefusedError("--reason: has characters that cannot be printed, or more than one line")
    if len(reason) > REASON_CHARACTERS:
        raise RefusedError(f"--reason: has {len(reason)} characters, at most {REASON_CHARACTERS} are kept")
    return reason


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


def _known(config: Config) -> ProductTeams:
    """The products that the configuration names, and the teams of each."""
    known: dict[str, frozenset[str]] = {}
    for product, teams in _named(config):
        known[product] = known.get(product, frozenset()) | teams
    return known


def _named(config: Config) -> Iterator[tuple[str, frozenset[str]]]:
    for rule in config.ownership:
        yield rule.product, frozenset({rule.team})
    for budget in config.budgets:
        if budget.product:
            yield budget.product, frozenset()


def _told(entered: AdjustmentEntry) -> str:
    made = entered.adjustment
    when = {
        "": "no daemon has this ledger now; the next one posts it at its first tick",
        "unknown": "the daemon posts it at its next tick",
    }.get(entered.daemon, f"the daemon (process {entered.daemon}) posts it at its next tick")
    return (
        f"adjustment {made.number} is entered: {_row(entered)}\n"
        f"{when[0].upper()}{when[1:]}; until then reports tell it as waiting.\n"
        f"With all that waits, {made.month} then comes to {_cents(entered.month)} dollars, "
        f"product {made.product} to {_cents(entered.product)}."
    )


def _would(entered: AdjustmentEntry) -> str:
    made = entered.adjustment
    who = {"": "the next daemon", "unknown": "the daemon"}.get(
        entered.daemon, f"the daemon (process {entered.daemon})"
    )
    return (
        f"nothing is entered; without --dry-run adjustment {made.number} would be: {_row(entered)}\n"
        f"{who[0].upper()}{who[1:]} would post it at its {'first' if not entered.daemon else 'next'} tick.\n"
        f"With all that waits, {made.month} would then come to {_cents(entered.month)} dollars, "
        f"product {made.product} to {_cents(entered.product)}."
    )


def _row(entered: AdjustmentEntry) -> str:
    made = entered.adjustment
    return (
        f"{plain_dollars(made.amount)} dollars, {made.day}, "
        f'product {made.product}, team {made.team}: "{made.reason}"'
    )


def _warnings(entered: AdjustmentEntry, *, dry_run: bool) -> Iterator[str]:
    """What a person may not have meant; it is entered all the same, so that they say how to undo it."""
    made = entered.adjustment
    undo = f": if that is not meant, enter {plain_dollars(-made.amount)} with another reason"
    comes, undo = ("would be", "") if dry_run else ("is", undo)
    below = [
        name
        for name, total in ((f"product {made.product}", entered.product), ("all products", entered.month))
        if total < 0
    ]
    if below:
        yield f"{made.month} {comes} below zero for {' and '.join(below)}{undo}"
    if entered.begun and made.day < entered.begun:
        yield f"{made.day} is before {entered.begun}, the first day that this ledger metered{undo}"


def _cents(amount: Picodollars) -> str:
    return hundredths(*rounded([amount], CENT))
