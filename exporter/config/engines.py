"""The key `engines`: engines that are described in the file, in the form of the built-in ones."""

import re
from decimal import Decimal
from typing import Annotated, Final, TypeAlias, TypeVar

from exporter.config.document import Mapping, Node, Scalar, Sequence
from exporter.config.gateways import METRIC_LABEL
from exporter.config.problems import RefusedError, shown
from exporter.config.schema import ListOf, MappingOf, Model, Table, read_at, unique
from exporter.config.values import Choice, Context, Custom, Number, Port, describe, matching, safe_name
from exporter.engines.catalogue import ENGINES as BUILT_IN
from exporter.engines.catalogue import UNCOUNTED_SERVERS
from exporter.engines.spec import (
    Alternative,
    CacheGauge,
    Count,
    Engine,
    Fingerprint,
    Gauge,
    Group,
    LatencyHistogram,
    MetadataQuery,
    overlap,
)
from exporter.engines.spec import Choice as LabelValues
from exporter.readings import KINDS, LABEL_CHARACTERS, LatencyBasis, Quantity

T = TypeVar("T")

MOST_VALUES: Final = 64
"""Labels of a choice, and values of a label."""

_METRIC: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,199}")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,99}")


METRIC_NAME: Final = matching(
    "metric name", _METRIC.fullmatch, "; copy it from the page, without braces and labels", str
)
MetricName: TypeAlias = Annotated[str, METRIC_NAME]


def _label_values(node: Node, _: Context) -> tuple[str, ...]:
    """The values of a label: one, or a list; "" stands for a series without the label."""
    items = node.items if isinstance(node, Sequence) else [node]
    values = tuple(
        item.text
        for item in items
        if isinstance(item, Scalar) and not item.empty and len(item.text) <= LABEL_CHARACTERS
    )
    if len(values) < len(items) or not 0 < len(values) <= MOST_VALUES:
        raise RefusedError(f"needs a {LABEL_VALUES.expected}, not {describe(node)}")
    return values


LABEL_VALUES: Final = Custom(f"value or list of 1 to {MOST_VALUES}", _label_values)

LABEL_CHOICE: Final = MappingOf(
    "mapping of labels to values",
    LABEL_VALUES,
    lambda name: None if _LABEL.fullmatch(name) else f"{shown(name)} is no label of a metric",
    MOST_VALUES,
    example="{source: [prompt, image]}",
)


_PATH: Final = re.compile(r"/(?!/)[^#?\x00-\x20\x7f-\U0010ffff]{0,200}")
SERVER_PATH: Final = matching("path", _PATH.fullmatch, "; begin it with one /, as in /metrics", str)


class EngineCounterKeys(Model, kw_only=True):
    """One counter of an engine."""

    name: MetricName
    """The name of its samples on the page, with `_total`, or with `_sum` for a histogram."""
    quantity: Quantity
    """Quantity that it counts. prompt: computed prompt tokens. cached_prompt: prompt tokens from the prefix
    cache. generation: generated tokens. decode_seconds: seconds of the engine; decode_request_seconds: summed
    over requests."""
    where: Annotated[LabelValues, LABEL_CHOICE] = ()
    """Labels with the values that count, one or a list; "" is a series without it."""
    unless: Annotated[LabelValues, LABEL_CHOICE] = ()
    """Labels with values that do not count: a series with all of them is left out."""
    minus: MetricName = ""
    """A counter to subtract from it, such as the cached tokens that a counter of whole prompts includes."""
    scale_ratio: Annotated[Decimal, Number("ratio", Decimal(1000), above_low=True)] = Decimal(1)
    """Factor to tokens, requests or seconds: 0.001 for milliseconds."""

    def build(self) -> tuple[Count, ...]:
        """The counter, and the one that is subtracted from it."""
        scale = float(self.scale_ratio)
        count = Count(self.name, self.quantity, where=self.where, unless=self.unless, scale=scale)
        if not self.minus:
            return (count,)
        return count, Count(self.minus, self.quantity, sign=-1, scale=scale)


class GaugeKeys(Model, kw_only=True):
    """One gauge of an engine."""

    builds = Gauge
    name: MetricName
    """The name of its samples on the page."""
    where: Annotated[LabelValues, LABEL_CHOICE] = ()
    """As of counters."""
    unless: Annotated[LabelValues, LABEL_CHOICE] = ()
    """As of counters."""


class CacheKeys(Model, kw_only=True):
    """The gauge of a cache."""

    builds = CacheGauge
    name: MetricName
    """The name of its samples on the page."""
    capacity: MetricName = ""
    """Gauge of the whole cache in the same unit, for one that is no ratio from 0 to 1."""
    where: Annotated[LabelValues, LABEL_CHOICE] = ()
    """As of counters."""


class HistogramKeys(Model, kw_only=True):
    """One histogram of latency."""

    builds = LatencyHistogram
    name: MetricName
    """Its name on the page without `_bucket`; it is in seconds."""
    basis: LatencyBasis = "requests"
    """Whether one observation is a request or a token."""


PHASES: Final[tuple[Quantity, ...]] = ("prefill_seconds", "decode_seconds", "decode_request_seconds")


