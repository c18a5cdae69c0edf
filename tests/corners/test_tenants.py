"""Tenants behind gateways, read over HTTP: who pays, over expiry, restarts and tenants that come late.

The GPU costs 3.60 dollars an hour, a cent in ten seconds. A prompt token weighs 1, a generated one 3.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.corners.gateway_servers import GatewayServers
from tests.corners.test_divided import COST, STARTED_AGAIN, TICK, TOKENS, DividedHost
from tests.kit.units import CENT

CAPTURES = Path(__file__).parents[1] / "engines" / "captures"
TENANTS = (
    ', tenants: [{match: "ac*", product: search, team: retrieval}, {match: globex, team: support}, '
    "{match: initech, product: batch, team: support}]"
)
Counts = Callable[..., None]


@pytest.fixture
def site() -> GatewayServers:
    return GatewayServers()


@pytest.fixture
def make(tmp_path: Path, site: GatewayServers) -> Iterator[Any]:
    hosts: list[DividedHost] = []
    with site.served() as port:

        def host(by: str = "[tenant_id]", rest: str = TENANTS) -> DividedHost:
            hosts.append(DividedHost(tmp_path, port, by, rest))
            return hosts[-1]

        yield host
        for made in hosts:
            made.endpoints.close()
            made.gateways.close()
            made.kill()


@pytest.fixture(params=["envoy", "coordinator"])
def counts(request: pytest.FixtureRequest, site: GatewayServers) -> Counts:
    """What writes the gateway's page."""
    return site.envoys if request.param == "envoy" else site.coordinates


def owners(host: DividedHost, name: str = COST) -> dict[tuple[str, str], float]:
    """What each product and team has."""
    assert host.report is not None
    assert host.report.totals is not None
    rows: Any = host.report.totals.cost if name == COST else host.report.totals.tokens
    sums: dict[tuple[str, str], float] = {}
    for key, amount in rows.items():
        owner = key.owner if name == COST else key[0]
        sums[owner.product, owner.team] = sums.get((owner.product, owner.team), 0) + amount
    return {owner: amount for owner, amount in sums.items() if amount}


def test_three_tenants_pay_for_what_they_asked(make: Any, site: GatewayServers, counts: Counts) -> None:
    """By weight of 2000 + 3 x 400 = 3200: acme 800 + 3 x 100, globex 500 + 3 x 100, a stranger 3 x 100.

    The rest, 3200 - 1100 - 800 - 300 = 1000, is the owner's.
    """
    host = make()
    site.serves(0, 0)
    counts(acme=(0, 0), globex=(0, 0), stranger=(0, 0))
    host.tick()
    site.serves(2000, 400)
    counts(acme=(800, 100), globex=(500, 100), stranger=(0, 100))
    host.tick(TICK)

    assert host.whole() == CENT
    assert owners(host) == pytest.approx(
        {
            ("search", "retrieval"): CENT * 1100 / 3200,
            ("chat", "support"): CENT * 800 / 3200,
            ("chat", "other"): CENT * 300 / 3200,
            ("chat", "platform"): CENT * 1000 / 3200,
        },
        rel=1e-6,
    )
    assert sum(owners(host, TOKENS).values()) == 2400
    assert owners(host, TOKENS)["search", "retrieval"] == pytest.approx(2400 * 1100 / 3200, abs=1)
    assert host.served(COST, product="search", team="retrieval", model="llama") == pytest.approx(
        0.01 * 1100 / 3200
    )


def test_a_tenants_own_name_is_no_label(make: Any, site: GatewayServers) -> None:
    """Neither an entry's nor a stranger's is on the page of metrics."""
    host = make()
    site.serves(0, 0)
    site.envoys(acme_7f3a9c=(0, 0), stranger_81cc=(0, 0))
    host.tick()
    site.serves(2000, 400)
    site.envoys(acme_7f3a9c=(800, 100), stranger_81cc=(500, 100))
    host.tick(TICK)

    assert host.served(COST, team="retrieval") > 0
    assert host.served(COST, team="other") > 0
    text = host.text()
    assert "7f3a9c" not in text
    assert "81cc" not in text


