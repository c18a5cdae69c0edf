"""The history of a fleet as text, as JSON and as CSV. Pure."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from exporter.advice.kinds import headline
from exporter.finance import render
from exporter.finance.history.past_answer import BYS, COLUMNS, Line, PastAnswer
from exporter.finance.history.past_host import USAGE_HOURS, PastHost
from exporter.finance.options.advice_report import AdviceReport
from exporter.finance.options.advice_report import document as advice_document
from exporter.finance.render import Form, instant_text, wrapped
from exporter.readings import KINDS, printable
from exporter.reports.rounding import dollars_text, text_table
from exporter.units import NANOSECONDS_PER_HOUR, TOKENS_PER_MILLION, Instant, Nanoseconds, dollars

NAME_WIDTH: Final = 26
ROWS: Final = 12
"""Lines of one table of the text; JSON and CSV have all."""

SAVINGS: Final = 8
"""Savings that the text lists."""

PRICE_BASIS: Final = "estimate"
"""The basis of every figure: nothing here was metered."""

STEP_SECONDS: Final = 3600
"""Seconds of the hours that are read."""


def sheet(answer: PastAnswer, form: Form) -> str:
    """The answer in one of its forms; the text is within 80 columns."""
    if form == "table":
        return render.lines_text(text_lines(answer))
    return as_json(answer) if form == "json" else as_csv(answer)


def text_lines(answer: PastAnswer) -> Iterator[str]:
    """The sections of the text, with an empty line between two."""
    yield from _head(answer)
    yield ""
    yield "found:"
    rows = [(each.name, each.number, each.gives) for each in answer.exporters]
    yield from (f"  {line}" for line in text_table(rows or [("nothing", "", "")], labels=3))
    yield ""
    yield "prices at the end:"
    yield from _prices(answer.hosts, answer.source.until)
    if answer.unlisted:
        yield ""
        yield "charged without samples:"
        for host, listing in sorted(answer.unlisted, key=lambda gpu: -gpu.listing.amount)[:ROWS]:
            hours = f"{listing.time / NANOSECONDS_PER_HOUR:,.1f}"
            yield from wrapped(
                f"- {listing.gpu.uuid} of {host.host}, not seen since {instant_text(listing.until)}: "
                f"{hours} GPU-hours, {dollars_text(listing.amount)} dollars. "
                "If it left, name it under `retired`"
            )
        if len(answer.unlisted) > ROWS:
            yield f"- and {len(answer.unlisted) - ROWS} more in --json"
    if answer.absences:
        yield ""
        yield "lacks:"
        for absence in answer.absences:
            yield from wrapped(f"- {absence.what}: {absence.effect}. Remedy: {absence.remedy}.")
    yield ""
    months = answer.months()
    marked = {(name if name in answer.complete else f"{name} *"): line for name, line in months.items()}
    yield from _table("month", {**marked, "total": answer.total()})
    projected = [line.projected for line in months.values() if line.projected is not None]
    if projected:
        yield f"this month ends at {dollars_text(sum(projected))} dollars at present use and prices"
    if any(name not in answer.complete for name in months):
        yield "* a month that was not read whole"
    for by in BYS:
        totals = answer.dearest(by, ROWS)
        if totals:
            yield ""
            yield from _table(by, totals)
    yield ""
    counted = answer.advice.counted
    per_month = sum(saving.per_month for saving in counted)
    yield f"savings of the last {USAGE_HOURS // 24} days: {dollars_text(per_month)} dollars a month"
    for saving in counted[:SAVINGS]:
        yield from wrapped(f"- {dollars_text(saving.per_month)} a month: {headline(saving)}")
    if len(counted) > SAVINGS:
        yield f"- and {len(counted) - SAVINGS} more in --json"


def _head(answer: PastAnswer) -> Iterator[str]:
    """What was read, how much of it has samples, and how exact the dollars are."""
    source, total = answer.source, answer.total()
    yield f"history of {printable(source.address)}: an estimate, nothing here was metered"
    yield (
        f"{instant_text(source.since)} to {instant_text(source.until)}, months in {answer.zone}, "
        f"data {_percent(total.sampled, total.span)} %"
    )
    seconds, error = answer.scrape_seconds, answer.error
    sampled = f"samples every {seconds} s, " if seconds is not None else ""
    within = ""
    if error is not None:
        percent = math.ceil(round(100 * error, 6))
        within = f", dollars of a month within {percent}% where measured"
    queries = f"{source.requests:,} queries, {source.parallel} at a time"
    yield from wrapped(f"{sampled}read by the hour with {queries}{within}", "")


class _ModelPrice(NamedTuple):
    """The price of a GPU-hour of a model, as texts."""

    model: str
    hourly: str
    """Dollars; empty without a price."""
    source: str


def _prices(hosts: Sequence[PastHost], until: Instant) -> Iterator[str]:
    """The price of a GPU-hour by model and source, the most GPUs first, without electricity and overheads."""
    gpus: Counter[_ModelPrice] = Counter()
    for host in hosts:
        for slot in host.cost_state.gpus.values():
            price = host.policy.tariff.hardware_price(slot.gpu, until - 1)
            hourly, source = "", ""
            if price.priced:
                hourly = f"{sum(rate.rate.dollars_per_hour() for rate in price.rates):.6f}"
            if price.rates:
                origin = price.rates[0].provenance
                dated = f" of {origin.as_of}" if origin.as_of else ""
                source = f", {origin.price_basis}: {printable(origin.source)}{dated}"
            gpus[_ModelPrice(printable(slot.gpu.gpu_model), hourly, source)] += 1
    for price_of_model, count in sorted(gpus.items(), key=lambda item: (-item[1], item[0])):
        model, hourly, source = price_of_model
        amount = f"{hourly} dollars per GPU-hour" if hourly else "no price"
        yield from wrapped(f"  {count} x {model}: {amount}{source}", "    ")


def _table(heading: str, lines: Mapping[str, Line]) -> Iterator[str]:
    cells = [[heading, "dollars", "GPU-hours", "busy %", "Mtokens", "$/Mtok", "data %"]]
    for name, line in lines.items():
        price, coverage = line.dollars_per_million, line.coverage
        cells.append(
            [
                printable(name)[:NAME_WIDTH],
                "-" if line.money is None else dollars_text(line.money),
                f"{line.gpu_time / NANOSECONDS_PER_HOUR:,.1f}",
                _percent(line.busy, line.gpu_time),
                f"{sum(line.tokens.values()) / TOKENS_PER_MILLION:,.1f}",
                "-" if price is None else f"{price:,.2f}",
                "-" if coverage is None else f"{100 * coverage:.1f}",
            ]
        )
    return text_table(cells)


def _percent(part: Nanoseconds, whole: Nanoseconds) -> str:
    return f"{100 * part / whole:.1f}" if whole else "-"


def as_json(answer: PastAnswer) -> str:
    """For programs. Amounts in picodollars are exact."""
    source = answer.source
    # As `advise` prints it, without the commands: those read a ledger.
    savings = advice_document(AdviceReport(answer.advice, source.until, USAGE_HOURS))
    for saving in savings["savings"]:
        del saving["command"]
    by_host = answer.by_month("host")
    document = {
        "address": source.address,
        "from": instant_text(source.since),
        "until": instant_text(source.until),
        "timezone": answer.zone,
        "price_basis": PRICE_BASIS,
        "found": [
            {"exporter": each.name, "count": each.number, "gives": each.gives} for each in answer.exporters
        ],
        "unseen_gpus": [
            {
                "cluster": host.cluster,
                "host": host.host,
                "uuid": listing.gpu.uuid,
                "gpu_model": listing.gpu.gpu_model,
                "since": instant_text(listing.until),
                "gpu_hours": listing.time / NANOSECONDS_PER_HOUR,
                **render.money_json(listing.amount),
            }
            for host, listing in answer.unlisted
        ],
        "lacks": [each._asdict() for each in answer.absences],
        "resolution": {
            "step_seconds": STEP_SECONDS,
            "scrape_seconds": answer.scrape_seconds,
            "error_ratio": answer.error,
        },
        "load": {"queries": source.requests, "parallel": source.parallel},
        **_coverage(answer.total()),
        "months": [
            {**_month(answer, month, line), **_coverage(line), "projected_dollars": _dollars(line.projected)}
            for month, line in answer.months().items()
        ],
        "hosts": [_host(answer, host, by_host.get(tuple(host.key), {})) for host in answer.hosts],
        **{
            f"{by}s": [
                {
                    **dict(zip(COLUMNS[by], labels, strict=True)),
                    "months": [
                        {**_month(answer, month, line), "coverage_ratio": line.coverage}
                        for month, line in months.items()
                    ],
                }
                for labels, months in answer.by_month(by).items()
            ]
            for by in BYS
            if by != "host"
        },
        "savings": savings,
    }
    return render.json_text(document)


def _host(answer: PastAnswer, host: PastHost, months: Mapping[str, Line]) -> dict[str, Any]:
    models = sorted({gpu.gpu_model for gpu in host.gpus})
    return {
        "cluster": host.key.cluster,
        "host": host.key.host,
        "gpus": len(host.cost_state.gpus),
        "gpu_model": ", ".join(models),
        "instance_type": host.location.instance_type,
        "scrape_seconds": host.scrape_seconds,
        "from": render.time_text(host.first),
        "until": instant_text(host.last),
        "uncharged_hours": host.uncharged / NANOSECONDS_PER_HOUR,
        "months": [{**_month(answer, month, line), **_coverage(line)} for month, line in months.items()],
    }


def _month(answer: PastAnswer, month: str, line: Line) -> dict[str, Any]:
    hour = NANOSECONDS_PER_HOUR
    return {
        "month": month,
        "complete": month in answer.complete,
        "dollars": _dollars(line.money),
        "picodollars": line.money,
        "gpu_hours": line.gpu_time / hour,
        "busy_gpu_hours": line.busy / hour,
        "idle_gpu_hours": line.idle / hour,
        "unobserved_gpu_hours": line.unobserved / hour,
        "unpriced_gpu_hours": line.unpriced / hour,
        "unread_gpu_hours": line.unread / hour,
        "tokens": {kind: line.tokens.get(kind, 0) for kind in KINDS},
        "dollars_per_million_tokens": line.dollars_per_million,
    }


def _coverage(line: Line) -> dict[str, Any]:
    hour = NANOSECONDS_PER_HOUR
    return {
        "hours": line.span / hour,
        "hours_with_data": line.sampled / hour,
        "coverage_ratio": line.coverage,
    }


def _dollars(amount: int | None) -> float | None:
    return None if amount is None else dollars(amount)


_LABELS: Final = ("cluster", "host", "namespace", "server", "product", "team", "model")
_GPU_HOURS: Final = (
    "gpu_hours",
    *(f"{part}_gpu_hours" for part in ("busy", "idle", "unobserved", "unpriced", "unread")),
)
_TOKENS: Final = (*(f"{kind}_tokens" for kind in KINDS), "dollars_per_million_tokens")
_BASIS: Final = ("price_basis", "step_seconds", "scrape_seconds", "error_ratio")
CSV_COLUMNS: Final = (
    *("month", "complete", "by", *_LABELS, "dollars", *_GPU_HOURS),
    *(*_TOKENS, "hours", "hours_with_data", *_BASIS),
)


def as_csv(answer: PastAnswer) -> str:
    """For spreadsheets: a row for each month of each thing. Rows of one `by` sum to the month."""
    rows: list[Sequence[object]] = [CSV_COLUMNS]
    for by in BYS:
        for labels, months in sorted(answer.by_month(by).items()):
            cells = map(render.safe_cell, labels)
            named = dict(zip(COLUMNS[by], cells, strict=True))
            for month, line in months.items():
                row = {
                    **_month(answer, month, line),
                    **(_coverage(line) if by == "host" else {}),
                    **{f"{kind}_tokens": line.tokens.get(kind, 0) for kind in KINDS},
                    **named,
                    "by": by,
                    "price_basis": PRICE_BASIS,
                    "step_seconds": STEP_SECONDS,
                    "scrape_seconds": answer.scrape_seconds,
                    "error_ratio": answer.error,
                }
                rows.append([row.get(name) for name in CSV_COLUMNS])
    return render.csv_text(rows)
