"""Mappings of the file as classes: a field is a key, with its type, validator, meaning and default.

    class Energy(Model, kw_only=True):
        dollars_per_kilowatt_hour: Annotated[Decimal, Number("dollars", Decimal(100)), "Price of ..."]

A mapping without a field that has no default is refused, as is a key without a field.
"""

from functools import cache
from typing import Any, NoReturn, get_type_hints

import msgspec
from msgspec import field

from exporter.config.schema import Key, MappingNode, Table, default_of, missing

__all__ = ["Model", "default_of", "field", "keys_of", "of"]


class Model(msgspec.Struct, kw_only=True):
    """A mapping as read; its values are valid, each by itself."""

    at: MappingNode
    """Where it stands in the file."""

    def build(self) -> Any:
        """The record that it describes; itself, where its keys fill a record around it.

        Raises:
            LocatedError: its values do not go together.
        """
        return self

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
        validator, meaning = hints[declared.name].__metadata__
        key = Key(
            declared.encode_name,
            validator,
            meaning,
            field=declared.name,
            default=None if declared.required else declared.default,
            required=declared.required,
        )
        keys.append(key)
    return tuple(keys)


def of(model: type[Model], expected: str = "mapping") -> Table[Any]:
    """The validator of a mapping that a class describes."""
    fields = {key.name: key.field for key in keys_of(model)}

    def build(mapping: MappingNode) -> Any:
        values = {fields[name]: value for name, value in mapping.values.items()}
        return model(at=mapping, **values).build()

    return Table(keys_of(model), build, expected=expected)
