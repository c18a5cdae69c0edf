"""The sources of the configured servers. One that a reload leaves as it was keeps what it knows."""

from collections.abc import Callable

from exporter.clock import Clock
from exporter.config import Config, Server
from exporter.readings import ServerKey
from exporter.sources.server import ServerSource, lean_client, repeated

Busy = Callable[[ServerKey], bool]


class Endpoints:
    """Makes and keeps the sources that a configuration names."""

    def __init__(self, clock: Clock, busy: Busy | None = None) -> None:
        self._clock = clock
        self._busy = busy
        self._client = lean_client()
        self._config: Config | None = None
        self._sources: dict[tuple[Server, int, frozenset[str]], ServerSource] = {}
        self._retired: tuple[ServerSource, ...] = ()

    def of(self, config: Config) -> tuple[ServerSource, ...]:
        """The sources of a configuration, in its order. Asked again for the same one, they are the same."""
        if config is self._config:
            return tuple(self._sources.values())
        limit = config.limits.body_bytes
        elsewhere = repeated(server.engine for server in config.servers)
        wanted = [(server, limit, elsewhere) for server in config.servers]
        sources = {key: self._sources.get(key) or self._source(*key) for key in wanted}
        # What is dropped may still be in a read of this tick; it is closed when the next ones are dropped.
        for source in self._retired:
            source.close()
        self._retired = tuple(source for key, source in self._sources.items() if key not in sources)
        self._config, self._sources = config, sources
        return tuple(sources.values())

    def close(self) -> None:
        """Let go of all."""
        for source in (*self._retired, *self._sources.values()):
            source.close()
        self._client.close()

    def _source(self, server: Server, body_bytes: int, told_elsewhere: frozenset[str]) -> ServerSource:
        key = ServerKey(server.namespace, server.name)
        busy = self._busy
        return ServerSource(
            key,
            server.url,
            self._client,
            self._clock,
            engine=server.engine,
            bearer_token_file=server.bearer_token_file,
            ca_file=server.ca_file,
            body_bytes=body_bytes,
            busy=None if busy is None else lambda: busy(key),
            told_elsewhere=told_elsewhere,
        )
