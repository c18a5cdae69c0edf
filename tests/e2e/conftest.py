"""What the end-to-end tests share: a fake host of GPUs, and a real server."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import restrictions
from tests.e2e.containers import Contained, Image, Store
from tests.e2e.daemon import Daemon
from tests.e2e.engine import EngineServer
from tests.e2e.llama import Llama
from tests.e2e.vllm import Vllm
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s

HERE = Path(__file__).parent
ENGINES: dict[str, type[EngineServer]] = {"llama": Llama, "vllm": Vllm}
POWER_MILLIWATTS = 700_000
RENDERED = "charts"
"""The group of what only looks at the rendered chart: each rendering is made once."""

LONGEST = (
    *(
        "test_story",
        "test_hostile_pages",
        "test_footprint",
        "test_slots",
        "center",
        "test_focus",
        "fleet-books",
    ),
    *("test_page", RENDERED, "fleet", "test_alerts", "test_quickstart", "test_first_day"),
)
"""Groups and files that take or wait for minutes: those first that go by a clock, then the longest."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engine", choices=sorted(ENGINES), default="llama", help="which real server to meter")
    parser.addoption("--pictures", type=Path, help="folder to copy pictures of the page to")
    parser.addoption(
        "--daemon",
        choices=["process", "image"],
        default="process",
        help="how the story's daemon runs: from this tree, or in a container as the DaemonSet restricts it",
    )
    parser.addoption("--record", type=Path, help="folder to write the pages of the story to")


def renders(item: pytest.Item) -> bool:
    """Whether it is a test of the chart that starts no program of ours."""
    return item.path.parent.name == "charts" and item.path.stem != "test_serving"


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist asks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep on one worker the tests of a file that share something, and begin with what may take longest."""
    for item in items:
        if item.path.is_relative_to(HERE) and item.get_closest_marker("xdist_group") is None and shares(item):
            item.add_marker(pytest.mark.xdist_group(RENDERED if renders(item) else item.path.stem))
    items.sort(key=patience, reverse=True)


def shares(item: pytest.Item) -> bool:
    """Whether its file has a fixture that several tests use; those of a folder below may share anything."""
    if item.path.parent != HERE or not isinstance(item, pytest.Function):
        return True
    definitions = [fixtures[-1] for fixtures in item._fixtureinfo.name2fixturedefs.values()]
    return any(one.scope != "function" and one.baseid.endswith(item.path.name) for one in definitions)


def patience(item: pytest.Item) -> tuple[int, float]:
    """Where its group or file is among the longest, and the seconds that it may take; 0 where not told."""
    group, timeout = (item.get_closest_marker(name) for name in ("xdist_group", "timeout"))
    name = group.args[0] if group else item.path.stem
    among = LONGEST[::-1].index(name) + 1 if name in LONGEST else 0
    return among, float(timeout.args[0]) if timeout else 0.0


@pytest.fixture(scope="module")
def gpus(tmp_path_factory: pytest.TempPathFactory) -> FakeNvml:
    """Three H100s, 40 % busy at 700 W each, their energy counters running."""
    scenario = Scenario(h100s(3, utilization=40, power_mw=POWER_MILLIWATTS))
    return FakeNvml(tmp_path_factory.mktemp("gpus"), scenario)


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest) -> Callable[[Path], EngineServer]:
    """The real server that the command line names; takes the path of its log."""
    return ENGINES[request.config.getoption("--engine")]


@pytest.fixture(scope="module")
def record(request: pytest.FixtureRequest) -> Path | None:
    """Where the story's pages are to be written, if anywhere."""
    folder: Path | None = request.config.getoption("--record")
    return folder


VERSION, REVISION = "1.2.3", "0123456789abcdef"
MEASURED = pytest.StashKey[list[str]]()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker hands over what it measured."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["measured"] = session.config.stash.get(MEASURED, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What a worker measured is said with the rest."""
    lines = node.config.stash.setdefault(MEASURED, [])
    lines.extend(getattr(node, "workeroutput", {}).get("measured", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What was measured, whether or not anything failed."""
    for line in config.stash.get(MEASURED, []):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def measured(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Says a line at the end of the run."""
    lines: list[str] = request.config.stash.setdefault(MEASURED, [])
    return lines.append


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    """Where images and containers are kept while the tests run."""
    made = Store()
    yield made
    made.close()


@pytest.fixture(scope="session")
def image(store: Store, testrun_uid: str) -> Image:
    """Our image, built here, once for all workers of a run."""
    tag = f"localhost/inference-cost-exporter:{testrun_uid}"
    words = ("--build-arg", f"VERSION={VERSION}", "--build-arg", f"REVISION={REVISION}")
    return Image(store, tag, store.once(tag, *words))


@pytest.fixture(scope="session")
def restricted(image: Image) -> Callable[..., Contained]:
    """Makes an installation in a container as our DaemonSet has it, or with fewer rights yet."""

    def make(
        folder: Path,
        config: str,
        environment: Mapping[str, str],
        spec: restrictions.Manifest | None = None,
    ) -> Contained:
        spec = spec or restrictions.pod()
        folders = {"config": folder, "ledger": folder, "pod-resources": folder / "kubelet"}
        folders["token"] = folder / "account"
        folders["pod-resources"].mkdir(exist_ok=True)
        words = restrictions.options(spec, folders)
        return Contained(image, folder, config, environment, words, restrictions.arguments(spec))

    return make


@pytest.fixture(scope="module")
def install(request: pytest.FixtureRequest) -> Callable[..., Daemon]:
    """Makes the story's installation, as the command line says."""
    if request.config.getoption("--daemon") == "process":
        return Daemon
    if os.geteuid() != 0:
        request.getfixturevalue("measured")("image: not tested, for only root makes containers here")
        return Daemon
    made: Callable[..., Daemon] = request.getfixturevalue("restricted")
    return made
