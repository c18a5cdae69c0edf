"""`dataclass` of the standard library, whose frozen classes mypy keeps frozen, and not the interpreter.

There each field of a frozen one is set by a call of `object.__setattr__`, 5 to 25 times as long as an
assignment, and each class keeps two functions and what it was before its slots, 6 KiB.
A tick of 8 GPUs and 8 servers makes 480 objects of 3,100 fields: 4 to 11 % of a simulated host's CPU.
"""

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass, replace
else:

    def dataclass(
        cls: type | None = None, /, *, frozen: bool = False, eq: bool = True, **options: bool
    ) -> type | Callable[[type], type]:
        """As `dataclasses.dataclass`. A frozen class has the hash of its fields, unless it has its own."""

        def made(cls: type) -> type:
            hashed = frozen and eq and vars(cls).get("__hash__") is None
            return dataclasses.dataclass(cls, eq=eq, unsafe_hash=hashed, **options)

        return made if cls is None else made(cls)

    _FIELDS: dict[type, tuple[Callable[[Any], tuple[Any, ...]], dict[str, int]]] = {}

    def replace(before: Any, /, **changes: Any) -> Any:
        """As `dataclasses.replace`, of a class without keyword-only fields, in 0.4 of its time.

        That one looks at each field in Python, 20 of a GPU's state; a getter reads all of them at once.
        """
        made = type(before)
        if made not in _FIELDS:
            names = [field.name for field in dataclasses.fields(made) if field.init]
            # Of one name alone a getter returns no tuple.
            _FIELDS[made] = attrgetter(*names, "__class__"), {name: at for at, name in enumerate(names)}
        read, positions = _FIELDS[made]
        *values, _ = read(before)
        for name, value in changes.items():
            values[positions[name]] = value
        return made(*values)


__all__ = ["dataclass", "replace"]
