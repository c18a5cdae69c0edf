"""`--from FOLDER` reads all of a folder: archives too, and every file that was not read is named."""

import contextlib
import csv
import fcntl
import gzip
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.finance.fleet import archives
from tests.finance.fleet.ledger_files import MeteredHost, october
from tests.kit.units import DOLLAR, HOUR, NOVEMBER, OCTOBER, SECOND

L40 = 120 * DOLLAR
"""Of a day at 5 dollars an hour: 3,720 in October."""
OLD = 96 * DOLLAR
"""Of a day at 4 dollars an hour: 2,976 in October."""
COMPLETE = "Nothing is missing: each host is metered and priced for all of its time."


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["report", *arguments])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def dollars(printed: str) -> str:
    """Of the last row of a table."""
    (total,) = [line for line in printed.splitlines() if line.startswith("total")]
    return total.split()[1]


def compress(path: Path, target: Path) -> None:
    target.write_bytes(gzip.compress(path.read_bytes()))


def pack(target: Path, files: dict[str, Path], mode: str = "w:gz") -> None:
    with tarfile.open(target, mode) as tar:  # type: ignore[call-overload]
        for name, path in files.items():
            tar.add(path, name)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A ledger outside the folder."""
    return october(tmp_path / "old.db", OLD, "GPU-old")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a ledger of 3,720 dollars."""
    october(tmp_path / "fleet" / "l40.db", L40, "GPU-l40")
    return tmp_path / "fleet"


