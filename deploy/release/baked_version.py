"""Writes version and revision into what hatchling builds: a wheel and an sdist have no git to ask.

An editable installation stays without: its checkout changes under it.
"""

import runpy
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BakedVersion(BuildHookInterface[Any]):
    """Adds `exporter/version.txt`, unless the sources have it: an sdist."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects files."""
        package = Path(self.root) / "exporter"
        if version == "editable" or (package / "version.txt").is_file():
            return
        names = runpy.run_path(str(package / "version.py"))
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name) / "version.txt"
        file.write_text(f"{names['VERSION']} {names['REVISION']}\n", encoding="ascii")
        build_data["force_include"][str(file)] = "exporter/version.txt"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Called by hatchling after it wrote the archive."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()
