"""The endpoints to read and their sources. One that is left as it was keeps what it knows."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from exporter.clock import Clock
from exporter.config.settings import Server
from exporter.readings import ServerKey
from exporter.sources.kept import Kept
from exporter.sources.server import About, ServerSource, lean_client, repeated

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
    about: About = field(default_factory=About)


Endpoint = tuple[Target, int, frozenset[str]]
"""A target, the longest page that is read of it, and the engines that are told elsewhere."""


def configured(servers: Iterable[Server]) -> tuple[Target, ...]:
    """The endpoints that a configuration names, in its order."""
    return tuple(
        Target(
            ServerKey(server.namespace, server.name),
            server.url,
            server.engine,
            server.bearer_token_file,
            server.ca_file,
            server.server_name or "",
            About(
                spans_hosts=server.spans_hosts,
                role=server.role,
                division=None if server.divide is None else server.divide.division,
            ),
        )
        for server in servers
    )


class Endpoints:
    """Makes and keeps the sources of targets."""

    def __init__(self, clock: Clock, busy: Busy | None = None) -> None:
        self._clock = clock
        self._busy = busy
        self._client = lean_client()
        self._kept = Kept(self._source)

    def of(
        self, targets: Iterable[Target], body_bytes: int, engines: Iterable[str | None] = ()
    ) -> tuple[ServerSource, ...]:
        """The sources of these targets, in their order. Asked again for the same ones, they are the same.

        `engines` are those of endpoints that are read beside these: what they count is not counted again.
        """
        targets = tuple(targets)
        elsewhere = repeated((*(target.engine for target in targets), *engines))
        return self._kept.of([(target, body_bytes, elsewhere) for target in targets])

    def close(self) -> None:
        """Let go of all."""
        self._kept.close()
        self._client.close()

    def _source(self, endpoint: Endpoint) -> ServerSource:
        target, body_bytes, told_elsewhere = endpoint
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
            told_elsewhere=told_elsewhere,
            about=target.about,
        )
