"""The doctor says what would be metered, at which price, and whether the money would be right."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from exporter.config import parse
from exporter.config.settings import Budget, Config, ConfiguredServer
from exporter.cost.inventory import GpuInventory
from exporter.cost.policy import CostPolicy
from exporter.cost.state import State
from exporter.readings import (
    CounterReading,
    FailureReason,
    Gpu,
    GpuEvidence,
    GpuReading,
    Holder,
    MigInstance,
    ServerKey,
    ServerReading,
)
from exporter.reports.diagnosis import Diagnosis, DoctorInput, ExaminedHost, ServerAnswer
from exporter.reports.doctor import as_json, diagnose, text
from exporter.sources.discovery import DiscoveryResult
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Electricity, Hardware, HardwareMatch, Rented, RentPrice
from exporter.units import NANOSECONDS_PER_SECOND

NOW = 1_795_564_800 * NANOSECONDS_PER_SECOND
URL = "http://127.0.0.1:8000/metrics"
H100 = tuple(GpuReading(Gpu(f"GPU-{i}", "NVIDIA H100 80GB HBM3"), i, power_watts=500.0) for i in range(8))
RENTED = Rented((RentPrice(Decimal("55.04"), gpus=8, since=0, since_text="2026-01-01"),))
PRICED = Tariff("h1", (Hardware(HardwareMatch(gpu_model="*H100*"), RENTED, "hardware[0].rented"),))
BUDGETS = (Budget("fleet", "", Decimal(50_000)),)
CONFIG = Config(
    path=Path("ice.yaml"), servers=(ConfiguredServer("chat", URL, (0, 1, 2, 3)),), budgets=BUDGETS
)
ANSWER = ServerReading(
    ServerKey("", "chat"),
    URL,
    up=True,
    engine="vllm",
    models=("m",),
    counters=(
        CounterReading("total", "m", "prompt", 2534.0),
        CounterReading("hits", "m", "prompt", 1920.0, sign=-1),
        CounterReading("hits", "m", "cached_prompt", 1920.0),
        CounterReading("gen", "m", "generation", 1481.0),
    ),
)
FINE = DoctorInput(H100, "", (ServerAnswer(ANSWER),), "/var/lib/ledger.db: id 7", "")
HOST = ExaminedHost(
    Config(), CostPolicy(PRICED), DoctorInput((), "", (), "", ""), NOW, GpuInventory(State(), PRICED, {})
)
"""A host without anything."""


def findings(diagnosis: Diagnosis) -> list[str]:
    return [f"{finding.severity}: {finding.text}" for finding in diagnosis.findings]


def test_a_priced_host_with_its_servers_is_fine_and_gives_a_sum_to_check_by_hand() -> None:
    """8 x 6.88 = 55.04 dollars an hour; x 730 = 40,179.20 dollars a month."""
    diagnosis = diagnose(CONFIG, CostPolicy(PRICED), FINE, NOW)

    assert diagnosis.status == 0
    assert diagnosis.sums == (
        "8 x NVIDIA H100 80GB HBM3 at 6.880000 = 55.040000 dollars per hour",
        "55.040000 dollars per hour x 730 hours = 40,179.20 dollars a month",
    )
    assert findings(diagnosis) == ["note: GPUs 4 to 7 are used by no server: `unallocated`."]


def test_tokens_are_those_that_would_be_counted() -> None:
    """614 computed of 2,534 prompt tokens, since 1,920 came from the cache."""
    (server,) = diagnose(CONFIG, CostPolicy(PRICED), FINE, NOW).servers

    assert server.tokens == {"prompt": 614, "cached_prompt": 1920, "generation": 1481}
    assert server.gpus == (0, 1, 2, 3)


def test_a_price_says_where_it_comes_from() -> None:
    """Source and date stand beside the number; energy says at which power."""
    energy = Electricity(Decimal("0.12"), Decimal("1.4"))
    rule = Hardware(HardwareMatch(), RENTED, "hardware[0].rented", energy)
    diagnosis = diagnose(CONFIG, CostPolicy(Tariff("h1", (rule,))), FINE, NOW)

    printed = text(diagnosis)

    # 500 W x 1.4 x 0.12 dollars per kWh = 0.084 dollars an hour
    assert "energy            0.084000 dollars per hour   hardware[0].rented at 500 W" in printed
    assert "rent              6.880000 dollars per hour   hardware[0].rented 2026-01-01" in printed


def test_an_unpriced_gpu_makes_money_wrong_and_the_finding_is_the_remedy() -> None:
    """No default price: status 2, and the YAML that would price it."""
    diagnosis = diagnose(CONFIG, CostPolicy(Tariff("h1")), FINE, NOW)

    assert diagnosis.status == 2
    assert diagnosis.sums == ()
    assert findings(diagnosis) == [
        (
            "error: 8 x NVIDIA H100 80GB HBM3 have no price on host h1: their cost is absent. Add:\n"
            '    hardware: [{match: {gpu_model: "NVIDIA H100 80GB HBM3"}, '
            "rented: {dollars_per_gpu_hour: PRICE}}]"
        ),
        "note: GPUs 4 to 7 are used by no server: `unallocated`.",
    ]
    assert text(diagnosis).count("no price\n") == 8


def test_models_without_a_price_are_told_each_with_its_count() -> None:
    """One of them is one, and a priced model is not among them."""
    mixed = (*H100[:2], GpuReading(Gpu("GPU-8", "NVIDIA L4"), 2), *H100[3:5])
    tariff = Tariff("h1", (Hardware(HardwareMatch(uuid="GPU-0"), RENTED, "hardware[0].rented"),))
    diagnosis = diagnose(CONFIG, CostPolicy(tariff), DoctorInput(mixed, "", (), "", ""), NOW)

    actual = [finding.split(" on host")[0] for finding in findings(diagnosis) if "no price" in finding]

    assert actual == ["error: 3 x NVIDIA H100 80GB HBM3 have no price", "error: 1 x NVIDIA L4 has no price"]


def test_a_card_that_is_cut_is_held_in_parts() -> None:
    """Who is configured to hold a card holds its instances and the rest; nobody holds the other card."""
    instance = MigInstance("MIG-a", 1, gpu_slices=2, compute_slices=2, memory_bytes=20 * 10**9)
    gpus = tuple(replace(H100[i], instances=(instance,), memory_total_bytes=80 * 10**9) for i in (3, 4))
    actual = diagnose(
        CONFIG, CostPolicy(PRICED), DoctorInput(gpus, "", (ServerAnswer(ANSWER),), "", ""), NOW
    ).gpus

    assert [gpu.holders for gpu in actual] == [("chat 100 % (mig)",), ("unallocated",)]


def test_a_card_of_which_no_server_holds_a_part_has_a_finding() -> None:
    """A process holds 3 of 7 slices of GPU 3; nobody holds the other 4, nor any part of GPU 4."""
    instances = (
        MigInstance("MIG-a", 1, gpu_slices=4, compute_slices=4, memory_bytes=40 * 10**9),
        MigInstance("MIG-b", 2, gpu_slices=4, compute_slices=3, memory_bytes=40 * 10**9),
    )
    gpus = tuple(replace(H100[i], instances=instances, memory_total_bytes=80 * 10**9) for i in (3, 4))
    holder = Holder(ServerKey("", "small"), "GPU-3", instance="MIG-b")
    inputs = DoctorInput(gpus, "", (), "", "", discovery=DiscoveryResult(holders=(holder,)))
    actual = diagnose(Config(path=Path("ice.yaml")), CostPolicy(PRICED), inputs, NOW)

    assert [finding for finding in findings(actual) if "unallocated" in finding] == [
        "note: GPU 4 is used by no server: `unallocated`.",
        "note: parts of GPU 3 are used by no server: `unallocated`.",
    ]


def test_a_server_on_two_instances_of_a_card_has_that_card_once() -> None:
    """Of card 3, and all of card 4: GPUs 3, 4."""
    instances = tuple(MigInstance(f"MIG-{number}", number) for number in (1, 2))
    parts = ((3, "MIG-1"), (3, "MIG-2"), (4, ""))
    holders = tuple(Holder(ANSWER.key, f"GPU-{number}", instance=instance) for number, instance in parts)
    inputs = DoctorInput(
        (replace(H100[3], instances=instances), H100[4]),
        "",
        (ServerAnswer(ANSWER),),
        "",
        "",
        discovery=DiscoveryResult(holders=holders),
    )
    (server,) = diagnose(replace(CONFIG, servers=()), CostPolicy(PRICED), inputs, NOW).servers

    assert server.gpus == (3, 4)


def test_a_shared_gpu_says_by_what() -> None:
    """0.7 configured, and what that leaves."""
    servers = (
        ConfiguredServer("chat", URL, (0,), gpu_share_ratio=Decimal("0.7")),
        ConfiguredServer("batch", URL, (0,)),
    )
    config = replace(CONFIG, servers=servers)
    (actual,) = diagnose(
        config, CostPolicy(PRICED), DoctorInput(H100[:1], "", (ServerAnswer(ANSWER),), "", ""), NOW
    ).gpus

    assert actual.holders == ("chat 70 % (configured)", "batch 30 % (equal)")


def test_work_and_rest_may_be_shared_by_two_measures() -> None:
    """70 to 30 % of the SMs, 20 to 60 GB."""
    holders = tuple(
        Holder(ServerKey("", name), "GPU-0", sm_ratio=ratio, memory_bytes=gigabytes * 10**9)
        for name, ratio, gigabytes in (("chat", 0.7, 20), ("batch", 0.3, 60))
    )
    inputs = replace(FINE, gpus=H100[:1], servers=(), discovery=DiscoveryResult(holders=holders))
    diagnosis = diagnose(Config(), CostPolicy(PRICED), inputs, NOW)

    assert diagnosis.gpus[0].holders == (
        "chat 70 % of the work (sm_utilization), 25 % of the rest (memory)",
        "batch 30 % of the work (sm_utilization), 75 % of the rest (memory)",
    )


def test_a_busy_gpu_that_nobody_holds_is_to_be_looked_at() -> None:
    """Somebody works there, and nobody would pay. At most 1 % is idle."""
    ratios = (0.9, 0.9, 0.9, 0.9, 0.5, 0.01, 0.7, None)
    gpus = tuple(replace(gpu, utilization_ratio=ratio) for gpu, ratio in zip(H100, ratios, strict=True))
    diagnosis = diagnose(
        CONFIG, CostPolicy(PRICED), DoctorInput(gpus, "", (ServerAnswer(ANSWER),), "", ""), NOW
    )

    assert diagnosis.status == 1
    assert findings(diagnosis) == [
        (
            "warning: GPUs 4, 6 are busy and used by no known server: `unallocated`. "
            "Add the program to `servers`, or correct the `gpus` of a server."
        ),
        "note: GPUs 5, 7 are used by no server: `unallocated`.",
    ]


@pytest.mark.parametrize(
    ("reason", "problem", "remedy"),
    [
        ("connection", f"{URL}: Connection refused", "Start it, or correct its address; "),
        ("busy", "still reading after 5 s", "Check its load, and any proxy in front of it."),
        ("not_found", f"{URL}: answers with HTTP status 404", "Behind a prefix write the path: "),
        ("unauthorized", f"{URL}: answers with HTTP status 401", "Write `metrics: {bearer_token_file: "),
        ("certificate", "self-signed certificate", "Write `metrics: {scheme: https, ca_file: /PATH/ca.pem}`"),
        ("gateway", f"{URL}: answers with the page of the LiteLLM proxy.", "Take it out of `servers`, "),
        ("internal", "MemoryError", "Look for `source failed` in the exporter's log"),
    ],
)
def test_a_server_that_is_not_read_has_the_remedy_of_its_reason(
    reason: str, problem: str, remedy: str
) -> None:
    """The state is the reason, as the metric has it; the finding says what happened and what to do."""
    answer = ServerAnswer(ServerReading(ServerKey("", "chat"), URL, up=False), FailureReason(reason), problem)
    diagnosis = diagnose(CONFIG, CostPolicy(PRICED), DoctorInput(H100, "", (answer,), "", ""), NOW)

    assert diagnosis.status == 1
    (finding,) = [line for line in findings(diagnosis) if "chat" in line]
    assert finding.startswith(f"warning: server chat is not read: {problem.removesuffix('.')}. {remedy}")
    word = {"busy": "timeout"}.get(reason, reason)
    assert f"  chat  {URL}  NOT READ ({word})  GPUs 0, 1, 2, 3\n" in text(diagnosis)


@pytest.mark.parametrize(
    ("inputs", "status", "finding"),
    [
        (
            DoctorInput(None, "no driver", (), "", "", evidence=GpuEvidence(library=True)),
            2,
            "error: NVML cannot be read: no driver",
        ),
        (DoctorInput((), "", (), "", ""), 2, "error: NVML shows no GPU on this host."),
        (DoctorInput(H100, "", (), "", "disk is read-only"), 1, "warning: ledger: disk is read-only"),
        (
            DoctorInput(
                H100, "", (ServerAnswer(ServerReading(ServerKey("", "chat"), URL, up=True)),), "", ""
            ),
            1,
            "warning: server chat reports no tokens: its busy cost is `other`.",
        ),
    ],
)
def test_what_is_wrong_is_a_finding_and_an_exit_status(
    inputs: DoctorInput, status: int, finding: str
) -> None:
    """1 for what to look at, 2 for what makes money wrong."""
    diagnosis = diagnose(CONFIG, CostPolicy(PRICED), inputs, NOW)

    assert diagnosis.status == status
    assert finding in findings(diagnosis)


@pytest.mark.parametrize(
    ("passed_through", "boards"), [(0, "the PCI bus has none"), (8, "the 8 on the PCI bus belong to VMs")]
)
def test_a_host_without_a_sign_of_a_gpu_is_right_to_cost_nothing(passed_through: int, boards: str) -> None:
    """A node of a DaemonSet without a selector, or one whose boards are its VMs': each sign is named."""
    evidence = GpuEvidence(passed_through=passed_through)
    inputs = DoctorInput(None, "no library", (), "", "", evidence=evidence)
    diagnosis = diagnose(CONFIG, CostPolicy(PRICED, all_gpus=True), inputs, NOW)

    assert diagnosis.status == 0
    (note,) = [line for line in findings(diagnosis) if "shows no GPU" in line]
    assert "the ledger never read one" in note
    assert boards in note


