"""Builds the report of one tick from its outcome and the committed totals. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from exporter import report as rows
from exporter.config.settings import DEFAULT_BUDGETS, Config
from exporter.cost import load, projection, service_level
from exporter.cost.advance import TickOutcome
from exporter.cost.attribution import UNALLOCATED_KEY
from exporter.cost.policy import CostPolicy
from exporter.cost.quotients import per_million
from exporter.cost.state import ServerState
from exporter.readings import Frame, Objective, ServerKey, published
from exporter.report import CommittedTotals, Report
from exporter.tariff.calendar import Month, month_before, month_of
from exporter.tariff.rate import Price
from exporter.tariff.tariff import ENERGY
from exporter.units import Picodollars, dollars


@dataclass(frozen=True, slots=True)
class ReportContext:
    """What no tick changes in a report, and callbacks for what other threads change."""

    config: Config
    policy: CostPolicy
    build: rows.Build
    config_row: rows.ConfigRow
    web_succeeded: Callable[[], bool | None] = lambda: None
    """Whether the last read of the web configuration succeeded; `None` without one."""
    left_out: Callable[[], tuple[tuple[str, int], ...]] = lambda: ()
    """What pages of earlier reports lack, by reason."""
    web_refused: Callable[[], tuple[tuple[str, int], ...]] = lambda: ()
    """HTTP requests refused since the start, by reason."""
    savings: Callable[[], rows.HostSavings | None] = lambda: None
    """Savings of the last review; `None` without one."""


def months_served(frame: Frame, policy: CostPolicy) -> tuple[Month, Month]:
    """The current and the previous month."""
    month = month_of(frame.wall, policy.zone)
    return month, month_before(month, policy.zone)


def build_report(
    context: ReportContext,
    frame: Frame,
    outcome: TickOutcome,
    totals: CommittedTotals | None,
    sources: Iterable[rows.SourceRow],
    process: tuple[rows.StandardFamily, ...],
) -> Report:
    """Report of one tick; without committed totals it has no money yet."""
    policy = outcome.policy
    config = context.config
    months = months_served(frame, policy)
    month = months[0]
    prices = projection.current_prices(outcome.gpus, frame.wall, policy)
    hourly = projection.rates(outcome.gpus, prices)

    first_prices = projection.first_prices(outcome.gpus, frame.wall, policy)
    first_hourly = hourly if first_prices == prices else projection.rates(outcome.gpus, first_prices)
    first_price_rates: dict[tuple[str, str], float] = {}
    for owner, rate in first_hourly.total.items():
        team = owner.product, owner.team
        first_price_rates[team] = first_price_rates.get(team, 0.0) + rate

    metered_since = {}
    if totals is not None and totals.metered_since is not None:
        since = totals.metered_since
        metered_since = {each.name: max(each.start, since) for each in months if since < each.end}

    projected = None if totals is None else _projection(outcome, totals, month, frame)
    month_ends = {} if projected is None else projected.totals()

    loads = [(key, reading) for key, server in outcome.activity.items() for reading in server.loads]
    load_ratios = {}
    for key, reading in loads:
        ratio = load.load_ratio(reading)
        if ratio is not None:
            load_ratios[key, reading.model] = ratio

    quotients = () if totals is None else tuple(_quotients(totals, outcome))
    met = () if totals is None else tuple(_met(totals, frame))

    return Report(
        elapsed=frame.elapsed,
        wall=frame.wall,
        interval=config.interval,
        build=context.build,
        config=replace(context.config_row, web_last_reload_success=context.web_succeeded()),
        totals=totals,
        process=process,
        rates=hourly.total,
        prices=tuple(_prices(outcome, prices)),
        quotients=quotients,
        met=met,
        met_costs=tuple(_met_costs(quotients, met)),
        month_ends={each.name: each.end for each in months},
        metered_since=metered_since,
        projected={(product, month.name): dollars(end) for product, end in month_ends.items()},
        projection=projected,
        first_price_rates=first_price_rates,
        run_rate=sum(hourly.total.values()) * float(config.hours_per_month) if hourly.total else None,
        budgets=tuple(
            rows.BudgetRow(
                budget.name,
                budget.product,
                float(budget.dollars_per_month),
                configured=config.budgets is not DEFAULT_BUDGETS,
            )
            for budget in config.budgets
        ),
        savings=context.savings(),
        headroom=load.headroom(hourly.busy, load_ratios),
        load_rates=load.load_rates(hourly.total, load_ratios),
        fleet_overheads={
            name: rate.dollars_per_hour() for name, rate in policy.tariff.fleet_overheads(month)
        },
        gpus=tuple(_gpus(outcome, prices, silent=frame.gpus is None)),
        servers=published(frame.servers),
        unread=frame.unread,
        loads=tuple(rows.LoadRow(policy.owner_of(key, reading.model), reading) for key, reading in loads),
        shares=tuple(
            rows.ShareRow(key, gpu.gpu.uuid, ratio, method)
            for gpu in outcome.gpus
            for (key, method), ratio in gpu.held_shares.items()
            if key != UNALLOCATED_KEY
        ),
        splits=tuple(
            rows.SplitRow(policy.owner_of(key, model), phases.method, phases.prefill_ratio)
            for key, server in outcome.activity.items()
            for model, phases in server.phases.items()
        ),
        sources=tuple(sources),
        exposition_errors=context.left_out(),
        web_refused=context.web_refused(),
        hosted=config.compare,
        basis=rows.TickBasis(policy, outcome.state),
        price_list_date=policy.tariff.catalogue.list_date(),
        expected_gpus=outcome.inventory.expected,
        visible_gpus=outcome.inventory.visible,
    )


def _prices(outcome: TickOutcome, prices: Iterable[Price]) -> Iterable[rows.ComponentPrice]:
    for gpu, price in zip(outcome.gpus, prices, strict=True):
        for rate in price.rates:
            hourly = rate.rate.dollars_per_hour()
            yield rows.ComponentPrice(gpu.gpu, rate.component, hourly, rate.provenance, gpu.count)
        energy = projection.energy_dollars_per_hour(price, gpu.mean_watts)
        if price.energy is not None and energy is not None:
            yield rows.ComponentPrice(gpu.gpu, ENERGY, energy, price.energy.provenance)


def _quotients(totals: CommittedTotals, outcome: TickOutcome) -> Iterable[rows.Quotient]:
    """Dollars per million tokens over the last 60 whole minutes; none of a server that is a part of more."""
    for owner, window in totals.window.items():
        if outcome.state.servers.get(owner.key, ServerState()).partial:
            continue
        weights = outcome.policy.split_rule(owner.server, owner.model).weights
        dollars_per_million = per_million(window.money, window.tokens, weights, window.unpriced)
        for (kind, basis), value in dollars_per_million.items():
            yield rows.Quotient(owner, kind, basis, value)


def _met(totals: CommittedTotals, frame: Frame) -> Iterable[rows.MetRow]:
    """Shares of requests within the objectives of each server with a service level."""
    objectives: dict[ServerKey, set[Objective]] = {}
    for server in frame.servers:
        if server.slo is not None:
            objectives.setdefault(server.key, set()).update(server.slo.seconds())
    for owner, window in totals.window.items():
        ratios = service_level.met_ratios(window.latencies, objectives.get(owner.key, ()))
        for (measure, basis), ratio in ratios.items():
            yield rows.MetRow(owner, measure, basis, ratio)


def _met_costs(quotients: Iterable[rows.Quotient], met: Iterable[rows.MetRow]) -> Iterable[rows.MetCostRow]:
    """What tokens within all objectives cost; the level of a server's model is that of each of its owners."""
    levels = {(row.owner.key, row.owner.model): row.ratio for row in met if row.measure == "all"}
    for quotient in quotients:
        level = levels.get((quotient.owner.key, quotient.owner.model))
        if level is not None and (quotient.kind, quotient.basis) == ("all", "full"):
            least, most = service_level.met_cost(quotient.dollars_per_million_tokens, level)
            yield rows.MetCostRow(quotient.owner, least, most)


