"""What the tests of sources share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sources.nvml.nvml_host import NvmlHost, nvml_host


@pytest.fixture
def nvml(tmp_path: Path) -> Iterator[NvmlHost]:
    with nvml_host(tmp_path) as host:
        yield host
