"""Tests that a run leaves to `tools/slow` and `tools/nightly`, by their marks: it says how many.

Those of the night take long for what they add to others: more values of a parameter, another case of a rule.
"""

from collections import Counter
from collections.abc import Container, Iterable
from typing import Any, Final

import pytest

MARKS: Final = ("slow", "nightly")
"""As the tools that run them. A test with both is left to the last."""

_LEFT_OUT: Final = pytest.StashKey[Counter[str]]()
_OUTPUT: Final = "left out"


def daily(values: Iterable[Any], of_each_day: Container[Any]) -> list[Any]:
    """Values of a parameter, of which each run takes those of each day and `tools/nightly` the others.

    A tuple is the values of several parameters.

    Raises:
        ValueError: a run would take none of them.
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
    """Count; who chooses tests by `-k` has chosen, and slow ones are left out by those words only."""
    if not items or items[0].config.option.keyword:
        return
    config = items[0].config
    counted = MARKS if "not slow" in config.option.markexpr else MARKS[1:]
    left = (next(filter(item.get_closest_marker, reversed(MARKS)), "") for item in items)
    config.stash.setdefault(_LEFT_OUT, Counter()).update(mark for mark in left if mark in counted)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand a worker's number over."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[_OUTPUT] = dict(session.config.stash.get(_LEFT_OUT, Counter()))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take it: each worker has collected the same tests."""
    taken = Counter(getattr(node, "workeroutput", {}).get(_OUTPUT, {}))
    node.config.stash[_LEFT_OUT] = node.config.stash.get(_LEFT_OUT, Counter()) | taken


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say each number in a line, whatever the verbosity."""
    left = config.stash.get(_LEFT_OUT, Counter())
    for mark in MARKS:
        if count := left[mark]:
            tests = "1 test" if count == 1 else f"{count:,} tests"
            terminalreporter.write_line(f"LEFT OUT until `tools/{mark}`: {tests}", yellow=True, bold=True)
