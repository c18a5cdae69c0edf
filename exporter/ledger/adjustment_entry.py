"""An adjustment entered beside a daemon that may be running: one row, in a transaction of its own."""

import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from exporter.cost.postings import UNASSIGNED
from exporter.ledger import adjustments, contents, files, rows, schema
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.errors import DamagedError, LedgerError
from exporter.ledger.files import BE_ITS_USER, see_a_file
from exporter.ledger.history import day_number
from exporter.readings import LABEL_CHARACTERS
from exporter.units import PICODOLLARS_PER_DOLLAR, Instant, Picodollars, plain_dollars

PATIENCE_SECONDS: Final = 5
"""How long SQLite waits for the daemon's tick, which takes milliseconds, or for a person's shell."""

MOST_DOLLARS: Final = 8_000_000
"""What a month may come to for a product and a team: a total holds 9.2 million, and money goes on."""

NAMES_TOLD: Final = 20

_OF_ANOTHER_USER: Final = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM})

Known = Mapping[str, frozenset[str]]
"""Products, and the teams of each."""


class EntryError(Exception):
    """The entry makes no sense to this ledger; the message says what would. Nothing was entered."""


@dataclass(frozen=True, slots=True)
class AdjustmentRequest:
    """What a person asks for. `day` is like 2026-10-31; without a team it is the one that was billed.

    `key` is that of a correction of changed prices, empty for all others.
    """

    amount: Picodollars
    day: str
    product: str
    team: str | None
    reason: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class AdjustmentEntry:
    """The row, and the process that has the ledger now: "unknown" where it cannot be told, "" without one.

    `month` and `product` are what its month, and its product in that, come to with it and with all else that
    waits. `begun` is the first day that the ledger metered, empty where it keeps no history.
    """

    adjustment: Adjustment
    daemon: str
    month: Picodollars
    product: Picodollars
    begun: str


def enter(
    path: Path, entry: AdjustmentRequest, known: Known, now: Instant, *, dry_run: bool = False
) -> AdjustmentEntry:
    """Append one adjustment, which the daemon posts at its next tick.

    A dry run does the same in a transaction that is taken back, so that it refuses what would be refused.

    Args:
        path: the ledger's file.
        entry: what is asked.
        known: products that the configuration names, and their teams.
        now: the wall clock's time.
        dry_run: nothing is entered.

    Raises:
        EntryError: no such product or team, or an amount that the month cannot take.
        LedgerError: there is no ledger here that can be written; it is as it was.
    """
    path = see_a_file(path)
    try:
        if not os.path.lexists(f"{path}-wal") and files.opened_elsewhere(path):
            # What is written without the daemon's log would be lost when it brings that back.
            raise LedgerError(
                f"the log beside {path} was deleted; the daemon puts it back at its next tick: ask again"
            )
        contents.refuse_other_files(path)
        with contents.failures(path):
            entered = _append(path, entry, known, now, keep=not dry_run)
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
    return replace(entered, daemon=files.holder(path))


