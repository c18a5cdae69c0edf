"""Names of discovered servers, by their pods, the configuration and their command lines. Pure."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Final, NamedTuple, TypeVar

from exporter.config.settings import ServerMatch, ServerRule
from exporter.cost.postings import OTHER, UNALLOCATED
from exporter.engines.launch import Launch, launch
from exporter.readings import LABEL_CHARACTERS, GpuReading, ServerKey, label
from exporter.sources.kubelet.pod_resources import Allocation, Device
from exporter.sources.kubernetes import Pod
from exporter.sources.processes import ApiServer, ProcessGroup
from exporter.tariff.terms import matches


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
    here = (device.uuid or None) == uuid or (device.minor is not None and device.minor == gpu.minor)
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
    """A pod, or a process group outside of any pod, as one holder of GPUs.

    `namespace` and `workload` are empty outside Kubernetes, and for a pod of which only the uid is known.
    `allocations` are its devices, `pod` is its pod as the cluster lists it.
    """

    namespace: str = ""
    workload: str = ""
    groups: tuple[ProcessGroup, ...] = ()
    allocations: tuple[Allocation, ...] = ()
    pod: Pod | None = None


def tenants(
    groups: Iterable[ProcessGroup],
    allocations: Iterable[Allocation],
    pods: Iterable[Pod],
    gpus: Iterable[GpuReading],
) -> tuple[Tenant, ...]:
    """All tenants that compute on a GPU, serve, or have a device.

    Args:
        groups: of processes.
        allocations: devices that the kubelet allocated.
        pods: of this host, as far as they are known.
        gpus: of this host, with their processes.
    """
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
    for pod in by_name.values():
        if pod.live and (pod.namespace, pod.name) not in by_pod and _may_serve(pod):
            by_pod[pod.namespace, pod.name] = Tenant(pod.namespace, pod.workload.name, pod=pod)
    others = tuple(_joined(by_pod, loose.values(), tuple(gpus)))
    return (*by_pod.values(), *others)


def _may_serve(pod: Pod) -> bool:
    """Whether a pod without a GPU names a metrics port: the API server of workers elsewhere."""
    return pod.pod_annotations.port is not None


def workload_of(pod: str) -> str:
    """The workload that a pod's name was generated from, else the name: the best guess without a cluster."""
    for pattern in (_GENERATED, _ORDINAL):
        if match := pattern.fullmatch(pod):
            return match["workload"]
    return pod


def _joined(
    by_pod: dict[tuple[str, str], Tenant], loose: Iterable[Tenant], gpus: Iterable[GpuReading]
) -> Iterator[Tenant]:
    """Give named pods the processes on GPU parts that are theirs alone; yield the other tenants."""
    owners: dict[GpuPart, tuple[str, str] | None] = {}
    for name, tenant in by_pod.items():
        for part in _whole(tenant.allocations, gpus):
            owners[part] = None if part in owners else name
    computing = computed_on(gpus)
    for tenant in loose:
        pids = [member.pid for group in tenant.groups if group.pod for member in group.computing]
        alone = {owners.get(part) for pid in pids for part in computing.get(pid, ())} - {None}
        owner = alone.pop() if len(alone) == 1 else None
        if owner is None or by_pod[owner].groups:
            yield tenant
        else:
            by_pod[owner] = replace(by_pod[owner], groups=tenant.groups)


