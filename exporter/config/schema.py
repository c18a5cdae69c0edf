"""The parts of a schema: keys, mappings and lists, for reading and for the documentation.

A validator reads a node to a value, or refuses it (`RefusedError`). The mapping or list around it adds
position and path to the first problem, which ends the reading (`LocatedError`).
"""

import difflib
import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Final, Generic, NoReturn, Protocol, TypeVar
from zoneinfo import ZoneInfo

from exporter.config.document import Mapping, Node, Scalar, Sequence, dotted
from exporter.config.problems import LocatedError, RefusedError, TextEdit, shown, shown_key
from exporter.config.yaml_errors import no_space
from exporter.tariff.catalogue import CATALOGUE, Catalogue

MOST_ITEMS: Final = 1000
LONGEST_KEY: Final = 64
SHOWN_KEYS: Final = 4
"""Keys of a mapping that an error names."""
MISSPELLED_FROM: Final = 0.85
"""Similarity from which on a word counts as a misspelling. `bearer_token`, which holds a secret that no
message may repeat, is less similar to `bearer_token_file`."""

_CURRENCY: Final = "euros?|eur|pounds?|gbp|francs?|chf|yen|jpy|yuan|rmb|cny|rupees?|inr|won|krw|usd"
"""Currencies that people write in place of dollars."""
_UNIT: Final = re.compile(
    r"millisecond|second|minute|hour|day|week|month|quarter|year|gpu|host|.*\d.*|k|milli|thousand|"
    rf"million|billion|trillion|dollar|cent|{_CURRENCY}",
    re.IGNORECASE | re.ASCII,
)
"""Words of a name that the number behind it depends on, in the singular."""


def did_you_mean(word: str, names: list[str]) -> list[str]:
    """The one or two names that are most similar to a word, the nearest first."""
    near = difflib.get_close_matches(word[:LONGEST_KEY], names, 2)
    return near[:1] if near and is_misspelling(word, near[0]) else near


def is_misspelling(word: str, name: str) -> bool:
    """Whether a word can only be a misspelling of a name: each part is, and none is another unit.

    A number that keeps its place under a name of another unit is another amount.
    """
    parts, meant = word.split("_"), name.split("_")
    return len(parts) == len(meant) and all(map(_is_part_misspelled, parts, meant))


def _is_part_misspelled(part: str, meant: str) -> bool:
    if part.removesuffix("s") == meant.removesuffix("s"):
        return True
    similarity = difflib.SequenceMatcher(None, part, meant).ratio()
    return not _UNIT.fullmatch(part.removesuffix("s")) and similarity >= MISSPELLED_FROM


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Context:
    """What the values of a file depend on."""

    zone: ZoneInfo
    """The zone of local times and dates."""
    catalogue: Catalogue = CATALOGUE
    """The list prices in force."""


class Validator(Protocol[T_co]):
    """Reads one kind of value."""

    @property
    def expected(self) -> str:
        """The kind of value in words: "number from 0 to 1"."""
        ...

    def read(self, node: Node, context: Context) -> T_co:
        """The value of a node.

        Raises:
            RefusedError: it cannot be used; the message has the reason and the remedy.
            LocatedError: a part of it cannot be used.
        """
        ...


@dataclass(frozen=True, slots=True)
class Key(Generic[T_co]):
    """One key of a mapping, declared once."""

    name: str
    validator: Validator[T_co]
    meaning: Callable[[], str]
    """What it is, read where it is shown."""
    field: str = ""
    """The field of the model that it fills."""
    default: T_co | None = None
    required: bool = False

    @property
    def help(self) -> str:
        """What it is, in sentences."""
        return self.meaning()


def default_of(record: type[Any], name: str) -> Any:
    """The default of a dataclass's field, `None` where it has none."""
    (declared,) = (declared for declared in fields(record) if declared.name == name)
    if declared.default_factory is not MISSING:
        return declared.default_factory()
    return None if declared.default is MISSING else declared.default


