"""The endpoints to read and their sources. One that is left as it was keeps what it knows."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from exporter.clock import Clock
from exporter.config.settings import Server
from exporter.readings import ServerKey
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
    about: About = field(default_factory=About)


def configured(servers: Iterable[Server]) -> tuple[Target, ...]:
    """The endpoints that a configuration names, in its order."""
    return tuple(
        Target(
            ServerKey(server.namespace, server.name),
            server.url,
            server.engine,
            server.bearer_token_file,
            server.ca_file,
            About(spans_hosts=server.spans_hosts, role=server.role),
        )
        for server in servers
    )


class Endpoints:
    """Makes and keeps the sources of targets."""

    def __init__(self, clock: Clock, busy: Busy | None = None) -> None:
        self._clock = clock
        self._busy = busy
        self._client = lean_client()
        self._sources: dict[tuple[Target, int, frozenset[str]], ServerSource] = {}
        self._retired: tuple[ServerSource, ...] = ()

    def of(
        self, targets: Iterable[Target], body_bytes: int, engines: Iterable[str | None] = ()
    ) -> tuple[ServerSource, ...]:
        """The sources of these targets, in their order. Asked again for the same ones, they are the same.

        `engines` are those of endpoints that are read beside these: what they count is not counted again.
        """
        targets = tuple(targets)
        elsewhere = repeated((*(target.engine for target in targets), *engines))
        wanted = [(target, body_bytes, elsewhere) for target in targets]
        if wanted == list(self._sources):
            return tuple(self._sources.values())
        sources = {key: self._sources.get(key) or self._source(*key) for key in wanted}
        # What is dropped may still be in a read of this tick; it is closed when the next ones are dropped.
        for source in self._retired:
            source.close()
        self._retired = tuple(source for key, source in self._sources.items() if key not in sources)
        self._sources = sources
        return tuple(sources.values())

    def close(self) -> None:
        """Let go of all."""
        for source in (*self._retired, *self._sources.values()):
            source.close()
        self._client.close()

    def _source(self, target: Target, body_bytes: int, told_elsewhere: frozenset[str]) -> ServerSource:
        key, busy = target.key, self._busy
        return ServerSource(
            key,
            target.url,
            self._client,
            self._clock,
            engine=target.engine,
            bearer_token_file=target.bearer_token_file,
            ca_file=target.ca_file,
            body_bytes=body_bytes,
            busy=None if busy is None else lambda: busy(key),
            told_elsewhere=told_elsewhere,
            about=target.about,
        )
