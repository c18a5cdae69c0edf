"""What each server that was found is called, and what the configuration says of it. Pure."""

from collections.abc import Iterable, Iterator
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
    owners = _owners(tenants, rules)
    found: list[Named] = []
    refused = 0
    for tenant in tenants:
        wished = label(tenant.pod.wishes.name) if tenant.pod is not None else ""
        if owners.get(ServerKey(tenant.namespace, wished), set()) - {(tenant.namespace, tenant.workload)}:
            refused += 1
            wished = ""
        found += _of(tenant, wished, rules)
    return tuple(found), refused


def _owners(
    tenants: Iterable[Tenant], rules: tuple[ServerRule, ...]
) -> dict[ServerKey, set[tuple[str, str]]]:
    """The workloads whose each name is without anybody asking for one: their own, or the configuration's."""
    owners: dict[ServerKey, set[tuple[str, str]]] = {}
    for tenant in tenants:
        keys = {one.key for one in _of(tenant, "", rules)}
        if tenant.workload:  # also where what it is called begins with `unmatched:`
            keys.add(ServerKey(tenant.namespace, label(tenant.workload)))
        for key in keys:
            owners.setdefault(key, set()).add((tenant.namespace, tenant.workload))
    return owners


def _of(tenant: Tenant, wished: str, rules: tuple[ServerRule, ...]) -> Iterator[Named]:
    starts = [(group, None if group.server is None else group.server.launch) for group in tenant.groups]
    if tenant.pod is not None and not starts:
        told = (launch(container.argv) for container in tenant.pod.containers)
        yield _named(tenant, None, next((one for one in told if one is not None), None), wished, rules)
        return
    if not starts:
        yield _named(tenant, None, None, wished, rules)
    serves = any(start is not None for _, start in starts)
    for group, start in starts:
        # What computes beside a server of its own pod belongs to the server.
        with_it = tenant.workload and serves and start is None
        yield _named(tenant, group, start, wished or (tenant.workload if with_it else ""), rules)


def _named(
    tenant: Tenant,
    group: ProcessGroup | None,
    start: Launch | None,
    wished: str,
    rules: tuple[ServerRule, ...],
) -> Named:
    rule = next((rule for rule in rules if _matches(rule.match, tenant, group, start)), None)
    name = (rule and rule.name) or wished or _name(tenant, group, start)
    name = label(name)
    if name in {UNALLOCATED, OTHER}:
        name = label(f"{UNMATCHED}{name}")
    namespace = (rule and rule.namespace) or tenant.namespace
    return Named(ServerKey(namespace, name), tenant, group, start, rule)


def _name(tenant: Tenant, group: ProcessGroup | None, start: Launch | None) -> str:
    if tenant.workload:
        serves = start is not None or (tenant.pod is not None and tenant.pod.wishes.port is not None)
        return tenant.workload if serves else f"{UNMATCHED}{tenant.workload}"
    if group is None:
        return UNSEEN.server
    if start is None:
        return f"{UNMATCHED}{group.name}"
    server = group.server
    port = start.port if server is None or server.port is None else server.port
    words = [start.engine]
    if group.container:  # each container may have all ports to itself
        words += [str(port or ""), start.model]
    elif server is not None and server.reach == "address" and server.hosts:
        words += [server.hosts[0], str(port or "")]
    else:
        words += [str(port or "")]
    return ":".join(word for word in words if word)


def _matches(match: ServerMatch, tenant: Tenant, group: ProcessGroup | None, start: Launch | None) -> bool:
    server = None if group is None else group.server
    ports = {start.port} if start is not None else set()
    if server is not None:
        ports |= {server.port, server.metrics_port}
    program = "" if group is None else group.name
    return (
        (match.port is None or match.port in ports)
        and matches(match.workload, f"{tenant.namespace}/{tenant.workload}")
        and matches(match.unit, "" if group is None else group.unit)
        and matches(match.process, program)
    )
