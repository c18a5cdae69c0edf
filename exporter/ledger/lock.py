"""One daemon per ledger: a lock in a file of its own, so that SQLite's locks stay free for readers."""

import contextlib
import errno
import fcntl
import logging
import os
import stat
import threading
from pathlib import Path
from typing import Final

from exporter.clock import Clock
from exporter.ledger import place
from exporter.ledger.errors import LedgerLockedError
from exporter.units import NANOSECONDS_PER_SECOND

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
                os.fchmod(descriptor, os.fstat(descriptor).st_mode & place.FILE_MODE)
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
            return place.identity(self._name) == (mine.st_dev, mine.st_ino)
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
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | _FLAGS, place.FILE_MODE)
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
