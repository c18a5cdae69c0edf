"""What is missing of a fleet's month, or doubtful in it, for people and for programs. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

from exporter.finance.fleet.record import FindingKind, FleetMonth, HostFinding
from exporter.finance.render import instant_text, time_text, wrapped
from exporter.readings import printable
from exporter.reports.rounding import CENT, dollars_text, hours_text, rounded
from exporter.units import NANOSECONDS_PER_HOUR, Nanoseconds, Picodollars

DETAILED: Final = 20
"""Hosts of one kind of finding that have a line of their own; the names of others follow."""

LINE_CHARACTERS: Final = 100


@dataclass(frozen=True, slots=True)
class _Form:
    """How findings of a kind are written."""

    meaning: str
    """The heading of all of them."""
    detail: Callable[[HostFinding], str] = attrgetter("text")
    """What is said of one."""
    incomplete: bool = False
    """Cost may be missing in the total by them."""
    has_amount: bool = False
    """Their amount has a meaning, also where it is 0."""
    summed: bool = False
    """Amounts of several are summed."""
    of_host: bool = True
    """They are of a known host, of which something is missing."""
    of_file: bool = False
    """They are of a file of which no host is known."""


def _hours(each: HostFinding) -> str:
    return f"{hours_text(each.duration)} hours"


_FORMS: Final[Mapping[FindingKind, _Form]] = {
    "silent": _Form(
        "Silent before the end: cost after the last tick is not in the total",
        lambda each: (
            "last tick unknown"
            if each.instant is None
            else f"last tick {instant_text(each.instant)}, {_hours(each)} before the end"
        ),
        incomplete=True,
    ),
    "unmetered": _Form("Hours without ticks: they are not charged", _hours, incomplete=True),
    "uncounted": _Form(
        "Hours of GPU hosts without a known number or price of GPUs: they are not metered",
        lambda each: f"{_hours(each)} until a GPU is read or a price states both",
        incomplete=True,
    ),
    "unpriced": _Form(
        "Unpriced GPU-hours: they cost nothing until a price covers them",
        lambda each: f"{hours_text(each.duration)} GPU-hours{each.text and f' ({each.text})'}",
        incomplete=True,
    ),
    "unobserved": _Form(
        "Unobserved hours: charged by earlier readings, but no hourly rent of hosts that were down", _hours
    ),
    "waiting": _Form(
        "Waiting adjustments: they are not in the total until their daemon posts them",
        lambda each: f"adjustment {each.text}, {dollars_text(each.amount)} dollars",
        incomplete=True,
        has_amount=True,
        summed=True,
    ),
    "overlap": _Form(
        "GPUs in two ledgers at the same time: their cost may be in the total twice",
        lambda each: f"{_hours(each)}, also in {each.text}",
    ),
    "replaced": _Form(
        "Replaced ledgers: a later ledger meters their GPUs, and both are in the total",
        lambda each: f"by {each.text}",
    ),
    "relabeled": _Form("Hosts with several names"),
    "downsampled": _Form("Downsampled: without scraped samples, finer rows and times are less exact"),
    "zone": _Form("Other time zones: these months begin and end at another instant"),
    "fork": _Form(
        "Forks: files of one ledger that both went on; what only the earlier one has is in the total",
        lambda each: (
            f"{each.location} and {each.text} part at {time_text(each.instant)}; "
            f"{hours_text(each.duration)} GPU-hours and {dollars_text(each.amount)} dollars are of the first "
            "alone"
        ),
        has_amount=True,
        summed=True,
    ),
    "copy": _Form(
        "Copies: a later copy of the same ledger is in the total, these are not",
        lambda each: (
            f"{each.location}, last commit {time_text(each.instant)}, {dollars_text(each.amount)} dollars; "
            f"counted: {each.text}"
        ),
        has_amount=True,
    ),
    "difference": _Form(
        "Sources that differ: a more exact source is in the total, these are not",
        lambda each: (
            f"{each.location}: {dollars_text(each.amount)} dollars from {each.text}, which is counted"
        ),
        has_amount=True,
        summed=True,
    ),
    "unreadable": _Form("Unreadable files: nothing of them is in the total", incomplete=True, of_file=True),
    "truncated": _Form(
        "Samples begin within the month: hosts that ended before are not in the total",
        lambda each: f"no sample before {instant_text(each.instant or 0)}, the first {_hours(each)}",
        incomplete=True,
        of_host=False,
    ),
    "unread": _Form(
        "Files that were not read: no ledger, statement, gzip or tar; nothing of them is in the total",
        attrgetter("location"),
        of_host=False,
        of_file=True,
    ),
    "ended": _Form(
        "Until its end: time from the last tick to a known end, at the last rate; not in the total",
        lambda each: (
            f"{_hours(each)}, {dollars_text(each.amount)} dollars until {time_text(each.instant)} "
            f"({each.text})"
        ),
        has_amount=True,
        summed=True,
        of_host=False,
    ),
}


def section(fleet: FleetMonth) -> Iterator[str]:
    """Lines for people. Every host with a finding is named."""
    yield _headline(fleet)
    for kind, group in groupby(fleet.findings, key=attrgetter("kind")):
        findings, form = list(group), _FORMS[kind]
        extent = f"{len(findings):,}"
        if duration := sum(each.duration for each in findings):
            extent += f", {hours_text(duration)} hours"
        if form.summed:
            extent += f", {dollars_text(sum(each.amount for each in findings))} dollars"
        yield ""
        yield f"{form.meaning} ({extent})"
        for each in findings[:DETAILED]:
            ledger = f" ({each.ledger[:8]})" if each.ledger[:8] not in each.name else ""
            name = "" if form.of_file else f"{each.name}{ledger}: "
            yield f"  {printable(f'{name}{form.detail(each)}')}"
        if rest := findings[DETAILED:]:
            names = f"and {', '.join(printable(each.name) for each in rest)}"
            yield from wrapped(names, "  ", LINE_CHARACTERS, lead="  ")


def reminder(fleet: FleetMonth) -> str:
    """A sentence that points to the section; empty where nothing is missing."""
    doubtful = any(each.kind != "ended" for each in fleet.findings)
    return f"{_headline(fleet)}: see above." if doubtful else ""


def _headline(fleet: FleetMonth) -> str:
    if all(each.kind == "ended" for each in fleet.findings):
        until = " until its end, which is known" if fleet.findings else ""
        return f"Nothing is missing: each host is metered and priced for all of its time{until}."
    word = "INCOMPLETE" if incomplete_hosts(fleet) else "CHECK"
    of_hosts = [each for each in fleet.findings if _FORMS[each.kind].of_host]
    concerned = {each.ledger or each.location for each in of_hosts}
    every = len(fleet.hosts) + sum(each.kind == "unreadable" for each in of_hosts)
    parts = [f"{len(concerned):,} of {every:,} hosts"] if of_hosts else []
    if unread := unread_files(fleet):
        parts.append("one file was not read" if len(unread) == 1 else f"{len(unread):,} files were not read")
    if any(each.kind == "truncated" for each in fleet.findings):
        parts.append("hosts that ended early are unknown")
    return f"{word}: {', and '.join(parts)}"


def until_end(fleet: FleetMonth) -> tuple[int, Nanoseconds, Picodollars]:
    """How many hosts ended, and the time and its cost from their last ticks to their ends."""
    ended = [each for each in fleet.findings if each.kind == "ended"]
    return len(ended), sum(each.duration for each in ended), sum(each.amount for each in ended)


def unread_files(fleet: FleetMonth) -> list[str]:
    """Files of no known form."""
    return [each.location for each in fleet.findings if each.kind == "unread"]


def incomplete_hosts(fleet: FleetMonth) -> int:
    """Hosts, files and addresses by which cost may be missing in the total."""
    return len({each.ledger or each.location for each in fleet.findings if _FORMS[each.kind].incomplete})


def missing_json(fleet: FleetMonth) -> list[dict[str, Any]]:
    """Findings for programs: a value that a kind does not have is null."""
    return [
        {
            "kind": each.kind,
            "host": each.name,
            "ledger": each.ledger or None,
            "location": each.location,
            "hours": each.duration / NANOSECONDS_PER_HOUR if each.duration else None,
            "picodollars": each.amount if _FORMS[each.kind].has_amount else None,
            "time": time_text(each.instant),
            "text": each.text or None,
            "meaning": _FORMS[each.kind].meaning,
        }
        for each in fleet.findings
    ]


def hosts_json(fleet: FleetMonth) -> list[dict[str, Any]]:
    """Hosts for programs. `dollars` are whole cents and sum to the total's."""
    kinds: dict[str, list[str]] = {}
    for each in fleet.findings:
        if each.kind not in kinds.setdefault(each.ledger, []):
            kinds[each.ledger].append(each.kind)
    cents = rounded([summary.total for summary in fleet.hosts], CENT)
    return [
        {
            "host": summary.host.name,
            "ledger": summary.ledger,
            "origin": summary.host.origin,
            "location": summary.host.location,
            "names": [name._asdict() for name in summary.host.names],
            "time_zone": summary.host.zone,
            "metered_since": time_text(summary.host.first),
            "metered_until": time_text(summary.host.last),
            "last_commit": time_text(summary.host.record.last_commit),
            "apportioned": summary.host.apportioned,
            "dollars": amount / 100,
            "picodollars": summary.total,
            "metered_hours": summary.covered / NANOSECONDS_PER_HOUR,
            "unobserved_hours": summary.unobserved / NANOSECONDS_PER_HOUR,
            "gpu_hours": summary.gpu_time / NANOSECONDS_PER_HOUR,
            "unpriced_gpu_hours": summary.unpriced / NANOSECONDS_PER_HOUR,
            "missing": kinds.get(summary.ledger, []),
        }
        for summary, amount in zip(fleet.hosts, cents, strict=True)
    ]
