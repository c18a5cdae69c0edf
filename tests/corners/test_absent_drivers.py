"""A driver that is absent at a ledger's birth, beside a twin of the host whose driver is there: one bill."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.readings import FailureReason
from tests.corners.simulated_host import SimulatedHost
from tests.depth import examples
from tests.kit.units import DAY, HOUR, MINUTE, SECOND
from tests.sampler.sampler_fixture import FakeNvmlSource

START = "2026-10-31T21:20:00+00:00"
"""Two hours and forty minutes before a month's end."""

OVERHEADS = (
    "overheads: [{name: network, dollars_per_hour: 1.10, per: host}, "
    "{name: disk, dollars_per_month: 9, per: gpu}]"
)
PRICES = {
    "by model": "{match: {gpu_model: H100}, rented: {dollars_per_gpu_hour: 3.60}}",
    "dated": "{match: {gpu_model: H100}, rented: {prices: [{from: 2026-01-01, dollars_per_gpu_hour: 3.60}, "
    "{from: 2026-11-01, dollars_per_gpu_hour: 2}]}}",
    "leased": "{match: {gpu_model: H100}, rented: {dollars_per_gpu_hour: 3.60, billing: always}}",
    "owned": "{match: {gpu_model: H100}, "
    "owned: {purchase_dollars_per_gpu: 30000, in_service: 2026-01-01, life_years: 4}}",
    "per host": "{rented: {dollars_per_host_hour: 3.60, gpus_per_host: 1}}",
    "by type": "{rented: {catalogue: aws, instance_type: p5.4xlarge, region: us-east-1}}",
}

lengths = st.one_of(
    st.sampled_from([10 * SECOND, MINUTE, 61 * SECOND, 15 * MINUTE + 1, HOUR]),
    st.integers(1, 5 * 3600).map(lambda seconds: seconds * SECOND),
)
stories = st.lists(st.tuples(st.sampled_from(["tick", "kill", "reboot"]), lengths), min_size=1, max_size=8)


def lived(host: SimulatedHost, nvml: FakeNvmlSource, story: list[tuple[str, int]], absent: int) -> None:
    """Let a host live; its driver comes after so many events, and then two ticks charge what waited."""
    nvml.reason = FailureReason.DRIVER_NOT_LOADED
    nvml.failure = "not loaded" if absent else ""
    host.tick()
    for number, (what, how) in enumerate(story, 1):
        nvml.failure = "not loaded" if number < absent else ""
        match what:
            case "tick":
                host.tick(how)
            case "kill":
                host.restart(how)
                host.tick()
            case "reboot":
                host.reboot(how)
                host.tick()
    nvml.failure = ""
    for _ in range(3):
        host.tick(10 * SECOND)


def born(folder: Path, name: str, up: int) -> tuple[SimulatedHost, FakeNvmlSource]:
    """A host with a new ledger, so long after its boot."""
    folder.mkdir()
    config = f"hardware: [{PRICES[name]}]\n{OVERHEADS}\n"
    nvml = FakeNvmlSource()
    return SimulatedHost(folder, config, START, up, nvml=nvml, all_gpus=True), nvml


@examples(20)
@given(
    name=st.sampled_from(sorted(PRICES)),
    up=st.sampled_from([20 * MINUTE, 30 * DAY]),
    absent=st.integers(1, 9),
    story=stories,
)
def test_a_driver_that_comes_late_changes_no_bill(
    tmp_path_factory: pytest.TempPathFactory,
    *,
    name: str,
    up: int,
    absent: int,
    story: list[tuple[str, Any]],
) -> None:
    """Months, days and hours of both agree, and so do their components; nothing waits."""
    folder = tmp_path_factory.mktemp("twins")
    late, twin = born(folder / "late", name, up), born(folder / "twin", name, up)
    lived(*late, story, absent)
    lived(*twin, story, 0)
    off = 10**6  # a billionth of a dollar or so: each hour of one GPU's components is rounded down
    assert abs(late[0].whole() - twin[0].whole()) < off * len(story)
    months = late[0].months(), twin[0].months()
    assert months[0].keys() == months[1].keys()
    assert all(abs(months[0][month] - months[1][month]) < off * len(story) for month in months[0])
    text = late[0].statement("2026-10", "component")
    lines = {line["component"]: line["picodollars"] for line in text["rows"]}
    expected = {
        line["component"]: line["picodollars"] for line in twin[0].statement("2026-10", "component")["rows"]
    }
    assert {each: pytest.approx(amount, abs=off) for each, amount in expected.items()} == lines
    hours = [sum(host.rows("inference_gpu_seconds_total").values()) for host, _ in (late, twin)]
    assert hours[0] == pytest.approx(hours[1], abs=1e-3)
