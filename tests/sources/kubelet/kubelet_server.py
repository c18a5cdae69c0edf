"""A kubelet's gRPC server on a Unix socket."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

METHODS = ("/v1.PodResourcesLister/List", "/v1alpha1.Pods/ListPods")


class Kubelet(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    """gRPC's own server, which answers each of its methods with the same bytes, or with a status."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reply = b""
        self.status: grpc.StatusCode | None = None
        self.methods: list[str] = []
        self.requests: list[bytes] = []
        self._server: Any = None
        self._pool: ThreadPoolExecutor | None = None

    def service(self, handler_call_details: Any) -> Any:
        self.methods.append(handler_call_details.method)
        if handler_call_details.method not in METHODS:
            return None
        return grpc.unary_unary_rpc_method_handler(self._list)

    def start(self) -> None:
        """Make the socket, anew if there is one, and answer on it."""
        self.path.unlink(missing_ok=True)
        self._pool = ThreadPoolExecutor(1)
        self._server = grpc.server(self._pool, handlers=(self,))
        self._server.add_insecure_port(f"unix:{self.path}")
        self._server.start()

    def stop(self) -> None:
        if self._server is not None and self._pool is not None:
            self._server.stop(None).wait(10)
            self._pool.shutdown()
            self._server = None

    def _list(self, request: bytes, context: Any) -> bytes:
        self.requests.append(request)
        if self.status is not None:
            context.abort(self.status, "said 100% no")
        return self.reply
