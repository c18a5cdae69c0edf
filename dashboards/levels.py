"""Service level of servers: what share of their requests is within it, and what tokens cost there."""

from typing import Final

import queries as q
from links import AnyLink
from panels import NEUTRAL, SERVER_KEYS, Column, Panel, rows
from queries import Query, dollars, ratio

_SHOWN: Final = 30

_MET: Final = "inference:server_slo_met_ratio:1h"
_ALL: Final = "inference:server_slo_met_all_ratio:1h"
_COST: Final = "inference:server_slo_cost_dollars_per_million_tokens:1h"
_SPEND: Final = f"sum by ({q.BY_SERVER}) (inference:cost_dollars_per_hour:server{{{q.OWNER}}})"
_TOP: Final = q.largest(_SHOWN, f"{_SPEND} and on ({q.BY_SERVER}) {_MET}", q.BY_SERVER)


def _met(objective: str, bound: str) -> Query:
    """The range of both shares where one version of an engine counts requests and another tokens."""
    selector = f'{q.OWNER},objective="{objective}",bound="{bound}"'
    extreme = "min" if bound == "lower" else "max"
    return ratio(f"{extreme} by ({q.BY_SERVER}) ({_MET}{{{selector}}}) {_TOP}")


def columns(top: str) -> tuple[Column, ...]:
    """Columns of a table of servers: the share within all objectives, of which only bounds are known."""
    least, most = (
        f'max by ({q.BY_SERVER}) ({_ALL}{{{q.OWNER},bound="{bound}"}}) {top}' for bound in ("lower", "upper")
    )
    return (
        ("Within its slo, at least", ratio(least), NEUTRAL),
        ("Within its slo, at most", ratio(most), NEUTRAL),
    )


def _cost(bound: str) -> Query:
    return dollars(f'max by ({q.BY_SERVER}) ({_COST}{{{q.OWNER},bound="{bound}"}}) {_TOP}')


def served(links: tuple[AnyLink, ...]) -> Panel:
    """A table of the servers with a service level."""
    return rows(
        f"Service level, last hour: the first {_SHOWN} servers, by what they spend now",
        "The share within each objective of `servers[].slo`, by the engine's own histograms: at least and at "
        "most, since buckets are wide. Cost: of tokens within all objectives, whose share only has bounds. "
        "No row: no `slo`, or no request in that hour. An empty cell: the engine has no such histogram, or "
        "the server has no price.",
        SERVER_KEYS,
        (
            ("First token, at least", _met("first_token", "lower"), NEUTRAL),
            ("First token, at most", _met("first_token", "upper"), NEUTRAL),
            ("Per token, at least", _met("per_token", "lower"), NEUTRAL),
            ("Per token, at most", _met("per_token", "upper"), NEUTRAL),
            ("Dollars per million tokens within it, at least", _cost("lower"), NEUTRAL),
            ("Dollars per million tokens within it, at most", _cost("upper"), NEUTRAL),
        ),
        links={"server": links},
        width=24,
        height=8,
    )
