"""The position and the remedy of a text that is not YAML.

A parser reports where it noticed the error, often lines below the mistake, and in its own terms. Both loaders
of PyYAML are understood: libyaml and the Python one word and place errors differently.

No message repeats a value: which key it belongs to is not certain, and it may be a secret.
"""

import re
from typing import Any, Final

import yaml

from exporter.config.problems import LocatedError, Position, TextEdit

QUOTE: Final = 'put quotes around a pattern that begins with *: "*H100*"'

INDENTATION: Final = "is indented unlike the lines above; align it with the keys that it belongs to"

_PLAIN: Final = re.compile(r"[^\s,\[\]{}#\"]+")
_KEY: Final = re.compile(r"(?P<indent>[ -]*)(?P<key>[A-Za-z_]\w*):(?P<gap> +)(?P<value>\S.*)", re.ASCII)
_NO_COLON: Final = re.compile(r"(?P<key>[A-Za-z_]\w*)(?: *= *| +)(?P<value>[^\s:#]+)", re.ASCII)
_NO_SPACE: Final = re.compile(r"(?P<key>[A-Za-z_]\w*):(?P<value>[^\s:/#]+)", re.ASCII)
_DASH: Final = re.compile(r" *(?P<dash>-)(?=[^\s-].*:)", re.ASCII)
_VARIABLE: Final = re.compile(r"\$\{\w+\}|\{\{ ?[\w.$]+ ?\}\}", re.ASCII)
_COMMENT: Final = re.compile(r"(?:^|\s)#.*")


def position_of(mark: Any) -> Position:
    """The position of a mark of PyYAML."""
    return Position(mark.line + 1, mark.column + 1)


def syntax_problem(
    text: str, error: yaml.MarkedYAMLError, open_quote: Position | None = None
) -> LocatedError:
    """The mistake behind a parser's error.

    `open_quote` is the first quoted value before it that ends on a later line than it begins.
    """
    lines = text.splitlines()
    context, problem = error.context or "", error.problem or ""
    begins = position_of(error.context_mark) if error.context_mark else None
    noticed = position_of(error.problem_mark) if error.problem_mark else None
    if open_quote is None and "quoted scalar" in context and "escape" not in problem:
        open_quote = begins
    if open_quote:
        return _not_yaml(open_quote, "the quote that opens here is not closed on its line; close it")
    if begins and "alias" in context:
        return _not_yaml(begins, f"a value cannot begin with *; {QUOTE}", quoted(text, begins))
    if begins and "simple key" in context:
        return _without_colon(lines, begins)
    if noticed and "cannot start any token" in problem:
        character = _line(lines, noticed.line)[noticed.column - 1 : noticed.column]
        if character == "\t":
            return _not_yaml(noticed, "a tab stands where a value or a key begins; YAML takes spaces only")
        message = f"a value cannot begin with {character}; put quotes around it"
        return _not_yaml(noticed, message, quoted(text, noticed))
    if begins and noticed and "flow" in context:
        return _flow(lines, begins, noticed)
    second_colon = "mapping values are not allowed" in problem
    if noticed and (second_colon or "block" in context or "document start" in problem):
        return _misplaced(lines, noticed, context, second_colon=second_colon)
    return _not_yaml(noticed, ": ".join(filter(None, (context, problem))))


def quoted(text: str, position: Position) -> TextEdit | None:
    """The correction that puts quotes around the word at a position."""
    line = text.splitlines()[position.line - 1]
    match = _PLAIN.match(line, position.column - 1)
    return None if match is None else _replaced(position, match[0], f'"{match[0]}"')


def no_space(position: Position, text: str) -> TextEdit | None:
    """The correction of `key:value`, where the space behind the colon is missing; `None` for another text."""
    match = _NO_SPACE.match(text)
    if match is None:
        return None
    behind = Position(position.line, position.column + len(match["key"]) + 1)
    return TextEdit(behind, behind, " ")


def _not_yaml(position: Position | None, message: str, correction: TextEdit | None = None) -> LocatedError:
    return LocatedError(f"is not YAML: {message}", position, correction=correction)


