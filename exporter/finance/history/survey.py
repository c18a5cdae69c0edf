"""GPUs, servers, pods and nodes that a Prometheus has in a time range, by label sets alone."""

import ipaddress
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from exporter.config import Config
from exporter.config.settings import ConfiguredServer
from exporter.engines.catalogue import ROWS, match
from exporter.engines.exposition import Page, Sample, Series
from exporter.engines.spec import Engine
from exporter.finance.history import exporter_series, kube_state
from exporter.finance.history.exporter_series import (
    GPU_EXPORTERS,
    GpuExporter,
    engine_names,
    first_label,
    spellings,
    uuid_of,
)
from exporter.finance.history.kube_state import KubeState, Labels, NodeKey, PodName
from exporter.finance.prometheus.client import PrometheusClient
from exporter.readings import LABEL_CHARACTERS, Gpu, ServerKey, label
from exporter.tariff.terms import matches
from exporter.units import Instant

POD_OF_TARGET: Final = (("namespace", "pod"), ("kubernetes_namespace", "kubernetes_pod_name"))
NODE_OF_TARGET: Final = ("node", "nodename", "kubernetes_node")

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
HOST_OF_AGENT: Final = (*NODE_OF_TARGET, "hostname", "host", "host_name", "agent_hostname", "machine")
"""Labels by which agents name their host, whose targets are at loopback: external labels have any name."""

SCRAPER: Final = ("cluster", "job", "instance", "prometheus", "prometheus_replica", "replica", "__replica__")
"""Labels that say how a series was scraped."""

Progress = Callable[[str, float], None]
"""Is called with what is being read, and how much of it has been, from 0 to 1."""


class TargetKey(NamedTuple):
    """A target of Prometheus."""

    cluster: str
    job: str
    instance: str

    @classmethod
    def of(cls, labels: Labels) -> "TargetKey":
        """The target of a series."""
        return cls(labels.get("cluster", ""), labels.get("job", ""), labels.get("instance", ""))


class GpuSeries(NamedTuple):
    """One series of one GPU, or of one MIG instance of it, by its labels."""

    exporter: int
    """Its place in `GPU_EXPORTERS`."""
    host: NodeKey
    gpu: Gpu
    number: int
    """The GPU's index on its host, -1 where it is not known."""
    address: str
    """Its PCI address, else its index, else nothing."""
    instance: str
    """The number of the MIG instance, empty for a whole GPU."""
    profile: str
    """The profile of the MIG instance."""
    holder: PodName | None
    """The pod that held it."""
    scraper: str
    """Labels that say how it was scraped."""

    @property
    def instance_number(self) -> int:
        """The number of the MIG instance, 0 where it is no number."""
        return small_number(self.instance, 0)


class EngineTarget(NamedTuple):
    """The metrics page of one inference server: its pod, else its address; and its port."""

    cluster: str
    namespace: str
    pod: str
    address: str
    port: int

    @property
    def pod_name(self) -> PodName:
        """Its pod, whose name is empty outside Kubernetes."""
        return PodName(self.cluster, self.namespace, self.pod)

    @property
    def url(self) -> str:
        """A name of the page."""
        where = f"{self.namespace}/{self.pod}" if self.pod else self.address
        return f"{self.cluster}/{where}:{self.port}"


