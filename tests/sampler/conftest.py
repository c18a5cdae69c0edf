"""Sampler fixture of the tests."""

import pytest

from exporter.sampler.frame_reader import FrameReader
from exporter.sampler.sampler import Sampler
from tests.kit.clock import ManualClock
from tests.sampler.sampler_fixture import (
    FakeEndpoint,
    FakeLedger,
    FakeNvmlSource,
    FakeProcessMetrics,
    SamplerFixture,
    inline,
    plan,
)


@pytest.fixture
def fixture() -> SamplerFixture:
    clock, nvml, endpoint, ledger = ManualClock(), FakeNvmlSource(), FakeEndpoint(), FakeLedger()
    return SamplerFixture(
        clock,
        nvml,
        endpoint,
        ledger,
        Sampler(
            clock, FrameReader(clock, inline(clock), (nvml,)), ledger, FakeProcessMetrics(), plan(endpoint)
        ),
    )
