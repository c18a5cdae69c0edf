"""What each server that was found is called, and what the configuration says of it. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from exporter.config.settings import ServerMatch, ServerRule
from exporter.cost.policy import matches
from exporter.cost.postings import OTHER, UNALLOCATED
from exporter.engines.launch import Launch, launch
from exporter.readings import LABEL_CHARACTERS, ServerKey, label
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
    was started, `None` where there is none. `rule` is what the configuration says of it. `refused` is a name
    or an entry that it claims and that may be another's, for people.
    """

    key: ServerKey
    tenant: Tenant
    group: ProcessGroup | None = None
    launch: Launch | None = None
    rule: ServerRule | None = None
    refused: str = ""

    @property
    def is_claimed(self) -> bool:
        """Whether its command line alone says what it is called: no cluster does, and no entry."""
        ruled = self.rule is not None and self.rule.name is not None
        return self.group is not None and not self.tenant.workload and not self.group.pod and not ruled


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
    found = [*_apart(_ruled_once(found, rules, ports), {*_given(rules)})]
    return tuple(found), refused


def _given(rules: Iterable[ServerRule]) -> Iterator[ServerKey]:
    """The names that entries give outside of any namespace."""
    return (ServerKey(rule.namespace or "", rule.name) for rule in rules if rule.name is not None)


def _ruled_once(found: Iterable[Named], rules: tuple[ServerRule, ...], ports: Ports) -> Iterator[Named]:
    """An entry that binds nothing is about the servers of one user, and by port of one network.

    Who else matches it is left without it: else a stranger's program would have its name, or its share.
    The host's own port comes before that of a container. Where two are left, neither has it.
    """
    found = tuple(found)
    owners: dict[int, set[tuple[int | None, str]]] = {}
    for one in found:
        if one.rule is not None and _may_mislead(one):
            owners.setdefault(rules.index(one.rule), set()).add(_owner(one, one.rule))
    for number, theirs in owners.items():
        here = {owner for owner in theirs if not owner[1]}
        owners[number] = here if rules[number].match.port is not None and len(here) == 1 else theirs
    for one in found:
        if one.rule is None or not _may_mislead(one):
            yield one
            continue
        theirs = owners[rules.index(one.rule)]
        if theirs == {_owner(one, one.rule)}:
            yield one
            continue
        plain = _named(one.tenant, one.group, one.launch, "", (), ports)
        why = f"{one.rule.source or 'an entry of servers'} matches servers of several users or networks"
        yield replace(plain, refused=f"{why}: add `user`, `unit` or `workload` to its match")


def _may_mislead(one: Named) -> bool:
    """Whether an entry gives a name, or money, to whoever claims to be meant."""
    rule = one.rule
    if rule is None or rule.match.binds or one.group is None or one.tenant.workload or one.group.pod:
        return False
    gives = (rule.name, rule.namespace, rule.gpu_share_ratio, rule.divide)
    return any(value is not None for value in gives)


def _owner(one: Named, rule: ServerRule) -> tuple[int | None, str]:
    """Who claims an entry: the user, and for a port the network unless it is the host's."""
    if one.group is None:
        return None, ""
    server, sockets = one.group.server, one.group.sockets
    network, on_host = ("", True) if sockets is None else (sockets.network, sockets.on_host)
    if server is not None:
        network, on_host = server.network, server.on_host
    return one.group.user, network if rule.match.port is not None and not on_host else ""


def _apart(found: Iterable[Named], given: Collection[ServerKey]) -> Iterator[Named]:
    """Servers of several users that would have one name, each with its user in it.

    A name that the configuration gives is nobody's by a command line.
    """
    found = tuple(found)
    users: dict[ServerKey, set[int | None]] = {}
    for one in found:
        if one.is_claimed and one.group is not None:
            users.setdefault(one.key, set()).add(one.group.user)
    for one in found:
        if not one.is_claimed or one.group is None or (len(users[one.key]) == 1 and one.key not in given):
            yield one
            continue
        behind = f":user-{'unknown' if one.group.user is None else one.group.user}"
        key = ServerKey(one.key.namespace, one.key.server[: LABEL_CHARACTERS - len(behind)] + behind)
        why = one.refused or f"{one.key.server} is also the name of another user's server"
        yield replace(one, key=key, refused=why)


def ports_of(groups: Iterable[ProcessGroup]) -> Ports:
    """The API port of each group with a server, by its id: the one that was found, else the one it was told.

    Its engine's default is as good while no other server of its network has it or might: a file or an
    environment may say another port, and nobody is to be called by somebody else's. A port that another user
    has, or that another group claims as well, is no name. What a router started has the router's, since its
    own is another one each time.
    """
    listed = {group.id: group.server for group in groups if group.server is not None}
    servers = {name: server for name, server in listed.items() if server.router is None}
    told = {
        name: server.port or (server.launch.port if server.launch.port_told and not server.claim else None)
        for name, server in servers.items()
    }
    mights = {
        name: told[name] or (None if server.claim else server.launch.port) for name, server in servers.items()
    }

    def contested(name: str) -> bool:
        network = servers[name].network
        return any(
            other != name
            and mights[other] == mights[name]
            and (not network or servers[other].network in ("", network))
            for other in servers
        )

    ports = {name: told[name] or (None if contested(name) else mights[name]) for name in servers}
    of_routers = {server.process: ports[name] for name, server in servers.items()}
    routed = {name: server.router for name, server in listed.items() if server.router is not None}
    return ports | {name: of_routers.get(router.process) for name, router in routed.items()}


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
    router = None if group.server is None else group.server.router
    server = router or group.server
    apart = bool(group.container) or port is None  # each container may have all ports to itself
    words = [start.engine]
    if not apart and server is not None and server.reach == "address" and server.hosts:
        words.append(server.hosts[0])
    words.append(str(port or ""))
    if apart or router is not None:
        words.append(start.model)
    return ":".join(word for word in words if word)


def _matches(
    match: ServerMatch, tenant: Tenant, group: ProcessGroup | None, start: Launch | None, port: int | None
) -> bool:
    server = None if group is None else group.server
    ports = {port, None if server is None else server.metrics_port}
    if server is None and group is not None and group.sockets is not None:
        ports.update(listener.port for listener in group.sockets.listening)
    program = "" if group is None else group.name
    return (
        (match.port is None or match.port in ports)
        and matches(match.workload, f"{tenant.namespace}/{tenant.workload}")
        and _covers(match.unit, "" if group is None else group.system_unit)
        and (match.user is None or (group is not None and group.user is not None and group.user == match.uid))
        # Workers of many servers have one name; what a server is known by is its engine.
        and matches(match.process, program if start is None else start.engine)
    )


def _covers(pattern: str | None, unit: str) -> bool:
    """Whether a pattern covers a unit; what is in none is covered by no pattern."""
    return pattern is None or (bool(unit) and matches(pattern, unit))
