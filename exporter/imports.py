"""Memory of what is imported: modules of Python that are loaded at their first use."""

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
