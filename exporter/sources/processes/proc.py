"""Bounded reads of a proc tree.

psutil is not used for this. It reads whole command lines, which a process makes as long as it likes; it asks
for sockets in the reader's own network namespace whatever the process; it knows no cgroups; and it finds its
tree by one global (`PROCFS_PATH`), by which the daemon's own footprint is read in another thread.
The tests hold these reads against psutil's.
"""

import os
from collections import Counter
from collections.abc import Callable
from errno import EACCES, ENOENT, EPERM, ESRCH
from pathlib import Path
from typing import Final

CHUNK_BYTES: Final = 65_536
"""One read of a file that may be long; the kernel hands out a page or a few at a time."""

INITIAL_PID_NAMESPACE: Final = "pid:[4026531836]"
"""PROC_PID_INIT_INO of include/linux/proc_ns.h."""

_REASONS: Final = {EACCES: "denied", EPERM: "denied", ENOENT: "ended", ESRCH: "ended"}


class Proc:
    """One proc tree. What cannot be read is `None`, and why is counted in `failures` by a short word.

    `denied`: this user may not; `ended`: the process is gone; `unreadable`: anything else.
    """

    def __init__(self, root: Path = Path("/proc")) -> None:
        self.root = root
        self._root = os.fspath(root)
        self.failures: Counter[str] = Counter()

    def pids(self, limit: int) -> list[int]:
        """The processes that can be seen, in the order of their ids, at most `limit`.

        Raises:
            OSError: there is no such folder, or it may not be listed.
        """
        with os.scandir(self._root) as entries:
            found = sorted(int(entry.name) for entry in entries if entry.name.isdecimal())
        if len(found) > limit:
            self.failures["limit"] += 1
        return found[:limit]

    def read(
        self, process: int | str, name: str, limit: int, enough: Callable[[bytes], bool] | None = None
    ) -> bytes | None:
        """The first `limit` bytes of a file of a process, `self` included; fewer once a part is `enough`."""
        content = bytearray()
        try:
            file = os.open(f"{self._root}/{process}/{name}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                while len(content) < limit:
                    part = os.read(file, min(CHUNK_BYTES, limit - len(content)))
                    if not part:
                        break
                    content += part
                    if enough is not None and enough(part):
                        break
            finally:
                os.close(file)
        except OSError as failure:
            self._count(failure)
            return None
        return bytes(content)

    def link(self, process: int | str, name: str) -> str:
        """What a link of a process leads to; empty where it may not be read, which is not a failure.

        Links need the right to trace the process, which the daemon is not given (ptrace(2)).
        """
        try:
            return os.readlink(f"{self._root}/{process}/{name}")  # noqa: PTH115 - hundreds at a time
        except OSError:
            return ""

    def network(self, process: int | str) -> int | None:
        """The number of a process's network namespace, `None` where it is gone.

        It is the inode of its `net/tcp`, which the kernel makes once per namespace (proc_create_net of
        fs/proc/proc_net.c). Reading it needs no right to trace, as following `ns/net` does.
        """
        try:
            return os.stat(f"{self._root}/{process}/net/tcp").st_ino  # noqa: PTH116 - hundreds at a time
        except OSError:
            return None

    def descriptors(self, process: int, limit: int) -> tuple[str, ...] | None:
        """What the open files of a process are, at most `limit`; `None` where that may not be read.

        Root without capabilities may list the files of root's processes, and not follow them.
        """
        found = []
        try:
            with os.scandir(f"{self._root}/{process}/fd") as entries:
                for entry, _ in zip(entries, range(limit), strict=False):
                    try:
                        found.append(os.readlink(entry.path))  # noqa: PTH115 - hundreds at a time
                    except FileNotFoundError:  # closed meanwhile
                        continue
        except OSError:
            return None
        return tuple(found)

    def blindness(self) -> str:
        """Why processes that exist may not be seen here: `namespace`, `hidden`, or empty for neither."""
        namespace = self.link("self", "ns/pid")
        if namespace and namespace != INITIAL_PID_NAMESPACE:
            return "namespace"
        mounts = self.read("self", "mountinfo", CHUNK_BYTES) or b""
        lines = (line.decode(errors="replace").split(" ") for line in mounts.splitlines())
        here = [fields for fields in lines if len(fields) > 4 and fields[4] == self._root]
        return "hidden" if here and _hides(here[-1][-1]) else ""  # the last mount covers those before it

    def _count(self, failure: OSError) -> None:
        self.failures[_REASONS.get(failure.errno or 0, "unreadable")] += 1


def _hides(options: str) -> bool:
    """Whether a proc mount hides other users' processes (proc(5), hidepid; by number or by name)."""
    told = [option.partition("=")[2] for option in options.split(",") if option.startswith("hidepid=")]
    return any(value not in ("0", "off") for value in told)
