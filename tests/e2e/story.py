"""One afternoon of a GPU host: what a daemon said while a real server worked, prices changed and things died.

Three GPUs at 2.50 dollars an hour, then owned; a network at 1.20 an hour for the host, so 0.40 for each GPU.
The server `tiny` holds two of them; nobody holds the third.
"""

import datetime as dt
import math
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.daemon import Daemon, Page
from tests.e2e.llama import KINDS, PREFIX, Llama
from tests.fake_nvml.library import FakeNvml

RENTED = "rented: {dollars_per_gpu_hour: 2.50}"
OWNED = """
    owned:
      purchase_dollars_per_host: 280000
      gpus_per_host: 8
      in_service: IN_SERVICE
      life_years: 3
      support_dollars_per_year: 28000
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
class Scene:
    """A scrape taken while the server was at rest, and what the server itself had counted by then."""

    page: Page
    counted: dict[str, int]


@dataclass(frozen=True)
class Story:
    """Scenes in the order in which they happened, and every scrape that was taken meanwhile."""

    opened: Page
    served: Scene
    minute_later: Page
    owned: tuple[Page, Page]
    before_kill: Scene
    after_restart: Scene
    server_restarted: Scene
    pages: list[Page]


def tell(folder: Path, gpus: FakeNvml) -> Story:
    """Live through it; about two minutes."""
    with (
        Llama(folder / "llama.log") as llama,
        Daemon(folder, configuration(RENTED, llama.url), gpus.environment()) as daemon,
    ):
        opened = daemon.until(lambda page: page.matching("inference_tokens_total") != [], "first tokens at 0")
        served = _serve(llama, daemon)
        boundary = math.floor(served.page.tick / MINUTE + 1) * MINUTE
        minute_later = daemon.until(lambda page: page.tick > boundary, "a whole minute", 70)

        assert daemon.reload(configuration(OWNED, llama.url)) == 200
        first = daemon.settled()
        last = daemon.until(lambda page: page.tick > first.tick + 10, "ten seconds of owned hardware")

        before_kill = _serve(llama, daemon)
        daemon.kill()
        _use(llama)
        daemon.start()
        after_restart = Scene(daemon.settled(), llama.at_rest())
        for _ in range(3):
            daemon.kill()
            daemon.start()

        llama.restart()
        daemon.until(lambda page: page.value("inference_server_up", server="tiny") == 1, "the server again")
        _use(llama)
        counted = llama.at_rest()
        total = {kind: after_restart.counted[kind] + counted[kind] for kind in KINDS}
        restarted = Scene(daemon.settled(), total)
        return Story(
            opened, served, minute_later, (first, last), before_kill, after_restart, restarted, daemon.pages
        )


def _use(llama: Llama) -> None:
    """Enough tokens of each kind for a price: shared prefixes, prompts of their own, one that hangs up."""
    llama.serve_people(10, 120)
    for number in range(8):
        llama.complete(f"{number}{number} {PREFIX}", 10)


def _serve(llama: Llama, daemon: Daemon) -> Scene:
    _use(llama)
    counted = llama.at_rest()
    return Scene(daemon.settled(), counted)
