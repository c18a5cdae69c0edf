"""Exit statuses, and the errors of a verb that end with each."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

OK: Final = 0
FAILED: Final = 1
"""The verb has no answer; the daemon failed, or must be restarted."""
CONFIGURATION: Final = 2
"""The configuration, another file or a flag is wrong."""
INTERRUPTED: Final = 130
"""Ended from the keyboard."""


class VerbFailedError(Exception):
    """The verb has no answer, or nowhere to write it; the message says why."""


@contextmanager
def failing(*kinds: type[Exception], at: object = "") -> Iterator[None]:
    """Errors of these kinds, at a place, leave a verb without an answer. A decorator, too.

    Raises:
        VerbFailedError: in their place, with their message.
    """
    try:
        yield
    except kinds as error:
        raise VerbFailedError(f"{at}: {error}" if at else str(error)) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A file that a verb writes.

    Raises:
        VerbFailedError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise VerbFailedError(f"{path}: cannot be written: {error.strerror or error}") from error
