"""A folder of ledgers and statements as months of hosts: copies, archives, and files of running daemons."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Final

from exporter.finance.fleet.closed_month import ClosedMonthError, is_statement, read_closed_month
from exporter.finance.fleet.record import FleetError, HostFinding, HostMonth, names_text
from exporter.frozen import dataclass, replace
from exporter.ledger.contents import MAGIC
from exporter.ledger.errors import DamagedError, LedgerError
from exporter.ledger.files import SIDECARS
from exporter.ledger.period_reader import CheckedPeriodReader, PeriodReader, unpacked
from exporter.tariff.period import Period

MOST_ENTRIES: Final = 200_000
"""Entries of a folder that are looked at: more is not a folder of ledgers."""

MOST_LEVELS: Final = 32

HEAD_BYTES: Final = 512
"""Of a file, to see what it is."""

ERRORS_LISTED: Final = 20

LEDGER_SUFFIX: Final = ".db"
DEFAULT_NAME: Final = "ledger.db"

SKIP_FLAG: Final = "--skip-unreadable"

MOST_WAITING_BYTES: Final = 48 * 1024 * 1024
"""Memory for sums of hosts that are read and not added up yet."""

Progress = Callable[[int, int], None]
"""Takes the number of files that were read, and of all."""


class FolderError(FleetError):
    """Files cannot be read, so that there is no total; the message names each."""


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file that is or may be a ledger and cannot be read, and why, in a sentence that names it."""

    location: str
    why: str

    @property
    def finding(self) -> HostFinding:
        """What is missing by leaving it out."""
        return HostFinding("unreadable", "", self.location, self.location, text=self.why)


@dataclass(slots=True)
class LedgerFolder:
    """Ledgers of folders and files, and statements of closed months. Nothing in them is changed.

    Files are recognized by their content or the suffix .db; others are ignored. Folders are read to all
    depths. Links are not followed: one to a file in the folder is that file, and others are unreadable.

    `zone` is the time zone of ledgers of early releases, which did not write it.
    `days` are the families of `HistorySums` that months have by day, too.
    `skip` leaves out what cannot be read; `unreadable` then has it.

    A statement stands for ledgers that are gone, in its month. In days or a quarter it cannot.

    Each file is opened once while the sums that wait take `waiting_bytes` at most, and then a second time.
    """

    sources: Sequence[Path]
    period: Period
    zone: str
    skip: bool = False
    days: Collection[str] = ()
    waiting_bytes: int = MOST_WAITING_BYTES
    unreadable: list[UnreadableFile] = field(default_factory=list)
    _waiting: dict[str, bytes | None] = field(default_factory=dict)

    def headers(self, progress: Progress | None = None) -> list[HostMonth]:
        """The months of all ledgers, without sums, in the order of their paths.

        Raises:
            FolderError: there is no ledger that can be read, or a file cannot be and `skip` is not set.
        """
        unreadable: list[UnreadableFile] = []
        paths = list(self._paths(unreadable))
        headers: list[HostMonth] = []
        other: dict[Path, dict[str, str]] = {}
        for number, path in enumerate(paths):
            if progress is not None:
                progress(number, len(paths))
            try:
                if _is_statement(path):
                    closed = read_closed_month(path)
                    if closed.month == self.period.name:
                        headers += closed.hosts
                    elif closed.month in self.period.months:
                        other[path] = {host.record.ledger: host.name for host in closed.hosts}
                    continue
                with PeriodReader.open(path) as reader:
                    headers.append(self._header(reader, path))
                    if self.waiting_bytes > 0 and not self.days and headers[-1].has_month:
                        self._keep(path, reader.packed_sums(self.period))
            except (LedgerError, ClosedMonthError) as error:
                unreadable.append(UnreadableFile(str(path), str(error)))
        if progress is not None:
            progress(len(paths), len(paths))
        unreadable += self._without_ledgers(other, {header.record.ledger for header in headers})
        if unreadable and not (self.skip and headers):
            raise _unreadable_error(unreadable, len(paths))
        if not headers:
            raise FolderError(f"{_listed(self.sources)}: there is no ledger here")
        self.unreadable = unreadable
        return headers

    def load(self, header: HostMonth) -> HostMonth:
        """The whole month of a header's ledger; of a running daemon, it may be a later one.

        Raises:
            FolderError: it cannot be read. With `skip`, `unreadable` has it: combine the other headers.
        """
        if header.origin == "statement":  # which is whole already
            return header
        path = Path(header.location)
        try:
            if header.location in self._waiting:
                packed = self._waiting[header.location]
                sums = None if packed is None else unpacked(packed)
                return replace(header, record=replace(header.record, sums=sums))
            with CheckedPeriodReader.open(path) as reader:
                month = self._header(reader, path)
                sums = reader.sums(self.period)
                days = reader.days(self.period, self.days) if self.days else {}
        except (LedgerError, DamagedError) as error:
            unreadable = UnreadableFile(header.location, str(error))
            if self.skip:
                self.unreadable.append(unreadable)
            raise _unreadable_error([unreadable], 1) from error
        return replace(month, record=replace(month.record, sums=sums, days=days))

    def _without_ledgers(
        self, statements: Mapping[Path, Mapping[str, str]], ledgers: Collection[str]
    ) -> Iterator[UnreadableFile]:
        """Statements of months in a longer or shorter period that have ledgers which are gone.

        `statements` are the names of hosts by ledger, by file.
        """
        for path, names in statements.items():
            gone = [name for ledger, name in names.items() if ledger not in ledgers]
            if gone:
                yield UnreadableFile(
                    str(path),
                    f"{path} is of a whole month, and stands for ledgers that are not here "
                    f"({names_text(gone)}): {self.period.name} needs the ledgers",
                )

    def _keep(self, path: Path, packed: bytes | None) -> None:
        self._waiting[str(path)] = packed
        self.waiting_bytes -= len(packed or b"")

    def _header(self, reader: PeriodReader, path: Path) -> HostMonth:
        header = reader.header(self.period)
        return HostMonth(
            record=header.record,
            origin="ledger",
            location=str(path),
            zone=header.zone or self.zone,
            first=header.first,
            last=header.last,
            commits=header.commits,
            gpus=header.gpus,
            short_name=_short_name(path, self.sources),
        )

    def _paths(self, unreadable: list[UnreadableFile]) -> Iterator[Path]:
        """Ledgers of all sources, each file once."""
        known: set[str] = set()
        for source in self.sources:
            if not os.path.isdir(source):
                paths: Iterable[Path] = [source]
            else:
                paths = _ledgers(source, unreadable)
            for path in paths:
                real = os.path.realpath(path)
                if real not in known:
                    known.add(real)
                    yield path


