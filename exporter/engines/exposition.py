"""The fast reader of exposition pages: bytes in, only the wanted series out.

It reads the text formats 0.0.4 and 1.0.0 and OpenMetrics, and is lenient where they differ.
A page of hundreds of kilobytes holds a few dozen lines that count tokens, so lines are picked by name before
anything is parsed.
A metric's name is expected in its classic place, before the braces; no engine's name needs the quoted form.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from threading import Lock
from typing import Final, NamedTuple

SERIES_MAX: Final = 20_000
"""Wanted series of one page; the rest of the page is then not read. A host's worth of ranks has hundreds."""

WANTED_BYTES: Final = 2 << 20
"""Bytes of all wanted lines; the rest of the page is then not read. Those of 16 ranks have 40 kB."""

LINE_BYTES: Final = 65_536
"""Longest wanted line; a longer one is malformed. An engine's has hundreds of bytes."""

KEY_CHARACTERS: Final = 256
"""Longest text of a series; a longer one ends in a digest of itself."""

_LINE: Final = re.compile(
    rb"""[ \t]*+
    (\{ (?: [^"}]*+ " [^"\\]*+ (?: \\. [^"\\]*+ )*+ " )*+ [^"}]*+ \})?+ [ \t]*+  # labels
    ([-+.0-9A-Za-z]{1,64}+)                 # value
    (?: [ \t]++ [-+.0-9eE]++ )?+            # timestamp: milliseconds, or seconds in OpenMetrics
    (?: [ \t]++ st@[-+.0-9eE]++ )?+         # start timestamp of OpenMetrics 2
    (?: [ \t]++ \#.*+ )?+                   # exemplar
    [ \t]*+ \r?+""",
    re.VERBOSE | re.DOTALL,
)
_LABEL: Final = re.compile(
    rb"""[ \t]*+ (?: ([a-zA-Z_:][a-zA-Z0-9_:]*+) | "([^"\\]*+ (?: \\. [^"\\]*+ )*+)" )
    [ \t]*+ = [ \t]*+ "([^"\\]*+ (?: \\. [^"\\]*+ )*+)" [ \t]*+ (?: , | \Z )""",
    re.VERBOSE | re.DOTALL,
)
_NAME: Final = re.compile(rb"[a-zA-Z_:][a-zA-Z0-9_:]*+")
_ESCAPE: Final = re.compile(r'\\([\\"n])')
_COLON: Final = "\0"  # the colon that some writers turn into an underscore
_ESCAPED: Final = str.maketrans({character: f"\\{character}" for character in "\\,="})
_UNESCAPED: Final = {"\\": "\\", '"': '"', "n": "\n"}


@dataclass(frozen=True, slots=True)
class Series:
    """A name with labels."""

    name: str
    labels: Mapping[str, str]
    key: str
    """The same text in whatever order a page writes the labels."""

    def named(self, name: str) -> str:
        """The key of the series of another name with the same labels."""
        key = name + self.key.removeprefix(self.name)
        short = len(self.key) < KEY_CHARACTERS and len(key) < KEY_CHARACTERS
        return key if short else _key(name, self.labels)

    def less(self, names: frozenset[str]) -> "Series":
        """The series without labels of these names."""
        if names.isdisjoint(self.labels):
            return self
        labels = {name: value for name, value in self.labels.items() if name not in names}
        return Series(self.name, labels, _key(self.name, labels))


class Sample(NamedTuple):
    """One series' value, which may be NaN or infinite."""

    series: Series
    value: float


@dataclass(frozen=True, slots=True)
class Page:
    """The wanted series of one page."""

    samples: Mapping[str, tuple[Sample, ...]]
    names: frozenset[str]
    """The wanted names on it, those of malformed lines included: a line that is damaged once must not select
    another alternative."""
    malformed: int = 0
    """Number of wanted lines that could not be read."""
    duplicates: int = 0
    """Number of repeated series, of which the first counts, as it does in Prometheus."""
    cut: bool = False
    """Whether there was more than is read."""


class SampleLine(NamedTuple):
    """A sample's line as it was written."""

    name: str
    labels: Mapping[str, str]
    number: str
    """Text of its value."""


def parsed(line: bytes) -> SampleLine | None:
    """A line of any name, without its timestamp and exemplar; `None` for one that is no sample's."""
    named = _NAME.match(line)
    rest = _LINE.fullmatch(line, named.end()) if named is not None and len(line) <= LINE_BYTES else None
    labels = None if rest is None else _labels((rest[1] or b"{}")[1:-1])
    if named is None or rest is None or labels is None:
        return None
    return SampleLine(named[0].decode(), labels, rest[2].decode())


_COMPILING: Final = Lock()
"""Pages of several servers are read at a time, and the first of them by the same names."""


