"""What the tests of discovery share."""

from pathlib import Path

import pytest

from tests.sources.discovery.host import DiscoveryHost


@pytest.fixture
def host(tmp_path: Path) -> DiscoveryHost:
    return DiscoveryHost(tmp_path)
