"""Entry of an adjustment while a daemon may run: one row, in its own transaction."""

import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from exporter.cost.money import add
from exporter.cost.postings import UNASSIGNED
from exporter.ledger import adjustments, contents, files, history, schema
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.errors import DamagedError, LedgerError, primary_code
from exporter.ledger.files import RUN_AS_DAEMON_USER, ledger_file
from exporter.ledger.schema import Keys, Names, day_name, day_number, month_days
from exporter.readings import LABEL_CHARACTERS
from exporter.units import PICODOLLARS_PER_DOLLAR, Instant, Picodollars, plain_dollars

PATIENCE_SECONDS: Final = 5
"""How long SQLite waits for the daemon's tick, which takes milliseconds, or for a person's shell."""

MOST_DOLLARS: Final = 8_000_000
"""Largest month of a product and a team: a total holds 9.2 million, and costs continue."""

NAMES_LISTED: Final = 20

_OF_ANOTHER_USER: Final = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM})

ProductTeams = Mapping[str, frozenset[str]]
"""Products, and the teams of each."""


class EntryError(Exception):
    """The entry does not fit this ledger; the message says what would. Nothing was entered."""


@dataclass(frozen=True, slots=True)
class AdjustmentRequest:
    """An adjustment to be entered."""

    amount: Picodollars
    day: str
    """Its date, like 2026-10-31."""
    product: str
    team: str | None
    """`None` for the team that was billed."""
    reason: str
    key: str = ""
    """Key of an adjustment of changed prices, empty for all others."""


@dataclass(frozen=True, slots=True)
class AdjustmentEntry:
    """The entered row, and what it does to its month."""

    adjustment: Adjustment
    daemon: str
    """Pid of the process that has locked the ledger: "unknown" without a pid, "" for none."""
    month: Picodollars
    """Sum of its month, with everything that waits."""
    product: Picodollars
    """Sum of its product in that month."""
    begun: str
    """First metered day of the ledger, empty without history."""


def enter(
    path: Path, entry: AdjustmentRequest, configured: ProductTeams, now: Instant, *, dry_run: bool = False
) -> AdjustmentEntry:
    """Append one adjustment, which the daemon posts at its next tick.

    A dry run does the same in a transaction that is rolled back, so that it fails as the entry would.

    Args:
        path: the ledger's file.
        entry: the adjustment.
        configured: products of the configuration, and their teams.
        now: the wall clock's time.
        dry_run: nothing is entered.

    Raises:
        EntryError: no such product or team, or an amount that the month cannot take.
        LedgerError: no ledger here can be written; it is unchanged.
    """
    path = ledger_file(path)
    try:
        if not os.path.lexists(f"{path}-wal") and files.opened_elsewhere(path):
            # A write without the daemon's log would be lost when the daemon restores that.
            raise LedgerError(
                f"the log of {path} was deleted; the daemon restores it at its next tick: try again"
            )
        contents.refuse_other_files(path)
        with contents.failures(path):
            connection = schema.connect(path.absolute().as_uri() + "?mode=rw")
            with closing(connection):
                connection.execute(f"PRAGMA busy_timeout = {PATIENCE_SECONDS * 1000}")
                contents.check(connection, path)
                connection.execute("PRAGMA synchronous = FULL")
                with contents.transaction(connection, keep=not dry_run):
                    made = _insert(connection, entry, configured, now)
                    outcome = _outcome(connection, made)
    except DamagedError as error:
        raise LedgerError(f"{path} is no ledger that can be adjusted: {error}") from error
    except KeyError as error:
        raise LedgerError(
            f"{path} is no ledger that can be adjusted: a row refers to key {error}, which is missing"
        ) from error
    except OSError as error:
        raise LedgerError(f"{path} cannot be written ({error.strerror}){_advice(error)}") from error
    except sqlite3.Error as error:
        raise LedgerError(f"{path} cannot be written ({error}){_advice(error)}") from error
    return replace(outcome, daemon=files.lock_holder(path))


def _advice(error: Exception) -> str:
    """Advice for another user's file; a full disk needs something else."""
    code = primary_code(error)
    foreign = isinstance(error, PermissionError) or code in _OF_ANOTHER_USER
    return f": {RUN_AS_DAEMON_USER}" if foreign else ""


