"""A real server is divided by the counts of a real gateway, which are those of its clients."""

import json
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from exporter.clock import SystemClock
from exporter.cost.counters import gateway_deltas
from exporter.cost.state import GatewayState
from exporter.engines import TALLIED, GatewaySpec, count_gateway, match, read
from exporter.readings import ReadFailedError
from exporter.sources.http_client import shared_client
from exporter.sources.server import GatewaySource
from exporter.sources.server.endpoint import EndpointAccess
from tests.e2e.daemon import Daemon, Page, until
from tests.e2e.engine import PREFIX
from tests.e2e.llama import Llama
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s
from tests.litellm.litellm_proxy import Proxy

CONFIG = """
interval: 1s
hardware: [{{rented: {{dollars_per_gpu_hour: 3600}}}}]
ownership: {{rules: [{{product: chat, team: platform}}]}}
servers:
  - name: chat
    url: "{server}"
    gpus: all
    divide: {{by: team, gateway: "{gateway}", bearer_token_file: "{token}"}}
"""
TENANTS = """by: [api_key_alias], tenants: [
      {match: sk-of-search, product: web, team: retrieval}, {match: "*-support", team: support}]"""
"""Three keys as tenants, of which `sk-of-nobody` has no entry."""
KEYS = {"Search": "sk-of-search", "Support": "sk-of-support", "": "sk-of-nobody"}
pytestmark = pytest.mark.timeout(600)
USAGE: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
RECORDED = ("litellm_", "process_start_time_seconds", "# TYPE litellm_", "# HELP litellm_")

EXPIRY = {"prometheus_metrics_ttl_seconds": 2, "prometheus_metrics_cleanup_interval_seconds": 0}
"""When LiteLLM lets go of series (1.106.12, litellm/integrations/prometheus_helpers/
bounded_prometheus_series_tracker.py): each request looks for those that none counted in for two seconds."""

TeamTokens = dict[str, Counter[str]]


@dataclass(frozen=True)
class LitellmAfternoon:
    """Pages of the gateway and of the server before and after, tokens by team, and our pages.

    `tenants` is of a daemon that divides by keys in place of teams.
    """

    gateway: tuple[Page, Page]
    server: tuple[Page, Page]
    tokens: TeamTokens
    page: Page
    tenants: Page

    def record(self, folder: Path) -> None:
        """Write it down, without bounds of histograms and what is no number of the gateway's."""
        folder.mkdir(parents=True, exist_ok=True)
        for moment, gateway, server in zip(("cold", "served"), self.gateway, self.server, strict=True):
            lines = gateway.body.decode().splitlines(keepends=True)
            recorded = "".join(line for line in lines if line.startswith(RECORDED) and "_bucket{" not in line)
            (folder / f"{moment}-gateway.prom").write_text(recorded, encoding="utf-8")
            (folder / f"{moment}-server.prom").write_bytes(server.body)
        tokens = json.dumps(self.tokens, indent=2, sort_keys=True)
        (folder / "told.json").write_text(f"{tokens}\n", encoding="utf-8")


def counted(page: Page) -> TeamTokens:
    """What the gateway counted by team, as the daemon reads it."""
    parsed = read(page.body, TALLIED)
    row = match(parsed)
    assert isinstance(row, GatewaySpec)
    teams: TeamTokens = {}
    for counter in count_gateway(row, parsed).counters:
        assert (counter.model, counter.deployment) == ("tiny", "deployment-1")
        teams.setdefault(counter.team, Counter()).update({counter.quantity: int(counter.value)})
    return teams


def served(proxy: Proxy) -> TeamTokens:
    """The people, and what each team was told: tokens of prompts, cached or not, and generated ones."""
    totals: TeamTokens = {"Search": Counter(), "Support": Counter(), "": Counter()}

    def complete(team: str, text: str, tokens: int, **more: Any) -> None:
        status, usage = proxy.request(KEYS[team], text, tokens, **more)
        assert (status, usage["completion_tokens"]) == (200, tokens)
        totals[team].update(prompt=usage["prompt_tokens"], generation=tokens)

    for number in range(6):
        complete("Search", f"{PREFIX} question {number}", 60)
        complete("Support", f"case {number}", 90)
        complete("Search", f"{PREFIX} stream {number}", 40, **USAGE)
        complete("", f"{number} alone", 10)
    # Who asks for no usage in a stream is told none: as many as for the same words in one answer.
    before = totals["Support"].copy()
    complete("Support", "said twice", 30)
    assert proxy.request(KEYS["Support"], "said twice", 30, stream=True) == (200, None)
    totals["Support"] += totals["Support"] - before
    return totals


