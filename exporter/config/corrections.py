"""The corrected text of a configuration: what its problems say to write, with all else as it was."""

from pathlib import Path
from typing import Final

from exporter.config.load import contents, parse
from exporter.config.problems import ConfigError, Position, Problem, TextEdit

MOST_CORRECTIONS: Final = 200
"""A file shows one problem at a time."""


def corrected(data: bytes, path: Path) -> tuple[bytes, tuple[Problem, ...]]:
    """The bytes of a file, corrected up to the first problem without a certain correction, and that problem.

    A correction that leaves a problem in what it wrote was none, and is left out.

    Raises:
        ConfigError: the price file that it names cannot be used.
    """
    problem = _problem(data, path)
    for _ in range(MOST_CORRECTIONS):
        if problem is None or problem.correction is None:
            break
        edit = problem.correction
        after = with_edit(data, edit)
        following = _problem(after, path)
        written = Position(edit.start.line, edit.start.column + len(edit.text))
        if following and following.position and edit.start <= following.position < written:
            break
        data, problem = after, following
    return data, () if problem is None else (problem,)


def read_corrected(path: Path) -> tuple[bytes, bytes, tuple[Problem, ...]]:
    """The bytes of a file, those with every certain correction, and the problem that remains.

    Raises:
        ConfigError: it cannot be read, or the price file that it names cannot be used.
    """
    data = contents(path)
    return data, *corrected(data, path)


def with_edit(data: bytes, edit: TextEdit) -> bytes:
    """The bytes with one edit; lines end as YAML ends them."""
    text = data.decode("utf-8")
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    lines = text.removeprefix(mark).splitlines(keepends=True)
    start, end = (sum(map(len, lines[: at.line - 1])) + at.column - 1 for at in (edit.start, edit.end))
    text = "".join(lines)
    return f"{mark}{text[:start]}{edit.text}{text[end:]}".encode()


def _problem(data: bytes, path: Path) -> Problem | None:
    try:
        parse(data, path)
    except ConfigError as error:
        if error.file != str(path):  # the price file's: nothing is known of this one's values
            raise
        return error.problems[0]
    return None
