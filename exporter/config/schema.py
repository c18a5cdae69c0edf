"""The parts of a schema: keys, mappings and lists, for reading and for the documentation.

A validator reads a node to a value, or refuses it (`RefusedError`). The mapping or list around it notes the
problem with its position and path, and goes on: one run reports all problems.
"""

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, field, fields
from typing import Any, Final, Generic, Protocol, TypeVar
from zoneinfo import ZoneInfo

from exporter.config.document import Mapping, Node, Scalar, Sequence
from exporter.config.problems import BrokenError, Position, Problems, RefusedError, TextEdit, shown, shown_key
from exporter.config.yaml_errors import no_space
from exporter.frozen import dataclass, replace
from exporter.tariff.catalogue import CATALOGUE, Catalogue

_CURRENCY: Final = re.compile(
    r"euros?|eur|pounds?|gbp|francs?|chf|yen|jpy|yuan|rmb|cny|rupees?|inr|won|krw|usd", re.IGNORECASE
)
"""Currencies that people write in place of dollars."""

DOLLARS: Final = "dollars"


def in_dollars(name: str, names: list[str]) -> str | None:
    """The key with the same name in dollars: euros_per_gpu_hour is dollars_per_gpu_hour."""
    parts = name.split("_")
    converted = [DOLLARS if _CURRENCY.fullmatch(part) else part for part in parts]
    intended = "_".join(converted)
    return intended if converted != parts and intended in names else None


LONGEST_KEY: Final = 64
SHOWN_KEYS: Final = 4
"""Keys of a mapping that an error names."""
SUGGESTED_FROM: Final = 0.55
"""Similarity from which on a name is suggested."""
MISSPELLED_FROM: Final = 0.85
"""Similarity from which on a word counts as a misspelling. `bearer_token`, which holds a secret that no
message may repeat, is less similar to `bearer_token_file`."""
SAME_WITHIN: Final = 0.1
"""Difference in similarity below which two names are equally good suggestions."""

UNITS_OF_AMOUNT: Final = ("gpu", "host")
"""The wrong one of two such names makes a bill wrong by the number of GPUs."""

UNIT: Final = re.compile(
    r"millisecond|second|minute|hour|day|week|month|quarter|year|gpu|host|.*\d.*|k|milli|thousand|"
    rf"million|billion|trillion|dollar|cent|{_CURRENCY.pattern}",
    re.IGNORECASE | re.ASCII,
)
"""Words of a name that the number behind it depends on, in the singular."""


def did_you_mean(word: str, names: list[str]) -> str | None:
    """The name that is most similar to a word, `None` where none is similar."""
    if len(word) > LONGEST_KEY:
        return None
    # Rounded, so that the first in the documentation wins over one that is about as similar.
    similarities = {name: round(_similarity(word, name), 1) for name in names}
    best = max(names, key=similarities.__getitem__)
    return best if similarities[best] > SUGGESTED_FROM else None


def did_you_mean_pair(word: str, name: str, names: list[str]) -> tuple[str, str] | None:
    """The names for one GPU and for the whole host, where a word is similar to both and says neither unit."""
    parts = name.split("_")
    units = UNITS_OF_AMOUNT
    if units[0] not in parts and units[1] not in parts:
        return None
    gpu, host = ("_".join(unit if part in units else part for part in parts) for unit in units)
    if gpu not in names or host not in names or any(unit in word for unit in units):
        return None
    return (gpu, host) if abs(_similarity(word, gpu) - _similarity(word, host)) < SAME_WITHIN else None


def is_misspelling(word: str, name: str) -> bool:
    """Whether a word can only be a misspelling of a name: each part is, and none is another unit.

    A number that keeps its place under a name of another unit is another amount.
    """
    parts, meant = word.split("_"), name.split("_")
    return len(parts) == len(meant) and all(map(_is_part_misspelled, parts, meant))


