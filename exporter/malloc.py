"""Memory that glibc keeps for later: how much, and when it goes back to the kernel."""

import ctypes
import logging
from typing import Final

log = logging.getLogger(__name__)

MALLOPT: Final = {-8: 1, -3: 512 << 10, -1: 1 << 20, -2: 64 << 10}
"""mallopt(3): M_ARENA_MAX, the number of arenas that threads spread their allocations over;
M_MMAP_THRESHOLD, from which size on memory goes back to the kernel with what was in it; M_TRIM_THRESHOLD and
M_TOP_PAD, how much of what is free at the end of the heap is kept: two pages of a server, since what goes
back is zeroed by the kernel when it comes again."""


def make_lean() -> None:
    """Have glibc return unused memory: pages of servers come and go, an arena for each thread stays."""
    try:
        library = ctypes.CDLL(None)
        for parameter, value in MALLOPT.items():
            library.mallopt(parameter, value)
    except (OSError, AttributeError):
        _note_missing("mallopt")


def trim() -> None:
    """Give what was freed amid the heap back, too: malloc_trim(3), whose argument is a size_t."""
    try:
        ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))
    except (OSError, AttributeError):
        _note_missing("malloc_trim")


def _note_missing(function: str) -> None:
    log.debug("this C library keeps freed memory", extra={"function": function})
