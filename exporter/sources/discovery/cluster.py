"""The pods of this node, as its cluster tells them, in the words of discovery."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from exporter.clock import Clock
from exporter.config.settings import Config, KubernetesChoice
from exporter.readings import Source
from exporter.sources import kubernetes
from exporter.sources.discovery.pods import Container, Pod, Wishes
from exporter.sources.gather import Gathered
from exporter.sources.kubelet import pods_api
from exporter.sources.kubernetes import Account, Pods, PodSource, owner_of
from exporter.units import NANOSECONDS_PER_MINUTE, Nanoseconds

HELD: Final[Nanoseconds] = 5 * NANOSECONDS_PER_MINUTE
"""How long what was told of pods stands while nobody can be asked."""

NOT_ALLOWED: Final = frozenset(
    {"forbidden", "unauthorized", "node_ip", "node_name", "token_file", "denied", "unimplemented"}
)
"""Why pods are not told for good: servers then go by the names that the host tells."""

NOT_THERE: Final = "absent"
"""The kubelet has no socket: for good where it had none before, else until it has started again."""

GROUP_SIZE: Final = "leaderworkerset.sigs.k8s.io/size"
"""On each pod of a LeaderWorkerSet: how many pods serve together."""


class Cluster:
    """Asks for the pods of this node as a configuration says; `account` is `None` in a pod without a token.

    Then, and outside a pod, the kubelet's socket alone is asked, from the moment on at which there is one.
    """

    def __init__(self, clock: Clock, account: Account | None, socket: Path = pods_api.SOCKET) -> None:
        self._clock = clock
        self._account = account
        self._socket = socket
        self._choice: tuple[KubernetesChoice, Path | None] = ("off", None)
        self._pods: tuple[Pods, Nanoseconds] | None = None
        self._source: PodSource | None = None

    @property
    def source(self) -> PodSource | None:
        """What is to be read, `None` where nobody is asked."""
        return self._source if self._source is not None and self._source.asks else None

    def go_by(self, config: Config) -> None:
        """Ask as a configuration says; what was told stays where it asks no otherwise."""
        choice = config.kubernetes, config.kubelet_ca_file
        if choice == self._choice:
            return
        self.close()
        self._choice, self._pods = choice, None
        self._source = None
        if config.kubernetes != "off":
            self._source = PodSource(self._clock, self._account, *choice, socket=self._socket)

    def pods(self, config: Config, told: Mapping[Source[Any], Gathered]) -> tuple[Pod, ...] | None:
        """The pods of this node: `()` where nobody is asked, or may be; `None` while nobody answered yet."""
        source = self.source
        if source is None:
            return ()
        answer, now = told.get(source), self._clock.elapsed()
        reading: Pods | None = None if answer is None else answer.reading
        if reading is not None:
            self._pods = reading, now
        elif answer is not None and answer.health.reason in NOT_ALLOWED:
            self._pods = None
            return ()
        elif self._pods is not None and now - self._pods[1] > HELD:
            self._pods = None
        if self._pods is None:
            return () if answer is not None and answer.health.reason == NOT_THERE else None
        return tuple(_pod(pod, config) for pod in self._pods[0].pods)

    def close(self) -> None:
        """Let go of what is held."""
        if self._source is not None:
            self._source.close()


def cluster(clock: Clock) -> Cluster:
    """Of the cluster that this process is in, if it is in one."""
    return Cluster(clock, kubernetes.account())


def _pod(pod: kubernetes.Pod, config: Config) -> Pod:
    product, team = owner_of(pod, config.pod_labels)
    return Pod(
        namespace=pod.namespace,
        name=pod.name,
        workload=pod.workload.name,
        uids=(pod.uid,),
        addresses=pod.ips,
        live=pod.live,
        containers=tuple(Container(each.id, each.argv) for each in pod.containers),
        product=product,
        team=team,
        spans_hosts=pod.annotations.get(GROUP_SIZE, "1") != "1",
        wishes=Wishes(pod.wishes.name, pod.wishes.product, pod.wishes.team, pod.wishes.port, pod.wishes.path),
    )
