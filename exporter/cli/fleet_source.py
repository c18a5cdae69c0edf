"""The flags of a fleet's sources, and the months that they give."""

import argparse
import re
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from exporter import garbage
from exporter.cli.flags import (
    Flag,
    FlagError,
    chosen,
    duration_value,
    file_flag,
    flag,
    nested,
    option_fields,
    switch,
)
from exporter.cli.status import VerbFailedError, failing
from exporter.cli.terminal import ProgressBar, write_colored
from exporter.clock import SystemClock
from exporter.config import Config
from exporter.config.http_client import HttpClientConfig, load_http_client
from exporter.finance.fleet.ends import GivenEnd, ends_by_nodes, given_ends, node_ends, with_ends
from exporter.finance.fleet.folder import LedgerFolder
from exporter.finance.fleet.host_resources import NodeName, ProviderIds
from exporter.finance.fleet.missing import section
from exporter.finance.fleet.overheads import (
    BASES,
    BY_GPU_HOURS,
    SHARE_PARTS,
    FleetOverheads,
    SpreadRule,
    fleet_amounts,
)
from exporter.finance.fleet.record import FleetError, FleetMonth, HostMonth, KnownEnd, combine
from exporter.finance.prometheus.client import PrometheusClient, PrometheusError
from exporter.finance.prometheus.month import host_months
from exporter.finance.prometheus.nodes import node_scrapes, provider_ids
from exporter.ledger.reader import LedgerReader
from exporter.tariff.period import Period
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, Instant, Nanoseconds

TIMEOUT: Final = 60 * NANOSECONDS_PER_SECOND

HOSTS: Final = "several hosts"
"""The group of flags in the help."""

Source = Path | str
"""A folder or file, or an address."""


def source_value(text: str) -> Source:
    """A folder, a file, or an address."""
    if not re.match(r"[a-z][a-z0-9+.-]*://", text, re.IGNORECASE):
        return Path(text)
    try:
        parts = urlsplit(text)
        port_is_number = parts.port is None or parts.port > 0
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no address: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_number:
        raise argparse.ArgumentTypeError(f"{text!r} is no address: write http(s)://HOST:PORT")
    if parts.username or parts.password:
        raise argparse.ArgumentTypeError("an address takes no password: name its file in --http.config.file")
    if parts.query or parts.fragment:
        raise argparse.ArgumentTypeError(f"{text!r}: leave out what follows the path")
    return text.rstrip("/").removesuffix("/api/v1")


def address_value(text: str) -> str:
    """An address, and no folder."""
    source = source_value(text)
    if isinstance(source, Path):
        is_host = re.fullmatch(r"[A-Za-z0-9.-]+(?::\d{1,5})?", text, re.ASCII)
        form = f"http://{text}" if is_host else "http(s)://HOST:PORT"
        raise argparse.ArgumentTypeError(f"{text!r} is no address: write {form}")
    return source


_timeout_value: Final = duration_value(
    "sm", NANOSECONDS_PER_SECOND, NANOSECONDS_PER_HOUR, "timeout: write one from 1s to 60m"
)


def http_config_flag(group: str = "") -> Any:
    """The field of how addresses are asked."""
    text = "credentials, TLS and headers for addresses, in the format of promtool's flag"
    return file_flag("--http.config.file", text, group=group)


def timeout_flag(group: str = "") -> Any:
    """The field of the timeout of a query."""
    return flag(
        "--timeout",
        type=_timeout_value,
        group=group,
        metavar="TIME",
        help="of one query to an address, like 30s or 5m (default 60s)",
    )


def _end_value(text: str) -> GivenEnd:
    """A host and the time of its end, like gpu-7=2026-10-15T12:00Z."""
    host, _equals, written = text.rpartition("=")
    try:
        moment = date.fromisoformat(written) if "T" not in written else datetime.fromisoformat(written)
    except ValueError:
        moment = None
    if not host or moment is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no end: write HOST=TIME, like gpu-7=2026-10-15T12:00Z or gpu-7=2026-10-15"
        )
    return GivenEnd(host, moment)


WITHOUT: Final = "none"
"""Value of `--overheads` that leaves them out."""


def _rule_value(text: str) -> SpreadRule | str:
    if text == WITHOUT:
        return WITHOUT
    for basis in BASES:
        if text == basis != "shares":
            return SpreadRule(basis)
    shares: dict[str, int] = {}
    for part in text.split(","):
        product, equals, share = part.rpartition("=")
        if not equals or not product or not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", share):
            raise argparse.ArgumentTypeError(
                f"{part!r} is no rule: expected gpu-hours, dollars, equal, none, or shares like "
                "chat=60,search=40"
            )
        if product in shares:
            raise argparse.ArgumentTypeError(f"product {product!r} has two shares")
        shares[product] = int(Decimal(share) * SHARE_PARTS)
    if not any(shares.values()):
        raise argparse.ArgumentTypeError("all shares are 0")
    return SpreadRule("shares", shares)


