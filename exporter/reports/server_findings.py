"""Doctor findings about servers, gateways, and entries that match no server. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from exporter import readings
from exporter.cost.division import consumer_of
from exporter.cost.postings import OTHER
from exporter.engines import described
from exporter.reports import diagnosis
from exporter.sources.discovery import DiscoveredServer
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
    return diagnosis.DoctorGateway(
        url=readings.masked(reading.url),
        up=reading.up,
        title=reading.title,
        divides=tuple((server.key.server, owners) for server, owners in _divided_servers(reading, servers)),
        unlisted=reading.unlisted,
        unlisted_count=reading.unlisted_count,
    )


def gateway_words(line: diagnosis.DoctorGateway) -> Iterator[str]:
    """The lines for a terminal."""
    yield f"  {line.url}  {line.title if line.up else 'CANNOT BE READ'}"
    for server, names in line.divides:
        yield f"       divides {server} between: {_listed(names) or 'nobody'}"
    if line.unlisted:
        yield f"       of team {OTHER}: {_listed(line.unlisted, line.unlisted_count)}"


def gateway_findings(host: diagnosis.ExaminedHost) -> Iterator[diagnosis.Finding]:
    """Gateways that cannot be read, and servers of which their gateway counts nothing."""
    for answer in host.inputs.gateways:
        if answer.problem:
            yield diagnosis.warning(
                f"gateway {answer.problem}. Until it can be read, cost is divided by the last shares; the "
                "rest stays with the server's owner.",
            )
            continue
        reading = answer.reading
        url = readings.masked(reading.url)
        if reading.absent:
            absent = " and no ".join(reading.absent)
            yield diagnosis.note(
                f"gateway {url}: its page has no {absent}: check the names in `counters`, "
                "unless nothing was counted so far.",
            )
        if reading.unlisted:
            names = _listed(reading.unlisted, reading.unlisted_count)
            yield diagnosis.note(
                f"gateway {url}: no entry of `tenants` matches {names}; their cost is of team {OTHER}.",
            )
        counted = _listed(sorted({count.model for count in reading.counters}))
        for server, owners in _divided_servers(reading, host.inputs.servers):
            if not server.up or not reading.counters or owners:
                continue
            serves = _listed(server.models) or "a model of no name"
            yield diagnosis.warning(
                f"server {server.key.server} serves {serves}, and {url} counts "
                f"no requests for it: all of its cost stays with its owner. It counts {counted}; names that "
                "lead here belong in `divide: {models: [...]}`, its model_id in `deployments` if given.",
            )


def level_findings(host: diagnosis.ExaminedHost) -> Iterator[diagnosis.Finding]:
    """Objectives of which the server's engine reports no histogram, each server once."""
    silent: dict[tuple[str, str, str], str] = {}
    for answer in host.inputs.servers:
        reading = answer.reading
        engine = described(reading.engine, host.config.engines)
        if not reading.up or reading.slo is None or engine is None:
            continue
        latencies = engine.latencies()
        for objective in reading.slo.seconds():
            if not latencies[objective]:
                silent[reading.key.name, reading.engine, objective] = engine.manual.title or engine.name
    for (name, _, latency), title in silent.items():
        yield diagnosis.warning(
            f"server {name} has `slo: {{{latency}_seconds}}`, and {title} reports no such latency: its "
            "share stays absent. Remove the key, or measure it at a gateway.",
        )


def role_findings(host: diagnosis.ExaminedHost) -> Iterator[diagnosis.Finding]:
    """Servers that may be part of a disaggregated pair and have no role, each once."""
    doubts = {server.reading.key.name: server.reading.role_doubt for server in host.inputs.servers}
    for name, doubt in doubts.items():
        if doubt:
            yield diagnosis.warning(f"server {name} has no role: {doubt}. {readings.ROLE_REMEDY}")


def _divided_servers(
    gateway: readings.GatewayReading, answers: Iterable[diagnosis.ServerAnswer]
) -> list[tuple[readings.ServerReading, tuple[str, ...]]]:
    """The servers that a gateway divides, by one endpoint of each, and the owners that it names for them."""
    divisions: dict[readings.ServerKey, tuple[readings.ServerReading, readings.Division]] = {}
    for answer in answers:
        division = answer.reading.division
        if division is not None and division.gateway == gateway.url:
            divisions.setdefault(answer.reading.key, (answer.reading, division))
    taken = {deployment for _, division in divisions.values() for deployment in division.deployments}
    divided: list[tuple[readings.ServerReading, tuple[str, ...]]] = []
    for server, division in divisions.values():
        owners: set[str] = set()
        for count in gateway.counters:
            consumer = consumer_of(division, count, server.models, taken)
            if consumer is not None:
                team, product = readings.team_and_product(consumer.tenant)
                owners.add(f"{team} ({product})" if product else team)
        divided.append((server, tuple(sorted(owners))))
    return divided


def unread_server_findings(host: diagnosis.ExaminedHost) -> Iterator[diagnosis.Finding]:
    """Servers that cannot be read or report no tokens, and pages that several processes answer in turn."""
    for server in host.servers:
        if not server.up:
            reason = readings.unread_reason(server.reason)
            problem = server.problem.removesuffix(".") or reason.problem
            yield diagnosis.warning(f"server {server.server} is not read: {problem}. {reason.remedy}.")
        elif not server.tokens:
            yield diagnosis.warning(f"server {server.server} reports no tokens: its busy cost is `other`.")
    several = readings.FailureReason.SEVERAL_PROCESSES
    for pages in (host.inputs.remembered.endpoints, host.inputs.remembered.gateways):
        for url, state in pages.items():
            if state.marks.answers_of_several(host.now):
                yield diagnosis.warning(
                    f"{readings.masked(url)}: {several.problem}, and nothing is counted for a day. "
                    f"{several.remedy}."
                )


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


def discovery_findings(host: diagnosis.ExaminedHost) -> Iterator[diagnosis.Finding]:
    """Findings on the result of discovery."""
    result, indices = host.inputs.discovery, host.indices
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


def unmatched_server_findings(host: diagnosis.ExaminedHost) -> Iterator[diagnosis.Finding]:
    """Entries of `servers` that match nothing that was found here, and rules of `ownership` likewise.

    None where discovery was incomplete.
    """
    result = host.inputs.discovery
    if result.incomplete or result.unknown_gpus or result.problems:
        return
    met = {discovered.rule for discovered in result.servers}
    entries: list[str] = []
    for rule in host.config.server_rules:
        if rule.source in met:
            continue
        match = rule.match
        user = match.user
        if user and match.uid is None:
            user = f"{user}, not known here"
        fields = {
            "port": match.port,
            "workload": match.workload,
            "unit": match.unit,
            "process": match.process,
            "user": user,
            "containers": match.containers or None,
        }
        words = ", ".join(f"{name} {value}" for name, value in fields.items() if value is not None)
        entries.append(f"{rule.source} ({words})")
    if entries:
        yield diagnosis.note(
            f"entries of `servers` that match nothing found here: {diagnosis.some_rules(entries)}."
        )
    configured = (answer.reading.key for answer in host.inputs.servers)
    keys = {*configured, *(discovered.key for discovered in result.servers)}
    owners = [
        f"ownership.rules[{index}]"
        for index, owner in enumerate(host.config.ownership)
        if not any(
            matches(owner.namespace, key.namespace) and matches(owner.server, key.server) for key in keys
        )
    ]
    if owners and keys:
        yield diagnosis.note(f"rules that match no server here: {diagnosis.some_rules(owners)}.")