def test_a_tenant_that_comes_late_counts_from_its_first_token(
    make: Any, site: GatewayServers, counts: Counts
) -> None:
    """Its first 1000 of the second tick's 1000 are all new: that cent is its own, but for what trails."""
    host = make()
    site.serves(0, 0)
    counts(acme=(0, 0))
    host.tick()
    site.serves(1000, 0)
    counts(acme=(1000, 0))
    host.tick(TICK)
    site.serves(2000, 0)
    counts(acme=(1000, 0), initech=(1000, 0))
    host.tick(TICK)

    # Of the second cent, the trailing sums of 1000 and 1000, the first halved for 10 of 900 seconds.
    old = 0.5 ** (10 / 900)
    money = owners(host)
    assert money["batch", "support"] == pytest.approx(CENT / (1 + old), rel=1e-6)
    assert money["search", "retrieval"] == pytest.approx(CENT + CENT * old / (1 + old), rel=1e-6)
    assert host.whole() == 2 * CENT


def test_a_series_that_expires_and_returns_is_not_counted_again(
    make: Any, site: GatewayServers, counts: Counts
) -> None:
    """Initech's 1,000,000 tokens of before leave the page and are back: it has asked for nothing."""
    host = make()
    site.serves(0, 0)
    counts(acme=(0, 0), initech=(1_000_000, 0))
    host.tick()
    for count, tenants in ((1000, {}), (2000, {"initech": (1_000_000, 0)})):
        site.serves(count, 0)
        counts(acme=(count, 0), **tenants)
        host.tick(TICK)

    assert owners(host) == pytest.approx({("search", "retrieval"): 2 * CENT}, rel=1e-6)


def test_a_gateway_without_a_start_counts_from_zero_after_a_minute(make: Any, site: GatewayServers) -> None:
    """Envoy AI Gateway's page has none: acme's 5000 fall to 300. Another replica would answer in between.

    The first seven cents are acme's, by its share of then. Of the eighth, 300 of the 500 that the server
    counted meanwhile, and what trails of 1000, 70 of 900 seconds old.
    """
    host = make()
    site.serves(0, 0)
    site.envoys(acme=(4000, 0))
    host.tick()
    site.serves(1000, 0)
    site.envoys(acme=(5000, 0))
    host.tick(TICK)
    site.serves(1500, 0)
    site.envoys(acme=(300, 0))
    for _ in range(7):
        host.tick(TICK)

    old = 1000 * 0.5 ** (70 / 900)
    acme = 7 * CENT + CENT * (old + 300) / (old + 500)
    assert owners(host)["search", "retrieval"] == pytest.approx(acme, rel=1e-6)
    assert owners(host)["chat", "platform"] == pytest.approx(8 * CENT - acme, rel=1e-4)
    assert host.whole() == 8 * CENT
    assert sum(owners(host, TOKENS).values()) == 1500


@pytest.mark.parametrize("started", [True, False])
def test_a_restart_between_two_reads_loses_no_tenant(
    make: Any, site: GatewayServers, *, started: bool
) -> None:
    """Acme's series is gone with its process, and initech's 500 are new: with a start on the page or without.

    The second cent is 500 of initech's, and 1000 of acme's that trail by 10 of 900 seconds.
    """
    host = make()
    counts = site.coordinates if started else site.envoys
    site.serves(0, 0)
    counts(acme=(4000, 0))
    host.tick()
    site.serves(1000, 0)
    counts(acme=(5000, 0))
    host.tick(TICK)
    site.serves(1500, 0)
    if started:
        site.coordinates(started=STARTED_AGAIN, initech=(500, 0))
    else:
        site.envoys(initech=(500, 0))
    host.tick(TICK)

    old = 1000 * 0.5 ** (10 / 900)
    assert owners(host) == pytest.approx(
        {
            ("batch", "support"): CENT * 500 / (500 + old),
            ("search", "retrieval"): CENT + CENT * old / (500 + old),
        },
        rel=1e-6,
    )
    assert host.whole() == 2 * CENT
    assert sum(owners(host, TOKENS).values()) == 1500


