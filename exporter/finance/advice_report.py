"""Savings as text and as JSON. Pure."""

import json
import shlex
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from exporter.cost.policy import SavingKind
from exporter.cost.savings import (
    LEAST_HOURS,
    SCHEDULE_HOURS,
    WEEK_HOURS,
    Advice,
    Lack,
    LackReason,
    Obstacle,
    Rest,
    Saving,
)
from exporter.finance.fleet.record import instant_text
from exporter.reports.rounding import dollars_text, printable
from exporter.units import NANOSECONDS_PER_HOUR, Instant, dollars

WIDTH: Final = 80
RESTS_LISTED: Final = 3
DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

ASSUMES: Final[Mapping[SavingKind, str]] = {
    "unallocated": "nothing will need the GPUs.",
    "deserted": "the server stays unused, and can be stopped.",
    "schedule": "the coming weeks rest as these did.",
    "hosted": "the tokens of the window come again, at the offer's price.",
}
CANNOT_JUDGE: Final[Mapping[SavingKind, str]] = {
    "unallocated": "GPUs kept for peaks, failures or releases.",
    "deserted": "a server kept as a standby.",
    "schedule": "the time to load the model, and capacity that is not there in the morning.",
    "hosted": "latency, license, privacy, quality and rate limits of the offer.",
}
ESTIMATED: Final = "Price: an estimate, neither configured nor a list price."
OBSTACLES: Final[Mapping[Obstacle, str]] = {
    "": "Cash: the bill falls when the GPUs are given back.",
    "host": "Capacity, not cash: the price is that of the whole host, and other GPUs of it stay in use.",
    "owned": "Capacity, not cash: the hardware is owned, and costs the same unused.",
    "lease": "Capacity, not cash: the rent is owed at all hours until the lease ends.",
    "shared": "Capacity, not cash: other servers hold the same GPUs.",
    "unknown": "Counted as capacity: the ledger has no terms of its prices.",
}
LACKS: Final[Mapping[LackReason, Callable[[Lack], str]]] = {
    "history": lambda lack: f"not judged: {lack.hours} hours of history, and {LEAST_HOURS} are needed",
    "silent": lambda _: "not judged: no tick in the last hour",
    "weeks": lambda lack: (
        f"no schedule is judged: {lack.hours} hours of history, and {SCHEDULE_HOURS} are needed"
    ),
    "unpriced": lambda lack: f"no dollars: GPU {lack.subject} has no price",
    "tokens": lambda lack: f"not judged: {lack.subject} is busy, and no token of it is known",
    "partial": lambda lack: f"not judged: {lack.subject} is one part of a server",
    "offer": lambda lack: f"offer {lack.subject} is not compared: its as_of is not of the last year",
    "capacity": lambda lack: f"{lack.subject} would cost less, but its GPUs cannot be given back: no saving",
}
NOT_JUDGED: Final[Mapping[str, str]] = {
    "consolidation": "needs memory held per server by the hour, which the ledger does not have.",
    "gpu_kind": "needs that memory, and measured tokens per second on each kind of GPU.",
}
"""Kinds of savings that are not looked for, and why."""


@dataclass(frozen=True, slots=True)
class AdviceReport:
    """Advice over the last whole hours before `end`.

    `files` are the flags that printed commands need, by host.
    """

    advice: Advice
    end: Instant
    hours: int
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def command(self, saving: Saving) -> str:
        """The command that shows why."""
        files = self.files.get(saving.host, ())
        if saving.kind == "unallocated":
            words = ("report", "month", "--by=server", *files)
        else:
            words = ("explain", saving.server.name, f"--window={saving.window_hours}h", *files)
        return shlex.join(("inference-cost-exporter", *words))


