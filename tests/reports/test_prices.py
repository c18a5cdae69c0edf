"""The doctor says of every price that nobody wrote down what it is, and the line that would replace it."""

import shutil
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from exporter.config.settings import Budget, Config, ConfiguredServer
from exporter.cost.policy import CostPolicy
from exporter.readings import UNKNOWN_LOCATION, Gpu, GpuReading, HostLocation
from exporter.reports.diagnosis import Diagnosis, DoctorInput
from exporter.reports.doctor import diagnose, text
from exporter.tariff.catalogue import Catalogue
from exporter.tariff.csv_tables import BUNDLED
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Hardware, HardwareMatch, Listed, Owned, Rented, RentPrice

NOW = 1_795_564_800 * 10**9
H100 = tuple(GpuReading(Gpu(f"GPU-{i}", "NVIDIA H100 80GB HBM3"), i) for i in range(8))
L4 = GpuReading(Gpu("GPU-8", "NVIDIA L4"), 8)
P5 = HostLocation(cloud="aws", instance_type="p5.48xlarge", region="us-east-1", lifecycle="on_demand")
BUDGETS = (Budget("fleet", "", Decimal(20_000_000)),)
CONFIG = Config(
    path=Path("ice.yaml"),
    servers=(ConfiguredServer("chat", "http://127.0.0.1:8000/metrics", None),),
    budgets=BUDGETS,
)
WRITE = "    hardware: [{match: {gpu_model: "


def examine(
    gpus: tuple[GpuReading, ...] = H100, location: HostLocation = UNKNOWN_LOCATION, **options: Any
) -> Diagnosis:
    tariff = Tariff("h1", location=location, **{"unmatched": "estimate", **options})
    return diagnose(CONFIG, CostPolicy(tariff), DoctorInput(gpus, "", (), "", ""), NOW)


def priced(dollars: str, **match: str) -> tuple[Hardware, ...]:
    rent = Rented((RentPrice(Decimal(dollars)),))
    return (Hardware(HardwareMatch(**match), rent, "hardware[0].rented"),)


def findings(diagnosis: Diagnosis) -> list[str]:
    return [f"{finding.severity}: {finding.text}" for finding in diagnosis.findings]


def test_an_estimate_is_a_warning_with_the_line_that_would_replace_it() -> None:
    """Once for GPUs that are alike, with its number, where it is from, and of when."""
    diagnosis = examine((*H100, L4))

    assert diagnosis.status == 1
    assert findings(diagnosis) == [
        (
            "warning: 8 x NVIDIA H100 80GB HBM3 are priced by an estimate: 3.875 dollars per GPU-hour, "
            "median "
            "list price of H100-SXM5-80GB at crusoe, lambda, nebius, runpod, of 2026-09-25. "
            f'Write what you pay:\n{WRITE}"NVIDIA H100 80GB HBM3"}}, rented: {{dollars_per_gpu_hour: '
            f"PRICE}}}}]"
        ),
        (
            "warning: 1 x NVIDIA L4 is priced by an estimate: 0.70683 dollars per GPU-hour, "
            "list price of L4 at gcp, of 2026-07-30. "
            f'Write what you pay:\n{WRITE}"NVIDIA L4"}}, rented: {{dollars_per_gpu_hour: PRICE}}}}]'
        ),
    ]


def test_what_is_estimated_is_printed_as_an_estimate() -> None:
    """Beside the number."""
    printed = text(examine(H100[:1]))

    assert (
        "rent              3.875000 dollars per hour   ESTIMATE: median list price of H100-SXM5-80GB at "
        "crusoe, "
        "lambda, nebius, runpod 2026-09-25\n"
    ) in printed


def test_a_list_price_is_a_note_with_the_line_for_a_discount() -> None:
    """55.04 / 8 = 6.88 dollars; status 0."""
    diagnosis = examine(location=P5)

    assert diagnosis.status == 0
    assert findings(diagnosis) == [
        (
            "note: 8 x NVIDIA H100 80GB HBM3 are priced by a list price: 6.88 dollars per GPU-hour, aws "
            "p5.48xlarge "
            "us-east-1 on demand (karpenter-aws), of 2026-07-20. If you pay less, write:\n"
            '    hardware: [{match: {instance_type: "p5.48xlarge"}, rented: {catalogue: aws, discount_ratio: '
            "RATIO}}]"
        )
    ]
    assert "CATALOGUE: aws p5.48xlarge us-east-1 on demand (karpenter-aws) 2026-07-20" in text(diagnosis)