@dataclass
class Survey:
    """What there is in the time range."""

    config: Config
    series: dict[str, Counter[str]] = field(default_factory=dict)
    """How many series of a name the targets have, by name and label `instance`."""
    engines: dict[EngineTarget, Engine] = field(default_factory=dict)
    later_engines: dict[EngineTarget, tuple[Engine, ...]] = field(default_factory=dict)
    """Engines that had the address of a target at another time."""
    gateways: set[str] = field(default_factory=set)
    """Titles of pages that count requests of other pages again."""
    kube: KubeState = field(default_factory=KubeState)
    gpus: dict[str, set[str]] = field(default_factory=dict)
    """Names of exporters by the UUID of the GPUs that they have."""
    hosts: set[NodeKey] = field(default_factory=set)
    """Hosts with GPUs."""
    labeled: set[NodeKey] = field(default_factory=set)
    """Hosts whose GPUs name the pod that holds them."""
    unnamed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Label names of GPUs that have no UUID, by exporter."""
    infos: dict[str, Labels] = field(default_factory=dict)
    """Labels of the exporter's series about a GPU itself, by UUID."""
    own_pods: dict[TargetKey, str] = field(default_factory=dict)
    """Pods of targets."""
    target_labels: dict[TargetKey, set[tuple[str, str]]] = field(default_factory=dict)
    """Names and values of the labels of a target's `up`."""
    _by_address: dict[NodeKey, set[NodeKey]] = field(default_factory=dict)
    """Hosts by the address of their GPU exporter: several at loopback, a collector, or one given again."""
    _by_uuid: dict[str, NodeKey] = field(default_factory=dict)
    """Hosts by the UUID of their GPUs."""
    _renamed: dict[NodeKey, NodeKey] = field(default_factory=dict)
    """Names of hosts by another name that some exporter has for them, which is not used."""
    _gpu_series: dict[int, dict[frozenset[tuple[str, str]], GpuSeries | None]] = field(default_factory=dict)
    """GPUs by exporter and labels of a series."""

    def add_names(self, label_sets: Iterable[Labels]) -> None:
        """Count series of GPU exporters or engines."""
        for labels in label_sets:
            instances = self.series.setdefault(labels["__name__"], Counter())
            instances[labels.get("instance", "")] += 1

    def add_targets(self, label_sets: Iterable[Labels]) -> None:
        """Take in the series `up`, whose labels are those of targets alone."""
        for labels in label_sets:
            target = TargetKey.of(labels)
            self.target_labels.setdefault(target, set()).update(labels.items())
            if labels.get("pod"):
                self.own_pods[target] = labels["pod"]

    @cached_property
    def _names_with_colons(self) -> Mapping[str, str]:
        return dict(exporter_series.colons(self.config.engines)) | exporter_series.COLONS

    def described(self, name: str) -> str:
        """A name as its engine's description has it."""
        return self._names_with_colons.get(name, name)

    def engines_of(self, target: EngineTarget) -> tuple[Engine, ...]:
        """The engines that a target had."""
        first = self.engines.get(target)
        return () if first is None else (first, *self.later_engines.get(target, ()))

    def engine_of(self, target: EngineTarget, names: Collection[str]) -> Engine:
        """The engine of a target whose page has these names: an engine that was replaced has none of them."""
        engines = self.engines_of(target)
        return next((each for each in engines if not engine_names(each).isdisjoint(names)), engines[0])

    def all_engines(self) -> tuple[Engine, ...]:
        """Each engine once."""
        every = (engine for target in self.engines for engine in self.engines_of(target))
        return tuple({engine.name: engine for engine in every}.values())

    def page_series(self, name: str, labels: Labels) -> Series:
        """A series as the page of its engine had it, without labels of its target.

        One that its engine names models by stays: with `honor_labels` it may be of the page all the same.
        """
        of_target = self.target_labels.get(TargetKey.of(labels), ())
        model_labels = {each for engine in self.engines_of(target_of(labels)) for each in engine.model_labels}
        foreign = {
            each for each, value in labels.items() if each not in model_labels and (each, value) in of_target
        }
        return exporter_series.page_series(name, labels, foreign)

    def gpu_series(self, number: int, labels: Labels) -> GpuSeries | None:
        """The GPU that a series of an exporter is of; `None` for one without UUID."""
        known = self._gpu_series.setdefault(number, {})
        key = frozenset((name, value) for name, value in labels.items() if name != "__name__")
        if key in known:
            return known[key]
        exporter = GPU_EXPORTERS[number]
        uuid = uuid_of(first_label(labels, exporter.uuid))
        series = None
        if uuid:
            info = {**self.infos.get(uuid, {}), **labels} if exporter.info else labels
            index = first_label(info, exporter.index)
            series = GpuSeries(
                exporter=number,
                host=self._host(exporter, labels, uuid),
                gpu=Gpu(uuid, label(first_label(info, exporter.model))),
                number=small_number(index, -1),
                address=first_label(info, exporter.address).lower() or (f"index {index}" if index else ""),
                instance=labels.get(exporter.instance, ""),
                profile=labels.get(exporter.profile, ""),
                holder=self.holder(exporter, labels),
                scraper="|".join(f"{name}={labels.get(name, '')}" for name in SCRAPER),
            )
        known[key] = series
        return series

    def holder(self, exporter: GpuExporter, labels: Labels) -> PodName | None:
        """The pod that holds a GPU. Labels of the target are there where the page has none, or other ones."""
        for names in exporter.holders:
            pod, container = labels.get(names.pod, ""), labels.get(names.container, "")
            if pod:
                own = names.pod == "pod" and pod == self.own_pods.get(TargetKey.of(labels))
                if own or exporter.is_own_pod(pod) or exporter.is_own_pod(container):
                    return None
                return PodName(labels.get("cluster", ""), labels.get(names.namespace, ""), pod)
            if names.pod in labels:
                return None
        return None

    def _host(self, exporter: GpuExporter, labels: Labels, uuid: str) -> NodeKey:
        """The host of a GPU: by its labels, the node of its exporter's pod, or its exporter's address."""
        cluster = labels.get("cluster", "")
        address = NodeKey(cluster, address_of(labels))
        named = first_label(labels, exporter.host)
        if exporter.is_own_pod(named):  # a pod's host name is its own name
            named = ""
        for names in POD_OF_TARGET:
            own = PodName(cluster, *(labels.get(each, "") for each in names))
            named = named or self.kube.node_of(own)
        if is_address(named):  # of the host, by one exporter's default
            known_as = self.kube.addresses.get(NodeKey(cluster, named), "")
            named = known_as or ("" if not is_address(address.host) else named)
        if named:
            host = NodeKey(cluster, label(named))
            self._by_address.setdefault(address, set()).add(host)
            self._by_uuid.setdefault(uuid, host)
            return host
        known = self._at(address) or self._by_uuid.get(uuid)
        if known is not None:
            return known
        pod = self.kube.pod_addresses.get(address, PodName(cluster, "", ""))
        node = self.kube.addresses.get(address) or self.kube.node_of(pod)
        return NodeKey(cluster, label(node or address.host))

    def _at(self, address: NodeKey, present: Collection[NodeKey] = ()) -> NodeKey | None:
        """The host of an address: of several, the only one that is `present`."""
        hosts = {self.known_as(host) for host in self._by_address.get(address, ())}
        hosts = hosts.intersection(present) if len(hosts) > 1 else hosts
        return next(iter(hosts)) if len(hosts) == 1 else None

    def rename(self, host: NodeKey, name: NodeKey) -> None:
        """From now on use another name of a host."""
        self._renamed[host] = name
        if host in self.labeled:
            self.labeled.add(name)

    def known_as(self, host: NodeKey) -> NodeKey:
        """The name that is used of a host."""
        while host in self._renamed:
            host = self._renamed[host]
        return host

    @cached_property
    def _target_of_pod(self) -> dict[PodName, EngineTarget]:
        """The first target of each pod that has any."""
        return {target.pod_name: target for target in sorted(self.engines, reverse=True) if target.pod}

    def server_of_pod(self, pod: PodName) -> ServerKey:
        """The server that a pod is a replica of, by the targets in it, else by its workload."""
        target = self._target_of_pod.get(pod)
        return self.kube.server(pod) if target is None else self.server(target)

    def server(self, target: EngineTarget) -> ServerKey:
        """The server of a target: its workload, else by the configuration, else its engine and port."""
        workload = self.kube.server(target.pod_name) if target.pod else ServerKey("", "")
        for rule in self.config.server_rules:
            match_ = rule.match
            if match_.unit or match_.process or match_.user or match_.uid is not None:
                continue  # nothing here says so
            if match_.port not in (None, target.port):
                continue
            if match_.workload is not None and not (target.pod and matches(match_.workload, workload.name)):
                continue
            if rule.name is not None:
                return ServerKey(rule.namespace or workload.namespace, rule.name)
        if target.pod:
            return workload
        configured = self.configured(target)
        if configured is not None:
            return ServerKey(configured.namespace, configured.name)
        return ServerKey("", label(f"{self.engines[target].name}:{target.port}"[:LABEL_CHARACTERS]))

    def configured(self, target: EngineTarget) -> ConfiguredServer | None:
        """The configured server of a target outside Kubernetes: of its port, and of its host where named."""
        for server in self.config.servers:
            parts = urlsplit(server.url)
            own = parts.hostname in LOOPBACK or parts.hostname == target.address
            if not target.pod and own and (parts.port or 80) == target.port:
                return server
        return None

    def host_of(
        self, target: EngineTarget, labels: Labels, present: Collection[NodeKey] = ()
    ) -> NodeKey | None:
        """The host of a target by its labels, its pod or its address; `None` where that is not known.

        `present` are hosts whose GPUs were seen at the time.
        """
        named = first_label(labels, NODE_OF_TARGET)
        if not named and target.pod:
            named = self.kube.node_of(target.pod_name)
        if named:
            return NodeKey(target.cluster, label(named))
        address = NodeKey(target.cluster, target.address)
        if address in self._by_address:
            return self._at(address, present)
        if target.pod:
            return None
        if address in self.hosts:
            return address
        # One exporter has gpu-1, another gpu-1.example.com.
        name = address.host.partition(".")[0]
        if not name or name.isdecimal():
            return None
        alike = [
            host
            for host in self.by_first_name.get(NodeKey(target.cluster, name), ())
            if "." not in host.host or "." not in address.host
        ]
        return alike[0] if len(alike) == 1 else None

    @cached_property
    def by_first_name(self) -> dict[NodeKey, list[NodeKey]]:
        """Hosts by the first part of their name."""
        named: dict[NodeKey, list[NodeKey]] = {}
        for host in sorted(self.hosts):
            named.setdefault(NodeKey(host.cluster, host.host.partition(".")[0]), []).append(host)
        return named


