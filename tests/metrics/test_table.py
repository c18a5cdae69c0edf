"""The table keeps the contract: every metric of it, named by one grammar, labeled by one vocabulary."""

import re
from collections import Counter

import pytest

from exporter.metrics.table import METRICS, Metric

S = ("product", "team", "namespace", "server", "model")
G = ("uuid", "gpu_model")

CONTRACT: dict[str, tuple[str, tuple[str, ...]]] = {
    "inference_cost_dollars_total": ("counter", (*S, "phase")),
    "inference_server_cost_dollars_total": (
        "counter",
        ("product", "team", "namespace", "server", "component"),
    ),
    "inference_gpu_cost_dollars_total": ("counter", (*G, "component")),
    "inference_gpu_seconds_total": ("counter", (*S, "phase")),
    "inference_tokens_total": ("counter", (*S, "kind")),
    "inference_requests_total": ("counter", S),
    "inference_server_preemptions_total": ("counter", S),
    "inference_gpu_energy_joules_total": ("counter", G),
    "inference_cost_dollars_per_hour": ("gauge", S),
    "inference_cost_at_first_price_dollars_per_hour": ("gauge", ("product", "team")),
    "inference_fleet_overhead_dollars_per_hour": ("gauge", ("component",)),
    "inference_gpu_price_dollars_per_hour": ("gauge", (*G, "component")),
    "inference_price_info": ("gauge", (*G, "component", "price_basis", "source", "as_of")),
    "inference_price_catalogue_timestamp_seconds": ("gauge", ()),
    "inference_gpu_priced": ("gauge", G),
    "inference_cost_dollars_per_million_tokens": ("gauge", (*S, "kind", "basis")),
    "inference_server_last_token_timestamp_seconds": ("gauge", S),
    "inference_hosted_equivalent_dollars_total": ("counter", (*S, "reference")),
    "inference_hosted_price_dollars_per_million_tokens": ("gauge", ("reference", "kind")),
    "inference_saving_dollars_per_month": (
        "gauge",
        ("product", "team", "namespace", "server", "kind", "form"),
    ),
    "inference_monthly_run_rate_dollars": ("gauge", ("ledger",)),
    "inference_month_to_date_dollars": ("gauge", ("product", "team", "price_basis", "month", "ledger")),
    "inference_month_end_timestamp_seconds": ("gauge", ("month",)),
    "inference_month_projected_dollars": ("gauge", ("product", "month")),
    "inference_month_metered_since_timestamp_seconds": ("gauge", ("month",)),
    "inference_month_price_change_ratio": ("gauge", ("month",)),
    "inference_budget_dollars": ("gauge", ("budget", "product")),
    "inference_budget_configured": ("gauge", ()),
    "inference_gpus_expected": ("gauge", ()),
    "inference_gpus_visible": ("gauge", ()),
    "inference_gpu_replaced_total": ("counter", ()),
    "inference_gpu_info": ("gauge", ("gpu", *G, "driver_version", "mig_profile", "pci_bus_id")),
    "inference_gpu_up": ("gauge", G),
    "inference_gpu_utilization_ratio": ("gauge", G),
    "inference_gpu_memory_used_bytes": ("gauge", G),
    "inference_gpu_memory_total_bytes": ("gauge", G),
    "inference_gpu_power_watts": ("gauge", G),
    "inference_server_info": ("gauge", ("namespace", "server", "engine")),
    "inference_server_endpoint_info": ("gauge", ("namespace", "server", "pod", "url", "engine_version")),
    "inference_split_info": ("gauge", ("namespace", "server", "model", "method")),
    "inference_server_unread_info": ("gauge", ("namespace", "server", "reason")),
    "inference_server_up": ("gauge", ("namespace", "server", "url")),
    "inference_server_requests_running": ("gauge", S),
    "inference_server_requests_waiting": ("gauge", S),
    "inference_server_load_ratio": ("gauge", (*S, "limit")),
    "inference_server_headroom_dollars_per_hour": ("gauge", S),
    "inference_slo_observations_total": ("counter", (*S, "objective", "basis")),
    "inference_slo_met_observations_total": ("counter", (*S, "objective", "basis", "bound")),
    "inference_slo_met_ratio": ("gauge", (*S, "objective", "basis", "bound")),
    "inference_slo_cost_dollars_per_million_tokens": ("gauge", (*S, "bound")),
    "inference_slo_objective_seconds": ("gauge", ("namespace", "server", "objective")),
    "inference_slo_target_ratio": ("gauge", ("namespace", "server")),
    "inference_server_load_dollars_per_hour": ("gauge", S),
    "inference_server_gpus": ("gauge", ("namespace", "server")),
    "inference_server_gpu_share_ratio": ("gauge", ("namespace", "server", "uuid", "method")),
    "inference_gpu_unpriced_seconds_total": ("counter", G),
    "inference_last_tick_timestamp_seconds": ("gauge", ()),
    "inference_source_up": ("gauge", ("source",)),
    "inference_source_read_duration_seconds": ("gauge", ("source",)),
    "inference_source_last_success_timestamp_seconds": ("gauge", ("source",)),
    "inference_source_errors_total": ("counter", ("source", "reason")),
    "inference_exposition_errors_total": ("counter", ("reason",)),
    "inference_ledger_residual_dollars": ("gauge", ()),
    "inference_gap_uncharged_seconds_total": ("counter", ()),
    "inference_ledger_persistent": ("gauge", ()),
    "inference_ledger_last_commit_timestamp_seconds": ("gauge", ()),
    "inference_ledger_begun_timestamp_seconds": ("gauge", ()),
    "inference_config_info": ("gauge", ("hash",)),
    "inference_config_last_reload_success": ("gauge", ()),
    "inference_config_last_reload_timestamp_seconds": ("gauge", ()),
    "inference_web_config_last_reload_success": ("gauge", ()),
    "inference_web_refused_requests_total": ("counter", ("reason",)),
    "inference_exporter_info": ("gauge", ("version", "revision", "python")),
}
"""The contract, written out by hand: a name, a type or a label that changes breaks dashboards and alerts."""

