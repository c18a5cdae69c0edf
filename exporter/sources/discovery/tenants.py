"""Who is on a host: pods, and process groups outside of any. Pure.

A pod is known by its processes (whose cgroup has its uid), by what the kubelet gave it (by its name), and by
what its cluster says of it (by both). Where the cluster says nothing, the GPU (or MIG instance) that only it
was given and only it computes on joins the two.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from exporter.readings import GpuReading
from exporter.sources.discovery.parts import Part, computed_on, stood_for
from exporter.sources.discovery.pods import Pod
from exporter.sources.kubelet.allocations import Allocation
from exporter.sources.processes import ProcessGroup

_LETTERS: Final = "[bcdf-hj-np-tv-xz2456789]"
"""What Kubernetes makes names of (k8s.io/apimachinery/pkg/util/rand)."""

_GENERATED: Final = re.compile(rf"(?P<workload>.+?)(?:-{_LETTERS}{{6,10}})?-{_LETTERS}{{5}}")
"""A pod's name that was made: the workload's, the hash of a Deployment, five letters."""

_ORDINAL: Final = re.compile(r"(?P<workload>.+)-[0-9]{1,5}")
"""A StatefulSet's."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A pod, or a process group outside of any: whoever holds GPUs as one.

    `namespace` and `workload` are empty outside Kubernetes, and for a pod of which only the uid is known.
    `allocations` are what it was given, `pod` is what its cluster says of it.
    """

    namespace: str = ""
    workload: str = ""
    groups: tuple[ProcessGroup, ...] = ()
    allocations: tuple[Allocation, ...] = ()
    pod: Pod | None = None


def tenants(
    groups: Iterable[ProcessGroup],
    given: Iterable[Allocation],
    pods: Iterable[Pod],
    gpus: Iterable[GpuReading],
) -> tuple[Tenant, ...]:
    """Everybody who computes on a GPU, serves, or was given one.

    Args:
        groups: of processes.
        given: what the kubelet gave out.
        pods: of this host, as far as they are known.
        gpus: of this host, and who computes on them.
    """
    by_uid = {uid: pod for pod in pods for uid in pod.uids if uid}
    by_container = {container.id: pod for pod in pods for container in pod.containers if container.id}
    by_name = {(pod.namespace, pod.name): pod for pod in pods}
    known: dict[tuple[str, str], Tenant] = {}
    loose: dict[str, Tenant] = {}
    for group in groups:
        pod = by_uid.get(group.pod) or by_container.get(group.container)
        if group.delegated:  # a user may give its cgroups the names of anybody's pods and containers
            pod = None
        if pod is not None:
            key = pod.namespace, pod.name
            tenant = known.get(key) or Tenant(pod.namespace, pod.workload, pod=pod)
            known[key] = replace(tenant, groups=(*tenant.groups, group))
        else:  # the containers of a pod are one tenant; what is in no pod is one each
            name = group.pod or group.id
            tenant = loose.get(name) or Tenant()
            loose[name] = replace(tenant, groups=(*tenant.groups, group))
    for allocation in given:
        key = allocation.namespace, allocation.pod
        holder = by_name.get(key)
        if holder is not None and not holder.live:
            continue  # older kubelets tell what ended pods had
        workload = workload_of(allocation.pod) if holder is None else holder.workload
        tenant = known.get(key) or Tenant(allocation.namespace, workload, pod=holder)
        known[key] = replace(tenant, allocations=(*tenant.allocations, allocation))
    for pod in by_name.values():
        if pod.live and (pod.namespace, pod.name) not in known and _may_serve(pod):
            known[pod.namespace, pod.name] = Tenant(pod.namespace, pod.workload, pod=pod)
    others = tuple(_joined(known, loose.values(), tuple(gpus)))
    return (*known.values(), *others)


def _may_serve(pod: Pod) -> bool:
    """A pod without a GPU that says where its metrics are: the API server of workers elsewhere."""
    return pod.wishes.port is not None


def workload_of(pod: str) -> str:
    """The workload that a pod's name was made of, else the name: without its cluster nobody knows better."""
    for shape in (_GENERATED, _ORDINAL):
        if found := shape.fullmatch(pod):
            return found["workload"]
    return pod


def _joined(
    known: dict[tuple[str, str], Tenant], loose: Iterable[Tenant], gpus: Iterable[GpuReading]
) -> Iterator[Tenant]:
    """Gives named pods the processes that compute on what is theirs alone; yields everybody else."""
    owners: dict[Part, tuple[str, str] | None] = {}
    for name, tenant in known.items():
        for part in _whole(tenant.allocations, gpus):
            owners[part] = None if part in owners else name
    computing = computed_on(gpus)
    for tenant in loose:
        pids = [member.pid for group in tenant.groups if group.pod for member in group.computing]
        alone = {owners.get(part) for pid in pids for part in computing.get(pid, ())} - {None}
        owner = alone.pop() if len(alone) == 1 else None
        if owner is None or known[owner].groups:
            yield tenant
        else:
            known[owner] = replace(known[owner], groups=tenant.groups)


def _whole(given: Iterable[Allocation], gpus: Iterable[GpuReading]) -> set[Part]:
    """The GPUs, and the instances of cut ones, of which a pod was given all."""
    return {
        part
        for allocation in given
        if allocation.device.replica is None
        for gpu in gpus
        for part in stood_for(allocation.device, gpu)
    }
