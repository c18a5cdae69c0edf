"""An API server on loopback, by https, that asks for a token and checks the rights of whoever comes."""

import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exporter.sources.kubernetes import ServiceAccount
from tests.sources.cloud.metadata_server import MetadataServer, RecordedRequest, Reply

IDENTITY = Path(__file__).parent / "identity"
NODE = "ip-10-0-1-23.ec2.internal"
NODE_PATH = f"/api/v1/nodes/{NODE}"

EKS = {
    "beta.kubernetes.io/instance-type": "p5.48xlarge",
    "eks.amazonaws.com/capacityType": "ON_DEMAND",
    "eks.amazonaws.com/nodegroup": "h100",
    "example.com/billing": "lease",
    "kubernetes.io/hostname": NODE,
    "node-role.kubernetes.io/gpu": "",
    "node.kubernetes.io/instance-type": "p5.48xlarge",
    "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
    "topology.kubernetes.io/region": "us-east-1",
    "topology.kubernetes.io/zone": "us-east-1d",
}

PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"


def metadata(labels: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A node as the API server tells it to whoever asks for its metadata alone."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {
            "name": NODE,
            "uid": "5a1c3e84-6f5b-4c53-9a70-3f5a0e7e2c11",
            "resourceVersion": "8123411",
            "creationTimestamp": "2026-11-20T08:15:43Z",
            "labels": EKS if labels is None else dict(labels),
            "annotations": {"node.alpha.kubernetes.io/ttl": "0"},
            **more,
        },
    }


def tls(certificate: str = "certificate.pem") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(IDENTITY / certificate, IDENTITY / "key.pem")
    return context


class Kubernetes:
    """The API server of a cluster, and the files that a pod mounts. `tokens` are those that are good now."""

    def __init__(
        self, mount: Path, certificate: str = "certificate.pem", *, at: tuple[str, int] = ("127.0.0.1", 0)
    ) -> None:
        self.server = MetadataServer(tls(certificate), at=at)
        self.mount = mount
        self.tokens = {"first"}
        self.refused: dict[str, int] = {}
        self.server.rules = self._rules
        mount.mkdir()
        (mount / "ca.crt").write_bytes((IDENTITY / "ca.pem").read_bytes())
        self.mounts("first")
        self.set_reply(NODE_PATH, metadata())

    @property
    def account(self) -> ServiceAccount:
        return ServiceAccount(self.server.address, NODE, self.mount / "token", self.mount / "ca.crt")

    @property
    def environ(self) -> dict[str, str]:
        """What Kubernetes puts into a pod's environment."""
        port = self.server.address.rpartition(":")[2]
        return {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": port,
            "NODE_NAME": NODE,
        }

    def mounts(self, token: str) -> None:
        """Renew the token as the kubelet does: another file takes the place of the old one."""
        renewed = self.mount / "renewed"
        renewed.write_text(f"{token}\n")
        renewed.replace(self.mount / "token")

    def set_reply(self, path: str, document: object) -> None:
        self.server.set_reply(path, json.dumps(document), Content_Type="application/json")

    def close(self) -> None:
        self.server.close()

    def _rules(self, request: RecordedRequest) -> Reply | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self.tokens:
            return self._status(401, "Unauthorized")
        status = self.refused.get(request.path)
        return None if status is None else self._status(status, "refused")

    @staticmethod
    def _status(code: int, reason: str) -> Reply:
        document = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}
        return Reply(json.dumps(document).encode(), code, {"Content_Type": "application/json"})
