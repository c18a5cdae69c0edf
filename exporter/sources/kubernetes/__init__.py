"""What Kubernetes tells a pod by HTTP, with the rights that its service account was given, and no others.

`account` is what the pod was given, `api` one bounded GET, `node` the labels of the node that it is on.
"""

from exporter.sources.kubernetes.account import Account, account
from exporter.sources.kubernetes.node import NodeReading, NodeSource

__all__ = ["Account", "NodeReading", "NodeSource", "account"]
