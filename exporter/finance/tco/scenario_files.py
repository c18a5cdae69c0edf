"""Scenarios from files, and those that come with the program."""

from importlib.resources import files
from pathlib import Path
from typing import Final

from exporter.config.load import contents, read
from exporter.config.problems import ConfigError, Problem
from exporter.finance.tco.keys import scenario_table
from exporter.finance.tco.scenario import Scenario

_EXAMPLES: Final = files("exporter.finance.tco") / "scenarios"
_SUFFIX: Final = ".yaml"


def scenario(path: Path, *, measured: bool = False) -> Scenario:
    """The scenario of a file; `measured` says that its load will come from elsewhere.

    Raises:
        ConfigError: it cannot be read, or says something that cannot be used.
    """
    return parsed(contents(path), str(path), measured=measured)


def parsed(data: bytes, file: str, *, measured: bool = False) -> Scenario:
    """The scenario of some bytes; `file` is what errors call them.

    Raises:
        ConfigError: they say something that cannot be used.
    """
    return read(data, file, scenario_table(measured=measured))


def examples() -> tuple[str, ...]:
    """The names of the scenarios that come with the program."""
    names = (entry.name for entry in _EXAMPLES.iterdir() if entry.name.endswith(_SUFFIX))
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in names))


def example(name: str) -> bytes:
    """One of them, as its text.

    Raises:
        ConfigError: there is none of that name.
    """
    names = examples()
    if name not in names:
        raise ConfigError(name, (Problem(None, "", f"is no example; there are {', '.join(names)}"),))
    return (_EXAMPLES / f"{name}{_SUFFIX}").read_bytes()
