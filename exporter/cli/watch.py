"""Whether the configuration's file says something else than what is in force: a reload without a signal."""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

from exporter.config import ConfigError
from exporter.config.load import contents
from exporter.threads import NoThreadError, start

log = logging.getLogger(__name__)


class Watch:
    """Looks at a file when it is told to, and calls `reload` in a thread, once for each new content.

    Where no thread is to be had, it is called at the next look.

    It goes by content alone. The kubelet brings a changed ConfigMap by swapping a link, which gives the file
    another inode and an older or newer time as it happens, and swaps it as well where nothing has changed.
    Without a file, or with `reload` left out, it never calls.
    """

    def __init__(self, path: Path | None, reload: Callable[[], None] | None) -> None:
        self._path = path
        self._reload = reload
        self._seen = ""
        self._refused = False

    def look(self, in_force: str) -> None:
        """Compare with the hash of what is in force; that is empty after a reload that failed.

        A file that cannot be read is no change: an editor that replaces it may be at work.
        """
        if self._path is None or self._reload is None:
            return
        try:
            now = hashlib.sha256(contents(self._path)).hexdigest()
        except ConfigError:
            return
        before, self._seen = self._seen, now
        if now not in {before, in_force}:
            try:
                start(self._reload, "reload")
            except NoThreadError as error:
                self._seen = before
                if not self._refused:
                    log.warning("no thread to reload in: %s", error)
                self._refused = True
            else:
                self._refused = False
