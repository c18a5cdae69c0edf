"""A server's pages without what is private: names are replaced, numbers are kept.

A page may name models, users, teams, keys and hosts, and nobody can list all labels that do. So every value
of every label is replaced but those that are an engine's own words: ranks, bounds of buckets, and values that
a description in `engines` asks for. One text has one replacement in all pages of a recording.
What is no engine's (the families of other programs on the page, comments, exemplars, timestamps) is left out.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from exporter.engines import ENGINES, EVERYTHING, Engine, Way
from exporter.engines.exposition import Line, parsed, unwrapped
from exporter.readings import label

_SHARED: Final = frozenset({"", "http_", "ray_"})
"""Prefixes of engines' names with which names of other programs begin as well."""

FAMILIES: Final = tuple(
    {
        spelled
        for prefix in ({engine.prefix for engine in ENGINES.values()} - _SHARED)
        | {"ray_vllm_", "ray_sglang_", "dynamo_", "nv_"}
        for spelled in (prefix, prefix.replace(":", "_"))
    }
)
"""What names of engines' own families begin with."""

_NAMES: Final = EVERYTHING.names | {name.replace(":", "_", 1) for name in EVERYTHING.names}

_ANNOUNCED: Final = frozenset(
    name
    for engine in ENGINES.values()
    for written in engine.fingerprint.names
    for name in (written, re.sub("_(count|sum|total)$", "", written))
)
"""Families by which engines are told, as types name them."""

_BOUNDS: Final = frozenset({"le", "quantile"})
_RANKS: Final = frozenset(
    {"engine", "rank", "dp_rank", "tp_rank", "pp_rank", "moe_ep_rank", "position", "version"}
)
_WORDS: Final = frozenset(
    {
        "cache_source",
        "category",
        "engine_type",
        "finished_reason",
        "kind",
        "method",
        "mode",
        "priority",
        "request_type",
        "source",
        "stage",
        "status",
    }
)
"""Labels whose values are bounds, small numbers, or words of the engine's own source."""

_BOUND: Final = re.compile(r"[-+]?(?:Inf|[0-9][0-9.eE+-]{0,31})|NaN")
_RANK: Final = re.compile(r"[0-9]{1,4}")
_WORD: Final = re.compile(r"[a-z][a-z_]{0,31}")
_VERSION: Final = re.compile(r"[bv]?[0-9]{1,6}(?:[.-][0-9A-Za-z]{1,12}){0,5}")

_PLAIN: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_NAME: Final = re.compile(rb"[a-zA-Z_:][a-zA-Z0-9_:]*")
_COMMENT: Final = re.compile(rb"# (?:HELP|TYPE|UNIT) ([a-zA-Z_:][a-zA-Z0-9_:]*) .*")

PROPS: Final = "props"
"""The page on which llama.cpp says whether it sleeps; no description in `engines` asks for it."""


