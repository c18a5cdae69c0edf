"""Model economics: the small model or the large one, our GPUs or a hosted API, and from which load on."""

from typing import Final

import levels
import links as to
import queries as q
from board import board, with_panels
from grafana_foundation_sdk.builders import dashboard
from panels import NEUTRAL, RATIO_TO_HOSTED, Panel, bars, lines, rows
from queries import Query, dollars, ratio

UID: Final = to.MODELS

_BASIS: Final = 'phase=~"$basis"'
_BUSY: Final = 'phase=~"prefill|decode"'
_KINDS: Final = 'kind=~"$tokens"'
_DRAWN: Final = 12
_SHOWN: Final = 50
_HOURS: Final = 150
"""Points of a line: a week has 168 hours, and each point has phases and kinds of all models behind it."""
_LINKS: Final = (
    to.Link("This model alone", to.MODELS, ("cluster", "model")),
    to.Link("Waste of its cluster", to.WASTE, ("cluster",)),
)

_SERVER_LINKS: Final = (
    to.Link("Waste of this server", to.WASTE, ("cluster", "product", "team", "namespace", "server")),
)


def _sum(record: str, *more: str, slow: bool = False) -> str:
    selector = ",".join((q.MODEL, *more))
    return f"sum by (cluster, model) ({q.slow(record, selector) if slow else f'{record}{{{selector}}}'})"


def _priced(dollars: str, unpriced: str) -> str:
    """Without models that held a GPU without a price: their dollars are a part of what they cost."""
    return f"({dollars} unless on (cluster, model) last_over_time(inference:model_unpriced{unpriced}))"


def _dollars_of_day(*more: str) -> str:
    # `history` writes no dollars of a day: its marks would hide the first day of ours.
    return _priced(_sum("inference:model_cost_dollars:1d", *more, slow=True), '{ledger=""}[1450m]')


def _tokens_of_day(*more: str) -> str:
    return f"({_sum('inference:model_tokens:1d', *more, slow=True)} >= 1000)"


def _drawn(expr: str) -> str:
    """The models that cost most; a graph of all of them could not be read."""
    cost = f"sum by (cluster, model) (inference:model_cost_dollars:1h{{{q.MODEL}}} @ end())"
    return f"{expr} and on (cluster, model) topk({_DRAWN}, {cost})"


_NAME: Final = "{{model}} {{cluster}}"
_DAY: Final = dollars(f"topk({_DRAWN}, 1e6 * {_dollars_of_day(_BASIS)} / {_tokens_of_day(_KINDS)})", _NAME)
_HOUR: Final = dollars(
    _drawn(
        f"1e6 * {_priced(_sum('inference:model_cost_dollars:1h', _BASIS), '[70m]')}"
        f" / ({_sum('inference:model_tokens:1h', _KINDS)} >= 1000)"
    ),
    _NAME,
)

# Against a hosted offer, over the same day and the same tokens, whatever the choice of basis and tokens.
_OFFER: Final = "cluster, model, reference"
_HOSTED: Final = f"(sum by ({_OFFER}) ({q.slow('inference:model_hosted_dollars:1d', q.MODEL)}) > 0)"
_WITH: Final = "on (cluster, model) group_left ()"
_OURS: Final = _dollars_of_day()
_OURS_BUSY: Final = _dollars_of_day(_BUSY)
_MEAN_LOAD: Final = _sum("inference:model_tokens:rate1d", slow=True)
_LOSS_ALL: Final = f"-({_HOSTED} - {_WITH} {_OURS})"
_TOP: Final = q.largest(_SHOWN, _HOSTED, _OFFER)

_HOSTED_PRICE: Final = dollars(f"1e6 * {_HOSTED} / {_WITH} {_tokens_of_day()} {_TOP}")
_RATIO_ALL: Final = f"1 / ({_HOSTED} / {_WITH} {_OURS})"
_RATIO: Final = ratio(f"{_RATIO_ALL} {_TOP}")
_BUSY_RATIO: Final = ratio(f"1 / ({_HOSTED} / {_WITH} {_OURS_BUSY}) {_TOP}")
_LOSS: Final = dollars(f"{_LOSS_ALL} {_TOP}")
_LOAD: Final = Query(f"{_HOSTED} / {_HOSTED} * {_WITH} {_MEAN_LOAD} {_TOP}", "short")
_BREAK_EVEN: Final = Query(f"{_RATIO_ALL} * {_WITH} {_MEAN_LOAD} {_TOP}", "short")

