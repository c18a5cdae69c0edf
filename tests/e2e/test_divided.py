"""The daemon as a process divides a server by what a gateway counts."""

from pathlib import Path

import pytest

from tests.corners.gateway_servers import GatewayServers
from tests.e2e.daemon import Daemon, Page, until
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s

CONFIG = """
interval: 1s
hardware: [{{rented: {{dollars_per_gpu_hour: 3600}}}}]
ownership: {{rules: [{{product: chat, team: platform}}]}}
servers:
  - name: chat
    url: "http://127.0.0.1:{port}/vllm"
    gpus: all
    divide: {{by: team, gateway: "http://127.0.0.1:{port}/gateway"}}
"""


def read(page: Page, source: str) -> Page | None:
    """The page, if it says that a source was read."""
    return page if page.matching("inference_source_up", source=source) == [1] else None


def served(page: Page) -> Page | None:
    """The page, if it has tokens of Search."""
    return page if page.sum("inference_tokens_total", team="Search") else None


def test_money_and_tokens_are_by_team(tmp_path: Path) -> None:
    """A quarter of the server's tokens was Search's: so much of its money, and of its own tokens, is."""
    site = GatewayServers()
    site.serves(0, 0)
    site.counts(Search=(0, 0))
    host = FakeNvml(tmp_path, Scenario(h100s(1, utilization=100, power_mw=300_000)))
    with site.served() as port, Daemon(tmp_path, CONFIG.format(port=port), host.environment()) as daemon:
        source = f"gateway:127.0.0.1:{port}/gateway"
        before = until(lambda: read(daemon.scrape(), source), 30, "the gateway is read")
        # First the one, then the other: a tick reads both at once, and may see only one of two that change.
        site.counts(Search=(1000, 1000))
        until(lambda: daemon.scrape().tick > before.tick + 2, 30, "another tick")
        site.serves(4000, 4000)
        page = until(lambda: served(daemon.scrape()), 30, "tokens of a team")

        assert sum(page.matching("inference_tokens_total", product="chat")) == 8000
        assert sum(page.matching("inference_tokens_total", team="Search")) == pytest.approx(2000, abs=20)
        assert page.matching("inference_cost_dollars_total", team="Search", phase="decode")[0] > 0
