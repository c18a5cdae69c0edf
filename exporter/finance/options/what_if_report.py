"""Choices side by side, as text within 80 columns and as JSON. Pure. Picodollars of JSON are rounded down."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, Final

from exporter.advice.hours import Release
from exporter.finance.options.breakeven import BreakEven
from exporter.finance.options.choices import GpuChoice, Outcome, Turn
from exporter.finance.options.load import MeasuredLoad
from exporter.finance.options.what_if import WhatIfAnswer
from exporter.finance.render import counted, instant_text, json_text, lines_text, plain, shortened, wrapped
from exporter.readings import printable
from exporter.reports.rounding import dollars_text, hours_text, ruled_table
from exporter.units import NANOSECONDS_PER_HOUR, dollars

NAME_CHARACTERS: Final = 24

RELEASES: Final[Mapping[Release, str]] = {
    "host": "GPUs priced per host: cash only where all GPUs of a host go.",
    "lease": "Leased GPUs are owed until the lease ends: capacity, not cash.",
    "unknown": "The ledgers have no terms of their prices: leases and owned hardware stay owed.",
}


def text(answer: WhatIfAnswer) -> str:
    """For people."""
    lines = [line for sentence in _head(answer) for line in wrapped(sentence)]
    names = [f"{number}. {outcome.choice.text}" for number, outcome in enumerate(answer.outcomes, 1)]
    rows = [("now", _a_month(answer, answer.load.whole.paid), "", "")]
    for name, outcome in zip(names, answer.outcomes, strict=True):
        short = shortened(printable(name), NAME_CHARACTERS)
        if outcome.cost is None:
            rows.append((short, "no figure", "", ""))
            continue
        difference = outcome.cost - answer.load.whole.paid
        sign = "+" if answer.per_month(difference) > 0 else ""
        turn = outcome.turn
        at = _count(turn.tokens_per_day) if turn and turn.tokens_per_day is not None else ""
        rows.append((short, _a_month(answer, outcome.cost), f"{sign}{_a_month(answer, difference)}", at))
    headings = ("choice", "dollars a month", "difference", "turns at tokens/day")
    *table, _rule, last_row = ruled_table(headings, rows[:-1], rows[-1])
    lines += ["", *table, last_row]
    for name, outcome in zip(names, answer.outcomes, strict=True):
        lines += ["", *wrapped(name, "   ")]
        for sentence in _details(answer, outcome):
            lines += wrapped(sentence, "     ", lead="   ")
    if answer.break_evens:
        lines.append("")
    choices = [outcome.choice for outcome in answer.outcomes]
    sizes = {choice.text: choice.gpus for choice in choices if isinstance(choice, GpuChoice)}
    for even in answer.break_evens:
        lines += wrapped(pair_text(even, sizes[even.option]))
    return lines_text(lines)


def _details(answer: WhatIfAnswer, outcome: Outcome) -> Iterator[str]:
    """Sentences below the name of a choice."""
    if outcome.cost is None:
        yield f"No figure: {outcome.lack}."
        return
    dated = f", {outcome.as_of}" if outcome.as_of else ""
    yield f"Price: {outcome.source}{dated}."
    yield from outcome.evidence
    if outcome.turn is not None:
        yield turn_text(outcome.turn, answer.load)
    yield f"Assumes: {outcome.choice.assumes}"
    yield f"Cannot judge: {outcome.choice.cannot_judge}"


def _head(answer: WhatIfAnswer) -> Iterator[str]:
    """Sentences on the load and what is paid now; an empty one has no line."""
    load, whole = answer.load, answer.load.whole
    servers = f"servers {load.servers}" if load.servers else "all servers and free GPUs"
    yield f"what if: {load.wall_hours} hours to {instant_text(answer.end)}, {servers}"
    busy = Fraction(sum(whole.busy.values()) * 100, whole.all_gpu_time or 1)
    share = f", {float(busy):.1f} % busy" if whole.all_gpu_time else ""
    gpu_hours = hours_text(int(load.per_day(whole.all_gpu_time)))
    yield f"load: {_count(load.per_day(whole.all_tokens))} tokens and {gpu_hours} GPU-hours a day{share}"
    yield "paid: hardware and electricity, the same for all choices without overheads"
    paid = _a_month(answer, whole.paid)
    if whole.estimated_paid:
        yield f"{_a_month(answer, whole.estimated_paid)} of {paid} a month come from estimated prices"
    if whole.overheads:
        yield f"overheads of {_a_month(answer, whole.overheads)} a month stay, in no figure"
    if load.left_out:
        yield f"hours left out, in which GPU time has no price: {load.left_out}"
    unmetered = load.wall_hours - Fraction(whole.covered, NANOSECONDS_PER_HOUR)
    if unmetered >= 1:
        yield f"hours that were not metered, without load or cost: {float(unmetered):,.1f}"
    if whole.owned:
        owned = f"owned hardware of {_a_month(answer, whole.owned)} a month"
        yield f"{owned} is owed unused too: what it spares is capacity, not cash"
    for release in sorted(answer.releases):
        yield RELEASES.get(release, "")
    if answer.partial:
        yield f"one part of a server: {', '.join(answer.partial)}; its tokens are computed elsewhere too"


def turn_text(turn: Turn, load: MeasuredLoad) -> str:
    """A turn in a sentence; empty where there is none."""
    if turn.tokens_per_day is not None:
        cheaper = "this" if turn.below == "choice" else "what is paid now"
        sentence = f"Turns at {_count(turn.tokens_per_day)} tokens a day: below, {cheaper} costs less."
        known = turn.below == "now" or turn.tokens_per_day <= load.per_day(load.whole.all_tokens)
        return sentence if known else f"{sentence} Whether the GPUs of now serve so many is not known."
    return {
        "always": "It never costs more than now, at any load.",
        "never": "It never costs less than now, at any load.",
    }.get(turn.verdict, "")


def pair_text(even: BreakEven, size: int) -> str:
    """A GPU type, with replicas of so many GPUs, against a hosted offer, in a sentence."""
    if even.verdict == "always":
        return f"{even.option} costs no more than {even.hosted} at any load."
    if even.tokens_per_day is None:
        return f"{even.option} costs more than {even.hosted} at any load."
    gpus = counted((even.hosts or 0) * size, "GPU")
    at = f"{_count(even.tokens_per_day)} tokens a day"
    return f"{even.option} costs no more than {even.hosted} from {at} on, with {gpus}."


def _a_month(answer: WhatIfAnswer, amount: Fraction | int) -> str:
    """Dollars a month of an amount of the window."""
    return dollars_text(int(answer.per_month(amount)))


def _count(value: Fraction) -> str:
    return f"{int(value):,}"


def as_json(answer: WhatIfAnswer) -> str:
    """For programs."""
    load, whole = answer.load, answer.load.whole
    document = {
        "end": instant_text(answer.end),
        "window_hours": load.wall_hours,
        "hours_left_out": load.left_out,
        "metered_hours": whole.covered / NANOSECONDS_PER_HOUR,
        "servers": load.servers or None,
        "partial_servers": list(answer.partial),
        "terms": sorted(answer.releases),
        "now": {
            "picodollars": whole.paid,
            "dollars_per_month": dollars(int(answer.per_month(whole.paid))),
            "owned_picodollars": whole.owned,
            "estimated_picodollars": whole.estimated_paid,
            "overhead_picodollars": whole.overheads,
            "tokens": whole.all_tokens,
            "tokens_per_day": plain(load.per_day(whole.all_tokens)),
            "gpu_hours": whole.all_gpu_time / NANOSECONDS_PER_HOUR,
            "busy_gpu_hours": sum(whole.busy.values()) / NANOSECONDS_PER_HOUR,
        },
        "choices": [_outcome(answer, outcome) for outcome in answer.outcomes],
        "break_even_tokens_per_day": [
            {
                "choice": even.option,
                "hosted": even.hosted,
                "verdict": even.verdict,
                "tokens_per_day": plain(even.tokens_per_day),
                "replicas": even.hosts,
            }
            for even in answer.break_evens
        ],
    }
    return json_text(document)


def _outcome(answer: WhatIfAnswer, outcome: Outcome) -> dict[str, Any]:
    cost, turn = outcome.cost, outcome.turn
    difference = None if cost is None else answer.per_month(cost - answer.load.whole.paid)
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
            "tokens_per_day": plain(turn.tokens_per_day),
            "cheaper_below": turn.below if turn.verdict == "at" else None,
        },
        "evidence": list(outcome.evidence),
        "figures": plain(outcome.figures),
        "assumes": outcome.choice.assumes,
        "cannot_judge": outcome.choice.cannot_judge,
    }
