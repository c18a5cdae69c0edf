"""Savings as text and as JSON. Pure."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from exporter.advice.claims import SCHEDULE_HOURS
from exporter.advice.consolidation import BUSY_LIMIT, MEMORY_RESERVE
from exporter.advice.hours import LEAST_HOURS, WEEK_HOURS
from exporter.advice.kinds import ESTIMATED, OBSTACLES, evidence, headline
from exporter.advice.saving import Advice, Lack, LackReason, Saving, SavingKind
from exporter.finance.render import instant_text, json_text, lines_text, wrapped
from exporter.readings import printable
from exporter.reports.rounding import dollars_text
from exporter.units import NANOSECONDS_PER_HOUR, Instant, dollars

ASSUMES: Final[Mapping[SavingKind, str]] = {
    "unallocated": "nothing will need the GPUs.",
    "deserted": "the server stays unused, and can be stopped.",
    "consolidation": (
        f"the coming weeks are as busy as these; {float(MEMORY_RESERVE):.0%} of memory stays free, and no "
        f"hour is more than {float(BUSY_LIMIT):.0%} busy."
    ),
    "schedule": "the coming weeks rest as these did.",
    "hosted": "the tokens of the window come again, at the offer's price.",
    "gpu_model": (
        "tokens take the GPU time that they took there, and no hour is more than "
        f"{float(BUSY_LIMIT):.0%} busy."
    ),
}
CANNOT_JUDGE: Final[Mapping[SavingKind, str]] = {
    "unallocated": "GPUs kept for peaks, failures or releases.",
    "deserted": "a server kept as a standby.",
    "consolidation": "latency of servers that compute at once, and memory that one would need at a peak.",
    "schedule": "the time to load the model, and capacity that is not there in the morning.",
    "hosted": "latency, license, privacy, quality and rate limits of the offer.",
    "gpu_model": (
        "whether the model's name means the same weights there, latency, length of contexts, and prefix "
        "caches of another size."
    ),
}


def _hours(lack: Lack, needed: int) -> str:
    return f"{lack.hours} hours of history, and {needed} are needed"


LACKS: Final[Mapping[LackReason, Callable[[Lack], str]]] = {
    "history": lambda lack: (
        f"no offer is judged for {lack.subject}: {_hours(lack, LEAST_HOURS)}"
        if lack.subject
        else f"not judged: {_hours(lack, LEAST_HOURS)}"
    ),
    "silent": lambda _: "not judged: no tick in the last hour",
    "days": lambda lack: (
        f"not judged whether {lack.subject} fit on fewer or cheaper GPUs: {_hours(lack, WEEK_HOURS)}"
    ),
    "memory": lambda lack: (
        f"not judged whether {lack.subject} fit on fewer GPUs: use and memory are known for "
        f"{lack.hours} hours, and {WEEK_HOURS} are needed"
    ),
    "weeks": lambda lack: (
        f"no schedule is judged{lack.subject and f' for {lack.subject}'}: {_hours(lack, SCHEDULE_HOURS)}"
    ),
    "unpriced": lambda lack: f"no dollars: GPU {lack.subject} has no price",
    "tokens": lambda lack: f"not judged: {lack.subject} is busy, and no token of it is known",
    "partial": lambda lack: f"not judged: {lack.subject} is one part of a server",
    "offer": lambda lack: f"offer {lack.subject} is not compared: its as_of is not of the last year",
    "capacity": lambda lack: f"{lack.subject} would cost less, but its GPUs cannot be given back: no saving",
    "rate": lambda lack: (
        f"not judged whether {lack.subject} could use cheaper GPUs: their models were not measured on them"
    ),
    "room": lambda lack: f"{lack.subject} could use cheaper GPUs, but too few of them are free",
}


@dataclass(frozen=True, slots=True)
class AdviceReport:
    """Advice over the last whole hours before an instant."""

    advice: Advice
    end: Instant
    hours: int
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The flags that printed commands need, by host."""

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
    lines: list[str] = []
    advice = report.advice
    total = sum(saving.per_month for saving in advice.counted)
    cash = sum(saving.per_month for saving in advice.counted if saving.cash)
    lines.append(f"savings at present prices: {dollars_text(total)} dollars a month")
    lines.append(f"cash {dollars_text(cash)}, capacity for other work {dollars_text(total - cash)}")
    lines.append(f"window: {report.hours} hours to {instant_text(report.end)}")
    for number, saving in enumerate(advice.counted, 1):
        lines.append("")
        lines += wrapped(f"{number}. {dollars_text(saving.per_month)} a month: {headline(saving)}", "   ")
        for line in (
            f"Evidence: {evidence(saving, dollars_text)}.",
            *([ESTIMATED] if saving.price_basis == "estimate" else []),
            OBSTACLES[saving.obstacle],
            f"Assumes: {ASSUMES[saving.kind]}",
            f"Cannot judge: {CANNOT_JUDGE[saving.kind]}",
        ):
            lines += wrapped(line, "     ", lead="   ")
        lines.append(f"   Why: {printable(report.command(saving))}")
    if not advice.counted:
        lines.append("")
        lines.append("Nothing to save was found.")
    if muted := [(each, each.ignored) for each in advice.savings if each.ignored is not None]:
        lines.append("")
        lines.append("ignored by the configuration, and in no sum:")
        for saving, ignored in muted:
            lines += wrapped(
                f"- {dollars_text(saving.per_month)} a month: {headline(saving)}, until "
                f"{ignored.until_text}: {ignored.reason}"
            )
    if advice.lacks:
        lines.append("")
        lines.append("not judged:")
    for lack in advice.lacks:
        lines += wrapped(f"- {f'{lack.host}: ' if lack.host else ''}{LACKS[lack.reason](lack)}")
    return lines_text(lines)


def as_json(report: AdviceReport) -> str:
    """For programs. Amounts in picodollars are exact."""
    return json_text(document(report))


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
        "kinds_not_judged": {},
    }


def _saving(report: AdviceReport, saving: Saving) -> dict[str, Any]:
    ignored, fewer, cheaper = saving.ignored, saving.fewer, saving.cheaper
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
        "fewer_gpus": fewer
        and {
            "servers": [key.name for key in fewer.servers],
            "onto": [key.name for key in fewer.onto],
            "busiest_hour_ratio": fewer.busiest / NANOSECONDS_PER_HOUR,
            "busy_limit_ratio": float(BUSY_LIMIT),
            "memory_bytes": fewer.memory_bytes,
            "memory_total_bytes": fewer.memory_total_bytes,
            "memory_reserve_ratio": float(MEMORY_RESERVE),
        },
        "cheaper_gpus": cheaper
        and {
            "gpu_model": cheaper.gpu_model,
            "gpus": cheaper.gpus,
            "hosts": [host for host in cheaper.hosts if host],
            "picodollars_per_hour": cheaper.per_hour,
            "model": cheaper.model,
            "measured_host": cheaper.host or None,
            "measured_server": cheaper.server.name,
            "measured_tokens": cheaper.tokens,
            "measured_busy_gpu_hours": cheaper.busy / NANOSECONDS_PER_HOUR,
            "busiest_hour_gpu_hours": cheaper.need / NANOSECONDS_PER_HOUR,
            "busy_limit_ratio": float(BUSY_LIMIT),
        },
        "text": headline(saving),
        "assumes": ASSUMES[saving.kind],
        "cannot_judge": CANNOT_JUDGE[saving.kind],
        "command": report.command(saving),
        "ignored": None if ignored is None else {"reason": ignored.reason, "until": ignored.until_text},
    }
