"""What is read from one page of metrics: `check-config --page`, to try an engine of the configuration."""

import os
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from exporter import engines
from exporter.config.problems import RefusedError
from exporter.config.settings import Config
from exporter.engines.interpretation import implausible
from exporter.readings import printable


@dataclass(frozen=True, slots=True)
class PageReading:
    """A page as one engine reads it.

    `models` has counts by quantity, and gauges by name, by model. `absent` are names of its description that
    the page lacks. `left_out` counts lines and values that cannot be used.
    """

    engine: str
    models: dict[str, dict[str, float]]
    absent: tuple[str, ...]
    left_out: int


def page_of(path: Path, config: Config) -> tuple[PageReading, ...]:
    """A saved page as each engine reads it that recognizes it, that of the daemon first.

    Raises:
        RefusedError: it cannot be read, or no engine recognizes it.
    """
    body = _body(path, config.limits.body_bytes)
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


def _body(path: Path, most: int) -> bytes:
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise RefusedError(f"{path} is no file; save a page of the server in one")
        with path.open("rb") as file:
            body = file.read(most + 1)
    except OSError as error:
        raise RefusedError(f"{path} cannot be read: {error.strerror}") from error
    if len(body) > most:
        raise RefusedError(f"{path} is larger than {most} bytes; raise `limits: {{body_bytes: BYTES}}`")
    if body.startswith(BOM_UTF8):
        raise RefusedError(f"{path} begins with a byte order mark; save it as UTF-8 without one")
    return body


def _reading(engine: engines.Engine, body: bytes) -> PageReading:
    page = engines.read(body, engines.wanted(engine))
    interpretation = engines.interpret(engine, page)
    models: dict[str, dict[str, float]] = {}
    for counter in interpretation.counters:
        sums = models.setdefault(counter.model, {})
        sums[counter.quantity] = sums.get(counter.quantity, 0.0) + counter.sign * counter.value
    for load in interpretation.loads:
        gauges = {
            "running": load.running,
            "waiting": load.waiting,
            "max_running": load.max_running,
            "kv_cache": None if load.kv_cache is None else load.kv_cache.used / load.kv_cache.capacity,
        }
        known = {name: value for name, value in gauges.items() if value is not None}
        models.setdefault(load.model, {}).update(known)
    left_out = page.malformed + page.duplicates + implausible(engine, page)
    return PageReading(engine.name, models, tuple(_absent(engine, page, body)), left_out)


def _absent(engine: engines.Engine, page: engines.Page, body: bytes) -> Iterator[str]:
    """Names that no sample has, each once. Of alternatives, those of the first count."""
    counts = [count.name for group in engine.groups for count in group[0].counts]
    gauges = [gauge.name for gauge in (*engine.running[:1], *engine.waiting[:1], *engine.max_running[:1])]
    caches = [name for gauge in engine.kv_cache[:1] for name in (gauge.name, gauge.capacity) if name]
    yield from dict.fromkeys(name for name in (*counts, *gauges, *caches) if name not in page.names)
    buckets = engines.read(body, engines.latency_series(engine)).names
    for histograms in engine.latencies().values():
        yield from (each.buckets for each in histograms[:1] if each.buckets not in buckets)


def page_words(path: Path, readings: tuple[PageReading, ...]) -> Iterator[str]:
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


def page_document(path: Path, readings: tuple[PageReading, ...]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "file": str(path),
        "readings": [asdict(reading) for reading in readings],
    }
