"""Findings in sentences, for the verb and the page. Pure.

Names in them are as they came from outside: whoever shows them makes them fit.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from exporter.advice import LEAST_HOURS, WEEK_HOURS, CheaperGpus, FewerGpus, Obstacle, Rest, Saving
from exporter.readings import ServerKey
from exporter.units import NANOSECONDS_PER_HOUR, Picodollars

RESTS_LISTED: Final = 3
GIBIBYTE: Final = 2**30
DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

ESTIMATED: Final = "Price: an estimate, neither configured nor a list price."
OBSTACLES: Final[Mapping[Obstacle, str]] = {
    "": "Cash: the bill falls when the GPUs are given back.",
    "host": "Capacity, not cash: the price is that of the whole host, and other GPUs of it stay in use.",
    "owned": "Capacity, not cash: the hardware is owned, and costs the same unused.",
    "lease": "Capacity, not cash: the rent is owed at all hours until the lease ends.",
    "shared": "Capacity, not cash: other servers hold the same GPUs.",
    "unknown": "Counted as capacity: the ledger has no terms of its prices.",
}


def headline(saving: Saving) -> str:
    """A finding in a sentence."""
    return f"{subject(saving)} {predicate(saving)}"


def subject(saving: Saving) -> str:
    """What a finding is about: a server, or GPUs that none held."""
    if saving.kind == "unallocated":
        what = _gpus(saving)
    else:
        what = saving.server.name if saving.fewer is None else _names(saving.fewer.servers)
    return f"{what} on {saving.host}" if saving.host else what


def predicate(saving: Saving) -> str:
    """What was found of the subject: the rest of the sentence."""
    if saving.kind == "unallocated":
        return "had no server"
    if saving.kind == "deserted":
        return f"served nothing for {_duration(saving.silent_hours)} on {_gpus(saving)}"
    if saving.fewer is not None:
        return f"would fit beside {_names(saving.fewer.onto)}, freeing {_gpus(saving)}"
    if saving.cheaper is not None:
        return f"would run on {_cheaper(saving.cheaper)} instead of {_gpus(saving)}"
    if saving.kind == "schedule":
        hours = sum(rest.length for rest in saving.rests)
        return f"rests {hours} of {WEEK_HOURS} hours of the week on {_gpus(saving)}"
    return f"costs more than its tokens at {saving.reference}"


def _gpus(saving: Saving) -> str:
    return f"{saving.gpus} GPU{'s' if saving.gpus > 1 else ''} ({', '.join(saving.gpu_models)})"


def _names(servers: Sequence[ServerKey]) -> str:
    return ", ".join(key.name for key in servers)


def _cheaper(cheaper: CheaperGpus) -> str:
    hosts = ", ".join(filter(None, cheaper.hosts))
    return f"{cheaper.gpus} {cheaper.gpu_model}{f' on {hosts}' if hosts else ''}"


def evidence(saving: Saving, dollars_text: Callable[[Picodollars], str]) -> str:
    """What a finding rests on; `dollars_text` writes an amount."""
    hours = f"{saving.claimed / NANOSECONDS_PER_HOUR:,.1f}"
    words = f"{hours} GPU-hours in {saving.window_hours} hours"
    if saving.kind == "schedule":
        words += f"; {rests_text(saving.rests)}"
    if saving.kind == "hosted":
        words += f"; {saving.tokens:,} tokens cost {dollars_text(saving.offer_amount)} there"
    if saving.fewer is not None:
        words += f"; {_fewer_evidence(saving.fewer)}"
    if saving.cheaper is not None:
        words += f"; {_cheaper_evidence(saving.cheaper, dollars_text)}"
    return words


def _fewer_evidence(fewer: FewerGpus) -> str:
    return (
        f"together at most {fewer.busiest / NANOSECONDS_PER_HOUR:.0%} busy in an hour, and "
        f"{fewer.memory_bytes / GIBIBYTE:,.1f} of {fewer.memory_total_bytes / GIBIBYTE:,.1f} GiB of memory"
    )


def _cheaper_evidence(cheaper: CheaperGpus, dollars_text: Callable[[Picodollars], str]) -> str:
    measured = f"{cheaper.server.name}{f' on {cheaper.host}' if cheaper.host else ''}"
    ratio = cheaper.need / (cheaper.gpus * NANOSECONDS_PER_HOUR)
    return (
        f"{measured} took {cheaper.busy / NANOSECONDS_PER_HOUR:,.1f} busy GPU-hours for "
        f"{cheaper.tokens:,} tokens of {cheaper.model}; the busiest hour would be {ratio:.0%} busy; "
        f"{cheaper.gpus} {cheaper.gpu_model} cost {dollars_text(cheaper.per_hour)} an hour"
    )


def rests_text(rests: Sequence[Rest]) -> str:
    """The longest rests, like Mon 20:00 to Tue 06:00."""
    longest = sorted(rests, key=lambda rest: (-rest.length, rest.start))[:RESTS_LISTED]
    listed = ", ".join(
        f"{_time(rest.start, rest.minute)} to {_time((rest.start + rest.length) % WEEK_HOURS, rest.minute)}"
        for rest in longest
    )
    return f"{listed}, and {len(rests) - RESTS_LISTED} more" if len(rests) > RESTS_LISTED else listed


def _duration(hours: int) -> str:
    return f"{hours // 24} days" if hours >= 2 * LEAST_HOURS else f"{hours} hours"


def _time(slot: int, minute: int) -> str:
    return f"{DAYS[slot // 24]} {slot % 24:02d}:{minute:02d}"
