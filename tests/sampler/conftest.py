"""The bench of the sampler's tests."""

import pytest

from exporter.sampler.sampler import Sampler
from tests.sampler.sampler_bench import Bench, Clock, Endpoint, Footprint, Ledger, Nvml, inline, plan


@pytest.fixture
def bench() -> Bench:
    clock, nvml, endpoint, ledger = Clock(), Nvml(), Endpoint(), Ledger()
    return Bench(
        clock,
        nvml,
        endpoint,
        ledger,
        Sampler(clock, inline(clock), nvml, ledger, Footprint(), plan(endpoint)),
    )