class EngineKeys(Model, kw_only=True):
    """An engine by the names on its metrics page."""

    name: Annotated[str, safe_name("engine name", reserved=(*BUILT_IN, *UNCOUNTED_SERVERS))]
    """The engine's name, for `servers[].engine`; no built-in one."""
    counters: Annotated[tuple[tuple[Count, ...], ...], ListOf(Table(EngineCounterKeys, "counter"), least=1)]
    """What it counts. A page with one of these names is recognized as its page, unless it is a built-in
    engine's."""
    models: Annotated[tuple[str, ...], ListOf(METRIC_LABEL, least=1)] = ()
    """Labels that name the model: the first that a series has. Without it all series are of one model."""
    models_path: Annotated[str | None, SERVER_PATH] = None
    """OpenAI-compatible list of models, such as /v1/models, whose first id names a model that no label
    names."""
    running: Annotated[Gauge | None, GaugeKeys] = None
    """Gauge of running requests."""
    waiting: Annotated[Gauge | None, GaugeKeys] = None
    """Gauge of waiting requests."""
    max_running: Annotated[Gauge | None, GaugeKeys] = None
    """Gauge of the largest number of requests that run at once."""
    kv_cache: Annotated[CacheGauge | None, CacheKeys] = None
    """Gauge of the part of the KV cache in use."""
    first_token: Annotated[LatencyHistogram | None, HistogramKeys] = None
    """Histogram of the time to the first token, for a `slo`."""
    per_token: Annotated[LatencyHistogram | None, HistogramKeys] = None
    """Histogram of the time per token, for a `slo`."""
    repeated: Annotated[tuple[str, ...], ListOf(METRIC_LABEL, least=1)] = ()
    """Labels of ranks that count the same work: series that differ only in them count once."""
    port: Port = 8000
    """The port that it listens on by default."""
    path: Annotated[str, SERVER_PATH] = "/metrics"
    """The path of its metrics, for servers that are found."""

    def build(self) -> Engine:
        """The engine."""
        self._check_counters()
        timed = [counts for counts in self.counters if counts[0].quantity in PHASES]
        groups: list[Group] = [
            (Alternative((counts[0].name,), counts),) for counts in self.counters if counts not in timed
        ]
        if timed:
            names = tuple(dict.fromkeys(counts[0].name for counts in timed))
            groups.append((Alternative(names, tuple(count for counts in timed for count in counts)),))
        tokens = dict.fromkeys(counts[0].name for counts in self.counters if counts[0].quantity in KINDS)
        path = self.models_path
        return Engine(
            name=self.name,
            prefix="",
            default_port=self.port,
            default_path=self.path,
            fingerprint=Fingerprint(names=tuple(tokens)),
            groups=tuple(groups),
            model_labels=self.models,
            metadata_queries=() if path is None else (MetadataQuery(path[1:], model=("data", 0, "id")),),
            repeated=frozenset(self.repeated),
            series_appear_late=True,
            running=_optional(self.running),
            waiting=_optional(self.waiting),
            max_running=_optional(self.max_running),
            kv_cache=_optional(self.kv_cache),
            first_token=_optional(self.first_token),
            per_token=_optional(self.per_token),
        )

    def _check_counters(self) -> None:
        """Each series counts a quantity once, and one kind of tokens. Seconds come for both phases.

        What is subtracted may also count alone.
        """
        counted: set[tuple[str, Quantity]] = set()
        for position, counts in enumerate(self.counters):
            for count in counts:
                if (count.name, count.quantity) in counted:
                    message = (
                        f"[{position}] counts {count.name} as {count.quantity} again; "
                        "give its values in one where"
                    )
                    self.refuse("counters", message)
                counted.add((count.name, count.quantity))
        earlier: dict[str, dict[Quantity, tuple[int, Count]]] = {}
        for position, (count, *_) in enumerate(self.counters):
            if count.quantity not in KINDS:
                continue
            kinds = earlier.setdefault(count.name, {})
            for kind, (first, other) in kinds.items():
                unless = count.unless, other.unless
                if kind != count.quantity and overlap(count.where, other.where, unless=unless):
                    message = (
                        f"[{position}] counts series of {count.name} that [{first}] counts as {kind}; "
                        "give both a where that tells them apart"
                    )
                    self.refuse("counters", message)
            kinds.setdefault(count.quantity, (position, count))
        quantities = {quantity for _, quantity in counted}
        if quantities.isdisjoint(("prompt", "generation")):
            self.refuse("counters", "has no prompt and no generation; a price per token needs one of them")
        phases = quantities.intersection(PHASES)
        if phases and ("prefill_seconds" not in phases or len(phases) != 2):
            self.refuse(
                "counters",
                "has seconds of one phase; give prefill_seconds and one of the two for decode, or none",
            )


def _optional(value: T | None) -> tuple[T, ...]:
    return () if value is None else (value,)


ENGINES = ListOf(
    Table(EngineKeys, "engine"),
    (unique("name", lambda engine: engine.name, "choose another"),),
)


def engines_are_known(model: Model, described: tuple[Engine, ...]) -> None:
    """Every engine that an entry of `servers` names is built in, or described in the file."""
    known = (*sorted(BUILT_IN), *(engine.name for engine in described))
    servers = model.node.value("servers")
    for item in servers.items if isinstance(servers, Sequence) else ():
        name = item.value("engine") if isinstance(item, Mapping) else None
        if name is not None:
            choice = Choice(known, remedy="describe it under `engines`")
            read_at(choice, name, model.context)
