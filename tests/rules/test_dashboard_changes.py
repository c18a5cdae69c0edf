"""What the dashboards say after a day: what changed, which month is over, what is wasted, what hosted costs.

The fleet, for 26 hours: a server `big` that serves the model `L` and is half idle, a server `old` that has
served nobody since minute 500, GPUs that nobody holds, and a host that goes when the month has begun.
By the minute, `big` takes 1 dollar and, from the second hour on, 6,000 + 2,000 + 2,000 tokens, which a hosted
offer would have served for 80 cents; `old` takes 10 cents and the GPUs that nobody holds take 5.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.rules.dashboard_queries import Check, Samples, asked, close, wrong
from tests.rules.test_dashboard_values import EXPECTED as IN_AN_HOUR
from tests.rules.test_dashboards_on_demo import EMPTY

NOW = 26 * 60
"""The minute at which it is looked at."""

OLD = 'server="old",namespace="",product="q",team="u",model="S"'
BIG = 'server="big",namespace="ml",product="p",team="t",model="L"'
FREE = 'uuid="GPU-9",gpu_model="H100"'
P_MONTH = 'ledger="a",product="p",team="t"'
NOBODYS_MONTH = 'ledger="a",product="unassigned",team="unassigned"'
SERIES = {
    f'inference_cost_dollars_total{{{BIG},phase="decode",instance="a"}}': "0+0.25x1560",
    f'inference_cost_dollars_total{{{BIG},phase="prefill",instance="a"}}': "0+0.25x1560",
    f'inference_cost_dollars_total{{{BIG},phase="idle",instance="a"}}': "0+0.5x1560",
    f'inference_cost_dollars_total{{{OLD},phase="idle",instance="a"}}': "0+0.1x1560",
    f'inference_cost_dollars_total{{{OLD},phase="decode",instance="a"}}': "0+0x1560",
    'inference_cost_dollars_total{server="unallocated",phase="idle",instance="a"}': "0+0.05x1560",
    f'inference_cost_dollars_per_hour{{{BIG},instance="a"}}': "30x600 60x959",
    f'inference_cost_dollars_per_hour{{{OLD},instance="a"}}': "6x1560",
    'inference_cost_dollars_per_hour{server="unallocated",instance="a"}': "3x1560",
    f'inference_tokens_total{{{BIG},kind="prompt",instance="a"}}': "0+1000x120 126000+6000x1439",
    f'inference_tokens_total{{{BIG},kind="cached_prompt",instance="a"}}': "0+2000x1560",
    f'inference_tokens_total{{{BIG},kind="generation",instance="a"}}': "0+2000x1560",
    f'inference_hosted_equivalent_dollars_total{{{BIG},reference="x",instance="a"}}': "0+0.8x1560",
    f'inference_cost_dollars_per_million_tokens{{{BIG},kind="prompt",basis="full",instance="a"}}': "40x1560",
    f'inference_cost_dollars_per_million_tokens{{{BIG},kind="prompt",basis="full",instance="b"}}': "50x1560",
    f'inference_cost_dollars_per_million_tokens{{{BIG},kind="all",basis="full",instance="a"}}': "100x1560",
    f'inference_cost_dollars_per_million_tokens{{{BIG},kind="prompt",basis="busy",instance="a"}}': "20x1560",
    f'inference_server_last_token_timestamp_seconds{{{BIG},instance="a"}}': "0+60x1560",
    f'inference_server_last_token_timestamp_seconds{{{OLD},instance="a"}}': "0+60x500 30000x1059",
    'inference_server_up{server="old",namespace="",url="u",instance="a"}': "0x1560",
    'inference_server_up{server="big",namespace="ml",url="v",instance="a"}': "1x1560",
    'inference_server_gpus{server="big",namespace="ml",instance="a"}': "2x600 4x959",
    'inference_server_gpus{server="old",namespace="",instance="a"}': "1x1560",
    'inference_server_gpu_share_ratio{server="big",uuid="GPU-0",method="whole",instance="a"}': "1x1560",
    'inference_gpu_price_dollars_per_hour{uuid="GPU-0",gpu_model="H100",component="rent",instance="a"}': (
        "2x1000 2.5x559"
    ),
    'inference_gpu_price_dollars_per_hour{uuid="GPU-0",gpu_model="H100",component="energy",instance="a"}': (
        "0+0.001x1560"
    ),
    f'inference_gpu_price_dollars_per_hour{{{FREE},component="rent",instance="a"}}': "2.5x1560",
    f'inference_gpu_price_dollars_per_hour{{{FREE},component="storage",instance="a"}}': "0.5x1560",
    f'inference_month_to_date_dollars{{{P_MONTH},price_basis="configured",month="m1",instance="a"}}': (
        "0+1x1500 1500x59"
    ),
    f'inference_month_to_date_dollars{{{P_MONTH},price_basis="estimate",month="m1",instance="a"}}': (
        "500x1560"
    ),
    f'inference_month_to_date_dollars{{{NOBODYS_MONTH},price_basis="configured",month="m1",instance="a"}}': (
        "500x1560"
    ),
    f'inference_month_to_date_dollars{{{P_MONTH},price_basis="configured",month="m2",instance="a"}}': (
        "_x1501 60x58"
    ),
    'inference_month_to_date_dollars{ledger="b",price_basis="configured",month="m2",instance="b"}': (
        "_x1501 20x10 stale"
    ),
    'inference_month_end_timestamp_seconds{month="m1",instance="a"}': "90000x1560",
    'inference_month_end_timestamp_seconds{month="m2",instance="a"}': "_x1501 900000x58",
    'inference_budget_dollars{budget="p",product="p",instance="a"}': "600x1560",
    'inference_config_info{hash="1",instance="a"}': "1x700 stale",
    'inference_config_info{hash="2",instance="a"}': "_x701 1x858",
    # stopped for half an hour, and the same as before
    'inference_config_info{hash="1",instance="c"}': "1x300 stale _x29 1x1229",
    # new with minute 400
    'inference_config_info{hash="3",instance="d"}': "_x400 1x1159",
    'inference_exporter_info{version="1",instance="a"}': "1x800 stale",
    'inference_exporter_info{version="2",instance="a"}': "_x801 1x758",
}

BIG_ROW = '{server="big",namespace="ml"}'
OLD_ROW = '{server="old"}'
NOBODY = '{server="unallocated"}'
MODEL = '{model="L"}'
OFFER = '{model="L",reference="x"}'
FREE_ROW = f'{{{FREE},instance="a"}}'
OWNER = '{product="p",team="t"}'
UNASSIGNED = '{product="unassigned",team="unassigned"}'
WHO = "fleet: Who: servers, and what changed since this time yesterday"
OURS = "models: Ours or hosted, last 24 h"
LAST = "chargeback: Invoice: last month, by product and team"
THIS = "chargeback: This month so far, by product and team"
OFF = "waste: Switch off: idle for 12 hours"
SHRINK = "waste: Shrink: the others, by what their idle time costs"
BACK = "waste: Give back: GPUs that nobody holds"
EXPECTED: dict[str, Samples] = {
    # at 600 minutes big grew from 2 GPUs to 4; its tokens from 5,000 to 10,000 a minute two hours in
    f"{WHO}: Change, per hour": {BIG_ROW: 30, OLD_ROW: 0, NOBODY: 0},
    f"{WHO}: Change in GPUs": {BIG_ROW: 2, OLD_ROW: 0},
    f"{WHO}: Change in tokens": {BIG_ROW: 5000 / 60},
    "chargeback: Last month": {'{month="m1"}': 2500},
    # 60 of the host that reports and 20 of the one that is gone
    "chargeback: This month so far": {'{month="m2"}': 80},
    "chargeback: Since last month ended": {"{}": 3600},
    "chargeback: What last month rests on": {
        '{price_basis="configured"}': 0.8,
        '{price_basis="estimate"}': 0.2,
    },
    f"{LAST}: Dollars": {OWNER: 2000, UNASSIGNED: 500},
    f"{LAST}: Share": {OWNER: 0.8, UNASSIGNED: 0.2},
    f"{THIS}: Dollars": {OWNER: 60, "{}": 20},
    f"{THIS}: Share": {OWNER: 0.75, "{}": 0.25},
    f"{THIS}: Dollars per hour, now": {OWNER: 60, '{product="q",team="u"}': 6, "{}": 3},
    "chargeback: Month to date, by product": {'{product="p",month="m2"}': 60, '{month="m2"}': 20},
    # of 600 dollars
    "chargeback: Of the products' budgets, this month: {{budget}} spent": {
        '{budget="p",product="p",month="m2"}': 0.1
    },
    # 1 dollar and 10,000 tokens a minute
    "models: Dollars per million tokens by model, last 24 h": {MODEL: 100},
    "models: Dollars per million tokens by model, of each hour": {MODEL: 100},
    # of two hosts the dearer one
    "models: Dollars per million tokens of each kind, last hour": {
        '{model="L",server="big",kind="prompt"}': 50
    },
    "models: Busy share of the money by model, of each hour": {MODEL: 0.5, '{model="S"}': 0},
    # 1 dollar against 80 cents; of it 50 cents busy
    f"{OURS}: Ours over hosted": {OFFER: 1.25},
    f"{OURS}: Busy only, over hosted": {OFFER: 0.625},
    # 20 cents a minute
    f"{OURS}: Dearer than hosted by, 24 h": {OFFER: 288},
    f"{OURS}: Hosted, per million tokens": {OFFER: 80},
    f"{OURS}: Tokens per second, mean": {OFFER: 10000 / 60},
    # at 12,500 tokens a minute hosted costs the dollar that the GPUs cost
    f"{OURS}: Break-even, tokens per second": {OFFER: 12500 / 60},
    # 6 dollars an hour x 730
    "waste: Switch off: saves per month": {"{}": 4380},
    "waste: Give back: held by nobody, per month": {"{}": 2190},
    # old, whose endpoint does not answer: 10 cents a minute x 60 x 730
    "waste: Repair: down and paid for, per month": {"{}": 4380},
    # 60 cents a minute x 60 x 730
    "waste: Shrink: idle while held, per month": {"{}": 26280},
    # 65 cents of 115
    "waste: Idle share, last 24 h": {"{}": 65 / 115},
    f"{OFF}: Saves per month": {OLD_ROW: 4380},
    f"{OFF}: GPUs": {OLD_ROW: 1},
    # 93,600 s - 30,000 s
    f"{OFF}: Since last token": {OLD_ROW: 63600},
    # 50 cents a minute x 60 x 730
    f"{SHRINK}: Idle, per month": {BIG_ROW: 21900},
    f"{SHRINK}: Idle share, 24 h": {BIG_ROW: 0.5},
    f"{SHRINK}: GPUs": {BIG_ROW: 4},
    f"{SHRINK}: Tokens per second, 24 h": {BIG_ROW: 10000 / 60},
    f"{BACK}: Saves per month": {FREE_ROW: 2190},
    f"{BACK}: Dollars per hour": {FREE_ROW: 3},
}

MARKS: dict[str, list[tuple[int, Samples]]] = {
    "mark: Prices changed": [
        (999, {}),
        (1003, {'{gpu_model="H100",component="rent"}': 1}),
        (1010, {}),
    ],
    # a host that comes back and a host that is new changed nothing
    "mark: Configuration changed": [
        (332, {}),
        (402, {}),
        (703, {'{instance="a",hash="2"}': 1}),
        (710, {}),
    ],
    "mark: Exporter changed": [(799, {}), (803, {'{instance="a",version="2"}': 1}), (810, {})],
    "mark: Month began": [(1499, {}), (1500, {'{month="m1"}': 1}), (1505, {})],
    "mark: Alerts": [(1, {})],
}
"""By name: what is marked at which minute."""

CHOSEN: dict[str, tuple[float, ...]] = {
    # full and all; full and computed: 8,000 tokens; busy and all: 50 cents; busy and computed
    "models: Dollars per million tokens by model, last 24 h": (100, 125, 50, 62.5),
    "models: Dollars per million tokens by model, of each hour": (100, 125, 50, 62.5),
}
"""With each choice of basis and tokens."""


def test_a_day_gives_the_numbers_worked_out_by_hand(promtool: Callable[..., Any], tmp_path: Path) -> None:
    """Changes, months, waste and comparisons, each exactly, and every mark when it is due and not after."""
    queries = asked()
    checks: list[Check] = []
    for name, samples in EXPECTED.items():
        checks += close(name, queries[name][0], NOW, samples)
    for name, times in MARKS.items():
        for minute, samples in times:
            checks += close(name, queries[name][0], minute, samples)
    for name, prices in CHOSEN.items():
        for query, price in zip(queries[name], prices, strict=True):
            checks += close(name, query, NOW, {MODEL: price})

    assert wrong(promtool, tmp_path / "changes.json", SERIES, checks) == []


def test_every_query_has_a_number_worked_out_by_hand() -> None:
    """No query is shown that nobody reckoned, least of all one that the demo has no answer for."""
    reckoned = {"fleet: Alerts: Firing", *IN_AN_HOUR, *EXPECTED, *MARKS}

    assert set(asked()) - reckoned == set()
    assert reckoned - set(asked()) == set()
    assert set(EMPTY) <= reckoned
