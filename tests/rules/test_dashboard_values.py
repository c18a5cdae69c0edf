"""The dashboards' queries give the right numbers: a small fleet by hand, evaluated by Prometheus itself.

The hosts, whose rules are loaded: one server `chat` with one model, half of its watched money idle; GPUs that
no server holds for the same money; a second host that is silent since minute 100; one GPU without a price,
one lost and estimated, and one source failing. Looked at after three hours. What takes a day to show is
tested beside, in `test_dashboard_changes.py`.

What the place that sees all clusters records is written here, and a cluster `w` in it that is lost: the tests
of the rules prove those records.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.rules.dashboard_queries import CLUSTER_RULES, Samples, close, queries_by_board, wrong

L4_RENT = 'uuid="GPU-0",gpu_model="L4",component="rent",instance="a"'
T4_RENT = 'uuid="GPU-2",gpu_model="T4",component="rent",instance="a"'
OWNED = 'product="p",team="t",server="chat",namespace="ml"'
SERVED = f'{OWNED},model="m",instance="a"'
FIRST, EACH = (f'objective="{name}",basis="requests"' for name in ("first_token", "per_token"))
OF_CHAT = 'server="chat",namespace="ml",instance="a"'
HOLDS = 'server="chat",namespace="ml",uuid="GPU-0",instance="a"'
FREE = 'server="unallocated",instance="a"'
NOV, OCT, DEC = 'month="2026-11"', 'month="2026-10"', 'month="2026-12"'
OF_P, OF_W = 'product="p",team="t"', 'cluster="w",product="p",team="t"'
DOWN = 'alertname="InferenceGpuDown",severity="ticket",product="fleet"'
IDLE = 'alertname="InferenceIdleSpend",severity="ticket",product="p",cluster="w"'
HOSTS = {
    f'inference_cost_dollars_total{{{SERVED},phase="decode"}}': "0+0.25x180",
    f'inference_cost_dollars_total{{{SERVED},phase="idle"}}': "0+0.25x180",
    f'inference_cost_dollars_total{{{SERVED},phase="unobserved"}}': "0+0.125x180",
    f'inference_cost_dollars_total{{{FREE},phase="idle"}}': "0+0.5x180",
    f'inference_gpu_seconds_total{{{SERVED},phase="decode"}}': "0+120x180",
    f'inference_tokens_total{{{SERVED},kind="prompt"}}': "0+3072x180",
    f'inference_tokens_total{{{SERVED},kind="generation"}}': "0+1024x180",
    # of 60 requests a minute 45 to 57 met one objective, and 54 the other
    f'inference_slo_observations_total{{{SERVED},objective="first_token",basis="requests"}}': "0+60x180",
    f'inference_slo_met_observations_total{{{SERVED},{FIRST},bound="lower"}}': "0+45x180",
    f'inference_slo_met_observations_total{{{SERVED},{FIRST},bound="upper"}}': "0+57x180",
    f'inference_slo_observations_total{{{SERVED},objective="per_token",basis="requests"}}': "0+60x180",
    f'inference_slo_met_observations_total{{{SERVED},{EACH},bound="lower"}}': "0+54x180",
    f'inference_slo_met_observations_total{{{SERVED},{EACH},bound="upper"}}': "0+54x180",
    f'inference_slo_objective_seconds{{{OF_CHAT},objective="first_token"}}': "1x180",
    f'inference_slo_objective_seconds{{{OF_CHAT},objective="per_token"}}': "1x180",
    f"inference_slo_target_ratio{{{OF_CHAT}}}": "0.95x180",
    f"inference_cost_dollars_per_hour{{{SERVED}}}": "30x180",
    f"inference_cost_dollars_per_hour{{{FREE}}}": "30x180",
    f'inference_cost_dollars_per_hour{{{OWNED},model="m",instance="b"}}': "5x100 stale",
    # a quarter of what the server could serve is served
    f'inference_server_load_ratio{{{SERVED},limit="kv_cache"}}': "0.25x180",
    f"inference_server_load_dollars_per_hour{{{SERVED}}}": "7.5x180",
    f"inference_server_headroom_dollars_per_hour{{{SERVED}}}": "6x180",
    f"inference_server_requests_waiting{{{SERVED}}}": "3x180",
    f"inference_server_preemptions_total{{{SERVED}}}": "0+2x180",
    # a finding of each host; what is silent is not counted on
    f'inference_saving_dollars_per_month{{{OWNED},kind="schedule",form="cash",instance="a"}}': "1400x180",
    f'inference_saving_dollars_per_month{{{OWNED},kind="schedule",form="cash",instance="b"}}': "7x100 stale",
    # what takes weeks to record
    f"inference:cost_dollars:week_ratio{{{OF_P}}}": "1.5x180",
    f"inference:gpu_hours:week_ratio{{{OF_P}}}": "1.25x180",
    f"inference:gpu_hour_price:week_ratio{{{OF_P}}}": "1.2x180",
    f"inference:tokens_per_gpu_hour:week_ratio{{{OF_P}}}": "0.9x180",
    'kube_node_status_capacity{node="n1",resource="nvidia_com_gpu"}': "8x180",
    'inference_server_gpus{server="chat",namespace="ml",instance="a"}': "2x180",
    f'inference_server_gpu_share_ratio{{{HOLDS},method="sm_utilization"}}': "0.5x180",
    f'inference_server_gpu_share_ratio{{{HOLDS},method="memory"}}': "0.25x180",
    f"inference_server_last_token_timestamp_seconds{{{SERVED}}}": "0+60x179 10740",
    f'inference_month_to_date_dollars{{ledger="a",{OF_P},{NOV},instance="a"}}': "0+1x180",
    f'inference_month_to_date_dollars{{ledger="b",{NOV},instance="b"}}': "20x100 stale",
    'up{job="inference-cost-exporter",instance="a"}': "1x180",
    'up{job="inference-cost-exporter",instance="b"}': "1x100 0x79",
    'up{job="inference-cost-exporter",instance="never"}': "0x180",
    'inference_exporter_info{version="1",instance="a"}': "1x180",
    'inference_exporter_info{version="1",instance="b"}': "1x100 stale",
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
CENTRE = {
    "inference:spend_dollars_per_hour": "65x180",
    'inference:spend_dollars_per_hour{cluster="w"}': "12x180",
    f"inference:spend_dollars_per_hour:owner{{{OF_P}}}": "35x180",
    "inference:spend_dollars_per_hour:owner": "30x180",
    f"inference:spend_dollars_per_hour:owner{{{OF_W}}}": "12x180",
    f"inference:lost_dollars_per_hour:owner{{{OF_W}}}": "12x180",
    'inference:cluster_silent_since_timestamp_seconds{cluster="w"}': "7200x180",
    "inference:monthly_run_rate_dollars": "45500x180",
    'inference:monthly_run_rate_dollars{cluster="w"}': "8400x180",
    f"inference:monthly_run_rate_dollars:owner{{{OF_P}}}": "24500x180",
    f"inference:monthly_run_rate_dollars:owner{{{OF_W}}}": "8400x180",
    # hosts are configured with 700 hours
    "inference:fleet_hours_per_month": "700x180",
    f"inference:month_to_date_dollars{{{NOV}}}": "200x180",
    f'inference:month_to_date_dollars{{cluster="w",{NOV}}}': "50x180",
    f"inference:month_to_date_dollars:owner{{{OF_P},{NOV}}}": "180x180",
    f"inference:month_to_date_dollars:owner{{{NOV}}}": "20x180",
    f"inference:month_to_date_dollars:owner{{{OF_W},{NOV}}}": "50x180",
    f"inference:month_metered_since_timestamp_seconds{{{NOV}}}": "3600x180",
    f'inference:month_metered_since_timestamp_seconds{{cluster="w",{NOV}}}': "7200x180",
    f"inference:month_unmetered_hours{{{NOV}}}": "1x180",
    f'inference:month_unmetered_hours{{cluster="w",{NOV}}}': "2x180",
    f"inference:month_unposted_dollars{{{NOV}}}": "6x180",
    f'inference:month_unposted_dollars{{cluster="w",{NOV}}}': "36x180",
    f"inference:month_end_timestamp_seconds{{{NOV}}}": "360000x180",
    f"inference:month_end_timestamp_seconds{{{OCT}}}": "7200x180",
    f"inference:month_projected_dollars{{{NOV}}}": "5000x180",
    f'inference:month_projected_dollars{{cluster="w",{NOV}}}': "1020x180",
    f"inference:fleet_month_projected_dollars{{{NOV}}}": "6020x180",
    f"inference:fleet_month_projected_dollars:low{{{NOV}}}": "5500x180",
    f"inference:fleet_month_projected_dollars:high{{{NOV}}}": "7000x180",
    f"inference:month_projected_dollars:owner{{{OF_P},{NOV}}}": "4000x180",
    f"inference:month_projected_dollars:owner_low{{{OF_P},{NOV}}}": "3500x180",
    f"inference:month_projected_dollars:owner_high{{{OF_P},{NOV}}}": "4500x180",
    # a host whose clock is a day ahead is in December
    f"inference:fleet_month_hours_left{{{NOV}}}": "97x180",
    f"inference:month_to_date_dollars{{{DEC}}}": "7x180",
    f"inference:month_to_date_dollars:owner{{{OF_P},{DEC}}}": "7x180",
    f"inference:month_projected_dollars{{{DEC}}}": "48360x180",
    f"inference:month_projected_dollars:owner{{{OF_P},{DEC}}}": "34000x180",
    f"inference:month_projected_dollars:owner_low{{{OF_P},{DEC}}}": "30000x180",
    f"inference:month_projected_dollars:owner_high{{{OF_P},{DEC}}}": "40000x180",
    f"inference:month_unmetered_hours{{{DEC}}}": "300x180",
    "inference:budget_configured": "1x180",
    'inference:budget_dollars{budget="fleet"}': "20000x180",
    'inference:budget_dollars{budget="limit"}': "5000x180",
    'inference:budget_dollars{budget="p",product="p"}': "100x180",
    f'inference:budget_month_to_date_dollars{{budget="fleet",{NOV}}}': "250x180",
    f'inference:budget_month_to_date_dollars{{budget="limit",{NOV}}}': "250x180",
    f'inference:budget_month_to_date_dollars{{budget="p",product="p",{NOV}}}': "230x180",
    f'inference:budget_month_projected_dollars{{budget="fleet",{NOV}}}': "6020x180",
    f'inference:budget_month_projected_dollars{{budget="limit",{NOV}}}': "6020x180",
    f'inference:budget_month_projected_dollars{{budget="p",product="p",{NOV}}}': "4000x180",
    f'inference:budget_spent_ratio{{budget="fleet",{NOV}}}': "0.0125x180",
    f'inference:budget_spent_ratio{{budget="limit",{NOV}}}': "0.05x180",
    f'inference:budget_spent_ratio{{budget="p",product="p",{NOV}}}': "2.3x180",
    f'inference:budget_projected_ratio{{budget="fleet",{NOV}}}': "0.301x180",
    f'inference:budget_projected_ratio{{budget="limit",{NOV}}}': "1.204x180",
    f'inference:budget_projected_ratio{{budget="p",product="p",{NOV}}}': "40x180",
    f'inference:budget_runs_out_timestamp_seconds{{budget="limit",{NOV}}}': "300000x180",
    f'inference:budget_runs_out_timestamp_seconds{{budget="p",product="p",{NOV}}}': "10800x180",
    "inference:fleet_overhead_dollars_per_hour": "61.5x180",
    f"inference:fleet_overhead_dollars_per_hour:owner{{{OF_P}}}": "41x180",
    f"inference:closed_month_dollars:owner{{{OF_P},{OCT}}}": "200.5x180",
    f"inference:closed_month_dollars:owner{{{OF_W},{OCT}}}": "24x180",
    f'inference:closed_month_dollars:owner{{product="unassigned",team="unassigned",{OCT}}}': "12x180",
    f'inference:closed_month_dollars:price_basis{{price_basis="configured",{OCT}}}': "189.2x180",
    f'inference:closed_month_dollars:price_basis{{price_basis="estimate",{OCT}}}': "23.3x180",
    f'inference:closed_month_dollars:price_basis{{cluster="w",price_basis="estimate",{OCT}}}': "24x180",
    f'ALERTS{{alertstate="firing",{DOWN},instance="a"}}': "1x180",
    f'ALERTS{{alertstate="firing",{IDLE}}}': "1x180",
    'ALERTS{alertname="InferenceNoExporter",alertstate="pending",severity="page",product="fleet"}': "1x180",
    'ALERTS{alertname="SomebodyElses",alertstate="firing",severity="page"}': "1x180",
}
SERIES = HOSTS | CENTRE

CHAT = f"{{{OWNED}}}"
LOADED = 'server="chat",namespace="ml",model="m",instance="a"'
FILL = "waste: Fill: what servers could serve beside what they serve, the first 50"
UNALLOCATED = '{server="unallocated"}'
MONTH, NEXT = f"{{{NOV}}}", f"{{{DEC}}}"
HERE, W = "{}", '{cluster="w"}'
FLEET_BUDGET, LIMIT, P_BUDGET = '{budget="fleet"}', '{budget="limit"}', '{budget="p",product="p"}'
PRODUCT = f"{{{OF_P}}}"
GPU_0 = '{uuid="GPU-0",gpu_model="L4",instance="a"}'
GPU_1 = '{uuid="GPU-1",gpu_model="L4",instance="a"}'
GPU_2 = '{uuid="GPU-2",gpu_model="T4",instance="a"}'
A, B = '{instance="a"}', '{instance="b"}'
FAILING = '{source="chat",instance="a"}'
BUDGETS = "fleet: Budgets, by projected share: the first 30"
OF_PRODUCTS = "chargeback: Budgets of products, by projected share: the first 100"
COURSE = "fleet: The month against the budgets of the fleet"
CLUSTERS = "fleet: Clusters"
OWNERS = "fleet: Products and teams: the first 30, by what they spend now"
SERVERS = "fleet: Servers: the first 30, by what they spend now"
LEVEL = "models: Service level, last hour: the first 30 servers, by what they spend now"
WHERE = "fleet: Where: the 30 servers whose idle time costs most"
FINDING = f'{{{OWNED},kind="schedule",form="cash"}}'
WEEK = "fleet: This week over the week before"
INVOICE = "chargeback: Invoice: closed months, by product and team, the first 100"
THIS = "chargeback: This month so far, by product and team, the first 100"
RATES = "chargeback: Rates and overheads, by product and team"
WRONG = "meter: GPUs without a price, estimated or not readable"
SILENT = "meter: Silent hosts, the 50 that are silent for longest"
EXPORTERS = "meter: Exporters, the 50 whose last tick is oldest"

EXPECTED: dict[str, Samples] = {
    # 30 and 30, 5 of the silent host, 12 of the lost cluster
    "fleet: Spend now, dollars per hour": {"{}": 77},
    "fleet: Spend of unreachable hosts, per hour: silent hosts": {"{}": 5},
    "fleet: Spend of unreachable hosts, per hour: lost clusters": {"{}": 12},
    # 700 hours of 77
    "fleet: Run-rate, per month": {"{}": 53900},
    "fleet: Month to date": {MONTH: 250, NEXT: 7},
    # milliseconds, of the cluster that began first
    "fleet: Metered since": {MONTH: 3_600_000},
    "fleet: Not metered this month": {MONTH: 2, NEXT: 300},
    "fleet: Projected at month end: low, {{month}}": {MONTH: 5500},
    "fleet: Projected at month end: {{month}}": {MONTH: 6020},
    "fleet: Projected at month end: high, {{month}}": {MONTH: 7000},
    # each budget of the fleet by itself, and none of a product
    "fleet: Projected share of the fleet's budgets: {{budget}}": {
        f'{{budget="fleet",{NOV}}}': 0.301,
        f'{{budget="limit",{NOV}}}': 1.204,
    },
    "fleet: Projected share of the fleet's budgets: {{budget}}, the default": {},
    "fleet: The fleet's budget runs out": {f'{{budget="limit",{NOV}}}': 300_000_000},
    "fleet: Overheads, per hour": {"{}": 61.5},
    f"{BUDGETS}: Spent": {FLEET_BUDGET: 250, LIMIT: 250, P_BUDGET: 230},
    f"{BUDGETS}: Projected": {FLEET_BUDGET: 6020, LIMIT: 6020, P_BUDGET: 4000},
    f"{BUDGETS}: Of": {FLEET_BUDGET: 20000, LIMIT: 5000, P_BUDGET: 100},
    f"{BUDGETS}: Spent share": {FLEET_BUDGET: 0.0125, LIMIT: 0.05, P_BUDGET: 2.3},
    f"{BUDGETS}: Projected share": {FLEET_BUDGET: 0.301, LIMIT: 1.204, P_BUDGET: 40},
    f"{BUDGETS}: Runs out": {LIMIT: 300_000_000, P_BUDGET: 10_800_000},
    # one is pending, and one is of other rules
    "fleet: Alerts: Firing": {
        f'{{{DOWN},cluster="All",board="inference-cost-gpus"}}': 1,
        f'{{{IDLE},board="inference-cost-waste"}}': 1,
    },
    f"{COURSE}: spent {{{{month}}}}": {MONTH: 250, NEXT: 7},
    f"{COURSE}: projected {{{{month}}}}": {MONTH: 6020},
    f"{COURSE}: low {{{{month}}}}": {MONTH: 5500},
    f"{COURSE}: high {{{{month}}}}": {MONTH: 7000},
    f"{COURSE}: budget {{{{budget}}}}": {FLEET_BUDGET: 20000, LIMIT: 5000},
    "fleet: Dollars per hour: spend": {"{}": 77},
    "fleet: Dollars per hour: silent hosts": {"{}": 5},
    "fleet: Dollars per hour: lost clusters": {"{}": 12},
    f"{CLUSTERS}: Dollars per hour": {HERE: 65, W: 12},
    f"{CLUSTERS}: Month to date": {HERE: 200, W: 50},
    f"{CLUSTERS}: Projected": {HERE: 5000, W: 1020},
    f"{CLUSTERS}: Not yet posted": {HERE: 6, W: 36},
    f"{CLUSTERS}: Not metered": {HERE: 1, W: 2},
    f"{CLUSTERS}: Hosts": {HERE: 1},
    # one that answered, and one that never did
    f"{CLUSTERS}: Silent hosts": {HERE: 2},
    "fleet: Dollars per hour, by product: the first 10: {{product}}": {'{product="p"}': 47, "{}": 30},
    "fleet: Dollars per hour, by product: the first 10: all others": {},
    f"{OWNERS}: Dollars per hour": {PRODUCT: 47, "{}": 30},
    f"{OWNERS}: Month to date": {PRODUCT: 230, "{}": 20},
    f"{OWNERS}: Projected": {PRODUCT: 4000},
    f"{OWNERS}: Low": {PRODUCT: 3500},
    f"{OWNERS}: High": {PRODUCT: 4500},
    f"{OWNERS}: Run-rate, per month": {PRODUCT: 32900},
    f"{SERVERS}: Dollars per hour": {CHAT: 30, UNALLOCATED: 30},
    # 120 seconds of GPUs a minute
    f"{SERVERS}: GPUs": {CHAT: 2},
    f"{SERVERS}: Tokens per second": {CHAT: 4096 / 60},
    # 0.625 dollars and 4,096 tokens a minute: 152.587890625 dollars per million
    f"{SERVERS}: Dollars per million tokens, 1 h": {CHAT: 152.587890625},
    f"{SERVERS}: Within its slo, at least": {CHAT: 0.65},
    f"{SERVERS}: Within its slo, at most": {CHAT: 0.9},
    f"{LEVEL}: First token, at least": {CHAT: 0.75},
    f"{LEVEL}: First token, at most": {CHAT: 0.95},
    f"{LEVEL}: Per token, at least": {CHAT: 0.9},
    f"{LEVEL}: Per token, at most": {CHAT: 0.9},
    # 152.587890625 over 0.9 at best; over 1 - 0.25 - 0.1 at worst
    f"{LEVEL}: Dollars per million tokens within it, at least": {CHAT: 169.54210069444446},
    f"{LEVEL}: Dollars per million tokens within it, at most": {CHAT: 234.75060096153848},
    f"{FILL}: Headroom, per month": {CHAT: 4200},
    f"{FILL}: Load, 1 h": {CHAT: 0.25},
    f"{FILL}: Dollars per million tokens, 1 h": {CHAT: 152.587890625},
    f"{FILL}: Dollars per million tokens at full load": {CHAT: 38.14697265625},
    "gpus: Load by limit: the 10 highest": {f'{{{LOADED},limit="kv_cache"}}': 0.25},
    "gpus: Requests waiting: the 10 longest queues": {f"{{{LOADED}}}": 3},
    # two a minute
    "gpus: Preemptions per hour: the 10 highest": {f"{{{LOADED}}}": 120},
    # 25 and 50 cents a minute are idle: 45 dollars an hour, of 700 hours
    "fleet: Wasted, per month": {"{}": 31500},
    "fleet: Give back, per month": {"{}": 21000},
    "fleet: Shrink, per month": {"{}": 10500},
    # 0.75 of a dollar a minute that was watched
    "fleet: Idle share, last 24 h": {"{}": 0.75},
    "fleet: What could be saved: the first 30 findings: Saves per month": {FINDING: 1400},
    "waste: What could be saved: the first 50 findings: Saves per month": {FINDING: 1400},
    "fleet: When: idle dollars per hour, by product: the first 10: {{product}}": {
        '{product="p"}': 15,
        "{}": 30,
    },
    "fleet: When: idle dollars per hour, by product: the first 10: all others": {},
    f"{WEEK}: Dollars": {PRODUCT: 1.5},
    f"{WEEK}: GPU-hours": {PRODUCT: 1.25},
    f"{WEEK}: Price of one": {PRODUCT: 1.2},
    f"{WEEK}: Tokens of one": {PRODUCT: 0.9},
    "fleet: What an hour of a GPU costs, by model": {'{gpu_model="L4"}': 0.70683, '{gpu_model="T4"}': 0.5},
    # by the minute 25, 75 and 12.5 cents
    "fleet: What the money was for, dollars per hour": {
        '{phase="decode"}': 15,
        '{phase="idle"}': 45,
        '{phase="unobserved"}': 7.5,
    },
    # 200.50 of p here, 24 in the other cluster, and 12 of nobody
    "chargeback: Closed months": {f"{{{OCT}}}": 236.5},
    "chargeback: This month so far": {MONTH: 250, NEXT: 7},
    # 10,800 s - 7,200 s
    "chargeback: Since the last month ended": {"{}": 3600},
    "chargeback: GPUs without a price": {"{}": 1},
    "chargeback: Hosts: answering": {"{}": 1},
    "chargeback: Hosts: silent": {"{}": 2},
    "chargeback: What the closed months rest on": {
        f'{{price_basis="configured",{OCT}}}': 0.8,
        f'{{price_basis="estimate",{OCT}}}': 0.2,
    },
    f"{INVOICE}: Dollars": {
        f"{{{OF_P},{OCT}}}": 224.5,
        f'{{product="unassigned",team="unassigned",{OCT}}}': 12,
    },
    f"{INVOICE}: Share of its month": {
        f"{{{OF_P},{OCT}}}": 224.5 / 236.5,
        f'{{product="unassigned",team="unassigned",{OCT}}}': 12 / 236.5,
    },
    f"{THIS}: Dollars": {f"{{{OF_P},{NOV}}}": 230, MONTH: 20, f"{{{OF_P},{DEC}}}": 7},
    f"{THIS}: Share of its month": {f"{{{OF_P},{NOV}}}": 0.92, MONTH: 0.08, f"{{{OF_P},{DEC}}}": 1},
    f"{THIS}: Projected": {f"{{{OF_P},{NOV}}}": 4000, f"{{{OF_P},{DEC}}}": 34000},
    "chargeback: Month to date, by product: the first 10: {{product}} {{month}}": {
        f'{{product="p",{NOV}}}': 230,
        f'{{product="p",{DEC}}}': 7,
        MONTH: 20,
    },
    "chargeback: Month to date, by product: the first 10: all others {{month}}": {},
    f"{OF_PRODUCTS}: Spent": {P_BUDGET: 230},
    f"{OF_PRODUCTS}: Projected": {P_BUDGET: 4000},
    f"{OF_PRODUCTS}: Of": {P_BUDGET: 100},
    f"{OF_PRODUCTS}: Projected share": {P_BUDGET: 40},
    f"{OF_PRODUCTS}: Runs out": {P_BUDGET: 10_800_000},
    f"{RATES}: Dollars per hour, now": {PRODUCT: 47, "{}": 30},
    f"{RATES}: Fleet overheads, per hour": {PRODUCT: 41},
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
    "gpus: Who holds which GPU: Share": {'{server="chat",namespace="ml",uuid="GPU-0",instance="a"}': 0.75},
    # 3,600 joules a minute
    "gpus: Energy by host, mean power": {A: 60},
    "meter: Hosts: answering": {"{}": 1},
    "meter: Hosts: silent": {"{}": 2},
    "meter: Hosts: clusters lost": {"{}": 1},
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
    # last scraped at minute 100
    f"{SILENT}: Silent for": {B: 4800},
    f"{SILENT}: Last rate, per hour": {B: 5},
    f"{SILENT}: Never answered": {'{instance="never"}': 1},
    f"{EXPORTERS}: Since last tick": {A: 120},
    f"{EXPORTERS}: Since last commit": {A: 60},
    f"{EXPORTERS}: On disk": {A: 1},
    f"{EXPORTERS}: Reloaded": {A: 0},
    f"{EXPORTERS}: Time not charged": {A: 90},
    # 10,800 s - 3,600 s; the other program's memory is not ours
    f"{EXPORTERS}: Since start": {A: 7200},
    f"{EXPORTERS}: Memory": {A: 5e7},
    # 0.6 s a minute
    f"{EXPORTERS}: CPU, of one": {A: 0.01},
    "meter: Exporters by version": {'{version="1"}': 1},
    "meter: Longest read by source": {'{source="nvml"}': 0.004},
    # 2 a minute
    "meter: Errors per hour, by source and reason": {'{source="chat",reason="timeout"}': 120},
    "models: Tokens per second by model: the 12 that cost most": {'{model="m"}': 4096 / 60},
    # 0.25 of 0.625 a minute
    "models: Busy share of the money by model, of each hour: the 12 that cost most": {'{model="m"}': 0.4},
    # 0.25 and 0.5 dollars a minute
    "waste: When: idle dollars per hour, by server: the first 10: {{server}}": {
        '{server="chat"}': 15,
        UNALLOCATED: 30,
    },
    "waste: When: idle dollars per hour, by server: the first 10: all others": {},
    "waste: Give back: unallocated, per month": {"{}": 21000},
    # the T4 is held by no server: 50 cents an hour
    "waste: Give back: hosts with unallocated GPUs, the first 50: Saves per month": {
        '{instance="a",gpu_model="T4"}': 350
    },
    "waste: Give back: hosts with unallocated GPUs, the first 50: Dollars per hour": {
        '{instance="a",gpu_model="T4"}': 0.5
    },
    "waste: Give back: hosts with unallocated GPUs, the first 50: GPUs": {'{instance="a",gpu_model="T4"}': 1},
}


def test_every_query_gives_the_number_worked_out_by_hand(
    promtool: Callable[..., Any], tmp_path: Path
) -> None:
    """With the rules of a cluster loaded, each query yields exactly the expected series, and none beside."""
    queries = queries_by_board()
    checks = [
        check for name, samples in EXPECTED.items() for check in close(name, queries[name][0], 180, samples)
    ]

    assert wrong(promtool, tmp_path / "values.json", SERIES, checks, CLUSTER_RULES) == []


def test_a_long_list_is_cut_and_the_rest_is_one_line(promtool: Callable[..., Any], tmp_path: Path) -> None:
    """Of 40 products a graph has the ten that spend most, and the others as one; a table has thirty rows."""
    series = {
        f'inference:spend_dollars_per_hour:owner{{cluster="x",product="p{number}",team="t"}}': f"{number}x10"
        for number in range(1, 41)
    }
    queries = queries_by_board()
    first = {f'{{product="p{number}"}}': float(number) for number in range(31, 41)}
    lines = "fleet: Dollars per hour, by product: the first 10"
    rows = {f'{{product="p{number}",team="t"}}': float(number) for number in range(11, 41)}
    checks = [
        *close("lines", queries[f"{lines}: {{{{product}}}}"][0], 10, first),
        # 1 + 2 + ... + 30
        *close("others", queries[f"{lines}: all others"][0], 10, {"{}": 465}),
        *close("rows", queries[f"{OWNERS}: Dollars per hour"][0], 10, rows),
    ]

    assert wrong(promtool, tmp_path / "many.json", series, checks, CLUSTER_RULES) == []


def test_shares_of_requests_and_of_tokens_are_shown_as_one_range(
    promtool: Callable[..., Any], tmp_path: Path
) -> None:
    """During an upgrade 0.5 to 0.75 of the requests met it, and all tokens: 0.5 to 1."""
    met = f'inference:server_slo_met_ratio:1h{{{OWNED},objective="per_token"'
    series = {
        f'{met},basis="requests",bound="lower"}}': "0.5x10",
        f'{met},basis="requests",bound="upper"}}': "0.75x10",
        f'{met},basis="tokens",bound="lower"}}': "1x10",
        f'{met},basis="tokens",bound="upper"}}': "1x10",
        f"inference:cost_dollars_per_hour:server{{{OWNED}}}": "4x10",
    }
    queries = queries_by_board()
    checks = [
        *close("least", queries[f"{LEVEL}: Per token, at least"][0], 10, {CHAT: 0.5}),
        *close("most", queries[f"{LEVEL}: Per token, at most"][0], 10, {CHAT: 1}),
    ]

    assert wrong(promtool, tmp_path / "mixed.json", series, checks, CLUSTER_RULES) == []


def test_a_budget_that_nobody_configured_is_called_the_default(
    promtool: Callable[..., Any], tmp_path: Path
) -> None:
    """Its share is shown under another name."""
    series = {
        'inference:budget_projected_ratio{budget="fleet"}': "0.5x10",
        "inference:budget_configured": "0x10",
    }
    panel = "fleet: Projected share of the fleet's budgets: {{budget}}"
    checks = [
        *close("configured", queries_by_board()[panel][0], 10, {}),
        *close("default", queries_by_board()[f"{panel}, the default"][0], 10, {FLEET_BUDGET: 0.5}),
    ]

    assert wrong(promtool, tmp_path / "default.json", series, checks, CLUSTER_RULES) == []


def test_spend_is_empty_once_its_record_is(promtool: Callable[..., Any], tmp_path: Path) -> None:
    """Six minutes after the last sample nothing is shown, at whatever range the dashboard stands."""
    series = {"inference:spend_dollars_per_hour": "60x10"}
    (query,) = queries_by_board()["fleet: Spend now, dollars per hour"]
    checks = [*close("there", query, 10, {"{}": 60}), *close("gone", query, 16, {})]

    assert wrong(promtool, tmp_path / "gone.json", series, checks, CLUSTER_RULES) == []
