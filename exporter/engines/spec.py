"""Description of an engine: names, not code. One small file per engine holds one `Engine`.

To add an engine, write its exact sample names as its own source emits them, with the version in which each
appeared; never match by suffix, since names lie (`vllm:iteration_tokens_total` is a histogram).
Write the `Command`s that start it, by its argument parser or CLI page.
The catalogue imports every file of this folder.
Put a captured page with hand-made expectations next to those in tests/engines/captures.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from typing import Any, Final, Literal, TypeAlias

from exporter.engines.exposition import Page, WantedSeries
from exporter.readings import KINDS, LatencyBasis, Objective, Quantity, Role

Choice: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]
"""Labels with their accepted values; a label that a series lacks has the value ''."""


def label(name: str, *values: str) -> Choice:
    """Choice by one label with any of these values."""
    return ((name, values),)


PROCESS_START: Final = "process_start_time_seconds"
"""Unix time at which the process started: client libraries of Python and Go write it, unless metrics of
several processes are merged."""


def chosen(labels: Mapping[str, str], choice: Choice) -> bool:
    """Whether every label of a choice has one of its values."""
    return all(labels.get(label, "") in values for label, values in choice)


def overlap(*choices: Choice, unless: Iterable[Choice] = ()) -> bool:
    """Whether a series may be of all choices, and of none of `unless`."""
    left: dict[str, set[str]] = {}
    for label, values in (each for choice in choices for each in choice):
        left[label] = left.get(label, set(values)).intersection(values)
    for choice in filter(None, unless):
        others = [
            (label, values) for label, values in choice if label not in left or left[label].difference(values)
        ]
        if not others:
            return False
        label, values = others[0]
        if len(others) == 1 and label in left:
            left[label].difference_update(values)
    return all(left.values())


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Identifies an engine by its page: a series of one of these names."""

    names: tuple[str, ...]
    labels: tuple[str, ...] = ()
    """Labels that the series has."""
    without: tuple[str, ...] = ()
    """Labels that it lacks."""
    where: Choice = ()
    """For names that other programs write too: labels with values that only this engine has."""

    def matches(self, page: Page) -> bool:
        """Whether the page has such a series."""
        return any(
            all(label in sample.series.labels for label in self.labels)
            and not any(label in sample.series.labels for label in self.without)
            and chosen(sample.series.labels, self.where)
            for name in self.names
            for sample in page.samples.get(name, ())
        )


@dataclass(frozen=True, slots=True)
class Count:
    """A counter (or a histogram's sum) and what it counts. Each series that passes is one reading."""

    name: str
    quantity: Quantity
    sign: Literal[1, -1] = 1
    """-1 subtracts from a quantity what another counter of it includes."""
    where: Choice = ()
    """Values of labels that a series has."""
    unless: Choice = ()
    """Values of labels with which a series is left out; empty leaves out none."""
    scale: float = 1.0
    """Converts to base units, such as microseconds to seconds."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """One set of counts."""

    requires: tuple[str, ...]
    """Names that are all on the page where it is used; other counts are optional."""
    counts: tuple[Count, ...]


Group: TypeAlias = tuple[Alternative, ...]
"""Alternatives, best first. Only the first counts whose required names are all on the page, so that nothing
counts twice."""


def counter(name: str, quantity: Quantity) -> Group:
    """A quantity with one counter in all versions."""
    return (Alternative((name,), (Count(name, quantity),)),)


def phase_seconds(
    prefill: str,
    decode: str,
    decode_quantity: Literal["decode_seconds", "decode_request_seconds"] = "decode_request_seconds",
) -> Alternative:
    """Seconds of both phases, each with a counter of its own."""
    return Alternative((prefill, decode), (Count(prefill, "prefill_seconds"), Count(decode, decode_quantity)))


def prompt_less_cached(prompt: str, *cached: str, requires: tuple[str, ...] = ()) -> Alternative:
    """A counter of whole prompts, less the cached tokens that counters of their own have.

    Cached tokens move from the quantity `prompt` to `cached_prompt`. A page may lack a counter of cached
    tokens, unless `requires` names it.
    """
    return Alternative(
        requires=(prompt, *requires),
        counts=(
            Count(prompt, "prompt"),
            *(Count(name, "prompt", sign=-1) for name in cached),
            *(Count(name, "cached_prompt") for name in cached),
        ),
    )


@dataclass(frozen=True, slots=True)
class Gauge:
    """Current requests: per model the sum of series that pass.

    A series without a model label is of the model "", unless `named_by` or a metadata query names one.
    """

    name: str
    where: Choice = ()
    """Values of labels that a series has."""
    unless: Choice = ()
    """Values of labels with which a series is left out; empty leaves out none."""
    also: str = ""
    """Gauge that is added to it, where the page has one."""


@dataclass(frozen=True, slots=True)
class CacheGauge:
    """The part of the KV cache in use."""

    name: str
    where: Choice = ()
    capacity: str = ""
    """Gauge of the capacity, in the unit of this one; empty where this one is a ratio from 0 to 1."""


@dataclass(frozen=True, slots=True)
class LatencyHistogram:
    """A histogram of seconds, and what one observation of it is."""

    name: str
    """Its name without `_bucket`."""
    basis: LatencyBasis = "requests"

    @property
    def buckets(self) -> str:
        """The name of its buckets."""
        return f"{self.name}_bucket"


Way: TypeAlias = tuple[str | int, ...]
"""The path to a value in a JSON document: a word is a key of an object, a number an index of a list."""


@dataclass(frozen=True, slots=True)
class MetadataQuery:
    """A JSON page of the same server with a model or version that its metrics lack; read once per process.

    Only pages that the server answers from memory are read: none that works, waits or wakes it.
    """

    path: str
    """Path from the server's root, without a slash before it."""
    model: Way = ()
    """Path to the model in the document; empty where it is not read."""
    version: Way = ()
    """Path to the version in the document; empty where it is not read."""


