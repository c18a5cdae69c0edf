"""Pages for people: each is made once for a report, and one at a time."""

from collections.abc import Callable
from threading import BoundedSemaphore, Lock
from typing import Final

from exporter.report import Report

MOST_PAGES: Final = 16
"""Pages of one report that are kept, the newest."""


class BusyError(Exception):
    """So many clients wait for pages that a further one would take a scrape's place."""


class PageCache:
    """The pages of the current report. Safe to share between threads."""

    def __init__(self, waiting: int) -> None:
        self._room = BoundedSemaphore(waiting)
        self._making = Lock()
        self._held: tuple[Report | None, bool, dict[str, bytes]] = (None, False, {})
        """The report, whether it is stale, and its pages; exchanged whole, never changed."""

    def page(
        self, report: Report | None, path: str, make: Callable[[], bytes | None], *, stale: bool
    ) -> bytes | None:
        """The page of a path, made where it is not kept; what is `None` is not kept.

        Raises:
            BusyError: there is no room to wait for it.
        """
        kept = self._kept(report, path, stale=stale)
        if kept is not None:
            return kept
        if not self._room.acquire(blocking=False):
            raise BusyError
        try:
            with self._making:
                kept = self._kept(report, path, stale=stale)
                if kept is not None:
                    return kept
                made = make()
                if made is not None:
                    self._keep(report, path, made, stale=stale)
                return made
        finally:
            self._room.release()

    def forget(self, report: Report | None) -> None:
        """Let go of the pages of any other report, and of that report."""
        with self._making:
            if self._held[0] is not report:
                self._held = (None, False, {})

    def _kept(self, report: Report | None, path: str, *, stale: bool) -> bytes | None:
        of, was_stale, pages = self._held
        return pages.get(path) if of is report and was_stale is stale else None

    def _keep(self, report: Report | None, path: str, made: bytes, *, stale: bool) -> None:
        of, was_stale, before = self._held
        pages = dict(before) if of is report and was_stale is stale else {}
        while len(pages) >= MOST_PAGES:
            del pages[next(iter(pages))]
        pages[path] = made
        self._held = (report, stale, pages)
