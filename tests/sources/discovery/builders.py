"""What a look at a host is made of, in few words: GPUs, process groups, allocations, pods."""

from typing import Any

from exporter.config.settings import Config, ConfiguredServer, ServerMatch, ServerRule
from exporter.engines.launch import Launch
from exporter.readings import Gpu, GpuProcess, GpuReading, Holder, MigInstance, ServerKey
from exporter.sources.discovery.endpoint_address import ScanTime
from exporter.sources.discovery.servers import DiscoveryResult, HostSnapshot, find_servers
from exporter.sources.kubelet import Allocation
from exporter.sources.kubernetes import Pod, Workload
from exporter.sources.processes import ApiServer, Network, ProcessGroup, ProcessId, Sockets
from exporter.sources.processes.procfs import ListeningSocket
from exporter.sources.server import Target
from exporter.vendors import Device
from tests.kit.units import SECOND

BOOT = 1_800_000_000 * SECOND
"""Wall time of boot."""
NOW = ScanTime(1000 * SECOND, BOOT + 1000 * SECOND)
UIDS = tuple(f"{number:08x}-1111-2222-3333-444444444444" for number in range(8))
"""Pods' uids."""
CONTAINERS = tuple(f"{number:x}" * 64 for number in range(8))
"""Containers' ids."""


def uuid(number: int) -> str:
    """A GPU's."""
    return f"GPU-{number}"


def gpu(number: int, *processes: int | GpuProcess, **fields: Any) -> GpuReading:
    """A GPU on which these compute; the number of its device file is ten more than its index."""
    computing = tuple(one if isinstance(one, GpuProcess) else GpuProcess(one) for one in processes)
    words = {"device": f"nvidia{number + 10}", "processes": computing, **fields}
    return GpuReading(Gpu(uuid(number), "NVIDIA H100 80GB HBM3"), number, **words)


def cut(*instances: str) -> tuple[MigInstance, ...]:
    """The instances of a card, each a GPU instance of its own, numbered from 1."""
    return tuple(MigInstance(name, number) for number, name in enumerate(instances, start=1))


def api(pid: int, port: int | None = 8000, **fields: Any) -> ApiServer:
    """A vLLM server that answers at loopback of the daemon's own network."""
    how = fields.pop("launch", None) or Launch("vllm", named_port=port, metrics_port=port)
    words = {"port": port, "metrics_port": port, "reach": "here", "hosts": ("127.0.0.1",), **fields}
    return ApiServer(ProcessId(pid, 100 * SECOND + pid), how, **words)


HERE = 1
"""The number of the daemon's own network; others are not the host's."""


def sockets(*listening: ListeningSocket, network: int = HERE, **fields: Any) -> Sockets:
    """Sockets that listen in a network, in which there are no others."""
    own, addresses = fields.pop("own", network == HERE), fields.pop("addresses", ())
    words = {"user": listening[0].user if listening else None, "process": 1, **fields}
    return Sockets(Network(network, own, own, listening, addresses), listening, **words)


def group(
    *pids: int, server: ApiServer | None = None, network: int | None = None, **fields: Any
) -> ProcessGroup:
    """What belongs together, by default what a terminal started; its server listens in a network, if any."""
    members = tuple(ProcessId(pid, 100 * SECOND + pid) for pid in pids)
    if network is not None and server is not None:
        ports = {one.port for one in (server, server.router) if one is not None and one.port is not None}
        user = fields.get("user", 0)
        listening = [ListeningSocket("", port, port, user) for port in sorted(ports)]
        fields["sockets"] = sockets(*listening, network=network, user=user, addresses=server.hosts)
    words = {
        "id": f"/#{pids or server}",
        "name": "python",
        "started": 100 * SECOND,
        "user": 0,
        **fields,
    }
    return ProcessGroup(computing=members, server=server, **words)


def contained(number: int, *pids: int, server: ApiServer | None = None, **fields: Any) -> ProcessGroup:
    """A container outside Kubernetes."""
    words = {"id": f"/{number}", "container": CONTAINERS[number], **fields}
    return group(*pids, server=server, **words)


def podded(number: int, *pids: int, server: ApiServer | None = None, **fields: Any) -> ProcessGroup:
    """A container of a pod."""
    return contained(number, *pids, server=server, pod=UIDS[number], **fields)


def given(pod: str, number: int, namespace: str = "ml", **device: Any) -> Allocation:
    """A GPU that a pod was given, by its UUID unless something else tells which."""
    words = device or {"uuid": uuid(number)}
    return Allocation(namespace, pod, "main", "nvidia.com/gpu", Device(**words))


def shared(pod: str, number: int, replica: int, namespace: str = "ml") -> Allocation:
    """A part of a GPU that is time-sliced."""
    return given(pod, number, namespace, uuid=uuid(number), replica=replica)


def pod(name: str, workload: str = "", number: int = 0, **fields: Any) -> Pod:
    """A pod as its cluster tells of it."""
    fields = {"uid": UIDS[number], "ips": (f"10.0.0.{number}",), **fields}
    owner = Workload("Deployment", workload or name)
    return Pod(fields.pop("namespace", "ml"), name, workload=owner, **fields)


def rule(name: str | None = None, **fields: Any) -> ServerRule:
    """What the configuration says of servers that are found."""
    match = {
        word: fields.pop(word)
        for word in ("port", "workload", "unit", "process", "user", "uid", "containers")
        if word in fields
    }
    return ServerRule(ServerMatch(**match), name, **fields)


def server(name: str, url: str, *gpus: int | str) -> ConfiguredServer:
    """A server that the configuration names; without GPUs it holds all of them."""
    return ConfiguredServer(name, url, gpus or None)


def look(
    gpus: tuple[GpuReading, ...] = (),
    groups: tuple[ProcessGroup, ...] | None = (),
    given: tuple[Allocation, ...] | None = (),
    pods: tuple[Pod, ...] | None = (),
    *,
    rules: tuple[ServerRule, ...] = (),
    servers: tuple[ConfiguredServer, ...] = (),
    before: tuple[Target, ...] = (),
) -> DiscoveryResult:
    """What is found on a host."""
    config = Config(servers=servers, server_rules=rules)
    return find_servers(config, gpus, HostSnapshot(groups, given, pods), NOW, before)


def names(result: DiscoveryResult) -> list[str]:
    """Who was seen, in order: namespace/server."""
    return [f"{one.key.namespace}/{one.key.server}" for one in result.servers]


def holders_by_part(result: DiscoveryResult) -> dict[str, list[str]]:
    """By GPU, or by instance: who holds it, as namespace/server."""
    by_part: dict[str, list[str]] = {}
    for one in result.holders:
        part = one.uuid + (f"/{one.instance}" if one.instance else "")
        by_part.setdefault(part, []).append(f"{one.key.namespace}/{one.key.server}")
    return by_part


def urls(result: DiscoveryResult) -> dict[str, str]:
    """Where servers are read: by url, who."""
    return {target.url: f"{target.key.namespace}/{target.key.server}" for target in result.targets}


def skipped(result: DiscoveryResult) -> list[str]:
    """Why what was seen is not read, by its word; the empty one for what is."""
    return [one.skip_reason or "" for one in result.servers]


def holder(result: DiscoveryResult, name: str, number: int = 0) -> Holder:
    """What one server was seen to use of one GPU."""
    namespace, _, server = name.rpartition("/")
    (one,) = [h for h in result.holders if (h.key, h.uuid) == (ServerKey(namespace, server), uuid(number))]
    return one
