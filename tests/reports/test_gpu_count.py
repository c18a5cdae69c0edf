"""The doctor says where more or fewer GPUs are paid for than NVML lists, and its sum has them all."""

import json
from decimal import Decimal

import pytest

from exporter.config.settings import Config
from exporter.cost.policy import CostPolicy
from exporter.cost.state import GpuState, State
from exporter.readings import Gpu, GpuReading, HostLocation
from exporter.reports.diagnosis import Diagnosis, DoctorInput
from exporter.reports.doctor import as_json, diagnose, text
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Hardware, HardwareMatch, Listed, Overhead, Rented, RentPrice

MODEL = "NVIDIA H100 80GB HBM3"
GPUS = tuple(GpuReading(Gpu(f"GPU-{number}", MODEL), number) for number in range(9))
HOST = Hardware(HardwareMatch(), Rented((RentPrice(Decimal("55.04"), 8),)), "hardware[0]")
P5 = HostLocation("aws", "p5.48xlarge", "us-east-1")
SUM = (
    "8 x NVIDIA H100 80GB HBM3 at 6.880000 = 55.040000 dollars per hour",
    "55.040000 dollars per hour x 730 hours = 40,179.20 dollars a month",
)
ADVICE = (
    "look at nvidia-smi and the kernel's log. Where the host has fewer, correct `gpus_per_host`, or name "
    "those that left under `retired`; where this exporter is given some of them, set "
    "`discovery: {gpus: visible}`."
)


def examine(
    listed: int | None,
    *,
    priced: Tariff | None = None,
    all_gpus: bool = True,
    remembered: State | None = None,
) -> Diagnosis:
    inputs = DoctorInput(
        None if listed is None else GPUS[:listed], "", (), "ledger", "", P5, remembered=remembered or State()
    )
    return diagnose(Config(), CostPolicy(priced or Tariff("h1", (HOST,)), all_gpus=all_gpus), inputs, 10**18)


def counts(diagnosis: Diagnosis) -> list[str]:
    return [f"{each.severity}: {each.text}" for each in diagnosis.findings if "NVML lists" in each.text]


@pytest.mark.parametrize(
    "priced",
    [
        Tariff("h1", (HOST,)),
        Tariff("h1", (Hardware(HardwareMatch(), Listed(), "x"),), location=P5),
        Tariff("h1", location=P5, unmatched="estimate"),
    ],
    ids=["per-host", "catalogue", "no-rule"],
)
def test_seven_of_eight_are_paid_for_and_said(priced: Tariff) -> None:
    """The sum is the host's price, and the line of the eighth says why."""
    diagnosis = examine(7, priced=priced)

    assert diagnosis.sums == SUM
    assert counts(diagnosis) == [f"warning: NVML lists 7 GPUs, and 1 more is paid for (unseen): {ADVICE}"]
    assert diagnosis.status == 1
    assert f"  -  {MODEL}  unseen  PAID FOR AND NOT LISTED\n" in text(diagnosis)
    assert json.loads(as_json(diagnosis))["missing"][0]["uuid"] == "unseen"


def test_two_unseen_ones_share_what_is_for_the_host() -> None:
    """0.80 an hour of network is divided by eight, not by the six that are listed."""
    network = Overhead("network", Decimal("0.80"), "hour", "host", "overheads[0]")
    diagnosis = examine(6, priced=Tariff("h1", (HOST,), (network,)))

    assert diagnosis.sums[0] == "8 x NVIDIA H100 80GB HBM3 at 6.980000 = 55.840000 dollars per hour"
    assert f"  -  {MODEL}  unseen x 2  PAID FOR AND NOT LISTED\n" in text(diagnosis)


def test_those_of_the_ledger_stay_charged_while_nvml_is_silent() -> None:
    """How many the host has is then not known, and no configuration is to be corrected."""
    remembered = State(gpus={gpu.gpu.uuid: GpuState(gpu.gpu, gpu.index) for gpu in GPUS[:2]})
    diagnosis = examine(None, remembered=remembered)

    expected = "2 GPUs stay charged while NVML cannot be read (GPU-0, GPU-1)."
    assert expected in [each.text for each in diagnosis.findings]
    assert counts(diagnosis) == []


def test_one_that_the_ledger_knows_is_named() -> None:
    """What the daemon holds for lost is what the doctor tells."""
    expected_text = {gpu.gpu.uuid: GpuState(gpu.gpu, gpu.index) for gpu in GPUS[:8]}
    diagnosis = examine(7, remembered=State(gpus=expected_text))

    assert counts(diagnosis) == [f"warning: NVML lists 7 GPUs, and 1 more is paid for (GPU-7): {ADVICE}"]
    assert diagnosis.sums == SUM


def test_all_eight_are_nothing_to_say() -> None:
    """No finding, no line."""
    diagnosis = examine(8)

    assert (counts(diagnosis), diagnosis.missing, diagnosis.sums) == ([], (), SUM)


def test_a_ninth_is_charged_and_said() -> None:
    """Each is charged an eighth of the host's price, nine in all."""
    assert counts(examine(9)) == [
        (
            "warning: NVML lists 9 GPUs, and the host has 8 by its price: each is charged 1/8 of that. "
            "Correct `gpus_per_host`."
        )
    ]


def test_an_exporter_that_is_given_half_says_what_it_goes_by() -> None:
    """A note, since two of them are a right setup; nothing is charged for GPUs of the other."""
    diagnosis = examine(4, all_gpus=False)

    assert counts(diagnosis) == [
        (
            "note: NVML lists 4 of the host's 8 GPUs, and this exporter may be given no others: "
            "`discovery: {gpus: visible}` is in force, and each is charged 1/8 of the price. "
            "Where no other exporter charges the rest, set `{gpus: all}`."
        )
    ]
    assert diagnosis.sums[0] == "4 x NVIDIA H100 80GB HBM3 at 6.880000 = 27.520000 dollars per hour"


def test_a_silent_driver_says_nothing_of_numbers() -> None:
    """What cannot be read is said by itself."""
    inputs = DoctorInput(None, "hung", (), "ledger", "")
    diagnosis = diagnose(Config(), CostPolicy(Tariff("h1", (HOST,)), all_gpus=True), inputs, 10**18)

    assert counts(diagnosis) == []