@dataclass(frozen=True, slots=True)
class FleetSource:
    """Where the months of several hosts are read from, and what is allowed of them."""

    sources: Sequence[Source] = flag(
        "--from",
        group=HOSTS,
        default=(),
        action="append",
        type=source_value,
        metavar="SOURCE",
        help="read a folder of ledgers, a ledger file, or the address of a Prometheus, Thanos, Mimir or "
        "VictoriaMetrics, in place of the daemon's ledger; repeatable",
    )
    http_config_file: Path | None = http_config_flag(HOSTS)
    timeout: Nanoseconds | None = timeout_flag(HOSTS)
    mixed_zones: bool = switch(
        "--mixed-zones", "add up hosts of different time zones (default: refuse and list them)", HOSTS
    )
    ended: Sequence[GivenEnd] = flag(
        "--ended",
        group=HOSTS,
        default=(),
        action="append",
        type=_end_value,
        metavar="HOST=TIME",
        help="a host was given back then, so that it misses nothing after that; repeatable",
    )
    nodes_from: str | None = flag(
        "--nodes-from",
        group=HOSTS,
        type=address_value,
        metavar="URL",
        help="a Prometheus with kube-state-metrics, whose nodes that left say when their hosts ended",
    )
    skip_unreadable: bool = switch(
        "--skip-unreadable", "leave out files that cannot be read, and name them (default: refuse)", HOSTS
    )
    overheads: SpreadRule | str | None = flag(
        "--overheads",
        group=HOSTS,
        type=_rule_value,
        metavar="RULE",
        help="with --from, how overheads `per: fleet` of --config.file are spread: gpu-hours, dollars, equal "
        "(over products), PRODUCT=SHARE,... or none (default gpu-hours)",
    )

    @property
    def text(self) -> str:
        """All sources, for messages."""
        return ", ".join(map(str, self.sources))

    @property
    def paths(self) -> tuple[Path, ...]:
        """Folders and files."""
        return tuple(source for source in self.sources if isinstance(source, Path))

    @property
    def addresses(self) -> tuple[str, ...]:
        """Addresses of servers."""
        return tuple(source for source in self.sources if isinstance(source, str))

    def read(
        self,
        period: Period,
        zone: ZoneInfo,
        now: Instant,
        days: Collection[str] = (),
        *,
        finer: bool = True,
        on_month: Callable[[HostMonth], None] | None = None,
        on_header: Callable[[HostMonth], None] | None = None,
    ) -> FleetMonth:
        """The period of all hosts.

        Args:
            period: the month or other period.
            zone: the time zone of ledgers that do not name theirs.
            now: the present.
            days: families of history that are needed by day.
            finer: read rows finer than product and team from addresses as well, which takes longer.
            on_month: takes the month of each host that counts, with its days: of one host at a time.
            on_header: takes the month or header of every source first, also of those that do not count.

        Raises:
            VerbFailedError: a source cannot be read, or the months cannot be added up.
        """
        garbage.settle()
        folder = LedgerFolder(self.paths, period, zone.key, skip=self.skip_unreadable, days=days)

        def load(header: HostMonth) -> HostMonth:
            month = folder.load(header) if header.origin == "ledger" else header
            if on_month is None:
                return month
            on_month(month)
            return replace(month, record=replace(month.record, days={}))

        with failing(FleetError):
            headers = self._headers(folder, period, zone, now, finer=finer)
            if on_header is not None:
                for header in headers:
                    on_header(header)
            fleet = combine(headers, now, mixed_zones=self.mixed_zones, load=load, unreadable=folder.findings)
            ends: dict[str, KnownEnd] = {}
            if self.nodes_from is not None:
                start, end = period.bounds(zone)
                with self.client(self.nodes_from) as client:
                    scrapes = node_scrapes(client, start, min(end + NANOSECONDS_PER_HOUR, now))
                ends.update(ends_by_nodes(headers, node_ends(scrapes)))
            # An end that a person gave replaces that of the node.
            return with_ends(fleet, ends | given_ends(self.ended, headers, zone))

    def _headers(
        self, folder: LedgerFolder, period: Period, zone: ZoneInfo, now: Instant, *, finer: bool
    ) -> list[HostMonth]:
        """Headers of ledgers and statements, and months of addresses."""
        headers: list[HostMonth] = []
        if self.paths:
            with ProgressBar("reading ledgers") as bar:
                headers = folder.headers(bar.show)
        if self.addresses and period.months != (period.name,):
            raise VerbFailedError(
                f"{self.addresses[0]} has whole months only, not {period.name}: name one with --month, or "
                "give ledgers"
            )
        zones = tuple(dict.fromkeys([zone.key, *(header.zone for header in headers)]))
        for address in self.addresses:
            with self.client(address) as client, ProgressBar(f"reading {client.name}") as bar:
                note_unencrypted(client)
                headers += host_months(client, period.name, zones, now, bar.show_part, finer=finer)
        return headers

    def read_local(
        self,
        period_in: Callable[[ZoneInfo], Period],
        zone: ZoneInfo,
        now: Instant,
        days: Collection[str] = (),
        *,
        on_month: Callable[[HostMonth], None] | None = None,
    ) -> FleetMonth:
        """As `read`, with the period in the hosts' time zone, which their ledgers name.

        `zone` is that of this machine's configuration. Around midnight it may have another day and month than
        the hosts. Then all is read again, and `on_month` is called again.
        """
        period = period_in(zone)
        fleet = self.read(period, zone, now, days, on_month=on_month)
        local = period_in(fleet.zone)
        return fleet if local == period else self.read(local, zone, now, days, on_month=on_month)

    @contextmanager
    def client(self, address: str) -> Iterator[PrometheusClient]:
        """A client of a server, whose errors are those of a verb.

        Raises:
            VerbFailedError: it has no whole answer.
        """
        config = load_http_client(self.http_config_file) if self.http_config_file else HttpClientConfig()
        timeout = self.timeout or TIMEOUT
        with failing(PrometheusError), PrometheusClient(address, config, SystemClock(), timeout) as client:
            yield client

    def provider_ids(self, period: Period, zone: ZoneInfo, now: Instant) -> ProviderIds:
        """The providers' ids of nodes, from all addresses.

        Raises:
            VerbFailedError: an address has no whole answer.
        """
        start, end = period.bounds(zone)
        ids: dict[NodeName, frozenset[str]] = {}
        for address in self.addresses:
            with self.client(address) as client:
                for node, ids_of_node in provider_ids(client, start, min(end, now)).items():
                    ids[node] = ids.get(node, frozenset()) | ids_of_node
        return ids

    def fleet_overheads(
        self, config: Config, period: Period, zone: ZoneInfo, now: Instant
    ) -> FleetOverheads | None:
        """Overheads of the fleet in a period, up to now; `None` to leave them out.

        Raises:
            VerbFailedError: a rule is given, and the configuration has no such overhead.
        """
        if isinstance(self.overheads, str):
            return None
        if not any(overhead.per == "fleet" for overhead in config.overheads):
            if self.overheads is not None:
                raise VerbFailedError(
                    "--overheads: the configuration has no overhead `per: fleet`: give it with --config.file"
                )
            return None
        amounts = fleet_amounts(config.overheads, period, zone, now)
        return FleetOverheads(amounts, self.overheads or BY_GPU_HOURS)


