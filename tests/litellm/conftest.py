"""Where the pages are to be written, if anywhere."""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", type=Path, help="folder to write the pages to")


@pytest.fixture(scope="module")
def record(request: pytest.FixtureRequest) -> Path | None:
    folder: Path | None = request.config.getoption("--record")
    return folder
