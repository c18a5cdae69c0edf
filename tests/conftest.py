"""Goldens: what the product prints, kept byte for byte in `tests/golden` and reviewed as a diff."""

import gc
import logging
import os
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from exporter.ledger.store import Store
from tests import depth, nightly
from tests.rights import pytest_runtest_makereport, pytest_terminal_summary

if TYPE_CHECKING:
    from tests.demo.demo_history import DemoHistory

__all__ = ["pytest_runtest_makereport", "pytest_terminal_summary"]

settings.load_profile(depth.TESTS)

# A test run inside a cluster asks nothing of it, nor does any program that a test starts.
os.environ.pop("KUBERNETES_SERVICE_HOST", None)

# Whoever runs tests in the background of a shell hands on that Control-C is ignored. What tests start, and
# interrupt, begins as on a terminal.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

GOLDEN = Path(__file__).parent / "golden"

OBJECTS_BETWEEN_COLLECTIONS = 5_000
"""Python's 700 is for programs that go on for long; a test does not."""


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(nightly, "nightly")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage among 13,000 tests: a third of the time to make them, a fifth of that to run."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
        gc.enable()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write what the product prints now")
    parser.addoption("--plans", type=int, default=20, help="how many seeded plans of faults to run")


@pytest.fixture(scope="session")
def demo_at_noon(tmp_path_factory: pytest.TempPathFactory) -> "DemoHistory":
    """The demo's story at noon of 2026-11-25, its books in a folder: for the xdist group `story`."""
    from tests.demo.demo_history import demo_history

    return demo_history(folder=tmp_path_factory.mktemp("demo"))


SLOW = (
    "tests/year/",
    "tests/rules/",
    "tests/faults/",
    "tests/demo/test_daemon.py",
    "tests/demo/test_facts.py",
    "tests/demo/test_log.py",  # with those of `cli` that share the demo's story: it is told once
    "tests/cli/test_examples.py",
    "tests/cli/test_what_if_demo.py",
    "tests/finance/test_advised_fleet.py",
    "tests/test_split_doc.py",
    "tests/test_fleet_size.py",
    "tests/ledger/test_crash.py",
    "tests/ledger/test_adjustments_crash.py",
    "tests/docs/test_blocks.py::test_a_page_can_be_done",
)
"""What `tools/slow` runs: years, faults, kills, and real Prometheus rules. The longest begin first."""

ID_CHARACTERS = 60
"""Of a parameter in a test's id: some are megabytes, and each worker sends all ids."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Have `tools/slow` look for its tests where they are: each process else imports all tests for a few."""
    if not config.getoption("markexpr").startswith("slow") or collection_path.suffix != ".py":
        return None
    name = collection_path.relative_to(config.rootpath).as_posix()
    wanted = (one.partition("::")[0] for one in SLOW)
    return None if name.startswith(tuple(wanted)) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow, and begin with the longest: begun last, all others would wait for it."""
    for item in items:
        if item.nodeid.startswith(SLOW):
            item.add_marker("slow")
    order = {
        item: next((n for n, one in enumerate(SLOW) if item.nodeid.startswith(one)), len(SLOW))
        for item in items
    }
    items.sort(key=order.__getitem__)


def pytest_make_parametrize_id(val: object) -> str | None:
    """A long text by its beginning and its length; pytest numbers what is the same."""
    if not isinstance(val, str | bytes) or len(val) <= ID_CHARACTERS:
        return None
    beginning = val[:ID_CHARACTERS]
    text = beginning if isinstance(beginning, str) else beginning.decode("latin-1")
    return f"{ascii(text)[1:-1]}...{len(val)}"


@pytest.fixture(autouse=True)
def files_end_with_the_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the files of a daemon that its test ends without a word, as the kernel does for a process."""
    stores: list[Store] = []
    begin = Store.__init__

    def opened(store: Store, *given: Any, **named: Any) -> None:
        begin(store, *given, **named)
        stores.append(store)

    monkeypatch.setattr(Store, "__init__", opened)
    yield
    for store in stores:
        store.close()


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Every verb sets logging up; no test hands that on to the next."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


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
