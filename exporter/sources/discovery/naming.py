"""Names of discovered servers, by their pods, the configuration and their command lines. Pure."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, TypeVar

from exporter.config.settings import ServerMatch, ServerRule
from exporter.cost.postings import OTHER, UNALLOCATED
from exporter.engines.launch import Launch, launch
from exporter.readings import LABEL_CHARACTERS, GpuReading, ServerKey, label
from exporter.sources.kubelet.pod_resources import Allocation
from exporter.sources.kubernetes import Pod
from exporter.sources.processes import ApiServer, ProcessGroup
from exporter.tariff.terms import matches
from exporter.vendors import Device


class GpuPart(NamedTuple):
    """A GPU, or one MIG instance; `instance` is empty for a whole GPU."""

    uuid: str
    instance: str = ""


def computed_on(gpus: Iterable[GpuReading]) -> Mapping[int, frozenset[GpuPart]]:
    """The GPU parts that each process computes on."""
    parts: dict[int, frozenset[GpuPart]] = {}
    for gpu in gpus:
        for process in gpu.processes or ():
            part = GpuPart(gpu.gpu.uuid, process.instance)
            parts[process.pid] = parts.get(process.pid, frozenset()) | {part}
    return parts


def stood_for(device: Device, gpu: GpuReading) -> tuple[GpuPart, ...]:
    """The parts of a GPU that an allocated device means; all instances of a card that was cut since.

    None for an instance that does not exist, or that is known by its placement only, which NVML does not
    give.
    """
    uuid = gpu.gpu.uuid
    here = (device.uuid or None) == uuid or (device.name != "" and device.name == gpu.device)
    whole = not device.mig_uuid and device.gpu_instance is None and device.placement is None
    if gpu.instances is None:
        return (GpuPart(uuid),) if device.every or (here and whole) else ()
    if device.mig_uuid:
        return tuple(
            GpuPart(uuid, instance.uuid) for instance in gpu.instances if instance.uuid == device.mig_uuid
        )
    if here and device.gpu_instance is not None:
        wanted = device.gpu_instance
        return tuple(
            GpuPart(uuid, instance.uuid) for instance in gpu.instances if instance.gpu_instance == wanted
        )
    if here and whole:
        return tuple(GpuPart(uuid, instance.uuid) for instance in gpu.instances)
    return ()


_LETTERS: Final = "[bcdf-hj-np-tv-xz2456789]"
"""Letters of generated names (k8s.io/apimachinery/pkg/util/rand)."""

_GENERATED: Final = re.compile(rf"(?P<workload>.+?)(?:-{_LETTERS}{{6,10}})?-{_LETTERS}{{5}}")
"""A generated pod name: the workload's, the hash of a Deployment, five letters."""

_ORDINAL: Final = re.compile(r"(?P<workload>.+)-[0-9]{1,5}")
"""A StatefulSet's."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A pod, or a process group outside of any pod, as one holder of GPUs."""

    namespace: str = ""
    workload: str = ""
    """Empty outside Kubernetes, and for a pod of which only the uid is known."""
    groups: tuple[ProcessGroup, ...] = ()
    allocations: tuple[Allocation, ...] = ()
    """Its devices."""
    pod: Pod | None = None
    """Its pod as the cluster lists it."""


