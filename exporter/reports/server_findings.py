"""Doctor findings about servers, gateways, and entries that match no server. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from exporter import readings
from exporter.config.settings import Config, ServerMatch
from exporter.cost.division import consumer_of
from exporter.cost.postings import OTHER
from exporter.engines import Described, described
from exporter.reports import diagnosis
from exporter.sources.discovery import DiscoveredServer, DiscoveryResult
from exporter.sources.discovery.naming import UNMATCHED, UNSEEN
from exporter.tariff.terms import matches

WITHOUT_GPU: Final = {
    readings.FailureReason.NO_GPU: "without a GPU, not charged and not read",
    readings.FailureReason.GPU_UNKNOWN: "not read while no GPU can be read",
}
"""Servers that have no cost and no remedy, such as routers and those on the CPU."""

NAMED: Final = 8
"""Names in one line; the others are counted."""


def gateway_line(
    answer: diagnosis.GatewayAnswer, servers: Iterable[diagnosis.ServerAnswer]
) -> diagnosis.DoctorGateway:
    """One gateway, and the owners that it names for each server that it divides."""
    reading = answer.reading
    divided = tuple(_divided(answer, servers))
    taken = _taken(divided)
    divides = tuple(
        (server.key.server, tuple(sorted(_named(answer, division, server, taken))))
        for server, division in divided
    )
    unlisted = reading.unlisted, reading.unlisted_count
    return diagnosis.DoctorGateway(
        readings.masked(reading.url), reading.up, reading.title, divides, *unlisted
    )


def gateway_words(line: diagnosis.DoctorGateway) -> Iterator[str]:
    """The lines for a terminal."""
    yield f"  {line.url}  {line.title if line.up else 'CANNOT BE READ'}"
    for server, names in line.divides:
        yield f"       divides {server} between: {_listed(names) or 'nobody'}"
    if line.unlisted:
        yield f"       of team {OTHER}: {_listed(line.unlisted, line.unlisted_count)}"


def gateway_findings(
    answers: Iterable[diagnosis.GatewayAnswer], servers: Iterable[diagnosis.ServerAnswer]
) -> Iterator[diagnosis.Finding]:
    """Gateways that cannot be read, and servers of which their gateway counts nothing."""
    servers = tuple(servers)
    for answer in answers:
        if answer.problem:
            yield diagnosis.warning(
                f"gateway {answer.problem}. Until it can be read, cost is divided by the last shares; the "
                "rest stays with the server's owner.",
            )
            continue
        reading = answer.reading
        if reading.absent:
            absent = " and no ".join(reading.absent)
            yield diagnosis.note(
                f"gateway {readings.masked(reading.url)}: its page has no {absent}: check the names in "
                "`counters`, "
                "unless nothing was counted so far.",
            )
        if reading.unlisted:
            names = _listed(reading.unlisted, reading.unlisted_count)
            yield diagnosis.note(
                f"gateway {readings.masked(reading.url)}: no entry of `tenants` matches {names}; their "
                "cost is of "
                f"team {OTHER}.",
            )
        divided = tuple(_divided(answer, servers))
        taken = _taken(divided)
        for server, division in divided:
            counts = answer.reading.counters
            if not server.up or not counts or _named(answer, division, server, taken):
                continue
            serves = _listed(server.models) or "a model of no name"
            counted = _listed(sorted({count.model for count in counts}))
            yield diagnosis.warning(
                f"server {server.key.server} serves {serves}, and {readings.masked(division.gateway)} counts "
                f"no requests for it: all of its cost stays with its owner. It counts {counted}; names that "
                "lead here belong in `divide: {models: [...]}`, its model_id in `deployments` if given.",
            )


def level_findings(
    servers: Iterable[diagnosis.ServerAnswer], engines: Described = ()
) -> Iterator[diagnosis.Finding]:
    """Objectives of which the server's engine reports no histogram, each server once."""
    silent = {
        (reading.key.name, reading.engine, objective): engine.manual.title or engine.name
        for reading in (server.reading for server in servers)
        if reading.up and reading.slo is not None
        if (engine := described(reading.engine, engines)) is not None
        for objective in reading.slo.seconds()
        if not engine.latencies()[objective]
    }
    for (name, _, objective), title in silent.items():
        yield diagnosis.warning(
            f"server {name} has `slo: {{{objective}_seconds}}`, and {title} reports no such latency: its "
            "share stays absent. Remove the key, or measure it at a gateway.",
        )


def role_findings(servers: Iterable[diagnosis.ServerAnswer]) -> Iterator[diagnosis.Finding]:
    """Servers that may be part of a disaggregated pair and have no role, each once."""
    doubts = {server.reading.key.name: server.reading.role_doubt for server in servers}
    for name, doubt in doubts.items():
        if doubt:
            yield diagnosis.warning(f"server {name} has no role: {doubt}. {readings.ROLE_REMEDY}")


def _divided(
    answer: diagnosis.GatewayAnswer, servers: Iterable[diagnosis.ServerAnswer]
) -> Iterator[tuple[readings.ServerReading, readings.Division]]:
    """The endpoints that it divides, one of each server."""
    keys = set()
    for server in servers:
        division = server.reading.division
        if division is None or division.gateway != answer.reading.url or server.reading.key in keys:
            continue
        keys.add(server.reading.key)
        yield server.reading, division


def _taken(divided: Iterable[tuple[readings.ServerReading, readings.Division]]) -> set[str]:
    return {deployment for _, division in divided for deployment in division.deployments}


def _named(
    answer: diagnosis.GatewayAnswer,
    division: readings.Division,
    server: readings.ServerReading,
    taken: set[str],
) -> set[str]:
    consumers = (consumer_of(division, count, server.models, taken) for count in answer.reading.counters)
    owners = (readings.team_and_product(consumer[1]) for consumer in consumers if consumer is not None)
    return {f"{team} ({product})" if product else team for team, product in owners}


