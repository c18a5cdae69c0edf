"""What Kubernetes tells a pod by HTTP, with the rights that its service account was given, and no others.

Pods are told by the kubelet's socket as well, to whoever may open it and without an account.
`account` is what the pod was given, `api` one bounded GET, `node` the labels of the node that it is on.

The entry point for the pods of this node is `PodSource(clock, account(), choice, kubelet_ca_file).read()`.
Its `Pods` join to a process by the uid or the container id in its cgroup's path (`of_uid`, `of_container`),
and to an allocation of the kubelet by namespace, name and container's name (`named`). Each `Pod` has its
`workload`, what its annotations ask for (`wishes`), and by `owner_of` who pays for it.
`source` reads them; `listing`, `decoding`, `workload` and `annotations` are pure.
"""

from exporter.sources.kubernetes.account import Account, account
from exporter.sources.kubernetes.node import NodeReading, NodeSource
from exporter.sources.kubernetes.ownership import owner_of
from exporter.sources.kubernetes.pod import Container, Pod, Pods, Port, Wishes, Workload
from exporter.sources.kubernetes.source import PodSource

__all__ = [
    "Account",
    "Container",
    "NodeReading",
    "NodeSource",
    "Pod",
    "PodSource",
    "Pods",
    "Port",
    "Wishes",
    "Workload",
    "account",
    "owner_of",
]