def tenants(
    groups: Iterable[ProcessGroup],
    allocations: Iterable[Allocation],
    pods: Iterable[Pod],
    gpus: Iterable[GpuReading],
) -> tuple[Tenant, ...]:
    """All tenants that compute on a GPU, serve, or have a device, by what is known of a host."""
    by_uid = {pod.uid: pod for pod in pods if pod.uid}
    by_container = {container.id: pod for pod in pods for container in pod.containers if container.id}
    by_name = {(pod.namespace, pod.name): pod for pod in pods}
    by_pod: dict[tuple[str, str], Tenant] = {}
    loose: dict[str, Tenant] = {}
    for group in groups:
        pod = by_uid.get(group.pod) or by_container.get(group.container)
        if group.delegated:  # a user may give its cgroups the names of anybody's pods and containers
            pod = None
        if pod is not None:
            key = pod.namespace, pod.name
            tenant = by_pod.get(key) or Tenant(pod.namespace, pod.workload.name, pod=pod)
            by_pod[key] = replace(tenant, groups=(*tenant.groups, group))
        else:  # the containers of a pod are one tenant; what is in no pod is one each
            name = group.pod or group.id
            tenant = loose.get(name) or Tenant()
            loose[name] = replace(tenant, groups=(*tenant.groups, group))
    for allocation in allocations:
        key = allocation.namespace, allocation.pod
        holder = by_name.get(key)
        if holder is not None and not holder.live:
            continue  # older kubelets list the devices of ended pods
        workload = workload_of(allocation.pod) if holder is None else holder.workload.name
        tenant = by_pod.get(key) or Tenant(allocation.namespace, workload, pod=holder)
        by_pod[key] = replace(tenant, allocations=(*tenant.allocations, allocation))
    for key, pod in by_name.items():
        # A pod without a GPU that names a metrics port is the API server of workers elsewhere.
        if pod.live and key not in by_pod and pod.pod_annotations.port is not None:
            by_pod[key] = Tenant(pod.namespace, pod.workload.name, pod=pod)
    others = _tenants_without_pod(by_pod, loose.values(), tuple(gpus))
    return (*by_pod.values(), *others)


def _tenants_without_pod(
    by_pod: dict[tuple[str, str], Tenant], loose: Iterable[Tenant], gpus: tuple[GpuReading, ...]
) -> list[Tenant]:
    """Those that are left once pods have the processes on GPU parts that are allocated to them alone."""
    owners: dict[GpuPart, tuple[str, str] | None] = {}
    for name, tenant in by_pod.items():
        devices = [
            allocation.device for allocation in tenant.allocations if allocation.device.replica is None
        ]
        for part in {part for device in devices for gpu in gpus for part in stood_for(device, gpu)}:
            owners[part] = None if part in owners else name
    computing = computed_on(gpus)
    left: list[Tenant] = []
    for tenant in loose:
        pids = [member.pid for group in tenant.groups if group.pod for member in group.computing]
        alone = {owners.get(part) for pid in pids for part in computing.get(pid, ())} - {None}
        owner = alone.pop() if len(alone) == 1 else None
        if owner is None or by_pod[owner].groups:
            left.append(tenant)
        else:
            by_pod[owner] = replace(by_pod[owner], groups=tenant.groups)
    return left


def workload_of(pod: str) -> str:
    """The workload that a pod's name was generated from, else the name: the best guess without a cluster."""
    match = _GENERATED.fullmatch(pod) or _ORDINAL.fullmatch(pod)
    return match["workload"] if match else pod


LOOPBACK: Final = "127.0.0.1"

UNMATCHED: Final = "unmatched:"
"""Prefix of the name of a holder that is no known server."""

UNSEEN: Final = ServerKey("", f"{UNMATCHED}unknown")
"""Holder of GPUs whose processes are not visible."""

Ports = Mapping[str, int | None]
"""The API ports of groups by their ids; `None` if unknown."""

Claimed = TypeVar("Claimed", tuple[int, str], ServerKey)
"""An entry by its number and the unit in which it is claimed, or a name."""


@dataclass(frozen=True, slots=True)
class NamedServer:
    """One server, or other holder, of a tenant."""

    key: ServerKey
    tenant: Tenant
    group: ProcessGroup | None = None
    """Its processes, `None` for a pod whose processes are not visible."""
    launch: Launch | None = None
    """The launch of its API server, `None` without one."""
    rule: ServerRule | None = None
    """Its entry in the configuration."""
    refused: str = ""
    """The fault of a name or an entry that it claims and does not get."""
    matched: bool = True
    """Whether it is a known server, or has a configured name."""
    denied: str = ""
    """The path of the entry that it does not get."""

    @property
    def api(self) -> ApiServer | None:
        """Its API server, if its processes are visible."""
        return None if self.group is None else self.group.server

    @property
    def identity(self) -> str:
        """Identity of its server's process; empty if it is not visible."""
        return "" if self.api is None else self.api.process.identity

    @property
    def pod(self) -> Pod | None:
        """Its pod, if its cluster lists it."""
        return self.tenant.pod

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

    @property
    def owner(self) -> str:
        """Its pod, or its container and user: what sets equal names apart."""
        group = self.group
        if group is None or group.pod:
            return f"pod-{'' if group is None else group.pod[:8]}"
        container = f"container-{group.container[:12]}"
        if group.container and group.user == 0:
            return container
        return f"{container}:{_user(group)}" if group.container else _user(group)


