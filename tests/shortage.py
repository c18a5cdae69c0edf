"""Memory that runs out at one line of the exporter's: the line raises `MemoryError` instead of being run."""

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

EXPORTER: Final = str(Path(__file__).parents[1] / "exporter")

Line = tuple[str, int]
"""A file below the exporter's folder, and the number of a line."""


class Shortage:
    """Counts the lines that this thread runs, and raises at the `hit`th time that it comes to `at`.

    Without `at` it only counts.
    """

    def __init__(self, at: Line | None = None, hit: int = 1, folder: str = EXPORTER) -> None:
        self.lines: Counter[Line] = Counter()
        self.struck = False
        self._at = at
        self._hit = hit
        self._folder = folder

    @contextmanager
    def lasting(self) -> Iterator[None]:
        """Watch this thread, from the next call on."""
        before = sys.gettrace()
        sys.settrace(self._called)
        try:
            yield
        finally:
            sys.settrace(before)

    def watch(self) -> None:
        """Watch this thread from the next call on, and to its end."""
        assert threading.current_thread() is not threading.main_thread()
        sys.settrace(self._called)

    def _called(self, frame: FrameType, event: str, told: Any) -> Any:
        del event, told
        return self._line if frame.f_code.co_filename.startswith(self._folder) else None

    def _line(self, frame: FrameType, event: str, told: Any) -> Any:
        del told
        if event == "line":
            line = frame.f_code.co_filename.removeprefix(f"{EXPORTER}/"), frame.f_lineno
            self.lines[line] += 1
            if line == self._at and self.lines[line] == self._hit and not self.struck:
                self.struck = True
                raise MemoryError
        return self._line
