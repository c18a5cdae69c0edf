"""What a pod's annotations ask for. Pure.

Whoever may start a pod writes them, so they say nothing that reaches beyond the pod: never a host, a port and
a path of its own address only, and names that fit a label.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from exporter.cost.postings import OTHER, UNALLOCATED
from exporter.readings import LABEL_CHARACTERS, label
from exporter.sources.kubernetes.pod import NO_WISHES, Wishes

PREFIX: Final = "inference-cost/"
PATH_CHARACTERS: Final = 256

RESERVED: Final = frozenset({UNALLOCATED, OTHER})
UNMATCHED: Final = "unmatched:"
"""Names, and how names begin, that have a meaning of their own."""

_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_PATH: Final = re.compile(r"/(?!/)[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")
"""RFC 3986's path-absolute; a query, a fragment and a second slash, which begins a host, are none of it."""


def wishes_of(annotations: Mapping[str, str]) -> Wishes:
    """What annotations ask for, and which of them cannot be used."""
    told: dict[str, Any] = {}
    refused = []
    for annotation in sorted(annotations):
        if not annotation.startswith(PREFIX):
            continue
        word = annotation.removeprefix(PREFIX)
        try:
            told[word] = READERS[word](annotations[annotation])
        except KeyError:
            refused.append((word, f"is none of {', '.join(READERS)}"))
        except ValueError as fault:
            refused.append((word, str(fault)))
    return Wishes(**told, refused=tuple(refused)) if told or refused else NO_WISHES


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise ValueError("is no port: a number from 1 to 65535")
    return int(text)


def _path(text: str) -> str:
    if len(text) > PATH_CHARACTERS or not _PATH.fullmatch(text):
        raise ValueError(f"is no path: / and what follows in a URL, at most {PATH_CHARACTERS} characters")
    return text


def _owner(text: str) -> str:
    if not text or text != text.strip() or text != label(text):
        raise ValueError(f"is empty, has spaces around it, or is longer than {LABEL_CHARACTERS} characters")
    return text


def _name(text: str) -> str:
    if text in RESERVED or text.startswith(UNMATCHED):
        raise ValueError("is reserved")
    return _owner(text)


READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "name": _name,
    "product": _owner,
    "team": _owner,
    "port": _port,
    "path": _path,
}
"""The annotations that there are, without their prefix."""
