"""The daemon: wires sources, books, sampler and web server together, and stops them in order."""

import ctypes
import hashlib
import logging
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.cli import status
from exporter.cli.build import build, host_name
from exporter.clock import Clock, SystemClock
from exporter.config import ConfigError, load
from exporter.config.settings import Config
from exporter.cost.policy import Terms
from exporter.exposition.server import WebServer
from exporter.ledger.ledger import Ledger, LedgerError
from exporter.readings import MustRestartError, ServerKey
from exporter.report import ConfigRow
from exporter.sampler.answer import Setting
from exporter.sampler.sampler import Endpoint, Plan, Sampler, close
from exporter.sources.footprint import Footprint
from exporter.sources.gather import Gatherer
from exporter.sources.nvml import NvmlSource
from exporter.sources.server import ServerSource, lean_client
from exporter.tariff.tariff import Tariff
from exporter.units import NANOSECONDS_PER_SECOND, Instant, Nanoseconds

log = logging.getLogger(__name__)

LONGEST_READ: Final[Nanoseconds] = 5 * NANOSECONDS_PER_SECOND
GAP_INTERVALS: Final = 3
SHORTEST_GAP: Final[Nanoseconds] = 60 * NANOSECONDS_PER_SECOND
"""A tick longer than three intervals and a minute was not observed."""

M_ARENA_MAX: Final = -8
"""mallopt(3): the number of arenas that threads spread their allocations over."""


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line says; a flag wins over the file."""

    config_file: Path | None
    listen_address: str
    ledger_path: Path | None


def terms_of(config: Config, host: str) -> Terms:
    """What a configuration says to the cost model."""
    return Terms(
        tariff=Tariff(host, config.hardware, config.overheads),
        zone=config.timezone,
        ownership=config.ownership,
        split=config.split,
        limits=config.limits,
        gap_after=max(GAP_INTERVALS * config.interval, SHORTEST_GAP),
    )


def serve(flags: Flags) -> int:
    """Run the daemon until it is told to stop; returns the exit status."""
    _one_arena()
    clock = SystemClock()
    try:
        config = load(flags.config_file)
        ledger = Ledger.open(flags.ledger_path or config.ledger_path, clock)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return status.CONFIGURATION
    except LedgerError as error:
        log.error("cannot open the ledger", extra={"problem": str(error)})  # noqa: TRY400 - a message, no trace
        return status.FAILED
    if not ledger.persistent:
        log.warning(
            "the ledger is in memory: totals are lost at a restart", extra={"problem": ledger.problem}
        )
    try:
        return _Daemon(flags, config, ledger, clock).run()
    finally:
        ledger.close()


class _Daemon:
    """One run of the daemon."""

    def __init__(self, flags: Flags, config: Config, ledger: Ledger, clock: Clock) -> None:
        self._flags = flags
        self._clock = clock
        self._stop = threading.Event()
        self._client = lean_client()
        self._nvml = NvmlSource(clock)
        self._gatherer = Gatherer(clock, min(config.interval, LONGEST_READ))
        self._endpoints: tuple[ServerSource, ...] = ()
        self._loaded = clock.wall()
        plan = self._plan(config, succeeded=True)
        self._sampler = Sampler(clock, self._gatherer, self._nvml, ledger, Footprint(), plan)
        self._web = WebServer(flags.listen_address, self._sampler.current, clock, self.reload, build())

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        signal.signal(signal.SIGHUP, lambda *_: threading.Thread(target=self._reload_quietly).start())
        try:
            self._web.start()
        except OSError as error:
            log.error("cannot listen", extra={"problem": str(error)})  # noqa: TRY400 - a message, no trace
            return status.FAILED
        try:
            self._sampler.run(self._stop)
        except MustRestartError as error:
            log.error("must be restarted", extra={"problem": str(error)})  # noqa: TRY400 - a message, no trace
            return status.FAILED
        finally:
            self._web.close()
            self._gatherer.close()
            close((self._nvml, *self._endpoints))
        log.info("stopped")
        return status.OK

    def reload(self) -> None:
        """Swap the configuration whole, or keep the old one.

        Raises:
            ConfigError: the file is not a configuration; the message says where.
        """
        try:
            config = load(self._flags.config_file)
        except ConfigError:
            self._sampler.plan(self._replan_failed())
            raise
        self._loaded = self._clock.wall()
        self._sampler.plan(self._plan(config, succeeded=True))
        log.info("configuration reloaded", extra={"hash": config.hash})

    def _reload_quietly(self) -> None:
        try:
            self.reload()
        except ConfigError as error:
            log.error("configuration not reloaded; the old one stays", extra={"problem": str(error)})  # noqa: TRY400

    def _plan(self, config: Config, *, succeeded: bool) -> Plan:
        self._config = config
        self._endpoints = tuple(self._endpoint(config, index) for index in range(len(config.servers)))
        return Plan(self._setting(config, self._loaded, succeeded=succeeded), self._endpoints)

    def _replan_failed(self) -> Plan:
        return Plan(self._setting(self._config, self._loaded, succeeded=False), self._endpoints)

    def _setting(self, config: Config, loaded: Instant, *, succeeded: bool) -> Setting:
        return Setting(
            config=config,
            terms=terms_of(config, host_name()),
            build=build(),
            config_row=ConfigRow(config.hash or hashlib.sha256(b"").hexdigest()[:16], succeeded, loaded),
        )

    def _endpoint(self, config: Config, index: int) -> ServerSource:
        server = config.servers[index]
        key = ServerKey(server.namespace, server.name)
        return ServerSource(
            key,
            server.url,
            self._client,
            self._clock,
            engine=server.engine,
            bearer_token_file=server.bearer_token_file,
            ca_file=server.ca_file,
            body_bytes=config.limits.body_bytes,
            busy=lambda: self._sampler.was_busy(key),
        )


def endpoints_of(config: Config, clock: Clock) -> tuple[Endpoint, ...]:
    """The configured endpoints, to be read outside the daemon."""
    client = lean_client()
    return tuple(
        ServerSource(
            ServerKey(server.namespace, server.name),
            server.url,
            client,
            clock,
            engine=server.engine,
            bearer_token_file=server.bearer_token_file,
            ca_file=server.ca_file,
            body_bytes=config.limits.body_bytes,
        )
        for server in config.servers
    )


def _one_arena() -> None:
    """Keep glibc to one malloc arena: with a dozen threads, an arena each is memory that never comes back."""
    try:
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
    except (OSError, AttributeError):
        log.debug("this C library has no mallopt")
