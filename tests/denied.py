"""What sources say of a path, asked by processes that may not look there."""

from pathlib import Path

from exporter.clock import SystemClock
from exporter.readings import ReadFailedError
from exporter.sources.kubelet import PodResourcesSource
from exporter.sources.kubernetes import PodSource, ServiceAccount
from exporter.sources.kubernetes.api import account as account_of


def account(path: Path) -> ServiceAccount | None:
    """A pod's service account whose files are below a path."""
    return account_of({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, path)


def kubelet(path: Path) -> str:
    """Why a kubelet cannot be read."""
    try:
        PodResourcesSource(SystemClock(), path=path).read()
    except ReadFailedError as failure:
        return failure.reason
    return ""


def pods(path: Path) -> bool:
    """Whether there is a socket of the Pods API."""
    return PodSource(SystemClock(), None, socket=path).asks
