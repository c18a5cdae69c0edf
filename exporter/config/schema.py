"""How keys are told: name, shape, default and one sentence of help. It drives reading and the documentation.

A shape reads a node to a value. What it cannot use it refuses (`RefusedError`), and whoever holds it notes
the problem with its place and path and goes on, so that one run tells everything that is wrong.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Final, Generic, Protocol, TypeVar
from zoneinfo import ZoneInfo

from exporter.config.document import Mapping, Node, Scalar, Sequence
from exporter.config.problems import BrokenError, Position, Problems, RefusedError, shown
from exporter.tariff.catalogue import CATALOGUE, Catalogue

_CURRENCY: Final = re.compile(
    r"euros?|eur|pounds?|gbp|francs?|chf|yen|jpy|yuan|rmb|cny|rupees?|inr|won|krw|usd", re.IGNORECASE
)
"""What people write where it says dollars."""

DOLLARS: Final = "dollars"


def in_dollars(name: str, names: list[str]) -> str | None:
    """The key that a name is but for its currency: euros_per_gpu_hour is dollars_per_gpu_hour."""
    parts = name.split("_")
    wanted = [DOLLARS if _CURRENCY.fullmatch(part) else part for part in parts]
    meant = "_".join(wanted)
    return meant if wanted != parts and meant in names else None


LONGEST_KEY: Final = 64
ALIKE: Final = 0.55
"""From here on a name is suggested."""
SURE: Final = 0.85
"""From here on it is taken to be the one. `bearer_token`, which holds a secret that no message may repeat, is
less like `bearer_token_file`."""


EQUALLY: Final = 0.1
"""What sets apart two names that a word is about equally like."""

PAIR: Final = ("gpu", "host")
"""What an amount may be for; the wrong one of two such names is a wrong bill by the number of GPUs."""


def did_you_mean(word: str, names: list[str]) -> str | None:
    """The name that a word is most like, `None` where it is like none of them."""
    if len(word) > LONGEST_KEY:
        return None
    # Rounded, so that of names that are about equally like it the first in the documentation is told.
    likeness = {name: round(_likeness(word, name), 1) for name in names}
    best = max(names, key=likeness.__getitem__)
    return best if likeness[best] > ALIKE else None


def did_you_mean_pair(word: str, name: str, names: list[str]) -> tuple[str, str] | None:
    """A name for one GPU and that for the whole host, where one is like a word that says neither of them."""
    parts = name.split("_")
    if PAIR[0] not in parts and PAIR[1] not in parts:
        return None
    one, whole = ("_".join(unit if part in PAIR else part for part in parts) for unit in PAIR)
    told = one in names and whole in names and not any(unit in word for unit in PAIR)
    return (one, whole) if told and abs(_likeness(word, one) - _likeness(word, whole)) < EQUALLY else None


def is_misspelling(word: str, name: str) -> bool:
    """Whether a word can only be a slip of the pen for a name."""
    return _likeness(word, name) >= SURE


def _likeness(word: str, name: str) -> float:
    return SequenceMatcher(None, word, name).ratio()


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MOST_ITEMS: Final = 1000

_START: Final = Position(1, 1)


@dataclass(frozen=True, slots=True)
class Context:
    """One reading of a file: the zone of its local times, its list prices, and what was wrong so far."""

    zone: ZoneInfo
    problems: Problems
    catalogue: Catalogue = CATALOGUE


class Validator(Protocol[T_co]):
    """What a value must look like. `words` say it to people."""

    @property
    def words(self) -> str:
        """The shape for people: "number from 0 to 1"."""
        ...

    def read(self, node: Node, path: str, walk: Context) -> T_co:
        """The value of a node.

        Raises:
            RefusedError: it cannot be used; the message says why and what to do.
            BrokenError: the same, for reasons that have been noted.
        """
        ...


@dataclass(frozen=True, slots=True)
class Key(Generic[T_co]):
    """One key of a mapping. `default` is what one would write; `None` without one.

    `also` are words that people write in its place before a single value.
    """

    name: str
    shape: Validator[T_co]
    help: str
    default: str | None = None
    required: bool = False
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MappingNode:
    """A mapping as read, with the values of its good keys.

    `meant` are the keys that its unknown keys are most like: they are not called missing as well.
    """

    node: Mapping
    path: str
    walk: Context
    values: dict[str, object] = field(default_factory=dict)
    meant: set[str] = field(default_factory=set)

    def __contains__(self, key: Key[object]) -> bool:
        return key.name in self.node.entries

    def get(self, key: Key[T]) -> T | None:
        """The value of a key, its default without it, `None` without either."""
        if key.name in self.values:
            value: T = self.values[key.name]  # type: ignore[assignment]  # the key's own shape has read it
            return value
        if key.default is None:
            return None
        return key.shape.read(Scalar(_START, key.default), key.name, self.walk)

    def __getitem__(self, key: Key[T]) -> T:
        value = self.get(key)
        if value is None:
            raise KeyError(key.name)
        return value

    def refuse(self, key: Key[object] | None, message: str) -> None:
        """Note a problem at a key's value, at the mapping without a key (or where it is not given)."""
        node = key and self.node.value(key.name)
        path = dotted(self.path, key.name) if key else self.path
        self.walk.problems.note(node.place if node else self.node.place, path, message)


