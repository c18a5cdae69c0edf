"""The history of a fleet as text, as JSON and as CSV. Pure."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from exporter.advice.kinds import headline
from exporter.finance import render
from exporter.finance.advice_report import AdviceReport
from exporter.finance.advice_report import document as advice_document
from exporter.finance.history.past_answer import (
    BYS,
    COLUMNS,
    By,
    Line,
    PastAnswer,
    summed,
)
from exporter.finance.history.reckoning import USAGE_HOURS, PastHost, scrape_seconds
from exporter.finance.render import Form, instant_text, wrapped
from exporter.readings import KINDS, printable
from exporter.reports.rounding import dollars_text, text_table
from exporter.units import NANOSECONDS_PER_HOUR, TOKENS_PER_MILLION, Nanoseconds, dollars

NAME_WIDTH: Final = 26
ROWS: Final = 12
"""Lines of one table of the text; JSON and CSV have all."""

SAVINGS: Final = 8
"""Savings that the text lists."""

PRICE_BASIS: Final = "estimate"
"""Of every figure: nothing here was metered."""


def sheet(answer: PastAnswer, form: Form) -> str:
    """The answer in one of its forms."""
    return _FORMS[form](answer)


def text(answer: PastAnswer) -> str:
    """For people, within 80 columns."""
    return render.lines_text(_lines(answer))


def _lines(answer: PastAnswer) -> Iterator[str]:
    yield f"history of {printable(answer.address)}: an estimate, nothing here was metered"
    total = answer.total
    yield (
        f"{instant_text(answer.since)} to {instant_text(answer.until)}, months in {answer.zone}, "
        f"data {_percent(total.sampled, total.span)} %"
    )
    yield from wrapped(_resolution(answer), "")
    yield ""
    yield "found:"
    rows = [(each.name, each.number, each.gives) for each in answer.exporters]
    yield from (f"  {line}" for line in text_table(rows or [("nothing", "", "")], labels=3))
    yield ""
    yield "prices at the end:"
    for line in _prices(answer):
        yield from wrapped(line, "    ")
    if answer.unlisted:
        yield ""
        yield "charged without samples:"
        for each in sorted(answer.unlisted, key=lambda each: -each.amount)[:ROWS]:
            hours = f"{each.time / NANOSECONDS_PER_HOUR:,.1f}"
            yield from wrapped(
                f"- {each.gpu.uuid} of {each.host.host}, not seen since {instant_text(each.since)}: "
                f"{hours} GPU-hours, {dollars_text(each.amount)} dollars. "
                "If it left, name it under `retired`",
                "  ",
            )
        if len(answer.unlisted) > ROWS:
            yield f"- and {len(answer.unlisted) - ROWS} more in --json"
    if answer.absences:
        yield ""
        yield "lacks:"
        for absence in answer.absences:
            yield from wrapped(f"- {absence.what}: {absence.effect}. Remedy: {absence.remedy}.", "  ")
    yield ""
    months = [(name if name in answer.complete else f"{name} *", of) for name, of in answer.months.items()]
    yield from _table("month", months, [("total", total)])
    for by in BYS:
        if answer.lines[by]:
            yield ""
            yield from _by(answer, by)
    yield ""
    counted = answer.advice.counted
    per_month = sum(saving.per_month for saving in counted)
    yield f"savings of the last {USAGE_HOURS // 24} days: {dollars_text(per_month)} dollars a month"
    for saving in counted[:SAVINGS]:
        yield from wrapped(f"- {dollars_text(saving.per_month)} a month: {headline(saving)}", "  ")
    if len(counted) > SAVINGS:
        yield f"- and {len(counted) - SAVINGS} more in --json"


def _prices(answer: PastAnswer) -> Iterator[str]:
    """The price of a GPU-hour by model and source, the most GPUs first, without electricity and overheads."""
    gpus: Counter[tuple[str, str, str]] = Counter()
    for host in answer.hosts:
        for slot in host.state.gpus.values():
            gpu = slot.gpu
            price = host.policy.tariff.hardware_price(gpu, answer.until - 1)
            hourly, source = "", ""
            if price.priced:
                hourly = f"{sum(rate.rate.dollars_per_hour() for rate in price.rates):.6f}"
            if price.rates:
                origin = price.rates[0].provenance
                dated = f" of {origin.as_of}" if origin.as_of else ""
                source = f", {origin.price_basis}: {printable(origin.source)}{dated}"
            gpus[printable(gpu.gpu_model), hourly, source] += 1
    for (model, hourly, source), count in sorted(gpus.items(), key=lambda item: (-item[1], item[0])):
        amount = f"{hourly} dollars per GPU-hour" if hourly else "no price"
        yield f"  {count} x {model}: {amount}{source}"


def _resolution(answer: PastAnswer) -> str:
    seconds, error = answer.scrape_seconds, answer.error
    sampled = f"samples every {seconds} s, " if seconds is not None else ""
    within = ""
    if error is not None:
        percent = math.ceil(round(100 * error, 6))
        within = f", dollars of a month within {percent}% where measured"
    return f"{sampled}read by the hour with {answer.requests:,} queries, {answer.parallel} at a time{within}"


def _by(answer: PastAnswer, by: By) -> Iterator[str]:
    lines = sorted(
        (
            ("/".join(filter(None, labels)) or "(unknown)", summed(months.values()))
            for labels, months in answer.lines[by].items()
        ),
        key=lambda row: (-row[1].amount, row[0]),
    )
    rows = lines[:ROWS]
    if len(lines) > ROWS:
        rows.append((f"{len(lines) - ROWS} others", summed(line for _, line in lines[ROWS:])))
    yield from _table(by, rows)


def _table(
    heading: str, rows: Sequence[tuple[str, Line]], last: Sequence[tuple[str, Line]] = ()
) -> Iterator[str]:
    cells = [[heading, "dollars", "GPU-hours", "busy %", "Mtokens", "$/Mtok", "data %"]]
    for name, line in (*rows, *last):
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
    yield from text_table(cells)
    if heading == "month":
        projected = [line.projected for _, line in rows if line.projected is not None]
        if projected:
            yield f"this month ends at {dollars_text(sum(projected))} dollars at present use and prices"
        if any(name.endswith(" *") for name, _ in rows):
            yield "* a month that was not read whole"


def _percent(part: Nanoseconds, whole: Nanoseconds) -> str:
    return f"{100 * part / whole:.1f}" if whole else "-"


def as_json(answer: PastAnswer) -> str:
    """For programs. Amounts in picodollars are exact."""
    total = answer.total
    # As `advise` prints it, without the commands: those read a ledger.
    savings = advice_document(AdviceReport(answer.advice, answer.until, USAGE_HOURS))
    for saving in savings["savings"]:
        del saving["command"]
    document = {
        "address": answer.address,
        "from": instant_text(answer.since),
        "until": instant_text(answer.until),
        "timezone": answer.zone,
        "price_basis": PRICE_BASIS,
        "found": [
            {"exporter": each.name, "count": each.number, "gives": each.gives} for each in answer.exporters
        ],
        "unseen_gpus": [
            {
                "cluster": each.host.cluster,
                "host": each.host.host,
                "uuid": each.gpu.uuid,
                "gpu_model": each.gpu.gpu_model,
                "since": instant_text(each.since),
                "gpu_hours": each.time / NANOSECONDS_PER_HOUR,
                **render.money_json(each.amount),
            }
            for each in answer.unlisted
        ],
        "lacks": [each._asdict() for each in answer.absences],
        "resolution": {
            "step_seconds": 3600,
            "scrape_seconds": answer.scrape_seconds,
            "error_ratio": answer.error,
        },
        "load": {"queries": answer.requests, "parallel": answer.parallel},
        **_coverage(total),
        "months": [
            {**_month(answer, month, line, coverage=True), "projected_dollars": _dollars(line.projected)}
            for month, line in answer.months.items()
        ],
        "hosts": [_host(answer, host) for host in answer.hosts],
        **{f"{by}s": _things(answer, by) for by in BYS if by != "host"},
        "savings": savings,
    }
    return render.json_text(document)


def _coverage(line: Line) -> dict[str, Any]:
    return {
        "hours": line.span / NANOSECONDS_PER_HOUR,
        "hours_with_data": line.sampled / NANOSECONDS_PER_HOUR,
        "coverage_ratio": line.coverage,
    }


def _dollars(amount: int | None) -> float | None:
    return None if amount is None else dollars(amount)


def _month(answer: PastAnswer, month: str, line: Line, *, coverage: bool) -> dict[str, Any]:
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
        **(_coverage(line) if coverage else {"coverage_ratio": line.coverage}),
    }


def _things(answer: PastAnswer, by: By) -> list[dict[str, Any]]:
    ordered = sorted(answer.lines[by].items(), key=lambda each: (-summed(each[1].values()).amount, each[0]))
    return [
        {
            **dict(zip(COLUMNS[by], labels, strict=True)),
            "months": [_month(answer, month, line, coverage=False) for month, line in sorted(months.items())],
        }
        for labels, months in ordered
    ]


def _host(answer: PastAnswer, host: PastHost) -> dict[str, Any]:
    months = answer.lines["host"].get((host.key.cluster, host.key.host), {})
    models = sorted({gpu.gpu_model for gpu in host.gpus})
    return {
        "cluster": host.key.cluster,
        "host": host.key.host,
        "gpus": len(host.state.gpus),
        "gpu_model": ", ".join(models),
        "instance_type": host.location.instance_type,
        "scrape_seconds": scrape_seconds(host),
        "from": render.time_text(host.first),
        "until": instant_text(host.last),
        "uncharged_hours": host.uncharged / NANOSECONDS_PER_HOUR,
        "months": [_month(answer, month, line, coverage=True) for month, line in sorted(months.items())],
    }


CSV_COLUMNS: Final = (
    "month",
    "complete",
    "by",
    "cluster",
    "host",
    "namespace",
    "server",
    "product",
    "team",
    "model",
    "dollars",
    "gpu_hours",
    "busy_gpu_hours",
    "idle_gpu_hours",
    "unobserved_gpu_hours",
    "unpriced_gpu_hours",
    "unread_gpu_hours",
    "prompt_tokens",
    "cached_prompt_tokens",
    "generation_tokens",
    "dollars_per_million_tokens",
    "hours",
    "hours_with_data",
    "price_basis",
    "step_seconds",
    "scrape_seconds",
    "error_ratio",
)


def as_csv(answer: PastAnswer) -> str:
    """For spreadsheets: a row for each month of each thing. Rows of one `by` sum to the month."""
    rows: list[Sequence[object]] = [CSV_COLUMNS]
    for by in BYS:
        for labels, months in sorted(answer.lines[by].items()):
            for month, line in sorted(months.items()):
                row = _month(answer, month, line, coverage=by == "host")
                tokens = row.pop("tokens")
                row |= {f"{kind}_tokens": count for kind, count in tokens.items()}
                row |= {
                    name: render.safe_cell(value) for name, value in zip(COLUMNS[by], labels, strict=True)
                }
                row |= {
                    "by": by,
                    "price_basis": PRICE_BASIS,
                    "step_seconds": 3600,
                    "scrape_seconds": answer.scrape_seconds,
                    "error_ratio": answer.error,
                }
                rows.append([row.get(name) for name in CSV_COLUMNS])
    return render.csv_text(rows)


_FORMS: Final[Mapping[Form, Callable[[PastAnswer], str]]] = {"table": text, "json": as_json, "csv": as_csv}
