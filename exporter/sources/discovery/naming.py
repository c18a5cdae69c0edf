"""Names of discovered servers, by their pods, the configuration and their command lines. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from exporter.config.settings import ServerRule
from exporter.cost.postings import OTHER, UNALLOCATED
from exporter.engines.launch import Launch, launch
from exporter.readings import LABEL_CHARACTERS, ServerKey, label
from exporter.sources.discovery.tenants import Tenant
from exporter.sources.kubernetes import Pod
from exporter.sources.processes import ApiServer, ProcessGroup, ProcessId
from exporter.tariff.terms import matches

LOOPBACK: Final = "127.0.0.1"

UNMATCHED: Final = "unmatched:"
"""Prefix of the name of a holder that is no known server."""

UNSEEN: Final = ServerKey("", f"{UNMATCHED}unknown")
"""Holder of GPUs whose processes are not visible."""

RESERVED: Final = frozenset({UNALLOCATED, OTHER})
"""Names that no server has."""

Claimed = TypeVar("Claimed", tuple[int, str], ServerKey)
"""An entry by its number and the unit in which it is claimed, or a name."""


@dataclass(frozen=True, slots=True)
class ServerCandidate:
    """One server, or other holder, of a tenant, before it is named."""

    tenant: Tenant
    group: ProcessGroup | None = None
    """Its processes, `None` for a pod whose processes are not visible."""
    launch: Launch | None = None
    """The launch of its API server, `None` without one."""
    port: int | None = None
    """The port of its API, `None` if unknown."""

    @property
    def api(self) -> ApiServer | None:
        """Its API server, if its processes are visible."""
        return None if self.group is None else self.group.server

    @property
    def identity(self) -> str:
        """Identity of its server's process; empty if it is not visible."""
        return "" if self.api is None else self.api.process.identity

    @property
    def user(self) -> int | None:
        """Its uid, `None` if unknown."""
        return None if self.group is None else self.group.user

    @property
    def pod(self) -> Pod | None:
        """Its pod, if its cluster lists it."""
        return self.tenant.pod

    @property
    def user_suffix(self) -> str:
        """Its user as it stands in a name; a setuid program is nobody's but its own."""
        if self.group is None:
            return ""
        if self.user is not None:
            return f"user-{self.user}"
        return "-".join(("process", *(str(member.pid) for member in self.group.members[:1])))

    @property
    def claim_suffix(self) -> str:
        """What stands behind a name that any user could claim: its user, so that no other's claim changes it.

        Empty for root and for a container of the system's runtime.
        """
        group = self.group
        if group is None or group.user == 0 or (group.container and not group.delegated):
            return ""
        return self.user_suffix

    @property
    def owner(self) -> str:
        """Its pod, or its container and user: what sets equal names apart."""
        group = self.group
        if group is None or group.pod:
            return f"pod-{'' if group is None else group.pod[:8]}"
        if not group.container:
            return self.user_suffix
        container = f"container-{group.container[:12]}"
        return container if group.user == 0 else f"{container}:{self.user_suffix}"

    def fits(self, rule: ServerRule) -> bool:
        """Whether an entry fits, but for whose the user is (`is_of_user`)."""
        match, group = rule.match, self.group
        ports = {self.port}
        if self.api is not None:
            ports.add(self.api.metrics_port)
        elif group is not None and group.sockets is not None:
            ports.update(listener.port for listener in group.sockets.listening)
        unit = "" if group is None else group.system_unit
        program = "" if group is None else group.name
        if self.launch is not None:  # workers of many servers share a program name
            program = self.launch.engine
        return (
            (match.port is None or match.port in ports)
            and matches(match.workload, f"{self.tenant.namespace}/{self.tenant.workload}")
            and (match.unit is None or (bool(unit) and matches(match.unit, unit)))
            and (match.user is None or (self.user is not None and self.user == match.uid))
            and matches(match.process, program)
        )

    def is_of_user(self, rule: ServerRule) -> bool:
        """Whether a user of an entry is one of this host: the uid of a pod is its author's choice.

        With `containers` it is also one of a container that the system's runtime started, which root alone
        tells to.
        """
        match, group = rule.match, self.group
        if match.user is None or group is None:
            return match.user is None
        if not group.container:
            return not self.tenant.workload
        return match.containers and not (group.delegated or group.pod or self.tenant.workload)

    def default_name(self) -> tuple[str, bool]:
        """The name without a configured one, and whether it is a known server."""
        tenant, group, start = self.tenant, self.group, self.launch
        if tenant.workload:
            names_port = tenant.pod is not None and tenant.pod.pod_annotations.port is not None
            serves = start is not None or names_port
            return (tenant.workload if serves else f"{UNMATCHED}{tenant.workload}"), serves
        if group is None:
            return UNSEEN.server, False
        if start is None:
            return with_suffix(f"{UNMATCHED}{group.name}", self.claim_suffix), False
        router = None if group.server is None else group.server.router
        api = router or group.server
        words = [start.engine]
        if self.port is None:
            words += [f"model={start.model}"] if start.model else []
        else:
            if not group.container and api is not None and api.reach == "address" and api.hosts:
                words.append(api.hosts[0])
            words.append(str(self.port))
            # Each container may have all ports to itself.
            words += [start.model] if start.model and (group.container or router is not None) else []
        # Of a port of the host there is one; another network is not read yet.
        on_host = self.port is not None and (group.on_host or group.network_number is None)
        return with_suffix(":".join(words), "" if on_host else self.claim_suffix), True


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedServer(ServerCandidate):
    """A candidate with its name."""

    key: ServerKey
    rule: ServerRule | None = None
    """Its entry in the configuration."""
    refused: str = ""
    """The fault of a name or an entry that it claims and does not get."""
    matched: bool = True
    """Whether it is a known server, or has a configured name."""
    denied: str = ""
    """The path of the entry that it does not get."""

    @property
    def share_ratio(self) -> float | None:
        """Its share of each of its GPUs, by its entry."""
        ratio = None if self.rule is None else self.rule.gpu_share_ratio
        return None if ratio is None else float(ratio)

    @property
    def is_claimed(self) -> bool:
        """Whether its name is from its command line alone, not from a cluster or an entry."""
        ruled = self.rule is not None and self.rule.name is not None
        return self.group is not None and not self.tenant.workload and not ruled

    def claimed_entry(self, rules: tuple[ServerRule, ...]) -> tuple[int, str] | None:
        """Its entry, with its unit, where any process outside of pods may claim what the entry gives."""
        rule, group = self.rule, self.group
        if rule is None or group is None or self.tenant.workload or group.pod:
            return None
        gives = (rule.name, rule.namespace, rule.gpu_share_ratio, rule.divide, rule.bearer_token_file)
        bound = rule.match.user is not None or (rule.match.binds and rule.match.unit is None)
        if bound or all(value is None for value in gives):
            return None
        return rules.index(rule), "" if rule.match.unit is None else group.system_unit