Rule = Callable[[MappingNode], bool]
"""Looks at which keys are given, notes what is wrong, and tells whether the mapping can be built."""


@dataclass(frozen=True, slots=True)
class Table(Generic[T_co]):
    """A mapping with known keys, built to a value once each of them is good."""

    keys: tuple[Key[object], ...]
    build: Callable[[MappingNode], T_co]
    rules: tuple[Rule, ...] = ()
    words: str = "mapping"

    def read(self, node: Node, path: str, walk: Context) -> T_co:
        """As `Shape.read`."""
        if not isinstance(node, Mapping):
            raise RefusedError(f"must be a mapping of keys to values, not {found(node)}")
        block = MappingNode(node, path, walk)
        good = self._names_are_known(block)
        for key in self.keys:
            value = node.value(key.name)
            if value is not None:
                good &= read_into(block.values, key.name, key.shape, value, dotted(path, key.name), walk)
            elif key.required:
                good = False
                if key.name in block.meant:
                    continue
                walk.problems.note(node.place, path, missing(key))
        for rule in self.rules:
            good &= rule(block)
        if not good:
            raise BrokenError
        return self.build(block)

    def _names_are_known(self, block: MappingNode) -> bool:
        names = [key.name for key in self.keys]
        good = not block.node.faults
        for name, (place, value) in block.node.entries.items():
            if name not in names:
                good = False
                best = self._said(name, value) or did_you_mean(name, names)
                hint = f"did you mean {best}?" if best else f"known here: {', '.join(names)}"
                if both := best and did_you_mean_pair(name, best, names):
                    hint = f"did you mean {both[0]} (for one GPU) or {both[1]} (for the whole host)?"
                    block.meant.update(both)
                if inside := self._inside(name):
                    best = None
                    hint = f"it goes into {' or '.join(inside)}, as in {inside[0]}: {{{name}: ...}}"
                    block.meant.update(inside)
                if meant := in_dollars(name, names):
                    best, hint = meant, f"amounts are in dollars only: convert it, and write {meant}"
                if number := _cut_by_a_comma(block.node, name):
                    whole, _, rest = number.partition(",")
                    thousands = f"{whole}{rest} for thousands, or " if len(rest) == 3 else ""
                    hint = f"if {number} is one number, write it {thousands}with a point: {whole}.{rest}"
                block.meant.update([best] if best else [])
                path = dotted(block.path, shown(name)[1:-1])
                block.walk.problems.note(place, path, f"unknown key; {hint}")
                if best and not number and best not in block.node.entries and is_misspelling(name, best):
                    self._looked_into(best, value, path, block.walk)
        for place, fault in block.node.faults:
            block.walk.problems.note(place, block.path, fault)
        return good

    def _said(self, name: str, value: Node) -> str | None:
        """The key that people say by another word."""
        said = (key.name for key in self.keys if isinstance(value, Scalar) and name.lower() in key.also)
        return next(said, None)

    def _inside(self, name: str) -> list[str]:
        """The mappings among the keys that know this name."""
        tables = ((key.name, key.shape) for key in self.keys if isinstance(key.shape, Table))
        return [key for key, table in tables if any(child.name == name for child in table.keys)]

    def _looked_into(self, meant: str, value: Node, path: str, walk: Context) -> None:
        """Tell what is wrong with the value of a misspelled key, too: one run tells everything."""
        key = next(key for key in self.keys if key.name == meant)
        read_into({}, meant, key.shape, value, path, walk)


