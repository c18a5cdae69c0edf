"""A recording: a server's pages over time, masked, with what the daemon read on them.

Its manifest is `manifest.json`:

- `engine`, `version`: what wrote the pages. `begun`: when the first one was read, UTC.
- `pages`: for each its `file`; `after_seconds`, since the first; `process`, the value of the header that
  tells the process, where the engine has one; `counted`, by model and quantity the sum of its counters;
  `requests`, by model those `running` and `waiting`; `left_out`, how many samples are no engine's.
- `answers`: files by the path of the page that they are of, with what is read of it.
- `failures`: reads that failed, by `reason`. `left_alone`: how many reads were not made, since the server
  may fall asleep by itself.
"""

import json
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from exporter.engines import ENGINES, Described, Engine, Way, described, everything, latency_series
from exporter.engines.exposition import parsed, unwrapped
from exporter.readings import ReadFailedError, ServerReading, label
from exporter.sources.server.recording import RecordedRead
from exporter.units import NANOSECONDS_PER_SECOND, Instant, Nanoseconds, seconds
from exporter.version import VERSION

_SHARED: Final = frozenset({"", "http_", "ray_"})
"""Prefixes of engines' names with which names of other programs begin as well."""

_PREFIXES: Final = ({engine.prefix for engine in ENGINES.values()} - _SHARED) | {
    "ray_vllm_",
    "ray_sglang_",
    "dynamo_",
    "nv_",
}
FAMILIES: Final = tuple(_PREFIXES | {prefix.replace(":", "_") for prefix in _PREFIXES})
"""What names of engines' own families begin with."""


_BOUNDS: Final = frozenset({"le", "quantile"})
_RANKS: Final = frozenset(
    {"engine", "rank", "dp_rank", "tp_rank", "pp_rank", "moe_ep_rank", "position", "version"}
)
"""Labels whose values are bounds, or small numbers."""
_BOUND: Final = re.compile(r"[-+]?(?:Inf|[0-9][0-9.eE+-]{0,31})|NaN")
_RANK: Final = re.compile(r"[0-9]{1,4}")
_VERSION: Final = re.compile(r"[bv]?[0-9]{1,6}(?:[.-][0-9A-Za-z]{1,12}){0,5}")

_PLAIN: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_NAME: Final = re.compile(rb"[a-zA-Z_:][a-zA-Z0-9_:]*")
_COMMENT: Final = re.compile(rb"# (?:HELP|TYPE|UNIT) ([a-zA-Z_:][a-zA-Z0-9_:]*) .*")

PROPS: Final = "props"
"""The page on which llama.cpp says whether it sleeps; no description in `engines` asks for it."""


