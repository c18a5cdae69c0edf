"""Derivation of the page's figures: those of the host, and the cost of each server."""

from collections.abc import Iterable, Iterator
from typing import Final

from exporter.cost.explanation import Explanation, ModelExplanation, ServerExplanation
from exporter.cost.postings import PHASES
from exporter.readings import KINDS
from exporter.report import RecentHistory, Report
from exporter.units import NANOSECONDS_PER_HOUR, TOKENS_PER_MILLION, dollars
from exporter.web import explanation as explanations
from exporter.web.month import MeteredMonth
from exporter.web.page.layout import Content, Element, element, name, table
from exporter.web.page.tables import anchor
from exporter.web.summary import GpuSummary, Summary
from exporter.web.wording import amount, price_source, share, six, timestamp

PRICE_COLUMNS: Final = (("What", False), ("$ per hour of one", True), ("$ per hour", True), ("From", False))


def host_derivation(report: Report, summary: Summary) -> Iterator[Content]:
    """A section for each figure of the host's page."""
    yield from _rate(summary)
    yield from _month(report, summary)
    yield from _projection(report, summary)
    yield from _idle(summary)
    yield from _gpus(summary)


def _section(anchor: str, heading: str, *content: Content | Iterable[Content]) -> Element:
    return element("section", element("h2", heading), *content, id=anchor)


def _rate(summary: Summary) -> Iterator[Element]:
    if summary.dollars_per_hour is None:
        return
    gpus_by_price: dict[tuple[str, str, float, str], int] = {}
    for line in summary.gpus:
        for price in line.prices:
            source = f"{price.provenance.price_basis}: {price_source(price.provenance)}"
            key = (price.gpu.gpu_model, price.component, price.dollars_per_hour, source)
            gpus_by_price[key] = gpus_by_price.get(key, 0) + price.count
    rows = (
        _price_row(str(gpus), model, component, hourly, gpus * hourly, source)
        for (model, component, hourly, source), gpus in gpus_by_price.items()
    )
    yield _section(
        "rate",
        "Dollars per hour now",
        element(
            "p",
            "Prices of this hour, and the mean power of the last five minutes where energy is charged. ",
            "A server is charged for the GPUs it holds, busy or idle.",
        ),
        table(
            "Cost per hour",
            PRICE_COLUMNS,
            rows,
            caption=False,
            foot=("Total", None, six(summary.dollars_per_hour), None),
        ),
        None
        if summary.run_rate_dollars is None
        else element(
            "p",
            f"Times the configured hours_per_month: {amount(summary.run_rate_dollars)} a month.",
        ),
    )


def _month(report: Report, summary: Summary) -> Iterator[Element]:
    if report.totals is None or summary.month is None or summary.month_to_date_dollars is None:
        return
    cells = sorted(
        (key, value) for key, value in report.totals.months.items() if key.month == summary.month.name
    )
    columns = (("Product", False), ("Team", False), ("Price", False), ("$", True))
    yield _section(
        "month",
        f"This month so far ({summary.month.name})",
        element("p", "Everything posted to the month, adjustments included."),
        table(
            "Dollars of the month",
            columns,
            (
                (name(key.product), name(key.team), key.price_basis, six(dollars(value)))
                for key, value in cells
            ),
            caption=False,
            foot=("Total", None, None, six(summary.month_to_date_dollars)),
        ),
        _month_against_month(summary.compared_months),
    )


def _month_against_month(months: tuple[MeteredMonth, MeteredMonth] | None) -> Iterator[Content]:
    """The mean day of both months, and the command that explains their difference."""
    if months is None:
        return
    before, now = months
    columns = (("Month", False), ("Metered from", False), ("Until", False), ("$", True), ("$ per day", True))
    yield table(
        "Month against month",
        columns,
        (
            (
                month.name,
                timestamp(month.since),
                timestamp(month.until),
                six(month.dollars),
                six(month.dollars_per_day),
            )
            for month in (before, now)
        ),
    )
    command = f"inference-cost-exporter explain --why --month={now.name} --against={before.name}"
    yield element("p", "Effects of the difference: ", element("code", command), ".")


