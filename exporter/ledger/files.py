"""Files of a ledger: names, modes and identities, and the lock that keeps a second daemon out."""

import contextlib
import errno
import fcntl
import logging
import os
import stat
import struct
import threading
from pathlib import Path
from typing import Final

from exporter.clock import Clock
from exporter.ledger.errors import LedgerError, LedgerLockedError
from exporter.units import NANOSECONDS_PER_SECOND

log = logging.getLogger(__name__)

RUN_AS_DAEMON_USER: Final = "run this as the user that the daemon runs as"

FILE_MODE: Final = 0o640
"""Mode of every file that the ledger makes: the owner writes, the group reads."""

FOLDER_MODE: Final = 0o750
"""Mode of a folder that the daemon makes. An existing one keeps its mode: others may share it."""

LOGS: Final = ("-wal", "-shm")
"""Suffixes of SQLite's files next to an open one: its write-ahead log and the log's index."""

SIDECARS: Final = ("", *LOGS, "-journal")
"""Suffixes of all files of one database. A journal exists while a file is made, and after a kill then."""

Identity = tuple[int, int]
"""Device and inode: no other file has them while this one is open."""

ADVICE: Final = "stop that one, or give this one a --ledger.path of its own"
"""The remedy where another daemon has locked the ledger."""

WAIT_SECONDS: Final = 30
"""How long a second daemon waits: a rolling update starts the new one before the old one ends."""

_FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""A foreign link, FIFO or device under the name of a file is not followed, waited for or changed."""

_OTHERS: Final = stat.S_IRWXO

_SHARED_RANGE: Final = (0x4000_0002, 510)
"""First byte and length of SQLite's shared lock (its file format, "The Lock-Byte Page")."""


def ledger_file(path: Path) -> Path:
    """Check that there is a file with content at a ledger's path. Returns the path without links.

    Raises:
        LedgerError: there is none, or something else, or this user may not see it.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise LedgerError(f"{path}: there is no ledger here") from None
    except PermissionError as error:  # another user's folder
        raise LedgerError(f"{path} cannot be read ({error.strerror}): {RUN_AS_DAEMON_USER}") from error
    except OSError as error:
        raise LedgerError(f"{path} cannot be read ({error.strerror})") from error
    # Its logs and its lock are next to the file, not next to a link to it.
    path = Path(os.path.realpath(path))
    other = irregular(path)
    if other:
        raise LedgerError(other)
    if status.st_size == 0:
        raise LedgerError(f"{path} is empty: no daemon has begun it")
    return path


_KINDS: Final = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a symbolic link",
}


def irregular(path: Path) -> str:
    """Sentence about the first of the ledger's files that is not a regular one; empty when all are.

    Looks only: opening a FIFO waits for a writer, and opening a device may do anything.
    A name that cannot be looked at is skipped: opening it reports the error.
    """
    for suffix in (*SIDECARS, ".lock"):
        name = f"{path}{suffix}"
        try:
            # The ledger itself may be a link, resolved at the start. SQLite follows no other.
            mode = os.lstat(name).st_mode if suffix else os.stat(name).st_mode  # noqa: PTH116 - a name
        except OSError:
            continue
        if not stat.S_ISREG(mode):
            return f"{name} is {_KINDS.get(stat.S_IFMT(mode), 'a device')}"
    return ""


def other_name(path: Path) -> str:
    """Advice where a file that is not regular has one of the ledger's names."""
    name = f"{path}/ledger.db" if os.path.isdir(path) else "ledger.db in a folder of its own"
    return f"name a file, such as {name}"


