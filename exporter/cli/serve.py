"""The daemon: wires sources, ledger, sampler and web server together, and stops them in order."""

import argparse
import logging
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from exporter import garbage, malloc
from exporter.cli import flags, status
from exporter.cli.build import build, host_name, lists_all_gpus
from exporter.cli.terminal import complain
from exporter.cli.verb import DAEMON_EXITS, verb
from exporter.clock import Clock, SystemClock
from exporter.config import Config, ConfigError, load
from exporter.config.load import contents
from exporter.config.settings import cost_policy
from exporter.ledger.boot import BootClaim
from exporter.ledger.errors import LedgerError, LedgerLockedError
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.metrics.process import ProcessMetrics
from exporter.readings import MustRestartError, ServerKey
from exporter.report import ConfigRow, Report
from exporter.reports.correction_proposals import sentences
from exporter.sampler.frame_reader import FrameReader
from exporter.sampler.report_builder import ReportContext
from exporter.sampler.sampler import Sampler, SamplerPlan
from exporter.sampler.savings_review import SavingsReview
from exporter.sources import machine
from exporter.sources.discovery import discovery
from exporter.sources.endpoints import EndpointSources, GatewaySources, configured_targets
from exporter.sources.gather import Gatherer
from exporter.sources.gpus import gpu_sources
from exporter.sources.location import LocationPoller
from exporter.sources.pci import display_devices
from exporter.threads import start
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds
from exporter.web.access import Access
from exporter.web.listen_address import ListenError
from exporter.web.server import WebServer

log = logging.getLogger(__name__)


ALIKE: Final = 2
"""Looks in a row that read one content, until it is reloaded."""


class Watch:
    """Reloads a configuration file in a thread, once for each new content; `look` compares.

    It goes by content alone. The kubelet swaps a link to update a ConfigMap, which gives the file another
    inode and time, and swaps it as well where nothing has changed.
    A content counts once two looks in a row read it. The first part of a file that is being written may be
    valid: its cut price would be charged for all time that has none yet.
    Without a file, or without `reload`, it does nothing.
    """

    def __init__(self, path: Path | None, reload: Callable[[], None] | None) -> None:
        self._path = path
        self._reload = reload
        self._last = ""
        self._looks = 0

    def look(self, in_force: str) -> None:
        """Compare with the hash of the configuration in force; that is empty after a reload that failed.

        A file that cannot be read is no change: an editor that replaces it may be at work.
        """
        if self._path is None or self._reload is None:
            return
        try:
            now = sha256(contents(self._path)).hexdigest()
        except ConfigError:
            return
        self._looks = self._looks + 1 if now == self._last else 1
        self._last = now
        if self._looks == ALIKE and now != in_force:
            start(self._reload, "reload")


READ_MAX: Final[Nanoseconds] = 5 * NANOSECONDS_PER_SECOND
"""Longest time that a tick waits for its sources."""


@dataclass(frozen=True, slots=True)
class ServeFlags:
    """Flags of the daemon; a flag wins over the file."""

    config_file: Path | None = flags.file_flag(
        "--config.file", "configuration in YAML; without one, prices are estimates of the bundled catalogue"
    )
    listen_address: str = flags.listen_flag(flags.DEFAULT_ADDRESS)
    ledger_path: Path | None = flags.ledger_flag(
        "file of the ledger, an absolute path; its folder is created if missing"
    )
    web_config_file: Path | None = flags.web_config_flag()
    lifecycle: bool | None = flags.flag(
        "--web.enable-lifecycle",
        action=argparse.BooleanOptionalAction,
        help="enable POST /-/reload (default: on loopback addresses and where every client authenticates; "
        "SIGHUP always works)",
    )
    """`--no-web.enable-lifecycle` forbids reloads over HTTP."""
    allowed_hosts: Sequence[str] = flags.allowed_hosts_flag()
    watch: bool = flags.switch(
        "--config.watch",
        "reload the configuration when its file changes, for example in a mounted ConfigMap",
    )


@verb(
    "serve",
    "run the daemon (the default)",
    examples=(
        ("--config.file=/etc/ice.yaml", "meter this host, and serve /metrics on port 9844"),
        ("--web.listen-address=127.0.0.1:9844 --log.format=json", "for this machine alone, logs as JSON"),
    ),
    exits=DAEMON_EXITS,
    options=ServeFlags,
)
def serve(options: ServeFlags) -> int:
    """Run the daemon until a signal stops it; returns the exit status."""
    malloc.make_lean()
    garbage.settle()
    clock = SystemClock()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    access = Access(options.web_config_file, clock)
    try:
        config = load(options.config_file)
        access.load()
    except ConfigError as error:
        complain(error)
        return status.CONFIGURATION
    if options.config_file is not None and config.hash == sha256(b"").hexdigest():
        effect = "every key has its default"
        log.warning("configuration file empty", extra={"path": str(config.path), "effect": effect})
    return _Daemon(options, config, clock, access).run(stop)


