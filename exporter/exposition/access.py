"""The web configuration in force, read again when one of its files has changed."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, TypeAlias

from exporter.clock import Clock
from exporter.config import ConfigError
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds

if TYPE_CHECKING:
    from exporter.exposition.guard import Guard

RETRY: Final[Nanoseconds] = NANOSECONDS_PER_SECOND
"""A bad file is read again after this, changed or not: it may have been read while it was written."""

_LOG = logging.getLogger(__name__)

_Look: TypeAlias = tuple[tuple[int, ...] | None, ...]


class Access:
    """Holds the guard in force. Without a file there is none: everybody may ask, by plain HTTP.

    A file that cannot be used any more leaves the guard as it is, and so does one that would take protection
    away: TLS, certificates of clients, or passwords go at a restart only, so that a file which is being
    written, or was emptied by mistake, opens nothing.
    """

    def __init__(self, file: Path | None, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._lock = Lock()
        self._guard: Guard | None = None
        self._seen: _Look = ()
        self._again: Nanoseconds | None = None
        self._problem = ""

    @property
    def succeeded(self) -> bool | None:
        """Whether the last load did; `None` without a file."""
        return None if self._file is None else self._again is None

    def load(self) -> None:
        """Read the file for the first time.

        Raises:
            ConfigError: it cannot be used.
        """
        if self._file is not None:
            self._guard, self._seen = self._read(self._file)

    def current(self) -> "Guard | None":
        """The guard in force now, after a look at the files: for each connection and each request."""
        file = self._file
        if file is not None and self._is_due(file):
            with self._lock:
                if self._is_due(file):
                    self._reload(file)
        return self._guard

    def _is_due(self, file: Path) -> bool:
        if self._again is not None:
            if self._clock.elapsed() >= self._again:
                return True
        elif self._guard is not None and self._guard.is_worn:
            return True
        return _look(self._watched(file)) != self._seen

    def _reload(self, file: Path) -> None:
        before = _look(self._watched(file))
        try:
            guard, seen = self._read(file)
        except ConfigError as error:
            self._seen, self._again = before, self._clock.elapsed() + RETRY
            if str(error) != self._problem:
                self._problem = str(error)
                _LOG.error(
                    "web configuration not reloaded; the old one stays", extra={"problem": self._problem}
                )
            return
        if seen != self._seen or self._again is not None:
            _LOG.info("web configuration reloaded")
        self._guard, self._seen, self._again, self._problem = guard, seen, None, ""

    def _read(self, file: Path) -> tuple["Guard", _Look]:
        """The guard that the files make, and their state before they were read: a later one is read again."""
        # A quarter of a MiB that nobody needs without a web configuration.
        from exporter.config.web import load_web  # noqa: PLC0415
        from exporter.exposition.guard import Guard, refuse_less  # noqa: PLC0415

        own = _look((file,))
        config = load_web(file)
        seen = own + _look(config.files)
        if self._guard is not None:
            refuse_less(self._guard.config, config, str(file))
        return Guard(config, str(file), self._clock), seen

    def _watched(self, file: Path) -> tuple[Path, ...]:
        return (file, *(self._guard.config.files if self._guard else ()))


def _look(paths: Iterable[Path]) -> _Look:
    return tuple(map(_state, paths))


def _state(path: Path) -> tuple[int, ...] | None:
    """What changes with a file, through links: a mounted secret is exchanged by one."""
    try:
        found = os.stat(path)  # noqa: PTH116  # of each request: a third of the time that Path.stat takes
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev
