"""The ledger of a daemon: commit, then publish."""

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Collection
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Final

from exporter.clock import Clock
from exporter.cost.postings import Postings
from exporter.cost.state import State
from exporter.ledger import contents, files, marks, schema
from exporter.ledger.boot import NO_BOOT, BootClaim
from exporter.ledger.commit import Pending, contents_in_memory
from exporter.ledger.contents import Contents, LastDay, empty
from exporter.ledger.errors import DamagedError, ForeignSchemaError, LedgerError, LedgerLockedError
from exporter.ledger.files import Lock
from exporter.ledger.history import TickSums
from exporter.ledger.open_file import FilePresence
from exporter.ledger.store import Store
from exporter.ledger.totals import Totals
from exporter.ledger.unpriced_time import FIRST, Cursor, UnpricedBatch, UnpricedBuffer
from exporter.readings import ServerKey
from exporter.report import CommittedTotals
from exporter.units import Instant

log = logging.getLogger(__name__)

ADOPT: Final = "inference-cost-exporter ledger adopt"
"""The command that binds a ledger to the next machine that opens it."""

IN_MEMORY: Final = "the ledger is in memory and ends with this process"
WRITABLE: Final = "make the place writable, or set --ledger.path to one that is"
STANDS_STILL: Final = "totals stand still, metering goes on in memory and is written as soon as it can be"
HISTORY_LOST: Final = (
    "the ledger's open file could not be copied: its id, totals and marks were written from memory; history "
    "by hour and day, and the list of corrections with those that waited, are lost"
)


class ProblemKind(Enum):
    """Kinds of problems that a running ledger may have."""

    WRITE_FAILED = "write failed"
    MACHINE_UNKNOWN = "machine unknown"
    """It may be another machine's ledger: the GPUs cannot be read."""
    DISPLACED = "displaced"
    HISTORY_LOST = "history lost"
    NO_FILE = "no file"
    """It is in memory."""
    FILE_SET_ASIDE = "file set aside"
    """It started from zero."""


_BY_GRAVITY: Final = (
    (ProblemKind.WRITE_FAILED,),
    (ProblemKind.MACHINE_UNKNOWN,),
    (ProblemKind.DISPLACED, ProblemKind.HISTORY_LOST),
    (ProblemKind.NO_FILE,),
    (ProblemKind.FILE_SET_ASIDE,),
)

_NO_WAIT: Final = threading.Event()
_NO_WAIT.set()


