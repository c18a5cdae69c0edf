"""What the end-to-end tests share: a fake host of GPUs. Nothing else in them is simulated."""

import pytest

from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s

POWER_MILLIWATTS = 700_000


@pytest.fixture(scope="module")
def gpus(tmp_path_factory: pytest.TempPathFactory) -> FakeNvml:
    """Three H100s, 40 % busy at 700 W each, their energy counters running."""
    scenario = Scenario(h100s(3, utilization=40, power_mw=POWER_MILLIWATTS))
    return FakeNvml(tmp_path_factory.mktemp("gpus"), scenario)
