"""`/cost.json`: the figures of the page, for programs; `null` is unknown.

`docs/cost.schema.json` describes each key.
"""

import json
from typing import Any

from exporter.advice.kinds import evidence, headline
from exporter.report import Build, HostSavings, Report
from exporter.units import NANOSECONDS_PER_HOUR, Nanoseconds, dollars, seconds
from exporter.web.summary import (
    GpuSummary,
    ServerSummary,
    Summary,
    finite,
    per_month,
    summarize,
)
from exporter.web.wording import dollars_text, timestamp


def document(report: Report | None, elapsed: Nanoseconds, build: Build) -> bytes:
    """The document at a moment of boot time, keys in a fixed order; `host` is `null` until the first tick."""
    body = {"version": build.version, "host": None if report is None else _host(summarize(report, elapsed))}
    return json.dumps(body, indent=2, allow_nan=False).encode() + b"\n"


def _host(summary: Summary) -> dict[str, Any]:
    idle, month = summary.idle, summary.month
    start = summary.hours[0].start if summary.hours else summary.taken
    return {
        "name": summary.host,
        "taken": timestamp(summary.taken),
        "stale": summary.stale,
        "ledger": summary.ledger,
        "notes": list(summary.notes),
        "dollars_per_hour": summary.dollars_per_hour,
        "estimated_dollars_per_hour": summary.estimated_dollars_per_hour,
        "today_dollars": summary.today_dollars,
        "monthly_run_rate_dollars": summary.run_rate_dollars,
        "month": None if month is None else month.name,
        "month_to_date_dollars": summary.month_to_date_dollars,
        "month_estimated_dollars": summary.month_estimated_dollars,
        "month_projected_dollars": summary.projected_dollars,
        "budget_dollars": summary.budget_dollars,
        "budget_configured": summary.budget_configured,
        "budget_runs_out": None if summary.budget_runs_out is None else timestamp(summary.budget_runs_out),
        "last_day": None
        if idle is None
        else {
            "start": timestamp(start),
            "hours": (summary.taken - start) / NANOSECONDS_PER_HOUR,
            "dollars": idle.dollars,
            "idle_dollars": idle.idle_dollars,
            "idle_ratio": idle.ratio,
        },
        "servers": [_server(line) for line in summary.servers],
        "gpus": [_gpu(line) for line in summary.gpus],
        "sources": [{"source": row.source, "up": row.up} for row in summary.sources],
        "components": [
            {
                "component": line.component,
                "dollars_per_hour": line.dollars_per_hour,
                "last_day_dollars": line.dollars,
            }
            for line in summary.components
        ],
        "savings": None if summary.savings is None else _savings(summary.savings),
        "hours": [
            {
                "start": timestamp(hour.start),
                "dollars_by_phase": {phase: dollars(amount) for phase, amount in sorted(hour.money.items())},
                "metered_seconds": seconds(hour.covered),
            }
            for hour in summary.hours
        ],
        "days": [
            {
                "until": timestamp(day.until),
                "dollars": None if day.amount is None else dollars(day.amount),
                "month_to_date_dollars": day.to_date,
            }
            for day in (() if month is None else month.days)
        ],
    }


def _server(line: ServerSummary) -> dict[str, Any]:
    return {
        **line.owner._asdict(),
        "up": line.up,
        "gpus": line.gpus,
        "dollars_per_hour": line.dollars_per_hour,
        "busy_ratio": line.busy_ratio,
        "last_day_tokens": line.tokens,
        "dollars_per_million_tokens": line.dollars_per_million_tokens,
        "dollars_per_million_computed_tokens": line.dollars_per_million_computed_tokens,
        "last_token": None if line.last_token is None else timestamp(line.last_token),
        "split_method": line.split_method,
        "prefill_ratio": line.prefill_ratio,
        "estimated": line.estimated,
    }


def _gpu(line: GpuSummary) -> dict[str, Any]:
    row = line.row
    return {
        "uuid": row.gpu.uuid,
        "gpu_model": row.gpu.gpu_model,
        "index": row.index if row.index >= 0 else None,
        "count": row.count,
        "up": row.up,
        "priced": row.priced,
        "holders": [{**key._asdict(), "gpu_share_ratio": ratio} for key, ratio in line.holders],
        "dollars_per_hour": line.dollars_per_hour,
        "prices": [
            {
                "component": price.component,
                "dollars_per_hour": finite(price.dollars_per_hour),
                "price_basis": price.provenance.price_basis,
                "source": price.provenance.source,
                "as_of": price.provenance.as_of,
            }
            for price in line.prices
        ],
        "power_watts": line.watts,
        "utilization_ratio": line.utilization_ratio,
        "idle_dollars_per_hour": line.idle_dollars_per_hour,
    }


def _savings(savings: HostSavings) -> dict[str, Any]:
    return {
        "until": timestamp(savings.end),
        "hours": savings.hours,
        "dollars_per_month": per_month(savings.findings),
        "cash_dollars_per_month": per_month(saving for saving in savings.findings if saving.cash),
        "findings": [
            {
                "kind": saving.kind,
                "namespace": saving.server.namespace if saving.kind != "unallocated" else None,
                "server": saving.server.server if saving.kind != "unallocated" else None,
                "dollars_per_month": per_month((saving,)),
                "cash": saving.cash,
                "obstacle": saving.obstacle or None,
                "gpus": saving.gpus,
                "gpu_models": list(saving.gpu_models),
                "gpu_hours": saving.claimed / NANOSECONDS_PER_HOUR,
                "window_hours": saving.window_hours,
                "price_basis": saving.price_basis,
                "text": headline(saving),
                "evidence": evidence(saving, dollars_text),
            }
            for saving in savings.findings
        ],
    }