def name_servers(
    tenants: Iterable[Tenant], rules: tuple[ServerRule, ...]
) -> tuple[tuple[NamedServer, ...], int]:
    """The servers of all tenants, and the number of pods that claim the name of another workload."""
    tenants = tuple(tenants)
    ports = ports_of(group for tenant in tenants for group in tenant.groups)
    # The workloads that have each name without an annotation: by themselves, or by the configuration.
    owners: dict[ServerKey, set[tuple[str, str]]] = {}
    for tenant in tenants:
        keys = {server.key for server in _servers_of(tenant, "", rules, ports)}
        if tenant.workload:  # also where its name begins with `unmatched:`
            keys.add(ServerKey(tenant.namespace, label(tenant.workload)))
        for key in keys:
            owners.setdefault(key, set()).add((tenant.namespace, tenant.workload))
    servers: list[NamedServer] = []
    refused = 0
    for tenant in tenants:
        wished = label(tenant.pod.pod_annotations.name) if tenant.pod is not None else ""
        if owners.get(ServerKey(tenant.namespace, wished), set()) - {(tenant.namespace, tenant.workload)}:
            refused += 1
            wished = ""
        servers += _servers_of(tenant, wished, rules, ports)
    servers = _with_own_entries(servers, rules, ports)
    return tuple(_with_own_names(servers, rules, ports)), refused


def _with_own_entries(
    servers: Iterable[NamedServer], rules: tuple[ServerRule, ...], ports: Ports
) -> list[NamedServer]:
    """The servers, where an entry that no user or workload binds is of one owner: who has it first keeps it.

    By `unit` it is of one in each unit: a service may start programs of other users.
    """
    claims = [(_claimed_entry(server, rules), server) for server in servers]
    keepers = _keepers(
        (entry, server, rules[entry[0]].match.port) for entry, server in claims if entry is not None
    )
    answer: list[NamedServer] = []
    for entry, server in claims:
        if entry is None or keepers[entry] == server.owner:
            answer.append(server)
            continue
        source = rules[entry[0]].source
        plain = _named(server.tenant, server.group, server.launch, "", (), ports)
        why = f"{source or 'an entry of servers'} matches servers of several users or containers"
        remedy = "and applies to another one; add `user`, `unit` or `workload` to its match"
        answer.append(replace(plain, refused=f"{why}, {remedy}", denied=source))
    return answer


def _claimed_entry(server: NamedServer, rules: tuple[ServerRule, ...]) -> tuple[int, str] | None:
    """The entry of a server outside of pods, and its unit, if any process may claim what it gives."""
    rule, group = server.rule, server.group
    if rule is None or group is None or server.tenant.workload or group.pod:
        return None
    gives = (rule.name, rule.namespace, rule.gpu_share_ratio, rule.divide, rule.bearer_token_file)
    bound = rule.match.user is not None or (rule.match.binds and rule.match.unit is None)
    if bound or all(value is None for value in gives):
        return None
    return rules.index(rule), "" if rule.match.unit is None else group.system_unit


