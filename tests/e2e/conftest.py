"""What the end-to-end tests share: a fake host of GPUs, and a real server."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.engine import Engine
from tests.e2e.llama import Llama
from tests.e2e.vllm import Vllm
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s

HERE = Path(__file__).parent
ENGINES: dict[str, type[Engine]] = {"llama": Llama, "vllm": Vllm}
POWER_MILLIWATTS = 700_000


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engine", choices=sorted(ENGINES), default="llama", help="which real server to meter")
    parser.addoption("--pictures", type=Path, help="folder to copy pictures of the page to")
    parser.addoption("--record", type=Path, help="folder to write the pages of the story to")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist asks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file on one worker: what they share is started once."""
    for item in items:
        if item.path.is_relative_to(HERE) and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(scope="module")
def gpus(tmp_path_factory: pytest.TempPathFactory) -> FakeNvml:
    """Three H100s, 40 % busy at 700 W each, their energy counters running."""
    scenario = Scenario(h100s(3, utilization=40, power_mw=POWER_MILLIWATTS))
    return FakeNvml(tmp_path_factory.mktemp("gpus"), scenario)


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest) -> Callable[[Path], Engine]:
    """The real server that the command line names; takes the path of its log."""
    return ENGINES[request.config.getoption("--engine")]


@pytest.fixture(scope="module")
def record(request: pytest.FixtureRequest) -> Path | None:
    """Where the story's pages are to be written, if anywhere."""
    folder: Path | None = request.config.getoption("--record")
    return folder
