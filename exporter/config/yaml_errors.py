"""The position and the remedy of a text that is not YAML.

A parser reports where it noticed the error, often lines below the mistake, and in its own terms. Both loaders
of PyYAML are understood: libyaml and the Python one word and place errors differently.

No message repeats a value: which key it belongs to is not certain, and it may be a secret.
"""

import re
from dataclasses import dataclass
from typing import Final

from exporter.config.problems import Position, TextEdit

QUOTE: Final = 'put quotes around a pattern that begins with *: "*H100*"'

INDENTATION: Final = "is indented unlike the lines above; align it with the keys that it belongs to"

BETWEEN_ITEMS: Final = (
    "stands between list items; begin it with a dash, or indent it as a key of the item above"
)

COLON: Final = "holds a colon and a space; put quotes around the whole value"

_PLAIN: Final = re.compile(r"[^\s,\[\]{}#\"]+")
_KEY: Final = re.compile(r"(?P<indent>[ -]*)(?P<key>[A-Za-z_]\w*):(?P<gap> +)(?P<value>\S.*)", re.ASCII)
_NO_COLON: Final = re.compile(r"(?P<key>[A-Za-z_]\w*)(?: *= *| +)(?P<value>[^\s:#]+)", re.ASCII)
_NO_SPACE: Final = re.compile(r"(?P<key>[A-Za-z_]\w*):(?P<value>[^\s:/#]+)", re.ASCII)
_DASH: Final = re.compile(r" *(?P<dash>-)(?=[^\s-].*:)", re.ASCII)
_VARIABLE: Final = re.compile(r"\$\{\w+\}|\{\{ ?[\w.$]+ ?\}\}", re.ASCII)
_COMMENT: Final = re.compile(r"(?:^|\s)#.*")
_BRACKET: Final = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'|[\[\]{}]")
"""A bracket, or a quoted text, in which brackets count for nothing."""

_BRACKETS: Final = {"{": "}", "[": "]"}


@dataclass(frozen=True, slots=True)
class SyntaxFault:
    """A parser's error: its words, where the construct begins, and where the parser noticed the error.

    `open_quote` is the first quoted value before it that ends on a later line than it begins.
    """

    context: str
    problem: str
    begins: Position | None
    noticed: Position | None
    open_quote: Position | None = None


@dataclass(frozen=True, slots=True)
class LocatedFault:
    """Where the mistake is, and its remedy."""

    position: Position | None
    message: str
    correction: TextEdit | None = None


def fault(text: str, error: SyntaxFault) -> LocatedFault:
    """The mistake behind a parser's error."""
    lines = text.splitlines()
    if error.open_quote:
        return _not_closed(error.open_quote)
    if error.begins and "quoted scalar" in error.context and "escape" not in error.problem:
        return _not_closed(error.begins)
    if error.begins and "alias" in error.context:
        return LocatedFault(error.begins, f"a value cannot begin with *; {QUOTE}", quoted(text, error.begins))
    if error.noticed is None:
        return LocatedFault(None, _words(error))
    if error.begins and "simple key" in error.context:
        return _without_colon(lines, error.begins)
    if "mapping values are not allowed" in error.problem:
        return _second_colon(lines, error.noticed)
    if "cannot start any token" in error.problem:
        return _reserved(text, lines, error.noticed)
    if error.begins and "flow" in error.context:
        return _flow(lines, error.begins, error.noticed)
    if "block" in error.context or "document start" in error.problem:
        return _misplaced(
            lines, error.noticed, BETWEEN_ITEMS if "collection" in error.context else INDENTATION
        )
    return LocatedFault(error.noticed, _words(error))


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


def _words(error: SyntaxFault) -> str:
    return ": ".join(part for part in (error.context, error.problem) if part)


def _not_closed(position: Position) -> LocatedFault:
    return LocatedFault(position, "the quote that opens here is not closed on its line; close it")


def _replaced(position: Position, old: str, new: str) -> TextEdit:
    return TextEdit(position, Position(position.line, position.column + len(old)), new)


def _line(lines: list[str], number: int) -> str:
    return lines[number - 1] if number <= len(lines) else ""


def _without_colon(lines: list[str], begins: Position) -> LocatedFault:
    """A line that is a word or two where a key belongs."""
    written = _COMMENT.sub("", _line(lines, begins.line)[begins.column - 1 :]).rstrip()
    if (correction := no_space(begins, written)) is not None:
        return LocatedFault(begins, "has no space after its colon; write it as key: value", correction)
    if (match := _NO_COLON.fullmatch(written)) is not None:
        correction = _replaced(begins, written, f"{match['key']}: {match['value']}")
        return LocatedFault(begins, "has no colon; write it as key: value", correction)
    return LocatedFault(begins, "is no key with a value; write it as key: value")