def name_servers(
    tenants: Iterable[Tenant], rules: tuple[ServerRule, ...]
) -> tuple[tuple[NamedServer, ...], int]:
    """The servers of all tenants, and the number of pods that claim the name of another workload."""
    tenants = tuple(tenants)
    ports = ports_of(group for tenant in tenants for group in tenant.groups)
    candidates = [candidates_of(tenant, ports) for tenant in tenants]
    # The workloads that have each name without an annotation: by themselves, or by the configuration.
    owners: dict[ServerKey, set[tuple[str, str]]] = {}
    for tenant, members in zip(tenants, candidates, strict=True):
        keys = {named(candidate, "", rules).key for candidate in members}
        if tenant.workload:  # also where its name begins with `unmatched:`
            keys.add(ServerKey(tenant.namespace, label(tenant.workload)))
        for key in keys:
            owners.setdefault(key, set()).add((tenant.namespace, tenant.workload))
    servers: list[NamedServer] = []
    refused = 0
    for tenant, members in zip(tenants, candidates, strict=True):
        wished = label(tenant.pod.pod_annotations.name) if tenant.pod is not None else ""
        if owners.get(ServerKey(tenant.namespace, wished), set()) - {(tenant.namespace, tenant.workload)}:
            refused += 1
            wished = ""
        servers += [named(candidate, wished, rules) for candidate in members]
    servers = _with_own_entries(servers, rules)
    return tuple(_with_own_names(servers, rules)), refused


def candidates_of(tenant: Tenant, ports: Mapping[str, int | None]) -> list[ServerCandidate]:
    """The servers of a tenant: one of each group, or one whose processes are not visible."""
    if tenant.groups:
        candidates: list[ServerCandidate] = []
        for group in tenant.groups:
            start = None if group.server is None else group.server.launch
            candidates.append(ServerCandidate(tenant, group, start, ports.get(group.id)))
        return candidates
    containers = () if tenant.pod is None else tenant.pod.containers
    launches = (launch(container.argv) for container in containers)
    start = next((start for start in launches if start is not None), None)
    return [ServerCandidate(tenant, None, start, None if start is None else start.port)]


def named(candidate: ServerCandidate, wished: str, rules: Iterable[ServerRule]) -> NamedServer:
    """A server by its entry, else by the name that is wished for it, else by what is known of it."""
    tenant, group = candidate.tenant, candidate.group
    fitting = [rule for rule in rules if candidate.fits(rule)]
    rule = next((rule for rule in fitting if candidate.is_of_user(rule)), None)
    serves = any(other.server is not None for other in tenant.groups)
    if rule is not None and rule.name:
        name, matched = rule.name, True
    elif wished:
        name, matched = wished, True
    elif group is not None and group.server is None and serves and tenant.workload:
        # A process that computes in a pod with a server belongs to that server.
        name, matched = tenant.workload, True
    else:
        name, matched = candidate.default_name()
    name = label(name)
    if name in RESERVED:
        name, matched = label(f"{UNMATCHED}{name}"), False
    refused, denied = "", ""
    if group is not None and fitting and fitting[0] is not rule:  # it fits by the uid alone
        denied = fitting[0].source
        remedy = "add `containers: true` to its match"
        if group.pod or tenant.workload:
            workload = f"{tenant.namespace}/{tenant.workload}" if tenant.workload else "NAMESPACE/NAME"
            remedy = f'write `workload: "{workload}"` in place of `user`'
        elif group.delegated:
            remedy = "match it by `unit` if a unit of the host starts it, else give its `url`"
        refused = f"{denied or 'an entry of servers'} matches this container by its uid alone: {remedy}"
    namespace = (rule and rule.namespace) or tenant.namespace
    return NamedServer(
        tenant,
        group,
        candidate.launch,
        candidate.port,
        key=ServerKey(namespace, name),
        rule=rule,
        refused=refused,
        matched=matched,
        denied=denied,
    )


