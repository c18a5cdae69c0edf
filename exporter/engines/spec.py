"""Description of an engine: names, not code. One small file per engine holds one `Engine`.

To add an engine, write its exact sample names as its own source emits them, with the version in which each
appeared; never match by suffix, since names lie (`vllm:iteration_tokens_total` is a histogram).
Write the `Command`s that start it, by its argument parser or CLI page.
The catalogue imports every file of this folder.
Put a captured page with hand-made expectations next to those in tests/engines/captures.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, Final, Literal, TypeAlias

from exporter.engines.exposition import Page, WantedSeries
from exporter.frozen import dataclass
from exporter.readings import KINDS, LatencyBasis, Objective, Quantity, Role

Choice: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]
"""Labels with their accepted values; a label that a series lacks has the value ''."""

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
    """Identifies an engine by its page: a series of one of these names, with all `labels`, none of `without`.

    `where` is for names that other programs write too: labels with values that only this engine has.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    where: Choice = ()

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
    """A counter (or a histogram's sum) and what it counts.

    Each series that passes `where`, and does not pass a non-empty `unless`, is one reading.
    `sign` -1 subtracts from a quantity what another counter of it includes.
    `scale` converts to base units, such as microseconds to seconds.
    """

    name: str
    quantity: Quantity
    sign: Literal[1, -1] = 1
    where: Choice = ()
    unless: Choice = ()
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Alternative:
    """One set of counts, used when every required name is on the page; other counts are optional."""

    requires: tuple[str, ...]
    counts: tuple[Count, ...]


Group: TypeAlias = tuple[Alternative, ...]
"""Alternatives, best first. Only the first whose names are on the page is used, so that nothing counts
twice."""


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


def prompt_holding(cached: str, prompt: str) -> Alternative:
    """A prompt counter that includes the cached tokens, which an optional counter of their own has."""
    return Alternative(
        (prompt,),
        (Count(prompt, "prompt"), Count(cached, "prompt", sign=-1), Count(cached, "cached_prompt")),
    )


@dataclass(frozen=True, slots=True)
class Gauge:
    """Current requests: per model the sum of series that pass `where`, and no non-empty `unless`.

    A series without a model label is of the model "", unless `named_by` or a question names one.
    `also` is a gauge that is added to it, where the page has one.
    """

    name: str
    where: Choice = ()
    unless: Choice = ()
    also: str = ""


@dataclass(frozen=True, slots=True)
class CacheGauge:
    """The part of the KV cache in use: a ratio from 0 to 1, or an amount of the gauge `capacity`."""

    name: str
    where: Choice = ()
    capacity: str = ""


