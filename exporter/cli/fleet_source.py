"""The flags of a fleet's sources, and the months that they give."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from exporter.cli.ledger_session import NoAnswerError
from exporter.cli.terminal import ProgressBar, write_colored
from exporter.clock import Clock, SystemClock
from exporter.units import NANOSECONDS_PER_SECOND, Instant, Nanoseconds

if TYPE_CHECKING:
    from exporter.finance.fleet.record import FleetMonth, HostMonth
    from exporter.tariff.period import Period


TIMEOUT: Final = "60s"
TIMEOUT_SECONDS_MAX: Final = 3600

Source = Path | str
"""A folder or file, or an address."""


def _source(text: str) -> Source:
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


def _timeout(text: str) -> Nanoseconds:
    match = re.fullmatch(r"(\d{1,4})(s|m)", text, re.ASCII)
    seconds = int(match[1]) * (60 if match[2] == "m" else 1) if match else 0
    if not 1 <= seconds <= TIMEOUT_SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no timeout: write one from 1s to 60m")
    return seconds * NANOSECONDS_PER_SECOND


def add(verb: argparse.ArgumentParser) -> None:
    """Add the flags."""
    group = verb.add_argument_group("several hosts")
    group.add_argument(
        "--from",
        dest="sources",
        action="append",
        type=_source,
        metavar="SOURCE",
        help="read a folder of ledgers, a ledger file, or the address of a Prometheus, Thanos, Mimir or "
        "VictoriaMetrics, in place of the daemon's ledger; repeatable",
    )
    group.add_argument(
        "--http.config.file",
        dest="http_config_file",
        type=Path,
        metavar="FILE",
        help="credentials, TLS and headers for addresses, in the format of promtool's flag",
    )
    group.add_argument(
        "--timeout",
        type=_timeout,
        default=None,
        metavar="TIME",
        help=f"of one query to an address, like 30s or 5m (default {TIMEOUT})",
    )
    group.add_argument(
        "--mixed-zones",
        action="store_true",
        help="add up hosts of different time zones (default: refuse and list them)",
    )
    group.add_argument(
        "--skip-unreadable",
        action="store_true",
        help="leave out files that cannot be read, and name them (default: refuse)",
    )


@dataclass(frozen=True, slots=True)
class FleetSource:
    """Where the months of several hosts are read from, and what is allowed of them."""

    sources: Sequence[Source]
    mixed_zones: bool = False
    skip_unreadable: bool = False
    http_config_file: Path | None = None
    timeout: Nanoseconds | None = None

    @classmethod
    def of(cls, options: argparse.Namespace) -> "FleetSource | None":
        """The source that flags name; `None` for the daemon's ledger. Exits on flags that clash."""
        if not options.sources:
            for flag, name in (
                ("--mixed-zones", "mixed_zones"),
                ("--skip-unreadable", "skip_unreadable"),
                ("--http.config.file", "http_config_file"),
                ("--timeout", "timeout"),
            ):
                if getattr(options, name):
                    options.parser.error(f"{flag} needs --from")
            return None
        if options.ledger_path is not None:
            options.parser.error("--from takes the place of --ledger.path: give one of them")
        return cls(
            tuple(options.sources),
            options.mixed_zones,
            options.skip_unreadable,
            options.http_config_file,
            options.timeout,
        )

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
        period: "Period",
        zone: ZoneInfo,
        now: Instant,
        *,
        finer: bool = True,
        each: "Callable[[HostMonth], None] | None" = None,
    ) -> "FleetMonth":
        """The period of all hosts.

        Args:
            period: the month or other period.
            zone: the time zone of ledgers that do not name theirs.
            now: the present.
            finer: read rows finer than product and team from addresses as well, which takes longer.
            each: is called with the whole month of each host that counts.

        Raises:
            NoAnswerError: a source cannot be read, or the months cannot be added up.
        """
        from exporter.finance.fleet.folder import FolderError, LedgerFolder  # noqa: PLC0415 - for these flags
        from exporter.finance.fleet.record import FleetError, HostMonth, combine  # noqa: PLC0415

        folder = LedgerFolder(self.paths, period, zone.key, skip=self.skip_unreadable)

        def load(header: HostMonth) -> HostMonth:
            month = folder.load(header) if header.origin == "ledger" else header
            if each is not None:
                each(month)
            return month

        try:
            headers: list[HostMonth] = []
            if self.paths:
                with ProgressBar("reading ledgers") as bar:
                    headers = folder.headers(bar.show)
            zones = dict.fromkeys([zone.key, *(header.zone for header in headers)])
            for address in self.addresses:
                headers += self._queried(address, period, tuple(zones), now, finer=finer)
            while True:
                try:
                    return combine(
                        headers,
                        now,
                        mixed_zones=self.mixed_zones,
                        load=load,
                        unreadable=[each.finding for each in folder.unreadable],
                    )
                except FolderError:
                    # A file that was read before cannot be read again. Without it, a copy may count.
                    if not self.skip_unreadable:
                        raise
                    failed = {each.location for each in folder.unreadable}
                    headers = [header for header in headers if header.location not in failed]
        except FleetError as error:
            raise NoAnswerError(str(error)) from error

    def _queried(
        self, address: str, period: "Period", zones: Sequence[str], now: Instant, *, finer: bool
    ) -> "list[HostMonth]":
        """Months of the ledgers that a server knows.

        Raises:
            NoAnswerError: it has no whole answer.
        """
        from exporter.config.http_client import HttpClientConfig, load_http_client  # noqa: PLC0415
        from exporter.finance.prometheus.client import PrometheusClient, PrometheusError  # noqa: PLC0415
        from exporter.finance.prometheus.month import host_months  # noqa: PLC0415

        if period.months != (period.name,):
            raise NoAnswerError(
                f"{address} has whole months only, not {period.name}: name one with --month, or give ledgers"
            )
        config = load_http_client(self.http_config_file) if self.http_config_file else HttpClientConfig()
        clock: Clock = SystemClock()
        timeout = self.timeout or _timeout(TIMEOUT)
        try:
            with PrometheusClient(address, config, clock, timeout) as client:
                if client.sends_secrets_in_the_clear:
                    write_colored(f"note: credentials go to {client.name} unencrypted\n", sys.stderr)
                with ProgressBar(f"reading {client.name}") as bar:
                    return host_months(
                        client,
                        period.name,
                        zones,
                        now,
                        lambda _what, part: bar.show(int(part * 100), 100),
                        finer=finer,
                    )
        except PrometheusError as error:
            raise NoAnswerError(str(error)) from error
