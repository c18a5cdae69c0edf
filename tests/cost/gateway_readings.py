"""Readings of a server and of the gateway in front of it, in short form."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from exporter.cost.postings import RequestPosting, TokenPosting
from exporter.readings import Division, GatewayCounter, GatewayReading, ServerReading
from tests.cost.checked_meter import CheckedMeter
from tests.cost.readings import CHAT, allocate, down, h100, page

URL = "http://127.0.0.1:4000/metrics/"
BY_TEAM = Division("team", URL)
BY_ADAPTER = Division("adapter", URL, models=("sql-*", "legal-*"))

QUANTITIES: Final[tuple[Literal["prompt", "generation"], ...]] = ("prompt", "generation")

CounterPair = tuple[float, float]
"""Prompts and generated tokens that were ever counted."""


def gateway_reading(
    teams: dict[str, CounterPair] | None = None,
    adapters: dict[str, CounterPair] | None = None,
    model: str = "llama",
    deployment: str = "id-01",
    identity: str = "gateway-1",
    started: int | None = None,
) -> GatewayReading:
    """What a gateway counted: by team for one model, or by adapter, with one series for each count."""
    counted = {(model, deployment, team): pair for team, pair in (teams or {}).items()}
    counted |= {(name, "", ""): pair for name, pair in (adapters or {}).items()}
    counters = [
        GatewayCounter(f"{quantity}/{'/'.join(asker)}", *asker, quantity, value)
        for asker, pair in counted.items()
        for quantity, value in zip(QUANTITIES, pair, strict=True)
    ]
    return GatewayReading(URL, up=True, identity=identity, started=started, counters=tuple(counters))


SILENT = GatewayReading(URL, up=False)


def served(division: Division | None = BY_TEAM, **counts: float) -> ServerReading:
    """What the server counted, and what it is divided by."""
    return replace(page(**counts), division=division)


@dataclass
class Divided:
    """A meter of one server on one busy GPU, with what was posted by team and model."""

    meter: CheckedMeter
    tokens: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)

    def tick(
        self,
        server: ServerReading | None,
        *gateways: GatewayReading,
        seconds: float = 10,
        busy: float = 1.0,
    ) -> None:
        """Let time pass and read both; without a page the server does not answer."""
        reading = down(page()) if server is None else server
        gpu = h100(utilization_ratio=busy)
        outcome = self.meter.pass_by(
            round(seconds * 10**9), [gpu], [reading], allocate(CHAT, 0), gateways=gateways
        )
        for row in outcome.postings.tokens:
            self._token(row)
        for posted in outcome.postings.requests:
            self._request(posted)

    def _token(self, row: TokenPosting) -> None:
        self.tokens[row.owner.team, row.owner.model, row.kind] += row.count

    def _request(self, row: RequestPosting) -> None:
        self.requests[row.owner.team, row.owner.model] += row.count

    def dollars(self, **by: str) -> int:
        """As the meter has it."""
        return self.meter.dollars(**by)

    def shares(self, by: str = "team") -> dict[str, Any]:
        """The parts of the money of the last tick by team or model, in percent."""
        assert self.meter.outcome is not None
        sums: Counter[str] = Counter()
        whole = 0
        for segment in self.meter.outcome.postings.segments:
            for row in segment.money:
                sums[getattr(row.owner_phase.owner, by)] += row.amount
                whole += row.amount
        return {name: round(100 * amount / whole, 6) for name, amount in sums.items()}