@dataclass(frozen=True, slots=True)
class LatencyHistogram:
    """A histogram of seconds, by its name without `_bucket`, and what one observation of it is."""

    name: str
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

    `path` is from the server's root, without a slash before it. An empty way is not read.
    Only pages that the server answers from memory are read: none that works, waits or wakes it.
    """

    path: str
    model: Way = ()
    version: Way = ()


@dataclass(frozen=True, slots=True)
class ModelLabel:
    """A series with a label that names the model; its value means nothing."""

    name: str
    label: str


@dataclass(frozen=True, slots=True)
class Manual:
    """Notes on an engine for operators, in whole sentences; docs/engines.md is generated from them.

    `title` is its name for people. `versions` are those whose sources were read, and `captured` those of
    which the tests have a page of a running server.
    `switch` switches metrics on; empty where they are on by default.
    `reading` is the effect of a read on the server, which must be next to nothing.
    `never_read` are pages that are not read, each with the reason.
    `deployment` says which of several endpoints to read, and what counts twice.
    `cannot_tell` lists what the engine does not report.
    """

    title: str = ""
    versions: str = ""
    captured: tuple[str, ...] = ()
    switch: str = ""
    reading: str = ""
    never_read: tuple[tuple[str, str], ...] = ()
    deployment: tuple[str, ...] = ()
    cannot_tell: tuple[str, ...] = ()


Metrics: TypeAlias = Literal["on", "off", "configured", "never"]
"""Whether metrics are served without a flag; `configured`: a file or the environment decides."""


@dataclass(frozen=True, slots=True)
class Factor:
    """One factor of a server's world size: the number that its flags give, else one.

    `unless`: with one of these flags it is one, since another factor has it or each rank has a page.
    `narrow`: with one of these flags `narrowed` gives the number, since the page covers this host only.
    `needed`: without its flags the world size is unknown. `alone`: above one the world size is unknown,
    since other factors are divided by it.
    """

    flags: tuple[str, ...]
    unless: tuple[str, ...] = ()
    narrow: tuple[str, ...] = ()
    narrowed: tuple[str, ...] = ()
    needed: bool = False
    alone: bool = False


@dataclass(frozen=True, slots=True)
class SequenceFlags:
    """Flags with the largest number of sequences that one engine of a server runs at once.

    `shared_with`: with one of these flags all data-parallel ranks share the number.
    `unknown_with`: with one of these flags, and none of `shared_with`, its meaning depends on the version.
    """

    flags: tuple[str, ...]
    shared_with: tuple[str, ...] = ()
    unknown_with: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RoleFlag:
    """Flags whose value says which part of a disaggregated pair a server is; other values say nothing.

    With a `key` the value is a JSON object, and that key of it says so; `--flag.key` sets it as well.
    """

    flags: tuple[str, ...]
    roles: tuple[tuple[str, Role], ...]
    key: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """One way in which an engine's API server is started.

    `programs` and `modules` are programs (paths where they begin with a slash) and Python modules, each with
    the words that must follow; `foreign` are words that must not follow.
    `titles` and `workers` match the start of a process title: of an API server, and of processes that compute
    for one. `part` is a process without an API, whose command line completes that of the server.
    Defaults are the program's own: a port or host that an image sets by its environment is not visible, and
    is found by the listening socket instead.
    `host` is empty for all interfaces. `addresses` are flags that take host and port together.
    With a flag of `metrics_next` the metrics are at the port after the API's.
    With `metrics_apart` they are at the API's port only if a flag says so.
    A flag written `--name=value` counts only with that value.
    With a flag of `routes`, and no model, it is a router, which starts a server for each model.
    `models` are flags, best first; `files` those of them that take a path; with `positional` the first free
    word is a model. `world_factors` is empty where the command line does not give the number of GPUs.
    `max_running` gives the largest number of sequences, `None` where no flag does. A default that depends on
    the version or the GPU is not one.
    """

    programs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    part: bool = False
    port: int | None = None
    ports: tuple[str, ...] = ("--port",)
    host: str = ""
    hosts: tuple[str, ...] = ("--host",)
    addresses: tuple[str, ...] = ()
    unix: tuple[str, ...] = ()
    tls: tuple[str, ...] = ()
    metrics: Metrics = "on"
    metrics_on: tuple[str, ...] = ()
    metrics_off: tuple[str, ...] = ()
    metrics_path: str = "/metrics"
    metrics_port: int | None = None
    metrics_ports: tuple[str, ...] = ()
    metrics_next: tuple[str, ...] = ()
    metrics_apart: bool = False
    models: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    positional: bool = False
    world_factors: tuple[Factor, ...] = ()
    nodes: tuple[str, ...] = ("--nnodes",)
    ranks: tuple[str, ...] = ("--node-rank",)
    followers: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    max_running: SequenceFlags | None = None

    role: RoleFlag | None = None


LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine's metrics.

    `prefix` starts its names and is left out of series names in the ledger.
    `models` are labels that name the model: the first that a series has counts. All other labels (`engine`, a
    data-parallel rank; ...) distinguish series.
    A model label with one of the values `nameless` names none. Such series, and those without a model label,
    belong to the model of a `MetadataQuery`, else to the one of the first `named_by` on the page.
    `stage` is a label of the stages of a pipeline: each stage with a name is a model of its own,
    `model:stage`, since one request passes through all of them.
    `repeated` are labels of ranks that all count the same work: series that differ only in them are one
    series with the largest value, so that the work counts once whichever ranks are on the page.
    `role` is a label whose values prefill and decode name the part of a disaggregated pair.
    `transferred` counts prompt tokens whose KV cache another engine filled; alternatives, best first.
    `running` and `waiting` list alternatives, best first; so do `max_running`, the largest number of requests
    that run at once, and `kv_cache`; and so do `first_token` and `per_token`, the histograms of latencies.
    The process is identified by `PROCESS_START`, else by the oldest `created` series, else by the response
    header `identity_header`, whose value is opaque.
    `creates_late`: series appear with their first token, so that a page without any is not a failure.
    `tokens` is false for an engine that counts none: its GPUs are charged, and its cost has no price per
    token.
    `six_digits`: numbers have six significant digits, so that above a million a counter moves in steps of
    ten. Marks are the printed values, so that tokens arrive later and none is lost.
    `mistaken` matches the body of a page of this engine that must not be read; its metrics are elsewhere.
    `disguises` are names of engines whose page it may show as its own; such a page is read as theirs.
    `repeats` are names of engines whose tokens it counts again. It is read only if the configuration names
    it, and they are then not; `instead` is an order that says what to read otherwise.
    `commands` are the ways in which its API server is started.
    """

    name: str
    prefix: str
    default_port: int
    fingerprint: Fingerprint
    groups: tuple[Group, ...]
    default_path: str = "/metrics"
    models: tuple[str, ...] = ()
    transferred: tuple[Count, ...] = ()
    running: tuple[Gauge, ...] = ()
    waiting: tuple[Gauge, ...] = ()
    max_running: tuple[Gauge, ...] = ()
    kv_cache: tuple[CacheGauge, ...] = ()
    first_token: tuple[LatencyHistogram, ...] = ()
    per_token: tuple[LatencyHistogram, ...] = ()
    created: str = ""
    identity_header: str = ""
    creates_late: bool = False
    nameless: tuple[str, ...] = ()
    named_by: tuple[ModelLabel, ...] = ()
    questions: tuple[MetadataQuery, ...] = ()
    stage: str = ""
    repeated: frozenset[str] = frozenset()
    role: str = ""
    tokens: bool = True
    six_digits: bool = False
    mistaken: str = ""
    disguises: tuple[str, ...] = ()
    repeats: tuple[str, ...] = ()
    instead: str = ""
    manual: Manual = Manual()
    commands: tuple[Command, ...] = ()

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
    """A server without a page of metrics, recognized by `greeting`, its whole root page.

    `what` is a clause that says what it lacks, `remedy` an order that says what to do about it.
    """

    name: str
    title: str
    greeting: bytes
    default_port: int
    what: str
    remedy: str
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