def _projection(report: Report, summary: Summary) -> Iterator[Element]:
    projection = report.projection
    if projection is None or summary.projected_dollars is None:
        return
    columns = (("Product", False), ("$ so far", True), ("$ of the rest", True), ("$ at its end", True))
    rows = (
        (
            name(product),
            six(dollars(projection.to_date.get(product, 0))),
            six(dollars(projection.rest.get(product, 0))),
            six(dollars(end)),
        )
        for product, end in projection.totals().items()
    )
    prices = (("From", False), ("Until", False), ("hours", True), ("$ per hour", True), ("$", True))
    periods = (
        (
            timestamp(period.start),
            timestamp(period.end),
            f"{(period.end - period.start) / NANOSECONDS_PER_HOUR:,.4f}",
            six(period.dollars_per_hour),
            six(dollars(period.amount)),
        )
        for period in projection.periods
    )
    rest = dollars(sum(period.amount for period in projection.periods))
    budgets = (
        f"Budget {budget.name}: {amount(budget.dollars)} "
        + (f"for product {budget.product}." if budget.product else "of the whole fleet.")
        for budget in report.budgets
    )
    yield _section(
        "projection",
        "Projected for the month",
        element(
            "p",
            "So far + the rest of the month by the tariff, for the owners of each GPU in the last 24 hours. ",
            "A product younger than 24 hours is projected from its own hours. A product that is gone is "
            "not projected. ",
            "Energy goes on at its mean, hourly rent for the part of the last 24 hours that it was owed: ",
            f"{share(projection.up_ratio)}.",
        ),
        table(
            "Projection by product",
            columns,
            rows,
            caption=False,
            foot=("Total", None, None, six(summary.projected_dollars)),
        ),
        table(
            "The rest of the month by price",
            prices,
            periods,
            foot=("Total", None, None, None, six(rest)),
        ),
        (element("p", budget) for budget in budgets),
    )


def _idle(summary: Summary) -> Iterator[Element]:
    idle = summary.idle
    if idle is None:
        return
    spent = {phase: sum(hour.money.get(phase, 0) for hour in summary.hours) for phase in PHASES}
    columns = (("Phase", False), ("$", True), ("share", True))
    rows = (
        (phase, six(dollars(value)), share(dollars(value) / idle.dollars))
        for phase, value in spent.items()
        if value
    )
    component_columns = (("Component", False), ("$", True))
    components = (
        (name(line.component), six(line.dollars)) for line in summary.components if line.dollars is not None
    )
    yield _section(
        "idle",
        "The last 24 hours and this one",
        element(
            "p",
            f"From {timestamp(summary.hours[0].start)} on: the running hour and the 24 before it, ",
            "without adjustments. Idle is the cost of GPU time without work, allocated or not.",
        ),
        table("By phase", columns, rows, foot=("Total", six(idle.dollars), None)),
        table("By component", component_columns, components, foot=("Total", six(idle.dollars))),
    )


def _gpus(summary: Summary) -> Iterator[Element]:
    if not summary.gpus:
        return
    yield _section("gpus", "Each GPU", (part for line in summary.gpus for part in _gpu(line)))


def _gpu(line: GpuSummary) -> Iterator[Content]:
    row = line.row
    label = f"GPU {row.index}" if row.index >= 0 else "GPU"
    yield element("h3", f"{label}, ", name(row.gpu.gpu_model), id=anchor(line) if row.index >= 0 else None)
    yield element("p", name(row.gpu.uuid), class_="quiet")
    columns = (
        ("Component", False),
        ("$ per hour", True),
        ("Basis", False),
        ("Source", False),
        ("As of", False),
    )
    rows = (
        (
            name(price.component),
            six(price.dollars_per_hour * price.count),
            price.provenance.price_basis,
            name(price.provenance.source),
            price.provenance.as_of,
        )
        for price in line.prices
    )
    foot = None if line.dollars_per_hour is None else ("Total", six(line.dollars_per_hour), None, None, None)
    yield table(f"Cost per hour of {label}", columns, rows, caption=False, foot=foot)
    if not row.priced:
        yield element("p", "No price. Add one under `hardware` in the configuration.")
    if line.idle_dollars_per_hour is not None and row.idle_ratio is not None:
        idle = six(line.idle_dollars_per_hour)
        yield element("p", f"Idle {row.idle_ratio:.1%} of the last tick: {idle} dollars per hour.")


def server_derivation(explanation: Explanation, history: RecentHistory) -> Iterator[Content]:
    """The cost of the explained servers."""
    period = explanation.period
    hours = period.covered / NANOSECONDS_PER_HOUR
    yield element(
        "p",
        f"Over the 60 minutes from {timestamp(period.start)} to {timestamp(period.end)}, "
        f"{hours:.2f} hours of them metered. On the host, ",
        element("code", "inference-cost-exporter explain --window=24h"),
        " asks for longer ones.",
    )
    for server in explanation.servers:
        yield _allocated_prices(server)
        yield element(
            "section",
            element("h2", "Its models"),
            (part for model in server.models for part in _model(server, model)),
            None if server.models else element("p", "No cost in this period."),
            id="models",
        )
        yield _day(server, history)
    if explanation.fleet_dollars_per_hour:
        fleet = f"{six(explanation.fleet_dollars_per_hour)} dollars per hour"
        yield element("p", f"Not included: {fleet} of fleet overheads.")


