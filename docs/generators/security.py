"""The table of SECURITY.md: what a local user may try, from the end-to-end tests that try it.

The docstring of such a test ends in three paragraphs, `Attempt:`, `Result:` and `Left:`.
"""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from generators.tables import table

TESTS: Final = Path(__file__).parents[2] / "tests/e2e"
FIELDS: Final = ("Attempt", "Result", "Left")
_PARAGRAPHS: Final = re.compile(r"\n\n".join(rf"{name}: ([^\n]+(?:\n[^\n]+)*)" for name in FIELDS))


class Attempt(NamedTuple):
    """What a test tries, what happens, what is left to an attacker, and the file of the test."""

    attempt: str
    result: str
    left: str
    file: str


def attempts(folder: Path = TESTS) -> Iterator[Attempt]:
    """The attempts of all tests, by file.

    Raises:
        ValueError: a docstring has one of the paragraphs, and not all of them in their order.
    """
    for path in sorted(folder.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            text = (ast.get_docstring(node) or "") if isinstance(node, ast.FunctionDef) else ""
            found = _PARAGRAPHS.search(text)
            if found is not None:
                yield Attempt(*(" ".join(words.split()) for words in found.groups()), path.name)
            elif re.search(rf"^({'|'.join(FIELDS)}): ", text, re.MULTILINE):
                raise ValueError(f"{path.name}: {node.lineno}: Attempt, Result and Left are one row")


def rows() -> str:
    """A row for each attempt."""
    return table(
        ["attempt", "result", "left to an attacker", "test"],
        [[*row[:3], f"`tests/e2e/{row.file}`"] for row in attempts()],
    )


REGIONS: Final[dict[tuple[str, str], Callable[[], str]]] = {("../SECURITY.md", "attempts"): rows}
