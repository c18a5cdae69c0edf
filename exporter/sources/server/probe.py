"""Server probe: the JSON pages of a server, apart from its metrics."""

import json
from collections.abc import Callable
from typing import Final

from exporter.engines import Engine, Way
from exporter.readings import ReadFailedError, label
from exporter.sources.server.page_reader import ServerInfo

JSON_BYTES_MAX: Final = 1 << 20
"""Largest JSON page; a chat template has tens of kilobytes."""


class ServerProbe:
    """Caches the answers of one server. `fetch` gets a path's body, or raises `ReadFailedError`.

    A missing model is requested again, since the server may be loading it; a missing version is not.
    """

    def __init__(self, fetch: Callable[[str], bytes]) -> None:
        self._fetch = fetch
        self._of: tuple[str, str] | None = None
        self._known = ServerInfo()

    def forget(self) -> None:
        """Empty the cache: another server may answer next."""
        self._of = None

    def info(self, engine: Engine, identity: str) -> ServerInfo:
        """Model and version of the process `identity`, requested where they are not cached."""
        same = self._of == (engine.name, identity)
        if not same:
            self._known = ServerInfo()
        self._of = engine.name, identity
        for question in engine.questions:
            model = question.model if not self._known.model else ()
            version = question.version if not self._known.version and not same else ()
            if model or version:
                try:
                    body = self._fetch(question.path)
                except ReadFailedError:
                    body = b""
                self._known = ServerInfo(
                    self._known.model or text(body, model), self._known.version or text(body, version)
                )
        return self._known


def text(body: bytes, way: Way) -> str:
    """The text at the end of a way into a JSON document; empty if there is none."""
    if not way:
        return ""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    for step in way:
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        else:
            value = value[step] if isinstance(value, list) and step < len(value) else None
    return label(value) if isinstance(value, str) else ""
