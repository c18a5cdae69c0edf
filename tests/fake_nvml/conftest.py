"""A fake host that `pynvml` reads in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_nvml.library import FakeNvml


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeNvml]:
    with FakeNvml(tmp_path).loaded() as fake:
        yield fake
