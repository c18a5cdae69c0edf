"""Causes of absent or unallocated cost are in the log, once per change."""

from dataclasses import replace
from decimal import Decimal

import pytest

from exporter.config.settings import Config, ConfiguredServer
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Hardware, HardwareMatch, Rented, RentPrice, Retirement
from tests.sampler.sampler_fixture import CONFIG, TARIFF, SamplerFixture, plan

BARE = Tariff("host")
BEYOND = Config(servers=(ConfiguredServer("chat", "http://127.0.0.1:8000/metrics", (0, 4, 7)),))
UNPRICED = ("gpus unpriced", "1 x H100")
NOT_FOUND = ("configured gpus not found", "chat: 4, 7")


def logged(log: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Lines about GPUs since the last call: message and GPUs."""
    lines = [
        (record.getMessage(), getattr(record, "gpus", ""))
        for record in log.records
        if record.name == "exporter.sampler.change_log" and record.getMessage() != "server gpus changed"
    ]
    log.clear()
    return lines


@pytest.fixture(autouse=True)
def _all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")


def test_a_host_that_is_right_says_nothing(fixture: SamplerFixture, caplog: pytest.LogCaptureFixture) -> None:
    """Priced, and every GPU is there."""
    fixture.tick()

    assert logged(caplog) == []


def test_what_is_wrong_is_told_at_the_first_tick_with_gpus_and_not_again(
    fixture: SamplerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    """While NVML is silent nothing is known, and a silence between two ticks changes nothing."""
    fixture.sampler.set_plan(plan(fixture.endpoint, tariff=BARE, config=BEYOND))
    fixture.nvml.failure = "hung"
    fixture.tick()
    assert logged(caplog) == []

    fixture.nvml.failure = ""
    fixture.tick()
    assert logged(caplog) == [UNPRICED, NOT_FOUND]

    fixture.tick()
    fixture.nvml.failure = "hung"
    fixture.tick()
    fixture.nvml.failure = ""
    fixture.tick()
    assert logged(caplog) == []


def test_a_reload_tells_it_again_and_one_that_failed_does_not(
    fixture: SamplerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever reloads looks at the log."""
    fixture.sampler.set_plan(plan(fixture.endpoint, tariff=BARE))
    fixture.tick()
    assert logged(caplog) == [UNPRICED]

    fixture.sampler.set_plan(plan(fixture.endpoint, tariff=BARE))  # the old configuration stays
    fixture.tick()
    assert logged(caplog) == []

    fixture.sampler.set_plan(plan(fixture.endpoint, tariff=BARE, config=replace(CONFIG)))
    fixture.tick()
    assert logged(caplog) == [UNPRICED]


def test_an_estimate_is_told_once_and_its_end_as_well(
    fixture: SamplerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    """A price that nobody stands for is worth a line."""
    estimated = Tariff("host", unmatched="estimate")
    fixture.sampler.set_plan(plan(fixture.endpoint, tariff=estimated))
    fixture.tick()
    fixture.tick()
    assert logged(caplog) == [("gpus priced by estimate", "1 x H100")]

    fixture.sampler.set_plan(plan(fixture.endpoint, tariff=TARIFF))
    fixture.tick()
    assert logged(caplog) == [("no gpu priced by estimate", "")]


def test_what_was_put_right_is_told_too(fixture: SamplerFixture, caplog: pytest.LogCaptureFixture) -> None:
    """One line each."""
    fixture.sampler.set_plan(plan(fixture.endpoint, tariff=BARE, config=BEYOND))
    fixture.tick()
    logged(caplog)
    fixture.sampler.set_plan(plan(fixture.endpoint, tariff=TARIFF, config=CONFIG))
    fixture.tick()

    assert logged(caplog) == [
        ("all gpus priced", ""),
        ("configured gpus found", ""),
    ]


def unmatched(log: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Lines about rules since the last call: level and rules."""
    lines = [
        (record.levelname, getattr(record, "rules", ""))
        for record in log.records
        if record.getMessage() == "hardware rules match no gpu"
    ]
    log.clear()
    return lines


def ruled(*matches: HardwareMatch) -> Tariff:
    rent = Rented((RentPrice(Decimal(2)),))
    rules = tuple(Hardware(match, rent, f"hardware[{i}].rented") for i, match in enumerate(matches))
    return Tariff("host", rules)


def test_rules_that_match_no_gpu_are_one_line_for_each_configuration(
    fixture: SamplerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    """A rule that was meant for what is here is a warning; it waits until the host's place is known."""
    tariff = ruled(HardwareMatch(host="dc1-*"), HardwareMatch(gpu_model="h100"))
    fixture.sampler.set_plan(plan(fixture.endpoint, tariff=replace(tariff, location_pending=True)))
    fixture.tick()
    assert unmatched(caplog) == []

    line = 'hardware[1]: gpu_model "h100" is not "H100"; hardware[0]: host "dc1-*" is not "host"'
    fixture.sampler.set_plan(plan(fixture.endpoint, tariff=tariff))
    fixture.tick()
    fixture.tick()
    assert unmatched(caplog) == [("WARNING", line)]

    fixture.sampler.set_plan(
        plan(fixture.endpoint, tariff=ruled(HardwareMatch(host="dc1-*")), config=replace(CONFIG))
    )
    fixture.tick()
    assert unmatched(caplog) == [("INFO", 'hardware[0]: host "dc1-*" is not "host"')]


def test_a_gpu_that_is_said_to_have_left_and_is_here_is_told(
    fixture: SamplerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, and when the entry is put right; one whose day lies ahead, and one that is gone, are not."""
    left = Retirement("GPU-0", fixture.clock.wall(), "2026-11-20")
    others = Retirement("GPU-9", 0), Retirement("GPU-0", fixture.clock.wall() + 10**18)
    fixture.sampler.set_plan(plan(fixture.endpoint, config=replace(CONFIG, retired=others)))
    fixture.tick()
    assert logged(caplog) == []

    fixture.sampler.set_plan(plan(fixture.endpoint, config=replace(CONFIG, retired=(left,))))
    fixture.tick()
    fixture.tick()
    assert logged(caplog) == [("gpus marked retired are present and charged", "GPU-0")]

    fixture.sampler.set_plan(plan(fixture.endpoint, config=CONFIG))
    fixture.tick()
    assert logged(caplog) == [("no retired gpu present", "")]