def refused(proxy: Proxy) -> None:
    """What nobody serves: an unknown key, an unknown model, a server that is not there."""
    assert proxy.request("sk-of-a-stranger", "hello", 5)[0] >= 400
    assert proxy.request(KEYS["Search"], "hello", 5, model="unknown")[0] >= 400
    assert proxy.request(KEYS["Search"], "hello", 5, model="gone")[0] >= 400


@pytest.fixture(scope="module")
def afternoon(tmp_path_factory: pytest.TempPathFactory) -> LitellmAfternoon:
    folder = tmp_path_factory.mktemp("litellm")
    host = FakeNvml(folder, Scenario(h100s(1, utilization=100, power_mw=300_000)))
    token = folder / "token"
    token.write_text(KEYS[""], encoding="utf-8")
    with Llama(folder / "llama.log") as server, Proxy(folder, server) as proxy:
        config = CONFIG.format(server=server.url, gateway=proxy.url, token=token)
        by_key = folder / "tenants"
        by_key.mkdir()
        keys = Daemon(by_key, config.replace("by: team", TENANTS), host.environment())
        with Daemon(folder, config, host.environment()) as daemon, keys:
            daemon.until(read_both, "server and gateway read", 60)
            keys.until(read_both, "server and gateway read", 60)
            cold = proxy.page(), server.page()
            tokens = served(proxy)
            refused(proxy)
            past = server.complete("past the gateway", 200)["usage"]
            until(lambda: counted(proxy.page()) == tokens, 60, "the gateway to have counted what it told")
            server.at_rest()
            page, tenants = daemon.settled(), keys.settled()
            warm = proxy.page(), server.page()
    tokens["past the gateway"] = Counter(prompt=past["prompt_tokens"], generation=past["completion_tokens"])
    return LitellmAfternoon((cold[0], warm[0]), (cold[1], warm[1]), tokens, page, tenants)


def read_both(page: Page) -> bool:
    """Whether the daemon has read the server and the gateway."""
    up = {labels["source"].partition(":")[0] for labels, value in page.rows["inference_source_up"] if value}
    return {"server", "gateway"} <= up


def test_a_real_gateway_counts_what_clients_were_told(
    afternoon: LitellmAfternoon, record: Path | None
) -> None:
    """By team, to the token, also of a stream whose client asked for no usage; what failed is nobody's."""
    if record is not None:
        afternoon.record(record)
    expected = {team: count for team, count in afternoon.tokens.items() if team != "past the gateway"}

    assert counted(afternoon.gateway[0]) == {}
    assert counted(afternoon.gateway[1]) == expected


def test_what_a_real_server_counted_is_divided_and_stays_whole(afternoon: LitellmAfternoon) -> None:
    """All tokens are the server's own; each team has about its part of them, and its part of the money."""
    page, (cold, warm) = afternoon.page, afternoon.server
    rise = {
        kind: warm.value(name) - cold.value(name)
        for kind, name in (
            ("prompt", "llamacpp:prompt_tokens_total"),
            ("cached_prompt", "llamacpp:prompt_tokens_cached_total"),
            ("generation", "llamacpp:tokens_predicted_total"),
        )
    }
    expected = sum(afternoon.tokens.values(), Counter())

    assert rise["prompt"] + rise["cached_prompt"] == expected["prompt"]
    assert rise["generation"] == expected["generation"]
    for kind, tokens in rise.items():
        assert page.sum("inference_tokens_total", product="chat", kind=kind) == pytest.approx(tokens, abs=1)
    for team in ("Search", "Support"):
        assert page.sum("inference_tokens_total", team=team) > 0
        assert page.sum("inference_cost_dollars_total", team=team) > 0
    assert page.sum("inference_tokens_total", team="platform") > 0


def test_keys_of_a_real_gateway_are_tenants(afternoon: LitellmAfternoon) -> None:
    """Tokens are the server's own, to the token; dollars sum to the server's, and a key is on no label.

    A key without an entry is of team other, and what went past the gateway is the owner's.
    """
    page, (cold, warm) = afternoon.tenants, afternoon.server
    rise = warm.value("llamacpp:tokens_predicted_total") - cold.value("llamacpp:tokens_predicted_total")
    owners = {(row["product"], row["team"]) for row, _ in page.rows["inference_tokens_total"]}
    cost = "inference_cost_dollars_total"

    assert owners == {("web", "retrieval"), ("chat", "support"), ("chat", "other"), ("chat", "platform")}
    assert page.sum("inference_tokens_total", kind="generation") == pytest.approx(rise, abs=1)
    parts = [page.sum(cost, product=product, team=team) for product, team in sorted(owners)]
    assert all(part > 0 for part in parts)
    assert sum(parts) == pytest.approx(page.sum("inference_gpu_cost_dollars_total"), rel=1e-9)
    assert b"sk-of" not in page.body