def _with_own_names(
    servers: Iterable[NamedServer], rules: Iterable[ServerRule], ports: Ports
) -> Iterator[NamedServer]:
    """The servers, where a claimed name is of one owner: who has it first keeps it, others append themselves.

    No command line can claim a name that the configuration gives.
    """
    servers = tuple(servers)
    claims = [(server.group, server) for server in servers if server.group is not None and server.is_claimed]
    keepers = _keepers((server.key, server, ports.get(group.id)) for group, server in claims)
    keepers |= {ServerKey(rule.namespace or "", rule.name): "" for rule in rules if rule.name is not None}
    for server in servers:
        if not server.is_claimed or keepers[server.key] == server.owner:
            yield server
            continue
        name = server.key.server
        why = server.refused or f"{name} is also the name of another user's or container's server"
        key = server.key._replace(server=_with_owner(name, server.owner))
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
        hosts: Collection[str] = ()
        if port is not None and group.server is not None:
            listener = group.server.router or group.server
            if port in (listener.port, listener.metrics_port):
                hosts = listener.hosts or ("unknown",)
        elif port is not None and group.sockets is not None:
            hosts = [at.host or LOOPBACK for at in group.sockets.listening if at.port == port]
        listens, everywhere = bool(hosts), LOOPBACK in hosts
        evidence = [not group.pod, listens and group.on_host, listens, bool(group.computing), everywhere]
        rank = ([not each for each in evidence], group.started, group.id, number)
        ranked.append((rank, claimed, server.owner))
    last_is_best = sorted(ranked, reverse=True, key=lambda claim: claim[0])
    return {claimed: owner for _, claimed, owner in last_is_best}


def _with_owner(name: str, owner: str) -> str:
    """A name with its owner behind it, if any."""
    behind = f":{owner}" if owner else ""
    return label(name)[: LABEL_CHARACTERS - len(behind)] + behind


def ports_of(groups: Iterable[ProcessGroup]) -> Ports:
    """The API port of each group with a server, by its id: where it listens, else that of its command line.

    The engine's default counts only while no other server of its user and network has or may have it: a file
    or the environment may set another port, and a server must not be named by another's port. A port that
    another user has, or that another group claims too, is none. A server that a router started has the
    router's port, since its own changes.
    """
    groups = tuple(groups)
    users = {group.id: group.user for group in groups}
    networks = {group.id: group.network for group in groups}
    listed = {group.id: group.server for group in groups if group.server is not None}
    servers = {name: api for name, api in listed.items() if api.router is None}
    certain = {
        name: api.port or (api.launch.port if api.launch.explicit_port and not api.claim else None)
        for name, api in servers.items()
    }
    possible = {
        name: certain[name] or (None if api.claim else api.launch.port) for name, api in servers.items()
    }

    def contested(name: str) -> bool:
        network = networks[name]
        return any(
            other != name
            and users[other] == users[name]
            and possible[other] == possible[name]
            and (network is None or networks[other] in (None, network))
            for other in servers
        )

    ports = {name: certain[name] or (None if contested(name) else possible[name]) for name in servers}
    of_routers = {api.process: ports[name] for name, api in servers.items()}
    routed = {name: api.router for name, api in listed.items() if api.router is not None}
    return ports | {name: of_routers.get(router.process) for name, router in routed.items()}


def _servers_of(
    tenant: Tenant, wished: str, rules: tuple[ServerRule, ...], ports: Ports
) -> list[NamedServer]:
    """The servers of a tenant: one of each group, or one whose processes are not visible."""
    if not tenant.groups:
        containers = () if tenant.pod is None else tenant.pod.containers
        launches = (launch(container.argv) for container in containers)
        start = next((start for start in launches if start is not None), None)
        return [_named(tenant, None, start, wished, rules, ports)]
    serves = any(group.server is not None for group in tenant.groups)
    servers = []
    for group in tenant.groups:
        # A process that computes in a pod with a server belongs to that server.
        name = tenant.workload if serves and group.server is None else ""
        start = None if group.server is None else group.server.launch
        servers.append(_named(tenant, group, start, wished or name, rules, ports))
    return servers


def _named(
    tenant: Tenant,
    group: ProcessGroup | None,
    start: Launch | None,
    wished: str,
    rules: tuple[ServerRule, ...],
    ports: Ports,
) -> NamedServer:
    """A server by its entry, else by the name that is wished for it, else by what is known of it."""
    port = None if start is None else start.port
    if group is not None:
        port = ports.get(group.id)
    matching = [rule for rule in rules if _matches(rule.match, tenant, group, start, port)]
    rule = next((rule for rule in matching if _is_of_user(rule.match, tenant, group)), None)
    configured = (rule and rule.name) or wished
    name, matched = (configured, True) if configured else _default_name(tenant, group, start, port)
    name = label(name)
    if name in {UNALLOCATED, OTHER}:
        name, matched = label(f"{UNMATCHED}{name}"), False
    refused, denied = "", ""
    if group is not None and matching and matching[0] is not rule:
        refused, denied = _by_uid_alone(matching[0], tenant, group), matching[0].source
    key = ServerKey((rule and rule.namespace) or tenant.namespace, name)
    return NamedServer(key, tenant, group, start, rule, refused, matched, denied)


