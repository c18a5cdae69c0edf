"""Memory that runs out at one line of the exporter's: the line raises `MemoryError` instead of being run."""

import ast
import dis
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

EXPORTER: Final = str(Path(__file__).parents[1] / "exporter")

Line = tuple[str, int]
"""A file below the exporter's folder, and the number of a line."""


class Shortage:
    """Counts the lines that this thread runs, and raises at the `hit`th time that it comes to `at`.

    Without `at` it only counts. Left alone is what takes no memory: a `try` or a loop by itself, which does
    nothing, and the end of a `with`, which lets go of a lock.
    """

    def __init__(self, at: Line | None = None, hit: int = 1, folder: str = EXPORTER) -> None:
        self.lines: Counter[Line] = Counter()
        self._struck = threading.Event()
        self._at = at
        self._hit = hit
        self._folder = folder

    @property
    def struck(self) -> bool:
        """Whether it has raised."""
        return self._struck.is_set()

    def has_struck(self, seconds: float) -> bool:
        """Wait until it has raised, in whatever thread."""
        return self._struck.wait(seconds)

    @contextmanager
    def lasting(self) -> Iterator[None]:
        """Watch this thread, from the next call on."""
        before = sys.gettrace()
        sys.settrace(self._called)
        try:
            yield
        finally:
            sys.settrace(before)

    def watch(self, *, callers: bool = False) -> None:
        """Watch this thread to its end; with its callers, none of which may be inside a `with`."""
        assert threading.get_ident() != threading.main_thread().ident
        frame: FrameType | None = sys._getframe() if callers else None
        while frame is not None:
            frame.f_trace = self._called(frame, "call", None)
            frame = frame.f_back
        sys.settrace(self._called)

    def _called(self, frame: FrameType, event: str, told: Any) -> Any:
        del event, told
        if not frame.f_code.co_filename.startswith(self._folder):
            return None
        return partial(self._line, set())

    def _line(self, inside: set[int], frame: FrameType, event: str, told: Any) -> Any:
        del told
        if event == "line" and not self._ends(inside, frame):
            line = frame.f_code.co_filename.removeprefix(f"{EXPORTER}/"), frame.f_lineno
            self.lines[line] += 1
            if line == self._at and self.lines[line] == self._hit and not self.struck:
                self._struck.set()
                raise MemoryError
        return partial(self._line, inside)

    def _ends(self, inside: set[int], frame: FrameType) -> bool:
        """Whether a frame is at nothing, or at the end of a `with`, which counts as its first line."""
        number = frame.f_lineno
        if frame.f_lasti in _nothings(frame.f_code):
            return True
        if number not in _withs(frame.f_code.co_filename):
            return False
        inside ^= {number}
        return number not in inside


@cache
def _nothings(code: CodeType) -> frozenset[int]:
    """The offsets of instructions that do nothing."""
    return frozenset(
        each.offset
        for each in dis.get_instructions(code)
        if each.opname == "NOP" or each.opname.startswith("JUMP")
    )


@cache
def _withs(file: str) -> frozenset[int]:
    """The lines that a `with` begins in."""
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    return frozenset(node.lineno for node in ast.walk(tree) if isinstance(node, ast.With))