def _is_part_misspelled(part: str, meant: str) -> bool:
    if part.removesuffix("s") == meant.removesuffix("s"):
        return True
    return not UNIT.fullmatch(part.removesuffix("s")) and _similarity(part, meant) >= MISSPELLED_FROM


def _similarity(word: str, name: str) -> float:
    return difflib.SequenceMatcher(None, word, name).ratio()


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
R = TypeVar("R")

MOST_ITEMS: Final = 1000

_START: Final = Position(1, 1)


@dataclass(frozen=True, slots=True)
class Context:
    """One reading of a file: the zone of its local times, its list prices, and its problems so far."""

    zone: ZoneInfo
    problems: Problems
    catalogue: Catalogue = CATALOGUE
    above: "tuple[tuple[str, Table[Any]], ...]" = ()
    """The mappings around the one that is read, each with its path, the nearest last."""


class Validator(Protocol[T_co]):
    """Reads one kind of value."""

    @property
    def expected(self) -> str:
        """The kind of value in words: "number from 0 to 1"."""
        ...

    def read(self, node: Node, path: str, context: Context) -> T_co:
        """The value of a node.

        Raises:
            RefusedError: it cannot be used; the message has the reason and the remedy.
            BrokenError: it cannot be used; its problems are noted.
        """
        ...


@dataclass(frozen=True, slots=True)
class Key(Generic[T_co]):
    """One key of a mapping, declared once.

    `record` is the dataclass whose field its value fills: the field of the key's name, unless `field` names
    another. The default of the field is the key's. `default` is for a key that fills no field.
    `also` are words that people write in its place before a single value.
    """

    name: str
    validator: Validator[T_co]
    help: str
    record: type[Any] | None = None
    field: str = ""
    default: T_co | None = None
    required: bool = False
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.record is not None:
            name = self.field or self.name
            object.__setattr__(self, "field", name)
            object.__setattr__(self, "default", _default(self.record, name))


def _default(record: type[Any], name: str) -> Any:
    """The default of a dataclass's field, `None` where it has none."""
    (declaration,) = (each for each in fields(record) if each.name == name)
    if declaration.default is not MISSING:
        return declaration.default
    return None if declaration.default_factory is MISSING else declaration.default_factory()


@dataclass(frozen=True, slots=True)
class MappingNode:
    """A mapping as read, with the values of its valid keys by name.

    `intended` are the keys that its unknown keys are most similar to: these are not reported as missing too.
    """

    node: Mapping
    path: str
    context: Context
    keys: tuple[Key[object], ...] = ()
    values: dict[str, Any] = field(default_factory=dict)
    intended: set[str] = field(default_factory=set)

    def __contains__(self, key: Key[object]) -> bool:
        return key.name in self.node.entries

    def get(self, key: Key[T]) -> T | None:
        """The value of a key, its default without it, `None` without either."""
        if key.name in self.values:
            value: T = self.values[key.name]  # the key's own validator has read it
            return value
        return key.default

    def __getitem__(self, key: Key[T]) -> T:
        value = self.get(key)
        if value is None:
            raise KeyError(key.name)
        return value

    def filled(self) -> dict[str, Any]:
        """The given values by the fields that they fill, those of groups below included."""
        filled: dict[str, Any] = {}
        for key in self.keys:
            value = self.values.get(key.name)
            if isinstance(value, MappingNode):
                filled.update(value.filled())
            elif key.name in self.values and key.field:
                filled[key.field] = value
        return filled

    def refuse(self, key: Key[object] | None, message: str) -> None:
        """Note a problem at a key's value, or at the mapping if there is no key or it is not given."""
        node = key and self.node.value(key.name)
        path = dotted(self.path, key.name) if key else self.path
        self.context.problems.note(node.position if node else self.node.position, path, message)


Rule = Callable[[MappingNode], object]
"""A check of several keys of a mapping together. It notes what is wrong; what it returns is not used."""