def test_a_list_price_that_a_rule_asked_for_needs_no_remark() -> None:
    """Whoever wrote it knows."""
    rule = Hardware(HardwareMatch(), Listed("aws"), "hardware[0].rented")
    assert findings(examine(location=P5, hardware=(rule,))) == []


def test_what_stands_in_is_said() -> None:
    """Another region's price, and a spot price that is none."""
    region = findings(examine(location=replace(P5, region="xx-1")))
    spot = findings(examine(location=replace(P5, lifecycle="spot")))

    assert region[0].startswith("warning: 8 x NVIDIA H100 80GB HBM3 are priced by an estimate: 6.88 dollars")
    assert "The price of us-east-1 stands in for xx-1. Write what you pay:" in region[0]
    assert "It has no spot price of this instance type. Write what you pay:" in spot[0]
    assert spot[0].startswith("warning: 8 x NVIDIA H100 80GB HBM3 are priced by an estimate: 6.88 dollars")


def test_an_old_list_is_a_warning_where_a_price_of_it_is_charged() -> None:
    """200 days after the newest list of the package; a price that was written down does not age by it."""
    day = 24 * 3600 * 10**9
    late = 1_790_294_400 * 10**9 + 200 * day  # 2026-09-25
    tariff = Tariff("h1", location=P5, unmatched="estimate")
    own = replace(tariff, hardware=priced("2.50"))
    old = [
        finding.text
        for priced_by in (tariff, own)
        for finding in diagnose(
            CONFIG, CostPolicy(priced_by), DoctorInput(H100, "", (), "", ""), late
        ).findings
        if "days old" in finding.text
    ]

    assert old == [
        (
            "The newest list of instance prices is 200 days old. Write a newer one with `prices update`, "
            "or write what you pay."
        )
    ]


def test_a_gpu_that_the_catalogue_does_not_know_is_unpriced_and_says_why() -> None:
    """An error: money would be missing."""
    unknown = replace(H100[0], gpu=Gpu("GPU-0", "NVIDIA R100"))
    diagnosis = examine((unknown,), location=replace(P5, instance_type="p9.48xlarge"))

    assert diagnosis.status == 2
    assert findings(diagnosis) == [
        (
            "error: 1 x NVIDIA R100 has no price on host h1: its cost is absent. The catalogue does not "
            "help: it does "
            "not have the aws instance type p9.48xlarge; it knows no GPU by the name NVIDIA R100. Add:\n"
            f'{WRITE}"NVIDIA R100"}}, rented: {{dollars_per_gpu_hour: PRICE}}}}]'
        )
    ]


def test_an_instance_that_is_not_what_the_host_shows_is_told() -> None:
    """Fewer GPUs, and other ones."""
    other = tuple(replace(reading, gpu=Gpu(reading.gpu.uuid, "NVIDIA L4")) for reading in H100[:4])

    assert findings(examine(other, location=P5))[1:] == [
        (
            "warning: the instance has H100-SXM5-80GB by the catalogue, this host shows NVIDIA L4: is it a "
            "p5.48xlarge?"
        ),
        (
            "note: NVML lists 4 of the host's 8 GPUs, and this exporter may be given no others: "
            "`discovery: {gpus: visible}` is in force, and each is charged 1/8 of the price. "
            "Where no other exporter charges the rest, set `{gpus: all}`."
        ),
    ]


def test_a_slice_of_unknown_origin_is_estimated_whole_and_that_is_told() -> None:
    """g6f.large keeps the name of an L4 and has an eighth of its memory."""
    slice_ = replace(L4, memory_total_bytes=2861 * 2**20)

    assert findings(examine((slice_,)))[1] == (
        "warning: NVIDIA L4 shows 2.8 GiB of memory, which is not that of the model: the estimate is of "
        "a whole "
        "one."
    )
    whole = replace(L4, memory_total_bytes=22888 * 2**20)
    assert len(findings(examine((whole,)))) == 1


@pytest.mark.parametrize(
    ("dollars", "expected"),
    [
        ("2.5", []),
        (
            "0",
            [
                (
                    "note: 8 x NVIDIA H100 80GB HBM3 cost 0 dollars an hour because the rent is 0 "
                    "(hardware[0].rented): metered, never charged."
                )
            ],
        ),
    ],
)
def test_a_configured_price_of_0_is_told(dollars: str, expected: list[str]) -> None:
    """Nothing is charged, and a configured price has no other finding."""
    assert findings(examine(hardware=priced(dollars))) == expected