def text(report: AdviceReport) -> str:
    """For people, within 80 columns but for commands."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: AdviceReport) -> Iterator[str]:
    advice = report.advice
    total = sum(saving.per_month for saving in advice.counted)
    cash = sum(saving.per_month for saving in advice.counted if saving.cash)
    yield f"savings at present prices: {dollars_text(total)} dollars a month"
    yield f"cash {dollars_text(cash)}, capacity for other work {dollars_text(total - cash)}"
    yield f"window: {report.hours} hours to {instant_text(report.end)}"
    for number, saving in enumerate(advice.counted, 1):
        yield ""
        yield from _wrapped(f"{number}. {dollars_text(saving.per_month)} a month: {headline(saving)}", "   ")
        yield from _details(saving)
        yield f"   Why: {printable(report.command(saving))}"
    if not advice.counted:
        yield ""
        yield "Nothing to save was found."
    if muted := [(each, each.ignored) for each in advice.savings if each.ignored is not None]:
        yield ""
        yield "ignored by the configuration, and in no sum:"
        for saving, ignored in muted:
            yield from _wrapped(
                f"- {dollars_text(saving.per_month)} a month: {headline(saving)}, until "
                f"{ignored.until_text}: {ignored.reason}"
            )
    yield ""
    yield "not judged:"
    for lack in advice.lacks:
        yield from _wrapped(f"- {f'{lack.host}: ' if lack.host else ''}{LACKS[lack.reason](lack)}")
    for kind, why in NOT_JUDGED.items():
        yield from _wrapped(f"- {kind}: {why}")


def _wrapped(line: str, indent: str = "  ") -> list[str]:
    return textwrap.wrap(
        printable(line), WIDTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=True
    )


def headline(saving: Saving) -> str:
    """A finding in a sentence."""
    gpus = f"{saving.gpus} GPU{'s' if saving.gpus > 1 else ''} ({', '.join(saving.gpu_models)})"
    host = f" on {saving.host}" if saving.host else ""
    name = f"{saving.server.name}{host}"
    if saving.kind == "unallocated":
        return f"{gpus}{host} had no server"
    if saving.kind == "deserted":
        return f"{name} served nothing for {_duration(saving.silent_hours)} on {gpus}"
    if saving.kind == "schedule":
        hours = sum(rest.length for rest in saving.rests)
        return f"{name} rests {hours} of {WEEK_HOURS} hours of the week on {gpus}"
    return f"{name} costs more than its tokens at {saving.reference}"


def _duration(hours: int) -> str:
    return f"{hours // 24} days" if hours >= 2 * LEAST_HOURS else f"{hours} hours"


def _details(saving: Saving) -> Iterator[str]:
    hours = f"{saving.claimed / NANOSECONDS_PER_HOUR:,.1f}"
    evidence = f"Evidence: {hours} GPU-hours in {saving.window_hours} hours"
    if saving.kind == "schedule":
        evidence += f"; {rests_text(saving.rests)}"
    if saving.kind == "hosted":
        evidence += f"; {saving.tokens:,} tokens cost {dollars_text(saving.offer_amount)} there"
    for line in (
        f"{evidence}.",
        *([ESTIMATED] if saving.price_basis == "estimate" else []),
        OBSTACLES[saving.obstacle],
        f"Assumes: {ASSUMES[saving.kind]}",
        f"Cannot judge: {CANNOT_JUDGE[saving.kind]}",
    ):
        yield from textwrap.wrap(
            printable(line), WIDTH, initial_indent="   ", subsequent_indent="     ", break_on_hyphens=False
        )


def rests_text(rests: Sequence[Rest]) -> str:
    """The longest rests, like Mon 20:00 to Tue 06:00."""
    longest = sorted(rests, key=lambda rest: (-rest.length, rest.start))[:RESTS_LISTED]
    listed = ", ".join(
        f"{_slot(rest.start)} to {_slot((rest.start + rest.length) % WEEK_HOURS)}" for rest in longest
    )
    return f"{listed}, and {len(rests) - RESTS_LISTED} more" if len(rests) > RESTS_LISTED else listed


def _slot(slot: int) -> str:
    return f"{DAYS[slot // 24]} {slot % 24:02d}:00"


def as_json(report: AdviceReport) -> str:
    """For programs. Amounts in picodollars are exact."""
    return json.dumps(document(report), indent=2) + "\n"


def document(report: AdviceReport) -> dict[str, Any]:
    """For programs, as an object."""
    advice = report.advice
    return {
        "window_hours": report.hours,
        "end": instant_text(report.end),
        "picodollars_per_month": sum(saving.per_month for saving in advice.counted),
        "cash_picodollars_per_month": sum(saving.per_month for saving in advice.counted if saving.cash),
        "idle_gpu_hours": advice.idle / NANOSECONDS_PER_HOUR,
        "savings": [_saving(report, saving) for saving in advice.savings],
        "lacks": [
            {
                "reason": lack.reason,
                "host": lack.host or None,
                "subject": lack.subject or None,
                "text": LACKS[lack.reason](lack),
            }
            for lack in advice.lacks
        ],
        "kinds_not_judged": dict(NOT_JUDGED),
    }


def _saving(report: AdviceReport, saving: Saving) -> dict[str, Any]:
    ignored = saving.ignored
    unallocated = saving.kind == "unallocated"
    return {
        "kind": saving.kind,
        "host": saving.host or None,
        "namespace": None if unallocated else saving.server.namespace,
        "server": None if unallocated else saving.server.server,
        "dollars_per_month": dollars(saving.per_month),
        "picodollars_per_month": saving.per_month,
        "window_picodollars": saving.amount,
        "price_difference_picodollars": saving.difference,
        "price_basis": saving.price_basis,
        "cash": saving.cash,
        "obstacle": saving.obstacle or None,
        "gpus": saving.gpus,
        "gpu_models": list(saving.gpu_models),
        "gpu_hours": saving.claimed / NANOSECONDS_PER_HOUR,
        "window_hours": saving.window_hours,
        "silent_hours": saving.silent_hours or None,
        "rests": [rest._asdict() for rest in saving.rests],
        "reference": saving.reference or None,
        "offer_picodollars": saving.offer_amount if saving.kind == "hosted" else None,
        "tokens": saving.tokens if saving.kind == "hosted" else None,
        "text": headline(saving),
        "assumes": ASSUMES[saving.kind],
        "cannot_judge": CANNOT_JUDGE[saving.kind],
        "command": report.command(saving),
        "ignored": None if ignored is None else {"reason": ignored.reason, "until": ignored.until_text},
    }
