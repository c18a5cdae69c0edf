"""A folder of ledgers and statements as months of hosts: copies, archives, and files of running daemons."""

import os
import pickle
import tempfile
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Final, NamedTuple
from zoneinfo import ZoneInfo

from exporter.finance.fleet import record
from exporter.finance.fleet.archives import GZIP, ArchiveError, Archives, is_tar
from exporter.finance.fleet.closed_month import ClosedMonthError, is_statement, read_closed_month
from exporter.finance.fleet.forks import Beyond, FileHistory, Fork, beyond, fork_of, with_forks
from exporter.ledger.contents import MAGIC
from exporter.ledger.errors import LedgerError
from exporter.ledger.files import SIDECARS
from exporter.ledger.reader import CheckedPeriodReader, PeriodReader
from exporter.tariff.period import Period

MOST_ENTRIES: Final = 200_000
"""Entries of a folder that are looked at: more is not a folder of ledgers."""

MOST_LEVELS: Final = 32

HEAD_BYTES: Final = 512
"""Of a file, to see what it is."""

ERRORS_LISTED: Final = 20

LEDGER_SUFFIX: Final = ".db"
GZIP_SUFFIX: Final = ".gz"
LOCK_SUFFIX: Final = ".lock"
DEFAULT_NAME: Final = "ledger.db"

SKIP_FLAG: Final = "--skip-unreadable"

MEMORY_BYTES: Final = 8 * 1024 * 1024
"""Memory for months of hosts that are read; more of them go to a temporary file."""

Progress = Callable[[int, int], None]
"""Takes the number of files that were read, and of all."""


