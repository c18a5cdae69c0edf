"""The verb check-config: are these files good, and what do they come to."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Final

from exporter.config import Config, ConfigError, load
from exporter.config.settings import GpusChoice, KubernetesChoice
from exporter.config.values import plain
from exporter.config.web import WebConfig
from exporter.cost.policy import SplitRule
from exporter.exposition.access import Access
from exporter.reports.config_document import document, refusal
from exporter.reports.config_findings import config_findings, is_default
from exporter.reports.rule_amounts import amount_words, rule_amount
from exporter.reports.rule_wording import (
    budget_words,
    compare_words,
    hardware_words,
    overhead_words,
    pattern_words,
    retired_words,
    server_rule_words,
    server_words,
    split_words,
)
from exporter.reports.web_wording import web_words
from exporter.tariff.terms import Unmatched
from exporter.units import NANOSECONDS_PER_SECOND, Instant

UNMATCHED: Final[Mapping[Unmatched, str]] = {
    "estimate": "list price of its instance type, else what comes nearest, marked as an estimate",
    "unpriced": "has no price, and its cost is absent",
}
CLOUDS: Final = {
    "auto": "the one that the firmware names is asked where this host runs",
    "off": "nobody is asked",
}
GPUS: Final[Mapping[GpusChoice, str]] = {
    "auto": "all are charged where NVIDIA_VISIBLE_DEVICES is all or not set, else visible ones",
    "all": "all are charged, those included that NVML does not list",
    "visible": "those are charged that NVML lists",
}
KUBERNETES: Final[Mapping[KubernetesChoice, str]] = {
    "auto": "this node's pods are asked for by socket, else, as its labels, by a service account",
    "off": "no cluster is asked",
    "pods_api": "the kubelet's socket is asked for this node's pods, the API server for its labels",
    "kubelet": "the kubelet is asked for this node's pods, the API server for its labels",
    "api_server": "the API server is asked for this node's pods and labels",
}

GOOD = 0
REFUSED = 2


def check_config(
    path: Path | None, now: Instant, access: Access | None = None, *, as_json: bool = False
) -> tuple[int, str]:
    """The exit status and what to print: 0 and the configuration in words, or 2 and all that is wrong.

    Prices are those in force at an instant. `access` is read for the first time here, as at a start of the
    daemon; `None` is as one without a file.
    """
    errors: list[ConfigError] = []
    config = Config()
    try:
        config = load(path)
    except ConfigError as error:
        errors.append(error)
    try:
        web = _web(access)
    except ConfigError as error:
        errors.append(error)
    if errors:
        return REFUSED, refusal(errors) if as_json else "".join(f"{error}\n" for error in errors)
    return GOOD, document(config, now, web) if as_json else "\n".join(_lines(config, now, web)) + "\n"


def _web(access: Access | None) -> WebConfig | None:
    """What is in the web configuration's file, `None` without one.

    Raises:
        ConfigError: it cannot be used.
    """
    if access is None:
        return None
    access.load()
    guard = access.current()
    return None if guard is None else guard.config


def _lines(config: Config, now: Instant, web: WebConfig | None) -> Iterator[str]:
    name = "defaults" if config.path is None else str(config.path)
    yield f"ok: {name}"
    if config.hash:
        yield f"sha256: {config.hash}"
    yield f"interval: {plain(Decimal(config.interval) / NANOSECONDS_PER_SECOND)} s"
    yield f"time zone: {config.timezone.key}"
    yield f"run-rate: {plain(config.hours_per_month)} hours per month"
    yield f"ledger: {config.ledger_path}"
    yield f"list prices: {'bundled' if config.catalogue.bundled else config.prices_path}"
    yield f"GPUs: {GPUS[config.gpus]}"
    yield f"cloud: {CLOUDS.get(config.cloud, f'{config.cloud} is asked where this host runs')}"
    yield f"kubernetes: {KUBERNETES[config.kubernetes]}"
    if web is not None:
        yield f"web: {web_words(web)}"
    limits = config.limits
    parties = f"{limits.parties} parties of gateways"
    yield (
        f"limits: {limits.models} models, {limits.servers} servers, {parties}, "
        f"{limits.body_bytes} bytes per answer"
    )
    budgets = "budgets (the default, since none is configured)" if is_default(config) else "budgets"
    yield from _section(budgets, map(budget_words, config.budgets), "none")
    yield from _section("hardware", _hardware(config, now), "no rule")
    yield f"hardware that no rule matches: {UNMATCHED[config.unmatched_hardware]}"
    if config.retired:
        yield from _section("retired GPUs", map(retired_words, config.retired), "")
    yield from _section("overheads", map(overhead_words, config.overheads), "none")
    nobody = "none but those that are found" if config.processes else "none: all GPU time is unallocated"
    told = (*map(server_words, config.servers), *map(server_rule_words, config.server_rules))
    yield from _section("servers", iter(told), nobody)
    owners = (
        f"namespace {pattern_words(rule.namespace)}, server {pattern_words(rule.server)}: "
        f"product {rule.product}, team {rule.team}"
        for rule in config.ownership
    )
    labels = config.pod_labels
    yield f"pod labels: product {labels.product or 'none'}, team {labels.team or 'none'}"
    yield from _section("ownership", owners, "no rule: everything is unassigned")
    yield from _section("split", map(split_words, config.split or (SplitRule(),)), "")
    yield from _section("compare", map(compare_words, config.compare), "no offer")
    yield from (f"{finding.severity}: {finding.text}" for finding in config_findings(config, now))


def _hardware(config: Config, now: Instant) -> Iterator[str]:
    """Each rule, and below it what it comes to."""
    for rule in config.hardware:
        yield hardware_words(rule)
        yield f"  {amount_words(rule_amount(rule, config, now))}"


def _section(title: str, rows: Iterator[str], without: str) -> Iterator[str]:
    lines = [f"  {row}" for row in rows]
    yield f"{title}:" if lines else f"{title}: {without}"
    yield from lines
