"""The verb check-config: whether files are valid, the prices they result in, and what a saved page says.

The page is to try an engine of the configuration.
"""

import json
import os
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from exporter import engines
from exporter.config import Config, ConfigError, load
from exporter.config.problems import Problem, RefusedError
from exporter.config.settings import ConfiguredServer, GpusChoice, KubernetesChoice, ServerRule
from exporter.config.values import plain
from exporter.config.web import WebConfig
from exporter.cost.policy import SplitRule
from exporter.engines.interpretation import implausible
from exporter.readings import masked, printable
from exporter.reports.config_findings import config_findings, is_default
from exporter.reports.rule_text import engine_document, engine_words, price_words, rule_price, rule_words
from exporter.tariff.terms import Hardware, Unmatched
from exporter.units import NANOSECONDS_PER_SECOND, Instant, seconds
from exporter.web.access import Access


@dataclass(frozen=True, slots=True)
class PageReading:
    """A page of metrics as one engine reads it."""

    engine: str
    models: dict[str, dict[str, float]]
    """Counts by quantity and gauges by name, of each model."""
    absent: tuple[str, ...]
    """Names of the engine's description that the page lacks."""
    left_out: int
    """The number of lines and values that cannot be used."""


def web_words(config: WebConfig) -> str:
    """Encryption of connections, and authentication of clients."""
    users = f"passwords of {', '.join(config.names)}" if config.users else "no passwords"
    tls = config.tls
    if tls is None:
        return f"plain HTTP, {users}"
    if tls.client_ca_file is None:
        return f"HTTPS, no certificates of clients, {users}"
    names = f" for {' or '.join(tls.client_allowed_sans)}" if tls.client_allowed_sans else ""
    verified = "required" if tls.requires_certificates else "verified if given"
    return f"HTTPS, certificates of clients {verified}{names}, {users}"


def web_document(config: WebConfig) -> dict[str, Any]:
    """Encryption and authentication as JSON, without any hash of a password."""
    tls = config.tls
    certificates = None
    if tls is not None and tls.client_ca_file is not None:
        certificates = "required" if tls.requires_certificates else "if_given"
    return {
        "tls": tls is not None,
        "client_certificates": certificates,
        "client_allowed_sans": [] if tls is None else list(tls.client_allowed_sans),
        "users": config.names,
    }


JSON_KEYS: Final = {
    "path": "file",
    "hash": "sha256",
    "interval": "interval_seconds",
    "ledger_path": "ledger",
    "prices_path": "price_file",
}
"""Keys of the JSON that differ from the field of the configuration."""


def document(
    config: Config,
    now: Instant,
    web: WebConfig | None = None,
    page: Path | None = None,
    readings: Sequence[PageReading] = (),
) -> str:
    """A valid configuration as JSON, with the web configuration and what was read of a page.

    Prices are those of an instant.
    """
    shown = [field.name for field in fields(Config) if field.name not in {"catalogue", "positions"}]
    record: dict[str, Any] = {
        "status": VALID,
        **{JSON_KEYS.get(name, name): getattr(config, name) for name in shown},
        "interval_seconds": seconds(config.interval),
        "timezone": config.timezone.key,
        "price_file": None if config.catalogue.bundled else config.prices_path,
        "web": None if web is None else web_document(web),
        "budgets_are_default": is_default(config),
        "hardware": [_hardware(rule, config, now) for rule in config.hardware],
        "retired": [
            {"uuid": gone.uuid, "from": gone.since_text, "note": gone.note} for gone in config.retired
        ],
        "servers": [_without_secrets(server) for server in config.servers],
        "server_rules": [_without_secrets(rule) for rule in config.server_rules],
        "engines": [engine_document(engine) for engine in config.engines],
        "split": config.split or (SplitRule(),),
        "compare": [
            {
                "reference": offer.reference,
                "server": offer.server,
                "model": offer.model,
                "as_of": offer.as_of,
                "dollars_per_million_tokens": dict(offer.by_kind()),
            }
            for offer in config.compare
        ],
        "ignored_savings": [
            {
                "kind": ignored.kind,
                "server": ignored.server,
                "reason": ignored.reason,
                "until": ignored.until_text,
            }
            for ignored in config.ignored_savings
        ],
    }
    if page is not None:
        record["page"] = {"file": page, "readings": readings}
    record["findings"] = list(config_findings(config, now))
    return _json(record)


def _without_secrets(entry: ConfiguredServer | ServerRule) -> dict[str, Any]:
    """An entry of `servers`, the values of queries masked."""
    record = asdict(entry)
    for key in ("url", "metrics_path"):
        if record.get(key):
            record[key] = masked(record[key])
    if entry.divide is not None:
        division = record["divide"]["division"]
        division["gateway"] = masked(division["gateway"])
    return record


