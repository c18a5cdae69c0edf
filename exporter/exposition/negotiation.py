"""Which form of the exposition a client asked for: its format and its encoding."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class Format:
    """One exposition format."""

    content_type: str
    encode: Callable[[Collector], bytes]


@dataclass(frozen=True, slots=True)
class Variant:
    """One form of the page. There are four, however many ways there are of asking."""

    format: Format
    gzip: bool


# Our names are valid in every scheme, so that escaping changes nothing; this scheme is the fastest, since it
# asks once whether a name is valid where the others look at each of its characters.
TEXT: Final = Format(CONTENT_TYPE_PLAIN_0_0_4, partial(generate_latest, escaping=openmetrics.ALLOWUTF8))
OPENMETRICS: Final = Format(
    openmetrics.CONTENT_TYPE_LATEST, partial(openmetrics.generate_latest, escaping=openmetrics.ALLOWUTF8)
)

_OPENMETRICS_TYPE: Final = "application/openmetrics-text"
_OPENMETRICS_VERSIONS: Final = ("", "1.0.0")
_TEXT_TYPES: Final = ("text/plain", "text/*", "*/*")


def variant(accept: str, accept_encoding: str) -> Variant:
    """The form that two request headers ask for.

    OpenMetrics 1.0.0 when it is named and liked at least as much as text, text 0.0.4 otherwise, also for
    clients that want something else: a browser gets to read it. The library's own choice is not used, since
    it ignores weights and puts what the client sent into the answer's header.
    """
    text = metrics = 0.0
    for name, parameters in _items(accept):
        weight = _weight(parameters)
        if name == _OPENMETRICS_TYPE and parameters.get("version", "") in _OPENMETRICS_VERSIONS:
            metrics = max(metrics, weight)
        elif name in _TEXT_TYPES:
            text = max(text, weight)
    chosen = OPENMETRICS if metrics > 0 and metrics >= text else TEXT
    return Variant(chosen, gzip=_gzip_accepted(accept_encoding))


def _gzip_accepted(accept_encoding: str) -> bool:
    weights = {name: _weight(parameters) for name, parameters in _items(accept_encoding)}
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _items(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The comma-separated items of a header with their parameters, in lower case."""
    for item in header.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        pairs = (parameter.partition("=") for parameter in parameters)
        yield name, {key.strip(): value.strip().strip('"') for key, _, value in pairs}


def _weight(parameters: dict[str, str]) -> float:
    """The `q` of an item, 1 without one; a malformed one refuses the item."""
    try:
        weight = float(parameters.get("q", "1"))
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0