@dataclass(frozen=True, slots=True)
class MappingNode:
    """A mapping as read, with the values of its keys by name."""

    node: Mapping
    context: Context
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Its path in the file."""
        return self.node.path

    def refuse(self, name: str, message: str) -> NoReturn:
        """Refuse a key's value, or the mapping if the name is empty or not given."""
        refuse_key(self.node, name, message)

    def refuse_below(self, steps: tuple[str | int, ...], message: str) -> NoReturn:
        """Refuse what stands below: keys of mappings and indices of lists lead to it, as far as they go."""
        node: Node = self.node
        path = self.path
        for step in steps:
            below = None
            if isinstance(node, Mapping) and isinstance(step, str):
                below = node.value(step)
            elif isinstance(node, Sequence) and isinstance(step, int):
                below = node.items[step]
            node = below or node
            path = f"{path}[{step}]" if isinstance(step, int) else dotted(path, step)
        raise LocatedError(node.position, path, message)


def refuse_key(node: Node, name: str, message: str) -> NoReturn:
    """Refuse a key's value, or the node if the name is empty or not given."""
    value = node.value(name) if isinstance(node, Mapping) else None
    path = dotted(node.path, name) if name else node.path
    raise LocatedError((value or node).position, path, message)


@dataclass(frozen=True, slots=True)
class Table(Generic[T_co]):
    """A mapping with known keys, built to a value."""

    keys: tuple[Key[object], ...]
    build: Callable[[MappingNode], T_co]
    expected: str = "mapping"

    def read(self, node: Node, context: Context) -> T_co:
        """As `Validator.read`."""
        if not isinstance(node, Mapping):
            raise self._no_mapping(node)
        validators = {key.name: key.validator for key in self.keys}
        mapping = MappingNode(node, context)
        for name, (key, value) in node.entries.items():
            if name not in validators:
                raise self._unknown(node, key)
            mapping.values[name] = read_at(validators[name], value, context)
        for declared in self.keys:
            if declared.required and declared.name not in mapping.values:
                mapping.refuse("", missing(declared))
        return self.build(mapping)

    def _no_mapping(self, node: Node) -> RefusedError:
        """The refusal of another node, with the keys to write: the required ones, else the first."""
        text = shown_key(node.text) if isinstance(node, Scalar) and not node.empty else describe(node)
        names = [key.name for key in self.keys if key.required] or [key.name for key in self.keys]
        more = ", ..." if len(names) > SHOWN_KEYS else ""
        remedy = f"it has {'keys' if len(names) > 1 else 'the key'} {', '.join(names[:SHOWN_KEYS])}{more}"
        if isinstance(node, Scalar) and node.plain and no_space(node.position, node.text):
            remedy = "write a space after the colon"
        return RefusedError(f"must be a mapping of keys to values, not {text}", remedy)

    def _unknown(self, mapping: Mapping, key: Scalar) -> LocatedError:
        """The refusal of an unknown key, with the key that was meant."""
        name = key.text
        names = [declared.name for declared in self.keys]
        near = did_you_mean(name, names)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known here: {', '.join(names)}"
        below = {
            declared.name: [child.name for child in declared.validator.keys]
            for declared in self.keys
            if isinstance(declared.validator, Table)
        }
        parents = [parent for parent, children in below.items() if name in children]
        in_dollars = re.sub(rf"(?<![a-z])({_CURRENCY})(?![a-z])", "dollars", name, flags=re.IGNORECASE)
        correction = None
        if parents:
            hint = f"it goes into {' or '.join(parents)}, as in {parents[0]}: {{{name}: ...}}"
        elif in_dollars != name and in_dollars in names:
            hint = f"amounts are in dollars only: convert it, and write {in_dollars}"
        elif name.isdecimal():
            hint = "if it belongs to the number before it, write a decimal point in place of the comma"
        elif near and near[0] not in mapping.entries and is_misspelling(name, near[0]):
            correction = TextEdit(key.position, key.end, near[0]) if key.end else None
        elif not near:
            children = [(parent, child) for parent in below for child in did_you_mean(name, below[parent])]
            for parent, child in children[:1]:
                hint = f"did you mean {parent}: {{{child}: ...}}?"
        path = dotted(mapping.path, shown_key(name)[1:-1])
        return LocatedError(key.position, path, f"unknown key; {hint}", correction)


