"""JSON of an explanation, sentences of it for `explain` and the page, and the explanation of a report."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from exporter import units
from exporter.advice.explanation import (
    YOURS,
    CostAccounts,
    CurrentSplit,
    ExplainedPeriod,
    Explanation,
    HostedBreakEven,
    ModelAccount,
    ModelExplanation,
    explain,
)
from exporter.cost.postings import PHASES
from exporter.cost.quotients import FEWEST_TOKENS
from exporter.cost.split import MEANING
from exporter.report import Report
from exporter.web.wording import timestamp

# Phrases of the verb and of the page.
HOLDS: Final = "current hourly cost, excluding energy"
QUOTIENTS: Final = "dollars per million tokens, as in the metrics"
LADDER: Final = "why two people say different numbers, and neither is wrong"
PARTIAL: Final = "no price per token: others compute for its tokens, too (another role, or other hosts)"
TOO_FEW: Final = f"no price per token: it takes dollars and {FEWEST_TOKENS:,} tokens"
NO_MODEL: Final = "(none reported)"


def as_json(explanation: Explanation) -> str:
    """For machines. Money in dollars, GPU time in seconds."""
    document = {
        "ledger": explanation.ledger,
        "start": timestamp(explanation.period.start),
        "end": timestamp(explanation.period.end),
        "metered_seconds": explanation.period.covered / units.NANOSECONDS_PER_SECOND,
        "fleet_dollars_per_hour": explanation.fleet_dollars_per_hour,
        "servers": [
            {
                **server.key._asdict(),
                "partial": server.partial,
                "held": [asdict(allocated) for allocated in server.allocated],
                "models": [_model_as_json(model) for model in server.models],
            }
            for server in explanation.servers
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def _model_as_json(model: ModelExplanation) -> dict[str, Any]:
    account = model.account
    return {
        "model": account.model,
        "dollars": units.dollars(account.spent),
        "dollars_by_phase": {phase: units.dollars(amount) for phase, amount in account.money.items()},
        "gpu_seconds_by_phase": {
            phase: allocated / units.NANOSECONDS_PER_SECOND for phase, allocated in account.gpu_time.items()
        },
        "server_dollars_by_component": {
            name: units.dollars(amount) for name, amount in account.components.items()
        },
        "unpriced_gpu_seconds": account.unpriced / units.NANOSECONDS_PER_SECOND,
        "split": None if model.split is None else asdict(model.split),
        "tokens": dict(account.tokens),
        "last_token": None if account.last_token is None else timestamp(account.last_token),
        "dollars_per_million_tokens": [asdict(price) for price in model.prices],
        "ladder": [asdict(rung) for rung in model.ladder],
        "against": [asdict(one) for one in model.against],
    }


def current_split(model: ModelExplanation) -> CurrentSplit | None:
    """The split of its busy dollars; `None` without busy time."""
    account = model.account
    spent = {phase for phase in PHASES if account.money.get(phase) or account.gpu_time.get(phase)}
    return None if spent == {"idle"} else model.split


def unserved_words(account: ModelAccount) -> str | None:
    """Since when a model has served no token; `None` if it served in the period, or never."""
    if any(account.tokens.values()) or account.last_token is None:
        return None
    return f"served no token since {timestamp(account.last_token)}"


def split_words(split: CurrentSplit) -> str:
    """The method that splits busy dollars now, and its meaning."""
    return f"now split by {split.method}, prefill {split.prefill_ratio:.1%} of busy: {MEANING[split.method]}"


def unpriced_words(unpriced: units.Nanoseconds) -> str:
    """Why a model has no quotient while GPU time has no price."""
    return (
        f"no price per token: {unpriced / units.NANOSECONDS_PER_HOUR:.4f} GPU-hours that it held have no "
        "price, so that what it cost is not known; a price under `hardware` that covers them charges them"
    )


def against_words(break_even: HostedBreakEven) -> Iterator[str]:
    """Own cost against a hosted price, and the break-even."""
    own, price = break_even.own_dollars_per_million, break_even.dollars_per_million
    times = break_even.tokens_per_day / break_even.served_per_day
    name = break_even.reference if break_even.reference == YOURS else f"at {break_even.reference}"
    yield f"{name}: {price:.6f} against {own:.6f} (all, full): {own / price:.2f} times as much here"
    yield (
        f"  break-even at {break_even.tokens_per_day:,.0f} tokens a day, {times:.2f} times the "
        f"{break_even.served_per_day:,.0f} of now, on the same GPUs"
    )


TRAILING_HOURS: Final = 2
"""Calendar hours that contain the last 60 minutes."""


def explain_server(report: Report, server: str) -> Explanation | None:
    """Explain one server, given as `name` or `namespace/name`, over the last hour; `None` without totals.

    Raises:
        ExplanationError: the report has no such server.
    """
    totals, basis = report.totals, report.basis
    if totals is None or basis is None:
        return None
    accounts = CostAccounts()
    for owner, window in totals.window.items():
        accounts.add_window(owner, window.money, window.tokens, window.unpriced)
    accounts.add_mix(totals.history.mix)
    accounts.add_last(totals.last_token)
    for key in (*(owner.key for owner in report.rates), *(read.key for read in report.servers)):
        accounts.add_server(key)
    for share in report.shares:
        accounts.add_server(share.key)
    end = report.wall - report.wall % units.NANOSECONDS_PER_MINUTE
    covered = sum(hour.covered for hour in totals.history.hours[-TRAILING_HOURS:])
    return explain(
        accounts,
        ExplainedPeriod(end - units.NANOSECONDS_PER_HOUR, end, min(units.NANOSECONDS_PER_HOUR, covered)),
        basis.policy,
        basis.state,
        report.wall,
        ledger=totals.ledger,
        server=server,
    )