def _with_own_entries(servers: Iterable[NamedServer], rules: tuple[ServerRule, ...]) -> list[NamedServer]:
    """The servers, where an entry that no user or workload binds is of one owner: who has it first keeps it.

    By `unit` it is of one in each unit: a service may start programs of other users.
    """
    claims = [(server.claimed_entry(rules), server) for server in servers]
    keepers = _keepers(
        (entry, server, rules[entry[0]].match.port) for entry, server in claims if entry is not None
    )
    answer: list[NamedServer] = []
    for entry, server in claims:
        if entry is None or keepers[entry] == server.owner:
            answer.append(server)
            continue
        source = rules[entry[0]].source
        why = f"{source or 'an entry of servers'} matches servers of several users or containers"
        remedy = "and applies to another one; add `user`, `unit` or `workload` to its match"
        answer.append(replace(named(server, "", ()), refused=f"{why}, {remedy}", denied=source))
    return answer


def _with_own_names(servers: Iterable[NamedServer], rules: Iterable[ServerRule]) -> Iterator[NamedServer]:
    """The servers, where a claimed name is of one owner: who has it first keeps it, others append themselves.

    No command line can claim a name that the configuration gives.
    """
    servers = tuple(servers)
    keepers = _keepers((server.key, server, server.port) for server in servers if server.is_claimed)
    keepers |= {ServerKey(rule.namespace or "", rule.name): "" for rule in rules if rule.name is not None}
    for server in servers:
        if not server.is_claimed or keepers[server.key] == server.owner:
            yield server
            continue
        name = server.key.server
        why = server.refused or f"{name} is also the name of another user's or container's server"
        key = server.key._replace(server=with_suffix(name, server.owner))
        yield replace(server, key=key, refused=why)


def _keepers(claims: Iterable[tuple[Claimed, NamedServer, int | None]]) -> dict[Claimed, str]:
    """The owner of each thing that several may claim, with the port that it hangs on, if any.

    Of a port who listens there has it, in the host's network before any other. Else who computes, then who
    listens there at 127.0.0.1 or all addresses, then who began first: nothing that a process says of itself.
    A pod, which its cluster names, comes last.
    """
    ranked: list[tuple[tuple[object, ...], Claimed, str]] = []
    for number, (claimed, server, port) in enumerate(claims):
        group = server.group
        if group is None:
            continue
        hosts: tuple[str, ...] = ()
        if port is not None and group.server is not None:
            listener = group.server.router or group.server
            if port in (listener.port, listener.metrics_port):
                hosts = listener.hosts or ("unknown",)
        elif port is not None and group.sockets is not None:
            hosts = tuple(at.host or LOOPBACK for at in group.sockets.listening if at.port == port)
        listens = bool(hosts)
        rank = (
            bool(group.pod),
            not (listens and group.on_host),
            not listens,
            not group.computing,
            LOOPBACK not in hosts,
            group.started,
            group.id,
            number,
        )
        ranked.append((rank, claimed, server.owner))
    keepers: dict[Claimed, str] = {}
    for _, claimed, owner in sorted(ranked, key=lambda claim: claim[0]):
        keepers.setdefault(claimed, owner)
    return keepers


def with_suffix(name: str, suffix: str) -> str:
    """A name with its owner behind it, if any."""
    behind = f":{suffix}" if suffix else ""
    return label(name)[: LABEL_CHARACTERS - len(behind)] + behind


def ports_of(groups: Iterable[ProcessGroup]) -> dict[str, int | None]:
    """The API port of each group with a server, by its id: where it listens, else that of its command line.

    The engine's default counts only while no other server of its user and network has or may have it: a file
    or the environment may set another port, and a server must not be named by another's port. A port that
    another user has, or that another group claims too, is none. A server that a router started has the
    router's port, since its own changes.
    """
    servers = [(group, group.server) for group in groups if group.server is not None]
    ports: dict[str, int | None] = {}
    ports_of_routers: dict[ProcessId, int | None] = {}
    for group, api in servers:
        if api.router is not None:
            continue
        possible = api.possible_port
        is_contested = any(
            other.id != group.id
            and other.user == group.user
            and rival.router is None
            and rival.possible_port == possible
            and (group.network_number is None or other.network_number in (None, group.network_number))
            for other, rival in servers
        )
        ports[group.id] = api.certain_port or (None if is_contested else possible)
        ports_of_routers[api.process] = ports[group.id]
    for group, api in servers:
        if api.router is not None:
            ports[group.id] = ports_of_routers.get(api.router.process)
    return ports
