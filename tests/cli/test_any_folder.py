"""Folders of copies, forks, archives, damaged and foreign files: the total is right or says what it lacks."""

import contextlib
import gzip
import io
import json
import random
import shutil
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from exporter.cli import main
from tests.finance.fleet.ledger_files import MeteredHost, october
from tests.kit.units import DAY, DOLLAR, OCTOBER
from tests.nightly import daily

COMPLETE = "Nothing is missing"
FOLDERS = 60


class LedgerFiles(NamedTuple):
    """Files of one ledger that are its month together, in dollars; `copies` have nothing of their own."""

    dollars: int
    files: tuple[Path, ...]
    copies: tuple[Path, ...] = ()


@pytest.fixture(scope="module")
def ledgers(tmp_path_factory: pytest.TempPathFactory) -> list[LedgerFiles]:
    """Five hosts of a month, one with an early copy, one that was cloned twice, one that was restored, and
    the statement of a host.
    """
    root = tmp_path_factory.mktemp("files")
    whole = [
        LedgerFiles(31 * rate, (october(root / f"host-{rate}.db", rate * DOLLAR, f"GPU-{rate}"),))
        for rate in (3, 5, 7, 11, 13)
    ]
    host = MeteredHost(root / "early.db", "GPU-e").meter(OCTOBER, 10, 17 * DOLLAR, step=DAY)
    copy = host.clone(root / "copy.db", "GPU-e").close()
    early = LedgerFiles(
        31 * 17, (host.meter(OCTOBER + 10 * DAY, 21, 17 * DOLLAR, step=DAY).close(),), (copy,)
    )
    image = MeteredHost(root / "image.db", "GPU-i").meter(OCTOBER, 14, 19 * DOLLAR, step=DAY)
    clones = [image.clone(root / f"clone-{number}.db", f"GPU-c{number}") for number in (1, 2)]
    for number, machine in enumerate((*clones, image)):
        machine.meter(OCTOBER + 14 * DAY, 17 - number, 19 * DOLLAR, step=DAY).close()
    forked = LedgerFiles((31 + 17 + 16 - 2 + 0) * 19, (image.path, *(clone.path for clone in clones)))
    lost = MeteredHost(root / "lost.db", "GPU-l").meter(OCTOBER, 4, 23 * DOLLAR, step=DAY)
    restored = lost.clone(root / "restored.db", "GPU-l")
    lost.meter(OCTOBER + 4 * DAY, 30, 23 * DOLLAR).close()
    restored.meter(OCTOBER + 6 * DAY, 25, 23 * DOLLAR, step=DAY).close()
    statement = root / "statement.json"
    closed = october(root / "closed.db", 29 * DOLLAR, "GPU-s")
    close = ["--month=2026-10", "--close", f"--output={statement}", f"--from={closed}"]
    assert main(["report", "month", *close]) == 0
    stated = LedgerFiles(31 * 29, (statement,))
    return [*whole, early, forked, LedgerFiles((4 + 30 + 25) * 23, (restored.path, lost.path)), stated]


def plain(source: Path, folder: Path, name: str) -> None:
    shutil.copy(source, folder / f"{name}.db")


def without_suffix(source: Path, folder: Path, name: str) -> None:
    shutil.copy(source, folder / name)


def deep(source: Path, folder: Path, name: str) -> None:
    (folder / name / ".archive").mkdir(parents=True)
    shutil.copy(source, folder / name / ".archive" / "ledger.db")


def zipped(source: Path, folder: Path, name: str) -> None:
    (folder / f"{name}.db.gz").write_bytes(gzip.compress(source.read_bytes(), 1))


def zipped_without_suffix(source: Path, folder: Path, name: str) -> None:
    (folder / name).write_bytes(gzip.compress(source.read_bytes(), 1))


def archived(source: Path, folder: Path, name: str) -> None:
    with tarfile.open(folder / f"{name}.tar", "w") as tar:
        tar.add(source, "var/ledger.db")


def archived_in_folders(source: Path, folder: Path, name: str) -> None:
    """A tar of a tree: its folders are members, too."""
    with tarfile.open(folder / f"{name}.tar", "w") as tar:
        for path in ("archive", "archive/2026"):
            member = tarfile.TarInfo(path)
            member.type = tarfile.DIRTYPE
            tar.addfile(member)
        tar.add(source, "archive/2026/file")


