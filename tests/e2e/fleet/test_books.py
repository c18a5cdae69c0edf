"""A month of a thousand ledgers, read from a real Prometheus and a real VictoriaMetrics."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from exporter.clock import SystemClock
from exporter.config.http_client import HttpClientConfig
from exporter.finance.fleet.record import combine
from exporter.finance.prometheus.client import PrometheusClient, PrometheusError
from exporter.finance.prometheus.month import host_months
from exporter.tariff.calendar import month_before, month_of
from exporter.units import NANOSECONDS_PER_SECOND
from tests.e2e.fleet.history import Sample, blocks, imported
from tests.e2e.fleet.programs import FleetPrometheus, Victoria
from tests.nightly import daily

pytestmark = [pytest.mark.xdist_group("fleet-books"), pytest.mark.timeout(600)]

HOUR = 3600
LEDGERS = 1000
LIVING = 200
SPOT_HOURS = 3
SECONDS_MAX = 20
"""Of a processor: other tests run at the same time."""
CENT = Fraction(1, 100)

UTC = ZoneInfo("UTC")
NOW = int(time.time())
MONTH = month_before(month_of(NOW * NANOSECONDS_PER_SECOND, UTC), UTC)
START, END = MONTH.start // NANOSECONDS_PER_SECOND, MONTH.end // NANOSECONDS_PER_SECOND


@dataclass(frozen=True)
class BilledLedger:
    """A ledger on paper: when it reported, and what its month comes to in dollars."""

    number: int

    @property
    def id(self) -> str:
        return f"{self.number * 2654435761 % 2**32:08x}-0000-4000-8000-{self.number:012d}"

    @property
    def living(self) -> bool:
        return self.number < LIVING

    @property
    def life(self) -> tuple[int, int]:
        """Seconds; a spot node lives for three hours somewhere in the month."""
        begin = START + self.number * 7919 % ((END - START) // HOUR - SPOT_HOURS) * HOUR
        return (START, NOW) if self.living else (begin, begin + SPOT_HOURS * HOUR)

    @property
    def dollars(self) -> Fraction:
        begin, end = self.life
        return Fraction(min(end, END) - begin, HOUR) * Fraction(1234567 + 1009 * self.number, 10**6)

    @property
    def cells(self) -> dict[tuple[str, str, str], Fraction]:
        """By product, team and price basis: two thirds are configured, the rest is an estimate."""
        product, team = f"product-{self.number % 7}", f"team-{self.number % 3}"
        estimated = self.dollars / 3
        return {
            (product, team, "configured"): self.dollars - estimated,
            (product, team, "estimate"): estimated,
        }


FLEET = tuple(map(BilledLedger, range(LEDGERS)))


def samples() -> Iterator[Sample]:
    """What the rules of clusters and fleet recorded."""
    for ledger in FLEET:
        cluster = f"cluster-{ledger.number % 4}"
        for (product, team, basis), dollars in ledger.cells.items():
            owner = f'product="{product}",team="{team}"'
            labels = f'ledger="{ledger.id}",month="{MONTH.name}",price_basis="{basis}",{owner}'
            for at in (NOW - HOUR, NOW - 300):
                yield f"inference:month_to_date_dollars:posting_hourly{{{labels}}}", float(dollars), at
        begin, end = ledger.life
        node = f"node-{ledger.number}"
        name = f'cluster="{cluster}",instance="{node}:9844",ledger="{ledger.id}",node="{node}"'
        for at in range(begin + 300, min(end, END + 2 * HOUR) + 1, HOUR // 2):
            yield f"inference:ledger_seen_timestamp_seconds{{{name}}}", float(at - 10), at
    for number in range(4):
        labels = f'cluster="cluster-{number}",month="{MONTH.name}"'
        yield f"inference:month_end_timestamp_seconds:cluster{{{labels}}}", float(END), END - 600
        yield f"inference:month_end_timestamp_seconds_hourly{{{labels}}}", float(END), NOW - 600


@pytest.fixture(scope="module")
def recorded() -> list[Sample]:
    return list(samples())


def limited(folder: Path, samples_max: int) -> FleetPrometheus:
    """A Prometheus that refuses queries of more samples."""
    return FleetPrometheus(folder, "{}", [f"--query.max-samples={samples_max}"], retention="90d")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, recorded: list[Sample]) -> Iterator[FleetPrometheus]:
    program = limited(tmp_path_factory.mktemp("prometheus"), 2_000_000)
    blocks(recorded, program.data)
    with program:
        yield program


@pytest.fixture(scope="module")
def victoria(tmp_path_factory: pytest.TempPathFactory, recorded: list[Sample]) -> Iterator[Victoria]:
    with Victoria(tmp_path_factory.mktemp("victoria")) as program:
        program.take(imported(recorded))
        yield program


def client(url: str) -> PrometheusClient:
    return PrometheusClient(url, HttpClientConfig(), SystemClock(), 60 * NANOSECONDS_PER_SECOND)


@pytest.mark.nightly  # the command line does the same in test_books_both_ways.py
@pytest.mark.parametrize("engine", ["prometheus", "victoria"])
def test_a_thousand_ledgers_come_to_the_cent(engine: str, request: pytest.FixtureRequest) -> None:
    """Each ledger and the whole; nodes of three hours that died are in it."""
    program = request.getfixturevalue(engine)
    begun = time.process_time()
    with client(program.url) as querying:
        hosts = host_months(querying, MONTH.name, ["UTC"], NOW * NANOSECONDS_PER_SECOND)
    fleet = combine(hosts, NOW * NANOSECONDS_PER_SECOND)
    seconds = time.process_time() - begun

    by_ledger = {host.record.ledger: Fraction(host.total, 10**12) for host in hosts}
    assert by_ledger.keys() == {ledger.id for ledger in FLEET}
    assert max(abs(by_ledger[ledger.id] - ledger.dollars) for ledger in FLEET) < CENT
    assert abs(Fraction(fleet.total, 10**12) - sum(ledger.dollars for ledger in FLEET)) < CENT
    assert seconds < SECONDS_MAX
    silent = {finding.ledger for finding in fleet.findings if finding.kind == "silent"}
    assert silent == {ledger.id for ledger in FLEET if not ledger.living and ledger.life[1] < END}
    names = {host.record.ledger: host.names[-1] for host in hosts}
    assert names[FLEET[5].id] == ("cluster-1", "node-5:9844", "node-5")


@pytest.mark.parametrize("limit", daily((3000, 3), {3}))
def test_a_limit_of_samples_is_kept(tmp_path: Path, recorded: list[Sample], limit: int) -> None:
    """A server that takes few samples is queried in parts; one that takes none says what to raise."""
    program = limited(tmp_path / "prometheus", limit)
    blocks(recorded, program.data)
    with program, client(program.url) as querying:
        if limit > LEDGERS:
            assert len(host_months(querying, MONTH.name, ["UTC"], NOW * NANOSECONDS_PER_SECOND)) == LEDGERS
        else:
            with pytest.raises(PrometheusError, match=r"--query\.max-samples"):
                host_months(querying, MONTH.name, ["UTC"], NOW * NANOSECONDS_PER_SECOND)