UNITS = (
    "dollars_per_hour",
    "dollars_per_month",
    "dollars_per_million_tokens",
    "timestamp_seconds",
    "dollars",
    "tokens",
    "joules",
    "watts",
    "bytes",
    "ratio",
    "seconds",
)
STATES = ("up", "priced", "persistent", "configured", "success", "expected", "visible", "replaced")
COUNTS = ("requests", "observations", "preemptions", "errors", "gpus", "running", "waiting")

GRAMMAR = re.compile(
    rf"inference(_[a-z]+)*_({'|'.join(UNITS + STATES + COUNTS)})(_total)?|inference(_[a-z]+)+_info"
)
GATEWAY_API = re.compile(r"inference_(pool|model|objective|extension)_")
OTHER_SCALES = re.compile(
    r"percent|milli(?!on)|micro|kilo|mega|_(ms|kb|mb|gb|mib|gib|usd|hours|minutes)(_|$)"
)

LASTING_GAUGES = {
    "inference_last_tick_timestamp_seconds",
    "inference_ledger_last_commit_timestamp_seconds",
    "inference_ledger_begun_timestamp_seconds",
    "inference_config_info",
    "inference_config_last_reload_success",
    "inference_config_last_reload_timestamp_seconds",
    "inference_web_config_last_reload_success",
    "inference_exporter_info",
}

every_metric = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)


def test_the_contract_is_served() -> None:
    """Every promised metric is in the table with its type and labels, and nothing else is."""
    assert {metric.name: (metric.type, metric.labels) for metric in METRICS} == CONTRACT


def test_names_stand_once() -> None:
    """One row, one name; a counter and a gauge do not share a family either, as OpenMetrics reads them."""
    families = Counter(metric.name.removesuffix("_total") for metric in METRICS)

    assert {name: count for name, count in families.items() if count > 1} == {}


@every_metric
def test_names_follow_the_grammar(metric: Metric) -> None:
    """A name says the thing, the quantity and the unit, in base units."""
    assert GRAMMAR.fullmatch(metric.name)
    assert OTHER_SCALES.search(metric.name) is None
    assert GATEWAY_API.match(metric.name) is None


@every_metric
def test_counters_and_only_counters_end_in_total(metric: Metric) -> None:
    """The suffix says the type."""
    assert (metric.type == "counter") == metric.name.endswith("_total")


@every_metric
def test_help_says_what_absence_means(metric: Metric) -> None:
    """Who finds no series reads why there is none; help is one line of whole sentences."""
    assert re.search(r"\bAbsent\b|\bNever absent\b", metric.help)
    assert metric.help.endswith(".")
    assert "\n" not in metric.help


def test_the_price_of_a_kind_is_called_an_assumption() -> None:
    """Prices per kind rest on weights, cached prompts always; the help calls that an assumption."""
    help_text = {metric.name: metric.help for metric in METRICS}

    assert (
        "Weights always divide prompt from cached_prompt"
        in help_text["inference_cost_dollars_per_million_tokens"]
    )
    assert "assumption" in help_text["inference_cost_dollars_per_million_tokens"]
    assert "assumption" in help_text["inference_split_info"]


def test_counters_and_few_gauges_outlive_missed_ticks() -> None:
    """What stands still is still true: totals, and gauges that no tick can change."""
    lasting = {metric.name for metric in METRICS if metric.lasting}
    counters = {metric.name for metric in METRICS if metric.type == "counter"}

    assert LASTING_GAUGES | counters == lasting
