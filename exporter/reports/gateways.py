"""What the doctor says of gateways whose counts divide servers. Pure."""

from collections.abc import Iterable, Iterator
from typing import Final

from exporter.cost.division import whom
from exporter.readings import Division, ServerReading, masked
from exporter.reports.diagnosis import Answer, Finding, GatewayAnswer, GatewayLine

NAMED: Final = 8
"""So many names are told in a line; the others are counted."""


def gateway_line(answer: GatewayAnswer, servers: Iterable[Answer]) -> GatewayLine:
    """One gateway, and whom it names for each server that it divides."""
    reading = answer.reading
    divided = tuple(_divided(answer, servers))
    taken = _taken(divided)
    divides = tuple(
        (server.key.server, tuple(sorted(_named(answer, division, server, taken))))
        for server, division in divided
    )
    return GatewayLine(masked(reading.url), reading.up, reading.title, divides)


def gateway_words(line: GatewayLine) -> Iterator[str]:
    """The lines for a terminal."""
    yield f"  {line.url}  {line.title if line.up else 'CANNOT BE READ'}"
    for server, names in line.divides:
        yield f"       divides {server} between: {_listed(names) or 'nobody'}"


def gateway_findings(answers: Iterable[GatewayAnswer], servers: Iterable[Answer]) -> Iterator[Finding]:
    """Gateways that cannot be read, and servers of which their gateway counts nothing."""
    servers = tuple(servers)
    for answer in answers:
        if answer.problem:
            yield Finding(
                "warning",
                f"gateway {answer.problem}. Until it can be read, the last shares divide, and what has none "
                "is its owner's.",
            )
            continue
        divided = tuple(_divided(answer, servers))
        taken = _taken(divided)
        for server, division in divided:
            counts = answer.reading.counts
            if not server.up or not counts or _named(answer, division, server, taken):
                continue
            serves = _listed(server.models) or "a model of no name"
            counted = _listed(sorted({count.model for count in counts}))
            yield Finding(
                "warning",
                f"server {server.key.server} serves {serves}, and {masked(division.gateway)} names nobody "
                f"who asks for it: all is its owner's. It counts {counted}; what leads here belongs in "
                "`divide: {models: [...]}`, its model_id in `deployments` if given.",
            )


def _divided(answer: GatewayAnswer, servers: Iterable[Answer]) -> Iterator[tuple[ServerReading, Division]]:
    """The endpoints that it divides, one of each server."""
    seen = set()
    for server in servers:
        division = server.reading.division
        if division is None or division.gateway != answer.reading.url or server.reading.key in seen:
            continue
        seen.add(server.reading.key)
        yield server.reading, division


def _taken(divided: Iterable[tuple[ServerReading, Division]]) -> set[str]:
    return {deployment for _, division in divided for deployment in division.deployments}


def _named(answer: GatewayAnswer, division: Division, server: ServerReading, taken: set[str]) -> set[str]:
    found = (whom(division, count, server.models, taken) for count in answer.reading.counts)
    return {told[1] for told in found if told is not None}


def _listed(names: Iterable[str]) -> str:
    names = tuple(names)
    more = f" and {len(names) - NAMED} others" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