@dataclass(frozen=True, slots=True)
class Table(Generic[T_co]):
    """A mapping with known keys, built to a value if all of it is valid."""

    keys: tuple[Key[object], ...]
    build: Callable[[MappingNode], T_co]
    rules: tuple[Rule, ...] = ()
    expected: str = "mapping"

    def read(self, node: Node, path: str, context: Context) -> T_co:
        """As `Validator.read`."""
        if not isinstance(node, Mapping):
            what = shown_key(node.text) if isinstance(node, Scalar) and not node.empty else describe(node)
            remedy = _space_missing(node) or (
                self._remedy(node.text) if isinstance(node, Scalar) and path else ""
            )
            raise RefusedError(f"must be a mapping of keys to values, not {what}", remedy)
        mapping = MappingNode(node, path, context, self.keys)
        outer, context = context, replace(context, above=(*context.above, (path, self)))
        with context.problems.fatal():
            self._check_names(mapping, outer)
            for key in self.keys:
                value = node.value(key.name)
                if value is not None:
                    read_into(mapping.values, key.name, key.validator, value, dotted(path, key.name), context)
                elif key.required and key.name not in mapping.intended:
                    context.problems.note(node.position, path, missing(key))
            for rule in self.rules:
                rule(mapping)
        with context.problems.fatal():
            return self.build(mapping)

    def _remedy(self, text: str) -> str:
        """What to write in place of a single value: a colon, or its required keys, else the first."""
        every = [key.name for key in self.keys]
        if (first := text.partition(" ")[0]) in every:
            return f"write a colon after {first}"
        names = [key.name for key in self.keys if key.required] or every
        more = ", ..." if len(names) > SHOWN_KEYS else ""
        return f"it has {'keys' if len(names) > 1 else 'the key'} {', '.join(names[:SHOWN_KEYS])}{more}"

    def field_names(self) -> Iterator[str]:
        """The fields of its record that its keys fill, those of groups below included."""
        for key in self.keys:
            if key.field:
                yield key.field
            elif isinstance(key.validator, Table):
                yield from key.validator.field_names()

    def _check_names(self, mapping: MappingNode, outer: Context) -> None:
        names = [key.name for key in self.keys]
        for name, (position, value) in mapping.node.entries.items():
            if name not in names:
                best = self._synonym(name, value) or did_you_mean(name, names)
                hint = f"did you mean {best}?" if best else f"known here: {', '.join(names)}"
                if both := best and did_you_mean_pair(name, best, names):
                    hint = f"did you mean {both[0]} (for one GPU) or {both[1]} (for the whole host)?"
                    mapping.intended.update(both)
                if parents := self._parents(name):
                    best = None
                    hint = f"it goes into {' or '.join(parents)}, as in {parents[0]}: {{{name}: ...}}"
                    mapping.intended.update(parents)
                elif around := _around(name, outer):
                    best, hint = None, f"it goes into {around}, a level above"
                elif best is None and (below := self._below(name)):
                    hint = f"did you mean {below[0]}: {{{below[1]}: ...}}?"
                if intended := in_dollars(name, names):
                    best, hint = intended, f"amounts are in dollars only: convert it, and write {intended}"
                if number := _cut_by_a_comma(mapping.node, name):
                    whole, _, rest = number.partition(",")
                    thousands = f"{whole}{rest} for thousands, or " if len(rest) == 3 else ""
                    hint = f"if {number} is one number, write it {thousands}with a point: {whole}.{rest}"
                mapping.intended.update([best] if best else [])
                path = dotted(mapping.path, shown_key(name)[1:-1])
                correction = None
                end = mapping.node.key_ends.get(name)
                certain = not number and not intended and best not in mapping.node.entries
                if best and end and certain and is_misspelling(name, best):
                    correction = TextEdit(position, end, best)
                mapping.context.problems.note(position, path, f"unknown key; {hint}", correction)
                if correction is not None:
                    self._check_misspelled(correction.text, value, path, mapping.context)
        for position, fault in mapping.node.faults:
            mapping.context.problems.note(position, mapping.path, fault)

    def _synonym(self, name: str, value: Node) -> str | None:
        """The key that has the name as a synonym."""
        synonyms = (key.name for key in self.keys if isinstance(value, Scalar) and name.lower() in key.also)
        return next(synonyms, None)

    def _parents(self, name: str) -> list[str]:
        """The mappings below that have a key of this name."""
        tables = ((key.name, key.validator) for key in self.keys if isinstance(key.validator, Table))
        return [key for key, table in tables if any(child.name == name for child in table.keys)]

    def _below(self, name: str) -> tuple[str, str] | None:
        """The mapping below, and its key, that an unknown key is similar to."""
        for key in self.keys:
            if isinstance(key.validator, Table):
                best = did_you_mean(name, [child.name for child in key.validator.keys])
                if best is not None:
                    return key.name, best
        return None

    def _check_misspelled(self, intended: str, value: Node, path: str, context: Context) -> None:
        """Note the problems of a misspelled key's value too: one run reports all problems."""
        key = next(key for key in self.keys if key.name == intended)
        read_into({}, intended, key.validator, value, path, context)


