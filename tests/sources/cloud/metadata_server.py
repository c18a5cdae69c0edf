"""A metadata service on loopback: it answers as told, by its cloud's rules, and remembers what was asked."""

import json
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SESSION = "AQAEAJx0kI5v3Yq1n0mT8s6bX2dVwF7uG4hR9cLzP5oKeA=="
BROKEN = (BrokenPipeError, ConnectionResetError, ssl.SSLError)


@dataclass(frozen=True)
class Reply:
    """What one path answers; `times` sends the body over and over."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int = 1


@dataclass(frozen=True)
class RecordedRequest:
    """One request as it arrived; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


Rules = Callable[[RecordedRequest], Reply | None]
"""Refuses a request that a cloud would refuse; `None` lets it through."""


class MetadataServer:
    """A server that is told its answers by method and path; others are 404. `hangs` paths never answer.

    With `tls` it speaks https. `sent` are the bytes of bodies that went out. `at` is where it listens.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, *, at: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self.requests: list[RecordedRequest] = []
        self.sent = 0
        self.replies: dict[str, Reply] = {}
        self.hangs: set[str] = set()
        self.headers: dict[str, str] = {}
        self.rules: Rules = lambda _: None
        self.before: Callable[[], None] = lambda: None
        self.arrived = threading.Semaphore(0)
        self._stop = threading.Event()
        metadata = self

        class MetadataHandler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                metadata._answer(self)

            def do_PUT(self) -> None:
                metadata._answer(self)

            def log_message(self, *_: object) -> None:
                """Nobody listens."""

        class MetadataHttpServer(ThreadingHTTPServer):
            daemon_threads = False

            def handle_error(self, *_: object) -> None:
                """A client that does not trust us, or goes: the tests look at what it says."""

        self._server = MetadataHttpServer(at, MetadataHandler)
        self.address = f"{'http' if tls is None else 'https'}://{at[0]}:{self._server.server_port}"
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def paths(self) -> list[str]:
        """What was asked, in order: the path, with its method where that is not GET."""
        return [a.path if a.method == "GET" else f"{a.method} {a.path}" for a in self.requests]

    def set_reply(self, path: str, body: str | bytes, status: int = 200, **headers: str) -> None:
        """Tell what a path answers; PUT /path for another method than GET."""
        self.replies[path] = Reply(body if isinstance(body, bytes) else body.encode(), status, headers)

    def says_everywhere(self, reply: Reply) -> None:
        """Answer all alike, as a captive portal does."""
        self.rules = lambda _: reply

    def close(self) -> None:
        self._stop.set()
        self._server.shutdown()
        self._thread.join(timeout=10)
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = RecordedRequest(handler.command, handler.path, headers)
        self.requests.append(request)
        self.arrived.release()
        self.before()
        name = handler.path if handler.command == "GET" else f"{handler.command} {handler.path}"
        if name in self.hangs:
            self._stop.wait()
            return
        reply = self.rules(request) or self.replies.get(name, Reply(b"404 - Not Found", 404))
        try:
            handler.send_response(reply.status)
            for key, value in {**self.headers, **reply.headers}.items():
                handler.send_header(key.replace("_", "-"), value)
            handler.send_header("Content-Length", str(len(reply.body) * reply.times))
            handler.end_headers()
            for _ in range(reply.times):
                handler.wfile.write(reply.body)
                self.sent += len(reply.body)
        except BROKEN:
            return


AWS_DOCUMENT = {
    "accountId": "123456789012",
    "architecture": "x86_64",
    "availabilityZone": "us-east-1d",
    "billingProducts": None,
    "imageId": "ami-0abcdef1234567890",
    "instanceId": "i-0abcdef1234567890",
    "instanceType": "p5.48xlarge",
    "pendingTime": "2026-11-20T08:15:00Z",
    "privateIp": "10.0.1.23",
    "region": "us-east-1",
    "version": "2017-09-30",
}
AWS_DOCUMENT_PATH = "/latest/dynamic/instance-identity/document"
AWS_LIFECYCLE_PATH = "/latest/meta-data/instance-life-cycle"
AWS_SESSION_PATH = "PUT /latest/api/token"


def aws(metadata: MetadataServer) -> MetadataServer:
    """IMDSv2 with `HttpTokens=required`: 401 without a token, 400 for a token without its lifetime."""
    metadata.headers = {"Server": "EC2ws"}
    metadata.set_reply(AWS_SESSION_PATH, SESSION, **{"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": "60"})
    metadata.set_reply(AWS_DOCUMENT_PATH, json.dumps(AWS_DOCUMENT, indent=2), Content_Type="text/plain")
    metadata.set_reply(AWS_LIFECYCLE_PATH, "on-demand", Content_Type="text/plain")

    def rules(request: RecordedRequest) -> Reply | None:
        if request.method == "PUT":
            return None if "x-aws-ec2-metadata-token-ttl-seconds" in request.headers else Reply(status=400)
        return None if request.headers.get("x-aws-ec2-metadata-token") == SESSION else Reply(status=401)

    metadata.rules = rules
    return metadata


GCP_ROOT = "/computeMetadata/v1/instance"
GCP_PATHS = (
    f"{GCP_ROOT}/machine-type",
    f"{GCP_ROOT}/zone",
    f"{GCP_ROOT}/scheduling/preemptible",
    f"{GCP_ROOT}/scheduling/provisioning-model",
)


def gcp(metadata: MetadataServer) -> MetadataServer:
    """403 without its header, which each of its answers echoes."""
    metadata.headers = {
        "Metadata-Flavor": "Google",
        "Server": "Metadata Server for VM",
        "X-Frame-Options": "0",
    }
    answers = (
        "projects/123456789/machineTypes/a3-highgpu-8g",
        "projects/123456789/zones/us-central1-a",
        "FALSE",
        "STANDARD",
    )
    for path, answer in zip(GCP_PATHS, answers, strict=True):
        metadata.set_reply(path, answer, Content_Type="application/text")
    refused = Reply(b"Missing Metadata-Flavor:Google header.", 403)
    metadata.rules = lambda request: None if request.headers.get("metadata-flavor") == "Google" else refused
    return metadata


AZURE_COMPUTE = {
    "azEnvironment": "AzurePublicCloud",
    "evictionPolicy": "",
    "location": "eastus2",
    "name": "gpu-0",
    "osType": "Linux",
    "priority": "Regular",
    "provider": "Microsoft.Compute",
    "resourceGroupName": "inference",
    "tags": "team:search",
    "vmScaleSetName": "",
    "vmSize": "Standard_ND96isr_H100_v5",
    "zone": "1",
}
AZURE_PATH = "/metadata/instance/compute?api-version=2021-02-01&format=json"


def azure(metadata: MetadataServer) -> MetadataServer:
    """400 without its header."""
    metadata.headers = {"Server": "IMDS/150.870.65.1854"}
    metadata.set_reply(AZURE_PATH, json.dumps(AZURE_COMPUTE), Content_Type="application/json; charset=utf-8")
    refused = Reply(b'{ "error": "Bad request. Required metadata header not specified" }', 400)
    metadata.rules = lambda request: None if request.headers.get("metadata") == "true" else refused
    return metadata


OCI_ROOT = "/opc/v2/instance"
OCI_PATHS = (f"{OCI_ROOT}/shape", f"{OCI_ROOT}/canonicalRegionName", f"{OCI_ROOT}/availabilityDomain")


def oci(metadata: MetadataServer) -> MetadataServer:
    """404 without its header, or with one that says that the request was forwarded."""
    metadata.headers = {"Server": "server"}
    for path, answer in zip(OCI_PATHS, ("BM.GPU.H100.8", "us-phoenix-1", "EMIr:PHX-AD-1"), strict=True):
        metadata.set_reply(path, answer, Content_Type="text/plain")

    def rules(request: RecordedRequest) -> Reply | None:
        forwarded = any(name.startswith(("forwarded", "x-forwarded")) for name in request.headers)
        right = request.headers.get("authorization") == "Bearer Oracle" and not forwarded
        return None if right else Reply(status=404)

    metadata.rules = rules
    return metadata


NEBIUS_DATA = {
    "id": "computeinstance-e00abc",
    "parent_id": "project-e00abc",
    "name": "gpu-0",
    "platform": "gpu-h100-sxm",
    "preset": "8gpu-128vcpu-1600gb",
    "labels": {"team": "search"},
    "resource_version": 7,
    "gpu_cluster_id": "computegpucluster-e00abc",
    "region": "eu-north1",
}
NEBIUS_PATH = "/v1/instance-data"


def nebius(metadata: MetadataServer) -> MetadataServer:
    """400 without its header."""
    metadata.set_reply(NEBIUS_PATH, json.dumps(NEBIUS_DATA), Content_Type="application/json")
    metadata.rules = lambda request: None if request.headers.get("metadata") == "true" else Reply(status=400)
    return metadata


CLOUDS: Mapping[str, Callable[[MetadataServer], MetadataServer]] = {
    "aws": aws,
    "gcp": gcp,
    "azure": azure,
    "oci": oci,
    "nebius": nebius,
}
