"""Exit statuses, and the errors of a verb that end with each."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from exporter.cli.terminal import complain
from exporter.config import ConfigError
from exporter.config.problems import RefusedError
from exporter.ledger.errors import LedgerError

P = ParamSpec("P")
Code = TypeVar("Code", bound=int | None)

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


def with_exit_status(verb: Callable[P, Code]) -> Callable[P, Code | int]:
    """A verb that prints its errors and returns their exit status."""

    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> Code | int:
        try:
            return verb(*args, **kwargs)
        except (ConfigError, RefusedError) as error:
            complain(error)
            return CONFIGURATION
        except LedgerError as error:
            complain(f"{error}; name the daemon's ledger with --ledger.path or --config.file")
            return FAILED
        except VerbFailedError as error:
            complain(error)
            return FAILED

    return run