@dataclass(frozen=True, slots=True)
class ModelLabel:
    """A series with a label that names the model; its value means nothing."""

    name: str
    label: str


@dataclass(frozen=True, slots=True)
class Manual:
    """Notes on an engine for operators, in whole sentences; docs/engines.md is generated from them."""

    title: str = ""
    """Name for people."""
    versions: str = ""
    """Versions whose sources were read."""
    captured: tuple[str, ...] = ()
    """Versions of which the tests have a page of a running server."""
    switch: str = ""
    """What switches metrics on; empty where they are on by default."""
    reading: str = ""
    """Effect of a read on the server, which must be next to nothing."""
    never_read: tuple[tuple[str, str], ...] = ()
    """Pages that are not read, each with the reason."""
    deployment: tuple[str, ...] = ()
    """Which of several endpoints to read, and what counts twice."""
    cannot_tell: tuple[str, ...] = ()
    """What the engine does not report."""


Metrics: TypeAlias = Literal["on", "off", "configured", "never"]
"""Whether metrics are served without a flag; `configured`: a file or the environment decides."""


@dataclass(frozen=True, slots=True)
class Factor:
    """One factor of a server's world size, the number of GPUs that its page covers.

    It is the number that the flags give, one without them.
    """

    flags: tuple[str, ...]
    one_with: tuple[str, ...] = ()
    """Flags with which it is one: another factor has its GPUs, or each rank has a page."""
    per_host_with: tuple[str, ...] = ()
    """Flags with which the page covers one host only: the number is then that of `per_host_flags`."""
    per_host_flags: tuple[str, ...] = ()
    """Flags that give the number for one host."""
    required: bool = False
    """Whether the world size is unknown without its flags."""
    divides_others: bool = False
    """Whether other factors are divided by it, so that above one the world size is unknown."""


@dataclass(frozen=True, slots=True)
class SequenceFlags:
    """Flags with the largest number of sequences that one engine of a server runs at once."""

    flags: tuple[str, ...]
    shared_with: tuple[str, ...] = ()
    """Flags with which all data-parallel ranks share the number."""
    unknown_with: tuple[str, ...] = ()
    """Flags with which, without one of `shared_with`, its meaning depends on the version."""


@dataclass(frozen=True, slots=True)
class RoleFlag:
    """Flags whose value says which part of a disaggregated pair a server is; other values say nothing."""

    flags: tuple[str, ...]
    roles: tuple[tuple[str, Role], ...]
    key: str = ""
    """Key of the value that says so, where the value is a JSON object; `--flag.key` sets it as well."""


