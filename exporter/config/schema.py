"""How keys are told: name, shape, default and one sentence of help. It drives reading and the documentation.

A shape reads a node to a value. What it cannot use it refuses (`RefusedError`), and whoever holds it notes
the problem with its place and path and goes on, so that one run tells everything that is wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar
from zoneinfo import ZoneInfo

from exporter.config.currency import in_dollars
from exporter.config.document import Mapping, Node, Scalar, Sequence
from exporter.config.likeness import is_meant, nearest, pair
from exporter.config.problems import BrokenError, Position, Problems, RefusedError, shown
from exporter.tariff.catalogue import CATALOGUE, Catalogue

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MOST_ITEMS: Final = 1000

_START: Final = Position(1, 1)


@dataclass(frozen=True, slots=True)
class Walk:
    """One reading of a file: the zone of its local times, its list prices, and what was wrong so far."""

    zone: ZoneInfo
    problems: Problems
    catalogue: Catalogue = CATALOGUE


class Shape(Protocol[T_co]):
    """What a value must look like. `words` say it to people."""

    @property
    def words(self) -> str:
        """The shape for people: "number from 0 to 1"."""
        ...

    def read(self, node: Node, path: str, walk: Walk) -> T_co:
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
    shape: Shape[T_co]
    help: str
    default: str | None = None
    required: bool = False
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """A mapping as read, with the values of its good keys.

    `meant` are the keys that its unknown keys are most like: they are not called missing as well.
    """

    node: Mapping
    path: str
    walk: Walk
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


Rule = Callable[[Block], bool]
"""Looks at which keys are given, notes what is wrong, and tells whether the mapping can be built."""


@dataclass(frozen=True, slots=True)
class Table(Generic[T_co]):
    """A mapping with known keys, built to a value once each of them is good."""

    keys: tuple[Key[object], ...]
    build: Callable[[Block], T_co]
    rules: tuple[Rule, ...] = ()
    words: str = "mapping"

    def read(self, node: Node, path: str, walk: Walk) -> T_co:
        """As `Shape.read`."""
        if not isinstance(node, Mapping):
            raise RefusedError(f"must be a mapping of keys to values, not {found(node)}")
        block = Block(node, path, walk)
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

    def _names_are_known(self, block: Block) -> bool:
        names = [key.name for key in self.keys]
        good = not block.node.faults
        for name, (place, value) in block.node.entries.items():
            if name not in names:
                good = False
                best = self._said(name, value) or nearest(name, names)
                hint = f"did you mean {best}?" if best else f"known here: {', '.join(names)}"
                if both := best and pair(name, best, names):
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
                if best and not number and best not in block.node.entries and is_meant(name, best):
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

    def _looked_into(self, meant: str, value: Node, path: str, walk: Walk) -> None:
        """Tell what is wrong with the value of a misspelled key, too: one run tells everything."""
        key = next(key for key in self.keys if key.name == meant)
        read_into({}, meant, key.shape, value, path, walk)


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """One good item of a list, and where it stands."""

    node: Node
    path: str
    value: T

    def refuse(self, name: str, message: str, walk: Walk) -> None:
        """Note a problem at one key of the item, or at the item where that key is not given."""
        node = self.node.value(name) if isinstance(self.node, Mapping) else None
        walk.problems.note((node or self.node).place, dotted(self.path, name), message)


ListRule = Callable[[list[Item[T]], Walk], bool]
"""Looks at the good items together, notes what is wrong, and tells whether they can stand together."""


@dataclass(frozen=True, slots=True)
class ListOf(Generic[T]):
    """A list of one shape."""

    shape: Shape[T]
    rules: tuple[ListRule[T], ...] = ()
    least: int = 0
    advice: str = "begin each item with a dash"
    """What to do where something else stands."""

    @property
    def words(self) -> str:
        """As `Shape.words`."""
        return f"list of {self.shape.words}s"

    def read(self, node: Node, path: str, walk: Walk) -> tuple[T, ...]:
        """As `Shape.read`."""
        if not isinstance(node, Sequence):
            raise RefusedError(f"must be a list ({self.words}), not {found(node)}; {self.advice}")
        if not self.least <= len(node.items) <= MOST_ITEMS:
            raise RefusedError(f"has {len(node.items)} items; it takes {self.least or 1} to {MOST_ITEMS}")
        items: list[Item[T]] = []
        for index, child in enumerate(node.items):
            held: dict[str, T] = {}
            place = f"{path}[{index}]"
            if read_into(held, "", self.shape, child, place, walk):
                items.append(Item(child, place, held[""]))
        good = len(items) == len(node.items)
        for rule in self.rules:
            good &= rule(items, walk)
        if not good:
            raise BrokenError
        return tuple(item.value for item in items)


def read_into(values: dict[str, T], name: str, shape: Shape[T], node: Node, path: str, walk: Walk) -> bool:
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
