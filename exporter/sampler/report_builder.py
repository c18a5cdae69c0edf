"""Puts together the report of one tick from its outcome and from what the ledger has committed. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from exporter.config.settings import DEFAULT_BUDGETS, Config
from exporter.cost.advance import GpuOutcome, TickOutcome
from exporter.cost.attribution import UNALLOCATED_KEY
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import CostOwner
from exporter.cost.projection import (
    Projection,
    energy_dollars_per_hour,
    first_prices,
    price_now,
    project,
    rates,
)
from exporter.cost.quotients import per_million
from exporter.cost.state import ServerState
from exporter.readings import Frame, ServerKey, published
from exporter.report import (
    BudgetRow,
    Build,
    CommittedTotals,
    ComponentPrice,
    ConfigRow,
    GpuRow,
    LoadRow,
    ProcessRow,
    Quotient,
    Report,
    ShareRow,
    SourceRow,
    SplitRow,
    TickBasis,
)
from exporter.tariff.calendar import Month, month_before, month_of
from exporter.tariff.rate import Price
from exporter.tariff.tariff import ENERGY
from exporter.units import Instant, dollars


@dataclass(frozen=True, slots=True)
class ReportContext:
    """What a report says that is not of one tick.

    `web_succeeded` tells whether the web configuration was last read well, which whoever asks may change at
    any time; `None` without one. `left_out` counts what pages of earlier reports lack, by reason.
    """

    config: Config
    terms: CostPolicy
    build: Build
    config_row: ConfigRow
    web_succeeded: Callable[[], bool | None] = lambda: None
    left_out: Callable[[], tuple[tuple[str, int], ...]] = lambda: ()
    web_refused: Callable[[], tuple[tuple[str, int], ...]] = lambda: ()
    """HTTP requests that were refused since the start, by reason."""


def months_served(frame: Frame, terms: CostPolicy) -> tuple[Month, Month]:
    """The current and the previous month."""
    month = month_of(frame.wall, terms.zone)
    return month, month_before(month, terms.zone)


def build_report(
    setting: ReportContext,
    frame: Frame,
    outcome: TickOutcome,
    books: CommittedTotals | None,
    sources: Iterable[SourceRow],
    process: ProcessRow | None,
) -> Report:
    """The answer of one tick; without books, money is not served yet."""
    terms = outcome.terms
    month, before = months_served(frame, terms)
    prices = price_now(outcome.gpus, frame.wall, terms)
    hourly = rates(outcome.gpus, prices)
    projection = None if books is None else _projection(outcome, books, month, frame)
    hours = float(setting.config.hours_per_month)
    return Report(
        elapsed=frame.elapsed,
        wall=frame.wall,
        interval=setting.config.interval,
        build=setting.build,
        config=replace(setting.config_row, web_last_reload_success=setting.web_succeeded()),
        books=books,
        process=process,
        rates=hourly,
        prices=tuple(_prices(outcome, prices)),
        quotients=() if books is None else tuple(_quotients(books, terms, outcome.state.servers)),
        month_ends={each.name: each.end for each in (month, before)},
        metered_since=_metered_since(books, (month, before)),
        projected={}
        if projection is None
        else {(product, month.name): dollars(amount) for product, amount in projection.totals().items()},
        projection=projection,
        first_price_rates=_by_owner(
            rates(outcome.gpus, first_prices(outcome.gpus, frame.wall, terms)),
        ),
        run_rate=sum(hourly.values()) * hours if hourly else None,
        budgets=tuple(
            BudgetRow(
                budget.name,
                budget.product,
                float(budget.dollars_per_month),
                configured=setting.config.budgets is not DEFAULT_BUDGETS,
            )
            for budget in setting.config.budgets
        ),
        fleet_overheads={name: rate.dollars_per_hour() for name, rate in terms.tariff.fleet_overheads(month)},
        gpus=tuple(_gpus(outcome, prices, silent=frame.gpus is None)),
        servers=published(frame.servers),
        unread=frame.unread,
        loads=tuple(
            LoadRow(terms.party(key, load.model), load)
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
            SplitRow(terms.party(key, model), split.method, split.prefill_ratio)
            for key, tick in outcome.ticks.items()
            for model, split in tick.splits.items()
        ),
        sources=tuple(sources),
        exposition_errors=setting.left_out(),
        web_refused=setting.web_refused(),
        hosted=setting.config.compare,
        grounds=TickBasis(terms, outcome.state),
        price_list_date=terms.tariff.catalogue.list_date(),
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


def _quotients(
    books: CommittedTotals, terms: CostPolicy, servers: Mapping[ServerKey, ServerState]
) -> Iterable[Quotient]:
    for who, window in books.window.items():
        if servers.get(who.key, ServerState()).partial:
            continue
        weights = terms.split_rule(who.server, who.model).weights
        found = per_million(window.money, window.tokens, weights, window.unpriced)
        for (kind, basis), value in found.items():
            yield Quotient(who, kind, basis, value)


def _projection(
    outcome: TickOutcome, books: CommittedTotals, month: Month, frame: Frame
) -> Projection | None:
    to_date: dict[str, int] = {}
    for cell, amount in books.months.items():
        if cell.month == month.name:
            to_date[cell.product] = to_date.get(cell.product, 0) + amount
    return project(outcome.gpus, books.usage, to_date, frame.wall, outcome.terms)


def _metered_since(books: CommittedTotals | None, months: Iterable[Month]) -> Mapping[str, Instant]:
    since = None if books is None else books.metered_since
    if since is None:
        return {}
    return {month.name: max(month.start, since) for month in months if since < month.end}


def _by_owner(rates: Mapping[CostOwner, float]) -> Mapping[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    for who, rate in rates.items():
        found[who.product, who.team] = found.get((who.product, who.team), 0.0) + rate
    return found


def _gpus(outcome: TickOutcome, prices: Iterable[Price], *, silent: bool) -> Iterable[GpuRow]:
    for gpu, price in zip(outcome.gpus, prices, strict=True):
        up = not silent and gpu.reading is not None and gpu.reading.up
        slot = outcome.state.gpus.get(gpu.gpu.uuid)
        yield GpuRow(
            gpu.gpu,
            gpu.index,
            up,
            price.priced,
            gpu.reading,
            _idle_ratio(gpu),
            gpu.count,
            "" if slot is None else slot.predecessor,
            0 if slot is None else slot.replaced_at,
        )


def _idle_ratio(gpu: GpuOutcome) -> float | None:
    total = sum(gpu.phase_weights.values())
    if not total or any(slot.phase == "unobserved" and weight for slot, weight in gpu.phase_weights.items()):
        return None
    return sum(weight for slot, weight in gpu.phase_weights.items() if slot.phase == "idle") / total
