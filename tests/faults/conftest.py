"""How many plans of faults are run."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--plans", type=int, default=20, help="how many seeded plans of faults to run")
