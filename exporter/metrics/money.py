"""Metrics of money: dollars accrued, rates, prices, cost per token, months and budgets."""

from collections.abc import Iterator
from typing import Final

from exporter.cost.money import add
from exporter.cost.postings import OTHER, UNASSIGNED, OwnerPhase
from exporter.metrics import metric
from exporter.report import CommittedTotals, Report
from exporter.units import Picodollars, dollars, seconds


def _phase_labels(key: OwnerPhase) -> tuple[str, ...]:
    return (*metric.owner_labels(key.owner), key.phase)


def _quotients(report: Report) -> Iterator[metric.Row]:
    for quotient in report.quotients:
        labels = (*metric.owner_labels(quotient.owner), quotient.kind, quotient.basis)
        yield labels, quotient.dollars_per_million_tokens


def _equivalents(report: Report) -> Iterator[metric.Row]:
    if report.totals is None:
        return
    compared = {offer.reference for offer in report.hosted}
    for (owner, reference), amount in report.totals.equivalents.items():
        if reference in compared:
            yield (*metric.owner_labels(owner), reference), dollars(amount)


FINDINGS_MAX: Final = 20
"""Findings that have series of their own; the others are added up as `other`."""

OTHER_FINDINGS: Final = (UNASSIGNED, UNASSIGNED, "", OTHER, OTHER)


def _savings(report: Report) -> Iterator[metric.Row]:
    """One row by server, kind and form: the largest alone, the others together."""
    if report.savings is None or report.basis is None:
        return
    sums: dict[tuple[str, ...], Picodollars] = {}
    for saving in report.savings.findings:
        owner = report.basis.policy.product_and_team(saving.server)
        form = "cash" if saving.cash else "capacity"
        key: tuple[str, ...] = (*owner, *saving.server, saving.kind, form)
        if key not in sums and len(sums) >= FINDINGS_MAX:
            key = (*OTHER_FINDINGS, form)
        add(sums, key, saving.per_month)
    for key, amount in sums.items():
        yield key, dollars(amount)


@metric.of_totals
def _months(totals: CommittedTotals) -> Iterator[metric.Row]:
    for key, amount in totals.months.items():
        labels = (key.product, key.team, key.price_basis, key.month, totals.ledger)
        yield labels, dollars(amount)


def _price_change(report: Report) -> Iterator[metric.Row]:
    if report.totals is None or report.projection is None:
        return
    ratio = report.projection.price_change_ratio
    if ratio is not None:
        yield (report.projection.month.name,), ratio


