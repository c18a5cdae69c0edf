"""The keys of `servers`: which inference servers are read, and which GPUs each holds."""

import ipaddress
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias
from urllib.parse import SplitResult, urlsplit, urlunsplit

from exporter.config.document import Node, Scalar, Sequence
from exporter.config.problems import RefusedError, shown
from exporter.config.schema import Block, Item, Key, ListOf, Table, Walk, found
from exporter.config.settings import Server
from exporter.config.values import AbsolutePath, Choice, Label, Number, Whole, plain, scalar
from exporter.cost.postings import OTHER, UNALLOCATED
from exporter.engines.catalogue import ENGINES

URL_CHARACTERS: Final = 2048
MOST_GPUS: Final = 1024
METRICS_PATH: Final = "/metrics"

_SCHEMES: Final = {"http": 80, "https": 443}
_HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)
_UUID = re.compile(r"(GPU|MIG)-[A-Za-z0-9/-]{1,120}", re.ASCII)

Gpus: TypeAlias = tuple[int | str, ...]
ALL: Final[Gpus] = ()
"""Stands for `all`, which an empty list never does: it is refused."""

EVERY: Final = "(any)"
"""Stands for a GPU that only servers on all GPUs hold."""


@dataclass(frozen=True, slots=True)
class Url:
    """Where metrics are read: http or https, nobody's password in it, nothing that is never sent."""

    words: str = "URL"

    def read(self, node: Node, path: str, walk: Walk) -> str:
        """As `Shape.read`."""
        del path, walk
        text = scalar(node, "URL like http://127.0.0.1:8000/metrics").text
        said = "this" if "@" in text else shown(text)  # what stands before an @ may be a password
        if len(text) > URL_CHARACTERS or not re.fullmatch(r"[!-~]+", text):
            raise RefusedError(f"{said} is no URL: write printable ASCII without spaces, percent-encoded")
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise RefusedError(f"{said} is no URL: {error}") from None
        if "@" in parts.netloc:
            raise RefusedError("has a user or password in it; use metrics.bearer_token_file")
        if parts.scheme not in _SCHEMES:
            raise RefusedError(f"{said} is not read; write a URL that begins with http:// or https://")
        if "#" in text:
            raise RefusedError(f"{said} has a fragment (#), which is never sent; remove it")
        if not _is_host(parts):
            raise RefusedError(f"{said} has no valid host; write a name or an address")
        if port == 0 or parts.netloc.endswith(":"):
            raise RefusedError(f"{said} has no valid port; write 1 to 65535, or none")
        return urlunsplit(parts._replace(path=METRICS_PATH if parts.path in {"", "/"} else parts.path))