def several_hosts(*, addresses: bool = True, overheads: bool = False, ledgers_only: str = "") -> Any:
    """The field of the hosts of --from in a verb's options, `None` for the daemon's ledger.

    `ledgers_only` is what a Prometheus lacks for the verb.
    """
    taken = {"http_config_file": addresses, "timeout": addresses, "overheads": overheads}
    left_out = [name for name, is_taken in taken.items() if not is_taken]

    def build(parsed: argparse.Namespace) -> FleetSource | None:
        source = chosen(FleetSource, parsed, left_out)
        if not source.sources:
            for each, option in option_fields(FleetSource, left_out):
                if isinstance(option, Flag) and getattr(source, each.name):
                    raise FlagError(f"{option.names[0]} needs --from")
            return None
        if parsed.ledger_path is not None:
            raise FlagError("--from takes the place of --ledger.path: give one of them")
        if ledgers_only and source.addresses:
            raise FlagError(f"--from needs ledgers here: a Prometheus has no {ledgers_only}")
        return source

    return nested(FleetSource, build, left_out)


def note_unencrypted(client: PrometheusClient) -> None:
    """Say on standard error that credentials can be read on their way."""
    if client.sends_secrets_in_the_clear:
        write_colored(f"note: credentials go to {client.name} unencrypted\n", sys.stderr)


def note_missing(fleet: FleetMonth) -> None:
    """Say on standard error what is missing of a fleet."""
    write_colored("".join(f"{line}\n" for line in section(fleet)), sys.stderr)


@contextmanager
def open_ledger(host: HostMonth, verb: str) -> Iterator[LedgerReader]:
    """A host's ledger, of which a verb needs the hours.

    Raises:
        VerbFailedError: there is none, or there are several that went on apart.
    """
    if host.path is None:
        raise VerbFailedError(f"{host.location} is a statement, without hours: {verb} needs the ledger")
    if host.forks:
        files = ", ".join([host.location, *(fork.location for fork in host.forks)])
        raise VerbFailedError(f"{files} are one ledger that went on apart: {verb} needs one of them alone")
    with LedgerReader.open(host.path) as ledger:
        yield ledger
