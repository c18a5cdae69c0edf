"""Goldens: what the product prints, kept byte for byte in `tests/golden` and reviewed as a diff."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from exporter.ledger.store import Store
from tests import depth
from tests.rights import pytest_runtest_makereport, pytest_terminal_summary

if TYPE_CHECKING:
    from tests.demo.tellings import Telling

__all__ = ["pytest_runtest_makereport", "pytest_terminal_summary"]

settings.load_profile(depth.TESTS)

# A test run inside a cluster asks nothing of it, nor does any program that a test starts.
os.environ.pop("KUBERNETES_SERVICE_HOST", None)

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write what the product prints now")
    parser.addoption("--plans", type=int, default=20, help="how many seeded plans of faults to run")


@pytest.fixture(scope="session")
def demo_at_noon(tmp_path_factory: pytest.TempPathFactory) -> "Telling":
    """The demo's story at noon of 2026-11-25, its books in a folder: for the xdist group `story`."""
    from tests.demo.tellings import telling

    return telling(folder=tmp_path_factory.mktemp("demo"))


LONG = ("tests/year/", "tests/test_split_doc.py", "tests/rules/")
"""What takes longest in one process: begun last, it would be waited for by all others."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


@pytest.fixture(autouse=True)
def files_end_with_the_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the files of a daemon that its test ends without a word, as the kernel does for a process."""
    stores: list[Store] = []
    begin = Store.__init__

    def opened(store: Store, *given: Any) -> None:
        begin(store, *given)
        stores.append(store)

    monkeypatch.setattr(Store, "__init__", opened)
    yield
    for store in stores:
        store.close()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, bytes], None]:
    """Compares bytes with the golden of a name; with `--update-golden`, writes it. Read the diff then."""

    def compare(name: str, actual: bytes) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(actual)
        if not path.is_file():
            pytest.fail(f"no golden {name}: look at what is printed, then run pytest --update-golden")

        assert path.read_text(encoding="utf-8") == actual.decode()
        assert path.read_bytes() == actual

    return compare
