"""`dataclass` of the standard library, whose frozen classes mypy keeps frozen, and not the interpreter.

There each field of a frozen one is set by a call of `object.__setattr__`, 5 to 25 times as long as an
assignment, and each class keeps two functions and what it was before its slots, 6 KiB.
A tick of 8 GPUs and 8 servers makes 480 objects of 3,100 fields: 4 to 11 % of a simulated host's CPU.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(
        cls: type | None = None, /, *, frozen: bool = False, eq: bool = True, **options: bool
    ) -> type | Callable[[type], type]:
        """As `dataclasses.dataclass`. A frozen class has the hash of its fields, unless it has its own."""

        def made(cls: type) -> type:
            hashed = frozen and eq and vars(cls).get("__hash__") is None
            return dataclasses.dataclass(cls, eq=eq, unsafe_hash=hashed, **options)

        return made if cls is None else made(cls)


__all__ = ["dataclass"]
