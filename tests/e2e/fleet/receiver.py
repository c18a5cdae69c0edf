"""What stands where a pager would: it keeps what the Alertmanager posts to it."""

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Notice:
    """One alert of one notification."""

    receiver: str
    """Whom the Alertmanager told: the last part of the address, and what the notification says of itself."""
    status: str
    labels: dict[str, str]
    annotations: dict[str, str]
    began: str
    """RFC 3339."""


class Receiver:
    """A webhook on loopback, until it is left."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        notices = self.notices

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path == f"/{told['receiver']}"
                notices.extend(
                    Notice(
                        told["receiver"],
                        alert["status"],
                        alert["labels"],
                        alert["annotations"],
                        alert["startsAt"],
                    )
                    for alert in told["alerts"]
                )
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing: pytest shows what went wrong."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
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

    def told(self, status: str, **labels: str) -> list[Notice]:
        """What came with a status and these labels."""
        return [
            notice
            for notice in self.notices
            if notice.status == status and labels.items() <= notice.labels.items()
        ]
