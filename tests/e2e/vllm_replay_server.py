"""Servers that say what one said, with counters that move at every read.

    python tests/e2e/vllm_replay_server.py PAGE PORT[=CERTIFICATE]...

One with a certificate, a file with its key, answers over TLS.

A process of its own, so that its work is not in the figures of whoever reads it.
"""

import re
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import NoReturn

MOVING = ("_total", "_sum", "_count", "_bucket")


class MovingPage:
    """A page whose counters and histograms with a colon have risen by 100 more each time it is told.

    Each server has a start of its own: two pages of one start and equal counts are one process.
    """

    def __init__(self, text: str, server: int) -> None:
        self.reads = 0
        text = re.sub(
            r"^process_start_time_seconds (\S+)$",
            lambda start: f"process_start_time_seconds {float(start[1]) + server}",
            text,
            flags=re.MULTILINE,
        )
        self.lines = [self._split(line) for line in text.splitlines()]

    @staticmethod
    def _split(line: str) -> tuple[str, float | None]:
        name = line.partition("{")[0].partition(" ")[0]
        if ":" not in name or not name.endswith(MOVING):
            return line, None
        series, _, value = line.rpartition(" ")
        return series, float(value)

    def render(self) -> bytes:
        """The page now."""
        self.reads += 1
        return "".join(
            f"{text}\n" if value is None else f"{text} {value + 100 * self.reads}\n"
            for text, value in self.lines
        ).encode()


def handler(page: MovingPage) -> type[BaseHTTPRequestHandler]:
    """What answers for one server."""

    class ReplayHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = page.render() if self.path == "/metrics" else b"{}"
            self.send_response(200 if self.path == "/metrics" else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            """Say nothing."""

    return ReplayHandler


def main(page: str, *ports: str) -> NoReturn:
    """Serve until killed."""
    text = Path(page).read_text(encoding="utf-8")
    servers = []
    for number, address in enumerate(ports):
        port, _, certificate = address.partition("=")
        server = ThreadingHTTPServer(("127.0.0.1", int(port)), handler(MovingPage(text, number)))
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        servers.append(server)
    threads = [Thread(target=server.serve_forever) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
