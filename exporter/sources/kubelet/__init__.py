"""The kubelet of this host.

`pod_resources` reads the allocations of GPUs. `grpc` makes a call on a socket of the kubelet, `protobuf`
decodes the answer; `exporter.sources.kubernetes` reads pods by both.
"""

from exporter.sources.kubelet.pod_resources import (
    Allocation,
    Allocations,
    PodResourcesSource,
    UnknownDevice,
    is_here,
)