def _whole(allocations: Iterable[Allocation], gpus: Iterable[GpuReading]) -> set[GpuPart]:
    """The GPU parts that are allocated to a pod as a whole."""
    return {
        part
        for allocation in allocations
        if allocation.device.replica is None
        for gpu in gpus
        for part in stood_for(allocation.device, gpu)
    }


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
    """One server, or other holder, of a tenant.

    `group` are its processes, `None` for a pod whose processes are not visible. `launch` is the launch of its
    API server, `None` without one. `rule` is its entry in the configuration. `refused` is the fault of a name
    or an entry that it claims and does not get, `denied` the path of that entry. `matched`: it is a known
    server, or has a configured name.
    """

    key: ServerKey
    tenant: Tenant
    group: ProcessGroup | None = None
    launch: Launch | None = None
    rule: ServerRule | None = None
    refused: str = ""
    matched: bool = True
    denied: str = ""

    @property
    def api(self) -> ApiServer | None:
        """Its API server, if its processes are visible."""
        return None if self.group is None else self.group.server

    @property
    def pod(self) -> Pod | None:
        """Its pod, if its cluster lists it."""
        return self.tenant.pod

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
    owners = _owners(tenants, rules, ports)
    servers: list[NamedServer] = []
    refused = 0
    for tenant in tenants:
        wished = label(tenant.pod.pod_annotations.name) if tenant.pod is not None else ""
        if owners.get(ServerKey(tenant.namespace, wished), set()) - {(tenant.namespace, tenant.workload)}:
            refused += 1
            wished = ""
        servers += _of(tenant, wished, rules, ports)
    return tuple(_named_apart(_ruled_once(servers, rules, ports), rules, ports)), refused


def _ruled_once(
    servers: Iterable[NamedServer], rules: tuple[ServerRule, ...], ports: Ports
) -> Iterator[NamedServer]:
    """The servers, where an entry that no user or workload binds is of one owner: who has it first keeps it.

    By `unit` it is of one in each unit: a service may start programs of other users.
    """
    claims = [(_entry(server, rules), server) for server in servers]
    keepers = _keepers(
        (entry, server, rules[entry[0]].match.port) for entry, server in claims if entry is not None
    )
    for entry, server in claims:
        if entry is None or keepers[entry] == server.owner:
            yield server
            continue
        source = rules[entry[0]].source
        plain = _named(server.tenant, server.group, server.launch, "", (), ports)
        why = f"{source or 'an entry of servers'} matches servers of several users or containers"
        remedy = "and applies to another one; add `user`, `unit` or `workload` to its match"
        yield replace(plain, refused=f"{why}, {remedy}", denied=source)


def _entry(server: NamedServer, rules: tuple[ServerRule, ...]) -> tuple[int, str] | None:
    """The entry of a server outside of pods, and its unit, if any process may claim what it gives."""
    rule, group = server.rule, server.group
    if rule is None or group is None or server.tenant.workload or group.pod:
        return None
    gives = (rule.name, rule.namespace, rule.gpu_share_ratio, rule.divide, rule.bearer_token_file)
    bound = rule.match.user is not None or (rule.match.binds and rule.match.unit is None)
    if bound or all(value is None for value in gives):
        return None
    return rules.index(rule), "" if rule.match.unit is None else group.system_unit


