"""Garbage collection of Python: what it goes over, and when."""

import gc
from typing import Final

YOUNG_OBJECTS_MAX: Final = 20_000
"""New objects from which on the collector looks for cycles: a tick makes thousands, and few cycles.

At Python's 700 the search took 5 % of it.
"""

TICKS_BETWEEN_COLLECTIONS: Final = 30
"""Ticks between two searches through all objects, 0.7 ms each with 8 servers: ticks alone never cause one.

Only these free Python's free lists, which keep up to 2,000 tuples of each length below 21.
`tuple(generator)` fills them: it takes one of length 10, shortens it, and leaves it in the list of its new
length (CPython, Objects/abstract.c and tupleobject.c). They grew by 4 KiB a tick.
"""


def settle() -> None:
    """Call once all is imported: the collector goes over nothing of it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS_MAX)


class GarbageCollection:
    """Collects once in `TICKS_BETWEEN_COLLECTIONS` ticks."""

    def __init__(self) -> None:
        self._ticks = 0

    def note_tick(self) -> None:
        """A tick has ended."""
        self._ticks += 1
        if self._ticks == TICKS_BETWEEN_COLLECTIONS:
            self._ticks = 0
            gc.collect()