_BUSY_SHARE: Final = ratio(
    _drawn(
        f"{_sum('inference:model_cost_dollars:1h', _BUSY)} / ({_sum('inference:model_cost_dollars:1h')} > 0)"
    ),
    _NAME,
)
_SPEED: Final = Query(_drawn(_sum("inference:model_tokens:rate5m", _KINDS)), "short", _NAME)
_BY_KIND: Final = dollars(
    f"topk({_DRAWN}, max by (cluster, model, kind)"
    f" (inference:model_dollars_per_million_tokens:kind{{{q.MODEL}}}))",
    "{{model}} {{kind}} {{cluster}}",
)


def models() -> dashboard.Dashboard:
    """First row: what a million tokens costs by model, and against the hosted offers compared with."""
    empty = board(
        "model economics",
        UID,
        "The small model or the large one, our GPUs or a hosted API, and from which load on?",
        ("cluster", "product", "team", "model", "basis", "tokens"),
        back="7d",
    )
    return with_panels(empty, *_compared(), *_kinds(), *_course(), levels.served(_SERVER_LINKS))


def _compared() -> tuple[Panel, ...]:
    return (
        bars(
            f"Dollars per million tokens by model, last 24 h: the {_DRAWN} most expensive",
            "Dollars over tokens, as Basis and Tokens choose: `full` is everything, idle time included, "
            "`busy` is prefill and decode; `computed` leaves cached prompts out. Nights count. Absent: "
            "fewer than 1,000 tokens in that day, or GPU time without a price; an idle model is not free.",
            _DAY,
            width=8,
            height=8,
            steps=NEUTRAL,
            decimals=2,
            links=_LINKS,
        ),
        rows(
            f"Ours or hosted, last 24 h: the {_SHOWN} largest",
            "The same tokens at each offer under `compare`, an upper bound; ours is always `full` and `all`, "
            "whatever Basis and Tokens are. Over 100 %: hosted would have been cheaper. "
            "Break-even is the load at which both cost the same, while these GPUs cost what they do. "
            "Busy over 100 %: more load alone does not pay, since busy time alone costs more than hosted. "
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
            links={"model": _LINKS, "cluster": (to.Link("Waste of this cluster", to.WASTE, ("cluster",)),)},
            width=16,
            height=8,
        ),
    )


def _kinds() -> tuple[Panel, ...]:
    return (
        lines(
            f"Dollars per million tokens by model, of each hour: the {_DRAWN} that cost most",
            "As Basis and Tokens choose. It falls as load rises. "
            "A gap: fewer than 1,000 tokens in that hour, or GPU time without a price.",
            _HOUR,
            links=_LINKS,
            points=_HOURS,
            width=12,
            height=8,
        ),
        bars(
            f"Dollars per million tokens of each kind, last hour: the {_DRAWN} most expensive",
            "Everything that the model cost, as each host divides it between kinds of tokens; the "
            "highest of its servers and hosts. Prompt against cached follows configured weights "
            "(docs/split.md). Absent: fewer than 1,000 tokens of that kind, or GPU time without a price.",
            _BY_KIND,
            width=12,
            height=8,
            steps=NEUTRAL,
            decimals=2,
            links=_LINKS,
        ),
    )


def _course() -> tuple[Panel, ...]:
    return (
        lines(
            f"Tokens per second by model: the {_DRAWN} that cost most",
            "As Tokens chooses. A gap: no exporter answered.",
            _SPEED,
            links=_LINKS,
            points=_HOURS,
            width=12,
            height=8,
        ),
        lines(
            f"Busy share of the money by model, of each hour: the {_DRAWN} that cost most",
            "Prefill and decode over everything: the rest to 100 % is why `full` exceeds `busy`. A gap: "
            "nothing was spent.",
            _BUSY_SHARE,
            links=_LINKS,
            points=_HOURS,
            width=12,
            height=8,
            full=1,
        ),
    )
