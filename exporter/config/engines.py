"""The key `engines`: engines that are described in the file, in the form of the built-in ones."""

import re
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
    MappingOf,
    Table,
    builds,
    describe,
    read_at,
    unique,
)
from exporter.config.servers import ENGINE, SERVERS
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
class LabelValuesOf:
    """The values of a label: one, or a list; "" stands for a series without the label."""

    expected: str = f"value or list of 1 to {MOST_VALUES}"

    def read(self, node: Node, path: str, context: Context) -> tuple[str, ...]:
        """As `Validator.read`."""
        del path, context
        items = node.items if isinstance(node, Sequence) else [node]
        values = tuple(
            item.text
            for item in items
            if isinstance(item, Scalar) and not item.empty and len(item.text) <= LABEL_CHARACTERS
        )
        if len(values) < len(items) or not 0 < len(values) <= MOST_VALUES:
            raise RefusedError(f"needs a {self.expected}, not {describe(node)}")
        return values


LABEL_CHOICE: Final = MappingOf(
    "mapping of labels to values",
    LabelValuesOf(),
    lambda name: None if _LABEL.fullmatch(name) else f"{shown(name)} is no label of a metric",
    MOST_VALUES,
    example="{source: [prompt, image]}",
)


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
    "where", LABEL_CHOICE, 'Labels with the values that count, one or a list; "" is a series without it.'
)
UNLESS: Final[Key[LabelValues]] = Key(
    "unless", LABEL_CHOICE, "Labels with values that do not count: a series with all of them is left out."
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
GAUGE_WHERE: Final[Key[LabelValues]] = Key("where", LABEL_CHOICE, "As of counters.", record=Gauge, default=())
GAUGE_UNLESS: Final[Key[LabelValues]] = Key(
    "unless", LABEL_CHOICE, "As of counters.", record=Gauge, default=()
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
    "where", LABEL_CHOICE, "As of counters.", record=CacheGauge, default=()
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


def _counters_fit(mapping: MappingNode) -> None:
    """Each series counts a quantity once, there are tokens, and seconds come for both phases."""
    counted: set[tuple[str, Quantity]] = set()
    for position, counter in enumerate(mapping[COUNTERS]):
        for count in counter.counts:
            if (count.name, count.quantity) in counted:
                message = (
                    f"[{position}] counts {count.name} as {count.quantity} again; "
                    "give its values in one where"
                )
                mapping.refuse(COUNTERS, message)
            counted.add((count.name, count.quantity))
    _tokens_count_once(mapping)
    quantities = {quantity for _, quantity in counted}
    if quantities.isdisjoint(("prompt", "generation")):
        mapping.refuse(COUNTERS, "has no prompt and no generation; a price per token needs one of them")
    phases = quantities.intersection(PHASES)
    if phases and ("prefill_seconds" not in phases or len(phases) != 2):
        mapping.refuse(
            COUNTERS, "has seconds of one phase; give prefill_seconds and one of the two for decode, or none"
        )


def _tokens_count_once(mapping: MappingNode) -> None:
    """No series counts as two kinds of tokens; what is subtracted may count alone."""
    earlier: dict[str, dict[Quantity, tuple[int, Count]]] = {}
    for position, counter in enumerate(mapping[COUNTERS]):
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
        (unique(NAME.name, lambda engine: engine.name, "choose another"),),
    ),
    "Engines that are not built in, described by names on their metrics page.",
    record=Config,
)


def engines_are_known(mapping: MappingNode) -> None:
    """Every engine that an entry of `servers` names is built in, or described under `engines`."""
    known = (*sorted(ENGINES), *(engine.name for engine in mapping.get(ENGINES_KEY) or ()))
    servers = mapping.node.value(SERVERS.name)
    for index, item in enumerate(servers.items if isinstance(servers, Sequence) else ()):
        name = item.value(ENGINE.name) if isinstance(item, Mapping) else None
        if name is not None:
            choice = Choice(known, remedy="describe it under `engines`")
            read_at(choice, name, f"{SERVERS.name}[{index}].{ENGINE.name}", mapping.context)
