"""The replayed demo that two test files share."""

import pytest

from tests.demo.demo_history import LoggedHistory, logged_history


@pytest.fixture(scope="session")
def history() -> LoggedHistory:
    """The demo until noon of 2026-11-25, in memory."""
    return logged_history()