@dataclass(frozen=True, slots=True)
class ListItem(Generic[T]):
    """One valid item of a list, with its node and its path."""

    node: Node
    path: str
    value: T

    def refuse(self, name: str, message: str, context: Context) -> None:
        """Note a problem at one key of the item, or at the item if that key is not given."""
        node = self.node.value(name) if isinstance(self.node, Mapping) else None
        context.problems.note((node or self.node).position, dotted(self.path, name), message)


def group(keys: tuple[Key[object], ...], rules: tuple[Rule, ...] = ()) -> Table[MappingNode]:
    """A mapping without a record of its own: its keys fill fields of the record around it."""
    return Table(keys, lambda mapping: mapping, rules)


def builds(record: Callable[..., R]) -> Callable[[MappingNode], R]:
    """A function that builds a record from the fields that the keys of a mapping fill."""
    return lambda mapping: record(**mapping.filled())


ListRule = Callable[[list[ListItem[T]], Context], object]
"""A check of the valid items of a list together. It notes what is wrong; what it returns is not used."""


@dataclass(frozen=True, slots=True)
class ListOf(Generic[T]):
    """A list of values of one kind."""

    validator: Validator[T]
    rules: tuple[ListRule[T], ...] = ()
    least: int = 0
    advice: str = "begin each item with a dash"
    """The remedy for a value that is no list."""

    @property
    def expected(self) -> str:
        """As `Validator.expected`."""
        return f"list of {self.validator.expected}s"

    def read(self, node: Node, path: str, context: Context) -> tuple[T, ...]:
        """As `Validator.read`."""
        if not isinstance(node, Sequence):
            glued = isinstance(node, Mapping) and any(name.startswith("-") for name in node.entries)
            advice = "write a space after the dash" if glued else self.advice
            raise RefusedError(f"must be a list ({self.expected}), not {describe(node)}; {advice}")
        if not self.least <= len(node.items) <= MOST_ITEMS:
            raise RefusedError(f"has {len(node.items)} items; it takes {self.least or 1} to {MOST_ITEMS}")
        read: dict[str, T] = {}
        items: list[ListItem[T]] = []
        with context.problems.fatal():
            for index, child in enumerate(node.items):
                item_path = f"{path}[{index}]"
                read_into(read, item_path, self.validator, child, item_path, context)
                if item_path in read:
                    items.append(ListItem(child, item_path, read[item_path]))
            for rule in self.rules:
                rule(items, context)
        return tuple(item.value for item in items)


def read_into(
    values: dict[str, T], name: str, validator: Validator[T], node: Node, path: str, context: Context
) -> None:
    """Put a node's value under a name, or note the problem that it has."""
    try:
        values[name] = validator.read(node, path, context)
    except RefusedError as refused:
        context.problems.note(node.position, path, str(refused), correction(node, refused))
    except BrokenError:
        pass


