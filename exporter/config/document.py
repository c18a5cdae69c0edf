"""YAML text to a tree of nodes with their positions. The only user of PyYAML.

The tree is built from the parser's events, not by `yaml.compose`: the positions are the same, and a hostile
file is refused at its first event that is not allowed. Not allowed are anchors and aliases (a kilobyte of
them unfolds to gigabytes), tags, merge keys, and nesting deeper than a configuration needs.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

import yaml

from exporter.config.problems import LocatedError, Position, TextEdit, shown_key
from exporter.config.yaml_errors import QUOTE, position_of, quoted, syntax_problem

FILE_BYTES: Final = 1024 * 1024
DEEPEST: Final = 16
MOST_NODES: Final = 100_000

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NOT_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BEGINS = "(?:^|(?<=[\r\x85\u2028\u2029]))"
_INDENTS: Final = (
    (
        re.compile(rf"{_BEGINS} *(\t)", re.MULTILINE),
        "is indented by a tab; YAML takes spaces only",
        "  ",
    ),
    (
        re.compile(rf"{_BEGINS}[ -]*([\u00a0\u2000-\u200a\u202f\u3000])", re.MULTILINE),
        "is indented by a blank that is no space, as copied from a web page; write a space",
        " ",
    ),
)
"""Indentation by something else than a space, what to say of it, and what is written in its place."""

_TYPOGRAPHIC = re.compile(r"[\u2018\u2019\u201c-\u201e\xab](?P<word>.*)[\u2018\u2019\u201c-\u201e\xbb]")
"""Quotes that an editor of texts made of straight ones."""
_BLOCKS = frozenset({"|", ">"})
_QUOTES = frozenset({"'", '"'})
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = frozenset({"true", "false", "yes", "no", "on", "off"})


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value, as its text."""

    position: Position
    text: str
    plain: bool = True
    """Whether it was written without quotes."""
    end: Position | None = None
    """The position behind it, `None` for a block of lines: it ends where something else begins."""
    path: str = ""
    """Its dotted path, like `hardware[0].match`; that of a key is the path of its value."""

    @property
    def empty(self) -> bool:
        """Whether nothing or null was written."""
        return self.plain and self.text in _NULLS

    @property
    def boolean(self) -> bool:
        """Whether YAML reads it as a boolean."""
        return self.plain and self.text.lower() in _BOOLEANS

    def restyled(self, text: str) -> str:
        """Another text as YAML, in quotes if this one was."""
        return text if self.plain else f'"{text}"'


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    position: Position
    path: str
    items: list["Node"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys with their values."""

    position: Position
    path: str
    entries: dict[str, "KeyValue"] = field(default_factory=dict)
    """Entries by the text of their keys."""

    def value(self, name: str) -> "Node | None":
        """The value of a key, `None` without it."""
        entry = self.entries.get(name)
        return entry and entry.value


Node: TypeAlias = Scalar | Sequence | Mapping


class KeyValue(NamedTuple):
    """One key of a mapping and its value."""

    key: Scalar
    value: Node


def document(data: bytes) -> Node | None:
    """The tree of a file; `None` for an empty one.

    Raises:
        LocatedError: the bytes are not one plain YAML document.
    """
    text = _text(data)
    reader = _Reader(text)
    try:
        return reader.root()
    except yaml.MarkedYAMLError as error:
        raise syntax_problem(text, error, reader.open_quote) from None
    except yaml.YAMLError as error:
        raise LocatedError(f"is not YAML: {error}") from None


def positions(node: Node) -> Iterator[tuple[str, Position]]:
    """The position of a node and of each below it, by dotted path."""
    if node.path:
        yield node.path, node.position
    below = node.items if isinstance(node, Sequence) else ()
    if isinstance(node, Mapping):
        below = [entry.value for entry in node.entries.values()]
    for child in below:
        yield from positions(child)


def dotted(path: str, name: str) -> str:
    """A path with one more name."""
    return f"{path}.{name}" if path else name


def _text(data: bytes) -> str:
    if len(data) > FILE_BYTES:
        raise LocatedError(f"is larger than {FILE_BYTES} bytes; no configuration is")
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        raise LocatedError("is not UTF-8; save the file as UTF-8", _end(before)) from None
    if match := _NOT_YAML.search(text):
        position = _end(text[: match.start()])
        raise LocatedError(f"has the control character U+{ord(match[0]):04X}; remove it", position)
    for indent, message, written in _INDENTS:
        if match := indent.search(text):
            position = _end(text[: match.start(1)])
            blank = TextEdit(position, Position(position.line, position.column + 1), written)
            raise LocatedError(message, position, correction=blank)
    return text


def _end(before: str) -> Position:
    """The position behind a text; its lines end as YAML ends them."""
    lines = f"{before}.".splitlines()
    return Position(len(lines), len(lines[-1]))


class _Reader:
    """Builds nodes of the parser's events."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._events = yaml.parse(text, Loader=_LOADER)
        self._nodes = 0
        self.open_quote: Position | None = None
        """The first quoted value that ends on another line than it begins."""

    def root(self) -> Node | None:
        """The document; `None` for an empty one."""
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    message = "a second document starts; a configuration is one document"
                    raise LocatedError(message, position_of(event.start_mark))
                root = self._node(next(self._events), "", depth=1)
        return None if isinstance(root, Scalar) and root.empty else root

    def _node(self, event: Any, path: str, depth: int) -> Node:
        """The node that begins with an event.

        Raises:
            LocatedError: it uses a feature that is not allowed.
        """
        position = position_of(event.start_mark)
        self._nodes += 1
        self._check(event, position, depth)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        if isinstance(event, yaml.SequenceStartEvent):
            sequence = Sequence(position, path)
            while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
                sequence.items.append(self._node(event, f"{path}[{len(sequence.items)}]", depth + 1))
            return sequence
        mapping = Mapping(position, path)
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, path, depth + 1)
            if not isinstance(key, Scalar):
                message = "a list or mapping stands where a key belongs; keys are words"
                raise LocatedError(message, key.position, path=path)
            if key.text in mapping.entries:
                first = mapping.entries[key.text].key.position.line
                message = f"key {shown_key(key.text)} is already given on line {first}; keep one"
                raise LocatedError(message, key.position, path=path)
            below = dotted(path, shown_key(key.text)[1:-1])
            mapping.entries[key.text] = KeyValue(key, self._node(next(self._events), below, depth + 1))
        return mapping

    def _check(self, event: Any, position: Position, depth: int) -> None:
        """Refuse an anchor, an alias or a tag, and what no configuration needs."""
        message, correction = "", None
        if isinstance(event, yaml.AliasEvent):
            message = f"is an alias (*): write the value out; aliases are not taken; {QUOTE}"
            correction = quoted(self._text, position)
        elif event.anchor is not None:
            message = "has an anchor (&): remove it; anchors are not taken"
        elif event.tag is not None:
            message = "has a tag (!): remove it; tags are not taken"
        elif self._nodes > MOST_NODES:
            message = f"holds more than {MOST_NODES} values; no configuration does"
        elif depth > DEEPEST and not isinstance(event, yaml.ScalarEvent):
            message = f"nests deeper than {DEEPEST} levels; no configuration does"
        if message:
            raise LocatedError(message, position, correction=correction)

    def _scalar(self, event: yaml.ScalarEvent, path: str) -> Scalar:
        position, behind = position_of(event.start_mark), position_of(event.end_mark)
        if event.style in _QUOTES and behind.line > position.line:
            self.open_quote = self.open_quote or position
        end = None if event.style in _BLOCKS else behind
        node = Scalar(position, event.value, plain=not event.style, end=end, path=path)
        typographic = _TYPOGRAPHIC.fullmatch(node.text)
        if node.plain and typographic:
            word = typographic["word"].replace("\\", "\\\\").replace('"', '\\"')
            straight = TextEdit(position, behind, f'"{word}"')
            message = 'is in typographic quotes; write straight ones: "'
            raise LocatedError(message, position, correction=straight)
        return node