ROWS: Final[tuple[metric.Metric, ...]] = (
    metric.counter(
        "inference_cost_dollars_total",
        (*metric.OWNER_AND_MODEL, "phase"),
        "Dollars accrued on this host, by owner and by phase of the GPU. Includes energy and overheads; "
        "phase unobserved is time without a reading. GPUs without a price (inference_gpu_priced 0) add only "
        f"their overheads. Absent {metric.CHARGED}.",
        metric.of_totals(lambda totals: metric.keyed(totals.cost, _phase_labels, dollars)),
    ),
    metric.counter(
        "inference_server_cost_dollars_total",
        (*metric.OWNER, "component"),
        "The dollars of inference_cost_dollars_total by component. Absent for a component without postings. "
        f"Also absent {metric.CHARGED}.",
        metric.of_totals(
            lambda totals: metric.keyed(totals.server_cost, lambda key: (*key.owner, key.component), dollars)
        ),
    ),
    metric.counter(
        "inference_gpu_cost_dollars_total",
        (*metric.GPU, "component"),
        "The dollars of inference_cost_dollars_total by GPU and by component. Absent for a component "
        f"without postings: a GPU without a price has at most its overheads. Also absent {metric.CHARGED}.",
        metric.of_totals(
            lambda totals: metric.keyed(
                totals.gpu_cost, lambda key: (*metric.gpu_labels(key[0]), key[1]), dollars
            )
        ),
    ),
    metric.counter(
        "inference_gpu_seconds_total",
        (*metric.OWNER_AND_MODEL, "phase"),
        "Charged GPU time by holder and phase: rented hours for hourly rent, elapsed time otherwise, owned "
        "hardware from in_service on. Dollars over GPU-hours are the price. Time without a price counts "
        "while the host is up. Its other hours count once a price charges them late. Absent "
        f"{metric.CHARGED}.",
        metric.of_totals(lambda totals: metric.keyed(totals.gpu_time, _phase_labels, seconds)),
    ),
    metric.gauge(
        "inference_cost_dollars_per_hour",
        metric.OWNER_AND_MODEL,
        "Current spend: prices in force, energy as a mean of 5 minutes. Excludes downtime; unpriced GPUs "
        "add only overheads. Absent for an owner without priced GPUs.",
        lambda report: metric.keyed(report.rates, metric.owner_labels, float),
    ),
    metric.gauge(
        "inference_cost_at_first_price_dollars_per_hour",
        ("product", "team"),
        "Current spend at the first configured price of each GPU, so that changes show usage and not "
        "prices. Used by the fleet rules. Absent for an owner without priced GPUs.",
        lambda report: report.first_price_rates.items(),
    ),
    metric.gauge(
        "inference_fleet_overhead_dollars_per_hour",
        ("component",),
        "Configured overheads of the whole fleet, in no host's totals: the fleet rules add them once. "
        "Absent when none is configured.",
        lambda report: metric.keyed(report.fleet_overheads, lambda component: (component,), float),
    ),
    metric.gauge(
        "inference_gpu_price_dollars_per_hour",
        (*metric.GPU, "component"),
        "Price of this GPU per hour. Absent for a component without a price: an unpriced GPU has only "
        "overheads.",
        lambda report: (
            ((*metric.gpu_labels(price.gpu), price.component), price.dollars_per_hour)
            for price in report.prices
        ),
    ),
    metric.gauge(
        "inference_price_info",
        (*metric.GPU, "component", "price_basis", "source", "as_of"),
        "Where a GPU's price came from: configured, catalogue (a list has the instance type in its region), "
        "or estimate (what stands in for it). "
        "Absent for a component that has no price: a GPU without one has at most its overheads.",
        lambda report: (
            (
                (
                    *metric.gpu_labels(price.gpu),
                    price.component,
                    price.provenance.price_basis,
                    price.provenance.source,
                    price.provenance.as_of,
                ),
                1.0,
            )
            for price in report.prices
        ),
    ),
    metric.gauge(
        "inference_price_catalogue_timestamp_seconds",
        (),
        "The date of the newest list of instance prices in use, bundled or of a price file. "
        "Absent where that file cannot be read.",
        metric.single(lambda report: metric.optional_seconds(report.price_list_date)),
    ),
    metric.gauge(
        "inference_gpu_priced",
        metric.GPU,
        "1: this GPU has a price. 0: no price is known; its cost is absent, not zero. Absent for a GPU "
        "that was never seen.",
        lambda report: ((metric.gpu_labels(row.gpu), float(row.priced)) for row in report.gpus),
    ),
    metric.gauge(
        "inference_cost_dollars_per_million_tokens",
        (*metric.OWNER_AND_MODEL, "kind", "basis"),
        "Dollars over tokens of the last 60 whole minutes. Basis full: everything accrued, idle time and "
        "overheads included; busy: prefill and decode only. Kind all: prompt, cached_prompt and generation "
        "together; computed: prompt and generation. Prices of the single kinds rest on an assumption. "
        "Weights always divide prompt from cached_prompt (1 to 0.1 unless configured); nothing measures "
        "them. Weights divide these two from generation only where inference_split_info says weights. They "
        "affect all and computed only where one server has several models. Absent while a server and model "
        "held GPU time without a price in the window: the dollars are then incomplete. Absent below 1,000 "
        "tokens of that kind in the window, and where nothing has a price. Absent for a server that only "
        "prefills, only decodes or also computes on other hosts: the fleet rules join its dollars and "
        f"tokens. Also absent {metric.CHARGED}.",
        _quotients,
    ),
    metric.counter(
        "inference_hosted_equivalent_dollars_total",
        (*metric.OWNER_AND_MODEL, "reference"),
        "What these tokens would have cost at a hosted offer, at the price configured when they were "
        "served. An upper bound: the server's own tokenizer and cache hits, and prompts counted once for "
        "each of several answers where the engine does so. Absent for an offer that is not configured or "
        f"does not match. Also absent {metric.CHARGED}.",
        _equivalents,
    ),
    metric.gauge(
        "inference_hosted_price_dollars_per_million_tokens",
        ("reference", "kind"),
        "Configured hosted prices of the comparison. Kind cached_prompt is the price of prompt where none "
        "is configured. Absent without compare.",
        lambda report: (
            ((offer.reference, kind), float(price))
            for offer in report.hosted
            for kind, price in offer.by_kind().items()
        ),
    ),
    metric.gauge(
        "inference_saving_dollars_per_month",
        (*metric.OWNER, "kind", "form"),
        "What could be saved in a month at present prices: the findings of the verb advise over the last "
        "14 days, renewed hourly. Form cash: the bill falls; capacity: room for other work. The "
        f"{FINDINGS_MAX} largest findings of a host; the others together have kind and server other. In no "
        "other total. Absent for findings that are gone or ignored, before 24 hours of history, and for a "
        "ledger in memory.",
        _savings,
    ),
    metric.gauge(
        "inference_monthly_run_rate_dollars",
        ("ledger",),
        "Dollars per hour of this host now, times the configured hours per month (730 unless configured). "
        f"Absent when no GPU has a price. Also absent {metric.CHARGED}.",
        lambda report: (
            ()
            if report.totals is None or report.run_rate is None
            else [((report.totals.ledger,), report.run_rate)]
        ),
    ),
    metric.gauge(
        "inference_month_to_date_dollars",
        ("product", "team", "price_basis", "month", "ledger"),
        "Dollars of this host in a calendar month of the configured time zone, adjustments included; the "
        f"current and the previous month. Absent without postings. Also absent {metric.CHARGED}.",
        _months,
    ),
    metric.gauge(
        "inference_month_end_timestamp_seconds",
        ("month",),
        "When a month ends in the configured time zone. Absent for months that "
        "inference_month_to_date_dollars does not cover.",
        lambda report: metric.keyed(report.month_ends, lambda month: (month,), seconds),
    ),
    metric.gauge(
        "inference_month_projected_dollars",
        ("product", "month"),
        "This host: dollars of the month to date, plus the rest of the month by the tariff. The tariff has "
        "dated prices, ends of life and retirements. The rest assumes the GPUs, owners and mean energy of "
        "the last 24 hours. A newer product counts over its own time, a removed one not at all; products "
        "sum to the host. Adjustments are not projected, and a GPU without a price adds at most its "
        "overheads. Absent until time was metered, and for a product without cost. Also absent "
        f"{metric.CHARGED}.",
        lambda report: () if report.totals is None else report.projected.items(),
    ),
    metric.gauge(
        "inference_month_metered_since_timestamp_seconds",
        ("month",),
        "Start of metering of a month in this ledger: the month's start, or the first time in the ledger. A "
        "gap that was not charged is in inference_gap_uncharged_seconds_total. Absent for a month that "
        f"ended before. Also absent {metric.CHARGED}.",
        lambda report: (
            ()
            if report.totals is None
            else metric.keyed(report.metered_since, lambda month: (month,), seconds)
        ),
    ),
    metric.gauge(
        "inference_month_price_change_ratio",
        ("month",),
        "Cost of the rest of the month at dated prices over its cost at current prices; below 1 before a "
        "price drop. Used by the fleet rules. Absent while nothing on this host has a price. Also absent "
        f"{metric.CHARGED}.",
        _price_change,
    ),
    metric.gauge(
        "inference_budget_dollars",
        ("budget", "product"),
        "Monthly budgets as configured; an empty product is the whole fleet. The default without configured "
        "budgets is one of 27000. Absent only while the report is stale.",
        lambda report: (((budget.name, budget.product), budget.dollars) for budget in report.budgets),
    ),
    metric.gauge(
        "inference_budget_configured",
        (),
        "1: budgets from this host's configuration. 0: the default budget, which never pages. Absent only "
        "while the report is stale.",
        metric.single(
            lambda report: any(budget.configured for budget in report.budgets) if report.budgets else None
        ),
    ),
)
