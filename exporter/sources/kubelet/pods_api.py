"""Asks the kubelet of this host for its pods, by the socket of its Pods API (KEP-4188).

The service is `Pods` of `pkg/apis/pods/v1alpha1/api.proto` in the repository kubernetes/kubelet: alpha in
Kubernetes 1.36, on by default in 1.37 under the same name. The path is that of Kubernetes' documentation
(reference/node/kubelet-pods-api). The proposal has another, in /var/lib/kubelet/pods; that folder holds the
volumes of all pods, and is not looked at. All who ask together have 100 questions a second.

The proposal lets a question say which fields it wants, by metadata. The server that went into 1.37 does not
read it, so that nothing is said here and every answer has whole pods, the values of environment variables
among them: what is not in `pod_fields` is skipped unread.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from exporter.readings import ReadFailedError
from exporter.sources.exchange import Deadline
from exporter.sources.kubelet.pod_fields import listed

SOCKET: Final = Path("/var/lib/kubelet/pods-api/pods-api.sock")
"""Made again by each start of the kubelet: what is mounted into a container is its directory."""

METHOD: Final = "/v1alpha1.Pods/ListPods"

REPLY_BYTES_MAX: Final = 16 * 1024 * 1024
"""Held whole, and twice for a moment; 500 pods of 30 KB each."""


def is_served(path: Path) -> bool:
    """Whether there is a socket that this process may know of."""
    return os.path.exists(path)


def pods(path: Path, deadline: Deadline) -> Iterator[dict[str, Any]]:
    """The pods of this host as their JSON would tell them, one at a time.

    Raises:
        ReadFailedError: as `call.call`; `starting`, the kubelet does not know all pods yet.
    """
    from exporter.sources.kubelet.call import call  # noqa: PLC0415 - HTTP/2 takes memory: on first use

    reply = call(path, METHOD, deadline, REPLY_BYTES_MAX)
    try:
        yield from listed(reply)
    except ReadFailedError as failure:
        raise ReadFailedError(failure.reason, f"{path}: {failure}") from failure