class Mask:
    """Replacements, the same for the same text on all pages.

    Any label may hold a model, user, team, key or host, and no list of such labels is complete. So each value
    is replaced, except ranks, bounds of buckets, and values that a description in `engines` asks for.
    """

    def __init__(self, engines: Described = ()) -> None:
        """`engines` are those of the configuration."""
        known = (*ENGINES.values(), *engines)
        names = everything(engines).names.union(*(latency_series(engine).names for engine in engines))
        self._names = names | {name.replace(":", "_", 1) for name in names}
        """Names that an engine is read by, with the colon as some writers turn it into an underscore."""
        self._families = {re.sub("_(bucket|count|sum|total)$", "", name) for name in self._names}
        """The same names as comments have them."""
        self._models = {name for engine in known for name in engine.model_labels}
        self._models |= {named.label for engine in known for named in engine.named_by}
        """Labels of models."""
        self._expected: dict[str, set[str]] = {}
        """Values that some description asks for, by label."""
        for engine in known:
            choices = [engine.fingerprint.where, *(cache.where for cache in engine.kv_cache)]
            choices += [choice for count in engine.counts() for choice in (count.where, count.unless)]
            choices += [choice for gauge in engine.gauges() for choice in (gauge.where, gauge.unless)]
            expected = [pair for choice in choices for pair in choice]
            expected += [(name, engine.nameless) for name in engine.model_labels]
            if engine.role_label:
                expected.append((engine.role_label, ("prefill", "decode")))
            for name, values in expected:
                self._expected.setdefault(name, set()).update(values)
        self._replaced: dict[str, str] = {}
        self._numbers: dict[str, int] = {}

    def page(self, body: bytes) -> tuple[bytes, int]:
        """A page of metrics, masked, and how many samples of it were left out.

        Of a line that cannot be read the name is kept.
        """
        lines: list[str] = []
        left_out = 0
        for written in (unwrapped(body) if body[:1] == b'"' else body).split(b"\n"):
            raw = written.strip()
            comment = _COMMENT.fullmatch(raw)
            if comment is not None:
                # An engine may be recognized by a type without a series.
                if self._is_known(comment[1].decode()):
                    lines.append(raw.decode("utf-8", "replace"))
                continue
            if not raw or raw.startswith(b"#"):
                continue
            named = _NAME.match(raw)
            name = "" if named is None else named[0].decode()
            if not self._is_known(name):
                left_out += 1
                continue
            line = parsed(raw)
            # That a name is on the page counts, even where its line is damaged.
            if line is None:
                lines.append(f"{name} ?")
                continue
            labels: list[str] = []
            for key, value in line.labels.items():
                # A label's name that must be quoted is no engine's, and may say anything.
                written_key = key if _PLAIN.fullmatch(key) else f'"{self._replacement("label", key)}"'
                labels.append(f'{written_key}="{self._value(key, value)}"')
            braces = f"{{{','.join(labels)}}}" if labels else ""
            lines.append(f"{line.name}{braces} {line.number}")
        return "".join(f"{line}\n" for line in lines).encode(), left_out

    def _is_known(self, name: str) -> bool:
        return name in self._names or name in self._families or name.startswith(FAMILIES)

    def answer(self, path: str, body: bytes, engine: Engine) -> bytes | None:
        """What is read of a JSON page, masked, and nothing else of it; `None` where nothing is."""
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            return None
        masked: Any = None
        if path == PROPS and isinstance(document, dict):
            plain = (("is_sleeping", bool), ("total_slots", int))
            masked = {key: document[key] for key, kind in plain if isinstance(document.get(key), kind)}
            for key, mask in (("model_alias", self.model), ("build_info", self.version)):
                if isinstance(document.get(key), str):
                    masked[key] = mask(document[key])
        for query in engine.metadata_queries:
            if query.path == path:
                model, version = _at(document, query.model), _at(document, query.version)
                if model:
                    masked = _with(masked, query.model, self.model(model))
                if version:
                    masked = _with(masked, query.version, self.version(version))
        return None if masked is None else json.dumps(masked, indent=2).encode() + b"\n"

    def model(self, name: str) -> str:
        """A model's name, of a series or another page."""
        return self._replacement("model", name)

    def model_of(self, engine: Engine, name: str) -> str:
        """A model as it is read from a masked page: the name of a stage stays apart."""
        model, colon, stage = name.rpartition(":") if engine.stage_label else (name, "", "")
        if not colon:
            return self.model(name)
        return f"{self.model(model)}:{self._value(engine.stage_label, stage)}"

    def version(self, text: str) -> str:
        """A version as it is, unless it is more than one."""
        return text if not text or _VERSION.fullmatch(text) else self._replacement("version", text)

    def process(self, identity: str) -> str:
        """The identity of a process."""
        return self._replacement("process", identity)

    def _value(self, name: str, value: str) -> str:
        if (
            value in self._expected.get(name, ())
            or (name in _BOUNDS and _BOUND.fullmatch(value))
            or (name in _RANKS and _RANK.fullmatch(value))
        ):
            return value
        if name in self._models:
            return self._replacement("model", value)
        return self._replacement(name if _PLAIN.fullmatch(name) else "value", value)

    def _replacement(self, what: str, text: str) -> str:
        if not text:
            return text
        replaced = self._replaced.get(text)
        if replaced is None:
            number = self._numbers[what] = self._numbers.get(what, 0) + 1
            replaced = self._replaced[text] = f"{what}-{number}"
            # What was read of it may have been cut to a label's length.
            self._replaced.setdefault(label(text), replaced)
        return replaced


def _at(document: Any, way: Way) -> str:
    """The text at the end of a way; empty if there is none."""
    for step in way:
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return ""
    return document if isinstance(document, str) and way else ""


