"""A configuration as JSON, for programs: what `check-config` says, with amounts as numbers. Pure."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

from exporter.config import Config, ConfigError
from exporter.config.settings import Server, ServerRule
from exporter.config.web import WebConfig
from exporter.cost.policy import SplitRule
from exporter.readings import masked
from exporter.reports.config_findings import config_findings, is_default
from exporter.reports.rule_amounts import amount
from exporter.reports.web_wording import web_document
from exporter.tariff.hosted import HostedPrice
from exporter.tariff.terms import Hardware
from exporter.units import Instant, seconds


def document(config: Config, now: Instant, web: WebConfig | None = None) -> str:
    """A good one, with the web configuration beside it; prices are those in force at an instant."""
    told = {
        "status": 0,
        "file": config.path,
        "sha256": config.hash,
        "interval_seconds": seconds(config.interval),
        "timezone": config.timezone.key,
        "hours_per_month": config.hours_per_month,
        "ledger": config.ledger_path,
        "processes": config.processes,
        "cloud": config.cloud,
        "kubernetes": config.kubernetes,
        "kubelet_ca_file": config.kubelet_ca_file,
        "web": None if web is None else web_document(web),
        "pod_labels": asdict(config.pod_labels),
        "gap_max_days": config.gap_max_days,
        "limits": asdict(config.limits),
        "budgets_are_default": is_default(config),
        "budgets": [asdict(budget) for budget in config.budgets],
        "hardware": [_hardware(rule, now) for rule in config.hardware],
        "unmatched_hardware": config.unmatched_hardware,
        "retired": [
            {"uuid": gone.uuid, "from": gone.since_text, "note": gone.note} for gone in config.retired
        ],
        "overheads": [asdict(overhead) for overhead in config.overheads],
        "servers": [_without_secrets(server) for server in config.servers],
        "server_rules": [_without_secrets(rule) for rule in config.server_rules],
        "ownership": [asdict(rule) for rule in config.ownership],
        "split": [asdict(rule) for rule in config.split or (SplitRule(),)],
        "compare": [_compare(offer) for offer in config.compare],
        "findings": [asdict(finding) for finding in config_findings(config, now)],
    }
    return _text(told)


def _without_secrets(entry: Server | ServerRule) -> dict[str, Any]:
    """An entry of `servers`, the values of queries masked."""
    record = asdict(entry)
    for key in ("url", "metrics_path"):
        if record.get(key):
            record[key] = masked(record[key])
    if entry.divide is not None:
        division = record["divide"]["division"]
        division["gateway"] = masked(division["gateway"])
    return record


def refusal(errors: Sequence[ConfigError]) -> str:
    """Files that are refused, one at least, and each reason with its place; `file` is the first of them."""
    problems = [
        {
            "file": error.file,
            "line": None if problem.place is None else problem.place.line,
            "column": None if problem.place is None else problem.place.column,
            "key": problem.path,
            "message": problem.message,
        }
        for error in errors
        for problem in error.problems
    ]
    return _text({"status": 2, "file": errors[0].file, "problems": problems})


def _hardware(rule: Hardware, now: Instant) -> dict[str, Any]:
    """What a rule matches and what it comes to; what it says word by word stands in the file."""
    found = asdict(amount(rule, now))
    return {
        "rule": rule.source,
        "match": {**asdict(rule.match), "node_label": dict(rule.match.node_label)},
        **found,
        "components": dict(found["components"]),
    }


def _compare(offer: HostedPrice) -> dict[str, Any]:
    return {
        "reference": offer.reference,
        "server": offer.server,
        "model": offer.model,
        "as_of": offer.as_of,
        "dollars_per_million_tokens": dict(offer.by_kind()),
    }


def _text(told: dict[str, Any]) -> str:
    return json.dumps(told, indent=2, default=_plain) + "\n"


def _plain(value: object) -> object:
    """What JSON has no word for: amounts become numbers, paths text."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(type(value).__name__)
