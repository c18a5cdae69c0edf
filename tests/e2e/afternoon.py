"""One afternoon of a GPU host: what a daemon said while a real server worked, prices changed and things died.

Three GPUs at 2.50 dollars an hour, then owned; a network at 1.20 an hour for the host, so 0.40 for each GPU.
The server `tiny` holds two of them; nobody holds the third.
"""

import datetime as dt
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.daemon import Daemon, Page
from tests.e2e.engine import EngineServer
from tests.fake_nvml.library import FakeNvml

RENTED = "rented: {dollars_per_gpu_hour: 2.50}"
OWNED = """
    owned:
      purchase_dollars_per_host: 105000
      gpus_per_host: 3
      in_service: IN_SERVICE
      life_years: 3
      support_dollars_per_year: 10500
    energy: {dollars_per_kilowatt_hour: 0.12, pue_ratio: 1.4}"""

MINUTE = 60.0


def configuration(hardware: str, url: str) -> str:
    """The daemon's file. Hardware was put into service 200 days ago, whatever day the tests run on."""
    day = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=200)
    return f"""
interval: 1s
hardware:
  - match: {{gpu_model: "*H100*"}}
    {hardware.strip().replace("IN_SERVICE", day.isoformat())}
overheads:
  - {{name: network, dollars_per_hour: 1.20, per: host}}
servers:
  - {{name: tiny, url: "{url}", gpus: [0, 1]}}
"""


@dataclass(frozen=True)
class AfternoonScene:
    """A scrape taken while the server was at rest, what the server had counted by then, and its own page."""

    page: Page
    counted: dict[str, int]
    server: Page


@dataclass(frozen=True)
class Afternoon:
    """Scenes in the order in which they happened, and every scrape that was taken meanwhile."""

    opened: AfternoonScene
    served: AfternoonScene
    minute_later: Page
    explained: tuple[Page, Any]
    owned: tuple[Page, Page]
    before_kill: AfternoonScene
    after_restart: AfternoonScene
    server_restarted: AfternoonScene
    pages: list[Page]

    def record(self, folder: Path) -> None:
        """Write what the server said before and after its first people, and what we made of it."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cold.prom").write_bytes(self.opened.server.body)
        (folder / "served.prom").write_bytes(self.served.server.body)
        (folder / "metrics.prom").write_bytes(self.served.page.body)


def run_afternoon(
    folder: Path, gpus: FakeNvml, engine: Callable[[Path], EngineServer], install: Callable[..., Daemon]
) -> Afternoon:
    """Live through it; about two minutes."""
    with (
        engine(folder / "server.log") as server,
        install(folder, configuration(RENTED, server.url), gpus.environment()) as daemon,
    ):
        daemon.until(lambda page: page.matching("inference_tokens_total") != [], "tokens at 0")
        opened = _rest(server, daemon)
        server.serve_people()
        served = _rest(server, daemon)
        # At least 15 s: over a shorter run, milliseconds between two clocks would be a share of the dollars.
        boundary = math.floor((served.page.tick + 15) / MINUTE + 1) * MINUTE
        minute_later = daemon.until(lambda page: page.tick > boundary, "a whole minute", 90)

        explained = _explained(daemon)

        assert daemon.reload(configuration(OWNED, server.url)) == 200
        first = daemon.settled()
        last = daemon.until(lambda page: page.tick > first.tick + 10, "ten seconds of owned hardware")

        server.serve_people()
        before_kill = _rest(server, daemon)
        daemon.kill()
        server.serve_people()
        server.at_rest()
        daemon.start()
        after_restart = _rest(server, daemon)
        for _ in range(3):
            daemon.kill()
            daemon.start()

        server.restart()
        daemon.until(lambda page: page.value("inference_server_up", server="tiny") == 1, "the server again")
        server.serve_people()
        restarted = _rest(server, daemon)
        pages = daemon.pages
    return Afternoon(
        opened, served, minute_later, explained, (first, last), before_kill, after_restart, restarted, pages
    )


def _explained(daemon: Daemon) -> tuple[Page, Any]:
    """A page, and what `explain` says in the same minute: both of the 60 whole minutes before it."""
    while True:
        before = daemon.settled()
        explanation = json.loads(
            daemon.run_verb("explain", "tiny", "--json", f"--config.file={daemon.config}")
        )
        after = daemon.settled()
        if before.tick // MINUTE == after.tick // MINUTE:
            return after, explanation


def _rest(server: EngineServer, daemon: Daemon) -> AfternoonScene:
    counted = server.at_rest()
    return AfternoonScene(daemon.settled(), counted, server.page())