def _projection(
    outcome: TickOutcome, totals: CommittedTotals, month: Month, frame: Frame
) -> projection.Projection | None:
    to_date: dict[str, Picodollars] = {}
    for cell, amount in totals.months.items():
        if cell.month == month.name:
            to_date[cell.product] = to_date.get(cell.product, 0) + amount
    return projection.project(outcome.gpus, totals.usage, to_date, frame.wall, outcome.policy)


def _gpus(outcome: TickOutcome, prices: Iterable[Price], *, silent: bool) -> Iterable[rows.GpuRow]:
    """A row of each GPU; `silent`: NVML could not be read."""
    for gpu, price in zip(outcome.gpus, prices, strict=True):
        observed = sum(gpu.phase_weights.values())
        idle_ratio = None
        if observed and not any(part.phase == "unobserved" and w for part, w in gpu.phase_weights.items()):
            idle = sum(weight for part, weight in gpu.phase_weights.items() if part.phase == "idle")
            idle_ratio = idle / observed
        state = outcome.state.gpus.get(gpu.gpu.uuid)
        yield rows.GpuRow(
            gpu=gpu.gpu,
            index=gpu.index,
            up=not silent and gpu.reading is not None and gpu.reading.up,
            priced=price.priced,
            reading=gpu.reading,
            idle_ratio=idle_ratio,
            count=gpu.count,
            predecessor="" if state is None else state.predecessor,
            replaced_at=0 if state is None else state.replaced_at,
        )
