"""Files that are good or bad, and how a test reads one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.config import Config, ConfigError, parse

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.fixture
def good() -> Callable[[str], Config]:
    """Parses a file of tests/configs by name."""
    return lambda name: parse((CONFIGS / name).read_bytes(), Path(name))


@pytest.fixture
def refused() -> Callable[[bytes], list[str]]:
    """The lines of the error that some bytes are refused with."""

    def lines(data: bytes) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            parse(data, Path("ice.yaml"))
        return str(caught.value).split("\n")

    return lines
