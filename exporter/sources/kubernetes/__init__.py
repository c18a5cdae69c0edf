"""Pods and labels of this node, from the kubelet and the API server.

`api` makes bounded requests with the rights of the pod's service account, and reads the node's labels.
`source` reads the pods, by HTTPS or from the kubelet's socket; `pod_object` decodes them, and `pods` makes a
`Pod` of each.
A `Pod` belongs to a process by its uid or a container's id, which are in the cgroup's path, and to an
allocation of the kubelet by namespace and name.
"""

from exporter.sources.kubernetes.api import NodeReading, NodeSource, ServiceAccount, account
from exporter.sources.kubernetes.pods import (
    NO_ANNOTATIONS,
    Container,
    Pod,
    PodAnnotations,
    Pods,
    Workload,
    with_owner,
)
from exporter.sources.kubernetes.source import SOCKET, PodSource
