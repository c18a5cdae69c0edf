"""Mappings of the file as classes: a field is a key, with its type, its meaning and its default.

    dollars_per_kilowatt_hour: Annotated[Decimal, Number("dollars", Decimal(100))]

A mapping without a field that has no default is refused, as is a key without a field. The docstring of a
field is its meaning, in the reference and in errors; a type that several mappings share may hold it instead.
"""

import ast
import inspect
import sys
from contextlib import suppress
from functools import cache, partial
from itertools import pairwise
from types import NoneType
from typing import Annotated, Any, ClassVar, Literal, NoReturn, get_args, get_origin, get_type_hints

import msgspec
from msgspec import field

from exporter.config.schema import Key, MappingNode, Table, default_of, missing
from exporter.config.values import Choice, Truth

__all__ = ["Model", "default_of", "field", "keys_of", "of"]


class Model(msgspec.Struct, kw_only=True):
    """A mapping as read; its values are valid, each by itself."""

    record: ClassVar[type[Any] | None] = None
    """The record that is built of the given keys; none where they fill a record around this one."""
    at: MappingNode
    """Where it stands in the file."""

    def build(self) -> Any:
        """The record that it describes; itself, where its keys fill a record around it.

        Raises:
            LocatedError: its values do not go together.
        """
        return self if self.record is None else self.record(**self.given())

    def has(self, *names: str) -> bool:
        """Whether one of the keys is given."""
        return not self.at.values.keys().isdisjoint(names)

    def given(self) -> dict[str, Any]:
        """The values of the given keys by their fields."""
        values = self.at.values
        return {key.field: values[key.name] for key in keys_of(type(self)) if key.name in values}

    def refuse(self, name: str, message: str) -> NoReturn:
        """Refuse a key's value, or the mapping if the name is empty or not given."""
        self.at.refuse(name, message)

    def exactly_one(self, *names: str) -> None:
        """Refuse the mapping unless one of the keys is given, and only one."""
        given = [name for name in names if self.has(name)]
        choices = ", ".join(names)
        if not given:
            self.refuse("", f"says none of {choices}; give exactly one")
        if len(given) > 1:
            self.refuse(given[1], f"cannot be combined with {given[0]}; keep exactly one of {choices}")

    def goes_with(self, name: str, *needed: str) -> None:
        """Refuse a key that is given without one of the needed keys."""
        if self.has(name) and not self.has(*needed):
            self.refuse(name, f"goes with {' or '.join(needed)} only; remove it")

    def needs(self, name: str) -> None:
        """Refuse the mapping without a key that another one makes necessary."""
        if not self.has(name):
            (key,) = (key for key in keys_of(type(self)) if key.name == name)
            self.refuse("", missing(key))


@cache
def keys_of(model: type[Model]) -> tuple[Key[Any], ...]:
    """The keys of a class, in the order of its fields."""
    hints = get_type_hints(model, include_extras=True)
    keys = []
    for declared in msgspec.structs.fields(model):
        if declared.name == "at":
            continue
        validator, *meaning = _described(hints[declared.name])
        key = Key(
            declared.encode_name,
            validator,
            partial(_meaning, model, declared.name, *meaning),
            field=declared.name,
            default=None if declared.required else declared.default,
            required=declared.required,
        )
        keys.append(key)
    return tuple(keys)


def _described(hint: Any) -> tuple[Any, ...]:
    """The validator of a field's type, and its meaning where the type holds it."""
    if get_origin(hint) is Annotated:
        validator, *meaning = hint.__metadata__
        return (of(validator) if isinstance(validator, type) else validator, *meaning)
    if get_origin(hint) is Literal:
        return (Choice(get_args(hint)),)
    if get_args(hint):
        (optional,) = (option for option in get_args(hint) if option is not NoneType)
        return _described(optional)
    return (Truth() if hint is bool else of(hint),)


def _meaning(model: type[Model], name: str, shared: str = "") -> str:
    return shared or _docstrings(model.__module__).get((model.__name__, name), "")


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


def of(model: type[Model], expected: str = "mapping") -> Table[Any]:
    """The validator of a mapping that a class describes."""
    fields = {key.name: key.field for key in keys_of(model)}

    def build(mapping: MappingNode) -> Any:
        values = {fields[name]: value for name, value in mapping.values.items()}
        return model(at=mapping, **values).build()

    return Table(keys_of(model), build, expected=expected)