@pytest.mark.parametrize(
    ("capture", "label", "tenants"),
    [
        ("envoy-ai-gateway-1.1", "tenant_id", ("acme", "globex", "initech")),
        ("llm-d-coordinator-a8b1b78", "tenant_id", ("acme", "globex", None)),
        ("bifrost-001016f", "virtual_key_id", ("vk-1", "vk-2", "vk-3")),
    ],
)
def test_a_page_as_its_source_writes_it(
    make: Any, site: GatewayServers, capture: str, label: str, tenants: tuple[str | None, ...]
) -> None:
    """8000 and 1300 tokens: 6000 and 900, 1500 and 300, 500 and 100. By weight 8700, 2400 and 800 of 11900.

    The page before had the same series at zero. Who sent no header is the owner's.
    """
    entries = ", ".join(f"{{match: {name}, team: t-{name}}}" for name in tenants if name)
    host = make(f"[{label}]", f", tenants: [{entries}]")
    page = (CAPTURES / f"{capture}.prom").read_text(encoding="utf-8")
    lines = [line if line.startswith("#") else f"{line.rpartition(' ')[0]} 0" for line in page.splitlines()]
    cold = "\n".join(lines).replace("process_start_time_seconds 0", "process_start_time_seconds 1.76e9")
    site.serves(0, 0)
    site.gateway = cold + "\n"
    host.tick()
    site.serves(8000, 1300)
    site.gateway = page
    host.tick(TICK)

    teams = [("chat", f"t-{name}" if name else "platform") for name in tenants]
    parts = dict(zip(teams, (8700, 2400, 800), strict=True))
    assert owners(host) == pytest.approx(
        {owner: CENT * part / 11900 for owner, part in parts.items()}, rel=1e-6
    )
    assert sum(owners(host, TOKENS).values()) == 9300
    assert owners(host, TOKENS) == pytest.approx(
        {owner: 9300 * part / 11900 for owner, part in parts.items()}, abs=2
    )


def test_other_counters_after_a_reload_begin_with_marks(make: Any, site: GatewayServers) -> None:
    """A million tokens that another counter had already are not new; what it counts from then on is."""
    first = ", counters: {prompt: a_total}"
    host = make(rest=TENANTS + first)
    of = '{model="llama",tenant_id="%s"}'
    site.serves(0, 0)
    site.gateway = f"a_total{of % 'acme'} 0\nb_total{of % 'initech'} 1000000\n"
    host.tick()
    site.serves(1000, 0)
    site.gateway = f"a_total{of % 'acme'} 1000\nb_total{of % 'initech'} 1000000\n"
    host.tick(TICK)
    host.reload(host.file.read_text().replace("prompt: a_total", "prompt: b_total"))
    host.tick(TICK)
    assert ("batch", "support") not in owners(host)

    site.serves(2000, 0)
    site.gateway = f"a_total{of % 'acme'} 1000\nb_total{of % 'initech'} 1001000\n"
    host.tick(TICK)
    assert owners(host)["batch", "support"] > 0
    assert host.whole() == 3 * CENT


def test_a_label_with_too_many_values_is_logged_once(
    make: Any, site: GatewayServers, caplog: pytest.LogCaptureFixture
) -> None:
    """The last shares stand, the marks stay bounded, and its health and one line say why."""
    caplog.set_level("INFO")
    host = make()
    site.serves(0, 0)
    site.envoys(acme=(0, 0))
    host.tick()
    site.serves(1000, 0)
    site.envoys(acme=(1000, 0))
    host.tick(TICK)
    site.envoys(**{f"random_{number}": (1, 1) for number in range(10_001)})
    for _ in range(3):
        host.tick(TICK)

    assert owners(host) == pytest.approx({("search", "retrieval"): 4 * CENT}, rel=1e-6)
    assert host.served("inference_source_errors_total", source=host.source, reason="too_large") == 3
    lines = [
        str(vars(record)) for record in caplog.records if "more series, models or teams" in str(vars(record))
    ]
    assert len(lines) == 1
    assert len(host.text()) < 100_000
