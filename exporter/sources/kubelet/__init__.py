"""The kubelet of this host: GPU allocations, and pods.

`pod_resources` reads the allocations of devices, `pods_api` the pods, each from a socket of the kubelet.
`grpc` makes the calls, `protobuf` parses the messages. `exporter.sources.kubernetes` makes `Pods` of the
pods.
"""

from exporter.sources.kubelet.pod_resources import (
    Allocation,
    Allocations,
    PodResourcesSource,
    UnknownDevice,
    is_here,
)