def _replaced(position: Position, old: str, new: str) -> TextEdit:
    return TextEdit(position, Position(position.line, position.column + len(old)), new)


def _line(lines: list[str], number: int) -> str:
    return lines[number - 1] if 0 < number <= len(lines) else ""


def _without_colon(lines: list[str], begins: Position) -> LocatedError:
    """A line that is a word or two where a key belongs."""
    written = _COMMENT.sub("", _line(lines, begins.line)[begins.column - 1 :]).rstrip()
    correction = no_space(begins, written)
    if correction is not None:
        return _not_yaml(begins, "has no space after its colon; write it as key: value", correction)
    match = _NO_COLON.fullmatch(written)
    if match is not None:
        correction = _replaced(begins, written, f"{match['key']}: {match['value']}")
        return _not_yaml(begins, "has no colon; write it as key: value", correction)
    return _not_yaml(begins, "is no key with a value; write it as key: value")


def _flow(lines: list[str], begins: Position, noticed: Position) -> LocatedError:
    """A bracket that is not closed, or a comma that is missing within it."""
    variable = _VARIABLE.search(_line(lines, noticed.line))
    if variable is not None:
        where = Position(noticed.line, variable.start() + 1)
        return _not_yaml(where, "a variable is not replaced; write its value, a secret in a file of its own")
    at_end = not any(after.strip() for after in lines[noticed.line - 1 :])
    if at_end and _line(lines, begins.line)[begins.column - 1 : begins.column] not in {"[", "{"}:
        number = [number for number, line in enumerate(lines, 1) if {"[", "{"} & set(line)][-1]
        line = lines[number - 1]
        begins = Position(number, max(line.rfind("["), line.rfind("{")) + 1)
    line = _line(lines, begins.line)
    opening = line[begins.column - 1 : begins.column]
    goes_on = _COMMENT.sub("", line).rstrip().endswith((",", "{", "["))
    if at_end or (noticed.line > begins.line and not goes_on):
        return _not_yaml(begins, f"the {opening} that opens here is not closed; close it")
    return _not_yaml(noticed, "a comma or a closing bracket is missing before this")


def _misplaced(lines: list[str], noticed: Position, context: str, *, second_colon: bool) -> LocatedError:
    """A dash without its space, a colon in a value, a line without one, or a wrong indentation."""
    for number in (noticed.line, noticed.line - 1):
        match = _DASH.match(_line(lines, number))
        if match is not None:
            begins, ends = match.span("dash")
            dash, after = Position(number, begins + 1), Position(number, ends + 1)
            space = TextEdit(after, after, " ")
            return _not_yaml(dash, "has no space after its dash; write it as - key: value", space)
    line = _line(lines, noticed.line)
    key = Position(noticed.line, len(line) - len(line.lstrip(" -" if second_colon else " ")) + 1)
    if not second_colon:
        if noticed.column > key.column and line.strip():
            return _not_yaml(noticed, "follows a value that has ended; put quotes around the whole value")
        if "collection" in context:
            message = (
                "stands between list items; begin it with a dash, or indent it as a key of the item above"
            )
            return _not_yaml(key, message)
        return _not_yaml(key, INDENTATION)
    match = _KEY.match(line)
    if match is not None and match.end("gap") < noticed.column - 1:
        start = Position(noticed.line, match.end("gap") + 1)
        value = _COMMENT.sub("", match["value"]).rstrip()
        unclear = '"' in value or "\\" in value or value[0] in "{['"
        correction = None if unclear else _replaced(start, value, f'"{value}"')
        return _not_yaml(start, "holds a colon and a space; put quotes around the whole value", correction)
    for number in range(noticed.line - 1, 0, -1):
        before = _COMMENT.sub("", _line(lines, number)).rstrip()
        words = before.lstrip(" -")
        if words:
            if ": " not in f"{words} ":
                return _without_colon(lines, Position(number, len(before) - len(words) + 1))
            break
    return _not_yaml(key, INDENTATION)
