"""`demo`: the simulated host in place of the sources, everything behind them as in `serve`."""

import contextlib
import logging
import os
import re
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from exporter.cli import flags, status
from exporter.cli.build import build, program_call
from exporter.cli.flags import flag
from exporter.cli.logs import LogFormatter
from exporter.cli.terminal import complain
from exporter.cli.verb import DAEMON_EXITS, PROGRAM, verb
from exporter.clock import Clock, SystemClock
from exporter.config import ConfigError
from exporter.demo.banner import LOG, Site, banner, prometheus_configuration
from exporter.demo.daemon import DemoDaemon, replay
from exporter.metrics.process import ProcessMetrics
from exporter.web.access import Access
from exporter.web.listen_address import ListenError, parse_address
from exporter.web.server import WebServer

log = logging.getLogger(__name__)

DEMO_ADDRESS: Final = "127.0.0.1:9844"
"""Loopback: the dollars are invented."""

PREFIX: Final = f"{PROGRAM}-demo-"

CONTAINER_ID: Final = re.compile(
    r"/([0-9a-f]{12})[0-9a-f]{52}/(?:userdata/)?(?:hostname|hosts|resolv\.conf) "
)
"""Docker and podman mount these files of a container from a folder that its id names."""


@dataclass(frozen=True, slots=True)
class DemoFlags:
    """Where the demo is served, and its simulated days."""

    listen_address: str = flags.listen_flag(DEMO_ADDRESS)
    web_config_file: Path | None = flags.web_config_flag()
    allowed_hosts: Sequence[str] = flags.allowed_hosts_flag()
    seed: int = flag(
        "--seed", default=0, type=int, metavar="NUMBER", help="seed of the simulated days (default 0)"
    )
    print_prometheus_config: bool = flags.switch(
        "--print-prometheus-config", "print a Prometheus scrape configuration for the demo and exit"
    )


@verb(
    "demo",
    "run on a simulated host of 8 GPUs: no GPU, no configuration",
    examples=(
        ("", "a host that has been metered for five weeks, on port 9844 of this machine alone"),
        ("--web.listen-address=:8080 --seed=7", "on another port of every interface, with other days"),
        ("--print-prometheus-config", "how Prometheus scrapes it"),
    ),
    exits=replace(DAEMON_EXITS, failed="it cannot listen, or has no folder for its ledger"),
    options=DemoFlags,
)
def demo(options: DemoFlags) -> int:
    """Serve the simulated host until stopped, or print how it is scraped; returns the exit status."""
    if options.print_prometheus_config:
        sys.stdout.write(prometheus_configuration(options.listen_address))
        return status.OK
    clock = SystemClock()
    access = Access(options.web_config_file, clock)
    try:
        access.load()
    except ConfigError as error:
        complain(error)
        return status.CONFIGURATION
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    except OSError as error:
        complain(f"no folder for the demo's ledger: {error.strerror}; set TMPDIR to one that can be written")
        return status.FAILED
    try:
        return _serve(options, folder, clock, access, stop)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _serve(options: DemoFlags, folder: Path, clock: Clock, access: Access, stop: threading.Event) -> int:
    """Replay the month, then serve and tick, with all files in a folder; returns the exit status."""
    live = threading.Event()

    def published() -> None:
        if live.is_set():  # no request is answered before
            web.prepare()
            daemon.review()

    daemon = DemoDaemon(clock, ProcessMetrics(), build(), published, folder=folder, seed=options.seed)
    web = WebServer(
        options.listen_address,
        daemon.current,
        daemon.clock,
        None,
        build(),
        access=access,
        allowed_hosts=options.allowed_hosts,
    )
    try:
        web.bind()  # a port in use fails at once; early requests wait for the first live tick
    except ListenError as error:
        log.error("cannot listen", extra={"problem": str(error)})  # noqa: TRY400 - a message, no trace
        daemon.close()
        return status.FAILED
    try:
        with logged_to(folder / LOG, daemon.clock):
            replay(daemon, stop)
        if not stop.is_set():
            live.set()
            report = daemon.sampler.tick()
            web.start()
            address = str(replace(parse_address(options.listen_address), port=web.port))
            inside = container()
            site = Site(
                url=web.url.rstrip("/"),
                folder=str(folder),
                program=f"{inside} {PROGRAM}" if inside else program_call(),
                listen_address="" if address == DEMO_ADDRESS else address,
                container=inside,
            )
            sys.stdout.write(banner(site, report, daemon.timeline))
            sys.stdout.flush()
            daemon.sampler.run(stop)
    finally:
        web.close()
        daemon.close()
    return status.OK


@contextlib.contextmanager
def logged_to(file: Path, clock: Clock) -> Iterator[None]:
    """Log to a file, with the timestamps of a clock: replayed events are no news on the terminal."""
    root = logging.getLogger()
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(LogFormatter("logfmt"))

    def dated(record: logging.LogRecord) -> bool:
        record.created = clock.wall() / 10**9
        return True

    handler.addFilter(dated)
    others = root.handlers[:]
    root.handlers[:] = [handler]
    try:
        yield
    finally:
        root.handlers[:] = others
        handler.close()


def container(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> str:
    """The command that runs another one in this container, from outside; empty where there is none."""
    name = socket.gethostname()
    if "KUBERNETES_SERVICE_HOST" in environment:
        namespace = environment.get("POD_NAMESPACE")
        return f"kubectl{f' --namespace={shlex.quote(namespace)}' if namespace else ''} exec {name} --"
    podman = os.path.exists(root / "run/.containerenv")
    if not podman and not os.path.exists(root / ".dockerenv"):
        return ""
    with contextlib.suppress(OSError):  # the host name of a container may be chosen freely
        mounts = (root / "proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
        if match := CONTAINER_ID.search(mounts):
            name = match[1]
    return f"{'podman' if podman else 'docker'} exec {shlex.quote(name)}"
