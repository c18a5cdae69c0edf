"""What a server tells in JSON beside its metrics: the questions of its engine, asked once per process."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from exporter.engines import Engine, Way
from exporter.readings import ReadFailedError, label

JSON_BYTES_MAX: Final = 1 << 20
"""Largest page that is asked for; a chat template makes tens of kilobytes of one."""


@dataclass(frozen=True, slots=True)
class Answers:
    """A model and a version; empty where nothing tells."""

    model: str = ""
    version: str = ""


class Interview:
    """Remembers what one server answered. `ask` gets a path's body, or raises `ReadFailedError`.

    A server that does not tell its model is asked for it again, since it may be loading; a version that it
    does not tell it never tells.
    """

    def __init__(self, ask: Callable[[str], bytes]) -> None:
        self._ask = ask
        self._of: tuple[str, str] | None = None
        self._known = Answers()

    def forget(self) -> None:
        """Ask again: what answers next may be another server."""
        self._of = None

    def told(self, engine: Engine, identity: str) -> Answers:
        """The answers of the process `identity`, asked for where they are not known."""
        asked = self._of == (engine.name, identity)
        if not asked:
            self._known = Answers()
        self._of = engine.name, identity
        for question in engine.questions:
            model = question.model if not self._known.model else ()
            version = question.version if not self._known.version and not asked else ()
            if model or version:
                body = self._body(question.path)
                self._known = Answers(
                    self._known.model or text(body, model), self._known.version or text(body, version)
                )
        return self._known

    def _body(self, path: str) -> bytes:
        try:
            return self._ask(path)
        except ReadFailedError:
            return b""


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
