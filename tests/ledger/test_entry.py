"""Entering an adjustment: what is taken, whom it goes to, and what is refused."""

import contextlib
import re
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.ledger import adjustment_entry, schema
from exporter.ledger.adjustment_entry import AdjustmentRequest, EntryError, enter
from exporter.ledger.adjustments import MANUAL, Adjustment
from exporter.ledger.errors import LedgerError
from exporter.ledger.files import lock_holder
from exporter.ledger.ledger import Ledger
from tests.kit.clock import ManualClock
from tests.kit.units import DOLLAR, NOVEMBER, SECOND
from tests.ledger.adjustments import correct, states
from tests.ledger.ticks import CHAT, accrued, money, numbered, tick

ONE = AdjustmentRequest(DOLLAR, "2026-11-01", "chat", None, "invoice 4711")
NO_PRODUCTS: dict[str, frozenset[str]] = {}


@pytest.fixture
def ledger(path: Path, clock: ManualClock) -> Path:
    """One tick of chat's and search's; nobody has it open."""
    made = Ledger.open(path, clock)
    made.post(numbered(1), accrued(numbered(1)))
    made.close()
    return path


def refused(path: Path, request: AdjustmentRequest, products: dict[str, frozenset[str]] = NO_PRODUCTS) -> str:
    """What an entry is refused with; nothing is left of it."""
    before = path.read_bytes()
    with pytest.raises(EntryError) as raised:
        enter(path, request, products, NOVEMBER)
    assert path.read_bytes() == before
    return str(raised.value)


def test_it_is_one_row_that_waits(ledger: Path) -> None:
    """With the next number, of the product's only team, and nobody to post it now."""
    done = enter(ledger, ONE, NO_PRODUCTS, NOVEMBER + 5)

    row = Adjustment(
        1, "2026-11-01", "chat", "assistants", DOLLAR, "invoice 4711", NOVEMBER + 5, None, MANUAL
    )
    assert (done.adjustment, done.daemon) == (row, "")
    assert correct(ledger, 2) == 2
    assert states(ledger) == [(DOLLAR, False), (2, False)]


def test_with_a_running_daemon_it_names_its_process(path: Path, clock: ManualClock) -> None:
    """The daemon's lock is a file of its own: neither waits for the other."""
    running = Ledger.open(path, clock)
    running.post(numbered(1), accrued(numbered(1)))
    done = enter(path, ONE, NO_PRODUCTS, NOVEMBER)
    by = lock_holder(path)
    running.close()

    assert (done.daemon, by.isdecimal(), clock.waited) == (by, True, [])


@pytest.mark.parametrize(
    ("product", "team", "paid_by"),
    [
        ("chat", None, "assistants"),  # the one that the month was billed to, though there are two
        ("chat", "platform", "platform"),
        ("search", None, "retrieval"),
        ("batch", None, "night"),  # which the configuration names
        ("tools", None, "unassigned"),  # a budget's product: nobody says a team
        ("tools", "unassigned", "unassigned"),
        ("unassigned", None, "unassigned"),
    ],
)
def test_the_team_that_pays(ledger: Path, product: str, team: str | None, paid_by: str) -> None:
    """The given one, else the one that was billed, else the only one."""
    products = {"chat": frozenset({"platform"}), "batch": frozenset({"night"}), "tools": frozenset[str]()}
    done = enter(ledger, AdjustmentRequest(5, "2026-11-01", product, team, "why"), products, NOVEMBER)
    assert (done.adjustment.product, done.adjustment.team) == (product, paid_by)


def test_where_a_month_has_several_teams_one_must_be_given(path: Path, clock: ManualClock) -> None:
    """October was one team's and November two's: of September nobody knows."""
    other = CHAT._replace(team="platform")
    ticks = (
        tick(NOVEMBER - 10 * SECOND, money(1), month="2026-10", day="2026-10-31"),
        tick(NOVEMBER + 10 * SECOND, money(2), money(3, other)),
    )
    ledger = Ledger.open(path, clock)
    for number, posted in enumerate(ticks, 1):
        ledger.post(posted, accrued(*ticks[:number]))
    ledger.close()
    several = "product chat has several teams, say which with --team: assistants, platform"

    assert refused(path, ONE) == several
    assert refused(path, replace(ONE, day="2026-09-30")) == several
    october = enter(path, replace(ONE, day="2026-10-31"), NO_PRODUCTS, NOVEMBER).adjustment
    assert october.team == "assistants"
    assert enter(path, replace(ONE, team="platform"), NO_PRODUCTS, NOVEMBER).adjustment.team == "platform"