def test_a_host_whose_gpus_nobody_knows_makes_money_wrong() -> None:
    """A price by model, and no model was ever read: it is an error, and no GPU is made up for it."""
    inputs = DoctorInput(None, "no driver", (), "", "", evidence=GpuEvidence(library=True))
    diagnosis = diagnose(CONFIG, CostPolicy(PRICED, all_gpus=True), inputs, NOW)

    assert diagnosis.status == 2
    assert any(
        "The number or the price of this host's GPUs is not known" in line for line in findings(diagnosis)
    )
    assert diagnosis.missing == ()


def test_a_server_that_holds_a_gpu_this_host_lacks_makes_money_wrong() -> None:
    """A typing error in `gpus` would leave real money unallocated."""
    config = Config(path=Path("ice.yaml"), servers=(ConfiguredServer("chat", URL, (0, 9)),), budgets=BUDGETS)

    diagnosis = diagnose(config, CostPolicy(PRICED), FINE, NOW)

    assert diagnosis.status == 2
    assert "error: server chat: this host shows no GPU 9: correct its `gpus`." in findings(diagnosis)


def test_a_lost_gpu_is_paid_for() -> None:
    """It is a warning, and its price stands in the sum."""
    lost = (GpuReading(H100[0].gpu, 0, up=False), *H100[1:])

    diagnosis = diagnose(
        CONFIG, CostPolicy(PRICED), DoctorInput(lost, "", (ServerAnswer(ANSWER),), "", ""), NOW
    )

    assert diagnosis.status == 1
    assert "warning: GPU 0 cannot be read: charged as idle." in findings(diagnosis)
    assert diagnosis.sums[0].startswith("8 x ")


