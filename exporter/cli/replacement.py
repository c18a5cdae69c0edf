"""Writes a file at once or not at all: readers see the old file or the new one."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO


@contextmanager
def replacing(
    target: Path, *, mode: int | None = None, new: bool = False, like_before: bool = False
) -> Iterator[TextIO]:
    """A file to write, that takes the name of the target at the end of the block; after an error it is gone.

    A symbolic link stays, and the file that it names is replaced.

    Args:
        target: the file.
        mode: its permissions; by default those that the process gives new files.
        new: the target must not exist.
        like_before: it has the owner, mode and extended attributes of the target, access lists among them.

    Raises:
        OSError: it cannot be written, or not with its owner; the target is as it was.
        FileExistsError: it exists, and was to be new.
    """
    target = Path(os.path.realpath(target))
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if like_before else 0o666)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            if like_before:
                before, now = target.stat(), os.fstat(descriptor)
                if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
                    os.fchown(descriptor, before.st_uid, before.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(before.st_mode))  # a change of owner clears mode bits
                for attribute in os.listxattr(target):
                    value = os.getxattr(target, attribute)
                    is_set = attribute in os.listxattr(descriptor)
                    if not is_set or os.getxattr(descriptor, attribute) != value:
                        os.setxattr(descriptor, attribute, value)
            elif mode is not None:
                os.fchmod(descriptor, mode)
            os.fsync(descriptor)
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
