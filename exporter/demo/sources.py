"""The simulated host behind the interfaces of the real sources; what is read goes the real way on."""

from dataclasses import dataclass

from exporter.demo.host import Host
from exporter.engines.catalogue import EVERYTHING, recognize
from exporter.engines.exposition import Memory, read
from exporter.engines.interpretation import interpret
from exporter.readings import GpuReading, ReadFailedError, ServerKey, ServerReading


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedNvml:
    """Reads the GPUs of the simulated host."""

    host: Host
    name: str = "nvml"
    errors: tuple[tuple[str, int], ...] = ()

    def read(self) -> tuple[GpuReading, ...]:
        """All GPUs, as they are now."""
        return self.host.gpus()

    def close(self) -> None:
        """Nothing is held."""


class SimulatedServer:
    """Reads a page that the simulated host prints, as bytes, through the engines' own reader."""

    def __init__(self, host: Host, key: ServerKey, url: str) -> None:
        self._host = host
        self._memory = Memory()
        self.key = key
        self.url = url
        self.name = f"server:{key.server}"
        self.errors: tuple[tuple[str, int], ...] = ()

    def read(self) -> ServerReading:
        """The server's page.

        Raises:
            ReadFailedError: its process is gone just now, or the page is not an engine's.
        """
        if self._host.down(self.key.server):
            raise ReadFailedError("connection", f"{self.url}: connection refused")
        page = read(self._host.page(self.key.server), EVERYTHING, self._memory)
        engine = recognize(page)
        if engine is None:
            raise ReadFailedError("not_recognized", f"{self.url}: the simulated page is no engine's")
        told = interpret(engine, page)
        return ServerReading(
            self.key,
            self.url,
            up=True,
            engine=engine.name,
            identity=told.identity,
            started=told.started,
            counters=told.counters,
            loads=told.loads,
            models=told.models,
        )

    def close(self) -> None:
        """Nothing is held."""