def test_a_product_or_a_team_that_nobody_knows(ledger: Path) -> None:
    """The message names those that are known, and the nearest."""
    products = {"batch": frozenset({"night"})}
    assert refused(ledger, replace(ONE, product="chta"), products) == (
        'neither the ledger nor the configuration knows product "chta"; did you mean chat? '
        "they know: batch, chat, search, unassigned"
    )
    assert refused(ledger, replace(ONE, product="\x1b[2J" + "z" * 200)) == (
        f'neither the ledger nor the configuration knows product "?[2J{"z" * 124}"; '
        "they know: chat, search, unassigned"
    )
    assert refused(ledger, replace(ONE, team="ops"), {"chat": frozenset({"platform"})}) == (
        'product chat has no team "ops"; it has: assistants, platform'
    )
    assert refused(ledger, replace(ONE, product="unassigned", team="ops")) == (
        'product unassigned has no team "ops"; it has: unassigned'
    )


def test_of_many_products_twenty_are_listed(ledger: Path) -> None:
    """25 of the configuration, 2 of the ledger and nobody's are 28."""
    products = {f"a{number:02d}": frozenset({"t"}) for number in range(25)}
    message = refused(ledger, replace(ONE, product="none"), products)
    assert message.endswith("a18, a19 and 8 more")


def test_a_product_that_only_an_adjustment_has_is_known_once_it_is_posted(
    ledger: Path, clock: ManualClock
) -> None:
    """Its cell is in the ledger, whatever becomes of the configuration."""
    batch = AdjustmentRequest(5, "2026-11-01", "batch", None, "why")
    enter(ledger, batch, {"batch": frozenset({"night"})}, NOVEMBER)
    assert 'knows product "batch"' in refused(ledger, batch)
    daemon = Ledger.open(ledger, clock)
    daemon.post(numbered(2), accrued(numbered(1), numbered(2)))
    daemon.close()

    again = enter(ledger, replace(batch, amount=-5), NO_PRODUCTS, NOVEMBER)
    assert (again.adjustment.number, again.adjustment.team) == (2, "night")


def test_the_same_twice_is_taken_for_a_mistake(ledger: Path) -> None:
    """Whoever repeats a command after a time-out pays once; anything else that differs is another."""
    assert correct(ledger, DOLLAR) == 1
    assert refused(ledger, ONE) == (
        "adjustment 1 says the same: nothing was entered; if it is meant twice, let the reason say so"
    )
    others = (
        replace(ONE, amount=-DOLLAR),
        replace(ONE, day="2026-10-31"),
        replace(ONE, product="search"),
        replace(ONE, reason="invoice 4712"),
    )
    assert [enter(ledger, other, NO_PRODUCTS, NOVEMBER).adjustment.number for other in others] == [2, 3, 4, 5]


def test_a_month_has_a_bound_either_way(ledger: Path, clock: ManualClock) -> None:
    """8 millions for a product and team, waiting ones included; what leads back is always taken."""
    assert correct(ledger, 8_000_000 * DOLLAR - 1_000_001) == 1
    message = refused(ledger, replace(ONE, amount=1))
    daemon = Ledger.open(ledger, clock)
    daemon.post(numbered(2), accrued(numbered(1), numbered(2)))
    daemon.close()

    assert message == (
        "2026-11 would come to 8000000.000000000001 dollars for product chat, team assistants: "
        "the ledger takes at most 8000000 either way"
    )
    # Tick 2 brought 1,000,002 picodollars more.
    assert "would come to 8000000.000001000003 dollars" in refused(ledger, replace(ONE, amount=1))
    assert correct(ledger, -1) == 2
    # 8 millions and 1,000,001 picodollars, less 9 millions, less 8.
    assert correct(ledger, -9_000_000 * DOLLAR) == 3
    assert "would come to -8999999.999998999999 dollars" in refused(
        ledger, replace(ONE, amount=-8_000_000 * DOLLAR)
    )
    assert enter(ledger, replace(ONE, day="2026-10-31"), NO_PRODUCTS, NOVEMBER).adjustment.number == 4


def error_message(path: Path, request: AdjustmentRequest = ONE) -> str:
    """What a place is refused with, without its path."""
    with pytest.raises(LedgerError) as raised:
        enter(path, request, NO_PRODUCTS, NOVEMBER)
    text = str(raised.value)
    assert text.startswith(str(path))
    return text.removeprefix(str(path))


def test_where_no_ledger_is_nothing_is_made(path: Path, tmp_path: Path) -> None:
    """A wrong path, and a folder."""
    assert error_message(path) == ": there is no ledger here"
    assert error_message(tmp_path) == " is a directory"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"these are no books", " is no ledger that can be adjusted: file is not a database"),
        (b"", " is empty: no daemon has begun it"),
    ],
)
def test_a_file_that_is_no_ledger_is_left_alone(path: Path, content: bytes, why: str) -> None:
    """The error says so, and neither it nor a log next to it is touched."""
    path.write_bytes(content)
    assert error_message(path) == why
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ("PRAGMA application_id = 7", "it is another program's database"),
        ("DROP TABLE meta", "no such table: meta"),
        ("DELETE FROM label WHERE text = 'retrieval'", "a row refers to key 8, which is missing"),
    ],
)
def test_a_database_that_is_no_whole_ledger(ledger: Path, damage: str, why: str) -> None:
    """As the daemon would find at its start."""
    with contextlib.closing(sqlite3.connect(ledger)) as shell:
        shell.execute(damage)
        shell.commit()
    assert error_message(ledger) == f" is no ledger that can be adjusted: {why}"


