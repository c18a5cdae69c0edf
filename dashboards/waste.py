"""Waste: what do I switch off on Monday, and what does it save."""

from typing import Final

import links as to
import queries as q
from board import board, with_panels
from grafana_foundation_sdk.builders import dashboard
from panels import IDLE, NEUTRAL, SERVER_KEYS, Panel, findings, lines, number, rows
from queries import Query, dollars, ratio

UID: Final = to.WASTE

_SHOWN: Final = 50
_DRAWN: Final = 10
_LINKS: Final = {
    "server": (
        to.Link("Models of its product", to.MODELS, ("cluster", "product", "team")),
        to.Link("Its GPUs", to.GPUS, ("cluster", "namespace", "server")),
        to.Link("This server alone", to.WASTE, ("cluster", "product", "team", "namespace", "server")),
    ),
    "product": (
        to.Link("Months of this product", to.CHARGEBACK, ("product", "team")),
        to.Link("This product alone", to.WASTE, ("product", "team")),
    ),
    "cluster": (to.Link("This cluster alone", to.WASTE, ("cluster",)),),
}

_SELECTED: Final = f"{q.SERVER},{q.OF_SERVERS}"


def _by_server(vector: str) -> str:
    return f"sum by ({q.BY_SERVER}) ({vector})"


_UNUSED_NOW: Final = q.slow("inference:unused_dollars_per_hour:server", q.SERVER)
_IDLE_DAY: Final = q.slow("inference:waste_dollars_per_hour:server_1d", _SELECTED)
_OBSERVED_DAY: Final = q.slow("inference:observed_dollars_per_hour:server_1d", _SELECTED)
_GPUS: Final = _by_server(f"inference:party_gpus:rate5m{{{_SELECTED}}}")

_SAVED: Final = dollars(q.per_month(f"sum({_UNUSED_NOW})"))
_FREE: Final = dollars(q.per_month(f"sum(inference:unallocated_dollars_per_hour{{{q.SERVER}}})"))
_DOWN: Final = dollars(q.per_month(f"sum(inference:idle_down_dollars_per_hour{{{q.SERVER}}})"))
_IDLE_MONTH: Final = dollars(q.per_month(f"sum({_IDLE_DAY})"))
_IDLE_SHARE: Final = ratio(
    f"sum({q.slow('inference:waste_dollars_per_hour:server_1d', q.SERVER)})"
    f" / (sum({q.slow('inference:observed_dollars_per_hour:server_1d', q.SERVER)}) > 0)"
)

_UNUSED: Final = _by_server(_UNUSED_NOW)
_SAVES: Final = dollars(f"topk({_SHOWN}, {_UNUSED}) {q.HOURS_PER_MONTH}")
_UNUSED_GPUS: Final = Query(f"{_GPUS} {q.largest(_SHOWN, _UNUSED, q.BY_SERVER)}", "short")
_UNUSED_SINCE: Final = Query(
    f"(time() - max by ({q.BY_SERVER}) (inference:server_last_token_timestamp_seconds{{{_SELECTED}}}))"
    f" {q.largest(_SHOWN, _UNUSED, q.BY_SERVER)}",
    "s",
)

# Absent where nothing was spent, as with GPUs that have no price: the idle time of those is not free.
_USED: Final = (
    f"({_by_server(_IDLE_DAY)} and on ({q.BY_SERVER}) ({_by_server(_OBSERVED_DAY)} > 0))"
    f" unless on ({q.BY_SERVER}) ({_UNUSED})"
)
_TOP_USED: Final = q.largest(_SHOWN, _USED, q.BY_SERVER)
_SHRINK: Final = dollars(f"topk({_SHOWN}, {_USED}) {q.HOURS_PER_MONTH}")
_SHRINK_SHARE: Final = ratio(f"{_by_server(_IDLE_DAY)} / ({_by_server(_OBSERVED_DAY)} > 0) {_TOP_USED}")
_SHRINK_GPUS: Final = Query(f"{_GPUS} {_TOP_USED}", "short")
_SHRINK_TOKENS: Final = Query(
    f"{_by_server(q.slow('inference:server_tokens:rate1d', _SELECTED))} {_TOP_USED}", "short"
)

_HEADROOM: Final = _by_server(f"inference:server_headroom_dollars_per_hour{{{q.SERVER}}}")
_TOP_HEADROOM: Final = q.largest(_SHOWN, _HEADROOM, q.BY_SERVER)
_FILL: Final = dollars(f"topk({_SHOWN}, {_HEADROOM}) {q.HOURS_PER_MONTH}")


def _fill(record: str) -> str:
    return f"max by ({q.BY_SERVER}) ({record}{{{q.SERVER}}}) {_TOP_HEADROOM}"


_FILL_LOAD: Final = ratio(_fill("inference:server_load_ratio:1h"))
_FILL_PAID: Final = dollars(_fill("inference:server_cost_dollars_per_million_tokens:1h"))
_FILL_FULL: Final = dollars(_fill("inference:server_full_load_cost_dollars_per_million_tokens:1h"))

_IDLE_LINES: Final = q.first_and_others(
    _DRAWN, f"inference:waste_dollars_per_hour:server{{{q.SERVER}}}", "server"
)

_BY_HOST: Final = "cluster, instance, gpu_model"
_FREE_HOST: Final = f"max by ({_BY_HOST}) (inference:unallocated_dollars_per_hour:host{{{q.CLUSTER}}})"
_FREE_MONTH: Final = dollars(f"topk({_SHOWN}, {_FREE_HOST}) {q.HOURS_PER_MONTH}")
_FREE_HOUR: Final = dollars(f"topk({_SHOWN}, {_FREE_HOST})")
_FREE_GPUS: Final = Query(
    f"max by ({_BY_HOST}) (inference:unallocated_gpus:host{{{q.CLUSTER}}})"
    f" {q.largest(_SHOWN, _FREE_HOST, _BY_HOST)}",
    "short",
)


