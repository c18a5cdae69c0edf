"""Whether the configuration's file says something else than what is in force: a reload without a signal."""

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

from exporter.config import ConfigError
from exporter.config.load import contents


class Watch:
    """Looks at a file when it is told to, and calls `reload` in a thread, once for each new content.

    It goes by content alone. The kubelet brings a changed ConfigMap by swapping a link, which gives the file
    another inode and an older or newer time as it happens, and swaps it as well where nothing has changed.
    Without a file, or with `reload` left out, it never calls.
    """

    def __init__(self, path: Path | None, reload: Callable[[], None] | None) -> None:
        self._path = path
        self._reload = reload
        self._seen = ""

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
            threading.Thread(target=self._reload).start()