def identity(name: Path | str) -> Identity | None:
    """Identity of the file with a name; `None` without one.

    Raises:
        OSError: it cannot be looked at.
    """
    try:
        status = os.lstat(name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def is_missing_or_empty(path: Path) -> bool:
    """Whether no daemon has begun a ledger at a path.

    Raises:
        OSError: it cannot be looked at.
    """
    try:
        return path.stat().st_size == 0
    except (FileNotFoundError, NotADirectoryError):
        return True


def opened_elsewhere(path: Path) -> bool:
    """Whether another process has a SQLite connection to a file with a log: it holds the shared lock.

    Raises:
        OSError: the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | _FLAGS)
    try:
        request = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, *_SHARED_RANGE, 0)
        answer = struct.unpack("hhqqi", fcntl.fcntl(descriptor, fcntl.F_GETLK, request))
        return bool(answer[0] != fcntl.F_UNLCK)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a missing folder, readable by owner and group.

    Raises:
        OSError: it cannot be made.
    """
    if not os.path.isdir(folder):
        try:
            folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        except FileExistsError as error:  # it is a file, and that it exists says nothing of what is wrong
            raise NotADirectoryError(errno.ENOTDIR, f"{folder} is no folder") from error


def make_file(path: Path) -> None:
    """Make an empty file of the ledger's mode; SQLite takes the mode of its logs from it.

    Raises:
        FileExistsError: the name is taken.
        OSError: it cannot be made.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(path, flags, FILE_MODE))


def check_writable(path: Path) -> None:
    """Check that a file can be written: SQLite opens one that can only be read.

    Raises:
        OSError: it cannot be written.
    """
    # Before SQLite opens it: closing it releases every lock that this process has on the file.
    os.close(os.open(path, os.O_RDWR | _FLAGS))


def tighten(path: Path) -> None:
    """Remove the permissions of users outside owner and group from a ledger and its logs.

    A copy that an operator put there may be readable by everybody. Files of another user stay as they are.
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
    """Rename the file and SQLite's files next to it to `<name>.<why>-<number>`. Returns the new name.

    Raises:
        OSError: it cannot be renamed.
    """
    aside = free_name(path, why)
    # The file first: SQLite discards a log without its file, but would replay it into a new one.
    for sidecar in SIDECARS:
        if os.path.lexists(present := f"{path}{sidecar}"):
            Path(present).rename(f"{aside}{sidecar}")
    tighten(aside)
    return aside


def make_part(target: Path) -> Path:
    """Make an empty file `<name>.part`, to be filled and then put at its target.

    Raises:
        OSError: it cannot be made.
    """
    part = target.with_name(f"{target.name}.part")
    for suffix in SIDECARS:
        Path(f"{part}{suffix}").unlink(missing_ok=True)
    make_file(part)
    return part


def put(part: Path, target: Path) -> None:
    """Rename a whole file without connections to a free name, and wait until that is on disk.

    Logs and a journal under the target's name are removed: SQLite would replay them into the new file.

    Raises:
        FileExistsError: another file has that name, and stays.
        OSError: it failed.
    """
    _synchronize(part)
    if identity(target) is not None:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    for suffix in SIDECARS[1:]:
        Path(f"{target}{suffix}").unlink(missing_ok=True)
    part.rename(target)
    _synchronize(target.parent)


def _synchronize(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Lock:
    """An flock(2) on `<ledger>.lock`, with the owner's pid inside; it ends with its process.

    It is a file of its own, so that SQLite's locks stay free for readers. On a read-only file system an
    existing lock file is locked.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor: int | None = descriptor
        self._name = name
        opened = os.fstat(descriptor)  # the same as long as it is open
        self._identity: Identity = opened.st_dev, opened.st_ino

    @classmethod
    def take(cls, ledger: Path, clock: Clock, stop: threading.Event, advice: str = ADVICE) -> "Lock":
        """Take the lock, waiting up to 30 s by the clock; `stop` ends the wait.

        Args:
            ledger: the ledger's file.
            clock: waits.
            stop: ends the wait; when it is set already, there is none.
            advice: the remedy in the error's message.

        Raises:
            LedgerLockedError: another process held it all the time.
            OSError: the lock's file cannot be made here.
        """
        name = f"{ledger}.lock"
        descriptor = _open_lock(name)
        try:
            _wait(descriptor, ledger, clock, stop, advice)
            # Owner, mode and pid are for others; a full disk must not cost the lock.
            with contextlib.suppress(OSError):
                if os.geteuid() == 0:  # the daemon, which seldom is root, must open it later
                    owner = ledger.stat()
                    os.fchown(descriptor, owner.st_uid, owner.st_gid)
            with contextlib.suppress(OSError):
                os.fchmod(descriptor, os.fstat(descriptor).st_mode & FILE_MODE)
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor, name)

    def in_place(self) -> bool:
        """Whether the locked file still has the lock's name: only then it keeps others out.

        A folder that may not be entered any more counts as no change.

        Raises:
            OSError: the name cannot be looked at.
        """
        if self._descriptor is None:
            return False
        try:
            return identity(self._name) == self._identity
        except PermissionError:
            return True

    def release(self) -> None:
        """Release the lock. Idempotent. The file stays: removing it would let two processes in."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def lock_holder(ledger: Path) -> str:
    """Pid of the process that has locked a ledger, "unknown" without one in the file; empty for none.

    Creates nothing: a ledger without a lock file is not in use.
    """
    try:
        descriptor = os.open(f"{ledger}.lock", os.O_RDONLY | _FLAGS)
    except OSError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _owner(descriptor)
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    return ""


def _open_lock(name: str) -> int:
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | _FLAGS, FILE_MODE)
    except OSError as error:
        if error.errno not in {errno.EROFS, errno.EACCES}:
            raise
        try:
            descriptor = os.open(name, os.O_RDONLY | _FLAGS)
        except FileNotFoundError:
            raise error from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"{name} is no regular file", name)
    return descriptor


def _wait(descriptor: int, ledger: Path, clock: Clock, stop: threading.Event, advice: str) -> None:
    """Wait for the lock, one second at a time."""
    for waited in range(WAIT_SECONDS + 1):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _owner(descriptor)
        else:
            return
        if waited == 0 and not stop.is_set():
            log.warning(
                "ledger locked",
                extra={"holder_pid": holder, "wait_seconds": WAIT_SECONDS, "path": str(ledger)},
            )
        if waited == WAIT_SECONDS or clock.wait(stop, NANOSECONDS_PER_SECOND):
            raise LedgerLockedError(f"{ledger} is in use by process {holder}: {advice}")


def _owner(descriptor: int) -> str:
    text = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
    return text if text.isdecimal() else "unknown"
