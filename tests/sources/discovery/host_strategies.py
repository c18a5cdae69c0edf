"""Random hosts as a look may find them, hostile and half read ones among them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hypothesis import strategies as st

from exporter.config.settings import Config, ConfiguredServer, ServerMatch, ServerRule
from exporter.cost.policy import CardinalityLimits
from exporter.engines.launch import Launch
from exporter.readings import FailureReason, Gpu, GpuProcess, GpuReading, MigInstance
from exporter.sources.discovery.servers import HostSnapshot
from exporter.sources.kubelet import Allocation
from exporter.sources.kubernetes import Container, Pod, PodAnnotations, Workload
from exporter.sources.kubernetes.pods import GROUP_SIZE
from exporter.sources.processes import ApiServer, ProcessGroup, ProcessId
from exporter.sources.processes.procfs import ListeningSocket
from exporter.vendors import Device, Placement
from tests.kit.units import SECOND
from tests.sources.discovery.builders import CONTAINERS, UIDS, sockets

GPUS: Final = 3
PIDS: Final = 9
HOSTILE: Final = (
    "",
    "a\nb",
    "\x1b[31m",
    "x" * 300,
    "unallocated",
    "other",
    "unmatched:unknown",
    "é",
    "a/b:c",
)
HOSTS: Final = ("127.0.0.1", "10.0.0.1", "fd00::1")

pids = st.integers(1, PIDS)
names = st.sampled_from(["a", "b", "a-0", "a-x2v4k", *HOSTILE])
ports = st.sampled_from([None, 80, 443, 8000, 8001])
parts = st.sampled_from(["", "", "MIG-a", "MIG-b"])
ratios = st.none() | st.sampled_from([0.0, 0.25, 1.0])
memories = st.none() | st.integers(0, 80 * 10**9)
layouts = st.sampled_from(
    [None, None, None, (), (MigInstance("MIG-a", 1, 0, "", 3, 3, 40 * 10**9),)]
) | st.just(
    (MigInstance("MIG-a", 1, 0, "", 3, 3, 40 * 10**9), MigInstance("MIG-b", 2, 0, "", 4, 4, 40 * 10**9))
)
processes = st.builds(GpuProcess, pids, memories, ratios, parts)


def card(number: int) -> st.SearchStrategy[GpuReading]:
    """Anything that NVML may say of a GPU."""
    return st.builds(
        GpuReading,
        st.just(Gpu(f"GPU-{number}", "NVIDIA H100 80GB HBM3")),
        st.just(number),
        up=st.sampled_from([True, True, True, False]),
        device=st.sampled_from(["", f"nvidia{number}"]),
        utilization_ratio=ratios,
        memory_total_bytes=st.just(80 * 10**9),
        instances=layouts,
        processes=st.none() | st.lists(processes, max_size=5).map(tuple),
    )


launches = st.builds(
    Launch,
    st.sampled_from(["vllm", "llamacpp", "ollama", "nim"]),
    ports,
    scheme=st.sampled_from(["http", "https"]),
    metrics_port=ports,
    metrics=st.sampled_from([True, False, None]),
    model=names,
    world_size=st.sampled_from([None, 1, 2, 8]),
    serves=st.booleans(),
    routes=st.sampled_from([False, False, False, True]),
)
hosts = st.lists(st.sampled_from(HOSTS), max_size=2, unique=True).map(tuple)
routers = st.builds(
    ApiServer,
    st.builds(ProcessId, pids, st.just(SECOND)),
    st.just(Launch("llamacpp", 8080, metrics_port=8080, routes=True)),
    port=ports,
    metrics_port=ports,
    reach=st.sampled_from(["here", "address", "loopback"]),
    hosts=hosts,
)
servers = st.builds(
    ApiServer,
    st.builds(ProcessId, pids, st.just(SECOND)),
    launches,
    port=ports,
    metrics_port=ports,
    reach=st.sampled_from(["here", "address", "loopback", "unknown"]),
    hosts=hosts,
    router=st.none() | st.none() | routers,
    port_fault=st.sampled_from([None, None, FailureReason.PORT_TAKEN, FailureReason.PORT_CONTESTED]),
)
listening_sockets = st.lists(
    st.builds(ListeningSocket, st.sampled_from(["", *HOSTS]), ports.filter(bool), pids, st.just(0)),
    max_size=2,
)
containers = st.sampled_from(["", "", *CONTAINERS[:3]])
uids = st.sampled_from(["", "", *UIDS[:3]])


@st.composite
def groupings(draw: st.DrawFn) -> tuple[ProcessGroup, ...]:
    """Some of the processes, each in one group at most."""
    left = draw(st.lists(pids, unique=True))
    groups = []
    for number in range(draw(st.integers(0, 4))):
        size = draw(st.integers(0, 3))
        mine, left = left[:size], left[size:]
        groups.append(
            ProcessGroup(
                id=f"/{number}",
                name=draw(names),
                computing=tuple(ProcessId(pid, SECOND) for pid in mine),
                started=SECOND,
                container=draw(containers),
                pod=draw(uids),
                unit=draw(names),
                system_unit=draw(st.sampled_from(["", "a.service"])),
                delegated=draw(st.booleans()),
                user=draw(st.sampled_from([None, 0, 1000, 1001])),
                server=draw(st.none() | servers),
                sockets=draw(
                    st.none()
                    | st.builds(
                        lambda listening, number: sockets(*listening, network=number),
                        listening_sockets,
                        st.sampled_from([1, 2]),
                    )
                ),
            )
        )
    return tuple(groups)


devices = st.one_of(
    st.builds(Device, uuid=st.sampled_from(["GPU-0", "GPU-1", "GPU-2", "GPU-9"])),
    st.builds(Device, uuid=st.sampled_from(["GPU-0", "GPU-1"]), replica=st.integers(0, 2)),
    st.builds(
        Device,
        name=st.sampled_from([f"nvidia{number}" for number in range(4)]),
        gpu_instance=st.sampled_from([None, 1, 2]),
    ),
    st.builds(Device, mig_uuid=st.sampled_from(["MIG-a", "MIG-b", "MIG-gone"])),
    st.just(Device(name="nvidia0", placement=Placement(19, 0))),
    st.just(Device(every=True)),
    st.just(Device()),
)
spaces = st.sampled_from(["ml", "red"])
given_out = st.builds(Allocation, spaces, names, st.just("main"), st.just("nvidia.com/gpu"), devices)
pod_annotations = st.builds(
    PodAnnotations, names, names, names, ports, st.sampled_from(["", "/m", "@evil/", "/a b", "//evil"])
)
pods = st.builds(
    Pod,
    spaces,
    names.filter(bool),
    uids,
    st.builds(Workload, st.just("Deployment"), names.filter(bool)),
    ips=st.lists(st.sampled_from(["10.0.0.7", "fd00::7"]), max_size=2).map(tuple),
    live=st.booleans(),
    containers=st.lists(
        st.builds(
            Container,
            st.just("main"),
            containers,
            argv=st.sampled_from([(), ("vllm", "serve", "m"), ("\n",)]),
        ),
        max_size=2,
    ).map(tuple),
    product=names,
    team=names,
    annotations=st.sampled_from([{}, {GROUP_SIZE: "2"}]),
    pod_annotations=pod_annotations,
)
rules = st.builds(
    ServerRule,
    st.builds(
        ServerMatch,
        port=ports,
        workload=st.sampled_from([None, "ml/*", "*"]),
        unit=st.sampled_from([None, None, "*.service"]),
        process=st.none() | names,
        user=st.sampled_from([None, None, "1000"]),
        uid=st.just(1000),
    ),
    st.none() | names.filter(bool),
    st.none() | spaces,
    metrics_scheme=st.sampled_from([None, "https"]),
    bearer_token_file=st.sampled_from([None, Path("/etc/token")]),
    metrics_port=ports,
    metrics_path=st.sampled_from([None, "/r"]),
)
configured = st.builds(
    ConfiguredServer,
    st.sampled_from(["chat", "batch"]),
    st.sampled_from(["http://127.0.0.1:8000/metrics", "http://localhost:8001", "https://chat.example/"]),
    st.sampled_from([(), (0,), (0, "GPU-1")]),
)
configurations = st.builds(
    Config,
    servers=st.lists(configured, max_size=2).map(tuple),
    server_rules=st.lists(rules, max_size=2).map(tuple),
    limits=st.sampled_from([CardinalityLimits(), CardinalityLimits(servers=2, models=1)]),
)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What a source said; now and then it says nothing."""
    return st.one_of(strategy, strategy, strategy, st.none())


@dataclass(frozen=True)
class RandomHost:
    """A host at one moment."""

    config: Config
    gpus: tuple[GpuReading, ...]
    snapshot: HostSnapshot
    elapsed: int


def strategy_host(
    config: Config, cards: tuple[GpuReading, ...], count: int, answers: tuple[Any, Any, Any], elapsed: int
) -> RandomHost:
    """A host of so many of the cards."""
    return RandomHost(config, cards[:count], HostSnapshot(*answers), elapsed)


strategy_hosts = st.builds(
    strategy_host,
    configurations,
    st.tuples(*(card(number) for number in range(GPUS))),
    st.integers(0, GPUS),
    st.tuples(
        maybe(groupings()),
        maybe(st.lists(given_out, max_size=4).map(tuple)),
        maybe(st.lists(pods, max_size=2, unique_by=lambda pod: (pod.namespace, pod.name)).map(tuple)),
    ),
    st.sampled_from([10 * SECOND, 7 * SECOND + 1, 3600 * SECOND]),
)
stories = st.lists(strategy_hosts, min_size=1, max_size=4)
