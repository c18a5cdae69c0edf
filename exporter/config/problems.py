"""Problems of a configuration: each with its position in the file and its remedy."""

from dataclasses import dataclass

SHOWN_CHARACTERS = 40


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A position in the file; line and column count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class TextEdit:
    """The YAML to write in place of what stands from `start` up to `end`."""

    start: Position
    end: Position
    text: str


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of a file."""

    message: str
    """The reason and the remedy."""
    position: Position | None = None
    """The position of the value; `None` if the problem is of the whole file."""
    path: str = ""
    """The dotted path of the value; empty if the problem is of the whole file or of its syntax."""
    correction: TextEdit | None = None
    """What to write where the intended value is certain; `None` where it is not."""

    def line(self, file: str) -> str:
        """The problem as one line: `file:line:column: path: message`."""
        where = file if self.position is None else f"{file}:{self.position.line}:{self.position.column}"
        return ": ".join(part for part in (where, self.path, self.message) if part)


class ConfigError(Exception):
    """A configuration that cannot be used. Its text has one line for each problem."""

    def __init__(self, file: str, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(problem.line(file) for problem in problems))
        self.file = file
        self.problems = problems


class RefusedError(Exception):
    """A value that cannot be used; the message has the reason and what to write instead.

    `instead` is the YAML of the intended value, `None` where it is not certain. `remedy` is what to do
    without it, or in place of naming it. `key` is the key of a mapping that is at fault, if one is.
    """

    def __init__(self, reason: str, remedy: str = "", *, instead: str | None = None, key: str = "") -> None:
        remedy = remedy or (f"write {instead}" if instead is not None else "")
        super().__init__(f"{reason}; {remedy}" if remedy else reason)
        self.instead = instead
        self.key = key


class LocatedError(Exception):
    """A problem whose position is known. Reading ends at the first."""

    def __init__(
        self,
        message: str,
        position: Position | None = None,
        *,
        path: str = "",
        correction: TextEdit | None = None,
    ) -> None:
        super().__init__(message)
        self.problem = Problem(message, position, path, correction)


def shown(text: str) -> str:
    """Text from a file as a message may repeat it: printable, short, in double quotes."""
    clean = "".join(c if c.isprintable() else "?" for c in text[: SHOWN_CHARACTERS + 1])
    return f'"{clean[:SHOWN_CHARACTERS]}..."' if len(clean) > SHOWN_CHARACTERS else f'"{clean}"'


def shown_key(text: str) -> str:
    """As `shown`, for a text that may be a key with its value: the value may be a secret."""
    key, mark, _ = text.partition(":")
    key, mark = (key, mark) if mark else text.partition("=")[:2]
    return shown(f"{key}{mark}***" if mark else text)