def waste() -> dashboard.Dashboard:
    """First row: what a month of each kind of waste comes to, immediate savings first."""
    empty = board(
        "waste",
        UID,
        "What do I switch off on Monday, and what does it save? A month has the hours that the exporters "
        "are configured with. Releasing a GPU or giving it to another team saves money; stopping a server "
        "alone makes it `unallocated`.",
        ("cluster", "product", "team", "namespace", "server"),
        back="7d",
    )
    return with_panels(
        empty, *_how_much(), findings(_SHOWN, q.SERVER, _LINKS, 24), *_which(), *_when(), *_how_full()
    )


def _how_much() -> tuple[Panel, ...]:
    return (
        number(
            "Switch off: saves per month",
            "Servers whose GPUs were idle for 12 hours; the table below names them. "
            "Absent: there is none, or no GPU has a price.",
            _SAVED,
            width=5,
        ),
        number(
            "Give back: unallocated, per month",
            "GPUs without a server, at what they cost now. Absent: every GPU is held, or none has a price.",
            _FREE,
            width=5,
        ),
        number(
            "Repair: down and paid for, per month",
            "Servers that hold GPUs and answer on no endpoint, at what they cost now. "
            "Absent: every server answers.",
            _DOWN,
            width=5,
        ),
        number(
            "Shrink: idle while held, per month",
            "A month of the idle time of the last 24 h, including servers to switch off; only a part "
            "can be saved while there are peaks. Absent: no server holds a GPU with a price.",
            _IDLE_MONTH,
            width=5,
        ),
        number(
            "Idle share, last 24 h",
            "Unallocated GPUs included; time that was not observed is left out. Orange from 20 %: peaks "
            "and failures need about as much. Red from 50 %: every second dollar buys nothing. "
            "Absent: nothing was spent, or nothing was observed.",
            _IDLE_SHARE,
            width=4,
            steps=IDLE,
            decimals=0,
        ),
    )


def _which() -> tuple[Panel, ...]:
    return (
        rows(
            f"Switch off: idle for 12 hours, the first {_SHOWN}",
            "Ask who owns it first. No row: every server did something. "
            "An empty age: it never served a token, or its engine counts none.",
            SERVER_KEYS,
            (
                ("Saves per month", _SAVES, NEUTRAL),
                ("GPUs", _UNUSED_GPUS, NEUTRAL),
                ("Since last token", _UNUSED_SINCE, NEUTRAL),
            ),
            links=_LINKS,
            width=12,
            height=7,
        ),
        rows(
            f"Shrink: the others, by what their idle time costs, the first {_SHOWN}",
            "Fewer replicas, a smaller GPU, or two models on one. By the mean of the last 24 h, or of the "
            "time for which a server is younger. No row: no other server holds a GPU. "
            "An empty cell: the engine counts no tokens.",
            SERVER_KEYS,
            (
                ("Idle, per month", _SHRINK, NEUTRAL),
                ("Idle share, 24 h", _SHRINK_SHARE, IDLE),
                ("GPUs", _SHRINK_GPUS, NEUTRAL),
                ("Tokens per second, 24 h", _SHRINK_TOKENS, NEUTRAL),
            ),
            links=_LINKS,
            width=12,
            height=7,
        ),
    )


def _when() -> tuple[Panel, ...]:
    return (
        lines(
            f"When: idle dollars per hour, by server: the first {_DRAWN}",
            "Rising nights and weekends call for a schedule. A gap: no exporter answered.",
            *_IDLE_LINES,
            links=(to.Link("This server alone", to.WASTE, ("server",)),),
            width=12,
            height=7,
            stacked=True,
        ),
        rows(
            f"Give back: hosts with unallocated GPUs, the first {_SHOWN}",
            "Filtered by cluster only. No row: every GPU is held, or those that are not have no price.",
            (("instance", "Host"), ("gpu_model", "Model"), ("cluster", "Cluster")),
            (
                ("Saves per month", _FREE_MONTH, NEUTRAL),
                ("Dollars per hour", _FREE_HOUR, NEUTRAL),
                ("GPUs", _FREE_GPUS, NEUTRAL),
            ),
            links={
                "instance": (to.Link("GPUs of this host", to.GPUS, ("cluster", "instance")),),
                "cluster": _LINKS["cluster"],
            },
            width=12,
            height=7,
        ),
    )


def _how_full() -> tuple[Panel, ...]:
    return (
        rows(
            f"Fill: what servers could serve beside what they serve, the first {_SHOWN}",
            "Headroom is busy spend of the load that could be added now; idle spend comes on top. At full "
            "load: the price paid times the load of the hour. It is linear, and batches slow each sequence "
            "down: load can bring the price no lower. No row: no server reports its load (docs/engines.md). "
            "An empty price: under a tenth of the load, fewer than 1,000 tokens, or a GPU without a price.",
            SERVER_KEYS,
            (
                ("Headroom, per month", _FILL, NEUTRAL),
                ("Load, 1 h", _FILL_LOAD, NEUTRAL),
                ("Dollars per million tokens, 1 h", _FILL_PAID, NEUTRAL),
                ("Dollars per million tokens at full load", _FILL_FULL, NEUTRAL),
            ),
            links=_LINKS,
            width=24,
            height=8,
        ),
    )
