"""What a gateway's page tells of who asked for how many tokens."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from exporter.engines.catalogue import EVERYTHING
from exporter.engines.exposition import Page, Sample, WantedSeries
from exporter.engines.gateways import GATEWAYS, GatewaySpec, Shares
from exporter.engines.interpretation import begun, created
from exporter.readings import GatewayCounter, label
from exporter.units import Instant

COUNTS_MAX: Final = 1000
"""Models, deployments and teams that are told apart on one page; of a page with more nothing is told."""

TALLIED: Final = WantedSeries(
    EVERYTHING.names.union(
        *(
            {*gateway.shares.prompt, *gateway.shares.generation, *gateway.shares.beginnings}
            for gateway in GATEWAYS
            if gateway.shares is not None
        )
    )
)
"""Every name that recognition, or the reading of any gateway, looks at."""


@dataclass(frozen=True, slots=True)
class GatewayCounts:
    """One page. `teams`: its counters have a label that could name one. `cut`: it had more than is told."""

    counters: tuple[GatewayCounter, ...]
    teams: bool
    cut: bool = False
    identity: str = ""
    started: Instant | None = None


def count_gateway(gateway: GatewaySpec, page: Page) -> GatewayCounts:
    """Read a page that was read for `TALLIED`. A counter that is NaN, infinite or negative is no reading.

    Each series is told by itself, since those of keys and users go and come back one by one.
    """
    shares = gateway.shares
    if shares is None:
        return GatewayCounts((), teams=False)
    counters: list[GatewayCounter] = []
    label_sets: set[tuple[str, str, str]] = set()
    teams = False
    quantities: tuple[tuple[Literal["prompt", "generation"], tuple[str, ...]], ...] = (
        ("prompt", shares.prompt),
        ("generation", shares.generation),
    )
    for quantity, names in quantities:
        # The first of these names that is on the page: the others repeat it.
        counted = next((name for name in names if name in page.names), "")
        began = created(page, counted) if shares.created else {}
        for sample in _numbers(page, counted):
            labels = sample.series.labels
            teams |= any(name in labels for name in shares.teams)
            who = _model(shares, labels), label(labels.get(shares.deployment, "")), _team(shares, labels)
            label_sets.add(who)
            if len(label_sets) > COUNTS_MAX:
                # Some of them would be those that a later read leaves out, and count from zero in another.
                return GatewayCounts((), teams, cut=True)
            since = began.get(sample.series.key.removeprefix(counted))
            counters.append(GatewayCounter(sample.series.key, *who, quantity, sample.value, since))
    identity, started = begun(page, shares.created) or ("", None)
    return GatewayCounts(tuple(counters), teams, identity=identity, started=started)


def _numbers(page: Page, name: str) -> Iterable[Sample]:
    return (s for s in page.samples.get(name, ()) if math.isfinite(s.value) and s.value >= 0)


def _model(shares: Shares, labels: Mapping[str, str]) -> str:
    name = labels.get(shares.model, "")
    provider = labels.get(shares.provider, "") if shares.provider else ""
    name = name.removeprefix(f"{provider}/") if provider else name
    return "" if name in shares.unnamed else label(name)


def _team(shares: Shares, labels: Mapping[str, str]) -> str:
    teams = (labels.get(name, "") for name in shares.teams)
    return next((label(team) for team in teams if team not in shares.unnamed), "")
