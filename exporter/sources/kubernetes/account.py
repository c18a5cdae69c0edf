"""The service account of this pod: whom it may ask, and by which files."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes mounts the token and the cluster's CA, unless `automountServiceAccountToken` is false."""


@dataclass(frozen=True, slots=True)
class Account:
    """What a pod was given to ask with.

    `server` is the API server's address as `https://host:port`, `node` the name of the node that the pod is
    on and `node_ip` an address of it, empty where nobody told them.
    """

    server: str
    node: str
    token_file: Path
    ca_file: Path
    node_ip: str = ""


def account(environ: Mapping[str, str] = os.environ, mount: Path = MOUNT) -> Account | None:
    """This pod's service account; `None` outside a cluster, and in a pod without a token."""
    host = environ.get("KUBERNETES_SERVICE_HOST", "")
    port = environ.get("KUBERNETES_SERVICE_PORT", "") or "443"
    token_file = mount / "token"
    if not host or not os.path.exists(token_file):
        return None
    address = f"[{host}]" if ":" in host else host
    return Account(
        f"https://{address}:{port}",
        environ.get("NODE_NAME", ""),
        token_file,
        mount / "ca.crt",
        environ.get("NODE_IP", ""),
    )
