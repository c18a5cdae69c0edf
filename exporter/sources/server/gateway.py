"""One gateway before inference servers: who asked for how many tokens. Never counted as tokens."""

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
    SeriesCache,
    count_gateway,
    match,
    read,
)
from exporter.readings import (
    DividedBy,
    FailureReason,
    GatewayReading,
    ReadFailedError,
    endpoint_id,
    label,
    masked,
)
from exporter.sources.http_client import HttpClientProtocol
from exporter.sources.server.fetch import Fetcher
from exporter.sources.server.parse_lock import ParseLock
from exporter.sources.server.source import BODY_BYTES_MAX, TIMEOUT_SECONDS, UNKNOWN_PAGE
from exporter.units import Nanoseconds

SUPPORTED_GATEWAYS: Final = "give the page of the LiteLLM proxy or of the Gateway API endpoint picker"


class GatewaySource:
    """Reads one gateway. `by` is what is asked of it; `client` is shared and not closed here."""

    may_be_slow: Final = True
    """What it asks may be slow, and is not to keep others waiting."""

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
        self._url = url
        self._id, self._shown = endpoint_id(url), masked(url)
        self._by = frozenset(by)
        self._body_bytes = body_bytes
        self._fetcher = Fetcher(client, url, clock, timeout, bearer_token_file, ca_file)
        self._memory = SeriesCache()
        self._turn = ParseLock(clock)
        self._errors: tuple[tuple[str, int], ...] = ()

    @property
    def name(self) -> str:
        """The value of the `source` label: gateway:127.0.0.1:4000/metrics/."""
        return label(f"gateway:{self._shown.partition('://')[2]}")

    @property
    def url(self) -> str:
        """The gateway's name: its URL, a query masked and replaced by a digest."""
        return self._id

    @property
    def errors(self) -> tuple[tuple[str, int], ...]:
        """What did not cost the last reading, by reason: `malformed` and `duplicate` lines."""
        return self._errors

    @property
    def waited(self) -> Nanoseconds:
        """How long the last read waited until other large pages were taken apart."""
        return self._turn.waited

    def close(self) -> None:
        """Close what is this gateway's own."""
        self._fetcher.close()

    def read(self) -> GatewayReading:
        """Read once.

        Raises:
            ReadFailedError: as a `Fetcher`; `not_recognized`, `no_teams`, `too_large`.
        """
        self._errors, self._turn.waited = (), 0
        self._fetcher.begin_read()
        response = self._fetcher.get(self._url, self._body_bytes)
        with self._turn.taken(response.body):
            page = read(response.body, TALLIED, self._memory)
            gateway = self._recognized(page)
            counts = count_gateway(gateway, page)
        if page.cut or counts.cut:
            raise ReadFailedError(
                FailureReason.TOO_LARGE, f"{self._shown}: more models and teams than the limit"
            )
        self._check_teams(gateway, counts)
        errors = (("malformed", page.malformed), ("duplicate", page.duplicates))
        self._errors = tuple((reason, count) for reason, count in errors if count)
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