def _listed(names: Iterable[str], count: int = 0) -> str:
    """The first of some names, of `count` where these are not all."""
    names = tuple(names)
    left = max(count, len(names)) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {left} others" if left > 0 else "")


def discovered_lines(servers_found: Iterable[DiscoveredServer], indices: Mapping[str, int]) -> Iterator[str]:
    """Discovered servers in lines for a terminal. `indices` are those of the GPUs, by UUID.

    Those without a GPU have no cost, and share a line.
    """
    without: dict[readings.FailureReason, list[str]] = {}
    for discovered in servers_found:
        name = discovered.key.name
        if discovered.skip_reason in WITHOUT_GPU:
            without.setdefault(discovered.skip_reason, []).append(name)
            continue
        what = [discovered.engine or discovered.program or "no visible process"]
        if discovered.model:
            what.append(f"model {discovered.model}")
        if discovered.where:
            what.append(f"in {discovered.where}")
        yield f"  {name}  {', '.join(what)}  GPUs {_numbers(discovered.gpus, indices) or 'none'}"
        reason = discovered.skip_reason
        if discovered.url:
            yield f"       read at {discovered.url}"
        elif reason is None:
            yield "       not read"
        else:
            # One of the metric is spelled as in its label.
            named = f" ({reason})" if reason.remedy else ""
            yield f"       not read{named}: {reason.problem}"
    for cause, names in without.items():
        yield f"  {WITHOUT_GPU[cause]}: {_listed(names)}"


def discovery_findings(result: DiscoveryResult, indices: Mapping[str, int]) -> Iterator[diagnosis.Finding]:
    """Findings on the result of discovery."""
    for source, problem in result.problems:
        yield diagnosis.warning(f"{source}: {problem}.")
    for source, problem in result.unasked:
        yield diagnosis.note(f"{source} are not asked for: {problem}.")
    if any(holder.key == UNSEEN for holder in result.holders):
        yield diagnosis.warning(
            f"hidden processes compute on GPUs, and their cost goes to `{UNSEEN.server}`. "
            "Give the exporter the host's processes: hostPID in Kubernetes, --pid=host in Docker.",
        )
    for discovered in result.servers:
        if discovered.refused:
            yield diagnosis.warning(f"server {discovered.key.server}: {discovered.refused}.")
        if not discovered.gpus or discovered.skip_reason is readings.FailureReason.CONFIGURED:
            continue
        if discovered.key in result.unmatched:
            match = f'{{process: "{discovered.program}"}}'
            if discovered.key.namespace:
                workload = discovered.key.server.removeprefix(UNMATCHED)
                match = f'{{workload: "{discovered.key.namespace}/{workload}"}}'
            yield diagnosis.note(
                f"{discovered.key.server} holds {_gpus_text(discovered.gpus, indices)}, is no "
                "known inference server, and pays for them. To name it: "
                f"`servers: [{{match: {match}, name: NAME}}]`.",
            )
    for key, reason in dict.fromkeys((one.key, one.reason) for one in result.unread):
        gpus = [gpu for discovered in result.servers if discovered.key == key for gpu in discovered.gpus]
        state = "is not read"
        if gpus:
            gpus_text = _gpus_text(tuple(dict.fromkeys(gpus)), indices)
            state = f"holds {gpus_text}, and its tokens are not counted"
        yield diagnosis.warning(f"server {key.server} {state}: {reason.problem}. {reason.remedy}.")
    if result.refused:
        yield diagnosis.warning(
            f"{result.refused} pods claim the name of another workload by annotation; they keep their own.",
        )


def _gpus_text(uuids: Sequence[str], indices: Mapping[str, int]) -> str:
    return f"GPU{'s' * (len(uuids) > 1)} {_numbers(uuids, indices)}"


def _numbers(uuids: Sequence[str], indices: Mapping[str, int]) -> str:
    """The indices of GPUs, in order; a UUID where one has none."""
    known_indices = sorted(indices[uuid] for uuid in uuids if uuid in indices)
    return ", ".join([*map(str, known_indices), *(uuid for uuid in uuids if uuid not in indices)])


def unmatched_server_findings(
    config: Config, result: DiscoveryResult, servers: Iterable[readings.ServerKey]
) -> Iterator[diagnosis.Finding]:
    """Entries of `servers` that match nothing that was found here, and rules of `ownership` likewise.

    None where discovery was incomplete.
    """
    if result.incomplete or result.unknown_gpus or result.problems:
        return
    met = {discovered.rule for discovered in result.servers}
    idle = (rule for rule in config.server_rules if rule.source not in met)
    entries = [f"{rule.source} ({_words(rule.match)})" for rule in idle]
    if entries:
        yield diagnosis.note(
            f"entries of `servers` that match nothing found here: {diagnosis.some_rules(entries)}."
        )
    keys = {*servers, *(discovered.key for discovered in result.servers)}
    owners = [
        f"ownership.rules[{index}]"
        for index, rule in enumerate(config.ownership)
        if not any(
            matches(rule.namespace, key.namespace) and matches(rule.server, key.server) for key in keys
        )
    ]
    if owners and keys:
        yield diagnosis.note(f"rules that match no server here: {diagnosis.some_rules(owners)}.")


def _words(match: ServerMatch) -> str:
    fields = (
        ("port", match.port),
        ("workload", match.workload),
        ("unit", match.unit),
        ("process", match.process),
        ("user", match.user and (match.user if match.uid is not None else f"{match.user}, not known here")),
        ("containers", match.containers or None),
    )
    return ", ".join(f"{name} {value}" for name, value in fields if value is not None)
