"""One gateway in front of inference servers: tokens by team, tenant or adapter, which only divide cost."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import translate
from typing import Final

from exporter.clock import Clock
from exporter.config.settings import GatewayPageRule, GatewayTenant
from exporter.config.values import has_wildcards
from exporter.cost.postings import OTHER
from exporter.engines import (
    GATEWAYS,
    TALLIED,
    Engine,
    GatewayCounts,
    GatewaySpec,
    Page,
    Shares,
    WantedSeries,
    count_shares,
    match,
    read,
)
from exporter.engines.spec import PROCESS_START
from exporter.readings import (
    DividedBy,
    ErrorCounts,
    FailureReason,
    GatewayReading,
    ReadFailedError,
    label,
    tenant_name,
)
from exporter.sources.http_client import HttpClientProtocol
from exporter.sources.server.endpoint import (
    BODY_BYTES_MAX,
    DIRECT,
    EndpointAccess,
    EndpointSession,
)
from exporter.sources.server.page_reader import UNKNOWN_PAGE
from exporter.units import Nanoseconds

_TITLES: Final = dict.fromkeys(gateway.title for gateway in GATEWAYS if gateway.shares is not None)

SUPPORTED_GATEWAYS: Final = (
    f"give the page of {', '.join(tuple(_TITLES)[:-1])} or {tuple(_TITLES)[-1]}, or name its `counters`"
)

CONFIGURED: Final = "a gateway with configured counters"
"""Title of a page that the configuration describes."""

LABELS_TOLD: Final = 12
"""Labels of a page that a message lists."""

SEPARATOR: Final = "/"
"""Between the values of several labels, as between namespace and name."""

REMEMBERED_MAX: Final = 20_000
"""Tenants whose row is remembered: as many as a page may have series."""

UNLISTED_MAX: Final = 20
"""Tenants without a row that are named; the others are counted."""


class GatewaySource:
    """Reads one gateway, to divide a server `by` teams or adapters. `rule` has its tenants and counters."""

    may_be_slow: Final = True
    """The endpoint may be slow, and other sources do not wait for it."""

    def __init__(
        self,
        url: str,
        by: Collection[DividedBy],
        client: HttpClientProtocol,
        clock: Clock,
        *,
        rule: GatewayPageRule | None = None,
        access: EndpointAccess = DIRECT,
        body_bytes: int = BODY_BYTES_MAX,
    ) -> None:
        self._endpoint = EndpointSession(url, client, clock, access=access, body_bytes=body_bytes)
        self._url = url
        self._by = frozenset(by)
        self._rule = rule or GatewayPageRule()
        shares = self._rule.shares
        self._wanted = (
            TALLIED if shares is None else WantedSeries({PROCESS_START, *shares.names, *shares.created_names})
        )
        self._selection = "" if shares is None else repr((shares.prompt, shares.cached, shares.generation))
        self._tenants: TenantTable | None = None

    @property
    def name(self) -> str:
        """The value of the `source` label: gateway:127.0.0.1:4000/metrics/."""
        return label(f"gateway:{self._endpoint.shown.partition('://')[2]}")

    @property
    def url(self) -> str:
        """The endpoint's name: its URL, a query masked and replaced by a digest."""
        return self._endpoint.id

    @property
    def errors(self) -> ErrorCounts:
        """Lines and series that the last reading leaves out, by reason."""
        return self._endpoint.errors

    @property
    def waited(self) -> Nanoseconds:
        """How long the last read waited for the parsing of large pages of other sources."""
        return self._endpoint.waited

    def close(self) -> None:
        """Close the endpoint's own client, if it has one."""
        self._endpoint.close()

    def read(self) -> GatewayReading:
        """Read once.

        Raises:
            ReadFailedError: as `EndpointSession.get`; `not_recognized`, `no_teams`, `too_large`.
        """
        self._endpoint.begin_read()
        response = self._endpoint.get(self._url, self._endpoint.body_bytes)
        with self._endpoint.parsing_turn(response.body):
            page = read(response.body, self._wanted)
            title, shares = self._described(page)
            if self._tenants is None and self._rule.labels:
                self._tenants = TenantTable(self._rule.labels, self._rule.tenants, shares.unnamed)
            tenants = self._tenants
            if tenants is not None:
                tenants.begin_page()
            counts = count_shares(shares, page, None if tenants is None else tenants.name)
        if page.cut or counts.cut:
            raise ReadFailedError(
                FailureReason.TOO_LARGE,
                f"{self._endpoint.shown}: more series, models or teams than the limit",
            )
        self._check_teams(title, shares, counts)
        absent = () if self._rule.shares is None else tuple(self._absent(shares, counts))
        self._endpoint.note_errors({"malformed": page.malformed, "duplicate": page.duplicates})
        unlisted = () if tenants is None else tenants.unlisted
        return GatewayReading(
            self._endpoint.id,
            up=True,
            title=title,
            identity=counts.identity,
            started=counts.started,
            counters=counts.counters,
            selection=self._selection,
            absent=absent,
            unlisted=tuple(unlisted[:UNLISTED_MAX]),
            unlisted_count=len(unlisted),
        )

    def _described(self, page: Page) -> tuple[str, Shares]:
        """The title and the counters of a page: as configured, else as the catalogue has them."""
        shares = self._rule.shares
        if shares is not None and page.names:
            return CONFIGURED, shares
        if shares is not None:
            names = " nor ".join(sorted(shares.names))
            raise ReadFailedError(
                FailureReason.NOT_RECOGNIZED,
                f"{self._endpoint.shown}: answers with a page that has neither {names}: check the names in "
                "`counters`, or send a first request through the gateway",
            )
        row = match(page)
        if isinstance(row, GatewaySpec) and row.shares is not None:
            return row.title, row.shares
        what = UNKNOWN_PAGE
        if row is not None:
            title = row.manual.title if isinstance(row, Engine) else row.title
            what = f"the page of {title}, which does not name its clients"
        raise ReadFailedError(
            FailureReason.NOT_RECOGNIZED, f"{self._endpoint.shown}: answers with {what}: {SUPPORTED_GATEWAYS}"
        )

    def _absent(self, shares: Shares, counts: GatewayCounts) -> Iterator[str]:
        """Configured counters without a series.

        Cached prompts must be there once prompts are: without them each tenant would pay for its cached
        tokens in full, out of the parts of the others.
        """
        counted = {counter.quantity for counter in counts.counters}
        for kind, alternatives in shares.kinds:
            series = " nor ".join(map(str, alternatives))
            if not series or kind in counted:
                continue
            if kind == "cached_prompt" and "prompt" in counted:
                raise ReadFailedError(
                    FailureReason.NOT_RECOGNIZED,
                    f"{self._endpoint.shown}: counts prompts and has no {series}: check `cached_prompt` in "
                    "`counters`, send a request that a prefix cache serves, or leave it out",
                )
            yield series

    def _check_teams(self, title: str, shares: Shares, counts: GatewayCounts) -> None:
        """Refuse counts without a label that the division needs: all of them would be the owner's."""
        if "team" not in self._by:
            return
        labels = self._rule.labels
        if labels:
            if not counts.counters or not set(labels).isdisjoint(counts.labels):
                return
            what = f"label {' or '.join(labels)}"
            remedy = f"write one of its labels in `by`: {', '.join(counts.labels[:LABELS_TOLD])}"
        elif not shares.teams:
            what, remedy = "team", "divide by adapter, or by a list of its labels"
        elif counts.counters and not counts.teams:
            what, remedy = "team", f"let its metrics have the label {' or '.join(shares.teams)}"
        else:
            return
        raise ReadFailedError(
            FailureReason.NO_TEAMS, f"{self._endpoint.shown}: the page of {title} has no {what}: {remedy}"
        )


