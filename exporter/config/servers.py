"""The keys of `servers`: servers that are told outright, and what is told of those that are found."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias
from urllib.parse import SplitResult, urlsplit, urlunsplit

from exporter.config.document import Node, Scalar, Sequence
from exporter.config.problems import RefusedError, shown
from exporter.config.schema import Context, Key, ListItem, ListOf, MappingNode, Table, found, missing
from exporter.config.settings import ConfiguredServer, GatewayDivision, ServerMatch, ServerRule
from exporter.config.values import (
    AbsolutePath,
    Choice,
    Label,
    Number,
    Pattern,
    Truth,
    User,
    Whole,
    plain,
    scalar,
    uid_of,
)
from exporter.cost.postings import OTHER, UNALLOCATED
from exporter.engines.catalogue import ENGINES
from exporter.readings import DividedBy, Division, Role, masked

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

    def read(self, node: Node, path: str, walk: Context) -> str:
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

    def read(self, node: Node, path: str, walk: Context) -> str:
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

    def read(self, node: Node, path: str, walk: Context) -> Gpus:
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

    def read(self, node: Node, path: str, walk: Context) -> int | str:
        """As `Shape.read`."""
        if isinstance(node, Scalar) and _UUID.fullmatch(node.text):
            return node.text
        if isinstance(node, Scalar) and node.plain and re.match(r"[\d+-]", node.text):
            return Whole("index", 0, MOST_GPUS - 1).read(node, path, walk)
        raise RefusedError(f"must be an index like 0 or a UUID as NVML says (GPU-...), not {found(node)}")


def _gpus_are_told_once(items: list[ListItem[int | str]], walk: Context) -> bool:
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

    def read(self, node: Node, path: str, walk: Context) -> str:
        """As `Shape.read`."""
        del path, walk
        text = scalar(node, "path like /metrics").text
        if not re.fullmatch(r"/(?!/)[!-~]*", text) or "#" in text or len(text) > URL_CHARACTERS:
            raise RefusedError(f"{shown(masked(text))} is no path; begin it with one /, as in /metrics")
        return text


BY: Final[Key[DividedBy]] = Key(
    "by",
    Choice(("team", "adapter")),
    "What it is divided by. Team: the teams that the LiteLLM proxy tells, each in place of the server's own; "
    "adapter: LoRA adapters, each as a model of the server.",
    required=True,
)
GATEWAY = Key(
    "gateway",
    Url(instead="bearer_token_file"),
    "Where the gateway's metrics are read. The LiteLLM proxy has them at /metrics/, with a slash at its end, "
    "the Gateway API endpoint picker at /metrics.",
    required=True,
)
MODELS = Key(
    "models",
    ListOf(Pattern(), least=1),
    "What the gateway calls what this server serves, without the provider and its slash: patterns. By team, "
    "beside the names that the server itself tells; by adapter, the names of its adapters, as vLLM has them.",
)
DEPLOYMENTS = Key(
    "deployments",
    ListOf(Label("deployment"), least=1),
    "The model_id of those of the LiteLLM proxy's deployments that lead to this server; without it, all that "
    "serve its models, but for those that another server's entry names.",
)
BEARER_TOKEN_FILE = Key(
    "bearer_token_file", AbsolutePath(), "A file that holds the token to send; the LiteLLM proxy wants one."
)
CA_FILE = Key("ca_file", AbsolutePath(), "A file of certificates (PEM) to trust; https only.")


def _adapters_are_named(block: MappingNode) -> bool:
    if block.values.get(BY.name) != "adapter" or MODELS in block or MODELS.name in block.meant:
        return True
    block.refuse(
        None,
        "says nothing of the adapters: give models, the names of its adapters, "
        'or ["*"] where the gateway leads to this server alone',
    )
    return False


def _certificates_go_with_https(block: MappingNode) -> bool:
    url = block.get(GATEWAY) if GATEWAY.name in block.values else None
    if CA_FILE not in block or url is None or urlsplit(url).scheme == "https":
        return True
    block.refuse(CA_FILE, "goes with an https URL only; remove it or write https")
    return False


def _divide(block: MappingNode) -> GatewayDivision:
    return GatewayDivision(
        Division(block[BY], block[GATEWAY], block.get(MODELS) or (), block.get(DEPLOYMENTS) or ()),
        block.get(BEARER_TOKEN_FILE),
        block.get(CA_FILE),
    )


DIVIDE = Key(
    "divide",
    Table(
        (BY, GATEWAY, MODELS, DEPLOYMENTS, BEARER_TOKEN_FILE, CA_FILE),
        _divide,
        (_adapters_are_named, _certificates_go_with_https),
    ),
    "Divides what the server costs and serves by what a gateway before it counts; what the gateway did not "
    "see stays with the server's owner, and everything does until it has counted something.",
)


EVERY: Final = "(any)"
"""Stands for a GPU that only servers on all GPUs hold."""


def _says_something(block: MappingNode) -> bool:
    if block.node.entries:
        return True
    block.refuse(None, "is empty and would match every server; give port, workload, unit, process or user")
    return False


PORT = Key("port", Whole("port", 1, 65535), "The port that it listens on.")
WORKLOAD = Key("workload", Pattern(), "Its workload as namespace/name, in Kubernetes.")
UNIT = Key("unit", Pattern(), "Its system unit, like vllm@chat.service; no unit of a user's own manager.")
PROCESS = Key(
    "process", Pattern(), "The name of its program: what stands behind `unmatched:`, or its engine."
)
USER = Key("user", User(), "The user that it runs as, by name or uid; in a container write the uid.")


def _match(block: MappingNode) -> ServerMatch:
    user = block.get(USER)
    return ServerMatch(
        block.get(PORT),
        block.get(WORKLOAD),
        block.get(UNIT),
        block.get(PROCESS),
        user,
        None if user is None else uid_of(user),
    )


MATCH = Key(
    "match",
    Table((PORT, WORKLOAD, UNIT, PROCESS, USER), _match, (_says_something,)),
    "Which of the servers that are found this entry is about, in place of a url; all that is given must "
    "match, and the first entry that does decides.",
)
NAME = Key(
    "name",
    Label("server name", reserved=(UNALLOCATED, OTHER), reserved_beginning="unmatched:"),
    "The server as people think of it; several entries with one name are replicas, and their tokens add up.",
)
URL = Key(
    "url",
    Url(),
    "Where its metrics are read; a URL without a path is read at /metrics. Values of its query are masked "
    "wherever it is shown.",
)
GPUS = Key(
    "gpus",
    GpuList(),
    "Which GPUs it holds: a list of NVML indices or UUIDs like [0, 1], or the word all.",
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
SPANS_HOSTS = Key(
    "spans_hosts",
    Truth(),
    "Whether it runs on several hosts: its cost per token is then told by the fleet rules, not by a host.",
    default="false",
)
ROLE = Key(
    "role",
    Choice(("both", "prefill", "decode")),
    "Its part in a pair that computes prompts on one server and generates on another; `both` is no pair.",
    default="both",
)
ROLE_OF: Final[Mapping[str, Role]] = {"both": "", "prefill": "prefill", "decode": "decode"}
METRICS_SCHEME = Key("scheme", Choice(("http", "https")), "How its metrics are read, with match only.")
METRICS_PORT = Key("port", Whole("port", 1, 65535), "The port its metrics are read at, with match only.")
ENDPOINT_PATH = Key("path", UrlPath(), "The path its metrics are read at, with match only.")
ENDPOINT_TOKEN_FILE = Key(
    "bearer_token_file",
    AbsolutePath(),
    "A file that holds the token to send: over https, to loopback, or to a pod of this node. With match it "
    "takes a user, a unit, or a workload of one namespace.",
)
SERVER_NAME = Key(
    "server_name",
    ServerName(),
    "The name in its certificate, where that is not the address that is asked; https only.",
)


METRICS = Key(
    "metrics",
    Table(
        (
            METRICS_SCHEME,
            METRICS_PORT,
            ENDPOINT_PATH,
            ENDPOINT_TOKEN_FILE,
            CA_FILE,
            SERVER_NAME,
        ),
        lambda block: block,
    ),
    "What reading its metrics takes.",
)


def _is_told_or_found(block: MappingNode) -> bool:
    """An entry with a `url` is a server of its own; one with `match` is about servers that are found."""
    if MATCH in block and URL in block:
        block.refuse(MATCH, "cannot stand beside url; keep exactly one of url, match")
        return False
    if MATCH in block:
        return _says_what_of_the_found(block)
    if MATCH.name in block.meant and URL not in block:
        return False  # what belongs into match stands beside it, which has been told
    good = True
    needed: tuple[Key[object], ...] = (NAME, URL, GPUS)
    for key in needed:
        if key not in block:
            good = False
            if key.name not in block.meant:
                block.refuse(None, missing(key))
    where: tuple[Key[object], ...] = (METRICS_SCHEME, METRICS_PORT, ENDPOINT_PATH)
    for key in where:
        if (metrics := block.get(METRICS)) is not None and key in metrics:
            metrics.refuse(key, f"goes with match only: the url tells the {key.name}")
            good = False
    return good


def _says_what_of_the_found(block: MappingNode) -> bool:
    if GPUS in block:
        block.refuse(GPUS, "goes with url only; which GPUs a server that is found holds is found as well")
        return False
    if len(block.node.entries) == 1:
        block.refuse(
            None, "says nothing of the servers that it matches; give name, gpu_share_ratio or others"
        )
        return False
    return _token_is_bound(block)


def _token_is_bound(block: MappingNode) -> bool:
    """A command line and a port are claims: a token goes to what no stranger can be."""
    match, metrics = block.get(MATCH), block.get(METRICS)
    if match is None or metrics is None or ENDPOINT_TOKEN_FILE not in metrics or match.binds:
        return True
    metrics.refuse(
        ENDPOINT_TOKEN_FILE,
        "would be sent to whatever program matches; add to match `user`, `unit` or a `workload` of one "
        "namespace like ml/chat-*, or give the url in place of match",
    )
    return False


def _server(block: MappingNode) -> ConfiguredServer | ServerRule:
    metrics = block.get(METRICS)
    role = ROLE_OF[block[ROLE]]
    files = {
        "bearer_token_file": None if metrics is None else metrics.get(ENDPOINT_TOKEN_FILE),
        "ca_file": None if metrics is None else metrics.get(CA_FILE),
    }
    server_name = None if metrics is None else metrics.get(SERVER_NAME)
    if (match := block.get(MATCH)) is None:
        return ConfiguredServer(
            name=block[NAME],
            url=block[URL],
            gpus=block[GPUS] or None,
            namespace=block.get(NAMESPACE) or "",
            engine=block.get(ENGINE),
            gpu_share_ratio=block.get(SHARE),
            spans_hosts=block[SPANS_HOSTS],
            role=role,
            divide=block.get(DIVIDE),
            server_name=server_name,
            **files,
        )
    return ServerRule(
        match=match,
        name=block.get(NAME),
        namespace=block.get(NAMESPACE),
        engine=block.get(ENGINE),
        gpu_share_ratio=block.get(SHARE),
        spans_hosts=block[SPANS_HOSTS],
        role=role,
        metrics_scheme=None if metrics is None else metrics.get(METRICS_SCHEME),
        metrics_port=None if metrics is None else metrics.get(METRICS_PORT),
        metrics_path=None if metrics is None else metrics.get(ENDPOINT_PATH),
        divide=block.get(DIVIDE),
        source=block.path,
        server_name=server_name,
        **files,
    )


Entries: TypeAlias = list[ListItem[ConfiguredServer | ServerRule]]


def _told(items: Entries) -> Iterator[tuple[ListItem[ConfiguredServer | ServerRule], ConfiguredServer]]:
    """The entries that are servers of their own."""
    for item in items:
        if isinstance(item.value, ConfiguredServer):
            yield item, item.value


def _endpoints_certificates_go_with_https(items: Entries, walk: Context) -> bool:
    good = True
    for item in items:
        entry = item.value
        scheme = urlsplit(entry.url).scheme if isinstance(entry, ConfiguredServer) else entry.metrics_scheme
        for name, value in (("ca_file", entry.ca_file), ("server_name", entry.server_name)):
            if value and scheme != "https":
                what = "an https URL" if isinstance(entry, ConfiguredServer) else "`scheme: https`"
                item.refuse(METRICS.name, f"{name} goes with {what} only; remove it or write https", walk)
                good = False
    return good


def _urls_are_told_once(items: Entries, walk: Context) -> bool:
    good = True
    seen: dict[tuple[object, ...], str] = {}
    for item, server in _told(items):
        parts = urlsplit(server.url)
        endpoint = (
            parts.scheme,
            parts.hostname,
            parts.port or SCHEMES[parts.scheme],
            parts.path,
            parts.query,
        )
        if endpoint in seen:
            message = f"the same URL is already read by {seen[endpoint]}; its tokens would be counted twice"
            item.refuse(URL.name, message, walk)
            good = False
        seen.setdefault(endpoint, item.path)
    return good


def _shares_fit(items: Entries, walk: Context) -> bool:
    """The configured shares of one GPU are at most 1 together; replicas have one share of it."""
    shares: dict[int | str, dict[tuple[str, str], Decimal]] = {EVERY: {}}
    for item, server in _told(items):
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


def _gateways_are_read_one_way(items: Entries, walk: Context) -> bool:
    """A gateway divides many servers and is read once, and it is none of them."""
    good = True
    servers = {server.url: item.path for item, server in _told(items)}
    seen: dict[str, tuple[str, GatewayDivision]] = {}
    for item in items:
        if (divide := item.value.divide) is None:
            continue
        url = divide.division.gateway
        path, other = seen.setdefault(url, (item.path, divide))
        if url in servers:
            message = f"its gateway is {servers[url]}, which is a server; give the gateway's own URL"
            item.refuse(DIVIDE.name, message, walk)
            good = False
        elif (divide.bearer_token_file, divide.ca_file) != (other.bearer_token_file, other.ca_file):
            message = f"its gateway is read with other files by {path}; give both the same"
            item.refuse(DIVIDE.name, message, walk)
            good = False
    return good


SERVERS = Key(
    "servers",
    ListOf(
        Table(
            (MATCH, NAME, URL, GPUS, ENGINE, NAMESPACE, SHARE, SPANS_HOSTS, ROLE, METRICS, DIVIDE),
            _server,
            (_is_told_or_found,),
            words="server",
        ),
        (_endpoints_certificates_go_with_https, _urls_are_told_once, _shares_fit, _gateways_are_read_one_way),
    ),
    "Inference servers that are not found by themselves (with url and gpus), and what was found wrong of "
    "those that are (with match). A GPU that an entry names is held by no server that is found.",
)
