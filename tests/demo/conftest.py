"""The story as two test files look at it."""

import pytest

from tests.demo.tellings import Witness, witness


@pytest.fixture(scope="session")
def seen() -> Witness:
    """The story told until noon of 2026-11-25 in memory."""
    return witness()
