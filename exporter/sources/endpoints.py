"""The endpoints to read and their sources. One that is left as it was keeps what it knows."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from exporter.clock import Clock
from exporter.config.settings import ConfiguredServer, GatewayDivision
from exporter.readings import DividedBy, ServerKey, Source
from exporter.sources.server import GatewaySource, ServerContext, ServerSource, repeated, shared_client

K = TypeVar("K", bound=Hashable)
S = TypeVar("S", bound=Source[Any])


class SourceCache(Generic[K, S]):
    """Makes sources, each from all that tells it from another one."""

    def __init__(self, make: Callable[[K], S]) -> None:
        self._make = make
        self._sources: dict[K, S] = {}
        self._retired: tuple[S, ...] = ()

    def of(self, wanted: list[K]) -> tuple[S, ...]:
        """The sources of these, in their order. Asked again for the same ones, they are the same."""
        if wanted == list(self._sources):
            return tuple(self._sources.values())
        sources = {key: self._sources.get(key) or self._make(key) for key in wanted}
        # What is dropped may still be in a read of this tick; it is closed when the next ones are dropped.
        _close(self._retired)
        self._retired = tuple(source for key, source in self._sources.items() if key not in sources)
        self._sources = sources
        return tuple(sources.values())

    def close(self) -> None:
        """Let go of all."""
        _close((*self._retired, *self._sources.values()))


def _close(sources: Iterable[Source[Any]]) -> None:
    for source in sources:
        source.close()


Busy = Callable[[ServerKey], bool]


@dataclass(frozen=True, slots=True)
class Target:
    """One endpoint to read: how, and what is known of the server behind it.

    `engine` is a name of `engines.ENGINES`, `None` where the page is to tell.
    """

    key: ServerKey
    url: str
    engine: str | None = None
    bearer_token_file: Path | None = None
    ca_file: Path | None = None
    server_name: str = ""
    server_context: ServerContext = field(default_factory=ServerContext)


Endpoint = tuple[Target, int, frozenset[str]]
"""A target, the longest page that is read of it, and the engines that are told elsewhere."""


def configured(servers: Iterable[ConfiguredServer]) -> tuple[Target, ...]:
    """The endpoints that a configuration names, in its order."""
    return tuple(
        Target(
            ServerKey(server.namespace, server.name),
            server.url,
            server.engine,
            server.bearer_token_file,
            server.ca_file,
            server.server_name or "",
            ServerContext(
                spans_hosts=server.spans_hosts,
                role=server.role,
                division=None if server.divide is None else server.divide.division,
            ),
        )
        for server in servers
    )


class EndpointSources:
    """Makes and keeps the sources of targets."""

    def __init__(self, clock: Clock, busy: Busy | None = None) -> None:
        self._clock = clock
        self._busy = busy
        self._client = shared_client()
        self._cache = SourceCache(self._source)

    def of(
        self, targets: Iterable[Target], body_bytes: int, engines: Iterable[str | None] = ()
    ) -> tuple[ServerSource, ...]:
        """The sources of these targets, in their order. Asked again for the same ones, they are the same.

        `engines` are those of endpoints that are read beside these: what they count is not counted again.
        """
        targets = tuple(targets)
        elsewhere = repeated((*(target.engine for target in targets), *engines))
        return self._cache.of([(target, body_bytes, elsewhere) for target in targets])

    def close(self) -> None:
        """Let go of all."""
        self._cache.close()
        self._client.close()

    def _source(self, endpoint: Endpoint) -> ServerSource:
        target, body_bytes, counted_elsewhere = endpoint
        key, busy = target.key, self._busy
        return ServerSource(
            key,
            target.url,
            self._client,
            self._clock,
            engine=target.engine,
            bearer_token_file=target.bearer_token_file,
            ca_file=target.ca_file,
            server_name=target.server_name,
            body_bytes=body_bytes,
            busy=None if busy is None else lambda: busy(key),
            counted_elsewhere=counted_elsewhere,
            context=target.server_context,
        )


GatewayTarget = tuple[str, Path | None, Path | None, frozenset[DividedBy], int]
"""Its URL, the files that reading it takes, what is asked of it, and the longest page that is read."""


class GatewaySources:
    """Makes and keeps the sources."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._client = shared_client()
        self._cache = SourceCache(self._source)

    def of(self, divides: Iterable[GatewayDivision], body_bytes: int) -> tuple[GatewaySource, ...]:
        """The sources of what divides, in its order. Asked again for the same ones, they are the same."""
        return self._cache.of(_wanted(divides, body_bytes))

    def close(self) -> None:
        """Let go of all."""
        self._cache.close()
        self._client.close()

    def _source(self, gateway: GatewayTarget) -> GatewaySource:
        url, bearer_token_file, ca_file, by, body_bytes = gateway
        return GatewaySource(
            url,
            by,
            self._client,
            self._clock,
            bearer_token_file=bearer_token_file,
            ca_file=ca_file,
            body_bytes=body_bytes,
        )


def _wanted(divides: Iterable[GatewayDivision], body_bytes: int) -> list[GatewayTarget]:
    divisions: dict[tuple[str, Path | None, Path | None], set[DividedBy]] = {}
    for divide in divides:
        where = divide.division.gateway, divide.bearer_token_file, divide.ca_file
        divisions.setdefault(where, set()).add(divide.division.by)
    return [(*where, frozenset(by), body_bytes) for where, by in divisions.items()]
