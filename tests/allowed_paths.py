"""What lies outside of this repository, and what may be named of it: the standard places of Linux."""

import ast
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

STANDARD: Final = frozenset(
    {"bin", "boot", "dev", "etc", "lib", "lib64", "media", "mnt", "opt", "proc", "run", "sbin", "srv", "sys"}
    | {"tmp", "usr", "var"}
)
"""What every system has below `/` (Filesystem Hierarchy Standard 3.0, and Linux's own), but for homes."""

NOWHERE: Final = "nowhere"
"""A folder that no machine has."""

_ASKING: Final = re.compile(r"""\b(?:Path|open)\s*\(\s*[a-z]*["'](?:/|\.\.)|\bparents\s*\[\s*(\d+)""")
"""Of what is looked for, some part: a file without it need not be parsed."""

_ABSOLUTE: Final = re.compile(r"(?<![\w./:$}~*-])/([\w-][\w.-]*)/([\w-][\w.-]*)")

_HOMES: Final = re.compile(
    # GKE keeps the driver of every node in the place that is excepted.
    r"/(root|home|Users|tmp/[a-z]+)/(?!\.\.\.|kubernetes/bin/nvidia\b)\S*"
)


def machine_paths(text: str, there: Callable[[str], bool] = os.path.lexists) -> list[str]:
    """Paths in a text that only the machine it was written on has.

    Homes and what is under /tmp, and outside of the standard places whatever is there on this machine.
    """
    homes = [match[0] for match in _HOMES.finditer(text)]
    others = (match[0] for match in _ABSOLUTE.finditer(text) if match[1] not in {*STANDARD, "root", "home"})
    return homes + [path for path in others if there(path)]


def reaching(path: Path, text: str) -> list[str]:
    """Where code of a file of the repository opens what is above that, or in no standard place."""
    climbed = (match[1] for match in _ASKING.finditer(text))
    if not any(up is None or int(up) >= len(path.parts) for up in climbed):
        return []
    return [f"{path}:{node.lineno}: {ast.unparse(node)}" for node in _reaching(path, ast.parse(text))]


def _reaching(path: Path, tree: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="Path" | "open"), args=[ast.Constant(value=str(named)), *_]):
                first, *rest = named.lstrip("/").split("/")
                absolute = named.startswith("/") and rest and first not in STANDARD | {NOWHERE}
                if absolute or named.startswith(".."):
                    yield node
            case ast.Subscript(
                value=ast.Attribute(value=own, attr="parents"), slice=ast.Constant(value=int(up))
            ):
                # parents[0] is the file's own folder.
                if "__file__" in ast.unparse(own) and up >= len(path.parts):
                    yield node
