"""Counts of a gateway's page by model, deployment and team or tenant."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from exporter.engines.exposition import Page
from exporter.engines.gateways import GatewaySpec, Shares
from exporter.engines.interpretation import created_by_series, process_start
from exporter.engines.spec import chosen
from exporter.readings import GatewayCounter, label
from exporter.units import Instant

COUNTS_MAX: Final = 1000
"""Models, deployments and teams of one page; a page with more is not used."""

TeamOf = Callable[[Mapping[str, str]], str]
"""The team that the labels of a series name, empty for none."""


@dataclass(frozen=True, slots=True)
class GatewayCounts:
    """Counts of one gateway page."""

    counters: tuple[GatewayCounter, ...]
    teams: bool
    """Whether it has a label for teams."""
    cut: bool = False
    """Whether it exceeds `COUNTS_MAX`."""
    identity: str = ""
    started: Instant | None = None
    labels: tuple[str, ...] = ()
    """Names of labels of its counters."""


def count_gateway(gateway: GatewaySpec, page: Page) -> GatewayCounts:
    """Read a page that was read for `TALLIED`."""
    return GatewayCounts((), teams=False) if gateway.shares is None else count_shares(gateway.shares, page)


def count_shares(shares: Shares, page: Page, team_of: TeamOf | None = None) -> GatewayCounts:
    """Read the counters of a page. One that is NaN, infinite or negative is no reading.

    Each series is a counter of its own, since those of keys and users go and come back one by one.
    `team_of` names teams in place of the labels of `shares`.
    """
    counters: list[GatewayCounter] = []
    label_sets: set[tuple[str, str, str]] = set()
    label_names: set[str] = set()
    for quantity, alternatives in shares.kinds:
        # The first of these names that is on the page: the others repeat it.
        counted = next((series for series in alternatives if series.name in page.names), None)
        if counted is None:
            continue
        created = created_by_series(page, counted.name) if shares.created else {}
        for sample in page.samples.get(counted.name, ()):
            labels = sample.series.labels
            is_number = math.isfinite(sample.value) and sample.value >= 0
            if not is_number or not chosen(labels, counted.where):
                continue
            label_names.update(labels)
            if team_of is not None:
                team = team_of(labels)
            else:
                teams = (labels.get(name, "") for name in shares.teams)
                team = next((label(name) for name in teams if name not in shares.unnamed), "")
            model = labels.get(shares.model, "")
            provider = labels.get(shares.provider, "") if shares.provider else ""
            if provider:
                model = model.removeprefix(f"{provider}/")
            model = "" if model in shares.unnamed else label(model)
            label_set = model, label(labels.get(shares.deployment, "")), team
            label_sets.add(label_set)
            if len(label_sets) > COUNTS_MAX:
                # A later read may leave out others: they would count from zero when they are back.
                return GatewayCounts((), teams=not label_names.isdisjoint(shares.teams), cut=True)
            model, deployment, team = label_set
            counter = GatewayCounter(
                series=sample.series.key,
                model=model,
                deployment=deployment,
                team=team,
                quantity=quantity,
                value=sample.value,
                created=created.get(sample.series.key),
            )
            counters.append(counter)
    identity, started = process_start(page, shares.created) or ("", None)
    return GatewayCounts(
        tuple(counters),
        teams=not label_names.isdisjoint(shares.teams),
        identity=identity,
        started=started,
        labels=tuple(sorted(label_names)),
    )
