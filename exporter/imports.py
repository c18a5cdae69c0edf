"""Memory of what is imported: modules that are loaded at their first use, and classes that share code."""

import gc
import sys
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from importlib import import_module
from threading import Lock
from types import ModuleType
from typing import Any, Final, NoReturn

MODULES: Final = ("difflib", "shutil", "subprocess", "tempfile", "textwrap", "uuid")
"""Modules of Python that a daemon imports and seldom uses.

Ours import them whole (`import difflib`), since `from difflib import` is a use; so does `ctypes.util`, which
NVML's package imports.
"""

_replacing: Final = Lock()


class LateModule(ModuleType):
    """Stands in `sys.modules` for a module that is loaded when an attribute is asked of it."""

    def __getattr__(self, attribute: str) -> Any:
        """Load the module. Names like `__path__` are asked by the import itself."""
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        with _replacing:
            if sys.modules.get(self.__name__) is self:
                del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), attribute)


def postpone() -> None:
    """Load the modules late, but for those that are loaded."""
    for name in MODULES:
        sys.modules.setdefault(name, LateModule(name))


def settle() -> None:
    """Call once all is imported: records share code, and the collector goes over nothing of it again."""
    for record in _records():
        record.__setattr__ = _refuse_assignment  # type: ignore[assignment, method-assign]
        record.__delattr__ = _refuse_deletion  # type: ignore[assignment, method-assign]
    gc.collect()
    gc.freeze()


def _records() -> Iterator[type]:
    """The frozen dataclasses of the program.

    `dataclass` makes two functions for each that refuse a change, and they keep the class that it had before
    it got slots: 6 KiB.
    """
    for name, module in tuple(sys.modules.items()):
        if name.startswith("exporter."):
            for value in tuple(vars(module).values()):
                if isinstance(value, type) and value.__module__ == name:
                    parameters = vars(value).get("__dataclass_params__")
                    if parameters is not None and parameters.frozen:
                        yield value


def _refuse_assignment(_record: object, name: str, _value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deletion(_record: object, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")