@dataclass(frozen=True, slots=True)
class ListItem(Generic[T]):
    """One good item of a list, and where it stands."""

    node: Node
    path: str
    value: T

    def refuse(self, name: str, message: str, walk: Context) -> None:
        """Note a problem at one key of the item, or at the item where that key is not given."""
        node = self.node.value(name) if isinstance(self.node, Mapping) else None
        walk.problems.note((node or self.node).place, dotted(self.path, name), message)


ListRule = Callable[[list[ListItem[T]], Context], bool]
"""Looks at the good items together, notes what is wrong, and tells whether they can stand together."""


@dataclass(frozen=True, slots=True)
class ListOf(Generic[T]):
    """A list of one shape."""

    shape: Validator[T]
    rules: tuple[ListRule[T], ...] = ()
    least: int = 0
    advice: str = "begin each item with a dash"
    """What to do where something else stands."""

    @property
    def words(self) -> str:
        """As `Shape.words`."""
        return f"list of {self.shape.words}s"

    def read(self, node: Node, path: str, walk: Context) -> tuple[T, ...]:
        """As `Shape.read`."""
        if not isinstance(node, Sequence):
            raise RefusedError(f"must be a list ({self.words}), not {found(node)}; {self.advice}")
        if not self.least <= len(node.items) <= MOST_ITEMS:
            raise RefusedError(f"has {len(node.items)} items; it takes {self.least or 1} to {MOST_ITEMS}")
        items: list[ListItem[T]] = []
        for index, child in enumerate(node.items):
            held: dict[str, T] = {}
            place = f"{path}[{index}]"
            if read_into(held, "", self.shape, child, place, walk):
                items.append(ListItem(child, place, held[""]))
        good = len(items) == len(node.items)
        for rule in self.rules:
            good &= rule(items, walk)
        if not good:
            raise BrokenError
        return tuple(item.value for item in items)


def read_into(
    values: dict[str, T], name: str, shape: Validator[T], node: Node, path: str, walk: Context
) -> bool:
    """Put a node's value under a name; false, with the problem noted, where it cannot be used."""
    try:
        values[name] = shape.read(node, path, walk)
    except RefusedError as refused:
        walk.problems.note(node.place, path, str(refused))
        return False
    except BrokenError:
        return False
    return True


def found(node: Node) -> str:
    """What a node is, for "must be this, not ..."."""
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    return "nothing (remove the key or give it a value)" if node.empty else shown(node.text)


def _cut_by_a_comma(mapping: Mapping, name: str) -> str | None:
    """The number that a decimal comma has made a value and a key of: {a: 2,50} is a: 2 and a key 50."""
    names = list(mapping.entries)
    _, value = mapping.entries[name]
    before = names.index(name) - 1
    if before < 0 or not (name.isdecimal() and isinstance(value, Scalar) and value.empty):
        return None
    _, whole = mapping.entries[names[before]]
    return f"{whole.text},{name}" if isinstance(whole, Scalar) and whole.text.isdecimal() else None


def missing(key: Key[object]) -> str:
    """What to say of a key that is needed and not given."""
    sentence = key.help.partition(". ")[0].removesuffix(".")
    return f"{key.name} is missing: {sentence[0].lower()}{sentence[1:]}"


def dotted(path: str, name: str) -> str:
    """A path with one more name."""
    return f"{path}.{name}" if path else name


def exactly_one(*keys: Key[object]) -> Rule:
    """A rule: one of the keys must be given, and only one."""

    def rule(block: MappingNode) -> bool:
        given = [key for key in keys if key in block]
        if len(given) == 1:
            return True
        names = ", ".join(key.name for key in keys)
        if given:
            for key in given[1:]:
                block.refuse(key, f"cannot stand beside {given[0].name}; keep exactly one of {names}")
        elif block.meant.isdisjoint(key.name for key in keys):
            block.refuse(None, f"says none of {names}; give exactly one")
        return False

    return rule


def together(key: Key[object], needed: Key[object], other: Key[object]) -> Rule:
    """A rule: two keys are given both or neither. Where `other` stands beside `key`, that is the problem."""

    def rule(block: MappingNode) -> bool:
        if (key in block) == (needed in block) or (key in block and other in block):
            return True
        if needed.name in block.meant or key.name in block.meant:
            return False
        if key in block:
            block.refuse(None, missing(needed))
        else:
            block.refuse(needed, f"goes with {key.name} only; remove it")
        return False

    return rule