def _short_name(path: Path, sources: Sequence[Path]) -> str:
    """The path below its source, without the file name where that is the default one."""
    for source in sources:
        if source != path and path.is_relative_to(source):
            path = path.relative_to(source)
            break
    if path.name == DEFAULT_NAME and path.parent.name:
        return str(path.parent)
    return str(path).removesuffix(LEDGER_SUFFIX)


def _ledgers(folder: Path, unreadable: list[UnreadableFile]) -> Iterator[Path]:
    root = os.path.realpath(folder)
    entries = 0
    waiting: list[tuple[Path, int]] = [(folder, 1)]
    while waiting:
        current, level = waiting.pop()
        try:
            with os.scandir(current) as scanned:
                listed = sorted(scanned, key=lambda entry: entry.name)
        except OSError as error:
            unreadable.append(UnreadableFile(str(current), f"{current} cannot be read ({error.strerror})"))
            continue
        entries += len(listed)
        if entries > MOST_ENTRIES or level > MOST_LEVELS:
            raise FolderError(
                f"{folder} has more than {MOST_ENTRIES:,} entries or {MOST_LEVELS} levels: "
                "name a folder that has ledgers alone"
            )
        below = []
        for entry in listed:
            path = current / entry.name
            if os.path.islink(path):
                if problem := _link_problem(path, root):
                    unreadable.append(UnreadableFile(str(path), problem))
            elif os.path.isdir(path):
                below.append((path, level + 1))
            elif _is_ledger(path, unreadable):
                yield path
        waiting += reversed(below)


def _link_problem(path: Path, root: str) -> str:
    """Why a link cannot be ignored; empty for one to what is in the folder anyway."""
    target = os.path.realpath(path)
    if os.path.lexists(target) and os.path.commonpath([root, target]) == root:
        return ""
    return f"{path} is a symbolic link that leads out of the folder: put the file itself there, or name it"


def _is_ledger(path: Path, unreadable: list[UnreadableFile]) -> bool:
    if path.name.endswith(SIDECARS[1:]):
        return False
    if path.name.endswith(LEDGER_SUFFIX):
        return True
    if not os.path.isfile(path):
        return False
    try:
        head = _head(path)
    except OSError as error:
        unreadable.append(UnreadableFile(str(path), f"{path} cannot be read ({error.strerror})"))
        return False
    return head.startswith(MAGIC) or is_statement(head)


def _is_statement(path: Path) -> bool:
    """Whether a file is a statement; one that cannot be read is reported as a ledger that cannot be."""
    try:
        return os.path.isfile(path) and is_statement(_head(path))  # opening a FIFO waits for a writer
    except OSError:
        return False


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _unreadable_error(unreadable: Sequence[UnreadableFile], files: int) -> FolderError:
    count = "one file" if len(unreadable) == 1 else f"{len(unreadable)} files"
    files = max(files, len(unreadable))
    remedy = f"{SKIP_FLAG} leaves them out and names them"
    lines = [f"{count} of {files} cannot be read, so there is no total ({remedy}):"]
    lines += [f"  {each.why}" for each in unreadable[:ERRORS_LISTED]]
    if len(unreadable) > ERRORS_LISTED:
        lines.append(f"  and {len(unreadable) - ERRORS_LISTED} more")
    return FolderError("\n".join(lines))


def _listed(sources: Sequence[Path]) -> str:
    return ", ".join(map(str, sources))
