"""The corrected text of a configuration: what its problems say to write, with all else as it was."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from exporter.config.load import contents, parse
from exporter.config.problems import ConfigError, Position, Problem

MOST_ROUNDS: Final = 20
"""A text that is not YAML shows one problem at a time, and what it hid only then."""


def corrected(data: bytes, path: Path) -> tuple[bytes, tuple[Problem, ...]]:
    """The bytes of a file with every known correction, and the problems that remain."""
    for _ in range(MOST_ROUNDS):
        problems = _problems(data, path)
        changed = applied(data, problems)
        if changed == data:
            return data, problems
        data = changed
    return data, _problems(data, path)


def applied(data: bytes, problems: Iterable[Problem]) -> bytes:
    """The bytes with the corrections of problems, the last first; one that overlaps is left out."""
    corrections = {problem.correction for problem in problems if problem.correction is not None}
    if not corrections:
        return data
    text = data.decode("utf-8")
    begins = 1 if text.startswith("\ufeff") else 0
    lines = text[begins:].splitlines(keepends=True)
    starts = [begins]
    for line in lines:
        starts.append(starts[-1] + len(line))
    following = len(text)
    for each in sorted(corrections, key=lambda one: one.start, reverse=True):
        start, end = _offset(starts, each.start), _offset(starts, each.end)
        if start <= end <= following:
            text = f"{text[:start]}{each.text}{text[end:]}"
            following = start
    return text.encode()


def read_corrected(path: Path) -> tuple[bytes, bytes, tuple[Problem, ...]]:
    """The bytes of a file, those with every known correction, and the problems that remain.

    Raises:
        ConfigError: it cannot be read.
    """
    data = contents(path)
    return data, *corrected(data, path)


def _problems(data: bytes, path: Path) -> tuple[Problem, ...]:
    try:
        parse(data, path)
    except ConfigError as error:
        return error.problems if error.file == str(path) else ()
    return ()


def _offset(starts: list[int], position: Position) -> int:
    return starts[position.line - 1] + position.column - 1
