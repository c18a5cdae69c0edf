"""Tenants of a host: pods, and process groups outside of any pod. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from exporter.readings import GpuReading
from exporter.sources.kubelet.pod_resources import Allocation
from exporter.sources.kubernetes import Pod
from exporter.sources.processes import ProcessGroup
from exporter.vendors import Device


class GpuPart(NamedTuple):
    """A GPU, or one MIG instance; `instance` is empty for a whole GPU."""

    uuid: str
    instance: str = ""


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
    # What is left, once pods have the processes on GPU parts that are allocated to them alone.
    gpus = tuple(gpus)
    owners: dict[GpuPart, tuple[str, str] | None] = {}
    for key, tenant in by_pod.items():
        devices = [
            allocation.device for allocation in tenant.allocations if allocation.device.replica is None
        ]
        for part in {part for device in devices for gpu in gpus for part in stood_for(device, gpu)}:
            owners[part] = None if part in owners else key
    parts_by_pid: dict[int, set[GpuPart]] = {}
    for gpu in gpus:
        for process in gpu.processes or ():
            parts_by_pid.setdefault(process.pid, set()).add(GpuPart(gpu.gpu.uuid, process.instance))
    others: list[Tenant] = []
    for tenant in loose.values():
        pids = [member.pid for group in tenant.groups if group.pod for member in group.computing]
        pods_alone = {owners.get(part) for pid in pids for part in parts_by_pid.get(pid, ())} - {None}
        owner = pods_alone.pop() if len(pods_alone) == 1 else None
        if owner is None or by_pod[owner].groups:
            others.append(tenant)
        else:
            by_pod[owner] = replace(by_pod[owner], groups=tenant.groups)
    return (*by_pod.values(), *others)


def workload_of(pod: str) -> str:
    """The workload that a pod's name was generated from, else the name: the best guess without a cluster."""
    match = _GENERATED.fullmatch(pod) or _ORDINAL.fullmatch(pod)
    return match["workload"] if match else pod
