"""What CI leaves to `make nightly`: tests with that mark. A run without them says how many it leaves out.

They take long for what they add to other tests: more values of a parameter, another case of the same rule.
"""

from collections.abc import Container, Iterable
from typing import Any, Final

import pytest

_LEFT_OUT: Final = pytest.StashKey[int]()
_OUTPUT: Final = "left for the night"


def daily(values: Iterable[Any], of_each_day: Container[Any]) -> list[Any]:
    """Values of a parameter, of which CI takes those of each day and `make nightly` the others.

    A tuple is the values of several parameters.

    Raises:
        ValueError: CI would take none of them.
    """
    values = list(values)
    if not any(value in of_each_day for value in values):
        raise ValueError(f"none of {values} is of each day")
    return [
        value
        if value in of_each_day
        else pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.nightly)
        for value in values
    ]


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Count; who chooses tests by `-k` has chosen."""
    if not items or items[0].config.option.keyword:
        return
    stash = items[0].config.stash
    stash[_LEFT_OUT] = stash.get(_LEFT_OUT, 0) + sum(
        item.get_closest_marker("nightly") is not None for item in items
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand a worker's number over."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[_OUTPUT] = session.config.stash.get(_LEFT_OUT, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take it: each worker has collected the same tests."""
    taken = getattr(node, "workeroutput", {}).get(_OUTPUT, 0)
    node.config.stash[_LEFT_OUT] = max(node.config.stash.get(_LEFT_OUT, 0), taken)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say the number in a line, whatever the verbosity."""
    if count := config.stash.get(_LEFT_OUT, 0):
        tests = "1 test" if count == 1 else f"{count:,} tests"
        terminalreporter.write_line(f"LEFT OUT until `make nightly`: {tests}", yellow=True, bold=True)
