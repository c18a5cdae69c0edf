"""All exporters of a fleet in one process: a page for each host, and the file that tells Prometheus where."""

import json
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.e2e.fleet.books import Book

KUBERNETES = "kube-state-metrics:8080"
"""Scraped beside the hosts of the last cluster."""

Pages = Callable[[str], str | None]
"""The page of an instance at this moment; none: it does not answer."""


class Exporters:
    """Serves the pages of hosts on loopback, each at a path of its own, until it is left."""

    def __init__(self, targets: Path, pages: Pages) -> None:
        self._targets = targets
        self._pages = pages
        answer = pages

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = answer(self.path.strip("/"))
                body = (page or "").encode()
                self.send_response(200 if page is not None else 404)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing: pytest shows what went wrong."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def tell(self, books: Sequence[Book]) -> None:
        """Write who is there: one target for each host, which Prometheus notices by itself."""
        found = {
            book.instance: self._target(
                book.instance, cluster=book.cluster, node=book.instance.partition(":")[0]
            )
            for book in books
        }
        for cluster in sorted({book.cluster for book in books})[-1:]:
            found[KUBERNETES] = self._target(KUBERNETES, cluster=cluster)
        fresh = self._targets.with_suffix(".new")
        fresh.write_text(json.dumps(list(found.values())), encoding="utf-8")
        fresh.replace(self._targets)

    def _target(self, instance: str, **labels: str) -> dict[str, object]:
        """One page, under the labels that a deployment sets."""
        return {
            "targets": [f"127.0.0.1:{self._server.server_port}"],
            "labels": {"__metrics_path__": f"/{instance}", "instance": instance, **labels},
        }
