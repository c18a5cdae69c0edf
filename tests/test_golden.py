"""The goldens are all in use."""

from pathlib import Path

TESTS = Path(__file__).parent


def test_no_golden_is_stale() -> None:
    """Every golden is named by a test, so that none outlives what printed it."""
    tests = "".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    goldens = [path for path in (TESTS / "golden").rglob("*") if path.is_file()]

    assert goldens
    assert [path.name for path in goldens if f'"{path.relative_to(TESTS / "golden")}"' not in tests] == []
