"""What makes money absent or unallocated is in the log, once per change of state."""

from dataclasses import replace
from decimal import Decimal

import pytest

from exporter.config.settings import Config, ConfiguredServer
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Hardware, HardwareMatch, Rented, RentPrice, Retirement
from tests.sampler.sampler_bench import CONFIG, TARIFF, Bench, plan

BARE = Tariff("host")
BEYOND = Config(servers=(ConfiguredServer("chat", "http://127.0.0.1:8000/metrics", (0, 4, 7)),))
UNPRICED = ("GPUs have no price: their cost is absent", "1 x H100")
UNKNOWN = ("servers name GPUs that this host does not show", "chat: 4, 7")


def told(log: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """What was said of GPUs since the last call: message and GPUs."""
    said = [
        (record.getMessage(), getattr(record, "gpus", ""))
        for record in log.records
        if record.name == "exporter.sampler.change_log" and record.getMessage() != "server holds GPUs"
    ]
    log.clear()
    return said


@pytest.fixture(autouse=True)
def _all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")


def test_a_host_that_is_right_says_nothing(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Priced, and every GPU is there."""
    bench.tick()

    assert told(caplog) == []


def test_what_is_wrong_is_told_at_the_first_tick_with_gpus_and_not_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """While NVML is silent nothing is known, and a silence between two ticks changes nothing."""
    bench.sampler.plan(plan(bench.endpoint, tariff=BARE, config=BEYOND))
    bench.nvml.failure = "hung"
    bench.tick()
    assert told(caplog) == []

    bench.nvml.failure = ""
    bench.tick()
    assert told(caplog) == [UNPRICED, UNKNOWN]

    bench.tick()
    bench.nvml.failure = "hung"
    bench.tick()
    bench.nvml.failure = ""
    bench.tick()
    assert told(caplog) == []


def test_a_reload_tells_it_again_and_one_that_failed_does_not(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever reloads looks at the log."""
    bench.sampler.plan(plan(bench.endpoint, tariff=BARE))
    bench.tick()
    assert told(caplog) == [UNPRICED]

    bench.sampler.plan(plan(bench.endpoint, tariff=BARE))  # the old configuration stays
    bench.tick()
    assert told(caplog) == []

    bench.sampler.plan(plan(bench.endpoint, tariff=BARE, config=replace(CONFIG)))
    bench.tick()
    assert told(caplog) == [UNPRICED]


def test_an_estimate_is_told_once_and_its_end_as_well(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A price that nobody stands for is worth a line."""
    estimated = Tariff("host", unmatched="estimate")
    bench.sampler.plan(plan(bench.endpoint, tariff=estimated))
    bench.tick()
    bench.tick()
    assert told(caplog) == [("GPUs are priced by an estimate", "1 x H100")]

    bench.sampler.plan(plan(bench.endpoint, tariff=TARIFF))
    bench.tick()
    assert told(caplog) == [("no GPU is priced by an estimate", "")]


def test_what_was_put_right_is_told_too(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """One line each."""
    bench.sampler.plan(plan(bench.endpoint, tariff=BARE, config=BEYOND))
    bench.tick()
    told(caplog)
    bench.sampler.plan(plan(bench.endpoint, tariff=TARIFF, config=CONFIG))
    bench.tick()

    assert told(caplog) == [
        ("every GPU has a price", ""),
        ("every GPU that a server names is on this host", ""),
    ]


def missed(log: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """What was said of rules since the last call: level and rules."""
    said = [
        (record.levelname, getattr(record, "rules", ""))
        for record in log.records
        if record.getMessage() == "hardware rules match no GPU here"
    ]
    log.clear()
    return said


def ruled(*matches: HardwareMatch) -> Tariff:
    terms = Rented((RentPrice(Decimal(2)),))
    rules = tuple(Hardware(match, terms, f"hardware[{i}].rented") for i, match in enumerate(matches))
    return Tariff("host", rules)


def test_rules_that_match_no_gpu_are_one_line_for_each_configuration(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """A rule that was meant for what is here is a warning; it waits until the host's place is known."""
    tariff = ruled(HardwareMatch(host="dc1-*"), HardwareMatch(gpu_model="h100"))
    bench.sampler.plan(plan(bench.endpoint, tariff=replace(tariff, asking=True)))
    bench.tick()
    assert missed(caplog) == []

    line = (
        'hardware[1]: gpu_model "h100" differs in case from "H100"; hardware[0]: host "dc1-*" is not "host"'
    )
    bench.sampler.plan(plan(bench.endpoint, tariff=tariff))
    bench.tick()
    bench.tick()
    assert missed(caplog) == [("WARNING", line)]

    bench.sampler.plan(
        plan(bench.endpoint, tariff=ruled(HardwareMatch(host="dc1-*")), config=replace(CONFIG))
    )
    bench.tick()
    assert missed(caplog) == [("INFO", 'hardware[0]: host "dc1-*" is not "host"')]


def test_a_gpu_that_is_said_to_have_left_and_is_here_is_told(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, and when the entry is put right; one whose day lies ahead, and one that is gone, are not."""
    left = Retirement("GPU-0", bench.clock.wall(), "2026-11-20")
    others = Retirement("GPU-9", 0), Retirement("GPU-0", bench.clock.wall() + 10**18)
    bench.sampler.plan(plan(bench.endpoint, config=replace(CONFIG, retired=others)))
    bench.tick()
    assert told(caplog) == []

    bench.sampler.plan(plan(bench.endpoint, config=replace(CONFIG, retired=(left,))))
    bench.tick()
    bench.tick()
    assert told(caplog) == [("GPUs that are said to have left are here, and charged", "GPU-0")]

    bench.sampler.plan(plan(bench.endpoint, config=CONFIG))
    bench.tick()
    assert told(caplog) == [("no GPU that is said to have left is here", "")]
