"""The books: commit, then publish."""

import logging
import os
import sqlite3
import threading
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from exporter.clock import Clock
from exporter.cost.postings import Postings
from exporter.cost.state import State
from exporter.ledger import contents, files, marks, schema, store
from exporter.ledger.boot import NO_BOOT, BootClaim
from exporter.ledger.contents import Contents, empty
from exporter.ledger.errors import DamagedError, LedgerError, LedgerLockedError
from exporter.ledger.files import Lock
from exporter.ledger.history import Chronicle, LastDay
from exporter.ledger.store import Pending, Store
from exporter.ledger.totals import Totals
from exporter.ledger.unpriced_time import FIRST, Cursor, UnpricedBatch, UnpricedBuffer
from exporter.readings import ServerKey
from exporter.report import CommittedTotals
from exporter.units import Instant

ADOPT: Final = "inference-cost-exporter ledger adopt"
"""The command that binds a ledger to whichever machine opens it next."""


def belongs(contents: Contents, machine: str, uuids: Collection[str]) -> bool:
    """Whether the books may be this machine's: only another machine without a GPU in common is told apart.

    Args:
        contents: what the file holds.
        machine: this machine's identity, `<kind>:<hash>`; empty when it is unknown.
        uuids: the GPUs that are here.
    """
    known = seen(contents)
    return not (_another(contents.machine, machine) and known) or not known.isdisjoint(uuids)


def seen(contents: Contents) -> frozenset[str]:
    """UUIDs of all GPUs that the books ever had."""
    totals = contents.totals
    gpus = {gpu for gpu, _component in totals.gpu_cost} | {gpu for gpu, _party in totals.unpriced}
    return frozenset(gpu.uuid for gpu in gpus.union(totals.energy)).union(contents.state.gpus)


def _another(stored: str, machine: str) -> bool:
    """Of two kinds (one daemon ran as root, the other could not ask the firmware) nothing is concluded."""
    if not stored or not machine:
        return False
    return stored != machine and stored.partition(":")[0] == machine.partition(":")[0]


__all__ = ["Ledger", "LedgerError", "LedgerLockedError"]

log = logging.getLogger(__name__)

IN_MEMORY: Final = "the books are in memory and end with this process"
WRITABLE: Final = "make the place writable, or set --ledger.path to one that is"
STANDS_STILL: Final = "totals stand still, metering goes on in memory and is written as soon as it can be"
HISTORY_LOST: Final = (
    "the ledger's open file could not be copied: its id, totals and marks were written from memory; history "
    "by hour and day, and the list of corrections with those that waited, are lost"
)

_NO_WAIT: Final = threading.Event()
_NO_WAIT.set()


