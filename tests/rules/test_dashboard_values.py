"""The dashboard's queries give the right numbers: a small fleet by hand, evaluated by Prometheus itself.

The fleet: one server `chat` with one model, half of its watched money idle; GPUs that nobody holds for the
same money; a second host that stopped reporting after 100 minutes; one GPU without a price, one lost and
estimated, and one source failing. Looked at after three hours. What takes a day to show is tested beside, in
`test_dashboard_changes.py`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.rules.dashboard_queries import Check, Samples, asked, close, wrong

L4_RENT = 'uuid="GPU-0",gpu_model="L4",component="rent",instance="a"'
T4_RENT = 'uuid="GPU-2",gpu_model="T4",component="rent",instance="a"'
SERIES = {
    'inference_cost_dollars_total{server="chat",namespace="ml",model="m",phase="decode"}': "0+0.25x180",
    'inference_cost_dollars_total{server="chat",namespace="ml",model="m",phase="idle"}': "0+0.25x180",
    'inference_cost_dollars_total{server="chat",namespace="ml",model="m",phase="unobserved"}': "0+0.125x180",
    'inference_cost_dollars_total{server="unallocated",phase="idle"}': "0+0.5x180",
    'inference_tokens_total{server="chat",namespace="ml",model="m",kind="prompt"}': "0+3072x180",
    'inference_tokens_total{server="chat",namespace="ml",model="m",kind="generation"}': "0+1024x180",
    'inference_cost_dollars_per_hour{product="p",team="t",server="chat",namespace="ml",model="m"}': "30x180",
    'inference_cost_dollars_per_hour{server="unallocated"}': "30x180",
    'inference_fleet_overhead_dollars_per_hour{component="staff",instance="a"}': "60x180",
    'inference_fleet_overhead_dollars_per_hour{component="staff",instance="c"}': "60x180",
    'inference_fleet_overhead_dollars_per_hour{component="office",instance="a"}': "1.5x180",
    # what takes weeks, or GPU time, to record
    'inference:month_projected_dollars:low{month="2026-11"}': "5000x180",
    'inference:month_projected_dollars:high{month="2026-11"}': "7000x180",
    'inference:cost_dollars:week_ratio{product="p",team="t"}': "1.5x180",
    'inference:gpu_hours:week_ratio{product="p",team="t"}': "1.25x180",
    'inference:gpu_hour_price:week_ratio{product="p",team="t"}': "1.2x180",
    'inference:tokens_per_gpu_hour:week_ratio{product="p",team="t"}': "0.9x180",
    'inference:fleet_overhead_dollars_per_hour:owner{product="p",team="t"}': "41x180",
    'kube_node_status_capacity{node="n1",resource="nvidia_com_gpu"}': "8x180",
    'inference_server_gpus{server="chat",namespace="ml"}': "2x180",
    'inference_server_gpu_share_ratio{server="chat",namespace="ml",uuid="GPU-0",method="sm_utilization"}': (
        "0.5x180"
    ),
    'inference_server_gpu_share_ratio{server="chat",namespace="ml",uuid="GPU-0",method="memory"}': (
        "0.25x180"
    ),
    'inference_server_last_token_timestamp_seconds{server="chat",namespace="ml",model="m"}': "0+60x179 10740",
    'inference_month_to_date_dollars{ledger="a",product="p",team="t",month="2026-11",instance="a"}': (
        "0+1x180"
    ),
    'inference_month_to_date_dollars{ledger="b",month="2026-11",instance="b"}': "20x100 stale",
    'inference_month_end_timestamp_seconds{month="2026-11",instance="a"}': "360000x180",
    'inference_budget_dollars{budget="fleet",product="",instance="a"}': "20000x180",
    'inference_budget_dollars{budget="p",product="p",instance="a"}': "100x180",
    'inference_exporter_info{instance="a"}': "1x180",
    'inference_exporter_info{instance="b"}': "1x100 stale",
    'inference_gpu_priced{uuid="GPU-0",gpu_model="L4",instance="a"}': "1x180",
    'inference_gpu_priced{uuid="GPU-1",gpu_model="L4",instance="a"}': "0x180",
    f"inference_gpu_price_dollars_per_hour{{{L4_RENT}}}": "0.70683x180",
    f"inference_gpu_price_dollars_per_hour{{{T4_RENT}}}": "0.5x180",
    f'inference_price_info{{{L4_RENT},price_basis="estimate"}}': "1x180",
    f'inference_price_info{{{T4_RENT},price_basis="catalogue"}}': "1x180",
    'inference_gpu_unpriced_seconds_total{uuid="GPU-1",gpu_model="L4",instance="a"}': "0+60x180",
    'inference_gpu_up{uuid="GPU-0",gpu_model="L4",instance="a"}': "0x180",
    'inference_gpu_up{uuid="GPU-1",gpu_model="L4",instance="a"}': "1x180",
    'inference_gpu_utilization_ratio{uuid="GPU-0",gpu_model="L4",instance="a"}': "0.5x180",
    'inference_gpu_utilization_ratio{uuid="GPU-1",gpu_model="L4",instance="a"}': "1x180",
    'inference_gpu_memory_used_bytes{uuid="GPU-0",gpu_model="L4",instance="a"}': "3e9x180",
    'inference_gpu_memory_total_bytes{uuid="GPU-0",gpu_model="L4",instance="a"}': "24e9x180",
    'inference_gpu_power_watts{uuid="GPU-0",gpu_model="L4",instance="a"}': "60x180",
    'inference_gpu_energy_joules_total{uuid="GPU-0",gpu_model="L4",instance="a"}': "0+3600x180",
    'inference_ledger_residual_dollars{instance="a"}': "0x180",
    'inference_ledger_persistent{instance="a"}': "1x180",
    'inference_ledger_last_commit_timestamp_seconds{instance="a"}': "0+60x179 10740",
    'inference_last_tick_timestamp_seconds{instance="a"}': "0+60x178 10680x2",
    'inference_gap_uncharged_seconds_total{instance="a"}': "90x180",
    'inference_config_last_reload_success{instance="a"}': "0x180",
    'process_start_time_seconds{instance="a"}': "3600x180",
    'process_resident_memory_bytes{instance="a"}': "5e7x180",
    'process_resident_memory_bytes{instance="somebody else"}': "9e9x180",
    'process_cpu_seconds_total{instance="a"}': "0+0.6x180",
    'inference_source_read_duration_seconds{source="nvml",instance="a"}': "0.004x180",
    'inference_source_up{source="nvml",instance="a"}': "1x180",
    'inference_source_up{source="chat",instance="a"}': "0x180",
    'inference_source_last_success_timestamp_seconds{source="nvml",instance="a"}': "0+60x180",
    'inference_source_last_success_timestamp_seconds{source="chat",instance="a"}': "7200x180",
    'inference_source_errors_total{source="chat",reason="timeout",instance="a"}': "0+2x180",
}

CHAT = '{server="chat",namespace="ml"}'
UNALLOCATED = '{server="unallocated"}'
MONTH = '{month="2026-11"}'
FLEET_BUDGET = '{budget="fleet",month="2026-11"}'
P_BUDGET = '{budget="p",product="p",month="2026-11"}'
PRODUCT = '{product="p",team="t"}'
GPU_0 = '{uuid="GPU-0",gpu_model="L4",instance="a"}'
GPU_1 = '{uuid="GPU-1",gpu_model="L4",instance="a"}'
GPU_2 = '{uuid="GPU-2",gpu_model="T4",instance="a"}'
A = '{instance="a"}'
FAILING = '{source="chat",instance="a"}'
WHO = "fleet: Who: servers, and what changed since this time yesterday"
WRONG = "meter: GPUs without a price, estimated or not readable"

EXPECTED: dict[str, Samples] = {
    "fleet: Spend now, dollars per hour": {"{}": 60},
    # 180 of the host that reports and 20 of the one that is gone
    "fleet: Month to date": {MONTH: 200},
    # 360,000 s - 10,800 s = 97 h left, at 60 dollars an hour
    "fleet: Projected at month end": {MONTH: 200 + 97 * 60},
    # of 20,000, the budget without a product: 200 and 6,020
    # and of 100, the budget of p: 180, and 97 h more at 30 dollars
    "fleet: Of the monthly budgets: {{budget}} spent": {FLEET_BUDGET: 0.01, P_BUDGET: 1.8},
    "fleet: Of the monthly budgets: {{budget}} projected": {FLEET_BUDGET: 0.301, P_BUDGET: 30.9},
    # staff 60 and office 1.5, told by two hosts and spent once
    "fleet: Fleet overheads, per hour": {"{}": 61.5},
    "fleet: Where: dollars per hour, by product": {'{product="p",team="t"}': 30, "{}": 30},
    "fleet: The month against its budget: spent {{month}}": {MONTH: 200},
    "fleet: The month against its budget: projected {{month}}": {MONTH: 6020},
    "fleet: The month against its budget: at the cheapest day": {MONTH: 5000},
    "fleet: The month against its budget: at the dearest day": {MONTH: 7000},
    "fleet: The month against its budget: budget": {"{}": 20000},
    "fleet: Why: this week over the week before: Dollars": {PRODUCT: 1.5},
    "fleet: Why: this week over the week before: GPU-hours": {PRODUCT: 1.25},
    "fleet: Why: this week over the week before: Price of one": {PRODUCT: 1.2},
    "fleet: Why: this week over the week before: Tokens of one": {PRODUCT: 0.9},
    f"{WHO}: Dollars per hour": {CHAT: 30, UNALLOCATED: 30},
    f"{WHO}: GPUs": {CHAT: 2},
    f"{WHO}: Tokens per second": {CHAT: 4096 / 60},
    # idle 0.25 of 0.5 a minute that was watched; GPUs that nobody holds are idle
    f"{WHO}: Idle share, 1 h": {CHAT: 0.5, UNALLOCATED: 1},
    # 0.625 dollars and 4,096 tokens a minute: 152.587890625 dollars per million
    f"{WHO}: Dollars per million tokens, 1 h": {CHAT: 152.587890625},
    # of 1.125 dollars a minute
    "fleet: Why: what the money was for": {
        '{phase="decode"}': 2 / 9,
        '{phase="idle"}': 6 / 9,
        '{phase="unobserved"}': 1 / 9,
    },
    "fleet: Why: what an hour of a GPU costs, by model": {
        '{gpu_model="L4"}': 0.70683,
        '{gpu_model="T4"}': 0.5,
    },
    "chargeback: GPUs without a price": {"{}": 1},
    "chargeback: Hosts: reporting": {"{}": 1},
    "chargeback: Hosts: missing": {"{}": 1},
    "chargeback: Of the products' budgets, this month: {{budget}} spent": {P_BUDGET: 1.8},
    "chargeback: Of the products' budgets, this month: {{budget}} projected": {P_BUDGET: 30.9},
    # 97 hours at 30 dollars each; the host that is gone had spent its 20 for nobody
    "chargeback: Projected at month end, by product and team": {
        PRODUCT: 180 + 97 * 30,
        "{}": 20 + 97 * 30,
    },
    "chargeback: This month so far, by product and team: Fleet overheads, per hour": {PRODUCT: 41},
    "gpus: GPUs": {'{gpu_model="L4"}': 2},
    "gpus: GPUs not readable": {"{}": 1},
    "gpus: Utilization, mean": {"{}": 0.75},
    "gpus: Memory in use": {"{}": 0.125},
    "gpus: Power": {"{}": 60},
    "gpus: Dollars per hour, all components": {"{}": 1.20683},
    "gpus: Each GPU: Dollars per hour": {GPU_0: 0.70683, GPU_2: 0.5},
    "gpus: Each GPU: Utilization": {GPU_0: 0.5, GPU_1: 1},
    "gpus: Each GPU: Memory in use": {GPU_0: 3e9},
    "gpus: Each GPU: Memory": {GPU_0: 24e9},
    "gpus: Each GPU: Power": {GPU_0: 60},
    "gpus: Each GPU: Not readable": {GPU_0: 1},
    "gpus: Utilization, by GPU": {GPU_0: 0.5, GPU_1: 1},
    "gpus: Memory in use, by GPU": {GPU_0: 3e9},
    "gpus: Power, by GPU": {GPU_0: 60},
    # half by what it computes and a quarter by what it holds
    "gpus: Who holds which GPU: Share": {'{server="chat",namespace="ml",uuid="GPU-0"}': 0.75},
    # 3,600 joules a minute
    "gpus: Energy by host, mean power": {A: 60},
    "meter: Hosts: reporting": {"{}": 1},
    "meter: Hosts: missing": {"{}": 1},
    "meter: Books residual": {"{}": 0},
    "meter: Sources failing": {"{}": 1},
    "meter: GPUs without a price": {"{}": 1},
    "meter: GPUs not readable": {"{}": 1},
    # the last tick was 2 minutes ago
    "meter: Oldest tick": {"{}": 120},
    "meter: Failing sources: Since last success": {FAILING: 3600},
    "meter: Failing sources: Errors, 1 h": {FAILING: 120},
    f"{WRONG}: Unpriced time": {GPU_1: 10800},
    f"{WRONG}: Without a price": {GPU_1: 1},
    f"{WRONG}: Estimate, per hour": {GPU_0: 0.70683},
    f"{WRONG}: Not readable": {GPU_0: 1},
    "meter: GPU nodes without an exporter: Without": {'{node="n1"}': 1},
    "meter: Exporters: Since last tick": {A: 120},
    "meter: Exporters: Since last commit": {A: 60},
    "meter: Exporters: On disk": {A: 1},
    "meter: Exporters: Reloaded": {A: 0},
    "meter: Exporters: Time not charged": {A: 90},
    # 10,800 s - 3,600 s; the other program's memory is not ours
    "meter: Exporters: Since start": {A: 7200},
    "meter: Exporters: Memory": {A: 5e7},
    # 0.6 s a minute
    "meter: Exporters: CPU, of one": {A: 0.01},
    "meter: Exporters by version": {"{}": 1},
    "meter: Longest read by source": {'{source="nvml"}': 0.004},
    # 2 a minute
    "meter: Errors by source and reason": {'{source="chat",reason="timeout"}': 10},
    "models: Tokens per second by model": {'{model="m"}': 4096 / 60},
    # 0.25 of 0.625 a minute
    "models: Busy share of the money by model, of each hour": {'{model="m"}': 0.4},
    # 0.25 and 0.5 dollars a minute
    "waste: When: idle dollars per hour, by server": {'{server="chat"}': 15, UNALLOCATED: 30},
}

FIRING = ("InferenceGpuDown", "InferenceHostsMissing", "InferenceSourceDown")
"""Some of the alerts that fire here; which others do is proven beside the rules."""


def test_every_query_gives_the_number_worked_out_by_hand(
    promtool: Callable[..., Any], tmp_path: Path
) -> None:
    """With the fleet rules loaded, each query yields exactly the expected series, and none beside."""
    queries = asked()
    checks = [
        check for name, samples in EXPECTED.items() for check in close(name, queries[name][0], 180, samples)
    ]
    (alerts,) = queries["fleet: Alerts: Firing"]
    for name in FIRING:
        one = f'group by (alertname) (({alerts}) and on (alertname) ALERTS{{alertname="{name}"}})'
        checks.append(Check("fleet: Alerts: Firing", one, 180, {f'{{alertname="{name}"}}': 1}))

    assert wrong(promtool, tmp_path / "values.json", SERIES, checks) == []