class Mask:
    """Replacements, the same for the same text."""

    def __init__(self) -> None:
        self._replaced: dict[str, str] = {}
        self._numbers: dict[str, int] = {}

    def page(self, body: bytes) -> tuple[bytes, int]:
        """A page of metrics, masked, and how many samples of it were left out.

        Of a line that cannot be read the name is kept.
        """
        lines: list[str] = []
        comments: list[tuple[str, str]] = []
        left_out = 0

        def announce() -> None:
            """That an engine has a family without series tells who it is."""
            lines.extend(text for family, text in comments if family in _ANNOUNCED)
            comments.clear()

        for written in (unwrapped(body) if body[:1] == b'"' else body).split(b"\n"):
            raw = written.strip()
            comment = _COMMENT.fullmatch(raw)
            if comment is not None:
                family = comment[1].decode()
                if comments and comments[-1][0] != family:
                    announce()
                comments.append((family, raw.decode("utf-8", "replace")))
                continue
            if not raw or raw.startswith(b"#"):
                continue
            named = _NAME.match(raw)
            name = "" if named is None else named[0].decode()
            if not (name in _NAMES or name.startswith(FAMILIES)):
                left_out += 1
                continue
            lines += [text for family, text in comments if name.startswith(family)]
            comments.clear()
            line = parsed(raw)
            # That a name is on the page counts, even where its line is damaged.
            lines.append(f"{name} ?" if line is None else self._line(line))
        announce()
        return "".join(f"{line}\n" for line in lines).encode(), left_out

    def answer(self, path: str, body: bytes, engine: Engine) -> bytes | None:
        """What is read of a JSON page, masked, and nothing else of it; `None` where nothing is."""
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            return None
        kept: Any = self._props(document) if path == PROPS and isinstance(document, dict) else None
        for question in engine.questions:
            if question.path == path:
                model, version = _at(document, question.model), _at(document, question.version)
                if model:
                    kept = _with(kept, question.model, self.model(model))
                if version:
                    kept = _with(kept, question.version, self.version(version))
        return None if kept is None else json.dumps(kept, indent=2).encode() + b"\n"

    def model(self, name: str) -> str:
        """A model's name, as series or another page told it."""
        return self._replacement("model", name)

    def version(self, text: str) -> str:
        """A version as it is, unless it is more than one."""
        return text if not text or _VERSION.fullmatch(text) else self._replacement("version", text)

    def process(self, identity: str) -> str:
        """What tells one process from the next."""
        return self._replacement("process", identity)

    def _props(self, document: Mapping[str, Any]) -> dict[str, Any]:
        plain = {
            key: document[key]
            for key, kind in (("is_sleeping", bool), ("total_slots", int))
            if isinstance(document.get(key), kind)
        }
        alias, build = document.get("model_alias"), document.get("build_info")
        told = {
            "model_alias": self.model(alias) if isinstance(alias, str) else None,
            "build_info": self.version(build) if isinstance(build, str) else None,
        }
        return plain | {key: value for key, value in told.items() if value is not None}

    def _line(self, line: Line) -> str:
        labels = ",".join(
            f'{self._label(name)}="{self._value(name, value)}"' for name, value in line.labels.items()
        )
        return f"{line.name}{{{labels}}} {line.number}" if labels else f"{line.name} {line.number}"

    def _label(self, name: str) -> str:
        """A label's name; one that must be quoted is no engine's, and may say anything."""
        return name if _PLAIN.fullmatch(name) else f'"{self._replacement("label", name)}"'

    def _value(self, name: str, value: str) -> str:
        if (
            value in _ASKED.get(name, ())
            or (name in _BOUNDS and _BOUND.fullmatch(value))
            or (name in _RANKS and _RANK.fullmatch(value))
            or (name in _WORDS and (_WORD.fullmatch(value) or _RANK.fullmatch(value)))
        ):
            return value
        return self._replacement(
            "model" if name in _MODELS else name if _PLAIN.fullmatch(name) else "value", value
        )

    def _replacement(self, what: str, text: str) -> str:
        if not text:
            return text
        known = self._replaced.get(text)
        if known is None:
            number = self._numbers[what] = self._numbers.get(what, 0) + 1
            known = self._replaced[text] = f"{what}-{number}"
            # What was read of it may have been cut to a label's length.
            self._replaced.setdefault(label(text), known)
        return known


def _asked() -> dict[str, set[str]]:
    """Values that some description asks for, by label."""
    found: dict[str, set[str]] = {}
    for engine in ENGINES.values():
        choices = [engine.fingerprint.where]
        choices += [choice for count in engine.counts() for choice in (count.where, count.unless)]
        choices += [
            choice for gauge in (*engine.running, *engine.waiting) for choice in (gauge.where, gauge.unless)
        ]
        for name, values in (pair for choice in choices for pair in choice):
            found.setdefault(name, set()).update(values)
        for name in engine.models:
            found.setdefault(name, set()).update(engine.nameless)
        if engine.role:
            found.setdefault(engine.role, set()).update(("prefill", "decode"))
    return found


_ASKED: Final = _asked()
_MODELS: Final = frozenset(
    name
    for engine in ENGINES.values()
    for name in (*engine.models, *(named.label for named in engine.named_by))
)


def _at(document: Any, way: Way) -> str:
    """The text at the end of a way; empty if there is none."""
    for step in way:
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return ""
    return document if isinstance(document, str) and way else ""


def _with(document: Any, way: Way, value: str) -> Any:
    """A document that has a value at the end of a way, beside what it has. Of lists the first is kept."""
    if not way:
        return value
    step, rest = way[0], way[1:]
    if isinstance(step, int):
        return [_with(document[0] if document else None, rest, value)]
    fields = document or {}
    return {**fields, step: _with(fields.get(step), rest, value)}
