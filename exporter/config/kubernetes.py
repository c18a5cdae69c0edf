"""How Kubernetes spells labels, and the keys of the configuration that are about them."""

import re
from dataclasses import dataclass
from typing import Final

from exporter.config.document import Mapping, Node, Scalar
from exporter.config.problems import BrokenError, RefusedError, shown
from exporter.config.schema import Context, Key, Table, found
from exporter.config.settings import KubernetesChoice, PodLabels
from exporter.config.values import PATTERN_CHARACTERS, AbsolutePath, Choice, scalar
from exporter.tariff.terms import LabelPatterns

MOST_PATTERNS: Final = 16

_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_PREFIX: Final = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_PATTERN: Final = re.compile(r"[A-Za-z0-9_.*?\[\]!-]*")


def is_label_name(text: str) -> bool:
    """Whether Kubernetes takes a text for a label's name: name or prefix/name."""
    prefix, slash, name = text.rpartition("/")
    return bool(_NAME.fullmatch(name)) and (not slash or bool(_PREFIX.fullmatch(prefix)))


def is_label_value(text: str) -> bool:
    """Whether Kubernetes takes a text for a label's value, which may be empty."""
    return text == "" or bool(_NAME.fullmatch(text))


def is_node_name(text: str) -> bool:
    """Whether a text may be the name of a node, or of a pod: a DNS subdomain (RFC 1123)."""
    return bool(_PREFIX.fullmatch(text))


@dataclass(frozen=True, slots=True)
class NodeLabel:
    """Patterns of the values of labels, by their names; as pairs, in the order of the file."""

    words: str = "mapping of labels to patterns"

    def read(self, node: Node, path: str, walk: Context) -> LabelPatterns:
        """As `Shape.read`."""
        if not isinstance(node, Mapping) or not node.entries:
            what = "an empty mapping" if isinstance(node, Mapping) else found(node)
            raise RefusedError(
                f'must be labels with patterns, like {{"example.com/billing": lease}}, not {what}'
            )
        if len(node.entries) > MOST_PATTERNS:
            raise RefusedError(f"has {len(node.entries)} labels; it takes 1 to {MOST_PATTERNS}")
        for place, fault in node.faults:
            walk.problems.note(place, path, fault)
        good = not node.faults
        patterns = []
        for name, (place, value) in node.entries.items():
            problem = _problem(name, value)
            if problem:
                walk.problems.note(place, path, problem)
                good = False
            elif isinstance(value, Scalar):
                patterns.append((name, value.text))
        if not good:
            raise BrokenError
        return tuple(patterns)


def _problem(name: str, value: Node) -> str:
    """What is wrong with a label and its pattern, empty where nothing is."""
    if not is_label_name(name):
        return f"{shown(name)} is no label: name or prefix/name, as kubectl get node --show-labels shows them"
    if not isinstance(value, Scalar) or value.empty:
        return f'{shown(name)} needs a pattern, not {found(value)}; "*" is any value, "" the empty one'
    if len(value.text) > PATTERN_CHARACTERS or not _PATTERN.fullmatch(value.text):
        return f"{shown(value.text)} can match no value of a label: letters, digits, - _ . and * ? [ab]"
    return ""


MATCH_NODE_LABEL: Final = Key(
    "node_label",
    NodeLabel(),
    "Labels of the host's Kubernetes node, each with a pattern of its value; one that the node does not have "
    "matches nothing. What they price waits until they could be read.",
)


@dataclass(frozen=True, slots=True)
class LabelName:
    """The name of a label, or the empty text for none."""

    words: str = "label"

    def read(self, node: Node, path: str, walk: Context) -> str:
        """As `Shape.read`."""
        del path, walk
        text = scalar(node, self.words).text
        if text and not is_label_name(text):
            raise RefusedError(f'{shown(text)} is no label: name or prefix/name; "" for none')
        return text


POD_PRODUCT: Final = Key(
    "product",
    LabelName(),
    'The label whose value is the product that pays; "" for none.',
    default=PodLabels().product,
)
POD_TEAM: Final = Key(
    "team",
    LabelName(),
    'The label whose value is the team that answers for it; "" for none.',
    default=PodLabels().team,
)
POD_LABELS: Final = Key(
    "pod_labels",
    Table((POD_PRODUCT, POD_TEAM), lambda block: PodLabels(block[POD_PRODUCT], block[POD_TEAM])),
    "Labels of the pods of a server that say who pays for it, where no rule does.",
)

CHOICES: Final[Choice[KubernetesChoice]] = Choice(("auto", "off", "pods_api", "kubelet", "api_server"))
KUBERNETES: Final = Key(
    "kubernetes",
    CHOICES,
    "Who is asked for the pods of this node: the socket of the kubelet's Pods API (Kubernetes 1.37), the "
    "kubelet by https, the API server, or with auto the first of these that tells; the last two only where a "
    "service account is mounted. The API server is asked for the labels of this node as well; off asks "
    "nobody for anything, not even the kubelet's pod-resources socket.",
    default="auto",
)
KUBELET_CA_FILE: Final = Key(
    "kubelet_ca_file",
    AbsolutePath(),
    "A file of certificates (PEM) that the kubelet's is checked by. Without it any is taken: kubelets sign "
    "their own unless the cluster was set up otherwise, and the node's own address is asked, which nothing "
    "leaves the node for.",
)
