"""The dashboard's queries give the right numbers: a small fleet by hand, evaluated by Prometheus itself.

The fleet: one server `chat` with one model, half of its watched money idle; GPUs that nobody holds for the
same money; a second host that stopped reporting after 100 minutes; one GPU without a price, one lost and
estimated, and one source failing. Looked at after three hours.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

L4_RENT = 'uuid="GPU-0",gpu_model="L4",component="rent",instance="a"'
T4_RENT = 'uuid="GPU-2",gpu_model="T4",component="rent",instance="a"'
SERIES = {
    'inference_cost_dollars_total{server="chat",namespace="ml",model="m",phase="decode"}': "0+0.25x180",
    'inference_cost_dollars_total{server="chat",namespace="ml",model="m",phase="idle"}': "0+0.25x180",
    'inference_cost_dollars_total{server="chat",namespace="ml",model="m",phase="unobserved"}': "0+0.125x180",
    'inference_cost_dollars_total{server="unallocated",phase="idle"}': "0+0.5x180",
    'inference_tokens_total{server="chat",namespace="ml",model="m",kind="prompt"}': "0+3072x180",
    'inference_tokens_total{server="chat",namespace="ml",model="m",kind="generation"}': "0+1024x180",
    'inference_cost_dollars_per_hour{server="chat",namespace="ml",model="m"}': "30x180",
    'inference_cost_dollars_per_hour{server="unallocated"}': "30x180",
    'inference_fleet_overhead_dollars_per_hour{component="staff",instance="a"}': "60x180",
    'inference_fleet_overhead_dollars_per_hour{component="staff",instance="c"}': "60x180",
    'inference_fleet_overhead_dollars_per_hour{component="office",instance="a"}': "1.5x180",
    'inference_server_gpus{server="chat",namespace="ml"}': "2x180",
    'inference_server_last_token_timestamp_seconds{server="chat",namespace="ml",model="m"}': "0+60x179 10740",
    'inference_month_to_date_dollars{ledger="a",month="2026-11",instance="a"}': "0+1x180",
    'inference_month_to_date_dollars{ledger="b",month="2026-11",instance="b"}': "20x100 stale",
    'inference_month_end_timestamp_seconds{month="2026-11",instance="a"}': "360000x180",
    'inference_budget_dollars{budget="fleet",product="",instance="a"}': "20000x180",
    'inference_budget_dollars{budget="chat",product="chat",instance="a"}': "100x180",
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
    'inference_ledger_residual_dollars{instance="a"}': "0x180",
    'inference_source_up{source="nvml",instance="a"}': "1x180",
    'inference_source_up{source="chat",instance="a"}': "0x180",
    'inference_source_last_success_timestamp_seconds{source="nvml",instance="a"}': "0+60x180",
    'inference_source_last_success_timestamp_seconds{source="chat",instance="a"}': "7200x180",
    'inference_source_errors_total{source="chat",reason="timeout",instance="a"}': "0+2x180",
}

CHAT = '{server="chat",namespace="ml"}'
UNALLOCATED = '{server="unallocated"}'
MONTH = '{month="2026-11"}'
EXPECTED: dict[str, list[dict[str, float]]] = {
    "Spend now, dollars per hour": [{"{}": 60}],
    # staff 60 and office 1.5, told by two hosts and spent once
    "Fleet overheads, per hour": [{"{}": 61.5}],
    # 180 of the host that reports and 20 of the one that is gone
    "Month to date": [{MONTH: 200}],
    # 360,000 s - 10,800 s = 97 h left, at 60 dollars an hour
    "Projected at month end": [{MONTH: 200 + 97 * 60}],
    # of 20,000, the budget without a product: 200 and 6,020
    "Of the monthly budget": [{MONTH: 0.01}, {MONTH: 0.301}],
    # idle 0.25 + 0.5 a minute of 1.0 that was watched
    "Idle share, last hour": [{"{}": 0.75}],
    "GPUs without a price": [{"{}": 1}],
    "Spend by server, dollars per hour": [{'{server="chat"}': 30, UNALLOCATED: 30}],
    "The month against its budget": [{MONTH: 200}, {MONTH: 6020}, {"{}": 20000}],
    # 0.625 dollars and 4,096 tokens a minute: 152.587890625 dollars per million; no model, no price
    "Dollars per million tokens by model, last hour": [{'{model="m"}': 152.587890625}],
    "Dollars per million tokens by model, last 24 h": [{'{model="m"}': 152.587890625}],
    # of 1.125 dollars a minute
    "What the money was for": [
        {'{phase="decode"}': 2 / 9, '{phase="idle"}': 6 / 9, '{phase="unobserved"}': 1 / 9}
    ],
    "Servers": [
        {CHAT: 30, UNALLOCATED: 30},
        {CHAT: 2},
        {CHAT: 0.5, UNALLOCATED: 1},
        {CHAT: 152.587890625},
        {CHAT: 4096 / 60},
        {CHAT: 60},
    ],
    "Hosts": [{"{}": 1}, {"{}": 1}],
    "Books residual": [{"{}": 0}],
    "Sources failing": [{"{}": 1}],
    "GPUs not readable": [{"{}": 1}],
    "Failing sources": [{'{source="chat",instance="a"}': 3600}, {'{source="chat",instance="a"}': 120}],
    "GPUs without a price, estimated or not readable": [
        {'{uuid="GPU-1",gpu_model="L4",instance="a"}': 10800},
        {'{uuid="GPU-1",gpu_model="L4",instance="a"}': 1},
        {'{uuid="GPU-0",gpu_model="L4",instance="a"}': 0.70683},
        {'{uuid="GPU-0",gpu_model="L4",instance="a"}': 1},
    ],
}


def queries(repository: Path) -> dict[str, list[str]]:
    """Each panel's queries, with everything selected and rates over five minutes."""
    board = json.loads((repository / "dashboards" / "inference-cost.json").read_text())
    panels = [inner for panel in board["panels"] for inner in (panel.get("panels") or [panel])]
    return {
        panel["title"]: [
            target["expr"]
            .replace("$__rate_interval", "5m")
            .replace("$cluster", ".*")
            .replace("$server", ".*")
            for target in panel["targets"]
        ]
        for panel in panels
    }


