"""`/cost.json`: the figures of the page, for programs. `null` is what is not known."""

import json
from typing import Any

from exporter.exposition.summary import ServerLine, Summary
from exporter.exposition.wording import timestamp
from exporter.report import Build


def document(summary: Summary | None, build: Build) -> bytes:
    """The document, keys in a fixed order; `host` is `null` until the first tick."""
    body = {"version": build.version, "host": None if summary is None else _host(summary)}
    return json.dumps(body, indent=2, allow_nan=False).encode() + b"\n"


def _host(summary: Summary) -> dict[str, Any]:
    return {
        "taken": timestamp(summary.taken),
        "stale": summary.stale,
        "ledger": summary.ledger,
        "notes": list(summary.notes),
        "dollars_per_hour": summary.dollars_per_hour,
        "month": summary.month,
        "month_to_date_dollars": summary.month_to_date_dollars,
        "month_projected_dollars": summary.projected_dollars,
        "budget_dollars": summary.budget_dollars,
        "servers": [_server(line) for line in summary.servers],
    }


def _server(line: ServerLine) -> dict[str, Any]:
    return {
        "product": line.party.product,
        "team": line.party.team,
        "namespace": line.party.namespace,
        "server": line.party.server,
        "model": line.party.model,
        "up": line.up,
        "gpus": line.gpus,
        "dollars_per_hour": line.dollars_per_hour,
        "dollars_per_million_tokens": line.dollars_per_million_tokens,
        "split_method": line.split_method,
        "prefill_ratio": line.prefill_ratio,
    }
