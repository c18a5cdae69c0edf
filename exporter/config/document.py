"""YAML text to a tree of nodes with their positions. The only user of PyYAML.

The tree is built from the parser's events, not by `yaml.compose`: the positions are the same, and a hostile
file is refused at its first event that is not allowed. Not allowed are anchors and aliases (a kilobyte of
them unfolds to gigabytes), tags, merge keys, and nesting deeper than a configuration needs.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

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
    """A single value, as its text; `plain` is false if it was quoted.

    `end` is the position behind it, `None` for a block of lines: it ends where something else begins.
    """

    position: Position
    text: str
    plain: bool = True
    end: Position | None = None

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
    items: list["Node"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys with their values."""

    position: Position
    items: list["Node"] = field(default_factory=list)
    """Keys and values in turn."""
    entries: dict[str, tuple[Position, "Node"]] = field(default_factory=dict)
    """The position of each key, and its value."""
    faults: list[tuple[Position, str]] = field(default_factory=list)
    """Keys that are none or are given twice, each with what to do."""
    key_ends: dict[str, Position] = field(default_factory=dict)
    """The positions behind the keys that have one."""

    def value(self, name: str) -> "Node | None":
        """The value of a key, `None` without it."""
        entry = self.entries.get(name)
        return entry and entry[1]


Node: TypeAlias = Scalar | Sequence | Mapping


def document(data: bytes) -> Node | None:
    """The tree of a file; `None` for an empty one.

    Raises:
        LocatedError: the bytes are not one plain YAML document.
    """
    text = _text(data)
    open_quotes: list[Position] = []
    try:
        return _tree(_events(text, open_quotes))
    except yaml.MarkedYAMLError as error:
        raise syntax_problem(text, error, next(iter(open_quotes), None)) from None
    except yaml.YAMLError as error:
        raise _refused(None, f"is not YAML: {error}") from None


def _refused(position: Position | None, message: str, correction: TextEdit | None = None) -> LocatedError:
    """The refusal of a text before its keys are known."""
    return LocatedError(position, "", message, correction)


def positions(node: Node, path: str = "") -> Iterator[tuple[str, Position]]:
    """The position of a node and of each below it, by dotted path."""
    if path:
        yield path, node.position
    if isinstance(node, Sequence):
        for index, item in enumerate(node.items):
            yield from positions(item, f"{path}[{index}]")
    elif isinstance(node, Mapping):
        for name, (_, value) in node.entries.items():
            yield from positions(value, f"{path}.{name}" if path else name)


def _text(data: bytes) -> str:
    if len(data) > FILE_BYTES:
        raise _refused(None, f"is larger than {FILE_BYTES} bytes; no configuration is")
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        raise _refused(_end(before), "is not UTF-8; save the file as UTF-8") from None
    if match := _NOT_YAML.search(text):
        position = _end(text[: match.start()])
        raise _refused(position, f"has the control character U+{ord(match[0]):04X}; remove it")
    for indent, message, written in _INDENTS:
        if match := indent.search(text):
            position = _end(text[: match.start(1)])
            blank = TextEdit(position, Position(position.line, position.column + 1), written)
            raise _refused(position, message, blank)
    return text


def _end(before: str) -> Position:
    """The position behind a text; its lines end as YAML ends them."""
    lines = f"{before}.".splitlines()
    return Position(len(lines), len(lines[-1]))


def _events(text: str, open_quotes: list[Position]) -> Iterator[yaml.Event]:
    """The parser's events; quoted values that end on another line than they begin are noted."""
    documents = 0
    for event in yaml.parse(text, Loader=_LOADER):
        position = position_of(event.start_mark)
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _refused(position, "a second document starts; a configuration is one document")
        if isinstance(event, yaml.AliasEvent):
            problem = f"is an alias (*): write the value out; aliases are not taken; {QUOTE}"
            raise _refused(position, problem, quoted(text, position))
        if isinstance(event, yaml.NodeEvent):
            if event.anchor is not None:
                raise _refused(position, "has an anchor (&): remove it; anchors are not taken")
            if getattr(event, "tag", None) is not None:
                raise _refused(position, "has a tag (!): remove it; tags are not taken")
        quoted_value = isinstance(event, yaml.ScalarEvent) and event.style in _QUOTES
        if quoted_value and position_of(event.end_mark).line > position.line:
            open_quotes.append(position)
        yield event


def _tree(events: Iterator[yaml.Event]) -> Node | None:
    root: Node | None = None
    open_nodes: list[Sequence | Mapping] = []
    nodes = 0
    for event in events:
        position = position_of(event.start_mark)
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            end = None if event.style in _BLOCKS else position_of(event.end_mark)
            node = Scalar(position, event.value, plain=not event.style, end=end)
            if node.plain and (typographic := _TYPOGRAPHIC.fullmatch(node.text)):
                word = typographic["word"].replace("\\", "\\\\").replace('"', '\\"')
                straight = TextEdit(position, end, f'"{word}"') if end else None
                raise _refused(position, 'is in typographic quotes; write straight ones: "', straight)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = Sequence(position)
        elif isinstance(event, yaml.MappingStartEvent):
            node = Mapping(position)
        else:
            if isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
                closed = open_nodes.pop()
                if isinstance(closed, Mapping):
                    _pair(closed)
            continue
        nodes += 1
        if nodes > MOST_NODES:
            raise _refused(position, f"holds more than {MOST_NODES} values; no configuration does")
        if open_nodes:
            open_nodes[-1].items.append(node)
        else:
            root = node
        if not isinstance(node, Scalar):
            open_nodes.append(node)
            if len(open_nodes) > DEEPEST:
                raise _refused(position, f"nests deeper than {DEEPEST} levels; no configuration does")
    return None if isinstance(root, Scalar) and root.empty else root


def _pair(mapping: Mapping) -> None:
    pairs = iter(mapping.items)
    for key, value in zip(pairs, pairs, strict=True):
        if not isinstance(key, Scalar):
            mapping.faults.append(
                (key.position, "a list or mapping stands where a key belongs; keys are words")
            )
        elif key.text in mapping.entries:
            first = mapping.entries[key.text][0].line
            fault = f"key {shown_key(key.text)} is already given on line {first}; keep one"
            mapping.faults.append((key.position, fault))
        else:
            mapping.entries[key.text] = (key.position, value)
            if key.end is not None:
                mapping.key_ends[key.text] = key.end
