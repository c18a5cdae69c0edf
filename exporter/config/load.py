"""Reads a file, or its bytes, to a `Config`, or to a `ConfigError` with its first problem."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from exporter.config.document import FILE_BYTES, Mapping, Node, Scalar, document, positions
from exporter.config.keys import DOCUMENT
from exporter.config.problems import ConfigError, LocatedError, Position, Problem, TextEdit
from exporter.config.schema import Table, read_at
from exporter.config.settings import DEFAULT_PRICES, Config
from exporter.config.times import zone_named
from exporter.config.values import Context
from exporter.tariff.catalogue import CATALOGUE, Catalogue
from exporter.tariff.price_file import MOST_BYTES, PriceFileError, price_file

__all__ = ["ConfigError", "load", "parse"]

MOST_CORRECTIONS: Final = 200
"""A file shows one problem at a time."""

UNNAMED = "configuration"
"""Name of a configuration that is not from a file."""


def load(path: Path | None, in_force: Config | None = None) -> Config:
    """Read a file; without one, every key has its default.

    A full disk, or an editor that is at work, empties a file. With a configuration `in_force` that has a key,
    a file without one is refused, or all prices would go.

    Raises:
        ConfigError: it cannot be read, or has a problem.
    """
    if path is None:
        return Config(catalogue=_catalogue(None))
    config = parse(contents(path), path)
    if in_force is not None and in_force.positions and not config.positions:
        problem = Problem("has no key; to run without a configuration, restart")
        raise ConfigError(str(path), (problem,))
    return config


def contents(path: Path) -> bytes:
    """The bytes of a file, at most one more than is allowed.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return _bytes(path, FILE_BYTES)
    except (OSError, ValueError) as error:
        raise ConfigError(str(path), (Problem(_unreadable(error)),)) from None


def _unreadable(error: OSError | ValueError) -> str:
    """The problem of a file that cannot be read; a NUL in its name is a `ValueError`."""
    reason = error.strerror if isinstance(error, OSError) else None
    return f"cannot be read: {reason or error}"


def _bytes(path: Path, most: int) -> bytes:
    """The file's bytes, at most one more than `most`. A pipe or device is not waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(0, "it is a directory; name the file in it")
        if not stat.S_ISREG(kind):
            raise OSError(0, "it is no regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(most + 1)
    finally:
        os.close(descriptor)


def parse(data: bytes, path: Path | None = None) -> Config:
    """Read the bytes of a file; `path` names it in errors and in its `Config`.

    Raises:
        ConfigError: it has a problem.
    """
    file = UNNAMED if path is None else str(path)
    with _problems_of(file):
        root = document(data)
    catalogue = _catalogue(_given_prices(root))
    config = Config(catalogue=catalogue)
    if root is not None:
        # The zone of the file's dates is read ahead; a wrong one is refused with its key.
        node = root.value("timezone") if isinstance(root, Mapping) else None
        zone = zone_named(node.text) if isinstance(node, Scalar) else None
        with _problems_of(file):
            config = read_at(DOCUMENT, root, Context(zone or ZoneInfo("UTC"), catalogue))
        config = replace(config, positions=dict(positions(root)))
    return replace(config, path=path, hash=sha256(data).hexdigest())


def read(data: bytes, file: str, table: Table) -> Any:
    """Read a document of another schema, with the same errors; its dates are in UTC.

    Raises:
        ConfigError: it is empty, or has a problem.
    """
    with _problems_of(file):
        root = document(data)
        if root is None:
            raise LocatedError("is empty")
        return read_at(table, root, Context(ZoneInfo("UTC"), folder=Path(file).parent))


@contextmanager
def _problems_of(file: str) -> Iterator[None]:
    """The problem of a document as that of its file."""
    try:
        yield
    except LocatedError as error:
        raise ConfigError(file, (error.problem,)) from None


def price_path(path: Path | None) -> Path:
    """Path of the price file of a configuration, whether or not it exists and can be used.

    Raises:
        ConfigError: the configuration cannot be read, or is not YAML.
    """
    if path is None:
        return DEFAULT_PRICES
    with _problems_of(str(path)):
        return _given_prices(document(contents(path))) or DEFAULT_PRICES


def _given_prices(root: Node | None) -> Path | None:
    """The path of the price file, read ahead; `None` if none is given or it is wrong (refused later)."""
    prices = root.value("prices") if isinstance(root, Mapping) else None
    node = prices.value("path") if isinstance(prices, Mapping) else None
    return Path(node.text) if isinstance(node, Scalar) and node.text.startswith("/") else None


def _catalogue(given: Path | None) -> Catalogue:
    """The list prices of the price file given, else of the one at the default path, else the bundled ones.

    Raises:
        ConfigError: the price file cannot be used, or is given and does not exist.
    """
    path = given or DEFAULT_PRICES
    try:
        data = _bytes(path, MOST_BYTES)
        return Catalogue(price_file=price_file(data))
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        if given is None:  # other users may not read the daemon's folder, and get the bundled ones
            return CATALOGUE
        remedy = "write it with `prices update`, or remove prices.path"
        problems: tuple[str, ...] = (f"{_unreadable(error)}; {remedy}",)
    except (OSError, ValueError) as error:
        problems = (_unreadable(error),)
    except PriceFileError as error:
        problems = error.problems
    raise ConfigError(str(path), tuple(Problem(problem) for problem in problems))


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
