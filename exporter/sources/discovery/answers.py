"""The last answers of the cluster and the kubelet, which stand for a while as they restart."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from exporter.clock import Clock
from exporter.config.settings import Config, KubernetesChoice
from exporter.readings import FailureReason, GpuReading, Source
from exporter.sources.gather import Gathered
from exporter.sources.kubelet import Allocation, Allocations, PodResourcesSource, is_here
from exporter.sources.kubelet.pod_resources import with_uuids, without_monitors
from exporter.sources.kubernetes import SOCKET, Pod, Pods, PodSource, ServiceAccount, with_owner
from exporter.sources.processes import ProcessGroup
from exporter.units import NANOSECONDS_PER_MINUTE, Nanoseconds

ANSWER_TTL: Final[Nanoseconds] = 5 * NANOSECONDS_PER_MINUTE
"""How long the last answer of the kubelet or the cluster stands while it restarts or cannot be read."""

NOT_HERE: Final = frozenset({FailureReason.ABSENT, FailureReason.UNIMPLEMENTED})
"""Reasons that mean that there is no kubelet, and so no allocations."""

PODS_DENIED: Final = frozenset(
    {
        FailureReason.FORBIDDEN,
        FailureReason.UNAUTHORIZED,
        FailureReason.NODE_IP,
        FailureReason.NODE_NAME,
        FailureReason.TOKEN_FILE,
        FailureReason.DENIED,
        FailureReason.UNIMPLEMENTED,
    }
)
"""Permanent reasons that pods are not listed: servers then have names without their cluster."""

ALLOCATIONS_DENIED: Final = frozenset({FailureReason.DENIED, FailureReason.UNIMPLEMENTED})
"""Permanent reasons of a kubelet. Holders are then known by processes alone: with old allocations a server
that ended would hold its GPU for ever."""

T = TypeVar("T")


@dataclass(slots=True)
class _LastAnswer(Generic[T]):
    """The last answer of a source, which stands while the source fails for a while."""

    denied: frozenset[FailureReason]
    """The permanent reasons, after which no earlier answer stands."""
    reading: T | None = None
    at: Nanoseconds = 0
    """The boot time of the answer."""
    missing: bool = False
    """The source is not here, or access to it is denied: there is nothing to wait for."""

    def take(self, answer: Gathered | None, now: Nanoseconds) -> None:
        """Take in the answer of a tick, `None` where the source was not read."""
        reason = None if answer is None else answer.health.reason
        if answer is not None and answer.reading is not None:
            self.reading, self.at = answer.reading, now
        elif reason in self.denied or now - self.at > ANSWER_TTL:
            self.reading = None
        # A kubelet without a socket has left this host, or is starting again.
        self.missing = self.reading is None and (reason in self.denied or reason == FailureReason.ABSENT)


class PodCache:
    """The last list of this node's pods; `account` is `None` outside a pod, and in a pod without a token.

    Without an account only the kubelet's socket is read, once there is one.
    """

    def __init__(self, clock: Clock, account: ServiceAccount | None, socket: Path = SOCKET) -> None:
        self._clock = clock
        self._account = account
        self._socket = socket
        self._choice: tuple[KubernetesChoice, Path | None] = ("off", None)
        self._last: _LastAnswer[Pods] = _LastAnswer(PODS_DENIED)
        self._gone: dict[tuple[str, str], Nanoseconds] = {}
        """When each pod, by namespace and name, was first missing from the list."""
        self._running: dict[str, Pod] = {}
        """The pods whose processes run, by uid."""
        self._source: PodSource | None = None

    @property
    def source(self) -> PodSource | None:
        """The source to read; `None` where there is none."""
        return self._source if self._source is not None and self._source.asks else None

    def go_by(self, config: Config) -> None:
        """Read as a configuration says. The last list stays if nothing changes for it."""
        choice = config.kubernetes, config.kubelet_ca_file
        if choice == self._choice:
            return
        self.close()
        self._choice = choice
        self._last = _LastAnswer(PODS_DENIED)
        self._source = None
        if config.kubernetes != "off":
            self._source = PodSource(self._clock, self._account, *choice, socket=self._socket)

    def pods(self, config: Config, answers: Mapping[Source[Any], Gathered]) -> tuple[Pod, ...] | None:
        """The pods of this node: `()` without access to a source, `None` before the first answer."""
        source = self.source
        if source is None:
            return ()
        before = self._last.reading
        self._last.take(answers.get(source), self._clock.elapsed())
        now = self._last.reading
        if now is None:
            return () if self._last.missing else None
        if now is not before and now.at is not None and (before is None or now.at != before.at):
            # No answer of the kubelet lasts as long as it is remembered which pods have gone.
            gone = {name: at for name, at in self._gone.items() if now.at - at <= 2 * ANSWER_TTL}
            earlier = () if before is None else before.pods
            gone.update({(pod.namespace, pod.name): now.at for pod in earlier})
            there = {(pod.namespace, pod.name) for pod in now.pods}
            self._gone = {name: at for name, at in gone.items() if name not in there}
        return tuple(with_owner(pod, config.pod_labels) for pod in now.pods)

    @property
    def listed(self) -> Nanoseconds | None:
        """The boot time as of which the pods are known."""
        return None if self._last.reading is None else self._last.reading.at

    def with_running(self, pods: tuple[Pod, ...], groups: Iterable[ProcessGroup]) -> tuple[Pod, ...]:
        """The pods that are listed, behind those that no longer are and whose processes run on.

        A kubelet that starts again lists few at first (kubernetes#112119), and a pod that is deleted by force
        may run on.
        """
        running: dict[str, Pod] = {}
        if self.listed is not None:  # without a list all are named without it
            listed = {pod.uid: pod for pod in pods}
            for uid in {group.pod for group in groups if group.pod}:
                pod = listed.get(uid) or self._running.get(uid)
                if pod is not None:
                    running[uid] = pod
            pods = (*(pod for uid, pod in running.items() if uid not in listed), *pods)
        self._running = running
        return pods

    def has_ended(self, namespace: str, name: str, at: Nanoseconds | None) -> bool:
        """Whether a pod that was there at a boot time has gone from the list since."""
        gone = self._gone.get((namespace, name))
        return gone is not None and at is not None and at < gone

    def outdated_by(self, groups: Iterable[ProcessGroup], given: Allocations | None) -> PodSource | None:
        """The source to read again, since a pod that its last answer lacks has begun after it."""
        source, last = self._source, self._last.reading
        if source is None or last is None or last.at is None or not source.asks:
            return None
        uids = {group.pod for group in groups if group.pod and group.started >= last.at}
        names: set[tuple[str, str]] = set()
        if given is not None and given.at is not None and given.at >= last.at:
            names = {(allocation.namespace, allocation.pod) for allocation in given.allocations}
        listed_uids = {pod.uid for pod in last.pods}
        listed_names = {(pod.namespace, pod.name) for pod in last.pods}
        if uids <= listed_uids and names <= listed_names:
            return None
        return source if source.renew() else None

    def close(self) -> None:
        """Close the source."""
        if self._source is not None:
            self._source.close()


def own_pod() -> tuple[str, str] | None:
    """Namespace and name of the pod of this exporter.

    By a claim with admin access it is shown all GPUs, and the kubelet lists it as if they were its own.
    """
    namespace = os.environ.get("POD_NAMESPACE")
    name = os.environ.get("POD_NAME")
    return (namespace, name) if namespace and name else None


class AllocationCache:
    """The last allocations of the kubelet; `kubelet` is `None` where it is never read."""

    def __init__(
        self, clock: Clock, kubelet: PodResourcesSource | None, monitor: tuple[str, str] | None
    ) -> None:
        self._clock = clock
        self._kubelet = kubelet
        self._monitor = monitor
        """Namespace and name of the pod of this exporter."""
        self._was_here = False
        self._last: _LastAnswer[Allocations] = _LastAnswer(ALLOCATIONS_DENIED)

    def source(self, config: Config) -> PodResourcesSource | None:
        """The source to read, once there is or was a kubelet."""
        if self._kubelet is None or config.kubernetes == "off":
            return None
        self._was_here = self._was_here or is_here(self._kubelet.path)
        return self._kubelet if self._was_here else None

    def take(self, answers: Mapping[Source[Any], Gathered]) -> Allocations | None:
        """The allocations as of this tick; empty ones without a kubelet, `None` while they are unknown."""
        if self._kubelet is None or self._kubelet not in answers:
            self._last = _LastAnswer(ALLOCATIONS_DENIED)
            return Allocations()
        self._last.take(answers[self._kubelet], self._clock.elapsed())
        return Allocations() if self._last.missing else self._last.reading

    def of_workloads(
        self, given: Allocations, pods: Iterable[Pod], cluster: PodCache, gpus: Iterable[GpuReading]
    ) -> tuple[Allocation, ...]:
        """The allocations of workloads, without pods that have gone since: their names would be guesses."""
        uuids = {gpu.device: gpu.gpu.uuid for gpu in gpus if gpu.device}
        without_monitor = replace(given, allocations=without_monitors(given.allocations, self._monitor))
        there = {(pod.namespace, pod.name) for pod in pods}
        return tuple(
            allocation
            for allocation in with_uuids(without_monitor, uuids).allocations
            if (allocation.namespace, allocation.pod) in there
            or not cluster.has_ended(allocation.namespace, allocation.pod, given.at)
        )

    def close(self) -> None:
        """Close the source."""
        if self._kubelet is not None:
            self._kubelet.close()