def _with(document: Any, way: Way, value: str) -> Any:
    """A document with one more value at the end of a way. Lists keep their first element."""
    if not way:
        return value
    step, rest = way[0], way[1:]
    if isinstance(step, int):
        return [_with(document[0] if document else None, rest, value)]
    fields = document or {}
    return {**fields, step: _with(fields.get(step), rest, value)}


FORMAT: Final = 1
MANIFEST: Final = "manifest.json"


class Recording:
    """Turns reads of a server into files. `begun` is wall-clock time; `engines` are of the configuration."""

    def __init__(self, begun: Instant, engines: Described = ()) -> None:
        self._mask = Mask(engines)
        self._engines = engines
        self._begun = begun
        self._engine = ""
        self._version = ""
        self._pages: list[dict[str, Any]] = []
        self._answers: dict[str, str] = {}
        self._failures: list[dict[str, Any]] = []
        self._left_alone = 0

    @property
    def pages(self) -> int:
        """How many pages it holds."""
        return len(self._pages)

    def summary(self, requested: int) -> str:
        """How many of the requested reads it holds, in a sentence or a few."""
        text = (
            f"{len(self._pages)} of {requested} pages of {self._engine} {self._version}".rstrip() + ", masked"
        )
        if self._failures:
            text += f"; reads that failed: {len(self._failures)}"
        if self._left_alone:
            text += f"; reads left out, so that the server may fall asleep: {self._left_alone}"
        return text

    def take(self, look: RecordedRead, after: Nanoseconds) -> Iterator[tuple[str, bytes]]:
        """Names and contents of the files that keep one look, `after` the first one."""
        if look.metrics is None:
            self._left_alone += 1
            return
        reading, engine = look.reading, described(look.reading.engine, self._engines)
        if engine is None:
            raise ValueError(f"{look.reading.engine} is no engine of this recording")
        self._engine, self._version = engine.name, self._mask.version(reading.engine_version)
        page, left_out = self._mask.page(look.metrics.body)
        file = f"{len(self._pages) + 1:04d}.prom"
        process = look.metrics.headers.get(engine.identity_header, "") if engine.identity_header else ""
        counted, requests = counted_and_requests(reading)
        models = {model: self._mask.model_of(engine, model) for model in (*counted, *requests)}
        self._pages.append(
            {
                "file": file,
                "after_seconds": round(seconds(after), 3),
                "process": self._mask.process(process),
                "counted": {models[model]: sums for model, sums in counted.items()},
                "requests": {models[model]: loads for model, loads in requests.items()},
                "left_out": left_out,
            }
        )
        yield file, page
        for path, body in look.answers.items():
            answer = None if path in self._answers else self._mask.answer(path, body, engine)
            if answer is not None:
                self._answers[path] = f"{path.replace('/', '-')}.json"
                yield self._answers[path], answer

    def miss(self, failure: ReadFailedError, after: Nanoseconds) -> None:
        """Note a read that failed. Its message may name hosts, and is not kept."""
        self._failures.append({"after_seconds": round(seconds(after), 3), "reason": failure.reason})

    def manifest(self) -> bytes:
        """The manifest, as JSON."""
        begun = datetime.fromtimestamp(self._begun // NANOSECONDS_PER_SECOND, UTC)
        document = {
            "format": FORMAT,
            "exporter": VERSION,
            "engine": self._engine,
            "version": self._version,
            "begun": begun.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "pages": self._pages,
            "answers": self._answers,
            "failures": self._failures,
            "left_alone": self._left_alone,
        }
        return json.dumps(document, indent=2).encode() + b"\n"


Sums = dict[str, dict[str, float]]


def counted_and_requests(reading: ServerReading) -> tuple[Sums, Sums]:
    """Sums of a reading's counters by model and quantity, and its requests by model and state."""
    parts: dict[str, dict[str, list[float]]] = {}
    for counter in reading.counters:
        quantities = parts.setdefault(counter.model, {})
        quantities.setdefault(counter.quantity, []).append(counter.sign * counter.value)
    counted = {
        model: {quantity: math.fsum(values) for quantity, values in sorted(quantities.items())}
        for model, quantities in parts.items()
    }
    requests: Sums = {}
    for load in reading.loads:
        states = {"running": load.running, "waiting": load.waiting}
        requests[load.model] = {state: value for state, value in states.items() if value is not None}
    return counted, requests
