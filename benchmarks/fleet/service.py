"""One process that serves the pages of all hosts, each on a path of its own."""

import asyncio
import threading
import time
from types import TracebackType
from typing import Final, Self

from benchmarks.fleet.hosts import Fleet
from exporter.metrics.exposition import OPENMETRICS

HEAD: Final = f"HTTP/1.1 200 OK\r\nContent-Type: {OPENMETRICS.content_type}\r\n"


class Service:
    """Answers `/hosts/N` and `/nodes` on loopback, from a thread of its own; connections are kept open."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        starting = asyncio.start_server(self._answer, "127.0.0.1", 0, backlog=self._fleet.hosts)
        server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)
        self.port = server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readline():
                while (await reader.readline()).strip():
                    pass
                host = request.split()[1].rpartition(b"/")[2]
                body = self._fleet.nodes() if host == b"nodes" else self._fleet.page(int(host), time.time())
                writer.write(f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
        except ConnectionError:
            pass  # Prometheus is gone
        finally:
            writer.close()
