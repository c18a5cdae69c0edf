"""A server that a gateway divides, both read over HTTP: what the page, the books and the months then say.

The GPU costs 3.60 dollars an hour, a cent in ten seconds. A prompt token weighs 1, a generated one 3.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from exporter.clock import SystemClock
from exporter.config import load
from exporter.sampler.sampler import SamplerPlan
from exporter.sources.endpoints import EndpointSources, GatewaySources, configured_targets
from tests.corners.gateway_servers import GatewayServers
from tests.corners.simulated_host import SimulatedHost
from tests.kit.units import CENT, SECOND

CONFIG = """
hardware: [{{rented: {{dollars_per_gpu_hour: 3.60}}}}]
ownership: {{rules: [{{match: {{server: chat}}, product: chat, team: platform}}]}}
servers:
  - name: chat
    url: "http://127.0.0.1:{port}/vllm"
    gpus: [0]
    divide: {{by: {by}, gateway: "http://127.0.0.1:{port}/gateway"{rest}}}
"""
TICK = 10 * SECOND
RECORDING = Path(__file__).parents[1] / "recordings" / "litellm-1.106.12"
COST, TOKENS = "inference_cost_dollars_total", "inference_tokens_total"


class DividedHost(SimulatedHost):
    """A host whose server and gateway are read where its configuration says."""

    def __init__(self, folder: Path, port: int, by: str, rest: str) -> None:
        self.source = f"gateway:127.0.0.1:{port}/gateway"
        self.endpoints, self.gateways = EndpointSources(SystemClock()), GatewaySources(SystemClock())
        super().__init__(folder, CONFIG.format(port=port, by=by, rest=rest), "2026-11-25T12:00:00+00:00")

    def _plan(self) -> SamplerPlan:
        config = load(self.file)
        body_bytes = config.limits.body_bytes
        return SamplerPlan(
            super()._plan().context,
            self.endpoints.of(configured_targets(config.servers), body_bytes),
            gateways=self.gateways.of(config.divides(), body_bytes),
        )

    def by(self, what: str, name: str = COST) -> dict[str, float]:
        """The page's rows of a counter, added up by one label."""
        actual: dict[str, float] = {}
        assert self.report is not None
        assert self.report.totals is not None
        rows: Any = self.report.totals.cost if name == COST else self.report.totals.tokens
        for key, amount in rows.items():
            owner = key.owner if name == COST else key[0]
            actual[getattr(owner, what)] = actual.get(getattr(owner, what), 0) + amount
        return actual


@pytest.fixture
def site() -> GatewayServers:
    return GatewayServers()


@pytest.fixture
def port(site: GatewayServers) -> Iterator[int]:
    with site.served() as port:
        yield port


@pytest.fixture
def make(tmp_path: Path, port: int) -> Iterator[Any]:
    hosts: list[DividedHost] = []

    def host(by: str = "team", rest: str = "") -> DividedHost:
        hosts.append(DividedHost(tmp_path, port, by, rest))
        return hosts[-1]

    yield host
    for made in hosts:
        made.endpoints.close()
        made.gateways.close()
        made.kill()


@pytest.fixture
def host(make: Any, site: GatewayServers) -> DividedHost:
    """One that has read both once: from then on it is known who asked for what."""
    actual: DividedHost = make()
    site.serves(70_000, 30_000)
    site.counts(Search=(5_000, 5_000))
    actual.tick()
    return actual


def test_the_page_and_the_months_are_by_team(host: DividedHost, site: GatewayServers) -> None:
    """Served 1000 + 3 x 300; Search has 800 of 1900, Support 350. All families agree, and so do all reports.

    The money of the tick is one cent, of which 8/19, 3.5/19 and 7.5/19 are 4.21, 1.84 and 3.95 mills.
    """
    site.serves(71_000, 30_300)
    site.counts(Search=(5_500, 5_100), Support=(200, 50))
    host.tick(TICK)

    assert host.whole() == CENT
    money = host.by("team")
    assert money["Search"] == pytest.approx(CENT * 800 / 1900, rel=1e-6)
    assert money["Support"] == pytest.approx(CENT * 350 / 1900, rel=1e-6)
    assert money["platform"] == pytest.approx(CENT * 750 / 1900, rel=1e-6)
    assert host.served(COST, product="chat", team="Search", model="llama") == pytest.approx(0.01 * 800 / 1900)
    statement = host.statement("2026-11", "team")
    assert {row["team"] for row in statement["rows"]} >= {"Search", "Support", "platform"}
    # The server's own 1300 tokens, and none of the gateway's beside them.
    assert host.served(TOKENS) == 1300
    assert host.served(TOKENS, kind="generation") == 300
    assert host.served(TOKENS, kind="generation", team="Search") == 126  # 300 x 800 / 1900 = 126.3