def _advice(error: Exception) -> str:
    """What helps against another user's file; a full disk needs something else."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    theirs = isinstance(error, PermissionError) or code in _OF_ANOTHER_USER
    return f": {BE_ITS_USER}" if theirs else ""


def _append(
    path: Path, entry: AdjustmentRequest, known: Known, now: Instant, *, keep: bool
) -> AdjustmentEntry:
    with closing(schema.connect(path.absolute().as_uri() + "?mode=rw")) as connection:
        connection.execute(f"PRAGMA busy_timeout = {PATIENCE_SECONDS * 1000}")
        contents.check(connection, path)
        connection.execute("PRAGMA synchronous = FULL")
        with contents.transaction(connection, keep=keep):
            adjustments.create(connection)
            made = _insert(connection, entry, known, now)
            return _entered(connection, made)


def _insert(
    connection: sqlite3.Connection, entry: AdjustmentRequest, known: Known, now: Instant
) -> Adjustment:
    names = rows.Names(connection)
    every = _products(connection, names, known)
    if entry.product not in every:
        raise EntryError(_no_product(entry.product, every))
    billed = _billed(connection, names, entry.product, entry.day[:7])
    team = _team(entry, every[entry.product] or {UNASSIGNED}, billed)
    kind = adjustments.REPRICING if entry.key else adjustments.MANUAL
    draft = Adjustment(
        0, entry.day, entry.product, team, entry.amount, entry.reason, now, None, kind, entry.key
    )
    keys = rows.Keys(connection)
    values = (day_number(entry.day), keys.of(entry.product), keys.of(team), entry.amount, entry.reason)
    _refuse_twice(connection, draft, values)
    _see_that_it_fits(connection, draft, keys)
    number = connection.execute(_INSERT, (*values, now, kind, entry.key)).lastrowid or 0
    return replace(draft, number=number)


def _refuse_twice(
    connection: sqlite3.Connection, draft: Adjustment, values: tuple[int, int, int, Picodollars, str]
) -> None:
    """See that it is not there; by its key where it has one: two changes of a price may come to the same."""
    _day, product, team, _amount, _reason = values
    if draft.key:
        days = day_number(f"{draft.month}-01"), day_number(f"{draft.month}-31")
        for (number,) in connection.execute(_KEYED, (draft.key, product, team, *days)):
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


def _entered(connection: sqlite3.Connection, made: Adjustment) -> AdjustmentEntry:
    """What it makes of its month, as the file has it now."""
    keys = rows.Keys(connection)
    product = keys.of(made.product)
    days = day_number(f"{made.month}-01"), day_number(f"{made.month}-31")
    totals: dict[int, Picodollars] = {}
    for whose, amount in (
        *connection.execute(
            "SELECT product, picodollars FROM months WHERE month = ?", (keys.of(made.month),)
        ),
        *connection.execute(_MONTH_WAITS, days),
    ):
        totals[whose] = totals.get(whose, 0) + amount
    first = None
    if "daily_covered" in rows.tables(connection):
        (first,) = connection.execute("SELECT min(day) FROM daily_covered").fetchone()
    begun = "" if first is None else f"{first // 10000:04d}-{first // 100 % 100:02d}-{first % 100:02d}"
    return AdjustmentEntry(made, "", sum(totals.values()), totals[product], begun)


def _products(connection: sqlite3.Connection, names: rows.Names, known: Known) -> dict[str, set[str]]:
    """Everybody who may owe: the ledger's, the configuration's, and nobody in particular."""
    every: dict[str, set[str]] = {UNASSIGNED: {UNASSIGNED}}
    for product, teams in known.items():
        every.setdefault(product, set()).update(teams)
    for table in ("party", "months"):
        for product, team in connection.execute(f"SELECT DISTINCT product, team FROM {table}"):  # noqa: S608 - constants
            every.setdefault(names.label(product), set()).add(names.label(team))
    return every


def _billed(connection: sqlite3.Connection, names: rows.Names, product: str, month: str) -> set[str]:
    """The teams that a product's money of a month went to."""
    found = connection.execute("SELECT month, product, team FROM months").fetchall()
    return {
        names.label(team)
        for of, whose, team in found
        if (names.label(of), names.label(whose)) == (month, product)
    }


def _team(entry: AdjustmentRequest, teams: set[str], billed: set[str]) -> str:
    """The team that pays: the one told, else the one that the month was billed to, else the only one."""
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


def _see_that_it_fits(connection: sqlite3.Connection, draft: Adjustment, keys: rows.Keys) -> None:
    """See that the cell can hold what is posted, what waits and this."""
    whose = keys.of(draft.product), keys.of(draft.team)
    (posted,) = connection.execute(
        _CELL, (keys.of(draft.month), *whose, keys.of(draft.cell.price_basis))
    ).fetchone()
    first, last = day_number(f"{draft.month}-01"), day_number(f"{draft.month}-31")
    (waiting,) = connection.execute(_CELL_WAITS, (*whose, first, last)).fetchone()
    before = posted + waiting
    after = before + draft.amount
    if abs(after) > max(abs(before), MOST_DOLLARS * PICODOLLARS_PER_DOLLAR):
        raise EntryError(
            f"{draft.month} would come to {plain_dollars(after)} dollars for product {draft.product}, "
            f"team {draft.team}: the ledger takes at most {MOST_DOLLARS} either way"
        )


def _no_product(product: str, every: Iterable[str]) -> str:
    known = sorted(every)
    near = get_close_matches(product, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return (
        f"neither the ledger nor the configuration knows product {_quoted(product)}; {hint}"
        f"they know: {_listed(known)}"
    )


def _listed(names: Iterable[str]) -> str:
    known = sorted(names)
    more = f" and {len(known) - NAMES_TOLD} more" if len(known) > NAMES_TOLD else ""
    return ", ".join(known[:NAMES_TOLD]) + more


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