class Ledger:
    """The running totals and marks, on disk or in memory. Used by one thread at a time.

    What is served is what was committed. While writes fail, served totals stand still, what is posted is
    summed in memory, and the next post writes all of it. So it is from the start on with a file that can be
    read and not written.

    Before each write the file is looked for at its path. One that was deleted is put back there. Where
    another file lies, the books go on beside it under a name of their own, which `displaced` tells.

    `moved_aside` is where a file went that could not be used; the books then began anew.
    `unread` says that a file which can neither be read nor moved lies at the path of books in memory.
    `dropped` says which marks could not be read back, by sentence; `fleeting` that the file ends with a pod.
    """

    def __init__(
        self,
        clock: Clock,
        opened: Contents,
        file: Store | None = None,
        lock: Lock | None = None,
        *,
        problem: str = "",
        failure: str = "",
        moved_aside: Path | None = None,
        fleeting: str = "",
        unread: bool = False,
    ) -> None:
        self.moved_aside, self.fleeting, self.unread = moved_aside, fleeting, unread
        self.dropped = opened.dropped
        self._clock = clock
        self._committed = opened
        self._store = file
        self._home = None if file is None else file.path
        self._lock = lock
        self._elsewhere: list[Lock] = []
        self._machine = opened.machine
        self._opening = problem
        self._undecided = ""
        self._failure = failure
        self._displaced = self._lost = ""
        self._pending: Pending | None = None
        self._backlog = UnpricedBuffer(opened.stretch)
        self._holding: frozenset[ServerKey] = frozenset()
        self._closed = False

    @classmethod
    def open(
        cls,
        path: Path | None,
        clock: Clock,
        stop: threading.Event | None = None,
        connect: schema.Connect = schema.connect,
        boot: BootClaim = NO_BOOT,
    ) -> "Ledger":
        """Open the ledger, making it where there is none.

        A file that can be read and not written gives its id and totals, and each post tries to write again.
        Without a path, or where nothing can be read either, the books are in memory and `problem` says why.
        A file that is damaged or not ours is moved aside, unless a link led to it.
        What is no regular file is neither opened nor moved.

        Args:
            path: the file, or `None` for books in memory.
            clock: waits for the lock and dates commits.
            stop: ends the wait for the lock.
            connect: opens SQLite's connections.
            boot: the one that new books may be the first of.

        Raises:
            LedgerLockedError: another process kept the ledger for 30 s.
            LedgerError: a later release wrote the file.
        """
        if path is None:
            return cls._in_memory(clock, "no ledger path is set", "set --ledger.path to keep them")
        linked = os.path.islink(path)  # noqa: PTH114 - false where that cannot be seen, and no error
        path = Path(os.path.realpath(path))
        if what := files.irregular(path):
            name = f"{path}/ledger.db" if os.path.isdir(path) else "ledger.db in a folder of its own"
            return cls._in_memory(clock, what, f"name a file, such as {name}")
        try:
            files.make_folder(path.parent)
            lock = Lock.take(path, clock, stop or threading.Event())
        except OSError as error:
            return cls._unwritten(path, clock, None, connect, error)
        try:
            return cls._on_disk(path, clock, lock, connect, boot, linked=linked)
        except LedgerError:
            lock.release()
            raise
        except (OSError, sqlite3.Error) as error:
            return cls._unwritten(path, clock, lock, connect, error)

    @classmethod
    def _on_disk(
        cls, path: Path, clock: Clock, lock: Lock, connect: schema.Connect, boot: BootClaim, *, linked: bool
    ) -> "Ledger":
        fresh_in, fleeting = boot.claim(path), boot.ends_with_pod(path)
        try:
            file, opened = Store.open(path, connect, fresh_in)
        except DamagedError as error:
            if linked:  # whoever may write to the link's folder would choose what is renamed
                raise LedgerError(
                    f"{path}, to which the link at the ledger's path leads, could not be used ({error}): "
                    "set --ledger.path to a ledger, or move that file away"
                ) from error
            aside = files.set_aside(path, "corrupt")
            file, opened = Store.open(path, connect)
            problem = (
                f"{path} could not be used ({error}): it was moved to {aside}, and the books began anew; "
                "if there is a copy of it that is whole, stop the daemon and put that in its place"
            )
            return cls(clock, opened, file, lock, problem=problem, moved_aside=aside, fleeting=fleeting)
        return cls(clock, opened, file, lock, fleeting=fleeting)

    @classmethod
    def _unwritten(
        cls,
        path: Path,
        clock: Clock,
        lock: Lock | None,
        connect: schema.Connect,
        error: OSError | sqlite3.Error,
    ) -> "Ledger":
        """Books that go on from a file that cannot be written, under its id: the time is counted once.

        The lock is kept, and where none could be made it is taken before the first write.
        """
        why, unread = f"{path} cannot be written ({_reason(error)})", ""
        try:
            if (found := Store.unwritten(path, connect)) is not None:
                file, opened = found
                return cls(clock, opened, file, lock, failure=f"{why}: {STANDS_STILL}; {WRITABLE}")
        except (OSError, sqlite3.Error, DamagedError) as failure:
            why = f"{why} and cannot be read ({_reason(failure)})"
            unread = "once it can be read, what is counted meanwhile may be counted twice; "
        except LedgerError:
            if lock is not None:
                lock.release()
            raise
        if lock is not None:
            lock.release()
        return cls._in_memory(clock, why, f"{unread}{WRITABLE}", unread=bool(unread))

    @classmethod
    def _in_memory(cls, clock: Clock, why: str, advice: str, *, unread: bool = False) -> "Ledger":
        return cls(clock, empty(), problem=f"{why}: {IN_MEMORY}; {advice}", unread=unread)

    @property
    def id(self) -> str:
        """Minted once per ledger."""
        return self._committed.ledger

    @property
    def persistent(self) -> bool:
        """False for books in memory, which have no file."""
        return self._store is not None

    @property
    def writable(self) -> bool:
        """False while writes fail."""
        return not self._failure

    @property
    def displaced(self) -> Path | None:
        """Where the books are written since another file took their place; `None` while they are in it."""
        return None if self._store is None or self._store.path == self._home else self._store.path

    @property
    def problem(self) -> str:
        """What is wrong and what to do, for people; empty when nothing is."""
        moved = "; ".join(filter(None, (self._displaced, self._lost)))
        return self._failure or self._undecided or moved or self._opening

    def state(self) -> State:
        """What the cost model remembers, as of the last commit, without `owed`.

        The next tick charges the time since then, by whichever process.
        """
        return marks.settled(self._committed.state)

    def remembered(self) -> State:
        """What was remembered with the last post that was taken, whether or not it is written yet."""
        return self._committed.state if self._pending is None else self._pending.state

    def belongs(self, machine: str, uuids: Collection[str]) -> bool:
        """Whether the books may be those of a machine with these GPUs; what is unknown speaks for it."""
        return self._store is None or belongs(self._committed, machine, uuids)

    def bind(self, machine: str, uuids: Collection[str]) -> bool:
        """Settle, before the first post, whose the books are; false while that cannot be told.

        Another machine's are moved aside and begin anew, and `problem` says so. It takes a GPU to tell: until
        one is known, `books` serves nothing, and nothing may be posted.
        """
        ours = self.belongs(machine, uuids)
        self._undecided = ""
        if not ours and not uuids:
            self._undecided = (
                "the ledger is another machine's unless one of its GPUs is here: nothing is posted or served "
                "until the GPUs can be read"
            )
            return False
        if not ours:
            self.begin_anew()
        elif not machine or machine != self._machine:
            state = replace(self._committed.state, same_machine=False)
            self._committed = replace(self._committed, state=state)
        self._machine = machine or self._machine
        return True

    def begin_anew(self) -> None:
        """Move the file aside and start from zero under a new id, before the first post; the lock stays held.

        Where that cannot be done the books are in memory, and `problem` says so.
        """
        file, self._store, self._pending = self._store, None, None
        self._committed, self._machine, self.dropped = empty(), "", ()
        self._backlog = UnpricedBuffer()
        if file is None:
            return
        file.close()
        path, why = file.path, "is another machine's, none of whose GPUs is here"
        try:
            self.moved_aside = files.set_aside(path, "foreign")
            self._store, self._committed = Store.open(path, file.connect)
        except (LedgerError, OSError, sqlite3.Error) as error:
            self._opening = (
                f"{path} {why}, and no other can be begun ({_reason(error)}): {IN_MEMORY}; {WRITABLE}"
            )
            return
        self._opening = (
            f"{path} {why}: it was moved to {self.moved_aside}, and the books began anew; to go on with it, "
            f"stop the daemon, move it back and run `{ADOPT}`"
        )

    def post(self, postings: Postings, state: State) -> None:
        """Commit one tick, with all that earlier ones could not, then serve it.

        A write that fails raises nothing: `writable` turns false and `problem` says why.
        Where this raises all the same, the tick was taken whole or not at all, and `remembered` tells which.
        """
        pending = Pending() if self._pending is None else self._pending.copy()
        backlog = self._backlog.copy()
        pending.history.add(postings)
        backlog.add(postings)
        pending.unpriced = backlog.unwritten
        pending.totals.add(postings, known=self._committed.totals.changed)
        pending.state, pending.texts, pending.end = state, marks.texts(state), postings.end
        pending.machine, pending.zone = self._machine, postings.zone
        # Until here nothing has changed: memory may run out before this line or after it.
        self._pending, self._backlog = pending, backlog
        self._holding = frozenset(party.key for party in postings.seen)
        self._commit()

    def _commit(self) -> None:
        try:
            self._see_the_file()
            if (pending := self._pending) is None:
                return
            now, chronicle = None, self._committed.chronicle
            if self._store is not None:
                now = self._clock.wall()
                chronicle = self._write(self._store, pending, now)
            after = store.after(self._committed, pending, now, chronicle)
            backlog = self._backlog.committed(persistent=self.persistent)
        except (sqlite3.Error, OSError, LedgerError, OverflowError, UnicodeError, MemoryError) as error:
            why = _reason(error) or "out of memory"
            self._failure = f"the ledger cannot be written ({why}): {STANDS_STILL}"
            return
        # All at once: what is written and not known to be is written again, and counts once.
        self._committed, self._backlog, self._pending, self._failure = after, backlog, None, ""

    def _write(self, file: Store, pending: Pending, now: Instant) -> Chronicle:
        try:
            return file.write(self._committed, pending, now)
        except DamagedError as error:
            self._displace(file, f"{file.path} is not this daemon's ledger any more ({error})")
            return file.write(self._committed, pending, now)

    def _see_the_file(self) -> None:
        """See before a write that lock and file are where they belong, and put back what is not.

        Raises:
            LedgerError, OSError, sqlite3.Error: that cannot be done now.
        """
        if (file := self._store) is None:
            return
        path = file.path
        try:
            self._hold(path)
        except LedgerLockedError as error:
            self._displace(file, str(error), shared=True)
            return
        match file.presence():
            case "log gone":
                file.fold_log()
                log.warning("ledger log restored", extra={"path": str(path)})
            case "gone":
                try:
                    self._restore(file, path)
                except (OSError, sqlite3.Error) as error:
                    raise LedgerError(
                        f"{path} was deleted and cannot be put back: {_reason(error)}"
                    ) from error
            case "replaced":
                self._displace(file, f"{path} was replaced by another file while the daemon ran")

    def _hold(self, path: Path) -> None:
        """Hold the lock of a path, anew where its file was deleted."""
        if self._lock is not None and self._lock.in_place():
            return
        files.make_folder(path.parent)
        lock, before = Lock.take(path, self._clock, _NO_WAIT), self._lock
        self._lock = lock
        if before is not None:
            self._let_go(before)

    def _let_go(self, lock: Lock) -> None:
        """Release a lock, but one whose file has another name by now: a ledger may be there as well."""
        if lock.named():
            self._elsewhere.append(lock)
        else:
            lock.release()

    def _displace(self, file: Store, why: str, *, shared: bool = False) -> None:
        """Go on beside a file that is another's: never two daemons write to one."""
        home = self._home or file.path
        target = files.free_name(home, "displaced")
        lock = Lock.take(target, self._clock, _NO_WAIT)
        try:
            self._restore(file, target, shared=shared)
        except BaseException:
            lock.release()
            raise
        if self._lock is not None:
            self._let_go(self._lock)
        self._lock = lock
        self._displaced = (
            f"{why}: it is left alone, and the books go on in {target}; the next start takes {home}: before "
            f"it, stop the daemon and put the right one of the two there"
        )

    def _restore(self, file: Store, target: Path, *, shared: bool = False) -> None:
        copied = file.restore(target, self._committed, self._clock.wall(), shared=shared)
        if not copied:
            self._committed = replace(self._committed, chronicle=Chronicle())
            self._lost = HISTORY_LOST
        source = "open file" if copied else "memory"
        log.warning("ledger restored", extra={"path": str(target), "source": source})

    def unpriced(self, zone: ZoneInfo, place: Cursor = FIRST) -> UnpricedBatch | None:
        """A part of the GPU time that waits for a price, from a place on.

        `None` while that cannot be told: what could not be written is no basis for charging anything.
        What is charged of it is to be in the next post.
        """
        if self._pending is not None:
            return None
        if self._store is None:
            return self._backlog.batch(place)
        try:
            return self._store.unpriced(self._committed, place, zone, self._committed.state.wall or 0)
        except (DamagedError, OSError, sqlite3.Error):
            return None

    def books(self, now: Instant, months: tuple[str, ...]) -> CommittedTotals:
        """What was committed, with the cells of these months, for serving at an instant.

        Nothing of it while it cannot be told whether the books are this machine's.
        """
        committed = self._committed
        if self._undecided:
            committed = replace(committed, totals=Totals(), state=State(), texts={}, recent={}, day=LastDay())
        told = contents.books(
            committed, now, months, self._holding, persistent=self.persistent, writable=self.writable
        )
        return replace(
            told,
            fleeting=bool(self.fleeting),
            moved_aside=Path(self.moved_aside or "").name,
            displaced=Path(self.displaced or "").name,
            unread=self.unread,
        )

    def close(self) -> None:
        """Write what still waits, if it can be, and let the file go. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._commit()
        if self._store is not None:
            self._store.close()
        for lock in (*self._elsewhere, self._lock):
            if lock is not None:
                lock.release()


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
