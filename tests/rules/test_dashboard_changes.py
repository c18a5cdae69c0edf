"""What the dashboards say after a day: what changed, what is wasted, what hosted costs, and the marks.

The fleet, for 26 hours: a server `big` that serves the model `L` and is half idle, a server `old` that has
served nobody since minute 500, GPUs that no server holds, a server that came and one that went.
By the minute, `big` takes 1 dollar and 6,000 + 2,000 + 2,000 tokens, which a hosted offer would have served
for 80 cents; `old` takes 10 cents and the unallocated GPUs take 5. Rules are evaluated each five minutes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.rules.dashboard_queries import CLUSTER_RULES, Check, Samples, close, queries_by_board, wrong
from tests.rules.test_dashboard_values import EXPECTED as IN_AN_HOUR
from tests.rules.test_dashboards_on_demo import EMPTY

NOW = 26 * 60
"""The minute at which it is looked at."""

SAMPLES = 289
"""Evaluations within a day, both ends included. Sums of a day count each as a minute."""

OLD = 'server="old",product="q",team="u",model="S",instance="a"'
BIG = 'server="big",namespace="ml",product="p",team="t",model="L",instance="a"'
BIG_B = 'server="big",namespace="ml",product="p",team="t",model="L",instance="b"'
SECOND = 'server="big",namespace="ml",product="p",team="t",model="B",instance="a"'
SERIES = {
    f'inference_cost_dollars_total{{{BIG},phase="decode"}}': "0+0.25x1560",
    f'inference_cost_dollars_total{{{BIG},phase="prefill"}}': "0+0.25x1560",
    f'inference_cost_dollars_total{{{BIG},phase="idle"}}': "0+0.5x1560",
    f'inference_cost_dollars_total{{{OLD},phase="idle"}}': "0+0.1x1560",
    f'inference_cost_dollars_total{{{OLD},phase="decode"}}': "0+0x1560",
    'inference_cost_dollars_total{server="unallocated",phase="idle",instance="a"}': "0+0.05x1560",
    f"inference_gpu_seconds_total{{{BIG}}}": "0+120x600 72240+240x958",
    f"inference_gpu_seconds_total{{{OLD}}}": "0+60x1560",
    f"inference_cost_dollars_per_hour{{{BIG}}}": "30x600 60x959",
    f"inference_cost_dollars_per_hour{{{OLD}}}": "6x1560",
    'inference_cost_dollars_per_hour{server="unallocated",instance="a"}': "3x1560",
    'inference_cost_dollars_per_hour{server="came",product="p",team="t",instance="a"}': "_x1500 7x60",
    'inference_cost_dollars_per_hour{server="went",product="p",team="t",instance="a"}': "4x300 stale",
    f'inference_tokens_total{{{BIG},kind="prompt"}}': "0+6000x1560",
    f'inference_tokens_total{{{BIG},kind="cached_prompt"}}': "0+2000x1560",
    f'inference_tokens_total{{{BIG},kind="generation"}}': "0+2000x1560",
    # a second model of the same server, without money of its own
    f'inference_tokens_total{{{SECOND},kind="prompt"}}': "0x130 5000+5000x1429",
    f'inference_hosted_equivalent_dollars_total{{{BIG},reference="x"}}': "0+0.8x1560",
    f'inference_cost_dollars_per_million_tokens{{{BIG},kind="prompt",basis="full"}}': "40x1560",
    f'inference_cost_dollars_per_million_tokens{{{BIG_B},kind="prompt",basis="full"}}': "50x1560",
    f'inference_cost_dollars_per_million_tokens{{{BIG},kind="all",basis="full"}}': "100x1560",
    f'inference_cost_dollars_per_million_tokens{{{BIG},kind="prompt",basis="busy"}}': "20x1560",
    f"inference_server_last_token_timestamp_seconds{{{BIG}}}": "0+60x1560",
    f"inference_server_last_token_timestamp_seconds{{{OLD}}}": "0+60x500 30000x1059",
    'inference_server_up{server="old",namespace="",url="u",instance="a"}': "0x1560",
    'inference_server_up{server="big",namespace="ml",url="v",instance="a"}': "1x1560",
    'inference_gpu_price_dollars_per_hour{uuid="GPU-0",gpu_model="H100",component="rent",instance="a"}': (
        "2x1000 2.5x559"
    ),
    'inference_gpu_price_dollars_per_hour{uuid="GPU-0",gpu_model="H100",component="energy",instance="a"}': (
        "0+0.001x1560"
    ),
    'inference:month_end_timestamp_seconds{month="m1"}': "90000x1560",
    'inference:month_end_timestamp_seconds{month="m2"}': "_x1501 900000x58",
    "inference:fleet_hours_per_month": "730x1560",
    'inference_config_info{hash="1",instance="a"}': "1x700 stale",
    'inference_config_info{hash="2",instance="a"}': "_x701 1x858",
    # stopped for half an hour, and the same as before
    'inference_config_info{hash="1",instance="c"}': "1x300 stale _x29 1x1229",
    # new with minute 400
    'inference_config_info{hash="3",instance="d"}': "_x400 1x1159",
    'inference_exporter_info{version="1",instance="a"}': "1x800 stale",
    'inference_exporter_info{version="2",instance="a"}': "_x801 1x758",
}

BIG_ROW = '{server="big",namespace="ml",product="p",team="t"}'
OLD_ROW = '{server="old",product="q",team="u"}'
MODEL = '{model="L"}'
OFFER = '{model="L",reference="x"}'
MOVED = "fleet: Servers that cost more or less than a day ago: the first 30"
PRICE = "models: Dollars per million tokens by model, last 24 h: the 12 most expensive"
HOURLY = "models: Dollars per million tokens by model, of each hour: the 12 that cost most"
OURS = "models: Ours or hosted, last 24 h: the 50 largest"
OFF = "waste: Switch off: idle for 12 hours, the first 50"
SHRINK = "waste: Shrink: the others, by what their idle time costs, the first 50"
EXPECTED: dict[str, Samples] = {
    # at 600 minutes big grew from 2 GPUs to 4, and its second model came to 5,000 tokens a minute
    f"{MOVED}: Change, per hour": {BIG_ROW: 30},
    f"{MOVED}: New, per hour": {'{server="came",product="p",team="t"}': 7},
    f"{MOVED}: Gone, per hour": {'{server="went",product="p",team="t"}': 4},
    f"{MOVED}: Change in GPUs": {BIG_ROW: 2},
    f"{MOVED}: Change in tokens per second": {BIG_ROW: 5000 / 60},
    # 1 dollar and 10,000 tokens a minute
    PRICE: {MODEL: 100},
    HOURLY: {MODEL: 100},
    # of two hosts the dearer one
    "models: Dollars per million tokens of each kind, last hour: the 12 most expensive": {
        '{model="L",kind="prompt"}': 50
    },
    "models: Busy share of the money by model, of each hour: the 12 that cost most": {
        MODEL: 0.5,
        '{model="S"}': 0,
    },
    # 1 dollar against 80 cents; of it 50 cents busy
    f"{OURS}: Ours over hosted": {OFFER: 1.25},
    f"{OURS}: Busy only, over hosted": {OFFER: 0.625},
    # 20 cents a minute
    f"{OURS}: Dearer than hosted by, 24 h": {OFFER: 0.2 * SAMPLES},
    f"{OURS}: Hosted, per million tokens": {OFFER: 80},
    f"{OURS}: Tokens per second, mean": {OFFER: 10000 / 60},
    # at 12,500 tokens a minute hosted costs the dollar that the GPUs cost
    f"{OURS}: Break-even, tokens per second": {OFFER: 12500 / 60},
    # 6 dollars an hour x 730
    "waste: Switch off: saves per month": {"{}": 4380},
    "fleet: Switch off, per month": {"{}": 4380},
    # old, whose endpoint does not answer: 10 cents a minute x 60 x 730
    "waste: Repair: down and paid for, per month": {"{}": 4380},
    "fleet: Repair, per month": {"{}": 4380},
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
    # the second model had none in the first three evaluations of the day
    f"{SHRINK}: Tokens per second, 24 h": {BIG_ROW: (10000 + 5000 * (SAMPLES - 3) / SAMPLES) / 60},
}

MARKS: dict[str, list[tuple[int, Samples]]] = {
    "mark: Prices changed": [
        (1000, {}),
        (1005, {'{gpu_model="H100",component="rent"}': 1}),
        (1010, {}),
    ],
    # a host that comes back and a host that is new changed nothing
    "mark: Configuration changed": [(335, {}), (405, {}), (705, {"{}": 1}), (710, {})],
    "mark: Exporter changed": [(800, {}), (805, {'{version="2"}': 1}), (810, {})],
    "mark: Month began": [(1499, {}), (1500, {'{month="m1"}': 1}), (1505, {})],
    "mark: Alerts": [(1, {})],
}
"""By name: what is marked at which minute."""

CHOSEN: dict[str, tuple[float, ...]] = {
    # full and all; full and computed: 8,000 tokens; busy and all: 50 cents; busy and computed
    PRICE: (100, 125, 50, 62.5),
    HOURLY: (100, 125, 50, 62.5),
}
"""With each choice of basis and tokens."""


def test_a_day_gives_the_numbers_worked_out_by_hand(promtool: Callable[..., Any], tmp_path: Path) -> None:
    """Changes, waste and comparisons, each exactly, and every mark when it is due and not after."""
    queries = queries_by_board()
    checks: list[Check] = []
    for name, samples in EXPECTED.items():
        checks += close(name, queries[name][0], NOW, samples)
    for name, times in MARKS.items():
        for minute, samples in times:
            checks += close(name, queries[name][0], minute, samples)
    for name, prices in CHOSEN.items():
        for query, price in zip(queries[name], prices, strict=True):
            checks += close(name, query, NOW, {MODEL: price})

    assert wrong(promtool, tmp_path / "changes.json", SERIES, checks, CLUSTER_RULES) == []


def test_every_query_has_a_number_worked_out_by_hand() -> None:
    """No query is shown that nobody reckoned, least of all one that the demo has no answer for."""
    reckoned = {*IN_AN_HOUR, *EXPECTED, *MARKS}

    assert set(queries_by_board()) - reckoned == set()
    assert reckoned - set(queries_by_board()) == set()
    assert set(EMPTY) <= reckoned


def test_what_is_ten_minutes_old_is_as_large_as_it_is(promtool: Callable[..., Any], tmp_path: Path) -> None:
    """The mean of a server that is younger than a day is that of its life: a dollar a minute is 43,800."""
    young = 'server="young",product="p",team="t",model="L",instance="a"'
    series = {
        f'inference_cost_dollars_total{{{young},phase="idle"}}': "0+1x10",
        f'inference_cost_dollars_total{{{young},phase="decode"}}': "0+1x10",
        f'inference_tokens_total{{{young},kind="prompt"}}': "0+360000x10",
        f'inference_hosted_equivalent_dollars_total{{{young},reference="x"}}': "0+2x10",
        f"inference_cost_dollars_per_hour{{{young}}}": "120x10",
        "inference:fleet_hours_per_month": "730x10",
    }
    queries = queries_by_board()
    row = '{server="young",product="p",team="t"}'
    checks = [
        *close("total", queries["waste: Shrink: idle while held, per month"][0], 10, {"{}": 43800}),
        *close("row", queries[f"{SHRINK}: Idle, per month"][0], 10, {row: 43800}),
        *close("fleet", queries["fleet: Wasted, per month"][0], 10, {"{}": 43800}),
        # ours and hosted both cost 2 dollars a minute: at the load of now they are equal
        *close("load", queries[f"{OURS}: Break-even, tokens per second"][0], 10, {OFFER: 6000}),
    ]

    assert wrong(promtool, tmp_path / "young.json", series, checks, CLUSTER_RULES) == []
