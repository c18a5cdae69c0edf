"""Mappings and lists of the file, and the classes that describe mappings.

A field of such a class is a key, with its type, its meaning and its default:

    dollars_per_kilowatt_hour: Annotated[Decimal, Number("dollars", Decimal(100))]

A mapping without a field that has no default is refused, as is a key without a field. The docstring of a
field is its meaning, in the reference and in errors; a type that several mappings share may hold it instead.
A mapping is read in three steps: each value by its type, then `Model.check`, then `Model.build`. The first
problem ends the reading of a file (`LocatedError`).
"""

import ast
import difflib
import inspect
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from types import NoneType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    NoReturn,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
from msgspec import field

from exporter.config.document import Mapping, Node, Scalar, Sequence, dotted
from exporter.config.problems import LocatedError, RefusedError, TextEdit, shown, shown_key
from exporter.config.values import TRUTH, Choice, Context, Validator, describe
from exporter.config.yaml_errors import no_space

__all__ = [
    "Key",
    "ListItem",
    "ListOf",
    "MappingOf",
    "Model",
    "Record",
    "Table",
    "exactly_one",
    "field",
    "unique",
]

MOST_ITEMS: Final = 1000
LONGEST_KEY: Final = 64
SHOWN_KEYS: Final = 4
"""Keys of a mapping that an error names."""
_CURRENCY: Final = "euros?|eur|pounds?|gbp|francs?|chf|yen|jpy|yuan|rmb|cny|rupees?|inr|won|krw|usd"
"""Currencies that people write in place of dollars."""
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


def did_you_mean(word: str, names: list[str]) -> list[str]:
    """The one or two names that are most similar to a word, the nearest first."""
    near = difflib.get_close_matches(word[:LONGEST_KEY], names, 2)
    return near[:1] if near and is_misspelling(word, near[0]) else near


def is_misspelling(word: str, name: str) -> bool:
    """Whether a word can only be a misspelling of a name: one letter is missing, or too many.

    No two units of a number are that near, so the number keeps its meaning.
    """
    shorter, longer = sorted((word, name), key=len)
    return any(longer[:index] + longer[index + 1 :] == shorter for index in range(len(longer)))


@dataclass(frozen=True, slots=True)
class Key(Generic[T_co]):
    """One key of a mapping."""

    name: str
    """Its name in the file."""
    field: str
    """The field that it fills."""
    validator: Validator[T_co]
    """The kind of its value."""
    help: str
    """Its meaning, in sentences."""
    default: T_co | None
    """The value without it, `None` where there is none."""
    required: bool
    """Whether a mapping without it is refused."""

    @property
    def missing(self) -> str:
        """The problem of a mapping without it."""
        sentence = self.help.partition(". ")[0].removesuffix(".")
        first = sentence[0] if sentence[1].isupper() else sentence[0].lower()  # GPUs stay GPUs
        return f"{self.name} is missing: {first}{sentence[1:]}"


class Record(msgspec.Struct, frozen=True):
    """A mapping that is a record as it stands; `__post_init__` may raise `RefusedError`."""


class Model(msgspec.Struct, kw_only=True):
    """A mapping as read, from which a record is built; its values are valid, each by itself."""

    builds: ClassVar[type[Any] | None] = None
    """The class of the record that has the keys as its fields, `None` where no record has."""
    node: Mapping
    """The mapping in the file."""
    context: Context
    """What its values depend on."""

    def check(self) -> None:
        """Refuse values that do not go together; called before `build`.

        Raises:
            LocatedError: they do not.
        """

    def build(self) -> Any:
        """The record that is built of the keys; itself, where their values go into a record around it.

        Raises:
            LocatedError: no record can be built of them.
        """
        if self.builds is None:
            return self
        return self.builds(**{key.field: getattr(self, key.field) for key in keys_of(type(self))})

    def has(self, *names: str) -> bool:
        """Whether one of the keys is given."""
        return not self.node.entries.keys().isdisjoint(names)

    def given(self) -> dict[str, Any]:
        """The values of the given keys by their fields."""
        return {key.field: getattr(self, key.field) for key in keys_of(type(self)) if self.has(key.name)}

    def refuse(self, name: str, message: str) -> NoReturn:
        """Refuse a key's value, or the mapping if the name is empty or not given."""
        refuse_key(self.node, name, message)

    def exactly_one(self, *names: str) -> None:
        """Refuse the mapping unless one of the keys is given, and only one."""
        exactly_one(**{name: self.has(name) for name in names})

    def goes_with(self, name: str, *needed: str) -> None:
        """Refuse a key that is given without one of the needed keys."""
        if self.has(name) and not self.has(*needed):
            self.refuse(name, f"goes with {' or '.join(needed)} only; remove it")

    def needs(self, name: str) -> None:
        """Refuse the mapping without a key that another one makes necessary."""
        if not self.has(name):
            (key,) = (key for key in keys_of(type(self)) if key.name == name)
            self.refuse("", key.missing)


def exactly_one(**keys: bool) -> None:
    """Refuse a mapping unless one of its keys is given, and only one.

    Raises:
        RefusedError: none or several are given.
    """
    given = [name for name, is_given in keys.items() if is_given]
    choices = ", ".join(keys)
    if not given:
        raise RefusedError(f"says none of {choices}; give exactly one")
    if len(given) > 1:
        reason = f"cannot be combined with {given[0]}; keep exactly one of {choices}"
        raise RefusedError(reason, key=given[1])


