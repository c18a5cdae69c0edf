"""Text and numbers from outside, made fit to be kept and shown. Pure."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from hashlib import blake2b
from typing import Final

from exporter.readings.serving import ServerKey, ServerReading

LABEL_CHARACTERS: Final = 128
"""Longest label value that is exported."""


def label(text: str) -> str:
    """Text from outside as a label value: no control characters, at most 128 characters."""
    clean = text if text.isprintable() else "".join(c for c in text if c.isprintable())
    return clean[:LABEL_CHARACTERS]


def printable(text: str) -> str:
    """Text from outside for a terminal: each character that could move its cursor is a question mark."""
    return "".join(character if character.isprintable() else "?" for character in text)


def ratio(value: float | None) -> float | None:
    """A ratio in 0..1; anything else is not a reading."""
    if value is None or not math.isfinite(value) or not 0.0 <= value <= 1.0:
        return None
    return value


MASK: Final = "***"

_DIGEST: Final = re.compile(r"[0-9a-f]{16}")


def masked(url: str) -> str:
    """The URL with each value of its query masked and the names kept, without a fragment.

    `http://a/metrics?api_key=SECRET` is `http://a/metrics?api_key=***`; a part without `=` is masked whole.
    """
    before, mark, query = url.partition("#")[0].partition("?")
    if not query:
        return before + mark
    parts = (part.partition("=") for part in re.split("[&;]", query))
    return f"{before}?{'&'.join(f'{name}={MASK}' if sign else MASK for name, sign, _ in parts)}"


def endpoint_id(url: str) -> str:
    """Name of an endpoint in the state and in the ledger: its URL, with a digest in place of a query.

    Two URLs that differ in the query alone have two names. A name is its own name.
    """
    query = url.partition("#")[0].partition("?")[2]
    if not query:
        return url
    shown, fragment = masked(url), url.partition("#")[2]
    if url == f"{shown}#{fragment}" and _DIGEST.fullmatch(fragment):
        return url
    return f"{shown}#{blake2b(query.encode(), digest_size=8).hexdigest()}"


def published(servers: Iterable[ServerReading]) -> tuple[ServerReading, ...]:
    """The readings with URLs that may be shown. Those of one server that would be equal are numbered.

    The second of them ends in `#2`, in the order of their names; what is the first stays as it is.
    """
    readings = tuple(servers)
    counts: Counter[tuple[ServerKey, str]] = Counter()
    shown: dict[tuple[ServerKey, str], str] = {}
    for key, url in sorted({(reading.key, reading.url) for reading in readings}):
        plain = masked(url)
        counts[key, plain] += 1
        number = counts[key, plain]
        shown[key, url] = plain if number == 1 else f"{plain}#{number}"
    return tuple(replace(reading, url=shown[reading.key, reading.url]) for reading in readings)
