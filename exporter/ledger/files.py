"""One daemon per ledger: a lock in a file of its own, so that SQLite's locks stay free for readers."""

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


log = logging.getLogger(__name__)

ADVICE: Final = "stop that one, or give this one a --ledger.path of its own"

WAIT_SECONDS: Final = 30
"""How long a second daemon waits: a rolling update starts the new one before the old one is gone."""

_FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Another's link, FIFO or device under the lock's name is not followed, waited for or changed."""


class Lock:
    """An flock(2) on `<ledger>.lock`, with the owner's pid inside; it ends when its process does.

    On a file system that cannot be written the lock's file is locked if it is there.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor: int | None = descriptor
        self._name = name

    @classmethod
    def take(cls, ledger: Path, clock: Clock, stop: threading.Event, advice: str = ADVICE) -> "Lock":
        """Take the lock, waiting up to 30 s by the clock; `stop` ends the wait.

        Args:
            ledger: the file that it is for.
            clock: waits.
            stop: ends the wait; set already, there is none.
            advice: what the error tells people to do.

        Raises:
            LedgerLockedError: another process kept it.
            OSError: the lock's file cannot be made here.
        """
        name = f"{ledger}.lock"
        descriptor = _opened(name)
        try:
            _wait(descriptor, ledger, clock, stop, advice)
            _hand_over(descriptor, ledger)
            # The pid and the mode are for people; a full disk must not cost the lock.
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
        """Whether the file that is locked still has the lock's name: else it keeps nobody out.

        A folder that may not be entered any more is taken for no change.

        Raises:
            OSError: that cannot be seen.
        """
        if self._descriptor is None:
            return False
        mine = os.fstat(self._descriptor)
        try:
            return identity(self._name) == (mine.st_dev, mine.st_ino)
        except PermissionError:
            return True

    def named(self) -> bool:
        """Whether the file that is locked has a name anywhere, as after its folder was moved."""
        return self._descriptor is not None and os.fstat(self._descriptor).st_nlink > 0

    def release(self) -> None:
        """Let the next one in. Idempotent. The file stays: removing it would let two in."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def holder(ledger: Path) -> str:
    """The process that has a ledger now, "unknown" where it cannot be told; empty when none has.

    Makes nothing: a ledger without its lock's file is nobody's.
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


def _opened(name: str) -> int:
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
    waited = 0
    while not _locked(descriptor):
        if waited == 0 and not stop.is_set():
            held = f"held by process {_owner(descriptor)}, up to {WAIT_SECONDS} s"
            log.warning("waiting for the ledger, %s", held, extra={"path": str(ledger)})
        if waited == WAIT_SECONDS or clock.wait(stop, NANOSECONDS_PER_SECOND):
            raise LedgerLockedError(f"{ledger} is in use by process {_owner(descriptor)}: {advice}")
        waited += 1


def _hand_over(descriptor: int, ledger: Path) -> None:
    """A lock that root made by hand beside another user's ledger is one that the daemon must open later."""
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            owner = ledger.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(descriptor: int) -> str:
    text = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
    return text if text.isdecimal() else "unknown"
