"""A test that is slow is one that `tools/slow` finds."""

import re
from pathlib import Path

from tests.conftest import SLOW

ROOT = Path(__file__).parents[1]
MARK = re.compile(r"\bmark\.slow\b")


def test_no_test_has_the_mark_but_by_the_list() -> None:
    """`make test` would leave it out, and `tools/slow` not look into its file: it would run nowhere."""
    files = [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)]

    assert len(files) > 300
    assert [path for path in files if MARK.search(path.read_text(encoding="utf-8"))] == []
    assert MARK.search("@pytest.mark.slow\n")


def test_all_that_the_list_names_exists() -> None:
    """A file that was renamed would run with the fast tests."""
    assert [name for name in SLOW if not (ROOT / name.partition("::")[0]).exists()] == []
