"""Each metric's lines, written by hand beside the report that they come from."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from exporter.advice.saving import Saving
from exporter.metrics.table import METRICS
from exporter.readings import ServerKey
from exporter.report import BudgetRow, GpuRow, HostSavings, Report, ShareRow
from tests.kit.units import DOLLAR
from tests.web.conftest import savings

Lines = Callable[[Report, str], list[str]]
MakeReport = Callable[..., Report]

CHAT = 'model="llama-70b",namespace="ml"'
OF_CHAT = 'product="search",server="chat",team="retrieval"'
BATCH = 'model="qwen-7b",namespace=""'
OF_BATCH = 'product="unassigned",server="batch",team="unassigned"'
NO_MODEL = 'model="",namespace=""'
UNASSIGNED_OWNER = 'product="unassigned",server="unallocated",team="unassigned"'
LEDGER = 'ledger="0190a1b2"'
H100 = 'gpu_model="NVIDIA H100 80GB HBM3"'

EXPECTED = {
    "inference_cost_dollars_total": [
        f'{{{CHAT},phase="decode",{OF_CHAT}}} 6.25',
        f'{{{CHAT},phase="idle",{OF_CHAT}}} 1.0',
        f'{{{CHAT},phase="other",{OF_CHAT}}} 0.0',
        f'{{{CHAT},phase="prefill",{OF_CHAT}}} 2.0',
        f'{{{CHAT},phase="unobserved",{OF_CHAT}}} 0.0',
        f'{{{BATCH},phase="decode",{OF_BATCH}}} 0.0',
        f'{{{BATCH},phase="idle",{OF_BATCH}}} 0.0',
        f'{{{BATCH},phase="other",{OF_BATCH}}} 0.0',
        f'{{{BATCH},phase="prefill",{OF_BATCH}}} 0.0',
        f'{{{BATCH},phase="unobserved",{OF_BATCH}}} 0.0',
        f'{{{NO_MODEL},phase="decode",{UNASSIGNED_OWNER}}} 0.0',
        f'{{{NO_MODEL},phase="idle",{UNASSIGNED_OWNER}}} 3.0',
        f'{{{NO_MODEL},phase="other",{UNASSIGNED_OWNER}}} 0.0',
        f'{{{NO_MODEL},phase="prefill",{UNASSIGNED_OWNER}}} 0.0',
        f'{{{NO_MODEL},phase="unobserved",{UNASSIGNED_OWNER}}} 0.0',
    ],
    "inference_server_cost_dollars_total": [
        f'{{component="rent",namespace="ml",{OF_CHAT}}} 9.0',
        f'{{component="storage",namespace="ml",{OF_CHAT}}} 0.25',
        f'{{component="rent",namespace="",{UNASSIGNED_OWNER}}} 3.0',
    ],
    "inference_gpu_cost_dollars_total": [
        f'{{component="rent",{H100},uuid="GPU-aaaa"}} 9.0',
        f'{{component="storage",{H100},uuid="GPU-aaaa"}} 0.25',
        f'{{component="rent",{H100},uuid="GPU-bbbb"}} 3.0',
    ],
    "inference_tokens_total": [
        f'{{kind="cached_prompt",{CHAT},{OF_CHAT}}} 300000.0',
        f'{{kind="generation",{CHAT},{OF_CHAT}}} 450000.0',
        f'{{kind="prompt",{CHAT},{OF_CHAT}}} 1.2e+06',
        f'{{kind="prompt",{BATCH},{OF_BATCH}}} 0.0',
    ],
    "inference_requests_total": [f"{{{CHAT},{OF_CHAT}}} 1024.0"],
    "inference_server_preemptions_total": [f"{{{CHAT},{OF_CHAT}}} 7.0"],
    "inference_hosted_equivalent_dollars_total": [
        f'{{{CHAT},product="search",reference="together-turbo",server="chat",team="retrieval"}} 2.25',
        f'{{{BATCH},product="unassigned",reference="together-turbo",server="batch",team="unassigned"}} 0.0',
    ],
    "inference_hosted_price_dollars_per_million_tokens": [
        '{kind="cached_prompt",reference="deepinfra"} 0.05',
        '{kind="generation",reference="deepinfra"} 0.4',
        '{kind="prompt",reference="deepinfra"} 0.23',
        '{kind="cached_prompt",reference="together-turbo"} 1.04',
        '{kind="generation",reference="together-turbo"} 1.04',
        '{kind="prompt",reference="together-turbo"} 1.04',
    ],
    "inference_gpu_energy_joules_total": [
        f'{{{H100},uuid="GPU-aaaa"}} 5.4000005e+06',
        f'{{{H100},uuid="GPU-bbbb"}} 900000.0',
    ],
    "inference_gpu_unpriced_seconds_total": [f'{{{H100},uuid="GPU-cccc"}} 60.0'],
    "inference_cost_dollars_per_hour": [
        f"{{{CHAT},{OF_CHAT}}} 8.5",
        f"{{{BATCH},{OF_BATCH}}} 0.0",
        f"{{{NO_MODEL},{UNASSIGNED_OWNER}}} 4.25",
    ],
    "inference_cost_at_first_price_dollars_per_hour": [
        '{product="search",team="retrieval"} 17.0',
        '{product="unassigned",team="unassigned"} 4.25',
    ],
    "inference_fleet_overhead_dollars_per_hour": ['{component="staff"} 61.145'],
    "inference_gpu_price_dollars_per_hour": [
        f'{{component="rent",{H100},uuid="GPU-aaaa"}} 4.0',
        f'{{component="storage",{H100},uuid="GPU-aaaa"}} 0.25',
        f'{{component="rent",{H100},uuid="GPU-bbbb"}} 4.25',
    ],
    "inference_price_catalogue_timestamp_seconds": [" 1.7853696e+09"],
    "inference_price_info": [
        (
            f'{{as_of="2026-01-01",component="rent",{H100},price_basis="configured",'
            'source="config.yaml:12",uuid="GPU-aaaa"} 1.0'
        ),
        (
            f'{{as_of="2026-01-01",component="storage",{H100},price_basis="configured",'
            'source="config.yaml:12",uuid="GPU-aaaa"} 1.0'
        ),
        (
            f'{{as_of="2026-11-01",component="rent",{H100},price_basis="estimate",'
            'source="market price of H100",uuid="GPU-bbbb"} 1.0'
        ),
    ],
    "inference_gpu_priced": [
        f'{{{H100},uuid="GPU-aaaa"}} 1.0',
        f'{{{H100},uuid="GPU-bbbb"}} 1.0',
        f'{{{H100},uuid="GPU-cccc"}} 0.0',
    ],
    "inference_cost_dollars_per_million_tokens": [
        f'{{basis="busy",kind="all",{CHAT},{OF_CHAT}}} 4.0',
        f'{{basis="full",kind="all",{CHAT},{OF_CHAT}}} 4.5',
        f'{{basis="full",kind="generation",{CHAT},{OF_CHAT}}} 13.125',
    ],
    "inference_server_last_token_timestamp_seconds": [f"{{{CHAT},{OF_CHAT}}} 1.79552159e+09"],
    "inference_saving_dollars_per_month": [
        f'{{form="capacity",kind="deserted",namespace="",{OF_BATCH}}} 730.5',
        f'{{form="cash",kind="unallocated",namespace="",{UNASSIGNED_OWNER}}} 3650.0',
    ],
    "inference_monthly_run_rate_dollars": ['{ledger="0190a1b2"} 9307.5'],
    "inference_month_to_date_dollars": [
        f'{{{LEDGER},month="2026-10",price_basis="configured",product="search",team="retrieval"}} 12000.0',
        f'{{{LEDGER},month="2026-11",price_basis="configured",product="search",team="retrieval"}} 9000.0',
        f'{{{LEDGER},month="2026-11",price_basis="estimate",product="unassigned",team="unassigned"}} 0.5',
    ],
    "inference_month_end_timestamp_seconds": [
        '{month="2026-10"} 1.7934912e+09',
        '{month="2026-11"} 1.7960832e+09',
    ],
    "inference_month_projected_dollars": ['{month="2026-11",product="search"} 11250.0'],
    "inference_month_metered_since_timestamp_seconds": [
        '{month="2026-10"} 1.7934048e+09',
        '{month="2026-11"} 1.7934912e+09',
    ],
    "inference_month_price_change_ratio": ['{month="2026-11"} 0.75'],
    "inference_budget_dollars": [
        '{budget="fleet",product=""} 27000.0',
        '{budget="search",product="search"} 12000.0',
    ],
    "inference_budget_configured": [" 1.0"],
    "inference_gpu_info": [
        (
            f'{{driver_version="580.95.05",gpu="0",{H100},mig_profile="",pci_bus_id="00000000:18:00.0",'
            'uuid="GPU-aaaa"} 1.0'
        ),
        (
            f'{{driver_version="580.95.05",gpu="1",{H100},mig_profile="",pci_bus_id="00000000:2A:00.0",'
            'uuid="GPU-bbbb"} 1.0'
        ),
        f'{{driver_version="",gpu="2",{H100},mig_profile="",pci_bus_id="",uuid="GPU-cccc"}} 1.0',
    ],
    "inference_gpus_expected": [" 3.0"],
    "inference_gpus_visible": [" 2.0"],
    "inference_gpu_replaced_total": [" 5.0"],
    "inference_gpu_up": [
        f'{{{H100},uuid="GPU-aaaa"}} 1.0',
        f'{{{H100},uuid="GPU-bbbb"}} 1.0',
        f'{{{H100},uuid="GPU-cccc"}} 0.0',
    ],
    "inference_gpu_utilization_ratio": [f'{{{H100},uuid="GPU-aaaa"}} 0.75'],
    "inference_gpu_memory_used_bytes": [f'{{{H100},uuid="GPU-aaaa"}} 7e+10'],
    "inference_gpu_memory_total_bytes": [f'{{{H100},uuid="GPU-aaaa"}} 8.5520809984e+10'],
    "inference_gpu_power_watts": [f'{{{H100},uuid="GPU-aaaa"}} 612.5'],
    "inference_server_info": [
        '{engine="llama.cpp",namespace="",server="batch"} 1.0',
        '{engine="sglang",namespace="",server="sglang:30000"} 1.0',
        '{engine="vllm",namespace="ml",server="chat"} 1.0',
    ],
    "inference_server_endpoint_info": [
        '{engine_version="",namespace="",pod="",server="batch",url="http://127.0.0.1:8080/metrics"} 1.0',
        (
            '{engine_version="0.11.0",namespace="ml",pod="chat-0",server="chat",'
            'url="http://10.0.0.1:8000/metrics"} 1.0'
        ),
        (
            '{engine_version="",namespace="ml",pod="chat-1",server="chat",'
            'url="http://10.0.0.2:8000/metrics"} 1.0'
        ),
    ],
    "inference_split_info": [
        '{method="weights",model="qwen-7b",namespace="",server="batch"} 1.0',
        '{method="time",model="llama-70b",namespace="ml",server="chat"} 1.0',
    ],
    "inference_server_unread_info": [
        '{namespace="",reason="not_listening",server="sglang:30000"} 1.0',
        '{namespace="ml",reason="connection",server="chat"} 1.0',
    ],
    "inference_server_up": [
        '{namespace="",server="batch",url="http://127.0.0.1:8080/metrics"} 1.0',
        '{namespace="",server="sglang:30000",url=""} 0.0',
        '{namespace="ml",server="chat",url="http://10.0.0.1:8000/metrics"} 1.0',
        '{namespace="ml",server="chat",url="http://10.0.0.2:8000/metrics"} 0.0',
    ],
    "inference_server_requests_running": [f"{{{CHAT},{OF_CHAT}}} 5.0"],
    "inference_server_requests_waiting": [f"{{{CHAT},{OF_CHAT}}} 1.0"],
    "inference_server_load_ratio": [
        f'{{limit="kv_cache",{CHAT},{OF_CHAT}}} 0.375',
        f'{{limit="sequences",{CHAT},{OF_CHAT}}} 0.15625',
    ],
    "inference_server_headroom_dollars_per_hour": [f"{{{CHAT},{OF_CHAT}}} 0.0"],
    "inference_slo_observations_total": [
        f'{{basis="requests",{CHAT},objective="first_token",{OF_CHAT}}} 800.0',
        f'{{basis="tokens",{CHAT},objective="per_token",{OF_CHAT}}} 250000.0',
    ],
    "inference_slo_met_observations_total": [
        f'{{basis="requests",bound="lower",{CHAT},objective="first_token",{OF_CHAT}}} 600.0',
        f'{{basis="requests",bound="upper",{CHAT},objective="first_token",{OF_CHAT}}} 750.0',
        f'{{basis="tokens",bound="lower",{CHAT},objective="per_token",{OF_CHAT}}} 250000.0',
        f'{{basis="tokens",bound="upper",{CHAT},objective="per_token",{OF_CHAT}}} 250000.0',
    ],
    "inference_slo_met_ratio": [
        f'{{basis="requests",bound="lower",{CHAT},objective="all",{OF_CHAT}}} 0.75',
        f'{{basis="requests",bound="upper",{CHAT},objective="all",{OF_CHAT}}} 0.9375',
        f'{{basis="requests",bound="lower",{CHAT},objective="first_token",{OF_CHAT}}} 0.75',
        f'{{basis="requests",bound="upper",{CHAT},objective="first_token",{OF_CHAT}}} 0.9375',
        f'{{basis="requests",bound="lower",{CHAT},objective="per_token",{OF_CHAT}}} 1.0',
        f'{{basis="requests",bound="upper",{CHAT},objective="per_token",{OF_CHAT}}} 1.0',
    ],
    "inference_slo_cost_dollars_per_million_tokens": [
        f'{{bound="lower",{CHAT},{OF_CHAT}}} 4.8',
        f'{{bound="upper",{CHAT},{OF_CHAT}}} 6.0',
    ],
    "inference_slo_objective_seconds": [
        '{namespace="ml",objective="first_token",server="chat"} 0.75',
        '{namespace="ml",objective="per_token",server="chat"} 0.05',
    ],
    "inference_slo_target_ratio": ['{namespace="ml",server="chat"} 0.95'],
    "inference_server_load_dollars_per_hour": [f"{{{CHAT},{OF_CHAT}}} 8.5"],
    "inference_server_gpus": [
        '{namespace="",server="batch"} 0.25',
        '{namespace="ml",server="chat"} 1.75',
    ],
    "inference_server_gpu_share_ratio": [
        '{method="configured",namespace="",server="batch",uuid="GPU-bbbb"} 0.25',
        '{method="whole",namespace="ml",server="chat",uuid="GPU-aaaa"} 1.0',
        '{method="configured",namespace="ml",server="chat",uuid="GPU-bbbb"} 0.75',
    ],
    "inference_last_tick_timestamp_seconds": [" 1.7955216e+09"],
    "inference_source_up": ['{source="nvml"} 1.0', '{source="server"} 0.0'],
    "inference_source_read_duration_seconds": ['{source="nvml"} 0.0025', '{source="server"} 1.0'],
    "inference_source_last_success_timestamp_seconds": ['{source="nvml"} 1.7955216e+09'],
    "inference_source_errors_total": ['{reason="timeout",source="nvml"} 2.0'],
    "inference_web_refused_requests_total": ['{reason="reload_off"} 0.0', '{reason="wrong_password"} 7.0'],
    "inference_exposition_errors_total": ['{reason="raised"} 3.0'],
    "inference_ledger_residual_dollars": [" 0.0"],
    "inference_gap_uncharged_seconds_total": [" 259200.0"],
    "inference_ledger_persistent": [" 1.0"],
    "inference_ledger_last_commit_timestamp_seconds": [" 1.7955215995e+09"],
    "inference_ledger_begun_timestamp_seconds": [" 1.7934912e+09"],
    "inference_config_info": ['{hash="5f2a"} 1.0'],
    "inference_web_config_last_reload_success": [" 1.0"],
    "inference_config_last_reload_success": [" 1.0"],
    "inference_config_last_reload_timestamp_seconds": [" 1.795518e+09"],
    "inference_exporter_info": ['{python="3.11.7",revision="9e3d667",version="0.1.0"} 1.0'],
}
"""By metric, the samples of the report in conftest. GPU seconds, 15 rows, have a test of their own."""

OF_THE_BOOKS = {
    "inference_cost_dollars_total",
    "inference_server_cost_dollars_total",
    "inference_gpu_cost_dollars_total",
    "inference_hosted_equivalent_dollars_total",
    "inference_gpu_seconds_total",
    "inference_tokens_total",
    "inference_requests_total",
    "inference_slo_observations_total",
    "inference_slo_met_observations_total",
    "inference_server_preemptions_total",
    "inference_gpu_energy_joules_total",
    "inference_gpu_unpriced_seconds_total",
    "inference_server_last_token_timestamp_seconds",
    "inference_monthly_run_rate_dollars",
    "inference_month_to_date_dollars",
    "inference_month_projected_dollars",
    "inference_month_metered_since_timestamp_seconds",
    "inference_month_price_change_ratio",
    "inference_ledger_residual_dollars",
    "inference_gap_uncharged_seconds_total",
    "inference_gpu_replaced_total",
    "inference_ledger_persistent",
    "inference_ledger_begun_timestamp_seconds",
    "inference_ledger_last_commit_timestamp_seconds",
}


@pytest.mark.parametrize(
    "name", sorted({metric.name for metric in METRICS} - {"inference_gpu_seconds_total"})
)
def test_every_metric_prints_what_the_report_says(name: str, make_report: MakeReport, lines: Lines) -> None:
    """A report's figures reach the page in base units, sorted by labels in the table's order."""
    assert lines(make_report(), name) == [name + sample for sample in EXPECTED[name]]


def test_gpu_seconds_have_all_phases_of_every_party(make_report: MakeReport, lines: Lines) -> None:
    """Phases that nothing was held in stand at 0, so that a sum over phases never misses one."""
    printed = lines(make_report(), "inference_gpu_seconds_total")
    nonzero = [line for line in printed if not line.endswith(" 0.0")]

    assert len(printed) == 15
    assert nonzero == [
        f'inference_gpu_seconds_total{{{CHAT},phase="decode",{OF_CHAT}}} 5400.0',
        f'inference_gpu_seconds_total{{{CHAT},phase="idle",{OF_CHAT}}} 900.0',
        f'inference_gpu_seconds_total{{{CHAT},phase="prefill",{OF_CHAT}}} 1800.0',
        f'inference_gpu_seconds_total{{{BATCH},phase="unobserved",{OF_BATCH}}} 0.5',
        f'inference_gpu_seconds_total{{{NO_MODEL},phase="idle",{UNASSIGNED_OWNER}}} 2700.0',
    ]


def test_a_gpu_shared_by_two_methods_has_a_row_of_each(make_report: MakeReport, lines: Lines) -> None:
    """And they are one part of what its server holds."""
    batch = ServerKey("", "batch")
    shares = (
        ShareRow(batch, "GPU-bbbb", 0.375, "sm_utilization"),
        ShareRow(batch, "GPU-bbbb", 0.125, "memory"),
    )
    name = "inference_server_gpu_share_ratio"

    assert lines(make_report(shares=shares), name) == [
        name + '{method="memory",namespace="",server="batch",uuid="GPU-bbbb"} 0.125',
        name + '{method="sm_utilization",namespace="",server="batch",uuid="GPU-bbbb"} 0.375',
    ]
    assert lines(make_report(shares=shares), "inference_server_gpus") == [
        'inference_server_gpus{namespace="",server="batch"} 0.5'
    ]


def test_the_default_budget_is_not_a_configured_one(make_report: MakeReport, lines: Lines) -> None:
    """Alerts page for a configured budget alone; without budgets, as in an old report, the row is absent."""
    default = (BudgetRow("fleet", "", 27000.0, configured=False),)

    assert lines(make_report(budgets=default), "inference_budget_configured") == [
        "inference_budget_configured 0.0"
    ]
    assert lines(make_report(budgets=()), "inference_budget_configured") == []


def names(page: str) -> set[str]:
    """The metrics that have samples on a page."""
    return {line.split("{")[0].split(" ")[0] for line in page.splitlines() if not line.startswith("#")}


def test_without_books_no_money_is_told(make_report: MakeReport, text: Callable[..., str]) -> None:
    """Until the time since the last run is charged, the ledger's figures are absent; the rest is served."""
    every = {metric.name for metric in METRICS}

    assert names(text(make_report(process=()))) == every
    assert names(text(make_report(process=(), totals=None))) == every - OF_THE_BOOKS


