"""What a gateway's page tells of who asked for how many tokens."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from exporter.engines.catalogue import EVERYTHING
from exporter.engines.exposition import Page, Sample, Wanted
from exporter.engines.gateways import GATEWAYS, Gateway, Shares
from exporter.engines.interpretation import begun
from exporter.readings import GatewayCount, label
from exporter.units import Instant

COUNTS_MAX: Final = 1000
"""Models, deployments and teams that are told apart on one page; of a page with more nothing is told."""

TALLIED: Final = Wanted(
    EVERYTHING.names.union(
        *(
            {*gateway.shares.prompt, *gateway.shares.generation, gateway.shares.created} - {""}
            for gateway in GATEWAYS
            if gateway.shares is not None
        )
    )
)
"""Every name that recognition, or the reading of any gateway, looks at."""


@dataclass(frozen=True, slots=True)
class Tally:
    """One page. `teams`: its counters have a label that could name one. `cut`: it had more than is told."""

    counts: tuple[GatewayCount, ...]
    teams: bool
    cut: bool = False
    identity: str = ""
    started: Instant | None = None


def tally(gateway: Gateway, page: Page) -> Tally:
    """Read a page that was read for `TALLIED`. A counter that is NaN, infinite or negative is no reading.

    Series of one process only rise, so that those of keys and users are added up before any difference is
    taken: whoever can make users cannot make marks.
    """
    shares = gateway.shares
    if shares is None:
        return Tally((), teams=False)
    found: dict[tuple[str, str, str], list[float]] = {}
    teams = False
    for place, names in enumerate((shares.prompt, shares.generation)):
        for sample in _samples(page, names):
            labels = sample.series.labels
            teams |= any(name in labels for name in shares.teams)
            who = _model(shares, labels), label(labels.get(shares.deployment, "")), _team(shares, labels)
            if who not in found and len(found) >= COUNTS_MAX:
                # Some of them would be those that a later read leaves out, and count from zero in another.
                return Tally((), teams, cut=True)
            found.setdefault(who, [0.0, 0.0])[place] += sample.value
    counts = (GatewayCount(*who, prompt, generation) for who, (prompt, generation) in found.items())
    identity, started = begun(page, shares.created) or ("", None)
    return Tally(tuple(counts), teams, identity=identity, started=started)


def _samples(page: Page, names: Iterable[str]) -> Iterable[Sample]:
    """The numbers of the first of these names that is on the page."""
    name = next((name for name in names if name in page.names), "")
    told = page.samples.get(name, ())
    return [sample for sample in told if math.isfinite(sample.value) and sample.value >= 0]


def _model(shares: Shares, labels: Mapping[str, str]) -> str:
    name = labels.get(shares.model, "")
    provider = labels.get(shares.provider, "") if shares.provider else ""
    name = name.removeprefix(f"{provider}/") if provider else name
    return "" if name in shares.nobody else label(name)


def _team(shares: Shares, labels: Mapping[str, str]) -> str:
    told = (labels.get(name, "") for name in shares.teams)
    return next((label(team) for team in told if team not in shares.nobody), "")