def small_number(text: str, default: int) -> int:
    """A number below 1,000 in a label; `default` for any other text."""
    return int(text) if text.isdecimal() and len(text) < 4 else default


def address_of(labels: Labels) -> str:
    """The host of a target's address; of a loopback address, the host that its agent names."""
    host, _port = host_and_port(labels.get("instance", ""))
    return (first_label(labels, HOST_OF_AGENT) or "localhost") if host in LOOPBACK else host


def is_address(text: str) -> bool:
    """Whether a text is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def host_and_port(instance: str) -> tuple[str, int]:
    """Host and port of HOST:PORT, [HOST]:PORT or an address with a scheme; port 0 without a port."""
    try:
        parts = urlsplit(instance if "//" in instance else f"//{instance}")
        host = parts.hostname or instance
    except ValueError:
        return instance, 0
    try:
        return host, parts.port or 0
    except ValueError:
        return host, 0


def target_of(labels: Labels) -> EngineTarget:
    """The target of a series of an engine."""
    cluster = labels.get("cluster", "")
    _host, port = host_and_port(labels.get("instance", ""))
    for namespace, pod in POD_OF_TARGET:
        if labels.get(pod):
            return EngineTarget(cluster, labels.get(namespace, ""), labels[pod], "", port)
    return EngineTarget(cluster, "", "", address_of(labels), port)


def selector(names: Collection[str]) -> str:
    """A selector of series of these names."""
    return f'{{__name__=~"{"|".join(sorted(names))}"}}'


class SurveyReader:
    """Asks a server for the label sets of a time range."""

    def __init__(self, client: PrometheusClient, config: Config, since: Instant, until: Instant) -> None:
        self._client = client
        self._since = since
        self._until = until
        self.survey = Survey(config)

    def read(self, progress: Progress) -> Survey:
        """Look what a server has.

        Raises:
            PrometheusError: there is no whole answer.
        """
        survey = self.survey
        energy = any(rule.energy is not None for rule in survey.config.hardware)
        progress("looking for GPUs", 0)
        gpu_labels: dict[int, list[Labels]] = {}
        for number, exporter in enumerate(GPU_EXPORTERS):
            gpu_labels[number] = self._label_sets(selector(exporter.names(energy=energy)))
            survey.add_names(gpu_labels[number])
            if gpu_labels[number] and exporter.info:
                for labels in self._label_sets(selector([exporter.info])):
                    survey.infos[uuid_of(first_label(labels, exporter.uuid))] = labels
        progress("looking for inference servers", 0.2)
        self._find_engines()
        progress("looking for pods and nodes", 0.6)
        self._find_targets(labels for each in gpu_labels.values() for labels in each)
        self._find_cluster(gpu_labels)
        for number, label_sets in gpu_labels.items():
            exporter = GPU_EXPORTERS[number]
            # Those that name their host come first: others are of a host by their UUID or address.
            for labels in sorted(label_sets, key=lambda each: not first_label(each, exporter.host)):
                series = survey.gpu_series(number, labels)
                if series is None:
                    survey.unnamed[exporter.name] = tuple(sorted(labels.keys() - {"__name__"}))
                    continue
                survey.hosts.add(series.host)
                survey.gpus.setdefault(series.gpu.uuid, set()).add(exporter.name)
                if series.holder is not None:
                    survey.labeled.add(series.host)
        progress("looking for pods and nodes", 1)
        return survey

    def _label_sets(self, match_: str) -> list[Labels]:
        return list(self._client.label_sets(match_, self._since, self._until))

    def _label_sets_of(self, name: str, what: str, values: Collection[str]) -> list[Labels]:
        """Label sets of a series by the values of one label, so many at a time."""
        return [
            labels
            for batch in kube_state.batches(values)
            for labels in self._label_sets(f'{name}{{{what}=~"{batch}"}}')
        ]

    def _find_targets(self, label_sets: Iterable[Labels]) -> None:
        """Ask for the labels of the targets that have these series."""
        instances = {labels.get("instance", "") for labels in label_sets} - {""}
        self.survey.add_targets(self._label_sets_of("up", "instance", instances))

    def _find_engines(self) -> None:
        """Recognize each target by the series that identify engines and gateways."""
        survey = self.survey
        configured = survey.config.engines
        names = {name for row in (*ROWS, *configured) for name in spellings(row.fingerprint.names)}
        identifying = self._label_sets(selector(names))
        self._find_targets(identifying)
        pages: dict[EngineTarget, dict[str, list[Sample]]] = {}
        for labels in identifying:
            name = survey.described(labels["__name__"])
            samples = pages.setdefault(target_of(labels), {}).setdefault(name, [])
            samples.append(Sample(survey.page_series(name, labels), 0.0))
        for target, by_name in pages.items():
            page = Page({name: tuple(samples) for name, samples in by_name.items()}, frozenset(by_name))
            row = match(page, configured)
            if isinstance(row, Engine):
                survey.engines[target] = row
                later = tuple(exporter_series.other_engines(row, page, configured))
                if later:
                    survey.later_engines[target] = later
            elif row is not None:
                survey.gateways.add(row.title)
        wanted = {name for engine in survey.all_engines() for name in spellings(engine_names(engine))}
        if wanted:
            survey.add_names(self._label_sets(selector(wanted)))

    def _find_cluster(self, gpu_labels: Mapping[int, list[Labels]]) -> None:
        """Ask for the pods and nodes of GPUs and engines."""
        survey = self.survey
        pods = {target.pod for target in survey.engines if target.pod}
        nodes: set[str] = set()
        for number, label_sets in gpu_labels.items():
            exporter = GPU_EXPORTERS[number]
            for labels in label_sets:
                holder = survey.holder(exporter, labels)
                if holder is not None:
                    pods.add(holder.pod)
                pods.update(labels[pod] for _, pod in POD_OF_TARGET if labels.get(pod))
                nodes.add(first_label(labels, exporter.host))
        nodes.discard("")
        info = self._of_pods(kube_state.POD_INFO, pods)
        nodes |= {labels["node"] for labels in info if labels.get("node")}
        owners = self._of_pods(kube_state.POD_OWNER, pods)
        replica_sets = {
            labels.get("created_by_name") or labels.get("owner_name", "")
            for labels in (*info, *owners)
            if "ReplicaSet" in (labels.get("created_by_kind"), labels.get("owner_kind"))
        }
        pod_labels = self._of_pods(kube_state.POD_LABELS, pods)
        node_labels = self._label_sets_of(kube_state.NODE_LABELS, "node", nodes)
        above = self._label_sets_of(kube_state.REPLICASET_OWNER, "replicaset", replica_sets - {""})
        kube = survey.kube
        kube.add_pods(info, owners, above, pod_labels)
        kube.add_nodes(node_labels, self._label_sets_of(kube_state.NODE_INFO, "node", nodes))
        times = partial(kube_state.read_label_times, self._client, self._since, self._until)
        kube.pod_times = times(
            kube_state.POD_LABELS,
            ("pod", "exported_pod"),
            pod_labels,
            kube_state.pod_of,
            lambda _pod, labels: kube_state.product_and_team(labels, survey.config),
        )
        kube.node_times = times(
            kube_state.NODE_LABELS,
            ("node",),
            node_labels,
            kube_state.node_of,
            lambda node, labels: kube.location_by(node, labels, survey.config),
        )

    def _of_pods(self, name: str, pods: Collection[str]) -> list[Labels]:
        """Label sets of pods, by either name of the label that has them."""
        return [
            labels for what in ("pod", "exported_pod") for labels in self._label_sets_of(name, what, pods)
        ]
