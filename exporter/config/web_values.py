"""The shapes of single values of the web configuration. No message repeats a hash: it may be a password."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.config.document import Mapping, Node, Scalar
from exporter.config.problems import BrokenError, RefusedError, shown
from exporter.config.schema import Walk, dotted, found
from exporter.config.values import PATH_CHARACTERS, Choice, scalar

HEADER_CHARACTERS: Final = 2048
USER_CHARACTERS: Final = 255
MOST_USERS: Final = 100
DEAREST: Final = 18
"""The highest cost of bcrypt: one look at a password takes about 15 s then, longer than a scraper waits."""

_HASH = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}", re.ASCII)


@dataclass(frozen=True, slots=True)
class FilePath:
    """A file, from the folder of the file that names it on where it does not begin with /."""

    words: str = "path"

    def read(self, node: Node, path: str, walk: Walk) -> Path:
        """As `Shape.read`."""
        del path, walk
        text = scalar(node, self.words).text
        if not text or not text.isprintable() or len(text) > PATH_CHARACTERS:
            raise RefusedError(f"{shown(text)} is no path; name a file")
        return Path(text)


@dataclass(frozen=True, slots=True)
class Inline:
    """What is not taken: the message says what to write instead."""

    message: str
    words: str = "nothing"

    def read(self, node: Node, path: str, walk: Walk) -> None:
        """As `Shape.read`: always refused."""
        del node, path, walk
        raise RefusedError(self.message)


@dataclass(frozen=True, slots=True)
class Text:
    """Printable ASCII, as a header or a name in a certificate has it; it may be empty."""

    what: str

    @property
    def words(self) -> str:
        """As `Shape.words`."""
        return self.what

    def read(self, node: Node, path: str, walk: Walk) -> str:
        """As `Shape.read`."""
        del path, walk
        text = scalar(node, self.what).text
        if not text.isascii() or not text.isprintable() or len(text) > HEADER_CHARACTERS:
            raise RefusedError(
                f"{shown(text)} is no {self.what}: up to {HEADER_CHARACTERS} printable characters of ASCII"
            )
        return text


@dataclass(frozen=True, slots=True)
class OrBlank:
    """One of a few words, or nothing between quotes, which is as if the key were not there."""

    choice: Choice[str]

    @property
    def words(self) -> str:
        """As `Shape.words`."""
        return self.choice.words

    def read(self, node: Node, path: str, walk: Walk) -> str:
        """As `Shape.read`."""
        blank = isinstance(node, Scalar) and not node.plain and not node.text
        return "" if blank else self.choice.read(node, path, walk)


@dataclass(frozen=True, slots=True)
class BasicUsers:
    """Names of users with the bcrypt hashes of their passwords."""

    words: str = "mapping of users to bcrypt hashes"

    def read(self, node: Node, path: str, walk: Walk) -> dict[str, bytes]:
        """As `Shape.read`."""
        if not isinstance(node, Mapping):
            what = found(node) if not isinstance(node, Scalar) or node.empty else "a single value"
            raise RefusedError(f"must be a {self.words}, not {what}")
        if len(node.entries) > MOST_USERS:
            raise RefusedError(f"has {len(node.entries)} users; it takes {MOST_USERS} at most")
        users: dict[str, bytes] = {}
        for place, fault in node.faults:
            walk.problems.note(place, path, fault)
        for name, (place, value) in node.entries.items():
            where = dotted(path, shown(name)[1:-1])
            told = _user_fault(name)
            if told:
                walk.problems.note(place, where, told)
            elif told := _hash_fault(value):
                walk.problems.note(value.place, where, told)
            elif isinstance(value, Scalar):
                users[name] = value.text.encode()
        if len(users) < len(node.entries) or node.faults:
            raise BrokenError
        return users


def _user_fault(name: str) -> str | None:
    if not name or ":" in name or not name.isprintable() or len(name) > USER_CHARACTERS:
        return f"is no name of a user: 1 to {USER_CHARACTERS} printable characters without a colon"
    return None


def _hash_fault(value: Node) -> str | None:
    match = _HASH.fullmatch(value.text) if isinstance(value, Scalar) else None
    if match is None:
        return "is no bcrypt hash, which begins with $2b$ or $2y$; make one: htpasswd -nBC 10 NAME"
    if not 4 <= int(match[1]) <= DEAREST:
        return f"has the cost {match[1]}; it takes 04 to {DEAREST}: htpasswd -nBC 10 NAME"
    return None