def test_json_carries_the_same_and_its_status() -> None:
    """For machines."""
    actual = json.loads(as_json(diagnose(CONFIG, CostPolicy(PRICED), FINE, NOW)))

    assert actual["status"] == 0
    assert actual["servers"][0]["tokens"]["prompt"] == 614
    assert actual["gpus"][0]["prices"][0] == {
        "component": "rent",
        "dollars_per_hour": 6.88,
        "source": "hardware[0].rented",
        "as_of": "2026-01-01",
        "note": "",
        "price_basis": "configured",
    }


DEFAULT = (
    "note: no budget is configured: the default of 27000 dollars a month for the whole fleet is in force, "
    "and alerts and dashboards compare with it. Write yours:\n"
    "    budgets: [{name: fleet, dollars_per_month: AMOUNT}]"
)
PASSED = (
    "warning: this host alone costs 40,179.20 dollars a month at current prices, more than budget fleet "
    "of 27000: raise it, or correct the prices."
)


@pytest.mark.parametrize(
    ("budgets", "expected"),
    [
        ("", [DEFAULT]),
        ("budgets: [{name: fleet, dollars_per_month: 60000}]\n", []),
        # 8 x 6.88 x 730 = 40,179.20; of a product nothing is known before its servers have run.
        ("budgets: [{name: fleet, dollars_per_month: 27000}]\n", [PASSED]),
        ("budgets: [{name: chat, match: {product: chat}, dollars_per_month: 27000}]\n", []),
        ("budgets: [{name: fleet, dollars_per_month: 40179.20}]\n", []),
    ],
)
def test_the_default_budget_is_told_where_none_is_configured(budgets: str, expected: list[str]) -> None:
    """Whoever configures the same amount has seen it."""
    config = parse(f"interval: 10s\n{budgets}".encode())

    actual = findings(diagnose(config, CostPolicy(PRICED), FINE, NOW))
    assert [line for line in actual if "budget" in line] == expected


