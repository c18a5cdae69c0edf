"""Syntax of Kubernetes labels, and the keys of the configuration about Kubernetes."""

import re
from typing import Annotated, Final

from exporter.config.document import Node, Scalar
from exporter.config.problems import RefusedError, shown
from exporter.config.schema import MappingOf, Model
from exporter.config.settings import PodLabels
from exporter.config.values import PATTERN_CHARACTERS, Context, Custom, describe, matching

MOST_PATTERNS: Final = 16

_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_PREFIX: Final = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_PATTERN: Final = re.compile(r"[A-Za-z0-9_.*?\[\]!-]*")


def is_label_name(text: str) -> bool:
    """Whether a text is a label's name in Kubernetes: name or prefix/name."""
    prefix, slash, name = text.rpartition("/")
    return bool(_NAME.fullmatch(name)) and (not slash or bool(_PREFIX.fullmatch(prefix)))


def is_label_value(text: str) -> bool:
    """Whether a text is a label's value in Kubernetes, which may be empty."""
    return text == "" or bool(_NAME.fullmatch(text))


def is_node_name(text: str) -> bool:
    """Whether a text is the name of a node or pod: a DNS subdomain (RFC 1123)."""
    return bool(_PREFIX.fullmatch(text))


def _label_pattern(node: Node, _: Context) -> str:
    """A pattern of a label's value."""
    if not isinstance(node, Scalar) or node.empty:
        raise RefusedError(f'needs a pattern, not {describe(node)}; "*" is any value, "" the empty one')
    if len(node.text) > PATTERN_CHARACTERS or not _PATTERN.fullmatch(node.text):
        raise RefusedError(
            f"{shown(node.text)} can match no value of a label: letters, digits, - _ . and * ? [ab]"
        )
    return node.text


def _label_fault(name: str) -> str | None:
    if is_label_name(name):
        return None
    return f"{shown(name)} is no label: name or prefix/name, as kubectl get node --show-labels shows them"


NODE_LABEL: Final = MappingOf(
    "mapping of labels to patterns",
    Custom("pattern", _label_pattern),
    _label_fault,
    MOST_PATTERNS,
    example='{"example.com/billing": lease}',
)


LABEL_NAME: Final = matching(
    "label", lambda text: not text or is_label_name(text), ': name or prefix/name; "" for none', str
)


class PodLabelKeys(Model, kw_only=True):
    """The labels of pods that name an owner."""

    builds = PodLabels
    product: Annotated[str, LABEL_NAME] = PodLabels().product
    """The label whose value is the product that pays; "" for none."""
    team: Annotated[str, LABEL_NAME] = PodLabels().team
    """The label whose value is the team that owns it; "" for none."""