def _insert(
    connection: sqlite3.Connection, entry: AdjustmentRequest, configured: ProductTeams, now: Instant
) -> Adjustment:
    names = Names(connection)
    products: dict[str, set[str]] = {UNASSIGNED: {UNASSIGNED}}
    for product, teams in configured.items():
        products.setdefault(product, set()).update(teams)
    for table in ("owner", "months"):
        cells = connection.execute(f"SELECT DISTINCT product, team FROM {table}")  # noqa: S608 - constants
        for product_key, team_key in cells:
            products.setdefault(names.label(product_key), set()).add(names.label(team_key))
    if entry.product not in products:
        near = get_close_matches(entry.product, sorted(products), n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise EntryError(
            f"neither the ledger nor the configuration knows product {_quoted(entry.product)}; {hint}"
            f"they know: {_listed(products)}"
        )
    posted = history.read_months(connection, names)
    billed = {cell.team for cell in posted if (cell.month, cell.product) == (entry.day[:7], entry.product)}
    draft = Adjustment(
        number=0,
        day=entry.day,
        product=entry.product,
        team=_team(entry, products[entry.product] or {UNASSIGNED}, billed),
        amount=entry.amount,
        reason=entry.reason,
        entered=now,
        posted=None,
        kind=adjustments.REPRICING if entry.key else adjustments.MANUAL,
        key=entry.key,
    )
    keys = Keys(connection)
    owner = keys.of(draft.product), keys.of(draft.team)
    _refuse_duplicate(connection, draft, owner)
    _check_month(connection, draft, keys)
    values = (day_number(draft.day), *owner, draft.amount, draft.reason, now, draft.kind, draft.key)
    number = connection.execute(_INSERT, values).lastrowid or 0
    return replace(draft, number=number)


def _refuse_duplicate(connection: sqlite3.Connection, draft: Adjustment, owner: tuple[int, int]) -> None:
    """Refuse a second entry, by its key if it has one: two price changes may have the same amount."""
    if draft.key:
        for (number,) in connection.execute(_KEYED, (draft.key, *owner, *month_days(draft.month))):
            raise EntryError(
                f"adjustment {number} has the key {draft.key}: nothing was entered; "
                "`adjust --proposals` prints what is still missing"
            )
        return
    same = day_number(draft.day), *owner, draft.amount, draft.reason
    for (number,) in connection.execute(_SAME, same):
        raise EntryError(
            f"adjustment {number} says the same: nothing was entered; "
            "if it is meant twice, let the reason say so"
        )


def _outcome(connection: sqlite3.Connection, made: Adjustment) -> AdjustmentEntry:
    """The entry with the sums of its month in the file."""
    keys = Keys(connection)
    posted = "SELECT product, picodollars FROM months WHERE month = ?"
    amounts = connection.execute(posted, (keys.of(made.month),)).fetchall()
    amounts += connection.execute(_MONTH_WAITS, month_days(made.month)).fetchall()
    totals: dict[int, Picodollars] = {}
    for product, amount in amounts:
        add(totals, product, amount)
    (first,) = connection.execute("SELECT min(day) FROM daily_covered").fetchone()
    return AdjustmentEntry(
        adjustment=made,
        daemon="",
        month=sum(totals.values()),
        product=totals[keys.of(made.product)],
        begun="" if first is None else day_name(first),
    )


def _team(entry: AdjustmentRequest, teams: set[str], billed: set[str]) -> str:
    """The team of the entry, else the only one that the month was billed to, else the only one."""
    if entry.team is not None:
        if entry.team not in teams:
            raise EntryError(
                f"product {entry.product} has no team {_quoted(entry.team)}; it has: {_listed(teams)}"
            )
        return entry.team
    candidates = billed or teams
    if len(candidates) > 1:
        raise EntryError(
            f"product {entry.product} has several teams, say which with --team: {_listed(candidates)}"
        )
    (only,) = candidates
    return only


def _check_month(connection: sqlite3.Connection, draft: Adjustment, keys: Keys) -> None:
    """Check that the cell can hold the posted amount, the waiting ones and this one."""
    owner = keys.of(draft.product), keys.of(draft.team)
    (posted,) = connection.execute(
        _CELL, (keys.of(draft.month), *owner, keys.of(draft.cell.price_basis))
    ).fetchone()
    (waiting,) = connection.execute(_CELL_WAITS, (*owner, *month_days(draft.month))).fetchone()
    before = posted + waiting
    after = before + draft.amount
    if abs(after) > max(abs(before), MOST_DOLLARS * PICODOLLARS_PER_DOLLAR):
        raise EntryError(
            f"{draft.month} would come to {plain_dollars(after)} dollars for product {draft.product}, "
            f"team {draft.team}: the ledger takes at most {MOST_DOLLARS} either way"
        )


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - NAMES_LISTED} more" if len(ordered) > NAMES_LISTED else ""
    return ", ".join(ordered[:NAMES_LISTED]) + more


def _quoted(text: str) -> str:
    clean = "".join(character if character.isprintable() else "?" for character in text[:LABEL_CHARACTERS])
    return f'"{clean}"'


_SAME: Final = (
    "SELECT id FROM adjustment"
    " WHERE (day, product, team, picodollars, reason) = (?, ?, ?, ?, ?) ORDER BY id LIMIT 1"
)
_KEYED: Final = (
    "SELECT id FROM adjustment"
    " WHERE (key, product, team) = (?, ?, ?) AND day BETWEEN ? AND ? ORDER BY id LIMIT 1"
)
_CELL: Final = (
    "SELECT coalesce(sum(picodollars), 0) FROM months"
    " WHERE (month, product, team, price_basis) = (?, ?, ?, ?)"
)
_CELL_WAITS: Final = (
    "SELECT coalesce(sum(picodollars), 0) FROM adjustment"
    " WHERE (product, team) = (?, ?) AND posted IS NULL AND day BETWEEN ? AND ?"
)
_MONTH_WAITS: Final = (
    "SELECT product, picodollars FROM adjustment WHERE posted IS NULL AND day BETWEEN ? AND ?"
)
_INSERT: Final = (
    "INSERT INTO adjustment (day, product, team, picodollars, reason, entered, kind, key)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
