"""Start of a new ledger: now, or the host's boot, since which a cloud bills.

Only the first ledger of a boot starts there: else two ledgers would charge for the same hour.
"""

import logging
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.cost.intervals import LATEST_FIRST_TICK
from exporter.units import Nanoseconds

log = logging.getLogger(__name__)

MARK_NAME: Final = "inference-cost-exporter.boot"
"""A file in the ledger's folder with the id of the boot in which a ledger was last opened there.

Its name is not the ledger's, so that removing `ledger.db*` leaves it.
"""

MOUNTS: Final = Path("/proc/self/mountinfo")
"""proc_pid_mountinfo(5)."""

FLEETING_FILE_SYSTEMS: Final = frozenset({"tmpfs", "ramfs", "overlay", "aufs", "rootfs"})
"""File systems in memory, and those of a container's own layer."""

EMPTY_DIR: Final = "/kubernetes.io~empty-dir/"
"""In the path of a pod's emptyDir on its node."""

ANONYMOUS_VOLUME: Final = re.compile(r"/volumes/[0-9a-f]{64}(/|$)")
"""A volume without a name, which Docker, Podman and containerd make for one container."""

_OPEN_TO_ALL: Final = stat.S_ISVTX | stat.S_IWOTH
"""Mode of a folder to which every user may write own files: /tmp, /var/tmp, /dev/shm."""

_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


def fleeting(folder: Path, mounts: Path = MOUNTS) -> str:
    """Why a folder may end with this container or this boot; empty when it stays."""
    folder = _real(folder)
    for parent in (folder, *folder.parents):
        if parent.stat().st_mode & _OPEN_TO_ALL == _OPEN_TO_ALL:
            return f"{parent} is for temporary files"
    try:
        root, kind = _mount(folder, mounts)
    except OSError:
        return "the file system of its folder is unknown"
    if EMPTY_DIR in root:
        return "its folder is an emptyDir, which ends with the pod"
    if ANONYMOUS_VOLUME.search(root):
        return "its folder is a volume without a name, which is one container's"
    if kind in FLEETING_FILE_SYSTEMS or not kind:
        return f"its folder is on {kind or 'an unknown file system'}, which does not stay"
    return ""


def ends_with_pod(path: Path, mounts: Path = MOUNTS) -> str:
    """Problem of a ledger on a pod's emptyDir, with its remedy; empty elsewhere.

    Such a folder outlives a container, but not its pod. One in memory cannot be recognized.
    """
    with suppress(OSError):
        if EMPTY_DIR in _mount(_real(path).parent, mounts)[0]:
            return f"{path} is on an emptyDir: the next pod begins at 0; mount a folder of the node instead"
    return ""


def _mount(folder: Path, mounts: Path) -> tuple[str, str]:
    """Root and type of the file system that a folder is on; empty where nothing is mounted.

    Raises:
        OSError: the mounts cannot be read.
    """
    lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    deepest = (-1, "", "")
    for line in lines:
        before, _, after = line.partition(" - ")
        # The kernel writes octal escapes for spaces in paths.
        fields = [_ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), field) for field in before.split(" ")]
        if len(fields) < len(("id", "parent", "device", "root", "point")):
            continue
        root, point = fields[3:5]
        depth = len(Path(point).parts)
        # Of two mounts on one point the later one counts.
        if folder.is_relative_to(point) and depth >= deepest[0]:
            deepest = (depth, root, after.split(" ")[0])
    return deepest[1:]


@dataclass(frozen=True, slots=True)
class BootClaim:
    """The boot in which a ledger is opened: its id, empty if unknown, and the time since then."""

    id: str
    elapsed: Nanoseconds
    fleeting: Callable[[Path], str] = fleeting
    ends_with_pod: Callable[[Path], str] = ends_with_pod

    def claim(self, path: Path) -> str:
        """Write the mark of this boot before a ledger is opened, whose lock is held.

        Returns this boot's id for a new ledger that is certainly the boot's first, else "".
        """
        if not self.id:
            return ""
        mark = path.parent / MARK_NAME
        try:
            why = self._reason(path, mark)
            if _read(mark) != self.id:
                with open(mark, "w", encoding="ascii", opener=_opened) as file:
                    file.write(f"{self.id}\n")
        except OSError as error:
            why = f"{error.filename} cannot be used ({error.strerror})"
        if not _there(path):
            detail = {"because": why} if why else {"booted_seconds_ago": str(self.elapsed // 10**9)}
            log.info("ledger created", extra={"rent_since": "now" if why else "boot", **detail})
        return "" if why else self.id

    def _reason(self, path: Path, mark: Path) -> str:
        if _there(path):
            return "there is a ledger"
        if self.elapsed >= LATEST_FIRST_TICK:
            return "the host booted more than an hour ago"
        if _read(mark) == self.id:
            return "another ledger was here since the boot"
        for other in sorted(path.parent.iterdir()):
            if other.name.startswith(path.name) and other.name not in {path.name, f"{path.name}.lock"}:
                return f"{other.name} is next to it"
        return self.fleeting(_real(path).parent)


NO_BOOT: Final = BootClaim("", 0)
"""For a ledger that starts now."""


def _real(path: Path) -> Path:
    """A path without links. A circular one stays as it is; `Path.resolve` would raise an error."""
    return Path(os.path.realpath(path))


def _there(path: Path) -> bool:
    """Whether there was a ledger. A new one starts with an empty file."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _read(mark: Path) -> str:
    with suppress(FileNotFoundError), open(mark, "rb", opener=_opened) as file:
        return (file.read(64) or b"").decode("ascii", "replace").strip()
    return ""


def _opened(name: str, flags: int) -> int:
    """Open without waiting for a FIFO's writer, and without following a link."""
    return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