def _named_apart(
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
        why = (
            server.refused or f"{server.key.server} is also the name of another user's or container's server"
        )
        name = _with(server.key.server, server.owner)
        yield replace(server, key=server.key._replace(server=name), refused=why)


def _keepers(claims: Iterable[tuple[Claimed, NamedServer, int | None]]) -> dict[Claimed, str]:
    """The owner of each thing that several may claim, with the port that it hangs on, if any.

    Of a port who listens there has it, in the host's network before any other. Else who computes, then who
    listens there at 127.0.0.1 or all addresses, then who began first: nothing that a process says of itself.
    A pod, which its cluster names, comes last.
    """
    ranked = []
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
        ranked.append(
            (([not each for each in evidence], group.started, group.id, number), claimed, server.owner)
        )
    return {claimed: owner for _, claimed, owner in sorted(ranked, reverse=True, key=itemgetter(0))}


def _with(name: str, owner: str) -> str:
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


def _owners(
    tenants: Iterable[Tenant], rules: tuple[ServerRule, ...], ports: Ports
) -> dict[ServerKey, set[tuple[str, str]]]:
    """The workloads that have each name without an annotation: by themselves, or by the configuration."""
    owners: dict[ServerKey, set[tuple[str, str]]] = {}
    for tenant in tenants:
        keys = {server.key for server in _of(tenant, "", rules, ports)}
        if tenant.workload:  # also where its name begins with `unmatched:`
            keys.add(ServerKey(tenant.namespace, label(tenant.workload)))
        for key in keys:
            owners.setdefault(key, set()).add((tenant.namespace, tenant.workload))
    return owners


def _of(tenant: Tenant, wished: str, rules: tuple[ServerRule, ...], ports: Ports) -> Iterator[NamedServer]:
    starts = [(group, None if group.server is None else group.server.launch) for group in tenant.groups]
    if tenant.pod is not None and not starts:
        launches = (launch(container.argv) for container in tenant.pod.containers)
        yield _named(
            tenant, None, next((start for start in launches if start is not None), None), wished, rules, ports
        )
        return
    if not starts:
        yield _named(tenant, None, None, wished, rules, ports)
    serves = any(start is not None for _, start in starts)
    for group, start in starts:
        # A process that computes in a pod with a server belongs to that server.
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
) -> NamedServer:
    port = ports.get(group.id) if group is not None else None if start is None else start.port
    matching = [rule for rule in rules if _matches(rule.match, tenant, group, start, port)]
    rule = next((rule for rule in matching if _is_of_user(rule.match, tenant, group)), None)
    configured = (rule and rule.name) or wished
    name, matched = (configured, True) if configured else _default_name(tenant, group, start, port)
    name = label(name)
    if name in {UNALLOCATED, OTHER}:
        name, matched = label(f"{UNMATCHED}{name}"), False
    namespace = (rule and rule.namespace) or tenant.namespace
    refused, denied = "", ""
    if group is not None and matching and matching[0] is not rule:
        refused, denied = _by_uid_alone(matching[0], tenant, group), matching[0].source
    key = ServerKey(namespace, name)
    return NamedServer(key, tenant, group, start, rule, refused=refused, matched=matched, denied=denied)


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
        return _with(f"{UNMATCHED}{group.name}", _user_of_a_claim(group)), False
    router = None if group.server is None else group.server.router
    api = router or group.server
    words = [start.engine]
    if not group.container and port is not None and api is not None and api.reach == "address" and api.hosts:
        words.append(api.hosts[0])
    if port is None:
        words += [f"model={start.model}"] if start.model else []
    else:
        words.append(str(port))
        # Each container may have all ports to itself.
        words += [start.model] if start.model and (group.container or router is not None) else []
    on_host = port is not None and (group.on_host or group.network is None)
    return _with(":".join(words), _user_of_a_claim(group, on_host=on_host)), True


def _user_of_a_claim(group: ProcessGroup, *, on_host: bool = False) -> str:
    """What stands behind a name that any user could claim: their own, so that no other's claim changes it.

    Not behind a port of the host, of which there is one, nor for root or a container of the system's runtime.
    """
    if on_host or group.user == 0 or (group.container and not group.delegated):
        return ""
    return _user(group)


def _user(group: ProcessGroup) -> str:
    """The user of a group as it stands in a name; a setuid program is nobody's but its own."""
    if group.user is not None:
        return f"user-{group.user}"
    return "-".join(("process", *(str(member.pid) for member in group.members[:1])))


def _matches(
    match: ServerMatch, tenant: Tenant, group: ProcessGroup | None, start: Launch | None, port: int | None
) -> bool:
    api = None if group is None else group.server
    ports = {port, None if api is None else api.metrics_port}
    if api is None and group is not None and group.sockets is not None:
        ports.update(listener.port for listener in group.sockets.listening)
    program = "" if group is None else group.name
    return (
        (match.port is None or match.port in ports)
        and matches(match.workload, f"{tenant.namespace}/{tenant.workload}")
        and _covers(match.unit, "" if group is None else group.system_unit)
        and (match.user is None or (group is not None and group.user is not None and group.user == match.uid))
        # Workers of many servers share a program name; a server is matched by its engine.
        and matches(match.process, program if start is None else start.engine)
    )


def _covers(pattern: str | None, unit: str) -> bool:
    """Whether a pattern covers a unit; no pattern covers a process without one."""
    return pattern is None or (bool(unit) and matches(pattern, unit))