@cache
def keys_of(model: type[Model | Record]) -> tuple[Key[Any], ...]:
    """The keys of a class, in the order of its fields."""
    hints = get_type_hints(model, include_extras=True)
    docstrings = _docstrings(model.__module__)
    keys = []
    for declared in msgspec.structs.fields(model):
        if declared.name in Model.__struct_fields__:
            continue
        validator, *shared_meaning = _described(hints[declared.name])
        key = Key(
            name=declared.encode_name,
            field=declared.name,
            validator=validator,
            help=next(iter(shared_meaning), docstrings.get((model.__name__, declared.name), "")),
            default=None if declared.required else declared.default,
            required=declared.required,
        )
        keys.append(key)
    return tuple(keys)


def _described(hint: Any) -> tuple[Any, ...]:
    """The validator of a field's type, and its meaning where the type holds it."""
    if get_origin(hint) is Annotated:
        validator, *meaning = hint.__metadata__
        return (Table(validator) if isinstance(validator, type) else validator, *meaning)
    if get_origin(hint) is Literal:
        return (Choice(get_args(hint)),)
    if get_args(hint):
        (optional,) = (option for option in get_args(hint) if option is not NoneType)
        return _described(optional)
    return (TRUTH if hint is bool else Table(hint),)


@cache
def _docstrings(module: str) -> dict[tuple[str, str], str]:
    """The docstrings of fields by class and name; none where the source is not installed."""
    docstrings = {}
    with suppress(OSError):
        for node in ast.parse(inspect.getsource(sys.modules[module])).body:
            if not isinstance(node, ast.ClassDef):
                continue
            for line, after in pairwise(node.body):
                match line, after:
                    case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                        docstrings[node.name, name] = " ".join(text.split())
    return docstrings


def refuse_key(node: Node, name: str, message: str) -> NoReturn:
    """Refuse a key's value, or the node if the name is empty or not given."""
    value = node.value(name) if isinstance(node, Mapping) else None
    path = dotted(node.path, name) if name else node.path
    raise LocatedError(message, (value or node).position, path=path)


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping with known keys, and the record that its class describes."""

    model: type[Model | Record]
    """The class of the mapping."""
    expected: str = "mapping"
    """As `Validator.expected`."""

    @property
    def keys(self) -> tuple[Key[Any], ...]:
        """The keys."""
        return keys_of(self.model)

    def read(self, node: Node, context: Context) -> Any:
        """As `Validator.read`."""
        if not isinstance(node, Mapping):
            raise self._no_mapping(node)
        keys = {key.name: key for key in self.keys}
        values = {}
        for name, entry in node.entries.items():
            if name not in keys:
                raise self._unknown(node, entry.key)
            values[keys[name].field] = read_at(keys[name].validator, entry.value, context)
        for declared in self.keys:
            if declared.required and declared.field not in values:
                refuse_key(node, "", declared.missing)
        if issubclass(self.model, Record):
            return self.model(**values)
        mapping = self.model(node=node, context=context, **values)
        mapping.check()
        return mapping.build()

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
        parents = [
            declared.name
            for declared in self.keys
            if isinstance(declared.validator, Table)
            if name in [child.name for child in declared.validator.keys]
        ]
        in_dollars = re.sub(rf"(?<![a-z])({_CURRENCY})(?![a-z])", "dollars", name, flags=re.IGNORECASE)
        correction = None
        if parents:
            hint = f"it goes into {' or '.join(parents)}, as in {parents[0]}: {{{name}: ...}}"
        elif in_dollars != name and in_dollars in names:
            hint = f"amounts are in dollars only: convert it, and write {in_dollars}"
        elif name.isdecimal():
            hint = "if it belongs to the number before it, write a decimal point in place of the comma"
        elif near:
            hint = f"did you mean {' or '.join(near)}?"
            if near[0] not in mapping.entries and is_misspelling(name, near[0]) and key.end:
                correction = TextEdit(key.position, key.end, near[0])
        else:
            hint = f"known here: {', '.join(names)}"
        path = dotted(mapping.path, shown_key(name)[1:-1])
        return LocatedError(f"unknown key; {hint}", key.position, path=path, correction=correction)


@dataclass(frozen=True, slots=True)
class MappingOf(Generic[T]):
    """A mapping of names that the file chooses, to values of one kind; as pairs in the order of the file."""

    expected: str
    """As `Validator.expected`."""
    validator: Validator[T]
    """The kind of the values."""
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
        for name, entry in node.entries.items():
            problem = self.fault(name)
            if problem is not None:
                raise LocatedError(problem, entry.key.position, path=dotted(node.path, shown(name)[1:-1]))
            pairs.append((name, read_at(self.validator, entry.value, context)))
        return tuple(pairs)


@dataclass(frozen=True, slots=True)
class ListItem(Generic[T]):
    """One item of a list."""

    node: Node
    """The item in the file."""
    value: T
    """The item as read."""

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
    """The kind of the items."""
    rules: tuple[ListRule[T], ...] = ()
    """Checks of the items together."""
    least: int = 0
    """The fewest items."""
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
        if refused.key:
            refuse_key(node, refused.key, str(refused))
        correction = None
        if refused.instead is not None and isinstance(node, Scalar) and node.end is not None:
            correction = TextEdit(node.position, node.end, refused.instead)
        raise LocatedError(str(refused), node.position, path=node.path, correction=correction) from None


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