def _is_host(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    if parts.netloc.startswith("["):
        try:
            return ipaddress.ip_address(host).version == 6
        except ValueError:
            return False
    return len(host) <= 253 and bool(_HOST.fullmatch(host))


@dataclass(frozen=True, slots=True)
class GpuList:
    """NVML indices and UUIDs, or the word all."""

    words: str = "all, or list of indices and UUIDs"

    def read(self, node: Node, path: str, walk: Walk) -> Gpus:
        """As `Shape.read`."""
        if isinstance(node, Scalar) and node.text == "all":
            return ALL
        if not isinstance(node, Sequence):
            raise RefusedError(f"must be the word all or a list like [0, 1], not {found(node)}")
        if not node.items:
            raise RefusedError("is an empty list; write the indices or UUIDs, or the word all")
        return ListOf(GpuName(), (_gpus_are_told_once,)).read(node, path, walk)


@dataclass(frozen=True, slots=True)
class GpuName:
    """One GPU: its NVML index, or its UUID."""

    words: str = "index or UUID"

    def read(self, node: Node, path: str, walk: Walk) -> int | str:
        """As `Shape.read`."""
        if isinstance(node, Scalar) and _UUID.fullmatch(node.text):
            return node.text
        if isinstance(node, Scalar) and node.plain and re.match(r"[\d+-]", node.text):
            return Whole("index", 0, MOST_GPUS - 1).read(node, path, walk)
        raise RefusedError(f"must be an index like 0 or a UUID as NVML says (GPU-...), not {found(node)}")


def _gpus_are_told_once(items: list[Item[int | str]], walk: Walk) -> bool:
    good = True
    seen: set[int | str] = set()
    for item in items:
        if item.value in seen:
            walk.problems.note(
                item.node.place, item.path, f"GPU {item.value} is already in the list; keep one"
            )
            good = False
        seen.add(item.value)
    return good


NAME = Key(
    "name",
    Label("server name", reserved=(UNALLOCATED, OTHER)),
    "The server as people think of it; several entries with one name are replicas, and their tokens add up.",
    required=True,
)
URL = Key(
    "url",
    Url(),
    "Where its metrics are read; a URL without a path is read at /metrics.",
    required=True,
)
GPUS = Key(
    "gpus",
    GpuList(),
    "Which GPUs it holds: a list of NVML indices or UUIDs like [0, 1], or the word all.",
    required=True,
)
ENGINE = Key(
    "engine",
    Choice(tuple(sorted(ENGINES))),
    "The software it runs; without it the page that the server exports tells.",
)
NAMESPACE = Key("namespace", Label("namespace"), "A namespace to show it under; empty without it.")
SHARE = Key(
    "gpu_share_ratio",
    Number("ratio", Decimal(1), above_low=True),
    "The part of each of its GPUs that it pays for, where several servers share them; at most 1 together.",
)
BEARER_TOKEN_FILE = Key("bearer_token_file", AbsolutePath(), "A file that holds the token to send.")
CA_FILE = Key("ca_file", AbsolutePath(), "A file of certificates (PEM) to trust; https only.")


METRICS = Key(
    "metrics",
    Table((BEARER_TOKEN_FILE, CA_FILE), lambda block: (block.get(BEARER_TOKEN_FILE), block.get(CA_FILE))),
    "What reading its metrics takes.",
)


def _server(block: Block) -> Server:
    bearer_token_file, ca_file = block.get(METRICS) or (None, None)
    return Server(
        name=block[NAME],
        url=block[URL],
        gpus=block[GPUS] or None,
        namespace=block.get(NAMESPACE) or "",
        engine=block.get(ENGINE),
        gpu_share_ratio=block.get(SHARE),
        bearer_token_file=bearer_token_file,
        ca_file=ca_file,
    )


def _certificates_go_with_https(items: list[Item[Server]], walk: Walk) -> bool:
    good = True
    for item in items:
        if item.value.ca_file and item.value.url.startswith("http:"):
            item.refuse(METRICS.name, "ca_file goes with an https URL only; remove it or write https", walk)
            good = False
    return good


def _urls_are_told_once(items: list[Item[Server]], walk: Walk) -> bool:
    good = True
    seen: dict[tuple[object, ...], str] = {}
    for item in items:
        parts = urlsplit(item.value.url)
        endpoint = (
            parts.scheme,
            parts.hostname,
            parts.port or _SCHEMES[parts.scheme],
            parts.path,
            parts.query,
        )
        if endpoint in seen:
            message = f"the same URL is already read by {seen[endpoint]}; its tokens would be counted twice"
            item.refuse(URL.name, message, walk)
            good = False
        seen.setdefault(endpoint, item.path)
    return good


def _shares_fit(items: list[Item[Server]], walk: Walk) -> bool:
    """The configured shares of one GPU are at most 1 together; replicas have one share of it."""
    shares: dict[int | str, dict[tuple[str, str], Decimal]] = {EVERY: {}}
    for item in items:
        server = item.value
        if server.gpu_share_ratio is None:
            continue
        key = (server.namespace, server.name)
        for gpu in list(shares) if server.gpus is None else server.gpus:
            held = shares.setdefault(gpu, dict(shares[EVERY]))
            if held.setdefault(key, server.gpu_share_ratio) != server.gpu_share_ratio:
                message = f"is {plain(held[key])} for another replica on GPU {gpu}; give both the same"
                item.refuse(SHARE.name, message, walk)
                return False
            if (total := sum(held.values(), Decimal(0))) > 1:
                message = f"the shares of GPU {gpu} come to {plain(total)}; make them at most 1 together"
                item.refuse(SHARE.name, message, walk)
                return False
    return True


SERVERS = Key(
    "servers",
    ListOf(
        Table(
            (NAME, URL, GPUS, ENGINE, NAMESPACE, SHARE, METRICS),
            _server,
            words="server",
        ),
        (_certificates_go_with_https, _urls_are_told_once, _shares_fit),
    ),
    "The inference servers of this host; this release reads those named here and looks for no others.",
)