def test_a_corrupt_file(ledger: Path) -> None:
    """Pages that were overwritten are found before anything is written."""
    content = bytearray(ledger.read_bytes())
    content[2048:] = b"\xaa" * (len(content) - 2048)
    ledger.write_bytes(content)
    assert re.fullmatch(
        " is no ledger that can be adjusted: (database disk image is malformed|.*btree.*)",
        error_message(ledger),
    )
    assert ledger.read_bytes() == content


def test_a_ledger_of_a_later_release(ledger: Path) -> None:
    """A release that must not use a file does not write into it either."""
    with contextlib.closing(sqlite3.connect(ledger)) as shell:
        shell.execute("UPDATE meta SET value = 99 WHERE key = 'reader'")
        shell.execute("PRAGMA user_version = 99")
        shell.commit()
    assert error_message(ledger) == (
        " has schema 99, which releases before schema 99 must not use; this one knows 2: "
        "upgrade the exporter, or give it a --ledger.path of its own"
    )


def test_a_lock_that_does_not_go(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for a while, here not at all; then it says so, and the entry can be made later."""
    monkeypatch.setattr(adjustment_entry, "PATIENCE_SECONDS", 0)
    with contextlib.closing(sqlite3.connect(ledger, isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        assert error_message(ledger) == (
            " is locked by another program: close the shell or the backup that holds it"
        )
        shell.execute("ROLLBACK")
    assert correct(ledger, 1) == 1


def test_its_patience_outlasts_a_tick(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite waits for five seconds, five times as long as the daemon waits for the verb."""
    waits: list[tuple[int]] = []

    class Connection(sqlite3.Connection):
        def close(self) -> None:
            waits.extend(self.execute("PRAGMA busy_timeout"))
            super().close()

    monkeypatch.setattr(
        schema,
        "connect",
        lambda uri: sqlite3.connect(uri, uri=True, factory=Connection, isolation_level=None),
    )
    correct(ledger, 1)
    assert waits == [(5000,)]


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("{path}?mode=ro", "attempt to write a readonly database"),
        ("{path}-folder/ledger.db?mode=rw", "unable to open database file"),
    ],
)
def test_a_file_or_a_folder_that_only_the_daemon_may_write(
    ledger: Path, uri: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's own words for a file that is read only and for a folder in which it can make no log."""
    connect = schema.connect
    monkeypatch.setattr(schema, "connect", lambda _uri: connect(uri.format(path=ledger.as_uri())))
    assert (
        error_message(ledger) == f" cannot be written ({why}): run this as the user that the daemon runs as"
    )


def test_a_file_that_may_not_be_read(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions do not bind root, who may run these tests: the refusal is made up."""

    def refuse(_path: Path, _mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert error_message(ledger) == (
        " cannot be written (Permission denied): run this as the user that the daemon runs as"
    )


def test_a_disk_that_is_full(ledger: Path, disk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user would meet it too: nothing is advised, and nothing is left."""
    disk.failure = sqlite3.OperationalError("database or disk is full")
    monkeypatch.setattr(schema, "connect", disk)
    assert error_message(ledger) == " cannot be written (database or disk is full)"
    monkeypatch.undo()
    assert states(ledger) == []


def test_an_entry_that_failed_after_it_had_reached_the_disk(
    ledger: Path, disk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repetition fails with its number: it counts once."""
    disk.failure, disk.late = sqlite3.OperationalError("disk I/O error"), True
    monkeypatch.setattr(schema, "connect", disk)
    assert error_message(ledger) == " cannot be written (disk I/O error)"
    monkeypatch.undo()
    assert refused(ledger, ONE).startswith("adjustment 1 says the same: ")
    assert states(ledger) == [(DOLLAR, False)]


def test_the_table_refuses_what_is_no_row(ledger: Path) -> None:
    """The table itself lets in no text for money, no date that is none and no row without a reason."""
    correct(ledger, 1)
    good = {"day": 20261101, "product": 1, "team": 1, "picodollars": 1, "reason": "why", "entered": 1}
    for column, value in (
        ("picodollars", 0.5),
        ("day", 1),
        ("reason", None),
        ("entered", "now"),
        ("team", "t"),
    ):
        bad = {**good, column: value}
        with contextlib.closing(sqlite3.connect(ledger)) as shell, pytest.raises(sqlite3.IntegrityError):
            shell.execute(
                f"INSERT INTO adjustment ({', '.join(bad)}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608 - ours
                list(bad.values()),
            )
