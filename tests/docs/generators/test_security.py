"""The table of SECURITY.md: each row is a test that tries it."""

from pathlib import Path

import pytest
from generators.security import Attempt, attempts

from tests.docs.markdown import ROOT


def test_each_row_is_of_a_test(tmp_path: Path) -> None:
    """Three paragraphs of its docstring; those of other tests are no rows."""
    text = '''def test_a() -> None:
    """A sentence.

    Attempt: a program
    lies.

    Result: nothing.

    Left: its own name.
    """


def test_b() -> None:
    """Another sentence."""
'''
    (tmp_path / "test_x.py").write_text(text)
    assert list(attempts(tmp_path)) == [Attempt("a program lies.", "nothing.", "its own name.", "test_x.py")]

    (tmp_path / "test_x.py").write_text(text.replace("Left:", "What is left:"))
    with pytest.raises(ValueError, match=r"test_x.py: 1: Attempt, Result and Left are one row"):
        list(attempts(tmp_path))


def test_the_tests_of_trust_have_rows() -> None:
    """SECURITY.md claims nothing of a local user that no test tries."""
    files = {attempt.file for attempt in attempts()}

    assert {"test_trust.py", "test_identity.py", "test_listeners.py", "test_pair.py"} <= files
    assert "local user" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")