def problems_document(errors: Sequence[ConfigError]) -> str:
    """The problems of invalid files, each with its position; `file` is the first file.

    A correction that its message does not repeat holds a value, which may be a secret: it is left out.
    """
    problems: list[dict[str, Any]] = []
    for error in errors:
        for problem in error.problems:
            position, edit = problem.position, problem.correction
            is_safe = edit is not None and edit.text in problem.message
            problems.append(
                {
                    "file": error.file,
                    "line": None if position is None else position.line,
                    "column": None if position is None else position.column,
                    "key": problem.path,
                    "message": problem.message,
                    "correction": edit.text if edit is not None and is_safe else None,
                }
            )
    return _json({"status": INVALID, "file": errors[0].file, "problems": problems})


def _hardware(rule: Hardware, config: Config, now: Instant) -> dict[str, Any]:
    """What a rule matches, and its price."""
    price = asdict(rule_price(rule, config, now))
    return {
        "rule": rule.source,
        "match": {**asdict(rule.match), "node_label": dict(rule.match.node_label)},
        **price,
        "components": dict(price["components"]),
    }


def _json(record: dict[str, Any]) -> str:
    return json.dumps(record, indent=2, default=_jsonable) + "\n"


def _jsonable(value: object) -> object:
    """A value that JSON has no type for: amounts as numbers, paths as text, records as objects."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(type(value).__name__)


UNMATCHED: Final[Mapping[Unmatched, str]] = {
    "estimate": "list price of its instance type, else the nearest price, marked as an estimate",
    "unpriced": "has no price, and its cost is absent",
}
CLOUDS: Final = {
    "auto": "metadata service of the cloud that the firmware names",
    "off": "no request",
}
GPUS: Final[Mapping[GpusChoice, str]] = {
    "auto": "all are charged where NVIDIA_VISIBLE_DEVICES is all or not set, else visible ones",
    "all": "all are charged, those included that NVML does not list",
    "visible": "those are charged that NVML lists",
}
KUBERNETES: Final[Mapping[KubernetesChoice, str]] = {
    "auto": "pods of this node from the kubelet's socket, else, like its labels, with a service account",
    "off": "no request",
    "pods_api": "pods of this node from the kubelet's socket, its labels from the API server",
    "kubelet": "pods of this node from the kubelet, its labels from the API server",
    "api_server": "pods and labels of this node from the API server",
}

VALID: Final = 0
INVALID: Final = 2


def check_config(
    path: Path | None,
    now: Instant,
    access: Access | None = None,
    *,
    page: Path | None = None,
    as_json: bool = False,
) -> tuple[int, str]:
    """The exit status and what to print: 0 and the configuration in words, or 2 and every problem.

    Prices are those in force at an instant. `access` is read for the first time here, as at a start of the
    daemon; `None` stands for no web configuration. `page` is a saved page of metrics to read by it.
    """
    errors: list[ConfigError] = []
    config = Config()
    try:
        config = load(path)
    except ConfigError as error:
        errors.append(error)
    web = None
    if access is not None:
        try:
            access.load()
        except ConfigError as error:
            errors.append(error)
        else:
            policy = access.current()
            web = None if policy is None else policy.config
    if errors:
        return INVALID, problems_document(errors) if as_json else "".join(f"{error}\n" for error in errors)
    try:
        readings = () if page is None else page_of(page, config)
    except RefusedError as refused:
        problem = ConfigError(str(page), (Problem(str(refused)),))
        return INVALID, problems_document([problem]) if as_json else f"{refused}\n"
    if as_json:
        return VALID, document(config, now, web, page, readings)
    lines = [*_lines(config, now, web), *page_words(page, readings)]
    return VALID, "\n".join(lines) + "\n"


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
    yield f"cloud: {CLOUDS.get(config.cloud, f'{config.cloud} metadata service')}"
    yield f"kubernetes: {KUBERNETES[config.kubernetes]}"
    if web is not None:
        yield f"web: {web_words(web)}"
    limits = config.limits
    yield (
        f"limits: {limits.models} models, {limits.servers} servers, {limits.parties} parties of gateways, "
        f"{limits.body_bytes} bytes per answer"
    )
    budgets = "budgets (the default, since none is configured)" if is_default(config) else "budgets"
    yield from _section(budgets, map(rule_words, config.budgets), "none")
    priced = (
        f"{rule.source}: {rule_words(rule)}\n    {price_words(rule_price(rule, config, now))}"
        for rule in config.hardware
    )
    yield from _section("hardware", priced, "no rule")
    yield f"hardware that no rule matches: {UNMATCHED[config.unmatched_hardware]}"
    if config.retired:
        yield from _section("retired GPUs", map(rule_words, config.retired), "")
    yield from _section("overheads", map(rule_words, config.overheads), "none")
    without = "none; discovered ones only" if config.processes else "none: all GPU time is unallocated"
    servers = map(rule_words, (*config.servers, *config.server_rules))
    yield from _section("servers", servers, without)
    if config.engines:
        yield from _section("engines", map(engine_words, config.engines), "")
    labels = config.pod_labels
    yield f"pod labels: product {labels.product or 'none'}, team {labels.team or 'none'}"
    yield from _section("ownership", map(rule_words, config.ownership), "no rule: everything is unassigned")
    yield from _section("split", map(rule_words, config.split or (SplitRule(),)), "")
    yield from _section("compare in dollars per million tokens", map(rule_words, config.compare), "no offer")
    if config.ignored_savings:
        yield from _section("ignored savings", map(rule_words, config.ignored_savings), "")
    yield from (f"{finding.severity}: {finding.text}" for finding in config_findings(config, now))


def _section(title: str, rows: Iterator[str], without: str) -> Iterator[str]:
    lines = [f"  {row}" for row in rows]
    yield f"{title}:" if lines else f"{title}: {without}"
    yield from lines


def page_of(path: Path, config: Config) -> tuple[PageReading, ...]:
    """A saved page as each engine reads it that recognizes it, that of the daemon first.

    Raises:
        RefusedError: it cannot be read, or no engine recognizes it.
    """
    body_bytes = config.limits.body_bytes
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise RefusedError(f"{path} is no file; save a page of the server in one")
        with path.open("rb") as file:
            body = file.read(body_bytes + 1)
    except OSError as error:
        raise RefusedError(f"{path} cannot be read: {error.strerror}") from error
    if len(body) > body_bytes:
        raise RefusedError(f"{path} is larger than {body_bytes} bytes; raise `limits: {{body_bytes: BYTES}}`")
    if body.startswith(BOM_UTF8):
        raise RefusedError(f"{path} begins with a byte order mark; save it as UTF-8 without one")
    page = engines.read(body, engines.everything(config.engines))
    rows = engines.matches(page, config.engines)
    for row in rows[:1]:
        if isinstance(row, engines.GatewaySpec):
            raise RefusedError(f"{path}: the page of {row.title}, {row.what}: {row.remedy}")
    if not rows:
        names = " or ".join(f"`engines` of {engine.name}" for engine in config.engines)
        hint = f"; compare its names with {names}" if names else "; describe it under `engines`"
        raise RefusedError(f"{path}: a page of no known engine{hint}")
    return tuple(_reading(row, body) for row in rows if isinstance(row, engines.Engine))


def _reading(engine: engines.Engine, body: bytes) -> PageReading:
    """A page as an engine reads it. Of alternative names, the first is missed."""
    page = engines.read(body, engines.wanted(engine))
    interpretation = engines.interpret(engine, page)
    models: dict[str, dict[str, float]] = {}
    for counter in interpretation.counters:
        sums = models.setdefault(counter.model, {})
        sums[counter.quantity] = sums.get(counter.quantity, 0.0) + counter.sign * counter.value
    for requests in interpretation.loads:
        cache = requests.kv_cache
        values = {
            "running": requests.running,
            "waiting": requests.waiting,
            "max_running": requests.max_running,
            "kv_cache": None if cache is None else cache.used / cache.capacity,
        }
        known = {name: value for name, value in values.items() if value is not None}
        models.setdefault(requests.model, {}).update(known)
    counts = [count.name for group in engine.groups for count in group[0].counts]
    gauges = [gauge.name for gauge in (*engine.running[:1], *engine.waiting[:1], *engine.max_running[:1])]
    caches = [name for gauge in engine.kv_cache[:1] for name in (gauge.name, gauge.capacity) if name]
    absent = [name for name in (*counts, *gauges, *caches) if name not in page.names]
    buckets = engines.read(body, engines.latency_series(engine)).names
    for histograms in engine.latencies().values():
        absent += [histogram.buckets for histogram in histograms[:1] if histogram.buckets not in buckets]
    left_out = page.malformed + page.duplicates + implausible(engine, page)
    return PageReading(engine.name, models, tuple(dict.fromkeys(absent)), left_out)


def page_words(path: Path | None, readings: Sequence[PageReading]) -> Iterator[str]:
    """The lines for a terminal."""
    for position, reading in enumerate(readings):
        named = f", where a server has `engine: {reading.engine}`" if position else ""
        yield f"page {path}: {reading.engine}{named}"
        for model, values in sorted(reading.models.items()):
            numbers = ", ".join(f"{name} {value:.12g}" for name, value in values.items())
            yield f"  {printable(model) if model else 'a model that no label names'}: {numbers}"
        if not reading.models:
            yield "  no series yet"
        if reading.absent:
            yield f"  not on the page: {', '.join(reading.absent)}"
        if reading.left_out:
            yield f"  left out as damaged, repeated or implausible: {reading.left_out}"
