"""One gateway in front of inference servers: tokens by team or adapter, which only divide cost."""

from collections.abc import Collection
from pathlib import Path
from typing import Final

from exporter.clock import Clock
from exporter.engines import (
    TALLIED,
    Engine,
    GatewayCounts,
    GatewaySpec,
    Page,
    count_gateway,
    match,
    read,
)
from exporter.readings import (
    DividedBy,
    FailureReason,
    GatewayReading,
    ReadFailedError,
    label,
)
from exporter.sources.http_client import HttpClientProtocol
from exporter.sources.server.endpoint import BODY_BYTES_MAX, TIMEOUT_SECONDS, UNKNOWN_PAGE, EndpointSource

SUPPORTED_GATEWAYS: Final = "give the page of the LiteLLM proxy or of the Gateway API endpoint picker"


class GatewaySource(EndpointSource):
    """Reads one gateway, to divide a server `by` teams or adapters."""

    def __init__(
        self,
        url: str,
        by: Collection[DividedBy],
        client: HttpClientProtocol,
        clock: Clock,
        *,
        bearer_token_file: Path | None = None,
        ca_file: Path | None = None,
        timeout: float = TIMEOUT_SECONDS,
        body_bytes: int = BODY_BYTES_MAX,
    ) -> None:
        super().__init__(
            url,
            client,
            clock,
            bearer_token_file=bearer_token_file,
            ca_file=ca_file,
            timeout=timeout,
            body_bytes=body_bytes,
        )
        self._url = url
        self._by = frozenset(by)

    @property
    def name(self) -> str:
        """The value of the `source` label: gateway:127.0.0.1:4000/metrics/."""
        return label(f"gateway:{self._shown.partition('://')[2]}")

    def read(self) -> GatewayReading:
        """Read once.

        Raises:
            ReadFailedError: as a `Fetcher`; `not_recognized`, `no_teams`, `too_large`.
        """
        self._reset()
        self._fetcher.begin_read()
        response = self._fetcher.get(self._url, self._body_bytes)
        with self._parse_lock.taken(response.body):
            page = read(response.body, TALLIED, self._memory)
            gateway = self._recognized(page)
            counts = count_gateway(gateway, page)
        if page.cut or counts.cut:
            raise ReadFailedError(
                FailureReason.TOO_LARGE, f"{self._shown}: more models and teams than the limit"
            )
        self._check_teams(gateway, counts)
        self._note_errors(page)
        return GatewayReading(
            self._id,
            up=True,
            title=gateway.title,
            identity=counts.identity,
            started=counts.started,
            counters=counts.counters,
        )

    def _recognized(self, page: Page) -> GatewaySpec:
        row = match(page)
        if isinstance(row, GatewaySpec) and row.shares is not None:
            return row
        title = row.manual.title if isinstance(row, Engine) else "" if row is None else row.title
        what = f"the page of {title}, which does not name its clients" if title else UNKNOWN_PAGE
        raise ReadFailedError(
            FailureReason.NOT_RECOGNIZED, f"{self._shown}: answers with {what}: {SUPPORTED_GATEWAYS}"
        )

    def _check_teams(self, gateway: GatewaySpec, counts: GatewayCounts) -> None:
        if "team" not in self._by:
            return
        shares = gateway.shares
        if shares is not None and not shares.teams:
            remedy = "divide by adapter"
        elif counts.counters and not counts.teams:
            remedy = "let its metrics have the label team_alias or team"
        else:
            return
        raise ReadFailedError(
            FailureReason.NO_TEAMS, f"{self._shown}: the page of {gateway.title} has no team: {remedy}"
        )
