"""What is missing of a fleet's month, or doubtful in it, for people and for programs. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from exporter.finance.fleet.record import FindingKind, FleetMonth, HostFinding, HostSummary
from exporter.finance.render import instant_text, time_text, wrapped
from exporter.readings import printable
from exporter.reports.rounding import CENT, dollars_text, hours_text, rounded
from exporter.units import NANOSECONDS_PER_HOUR, Nanoseconds, Picodollars

DETAILED: Final = 20
"""Hosts of one kind of finding that have a line of their own; the names of others follow."""

LINE_CHARACTERS: Final = 100

INCOMPLETE: Final[frozenset[FindingKind]] = frozenset(
    {"silent", "unmetered", "uncounted", "unpriced", "waiting", "unreadable", "truncated"}
)
"""Findings by which cost may be missing in the total."""

OF_NO_HOST: Final[frozenset[FindingKind]] = frozenset({"unread", "truncated", "ended"})
"""Findings that are of no known host, or of one of which nothing is missing."""

AMOUNTS: Final[frozenset[FindingKind]] = frozenset({"waiting", "fork", "copy", "difference", "ended"})
"""Findings whose amount has a meaning, also where it is 0."""

FILES: Final[frozenset[FindingKind]] = frozenset({"unreadable", "unread"})
"""Findings on files of which no host is known."""

_MEANINGS: Final[Mapping[FindingKind, str]] = {
    "silent": "Silent before the end: cost after the last tick is not in the total",
    "unmetered": "Hours without ticks: they are not charged",
    "uncounted": "Hours of GPU hosts without a known number or price of GPUs: they are not metered",
    "unpriced": "Unpriced GPU-hours: they cost nothing until a price covers them",
    "unobserved": "Unobserved hours: charged by earlier readings, but no hourly rent of hosts that were down",
    "waiting": "Waiting adjustments: they are not in the total until their daemon posts them",
    "overlap": "GPUs in two ledgers at the same time: their cost may be in the total twice",
    "replaced": "Replaced ledgers: a later ledger meters their GPUs, and both are in the total",
    "relabeled": "Hosts with several names",
    "downsampled": "Downsampled: without scraped samples, finer rows and times are less exact",
    "zone": "Other time zones: these months begin and end at another instant",
    "fork": "Forks: files of one ledger that both went on; what only the earlier one has is in the total",
    "copy": "Copies: a later copy of the same ledger is in the total, these are not",
    "difference": "Sources that differ: a more exact source is in the total, these are not",
    "unreadable": "Unreadable files: nothing of them is in the total",
    "truncated": "Samples begin within the month: hosts that ended before are not in the total",
    "ended": "Until its end: time from the last tick to a known end, at the last rate; not in the total",
    "unread": "Files that were not read: no ledger, statement, gzip or tar; nothing of them is in the total",
}

_DETAILS: Final[Mapping[FindingKind, Callable[[HostFinding], str]]] = {
    "silent": lambda each: (
        "last tick unknown"
        if each.instant is None
        else f"last tick {instant_text(each.instant)}, {hours_text(each.duration)} hours before the end"
    ),
    "unmetered": lambda each: f"{hours_text(each.duration)} hours",
    "uncounted": lambda each: f"{hours_text(each.duration)} hours until a GPU is read or a price states both",
    "unpriced": lambda each: f"{hours_text(each.duration)} GPU-hours{each.text and f' ({each.text})'}",
    "unobserved": lambda each: f"{hours_text(each.duration)} hours",
    "waiting": lambda each: f"adjustment {each.text}, {dollars_text(each.amount)} dollars",
    "overlap": lambda each: f"{hours_text(each.duration)} hours, also in {each.text}",
    "replaced": lambda each: f"by {each.text}",
    "relabeled": lambda each: each.text,
    "downsampled": lambda each: each.text,
    "zone": lambda each: each.text,
    "fork": lambda each: (
        f"{each.location} and {each.text} part at {time_text(each.instant)}; {hours_text(each.duration)} "
        f"GPU-hours and {dollars_text(each.amount)} dollars are of the first alone"
    ),
    "copy": lambda each: (
        f"{each.location}, last commit {time_text(each.instant)}, {dollars_text(each.amount)} dollars; "
        f"counted: {each.text}"
    ),
    "difference": lambda each: (
        f"{each.location}: {dollars_text(each.amount)} dollars from {each.text}, which is counted"
    ),
    "unreadable": lambda each: each.text,
    "truncated": lambda each: (
        f"no sample before {instant_text(each.instant or 0)}, the first {hours_text(each.duration)} hours"
    ),
    "unread": lambda each: each.location,
    "ended": lambda each: (
        f"{hours_text(each.duration)} hours, {dollars_text(each.amount)} dollars until "
        f"{time_text(each.instant)} ({each.text})"
    ),
}


def section(fleet: FleetMonth) -> Iterator[str]:
    """Lines for people. Every host with a finding is named."""
    yield _headline(fleet)
    for kind, group in groupby(fleet.findings, key=lambda each: each.kind):
        findings = list(group)
        yield ""
        yield f"{_MEANINGS[kind]} ({_extent(findings)})"
        for each in findings[:DETAILED]:
            yield f"  {printable(_line(each))}"
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
    of_hosts = [each for each in fleet.findings if each.kind not in OF_NO_HOST]
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
    return len({each.ledger or each.location for each in fleet.findings if each.kind in INCOMPLETE})


def _line(finding: HostFinding) -> str:
    if finding.kind in FILES:
        return _DETAILS[finding.kind](finding)
    ledger = f" ({finding.ledger[:8]})" if finding.ledger[:8] not in finding.name else ""
    return f"{finding.name}{ledger}: {_DETAILS[finding.kind](finding)}"


def _extent(findings: Sequence[HostFinding]) -> str:
    parts = [f"{len(findings):,}"]
    if duration := sum(each.duration for each in findings):
        parts.append(f"{hours_text(duration)} hours")
    if findings[0].kind in {"waiting", "fork", "difference", "ended"}:
        parts.append(f"{dollars_text(sum(each.amount for each in findings))} dollars")
    return ", ".join(parts)


def missing_json(fleet: FleetMonth) -> list[dict[str, Any]]:
    """Findings for programs: a value that a kind does not have is null."""
    return [
        {
            "kind": each.kind,
            "host": each.name,
            "ledger": each.ledger or None,
            "location": each.location,
            "hours": each.duration / NANOSECONDS_PER_HOUR if each.duration else None,
            "picodollars": each.amount if each.kind in AMOUNTS else None,
            "time": time_text(each.instant),
            "text": each.text or None,
            "meaning": _MEANINGS[each.kind],
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
        _host(summary, amount, kinds.get(summary.ledger, []))
        for summary, amount in zip(fleet.hosts, cents, strict=True)
    ]


def _host(summary: HostSummary, cents: int, kinds: Sequence[str]) -> dict[str, Any]:
    host = summary.host
    return {
        "host": host.name,
        "ledger": summary.ledger,
        "origin": host.origin,
        "location": host.location,
        "names": [name._asdict() for name in host.names],
        "time_zone": host.zone,
        "metered_since": time_text(host.first),
        "metered_until": time_text(host.last),
        "last_commit": time_text(host.record.last_commit),
        "apportioned": host.apportioned,
        "dollars": cents / 100,
        "picodollars": summary.total,
        "metered_hours": summary.covered / NANOSECONDS_PER_HOUR,
        "unobserved_hours": summary.unobserved / NANOSECONDS_PER_HOUR,
        "gpu_hours": summary.gpu_time / NANOSECONDS_PER_HOUR,
        "unpriced_gpu_hours": summary.unpriced / NANOSECONDS_PER_HOUR,
        "missing": list(kinds),
    }