def test_a_proxy_that_restarts_and_a_key_that_comes_late(tmp_path: Path) -> None:
    """Before it only Search asks, after it only a key that no page had: what each counts is counted once.

    All tokens are the server's own, to the token, and dollars sum to the server's.
    """
    host = FakeNvml(tmp_path, Scenario(h100s(1, utilization=100, power_mw=300_000)))
    token = tmp_path / "token"
    token.write_text(KEYS[""], encoding="utf-8")
    tenants = TENANTS.replace("tenants: [", "tenants: [{match: sk-of-late, product: late, team: late}, ")

    def owned(page: Page, name: str, product: str, **labels: str) -> float:
        return page.sum(name, product=product, **labels)

    generated = 0

    def requested(page: Page, key: str, product: str) -> bool:
        """One more request, since a gateway counts later than its server; whether some are its own."""
        nonlocal generated
        status, usage = proxy.request(key, f"{product} {generated}", 50)
        assert status == 200
        generated += usage["completion_tokens"]
        return owned(page, "inference_tokens_total", product, kind="generation") > 0

    with Llama(tmp_path / "llama.log") as server, Proxy(tmp_path, server) as proxy:
        config = CONFIG.format(server=server.url, gateway=proxy.url, token=token).replace("by: team", tenants)
        with Daemon(tmp_path, config, host.environment()) as daemon:
            daemon.until(read_both, "server and gateway read", 60)
            cold = server.page()
            before = daemon.until(lambda page: requested(page, KEYS["Search"], "web"), "web", 90, 1)
            proxy.restart()
            daemon.until(read_both, "server and gateway read", 60)
            daemon.until(lambda page: requested(page, "sk-of-late", "late"), "late", 90, 1)
            server.at_rest()
            page, warm = daemon.settled(), server.page()

    rise = warm.value("llamacpp:tokens_predicted_total") - cold.value("llamacpp:tokens_predicted_total")
    assert rise == generated
    assert page.sum("inference_tokens_total", kind="generation") == pytest.approx(rise, abs=1)
    assert owned(page, "inference_tokens_total", "web") >= owned(before, "inference_tokens_total", "web")
    assert owned(page, "inference_tokens_total", "late", kind="generation") > 0
    cost = "inference_cost_dollars_total"
    parts = [owned(page, cost, product) for product in ("web", "late", "chat")]
    assert all(part > 0 for part in parts)
    assert sum(parts) == pytest.approx(page.sum(cost), rel=1e-9)


def test_series_that_a_real_gateway_lets_go_of_count_once(tmp_path: Path) -> None:
    """Search's series go, and begin at zero when it is back: more than before is new as a whole."""
    token, clock = tmp_path / "token", SystemClock()
    token.write_text(KEYS[""], encoding="utf-8")
    usages: TeamTokens = {"Search": Counter(), "Support": Counter()}
    sums: TeamTokens = {"Search": Counter(), "Support": Counter()}
    states: dict[str, GatewayState] = {}

    def counts_all() -> bool:
        """Read the page as a tick does; whether each usage is counted."""
        nonlocal states
        try:
            reading = source.read()
        except ReadFailedError:  # a busy machine; the next read has what this one missed
            return False
        states, ticks = gateway_deltas(states, [reading], clock.wall())
        for count in (count for tick in ticks.values() for count in tick.counts or ()):
            sums[count.team].update(prompt=int(count.prompt), generation=int(count.generation))
        return sums == usages

    def complete(team: str, tokens: int) -> None:
        status, usage = proxy.request(KEYS[team], f"{team} {tokens}", tokens)
        assert (status, usage["completion_tokens"]) == (200, tokens)
        usages[team].update(prompt=usage["prompt_tokens"], generation=tokens)
        until(counts_all, 60, f"the page to count the usage: {usages}, and not {sums}")

    def has_let_go() -> bool:
        complete("Support", 5)
        return "Search" not in counted(proxy.page())

    with (
        Llama(tmp_path / "llama.log") as server,
        Proxy(tmp_path, server, **EXPIRY) as proxy,
        closing(
            GatewaySource(proxy.url, ("team",), shared_client(), clock, access=EndpointAccess(token))
        ) as source,
    ):
        until(counts_all, 60, "a first page")
        complete("Search", 40)
        until(has_let_go, 60, "Search's series to go", 1)
        complete("Search", 120)

    assert sums["Search"]["generation"] == 160
