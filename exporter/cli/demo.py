"""The demo's wiring: the simulated host in place of the sources, everything behind them as it is."""

import logging
import signal
import sys
import threading
from pathlib import Path

from exporter.cli import status
from exporter.cli.build import build
from exporter.clock import SystemClock
from exporter.config import ConfigError
from exporter.demo.story import invitation, replay, stage
from exporter.exposition.access import Access
from exporter.exposition.address import ListenError
from exporter.exposition.server import WebServer
from exporter.sources.footprint import Footprint

log = logging.getLogger(__name__)


def demo(listen_address: str, web_config_file: Path | None = None) -> int:
    """Serve the simulated host until stopped; returns the exit status."""
    clock = SystemClock()
    access = Access(web_config_file, clock)
    try:
        access.load()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return status.CONFIGURATION
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    def published() -> None:
        web.prepare()

    set_up = stage(clock, Footprint(), build(), published)
    web = WebServer(listen_address, set_up.sampler.current, set_up.clock, None, build(), access=access)
    try:
        web.bind()  # a port that is taken is told at once; who asks early waits for the first live tick
    except ListenError as error:
        log.error("cannot listen", extra={"problem": str(error)})  # noqa: TRY400 - a message, no trace
        return status.FAILED
    logging.disable(logging.WARNING)  # the restart that is replayed is told below, not as news
    replay(set_up)
    logging.disable(logging.NOTSET)
    report = set_up.sampler.tick()
    web.start()
    sys.stdout.write(invitation(web.url.rstrip("/"), report))
    sys.stdout.flush()
    set_up.sampler.run(stop)
    web.close()
    set_up.ledger.close()
    return status.OK