@dataclass(frozen=True, slots=True)
class MappingOf(Generic[T]):
    """A mapping of names that the file chooses, to values of one kind; as pairs in the order of the file."""

    expected: str
    validator: Validator[T]
    fault: Callable[[str], str | None]
    """What is wrong with a name, `None` for a good one."""
    most: int
    """The most names."""
    example: str = ""
    """One in YAML, for a mapping that must not be empty."""

    def read(self, node: Node, context: Context) -> tuple[tuple[str, T], ...]:
        """As `Validator.read`."""
        if not isinstance(node, Mapping) or (self.example and not node.entries):
            # A single value may be a secret.
            secret = isinstance(node, Scalar) and not node.empty and not self.example
            what = "an empty mapping" if isinstance(node, Mapping) else describe(node)
            like = f", like {self.example}" if self.example else ""
            raise RefusedError(f"must be a {self.expected}{like}, not {'a single value' if secret else what}")
        if len(node.entries) > self.most:
            raise RefusedError(f"has {len(node.entries)} keys; it takes {self.most} at most")
        pairs = []
        for name, (key, value) in node.entries.items():
            if problem := self.fault(name):
                raise LocatedError(key.position, dotted(node.path, shown(name)[1:-1]), problem)
            pairs.append((name, read_at(self.validator, value, context)))
        return tuple(pairs)


@dataclass(frozen=True, slots=True)
class ListItem(Generic[T]):
    """One item of a list, with its node."""

    node: Node
    value: T

    @property
    def path(self) -> str:
        """Its path in the file."""
        return self.node.path

    def refuse(self, name: str, message: str) -> NoReturn:
        """Refuse one key of the item, or the item if that key is not given."""
        refuse_key(self.node, name, message)


ListRule = Callable[[list[ListItem[T]]], object]
"""A check of the items of a list together. It refuses what is wrong; what it returns is not used."""


@dataclass(frozen=True, slots=True)
class ListOf(Generic[T]):
    """A list of values of one kind."""

    validator: Validator[T]
    rules: tuple[ListRule[T], ...] = ()
    least: int = 0
    advice: str = "begin each item with a dash and a space"
    """The remedy for a value that is no list."""

    @property
    def expected(self) -> str:
        """As `Validator.expected`."""
        return f"list of {self.validator.expected}s"

    def read(self, node: Node, context: Context) -> tuple[T, ...]:
        """As `Validator.read`."""
        if not isinstance(node, Sequence):
            raise RefusedError(f"must be a list ({self.expected}), not {describe(node)}; {self.advice}")
        if not self.least <= len(node.items) <= MOST_ITEMS:
            raise RefusedError(f"has {len(node.items)} items; it takes {self.least or 1} to {MOST_ITEMS}")
        items = [ListItem(child, read_at(self.validator, child, context)) for child in node.items]
        for rule in self.rules:
            rule(items)
        return tuple(item.value for item in items)


def read_at(validator: Validator[T], node: Node, context: Context) -> T:
    """A node's value.

    Raises:
        LocatedError: it is refused.
    """
    try:
        return validator.read(node, context)
    except RefusedError as refused:
        correction = None
        if refused.instead is not None and isinstance(node, Scalar) and node.end is not None:
            correction = TextEdit(node.position, node.end, refused.instead)
        raise LocatedError(node.position, node.path, str(refused), correction) from None


def describe(node: Node) -> str:
    """A node in words, for "must be this, not ..."."""
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    return "nothing (remove the key or give it a value)" if node.empty else shown(node.text)


def missing(key: Key[object]) -> str:
    """The problem of a required key that is not given."""
    sentence = key.help.partition(". ")[0].removesuffix(".")
    first = sentence[0] if sentence[1].isupper() else sentence[0].lower()  # GPUs stay GPUs
    return f"{key.name} is missing: {first}{sentence[1:]}"


def unique(name: str, value_of: Callable[[T], object], advice: str) -> ListRule[T]:
    """A rule: no two items have the same value of a key (the item itself without a name)."""

    def rule(items: list[ListItem[T]]) -> None:
        paths: dict[object, str] = {}
        for item in items:
            value = value_of(item.value)
            if value in paths:
                item.refuse(name, f'"{value}" is already given by {paths[value]}; {advice}')
            paths[value] = item.path

    return rule
