"""The model and version of a server, by other pages than its metrics."""

import json
from collections.abc import Callable
from typing import NamedTuple

from exporter.engines import Engine, Way
from exporter.readings import ReadFailedError, label
from exporter.sources.server.page_reader import ServerInfo


class _ServerProcess(NamedTuple):
    """The process of a server that answers are cached of."""

    engine: str
    identity: str
    """Its identity by its metrics page, empty if unknown."""


class ServerProbe:
    """Requests the model and version that an engine's metrics lack, and caches them for one process.

    A missing model is requested again with each read, since the server may be loading it; a missing version
    is not.

    Args:
        fetch: gets the body of a path from the root without a slash, or raises `ReadFailedError`.
    """

    def __init__(self, fetch: Callable[[str], bytes]) -> None:
        self._fetch = fetch
        self._process: _ServerProcess | None = None
        """The process of the cached answers, `None` where another server may answer next."""
        self._info = ServerInfo()

    def forget(self) -> None:
        """Empty the cache: another server may answer next."""
        self._process = None

    def info(self, engine: Engine, identity: str) -> ServerInfo:
        """Model and version of the process `identity`, requested where they are not cached."""
        process = _ServerProcess(engine.name, identity)
        is_new = process != self._process
        if is_new:
            self._process = process
            self._info = ServerInfo()
        for query in engine.metadata_queries:
            asks_model = bool(query.model) and not self._info.model
            asks_version = bool(query.version) and not self._info.version and is_new
            if not (asks_model or asks_version):
                continue
            try:
                body = self._fetch(query.path)
            except ReadFailedError:
                continue
            if asks_model:
                self._info = self._info._replace(model=text_at(body, query.model))
            if asks_version:
                self._info = self._info._replace(version=text_at(body, query.version))
        return self._info


def text_at(body: bytes, way: Way) -> str:
    """The text at the end of a way into a JSON document, as a label's value; empty if there is none."""
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