class WantedSeries:
    """Exact sample names to read, written with a colon where the engine writes one.

    Some writers turn the colon of `vllm:prompt_tokens_total` into an underscore when asked for OpenMetrics
    (prometheus_client 0.23 and later), so both spellings are read as the one with the colon.
    The pattern is made for the first page: a host has pages of few of the engines.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names: Final = frozenset(names)
        self._compiled: tuple[re.Pattern[bytes], dict[bytes, str]] | None = None
        """The pattern of a line, and the canonical name of each spelling."""

    def lines(self, page: bytes) -> Iterator[tuple[str, bytes]]:
        """The wanted lines in the page's order: the canonical name of each, and what follows it."""
        with _COMPILING:
            if self._compiled is None:
                spelled = {name.replace(":", "_", 1).encode(): name for name in self.names}
                canonical = spelled | {name.encode(): name for name in self.names}
                colons = (name.replace(":", _COLON, 1) for name in self.names)
                choice = _choice(colons) if self.names else "(?!)"
                # A leading newline is a literal that the pattern engine looks for with memchr.
                line = rf"\n[ \t]*+({choice})(?=[{{ \t\r\n]|\Z)([^\n]*+)"
                self._compiled = re.compile(line.encode()), canonical
            pattern, names = self._compiled
        for match in pattern.finditer(b"\n" + page):
            name, rest = match.groups()
            yield names[name], rest


def read(page: bytes, wanted: WantedSeries) -> Page:
    """Read the wanted series of a page. Never raises: what cannot be read is counted and left out."""
    if page[:1] == b'"':
        page = unwrapped(page)
    samples: dict[str, dict[str, Sample]] = {}
    series = size = malformed = duplicates = 0
    cut = False
    for name, rest in wanted.lines(page):
        size += min(len(rest), LINE_BYTES)  # of a longer line nothing is kept
        if series >= SERIES_MAX or size > WANTED_BYTES:
            cut = True
            break
        of_name = samples.setdefault(name, {})
        sample = _sample(name, rest)
        if sample is None:
            malformed += 1
        elif sample.series.key in of_name:
            duplicates += 1
        else:
            of_name[sample.series.key] = sample
            series += 1
    return Page(
        {name: tuple(of_name.values()) for name, of_name in samples.items() if of_name},
        frozenset(samples),
        malformed,
        duplicates,
        cut,
    )


def _choice(names: Iterable[str]) -> str:
    """A pattern of names that share their beginnings.

    It looks at each character of a line once. Names side by side would each be tried on every line, which
    took two thirds of a read.
    """
    rests: dict[str, list[str]] = {}
    for name in sorted(names):
        rests.setdefault(name[:1], []).append(name[1:])
    ends = rests.pop("", None) is not None
    branches = [
        ("[:_]" if first == _COLON else re.escape(first)) + _choice(rest) for first, rest in rests.items()
    ]
    if not branches:
        return ""
    if len(branches) == 1 and not ends:
        return branches[0]
    return f"(?:{'|'.join(branches)}){'?' if ends else ''}"


def unwrapped(page: bytes) -> bytes:
    """The page inside of a JSON string, as llama.cpp sent it in November 2025 (ggml-org/llama.cpp #17384)."""
    try:
        text: str = json.loads(page)
    except ValueError:
        return page
    return text.encode("utf-8", "replace")


def _sample(name: str, rest: bytes) -> Sample | None:
    """The sample of a line by what follows its name; `None` for one that cannot be read."""
    match = _LINE.fullmatch(rest) if len(rest) <= LINE_BYTES else None
    if match is None:
        return None
    braces, number = match.groups()
    labels = _labels((braces or b"{}")[1:-1])
    if labels is None:
        return None
    try:
        return Sample(Series(name, labels, _key(name, labels)), float(number))
    except ValueError:
        return None


def _labels(raw: bytes) -> dict[str, str] | None:
    """The labels between braces; `None` if they are no labels or name one twice."""
    labels: dict[str, str] = {}
    position, end = 0, len(raw.rstrip(b" \t"))
    while position < end:
        match = _LABEL.match(raw, position)
        if match is None:
            return None
        bare, quoted, value = match.groups()
        name = _text(bare if quoted is None else quoted)
        if name in labels:
            return None
        labels[name] = _text(value)
        position = match.end()
    return labels


def _text(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace")
    return _ESCAPE.sub(lambda match: _UNESCAPED[match[1]], text) if "\\" in text else text


def _key(name: str, labels: Mapping[str, str]) -> str:
    """One text per label set: sorted, and with the separators inside of values escaped."""
    if not labels:
        return name
    pairs = ",".join(f"{label}={labels[label].translate(_ESCAPED)}" for label in sorted(labels))
    key = f"{name}{{{pairs}}}"
    if len(key) <= KEY_CHARACTERS:
        return key
    digest = blake2b(key.encode("utf-8", "replace"), digest_size=8).hexdigest()
    return f"{key[: KEY_CHARACTERS - 17]}#{digest}"
