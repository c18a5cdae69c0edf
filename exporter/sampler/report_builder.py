"""Builds the report of one tick from its outcome and the committed totals. Pure."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from exporter.config.settings import DEFAULT_BUDGETS, Config
from exporter.cost.advance import GpuOutcome, TickOutcome
from exporter.cost.attribution import UNALLOCATED_KEY
from exporter.cost.load import headroom, load_rates, load_ratio
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import CostOwner
from exporter.cost.projection import (
    Projection,
    current_prices,
    energy_dollars_per_hour,
    first_prices,
    project,
    rates,
)
from exporter.cost.quotients import per_million
from exporter.cost.service_level import met_cost, met_ratios
from exporter.cost.state import ServerState
from exporter.frozen import dataclass, replace
from exporter.readings import Frame, Objective, ServerKey, ServerReading, published
from exporter.report import (
    BudgetRow,
    Build,
    CommittedTotals,
    ComponentPrice,
    ConfigRow,
    GpuRow,
    HostSavings,
    LoadRow,
    MetCostRow,
    MetRow,
    Quotient,
    Report,
    ShareRow,
    SourceRow,
    SplitRow,
    StandardFamily,
    TickBasis,
)
from exporter.tariff.calendar import Month, month_before, month_of
from exporter.tariff.rate import Price
from exporter.tariff.tariff import ENERGY
from exporter.units import Instant, dollars


@dataclass(frozen=True, slots=True)
class ReportContext:
    """Part of a report that does not change from tick to tick.

    `web_succeeded` is the result of the last read of the web configuration, `None` without one: a request may
    read it again at any time. `left_out` counts what pages of earlier reports lack, by reason.
    """

    config: Config
    policy: CostPolicy
    build: Build
    config_row: ConfigRow
    web_succeeded: Callable[[], bool | None] = lambda: None
    left_out: Callable[[], tuple[tuple[str, int], ...]] = lambda: ()
    web_refused: Callable[[], tuple[tuple[str, int], ...]] = lambda: ()
    """HTTP requests refused since the start, by reason."""
    savings: Callable[[], HostSavings | None] = lambda: None
    """Savings of the last review, `None` without one."""


def months_served(frame: Frame, policy: CostPolicy) -> tuple[Month, Month]:
    """The current and the previous month."""
    month = month_of(frame.wall, policy.zone)
    return month, month_before(month, policy.zone)


def build_report(
    context: ReportContext,
    frame: Frame,
    outcome: TickOutcome,
    totals: CommittedTotals | None,
    sources: Iterable[SourceRow],
    process: tuple[StandardFamily, ...],
    previous: Report | None = None,
) -> Report:
    """Report of one tick, after the `previous` one; without committed totals it has no money yet."""
    policy = outcome.policy
    month, before = months_served(frame, policy)
    prices = current_prices(outcome.gpus, frame.wall, policy)
    first = first_prices(outcome.gpus, frame.wall, policy)
    hourly = rates(outcome.gpus, prices)
    projection = None if totals is None else _projection(outcome, totals, month, frame)
    hours = float(context.config.hours_per_month)
    of_window = _OfWindow() if totals is None else _of_window(totals, outcome, frame, previous)
    loads = {
        (key, load.model): ratio
        for key, tick in outcome.ticks.items()
        for load in tick.loads
        if (ratio := load_ratio(load)) is not None
    }
    return Report(
        elapsed=frame.elapsed,
        wall=frame.wall,
        interval=context.config.interval,
        build=context.build,
        config=replace(context.config_row, web_last_reload_success=context.web_succeeded()),
        totals=totals,
        process=process,
        rates=hourly.total,
        prices=tuple(_prices(outcome, prices)),
        quotients=of_window.quotients,
        met=of_window.met,
        met_costs=of_window.met_costs,
        month_ends={each.name: each.end for each in (month, before)},
        metered_since=_metered_since(totals, (month, before)),
        projected={}
        if projection is None
        else {(product, month.name): dollars(amount) for product, amount in projection.totals().items()},
        projection=projection,
        first_price_rates=_by_owner((hourly if first == prices else rates(outcome.gpus, first)).total),
        run_rate=sum(hourly.total.values()) * hours if hourly.total else None,
        budgets=tuple(
            BudgetRow(
                budget.name,
                budget.product,
                float(budget.dollars_per_month),
                configured=context.config.budgets is not DEFAULT_BUDGETS,
            )
            for budget in context.config.budgets
        ),
        savings=context.savings(),
        headroom=headroom(hourly.busy, loads),
        load_rates=load_rates(hourly.total, loads),
        fleet_overheads={
            name: rate.dollars_per_hour() for name, rate in policy.tariff.fleet_overheads(month)
        },
        gpus=tuple(_gpus(outcome, prices, silent=frame.gpus is None)),
        servers=published(frame.servers),
        unread=frame.unread,
        loads=tuple(
            LoadRow(policy.owner_of(key, load.model), load)
            for key, tick in outcome.ticks.items()
            for load in tick.loads
        ),
        shares=tuple(
            ShareRow(key, gpu.gpu.uuid, ratio, method)
            for gpu in outcome.gpus
            for (key, method), ratio in gpu.held_shares.items()
            if key != UNALLOCATED_KEY
        ),
        splits=tuple(
            SplitRow(policy.owner_of(key, model), split.method, split.prefill_ratio)
            for key, tick in outcome.ticks.items()
            for model, split in tick.splits.items()
        ),
        sources=tuple(sources),
        exposition_errors=context.left_out(),
        web_refused=context.web_refused(),
        hosted=context.config.compare,
        basis=TickBasis(policy, outcome.state),
        price_list_date=policy.tariff.catalogue.list_date(),
        expected_gpus=outcome.inventory.expected,
        visible_gpus=outcome.inventory.visible,
    )


def _prices(outcome: TickOutcome, prices: Iterable[Price]) -> Iterable[ComponentPrice]:
    for gpu, price in zip(outcome.gpus, prices, strict=True):
        for rate in price.rates:
            hourly = rate.rate.dollars_per_hour()
            yield ComponentPrice(gpu.gpu, rate.component, hourly, rate.provenance, gpu.count)
        energy = energy_dollars_per_hour(price, gpu.mean_watts)
        if price.energy is not None and energy is not None:
            yield ComponentPrice(gpu.gpu, ENERGY, energy, price.energy.provenance)


class _OfWindow(NamedTuple):
    """Rows of the last 60 whole minutes."""

    quotients: tuple[Quotient, ...] = ()
    met: tuple[MetRow, ...] = ()
    met_costs: tuple[MetCostRow, ...] = ()


def _of_window(
    totals: CommittedTotals, outcome: TickOutcome, frame: Frame, previous: Report | None
) -> _OfWindow:
    """Rows of the window: those of the previous report while all that they depend on is the same.

    Most ticks end in the minute of the one before: half of a report's time.
    """
    policy, servers, objectives = outcome.policy, outcome.state.servers, _objectives(frame.servers)
    if (
        previous is not None
        and previous.totals is not None
        and previous.basis is not None
        and previous.totals.window is totals.window
        and previous.basis.policy is policy
        and _partial(previous.basis.state.servers) == _partial(servers)
        and _objectives(previous.servers) == objectives
    ):
        return _OfWindow(previous.quotients, previous.met, previous.met_costs)
    quotients = tuple(_quotients(totals, policy, servers))
    met = tuple(_met(totals, objectives))
    return _OfWindow(quotients, met, tuple(_met_costs(quotients, met)))


def _partial(servers: Mapping[ServerKey, ServerState]) -> list[ServerKey]:
    return [key for key, server in servers.items() if server.partial]


def _quotients(
    totals: CommittedTotals, policy: CostPolicy, servers: Mapping[ServerKey, ServerState]
) -> Iterable[Quotient]:
    for owner, window in totals.window.items():
        if servers.get(owner.key, ServerState()).partial:
            continue
        weights = policy.split_rule(owner.server, owner.model).weights
        dollars_per_million = per_million(window.money, window.tokens, weights, window.unpriced)
        for (kind, basis), value in dollars_per_million.items():
            yield Quotient(owner, kind, basis, value)


def _objectives(servers: Iterable[ServerReading]) -> dict[ServerKey, set[Objective]]:
    """The objectives of each server with a service level."""
    objectives: dict[ServerKey, set[Objective]] = {}
    for server in servers:
        if server.slo is not None:
            objectives.setdefault(server.key, set()).update(server.slo.seconds())
    return objectives


def _met(totals: CommittedTotals, objectives: Mapping[ServerKey, Collection[Objective]]) -> Iterable[MetRow]:
    for owner, window in totals.window.items():
        ratios = met_ratios(window.latencies, objectives.get(owner.key, ()))
        for (measure, basis), ratio in ratios.items():
            yield MetRow(owner, measure, basis, ratio)


def _met_costs(quotients: Iterable[Quotient], met: Iterable[MetRow]) -> Iterable[MetCostRow]:
    """What tokens within all objectives cost; the level of a server's model is that of each of its owners."""
    levels = {(row.owner.key, row.owner.model): row.ratio for row in met if row.measure == "all"}
    for each in quotients:
        ratio = levels.get((each.owner.key, each.owner.model))
        if ratio is not None and (each.kind, each.basis) == ("all", "full"):
            yield MetCostRow(each.owner, *met_cost(each.dollars_per_million_tokens, ratio))


