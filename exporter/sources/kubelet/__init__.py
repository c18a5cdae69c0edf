"""The kubelet of this host: which pod was given which GPU.

`PodResourcesSource` is the way in. `call` speaks gRPC, `protobuf` walks its messages, `devices` understands
the ids of devices, `allocations` puts both together.

`pods_api` asks the same kubelet for the pods themselves, where it serves them on a socket, and `pod_fields`
reads them; `exporter.sources.kubernetes` makes its `Pods` of what they tell.
"""

from exporter.sources.kubelet.pod_resources import (
    Allocation,
    Allocations,
    Device,
    Placement,
    PodResourcesSource,
    UnknownDevice,
    is_here,
)

__all__ = [
    "Allocation",
    "Allocations",
    "Device",
    "Placement",
    "PodResourcesSource",
    "UnknownDevice",
    "is_here",
]