def test_one_sum_has_one_figure() -> None:
    """28,005 / 4 / 8766 is 0.7986824: 8 x 0.798682 x 730 is 4,664.30, unrounded it would be 4,664.31."""
    config = parse(
        b"budgets: [{name: fleet, dollars_per_month: 1000}]\n"
        b"hardware: [{owned: {purchase_dollars_per_gpu: 28005, in_service: 2026-01-01, life_years: 4}}]\n"
    )
    diagnosis = diagnose(config, CostPolicy(Tariff("h1", config.hardware)), FINE, NOW)

    assert diagnosis.sums[-1] == "6.389456 dollars per hour x 730 hours = 4,664.30 dollars a month"
    assert any("this host alone costs 4,664.30 dollars a month" in line for line in findings(diagnosis))


def test_a_budget_is_compared_with_all_gpus_that_are_paid_for() -> None:
    """NVML lists 4 of 8 GPUs at 6.88: 4 x 6.88 x 730 is 20,089.60, and the host costs 40,179.20."""
    config = parse(b"budgets: [{name: fleet, dollars_per_month: 27000}]\n")
    inputs = replace(FINE, gpus=H100[:4])

    diagnosis = diagnose(config, CostPolicy(PRICED, all_gpus=True), inputs, NOW)

    assert len(diagnosis.missing) == 4
    assert PASSED in findings(diagnosis)


def test_a_clock_that_is_not_synchronized_is_told_with_what_depends_on_it() -> None:
    """A note: money per hour is right all the same."""
    diagnosis = diagnose(CONFIG, CostPolicy(PRICED), replace(FINE, synchronized=False), NOW)

    assert diagnosis.status == 0
    assert findings(diagnosis)[0] == (
        "note: the kernel says that the clock is not synchronized. The starts of months, days and dated "
        "prices, and the length of downtime, depend on it; cost per hour does not. After a reboot totals "
        "wait for it, two minutes at most. Let chrony or systemd-timesyncd set it."
    )
    assert not any("clock" in line for line in findings(diagnose(CONFIG, CostPolicy(PRICED), FINE, NOW)))