def test_a_compressed_ledger(folder: Path, old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """3,720 and 2,976 dollars."""
    compress(old, folder / "old.db.gz")
    status, out, _err = report(capsys, "month", "--month=2026-10", f"--from={folder}")

    assert (status, dollars(out)) == (0, "6,696.00")
    assert COMPLETE in out

    status, out, _err = report(capsys, "month", "--month=2026-10", f"--from={folder}", "--json")
    assert [(host["host"], host["dollars"]) for host in json.loads(out)["hosts"]] == [
        ("l40", 3720.0),
        ("old", 2976.0),
    ]
    status, out, _err = report(capsys, "focus", "--month=2026-10", f"--from={folder}")
    rows = csv.DictReader(io.StringIO(out))
    assert round(sum(float(row["BilledCost"]) for row in rows), 6) == 6696


@pytest.mark.parametrize("name", ["old.tar.gz", "old.tgz", "old.tar", "archive"])
def test_a_ledger_in_a_tar(name: str, folder: Path, old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is known by its content, in a folder of the archive, beside a file that is none."""
    note = folder.parent / "note.txt"
    note.write_text("ledgers of October")
    pack(
        folder / name,
        {"srv/gpu-7/ledger.db": old, "srv/note.txt": note},
        "w" if name == "old.tar" else "w:gz",
    )
    status, out, _err = report(capsys, "month", "--month=2026-10", f"--from={folder}")

    assert (status, dollars(out)) == (0, "6,696.00")
    assert COMPLETE not in out
    assert "CHECK: one file was not read" in out
    assert f"  {folder}/{name}/srv/note.txt\n" in out


def test_a_ledger_in_a_tar_with_its_log(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A young ledger is in its log alone: 3 hours of 7 dollars."""
    host = MeteredHost(tmp_path / "young" / "ledger.db", "GPU-y").meter(OCTOBER, 3, 7 * DOLLAR)
    files = {f"young/{name}": tmp_path / "young" / name for name in ("ledger.db", "ledger.db-wal")}
    pack(folder / "young.tgz", files)
    host.close()
    status, out, _err = report(capsys, "month", "--month=2026-10", f"--from={folder}")

    assert (status, dollars(out)) == (0, "3,741.00")
    assert "files were not read" not in out


def test_a_compressed_statement(folder: Path, old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It stands for a ledger that is gone, and `--close` writes both into one."""
    statement = folder.parent / "old.json"
    close = ["--close", "--month=2026-10"]
    assert report(capsys, "month", *close, f"--from={old}", f"--output={statement}")[0] == 0
    compress(statement, folder / "old.json.gz")
    whole = folder.parent / "whole.json"
    status, out, _err = report(capsys, "month", *close, f"--from={folder}", f"--output={whole}")

    assert status == 0
    assert "6,696.00 dollars of 2 ledgers" in out
    assert json.loads(whole.read_text())["findings"] == [COMPLETE]


def test_files_of_no_known_form_are_named(
    folder: Path, old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the text, in JSON, and in each row of CSV."""
    (folder / "dump.sql").write_text("INSERT INTO meta VALUES ('ledger', '4711');")
    (folder / "old.db.zst").write_bytes(b"\x28\xb5\x2f\xfd" + old.read_bytes()[:100])
    compress(folder / "dump.sql", folder / "log.gz")
    (folder / "gone.db-wal").write_bytes(b"\x37\x7f\x06\x82")
    (folder / "l40.db.lock").write_text("4711")  # the daemon's own
    names = [f"{folder}/{name}" for name in ("dump.sql", "gone.db-wal", "log.gz", "old.db.zst")]
    status, out, _err = report(capsys, "month", "--month=2026-10", f"--from={folder}")

    assert (status, dollars(out)) == (0, "3,720.00")
    assert "CHECK: 4 files were not read\n" in out
    assert [line.strip() for line in out.splitlines() if line.startswith(f"  {folder}")] == names
    assert COMPLETE not in out

    missing = json.loads(report(capsys, "month", "--month=2026-10", f"--from={folder}", "--json")[1])
    assert [(each["kind"], each["location"]) for each in missing["missing"]] == [
        ("unread", name) for name in names
    ]
    assert missing["incomplete_hosts"] == 0
    status, out, err = report(capsys, "month", "--month=2026-10", f"--from={folder}", "--csv")
    (row,) = csv.DictReader(io.StringIO(out))
    assert row["files_not_read"] == f"4: {', '.join(names)}"
    assert names[0] in err


def test_a_folder_without_a_ledger_names_what_it_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dump is no month of zero dollars."""
    (tmp_path / "dump.sql").touch()
    status, _out, err = report(capsys, "month", "--month=2026-10", f"--from={tmp_path}")

    assert status == 1
    assert err == f"{tmp_path}: there is no ledger here; not read are 1: {tmp_path}/dump.sql\n"


def cut_gzip(folder: Path, old: Path) -> str:
    (folder / "old.db.gz").write_bytes(gzip.compress(old.read_bytes())[:-200])
    return "old.db.gz is damaged (Compressed file ended before the end-of-stream marker was reached)"


def cut_tar_between_files(folder: Path, old: Path) -> str:
    pack(folder / "old.tar", {"a/ledger.db": old, "b/ledger.db": old}, "w")
    with tarfile.open(folder / "old.tar") as tar:
        second = tar.getmembers()[1].offset
    (folder / "old.tar").write_bytes((folder / "old.tar").read_bytes()[:second])
    return "old.tar is cut short: copy it again"


def cut_tar_in_a_file(folder: Path, old: Path) -> str:
    pack(folder / "old.tar", {"a/ledger.db": old}, "w")
    (folder / "old.tar").write_bytes((folder / "old.tar").read_bytes()[:2000])
    return "old.tar is damaged (unexpected end of data): copy it again"


def two_tars_in_one_file(folder: Path, old: Path) -> str:
    pack(folder / "old.tar", {"a/ledger.db": old}, "w")
    (folder / "old.tar").write_bytes(2 * (folder / "old.tar").read_bytes())
    return "old.tar is damaged, or has another archive after its end: unpack it"


def one_name_twice(folder: Path, old: Path) -> str:
    with tarfile.open(folder / "old.tar", "w") as tar:
        tar.add(old, "ledger.db")
        tar.add(folder / "l40.db", "ledger.db")
    return "old.tar has two files ledger.db: unpack it"


def no_ledger(folder: Path, _old: Path) -> str:
    (folder / "old.db.gz").write_bytes(gzip.compress(b"no database at all"))
    return "old.db.gz is no ledger that can be read: file is not a database"


def without_its_log(folder: Path, old: Path) -> str:
    host = MeteredHost(old.parent / "young" / "ledger.db", "GPU-y").meter(OCTOBER, 3, DOLLAR)
    shutil.copy(host.path, folder / "young.db")
    host.close()
    return "young.db is no ledger that can be read: it has no tables, as a young ledger that was copied"


@pytest.mark.parametrize(
    "damage",
    [
        cut_gzip,
        cut_tar_between_files,
        cut_tar_in_a_file,
        two_tars_in_one_file,
        one_name_twice,
        no_ledger,
        without_its_log,
    ],
)
def test_what_may_be_a_ledger_and_cannot_be_read_is_refused(
    damage: object, folder: Path, old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is no total; the file is named by its name in the folder, with what to do."""
    message = damage(folder, old)  # type: ignore[operator]
    status, out, err = report(capsys, "month", "--month=2026-10", f"--from={folder}")

    assert (status, out) == (1, "")
    assert f"  {folder}/{message}" in err

    status, out, _err = report(capsys, "month", "--month=2026-10", f"--from={folder}", "--skip-unreadable")
    assert (status, dollars(out)) == (0, "3,720.00")
    assert "INCOMPLETE: 1 of 2 hosts" in out


def test_a_bomb(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What expands without end is refused; what is no ledger is not expanded."""
    monkeypatch.setattr(archives, "MOST_EXPANDED_BYTES", 10_000_000)
    (folder / "zeros.gz").write_bytes(gzip.compress(bytes(20_000_000)))
    assert report(capsys, "month", "--month=2026-10", f"--from={folder}")[0] == 0
    (folder / "bomb.db.gz").write_bytes(gzip.compress(b"SQLite format 3\0" + bytes(20_000_000)))
    status, _out, err = report(capsys, "month", "--month=2026-10", f"--from={folder}")

    assert status == 1
    assert "bomb.db.gz expands, with other archives, to more than 10,000,000 bytes: unpack it" in err


def test_members_stay_in_the_temporary_folder(
    folder: Path, old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that leads out of an archive is one below it, and a link in it is named, not followed."""
    with tarfile.open(folder / "old.tar", "w") as tar:
        tar.add(old, "../../../books-escaped.db")
        link = tarfile.TarInfo("link.db")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    status, out, _err = report(capsys, "month", "--month=2026-10", f"--from={folder}")

    assert (status, dollars(out)) == (0, "6,696.00")
    assert f"  {folder}/old.tar/link.db\n" in out
    assert not os.path.lexists(folder.parent / "books-escaped.db")


def test_archives_in_archives(folder: Path, old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A compressed ledger in a compressed tar; the same file beside it is a copy."""
    compress(old, folder.parent / "old.db.gz")
    pack(folder / "all.tar.gz", {"old.db.gz": folder.parent / "old.db.gz"})
    shutil.copy(old, folder / "unpacked.db")
    status, out, _err = report(capsys, "month", "--month=2026-10", f"--from={folder}")

    assert (status, dollars(out)) == (0, "6,696.00")
    assert "Copies: a later copy of the same ledger is in the total, these are not (1)" in out


@pytest.mark.parametrize(
    ("committed", "cause"),
    [
        (NOVEMBER, "their days were lost with a part of the ledger"),
        (NOVEMBER + 366 * 24 * HOUR, "their days are past the 13 months that are kept"),
    ],
)
def test_money_without_days_has_one_cause(
    committed: int, cause: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 31 days at 2 dollars, four are not itemized: the one cause that is known is named."""
    path = october(tmp_path / "a.db", 2 * DOLLAR)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for table in ("cost", "held", "server_cost", "gpu_cost", "gpu_held", "owner_held"):
            connection.execute(f"DELETE FROM daily_{table} WHERE day < 20261005")  # noqa: S608 - names of ours
        connection.execute("UPDATE meta SET value = ? WHERE key = 'committed'", (committed,))
    status, out, _err = report(capsys, "month", "--month=2026-10", "--by=server", f"--from={path}")

    assert (status, dollars(out)) == (0, "62.00")
    assert f"8.00 dollars are known by product and team only: {cause}.\n" in out


@pytest.mark.parametrize(("count", "more"), [(10, ""), (11, " and 1 more")])
def test_a_row_names_ten_files(
    count: int, more: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And counts the others; standard error names all."""
    for number in range(count):
        (folder / f"{number:02d}.sql").write_text("-- a dump")
    names = [f"{folder}/{number:02d}.sql" for number in range(count)]
    _status, out, err = report(capsys, "month", "--month=2026-10", f"--from={folder}", "--csv")

    (row,) = csv.DictReader(io.StringIO(out))
    assert row["files_not_read"] == f"{count}: {', '.join(names[:10])}{more}"
    assert all(name in err for name in names)


@pytest.mark.parametrize(("seconds", "missing"), [(59, []), (60, ["unmetered"])])
def test_a_minute_without_ticks_is_named(
    seconds: int, missing: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Less is the tick in progress."""
    host = MeteredHost(folder / "gap.db", "GPU-g").meter(OCTOBER, 400, DOLLAR)
    begin = OCTOBER + 400 * HOUR + seconds * SECOND
    host.meter(begin, 1, DOLLAR, step=NOVEMBER - begin).close()
    _status, out, _err = report(capsys, "month", "--month=2026-10", f"--from={folder}", "--json")

    assert [each["kind"] for each in json.loads(out)["missing"]] == missing


def test_findings_are_in_the_order_of_their_kinds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the order in which files are read: what may be missing comes first."""
    (folder / "a.sql").write_text("-- a dump")
    for name, hours in (("z", 3), ("b", 2)):
        MeteredHost(folder / f"{name}.db", f"GPU-{name}").meter(OCTOBER, hours, DOLLAR).close()
    shutil.copy(folder / "l40.db", folder / "0.db")
    _status, out, _err = report(capsys, "month", "--month=2026-10", f"--from={folder}", "--json")

    assert [(each["kind"], each["host"].rpartition("/")[2]) for each in json.loads(out)["missing"]] == [
        ("silent", "b"),
        ("silent", "z"),
        ("copy", "l40"),
        ("unread", "a.sql"),
    ]


def test_a_link_to_nothing_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A ledger was there; one to a file of the folder is that file."""
    (folder / "same.db").symlink_to("l40.db")
    assert dollars(report(capsys, "month", "--month=2026-10", f"--from={folder}")[1]) == "3,720.00"
    (folder / "gone.db").symlink_to("old.db")
    status, out, err = report(capsys, "month", "--month=2026-10", f"--from={folder}")

    assert (status, out) == (1, "")
    assert f"  {folder}/gone.db is a symbolic link that leads out of the folder" in err


def test_expanded_archives_of_a_verb_that_was_killed_are_removed(
    folder: Path,
    old: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The next verb removes them, and leaves those of one that runs, and what else begins like them."""
    compress(old, folder / "old.db.gz")
    temporary = tmp_path / "tmp"
    abandoned, running = (temporary / f"{archives.FOLDER_PREFIX}{name}" for name in ("abandoned", "running"))
    for path in (abandoned / "1", running / "1", temporary / "ledgers-2026"):
        path.mkdir(parents=True)
        (path / "file").write_bytes(b"ledger")
    (temporary / f"{archives.FOLDER_PREFIX}link").symlink_to(folder)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    descriptor = os.open(running, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    status, out, _err = report(capsys, "month", "--month=2026-10", f"--from={folder}")
    os.close(descriptor)

    assert (status, dollars(out)) == (0, "6,696.00")
    assert not abandoned.exists()
    assert (running / "1" / "file").exists()
    assert (temporary / "ledgers-2026" / "file").exists()
    assert (folder / "old.db.gz").exists()


def test_a_killed_verb_leaves_its_lock(folder: Path, old: Path, tmp_path: Path) -> None:
    """A real process is killed while it has expanded an archive; the next one leaves nothing behind."""
    compress(old, folder / "old.db.gz")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    program = (
        "import sys; from exporter.finance.fleet.archives import Archives; from pathlib import Path; "
        f"Archives().expanded(Path({str(folder / 'old.db.gz')!r})); open({str(fifo)!r}, 'w').close(); "
        "sys.stdin.read()"
    )
    environ = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, env=environ) as process:
        fifo.read_bytes()
        assert len(list(temporary.iterdir())) == 1
        process.kill()
    verb = ["-m", "exporter", "report", "month", "--month=2026-10", f"--from={folder}"]
    printed = subprocess.run([sys.executable, *verb], env=environ, capture_output=True, check=True).stdout

    assert dollars(printed.decode()) == "6,696.00"
    assert list(temporary.iterdir()) == []
