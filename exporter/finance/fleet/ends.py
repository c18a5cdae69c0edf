"""Ends of hosts that were given back: who says so, and when. Pure.

EndError
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from fractions import Fraction
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from exporter.finance.fleet.host_resources import LEDGER_CHARACTERS, HostIdentity, NodeName
from exporter.finance.fleet.record import (
    UNMETERED_FROM,
    FleetError,
    FleetMonth,
    HostFinding,
    HostMonth,
    HostSummary,
    KnownEnd,
    bounds,
    date_of,
    finding_of,
    finding_order,
    names_text,
    overlap_of,
)
from exporter.finance.render import instant_text
from exporter.tariff.period import Period
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_MINUTE, NANOSECONDS_PER_SECOND, Instant

GONE_AFTER: Final = 10 * NANOSECONDS_PER_MINUTE
"""A node that others of its cluster outlive by so much has left it."""

BY_A_PERSON: Final = "--ended"
BY_KUBERNETES: Final = "left kube_node_info"

NodeEnds = Mapping[NodeName, Instant | None]
"""When nodes left their cluster; `None` for one that is still there, or of which that is not known."""


class EndError(FleetError):
    """An end that a person gave fits no host, or several, or a host that ticked after it."""


class GivenEnd(NamedTuple):
    """What a person says: a host, by any of its names or its ledger, and a moment, a date or a time."""

    host: str
    moment: date

    def instant(self, zone: ZoneInfo) -> Instant:
        """The moment; a date is its first instant, and a time without an offset one of the zone."""
        if not isinstance(self.moment, datetime):
            return Period.between(self.moment, self.moment).bounds(zone)[0]
        moment = self.moment if self.moment.tzinfo else self.moment.replace(tzinfo=zone)
        return int(moment.timestamp()) * NANOSECONDS_PER_SECOND


def given_ends(given: Iterable[GivenEnd], hosts: Sequence[HostMonth], zone: ZoneInfo) -> dict[str, KnownEnd]:
    """Ends that a person gave, by ledger.

    Raises:
        EndError: one fits no ledger, several ledgers, or one that has a later tick.
    """
    ends: dict[str, KnownEnd] = {}
    for each in given:
        matching: dict[str, HostMonth] = {}
        for host in hosts:
            ledger = host.record.ledger
            exact = (ledger, ledger[:LEDGER_CHARACTERS], host.name)
            if each.host in exact or each.host.casefold() in HostIdentity.of(host).names:
                matching[ledger] = host
        if len(matching) != 1:
            names = names_text([f"{host.name} ({ledger[:8]})" for ledger, host in matching.items()])
            what = f"names {names}: name one by its ledger id" if matching else "names no host"
            raise EndError(f"{BY_A_PERSON}={each.host}={each.moment.isoformat()} {what}")
        ((ledger, host),) = matching.items()
        end = each.instant(zone)
        if host.last is not None and end < host.last:
            raise EndError(
                f"{BY_A_PERSON}={each.host}={each.moment.isoformat()} is before the host's last tick, "
                f"{instant_text(host.last)}"
            )
        ends[ledger] = KnownEnd(end, BY_A_PERSON)
    return ends


def node_ends(scrapes: Mapping[NodeName, Sequence[Instant]]) -> NodeEnds:
    """When nodes left their cluster, by the last instants at which each was seen in hours of a month.

    A node leaves when others of its cluster are seen `GONE_AFTER` later and it never is again. Where none was
    seen for over an hour, as in an outage of their exporter, it left at some time in it: by its end.
    """
    others: dict[str, set[Instant]] = {}
    for node, instants in scrapes.items():
        others.setdefault(node.cluster, set()).update(instants)
    ends: dict[NodeName, Instant | None] = {}
    for node, instants in scrapes.items():
        last = max(instants)
        after = min((each for each in others[node.cluster] if each >= last + GONE_AFTER), default=None)
        if after is None or after <= last + NANOSECONDS_PER_HOUR + GONE_AFTER:
            ends[node] = None if after is None else last
        else:
            ends[node] = max(last, after - NANOSECONDS_PER_HOUR)
    return ends


def ends_by_nodes(hosts: Iterable[HostMonth], ends: NodeEnds) -> Iterator[tuple[str, KnownEnd]]:
    """Ends of hosts by those of their nodes. A name that nodes of several clusters have says nothing."""
    by_name: dict[str, dict[str, Instant | None]] = {}
    for node, end in ends.items():
        by_name.setdefault(node.node.casefold(), {})[node.cluster] = end
    for host in hosts:
        matching = {
            end
            for node in HostIdentity.of(host).nodes
            for cluster, end in by_name.get(node.node.casefold(), {}).items()
            if node.cluster in ("", cluster) or not cluster
        }
        if len(matching) == 1:
            (end,) = matching
            if end is not None:
                yield host.record.ledger, KnownEnd(end, BY_KUBERNETES)


def with_ends(fleet: FleetMonth, ends: Mapping[str, KnownEnd]) -> FleetMonth:
    """A fleet in which hosts whose end is known have ended, and are neither silent nor replaced.

    `ends` are by ledger. A host also ended when later ledgers meter its GPUs, or as its statement or
    its cloud's notice has it.
    """
    hosts = {summary.ledger: summary for summary in fleet.hosts}
    silent = {(each.ledger, each.location) for each in fleet.findings if each.kind == "silent"}
    known = {**_successors(fleet.hosts), **ends}
    findings: list[HostFinding] = []
    for each in fleet.findings:
        summary = hosts.get(each.ledger)
        end = None if summary is None else known.get(each.ledger) or summary.host.end
        if summary is None or end is None or (each.ledger, each.location) not in silent:
            findings.append(each)
        elif each.kind == "silent":
            host = summary.host
            start, after = bounds(host)
            last = host.last or 0
            duration = max(0, min(end.instant, after) - max(start, last))
            # At its last rate, else at that of its whole time.
            rate = host.rate
            if rate is None:
                rate = Fraction(host.total - host.record.adjusted, max(1, summary.covered))
            ended = finding_of(
                "ended",
                host,
                duration=duration,
                amount=int(rate * duration + Fraction(1, 2)),
                instant=max(end.instant, last),
                text=end.reason,
            )
            findings.append(ended)
        elif each.kind != "replaced":
            findings.append(each)
    return replace(fleet, findings=tuple(sorted(findings, key=finding_order)))


def _successors(summaries: Sequence[HostSummary]) -> dict[str, KnownEnd]:
    """Ends of hosts all of whose last GPUs later ledgers meter, by ledger."""
    holders: dict[str, list[HostMonth]] = {}
    for summary in summaries:
        for gpu in summary.host.gpus:
            holders.setdefault(gpu, []).append(summary.host)
    ends: dict[str, KnownEnd] = {}
    for host in (summary.host for summary in summaries):
        last_day = max((last for _first, last in host.gpus.values()), default=0)
        of_gpus: list[list[tuple[Instant, str]]] = []
        for gpu in (gpu for gpu, (_first, last) in host.gpus.items() if last == last_day):
            successors: list[tuple[Instant, str]] = []
            for other in holders[gpu]:
                if (other.last or 0) > (host.last or 0) and overlap_of(host, other, gpu) < UNMETERED_FROM:
                    day = date_of(other.gpus[gpu][0])
                    began = Period.between(day, day).bounds(ZoneInfo(other.zone))[0]
                    successors.append((max(host.last or 0, other.first or 0, began), other.name))
            of_gpus.append(successors)
        if of_gpus and all(of_gpus):
            instant, name = max(min(each) for each in of_gpus)
            ends[host.record.ledger] = KnownEnd(instant, f"its GPUs are metered by {name}")
    return ends