def _no_space_after_dash(lines: list[str], number: int) -> LocatedFault | None:
    """A list item whose dash has no space behind it, on a line or the one before."""
    number = number if _DASH.match(_line(lines, number)) else number - 1
    match = _DASH.match(_line(lines, number)) if number else None
    if match is None:
        return None
    begins, ends = match.span("dash")
    after = Position(number, ends + 1)
    message = "has no space after its dash; write it as - key: value"
    return LocatedFault(Position(number, begins + 1), message, TextEdit(after, after, " "))


def _second_colon(lines: list[str], noticed: Position) -> LocatedFault:
    """A colon in a value, a line before without one, or a value that goes on below itself."""
    line = _line(lines, noticed.line)
    if (dash := _no_space_after_dash(lines, noticed.line)) is not None:
        return dash
    match = _KEY.match(line)
    if match is not None and match.end("gap") < noticed.column - 1:
        start = Position(noticed.line, match.end("gap") + 1)
        value = _COMMENT.sub("", match["value"]).rstrip()
        if '"' in value or "\\" in value or value[0] in "{['":
            return LocatedFault(start, COLON)
        correction = _replaced(start, value, f'"{value}"')
        return LocatedFault(start, COLON, correction)
    for number in range(noticed.line - 1, 0, -1):
        before = _COMMENT.sub("", _line(lines, number)).rstrip()
        words = before.lstrip(" -")
        if not words:
            continue
        if ": " not in f"{words} ":
            return _without_colon(lines, Position(number, len(before) - len(words) + 1))
        break
    column = len(line) - len(line.lstrip(" -")) + 1
    return LocatedFault(Position(noticed.line, column), INDENTATION)


def _reserved(text: str, lines: list[str], noticed: Position) -> LocatedFault:
    character = _line(lines, noticed.line)[noticed.column - 1 : noticed.column]
    if character == "\t":
        return LocatedFault(noticed, "a tab stands where a value or a key begins; YAML takes spaces only")
    message = f"a value cannot begin with {character}; put quotes around it"
    return LocatedFault(noticed, message, quoted(text, noticed))


def _flow(lines: list[str], begins: Position, noticed: Position) -> LocatedFault:
    """A bracket that is not closed, or a comma that is missing within it."""
    if (variable := _VARIABLE.search(_line(lines, noticed.line))) is not None:
        where = Position(noticed.line, variable.start() + 1)
        return LocatedFault(
            where, "a variable is not replaced; write its value, a secret in a file of its own"
        )
    if not any(line.strip() for line in lines[noticed.line - 1 :]) and (opened := _unclosed(lines)):
        bracket = lines[opened.line - 1][opened.column - 1]
        return LocatedFault(
            opened, f"the {bracket} that opens here is not closed; close it by {_BRACKETS[bracket]}"
        )
    line = _line(lines, begins.line)
    opening = line[begins.column - 1 : begins.column]
    closing = _BRACKETS.get(opening, "")
    goes_on = _COMMENT.sub("", line).rstrip().endswith((",", "{", "["))
    if closing and noticed.line > begins.line and not goes_on:
        message = f"the {opening} that opens here is not closed on its line; close it by {closing}"
        return LocatedFault(begins, message)
    return LocatedFault(noticed, f"a comma or {closing or 'a closing bracket'} is missing before this")


def _unclosed(lines: list[str]) -> Position | None:
    """The innermost bracket that is open at the end."""
    opened: list[Position] = []
    for number, line in enumerate(lines, 1):
        for match in _BRACKET.finditer(_COMMENT.sub("", line)):
            if match[0] in _BRACKETS:
                opened.append(Position(number, match.start() + 1))
            elif match[0] in "]}" and opened:
                opened.pop()
    return opened[-1] if opened else None


def _misplaced(lines: list[str], noticed: Position, message: str) -> LocatedFault:
    line = _line(lines, noticed.line)
    stripped = line.lstrip(" ")
    if (dash := _no_space_after_dash(lines, noticed.line)) is not None:
        return dash
    position = Position(noticed.line, len(line) - len(stripped) + 1)
    if noticed.column > position.column and stripped:
        return LocatedFault(noticed, "follows a value that has ended; put quotes around the whole value")
    return LocatedFault(position, message)