def _projection(
    outcome: TickOutcome, totals: CommittedTotals, month: Month, frame: Frame
) -> Projection | None:
    to_date: dict[str, int] = {}
    for cell, amount in totals.months.items():
        if cell.month == month.name:
            to_date[cell.product] = to_date.get(cell.product, 0) + amount
    return project(outcome.gpus, totals.usage, to_date, frame.wall, outcome.policy)


def _metered_since(totals: CommittedTotals | None, months: Iterable[Month]) -> Mapping[str, Instant]:
    since = None if totals is None else totals.metered_since
    if since is None:
        return {}
    return {month.name: max(month.start, since) for month in months if since < month.end}


def _by_owner(rates: Mapping[CostOwner, float]) -> Mapping[tuple[str, str], float]:
    by_owner: dict[tuple[str, str], float] = {}
    for owner, rate in rates.items():
        by_owner[owner.product, owner.team] = by_owner.get((owner.product, owner.team), 0.0) + rate
    return by_owner


def _gpus(outcome: TickOutcome, prices: Iterable[Price], *, silent: bool) -> Iterable[GpuRow]:
    for gpu, price in zip(outcome.gpus, prices, strict=True):
        up = not silent and gpu.reading is not None and gpu.reading.up
        state = outcome.state.gpus.get(gpu.gpu.uuid)
        yield GpuRow(
            gpu.gpu,
            gpu.index,
            up,
            price.priced,
            gpu.reading,
            _idle_ratio(gpu),
            gpu.count,
            "" if state is None else state.predecessor,
            0 if state is None else state.replaced_at,
        )


def _idle_ratio(gpu: GpuOutcome) -> float | None:
    total = sum(gpu.phase_weights.values())
    if not total or any(part.phase == "unobserved" and weight for part, weight in gpu.phase_weights.items()):
        return None
    return sum(weight for part, weight in gpu.phase_weights.items() if part.phase == "idle") / total
