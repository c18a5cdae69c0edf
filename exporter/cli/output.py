"""Standard output as verbs write to it: what cannot be written ends each of them in the same way."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import TextIO, cast


class OutputError(Exception):
    """Standard output takes no more; the message says why, and is empty where nobody reads on."""


class _Output:
    """A stream whose failures are `OutputError`; `None` is one that was closed before the program began."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        """All else is the stream's own."""
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
        if isinstance(error, BrokenPipeError):  # `| head` has seen enough
            return OutputError()
        return _failure(error.strerror or str(error))


def _failure(why: str) -> OutputError:
    return OutputError(f"standard output cannot be written: {why}")


def discard(stream: TextIO | None) -> None:
    """Let go of what a stream could not write, or the interpreter tries again at its end and says so."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, cast("TextIO", stream).fileno())
        os.close(nowhere)


@contextlib.contextmanager
def standard_output() -> Iterator[None]:
    """While a verb runs, and until all that it said is written.

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
