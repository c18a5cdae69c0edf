"""Output for terminals: colors and progress; and standard output that reports its failures."""

import contextlib
import errno
import os
import re
import shutil
import sys
import textwrap
import threading
from collections.abc import Iterator
from typing import Final, Self, TextIO, cast

from exporter.clock import Clock, SystemClock
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds, seconds


class OutputError(Exception):
    """Standard output takes no more; the message says why, and is empty where the reader has closed it."""


class _Output:
    """A stream whose failures are `OutputError`; `None`: it was closed before the program began."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        """Other attributes of the stream."""
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def write(self, text: str) -> int:
        """Raises `OutputError`."""
        if self._stream is None:
            raise _failure(os.strerror(errno.EBADF))
        try:
            return self._stream.write(text)
        except OSError as error:
            raise self._failed(error) from error
        except UnicodeEncodeError as error:
            character = error.object[error.start]
            raise _failure(f"its encoding {error.encoding} has no {character!a}") from error

    def writelines(self, lines: Iterator[str]) -> None:
        """Raises `OutputError`."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Raises `OutputError`."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except OSError as error:
                raise self._failed(error) from error

    def _failed(self, error: OSError) -> OutputError:
        discard(self._stream)
        # `| head` has seen enough.
        return OutputError() if isinstance(error, BrokenPipeError) else _failure(error.strerror or str(error))


def _failure(why: str) -> OutputError:
    return OutputError(f"standard output cannot be written: {why}")


def discard(stream: TextIO | None) -> None:
    """Drop what a stream could not write: else the interpreter tries again at its exit, and complains."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, cast("TextIO", stream).fileno())
        os.close(nowhere)


@contextlib.contextmanager
def standard_output() -> Iterator[None]:
    """Standard output with failures as `OutputError`, until all output of a verb is written.

    Raises:
        OutputError: it cannot be written.
    """
    before = sys.stdout
    sys.stdout = cast("TextIO", _Output(before))
    try:
        yield
        sys.stdout.flush()
    except SystemExit:  # of `--help`
        sys.stdout.flush()
        raise
    finally:
        sys.stdout = before


PROGRESS_AFTER: Final[Nanoseconds] = 2 * NANOSECONDS_PER_SECOND
"""Longer operations show their progress."""
PROGRESS_EVERY: Final[Nanoseconds] = NANOSECONDS_PER_SECOND

COLUMNS_MIN: Final = 40
LAST_COLUMN_MIN: Final = 32
"""Columns that the last column of a table needs for its text to go on in it."""

_GAP: Final = re.compile(r"(?<=\S) {2,}(?=\S)")
_CALL: Final = re.compile(r" *(?:sudo )?\S*(?:inference-cost-exporter|python\S* -m exporter) ")
_RED, _YELLOW, _GREEN, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[0m"
_COLORS: Final = {"error": _RED, "warning": _YELLOW, "note": _YELLOW, "ok": _GREEN}
_WORD: Final = re.compile(r"^( *)(error|warning|note|ok)(?=:)", re.MULTILINE)
_CLEAR: Final = "\r\x1b[K"


def colors(stream: TextIO) -> bool:
    """Whether a stream shows colors: a terminal, unless NO_COLOR is set (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def write_colored(text: str, stream: TextIO | None = None) -> None:
    """Write a text, by default to standard output; on a terminal the level of each line has a color."""
    stream = stream or sys.stdout
    if colors(stream):
        text = _WORD.sub(lambda match: f"{match[1]}{_COLORS[match[2]]}{match[2]}{_PLAIN}", text)
    _say(text, stream)


def _say(text: str, stream: TextIO) -> None:
    """Standard error that cannot be written changes no answer and no exit status."""
    try:
        stream.write(text)
    except OSError:
        discard(stream)


def columns() -> int | None:
    """Columns of the terminal that standard output is; `None` for a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def fitted(text: str, width: int | None) -> str:
    """A text whose lines have at most so many columns; `None`: as it is, for files and pipes.

    A longer line goes on under its last column, or indented. It breaks at blanks: no number is cut, and a
    longer word passes the margin. Calls of this program stay whole, to be copied.
    """
    if width is None:
        return text
    width = max(width, COLUMNS_MIN)
    lines: list[str] = []
    for line in text.splitlines():
        if len(line) <= width or _CALL.match(line):
            lines.append(line)
            continue
        starts = [gap.end() for gap in _GAP.finditer(line) if gap.end() <= width - LAST_COLUMN_MIN]
        indent = starts[-1] if starts else len(line) - len(line.lstrip(" ")) + 4
        lines += textwrap.wrap(
            line,
            width,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
            replace_whitespace=False,
            expand_tabs=False,
        )
    return "".join(f"{line}\n" for line in lines)


def complain(problem: object) -> None:
    """Write an error to standard error, in red on a terminal."""
    text = str(problem)
    _say(f"{_RED}{text}{_PLAIN}\n" if colors(sys.stderr) else f"{text}\n", sys.stderr)


@contextlib.contextmanager
def waiting(what: str, clock: Clock | None = None) -> Iterator[None]:
    """Show on a terminal what is waited for, after two seconds; the line is removed at the end."""
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()
    clock = clock or SystemClock()

    def count() -> None:
        began, pause = clock.elapsed(), PROGRESS_AFTER
        while not clock.wait(done, pause):
            pause = PROGRESS_EVERY
            _show(f"{what}: {seconds(clock.elapsed() - began):.0f} s")
        if pause == PROGRESS_EVERY:
            _show("")

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _show(text: str) -> None:
    sys.stderr.write(f"{_CLEAR}{text}")
    sys.stderr.flush()


BAR_CHARACTERS: Final = 30
LINE_EVERY: Final[Nanoseconds] = 10 * NANOSECONDS_PER_SECOND


class ProgressBar:
    """Progress of long work on standard error: a bar on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, what: str, clock: Clock | None = None) -> None:
        self._what = what
        self._clock = clock or SystemClock()
        self._next = 0
        self._shown = False

    def __enter__(self) -> Self:
        self._next = self._clock.elapsed() + (PROGRESS_AFTER if sys.stderr.isatty() else LINE_EVERY)
        return self

    def __exit__(self, *_error: object) -> None:
        if self._shown and sys.stderr.isatty():
            _show("")

    def show(self, done: int, of: int) -> None:
        """Show how many are done, when it is time to."""
        self._show(done, of, self._what, f"{done} of {of}")

    def show_part(self, phase: str, part: float) -> None:
        """Show how much of a phase of the work is done, from 0 to 1, when it is time to."""
        percent = int(part * 100)
        self._show(percent, 100, f"{self._what}, {phase}", f"{percent} %")

    def _show(self, done: int, of: int, what: str, text: str) -> None:
        now = self._clock.elapsed()
        if now < self._next or done >= of:
            return
        self._shown = True
        if sys.stderr.isatty():
            self._next = now + PROGRESS_EVERY // 5
            filled = BAR_CHARACTERS * done // of
            _show(f"{what} [{'#' * filled}{'.' * (BAR_CHARACTERS - filled)}] {text}")
        else:
            self._next = now + LINE_EVERY
            _say(f"{what}: {text}\n", sys.stderr)
