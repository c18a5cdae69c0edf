"""Memory of what is imported: modules of Python that are loaded at their first use."""

import gc
import sys
from importlib import import_module
from threading import Lock
from types import ModuleType
from typing import Any, Final

MODULES: Final = ("difflib", "shutil", "subprocess", "tempfile", "textwrap", "uuid")
"""Modules of Python that a daemon imports and seldom uses.

Ours import them whole (`import difflib`), since `from difflib import` is a use; so does `ctypes.util`, which
NVML's package imports.
"""

YOUNG_OBJECTS_MAX: Final = 20_000
"""New objects from which on the collector looks for cycles: a tick makes thousands, and few cycles.

At Python's 700 the search took 5 % of it.
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
    """Call once all is imported: the collector goes over nothing of it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS_MAX)
