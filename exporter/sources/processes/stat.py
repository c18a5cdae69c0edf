"""What a process's `stat`, `status` and `cmdline` say. Pure; never raises, whatever the bytes."""

import os
import re
from typing import Final, NamedTuple

from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds

STAT_BYTES: Final = 4096
"""Fifty numbers and a name of 64 bytes at most."""

_USER: Final = re.compile(rb"^Uid:\t([0-9]{1,10})\t\1\t\1\t\1$", re.MULTILINE)
"""Real, effective, saved, and the file system's."""

COMMAND_BYTES: Final = 4096
"""Read of one command line. A longer one is cut after its last whole word."""

WORD_CHARACTERS: Final = 1024
"""Kept of one word; a path can be as long."""

KERNEL_THREAD: Final = 0x0020_0000
"""PF_KTHREAD of include/linux/sched.h, in the ninth field."""

TICK: Final[Nanoseconds] = NANOSECONDS_PER_SECOND // (os.sysconf("SC_CLK_TCK") or 100)
"""The unit of a start time."""

LARGEST_TICKS: Final = 2**63 // TICK


class Stat(NamedTuple):
    """One line of proc(5)'s `stat`. `started` is in boot time, as `Clock.elapsed` tells it."""

    pid: int
    name: str
    state: str
    parent: int
    session: int
    kernel: bool
    started: Nanoseconds


def stat(content: bytes) -> Stat | None:
    """Read a `stat`; `None` for what is none. The name may hold spaces, parentheses and line ends."""
    opened, closed = content.find(b"("), content.rfind(b")")
    if not 0 < opened < closed:
        return None
    fields = content[closed + 1 :].split()
    if len(fields) < 20:
        return None
    pid, parent, session, flags, ticks = (
        _whole(number) for number in (content[:opened].strip(), fields[1], fields[3], fields[6], fields[19])
    )
    if pid is None or parent is None or session is None or flags is None or ticks is None:
        return None
    if not 0 <= ticks <= LARGEST_TICKS:
        return None
    name = content[opened + 1 : closed].decode(errors="replace")
    state = fields[0].decode(errors="replace")
    return Stat(pid, name, state, parent, session, bool(flags & KERNEL_THREAD), ticks * TICK)


def user(content: bytes) -> int | None:
    """The user of a process by its `status`, `None` where that is not one.

    A program that runs as another user than the one who started it (setuid) has the words of the one on its
    command line and the sockets of the other.
    """
    found = _USER.search(content)
    return int(found[1]) if found else None


def command_line(content: bytes) -> tuple[str, ...]:
    """The words of a `cmdline`, at most `COMMAND_BYTES` of it.

    A process that writes a title over its command line leaves one word, padded with nulls or spaces.
    """
    whole = len(content) < COMMAND_BYTES or content.endswith(b"\0")
    words = content[:COMMAND_BYTES].rstrip(b"\0 ").split(b"\0")
    if not whole and len(words) > 1:
        words.pop()  # `--port 80` may have been `--port 8001`
    if words == [b""]:
        return ()
    return tuple(word[: 4 * WORD_CHARACTERS].decode(errors="replace")[:WORD_CHARACTERS] for word in words)


def _whole(text: bytes) -> int | None:
    """A number of a field; int() reads other alphabets and underscores too."""
    digits = text.removeprefix(b"-")
    return int(text) if len(text) <= 20 and digits.isdigit() else None
