"""Archives in a folder of ledgers: gzip and tar, expanded into a temporary folder up to a bound."""

import atexit
import fcntl
import gzip
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedIOBase
from pathlib import Path, PurePosixPath
from typing import IO, Final

from exporter.finance.fleet.record import FleetError

GZIP: Final = b"\x1f\x8b"
USTAR: Final = b"ustar"
USTAR_AT: Final = 257
"""Where a header of tar has `USTAR` (POSIX.1-1988; GNU tar writes it too)."""

MOST_EXPANDED_BYTES: Final = 16 * 1024**3
"""Bytes that all archives of a report expand to: the ledgers of a fleet, and no bomb."""

MOST_MEMBERS: Final = 200_000
PIECE_BYTES: Final = 1024 * 1024

FOLDER_PREFIX: Final = "inference-cost-exporter-archives-"
"""Beginning of the names of temporary folders, which nobody else chooses."""


class ArchiveError(FleetError):
    """An archive cannot be expanded; the message says why and does not name it."""


def is_tar(head: bytes) -> bool:
    """Whether a file that begins so is an archive of tar."""
    return head[USTAR_AT:].startswith(USTAR)


class Archives:
    """Files of archives, which stay until the verb ends: it may open them again."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._count = 0
        self._left = MOST_EXPANDED_BYTES

    def head(self, path: Path, length: int) -> bytes:
        """The first bytes of what a file of gzip expands to.

        Raises:
            ArchiveError: it is damaged.
        """
        with _failures(), gzip.open(path) as file:
            return file.read(length)

    def expanded(self, path: Path) -> Path:
        """The file that a file of gzip expands to.

        Raises:
            ArchiveError: it is damaged, or larger than what is left of the bound.
        """
        with _failures(), gzip.open(path) as file:
            return self._write(file, self._new_folder() / "file")

    def extracted(self, path: Path) -> tuple[Path, list[str]]:
        """A folder with the files of a tar, and the names of members that are neither files nor folders.

        Raises:
            ArchiveError: it is damaged or cut short, has two files of one name, or is too large.
        """
        folder, others = self._new_folder(), []
        with _failures(), path.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:") as tar:
            for number, member in enumerate(tar):
                if number >= MOST_MEMBERS:
                    raise ArchiveError(f"has more than {MOST_MEMBERS:,} files")
                content = tar.extractfile(member) if member.isreg() else None
                if content is not None:
                    parts = PurePosixPath(member.name).parts
                    # A name that begins with a slash, or climbs, stays below the folder.
                    inside = [part for part in parts if part not in ("/", "..")]
                    self._write(content, folder.joinpath(*inside))
                elif not member.isdir():
                    others.append(member.name)
            # tarfile takes a cut between two files, or a second archive, for the end.
            raw.seek(tar.offset)
            end = raw.read(tarfile.BLOCKSIZE)
            if len(end) < tarfile.BLOCKSIZE:
                raise ArchiveError("is cut short: copy it again")
            while end:
                if any(end):
                    raise ArchiveError("is damaged, or has another archive after its end: unpack it")
                end = raw.read(PIECE_BYTES)
        return folder, others

    def _new_folder(self) -> Path:
        if self._folder is None:
            _remove_abandoned_folders()
        while self._folder is None:  # its lock lasts as long as this process runs
            made = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
            with suppress(FileNotFoundError):  # another verb removed it as abandoned before it was locked
                fcntl.flock(os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), fcntl.LOCK_EX)
                if os.path.isdir(made):
                    self._folder = made
                    atexit.register(shutil.rmtree, made, ignore_errors=True)
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        return folder

    def _write(self, file: IO[bytes] | BufferedIOBase, target: Path) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            while piece := file.read(PIECE_BYTES):
                self._left -= len(piece)
                if self._left < 0:
                    raise ArchiveError(
                        f"expands, with other archives, to more than {MOST_EXPANDED_BYTES:,} bytes: unpack it"
                    )
                out.write(piece)
        return target


def _remove_abandoned_folders() -> None:
    """Remove the folders of verbs that were killed: nobody holds the lock of one."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        with suppress(OSError):  # it is locked, of another user, or no folder
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_uid == os.geteuid():
                    shutil.rmtree(folder)
            finally:
                os.close(descriptor)


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise ArchiveError(f"has two files {Path(error.filename).name}: unpack it") from None
    except (EOFError, zlib.error, tarfile.TarError, gzip.BadGzipFile, ValueError) as error:
        raise ArchiveError(f"is damaged ({error}): copy it again") from None
    except OSError as error:
        raise ArchiveError(f"cannot be expanded ({error.strerror}); TMPDIR names another folder") from None
