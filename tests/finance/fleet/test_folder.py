"""A folder of ledgers: which files count, what each gives, and what is refused."""

import contextlib
import os
import re
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest

from exporter.finance.fleet import folder as folders
from exporter.finance.fleet.folder import FolderError, LedgerFolder
from exporter.finance.fleet.record import FleetMonth, combine
from exporter.ledger.history import FAMILIES
from exporter.ledger.reader import LedgerReader
from exporter.tariff.period import Period
from tests.finance.fleet.ledger_files import MeteredHost, october
from tests.kit.units import DOLLAR, HOUR, NOVEMBER, OCTOBER

MONTH = Period.named("2026-10")
LATER = NOVEMBER + 10 * HOUR
NEWER = (
    "which releases before schema 3 must not use; this one knows 2: upgrade the exporter, or give it a "
    "--ledger.path of its own"
)


def read(*sources: Path, skip: bool = False) -> FleetMonth:
    ledgers = LedgerFolder(sources, MONTH, "UTC", skip=skip)
    headers = ledgers.headers()
    return combine(headers, LATER, load=ledgers.load, unreadable=ledgers.findings)


def test_files_of_a_folder_at_any_depth(tmp_path: Path) -> None:
    """Two hosts of 31 and 62 dollars, and a spot node of 3 hours of 2 dollars; a text file is named."""
    october(tmp_path / "a" / "ledger.db", DOLLAR, "GPU-a")
    october(tmp_path / "b" / "archive" / "gpu-7.db", 2 * DOLLAR, "GPU-b")
    MeteredHost(tmp_path / "spot.sqlite", "GPU-c").meter(OCTOBER + 50 * HOUR, 3, 2 * DOLLAR).close()
    (tmp_path / "README.txt").write_text("ledgers of October")
    fleet = read(tmp_path)

    assert fleet.total == 99 * DOLLAR
    assert [(host.host.name, host.total // DOLLAR, host.covered // HOUR) for host in fleet.hosts] == [
        ("a", 31, 744),
        ("b/archive/gpu-7", 62, 744),
        ("spot.sqlite", 6, 3),
    ]
    assert [(each.kind, each.name, each.duration // HOUR) for each in fleet.findings] == [
        ("silent", "spot.sqlite", 691),
        ("unread", str(tmp_path / "README.txt"), 0),
    ]


@pytest.mark.parametrize("days", [False, True])
def test_a_fleet_of_one_is_its_ledger(tmp_path: Path, *, days: bool) -> None:
    """The sums are those of the whole reader."""
    path = MeteredHost(tmp_path / "ledger.db").meter(OCTOBER, 30, 7).close()
    ledgers = LedgerFolder([path], MONTH, "UTC", days=FAMILIES if days else ())
    fleet = combine(ledgers.headers(), LATER, load=ledgers.load)
    with LedgerReader.open(path) as reader:
        record = reader.month("2026-10")

    assert fleet.record.sums == record.sums
    assert fleet.record.cells == record.cells
    assert fleet.record.days == (record.days if days else {})


def test_a_copy_and_a_link_count_once(tmp_path: Path) -> None:
    """A file under two names, in two sources, and an earlier copy."""
    host = MeteredHost(tmp_path / "live" / "ledger.db").meter(OCTOBER, 1, DOLLAR)
    (tmp_path / "backup").mkdir()
    with contextlib.closing(sqlite3.connect(host.path)) as connection:
        connection.execute("VACUUM INTO ?", (str(tmp_path / "backup" / "old.db"),))
    host.meter(OCTOBER + HOUR, 743, DOLLAR).close()
    (tmp_path / "live" / "same.db").symlink_to("ledger.db")
    fleet = read(tmp_path, tmp_path / "live", tmp_path / "live" / "ledger.db")

    assert fleet.total == 744 * DOLLAR
    assert [(each.kind, each.location, each.amount) for each in fleet.findings] == [
        ("copy", str(tmp_path / "backup" / "old.db"), DOLLAR)
    ]


def test_a_running_daemon_goes_on(tmp_path: Path) -> None:
    """Its file is read with its log, and it posts meanwhile: its month is of one commit."""
    host = MeteredHost(tmp_path / "ledger.db").meter(OCTOBER, 2, DOLLAR)
    ledgers = LedgerFolder([tmp_path], MONTH, "UTC")
    headers = ledgers.headers()
    host.meter(OCTOBER + 2 * HOUR, 1, DOLLAR)

    assert combine(headers, OCTOBER + 3 * HOUR, load=ledgers.load).total == 2 * DOLLAR
    assert read(tmp_path).total == 3 * DOLLAR
    host.close()


def test_what_cannot_be_read_stops_the_total(tmp_path: Path) -> None:
    """Each file is named, with the way out; nothing of the others is printed."""
    october(tmp_path / "a.db", DOLLAR)
    (tmp_path / "b.db").write_bytes(b"no database at all")
    shutil.copy(tmp_path / "a.db", tmp_path / "c.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "c.db")) as connection, connection:
        connection.execute("PRAGMA user_version = 3")
        connection.execute("UPDATE meta SET value = 3 WHERE key = 'reader'")
    (tmp_path / "empty.db").touch()
    (tmp_path / "out.db").symlink_to("/nowhere/ledger.db")
    with pytest.raises(FolderError) as raised:
        read(tmp_path)

    first, *rest = str(raised.value).splitlines()
    assert first == (
        "4 files of 4 cannot be read, so there is no total "
        "(--skip-unreadable leaves them out and names them):"
    )
    assert [line.replace(str(tmp_path), "").strip() for line in rest] == [
        "/out.db is a symbolic link that leads out of the folder: put the file itself there, or name it",
        "/b.db is no ledger that can be read: file is not a database",
        f"/c.db has schema 3, {NEWER}",
        "/empty.db is empty: no daemon has begun it",
    ]

    fleet = read(tmp_path, skip=True)
    assert fleet.total == 31 * DOLLAR
    assert [(each.kind, Path(each.name).name) for each in fleet.findings] == [
        ("unreadable", name) for name in ("b.db", "c.db", "empty.db", "out.db")
    ]


def test_a_folder_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have a ledger."""
    october(tmp_path / "a.db", DOLLAR)
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def refuse(path: Path) -> object:
        if path.name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(FolderError, match=r"closed cannot be read \(Permission denied\)"):
        read(tmp_path)


def test_a_folder_without_ledgers(tmp_path: Path) -> None:
    """It is no fleet of zero dollars; nor is a name that is none."""
    with pytest.raises(FolderError, match=f"^{re.escape(str(tmp_path))}: there is no ledger here$"):
        read(tmp_path)
    with pytest.raises(FolderError, match="nowhere: there is no ledger here"):
        read(tmp_path / "nowhere")


def test_a_folder_whose_ledgers_are_all_unreadable(tmp_path: Path) -> None:
    """The flag leaves nothing to report."""
    (tmp_path / "a.db").write_bytes(b"no database at all")
    with pytest.raises(FolderError, match=r"one file of 1 cannot be read(.|\n)*a\.db is no ledger that can"):
        read(tmp_path, skip=True)


def test_a_folder_of_everything_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error must not read a whole disk."""
    monkeypatch.setattr(folders, "MOST_ENTRIES", 3)
    for number in range(4):
        (tmp_path / str(number)).touch()
    with pytest.raises(FolderError, match="has more than 3 entries or 32 levels: name a folder that has"):
        read(tmp_path)


def test_an_archive_is_a_level_as_a_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, an archive in it and a folder in that are three."""
    october(tmp_path / "host" / "below" / "ledger.db", DOLLAR, "GPU-a")
    archive = shutil.make_archive(str(tmp_path / "fleet" / "host"), "tar", tmp_path / "host")
    monkeypatch.setattr(folders, "MOST_LEVELS", 3)
    assert read(Path(archive).parent).total == 31 * DOLLAR

    monkeypatch.setattr(folders, "MOST_LEVELS", 2)
    with pytest.raises(FolderError, match="has more than 200,000 entries or 2 levels"):
        read(Path(archive).parent)


def test_a_file_that_breaks_once_it_is_read(tmp_path: Path) -> None:
    """Its month counts, and that of the other file: 31 dollars each."""
    october(tmp_path / "a.db", DOLLAR, "GPU-a")
    october(tmp_path / "b.db", DOLLAR, "GPU-b")
    ledgers = LedgerFolder([tmp_path], MONTH, "UTC")
    headers = ledgers.headers()
    (tmp_path / "b.db").write_bytes(b"")

    assert combine(headers, LATER, load=ledgers.load).total == 62 * DOLLAR


def test_months_beyond_the_memory_wait_in_a_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hosts of 31 and 62 dollars are added up from it; without a place for it, the remedy is named."""
    monkeypatch.setattr(folders, "MEMORY_BYTES", 1)
    october(tmp_path / "a.db", DOLLAR, "GPU-a")
    october(tmp_path / "b.db", 2 * DOLLAR, "GPU-b")
    assert read(tmp_path).total == 93 * DOLLAR

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(FolderError, match=r"cannot be written: No such file.*; TMPDIR names another one"):
        read(tmp_path)


@pytest.mark.parametrize("named", ["", "pipe.db"])
def test_a_fifo_is_named_and_not_waited_for(tmp_path: Path, named: str) -> None:
    """Opening it would wait for a writer without end."""
    os.mkfifo(tmp_path / "pipe.db")
    with pytest.raises(FolderError, match=r"pipe\.db is a FIFO"):
        read(tmp_path / named)


def test_progress_counts_files(tmp_path: Path) -> None:
    """From none to all."""
    october(tmp_path / "a.db", DOLLAR, "GPU-a")
    october(tmp_path / "b.db", DOLLAR, "GPU-b")
    shown: list[tuple[int, int]] = []
    LedgerFolder([tmp_path], MONTH, "UTC").headers(lambda done, of: shown.append((done, of)))

    assert shown == [(0, 2), (1, 2), (2, 2)]
