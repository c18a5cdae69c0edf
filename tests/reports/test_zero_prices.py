"""Hardware that costs nothing is told, with the reason: no month should end before somebody notices."""

from pathlib import Path

import pytest

from exporter.config import parse
from exporter.cost.policy import CostPolicy
from exporter.readings import UNKNOWN_LOCATION, Gpu, GpuReading, HostLocation
from exporter.reports.check_config import check_config
from exporter.reports.diagnosis import DoctorInput
from exporter.reports.doctor import diagnose
from exporter.tariff.tariff import Tariff

NOW = 1_795_564_800 * 10**9
"""2026-11-25 in UTC."""

SERVERS = 'servers: [{name: chat, url: "http://127.0.0.1:8000/metrics", gpus: all}]\n'
P5 = HostLocation(cloud="aws", instance_type="p5.48xlarge", region="us-east-1", lifecycle="on_demand")
HOST = tuple(GpuReading(Gpu(f"GPU-{i}", "NVIDIA H100 80GB HBM3"), i, power_watts=500.0) for i in range(2))


def checked(tmp_path: Path, hardware: str, now: int = NOW) -> list[str]:
    """The notes and warnings of check-config on a file with one rule."""
    path = tmp_path / "ice.yaml"
    path.write_text(f"hardware: [{hardware}]\n{SERVERS}")
    status, text = check_config(path, now)

    assert status == 0
    return [line for line in text.splitlines() if line.startswith(("note: ", "warning: "))]


def examined(
    hardware: str, location: HostLocation = UNKNOWN_LOCATION, *, more: str = ""
) -> tuple[int, list[str]]:
    """What the doctor finds about prices on a host of two H100s."""
    config = parse(f"hardware: [{hardware}]\n{more}{SERVERS}".encode(), Path("ice.yaml"))
    tariff = Tariff("h1", config.hardware, config.overheads, location)
    diagnosis = diagnose(config, CostPolicy(tariff), DoctorInput(HOST, "", (), "", ""), NOW)

    actual = [f"{finding.severity}: {finding.text}" for finding in diagnosis.findings]
    return diagnosis.status, [line for line in actual if "dollars an hour" in line]


def owned(life: str, more: str = "") -> str:
    return f"owned: {{purchase_dollars_per_gpu: 30000, in_service: 2022-02-01, life_years: {life}{more}}}"


ALL = "every GPU that hardware[0].{} matches costs 0 dollars an hour because {}"
LIFE = "its life of 4 years from 2022-02-01 ended on 2026-02-01"


@pytest.mark.parametrize(
    ("hardware", "expected"),
    [
        (
            "{rented: {catalogue: aws, discount_ratio: 1}}",
            ["warning: " + ALL.format("rented", "discount_ratio 1 takes off the whole list price")],
        ),
        ("{rented: {catalogue: aws, discount_ratio: 0.75}}", []),
        ("{rented: {dollars_per_gpu_hour: 0}}", ["warning: " + ALL.format("rented", "the rent is 0")]),
        (
            "{match: {uuid: GPU-5}, rented: {dollars_per_gpu_hour: 0}}",
            ["note: " + ALL.format("rented", "the rent is 0")],
        ),
        # 4 years of 8766 hours are 1461 days: from 2022-02-01 to 2026-02-01.
        (f"{{{owned('4')}}}", ["note: " + ALL.format("owned", LIFE)]),
        (f"{{{owned('5')}}}", []),
        (
            f"{{{owned('5', ', residual_ratio: 1')}}}",
            [
                "warning: "
                + ALL.format("owned", "nothing is written off: purchase 30000, adders 0, residual 1")
            ],
        ),
    ],
)
def test_check_config_tells_what_costs_nothing(tmp_path: Path, hardware: str, expected: list[str]) -> None:
    """A note where it is a fact or meant, a warning where it is hardly meant; status 0."""
    assert checked(tmp_path, hardware) == expected


def test_a_rent_of_0_to_come_is_told_and_one_that_has_passed_is_not(tmp_path: Path) -> None:
    """Only what is in force now or later is anybody's concern."""
    dated = "{{rented: {{prices: [{}]}}}}"
    first = "{from: 2026-01-01, dollars_per_gpu_hour: 0}, {from: 2026-03-01, dollars_per_gpu_hour: 2}"
    last = "{from: 2026-01-01, dollars_per_gpu_hour: 2}, {from: 2027-03-01, dollars_per_gpu_hour: 0}"

    assert checked(tmp_path, dated.format(first)) == []
    assert checked(tmp_path, dated.format(last)) == [
        "warning: " + ALL.format("rented", "the rent is 0 since 2027-03-01")
    ]


def test_what_is_not_yet_in_service_costs_nothing_for_another_reason(tmp_path: Path) -> None:
    """It has no price at all before that day, which is no price of 0."""
    hardware = "{owned: {purchase_dollars_per_gpu: 0, in_service: 2027-02-01, life_years: 4}}"

    (only,) = checked(tmp_path, hardware)
    assert "2027-02-01 is in the future, and nothing is charged until then" in only


ENERGY = "energy: {dollars_per_kilowatt_hour: 0.12}"
TWO = "2 x NVIDIA H100 80GB HBM3 cost 0 dollars an hour because {} (hardware[0].{}): {}."


@pytest.mark.parametrize(
    ("hardware", "location", "status", "expected"),
    [
        (
            "{rented: {catalogue: aws, discount_ratio: 1}}",
            P5,
            1,
            "warning: "
            + TWO.format(
                "discount_ratio 1 takes off the whole list price",
                "rented: aws p5.48xlarge us-east-1 on demand less 100 % (karpenter-aws)",
                "metered, never charged",
            ),
        ),
        (
            "{rented: {dollars_per_gpu_hour: 0}}",
            UNKNOWN_LOCATION,
            0,
            "note: " + TWO.format("the rent is 0", "rented", "metered, never charged"),
        ),
        (
            f"{{{owned('4', ', support_dollars_per_year: 900')}, {ENERGY}}}",
            UNKNOWN_LOCATION,
            0,
            "note: " + TWO.format(LIFE, "owned", "nothing is charged but support, energy"),
        ),
        (
            "{owned: {purchase_dollars_per_gpu: 0, in_service: 2026-02-01, life_years: 4}}",
            UNKNOWN_LOCATION,
            1,
            "warning: "
            + TWO.format(
                "nothing is written off: purchase 0, adders 0, residual 0", "owned", "metered, never charged"
            ),
        ),
    ],
)
def test_the_doctor_tells_what_costs_nothing_and_what_is_charged_beside_it(
    hardware: str, location: HostLocation, status: int, expected: str
) -> None:
    """Once for GPUs that are alike."""
    assert examined(hardware, location) == (status, [expected])


def test_an_overhead_is_charged_beside_a_rent_of_0() -> None:
    """A GPU that costs nothing still carries its part of what the host costs."""
    overheads = "overheads: [{name: network, dollars_per_hour: 1.10, per: host}]\n"

    assert examined("{rented: {dollars_per_gpu_hour: 0}}", more=overheads) == (
        0,
        ["note: " + TWO.format("the rent is 0", "rented", "nothing is charged but network")],
    )


def test_a_discount_on_a_price_that_the_catalogue_lacks_is_no_price_of_0() -> None:
    """Without a list price there is nothing to discount: the GPU is unpriced, and that is the finding."""
    assert examined("{rented: {catalogue: aws, discount_ratio: 1}}", UNKNOWN_LOCATION) == (2, [])