class FolderError(record.FleetError):
    """Files cannot be read, so that there is no total; the message names each."""


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file that is or may be a ledger and cannot be read."""

    location: str
    why: str
    """In a sentence that names the file."""

    @property
    def finding(self) -> record.HostFinding:
        """What is missing by leaving it out."""
        return record.HostFinding("unreadable", "", self.location, self.location, text=self.why)


@dataclass(slots=True, weakref_slot=True)
class LedgerFolder:
    """Ledgers of folders and files, and statements of closed months. Nothing in them is changed.

    Files are recognized by their content or the suffix .db, also in gzip and tar; `unread` has the others.
    Folders are read to all depths. Links are not followed: one to a file in the folder is that file, and
    others are unreadable.

    A statement stands for ledgers that are gone, in its month. In days or a quarter it cannot.
    Months wait in a temporary file, so that the sums of a large fleet are never in memory together.
    """

    sources: Sequence[Path]
    period: Period
    zone: str
    """The time zone of ledgers that do not name theirs."""
    skip: bool = False
    """Leave out what cannot be read; `unreadable` then has it."""
    days: Collection[str] = ()
    """Families of sums that months have by day, too."""
    unreadable: list[UnreadableFile] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    """Files of no known form."""
    _months: IO[bytes] = field(default_factory=lambda: tempfile.SpooledTemporaryFile(MEMORY_BYTES))  # noqa: SIM115 - closed with the folder
    """Sums and days of ledgers, pickled."""
    _stored: dict[str, tuple[record.HostMonth, int]] = field(default_factory=dict)
    """The header of a ledger and where its sums begin, by the location of its file."""
    _forks: dict[str, tuple[Fork, ...]] = field(default_factory=dict)
    _files: dict[str, "FolderFile"] = field(default_factory=dict)
    _archives: Archives = field(default_factory=Archives)
    _entries: int = 0

    def __post_init__(self) -> None:
        weakref.finalize(self, self._months.close)

    @property
    def findings(self) -> list[record.HostFinding]:
        """What is not in the months: files that cannot be read, and those that are of no known form."""
        unread = [record.HostFinding("unread", "", location, location) for location in self.unread]
        return [*(each.finding for each in self.unreadable), *unread]

    def headers(self, progress: Progress | None = None) -> list[record.HostMonth]:
        """The months of all ledgers, without sums, in the order of their paths.

        Raises:
            FolderError: there is no ledger that can be read, or a file cannot be and `skip` is not set.
        """
        unreadable = self.unreadable
        self.unread = []
        known: set[str] = set()
        """Real paths of files that are not read again."""
        files = self._files = {}
        for source in self.sources:
            if os.path.isdir(source):
                self._entries = 0
                below = self._of_folder(source, str(source), os.path.realpath(source), known, 1)
            else:
                below = self._of_file(source, str(source), known, 1, named=True)
            files.update((file.location, file) for file in below)
        headers: list[record.HostMonth] = []
        other: dict[str, dict[str, str]] = {}
        for number, file in enumerate(files.values()):
            if progress is not None:
                progress(number, len(files))
            try:
                if file.is_statement:
                    closed = read_closed_month(file.path)
                    if closed.month == self.period.name:
                        headers += [replace(host, location=file.location) for host in closed.hosts]
                    elif closed.month in self.period.months:
                        other[file.location] = {host.record.ledger: host.name for host in closed.hosts}
                    continue
                with PeriodReader.open(file.path) as reader:
                    header = self._header(reader, file)
                    if header.has_month:
                        self._store(header, reader)
                    headers.append(header)
            except (LedgerError, ClosedMonthError) as error:
                unreadable.append(file.unreadable(error))
        if progress is not None:
            progress(len(files), len(files))
        unreadable += self._without_ledgers(other, {header.record.ledger for header in headers})
        self._find_forks(headers)
        if unreadable and not (self.skip and headers):
            raise _unreadable_error(unreadable, len(files))
        if not headers:
            unread = f"; not read are {record.names_text(self.unread)}" if self.unread else ""
            raise FolderError(f"{', '.join(map(str, self.sources))}: there is no ledger here{unread}")
        return [with_forks(header, self._forks.get(header.location, ())) for header in headers]

    def load(self, header: record.HostMonth) -> record.HostMonth:
        """The whole month of a header's ledger, as of the same commit."""
        if header.origin == "statement":  # which is whole already
            return header
        alone, offset = self._stored[header.location]
        self._months.seek(offset)
        sums, days = pickle.load(self._months)  # noqa: S301 - bytes of this process
        month = replace(alone, record=replace(alone.record, sums=sums, days=days))
        return with_forks(month, self._forks.get(header.location, ()))

    def _store(self, header: record.HostMonth, reader: PeriodReader) -> None:
        sums = reader.sums(self.period)
        days = reader.days(self.period, self.days) if self.days else {}
        self._stored[header.location] = header, self._months.seek(0, os.SEEK_END)
        try:
            pickle.dump((sums, days), self._months)
        except OSError as error:
            raise FolderError(
                "the folder for temporary files cannot be written: "
                f"{error.strerror}; TMPDIR names another one"
            ) from error

    def _without_ledgers(
        self, statements: Mapping[str, Mapping[str, str]], ledgers: Collection[str]
    ) -> Iterator[UnreadableFile]:
        """Statements of months in a longer or shorter period that have ledgers which are gone.

        `statements` are the names of hosts by ledger, by file.
        """
        for location, names in statements.items():
            gone = [name for ledger, name in names.items() if ledger not in ledgers]
            if gone:
                yield UnreadableFile(
                    location,
                    f"{location} is of a whole month, and stands for ledgers that are not here "
                    f"({record.names_text(gone)}): {self.period.name} needs the ledgers",
                )

    def _find_forks(self, headers: Sequence[record.HostMonth]) -> None:
        """Note what files of one ledger have beyond the latest one.

        Raises:
            ConflictingCopiesError: money of the latest one has no known day, and may be that of the others.
        """
        by_ledger: dict[str, list[record.HostMonth]] = {}
        for header in headers:
            if header.origin == "ledger" and header.has_month:
                by_ledger.setdefault(header.record.ledger, []).append(header)
        for copies in by_ledger.values():
            if len(copies) > 1:
                latest, *others = sorted(copies, key=record.preference)
                try:
                    self._forks[latest.location] = tuple(self._forks_of(latest, others))
                except LedgerError as error:
                    self.unreadable.append(UnreadableFile(latest.location, str(error)))

    def _forks_of(self, latest: record.HostMonth, others: Sequence[record.HostMonth]) -> Iterator[Fork]:
        known = self._history(latest)
        dated = sum(amount for day in known.days.values() for amount in day.gpu_cost.values())
        entered = {(each.number, each.entered) for each in latest.record.adjustments}
        for other in others:
            more = beyond(self._history(other), known)
            adjustments = tuple(
                each for each in other.record.adjustments if (each.number, each.entered) not in entered
            )
            if more is None and not any(each.posted is not None for each in adjustments):
                continue
            if latest.total + latest.record.undated != dated + latest.record.adjusted:
                raise record.ConflictingCopiesError(
                    f"{other.location} has time of ledger {latest.record.ledger} that {latest.location} "
                    "lacks, and money there has no known day: remove the wrong one"
                )
            more = more or Beyond({}, latest.first or 0)
            yield fork_of(other, latest, more, adjustments, self.period)
            known = known.add(more)
            entered |= {(each.number, each.entered) for each in adjustments}

    def _history(self, header: record.HostMonth) -> FileHistory:
        with CheckedPeriodReader.open(self._files[header.location].path) as reader:
            zone = ZoneInfo(header.zone)
            return FileHistory(zone, reader.days(self.period), reader.hours(*self.period.bounds(zone)))

    def _header(self, reader: PeriodReader, file: "FolderFile") -> record.HostMonth:
        header = reader.header(self.period)
        return record.HostMonth(
            record=header.record,
            origin="ledger",
            location=file.location,
            path=file.path,
            zone=header.zone or self.zone,
            first=header.first,
            last=header.last,
            commits=header.commits,
            gpus=header.gpus,
            rate=header.rate,
            charges_late=header.charges_late,
            end=None if header.host_end is None else record.KnownEnd(header.host_end, record.BY_THE_CLOUD),
            names=(record.HostName(node=header.host),) if header.host else (),
            short_name=file.short_name(self.sources),
        )

    def _of_folder(
        self, folder: Path, location: str, root: str, known: set[str], level: int
    ) -> Iterator["FolderFile"]:
        try:
            with os.scandir(folder) as scanned:
                entries = sorted(scanned, key=lambda entry: entry.name)
        except OSError as error:
            self._cannot_be_read(location, error)
            return
        self._entries += len(entries)
        if self._entries > MOST_ENTRIES or level > MOST_LEVELS:
            raise FolderError(
                f"{root} has more than {MOST_ENTRIES:,} entries or {MOST_LEVELS} levels: "
                "name a folder that has ledgers alone"
            )
        below: list[tuple[Path, str]] = []
        for entry in entries:
            path, at = folder / entry.name, f"{location}/{entry.name}"
            if os.path.islink(path):
                target = os.path.realpath(path)
                if os.path.lexists(target) and os.path.commonpath([root, target]) == root:
                    continue  # what it leads to is read from the folder itself
                problem = f"{path} is a symbolic link that leads out of the folder"
                self.unreadable.append(
                    UnreadableFile(at, f"{problem}: put the file itself there, or name it")
                )
            elif os.path.isdir(path):
                below.append((path, at))
            else:
                yield from self._of_file(path, at, known, level)
        for path, at in below:
            yield from self._of_folder(path, at, root, known, level + 1)

    def _of_file(
        self, path: Path, location: str, known: set[str], level: int, *, named: bool = False
    ) -> Iterator["FolderFile"]:
        """The file, if it is a ledger or a statement, or those in it, if it is an archive.

        One that is `named`, by a flag or by its suffix, is no file of another kind.
        """
        real = os.path.realpath(path)
        # A file of SQLite or of the daemon beside another one is read with that.
        beside = any(
            path.name.endswith(suffix) and os.path.lexists(str(path).removesuffix(suffix))
            for suffix in (*SIDECARS[1:], LOCK_SUFFIX)
        )
        if real in known or (beside and not named):
            return
        known.add(real)
        named = named or location.removesuffix(GZIP_SUFFIX).endswith(LEDGER_SUFFIX)
        if not os.path.isfile(path):  # opening a FIFO waits for a writer
            if named:
                yield FolderFile(path, location)
            else:
                self.unread.append(location)
            return
        try:
            with path.open("rb") as file:
                head = file.read(HEAD_BYTES)
            if head.startswith(GZIP):
                inner = self._archives.head(path, HEAD_BYTES)
                known_form = inner.startswith((MAGIC, GZIP)) or is_tar(inner) or is_statement(inner)
                if level > MOST_LEVELS or not (named or known_form):
                    self.unread.append(location)
                    return
                yield from self._of_file(self._archives.expanded(path), location, known, level + 1)
            elif is_tar(head):
                folder, others = self._archives.extracted(path)
                self.unread += [f"{location}/{name}" for name in others]
                yield from self._of_folder(folder, location, str(folder), known, level + 1)
            elif is_statement(head):
                yield FolderFile(path, location, is_statement=True)
            elif named or head.startswith(MAGIC):
                yield FolderFile(path, location)
            else:
                self.unread.append(location)
        except ArchiveError as error:
            self.unreadable.append(UnreadableFile(location, f"{location} {error}"))
        except OSError as error:
            self._cannot_be_read(location, error)

    def _cannot_be_read(self, location: str, error: OSError) -> None:
        self.unreadable.append(UnreadableFile(location, f"{location} cannot be read ({error.strerror})"))


