"""The keys of `servers`: servers that are told outright, and what is told of those that are found."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from exporter.config.addresses import SCHEMES, GpuList, ServerName, Url, UrlPath
from exporter.config.division import DIVIDE
from exporter.config.schema import Block, Item, Key, ListOf, Table, Walk, missing
from exporter.config.settings import Divide, Server, ServerMatch, ServerRule
from exporter.config.users import User, uid_of
from exporter.config.values import AbsolutePath, Choice, Label, Number, Pattern, Truth, Whole, plain
from exporter.cost.postings import OTHER, UNALLOCATED
from exporter.engines.catalogue import ENGINES
from exporter.readings import Role

EVERY: Final = "(any)"
"""Stands for a GPU that only servers on all GPUs hold."""


def _says_something(block: Block) -> bool:
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


def _match(block: Block) -> ServerMatch:
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
METRICS_PATH = Key("path", UrlPath(), "The path its metrics are read at, with match only.")
BEARER_TOKEN_FILE = Key(
    "bearer_token_file",
    AbsolutePath(),
    "A file that holds the token to send: over https, to loopback, or to a pod of this node. With match it "
    "takes a user, a unit, or a workload of one namespace.",
)
CA_FILE = Key("ca_file", AbsolutePath(), "A file of certificates (PEM) to trust; https only.")
SERVER_NAME = Key(
    "server_name",
    ServerName(),
    "The name in its certificate, where that is not the address that is asked; https only.",
)


METRICS = Key(
    "metrics",
    Table(
        (METRICS_SCHEME, METRICS_PORT, METRICS_PATH, BEARER_TOKEN_FILE, CA_FILE, SERVER_NAME),
        lambda block: block,
    ),
    "What reading its metrics takes.",
)


def _is_told_or_found(block: Block) -> bool:
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
    where: tuple[Key[object], ...] = (METRICS_SCHEME, METRICS_PORT, METRICS_PATH)
    for key in where:
        if (metrics := block.get(METRICS)) is not None and key in metrics:
            metrics.refuse(key, f"goes with match only: the url tells the {key.name}")
            good = False
    return good


def _says_what_of_the_found(block: Block) -> bool:
    if GPUS in block:
        block.refuse(GPUS, "goes with url only; which GPUs a server that is found holds is found as well")
        return False
    if len(block.node.entries) == 1:
        block.refuse(
            None, "says nothing of the servers that it matches; give name, gpu_share_ratio or others"
        )
        return False
    return _token_is_bound(block)


def _token_is_bound(block: Block) -> bool:
    """A command line and a port are claims: a token goes to what no stranger can be."""
    match, metrics = block.get(MATCH), block.get(METRICS)
    if match is None or metrics is None or BEARER_TOKEN_FILE not in metrics or match.binds:
        return True
    metrics.refuse(
        BEARER_TOKEN_FILE,
        "would be sent to whatever program matches; add to match `user`, `unit` or a `workload` of one "
        "namespace like ml/chat-*, or give the url in place of match",
    )
    return False


def _server(block: Block) -> Server | ServerRule:
    metrics = block.get(METRICS)
    role = ROLE_OF[block[ROLE]]
    files = {
        "bearer_token_file": None if metrics is None else metrics.get(BEARER_TOKEN_FILE),
        "ca_file": None if metrics is None else metrics.get(CA_FILE),
    }
    server_name = None if metrics is None else metrics.get(SERVER_NAME)
    if (match := block.get(MATCH)) is None:
        return Server(
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
        metrics_path=None if metrics is None else metrics.get(METRICS_PATH),
        divide=block.get(DIVIDE),
        source=block.path,
        server_name=server_name,
        **files,
    )


Entries: TypeAlias = list[Item[Server | ServerRule]]


def _told(items: Entries) -> Iterator[tuple[Item[Server | ServerRule], Server]]:
    """The entries that are servers of their own."""
    for item in items:
        if isinstance(item.value, Server):
            yield item, item.value


def _certificates_go_with_https(items: Entries, walk: Walk) -> bool:
    good = True
    for item in items:
        entry = item.value
        scheme = urlsplit(entry.url).scheme if isinstance(entry, Server) else entry.metrics_scheme
        for name, value in (("ca_file", entry.ca_file), ("server_name", entry.server_name)):
            if value and scheme != "https":
                what = "an https URL" if isinstance(entry, Server) else "`scheme: https`"
                item.refuse(METRICS.name, f"{name} goes with {what} only; remove it or write https", walk)
                good = False
    return good


def _urls_are_told_once(items: Entries, walk: Walk) -> bool:
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


def _shares_fit(items: Entries, walk: Walk) -> bool:
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


def _gateways_are_read_one_way(items: Entries, walk: Walk) -> bool:
    """A gateway divides many servers and is read once, and it is none of them."""
    good = True
    servers = {server.url: item.path for item, server in _told(items)}
    seen: dict[str, tuple[str, Divide]] = {}
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
        (_certificates_go_with_https, _urls_are_told_once, _shares_fit, _gateways_are_read_one_way),
    ),
    "Inference servers that are not found by themselves (with url and gpus), and what was found wrong of "
    "those that are (with match). A GPU that an entry names is held by no server that is found.",
)