@dataclass(frozen=True, slots=True)
class Command:
    """One way in which an engine's API server is started.

    Defaults are the program's own: a port or host that an image sets by its environment is not visible, and
    is found by the listening socket instead. A flag written `--name=value` counts only with that value.
    """

    # The process, by one of the first three.
    programs: tuple[str, ...] = ()
    """Programs (paths where they begin with a slash), each with the words that must follow."""
    modules: tuple[str, ...] = ()
    """Python modules, each with the words that must follow."""
    title_patterns: tuple[str, ...] = ()
    """Patterns of the start of a process title of an API server."""
    worker_patterns: tuple[str, ...] = ()
    """Patterns of the start of a title, or of a program and its first word: of processes that compute for an
    API server."""
    foreign: tuple[str, ...] = ()
    """Words that must not follow."""
    part: bool = False
    """Whether it is a process without an API, whose command line completes that of the server."""

    # The API.
    port: int | None = None
    """Port without a flag."""
    port_flags: tuple[str, ...] = ("--port",)
    host: str = ""
    """Address that it binds without a flag; empty for all interfaces."""
    host_flags: tuple[str, ...] = ("--host",)
    address_flags: tuple[str, ...] = ()
    """Flags that take host and port together."""
    unix_socket_flags: tuple[str, ...] = ()
    """Flags with which it listens at a Unix socket, and at no port."""
    tls_flags: tuple[str, ...] = ()
    follower_flags: tuple[str, ...] = ()
    """Flags of a process whose API is on another host."""
    router_flags: tuple[str, ...] = ()
    """Flags with which, and no model, it is a router, which starts a server for each model."""

    # The metrics.
    metrics: Metrics = "on"
    metrics_on_flags: tuple[str, ...] = ()
    metrics_off_flags: tuple[str, ...] = ()
    metrics_path: str = "/metrics"
    metrics_port: int | None = None
    """Port of metrics without a flag, where it is not the API's."""
    metrics_port_flags: tuple[str, ...] = ()
    metrics_at_next_port_flags: tuple[str, ...] = ()
    """Flags with which the metrics are at the port after the API's."""
    metrics_apart: bool = False
    """Whether they are at the API's port only if a flag says so."""

    # The model, its GPUs and its requests.
    model_flags: tuple[str, ...] = ()
    """Flags of the model, best first."""
    model_path_flags: tuple[str, ...] = ()
    """Those of `model_flags` that take a path."""
    positional_model: bool = False
    """Whether the first free word is a model."""
    world_factors: tuple[Factor, ...] = ()
    """Empty where the command line does not give the number of GPUs."""
    node_count_flags: tuple[str, ...] = ("--nnodes",)
    node_rank_flags: tuple[str, ...] = ("--node-rank",)
    max_running: SequenceFlags | None = None
    """Largest number of requests at once; `None` where no flag gives it. A default that depends on the
    version or the GPU is not one."""
    role: RoleFlag | None = None


LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine's metrics. Alternatives are best first.

    The process is identified by `PROCESS_START`, else by the oldest `created` series, else by the response
    header `identity_header`.
    """

    name: str
    prefix: str
    """Start of its names, which is left out of series names in the ledger."""
    default_port: int
    fingerprint: Fingerprint
    groups: tuple[Group, ...]
    """What it counts: each group is of other quantities or series than the rest."""
    default_path: str = "/metrics"

    # The model and the process of a series.
    model_labels: tuple[str, ...] = ()
    """Labels that name the model: the first that a series has counts. All other labels (`engine`, a
    data-parallel rank; ...) distinguish series."""
    nameless: tuple[str, ...] = ()
    """Values of a model label that name none. Such series, and those without a model label, belong to the
    model of a `MetadataQuery`, else to the one of the first `named_by` on the page."""
    named_by: tuple[ModelLabel, ...] = ()
    stage_label: str = ""
    """Label of the stages of a pipeline: each stage with a name is a model of its own, `model:stage`, since
    one request passes through all of them."""
    metadata_queries: tuple[MetadataQuery, ...] = ()
    """Pages with a model or version that the metrics lack."""
    repeated: frozenset[str] = frozenset()
    """Labels of ranks that all count the same work: series that differ only in them are one series with the
    largest value, so that the work counts once whichever ranks are on the page."""
    created: str = ""
    """Name of a `_created` series: its oldest one tells when the process began."""
    identity_header: str = ""
    """Response header whose value is opaque."""
    series_appear_late: bool = False
    """Whether series appear with their first token, so that a page without any is not a failure."""

    # A disaggregated pair.
    role_label: str = ""
    """Label whose values prefill and decode name the part of a disaggregated pair."""
    prompts_from_other_engines: tuple[Count, ...] = ()
    """Alternative counters of prompt tokens whose KV cache another engine filled. They only check the role:
    `groups` alone counts tokens."""

    # Load and latency.
    running: tuple[Gauge, ...] = ()
    """Alternative gauges of running requests."""
    waiting: tuple[Gauge, ...] = ()
    """Alternative gauges of waiting requests."""
    max_running: tuple[Gauge, ...] = ()
    """Alternative gauges of the largest number of requests that run at once."""
    kv_cache: tuple[CacheGauge, ...] = ()
    first_token: tuple[LatencyHistogram, ...] = ()
    """Alternative histograms of the time to the first token."""
    per_token: tuple[LatencyHistogram, ...] = ()
    """Alternative histograms of the time of each token after it."""

    # Traps of its page.
    tokens: bool = True
    """False for an engine that counts none: its GPUs are charged, and its cost has no price per token."""
    six_digits: bool = False
    """Whether numbers have six significant digits, so that above a million a counter moves in steps of ten.
    Marks are the printed values, so that tokens arrive later and none is lost."""
    mistaken: str = ""
    """Pattern of the body of a page of this engine that must not be read; its metrics are elsewhere."""
    disguises: tuple[str, ...] = ()
    """Engines whose page it may show as its own; such a page is read as theirs."""
    repeats: tuple[str, ...] = ()
    """Engines whose tokens it counts again. It is read only if the configuration names it, and they are then
    not."""
    instead: str = ""
    """An order that says what to read otherwise."""

    manual: Manual = Manual()
    commands: tuple[Command, ...] = ()
    """The ways in which its API server is started."""

    def __hash__(self) -> int:
        """By its name: a page is read by what is cached of its engine."""
        return hash(self.name)

    def counts(self) -> Iterator[Count]:
        """All counters of all alternatives."""
        for group in self.groups:
            for alternative in group:
                yield from alternative.counts

    def gauges(self) -> tuple[Gauge, ...]:
        """All gauges of requests."""
        return (*self.running, *self.waiting, *self.max_running)

    def latencies(self) -> dict[Objective, tuple[LatencyHistogram, ...]]:
        """Histograms by objective, best first."""
        return {"first_token": self.first_token, "per_token": self.per_token}


@dataclass(frozen=True, slots=True)
class Uncounted:
    """A server without a page of metrics."""

    name: str
    title: str
    greeting: bytes
    """Its whole root page, by which it is recognized."""
    default_port: int
    what: str
    """Clause that says what it lacks."""
    remedy: str
    """What to do about it, an order."""
    commands: tuple[Command, ...] = ()


def created_name(name: str) -> str:
    """The name of the series in which client libraries write when a counter or histogram began."""
    return name.removesuffix("_total").removesuffix("_sum") + "_created"


def created_names(engine: Engine) -> Iterator[str]:
    """The `_created` names of the token counters of an engine that has such."""
    if engine.created:
        yield from (created_name(count.name) for count in engine.counts() if count.quantity in KINDS)


@cache
def wanted(engine: Engine) -> WantedSeries:
    """Every name to read on a page of an engine."""
    names = {PROCESS_START, *engine.fingerprint.names, *created_names(engine)}
    names.update(filter(None, (engine.created,)))
    names.update(count.name for count in engine.counts())
    names.update(name for group in engine.groups for alternative in group for name in alternative.requires)
    names.update(name for gauge in engine.gauges() for name in (gauge.name, gauge.also) if name)
    names.update(name for cache in engine.kv_cache for name in (cache.name, cache.capacity) if name)
    names.update(named.name for named in engine.named_by)
    return WantedSeries(names)


@cache
def latency_series(engine: Engine) -> WantedSeries:
    """The buckets of its latency histograms, which are read only for a server with a service level."""
    return WantedSeries(each.buckets for choice in engine.latencies().values() for each in choice)


def under_prefix(engine: Engine, prefix: str, **changes: Any) -> Engine:
    """The metrics of an engine under another prefix, for one that took them over: `a:x` becomes `b:x`.

    `changes` are fields of the new engine; its name is one of them.
    """
    moved: Engine = _moved(replace(engine, manual=Manual()), engine.prefix, prefix)
    return replace(moved, **changes)


def _moved(part: Any, old: str, new: str) -> Any:
    if isinstance(part, str):
        return new + part.removeprefix(old) if part.startswith(old) else part
    if isinstance(part, tuple):
        return tuple(_moved(item, old, new) for item in part)
    if is_dataclass(part) and not isinstance(part, type):
        return replace(
            part, **{each.name: _moved(getattr(part, each.name), old, new) for each in fields(part)}
        )
    return part