class Ledger:
    """Running totals and marks, on disk or in memory. Used by one thread at a time.

    Committed totals are served. While writes fail, served totals stand still, postings are summed in memory,
    and the next post writes all of them. A file that can only be read starts in this state.

    Each write first looks for the file at its path. A deleted file is restored there. If another file is
    there, the ledger continues next to it, at the path `displaced`.
    """

    moved_aside: Path | None
    """New path of a file that could not be used: the ledger started from zero."""
    fleeting: str
    """Problem of a file that ends with a pod; empty for others."""
    unread: bool
    """Whether the ledger is in memory, and the file at its path can neither be read nor moved."""
    dropped: tuple[str, ...]
    """Sentences about marks that could not be read."""
    host: str
    """Name of the host, which reports of a fleet print; the file keeps it."""
    ends: Callable[[], Instant | None]
    """When the host's cloud ends it, by the notice in force; `None` without one."""

    def __init__(
        self,
        clock: Clock,
        opened: Contents,
        store: Store | None = None,
        lock: Lock | None = None,
        *,
        problems: dict[ProblemKind, str] | None = None,
        moved_aside: Path | None = None,
        fleeting: str = "",
        unread: bool = False,
    ) -> None:
        self.moved_aside = moved_aside
        self.fleeting = fleeting
        self.unread = unread
        self.dropped = opened.dropped
        self.host = ""
        self.ends = lambda: None
        self._clock = clock
        self._committed = opened
        self._store = store
        self._home = None if store is None else store.path
        self._lock = lock
        self._machine = opened.machine
        self._problems = problems or {}
        self._pending: Pending | None = None
        self._unpriced = UnpricedBuffer(opened.last_unpriced)
        self._servers: frozenset[ServerKey] = frozenset()
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
        """Open the ledger, or make it.

        A file that can only be read gives its id and totals, and each post tries to write again.
        Without a path, or with a file that cannot be read, the ledger is in memory, and `problem` says why.
        A file that is damaged or not ours is moved aside, unless a link led to it.
        A file that is not a regular one is neither opened nor moved.

        Args:
            path: the file, or `None` for a ledger in memory.
            clock: waits for the lock and dates commits.
            stop: ends the wait for the lock.
            connect: opens SQLite's connections.
            boot: the boot whose first ledger a new one may be.

        Raises:
            LedgerLockedError: another process held the ledger for 30 s.
            LedgerError: a later release wrote the file.
        """
        if path is None:
            return cls._in_memory(clock, "no ledger path is set", "set --ledger.path to keep them")
        linked = os.path.islink(path)
        path = Path(os.path.realpath(path))
        irregular = files.irregular(path)
        if irregular:
            return cls._in_memory(clock, irregular, files.other_name(path))
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
        fresh_in = boot.claim(path)
        fleeting = boot.ends_with_pod(path)
        try:
            store, opened = Store.open(path, connect, fresh_in)
        except DamagedError as error:
            if linked:  # another user's link could choose the file that is renamed
                raise LedgerError(
                    f"{path}, to which the link at the ledger's path leads, could not be used ({error}): "
                    "set --ledger.path to a ledger, or move that file away"
                ) from error
            aside = files.set_aside(path, error.aside)
            store, opened = Store.open(path, connect)
            text = (
                f"{path} could not be used ({error}): it was moved to {aside}, and a new ledger was created"
            )
            if not isinstance(error, ForeignSchemaError):
                text += "; if there is an intact copy of it, stop the daemon and put the copy in its place"
            problems = {ProblemKind.FILE_SET_ASIDE: text}
            return cls(clock, opened, store, lock, problems=problems, moved_aside=aside, fleeting=fleeting)
        return cls(clock, opened, store, lock, fleeting=fleeting)

    @classmethod
    def _unwritten(
        cls,
        path: Path,
        clock: Clock,
        lock: Lock | None,
        connect: schema.Connect,
        error: OSError | sqlite3.Error,
    ) -> "Ledger":
        """Continue from a file that cannot be written, under its id, so that no time is counted twice.

        The lock stays held. If none could be made, it is taken before the first write.
        """
        why = f"{path} cannot be written ({_reason(error)})"
        advice = WRITABLE
        unread = False
        try:
            readable = Store.read_unwritable(path, connect)
        except (OSError, sqlite3.Error, DamagedError) as failure:
            readable = None
            why = f"{why} and cannot be read ({_reason(failure)})"
            advice = f"once it can be read, what is counted meanwhile may be counted twice; {WRITABLE}"
            unread = True
        except LedgerError:
            if lock is not None:
                lock.release()
            raise
        if readable is not None:
            store, opened = readable
            problems = {ProblemKind.WRITE_FAILED: f"{why}: {STANDS_STILL}; {WRITABLE}"}
            return cls(clock, opened, store, lock, problems=problems)
        if lock is not None:
            lock.release()
        return cls._in_memory(clock, why, advice, unread=unread)

    @classmethod
    def _in_memory(cls, clock: Clock, why: str, advice: str, *, unread: bool = False) -> "Ledger":
        problems = {ProblemKind.NO_FILE: f"{why}: {IN_MEMORY}; {advice}"}
        return cls(clock, empty(), problems=problems, unread=unread)

    @property
    def id(self) -> str:
        """Id of the ledger, made once."""
        return self._committed.ledger

    @property
    def persistent(self) -> bool:
        """False for a ledger in memory."""
        return self._store is not None

    @property
    def writable(self) -> bool:
        """False while writes fail."""
        return ProblemKind.WRITE_FAILED not in self._problems

    @property
    def displaced(self) -> Path | None:
        """Path of the ledger since another file took its place; `None` while it is in place."""
        return None if self._store is None or self._store.path == self._home else self._store.path

    @property
    def problem(self) -> str:
        """The gravest problem with its remedy, as text; empty for none."""
        for kinds in _BY_GRAVITY:
            texts = [self._problems[kind] for kind in kinds if kind in self._problems]
            if texts:
                return "; ".join(texts)
        return ""

    def state(self) -> State:
        """State of the cost model at the last commit, as its file would give it back.

        The next tick charges the time since then, in this process or the next.
        """
        stored, _dropped = marks.state_of((*scope, text) for scope, text in self._committed.texts.items())
        return replace(self._committed.state, gpus=stored.gpus, unseen=stored.unseen, servers=stored.servers)

    def remembered(self) -> State:
        """State of the last post that was accepted, whether or not it is written yet."""
        return self._committed.state if self._pending is None else self._pending.state

    def belongs(self, machine: str, uuids: Collection[str]) -> bool:
        """Whether the ledger may be a machine's: no if it is another's and no GPU is common to both.

        Args:
            machine: this machine's identity, `<kind>:<hash>`; empty when it is unknown, which counts as yes.
            uuids: the GPUs of this machine.
        """
        if self._store is None:
            return True
        counters = self._committed.totals.counters
        gpus = {gpu for gpu, _component in counters.gpu_cost}
        gpus.update(gpu for gpu, _owner in counters.unpriced)
        gpus.update(counters.energy)
        earlier = {gpu.uuid for gpu in gpus} | self._committed.state.gpus.keys()
        # Identities of different kinds cannot be compared: one daemon ran as root, and the other could not
        # read the firmware.
        stored = self._committed.machine
        comparable = stored and stored.partition(":")[0] == machine.partition(":")[0]
        if not earlier or not comparable or stored == machine:
            return True
        return not earlier.isdisjoint(uuids)

    def bind(self, machine: str, uuids: Collection[str]) -> bool:
        """Bind the ledger to the machine before the first post; false while its GPUs are unknown.

        Another machine's ledger is moved aside and starts over, and `problem` says so. Without a GPU that
        cannot be decided: then `totals` serves nothing, and nothing may be posted.
        """
        ours = self.belongs(machine, uuids)
        self._problems.pop(ProblemKind.MACHINE_UNKNOWN, None)
        if not ours and not uuids:
            self._problems[ProblemKind.MACHINE_UNKNOWN] = (
                "the ledger is another machine's unless one of its GPUs is here: nothing is posted or served "
                "until the GPUs can be read"
            )
            return False
        if not ours:
            self.start_over()
        elif not machine or machine != self._machine:
            state = replace(self._committed.state, same_machine=False)
            self._committed = replace(self._committed, state=state)
        self._machine = machine or self._machine
        return True

    def start_over(self) -> None:
        """Move the file aside and start from zero under a new id, before the first post; the lock stays held.

        If that fails the ledger is in memory, and `problem` says so.
        """
        store = self._store
        self._store = None
        self._pending = None
        self._committed = empty()
        self._unpriced = UnpricedBuffer()
        self._machine = ""
        self.dropped = ()
        if store is None:
            return
        store.close()
        path = store.path
        why = "is another machine's, none of whose GPUs is here"
        try:
            self.moved_aside = files.set_aside(path, "foreign")
            self._store, self._committed = Store.open(path, store.connect)
        except (LedgerError, OSError, sqlite3.Error) as error:
            self._problems[ProblemKind.NO_FILE] = (
                f"{path} {why}, and no other can be begun ({_reason(error)}): {IN_MEMORY}; {WRITABLE}"
            )
            return
        self._problems[ProblemKind.FILE_SET_ASIDE] = (
            f"{path} {why}: it was moved to {self.moved_aside}, and a new ledger was created; to continue "
            f"with it, stop the daemon, move it back and run `{ADOPT}`"
        )

    def post(self, postings: Postings, state: State) -> None:
        """Commit one tick, with earlier ones that could not be written, then serve it.

        A failed write raises nothing: `writable` turns false and `problem` says why.
        After any other error `remembered` says whether the tick was accepted, which it is as a whole.
        """
        pending = Pending() if self._pending is None else self._pending.copy()
        unpriced = self._unpriced.copy()
        sums = TickSums.of(postings)
        pending.history.add(sums)
        unpriced.add(postings)
        pending.unpriced = unpriced.unwritten
        pending.totals.add(sums, known_owners=self._committed.totals.counters.changed)
        pending.state = state
        pending.texts = marks.texts(state)
        pending.end = postings.end
        pending.zone = postings.zone
        pending.machine = self._machine
        pending.host = self.host
        pending.charges_late = bool(postings.late.segments)
        pending.host_end = self.ends()
        # Nothing has changed before this line: a tick is accepted whole or not at all.
        self._pending = pending
        self._unpriced = unpriced
        self._servers = frozenset(owner.key for owner in postings.owners)
        self._commit()

    def _commit(self) -> None:
        """Write what is pending, and publish it. A failure is a problem, and all stays pending."""
        try:
            self._restore_files()
            pending = self._pending
            if pending is None:
                return
            store = self._store
            if store is None:
                after = contents_in_memory(self._committed, pending)
            else:
                now = self._clock.wall()
                try:
                    after = store.write(self._committed, pending, now)
                except DamagedError as error:
                    self._displace(store, f"{store.path} is not this daemon's ledger any more ({error})")
                    after = store.write(self._committed, pending, now)
            unpriced = self._unpriced.committed(persistent=self.persistent)
        except (sqlite3.Error, OSError, LedgerError, OverflowError, UnicodeError) as error:
            text = f"the ledger cannot be written ({_reason(error)}): {STANDS_STILL}"
            self._problems[ProblemKind.WRITE_FAILED] = text
            return
        # Publish. A tick that is on disk and not published is written again, and counts once.
        self._committed = after
        self._unpriced = unpriced
        self._pending = None
        self._problems.pop(ProblemKind.WRITE_FAILED, None)

    def _restore_files(self) -> None:
        """Check before a write that lock and file are in place, and restore what is not.

        Raises:
            LedgerError, OSError, sqlite3.Error: it cannot be restored now.
        """
        store = self._store
        if store is None:
            return
        path = store.path
        # Without its lock another daemon may write to the file: then the ledger goes on next to that one.
        if self._lock is None or not self._lock.in_place():
            files.make_folder(path.parent)
            try:
                lock = Lock.take(path, self._clock, _NO_WAIT)
            except LedgerLockedError as error:
                self._displace(store, str(error), shared=True)
                return
            if self._lock is not None:
                self._lock.release()
            self._lock = lock
        match store.presence():
            case FilePresence.LOG_GONE:
                is_folded = store.fold_log()
                if is_folded:
                    log.warning("ledger log restored", extra={"path": str(path)})
            case FilePresence.GONE:
                try:
                    self._restore(store, path)
                except (OSError, sqlite3.Error) as error:
                    raise LedgerError(
                        f"{path} was deleted and cannot be put back: {_reason(error)}"
                    ) from error
            case FilePresence.REPLACED:
                self._displace(store, f"{path} was replaced by another file while the daemon ran")

    def _displace(self, store: Store, why: str, *, shared: bool = False) -> None:
        """Restore the ledger to a free path next to its home, and continue there.

        Two daemons never write to one file. The open file is `shared` while another daemon has its lock.
        """
        home = self._home or store.path
        target = files.free_name(home, "displaced")
        lock = Lock.take(target, self._clock, _NO_WAIT)
        try:
            self._restore(store, target, shared=shared)
        except BaseException:
            lock.release()
            raise
        if self._lock is not None:
            self._lock.release()
        self._lock = lock
        self._problems[ProblemKind.DISPLACED] = (
            f"{why}: it is left alone, and the ledger continues in {target}; the next start takes {home}: "
            f"before it, stop the daemon and put the right one of the two there"
        )

    def _restore(self, store: Store, target: Path, *, shared: bool = False) -> None:
        """Write the ledger to a free path, and continue there: from its open file, or else from memory."""
        copied = store.restore(target, self._committed, self._clock.wall(), shared=shared)
        if not copied:
            self._committed = replace(self._committed, history={})
            self._problems[ProblemKind.HISTORY_LOST] = HISTORY_LOST
        source = "open file" if copied else "memory"
        log.warning("ledger restored", extra={"path": str(target), "source": source})

    def unpriced(self, cursor: Cursor = FIRST) -> UnpricedBatch | None:
        """A part of the unpriced GPU time, from a position on.

        `None` while writes fail or the file cannot be read: then nothing of it may be charged.
        The next post must contain what is charged of it.
        """
        if self._pending is not None:
            return None
        if self._store is None:
            return self._unpriced.batch(cursor)
        try:
            return self._store.unpriced(self._committed, cursor)
        except (DamagedError, OSError, sqlite3.Error):
            return None

    def totals(self, now: Instant, months: tuple[str, ...]) -> CommittedTotals:
        """Committed totals with the cells of these months, as served at an instant.

        Empty while the ledger may be another machine's.
        """
        committed = self._committed
        if ProblemKind.MACHINE_UNKNOWN in self._problems:
            committed = replace(committed, totals=Totals(), state=State(), texts={}, recent={}, day=LastDay())
        return replace(
            contents.committed_totals(committed, now, months, self._servers),
            persistent=self.persistent,
            writable=self.writable,
            fleeting=bool(self.fleeting),
            moved_aside=self.moved_aside.name if self.moved_aside else "",
            displaced=self.displaced.name if self.displaced else "",
            unread=self.unread,
        )

    def close(self) -> None:
        """Write the pending sums if possible, and close the file. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._commit()
        if self._store is not None:
            self._store.close()
        if self._lock is not None:
            self._lock.release()


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