def _matches(
    match: ServerMatch, tenant: Tenant, group: ProcessGroup | None, start: Launch | None, port: int | None
) -> bool:
    """Whether an entry fits a server, but for whose the user is."""
    ports, program, unit, user = {port}, "", "", None
    if group is not None:
        program, unit, user = group.name, group.system_unit, group.user
        if group.server is not None:
            ports.add(group.server.metrics_port)
        elif group.sockets is not None:
            ports.update(listener.port for listener in group.sockets.listening)
    return (
        (match.port is None or match.port in ports)
        and matches(match.workload, f"{tenant.namespace}/{tenant.workload}")
        and (match.unit is None or (bool(unit) and matches(match.unit, unit)))
        and (match.user is None or (user is not None and user == match.uid))
        # Workers of many servers share a program name; a server is matched by its engine.
        and matches(match.process, program if start is None else start.engine)
    )


def _is_of_user(match: ServerMatch, tenant: Tenant, group: ProcessGroup | None) -> bool:
    """Whether a user of a match is one of this host: the uid of a pod or a container is its author's choice.

    With `containers` it is also one of a container that the system's runtime started, which root alone tells
    to.
    """
    if match.user is None or group is None:
        return match.user is None
    if not group.container:
        return not tenant.workload
    return match.containers and not (group.delegated or group.pod or tenant.workload)


def _by_uid_alone(rule: ServerRule, tenant: Tenant, group: ProcessGroup) -> str:
    """What to write in place of an entry that would match a container or pod by its uid."""
    remedy = "add `containers: true` to its match"
    if group.pod or tenant.workload:
        workload = f"{tenant.namespace}/{tenant.workload}" if tenant.workload else "NAMESPACE/NAME"
        remedy = f'write `workload: "{workload}"` in place of `user`'
    elif group.delegated:
        remedy = "match it by `unit` if a unit of the host starts it, else give its `url`"
    return f"{rule.source or 'an entry of servers'} matches this container by its uid alone: {remedy}"


def _default_name(
    tenant: Tenant, group: ProcessGroup | None, start: Launch | None, port: int | None
) -> tuple[str, bool]:
    """The name of a server without a configured one, and whether it is a known server."""
    if tenant.workload:
        serves = start is not None or (tenant.pod is not None and tenant.pod.pod_annotations.port is not None)
        return (tenant.workload if serves else f"{UNMATCHED}{tenant.workload}"), serves
    if group is None:
        return UNSEEN.server, False
    if start is None:
        return _with_owner(f"{UNMATCHED}{group.name}", _user_of_a_claim(group)), False
    router = None if group.server is None else group.server.router
    api = router or group.server
    words = [start.engine]
    if port is None:
        words += [f"model={start.model}"] if start.model else []
    else:
        if not group.container and api is not None and api.reach == "address" and api.hosts:
            words.append(api.hosts[0])
        words.append(str(port))
        # Each container may have all ports to itself.
        words += [start.model] if start.model and (group.container or router is not None) else []
    # Of a port of the host there is one; another network is not read yet.
    on_host = port is not None and (group.on_host or group.network is None)
    return _with_owner(":".join(words), "" if on_host else _user_of_a_claim(group)), True


def _user_of_a_claim(group: ProcessGroup) -> str:
    """What stands behind a name that any user could claim: their own, so that no other's claim changes it.

    Not for root or a container of the system's runtime.
    """
    if group.user == 0 or (group.container and not group.delegated):
        return ""
    return _user(group)


def _user(group: ProcessGroup) -> str:
    """The user of a group as it stands in a name; a setuid program is nobody's but its own."""
    if group.user is not None:
        return f"user-{group.user}"
    return "-".join(("process", *(str(member.pid) for member in group.members[:1])))
