"""Model economics: the small model or the large one, our GPUs or a hosted API, and from which load on."""

from typing import Final

import queries as q
from board import board
from grafana_foundation_sdk.builders import dashboard
from panels import NEUTRAL, RATIO_TO_HOSTED, bars, lines, rows
from queries import Query

UID: Final = "inference-cost-models"

_BASIS: Final = 'phase=~"$basis"'
_BUSY: Final = 'phase=~"prefill|decode"'
_KINDS: Final = 'kind=~"$tokens"'


def _dollars(window: str, *more: str) -> str:
    selector = ",".join((q.MODEL, 'model!=""', *more))
    return f"sum by (cluster, model) (increase(inference_cost_dollars_total{{{selector}}}[{window}]))"


def _tokens(window: str, *more: str) -> str:
    selector = ",".join((q.MODEL, *more))
    return f"(sum by (cluster, model) (increase(inference_tokens_total{{{selector}}}[{window}])) >= 1000)"


def _priced(dollars: str, window: str) -> str:
    """Without models that held a GPU without a price: their dollars are a part of what they cost."""
    return f"({dollars} unless on (cluster, model) last_over_time(inference:model_unpriced[{window}]))"


_DAY: Final = Query(
    f"1e6 * {_priced(_dollars('1d', _BASIS), '1450m')} / {_tokens('1d', _KINDS)}",
    "currencyUSD",
    "{{model}} {{cluster}}",
)
_HOUR: Final = Query(
    f"1e6 * {_priced(_dollars('1h', _BASIS), '70m')} / {_tokens('1h', _KINDS)}",
    "currencyUSD",
    "{{model}} {{cluster}}",
)

# Against a hosted offer, over the same day and the same tokens, whatever the choice of basis and tokens.
_HOSTED: Final = (
    "(sum by (cluster, model, reference)"
    f" (increase(inference_hosted_equivalent_dollars_total{{{q.MODEL}}}[1d])) > 0)"
)
_WITH: Final = "on (cluster, model) group_left ()"
_OURS: Final = _priced(_dollars("1d"), "1450m")
_OURS_BUSY: Final = _priced(_dollars("1d", _BUSY), "1450m")
_MEAN_LOAD: Final = f"sum by (cluster, model) (rate(inference_tokens_total{{{q.MODEL}}}[1d]))"

_HOSTED_PRICE: Final = Query(f"1e6 * {_HOSTED} / {_WITH} {_tokens('1d')}", "currencyUSD")
_RATIO: Final = Query(f"1 / ({_HOSTED} / {_WITH} {_OURS})", "percentunit")
_BUSY_RATIO: Final = Query(f"1 / ({_HOSTED} / {_WITH} {_OURS_BUSY})", "percentunit")
_LOSS: Final = Query(f"-({_HOSTED} - {_WITH} {_OURS})", "currencyUSD")
_LOAD: Final = Query(f"{_HOSTED} / {_HOSTED} * {_WITH} {_MEAN_LOAD}", "cps")
_BREAK_EVEN: Final = Query(f"{_RATIO.expr} * {_WITH} {_MEAN_LOAD}", "cps")

_BUSY_SHARE: Final = Query(
    f"{_dollars('1h', _BUSY)} / ({_dollars('1h')} > 0)", "percentunit", "{{model}} {{cluster}}"
)
_SPEED: Final = Query(
    f"sum by (cluster, model) (rate(inference_tokens_total{{{q.MODEL},{_KINDS}}}[$__rate_interval]))",
    "cps",
    "{{model}} {{cluster}}",
)
_BY_KIND: Final = Query(
    "max by (model, server, kind)"
    f' (inference_cost_dollars_per_million_tokens{{{q.MODEL},kind!~"all|computed",basis="full"}})',
    "currencyUSD",
    "{{model}} {{kind}} ({{server}})",
)


def models() -> dashboard.Dashboard:
    """First row: what a million tokens costs by model, and against the hosted offers compared with."""
    empty = board(
        "model economics",
        UID,
        "The small model or the large one, our GPUs or a hosted API, and from which load on?",
        ("cluster", "product", "team", "namespace", "server", "model", "basis", "tokens"),
        back="7d",
    )
    return _course(_kinds(_compared(empty)))


def _compared(built: dashboard.Dashboard) -> dashboard.Dashboard:
    return built.with_panel(
        bars(
            "Dollars per million tokens by model, last 24 h",
            "Dollars over tokens, as Basis and Tokens choose: `full` is everything, idle time included, "
            "`busy` is prefill and decode; `computed` leaves cached prompts out. The night is in it. Absent: "
            "fewer than 1,000 tokens in that day, or GPU time without a price; an idle model is not free.",
            _DAY,
            width=8,
            height=8,
            steps=NEUTRAL,
            decimals=2,
        )
    ).with_panel(
        rows(
            "Ours or hosted, last 24 h",
            "The same tokens at each offer under `compare`, an upper bound; ours is everything, not as Basis "
            "and Tokens choose. Over 100 %: hosted would have been cheaper. "
            "Break-even is the load at which both cost the same, while these GPUs cost what they do. "
            "Busy over 100 %: more load alone does not pay, since even without idle time it is dearer. "
            "No row: no offer matches a model with tokens. An empty cell: GPU time without a price, or fewer "
            "than 1,000 tokens.",
            (("model", "Model"), ("reference", "Hosted offer"), ("cluster", "Cluster")),
            (
                ("Ours over hosted", _RATIO, RATIO_TO_HOSTED),
                ("Busy only, over hosted", _BUSY_RATIO, RATIO_TO_HOSTED),
                ("Dearer than hosted by, 24 h", _LOSS, NEUTRAL),
                ("Hosted, per million tokens", _HOSTED_PRICE, NEUTRAL),
                ("Tokens per second, mean", _LOAD, NEUTRAL),
                ("Break-even, tokens per second", _BREAK_EVEN, NEUTRAL),
            ),
            width=16,
            height=8,
        )
    )


def _kinds(built: dashboard.Dashboard) -> dashboard.Dashboard:
    return built.with_panel(
        lines(
            "Dollars per million tokens by model, of each hour",
            "As Basis and Tokens choose. It falls as load rises. "
            "A gap: fewer than 1,000 tokens in that hour, or GPU time without a price.",
            _HOUR,
            width=12,
            height=8,
        )
    ).with_panel(
        bars(
            "Dollars per million tokens of each kind, last hour",
            "Everything that the server cost, as each host divides it between kinds of tokens; of several "
            "hosts the dearest. Prompt against cached goes by configured weights (docs/split.md). "
            "Absent: fewer than 1,000 tokens of that kind, or GPU time without a price.",
            _BY_KIND,
            width=12,
            height=8,
            steps=NEUTRAL,
            decimals=2,
        )
    )


def _course(built: dashboard.Dashboard) -> dashboard.Dashboard:
    return built.with_panel(
        lines(
            "Tokens per second by model",
            "As Tokens chooses. A gap: no exporter was answering.",
            _SPEED,
            width=12,
            height=8,
        )
    ).with_panel(
        lines(
            "Busy share of the money by model, of each hour",
            "Prefill and decode over everything: what is missing to 100 % is why `full` is dearer than "
            "`busy`. A gap: nothing was spent.",
            _BUSY_SHARE,
            width=12,
            height=8,
            full=1,
        )
    )