class FolderFile(NamedTuple):
    """A ledger or a statement."""

    path: Path
    """Where the file can be opened."""
    location: str
    """What people call the file."""
    is_statement: bool = False

    def unreadable(self, error: Exception) -> UnreadableFile:
        """Why it cannot be read."""
        return UnreadableFile(self.location, str(error).replace(str(self.path), self.location))

    def short_name(self, sources: Sequence[Path]) -> str:
        """The location below its source, without the file name where that is the default one."""
        path = Path(self.location)
        source = next((each for each in sources if path.is_relative_to(each)), None)
        below = path if source is None else path.relative_to(source)
        if source == path:
            below = Path(*path.parts[-2:])
        ledger = below.with_name(below.name.removesuffix(GZIP_SUFFIX))
        if ledger.name == DEFAULT_NAME and ledger.parent.name:
            return str(ledger.parent)
        return str(ledger).removesuffix(LEDGER_SUFFIX)


def _unreadable_error(unreadable: Sequence[UnreadableFile], files: int) -> FolderError:
    count = "one file" if len(unreadable) == 1 else f"{len(unreadable)} files"
    files = max(files, len(unreadable))
    remedy = f"{SKIP_FLAG} leaves them out and names them"
    lines = [f"{count} of {files} cannot be read, so there is no total ({remedy}):"]
    lines += [f"  {each.why}" for each in unreadable[:ERRORS_LISTED]]
    if len(unreadable) > ERRORS_LISTED:
        lines.append(f"  and {len(unreadable) - ERRORS_LISTED} more")
    return FolderError("\n".join(lines))
