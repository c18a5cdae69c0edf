"""What Kubernetes tells a pod by HTTP, with the rights that its service account was given, and no others.

Pods are told by the kubelet's socket as well, to whoever may open it and without an account.
`account` is what the pod was given, `api` one bounded GET, `node` the labels of the node that it is on.

The entry point for the pods of this node is `PodSource(clock, account(), choice, kubelet_ca_file).read()`.
A `Pod` joins to a process by its uid or a container's id, which are in its cgroup's path, and to an
allocation of the kubelet by namespace and name. It has its `workload`, what its annotations ask for
(`wishes`), and by `owner_of` who pays for it.
`source` reads them; `listing`, `decoding`, `workload` and `annotations` are pure.
"""

from exporter.sources.kubernetes.api import NodeReading, NodeSource, ServiceAccount, account
from exporter.sources.kubernetes.pods import (
    NO_ANNOTATIONS,
    Container,
    Pod,
    PodAnnotations,
    Pods,
    Workload,
    owner_of,
)
from exporter.sources.kubernetes.source import PodSource

__all__ = [
    "NO_ANNOTATIONS",
    "Container",
    "NodeReading",
    "NodeSource",
    "Pod",
    "PodAnnotations",
    "PodSource",
    "Pods",
    "ServiceAccount",
    "Workload",
    "account",
    "owner_of",
]