def _allocated_prices(server: ServerExplanation) -> Element:
    rows = (
        _price_row(
            f"{line.gpus:g}",
            line.gpu_model,
            line.component,
            line.dollars_per_hour,
            line.gpus * line.dollars_per_hour,
            f"{line.price_basis}: {line.source}",
        )
        for line in server.allocated
    )
    together = sum(line.gpus * line.dollars_per_hour for line in server.allocated)
    foot = ("Total", None, six(together), None)
    return element(
        "section",
        element("h2", _sentence(explanations.HOLDS)),
        table(explanations.HOLDS, PRICE_COLUMNS, rows, caption=False, foot=foot)
        if server.allocated
        else element("p", "No priced GPU."),
        id="holds",
    )


def _price_row(
    gpus: str, gpu_model: str, component: str, hourly: float, hourly_of_all: float, source: str
) -> tuple[Content, ...]:
    """A row below `PRICE_COLUMNS`."""
    what = element("span", f"{gpus} x ", name(gpu_model), f" {component}")
    return what, six(hourly), six(hourly_of_all), name(source)


def _model(server: ServerExplanation, model: ModelExplanation) -> Iterator[Content]:
    account = model.account
    yield element("h3", name(account.model or explanations.NO_MODEL))
    spent = account.spent
    yield table(
        "Spent",
        (("Phase", False), ("$", True), ("share", True)),
        (
            (
                phase,
                six(dollars(account.money[phase])),
                share(account.money[phase] / spent) if spent else None,
            )
            for phase in PHASES
            if account.money.get(phase)
        ),
        foot=("Total", six(dollars(spent)), None),
    )
    if (split := explanations.current_split(model)) is not None:
        yield element("p", f"{_sentence(explanations.split_words(split))}.", class_="quiet")
    if account.tokens:
        yield table(
            "Served",
            (("Kind of token", False), ("Tokens", True)),
            ((_spelled(kind), f"{account.tokens.get(kind, 0):,}") for kind in KINDS),
        )
    if (since := explanations.unserved_words(account)) is not None:
        yield element("p", f"{_sentence(since)}.")
    yield from _quotients(server, model)
    if model.ladder:
        yield table(
            _sentence(explanations.LADDER),
            (("Item", False), ("$", True), ("million tokens", True), ("$ per million", True)),
            (
                (rung.meaning, six(rung.dollars), _millions(rung.tokens), six(rung.dollars_per_million))
                for rung in model.ladder
            ),
        )
    for break_even in model.against:
        first, second = explanations.against_words(break_even)
        yield element("p", name(first), element("br"), second.strip())


def _quotients(server: ServerExplanation, model: ModelExplanation) -> Iterator[Content]:
    if server.partial:
        yield element("p", f"{_sentence(explanations.PARTIAL)}.")
    elif model.account.unpriced:
        yield element("p", f"{_sentence(explanations.unpriced_words(model.account.unpriced))}.")
    elif not model.prices:
        yield element("p", f"{_sentence(explanations.TOO_FEW)}.")
    else:
        yield table(
            _sentence(explanations.QUOTIENTS),
            (("Kind, basis", False), ("$", True), ("million tokens", True), ("$ per million", True)),
            (
                (
                    f"{_spelled(price.kind)}, {price.basis}",
                    six(price.dollars),
                    _millions(price.tokens),
                    six(price.dollars_per_million),
                )
                for price in model.prices
            ),
        )


def _day(server: ServerExplanation, history: RecentHistory) -> Element:
    counts_by_owner = sorted(
        (owner, [history.tokens.get((owner, kind), 0) for kind in KINDS])
        for owner in {owner for owner, _kind in history.tokens}
        if owner.key == server.key
    )
    content: Content = element("p", "None.")
    last = {model.account.model: model.account.last_token for model in server.models}
    if counts_by_owner:
        columns = (("Model", False), *((_spelled(kind), True) for kind in KINDS), ("all", True))
        content = table(
            "Of the running hour and the 24 before it",
            (*columns, ("last token", True)),
            (
                (
                    name(owner.model),
                    *(f"{number:,}" for number in counts),
                    f"{sum(counts):,}",
                    None if (at := last.get(owner.model)) is None else timestamp(at),
                )
                for owner, counts in counts_by_owner
            ),
        )
    return element(
        "section",
        element("h2", "Tokens of ", name(server.key.name), ", the last 24 hours and this one"),
        content,
        id="tokens",
    )


def _spelled(kind: str) -> str:
    return kind.replace("_", " ")


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}"


def _millions(tokens: int) -> str:
    return f"{tokens / TOKENS_PER_MILLION:,.6f}"