def test_a_recorded_afternoon_is_divided_as_its_clients_were_told(make: Any, site: GatewayServers) -> None:
    """LiteLLM before a llama.cpp, which had 2324 prompt tokens, 1727 of them cached, and wrote 1460.

    By weight 2324 + 3 x 1460 = 6704, of which Search was told 2004 + 3 x 600 = 3804 and Support
    176 + 3 x 600 = 1976; who has no team, and who asked past the gateway, is the owner's.
    """
    host: DividedHost = make(rest=", models: [tiny]")
    for moment in ("cold", "served"):
        site.vllm = (RECORDING / f"{moment}-server.prom").read_text(encoding="utf-8")
        site.gateway = (RECORDING / f"{moment}-gateway.prom").read_text(encoding="utf-8")
        host.tick(TICK)

    assert host.served(TOKENS) == 2324 + 1460
    assert host.served(TOKENS, kind="cached_prompt") == 1727
    for team, weight in (("Search", 3804), ("Support", 1976), ("platform", 924)):
        assert host.served(TOKENS, team=team) == pytest.approx(3784 * weight / 6704, abs=2)


def test_what_the_gateway_reads_shows_in_the_health_of_sources(
    host: DividedHost, site: GatewayServers
) -> None:
    """While it is down the last shares divide, `source_up` tells, and what was missed is compared later."""
    site.serves(71_000, 30_000)
    site.counts(Search=(5_250, 5_000))
    host.tick(TICK)
    assert host.served("inference_source_up", source=host.source) == 1
    page, site.gateway = site.gateway, None
    for _ in range(3):
        host.tick(TICK)
    assert host.served("inference_source_up", source=host.source) == 0
    assert host.by("team") == pytest.approx({"Search": CENT, "platform": 3 * CENT}, rel=1e-6)

    site.serves(75_000, 30_000)
    site.gateway = page
    site.counts(Search=(6_250, 5_000))
    host.tick(TICK)
    assert host.served("inference_source_up", source=host.source) == 1
    assert host.by("team")["Search"] == pytest.approx(1.25 * CENT, rel=1e-6)
    assert host.whole() == 5 * CENT


def test_a_daemon_that_was_killed_goes_on_from_its_marks(host: DividedHost, site: GatewayServers) -> None:
    """What both counted while it was down is compared once, and the time is charged by it."""
    site.serves(71_000, 30_000)
    site.counts(Search=(5_250, 5_000))
    host.tick(TICK)
    host.restart(20 * SECOND)
    site.serves(73_000, 30_000)
    site.counts(Search=(5_750, 5_000))
    host.tick()
    host.tick(TICK)

    assert host.by("team") == pytest.approx({"Search": CENT, "platform": 3 * CENT}, rel=1e-6)
    assert host.served(TOKENS, kind="prompt") == 3000
    assert host.served(TOKENS, kind="prompt", team="Search") == pytest.approx(750, abs=1)
    assert host.whole() == 4 * CENT


STARTED_AGAIN = datetime.fromisoformat("2026-11-25T12:00:15+00:00").timestamp()
"""When another process starts, after the first tick."""


def test_a_gateway_that_was_restarted_loses_nothing(host: DividedHost, site: GatewayServers) -> None:
    """Another process: its first 500 are all new, though the old one had more."""
    site.serves(71_000, 30_000)
    site.counts(Search=(5_500, 5_000))
    host.tick(TICK)
    site.serves(72_000, 30_000)
    site.counts(started=STARTED_AGAIN, Search=(500, 0))
    host.tick(TICK)

    assert host.by("team") == pytest.approx({"Search": CENT, "platform": CENT}, rel=1e-6)
    assert host.whole() == 2 * CENT


def test_an_adapter_is_a_model_on_the_page(make: Any, site: GatewayServers) -> None:
    """The engine counts its base model alone; the picker tells a quarter of it for an adapter."""
    host = make("adapter", ', models: ["*"]')
    site.serves(0, 0)
    site.picks(sql=(0, 0), llama=(0, 0))
    host.tick()
    site.serves(1000, 1000)
    site.picks(sql=(250, 250), llama=(750, 750))
    host.tick(TICK)

    assert host.by("model") == pytest.approx({"sql": CENT / 4, "llama": 3 * CENT / 4}, rel=1e-6)
    assert host.by("model", TOKENS) == {"sql": 500, "llama": 1500}
    assert host.by("team") == {"platform": CENT}
    assert host.whole() == CENT


def test_a_reload_without_it_gives_all_to_the_owner(host: DividedHost, site: GatewayServers) -> None:
    """From the next tick on; what was posted stays where it is."""
    site.serves(71_000, 30_000)
    site.counts(Search=(6_000, 5_000))
    host.tick(TICK)
    host.reload(host.file.read_text().split("    divide:")[0])
    requested = site.requests.count("/gateway")
    host.tick(TICK)

    assert host.by("team") == pytest.approx({"Search": CENT, "platform": CENT}, rel=1e-6)
    assert site.requests.count("/gateway") == requested
