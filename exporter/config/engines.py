"""The key `engines`: engines that are described in the file, in the form of the built-in ones."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Final, TypeVar, get_args

from exporter.config.document import Mapping, Node, Scalar, Sequence
from exporter.config.gateways import MetricLabel
from exporter.config.problems import RefusedError, shown
from exporter.config.schema import (
    Context,
    Key,
    ListOf,
    MappingNode,
    Table,
    builds,
    correction,
    describe,
    unique,
)
from exporter.config.servers import ENGINE, ENGINE_NAMES, SERVERS
from exporter.config.settings import Config
from exporter.config.values import Choice, Name, Number, ScalarValidator, Whole
from exporter.engines.catalogue import ENGINES, UNCOUNTED
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
from exporter.frozen import dataclass
from exporter.readings import KINDS, LABEL_CHARACTERS, LatencyBasis, Quantity

T = TypeVar("T")

MOST_VALUES: Final = 64
"""Labels of a choice, and values of a label."""

_METRIC: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,199}")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,99}")


@dataclass(frozen=True, slots=True)
class MetricName(ScalarValidator[str]):
    """The name of a sample, as a page has it."""

    expected: str = "metric name"

    def parse(self, written: Scalar) -> str:
        """The name itself."""
        if not _METRIC.fullmatch(written.text):
            raise RefusedError(
                f"{shown(written.text)} is no metric name; copy it from the page, without braces and labels"
            )
        return written.text


@dataclass(frozen=True, slots=True)
class LabelChoice:
    """Labels, each with a value or a list of values; "" stands for a series without the label."""

    expected: str = "mapping of labels to values"

    def read(self, node: Node, path: str, context: Context) -> LabelValues:
        """As `Validator.read`."""
        if not isinstance(node, Mapping) or not node.entries:
            what = "an empty mapping" if isinstance(node, Mapping) else describe(node)
            raise RefusedError(f"must be labels with values, like {{source: [prompt, image]}}, not {what}")
        if len(node.entries) > MOST_VALUES:
            raise RefusedError(f"has {len(node.entries)} labels; it takes 1 to {MOST_VALUES}")
        choice = []
        with context.problems.fatal():
            for position, fault in node.faults:
                context.problems.note(position, path, fault)
            for name, (position, value) in node.entries.items():
                values = _values(value)
                if not _LABEL.fullmatch(name):
                    context.problems.note(position, path, f"{shown(name)} is no label of a metric")
                elif values is None:
                    message = f"{name} needs a value or a list of 1 to {MOST_VALUES}, not {describe(value)}"
                    context.problems.note(position, path, message)
                else:
                    choice.append((name, values))
        return tuple(choice)


def _values(node: Node) -> tuple[str, ...] | None:
    """The values that are written for a label; `None` for anything else."""
    items = node.items if isinstance(node, Sequence) else (node,)
    values = tuple(
        item.text
        for item in items
        if isinstance(item, Scalar) and not item.empty and len(item.text) <= LABEL_CHARACTERS
    )
    return values if len(values) == len(items) and 0 < len(values) <= MOST_VALUES else None


@dataclass(frozen=True, slots=True)
class ServerPath(ScalarValidator[str]):
    """A path on a server."""

    expected: str = "path"

    def parse(self, written: Scalar) -> str:
        """The path itself."""
        if not re.fullmatch(r"/(?!/)[!-~]{0,200}", written.text) or set("#?") & set(written.text):
            raise RefusedError(f"{shown(written.text)} is no path; begin it with one /, as in /metrics")
        return written.text


WHERE: Final[Key[LabelValues]] = Key(
    "where", LabelChoice(), 'Labels with the values that count, one or a list; "" is a series without it.'
)
UNLESS: Final[Key[LabelValues]] = Key(
    "unless", LabelChoice(), "Labels with values that do not count: a series with all of them is left out."
)
COUNTER_NAME: Final = Key(
    "name",
    MetricName(),
    "The name of its samples on the page, with `_total`, or with `_sum` for a histogram.",
    required=True,
)
QUANTITY: Final[Key[Quantity]] = Key(
    "quantity",
    Choice(get_args(Quantity)),
    "Quantity that it counts. prompt: computed prompt tokens. cached_prompt: prompt tokens from the prefix "
    "cache. generation: generated tokens. decode_seconds: seconds of the engine; decode_request_seconds: "
    "summed over requests.",
    required=True,
)
MINUS: Final = Key(
    "minus",
    MetricName(),
    "A counter to subtract from it, such as the cached tokens that a counter of whole prompts includes.",
)
SCALE: Final = Key(
    "scale_ratio",
    Number("ratio", Decimal(1000), above_low=True),
    "Factor to tokens, requests or seconds: 0.001 for milliseconds.",
    default=Decimal(1),
)


@dataclass(frozen=True, slots=True)
class ConfiguredCounter:
    """One counter of an engine, and what it includes by mistake."""

    count: Count
    minus: str = ""

    @property
    def counts(self) -> tuple[Count, ...]:
        """The counter, and the one that is subtracted."""
        if not self.minus:
            return (self.count,)
        taken = Count(self.minus, self.count.quantity, sign=-1, scale=self.count.scale)
        return self.count, taken


def _counter(mapping: MappingNode) -> ConfiguredCounter:
    count = Count(
        mapping[COUNTER_NAME],
        mapping[QUANTITY],
        where=mapping.get(WHERE) or (),
        unless=mapping.get(UNLESS) or (),
        scale=float(mapping[SCALE]),
    )
    return ConfiguredCounter(count, mapping.get(MINUS) or "")


COUNTERS: Final = Key(
    "counters",
    ListOf(
        Table((COUNTER_NAME, QUANTITY, WHERE, UNLESS, MINUS, SCALE), _counter, expected="counter"), least=1
    ),
    "What it counts. A page with one of these names is recognized as its page, unless it is a built-in "
    "engine's.",
    required=True,
)
GAUGE_NAME: Final = Key(
    "name", MetricName(), "The name of its samples on the page.", record=Gauge, required=True
)
GAUGE_WHERE: Final[Key[LabelValues]] = Key(
    "where", LabelChoice(), "As of counters.", record=Gauge, default=()
)
GAUGE_UNLESS: Final[Key[LabelValues]] = Key(
    "unless", LabelChoice(), "As of counters.", record=Gauge, default=()
)
_GAUGE: Final = Table((GAUGE_NAME, GAUGE_WHERE, GAUGE_UNLESS), builds(Gauge))
RUNNING: Final = Key("running", _GAUGE, "Gauge of running requests.")
WAITING: Final = Key("waiting", _GAUGE, "Gauge of waiting requests.")
MAX_RUNNING: Final = Key("max_running", _GAUGE, "Gauge of the largest number of requests that run at once.")
CACHE_NAME: Final = Key(
    "name", MetricName(), "The name of its samples on the page.", record=CacheGauge, required=True
)
CAPACITY: Final = Key(
    "capacity",
    MetricName(),
    "Gauge of the whole cache in the same unit, for one that is no ratio from 0 to 1.",
    record=CacheGauge,
)
CACHE_WHERE: Final[Key[LabelValues]] = Key(
    "where", LabelChoice(), "As of counters.", record=CacheGauge, default=()
)
KV_CACHE: Final = Key(
    "kv_cache",
    Table((CACHE_NAME, CAPACITY, CACHE_WHERE), builds(CacheGauge)),
    "Gauge of the part of the KV cache in use.",
)
HISTOGRAM_NAME: Final = Key(
    "name",
    MetricName(),
    "Its name on the page without `_bucket`; it is in seconds.",
    record=LatencyHistogram,
    required=True,
)
BASIS: Final[Key[LatencyBasis]] = Key(
    "basis",
    Choice(get_args(LatencyBasis)),
    "Whether one observation is a request or a token.",
    record=LatencyHistogram,
)
_HISTOGRAM: Final = Table((HISTOGRAM_NAME, BASIS), builds(LatencyHistogram))
FIRST_TOKEN: Final = Key("first_token", _HISTOGRAM, "Histogram of the time to the first token, for a `slo`.")
PER_TOKEN: Final = Key("per_token", _HISTOGRAM, "Histogram of the time per token, for a `slo`.")

NAME: Final = Key(
    "name",
    Name("engine name", reserved=(*ENGINES, *UNCOUNTED)),
    "The engine's name, for `servers[].engine`; no built-in one.",
    required=True,
)
MODELS: Final = Key(
    "models",
    ListOf(MetricLabel(), least=1),
    "Labels that name the model: the first that a series has. Without it all series are of one model.",
)
MODELS_LIST: Final = Key(
    "models_path",
    ServerPath(),
    "OpenAI-compatible list of models, such as /v1/models, whose first id names a model that no label names.",
)
REPEATED: Final = Key(
    "repeated",
    ListOf(MetricLabel(), least=1),
    "Labels of ranks that count the same work: series that differ only in them count once.",
)
PORT: Final = Key("port", Whole("port", 1, 65535), "The port that it listens on by default.", default=8000)
PATH: Final = Key(
    "path", ServerPath(), "The path of its metrics, for servers that are found.", default="/metrics"
)

PHASES: Final[tuple[Quantity, ...]] = ("prefill_seconds", "decode_seconds", "decode_request_seconds")


def _counts(mapping: MappingNode) -> Iterator[tuple[int, Count]]:
    for position, counter in enumerate(mapping.get(COUNTERS) or ()):
        yield from ((position, count) for count in counter.counts)


def _counters_fit(mapping: MappingNode) -> None:
    """Each series counts a quantity once, there are tokens, and seconds come for both phases."""
    counted: set[tuple[str, Quantity]] = set()
    for position, count in _counts(mapping):
        if (count.name, count.quantity) in counted:
            message = (
                f"[{position}] counts {count.name} as {count.quantity} again; give its values in one where"
            )
            mapping.refuse(COUNTERS, message)
        counted.add((count.name, count.quantity))
    _tokens_count_once(mapping)
    quantities = {quantity for _, quantity in counted}
    if quantities and quantities.isdisjoint(("prompt", "generation")):
        mapping.refuse(COUNTERS, "has no prompt and no generation; a price per token needs one of them")
    phases = quantities.intersection(PHASES)
    if phases and ("prefill_seconds" not in phases or len(phases) != 2):
        mapping.refuse(
            COUNTERS, "has seconds of one phase; give prefill_seconds and one of the two for decode, or none"
        )


def _tokens_count_once(mapping: MappingNode) -> None:
    """No series counts as two kinds of tokens; what is subtracted may count alone."""
    earlier: dict[str, dict[Quantity, tuple[int, Count]]] = {}
    for position, counter in enumerate(mapping.get(COUNTERS) or ()):
        count = counter.count
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
                mapping.refuse(COUNTERS, message)
        kinds.setdefault(count.quantity, (position, count))


def _optional(mapping: MappingNode, key: Key[T]) -> tuple[T, ...]:
    value = mapping.get(key)
    return () if value is None else (value,)


def _engine(mapping: MappingNode) -> Engine:
    counters = mapping[COUNTERS]
    timed = [counter for counter in counters if counter.count.quantity in PHASES]
    groups: list[Group] = [
        (Alternative((counter.count.name,), counter.counts),) for counter in counters if counter not in timed
    ]
    if timed:
        names = tuple(dict.fromkeys(counter.count.name for counter in timed))
        groups.append((Alternative(names, tuple(count for counter in timed for count in counter.counts)),))
    path = mapping.get(MODELS_LIST)
    return Engine(
        name=mapping[NAME],
        prefix="",
        default_port=mapping[PORT],
        default_path=mapping[PATH],
        fingerprint=Fingerprint(
            names=tuple(
                dict.fromkeys(counter.count.name for counter in counters if counter.count.quantity in KINDS)
            )
        ),
        groups=tuple(groups),
        models=mapping.get(MODELS) or (),
        questions=() if path is None else (MetadataQuery(path[1:], model=("data", 0, "id")),),
        repeated=frozenset(mapping.get(REPEATED) or ()),
        creates_late=True,
        running=_optional(mapping, RUNNING),
        waiting=_optional(mapping, WAITING),
        max_running=_optional(mapping, MAX_RUNNING),
        kv_cache=_optional(mapping, KV_CACHE),
        first_token=_optional(mapping, FIRST_TOKEN),
        per_token=_optional(mapping, PER_TOKEN),
    )


ENGINES_KEY: Final = Key(
    "engines",
    ListOf(
        Table(
            (
                NAME,
                COUNTERS,
                MODELS,
                MODELS_LIST,
                RUNNING,
                WAITING,
                MAX_RUNNING,
                KV_CACHE,
                FIRST_TOKEN,
                PER_TOKEN,
                REPEATED,
                PORT,
                PATH,
            ),
            _engine,
            (_counters_fit,),
            expected="engine",
        ),
        (unique(NAME, lambda engine: engine.name, "choose another"),),
    ),
    "Engines that are not built in, described by names on their metrics page.",
    record=Config,
)


def engines_are_known(mapping: MappingNode) -> None:
    """Every engine that an entry of `servers` names is built in, or described under `engines`."""
    names = [node.text for item in _items(mapping, ENGINES_KEY) if (node := _scalar(item, NAME)) is not None]
    known = (*sorted(ENGINES), *names)
    for index, item in enumerate(_items(mapping, SERVERS)):
        engine = _scalar(item, ENGINE)
        if engine is None:
            continue
        try:
            Choice(known, ENGINE_NAMES, "describe it under `engines`").parse(engine)
        except RefusedError as refused:
            path = f"{SERVERS.name}[{index}].{ENGINE.name}"
            mapping.context.problems.note(engine.position, path, str(refused), correction(engine, refused))


def _items(mapping: MappingNode, key: Key[object]) -> list[Node]:
    node = mapping.node.value(key.name)
    return node.items if isinstance(node, Sequence) else []


def _scalar(node: Node, key: Key[object]) -> Scalar | None:
    value = node.value(key.name) if isinstance(node, Mapping) else None
    return value if isinstance(value, Scalar) and not value.empty else None
