"""Large pages are taken apart one at a time.

It is Python's work, which threads do in turn anyway: side by side they would take as long, and the memory of
all of them.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from exporter.clock import Clock
from exporter.units import Nanoseconds

LARGE_BYTES: Final = 128 * 1024
"""Pages below this are taken apart at once: what takes part in a round with large ones is not to wait."""

_taking_apart: Final = threading.Lock()


class ParseLock:
    """The turn of one source, which it has while it takes a large page apart.

    `waited` is how long it waited for it since it was set to 0.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._has = False
        self.waited: Nanoseconds = 0

    @contextmanager
    def taken(self, page: bytes) -> Iterator[None]:
        """Take a page apart; a large one waits for its turn."""
        if len(page) < LARGE_BYTES:
            yield
            return
        began = self._clock.elapsed()
        with _taking_apart:
            self.waited += self._clock.elapsed() - began
            self._has = True
            try:
                yield
            finally:
                self._has = False

    @contextmanager
    def left(self) -> Iterator[None]:
        """Let others have it while something is asked."""
        if not self._has:
            yield
            return
        _taking_apart.release()
        try:
            yield
        finally:
            began = self._clock.elapsed()
            _taking_apart.acquire()
            self.waited += self._clock.elapsed() - began