class _Daemon:
    """One run of the daemon. It listens first: one that cannot leaves no ledger behind."""

    def __init__(
        self, options: ServeFlags, config: Config, clock: Clock, access: Access | None = None
    ) -> None:
        self._clock = clock
        self._options = options
        self._config = config
        self._loaded = clock.wall()
        self._succeeded = True
        self._reloading = threading.Lock()
        self._watch = Watch(options.config_file, self._reload_quietly if options.watch else None)

        # Sources, and what reads them at once.
        self._gatherer = Gatherer(clock, min(config.interval, READ_MAX))
        self._gpu_sources = gpu_sources(clock)
        self._discovery = discovery(clock, config, self._was_busy)
        self._endpoints = EndpointSources(clock, self._was_busy)
        self._gateways = GatewaySources(clock)
        self._location = LocationPoller(clock, config, self._note_location)

        # The ledger and its sampler: `_begin` makes them once the daemon listens.
        self._ledger: Ledger | None = None
        self._ledger_path = options.ledger_path or config.ledger_path
        self._sampler: Sampler | None = None

        # Work after each tick, on its report.
        self._savings = SavingsReview(clock, self._written_ledger)
        self._garbage = garbage.GarbageCollection()

        # The web server, which answers from the report.
        self._access = access or Access(None, clock)
        self._web = WebServer(
            options.listen_address,
            self._current,
            clock,
            self.reload,
            build(),
            access=self._access,
            lifecycle=options.lifecycle,
            allowed_hosts=(*options.allowed_hosts, host_name()),
        )

    def run(self, stop: threading.Event) -> int:
        """Serve and tick until stopped; returns the exit status."""
        self._gatherer.stop = stop
        signal.signal(signal.SIGHUP, lambda *_: self.hang_up())
        try:
            self._web.start()
        except ListenError as error:
            _log_error("cannot listen", error)
            return status.FAILED
        try:
            with ExitStack() as closing:  # closes each even if another raises, last first
                closing.callback(self._close_ledger)
                for part in (self._discovery, self._gateways, self._endpoints):
                    closing.callback(part.close)
                for source in self._gpu_sources:
                    closing.callback(source.close)
                closing.callback(self._gatherer.close)
                closing.callback(self._location.close)
                closing.callback(self._web.close)
                with self._reloading:
                    self._location.start()  # during the wait for the ledger; no tick waits for it
                self._begin(stop).run(stop)
        except LedgerError as error:
            if not (stop.is_set() and isinstance(error, LedgerLockedError)):  # the wait for it was ended
                _log_error("cannot open the ledger", error)
                return status.FAILED
        except MustRestartError as error:
            _log_error("exiting", error)
            return status.FAILED
        log.info("stopped")
        return status.OK

    def hang_up(self) -> None:
        """Reload in a thread: the handler of a signal must not raise into the tick under way."""
        try:
            start(self._reload_quietly, "reload")
        except RuntimeError as error:
            _log_error("configuration reload failed; keeping the previous one", error)

    def _close_ledger(self) -> None:
        if self._ledger is not None:
            self._ledger.close()

    def _begin(self, stop: threading.Event) -> Sampler:
        """Open the ledger, and make the sampler.

        Raises:
            LedgerError: the ledger cannot be used as it is.
        """
        boot = BootClaim(self._clock.boot(), self._clock.elapsed())
        self._ledger_path = self._options.ledger_path or self._config.ledger_path
        ledger = Ledger.open(self._ledger_path, self._clock, stop, boot=boot)
        self._ledger = ledger
        ledger.host = host_name()
        ledger.ends = self._location.ends
        if ledger.problem:  # money is missing, or will be at the next start
            log.error("ledger", extra={"problem": ledger.problem})
        for problem in filter(None, (ledger.fleeting, *ledger.dropped)):
            log.warning("ledger", extra={"problem": problem})
        with self._reloading:  # the wait for the ledger may have seen a reload
            self._sampler = Sampler(
                self._clock,
                FrameReader(
                    self._clock,
                    self._gatherer,
                    self._gpu_sources,
                    discovery=self._discovery,
                    displays=display_devices,
                ),
                ledger=ledger,
                process=ProcessMetrics(),
                plan=self._plan(succeeded=self._succeeded),
                on_publish=self._prepare,
                machine=machine.identity(),
            )
            return self._sampler

    def _current(self) -> Report | None:
        return None if self._sampler is None else self._sampler.current()

    def _prepare(self) -> None:
        """After each tick: render ahead, review savings when due, check the configuration file, tidy up."""
        self._web.prepare()
        report = self._current()
        if report is not None:
            self._savings.look(report, self._config)
        self._watch.look(self._config.hash if self._succeeded else "")
        self._garbage.note_tick()

    def reload(self) -> str:
        """Swap the configuration whole, or keep the old one; either is logged.

        Returns:
            What the new prices mean for posted money, for the client that asked; often empty.

        Raises:
            ConfigError: the file is not a configuration, or was emptied; the message says where.
        """
        with self._reloading:
            try:
                config = load(self._options.config_file, in_force=self._config)
            except ConfigError as error:
                _log_error("configuration reload failed; keeping the previous one", error)
                self._go_by(succeeded=False)
                raise
            if config.ledger_path != self._config.ledger_path:
                log.warning("ledger.path changed; restart to apply")
            corrections = self._price_corrections(config)
            before = self._config, self._loaded
            try:
                self._config, self._loaded = config, self._clock.wall()
                self._location.go_by(config)
                self._go_by(succeeded=True)
            except BaseException:
                (self._config, self._loaded), self._succeeded = before, False
                raise
            self._gatherer.deadline = min(config.interval, READ_MAX)
            log.info("configuration reloaded", extra={"hash": config.hash})
            for line in corrections:
                log.warning("price corrections available", extra={"told": line, "change": line})
            return "\n".join(corrections)

    def _price_corrections(self, config: Config) -> tuple[str, ...]:
        """What the new prices mean for posted money, in lines; none if no price of posted money changes.

        Called before the new prices are in force, so that nothing that they charge late is in it. Without a
        ledger the lines name no amounts. One that cannot be read costs the lines about it, not the reload.
        """
        before = self._config
        same_amounts = config.hardware == before.hardware and config.overheads == before.overheads
        if same_amounts and config.retired == before.retired:
            return ()
        host, report, location = host_name(), self._current(), self._location.location
        basis = None if report is None else report.basis
        predecessors = () if basis is None else basis.state.predecessors
        old, new = (
            replace(cost_policy(each, host, location).tariff, predecessors=predecessors)
            for each in (before, config)
        )
        if old == new:
            return ()
        gpus = () if report is None else tuple(row.gpu for row in report.gpus)
        now, zone, written = self._clock.wall(), config.timezone, self._written_ledger()
        files = flags.of_files(self._options.config_file, written or self._ledger_path)
        if written is not None:
            try:
                with LedgerReader.open(written) as reader:
                    last = reader.state().wall
                    posted_until = now if last is None else min(last, now)
                    return sentences(old, new, reader, gpus, zone, posted_until, files)
            except LedgerError as error:
                log.warning("price corrections unavailable", extra={"problem": str(error)})
        return sentences(old, new, None, gpus, zone, now, files)

    def _written_ledger(self) -> Path | None:
        """The file of the ledger; `None` while there is none, or one in memory."""
        ledger = self._ledger
        if ledger is None or not ledger.persistent:
            return None
        return ledger.displaced or self._ledger_path

    def _reload_quietly(self) -> None:
        with suppress(ConfigError):  # it is logged
            self.reload()

    def _note_location(self) -> None:
        """Price by the location that the cloud or the cluster has answered, or failed to."""
        with self._reloading:
            self._go_by(succeeded=self._succeeded)

    def _go_by(self, *, succeeded: bool) -> None:
        self._succeeded = succeeded
        if self._sampler is not None:
            self._sampler.set_plan(self._plan(succeeded=succeeded))

    def _plan(self, *, succeeded: bool) -> SamplerPlan:
        context = ReportContext(
            config=self._config,
            policy=cost_policy(self._config, host_name(), self._location.location, all_gpus=lists_all_gpus()),
            build=build(),
            config_row=ConfigRow(self._config.hash, succeeded, self._loaded),
            web_succeeded=lambda: self._access.succeeded,
            left_out=lambda: self._web.left_out,
            web_refused=lambda: self._web.refused,
            savings=self._savings.savings,
        )
        body_bytes = self._config.limits.body_bytes
        endpoints = self._endpoints.of(
            configured_targets(self._config.servers), body_bytes, described=self._config.engines
        )
        gateways = self._gateways.of(self._config.divides(), body_bytes)
        return SamplerPlan(context, endpoints, self._location.rows, gateways)

    def _was_busy(self, key: ServerKey) -> bool:
        return self._sampler is None or self._sampler.was_busy(key)


def _log_error(event: str, error: Exception) -> None:
    """Log an error whose message needs no trace."""
    log.error(event, extra={"problem": str(error)})