def correction(node: Node, refused: RefusedError) -> TextEdit | None:
    """The correction of a refused value, `None` where none is known."""
    if refused.instead is None or not isinstance(node, Scalar) or node.end is None:
        return None
    return TextEdit(node.position, node.end, refused.instead)


def describe(node: Node) -> str:
    """A node in words, for "must be this, not ..."."""
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    return "nothing (remove the key or give it a value)" if node.empty else shown(node.text)


def _around(name: str, context: Context) -> str | None:
    """The nearest mapping around this one that has a key of a name."""
    for path, table in reversed(context.above):
        if any(key.name == name for key in table.keys):
            return path or "the top level"
    return None


def _space_missing(node: Node) -> str:
    """The remedy of a text that was meant as a key and its value."""
    if not isinstance(node, Scalar) or not node.plain:
        return ""
    if no_space(node.position, node.text):
        return "write a space after the colon"
    return "write a colon in place of =" if re.match(r"\w+ *=", node.text, re.ASCII) else ""


def _cut_by_a_comma(mapping: Mapping, name: str) -> str | None:
    """The number with a decimal comma that YAML read as a value and a key: {a: 2,50} is a: 2 and a key 50."""
    names = list(mapping.entries)
    _, value = mapping.entries[name]
    before = names.index(name) - 1
    if before < 0 or not (name.isdecimal() and isinstance(value, Scalar) and value.empty):
        return None
    _, whole = mapping.entries[names[before]]
    return f"{whole.text},{name}" if isinstance(whole, Scalar) and whole.text.isdecimal() else None


def missing(key: Key[object]) -> str:
    """The problem of a required key that is not given."""
    sentence = key.help.partition(". ")[0].removesuffix(".")
    first = sentence[0] if sentence[1].isupper() else sentence[0].lower()  # GPUs stay GPUs
    return f"{key.name} is missing: {first}{sentence[1:]}"


def dotted(path: str, name: str) -> str:
    """A path with one more name."""
    return f"{path}.{name}" if path else name


def exactly_one(*keys: Key[object]) -> Rule:
    """A rule: one of the keys must be given, and only one."""

    def rule(mapping: MappingNode) -> None:
        given = [key for key in keys if key in mapping]
        names = ", ".join(key.name for key in keys)
        for key in given[1:]:
            mapping.refuse(key, f"cannot be combined with {given[0].name}; keep exactly one of {names}")
        if not given and mapping.intended.isdisjoint(key.name for key in keys):
            mapping.refuse(None, f"says none of {names}; give exactly one")

    return rule


def goes_with(key: Key[object], *needed: Key[object]) -> Rule:
    """A rule: a key is given only where one of the needed keys is."""

    def rule(mapping: MappingNode) -> None:
        if any(one in mapping or one.name in mapping.intended for one in needed):
            return
        if key in mapping:
            mapping.refuse(key, f"goes with {' or '.join(one.name for one in needed)} only; remove it")

    return rule


def together(key: Key[object], needed: Key[object], other: Key[object]) -> Rule:
    """A rule: two keys are given both or neither, unless `other` is given too, a problem of another rule."""

    def rule(mapping: MappingNode) -> None:
        if (key in mapping) == (needed in mapping) or (key in mapping and other in mapping):
            return
        if needed.name in mapping.intended or key.name in mapping.intended:
            return
        if key in mapping:
            mapping.refuse(None, missing(needed))
        else:
            mapping.refuse(needed, f"goes with {key.name} only; remove it")

    return rule


def unique(key: Key[str], of: Callable[[T], str], advice: str) -> ListRule[T]:
    """A rule: no two items have the same value of a key; the advice is for the later one."""

    def rule(items: list[ListItem[T]], context: Context) -> None:
        paths: dict[str, str] = {}
        for item in items:
            value = of(item.value)
            if value in paths:
                item.refuse(key.name, f'"{value}" is already given by {paths[value]}; {advice}', context)
            paths.setdefault(value, item.path)

    return rule