def test_what_is_not_known_has_no_series(make_report: MakeReport, text: Callable[..., str]) -> None:
    """A report that knows nothing says so by saying nothing; no family stands empty."""
    nothing: dict[str, Any] = dict.fromkeys(
        (
            "prices",
            "quotients",
            "met",
            "met_costs",
            "budgets",
            "gpus",
            "servers",
            "unread",
            "loads",
            "shares",
            "splits",
            "hosted",
        ),
        (),
    )
    page = text(
        make_report(
            **nothing,
            sources=(),
            exposition_errors=(),
            web_refused=(),
            totals=None,
            process=(),
            rates={},
            month_ends={},
            projected={},
            run_rate=None,
            fleet_overheads={},
            price_list_date=None,
            expected_gpus=None,
            visible_gpus=None,
            first_price_rates={},
            headroom={},
            savings=None,
            load_rates={},
        )
    )

    assert names(page) == {
        "inference_last_tick_timestamp_seconds",
        "inference_config_info",
        "inference_config_last_reload_success",
        "inference_config_last_reload_timestamp_seconds",
        "inference_web_config_last_reload_success",
        "inference_exporter_info",
    }
    assert page.count("# HELP") == 6


def test_no_run_rate_without_a_price(make_report: MakeReport, lines: Lines) -> None:
    """A host whose GPUs have no price has no run-rate, not one of 0."""
    assert lines(make_report(run_rate=None), "inference_monthly_run_rate_dollars") == []


