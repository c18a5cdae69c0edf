"""A catalogue of one's own, for tests that damage or change it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.tariff.catalogue import Catalogue
from exporter.tariff.csv_tables import BUNDLED

Damage = Callable[[str, str | bytes | None], Catalogue]


@pytest.fixture
def damaged(tmp_path: Path) -> Damage:
    """A copy of the bundled catalogue with one file replaced, or removed for `None`."""

    def with_file(file: str, content: str | bytes | None) -> Catalogue:
        folder = tmp_path / "data"
        shutil.copytree(BUNDLED, folder)
        (folder / file).unlink()
        if content is not None:
            (folder / file).write_bytes(content.encode() if isinstance(content, str) else content)
        return Catalogue(folder)

    return with_file
