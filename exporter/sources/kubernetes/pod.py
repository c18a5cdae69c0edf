"""The pods of this node as data, with what joins them to processes, to allocations of GPUs, and to owners."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

Role = Literal["container", "init", "ephemeral"]
Phase = Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"]

TERMINAL: Final[frozenset[Phase]] = frozenset({"Succeeded", "Failed"})
"""Phases after which no container of a pod is started again, and its GPUs are free."""


class Workload(NamedTuple):
    """What people know a pod by: its Deployment rather than its ReplicaSet, its InferenceService rather
    than that. A pod that nothing owns is its own: kind `Pod`.
    """

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Container:
    """One container. `id` are the 64 hexadecimal digits that its cgroup's path ends in, empty before it was
    created; after a restart they are others.

    `running` is false while it waits (images, crash loop) and after it ended. `argv` is what its pod says
    that it is started with, empty where its image says.
    """

    name: str
    id: str = ""
    running: bool = False
    role: Role = "container"
    argv: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a pod's annotations `inference-cost/...` say of it; empty and `None` where they say nothing.

    `port` and `path` are where its metrics are read, at the pod's own address and never at another.
    `refused` are the annotations that cannot be used, by their last word (`port`), each with the fault.
    """

    name: str = ""
    product: str = ""
    team: str = ""
    port: int | None = None
    path: str = ""
    refused: tuple[tuple[str, str], ...] = ()


NO_WISHES: Final = Wishes()


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod of this node.

    `uid` is the one that its cgroup's path has; that of a static pod is the hash of its manifest, while the
    API server knows it by another.
    `ips` are its addresses, the first one first; those of the node where it uses the node's network.
    `annotations` are only those that somebody here reads (`decoding.KEPT`).
    `live` is true until nothing of it runs or will: a pod whose container waits to be started again holds the
    GPUs that it was given.
    """

    namespace: str
    name: str
    uid: str
    workload: Workload
    phase: Phase = "Unknown"
    live: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    ips: tuple[str, ...] = ()
    containers: tuple[Container, ...] = ()
    wishes: Wishes = NO_WISHES


@dataclass(frozen=True, slots=True)
class Pods:
    """All pods of this node that were told, and who told: `pods_api`, `kubelet` or `api_server`."""

    pods: tuple[Pod, ...] = ()
    told_by: str = ""
