"""The corrected text of a configuration: what its problems say to write, with all else as it was."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from exporter.config.document import Mapping, Node, Scalar, Sequence, document
from exporter.config.hardware import HARDWARE, MATCH_GPU_MODEL, RULE_MATCH
from exporter.config.load import contents, parse
from exporter.config.problems import ConfigError, Position, Problem, TextEdit
from exporter.frozen import dataclass
from exporter.tariff.csv_tables import CatalogueError
from exporter.tariff.gpu_models import certain_pattern

MOST_ROUNDS: Final = 20
"""A text that is not YAML shows one problem at a time, and what it hid only then."""

_SPACE: Final = re.compile(r"\s|$")

Edit = tuple[int, str]
"""A correction, by its line and its text: corrections before it on the line move its columns."""


@dataclass(frozen=True, slots=True)
class _Change:
    """What a correction has changed in a text, by offsets."""

    start: int
    end: int
    edit: Edit


def corrected(data: bytes, path: Path) -> tuple[bytes, tuple[Problem, ...]]:
    """The bytes of a file with every known correction, and the problems that remain.

    A correction that leaves a problem where it changed the text was none, and is left out.

    Raises:
        ConfigError: the price file that it names cannot be used.
    """
    left_out: set[Edit] = set()
    for _ in range(MOST_ROUNDS):
        after, problems, wrong = _rounds(data, path, left_out)
        if not wrong:
            return after, problems
        left_out |= wrong
    return data, _problems(data, path)


def _rounds(data: bytes, path: Path, left_out: set[Edit]) -> tuple[bytes, tuple[Problem, ...], set[Edit]]:
    """As `corrected`, without the corrections to leave out, and those that turn out wrong."""
    problems = _problems(data, path)
    changes: list[_Change] = []
    for _ in range(MOST_ROUNDS):
        changed, changes = _applied(data, problems, left_out, changes)
        if changed == data:
            break
        data, problems = changed, _problems(changed, path)
        if wrong := _wrong(data, problems, changes):
            return data, problems, wrong
    return data, problems, set()


def _applied(
    data: bytes, problems: Iterable[Problem], left_out: set[Edit], changes: Iterable[_Change]
) -> tuple[bytes, list[_Change]]:
    """The bytes with the corrections of problems, the last first, and all changes so far.

    A correction that overlaps is left out.
    """
    known = {problem.correction for problem in problems if problem.correction is not None}
    edits = [each for each in known if _edit(each) not in left_out]
    moved = list(changes)
    if not edits:
        return data, moved
    text = data.decode("utf-8")
    starts = _starts(text)
    following = len(text)
    for each in sorted(edits, key=lambda one: one.start, reverse=True):
        start, end = _offset(starts, each.start), _offset(starts, each.end)
        if start <= end <= following:
            more = len(each.text) - (end - start)
            moved = [
                _Change(one.start + more, one.end + more, one.edit) if one.start >= end else one
                for one in moved
            ]
            moved.append(_changed(text[start:end], each, start))
            text = f"{text[:start]}{each.text}{text[end:]}"
            following = start
    return text.encode(), moved


def _changed(old: str, edit: TextEdit, start: int) -> _Change:
    """What differs between the old text and the new one: a space behind a colon, and not the value."""
    new = edit.text
    shorter = min(len(old), len(new))
    same = next((i for i in range(shorter) if old[i] != new[i]), shorter)
    tail = next((i for i in range(shorter - same) if old[-1 - i] != new[-1 - i]), shorter - same)
    return _Change(start + same, max(start + len(new) - tail, start + same + 1), _edit(edit))


def _wrong(data: bytes, problems: Iterable[Problem], changes: Iterable[_Change]) -> set[Edit]:
    """The corrections in the words that still have a problem."""
    text = data.decode("utf-8")
    starts = _starts(text)
    begins = [_offset(starts, each.position) for each in problems if each.position is not None]
    words = [(begin, match.start()) for begin in begins if (match := _SPACE.search(text, begin))]
    return {
        change.edit
        for change in changes
        if any(begin < change.end and change.start < max(end, begin + 1) for begin, end in words)
    }


def with_gpu_models(data: bytes, path: Path, here: Iterable[str]) -> bytes:
    """The bytes of a valid file, where a pattern of `match.gpu_model` that matches no GPU is the one meant.

    Only where that is certain, by the catalogue or by the names of the GPUs `here`.
    """
    config, root, names = parse(data, path), document(data), tuple(here)
    edits = []
    try:
        known_names = config.catalogue.gpu_names()
    except CatalogueError:  # the bundled one is damaged, which `check-config` reports
        known_names = ()
    for node in _gpu_models(root):
        if (better := certain_pattern(node.text, known_names, names)) and node.end is not None:
            edit = TextEdit(node.position, node.end, json.dumps(better, ensure_ascii=False))
            edits.append(Problem(node.position, "", "", edit))
    after, _ = _applied(data, edits, set(), ())
    return after


def _gpu_models(root: Node | None) -> Iterator[Scalar]:
    """The values of `match.gpu_model` of each rule of `hardware`."""
    rules = root.value(HARDWARE.name) if isinstance(root, Mapping) else None
    for rule in rules.items if isinstance(rules, Sequence) else ():
        match = rule.value(RULE_MATCH.name) if isinstance(rule, Mapping) else None
        model = match.value(MATCH_GPU_MODEL.name) if isinstance(match, Mapping) else None
        if isinstance(model, Scalar):
            yield model


def read_corrected(path: Path) -> tuple[bytes, bytes, tuple[Problem, ...]]:
    """The bytes of a file, those with every known correction, and the problems that remain.

    Raises:
        ConfigError: it cannot be read, or the price file that it names cannot be used.
    """
    data = contents(path)
    return data, *corrected(data, path)


def _problems(data: bytes, path: Path) -> tuple[Problem, ...]:
    try:
        parse(data, path)
    except ConfigError as error:
        if error.file != str(path):  # the price file's: nothing is known of this one's values
            raise
        return error.problems
    return ()


def _edit(correction: TextEdit) -> Edit:
    return correction.start.line, correction.text


def _starts(text: str) -> list[int]:
    """The offset of each line, and that behind the last."""
    starts = [1 if text.startswith("\ufeff") else 0]
    for line in text[starts[0] :].splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    return starts


def _offset(starts: list[int], position: Position) -> int:
    return starts[min(position.line, len(starts)) - 1] + position.column - 1