@pytest.mark.parametrize(
    "changes",
    [
        {"persistent": False},
        {"writable": False},
        {"fleeting": True},
        {"displaced": "ledger.db.displaced-1"},
    ],
)
def test_books_that_a_restart_loses_are_not_persistent(
    changes: dict[str, object], make_report: MakeReport, lines: Lines
) -> None:
    """In memory, unwritable, displaced or on an emptyDir comes to the same: what is metered may be lost."""
    report = make_report(in_books={**changes, "last_commit": None})

    assert lines(report, "inference_ledger_persistent") == ["inference_ledger_persistent 0.0"]
    assert lines(report, "inference_ledger_last_commit_timestamp_seconds") == []


def test_a_bug_in_the_books_shows(make_report: MakeReport, lines: Lines) -> None:
    """A residual of a single picodollar is printed as one."""
    report = make_report(in_books={"residual": 1})

    assert lines(report, "inference_ledger_residual_dollars") == ["inference_ledger_residual_dollars 1e-12"]


def test_a_gpu_that_the_driver_never_listed_has_no_index(make_report: MakeReport, lines: Lines) -> None:
    """An index below zero is none."""
    lost = make_report().gpus[2].gpu
    row = GpuRow(lost._replace(uuid="unseen"), -1, up=False, priced=True, reading=None)

    assert lines(make_report(gpus=(row,)), "inference_gpu_info") == [
        (
            f'inference_gpu_info{{driver_version="",gpu="",{H100},mig_profile="",pci_bus_id="",'
            'uuid="unseen"} 1.0'
        )
    ]


