"""The gateways whose counts divide servers, each with one source, however many servers it divides."""

from collections.abc import Iterable
from pathlib import Path

from exporter.clock import Clock
from exporter.config.settings import Divide
from exporter.readings import DividedBy
from exporter.sources.kept import Kept
from exporter.sources.server import GatewaySource, lean_client

Gateway = tuple[str, Path | None, Path | None, frozenset[DividedBy], int]
"""Its URL, the files that reading it takes, what is asked of it, and the longest page that is read."""


class Gateways:
    """Makes and keeps the sources."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._client = lean_client()
        self._kept = Kept(self._source)

    def of(self, divides: Iterable[Divide], body_bytes: int) -> tuple[GatewaySource, ...]:
        """The sources of what divides, in its order. Asked again for the same ones, they are the same."""
        return self._kept.of(_wanted(divides, body_bytes))

    def close(self) -> None:
        """Let go of all."""
        self._kept.close()
        self._client.close()

    def _source(self, gateway: Gateway) -> GatewaySource:
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


def _wanted(divides: Iterable[Divide], body_bytes: int) -> list[Gateway]:
    asked: dict[tuple[str, Path | None, Path | None], set[DividedBy]] = {}
    for divide in divides:
        where = divide.division.gateway, divide.bearer_token_file, divide.ca_file
        asked.setdefault(where, set()).add(divide.division.by)
    return [(*where, frozenset(by), body_bytes) for where, by in asked.items()]
