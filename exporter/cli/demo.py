"""`demo`: the simulated host in place of the sources, everything behind them as in `serve`."""

import argparse
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
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from exporter.cli import flags, status
from exporter.cli.build import build
from exporter.cli.flags import DEMO_ADDRESS, PROGRAM
from exporter.cli.logs import LogFormatter
from exporter.cli.terminal import complain
from exporter.clock import Clock, SystemClock
from exporter.config import ConfigError
from exporter.demo.banner import LOG, Site, banner, prometheus_configuration
from exporter.demo.daemon import DemoDaemon, replay
from exporter.metrics.process import ProcessMetrics
from exporter.web.access import Access
from exporter.web.listener import ListenError, parse_address
from exporter.web.server import WebServer

log = logging.getLogger(__name__)

PREFIX: Final = f"{PROGRAM}-demo-"

CONTAINER_ID: Final = re.compile(
    r"/([0-9a-f]{12})[0-9a-f]{52}/(?:userdata/)?(?:hostname|hosts|resolv\.conf) "
)
"""Docker and podman mount these files of a container from a folder that its id names."""


def add(verbs: flags.Verbs) -> None:
    """Add the verb to the program's parser."""
    verb = flags.add_verb(
        verbs,
        "demo",
        "run on a simulated host of 8 GPUs: no GPU, no configuration",
        examples=(
            ("", "a host that has been metered for five weeks, on port 9844 of this machine alone"),
            ("--web.listen-address=:8080 --seed=7", "on another port of every interface, with other days"),
            ("--print-prometheus-config", "how Prometheus scrapes it"),
        ),
        exits=replace(flags.DAEMON_EXITS, failed="it cannot listen, or has no folder for its ledger"),
    )
    flags.listen(verb, DEMO_ADDRESS)
    verb.add_argument(
        "--seed", type=int, default=0, metavar="NUMBER", help="seed of the simulated days (default 0)"
    )
    verb.add_argument(
        "--print-prometheus-config",
        action="store_true",
        help="print a Prometheus scrape configuration for the demo and exit",
    )
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the demo, or print how it is scraped; returns the exit status."""
    if options.print_prometheus_config:
        sys.stdout.write(prometheus_configuration(options.listen_address))
        return status.OK
    return demo(options.listen_address, options.seed, options.web_config_file, tuple(options.allowed_hosts))


def demo(
    listen_address: str,
    seed: int = 0,
    web_config_file: Path | None = None,
    allowed_hosts: tuple[str, ...] = (),
) -> int:
    """Serve the simulated host until stopped; returns the exit status."""
    clock = SystemClock()
    access = Access(web_config_file, clock)
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
        return _Demo(folder, listen_address, seed, clock, access, allowed_hosts).run(stop)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Demo:
    """One run of the demo, with its files in a folder."""

    def __init__(
        self,
        folder: Path,
        listen_address: str,
        seed: int,
        clock: Clock,
        access: Access,
        allowed_hosts: tuple[str, ...] = (),
    ) -> None:
        self._folder = folder
        self._listen_address = listen_address
        self._live = False
        self._daemon: DemoDaemon = DemoDaemon(
            clock, ProcessMetrics(), build(), self._published, folder=folder, seed=seed
        )
        self._web = WebServer(
            listen_address,
            self._daemon.current,
            self._daemon.clock,
            None,
            build(),
            access=access,
            allowed_hosts=allowed_hosts,
        )

    def run(self, stop: threading.Event) -> int:
        daemon, web = self._daemon, self._web
        try:
            web.bind()  # a port in use fails at once; early requests wait for the first live tick
        except ListenError as error:
            log.error("cannot listen", extra={"problem": str(error)})  # noqa: TRY400 - a message, no trace
            daemon.close()
            return status.FAILED
        try:
            with logged_to(self._folder / LOG, daemon.clock):
                replay(daemon, stop)
            if not stop.is_set():
                self._live = True
                report = daemon.sampler.tick()
                web.start()
                sys.stdout.write(banner(self._site(), report, daemon.timeline))
                sys.stdout.flush()
                daemon.sampler.run(stop)
        finally:
            web.close()
            daemon.close()
        return status.OK

    def _site(self) -> Site:
        """Addresses for a reader of the terminal; the port is the one that is listened on."""
        address = str(replace(parse_address(self._listen_address), port=self._web.port))
        return Site(
            self._web.url.rstrip("/"),
            str(self._folder),
            f"{inside} {PROGRAM}" if (inside := container()) else _program(),
            "" if address == DEMO_ADDRESS else address,
            inside,
        )

    def _published(self) -> None:
        if self._live:  # no request is answered before
            self._web.prepare()
            self._daemon.review()


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


def _program() -> str:
    """The command that calls this program again, from any folder, as a shell reads it."""
    called = Path(sys.argv[0])
    if called.name != "__main__.py":
        return shlex.quote(str(called.absolute()))
    checkout = Path(__file__).parents[2]
    path = f"PYTHONPATH={shlex.quote(str(checkout))} " if os.path.isfile(checkout / "pyproject.toml") else ""
    return f"{path}{shlex.quote(sys.executable)} -m exporter"
