"""The ledger's place in the file system: what may lie there, its modes and identity, and putting it there."""

import fcntl
import os
import stat
import struct
from pathlib import Path
from typing import Final

from exporter.ledger.errors import LedgerError

BE_ITS_USER: Final = "run this as the user that the daemon runs as"

FILE_MODE: Final = 0o640
"""Of every file that the ledger makes: the owner writes, the group reads."""

FOLDER_MODE: Final = 0o750
"""Of a folder that the daemon makes. One that is there keeps its mode: others may share it."""

LOGS: Final = ("-wal", "-shm")
"""What SQLite keeps beside an open file: its write-ahead log and the log's index."""

SIDECARS: Final = ("", *LOGS, "-journal")
"""What SQLite keeps under one name. A journal is there while a file is made, and after a kill just then."""

Identity = tuple[int, int]
"""Device and inode: they tell a file from another one in its place while either is open."""

_OTHERS: Final = stat.S_IRWXO

_SHARED_RANGE: Final = (0x4000_0002, 510)
"""First byte and length of SQLite's shared lock (its file format, "The Lock-Byte Page")."""


def see_a_file(path: Path) -> Path:
    """See that a file with something in it lies where a ledger is looked for; its path without links.

    Raises:
        LedgerError: there is nothing, or something else, or it is not for this user to see.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise LedgerError(f"{path}: there is no ledger here") from None
    except PermissionError as error:  # a folder of others
        raise LedgerError(f"{path} cannot be read ({error.strerror}): {BE_ITS_USER}") from error
    except OSError as error:
        raise LedgerError(f"{path} cannot be read ({error.strerror})") from error
    # Its logs and its lock lie beside the file, not beside a link to it.
    path = Path(os.path.realpath(path))
    if what := irregular(path):
        raise LedgerError(what)
    if found.st_size == 0:
        raise LedgerError(f"{path} is empty: no daemon has begun it")
    return path


def irregular(path: Path) -> str:
    """Which of the ledger's names is taken by something that is no regular file, and what that is; else "".

    Looks only: opening a FIFO waits for a writer, and opening a device may do anything.
    What cannot be looked at is for whoever opens it to report.
    """
    for suffix in (*SIDECARS, ".lock"):
        name = f"{path}{suffix}"
        try:
            # The ledger itself may be a link, resolved at the start. SQLite follows none beside it.
            mode = os.lstat(name).st_mode if suffix else os.stat(name).st_mode  # noqa: PTH116 - a name
        except OSError:
            continue
        if not stat.S_ISREG(mode):
            return f"{name} is {_kind(mode)}"
    return ""


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFLNK: "a symbolic link",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def identity(name: Path | str) -> Identity | None:
    """Which file has a name; `None` where none has.

    Raises:
        OSError: that cannot be seen.
    """
    try:
        found = os.lstat(name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def opened_elsewhere(path: Path) -> bool:
    """Whether another process has a SQLite connection to a file whose log is on: it holds the shared lock.

    Raises:
        OSError: that cannot be seen.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        asked = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, *_SHARED_RANGE, 0)
        answer = struct.unpack("hhqqi", fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
        return bool(answer[0] != fcntl.F_UNLCK)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder that is not there, readable by owner and group.

    Raises:
        OSError: it cannot be made.
    """
    if not os.path.isdir(folder):
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)


def make_file(path: Path) -> None:
    """Make an empty file of the ledger's mode; SQLite takes the mode of its logs from it.

    Raises:
        FileExistsError: the name is taken, by whatever.
        OSError: it cannot be made.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(path, flags, FILE_MODE))


def see_it_opens(path: Path) -> None:
    """See that a file can be written, before SQLite has it open: it is content to read one that cannot.

    Raises:
        OSError: it cannot.
    """
    # Closing it lets go of every lock that this process has on the file, hence before.
    os.close(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))


def tighten(path: Path) -> None:
    """Take from a ledger, and from its logs, what users outside owner and group may do with it.

    Files of releases that set no mode are readable by everybody. Those of another user stay as they are.
    """
    for suffix in SIDECARS:
        name = f"{path}{suffix}"
        try:
            mode = os.lstat(name).st_mode
            if stat.S_ISREG(mode) and mode & _OTHERS:
                os.chmod(name, stat.S_IMODE(mode) & ~_OTHERS)  # noqa: PTH101 - a name
        except OSError:
            continue


def free_name(path: Path, why: str) -> Path:
    """The name `<name>.<why>-<number>` of the first number that is free."""
    number = 1
    while os.path.lexists(free := path.with_name(f"{path.name}.{why}-{number}")):
        number += 1
    return free


def set_aside(path: Path, why: str) -> Path:
    """Rename the file and what SQLite keeps beside it to `<name>.<why>-<number>`; the name it got.

    Raises:
        OSError: it cannot be renamed.
    """
    aside = free_name(path, why)
    # The file first: SQLite throws a log without its file away, but would replay it into a new one.
    for sidecar in SIDECARS:
        if os.path.lexists(present := f"{path}{sidecar}"):
            Path(present).rename(f"{aside}{sidecar}")
    tighten(aside)
    return aside


def begin_part(target: Path) -> Path:
    """An empty file `<name>.part`, to be filled and then put at its target.

    Raises:
        OSError: it cannot be made.
    """
    part = target.with_name(f"{target.name}.part")
    for suffix in SIDECARS:
        Path(f"{part}{suffix}").unlink(missing_ok=True)
    make_file(part)
    return part


def put(part: Path, target: Path) -> None:
    """Give a whole file, of which nobody has a connection, its name: on disk once this returns.

    Logs and a journal under the target's name are removed: SQLite would replay them into the new file.

    Raises:
        FileExistsError: another file has that name; it is left alone.
        OSError: it cannot be done.
    """
    _synchronize(part)
    if identity(target) is not None:
        raise FileExistsError(17, "File exists", str(target))
    for suffix in SIDECARS[1:]:
        Path(f"{target}{suffix}").unlink(missing_ok=True)
    try:
        # A rename would replace what another process puts there meanwhile.
        target.hardlink_to(part)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        part.rename(target)
    else:
        part.unlink()
    _synchronize(target.parent)


def _synchronize(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