def test_one_gpu_of_several_at_0_is_a_group_of_its_own() -> None:
    """The one that was taken out, by its UUID."""
    rules = (*priced("0", uuid="GPU-3"), *priced("2.5"))

    assert findings(examine(hardware=rules)) == [
        (
            "note: 1 x NVIDIA H100 80GB HBM3 costs 0 dollars an hour because the rent is 0 "
            "(hardware[0].rented): metered, never charged."
        )
    ]


def test_a_damaged_catalogue_is_told_and_leaves_configured_prices_alone(tmp_path: Path) -> None:
    """The daemon runs; what would have been estimated is unpriced."""
    folder = tmp_path / "data"
    shutil.copytree(BUNDLED, folder)
    (folder / "market.csv").write_text("")
    catalogue = Catalogue(folder)

    actual = findings(examine(catalogue=catalogue))
    assert actual[0] == (
        "warning: the bundled catalogue is damaged, install the package again: market.csv is empty."
    )
    assert actual[1].startswith(
        "error: 8 x NVIDIA H100 80GB HBM3 have no price on host h1: their cost is absent. The catalogue "
        "does not "
        "help: it is damaged: market.csv is empty. Add:\n"
    )
    assert len(findings(examine(catalogue=catalogue, hardware=priced("2.5")))) == 1


YEAR_2027 = 1_798_761_600 * 10**9
"""2027-01-01 in UTC, later than `NOW`."""

LATER: dict[str, Rented | Owned | Listed] = {
    "rented": Rented((RentPrice(Decimal(2), since=YEAR_2027, since_text="2027-01-01"),)),
    "owned": Owned(Decimal(30_000), 1, YEAR_2027, "2027-01-01", Decimal(4)),
    "listed": Listed(cloud="aws"),
}


@pytest.mark.parametrize(
    ("pricing", "remedy"),
    [
        (
            "rented",
            (
                " hardware[0].rented prices them from 2027-01-01. "
                "If they cost money before, write an earlier `from` there."
            ),
        ),
        (
            "owned",
            (
                " hardware[0].owned prices them from 2027-01-01. "
                "If they cost money before, write an earlier `in_service` there."
            ),
        ),
        (
            "listed",
            (
                " The catalogue does not help: it is not known which instance type this host is. "
                "hardware[0] is the first rule that matches: write in it\n"
                "    rented: {dollars_per_gpu_hour: PRICE}"
            ),
        ),
    ],
)
def test_a_rule_that_matches_and_has_no_price_is_what_to_change(pricing: str, remedy: str) -> None:
    """The first rule that matches prices a GPU: a line that is added behind it changes nothing."""
    rule = Hardware(HardwareMatch(), LATER[pricing], f"hardware[0].{pricing.replace('listed', 'rented')}")

    errors = [f for f in findings(examine(hardware=(rule,), stand_ins=False)) if f.startswith("error")]
    assert errors == [
        f"error: 8 x NVIDIA H100 80GB HBM3 have no price on host h1: their cost is absent.{remedy}"
    ]


def test_alike_gpus_without_a_price_are_apart_by_the_rule_that_decides_for_them() -> None:
    """One rule begins later, and no rule matches the others: two errors, each with its remedy."""
    rule = Hardware(HardwareMatch(uuid="GPU-3"), LATER["rented"], "hardware[0].rented")

    actual = findings(examine(hardware=(rule,), unmatched="unpriced"))
    assert [finding.split(" on host")[0] for finding in actual if finding.startswith("error")] == [
        "error: 7 x NVIDIA H100 80GB HBM3 have no price",
        "error: 1 x NVIDIA H100 80GB HBM3 has no price",
    ]
    assert [finding.count("Add:") for finding in actual if finding.startswith("error")] == [1, 0]


def test_a_pattern_that_misses_stands_before_the_missing_price() -> None:
    """The reason first, then what has no price, each once."""
    assert findings(examine(hardware=priced("2.5", gpu_model="H100"), unmatched="unpriced")) == [
        (
            'warning: hardware[0] matches no GPU here: gpu_model "H100" is not "NVIDIA H100 80GB HBM3". '
            "A pattern covers the whole text, and case counts."
        ),
        (
            "error: 8 x NVIDIA H100 80GB HBM3 have no price on host h1: their cost is absent. Add:\n"
            f'{WRITE}"NVIDIA H100 80GB HBM3"}}, rented: {{dollars_per_gpu_hour: PRICE}}}}]'
        ),
    ]
