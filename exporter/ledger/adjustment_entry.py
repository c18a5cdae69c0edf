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
from exporter.ledger import adjustments, contents, files, schema
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.errors import DamagedError, LedgerError
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
    """An adjustment to be entered. `day` is like 2026-10-31. Without a team it is the billed one.

    `key` is that of an adjustment of changed prices, empty for all others.
    """

    amount: Picodollars
    day: str
    product: str
    team: str | None
    reason: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class AdjustmentEntry:
    """The entered row, and the process that has locked the ledger: "unknown" without a pid, "" for none.

    `month` and `product` are the sums of its month, and of its product in it, with everything that waits.
    `begun` is the first metered day of the ledger, empty without history.
    """

    adjustment: Adjustment
    daemon: str
    month: Picodollars
    product: Picodollars
    begun: str


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
            made = _append(path, entry, configured, now, keep=not dry_run)
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
    return replace(made, daemon=files.lock_holder(path))


def _advice(error: Exception) -> str:
    """Advice for another user's file; a full disk needs something else."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    foreign = isinstance(error, PermissionError) or code in _OF_ANOTHER_USER
    return f": {RUN_AS_DAEMON_USER}" if foreign else ""


def _append(
    path: Path, entry: AdjustmentRequest, configured: ProductTeams, now: Instant, *, keep: bool
) -> AdjustmentEntry:
    with closing(schema.connect(path.absolute().as_uri() + "?mode=rw")) as connection:
        connection.execute(f"PRAGMA busy_timeout = {PATIENCE_SECONDS * 1000}")
        contents.check(connection, path)
        connection.execute("PRAGMA synchronous = FULL")
        with contents.transaction(connection, keep=keep):
            return _entry(connection, _insert(connection, entry, configured, now))


def _insert(
    connection: sqlite3.Connection, entry: AdjustmentRequest, configured: ProductTeams, now: Instant
) -> Adjustment:
    names = Names(connection)
    products = _products(connection, names, configured)
    if entry.product not in products:
        raise EntryError(_no_product(entry.product, products))
    billed = _billed(connection, names, entry.product, entry.day[:7])
    team = _team(entry, products[entry.product] or {UNASSIGNED}, billed)
    kind = adjustments.REPRICING if entry.key else adjustments.MANUAL
    draft = Adjustment(
        0, entry.day, entry.product, team, entry.amount, entry.reason, now, None, kind, entry.key
    )
    keys = Keys(connection)
    values = (day_number(entry.day), keys.of(entry.product), keys.of(team), entry.amount, entry.reason)
    _refuse_duplicate(connection, draft, values)
    _check_month(connection, draft, keys)
    number = connection.execute(_INSERT, (*values, now, kind, entry.key)).lastrowid or 0
    return replace(draft, number=number)


def _refuse_duplicate(
    connection: sqlite3.Connection, draft: Adjustment, values: tuple[int, int, int, Picodollars, str]
) -> None:
    """Refuse a second entry, by its key if it has one: two price changes may have the same amount."""
    _day, product, team, _amount, _reason = values
    if draft.key:
        keyed = connection.execute(_KEYED, (draft.key, product, team, *month_days(draft.month)))
        for (number,) in keyed:
            raise EntryError(
                f"adjustment {number} has the key {draft.key}: nothing was entered; "
                "`adjust --proposals` prints what is still missing"
            )
        return
    for (number,) in connection.execute(_SAME, values):
        raise EntryError(
            f"adjustment {number} says the same: nothing was entered; "
            "if it is meant twice, let the reason say so"
        )


def _entry(connection: sqlite3.Connection, made: Adjustment) -> AdjustmentEntry:
    """The entry with the sums of its month in the file."""
    keys = Keys(connection)
    product = keys.of(made.product)
    totals: dict[int, Picodollars] = {}
    for key, amount in (
        *connection.execute(
            "SELECT product, picodollars FROM months WHERE month = ?", (keys.of(made.month),)
        ),
        *connection.execute(_MONTH_WAITS, month_days(made.month)),
    ):
        add(totals, key, amount)
    (first,) = connection.execute("SELECT min(day) FROM daily_covered").fetchone()
    begun = "" if first is None else day_name(first)
    return AdjustmentEntry(made, "", sum(totals.values()), totals[product], begun)


def _products(connection: sqlite3.Connection, names: Names, configured: ProductTeams) -> dict[str, set[str]]:
    """All products and their teams: of the ledger, of the configuration, and unassigned."""
    every: dict[str, set[str]] = {UNASSIGNED: {UNASSIGNED}}
    for product, teams in configured.items():
        every.setdefault(product, set()).update(teams)
    for table in ("owner", "months"):
        for product, team in connection.execute(f"SELECT DISTINCT product, team FROM {table}"):  # noqa: S608 - constants
            every.setdefault(names.label(product), set()).add(names.label(team))
    return every


def _billed(connection: sqlite3.Connection, names: Names, product: str, month: str) -> set[str]:
    """Teams that a product's cost of a month was posted to."""
    cells = connection.execute("SELECT month, product, team FROM months").fetchall()
    return {
        names.label(team_key)
        for month_key, product_key, team_key in cells
        if (names.label(month_key), names.label(product_key)) == (month, product)
    }


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


def _no_product(product: str, products: Iterable[str]) -> str:
    near = get_close_matches(product, sorted(products), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return (
        f"neither the ledger nor the configuration knows product {_quoted(product)}; {hint}"
        f"they know: {_listed(products)}"
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
