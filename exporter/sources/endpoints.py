"""Endpoints to read, and their sources: one that a reload leaves unchanged keeps its source."""

import logging
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

from exporter.clock import Clock
from exporter.config.settings import ConfiguredServer, GatewayDivision, GatewayPageRule
from exporter.engines import Described
from exporter.readings import DividedBy, ServerKey, Source
from exporter.sources.http_client import shared_client
from exporter.sources.processes.listener import ExpectedListener
from exporter.sources.server import GatewaySource, KnownEngines, ServerContext, ServerSource, Target, repeated
from exporter.sources.server.endpoint import EndpointAccess

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
S = TypeVar("S", bound=Source[Any])


class SourceCache(Generic[K, S]):
    """Sources by all that distinguishes them, and the client for http that they share."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._client = shared_client()
        self._sources: dict[K, S] = {}
        self._retired: tuple[S, ...] = ()

    def _sources_of(self, keys: list[K], make: Callable[[K], S]) -> tuple[S, ...]:
        """The sources of these keys, in their order; a key that was there before keeps its source."""
        if keys == list(self._sources):
            return tuple(self._sources.values())
        sources = {key: self._sources.get(key) or make(key) for key in keys}
        # A dropped source may still be in a read of this tick; it is closed when the next ones are dropped.
        _close(self._retired)
        self._retired = tuple(source for key, source in self._sources.items() if key not in sources)
        self._sources = sources
        return tuple(sources.values())

    def close(self) -> None:
        """Close all sources, and their client."""
        _close((*self._retired, *self._sources.values()))
        self._client.close()


def _close(sources: Iterable[Source[Any]]) -> None:
    """Close sources. A failure to close one leaves no other open, and costs no tick."""
    for source in sources:
        try:
            source.close()
        except Exception as failure:  # noqa: BLE001 - as above
            log.warning("source not closed", extra={"source": source.name, "problem": repr(failure)})


Busy = Callable[[ServerKey], bool]
"""Whether a GPU of a server was busy in the last tick."""


def _access(of: ConfiguredServer | GatewayDivision, server_name: str = "") -> EndpointAccess:
    """How a configured URL is requested: where a user is named, any socket of theirs may answer."""
    listener = None if of.uid is None else ExpectedListener(users=frozenset({of.uid}))
    return EndpointAccess(of.bearer_token_file, of.ca_file, server_name, listener)


def configured_targets(servers: Iterable[ConfiguredServer]) -> tuple[Target, ...]:
    """The endpoints of a configuration, in its order."""
    return tuple(
        Target(
            ServerKey(server.namespace, server.name),
            server.url,
            server.engine,
            _access(server, server.server_name or ""),
            ServerContext(
                spans_hosts=server.spans_hosts,
                role=server.role,
                division=None if server.divide is None else server.divide.division,
                slo=server.slo,
            ),
        )
        for server in servers
    )


class _ServerTarget(NamedTuple):
    """All that distinguishes the sources of servers."""

    target: Target
    body_bytes: int
    """Size of the longest page that is read."""
    engines: KnownEngines


class EndpointSources(SourceCache[_ServerTarget, ServerSource]):
    """The sources of servers."""

    def __init__(self, clock: Clock, busy: Busy = lambda _: True) -> None:
        super().__init__(clock)
        self._busy = busy

    def of(
        self,
        targets: Iterable[Target],
        body_bytes: int,
        engines: Iterable[str | None] = (),
        described: Described = (),
    ) -> tuple[ServerSource, ...]:
        """The sources of these targets, in their order.

        `engines` are those of other endpoints: tokens that they count are not counted again. `described` are
        those of the configuration.
        """
        targets = tuple(targets)
        elsewhere = repeated((*(target.engine for target in targets), *engines))
        known = KnownEngines(described, elsewhere)
        return self._sources_of([_ServerTarget(target, body_bytes, known) for target in targets], self._make)

    def _make(self, key: _ServerTarget) -> ServerSource:
        return ServerSource(
            key.target,
            self._client,
            self._clock,
            engines=key.engines,
            body_bytes=key.body_bytes,
            busy=lambda: self._busy(key.target.key),
        )


class _GatewayTarget(NamedTuple):
    """All that distinguishes the sources of gateways."""

    url: str
    access: EndpointAccess
    page: GatewayPageRule
    """How the gateway's page is read."""
    by: frozenset[DividedBy] = frozenset()
    """What the gateway divides by."""
    body_bytes: int = 0


class GatewaySources(SourceCache[_GatewayTarget, GatewaySource]):
    """The sources of gateways."""

    def of(self, divides: Iterable[GatewayDivision], body_bytes: int) -> tuple[GatewaySource, ...]:
        """The sources of the gateways of these divisions, each once, in their order."""
        divisions: dict[_GatewayTarget, set[DividedBy]] = {}
        for divide in divides:
            gateway = _GatewayTarget(divide.division.gateway, _access(divide), divide.page)
            divisions.setdefault(gateway, set()).add(divide.division.by)
        keys = [
            gateway._replace(by=frozenset(by), body_bytes=body_bytes) for gateway, by in divisions.items()
        ]
        return self._sources_of(keys, self._make)

    def _make(self, key: _GatewayTarget) -> GatewaySource:
        return GatewaySource(
            key.url,
            key.by,
            self._client,
            self._clock,
            rule=key.page,
            access=key.access,
            body_bytes=key.body_bytes,
        )
