"""What an endpoint of a server, and a GPU that it holds, may be written as."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import SplitResult, urlsplit, urlunsplit

from exporter.config.document import Node, Scalar, Sequence
from exporter.config.problems import RefusedError, shown
from exporter.config.schema import Item, ListOf, Walk, found
from exporter.config.values import Whole, scalar
from exporter.readings import masked

URL_CHARACTERS: Final = 2048
MOST_GPUS: Final = 1024
METRICS_PATH: Final = "/metrics"

SCHEMES: Final = {"http": 80, "https": 443}
_HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)
_UUID = re.compile(r"(GPU|MIG)-[A-Za-z0-9/-]{1,120}", re.ASCII)

Gpus: TypeAlias = tuple[int | str, ...]
ALL: Final[Gpus] = ()
"""Stands for `all`, which an empty list never does: it is refused."""


@dataclass(frozen=True, slots=True)
class Url:
    """Where metrics are read: http or https, nobody's password in it, nothing that is never sent."""

    words: str = "URL"
    instead: str = "metrics.bearer_token_file"
    """The key to use where a password is written."""

    def read(self, node: Node, path: str, walk: Walk) -> str:
        """As `Shape.read`."""
        del path, walk
        text = scalar(node, "URL like http://127.0.0.1:8000/metrics").text
        before, mark, fragment = text.partition("#")
        # What stands before an @ may be a password, and what is asked for a key.
        said = "this" if "@" in text else shown(f"{masked(before)}{mark}{fragment}")
        if len(text) > URL_CHARACTERS or not re.fullmatch(r"[!-~]+", text):
            raise RefusedError(f"{said} is no URL: write printable ASCII without spaces, percent-encoded")
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise RefusedError(f"{said} is no URL: {error}") from None
        if "@" in parts.netloc:
            raise RefusedError(f"has a user or password in it; use {self.instead}")
        if parts.scheme not in SCHEMES:
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
class ServerName:
    """The name of a certificate's subject: a DNS name or an address, nothing of a URL."""

    words: str = "name like chat.example.com"

    def read(self, node: Node, path: str, walk: Walk) -> str:
        """As `Shape.read`."""
        del path, walk
        text = scalar(node, self.words).text
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            pass
        # What consists of digits and dots is an address that was mistyped.
        if len(text) > 253 or not _HOST.fullmatch(text) or not re.search("[A-Za-z]", text):
            raise RefusedError(f"{shown(text)} is no name; write one of the certificate's, without port or *")
        return text.removesuffix(".").lower()


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


@dataclass(frozen=True, slots=True)
class UrlPath:
    """A path on a server, with a query where it takes one; never a host."""

    words: str = "path"

    def read(self, node: Node, path: str, walk: Walk) -> str:
        """As `Shape.read`."""
        del path, walk
        text = scalar(node, "path like /metrics").text
        if not re.fullmatch(r"/(?!/)[!-~]*", text) or "#" in text or len(text) > URL_CHARACTERS:
            raise RefusedError(f"{shown(masked(text))} is no path; begin it with one /, as in /metrics")
        return text
