"""What the tests of discovery share."""

from pathlib import Path

import pytest

from tests.sources.discovery.host import Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)
