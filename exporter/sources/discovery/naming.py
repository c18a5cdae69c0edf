"""What each server that was found is called, and what the configuration says of it. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from exporter.config.settings import ServerMatch, ServerRule
from exporter.cost.policy import matches
from exporter.cost.postings import OTHER, UNALLOCATED
from exporter.engines.launch import Launch, launch
from exporter.readings import ServerKey, label
from exporter.sources.discovery.tenants import Tenant
from exporter.sources.processes import ProcessGroup

UNMATCHED: Final = "unmatched:"
"""What the name of a holder begins with that is no known server."""

UNSEEN: Final = ServerKey("", f"{UNMATCHED}unknown")
"""Processes that compute on a GPU and of which nothing can be seen."""

Ports = Mapping[str, int | None]
"""The API ports of groups by their ids; `None` where it is not known."""


@dataclass(frozen=True, slots=True)
class Named:
    """One server, or other holder, of a tenant.

    `group` are its processes, `None` for a pod whose processes are not seen. `launch` is how its API server
    was started, `None` where there is none. `rule` is what the configuration says of it.
    """

    key: ServerKey
    tenant: Tenant
    group: ProcessGroup | None = None
    launch: Launch | None = None
    rule: ServerRule | None = None


def named(tenants: Iterable[Tenant], rules: tuple[ServerRule, ...]) -> tuple[tuple[Named, ...], int]:
    """Everybody's names, and how many pods asked for a name that is another's."""
    tenants = tuple(tenants)
    ports = ports_of(group for tenant in tenants for group in tenant.groups)
    owners = _owners(tenants, rules, ports)
    found: list[Named] = []
    refused = 0
    for tenant in tenants:
        wished = label(tenant.pod.wishes.name) if tenant.pod is not None else ""
        if owners.get(ServerKey(tenant.namespace, wished), set()) - {(tenant.namespace, tenant.workload)}:
            refused += 1
            wished = ""
        found += _of(tenant, wished, rules, ports)
    return tuple(found), refused


def ports_of(groups: Iterable[ProcessGroup]) -> Ports:
    """The API port of each group with a server, by its id: the one that was found, else the one it was told.

    Its engine's default is as good while no other server of its network has it or might: a file or an
    environment may say another port, and nobody is to be called by somebody else's.
    """
    servers = {group.id: group.server for group in groups if group.server is not None}
    told = {
        name: server.port or (server.launch.port if server.launch.port_told else None)
        for name, server in servers.items()
    }
    mights = {name: told[name] or server.launch.port for name, server in servers.items()}

    def contested(name: str) -> bool:
        network = servers[name].network
        return any(
            other != name
            and mights[other] == mights[name]
            and (not network or servers[other].network in ("", network))
            for other in servers
        )

    return {name: told[name] or (None if contested(name) else mights[name]) for name in servers}


def _owners(
    tenants: Iterable[Tenant], rules: tuple[ServerRule, ...], ports: Ports
) -> dict[ServerKey, set[tuple[str, str]]]:
    """The workloads whose each name is without anybody asking for one: their own, or the configuration's."""
    owners: dict[ServerKey, set[tuple[str, str]]] = {}
    for tenant in tenants:
        keys = {one.key for one in _of(tenant, "", rules, ports)}
        if tenant.workload:  # also where what it is called begins with `unmatched:`
            keys.add(ServerKey(tenant.namespace, label(tenant.workload)))
        for key in keys:
            owners.setdefault(key, set()).add((tenant.namespace, tenant.workload))
    return owners


def _of(tenant: Tenant, wished: str, rules: tuple[ServerRule, ...], ports: Ports) -> Iterator[Named]:
    starts = [(group, None if group.server is None else group.server.launch) for group in tenant.groups]
    if tenant.pod is not None and not starts:
        told = (launch(container.argv) for container in tenant.pod.containers)
        yield _named(tenant, None, next((one for one in told if one is not None), None), wished, rules, ports)
        return
    if not starts:
        yield _named(tenant, None, None, wished, rules, ports)
    serves = any(start is not None for _, start in starts)
    for group, start in starts:
        # What computes beside a server of its own pod belongs to the server.
        with_it = tenant.workload and serves and start is None
        name = wished or (tenant.workload if with_it else "")
        yield _named(tenant, group, start, name, rules, ports)


def _named(
    tenant: Tenant,
    group: ProcessGroup | None,
    start: Launch | None,
    wished: str,
    rules: tuple[ServerRule, ...],
    ports: Ports,
) -> Named:
    port = ports.get(group.id) if group is not None else None if start is None else start.port
    rule = next((rule for rule in rules if _matches(rule.match, tenant, group, start, port)), None)
    name = (rule and rule.name) or wished or _name(tenant, group, start, port)
    name = label(name)
    if name in {UNALLOCATED, OTHER}:
        name = label(f"{UNMATCHED}{name}")
    namespace = (rule and rule.namespace) or tenant.namespace
    return Named(ServerKey(namespace, name), tenant, group, start, rule)


def _name(tenant: Tenant, group: ProcessGroup | None, start: Launch | None, port: int | None) -> str:
    if tenant.workload:
        serves = start is not None or (tenant.pod is not None and tenant.pod.wishes.port is not None)
        return tenant.workload if serves else f"{UNMATCHED}{tenant.workload}"
    if group is None:
        return UNSEEN.server
    if start is None:
        return f"{UNMATCHED}{group.name}"
    server = group.server
    words = [start.engine]
    if group.container or port is None:  # each container may have all ports to itself
        words += [str(port or ""), start.model]
    elif server is not None and server.reach == "address" and server.hosts:
        words += [server.hosts[0], str(port or "")]
    else:
        words += [str(port or "")]
    return ":".join(word for word in words if word)


def _matches(
    match: ServerMatch, tenant: Tenant, group: ProcessGroup | None, start: Launch | None, port: int | None
) -> bool:
    server = None if group is None else group.server
    ports = {port, None if server is None else server.metrics_port}
    program = "" if group is None else group.name
    return (
        (match.port is None or match.port in ports)
        and matches(match.workload, f"{tenant.namespace}/{tenant.workload}")
        and matches(match.unit, "" if group is None else group.unit)
        # Workers of many servers have one name; what a server is known by is its engine.
        and matches(match.process, program if start is None else start.engine)
    )
