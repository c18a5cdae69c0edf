"""Replaces a file at once or not at all: readers see the old file or the new one."""

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path


def replace_file(target: Path, data: bytes, *, mode: int | None = None, new: bool = False) -> None:
    """Write a temporary file in the same folder, and rename it over the target.

    With `new` the target must not exist.

    Without a `mode`, the file keeps its owner, mode and extended attributes, access lists among
    them. A symbolic link stays, and the file that it names is replaced.

    Raises:
        OSError: it cannot be written, or not with its owner; the file is as it was.
        FileExistsError: it exists, and was to be new.
    """
    target = Path(os.path.realpath(target))
    before = target.stat() if mode is None else None
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if before is not None:
                _keep(target, before, file.fileno())
            elif mode is not None:
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        if new:
            os.link(temporary, target)  # unlike a rename, it never replaces a file
            temporary.unlink()
        else:
            temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _keep(target: Path, before: os.stat_result, descriptor: int) -> None:
    """Give a new file the owner, mode and attributes of another; a change of owner clears mode bits."""
    now = os.fstat(descriptor)
    if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
        os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
    for attribute in os.listxattr(target):
        if attribute not in os.listxattr(descriptor) or os.getxattr(descriptor, attribute) != os.getxattr(
            target, attribute
        ):
            os.setxattr(descriptor, attribute, os.getxattr(target, attribute))