def test_gpus_that_nvml_never_listed_are_neither_up_nor_down(make_report: MakeReport, lines: Lines) -> None:
    """The alert on GPUs that cannot be read is not about them: their number tells that they are missing."""
    lost = make_report().gpus[2].gpu
    row = GpuRow(lost._replace(uuid="unseen"), -1, up=False, priced=True, reading=None, count=2)

    assert lines(make_report(gpus=(row,)), "inference_gpu_up") == []


SAVING = "inference_saving_dollars_per_month"


def finding(number: int, **changes: Any) -> Saving:
    """A finding of a dollar a month for each number: `server` 7 could save 7 dollars."""
    key = ServerKey("", f"s{number}")
    values: dict[str, Any] = {"per_month": number * DOLLAR, "server": key, **changes}
    return replace(savings().findings[0], kind="schedule", **values)


def test_findings_beyond_the_limit_are_one(make_report: MakeReport, lines: Lines) -> None:
    """20 of 23 have a series; 3 and 1 dollars are cash together, 2 dollars capacity."""
    findings = [finding(number) for number in range(23, 3, -1)]
    findings += [finding(3), finding(2, obstacle="host"), finding(1)]

    shown = lines(make_report(savings=HostSavings(0, 336, tuple(findings))), SAVING)

    other = 'kind="other",namespace="",product="unassigned",server="other",team="unassigned"'
    assert len(shown) == 22
    assert f'{SAVING}{{form="cash",{other}}} 4.0' in shown
    assert f'{SAVING}{{form="capacity",{other}}} 2.0' in shown
    assert not any('server="s3"' in line for line in shown)


def test_findings_of_one_server_kind_and_form_are_added_up(make_report: MakeReport, lines: Lines) -> None:
    """Two of 5 dollars and one in capacity: two series."""
    findings = (finding(5), finding(5), finding(5, obstacle="lease"))

    shown = lines(make_report(savings=HostSavings(0, 336, findings)), SAVING)

    of = 'kind="schedule",namespace="",product="unassigned",server="s5",team="unassigned"'
    assert sorted(shown) == [
        f'{SAVING}{{form="capacity",{of}}} 5.0',
        f'{SAVING}{{form="cash",{of}}} 10.0',
    ]


def test_nothing_to_save_has_no_series(make_report: MakeReport, lines: Lines) -> None:
    """A review that found nothing, and none at all."""
    for none in (HostSavings(0, 336), None):
        assert lines(make_report(savings=none), SAVING) == []