def check(expression: str, samples: dict[str, float]) -> dict[str, Any]:
    """One expectation in promtool's form."""
    return {
        "expr": expression,
        "eval_time": "180m",
        "exp_samples": [{"labels": labels, "value": value} for labels, value in samples.items()],
    }


def test_every_query_gives_the_number_worked_out_by_hand(
    promtool: Callable[..., Any], prometheus_folder: Path, repository: Path, tmp_path: Path
) -> None:
    """With the fleet rules loaded, each query yields exactly the expected series, and none beside."""
    asked = queries(repository)
    assert {title: len(found) for title, found in asked.items()} == {
        title: len(found) for title, found in EXPECTED.items()
    }
    checks: list[dict[str, Any]] = []
    for title, expected in EXPECTED.items():
        for query, series in zip(asked[title], expected, strict=True):
            checks.append(check(f"count({query})", {"{}": len(series)}))
            for value in set(series.values()):
                # promtool compares exactly and a rate is not exact: what is close enough becomes 0
                close = f"0 * (abs(({query}) - {value!r}) < {1e-9 * max(1, value)!r})"
                checks.append(check(close, {labels: 0 for labels in series if series[labels] == value}))
    file = tmp_path / "values.yml"
    file.write_text(
        yaml.safe_dump(
            {
                "rule_files": [str(file) for file in sorted(prometheus_folder.glob("*rules.yml"))],
                "evaluation_interval": "1m",
                "group_eval_order": [
                    "inference-cluster",
                    "inference-month-memory",
                    "inference-week",
                    "inference-fleet",
                    "inference-alerts",
                ],
                "tests": [
                    {
                        "interval": "1m",
                        "input_series": [
                            {"series": name, "values": values} for name, values in SERIES.items()
                        ],
                        "promql_expr_test": checks,
                    }
                ],
            }
        )
    )
    result = promtool("test", "rules", str(file))

    assert result.returncode == 0, result.stdout + result.stderr