def archived_and_zipped(source: Path, folder: Path, name: str) -> None:
    with tarfile.open(folder / f"{name}.tgz", "w:gz", compresslevel=1) as tar:
        tar.add(source, f"{name}/ledger.db")


def zipped_and_archived(source: Path, folder: Path, name: str) -> None:
    data = gzip.compress(source.read_bytes(), 1)
    member = tarfile.TarInfo(f"{name}.db.gz")
    member.size = len(data)
    with tarfile.open(folder / f"{name}.tar", "w") as tar:
        tar.addfile(member, io.BytesIO(data))


READ = (
    *(plain, without_suffix, deep, zipped, zipped_without_suffix),
    *(archived, archived_in_folders, archived_and_zipped, zipped_and_archived),
)
Form = Callable[[Path, Path, str], None]


def cut(form: Form, part: float) -> Form:
    """A form of which a file kept the first part alone."""

    def write(source: Path, folder: Path, name: str) -> None:
        inner = folder / name / "cut"
        inner.mkdir(parents=True)
        form(source, inner, name)
        (file,) = [path for path in inner.rglob("*") if path.is_file()]
        file.write_bytes(file.read_bytes()[: int(file.stat().st_size * part)])

    return write


def dumped(source: Path, folder: Path, name: str) -> None:
    if source.suffix == ".json":
        (folder / f"{name}.json").write_text(f"[{source.read_text()}]")
        return
    with contextlib.closing(sqlite3.connect(source)) as connection:
        (folder / f"{name}.sql").write_text("\n".join(connection.iterdump()))


def another_compression(source: Path, folder: Path, name: str) -> None:
    (folder / f"{name}.db.zst").write_bytes(b"\x28\xb5\x2f\xfd" + source.read_bytes()[::-1])


def overwritten(source: Path, folder: Path, name: str) -> None:
    data = bytearray(source.read_bytes())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    (folder / f"{name}.db").write_bytes(data)


UNREAD = (dumped, another_compression, overwritten)


def foreign(random_: random.Random, folder: Path) -> None:
    """Files that have nothing to do with ledgers."""
    for number in range(random_.randrange(3)):
        data = random_.choice([b"", b"notes", bytes(5000), random_.randbytes(700), b"{}", b"PK\x03\x04"])
        (folder / f"foreign-{number}{random_.choice(['', '.txt', '.json', '.gz'])}").write_bytes(data)


@pytest.mark.parametrize("seed", daily(range(FOLDERS), range(FOLDERS // 5)))
def test_the_total_is_right_or_what_it_lacks_is_named(
    seed: int, ledgers: list[LedgerFiles], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files of each ledger in forms that can be read or not: a lost one is refused or named."""
    random_ = random.Random(seed)  # noqa: S311 - a folder, no secret
    forms = random_.choices(
        ["read", "unread", "cut"], weights=[30, random_.choice([0, 2]), random_.choice([0, 2])], k=100
    )
    total, lost_files = 0, set[str]()
    for number, each in enumerate(random_.sample(ledgers, random_.randrange(1, len(ledgers) + 1))):
        total += each.dollars
        copies = [path for path in each.copies if random_.random() < 0.7]
        files = [*each.files, *copies, *random_.choices(each.files, k=random_.randrange(2))]
        for file_number, source in enumerate(random_.sample(files, len(files))):
            kind, name = forms.pop(), f"h{number}-{file_number}"
            form = random_.choice(READ)
            if kind == "unread":
                form = random_.choice(UNREAD)
            if kind == "cut":
                form = cut(form, random_.random())
            if kind != "read":
                lost_files.add(name)
            form(source, tmp_path, name)
    foreign(random_, tmp_path)
    words = ["report", "month", "--month=2026-10", f"--from={tmp_path}"]
    for skip in ([], ["--skip-unreadable"]):
        status = main([*words, "--json", *skip])
        printed = capsys.readouterr()
        if status:
            assert lost_files or "foreign" in printed.err
            continue
        document = json.loads(printed.out)
        named = " ".join(
            each["location"] for each in document["missing"] if each["kind"] in ("unread", "unreadable")
        )
        if document["total"]["picodollars"] != total * DOLLAR:
            assert any(name in named for name in lost_files)
            assert document["total"]["picodollars"] < total * DOLLAR
        assert main([*words, *skip]) == 0
        text = capsys.readouterr().out
        assert (COMPLETE in text) <= (document["total"]["picodollars"] == total * DOLLAR)
        assert all(path.name in text for path in tmp_path.glob("foreign-*"))
