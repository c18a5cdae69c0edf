"""Choices side by side, as JSON. Pure. Picodollars are rounded down."""

from fractions import Fraction
from typing import Any

from exporter.finance.options.outcome import Outcome
from exporter.finance.options.what_if import WhatIfAnswer
from exporter.finance.options.what_if_text import ASSUMES, CANNOT_JUDGE
from exporter.finance.render import instant_text, json_text
from exporter.units import NANOSECONDS_PER_HOUR, dollars


def as_json(answer: WhatIfAnswer) -> str:
    """For programs."""
    load = answer.load
    document = {
        "end": instant_text(answer.end),
        "window_hours": load.wall_hours,
        "hours_left_out": load.left_out,
        "metered_hours": load.covered / NANOSECONDS_PER_HOUR,
        "servers": load.servers or None,
        "partial_servers": list(answer.partial),
        "terms": sorted(answer.releases),
        "now": {
            "picodollars": load.paid,
            "dollars_per_month": dollars(int(answer.per_month(load.paid))),
            "owned_picodollars": load.owned,
            "estimated_picodollars": load.estimated,
            "overhead_picodollars": load.overheads,
            "tokens": load.all_tokens,
            "tokens_per_day": float(load.per_day(load.all_tokens)),
            "gpu_hours": load.gpu_time / NANOSECONDS_PER_HOUR,
            "busy_gpu_hours": load.busy / NANOSECONDS_PER_HOUR,
        },
        "choices": [_outcome(answer, outcome) for outcome in answer.outcomes],
        "break_even_tokens_per_day": [
            {
                "choice": even.option,
                "hosted": even.hosted,
                "verdict": even.verdict,
                "tokens_per_day": None if even.tokens_per_day is None else float(even.tokens_per_day),
                "replicas": even.hosts,
            }
            for even in answer.break_evens
        ],
    }
    return json_text(document)


def _outcome(answer: WhatIfAnswer, outcome: Outcome) -> dict[str, Any]:
    cost, turn = outcome.cost, outcome.turn
    difference = None if cost is None else answer.per_month(cost - answer.load.paid)
    return {
        "choice": outcome.choice.text,
        "picodollars": None if cost is None else int(cost),
        "dollars_per_month": None if cost is None else dollars(int(answer.per_month(cost))),
        "difference_dollars_per_month": None if difference is None else dollars(int(difference)),
        "lack": outcome.lack or None,
        "price_source": outcome.source or None,
        "price_as_of": outcome.as_of or None,
        "turn": None
        if turn is None
        else {
            "verdict": turn.verdict,
            "tokens_per_day": None if turn.tokens_per_day is None else float(turn.tokens_per_day),
            "cheaper_below": turn.below if turn.verdict == "at" else None,
        },
        "evidence": list(outcome.evidence),
        "figures": {
            name: float(figure) if isinstance(figure, Fraction) else figure
            for name, figure in outcome.figures.items()
        },
        "assumes": ASSUMES[type(outcome.choice)],
        "cannot_judge": CANNOT_JUDGE[type(outcome.choice)],
    }