class TenantTable:
    """Configured tenants. The first that matches decides; one that none matches is of team `other`.

    A series without a value of any label has no tenant. `unnamed` are words that are no values.
    """

    def __init__(
        self, labels: Sequence[str], tenants: Sequence[GatewayTenant], unnamed: Sequence[str]
    ) -> None:
        self._labels = tuple(labels)
        self._unnamed = frozenset(unnamed)
        self._names = tuple(tenant_name(row.team, row.product) for row in tenants)
        self._exact = {
            row.match: index for index, row in reversed([*enumerate(tenants)]) if not has_wildcards(row.match)
        }
        self._patterns = tuple(
            (index, re.compile(translate(row.match)))
            for index, row in enumerate(tenants)
            if has_wildcards(row.match)
        )
        self._known: dict[str, str | None] = {}  # `None`: no row matches
        self._unlisted: set[str] = set()

    @property
    def unlisted(self) -> Sequence[str]:
        """Tenants of this page without a row, in order."""
        return sorted(self._unlisted)

    def begin_page(self) -> None:
        """Forget the tenants of the last page that had no row."""
        self._unlisted = set()

    def name(self, labels: Mapping[str, str]) -> str:
        """The tenant's name by the labels of a series."""
        values = [labels.get(name, "") for name in self._labels]
        tenant = SEPARATOR.join("" if value in self._unnamed else label(value) for value in values)
        if not tenant.strip(SEPARATOR):
            return ""
        if tenant not in self._known:
            if len(self._known) >= REMEMBERED_MAX:
                self._known = {}
            row = self._exact.get(tenant, len(self._names))
            for index, pattern in self._patterns:
                if index < row and pattern.match(tenant):
                    row = index
                    break
            self._known[tenant] = self._names[row] if row < len(self._names) else None
        name = self._known[tenant]
        if name is None:
            self._unlisted.add(tenant)
        return OTHER if name is None else name
