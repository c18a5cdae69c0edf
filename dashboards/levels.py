"""Service level of servers: what share of their requests is within it, and what tokens cost there."""

from typing import Final

import queries as q
from links import AnyLink
from panels import NEUTRAL, SERVER_KEYS, Column, Panel, bars, rows
from queries import Query, dollars, ratio

_SHOWN: Final = 30
_DRAWN: Final = 12

_MET: Final = "inference:server_slo_met_ratio:1h"
_COST: Final = "inference:server_slo_cost_dollars_per_million_tokens"
_SPEND: Final = f"sum by ({q.BY_SERVER}) (inference:cost_dollars_per_hour:server{{{q.OWNER}}})"
_TOP: Final = q.largest(_SHOWN, f"{_SPEND} and on ({q.BY_SERVER}) {_MET}", q.BY_SERVER)


def _met(objective: str, bound: str) -> Query:
    selector = f'{q.OWNER},objective="{objective}",bound="{bound}"'
    return ratio(f"max by ({q.BY_SERVER}) ({_MET}{{{selector}}}) {_TOP}")


def columns(top: str) -> tuple[Column, ...]:
    """Columns of a table of servers: the share within all objectives, of which only bounds are known."""
    met = f"{_MET}{{{q.OWNER},bound=%s}}"
    least = f"""clamp_min(1 - sum by ({q.BY_SERVER}) (1 - {met % '"lower"'}), 0)"""
    most = f"""min by ({q.BY_SERVER}) ({met % '"upper"'})"""
    return (
        ("Within its slo, at least", ratio(f"{least} {top}"), NEUTRAL),
        ("Within its slo, at most", ratio(f"{most} {top}"), NEUTRAL),
    )


def _cost(window: str, bound: str) -> str:
    return f'max by ({q.BY_SERVER}) ({_COST}:{window}{{{q.OWNER},bound="{bound}"}})'


def served(links: tuple[AnyLink, ...]) -> Panel:
    """A table of the servers with a service level."""
    return rows(
        f"Service level, last hour: the first {_SHOWN} servers, by what they spend now",
        "The share within each objective of `servers[].slo`, by the engine's own histograms: at least and at "
        "most, since buckets are wider than an objective. Cost: of tokens within all objectives, at least. "
        "No row: no `slo`, or no request in that hour. An empty cell: the engine has no such histogram, or "
        "the server has no price.",
        SERVER_KEYS,
        (
            ("First token, at least", _met("first_token", "lower"), NEUTRAL),
            ("First token, at most", _met("first_token", "upper"), NEUTRAL),
            ("Per token, at least", _met("per_token", "lower"), NEUTRAL),
            ("Per token, at most", _met("per_token", "upper"), NEUTRAL),
            ("Dollars per million tokens within it", dollars(f"{_cost('1h', 'lower')} {_TOP}"), NEUTRAL),
        ),
        links={"server": links},
        width=24,
        height=8,
    )


def priced(links: tuple[AnyLink, ...]) -> Panel:
    """Bars of what tokens within the service level cost."""
    name = "{{server}} {{namespace}} {{cluster}}"
    return bars(
        f"Dollars per million tokens within the service level, last 24 h: the {_DRAWN} dearest servers",
        "A server's dollars per million tokens over the share of its requests within all objectives of its "
        "`slo`: at least, and at most. Both assume as many tokens per request within as outside. "
        "Absent: no `slo`, fewer than 1,000 tokens in that day, or GPU time without a price.",
        dollars(f"topk({_DRAWN}, {_cost('24h', 'lower')})", f"{name} at least"),
        dollars(f"topk({_DRAWN}, {_cost('24h', 'upper')})", f"{name} at most"),
        width=24,
        height=8,
        steps=NEUTRAL,
        decimals=2,
        links=links,
    )
